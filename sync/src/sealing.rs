//! Seals bytes into fragments under an epoch's secret, and opens them.
//!
//! Pure: no network, no clock, no disk. Each fragment has a key of its own, made from the epoch's secret and a
//! random salt, and commits to it: bytes that open under two secrets cannot be made. Sizes are padded, so an
//! edge learns little from them. Start at [`seal`]. Format: `sync/SEALING.md` § 1.

use aws_lc_rs::aead;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use satchel_protocol::fragment::{
    Aead, EncryptedFragment, FragmentHeader, FragmentKind, HEADER_BYTES,
};
use zeroize::Zeroizing;

use crate::id::{WorkspaceId, random};
use crate::member::{EpochId, EpochSecrets, hkdf};

/// Longest text that fits a fragment.
///
/// 16 segments hold 1,044,480 − 71 − 16 × 16 = 1,044,153 bytes; the next Padmé size below is 63 × 16 KiB =
/// 1,032,192, and the length takes 4 of them.
pub const MAX_INNER_BYTES: usize = 1_032_188;

/// Smallest padded text, so that a keystroke looks like a sentence.
pub const MIN_PADDED_BYTES: usize = 256;

/// Plaintext of each segment but the last.
const SEGMENT_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;

/// How the length is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// At least 256 bytes, then the sizes of Padmé: at most 12 % more.
    Padme,
    /// The next multiple of so many bytes.
    Multiple(usize),
}

impl Padding {
    /// What a text of `len_bytes` grows to, its length field included.
    #[must_use]
    pub fn padded_bytes(self, len_bytes: usize) -> usize {
        match self {
            Self::Padme => padme(len_bytes.max(MIN_PADDED_BYTES)),
            Self::Multiple(step) => len_bytes.max(1).next_multiple_of(step.max(1)),
        }
    }
}

/// Padmé of Nikitin and others, “Reducing Metadata Leakage from Encrypted Files and Communication with PURBs”,
/// § 4: of a length in [2^e, 2^(e+1)) only the upper log2(e) + 1 bits may be set.
fn padme(len_bytes: usize) -> usize {
    let exponent = len_bytes.max(2).ilog2();
    let kept_bits = exponent.ilog2() + 1;
    len_bytes.next_multiple_of(1 << (exponent - kept_bits))
}

/// The text is too long for one fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Split it into several.
    #[error("{found_bytes} bytes do not fit a fragment of at most {MAX_INNER_BYTES}: split them")]
    TooLong {
        /// How long it is.
        found_bytes: usize,
    },
}

/// A fragment does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Sealed in another epoch than that of the secrets.
    #[error("sealed in another epoch ({found:?})")]
    OtherEpoch {
        /// The epoch in the header.
        found: EpochId,
    },
    /// It holds something else than was asked for.
    #[error("a fragment of another kind ({found:?})")]
    OtherKind {
        /// The kind in the header.
        found: FragmentKind,
    },
    /// Changed on the way, or sealed under other secrets or for another workspace.
    #[error("the fragment was changed, or sealed under other keys")]
    Sealed,
    /// It opened, but what is inside is not laid out as it should be.
    #[error("what was sealed in the fragment is malformed")]
    Malformed,
}

/// Seals `inner` with AES-256-GCM-SIV.
///
/// # Errors
/// [`SealError::TooLong`] above [`MAX_INNER_BYTES`].
pub fn seal(
    secrets: &EpochSecrets,
    workspace: WorkspaceId,
    kind: FragmentKind,
    inner: &[u8],
    padding: Padding,
) -> Result<EncryptedFragment, SealError> {
    let place = Place {
        workspace,
        epoch: secrets.id(),
        kind,
    };
    let choice = Choice {
        aead: Aead::Aes256GcmSiv,
        salt: random(),
    };
    seal_with(secrets.expose_secret(), &place, &choice, inner, padding)
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`OpenError`]; nothing of the content is given out then.
pub fn open(
    secrets: &EpochSecrets,
    workspace: WorkspaceId,
    expected_kind: FragmentKind,
    fragment: &EncryptedFragment,
) -> Result<Vec<u8>, OpenError> {
    let place = Place {
        workspace,
        epoch: secrets.id(),
        kind: expected_kind,
    };
    open_with(secrets.expose_secret(), &place, fragment)
}

/// What a fragment is bound to.
pub(crate) struct Place {
    pub(crate) workspace: WorkspaceId,
    pub(crate) epoch: EpochId,
    pub(crate) kind: FragmentKind,
}

/// What the sealer chooses.
pub(crate) struct Choice {
    pub(crate) aead: Aead,
    pub(crate) salt: [u8; 24],
}

pub(crate) fn seal_with(
    secret: &[u8; 32],
    place: &Place,
    choice: &Choice,
    inner: &[u8],
    padding: Padding,
) -> Result<EncryptedFragment, SealError> {
    let found_bytes = inner.len();
    let padded_bytes = padding.padded_bytes(found_bytes.saturating_add(LENGTH_BYTES));
    let (true, Ok(len)) = (found_bytes <= MAX_INNER_BYTES, u32::try_from(found_bytes)) else {
        return Err(SealError::TooLong { found_bytes });
    };
    let keys = FragmentKeys::derive(secret, place, choice);
    let header = FragmentHeader {
        aead: choice.aead,
        kind: place.kind,
        epoch_id: place.epoch.to_bytes(),
        salt: choice.salt,
        commit: *keys.commit(),
    };
    let mut text = Zeroizing::new(Vec::with_capacity(padded_bytes));
    text.extend_from_slice(&len.to_be_bytes());
    text.extend_from_slice(inner);
    text.resize(padded_bytes, 0);
    let segments = seal_segments(&keys.sealer(choice.aead), &header.encode(), &text);
    EncryptedFragment::new(header, &segments).map_err(|_| SealError::TooLong { found_bytes })
}

pub(crate) fn open_with(
    secret: &[u8; 32],
    place: &Place,
    fragment: &EncryptedFragment,
) -> Result<Vec<u8>, OpenError> {
    let header = fragment.header();
    if header.kind != place.kind {
        return Err(OpenError::OtherKind { found: header.kind });
    }
    let found = EpochId::from_bytes(&header.epoch_id);
    if found != place.epoch {
        return Err(OpenError::OtherEpoch { found });
    }
    let choice = Choice {
        aead: header.aead,
        salt: header.salt,
    };
    let keys = FragmentKeys::derive(secret, place, &choice);
    verify_slices_are_equal(keys.commit(), &header.commit).map_err(|_| OpenError::Sealed)?;
    let text = open_segments(
        &keys.sealer(header.aead),
        &header.encode(),
        fragment.segments(),
    )?;
    unpad(text)
}

/// Key and commitment of one fragment.
struct FragmentKeys(Zeroizing<[u8; 64]>);

impl FragmentKeys {
    fn derive(secret: &[u8; 32], place: &Place, choice: &Choice) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        let numbers = [choice.aead as u8, place.kind as u8];
        let info: [&[u8]; 3] = [b"wsync frag 1", &place.workspace.0, &numbers];
        hkdf(&choice.salt, secret, &info, &mut bytes[..]);
        Self(bytes)
    }

    fn commit(&self) -> &[u8; 32] {
        self.0.last_chunk().expect("64 bytes end with 32")
    }

    fn sealer(&self, aead: Aead) -> aead::LessSafeKey {
        let algorithm = match aead {
            Aead::Aes256GcmSiv => &aead::AES_256_GCM_SIV,
            Aead::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let key = aead::UnboundKey::new(algorithm, &self.0[..32])
            .expect("both algorithms take 32 bytes of key");
        aead::LessSafeKey::new(key)
    }
}

/// STREAM of Hoang and others: a counter of 11 bytes, then 1 in the last segment and 0 before.
fn nonce(counter: usize, is_last: bool) -> aead::Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&(counter as u64).to_be_bytes());
    nonce[11] = u8::from(is_last);
    aead::Nonce::assume_unique_for_key(nonce)
}

fn seal_segments(key: &aead::LessSafeKey, header: &[u8; HEADER_BYTES], text: &[u8]) -> Vec<u8> {
    let count = text.len().div_ceil(SEGMENT_BYTES);
    let mut sealed = Vec::with_capacity(text.len() + count * TAG_BYTES);
    for (counter, segment) in text.chunks(SEGMENT_BYTES).enumerate() {
        let start = sealed.len();
        sealed.extend_from_slice(segment);
        let nonce = nonce(counter, counter + 1 == count);
        let tag = key
            .seal_in_place_separate_tag(nonce, aead::Aad::from(header), &mut sealed[start..])
            .expect("a segment is far shorter than the algorithm's limit");
        sealed.extend_from_slice(tag.as_ref());
    }
    sealed
}

fn open_segments(
    key: &aead::LessSafeKey,
    header: &[u8; HEADER_BYTES],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let count = sealed.len().div_ceil(SEGMENT_BYTES + TAG_BYTES);
    let mut text = Zeroizing::new(Vec::with_capacity(sealed.len()));
    for (counter, segment) in sealed.chunks(SEGMENT_BYTES + TAG_BYTES).enumerate() {
        let mut segment = Zeroizing::new(segment.to_vec());
        let nonce = nonce(counter, counter + 1 == count);
        let opened = key
            .open_in_place(nonce, aead::Aad::from(header), &mut segment)
            .map_err(|_| OpenError::Sealed)?;
        text.extend_from_slice(opened);
    }
    Ok(text)
}

/// Takes the length off, and zeros that only hide it: one text has one encoding of a size.
fn unpad(text: Zeroizing<Vec<u8>>) -> Result<Vec<u8>, OpenError> {
    let (len, rest) = text.split_first_chunk().ok_or(OpenError::Malformed)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| OpenError::Malformed)?;
    let (inner, padding) = rest.split_at_checked(len).ok_or(OpenError::Malformed)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(OpenError::Malformed);
    }
    Ok(inner.to_vec())
}

#[cfg(test)]
mod tests;
