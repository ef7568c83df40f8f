//! Why a folder cannot be converted, in words for the person who brought it.

use std::io;

use crate::gguf::WriteError;

/// Why a folder cannot be converted. The folder is never changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file that every such embedder has is not there.
    #[error("{file} is missing: {hint}")]
    MissingFile {
        /// The file's name inside the folder.
        file: String,
        /// What it is for, and what to do.
        hint: &'static str,
    },
    /// A file could not be read.
    #[error("cannot read {file}")]
    Read {
        /// The file's name inside the folder.
        file: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any real one.
    #[error(
        "{file} has {file_bytes} bytes, at most {max_bytes} are expected; download the model again"
    )]
    TooLarge {
        /// The file's name inside the folder.
        file: String,
        /// Its size.
        file_bytes: u64,
        /// The largest size that is accepted.
        max_bytes: u64,
    },
    /// A settings file is not what it should be.
    #[error("{file} cannot be understood; download the model again")]
    Json {
        /// The file's name inside the folder.
        file: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The model uses something whose conversion was never proven right.
    #[error(
        "this model cannot be converted: {what} is \"{found}\", and only {supported} was proven to give right vectors; look for a GGUF file of this model"
    )]
    Unsupported {
        /// The setting.
        what: &'static str,
        /// Its value in this model.
        found: String,
        /// What is supported.
        supported: &'static str,
    },
    /// A number in the settings is impossible.
    #[error("config.json gives {what} as {value}, which is impossible; download the model again")]
    BadNumber {
        /// The setting.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The vocabulary does not fit.
    #[error("vocab.txt does not fit this model: {problem}; download the model again")]
    BadVocabulary {
        /// What is wrong.
        problem: String,
    },
    /// The weights do not fit the settings or are damaged.
    #[error(
        "model.safetensors does not fit this model: {tensor} {problem}; download the model again"
    )]
    BadWeights {
        /// Name of the tensor, or `the file`.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The converted file could not be written.
    #[error(transparent)]
    Write(WriteError),
}

impl ConvertError {
    pub(super) fn bad_weights(tensor: &str, problem: impl Into<String>) -> Self {
        Self::BadWeights {
            tensor: crate::gguf::printable(tensor),
            problem: problem.into(),
        }
    }

    pub(super) fn unsupported(
        what: &'static str,
        found: impl AsRef<str>,
        supported: &'static str,
    ) -> Self {
        Self::Unsupported {
            what,
            found: crate::gguf::printable(found.as_ref()),
            supported,
        }
    }
}
