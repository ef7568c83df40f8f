//! Names for what an edge node may know: mailboxes, fragments, places in a log, nodes.
//!
//! Never names of documents, devices or workspaces: those live in `satchel-sync`, inside ciphertext.
//! Start at [`MailboxId`].

use std::fmt;
use std::str::FromStr;

/// Names one append-only log on an edge node.
///
/// 16 bytes, shown as 32 lower-case hex digits: the hash of the mailbox's first policy key, so that
/// nobody can make the mailbox of somebody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MailboxId(pub [u8; 16]);

impl MailboxId {
    /// The mailbox that this public key (Ed25519, 32 bytes) rules: the first 16 bytes of its BLAKE3.
    pub fn of_policy_key(policy_key: &[u8; 32]) -> Self {
        let hash = blake3::hash(policy_key);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }

    /// The first 4 bytes in hex: enough to follow one mailbox through a log, too little to use it.
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

impl fmt::Display for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Shows the short form only: whole ids stay out of logs.
impl fmt::Debug for MailboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MailboxId({}…)", self.short())
    }
}

impl FromStr for MailboxId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(Self)
    }
}

/// The content address of a fragment: BLAKE3 of all its bytes, header included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FragmentId(pub [u8; 32]);

impl fmt::Display for FragmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for FragmentId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Debug for FragmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FragmentId({self})")
    }
}

/// A place in one mailbox's log: the first fragment has 0, each later one exactly 1 more.
///
/// Never reused, also not after a fragment is deleted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The place after this one, or `None` at the end of the number range.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

/// Places in a log, from `from` (included) to `to` (excluded); never empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OffsetRange {
    /// First place.
    pub from: Offset,
    /// The place behind the last.
    pub to: Offset,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names an edge node: BLAKE3 of the SubjectPublicKeyInfo (DER) of its TLS certificate.
///
/// The key and not the certificate, so that a renewed certificate of the same key keeps its name.
/// 32 bytes, shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeFingerprint(pub [u8; 32]);

impl NodeFingerprint {
    /// The fingerprint of a public key in SubjectPublicKeyInfo form (DER).
    pub fn of_public_key_info(der: &[u8]) -> Self {
        Self(*blake3::hash(der).as_bytes())
    }
}

impl fmt::Display for NodeFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for NodeFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeFingerprint({self})")
    }
}

impl FromStr for NodeFingerprint {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text).map(Self)
    }
}

/// A text that is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Too short or too long: copy it whole.
    #[error(
        "an id of this kind has {expected_digits} hex digits, this text has {found_chars} characters: copy it whole"
    )]
    Length {
        /// Digits that the id has.
        expected_digits: usize,
        /// Characters in the text.
        found_chars: usize,
    },
    /// A character that is no hex digit.
    #[error("character {position} is not a hex digit (0-9, a-f)")]
    Digit {
        /// Which character, from 1.
        position: usize,
    },
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let found_chars = text.chars().count();
    if found_chars != 2 * N {
        return Err(ParseIdError::Length {
            expected_digits: 2 * N,
            found_chars,
        });
    }
    let mut bytes = [0; N];
    for (index, character) in text.chars().enumerate() {
        let Some(digit) = character.to_digit(16) else {
            return Err(ParseIdError::Digit {
                position: index + 1,
            });
        };
        // A hex digit is at most 15, so nothing is lost.
        bytes[index / 2] = bytes[index / 2] << 4 | digit as u8;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_what_it_shows() {
        let id = MailboxId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xab, 0xcd, 0xef, 254, 255]);
        assert_eq!(id.to_string(), "000102030405060708090aabcdeffeff");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn a_half_copied_or_misspelt_id_says_what_is_wrong() {
        assert_eq!(
            "00010203".parse::<MailboxId>(),
            Err(ParseIdError::Length {
                expected_digits: 32,
                found_chars: 8
            })
        );
        assert_eq!(
            "00010203040506070809é0bb0c0d0e0f".parse::<MailboxId>(),
            Err(ParseIdError::Digit { position: 21 })
        );
    }

    #[test]
    fn the_whole_mailbox_id_never_shows_in_debug_output() {
        assert_eq!(
            format!("{:?}", MailboxId([0xab; 16])),
            "MailboxId(abababab…)"
        );
    }

    #[test]
    fn offsets_end_without_wrapping() {
        assert_eq!(Offset(4).next(), Some(Offset(5)));
        assert_eq!(Offset(u64::MAX).next(), None);
    }
}
