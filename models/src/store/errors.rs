//! What can go wrong in the model store, in words for the user.

use std::io;
use std::path::{Path, PathBuf};

use crate::convert::ConvertError;
use crate::gguf::{GgufError, SplitError};

/// Why the store could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or folder of the store failed.
    #[error("cannot read or write the model folder ({source}): {}", path.display())]
    Io {
        /// The cause.
        #[source]
        source: io::Error,
        /// The file or folder.
        path: PathBuf,
    },
    /// No model with this id.
    #[error("no model named {id} is installed; `satchel models list` shows the names")]
    NotInstalled {
        /// The id asked for.
        id: String,
    },
    /// The record of a model was written by a newer Satchel.
    #[error(
        "this model was installed by a newer Satchel (record version {version}); update Satchel, or remove the model and import it again"
    )]
    NewerRecord {
        /// Version of the record.
        version: i64,
    },
    /// The record of a model is damaged.
    #[error("the record of this model is damaged; remove the model and import it again")]
    BadRecord(#[source] toml::de::Error),
}

impl StoreError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            source,
            path: path.to_owned(),
        }
    }
}

/// Why a model was not imported. Nothing was installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file is not a model that can be used.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The parts of a split model do not make a model.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// The folder cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The folder has neither a GGUF file nor an embedder.
    #[error(
        "this folder holds no model: neither a .gguf file nor the model.safetensors of an embedder; give the file itself, or the folder in which it is"
    )]
    NoModelInFolder,
    /// The folder has several models.
    #[error("this folder holds {} models; give the file of one of them: {}", names.len(), first_of(names))]
    SeveralModelsInFolder {
        /// File names, of split models the first part that is there; sorted.
        names: Vec<String>,
    },
    /// The disk has not enough room.
    #[error(
        "the model needs {needed_bytes} bytes on the disk and {free_bytes} are free; make room and try again"
    )]
    NoSpace {
        /// Bytes that the import needs, a reserve included.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// The file could not be read.
    #[error("cannot read the model file ({source}): {}", path.display())]
    Read {
        /// The cause.
        #[source]
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// The copy could not be written.
    #[error("cannot write the model into the store ({0})")]
    Write(#[source] io::Error),
    /// The file changed while it was copied.
    #[error(
        "the model file changed while it was imported; wait until it is complete and try again"
    )]
    Changed,
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The first few names, for people.
fn first_of(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Why an installed model must not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The file is gone or cannot be read.
    #[error("the model file cannot be read ({source}); import the model again: {}", path.display())]
    Io {
        /// The cause.
        #[source]
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// The file has another size than when it was imported.
    #[error(
        "the model file has {actual_bytes} bytes instead of {recorded_bytes}; remove the model and import it again"
    )]
    SizeChanged {
        /// Size at the import.
        recorded_bytes: u64,
        /// Size now.
        actual_bytes: u64,
    },
    /// The content is not what was imported.
    #[error(
        "the model file was changed or damaged since it was imported; remove the model and import it again"
    )]
    ContentChanged {
        /// SHA-256 at the import.
        recorded_sha256: String,
        /// SHA-256 now.
        actual_sha256: String,
    },
    /// The record of the model cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
