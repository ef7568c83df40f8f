//! Names for things that are stored: workspaces, documents, threads, messages, contents.
//!
//! Pure: an id is random bytes or a hash, and carries no meaning of its own.
//! Ids are shown, stored in JSON and used in file names as lower-case hexadecimal.
//! Start at [`DocumentId`] and [`ContentHash`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that should have been an id is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} hexadecimal digits, found {found_bytes} bytes of something else")]
pub struct ParseIdError {
    /// How many digits the id has.
    pub digits: usize,
    /// How long the given text was, in bytes.
    pub found_bytes: usize,
}

/// Writes bytes as lower-case hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads exactly `N` bytes from lower-case or upper-case hexadecimal digits.
///
/// # Errors
/// [`ParseIdError`] when the text has another length or another character.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    let wrong = || ParseIdError {
        digits: N * 2,
        found_bytes: text.len(),
    };
    if text.len() != N * 2 {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16).ok_or_else(wrong)?;
        let low = char::from(pair[1]).to_digit(16).ok_or_else(wrong)?;
        // Two digits below 16 make a number below 256.
        *byte = (high * 16 + low) as u8;
    }
    Ok(bytes)
}

/// Fills an array from the operating system's random source.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system always has random bytes");
    bytes
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes themselves.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hexadecimal digits, for logs and short lists.
            #[must_use]
            pub fn short(&self) -> String {
                to_hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                from_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&to_hex(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// Which workspace. 16 random bytes, shown as 32 hexadecimal digits; also the folder's name.
    WorkspaceId,
    16
);
hex_id!(
    /// Which document in a workspace. 16 random bytes, shown as 32 hexadecimal digits.
    DocumentId,
    16
);
hex_id!(
    /// Which chat in a workspace. 16 random bytes, shown as 32 hexadecimal digits.
    ThreadId,
    16
);
hex_id!(
    /// Which message in a chat. 16 random bytes, shown as 32 hexadecimal digits.
    MessageId,
    16
);
hex_id!(
    /// Which device of a workspace: the first 16 bytes of BLAKE3 of its signing key, shown as 32 hexadecimal digits.
    DeviceId,
    16
);
hex_id!(
    /// What an original file contains: the BLAKE3 hash of its bytes, shown as 64 hexadecimal digits.
    ///
    /// Equal contents have equal hashes, so it recognises duplicates.
    /// It is never used as a file name, because it would tell a thief which known files are here.
    ContentHash,
    32
);

macro_rules! random_id {
    ($($name:ident),*) => {$(
        impl $name {
            /// Makes a new id from the operating system's random source.
            #[must_use]
            pub fn random() -> Self {
                Self(random())
            }
        }
    )*};
}
random_id!(WorkspaceId, DocumentId, ThreadId, MessageId);

impl ContentHash {
    /// Hashes the bytes of a file.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl DeviceId {
    /// The name of the device that signs with this Ed25519 public key.
    #[must_use]
    pub fn of_sign_key(sign_key: &[u8; 32]) -> Self {
        let hash = blake3::hash(sign_key);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = DocumentId::random();
        assert_eq!(id.to_string().parse::<DocumentId>(), Ok(id));
        assert_eq!(id.to_string().len(), 32);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<DocumentId>(&json).unwrap(), id);
    }

    #[test]
    fn a_text_that_is_no_id_is_refused() {
        for text in [
            "",
            "0",
            "zz",
            &"g".repeat(32),
            &"é".repeat(16),
            &"a".repeat(33),
        ] {
            assert!(text.parse::<DocumentId>().is_err(), "{text}");
        }
    }
}
