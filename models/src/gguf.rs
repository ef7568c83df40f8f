//! GGUF, the file format of llama.cpp: a strict check before a file may be loaded, a writer, and the joining of models
//! that were split into several files (`gguf/split.rs`).
//!
//! llama.cpp ends the process on many malformed files, so every file passes [`check()`] first. The check reads
//! the header only: a 12 GB model is judged in milliseconds and in a few MiB of memory.
//! Never loads a model, never changes a file, and reads tensor data only to copy that of a split model.
//! Start at [`check()`]; the rules are in `gguf/check.rs`, their tables in `gguf/rules.rs`, the bounds in `gguf/read.rs`.
//!
//! # Layout of a GGUF file (version 3, all numbers little-endian)
//!
//! | part | bytes |
//! |---|---|
//! | magic | `GGUF` |
//! | version | u32 |
//! | tensor count, metadata count | u64, u64 |
//! | metadata | key (u64 length, bytes), value type (u32), value |
//! | tensor infos | name, dimension count (u32), dimensions (u64 each, fastest first), type (u32), offset (u64) |
//! | padding | zeros up to the alignment (32 unless `general.alignment` says otherwise) |
//! | tensor data | each tensor padded to the alignment |
//!
//! Source: `ggml/include/gguf.h` and `ggml/src/gguf.cpp` of llama.cpp.

mod adapter;
mod bert;
mod check;
mod error;
mod read;
mod rules;
mod shape;
mod split;
mod summary;
mod tensor_type;
mod write;

pub use adapter::{AdapterSummary, check_adapter};
pub use bert::{BertFile, TensorPlace, bert};
pub use check::{check, check_reader};
pub use error::GgufError;
pub use rules::SUPPORTED_ARCHITECTURES;
pub use shape::{LayerShape, ModelShape};
pub use split::SplitError;
pub use summary::{GgufSummary, ModelKind, Pooling};
pub use tensor_type::TensorType;
pub use write::{GgufWriter, MetadataValue, TensorPlan, WriteError};

pub(crate) use error::printable;
pub(crate) use split::{PartName, SplitModel};
pub(crate) use write::file_bytes;

/// First four bytes of every GGUF file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";

/// Alignment of the tensor data where `general.alignment` is absent.
pub(crate) const DEFAULT_ALIGNMENT_BYTES: u64 = 32;

/// Rounds `bytes` up to a multiple of `alignment`, a power of two. `None` when the sum does not fit into 64 bits.
pub(crate) fn padded(bytes: u64, alignment: u64) -> Option<u64> {
    Some(bytes.checked_add(alignment - 1)? & !(alignment - 1))
}

/// Numbers of the value types in the metadata of a GGUF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum ValueType {
    Uint8 = 0,
    Int8 = 1,
    Uint16 = 2,
    Int16 = 3,
    Uint32 = 4,
    Int32 = 5,
    Float32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    Uint64 = 10,
    Int64 = 11,
    Float64 = 12,
}

impl ValueType {
    /// The type with this number, if there is one.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        use ValueType::{
            Array, Bool, Float32, Float64, Int8, Int16, Int32, Int64, String, Uint8, Uint16,
            Uint32, Uint64,
        };
        [
            Uint8, Int8, Uint16, Int16, Uint32, Int32, Float32, Bool, String, Array, Uint64, Int64,
            Float64,
        ]
        .into_iter()
        .find(|kind| *kind as u32 == number)
    }

    /// Bytes of one value; for strings and arrays the fewest that one can take.
    pub(crate) fn min_bytes(self) -> u64 {
        match self {
            Self::Uint8 | Self::Int8 | Self::Bool => 1,
            Self::Uint16 | Self::Int16 => 2,
            Self::Uint32 | Self::Int32 | Self::Float32 => 4,
            Self::Uint64 | Self::Int64 | Self::Float64 | Self::String => 8,
            Self::Array => 12,
        }
    }
}
