//! The envelope of ciphertext: a header in the clear, which the seal authenticates, and opaque bytes.
//!
//! Never encrypts or decrypts, and holds no key: sealing lives in `satchel-sync`. A node reads the
//! header only to refuse what is no fragment. Start at [`EncryptedFragment::from_bytes`].
//! Format: `PROTOCOL.md` § 3.

use crate::id::FragmentId;
use crate::limits::{MAX_FRAGMENT_BYTES, MIN_FRAGMENT_BYTES};

/// Bytes of a fragment header: version 1 + aead 1 + kind 1 + epoch 12 + salt 24 + commitment 32.
pub const HEADER_BYTES: usize = 71;

/// The layout that this crate reads and writes.
pub const FRAGMENT_VERSION: u8 = 1;

/// The cipher of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Aead {
    /// AES-256-GCM-SIV (RFC 8452).
    Aes256GcmSiv = 1,
    /// ChaCha20-Poly1305 (RFC 8439).
    ChaCha20Poly1305 = 2,
}

/// What a fragment holds, as far as a node may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FragmentKind {
    /// A few fresh changes.
    Entry = 0,
    /// Many changes, compacted.
    Pack = 1,
    /// A piece of a file.
    BlobChunk = 2,
    /// A record of the membership log.
    Control = 3,
    /// Presence.
    Ephemeral = 4,
}

/// The part of a fragment in the clear. The seal covers all of it as associated data.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FragmentHeader {
    /// Cipher of the segments.
    pub aead: Aead,
    /// What is inside.
    pub kind: FragmentKind,
    /// Epoch number (4 bytes, big-endian) ‖ first 8 bytes of the hash of the record that made it.
    pub epoch_id: [u8; 12],
    /// Random: gives every fragment a key of its own.
    pub salt: [u8; 24],
    /// Commitment to that key, checked before anything is opened.
    pub commit: [u8; 32],
}

impl FragmentHeader {
    /// The bytes that stand first in a fragment and that its seal authenticates.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = FRAGMENT_VERSION;
        bytes[1] = self.aead as u8;
        bytes[2] = self.kind as u8;
        bytes[3..15].copy_from_slice(&self.epoch_id);
        bytes[15..39].copy_from_slice(&self.salt);
        bytes[39..].copy_from_slice(&self.commit);
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`FragmentError`] for a version, cipher or kind that this crate does not know.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FragmentError> {
        if bytes[0] != FRAGMENT_VERSION {
            return Err(FragmentError::Version { found: bytes[0] });
        }
        let aead = match bytes[1] {
            1 => Aead::Aes256GcmSiv,
            2 => Aead::ChaCha20Poly1305,
            found => return Err(FragmentError::Aead { found }),
        };
        let kind = match bytes[2] {
            0 => FragmentKind::Entry,
            1 => FragmentKind::Pack,
            2 => FragmentKind::BlobChunk,
            3 => FragmentKind::Control,
            4 => FragmentKind::Ephemeral,
            found => return Err(FragmentError::Kind { found }),
        };
        let mut header = Self {
            aead,
            kind,
            epoch_id: [0; 12],
            salt: [0; 24],
            commit: [0; 32],
        };
        header.epoch_id.copy_from_slice(&bytes[3..15]);
        header.salt.copy_from_slice(&bytes[15..39]);
        header.commit.copy_from_slice(&bytes[39..]);
        Ok(header)
    }
}

/// Ciphertext with a readable header: the only thing that a node stores.
///
/// That the bytes behind the header are ciphertext cannot be checked without a key; that nothing but
/// a well-formed fragment of bounded size travels is what this type stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptedFragment {
    header: FragmentHeader,
    bytes: Vec<u8>,
}

impl EncryptedFragment {
    /// Puts a header before sealed segments.
    ///
    /// # Errors
    /// [`FragmentError::Length`] when the whole is shorter than [`MIN_FRAGMENT_BYTES`] or longer than
    /// [`MAX_FRAGMENT_BYTES`].
    pub fn new(header: FragmentHeader, segments: &[u8]) -> Result<Self, FragmentError> {
        check_length(HEADER_BYTES + segments.len())?;
        let bytes = [header.encode().as_slice(), segments].concat();
        Ok(Self { header, bytes })
    }

    /// Takes bytes from outside as a fragment.
    ///
    /// # Errors
    /// [`FragmentError`] when the length is out of bounds or the header is unknown.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, FragmentError> {
        check_length(bytes.len())?;
        let Some(head) = bytes.first_chunk() else {
            return Err(FragmentError::Length {
                found_bytes: bytes.len(),
            });
        };
        Ok(Self {
            header: FragmentHeader::decode(head)?,
            bytes,
        })
    }

    /// The part in the clear.
    pub fn header(&self) -> &FragmentHeader {
        &self.header
    }

    /// The sealed segments, without the header.
    pub fn segments(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// All bytes, header first: what is stored, sent and hashed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the bytes away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Length of all bytes; at most [`MAX_FRAGMENT_BYTES`].
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The content address: BLAKE3 of all bytes. Hashes them on every call.
    pub fn id(&self) -> FragmentId {
        FragmentId(*blake3::hash(&self.bytes).as_bytes())
    }
}

/// Shows size and kind: ciphertext helps nobody in a log.
impl std::fmt::Debug for EncryptedFragment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "EncryptedFragment({:?}, {} bytes)",
            self.header.kind,
            self.bytes.len()
        )
    }
}

/// Bytes that are no fragment of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// Too short to be sealed, or too long to travel.
    #[error(
        "a fragment has {MIN_FRAGMENT_BYTES} to {MAX_FRAGMENT_BYTES} bytes, this one {found_bytes}: split it into several"
    )]
    Length {
        /// Its length.
        found_bytes: usize,
    },
    /// Written by a newer program.
    #[error("fragment layout {found} is unknown, this program reads {FRAGMENT_VERSION}: update it")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// Sealed with a cipher of a newer program.
    #[error("fragment cipher {found} is unknown: update this program")]
    Aead {
        /// The cipher byte.
        found: u8,
    },
    /// Of a kind of a newer program.
    #[error("fragment kind {found} is unknown: update this program")]
    Kind {
        /// The kind byte.
        found: u8,
    },
}

fn check_length(found_bytes: usize) -> Result<(), FragmentError> {
    if (MIN_FRAGMENT_BYTES..=MAX_FRAGMENT_BYTES).contains(&found_bytes) {
        Ok(())
    } else {
        Err(FragmentError::Length { found_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FragmentHeader {
        FragmentHeader {
            aead: Aead::ChaCha20Poly1305,
            kind: FragmentKind::Control,
            epoch_id: [3; 12],
            salt: [4; 24],
            commit: [5; 32],
        }
    }

    #[test]
    fn a_fragment_reads_back_from_its_bytes() {
        let fragment = EncryptedFragment::new(header(), &[6; 40]).unwrap();
        let again = EncryptedFragment::from_bytes(fragment.as_bytes().to_vec()).unwrap();
        assert_eq!(again, fragment);
        assert_eq!(again.header(), &header());
        assert_eq!(again.segments(), [6; 40]);
        assert_eq!(again.id(), fragment.id());
    }

    #[test]
    fn lengths_are_checked_at_both_ends() {
        let sealed =
            |len: usize| EncryptedFragment::new(header(), &vec![0; len]).map(|f| f.len_bytes());
        assert_eq!(sealed(15), Err(FragmentError::Length { found_bytes: 86 }));
        assert_eq!(sealed(16), Ok(MIN_FRAGMENT_BYTES));
        assert_eq!(
            sealed(MAX_FRAGMENT_BYTES - HEADER_BYTES),
            Ok(MAX_FRAGMENT_BYTES)
        );
        assert!(sealed(MAX_FRAGMENT_BYTES - HEADER_BYTES + 1).is_err());
        assert!(EncryptedFragment::from_bytes(Vec::new()).is_err());
    }

    #[test]
    fn numbers_of_a_newer_program_are_refused_by_name() {
        let whole = EncryptedFragment::new(header(), &[0; 16])
            .unwrap()
            .into_bytes();
        let with = |index: usize, value: u8| {
            let mut bytes = whole.clone();
            bytes[index] = value;
            EncryptedFragment::from_bytes(bytes).unwrap_err()
        };
        assert_eq!(with(0, 2), FragmentError::Version { found: 2 });
        assert_eq!(with(1, 0), FragmentError::Aead { found: 0 });
        assert_eq!(with(2, 5), FragmentError::Kind { found: 5 });
    }
}
