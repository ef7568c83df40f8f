//! Counts what Automerge bytes from somebody else would inflate to, before Automerge sees them.
//!
//! Automerge 0.12 inflates DEFLATE without a limit (`storage/chunk.rs`, `storage/columns/raw_column.rs`), and one
//! mebibyte can become a gibibyte. Counting needs no memory. Pure; keeps nothing of what it inflates.
//! Files of our own are authenticated, so for them a cap on their length suffices; everything that
//! another device wrote goes through here. Start at [`check_foreign`].

use std::io::{self, Read, Write};

/// Longest message of changes that is accepted from another device, in bytes.
pub const MAX_FOREIGN_BYTES: usize = 1 << 20;
/// What one message may inflate to, in bytes: 64 times its own limit. Real documents stay below 20 times.
pub const MAX_INFLATED_BYTES: u64 = 64 << 20;

/// Longest document, or changes of one, that is fetched in chunks, in bytes.
///
/// The longest text (64 MiB) as plain changes, with room for their table of operations.
pub const MAX_LONG_FOREIGN_BYTES: usize = 80 << 20;
/// What such a document may inflate to, in bytes: what a receiving laptop can spare.
pub const MAX_LONG_INFLATED_BYTES: u64 = 192 << 20;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const CHECKSUM_BYTES: usize = 4;
const HASH_BYTES: usize = 32;
/// The bit of a column's specification that says "compressed".
const DEFLATE_BIT: u64 = 0b1000;

/// Why foreign bytes are not given to Automerge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// The message is longer than any that is accepted.
    #[error("the message has {bytes} bytes, at most {limit_bytes} are accepted")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// It would inflate to more than is accepted.
    #[error("the message would inflate to more than {limit_bytes} bytes")]
    InflatesTooFar {
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// It is not a sequence of Automerge chunks.
    #[error("the message is not made of Automerge chunks")]
    Malformed,
    /// It holds a kind of chunk that Satchel does not send.
    #[error("the message holds a chunk of kind {0}, which Satchel does not send")]
    UnknownChunk(u8),
}

/// Checks a message with the limits above.
///
/// # Errors
/// [`ForeignError`]: the bytes must not be loaded.
pub fn check_foreign(bytes: &[u8]) -> Result<(), ForeignError> {
    if bytes.len() > MAX_FOREIGN_BYTES {
        return Err(ForeignError::TooLong {
            bytes: bytes.len(),
            limit_bytes: MAX_FOREIGN_BYTES,
        });
    }
    inflated_bytes(bytes, MAX_INFLATED_BYTES).map(|_| ())
}

/// The kind of a chunk that holds a whole document.
pub(crate) const DOCUMENT_CHUNK: u8 = 0;

/// One Automerge chunk of a message.
pub(crate) struct Chunk<'a> {
    pub(crate) kind: u8,
    /// The chunk with its header.
    pub(crate) bytes: &'a [u8],
}

/// Takes a message apart into its chunks, inflating nothing.
///
/// # Errors
/// [`ForeignError::Malformed`] when it is not made of chunks.
pub(crate) fn chunks(bytes: &[u8]) -> Result<Vec<Chunk<'_>>, ForeignError> {
    let mut chunks = Vec::new();
    let mut rest = Cursor(bytes);
    while !rest.0.is_empty() {
        let start = rest.0;
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(ForeignError::Malformed);
        }
        rest.take(CHECKSUM_BYTES)?;
        let kind = rest.take(1)?[0];
        let len = rest.length()?;
        rest.take(len)?;
        chunks.push(Chunk {
            kind,
            bytes: &start[..start.len() - rest.0.len()],
        });
    }
    Ok(chunks)
}

/// As [`check_foreign`], for what was fetched in chunks.
///
/// # Errors
/// [`ForeignError`]: the bytes must not be loaded.
pub fn check_long_foreign(bytes: &[u8]) -> Result<(), ForeignError> {
    if bytes.len() > MAX_LONG_FOREIGN_BYTES {
        return Err(ForeignError::TooLong {
            bytes: bytes.len(),
            limit_bytes: MAX_LONG_FOREIGN_BYTES,
        });
    }
    inflated_bytes(bytes, MAX_LONG_INFLATED_BYTES).map(|_| ())
}

/// Counts how many bytes the compressed parts of `bytes` inflate to, stopping at `limit_bytes`.
///
/// # Errors
/// As [`check_foreign`], the length of `bytes` apart.
pub fn inflated_bytes(bytes: &[u8], limit_bytes: u64) -> Result<u64, ForeignError> {
    let mut budget = Budget {
        used_bytes: 0,
        limit_bytes,
    };
    let mut rest = Cursor(bytes);
    while !rest.0.is_empty() {
        if rest.take(MAGIC.len())? != MAGIC {
            return Err(ForeignError::Malformed);
        }
        rest.take(CHECKSUM_BYTES)?;
        let kind = rest.take(1)?[0];
        let len = rest.length()?;
        let body = rest.take(len)?;
        match kind {
            DOCUMENT_CHUNK => count_document(body, &mut budget)?,
            // A plain change holds nothing compressed.
            1 => {}
            2 => budget.inflate(body)?,
            other => return Err(ForeignError::UnknownChunk(other)),
        }
    }
    Ok(budget.used_bytes)
}

/// A document chunk: actors, heads, two tables of columns, then the columns' bytes.
fn count_document(body: &[u8], budget: &mut Budget) -> Result<(), ForeignError> {
    let mut rest = Cursor(body);
    for _ in 0..rest.length()? {
        let len = rest.length()?;
        rest.take(len)?;
    }
    let heads = rest.length()?;
    rest.take(
        heads
            .checked_mul(HASH_BYTES)
            .ok_or(ForeignError::Malformed)?,
    )?;
    let mut columns = rest.columns()?;
    columns.extend(rest.columns()?);
    for (specification, len) in columns {
        let column = rest.take(len)?;
        if specification & DEFLATE_BIT != 0 {
            budget.inflate(column)?;
        }
    }
    Ok(())
}

struct Budget {
    used_bytes: u64,
    limit_bytes: u64,
}

impl Budget {
    fn inflate(&mut self, compressed: &[u8]) -> Result<(), ForeignError> {
        let left = self.limit_bytes - self.used_bytes;
        // One byte more than is left tells "exactly the limit" from "too far".
        let mut decoder = flate2::bufread::DeflateDecoder::new(compressed).take(left + 1);
        let inflated = io::copy(&mut decoder, &mut Nowhere).map_err(|_| ForeignError::Malformed)?;
        if inflated > left {
            return Err(ForeignError::InflatesTooFar {
                limit_bytes: self.limit_bytes,
            });
        }
        self.used_bytes += inflated;
        Ok(())
    }
}

/// Takes bytes and keeps none. Unlike [`io::Sink`], `io::copy` has no shortcut for it, so bytes are counted.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ForeignError> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(ForeignError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, ForeignError> {
        let mut number = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ForeignError::Malformed)
    }

    fn length(&mut self) -> Result<usize, ForeignError> {
        usize::try_from(self.number()?).map_err(|_| ForeignError::Malformed)
    }

    fn columns(&mut self) -> Result<Vec<(u64, usize)>, ForeignError> {
        let count = self.length()?;
        // Not reserved: the number is somebody else's claim.
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push((self.number()?, self.length()?));
        }
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::transaction::Transactable;
    use automerge::{AutoCommit, ObjType, ROOT};
    use proptest::prelude::*;

    fn document(text: &str) -> AutoCommit {
        let mut doc = AutoCommit::new();
        let object = doc.put_object(ROOT, "text", ObjType::Text).unwrap();
        doc.splice_text(&object, 0, 0, text).unwrap();
        doc.commit();
        doc
    }

    fn changes(doc: &mut AutoCommit) -> Vec<u8> {
        doc.get_changes(&[])
            .iter_mut()
            .flat_map(|change| change.bytes().into_owned())
            .collect()
    }

    #[test]
    fn documents_and_changes_of_our_own_pass() {
        let text = "A sentence that is long enough to be compressed. ".repeat(100);
        let mut doc = document(&text);
        for bytes in [
            doc.save(),
            changes(&mut doc),
            doc.save_after(&[]),
            doc.save_nocompress(),
        ] {
            check_foreign(&bytes).unwrap();
            AutoCommit::load(&bytes).unwrap();
        }
        for compressed in [doc.save(), changes(&mut doc)] {
            let counted = inflated_bytes(&compressed, u64::MAX / 2).unwrap();
            assert!(
                counted as usize >= text.len(),
                "{counted} for {} bytes",
                text.len()
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_whichever_way_it_is_packed() {
        let mut doc = document(&"a".repeat(1 << 20));
        for bytes in [doc.save(), changes(&mut doc)] {
            assert!(bytes.len() < 20_000, "it is a bomb: {} bytes", bytes.len());
            let refused = inflated_bytes(&bytes, 100_000);
            assert_eq!(
                refused,
                Err(ForeignError::InflatesTooFar {
                    limit_bytes: 100_000
                })
            );
        }
    }

    #[test]
    fn other_chunks_and_long_messages_are_refused() {
        let mut bundle = MAGIC.to_vec();
        bundle.extend([0, 0, 0, 0, 3, 0]);
        assert_eq!(check_foreign(&bundle), Err(ForeignError::UnknownChunk(3)));
        let long = vec![0; MAX_FOREIGN_BYTES + 1];
        assert!(matches!(
            check_foreign(&long),
            Err(ForeignError::TooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(bytes.is_empty() || check_foreign(&bytes).is_err());
        }

        #[test]
        fn changed_bytes_are_judged_without_a_panic(at in 0usize..400, to in any::<u8>()) {
            let mut bytes = document(&"some words ".repeat(60)).save();
            let at = at % bytes.len();
            bytes[at] = to;
            // Whatever the answer, it comes, and it is the same twice.
            prop_assert_eq!(check_foreign(&bytes), check_foreign(&bytes));
        }
    }
}
