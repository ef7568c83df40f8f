//! The key file `data-key.json`: how the data key is kept, with a checksum and the key's fingerprint.
//!
//! Written whole and durably, mode 0600. A file that does not fit its checksum is reported, never replaced.
//! Format: `sync/SCHEMA.md`. Start at [`KeyFile`].

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::{Zeroize, Zeroizing};

use super::passphrase::Wrapped;
use super::{DataKey, KeyError};
use crate::durable;
use crate::id::{from_hex, to_hex};

const FORMAT: &str = "satchel data key";
const VERSION: u32 = 1;
/// No key file that Satchel writes comes near this length in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// What the key file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyFile {
    /// Recognises the key, see [`DataKey::fingerprint`].
    pub(super) fingerprint: String,
    /// Where it is.
    pub(super) kept: Kept,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "kebab-case")]
pub(super) enum Kept {
    Keyring { account: String },
    Passphrase { wrapped: Wrapped },
    PlainFile { key: PlainKey },
}

/// A key written out in the file, for users who chose no protection.
pub(super) struct PlainKey(pub(super) DataKey);

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: String,
    version: u32,
    /// First 16 bytes of BLAKE3 of `content`, in hexadecimal digits: tells a damaged file from a wrong passphrase.
    checksum: String,
    /// A [`KeyFile`] as JSON text.
    content: String,
}

impl KeyFile {
    /// Reads the file; `None` when there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, KeyError> {
        let io_error = |source| KeyError::Io {
            path: path.to_owned(),
            source,
        };
        let bytes = match fs::metadata(path) {
            Ok(about) if about.len() > MAX_FILE_BYTES => {
                return Err(damaged(path, "it is far too long"));
            }
            Ok(_) => Zeroizing::new(fs::read(path).map_err(io_error)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(source)),
        };
        Self::parse(path, &bytes).map(Some)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.is_empty() {
            return Err(damaged(path, "it is empty"));
        }
        let mut envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|_| damaged(path, "it is not a key file"))?;
        if envelope.format != FORMAT {
            return Err(damaged(path, "it is not a key file"));
        }
        if envelope.version > VERSION {
            return Err(KeyError::NewerFormat {
                found: envelope.version,
                path: path.to_owned(),
            });
        }
        if envelope.version != VERSION || envelope.checksum != checksum(&envelope.content) {
            return Err(damaged(path, "its checksum does not fit"));
        }
        let file = serde_json::from_str(&envelope.content)
            .map_err(|_| damaged(path, "its content is not understood"));
        envelope.content.zeroize();
        file
    }

    /// Writes the file durably, replacing the old one in one step.
    pub(super) fn write(&self, path: &Path) -> Result<(), KeyError> {
        let content = serde_json::to_string(self).expect("a key file is plain data");
        let mut envelope = Envelope {
            format: FORMAT.to_owned(),
            version: VERSION,
            checksum: checksum(&content),
            content,
        };
        let bytes =
            Zeroizing::new(serde_json::to_vec_pretty(&envelope).expect("a key file is plain data"));
        envelope.content.zeroize();
        durable::write(path, &bytes).map_err(|source| KeyError::Io {
            path: path.to_owned(),
            source,
        })
    }
}

/// Takes the rights of others off the folder.
pub(super) fn protect_folder(path: &Path) -> io::Result<()> {
    restrict(path, 0o700)
}

/// Takes the rights of others off the key file, which somebody may have copied carelessly.
pub(super) fn protect_file(path: &Path) -> io::Result<()> {
    if path.exists() {
        restrict(path, 0o600)
    } else {
        Ok(())
    }
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let now = fs::metadata(path)?.permissions().mode() & 0o777;
    if now & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!("other users could read the folder of keys; that is now closed");
    fs::set_permissions(path, fs::Permissions::from_mode(now & mode))
}

#[cfg(not(unix))]
fn restrict(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

fn checksum(content: &str) -> String {
    to_hex(&blake3::hash(content.as_bytes()).as_bytes()[..16])
}

fn damaged(path: &Path, reason: &str) -> KeyError {
    KeyError::Damaged {
        reason: reason.to_owned(),
        path: path.to_owned(),
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Clone for PlainKey {
    fn clone(&self) -> Self {
        Self(self.0.duplicate())
    }
}

impl Serialize for PlainKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(to_hex(self.0.expose_secret()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for PlainKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = from_hex(&text).map_err(de::Error::custom)?;
        Ok(Self(DataKey::from_bytes(bytes)))
    }
}
