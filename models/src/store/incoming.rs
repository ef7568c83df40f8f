//! What is copied into the store: a GGUF file, or the one that the parts of a split model make.
//!
//! Who copies does not see the difference. Start at [`Incoming::open`].

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::errors::ImportError;
use crate::gguf::{self, GgufError, GgufSummary, PartName, SplitModel};

/// A GGUF model outside the store, found to be one.
pub(super) struct Incoming<'a> {
    /// The file, or one of the parts.
    pub(super) path: &'a Path,
    /// What its header says.
    pub(super) summary: GgufSummary,
    parts: Option<SplitModel>,
}

impl<'a> Incoming<'a> {
    /// Judges the model at `path` by its header, and finds all other parts when it is one of several.
    pub(super) fn open(path: &'a Path) -> Result<Self, ImportError> {
        let (summary, parts) = match gguf::check(path) {
            Err(GgufError::SplitPart { .. }) => {
                let parts = SplitModel::open(path)?;
                (parts.check()?, Some(parts))
            }
            judged => (judged?, None),
        };
        Ok(Self {
            path,
            summary,
            parts,
        })
    }

    /// The model that all its parts make, of which one has this name.
    pub(super) fn of_parts(name: &PartName, paths: &'a [PathBuf]) -> Result<Self, ImportError> {
        let parts = SplitModel::join(name, paths)?;
        Ok(Self {
            path: paths.first().map_or(Path::new(""), PathBuf::as_path),
            summary: parts.check()?,
            parts: Some(parts),
        })
    }

    /// Name of the file.
    pub(super) fn file_name(&self) -> String {
        let of_path = || self.path.file_name().unwrap_or_default().to_string_lossy();
        self.parts
            .as_ref()
            .map_or_else(|| of_path().into_owned(), SplitModel::file_name)
    }

    /// The bytes of the file.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.parts {
            None => Box::new(File::open(self.path)?),
            Some(parts) => Box::new(parts.reader()),
        })
    }

    /// The reason why it could not be read.
    pub(super) fn read_error(&self, source: io::Error) -> ImportError {
        ImportError::Read {
            source,
            path: self.path.to_owned(),
        }
    }
}
