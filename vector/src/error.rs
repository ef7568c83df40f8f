//! What can go wrong with the index, by who can act.
//!
//! The index is a cache. So there are two kinds of trouble: the disk refuses (full, no permission),
//! and the user can act; or what is stored cannot be read, and the index heals itself by being set
//! aside and built anew. [`Fault`] tells them apart inside this crate.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Any error of a library below.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Why an operation on the index failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the index. Nothing was changed; trying again later can help.
    #[error("the search index is in use by another Satchel process; close that one first: {}", dir.display())]
    InUse {
        /// Folder of the index.
        dir: PathBuf,
    },
    /// The index could not be read. It has been set aside and the store is empty and usable again:
    /// give it all sources anew. Documents are not concerned.
    #[error(
        "the search index was damaged; it has been set aside and is rebuilt from your documents"
    )]
    Damaged {
        /// Where the damaged index lies now, if it could be kept.
        set_aside: Option<PathBuf>,
        /// What could not be read.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk refuses. Nothing that was there is lost; trying again helps when the cause is gone.
    #[error(
        "cannot read or write the search index; check free space and permissions of {}",
        dir.display()
    )]
    Disk {
        /// Folder of the index.
        dir: PathBuf,
        /// What the system said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An embedding does not have the dimension of the embedder that was chosen. Nothing was written.
    #[error("an embedding has {got} numbers, the embedder in use gives {expected}")]
    WrongDimension {
        /// Dimension of the embedder in use.
        expected: usize,
        /// Dimension given.
        got: usize,
    },
    /// An embedding has no direction: it is zero or not finite. Nothing was written.
    #[error("an embedding is zero or not finite; the model file may be damaged")]
    BadEmbedding,
    /// Embeddings were given, but no embedder is in use.
    #[error("no embedder is in use; choose one first")]
    NoEmbedder,
    /// The embedder's key cannot name a table.
    #[error(
        "an embedder is named by 1 to 64 letters, digits, - and _, with 1 to 16384 numbers: {id} with {dim}"
    )]
    InvalidEmbedder {
        /// The id given.
        id: String,
        /// The dimension given.
        dim: usize,
    },
}

/// Trouble inside an operation, before it is told to the caller.
#[derive(Debug)]
pub(crate) enum Fault {
    /// What is stored cannot be read.
    Damage(BoxError),
    /// The disk or the library refuses; what is stored may be fine.
    Trouble(BoxError),
    /// The caller's input is refused.
    Refused(StoreError),
}

impl Fault {
    /// Something stored is not as this crate writes it.
    pub(crate) fn damage(message: impl Into<String>) -> Self {
        Self::Damage(message.into().into())
    }

    /// Trouble while writing, where a surprise says nothing about what is stored: damage only if
    /// a file is missing or cut short.
    pub(crate) fn of_write(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        match io_kind(&*error) {
            Some(ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
                Self::Damage(error)
            }
            _ if is_unreadable(&*error) => Self::Damage(error),
            _ => Self::Trouble(error),
        }
    }

    /// Trouble while reading: damage, unless the system refuses.
    pub(crate) fn of_read(error: impl Into<BoxError>) -> Self {
        let error = error.into();
        match io_kind(&*error) {
            None
            | Some(
                ErrorKind::NotFound
                | ErrorKind::UnexpectedEof
                | ErrorKind::InvalidData
                | ErrorKind::InvalidInput
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                | ErrorKind::Other,
            ) => Self::Damage(error),
            Some(_) => Self::Trouble(error),
        }
    }
}

impl From<lance::Error> for Fault {
    fn from(error: lance::Error) -> Self {
        Self::of_read(error)
    }
}

impl From<lancedb::Error> for Fault {
    fn from(error: lancedb::Error) -> Self {
        Self::of_read(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Trouble(error.into())
    }
}

/// Kind of the system's error at the root of an error, if there is one that says more than `Other`.
fn io_kind(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            // An error of another library wrapped in an io::Error hides its own source.
            found = Some(io.kind());
            next = io
                .get_ref()
                .map(|inner| inner as &(dyn Error + 'static))
                .or_else(|| error.source());
            continue;
        }
        next = error.source();
    }
    found
}

/// Whether an error says that stored data is missing or corrupt.
fn is_unreadable(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(
            lance::Error::CorruptFile { .. }
            | lance::Error::NotFound { .. }
            | lance::Error::DatasetNotFound { .. },
        ) = error.downcast_ref::<lance::Error>()
        {
            return true;
        }
        if let Some(lancedb::Error::TableCorrupted { .. } | lancedb::Error::TableNotFound { .. }) =
            error.downcast_ref::<lancedb::Error>()
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Fault;

    #[test]
    fn a_full_disk_is_no_damage() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied] {
            assert!(matches!(
                Fault::of_read(io::Error::from(kind)),
                Fault::Trouble(_)
            ));
            assert!(matches!(
                Fault::of_write(io::Error::from(kind)),
                Fault::Trouble(_)
            ));
        }
        let wrapped = io::Error::other(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(Fault::of_read(wrapped), Fault::Trouble(_)));
    }

    #[test]
    fn a_missing_or_short_file_is_damage() {
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof] {
            assert!(matches!(
                Fault::of_read(io::Error::from(kind)),
                Fault::Damage(_)
            ));
            assert!(matches!(
                Fault::of_write(io::Error::from(kind)),
                Fault::Damage(_)
            ));
        }
        assert!(matches!(Fault::of_read("cannot decode"), Fault::Damage(_)));
        assert!(matches!(Fault::of_write("conflict"), Fault::Trouble(_)));
    }
}
