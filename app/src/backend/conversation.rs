//! Chats: what was said before, and what a follow-up question really asks for.
//!
//! Rewriting is done by rule, not by a model: a small model rewrites worse than it answers.
//! Start at [`stand_alone`] and [`open`].

use std::sync::Arc;

use satchel_sync::DeviceId;
use satchel_sync::chat::{Asked, AskedState, Role, StoredMessage, Thread, ThreadId};
use satchel_sync::id::MessageId;
use satchel_sync::workspace::Workspace;

use super::{Shared, warm, words};
use crate::message::{
    AskedReport, AskedStage, Authors, BranchSummary, Failure, FailureKind, MessageReport,
    StoredCitation, ThreadReport, ThreadSummary,
};

/// Longest title of a chat: a line in a list.
const MAX_TITLE_CHARS: usize = 200;

/// A question with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What was asked.
    pub question: String,
    /// What was answered.
    pub answer: String,
}

/// Words by which a question leans on what was said before.
const LEANING: [&str; 24] = [
    "it", "its", "he", "she", "him", "her", "his", "they", "them", "their", "this", "that",
    "these", "those", "there", "then", "else", "more", "same", "one", "ones", "former", "latter",
    "also",
];

/// What to search for: the question itself, or, where it leans on the turn before (`and in 2021?`,
/// `who built it?`), the question together with that turn's.
#[must_use]
pub fn stand_alone(question: &str, turns: &[Turn]) -> String {
    let Some(last) = turns.last() else {
        return question.to_owned();
    };
    let own = words::content_words(question);
    let lower = question.to_lowercase();
    let leans = lower
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| LEANING.contains(&word))
        || ["and ", "what about", "how about", "why", "tell me more"]
            .iter()
            .any(|start| lower.starts_with(start));
    if own.len() < 2 || (leans && own.len() < 6) {
        format!("{} {question}", last.question)
    } else {
        question.to_owned()
    }
}

/// The last turns as the model sees them, oldest first; marks and long answers are cut.
#[must_use]
pub fn history(turns: &[Turn], most: usize) -> Vec<(String, String)> {
    let skip = turns.len().saturating_sub(most);
    turns
        .iter()
        .skip(skip)
        .map(|turn| (turn.question.clone(), shorten(&turn.answer)))
        .collect()
}

/// An answer in the history is a reminder, not a source.
fn shorten(answer: &str) -> String {
    let mut kept = String::new();
    for range in words::sentences(answer) {
        if kept.len() > 300 {
            break;
        }
        kept += &answer[range];
        kept.push(' ');
    }
    kept.trim_end().to_owned()
}

/// A chat that a question belongs to.
pub struct Chat {
    /// Which.
    pub id: ThreadId,
    /// The question comes after this message; `None` in a chat without any.
    pub head: Option<MessageId>,
    /// What was asked and answered, oldest first.
    pub turns: Vec<Turn>,
}

/// The chat that a question belongs to; `None` for a new chat.
///
/// # Errors
/// When there is no such chat.
pub async fn open(shared: &Arc<Shared>, thread: Option<String>) -> Result<Option<Chat>, Failure> {
    let Some(name) = thread else {
        return Ok(None);
    };
    shared
        .with_workspace(move |workspace| {
            let id = find(workspace, &name)?;
            let thread = workspace.thread(id)?;
            Ok::<_, Failure>(Some(Chat {
                id,
                head: thread.path_to_latest().last().map(|message| message.id),
                turns: turns(&thread.path_to_latest()),
            }))
        })
        .await
}

/// The chats, newest first.
///
/// # Errors
/// When the workspace cannot be read.
pub async fn list(shared: &Arc<Shared>) -> Result<Vec<ThreadSummary>, Failure> {
    let shared = Arc::clone(shared);
    let mut threads = shared
        .with_workspace(|workspace| {
            Ok::<_, Failure>(workspace.threads().iter().map(summary).collect::<Vec<_>>())
        })
        .await?;
    threads.sort_by_key(|thread| std::cmp::Reverse(thread.updated_at_ms));
    Ok(threads)
}

/// One branch of a chat, the newest one by default, with citations looked up in the documents as they are now.
///
/// # Errors
/// When there is no such chat, or no such branch.
pub async fn show(
    shared: &Arc<Shared>,
    thread: &str,
    branch: Option<usize>,
) -> Result<ThreadReport, Failure> {
    let name = thread.to_owned();
    let authors = super::sync::authors(shared);
    shared
        .with_workspace(move |workspace| {
            let id = find(workspace, &name)?;
            let Some(entry) = workspace.threads().into_iter().find(|entry| entry.id == id) else {
                return Err(unknown(&name));
            };
            let thread = workspace.thread(id)?;
            let branches = thread.branches();
            let shown = match branch {
                None => thread.path_to_latest(),
                Some(number) => number
                    .checked_sub(1)
                    .and_then(|index| branches.get(index).cloned())
                    .ok_or_else(|| no_branch(number, branches.len()))?,
            };
            let messages = shown.into_iter().map(|message| MessageReport {
                role: role_word(message.role).to_owned(),
                text: message.text.clone(),
                citations: message
                    .citations
                    .iter()
                    .map(|citation| stored(workspace, citation))
                    .collect(),
                unsupported: message.unsupported.clone(),
                author: authors.of(message.author),
                asked: message
                    .asked
                    .as_ref()
                    .map(|asked| asked_report(asked, &authors)),
                on: elsewhere(&thread, message).map(|on| authors.of(Some(on)).name().to_owned()),
            });
            Ok(ThreadReport {
                thread: summary(&entry),
                messages: messages.collect(),
                branch: branch.unwrap_or(1),
                branches: branches
                    .iter()
                    .filter_map(|branch| branch_summary(branch, &authors))
                    .collect(),
            })
        })
        .await
}

/// The laptop that gave an answer, where it had been asked for that.
fn elsewhere(thread: &Thread, answer: &StoredMessage) -> Option<DeviceId> {
    let question = thread.message(answer.parent?)?;
    let asked = question.asked.as_ref()?;
    (answer.role == Role::Assistant).then(|| answer.author.unwrap_or(asked.of))
}

/// What another laptop was asked, in the user's words.
fn asked_report(asked: &Asked, authors: &Authors) -> AskedReport {
    let (state, draft, reason) = match &asked.state {
        AskedState::Waiting => (AskedStage::Waiting, "", None),
        AskedState::Answering(draft) => (AskedStage::Answering, draft.as_str(), None),
        AskedState::Failed(reason) => (AskedStage::Failed, "", Some(reason.clone())),
        AskedState::Withdrawn => (AskedStage::Withdrawn, "", None),
        AskedState::Answered => (AskedStage::Answered, "", None),
    };
    AskedReport {
        on: authors.of(Some(asked.of)).name().to_owned(),
        state,
        draft: draft.to_owned(),
        reason,
    }
}

fn branch_summary(branch: &[&StoredMessage], authors: &Authors) -> Option<BranchSummary> {
    let last = branch.last()?;
    let question = branch
        .iter()
        .rev()
        .find(|message| message.role == Role::User);
    Some(BranchSummary {
        author: authors.of(last.author),
        at_ms: last.created_at_ms,
        messages: branch.len(),
        question: question.map_or_else(String::new, |message| {
            message.text.chars().take(MAX_TITLE_CHARS).collect()
        }),
    })
}

fn no_branch(number: usize, count: usize) -> Failure {
    Failure::new(
        FailureKind::NotFound,
        format!("there is no branch {number}: the chat has {count}"),
    )
    .with_hint("`satchel chat --show CHAT` lists them.")
}

/// Gives a chat another title.
///
/// # Errors
/// When there is no such chat, or the title is empty or very long.
pub async fn rename(shared: &Arc<Shared>, thread: String, title: &str) -> Result<String, Failure> {
    let title = title.trim().to_owned();
    if title.is_empty() || title.chars().count() > MAX_TITLE_CHARS {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("a title has 1 to {MAX_TITLE_CHARS} characters"),
        ));
    }
    shared
        .with_workspace(move |workspace| {
            workspace.rename_thread(find(workspace, &thread)?, &title)?;
            Ok::<_, Failure>(format!("Renamed the chat to {title}."))
        })
        .await
}

/// Removes a chat for good.
///
/// # Errors
/// When there is no such chat.
pub async fn remove(shared: &Arc<Shared>, thread: String) -> Result<String, Failure> {
    let removed = shared
        .with_workspace(move |workspace| {
            let id = find(workspace, &thread)?;
            workspace.remove_thread(id)?;
            Ok::<_, Failure>(id)
        })
        .await?;
    warm::forget(shared, removed).await;
    Ok("Removed the chat.".to_owned())
}

fn stored(workspace: &Workspace, citation: &satchel_sync::chat::CitationRecord) -> StoredCitation {
    let anchor = &citation.anchor;
    let entry = workspace.entry(anchor.document);
    let place = entry.as_ref().map_or_else(
        || "a removed document".to_owned(),
        |entry| entry.title.clone(),
    );
    let resolved = workspace.resolve(anchor).ok();
    StoredCitation {
        mark: citation.mark.clone(),
        place,
        reference: resolved.as_ref().map(|found| {
            let id = anchor.document.to_string();
            format!("{}:{}-{}", &id[..12], found.range.start, found.range.end)
        }),
        quote: anchor.quote.clone(),
        // What is gone has not changed: there is no reference to open.
        changed: resolved.is_some_and(|found| found.changed),
    }
}

/// The questions of a branch that were answered, with their answers.
pub(super) fn turns(branch: &[&StoredMessage]) -> Vec<Turn> {
    let mut turns = Vec::new();
    let mut question: Option<String> = None;
    for message in branch {
        match message.role {
            Role::User => question = Some(message.text.clone()),
            Role::Assistant => {
                if let Some(question) = question.take() {
                    turns.push(Turn {
                        question,
                        answer: message.text.clone(),
                    });
                }
            }
        }
    }
    turns
}

/// The chat that a user names by its id or the first digits of it.
///
/// # Errors
/// When none or several fit.
pub(super) fn find(workspace: &Workspace, name: &str) -> Result<ThreadId, Failure> {
    let matching: Vec<ThreadId> = workspace
        .threads()
        .iter()
        .map(|entry| entry.id)
        .filter(|id| !name.is_empty() && id.to_string().starts_with(name))
        .collect();
    match matching.as_slice() {
        [one] => Ok(*one),
        [] => Err(unknown(name)),
        _ => Err(Failure::new(
            FailureKind::Usage,
            format!("{name} is the beginning of several chat ids; give more digits"),
        )),
    }
}

fn unknown(name: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("there is no chat {name}"))
        .with_hint("`satchel chat --list` shows them.")
}

fn summary(entry: &satchel_sync::chat::ThreadEntry) -> ThreadSummary {
    ThreadSummary {
        id: entry.id.to_string(),
        title: entry.title.clone(),
        updated_at_ms: entry.updated_at_ms,
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn() -> Vec<Turn> {
        vec![Turn {
            question: "Who built the bridge at Kiel?".into(),
            answer: "A firm.".into(),
        }]
    }

    #[test]
    fn a_question_that_leans_takes_the_one_before_along() {
        assert_eq!(
            stand_alone("When was it opened?", &turn()),
            "Who built the bridge at Kiel? When was it opened?"
        );
        assert_eq!(
            stand_alone("And in 2021?", &turn()),
            "Who built the bridge at Kiel? And in 2021?"
        );
        assert_eq!(
            stand_alone("Why?", &turn()),
            "Who built the bridge at Kiel? Why?"
        );
    }

    #[test]
    fn a_question_of_its_own_stays_as_it_is() {
        let question = "How many apple trees stand in the garden of my parents?";
        assert_eq!(stand_alone(question, &turn()), question);
        assert_eq!(
            stand_alone("When was it opened?", &[]),
            "When was it opened?"
        );
    }
}
