//! Makes one GGUF file of the parts into which `llama-gguf-split` cut a model.
//!
//! ```text
//! NAME-00001-of-00003.gguf   all metadata, split.no 0, split.count 3, split.tensors.count; the first tensors
//! NAME-00002-of-00003.gguf   split.no 1, …; the next tensors, with offsets in this file
//! NAME-00003-of-00003.gguf
//! ```
//!
//! The whole file has the metadata of the first part without the keys `split.…`, and the tensors of all parts in their
//! order. Everything is copied byte for byte; only the offsets are new. So it is the file that was split, where nothing
//! else was changed at the splitting.
//!
//! Never changes a part, never reads tensor data before somebody reads the whole, never believes a number of one part
//! that others contradict. Start at [`SplitModel::open`].
//! Source: `tools/gguf-split/gguf-split.cpp` of llama.cpp.

mod error;
mod name;
mod part;
mod reader;

use std::collections::HashSet;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use error::SplitError;
pub(crate) use name::{MAX_PARTS, PartName};

use super::check::check_reader;
use super::error::{GgufError, printable};
use super::summary::GgufSummary;
use super::{MAGIC, padded};
use part::Part;
use reader::JoinedReader;

/// The parts of one model, found to fit each other, and where each byte of the whole file is.
#[derive(Debug)]
pub(crate) struct SplitModel {
    name: PartName,
    /// Everything before the tensor data, padded.
    header: Vec<u8>,
    parts: Vec<PathBuf>,
    /// The tensor data in its order.
    pieces: Vec<Piece>,
    file_bytes: u64,
}

/// The data of one tensor.
#[derive(Debug)]
struct Piece {
    /// Index of the part that has it.
    part: usize,
    /// Where it is in that part.
    byte_range: Range<u64>,
    /// Zeros that follow it in the whole.
    padding_bytes: u64,
}

impl SplitModel {
    /// Finds all parts of the model to which the part at `path` belongs: they lie beside it.
    ///
    /// Reads their headers only. Only the name of the given file leads to the others, never what is written in one.
    ///
    /// # Errors
    /// [`SplitError`], before anything of the whole is made.
    pub(crate) fn open(path: &Path) -> Result<Self, SplitError> {
        let name = PartName::of(path).ok_or_else(|| SplitError::Name {
            name: path.file_name().unwrap_or_default().into(),
        })?;
        // What it says of itself is compared with its name first: by that name the others are looked for.
        Part::read(path, &name)?;
        let beside = |part: &PartName| path.with_file_name(part.file_name());
        let mut missing = name.all().filter(|part| !beside(part).exists());
        if let Some(first) = missing.next() {
            return Err(SplitError::Missing {
                missing: 1 + missing.count(),
                count: name.count,
                name: first.file_name(),
            });
        }
        let paths: Vec<PathBuf> = name.all().map(|part| beside(&part)).collect();
        Self::join(&name, &paths)
    }

    /// Joins the files at `paths`, which should be all parts of one model in their order, whatever they are called;
    /// `name` is that of any part.
    ///
    /// # Errors
    /// [`SplitError`], before anything of the whole is made.
    pub(crate) fn join(name: &PartName, paths: &[PathBuf]) -> Result<Self, SplitError> {
        let mut parts = name.all().zip(paths);
        let Some((first, path)) = parts.next() else {
            return Err(SplitError::Missing {
                missing: name.count as usize,
                count: name.count,
                name: name.file_name(),
            });
        };
        let mut joining = Joining::begin(Part::read(path, &first)?)?;
        for (part, path) in parts {
            joining.add(Part::read(path, &part)?)?;
        }
        joining.finish(name.clone())
    }

    /// What the whole file is, judged as strictly as any other.
    ///
    /// # Errors
    /// As [`check()`](super::check()).
    pub(crate) fn check(&self) -> Result<GgufSummary, GgufError> {
        check_reader(self.header.as_slice(), self.file_bytes)
    }

    /// Name that the whole file would have.
    pub(crate) fn file_name(&self) -> String {
        self.name.whole()
    }

    /// The whole file. Ends early where a part has become shorter.
    pub(crate) fn reader(&self) -> impl Read {
        JoinedReader::new(self)
    }
}

/// A whole file in the making.
struct Joining {
    /// Magic and version as in the first part.
    start: Vec<u8>,
    metadata_count: u64,
    metadata: Vec<u8>,
    alignment: u64,
    /// Tensors that all parts together should have.
    promised_tensors: u64,
    tensor_names: HashSet<String>,
    /// The descriptions of the tensors.
    infos: Vec<u8>,
    parts: Vec<PathBuf>,
    pieces: Vec<Piece>,
    data_bytes: u64,
}

impl Joining {
    fn begin(first: Part) -> Result<Self, SplitError> {
        let (metadata_count, metadata) = first.metadata_without_split_keys();
        let promised_tensors = first.said.tensor_count.ok_or_else(|| {
            first.refused(GgufError::metadata("split.tensors.count", "is missing"))
        })?;
        let mut joining = Self {
            start: first.bytes(0..MAGIC.len() as u64 + 4).to_vec(),
            metadata_count,
            metadata,
            alignment: first.alignment,
            promised_tensors,
            tensor_names: HashSet::new(),
            infos: Vec::new(),
            parts: Vec::new(),
            pieces: Vec::new(),
            data_bytes: 0,
        };
        joining.add(first)?;
        Ok(joining)
    }

    fn add(&mut self, part: Part) -> Result<(), SplitError> {
        if part.said.tensor_count.unwrap_or(self.promised_tensors) != self.promised_tensors {
            return Err(SplitError::Mixed { name: part.name });
        }
        for (tensor, place) in part.header.tensors.iter().zip(&part.places) {
            if !self.tensor_names.insert(tensor.name.clone()) {
                return Err(SplitError::TensorTwice {
                    tensor: printable(&tensor.name),
                    name: part.name,
                });
            }
            let offset = self.data_bytes;
            let end = offset.checked_add(place.end - place.start);
            let (end, next) = end
                .and_then(|end| Some((end, padded(end, self.alignment)?)))
                .ok_or_else(|| {
                    part.refused(GgufError::tensor(&tensor.name, "is larger than any file"))
                })?;
            // The description ends in the offset, which is the only thing that differs.
            let info = part.bytes(tensor.byte_range.clone());
            self.infos
                .extend_from_slice(&info[..info.len() - size_of::<u64>()]);
            self.infos.extend_from_slice(&offset.to_le_bytes());
            self.pieces.push(Piece {
                part: self.parts.len(),
                byte_range: place.clone(),
                padding_bytes: next - end,
            });
            self.data_bytes = next;
        }
        // Noticed here too, so that no more is held than was promised within bounds.
        if self.pieces.len() as u64 > self.promised_tensors {
            return Err(self.other_count());
        }
        self.parts.push(part.path);
        Ok(())
    }

    fn finish(self, name: PartName) -> Result<SplitModel, SplitError> {
        let tensor_count = self.pieces.len() as u64;
        if tensor_count != self.promised_tensors {
            return Err(self.other_count());
        }
        let mut header = self.start;
        header.extend_from_slice(&tensor_count.to_le_bytes());
        header.extend_from_slice(&self.metadata_count.to_le_bytes());
        header.extend_from_slice(&self.metadata);
        header.extend_from_slice(&self.infos);
        header.resize(header.len().next_multiple_of(self.alignment as usize), 0);
        Ok(SplitModel {
            name,
            file_bytes: self.data_bytes.saturating_add(header.len() as u64),
            header,
            parts: self.parts,
            pieces: self.pieces,
        })
    }

    fn other_count(&self) -> SplitError {
        SplitError::OtherTensorCount {
            found: self.pieces.len() as u64,
            promised: self.promised_tensors,
        }
    }
}
