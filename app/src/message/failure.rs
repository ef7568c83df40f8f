//! Why a command failed, in the user's words, with its exit code.
//!
//! Plain data, as in the rest of [`message`](super). Start at [`Failure`].

use serde::{Deserialize, Serialize};

/// Why a command failed, and what the user can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Decides the exit code.
    pub kind: FailureKind,
    /// What went wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Kinds of failures, one exit code each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Anything else: exit code 1.
    General,
    /// The command cannot be understood: 2.
    Usage,
    /// A path, document, chat or model does not exist: 3.
    NotFound,
    /// It needs the network: 4.
    Offline,
    /// Locked by another process, or the key cannot be had: 5.
    Locked,
    /// The disk is full: 6.
    NoSpace,
    /// Ctrl-C: 130.
    Cancelled,
}

impl FailureKind {
    /// The documented exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::General => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Offline => 4,
            Self::Locked => 5,
            Self::NoSpace => 6,
            Self::Cancelled => 130,
        }
    }
}

impl Failure {
    /// A failure of a kind, in words.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// A failure without a kind of its own.
    pub fn general(message: impl Into<String>) -> Self {
        Self::new(FailureKind::General, message)
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
