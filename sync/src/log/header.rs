//! The first bytes of every file: what it is, whose it is, and which key made it.
//!
//! Never trusted for content: each frame authenticates the header it stands under. Start at [`Header`].

use super::{FORMAT_VERSION, HEADER_BYTES, MAGIC};
use crate::id::{WorkspaceId, random};
use crate::seal::{FileKind, Sealer, WorkspaceKeys};

const SUITE_AES_256_GCM_SIV: u8 = 1;

/// The first 64 bytes of a file, in plain text but authenticated by every frame.
///
/// | bytes | content |
/// |---|---|
/// | 0..8 | `SATCHLOG` |
/// | 8..10 | format version, u16 little-endian: 1 |
/// | 10 | suite: 1 = AES-256-GCM-SIV |
/// | 11 | kind of file: 1 index, 2 document, 3 chat, 4 original, 6 keystrokes |
/// | 12..16 | zero |
/// | 16..32 | id of the workspace |
/// | 32..48 | incarnation: random, new each time the file is rewritten, so that frames of an older one do not fit |
/// | 48..56 | check of the key ([`Sealer::check`]): tells a wrong key from a damaged file |
/// | 56..64 | first 8 bytes of BLAKE3 of bytes 0..56 |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header(pub(super) [u8; HEADER_BYTES]);

impl Header {
    pub(super) fn new(keys: &WorkspaceKeys, kind: FileKind) -> Self {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10] = SUITE_AES_256_GCM_SIV;
        bytes[11] = kind as u8;
        bytes[16..32].copy_from_slice(&keys.workspace().0);
        bytes[32..48].copy_from_slice(&random::<16>());
        bytes[48..56].copy_from_slice(&keys.sealer(kind).check());
        let check = blake3::hash(&bytes[..56]);
        bytes[56..].copy_from_slice(&check.as_bytes()[..8]);
        Self(bytes)
    }

    /// Reads a header and says for which workspace and kind it is; `None` when it is damaged.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header: [u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
        let check = blake3::hash(&header[..56]);
        let intact = header[..8] == MAGIC && header[56..] == check.as_bytes()[..8];
        intact.then_some(Self(header))
    }

    /// The workspace that the file belongs to.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.0[16..32]);
        WorkspaceId(id)
    }

    pub(super) fn version(&self) -> u16 {
        u16::from_le_bytes([self.0[8], self.0[9]])
    }

    /// Whether a key made this file; see [`Sealer::check`].
    #[must_use]
    pub fn made_by(&self, sealer: &Sealer) -> bool {
        self.0[48..56] == sealer.check()
    }
}
