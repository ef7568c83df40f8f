//! Why a file gave no text, in words that tell its owner what to do.
//!
//! Crosses the pipe from a worker, so it is plain data: never a path, never text of the document.

use serde::{Deserialize, Serialize};

/// Why one file could not be turned into text. Nothing was stored and other files are unaffected.
///
/// Each message is one sentence to show beside the file's name. Trying again helps only where the
/// message says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ParseError {
    /// The file has no bytes.
    #[error("the file is empty: there is nothing to import")]
    Empty,
    /// The file system refused to open or read it.
    #[error("the file cannot be read ({words}): check that it exists and that you may open it")]
    Unreadable {
        /// The operating system's own words.
        words: String,
    },
    /// A folder, pipe, socket or device; reading one might never end.
    #[error("this is {found}, not a regular file: choose a document")]
    NotRegularFile {
        /// What it is instead, with its article: "a folder", "a named pipe".
        found: String,
    },
    /// The file is larger than [`limits::INPUT_BYTES`](super::limits::INPUT_BYTES).
    #[error(
        "the file has {bytes} bytes and the limit is {limit}: split it, or import the part you need"
    )]
    TooLarge {
        /// Size of the file, or how much of it was read before it was given up.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The text is larger than [`limits::TEXT_BYTES`](super::limits::TEXT_BYTES).
    #[error("the file holds more than {limit} bytes of text: split it into several files")]
    TextTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A password is needed to open it.
    #[error("the file is protected by a password: save a copy without one and import that")]
    PasswordProtected,
    /// The file breaks the rules of its format, or tries to exhaust memory or time.
    #[error("the file is damaged ({detail}): open it in its own program and save it again")]
    Damaged {
        /// What is wrong, for somebody who knows the format.
        detail: String,
    },
    /// A known kind of file which is not read.
    #[error("files of the type {media_type} are not read: {hint}")]
    Unsupported {
        /// Media type of what was found.
        media_type: String,
        /// What to do instead.
        hint: String,
    },
    /// Neither text nor a known kind of document.
    #[error(
        "the file holds binary data of no known kind: import the document that it was made from"
    )]
    Binary,
    /// The file was understood and holds no text.
    #[error("the file holds no text: {hint}")]
    NoText {
        /// What to do about it.
        hint: String,
    },
    /// The name promises one kind of document and the content is something else that is not read.
    #[error("the name says {named}, but the content is {looks_like}: check where it came from")]
    WrongType {
        /// What the name promises: "PDF".
        named: String,
        /// What the content is, with its article: "a PNG image".
        looks_like: String,
    },
    /// Reading took too long, so it was stopped.
    #[error("reading the file took longer than {seconds} seconds: split it, or save it again")]
    TimedOut {
        /// The time it had.
        seconds: u64,
    },
    /// Reading needed more memory than one file may take.
    #[error("reading the file needs more memory than the limit: split it into smaller files")]
    OutOfMemory,
    /// The parser failed in a way that it should not; only this file is lost.
    #[error(
        "the file made its parser fail: save it again in another program; if that does not help, \
         please report it"
    )]
    Crashed,
    /// The worker process that reads documents cannot be started. Trying again may help.
    #[error("the program that reads documents could not be started ({words}): try again")]
    NoWorker {
        /// The operating system's own words.
        words: String,
    },
}

impl ParseError {
    /// The error for a broken file, with the reason in the words of its format.
    pub(crate) fn damaged(detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        // Parsers quote parts of a file in their messages; a long one would bring text into a log.
        if detail.len() > 200 {
            detail.truncate(detail.floor_char_boundary(200));
            detail.push('…');
        }
        Self::Damaged { detail }
    }

    /// The error for text beyond the limit of one document.
    pub(crate) fn text_too_large() -> Self {
        Self::TextTooLarge {
            limit: super::limits::TEXT_BYTES as u64,
        }
    }
}
