//! Answers a question from the documents: retrieve, judge, prompt, stream, cite, keep.
//!
//! The passages are found in code; a model that may look further (`tools`) only adds to them. Where they cannot hold an
//! answer, nothing is generated. Text of documents can start no action here: the model's output is only shown and searched for
//! marks, and a tool of another program is called when the user allows that call. Start at [`ask`].

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use satchel_inference::{AnswerForm, ChatMessage, ChatRole, GenerateRequest};
use satchel_sync::chat::{CitationRecord, Message, Role, StoredMessage, ThreadId};
use satchel_sync::id::MessageId;
use satchel_sync::workspace::{SaveError, Workspace};
use satchel_vector::Hit;

use super::conversation::{self, Turn};
use super::jobs::Emitter;
use super::layout::{Before, Found, Layout, Looks, Reader, lay_out, require_room};
use super::mcp::Servers;
use super::prompt::{Notes, Style};
use super::tools::{self, Looked};
use super::transcript::{Said, Transcript};
use super::{Shared, cite, indexing, model_host, reference, rerank, retrieve, words, writing};
use crate::message::{
    AnswerReport, Citation, Event, Failure, FailureKind, Origin, Progress, Stage, Usage,
};

/// Hits looked at for an answer; the prompt takes as many as its budget holds.
pub const HITS: usize = 16;

/// Answers a question; both are kept as messages of the chat.
///
/// # Errors
/// When the question is empty or longer than the model's window, no chat model is installed, or a worker
/// fails. A question that the documents cannot answer is a report with `refused`.
pub async fn ask(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    question: String,
    thread: Option<String>,
    looks_further: bool,
) -> Result<AnswerReport, Failure> {
    let question = retrieve::checked(&question)?;
    let (chat, mut before) = match conversation::open(shared, thread).await? {
        None => (None, Before::default()),
        Some(chat) => {
            let before = Before {
                place: chat.head.map(|head| (chat.id, head)),
                turns: chat.turns,
                ..Before::default()
            };
            (Some(chat.id), before)
        }
    };
    before.looks = if looks_further {
        Looks::FurtherAttended
    } else {
        Looks::AsSetAttended
    };
    let (mut report, said) = answer(shared, emitter, question, &before).await?;
    let (chat, head) = keep(shared, chat, &report).await?;
    if let Some(said) = said {
        let transcript = Transcript { head, said };
        shared.transcripts.hold(chat, transcript);
    }
    report.thread = chat.to_string();
    Ok(report)
}

/// Answers a question as [`ask`] does, after these questions with their answers, and keeps nothing.
///
/// # Errors
/// As for [`ask`].
pub async fn consult(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    question: String,
    history: Vec<(String, String)>,
) -> Result<AnswerReport, Failure> {
    let turns = history
        .into_iter()
        .map(|(question, answer)| Turn { question, answer });
    let before = Before {
        place: None,
        turns: turns.collect(),
        ..Before::default()
    };
    let question = retrieve::checked(&question)?;
    let (report, _) = answer(shared, emitter, question, &before).await?;
    Ok(report)
}

/// Answers a question that another laptop left in a chat, and keeps the answer behind it.
///
/// # Errors
/// As for [`ask`]; [`FailureKind::Cancelled`] where it was stopped, and then nothing was kept.
pub async fn answer_left(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    thread: ThreadId,
    question: &StoredMessage,
    before: &Before,
) -> Result<(), Failure> {
    let text = retrieve::checked(&question.text)?;
    let (report, said) = answer(shared, emitter, text, before).await?;
    if emitter.is_cancelled() {
        return Err(Failure::new(FailureKind::Cancelled, "Stopped."));
    }
    let question = question.id;
    let keeping = shared.with_workspace(move |workspace| {
        let answer = message_of(workspace, &report);
        workspace.append_message(thread, Some(question), answer)
    });
    let head = keeping.await?;
    if let Some(said) = said {
        let transcript = Transcript { head, said };
        shared.transcripts.hold(thread, transcript);
    }
    Ok(())
}

async fn answer(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    question: &str,
    before: &Before,
) -> Result<(AnswerReport, Option<Said>), Failure> {
    require_room(shared, question).await?;
    indexing::ensure_current(shared, emitter).await?;
    let started = Instant::now();
    let searched_for = conversation::stand_alone(question, &before.turns);
    let mut found = rerank::passages(shared, emitter, &searched_for, HITS).await?;
    if let Some(limitation) = found.limitation {
        emitter.notice(limitation).await;
    }
    let retrieve_ms = started.elapsed().as_secs_f64() * 1000.0;
    let looks_further = before.looks == Looks::FurtherAttended || shared.settings.current().tools;
    let looked = if looks_further {
        let servers = if before.looks == Looks::AsSet {
            Servers::default()
        } else {
            Servers::start(&shared.settings.current(), emitter).await
        };
        let looking =
            tools::look_further(shared, emitter, &servers, &searched_for, &mut found.hits).await;
        servers.end().await;
        looking?
    } else {
        Looked::default()
    };
    let coverage = indexing::coverage(shared).await?;
    let mut report = AnswerReport {
        thread: String::new(),
        question: question.to_owned(),
        searched_for: searched_for.clone(),
        answer: String::new(),
        refused: false,
        citations: Vec::new(),
        unsupported: Vec::new(),
        model: None,
        ended: "none".to_owned(),
        coverage,
        usage: None,
        on: None,
        steps: looked.steps,
    };
    let knows_more = !looked.notes.is_empty() || !looked.told.is_empty();
    if !knows_more && !retrieve::can_answer(&searched_for, &found.hits) {
        refuse(&found.hits, &mut report);
        return Ok((report, None));
    }
    let found = Found {
        hits: &found.hits,
        notes: Notes {
            own: &looked.notes,
            told: &looked.told,
        },
    };
    let said = generate(shared, emitter, before, found, &mut report).await?;
    if let Some(usage) = &mut report.usage {
        usage.retrieve_ms = retrieve_ms;
    }
    Ok((report, said))
}

/// Says that the documents do not hold it, with what comes nearest.
fn refuse(hits: &[Hit], report: &mut AnswerReport) {
    report.refused = true;
    report.citations = cite::nearest(hits, &report.question);
    report.answer = match (report.coverage.documents, report.citations.is_empty()) {
        (0, _) => {
            "There are no documents yet. Import some with `satchel import FOLDER`.".to_owned()
        }
        (_, true) => "Your documents do not say.".to_owned(),
        (_, false) => "Your documents do not say. These passages come nearest:".to_owned(),
    };
}

/// Lets the model answer into the report. Returns what was said where a follow-up question can go on with it.
async fn generate(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    before: &Before,
    found: Found<'_>,
    report: &mut AnswerReport,
) -> Result<Option<Said>, Failure> {
    emitter.progress(Progress {
        stage: Stage::Loading,
        done: 0,
        total: 1,
        eta_ms: None,
    });
    let reader = Reader::load(shared).await?;
    for news in shared.models.news(&reader.running, &reader.info) {
        emitter.notice(news).await;
    }
    let question = &report.question;
    let Layout {
        mut messages,
        passages,
        relevant,
    } = lay_out(shared, emitter, &reader, before, found, question).await?;
    let asked = words::content_words(question);
    let shown = passages[..relevant]
        .iter()
        .map(|passage| cite::citation(passage, Origin::Retrieved, &asked));
    emitter.send(Event::Passages(shown.collect())).await;
    let settings = shared.settings.current();
    let request = GenerateRequest {
        messages: messages.clone(),
        sampling: writing::sampling(&settings, reader.style.repeat_penalty()),
        max_output_tokens: reader.most_output(shared),
        thinking: writing::thinking(settings.thinking, &reader.info),
        stop: settings.stop.clone(),
        form: AnswerForm::Free,
    };
    let written = writing::write(&reader.running.engine, emitter, request).await?;
    let cited = cite::cite(&written.text, question, &passages);
    report.answer = cited.text;
    report.citations = cited.citations;
    report.unsupported = cited.unsupported;
    report
        .unsupported
        .retain(|sentence| !tools::bears_out(found.notes.own, sentence));
    report.model = Some(model_host::display_name(&reader.running.model));
    report.ended = written.ended.to_owned();
    report.usage = written.usage.map(|usage| Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        output_tokens: usage.output_tokens,
        retrieve_ms: 0.0,
        prompt_ms: usage.prompt_ms,
        output_ms: usage.output_ms,
    });
    let goes_on = reader.style == Style::Marked && !written.text.is_empty();
    messages.push(ChatMessage::new(ChatRole::Assistant, written.text));
    Ok(goes_on.then(|| Said {
        reader: reader.running.reader(&reader.info),
        messages,
        passages,
    }))
}

/// Keeps question and answer durably, each citation bound to the document as it is now. Returns the chat and the answer.
async fn keep(
    shared: &Arc<Shared>,
    thread: Option<ThreadId>,
    report: &AnswerReport,
) -> Result<(ThreadId, MessageId), Failure> {
    let asked = Message::new(Role::User, report.question.clone(), now_ms());
    let report = report.clone();
    shared
        .with_workspace(move |workspace| {
            let (thread, question) = put_question(workspace, thread, asked)?;
            let message = message_of(workspace, &report);
            let answer = workspace.append_message(thread, Some(question), message)?;
            Ok::<_, SaveError>((thread, answer))
        })
        .await
}

/// Puts a question at the end of a chat, or into a new one.
pub(super) fn put_question(
    workspace: &Workspace,
    thread: Option<ThreadId>,
    question: Message,
) -> Result<(ThreadId, MessageId), SaveError> {
    let thread = match thread {
        Some(thread) => thread,
        None => workspace.create_thread(&title_of(&question.text))?,
    };
    let parent = workspace
        .thread(thread)?
        .path_to_latest()
        .last()
        .map(|message| message.id);
    let question = workspace.append_message(thread, parent, question)?;
    Ok((thread, question))
}

/// An answer as a chat keeps it.
fn message_of(workspace: &Workspace, report: &AnswerReport) -> Message {
    let citations = report.citations.iter();
    Message {
        citations: citations
            .filter_map(|citation| record(workspace, citation))
            .collect(),
        unsupported: report.unsupported.clone(),
        model: report.model.clone(),
        ..Message::new(Role::Assistant, report.answer.clone(), now_ms())
    }
}

/// A citation that survives edits of its document; `None` where the document went away meanwhile.
fn record(workspace: &Workspace, citation: &Citation) -> Option<CitationRecord> {
    let document = reference::document_id(&citation.document)?;
    let anchor = workspace.anchor(document, citation.range.clone()).ok()?;
    Some(CitationRecord {
        mark: citation.mark.clone(),
        anchor,
    })
}

fn title_of(question: &str) -> String {
    let title: String = question.chars().take(60).collect();
    if title.len() < question.len() {
        title + "…"
    } else {
        title
    }
}

pub(super) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
