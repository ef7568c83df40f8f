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
    /// On which laptop it was said.
    pub author: Author,
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
