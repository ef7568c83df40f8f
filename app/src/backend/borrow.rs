//! Has another laptop answer a question: leaves it in the chat, follows there what becomes of it, takes it back.
//!
//! The chat is all that both laptops need: it is sent as every chat is, sealed and through edge nodes that cannot read
//! it, and waits where the other one is away. Nothing is looked for and no model is used here, so a laptop without any
//! can ask. Who stops waiting does not want the answer any more, so the question is withdrawn; one that is to stay
//! behind is left with `no_wait`. Start at [`ask`]; what the other laptop does is in [`lend`](super::lend).

use std::sync::Arc;

use satchel_sync::chat::{
    Asked, AskedNote, AskedState, CitationRecord, Message, Role, StoredMessage, Thread, ThreadId,
};
use satchel_sync::id::MessageId;
use satchel_sync::workspace::{SaveError, Workspace};

use super::jobs::Emitter;
use super::lend::News;
use super::{Shared, answer, conversation, documents, indexing, retrieve, sync};
use crate::message::{
    AnswerReport, Citation, Event, Failure, FailureKind, Origin, Reply, SyncState, ThreadReport,
};

/// A question in the chat that it was left in.
struct Left {
    thread: ThreadId,
    question: MessageId,
    text: String,
    /// What the laptop is called that is to answer.
    on: String,
}

/// Asks another laptop, and waits for its answer unless nobody wants to or nothing can come.
///
/// # Errors
/// When there is no such laptop or it cannot write an answer, the question is empty, the other laptop cannot answer, or
/// this was cancelled: then the question is withdrawn.
pub async fn ask(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    question: String,
    thread: Option<String>,
    on: &str,
    no_wait: bool,
) -> Result<Reply, Failure> {
    let question = retrieve::checked(&question)?.to_owned();
    let lender = sync::lender(shared, on).await?;
    // From here on, so that none is missed.
    let mut news = News::listen(shared);
    let asked = Message {
        asked_of: Some(lender.id),
        ..Message::new(Role::User, question.clone(), answer::now_ms())
    };
    let leaving = shared.with_workspace(move |workspace| {
        let thread = match thread {
            Some(name) => Some(conversation::find(workspace, &name)?),
            None => None,
        };
        Ok::<_, Failure>(answer::put_question(workspace, thread, asked)?)
    });
    let (thread, id) = leaving.await?;
    shared.sync.send_soon();
    let left = Left {
        thread,
        question: id,
        text: question,
        on: lender.label,
    };
    let is_offline = shared.settings.current().offline;
    if is_offline {
        let words = "Connections are forbidden by the settings or by --offline: the question waits until they are allowed.";
        emitter.notice(words).await;
    }
    if no_wait || is_offline {
        let chat = conversation::show(shared, &thread.to_string(), None).await?;
        return Ok(Reply::Thread(chat));
    }
    wait(shared, emitter, &left, &mut news)
        .await
        .map(Reply::Answered)
}

/// Takes back all questions of a chat that other laptops have not answered yet.
///
/// # Errors
/// When there is no such chat, no such question in it, or the disk refuses.
pub async fn withdraw_all(shared: &Arc<Shared>, chat: String) -> Result<ThreadReport, Failure> {
    let withdrawing = shared.with_workspace(move |workspace| {
        let thread = conversation::find(workspace, &chat)?;
        let messages = workspace.thread(thread)?.messages;
        let is_open = |message: &&StoredMessage| message.asked.as_ref().is_some_and(Asked::is_open);
        let open: Vec<MessageId> = messages.iter().filter(is_open).map(|one| one.id).collect();
        if open.is_empty() {
            return Err(Failure::new(
                FailureKind::NotFound,
                "no question of this chat waits for another laptop",
            ));
        }
        for question in open {
            workspace.note_asked(thread, question, &AskedNote::Withdrawn)?;
        }
        Ok(thread)
    });
    let thread = withdrawing.await?;
    shared.sync.send_soon();
    shared.lending.stir();
    conversation::show(shared, &thread.to_string(), None).await
}

/// Follows a question until it is answered.
async fn wait(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    left: &Left,
    news: &mut News,
) -> Result<AnswerReport, Failure> {
    emitter.notice(waiting_words(shared, &left.on)).await;
    let mut told = Told::default();
    loop {
        let thread = read(shared, left.thread).await?;
        let asked = thread
            .message(left.question)
            .and_then(|found| found.asked.as_ref());
        match asked.map(|asked| &asked.state) {
            Some(AskedState::Waiting) => {}
            Some(AskedState::Answering(draft)) => told.tell(emitter, &left.on, draft).await,
            Some(AskedState::Failed(reason)) => {
                return Err(Failure::general(format!(
                    "not answered on {}: {reason}",
                    left.on
                )));
            }
            Some(AskedState::Withdrawn) => {
                return Err(Failure::new(
                    FailureKind::Cancelled,
                    "The question was withdrawn.",
                ));
            }
            Some(AskedState::Answered) => {
                let report = report(shared, left, &thread).await?;
                told.finish(emitter, &report.answer).await;
                return Ok(report);
            }
            None => return Err(Failure::new(FailureKind::NotFound, "the chat was removed")),
        }
        tokio::select! {
            () = news.of(left.thread) => {}
            () = emitter.cancelled() => {
                withdraw(shared, left).await?;
                return Err(Failure::new(FailureKind::Cancelled, "Stopped; the question is withdrawn."));
            }
        }
    }
}

fn waiting_words(shared: &Shared, on: &str) -> String {
    let reports = shared.sync.reports();
    let report = reports.borrow();
    match report.state {
        SyncState::Working | SyncState::Equal => format!("Waiting for {on}."),
        _ => format!(
            "Waiting for {on}. The question is kept until it can be sent ({}).",
            report.line
        ),
    }
}

async fn withdraw(shared: &Arc<Shared>, left: &Left) -> Result<(), Failure> {
    let (thread, question) = (left.thread, left.question);
    let withdrawing = shared.with_workspace(move |workspace| {
        workspace.note_asked(thread, question, &AskedNote::Withdrawn)
    });
    withdrawing.await?;
    shared.sync.send_soon();
    Ok(())
}

/// What the user has been told of an answer that is being written.
#[derive(Default)]
struct Told {
    draft: String,
    has_begun: bool,
}

impl Told {
    /// Tells what is new. What was printed cannot be taken back, so a draft that begins anew is told as one.
    async fn tell(&mut self, emitter: &Emitter, on: &str, draft: &str) {
        if !std::mem::replace(&mut self.has_begun, true) {
            emitter.notice(format!("{on} answers.")).await;
        }
        if !draft.starts_with(&self.draft) {
            emitter.notice(format!("\n{on} begins anew.")).await;
            self.draft.clear();
        }
        let piece = draft[self.draft.len()..].to_owned();
        if !piece.is_empty() {
            draft.clone_into(&mut self.draft);
            emitter.send(Event::Answer(piece)).await;
        }
    }

    /// Tells what was written since the last draft came. Where none came, the report says everything.
    async fn finish(&self, emitter: &Emitter, answer: &str) {
        if self.draft.is_empty() {
            return;
        }
        let rest =
            rest_of(answer, &self.draft).map_or_else(|| format!("\n\n{answer}"), str::to_owned);
        emitter.send(Event::Answer(rest)).await;
    }
}

/// What follows a draft in the finished answer, where marks were moved and spaces set right; `None` where it says
/// something else.
fn rest_of<'a>(answer: &'a str, draft: &str) -> Option<&'a str> {
    let mut finished = words(answer);
    let mut end = 0;
    for (_, drafted) in words(draft) {
        let (at, letter) = finished.next()?;
        if letter != drafted {
            return None;
        }
        end = at + letter.len_utf8();
    }
    Some(&answer[end..])
}

/// Letters and digits with their places, without those of marks.
fn words(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut in_mark = false;
    text.char_indices().filter(move |(_, letter)| {
        match letter {
            '[' => in_mark = true,
            ']' => in_mark = false,
            _ => {}
        }
        !in_mark && letter.is_alphanumeric()
    })
}

async fn read(shared: &Arc<Shared>, thread: ThreadId) -> Result<Thread, Failure> {
    shared
        .with_workspace(move |workspace| workspace.thread(thread))
        .await
}

/// The answer as if it had been given here, with its citations in the documents of this laptop.
async fn report(
    shared: &Arc<Shared>,
    left: &Left,
    thread: &Thread,
) -> Result<AnswerReport, Failure> {
    let Some(answer) = thread.answer_to(left.question).cloned() else {
        return Err(Failure::new(
            FailureKind::NotFound,
            "the answer was removed",
        ));
    };
    let coverage = indexing::coverage(shared).await?;
    let (records, text) = (answer.citations, answer.text.clone());
    let looking_up = shared.with_workspace(move |workspace| {
        let citations = records
            .iter()
            .filter_map(|record| citation(workspace, record, &text));
        Ok::<_, SaveError>(citations.collect())
    });
    Ok(AnswerReport {
        steps: Vec::new(),
        thread: left.thread.to_string(),
        question: left.text.clone(),
        searched_for: left.text.clone(),
        answer: answer.text,
        refused: answer.model.is_none(),
        citations: looking_up.await?,
        unsupported: answer.unsupported,
        ended: if answer.model.is_some() {
            "end"
        } else {
            "none"
        }
        .to_owned(),
        model: answer.model,
        coverage,
        usage: None,
        on: Some(left.on.clone()),
    })
}

/// A stored citation as one of an answer; `None` where its document has not arrived here, or is gone.
fn citation(workspace: &Workspace, record: &CitationRecord, answer: &str) -> Option<Citation> {
    let anchor = &record.anchor;
    let found = workspace.resolve(anchor).ok()?;
    let entry = workspace.entry(anchor.document)?;
    let text = workspace.text(anchor.document).ok()?;
    text.get(found.range.clone())?;
    let is_marked = answer.contains(&format!("[{}]", record.mark));
    Some(Citation {
        mark: record.mark.clone(),
        origin: if is_marked {
            Origin::Model
        } else {
            Origin::Retrieved
        },
        ..documents::cited_place(&entry, &text, found.range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::jobs;

    #[test]
    fn what_follows_a_draft_is_found_where_marks_were_moved() {
        let answer = "Es gibt fünf Äpfel [S1]. Sie sind rot [S2].";
        assert_eq!(
            rest_of(answer, "Es gibt fünf Ä"),
            Some("pfel [S1]. Sie sind rot [S2].")
        );
        assert_eq!(
            rest_of(answer, "Es gibt fünf Äpfel. [S1] Sie"),
            Some(" sind rot [S2].")
        );
        assert_eq!(
            rest_of(answer, "Es gibt fünf Äpfel. [S1"),
            Some(" [S1]. Sie sind rot [S2].")
        );
        assert_eq!(rest_of(answer, "Es gibt sechs"), None);
        assert_eq!(rest_of("Es", "Es gibt"), None);
    }

    #[tokio::test]
    async fn a_draft_is_told_piece_by_piece_and_one_that_begins_anew_is_told_as_one() {
        let (emitter, mut stream) = jobs::channel();
        let mut told = Told::default();
        for draft in ["", "Fünf", "Fünf Äpfel", "Fünf Äpfel", "Sechs"] {
            told.tell(&emitter, "desk", draft).await;
        }
        told.finish(&emitter, "Sechs Birnen.").await;
        drop(emitter);
        let mut said = Vec::new();
        while let Some(event) = stream.next().await {
            said.push(match event {
                Event::Notice(words) => words,
                Event::Answer(piece) => piece,
                other => panic!("not expected: {other:?}"),
            });
        }
        let expected = [
            "desk answers.",
            "Fünf",
            " Äpfel",
            "\ndesk begins anew.",
            "Sechs",
            " Birnen.",
        ];
        assert_eq!(said, expected);
    }
}
