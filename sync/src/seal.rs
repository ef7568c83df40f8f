//! Encrypts pieces of files under keys that belong to one workspace and one kind of file.
//!
//! AES-256-GCM-SIV (RFC 8452) with a random 96-bit nonce per piece: a repeated nonce would reveal only that
//! two pieces are equal, never their key or content. Pure: no disk, no clock.
//! What the authentication covers is [`Aad`]; the layout on disk is in `log` and in `sync/SCHEMA.md`.
//! Start at [`WorkspaceKeys`].

use std::fmt;

use aws_lc_rs::aead;
use zeroize::Zeroizing;

use crate::id::{ContentHash, WorkspaceId, random};
use crate::keys::DataKey;

/// Bytes that sealing adds to a piece: 12 of nonce before it, 16 of tag after it.
pub const SEAL_OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;
pub(crate) const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What a file is for. The number is stored and chooses the key, so an entry is never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileKind {
    /// The list of documents and chats of a workspace.
    Index = 1,
    /// The text of one document with its history.
    Document = 2,
    /// One chat.
    Chat = 3,
    /// An original file as it was imported.
    Original = 4,
    /// What syncing remembers: keys, outbox, what the other devices have.
    Sync = 5,
    /// Keystrokes that are not in their documents yet.
    Keystrokes = 6,
    /// What can be made again from the others, and may be lost.
    Cache = 7,
}

impl FileKind {
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [
            Self::Index,
            Self::Document,
            Self::Chat,
            Self::Original,
            Self::Sync,
            Self::Keystrokes,
            Self::Cache,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == number)
    }
}

/// The bytes were not sealed with this key for this place, or they have changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the piece is not what was sealed here: it was changed, moved, or sealed under another key"
)]
pub struct OpenSealError;

/// What each sealed piece is bound to. Do not change: files on people's disks depend on every byte.
///
/// | bytes | content |
/// |---|---|
/// | 0..64 | the file's header (workspace, kind, version, incarnation; see `log`) |
/// | 64..96 | id of the file inside the workspace, zero-padded |
/// | 96..104 | offset of the frame in the file, u64 little-endian |
/// | 104..108 | length of the plaintext, u32 little-endian |
#[derive(Debug, Clone, Copy)]
pub struct Aad<'a> {
    /// The 64 bytes at the start of the file.
    pub header: &'a [u8; 64],
    /// Which file this is: 16 bytes of id or 32 of keyed name, zero-padded.
    pub file: &'a [u8; 32],
    /// Where in the file the frame begins, in bytes.
    pub offset_bytes: u64,
    /// Length of the plaintext, in bytes.
    pub plaintext_bytes: u32,
}

impl Aad<'_> {
    fn to_bytes(self) -> [u8; 108] {
        let mut bytes = [0; 108];
        bytes[..64].copy_from_slice(self.header);
        bytes[64..96].copy_from_slice(self.file);
        bytes[96..104].copy_from_slice(&self.offset_bytes.to_le_bytes());
        bytes[104..].copy_from_slice(&self.plaintext_bytes.to_le_bytes());
        bytes
    }
}

/// The key of one kind of file in one workspace.
pub struct Sealer {
    key: aead::LessSafeKey,
    check: [u8; 8],
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl Sealer {
    /// Derives the key with BLAKE3 from the data key, the workspace and the kind of file.
    #[must_use]
    pub fn new(data_key: &DataKey, workspace: WorkspaceId, kind: FileKind) -> Self {
        let material = key_material(data_key, workspace, kind as u8);
        let key = Zeroizing::new(blake3::derive_key(
            "Satchel 2026-11 file key: data key, workspace, kind",
            &material[..],
        ));
        let check = blake3::derive_key("Satchel 2026-11 check of a file key", &key[..]);
        let mut short = [0; 8];
        short.copy_from_slice(&check[..8]);
        let key = aead::UnboundKey::new(&aead::AES_256_GCM_SIV, &key[..])
            .expect("the algorithm takes 32 bytes of key");
        Self {
            key: aead::LessSafeKey::new(key),
            check: short,
        }
    }

    /// Eight bytes that tell this key from another one without helping to find it.
    #[must_use]
    pub fn check(&self) -> [u8; 8] {
        self.check
    }

    /// Appends nonce, ciphertext and tag of `plaintext` to `out`.
    ///
    /// # Panics
    /// When `plaintext` is longer than the algorithm's limit of 2³⁶ bytes, which callers cap far below.
    pub fn seal(&self, aad: &Aad<'_>, plaintext: &[u8], out: &mut Vec<u8>) {
        self.seal_with_nonce(aad, random(), plaintext, out);
    }

    fn seal_with_nonce(
        &self,
        aad: &Aad<'_>,
        nonce: [u8; NONCE_BYTES],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) {
        out.reserve(plaintext.len() + SEAL_OVERHEAD_BYTES);
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(aad.to_bytes()),
                &mut out[start..],
            )
            .expect("frames are far shorter than the algorithm's limit");
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens what [`Sealer::seal`] wrote.
    ///
    /// # Errors
    /// [`OpenSealError`] when a bit of the piece or of the [`Aad`] differs.
    pub fn open(&self, aad: &Aad<'_>, sealed: &[u8]) -> Result<Vec<u8>, OpenSealError> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_BYTES).ok_or(OpenSealError)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenSealError)?;
        let mut bytes = ciphertext.to_vec();
        let plaintext_bytes = self
            .key
            .open_in_place(nonce, aead::Aad::from(aad.to_bytes()), &mut bytes)
            .map_err(|_| OpenSealError)?
            .len();
        bytes.truncate(plaintext_bytes);
        Ok(bytes)
    }
}

/// All keys of one workspace.
#[derive(Debug)]
pub struct WorkspaceKeys {
    workspace: WorkspaceId,
    index: Sealer,
    document: Sealer,
    chat: Sealer,
    original: Sealer,
    sync: Sealer,
    keystrokes: Sealer,
    cache: Sealer,
    original_names: NameKey,
}

impl WorkspaceKeys {
    /// Derives the keys of `workspace`.
    #[must_use]
    pub fn new(data_key: &DataKey, workspace: WorkspaceId) -> Self {
        let sealer = |kind| Sealer::new(data_key, workspace, kind);
        let material = key_material(data_key, workspace, 0);
        Self {
            workspace,
            index: sealer(FileKind::Index),
            document: sealer(FileKind::Document),
            chat: sealer(FileKind::Chat),
            original: sealer(FileKind::Original),
            sync: sealer(FileKind::Sync),
            keystrokes: sealer(FileKind::Keystrokes),
            cache: sealer(FileKind::Cache),
            original_names: NameKey(Zeroizing::new(blake3::derive_key(
                "Satchel 2026-11 names of originals: data key, workspace",
                &material[..],
            ))),
        }
    }

    /// Which workspace the keys are for.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// The key for one kind of file.
    #[must_use]
    pub fn sealer(&self, kind: FileKind) -> &Sealer {
        match kind {
            FileKind::Index => &self.index,
            FileKind::Document => &self.document,
            FileKind::Chat => &self.chat,
            FileKind::Original => &self.original,
            FileKind::Sync => &self.sync,
            FileKind::Keystrokes => &self.keystrokes,
            FileKind::Cache => &self.cache,
        }
    }

    /// The name under which an original is kept: a keyed hash of its hash.
    ///
    /// Without the data key nobody can test whether a known file is in the folder.
    #[must_use]
    pub fn original_name(&self, content: &ContentHash) -> [u8; 32] {
        *blake3::keyed_hash(&self.original_names.0, &content.0).as_bytes()
    }
}

struct NameKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for NameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKey(…)")
    }
}

fn key_material(data_key: &DataKey, workspace: WorkspaceId, purpose: u8) -> Zeroizing<[u8; 49]> {
    let mut material = Zeroizing::new([0; 49]);
    material[..32].copy_from_slice(data_key.expose_secret());
    material[32..48].copy_from_slice(&workspace.0);
    material[48] = purpose;
    material
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::to_hex;
    use expect_test::expect;

    fn keys_of(byte: u8) -> WorkspaceKeys {
        WorkspaceKeys::new(&DataKey::from_bytes([byte; 32]), WorkspaceId([2; 16]))
    }

    const AAD: Aad<'static> = Aad {
        header: &[3; 64],
        file: &[4; 32],
        offset_bytes: 64,
        plaintext_bytes: 7,
    };

    /// Files on people's disks are sealed like this. If this test fails, they can no longer be opened.
    #[test]
    fn the_frozen_vector_still_seals_and_opens() {
        let keys = keys_of(1);
        let sealer = keys.sealer(FileKind::Document);
        let mut sealed = Vec::new();
        sealer.seal_with_nonce(&AAD, [5; 12], b"satchel", &mut sealed);
        expect!["050505050505050505050505e17139cf2cd3ab726642bd1ff80240c631f6c18c0175bb"]
            .assert_eq(&to_hex(&sealed));
        expect!["31bc3060286e73f5"].assert_eq(&to_hex(&sealer.check()));
        expect!["e3761320cfeb51d1a944cb53982712d731be09f3fa56d9c39ff42981295cfd02"]
            .assert_eq(&to_hex(&keys.original_name(&ContentHash([6; 32]))));
        assert_eq!(sealer.open(&AAD, &sealed).unwrap(), b"satchel");
    }

    #[test]
    fn every_bit_of_piece_place_and_key_matters() {
        let keys = keys_of(1);
        let sealer = keys.sealer(FileKind::Document);
        let mut sealed = Vec::new();
        sealer.seal(&AAD, b"satchel", &mut sealed);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.open(&AAD, &changed), Err(OpenSealError), "bit {bit}");
        }
        for end in 0..sealed.len() {
            assert_eq!(sealer.open(&AAD, &sealed[..end]), Err(OpenSealError));
        }
        for other in [
            Aad {
                header: &[9; 64],
                ..AAD
            },
            Aad {
                file: &[9; 32],
                ..AAD
            },
            Aad {
                offset_bytes: 65,
                ..AAD
            },
            Aad {
                plaintext_bytes: 8,
                ..AAD
            },
        ] {
            assert_eq!(sealer.open(&other, &sealed), Err(OpenSealError));
        }
        for other in [
            keys.sealer(FileKind::Chat),
            keys_of(7).sealer(FileKind::Document),
        ] {
            assert_eq!(other.open(&AAD, &sealed), Err(OpenSealError));
        }
    }

    #[test]
    fn sealing_twice_never_gives_the_same_bytes() {
        let keys = keys_of(1);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        keys.sealer(FileKind::Chat)
            .seal(&AAD, b"satchel", &mut first);
        keys.sealer(FileKind::Chat)
            .seal(&AAD, b"satchel", &mut second);
        assert_ne!(first, second);
    }
}
