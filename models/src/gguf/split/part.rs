//! One part of a split model: its header, judged by itself.
//!
//! Never reads tensor data. Start at [`Part::read`].

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::SplitError;
use super::name::PartName;
use crate::gguf::check::{Facts, SplitPart};
use crate::gguf::error::GgufError;
use crate::gguf::read::{Header, open_header};

/// A part whose header is sound and says what its name says.
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// Its file name.
    pub(super) name: String,
    /// What it says of itself.
    pub(super) said: SplitPart,
    pub(super) alignment: u64,
    pub(super) header: Header,
    /// Where the data of each tensor is in the file.
    pub(super) places: Vec<Range<u64>>,
    /// The header as it stands in the file.
    raw: Vec<u8>,
}

impl Part {
    /// Reads the file at `path`, which should be the part of this name.
    pub(super) fn read(path: &Path, name: &PartName) -> Result<Self, SplitError> {
        let refused = |source| refused(name.file_name(), source);
        let misnamed = |is: String| SplitError::Misnamed {
            is,
            name: name.file_name(),
        };
        let (file, file_bytes, header) = open_header(path).map_err(refused)?;
        let facts = Facts { header: &header };
        let said = facts.split_part().map_err(refused)?;
        let said = said.ok_or_else(|| misnamed("no part of a split model".to_owned()))?;
        if (said.number, said.count) != (name.number, name.count) {
            return Err(misnamed(format!("part {} of {}", said.number, said.count)));
        }
        let alignment = facts.alignment().map_err(refused)?;
        let places = facts.tensor_places(file_bytes).map_err(refused)?;
        // As long as what was just read, so within the bounds of a header and inside the file.
        let mut raw = vec![0; header.header_bytes as usize];
        file.read_exact_at(&mut raw, 0)
            .map_err(|error| refused(error.into()))?;
        Ok(Self {
            path: path.to_owned(),
            name: name.file_name(),
            said,
            alignment,
            header,
            places,
            raw,
        })
    }

    /// Bytes of the header.
    pub(super) fn bytes(&self, range: Range<u64>) -> &[u8] {
        &self.raw[range.start as usize..range.end as usize]
    }

    /// The metadata as it stands in the file, save what is about the splitting; and how many entries that are.
    pub(super) fn metadata_without_split_keys(&self) -> (u64, Vec<u8>) {
        let entries = self.header.metadata.iter();
        let mut kept: Vec<&Range<u64>> = entries
            .filter(|(key, _)| !key.starts_with("split."))
            .map(|(_, entry)| &entry.byte_range)
            .collect();
        kept.sort_by_key(|range| range.start);
        let bytes = kept.iter().map(|range| self.bytes((*range).clone()));
        (kept.len() as u64, bytes.collect::<Vec<_>>().concat())
    }

    /// The reason why this part cannot be used.
    pub(super) fn refused(&self, source: GgufError) -> SplitError {
        refused(self.name.clone(), source)
    }
}

fn refused(name: String, source: GgufError) -> SplitError {
    SplitError::Part { source, name }
}
