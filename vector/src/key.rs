//! Names of things in the index: sources, chunks by content, embedders.
//!
//! Pure. A source is opaque here: which document it is, only the caller knows.

use std::fmt;

/// A source of chunks, in practice a document. Opaque to this crate.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct SourceId(pub [u8; 16]);

/// Hash of what is embedded of a chunk (context and text): equal text is embedded once.
///
/// The first 16 bytes of BLAKE3. Two of 2⁴⁰ chunks are equal by accident with a chance of 2⁻⁴⁹.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash(pub [u8; 16]);

impl ChunkHash {
    /// Hashes an embedded text.
    pub fn of(embedded_text: &str) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(embedded_text.as_bytes()).as_bytes()[..16]);
        Self(hash)
    }
}

/// An embedding model, as far as its vectors can be compared with each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmbedderKey {
    /// Short name of the model's exact content, in practice a part of its file's SHA-256:
    /// 1 to 64 of `a-z A-Z 0-9 - _`.
    pub id: String,
    /// Numbers per vector, 1 to 16,384.
    pub dim: usize,
}

impl EmbedderKey {
    /// Largest dimension accepted.
    pub const MAX_DIM: usize = 16_384;

    /// Whether the parts are as their fields say: they become part of a table's name.
    pub(crate) fn is_valid(&self) -> bool {
        (1..=64).contains(&self.id.len())
            && self
                .id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && (1..=Self::MAX_DIM).contains(&self.dim)
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::{ChunkHash, EmbedderKey, SourceId};

    #[test]
    fn ids_are_shown_as_hex() {
        assert_eq!(SourceId([0xa0; 16]).to_string(), "a0".repeat(16));
    }

    /// Frozen: the hashes are stored in the index.
    #[test]
    fn the_hash_is_the_start_of_blake3() {
        assert_eq!(
            ChunkHash::of("").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc949"
        );
    }

    #[test]
    fn an_embedder_is_named_by_plain_characters() {
        let valid = |id: &str, dim| {
            EmbedderKey {
                id: id.to_owned(),
                dim,
            }
            .is_valid()
        };
        assert!(valid("0a1b-x_9", 384));
        assert!(!valid("", 384));
        assert!(!valid("../up", 384));
        assert!(!valid(&"a".repeat(65), 384));
        assert!(!valid("a", 0));
    }
}
