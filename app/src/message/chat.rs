//! Chats as faces list and show them.
//!
//! Plain data, as in the rest of [`message`](super). Start at [`ThreadReport`].

use serde::{Deserialize, Serialize};

use super::Author;

/// One chat in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ThreadSummary {
    /// Id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Last change, milliseconds since 1970 (UTC).
    pub updated_at_ms: i64,
}

/// A chat, one branch of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ThreadReport {
    /// The chat.
    pub thread: ThreadSummary,
    /// The messages of the branch, oldest first.
    pub messages: Vec<MessageReport>,
    /// Number of the branch that is shown, counted from 1; 1 is the newest one.
    pub branch: usize,
    /// Every branch, newest first; one where two laptops did not go on from the same message.
    pub branches: Vec<BranchSummary>,
}

/// One branch of a chat.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BranchSummary {
    /// Who said its last message.
    pub author: Author,
    /// When, in milliseconds since 1970 by the laptop's clock.
    pub at_ms: i64,
    /// How many messages it has.
    pub messages: usize,
    /// How its last question begins.
    pub question: String,
}

/// One message of a chat.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageReport {
    /// `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub text: String,
    /// Its citations.
    pub citations: Vec<StoredCitation>,
    /// Sentences of an answer whose words or numbers are in none of the passages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsupported: Vec<String>,
    /// On which laptop it was said.
    pub author: Author,
    /// Of a question that another laptop was asked: which one, and how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedReport>,
    /// Of an answer to such a question: what the laptop is called that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
}

/// A question that another laptop was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedReport {
    /// What the laptop is called.
    pub on: String,
    /// How far it is.
    pub state: AskedStage,
    /// What it has written so far. Where it ended meanwhile, it begins anew when it is back.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub draft: String,
    /// Why it cannot answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a laptop is with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedStage {
    /// It has not begun, or not heard of it.
    Waiting,
    /// It writes.
    Answering,
    /// It cannot answer.
    Failed,
    /// Nobody wants to know any more.
    Withdrawn,
    /// The answer follows.
    Answered,
}

impl AskedReport {
    /// Whether an answer is still to come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, AskedStage::Waiting | AskedStage::Answering)
    }

    /// A line for under the question; `None` where the answer says it all.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let on = &self.on;
        match self.state {
            AskedStage::Waiting => Some(format!("Waits for {on}.")),
            AskedStage::Answering => Some(format!("Being answered on {on}.")),
            AskedStage::Failed => {
                let reason = self.reason.as_deref().unwrap_or("it does not say why");
                Some(format!("Not answered on {on}: {reason}"))
            }
            AskedStage::Withdrawn => Some(format!("Withdrawn before {on} had answered.")),
            AskedStage::Answered => None,
        }
    }
}

/// A citation kept with a message, looked up in the document as it is now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredCitation {
    /// The mark in the text.
    pub mark: String,
    /// The title of its document.
    pub place: String,
    /// What `satchel show` takes; `None` when the document is gone.
    pub reference: Option<String>,
    /// The words as they were cited.
    pub quote: String,
    /// The text there has changed since.
    pub changed: bool,
}
