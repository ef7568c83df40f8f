//! What can go wrong with the store, and what to do about it.
//!
//! Start at [`StoreError`].

use std::path::{Path, PathBuf};

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("another satchel-edge uses this data folder: stop it, or choose another with --data-dir: {}", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("cannot open the store {}", path.display())]
    Open {
        /// Why.
        source: Box<redb::DatabaseError>,
        /// Which file.
        path: PathBuf,
    },
    /// A read or a commit failed. After a failed commit the node must be started again.
    #[error("cannot read or write the store (is the disk full or failing?) {}", path.display())]
    Storage {
        /// Why.
        source: Box<redb::Error>,
        /// Which file.
        path: PathBuf,
    },
    /// A file beside the store cannot be read or written.
    #[error("cannot read or write the files of the store (is the disk full or failing?) {}", path.display())]
    Files {
        /// Why.
        source: std::io::Error,
        /// Which store.
        path: PathBuf,
    },
    /// A stored row is not what was written.
    #[error("the store is damaged ({what}); put it back from a backup, or start with an empty data folder and the same key: devices upload what they have: {}", path.display())]
    Damaged {
        /// Which row.
        what: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error("the store has format {found}, this program reads {}: update satchel-edge: {}", super::FORMAT, path.display())]
    Format {
        /// Its format.
        found: u64,
        /// Which file.
        path: PathBuf,
    },
    /// Written for protocol version 0, whose mailboxes had no owner.
    #[error("the store has format {found} of an early version without access control, which cannot be carried over: move this file away and start again, devices upload what they have: {}", path.display())]
    OldFormat {
        /// Its format.
        found: u64,
        /// Which file.
        path: PathBuf,
    },
}

impl StoreError {
    pub(super) fn open(error: redb::DatabaseError, path: &Path) -> Self {
        let path = path.to_owned();
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::InUse { path },
            source => Self::Open {
                source: Box::new(source),
                path,
            },
        }
    }

    pub(super) fn at(fault: Fault, path: &Path) -> Self {
        let path = path.to_owned();
        match fault {
            Fault::Redb(source) => Self::Storage {
                source: Box::new(source),
                path,
            },
            Fault::Io(source) => Self::Files { source, path },
            Fault::Row(what) => Self::Damaged { what, path },
        }
    }
}

/// A failure inside, before the path is known.
#[derive(Debug)]
pub(crate) enum Fault {
    Redb(redb::Error),
    Io(std::io::Error),
    Row(&'static str),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        })*
    };
}

from_redb!(
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);
