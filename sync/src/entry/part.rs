//! A piece of one document or chat, compressed on its own.
//!
//! Each part alone, so that the length of one document says nothing about the words of another. Memory is bounded
//! by the declared length, and that by [`MAX_PART_BYTES`]. Start at [`Part`].

use std::fmt;

use satchel_protocol::id::FragmentId;

use super::EntryError;
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::{DocumentId, ThreadId};

/// Longest piece of a document inside an entry, before compression. Longer ones travel as blobs.
pub const MAX_PART_BYTES: usize = 1024 * 1024;

/// Longest sum of the pieces in one entry, before compression.
///
/// 16 MiB: a full fragment of text that compresses 16 to 1, and what a hostile one may make a device allocate.
pub const MAX_PARTS_BYTES: u64 = 16 * 1024 * 1024;

/// Most heads that a part names.
pub const MAX_HEADS: usize = 255;

/// Most blobs that a part names. 4,096 × 1 MiB = 4 GiB.
pub const MAX_BLOBS: usize = 4096;

/// zstd's own default: 3 to 4 times smaller text at hundreds of MB/s.
const LEVEL: i32 = 3;

/// Bytes as they are, and compressed with zstd.
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const BLOBS: u8 = 2;

/// What a part belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocKey {
    /// Index, document or chat.
    pub kind: DocKind,
    /// Which one; zeros for the index.
    pub id: [u8; 16],
}

impl DocKey {
    /// The list of documents and chats.
    pub const INDEX: Self = Self {
        kind: DocKind::Index,
        id: [0; 16],
    };

    /// A document.
    #[must_use]
    pub fn document(id: DocumentId) -> Self {
        Self {
            kind: DocKind::Document,
            id: id.0,
        }
    }

    /// A chat.
    #[must_use]
    pub fn chat(id: ThreadId) -> Self {
        Self {
            kind: DocKind::Chat,
            id: id.0,
        }
    }
}

impl DocKind {
    /// The kind with this number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Index, Self::Document, Self::Chat]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// The number is signed and stored, so an entry is never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DocKind {
    /// The list of documents and chats.
    Index = 1,
    /// A document.
    Document = 2,
    /// A chat.
    Chat = 3,
}

/// How Automerge made the bytes. The number is signed and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Changes one after the other: `save_after`.
    Changes = 1,
    /// A whole document: `save`.
    Save = 2,
}

/// A piece of one document or chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Of what.
    pub key: DocKey,
    /// How it is written.
    pub encoding: Encoding,
    /// Heads of the document after applying it.
    pub heads: Vec<[u8; 32]>,
    /// The bytes, or where they are.
    pub body: PartBody,
}

/// The bytes of a part, or where they are.
#[derive(Clone, PartialEq, Eq)]
pub enum PartBody {
    /// The bytes as Automerge made them, at most [`MAX_PART_BYTES`].
    Inline(Vec<u8>),
    /// Too long for an entry: the pieces lie in fragments of their own.
    Blobs {
        /// The fragments, in order.
        ids: Vec<FragmentId>,
        /// Length of the whole.
        len_bytes: u64,
        /// BLAKE3 of the whole.
        hash: [u8; 32],
    },
}

impl Part {
    /// Length of what Automerge made, in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        match &self.body {
            PartBody::Inline(bytes) => bytes.len(),
            PartBody::Blobs { len_bytes, .. } => usize::try_from(*len_bytes).unwrap_or(usize::MAX),
        }
    }
}

impl PartBody {
    /// What the part takes in memory once it is read.
    pub(super) fn inline_bytes(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blobs { .. } => 0,
        }
    }
}

/// Shows lengths: text helps nobody in a log.
impl fmt::Debug for PartBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
            Self::Blobs { ids, len_bytes, .. } => {
                write!(f, "Blobs({len_bytes} bytes in {})", ids.len())
            }
        }
    }
}

pub(super) fn write(part: &Part, writer: &mut Writer) -> Result<(), EntryError> {
    writer.u8(part.key.kind as u8).array(&part.key.id);
    writer.u8(part.encoding as u8);
    let found = part.heads.len();
    let heads = u8::try_from(found).map_err(|_| EntryError::TooMany {
        what: "heads",
        found,
        max: MAX_HEADS,
    })?;
    writer.u8(heads);
    for head in &part.heads {
        writer.array(head);
    }
    match &part.body {
        PartBody::Inline(bytes) => write_inline(bytes, writer),
        PartBody::Blobs {
            ids,
            len_bytes,
            hash,
        } => {
            let found = ids.len();
            if found > MAX_BLOBS {
                return Err(EntryError::TooMany {
                    what: "blobs",
                    found,
                    max: MAX_BLOBS,
                });
            }
            // At most 4,096.
            writer
                .u8(BLOBS)
                .u64(*len_bytes)
                .array(hash)
                .u16(found as u16);
            for id in ids {
                writer.array(&id.0);
            }
            Ok(())
        }
    }
}

fn write_inline(bytes: &[u8], writer: &mut Writer) -> Result<(), EntryError> {
    let found_bytes = bytes.len() as u64;
    if bytes.len() > MAX_PART_BYTES {
        return Err(EntryError::PartTooLong { found_bytes });
    }
    let packed = zstd::bulk::compress(bytes, LEVEL).map_err(|_| EntryError::Compressed)?;
    // Changes of a few words do not become shorter.
    if packed.len() < bytes.len() {
        // At most 1 MiB.
        writer.u8(ZSTD).u32(found_bytes as u32).bytes32(&packed);
    } else {
        writer.u8(PLAIN).bytes32(bytes);
    }
    Ok(())
}

/// Reads one part; `budget_bytes` is what all parts together may still take, and shrinks.
pub(super) fn read(reader: &mut Reader<'_>, budget_bytes: &mut u64) -> Result<Part, EntryError> {
    let kind = match reader.u8()? {
        1 => DocKind::Index,
        2 => DocKind::Document,
        3 => DocKind::Chat,
        _ => return Err(EntryError::Newer),
    };
    let id = reader.array()?;
    let encoding = match reader.u8()? {
        1 => Encoding::Changes,
        2 => Encoding::Save,
        _ => return Err(EntryError::Newer),
    };
    let count = reader.u8()?;
    let heads = (0..count)
        .map(|_| reader.array())
        .collect::<Result<_, _>>()?;
    let body = match reader.u8()? {
        PLAIN => {
            let bytes = reader.bytes32(MAX_PART_BYTES)?;
            spend(budget_bytes, bytes.len())?;
            PartBody::Inline(bytes.to_vec())
        }
        ZSTD => {
            let len_bytes = reader.u32()? as usize;
            let packed = reader.bytes32(MAX_PART_BYTES)?;
            spend(budget_bytes, len_bytes)?;
            PartBody::Inline(inflate(packed, len_bytes)?)
        }
        BLOBS => PartBody::Blobs {
            len_bytes: reader.u64()?,
            hash: reader.array()?,
            ids: reader.list16(MAX_BLOBS, |reader| {
                reader.array().map(FragmentId).map_err(EntryError::from)
            })?,
        },
        _ => return Err(EntryError::Newer),
    };
    Ok(Part {
        key: DocKey { kind, id },
        encoding,
        heads,
        body,
    })
}

fn spend(budget_bytes: &mut u64, len_bytes: usize) -> Result<(), EntryError> {
    if len_bytes > MAX_PART_BYTES {
        return Err(EntryError::PartTooLong {
            found_bytes: len_bytes as u64,
        });
    }
    *budget_bytes = budget_bytes
        .checked_sub(len_bytes as u64)
        .ok_or(Malformed::OverLimit)?;
    Ok(())
}

/// Decompresses into exactly the declared length; zstd stops where the room ends.
fn inflate(packed: &[u8], len_bytes: usize) -> Result<Vec<u8>, EntryError> {
    let bytes = zstd::bulk::decompress(packed, len_bytes).map_err(|_| EntryError::Compressed)?;
    if bytes.len() == len_bytes {
        Ok(bytes)
    } else {
        Err(EntryError::Compressed)
    }
}
