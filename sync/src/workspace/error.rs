//! Why a workspace cannot be opened, read or saved to, each with what the user can do.
//!
//! Start at [`OpenError`] and [`SaveError`].

use std::io;
use std::path::{Path, PathBuf};

use crate::document::{AnchorError, LoadError};
use crate::durable;
use crate::id::{DocumentId, MessageId, ThreadId};
use crate::log::LogError;

/// Why a workspace cannot be opened or made. Nothing was changed by the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("the documents are open in another Satchel; use that one or close it ({path})")]
    Locked {
        /// The workspace's folder.
        path: PathBuf,
    },
    /// There is one already.
    #[error("there is a workspace already in {path}")]
    AlreadyExists {
        /// The workspace's folder.
        path: PathBuf,
    },
    /// The folder holds no workspace.
    #[error("there is no workspace in {path}")]
    NotFound {
        /// The folder.
        path: PathBuf,
    },
    /// The data key is another one than the workspace was made with.
    #[error(
        "the data key does not fit these documents; restore the key that they were made with ({path})"
    )]
    WrongKey {
        /// The file that shows it.
        path: PathBuf,
    },
    /// There is no space left.
    #[error("the disk is full: at least {needed_bytes} bytes are needed in {path}")]
    NoSpace {
        /// How many bytes were to be written.
        needed_bytes: u64,
        /// Where.
        path: PathBuf,
    },
    /// The index cannot be read as it is, and repairing it would lose data.
    #[error(transparent)]
    Log(LogError),
    /// The index was read but is not understood.
    #[error("the index of the documents is not understood ({path}): {source}")]
    Index {
        /// The index file.
        path: PathBuf,
        /// What is wrong.
        source: LoadError,
    },
    /// The file system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::WrongKey { path } => Self::WrongKey { path },
            other => Self::Log(other),
        }
    }
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            // A new workspace needs little more than its folders.
            return Self::NoSpace {
                needed_bytes: 64 << 10,
                path,
            };
        }
        Self::Io { path, source }
    }
}

/// Why something in an open workspace cannot be read or saved.
///
/// After any of these, what was saved before is unharmed and the workspace can go on being used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// There is no space left. Nothing of the batch was saved; try again after freeing some.
    #[error(
        "the disk is full: {needed_bytes} bytes are needed and {free_bytes} are free; nothing was changed, free some space and try again ({path})"
    )]
    NoSpace {
        /// How many bytes were to be written.
        needed_bytes: u64,
        /// How many are free.
        free_bytes: u64,
        /// Where.
        path: PathBuf,
    },
    /// There is no such document.
    #[error("there is no document {document}")]
    UnknownDocument {
        /// Which one was asked for.
        document: DocumentId,
    },
    /// There is no such chat.
    #[error("there is no chat {thread}")]
    UnknownThread {
        /// Which one was asked for.
        thread: ThreadId,
    },
    /// There is no such message in the chat.
    #[error("there is no message {message} in this chat")]
    UnknownMessage {
        /// Which one was asked for.
        message: MessageId,
    },
    /// The text or the original is longer than what is kept.
    #[error("{bytes} bytes are too much for one document; at most {limit_bytes} are kept")]
    TooLarge {
        /// How long it is, in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// What is to be replaced does not lie inside the text.
    #[error("{delete_bytes} bytes at {at_bytes} are not inside a text of {text_bytes} bytes")]
    OutsideText {
        /// Where, in UTF-8 bytes.
        at_bytes: usize,
        /// How many bytes were to go.
        delete_bytes: usize,
        /// Length of the text in UTF-8 bytes.
        text_bytes: usize,
    },
    /// The file of a document, an original or a chat is damaged beyond use.
    #[error(
        "the stored file is damaged and was left alone; import its source again or restore it from a backup ({path})"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The file was read but is not understood.
    #[error("the stored file is not understood ({path}): {source}")]
    NotUnderstood {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: LoadError,
    },
    /// A passage cannot be cited or found.
    #[error(transparent)]
    Anchor(AnchorError),
    /// The file cannot be read as it is.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An earlier failure left the list of documents in doubt.
    #[error(
        "the disk failed while the list of documents was saved; close Satchel and open it again"
    )]
    Reopen,
    /// The file system refused.
    #[error("cannot read or write {path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl SaveError {
    /// Says what the file system said, with the numbers that help where the disk is full.
    pub(super) fn io(path: &Path, needed_bytes: u64, source: io::Error) -> Self {
        let path = path.to_owned();
        if is_full(&source) {
            let free_bytes = durable::free_bytes(path.parent().unwrap_or(&path)).unwrap_or(0);
            return Self::NoSpace {
                needed_bytes,
                free_bytes,
                path,
            };
        }
        Self::Io { path, source }
    }

    pub(super) fn load(path: &Path, source: impl Into<LoadError>) -> Self {
        Self::NotUnderstood {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
