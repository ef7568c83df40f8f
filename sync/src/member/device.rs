//! The keys of a device: one to sign with, one that others wrap secrets for.
//!
//! Pure. Never keeps anything on a disk: whoever holds [`DeviceKeys`] stores [`DeviceKeys::to_secret_bytes`] sealed.
//! Ed25519 (RFC 8032) and X25519 (RFC 7748), both from aws-lc. Start at [`DeviceKeys`].

use std::fmt;

use aws_lc_rs::agreement;
use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair};
use rustls::crypto::hpke::HpkePrivateKey;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::bytes::{Reader, Writer};
use crate::id::{DeviceId, random};

/// Layout of [`DeviceKeys::to_secret_bytes`].
const VERSION: u8 = 1;

/// The secret keys of this device. Wiped from memory when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DeviceKeys {
    sign_seed: [u8; 32],
    kem_key: [u8; 32],
    #[zeroize(skip)]
    public: DevicePublic,
}

impl DeviceKeys {
    /// Makes new keys from the operating system's random source.
    #[must_use]
    pub fn random() -> Self {
        Self::from_parts(random(), random()).expect("any 32 bytes are a key of either kind")
    }

    fn from_parts(sign_seed: [u8; 32], kem_key: [u8; 32]) -> Option<Self> {
        let kem_public = agreement::PrivateKey::from_private_key(&agreement::X25519, &kem_key)
            .and_then(|key| key.compute_public_key().map_err(Into::into))
            .ok()?;
        let public = DevicePublic {
            sign_key: ed25519_public(&sign_seed),
            kem_key: kem_public.as_ref().try_into().ok()?,
        };
        Some(Self {
            sign_seed,
            kem_key,
            public,
        })
    }

    /// Layout version 1, signing seed, X25519 private key: 65 bytes to be stored sealed.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Writer::with_capacity(65);
        bytes
            .u8(VERSION)
            .array(&self.sign_seed)
            .array(&self.kem_key);
        Zeroizing::new(bytes.into_vec())
    }

    /// Reads what [`DeviceKeys::to_secret_bytes`] made; `None` when the bytes are something else.
    #[must_use]
    pub fn from_secret_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8().ok()? != VERSION {
            return None;
        }
        let keys = Self::from_parts(reader.array().ok()?, reader.array().ok()?);
        reader.end().ok()?;
        keys
    }

    /// The device's name.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.public.id()
    }

    /// What others may know.
    #[must_use]
    pub fn public(&self) -> DevicePublic {
        self.public
    }

    /// Signs with Ed25519. The caller's message begins with what it is for, so that no signature serves twice.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        ed25519_sign(&self.sign_seed, message)
    }

    pub(crate) fn kem_private_key(&self) -> HpkePrivateKey {
        HpkePrivateKey::from(self.kem_key.to_vec())
    }
}

impl fmt::Debug for DeviceKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKeys({}, …)", self.id().short())
    }
}

/// The public keys of a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DevicePublic {
    /// Ed25519.
    pub sign_key: [u8; 32],
    /// X25519.
    pub kem_key: [u8; 32],
}

impl DevicePublic {
    /// The device's name: first 16 bytes of BLAKE3 of the signing key.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        DeviceId::of_sign_key(&self.sign_key)
    }

    /// Whether this device signed exactly this message.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_verify(&self.sign_key, message, signature)
    }

    /// Signing key, then X25519 key.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.sign_key);
        bytes[32..].copy_from_slice(&self.kem_key);
        bytes
    }

    /// Reads what [`DevicePublic::to_bytes`] made. Whether the keys are good shows when they are used.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut public = Self {
            sign_key: [0; 32],
            kem_key: [0; 32],
        };
        public.sign_key.copy_from_slice(&bytes[..32]);
        public.kem_key.copy_from_slice(&bytes[32..]);
        public
    }
}

impl fmt::Debug for DevicePublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevicePublic({})", self.id().short())
    }
}

fn ed25519(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed")
}

/// The public key that belongs to a seed.
pub(super) fn ed25519_public(seed: &[u8; 32]) -> [u8; 32] {
    let pair = ed25519(seed);
    let mut public = [0; 32];
    public.copy_from_slice(pair.public_key().as_ref());
    public
}

pub(super) fn ed25519_sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes.copy_from_slice(ed25519(seed).sign(message).as_ref());
    bytes
}

fn ed25519_verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(&signature::ED25519, public)
        .verify(message, signature)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_bytes() {
        let keys = DeviceKeys::random();
        let again = DeviceKeys::from_secret_bytes(&keys.to_secret_bytes()).unwrap();
        assert_eq!(again.public(), keys.public());
        assert_eq!(again.to_secret_bytes(), keys.to_secret_bytes());
        assert_eq!(
            DevicePublic::from_bytes(&keys.public().to_bytes()),
            keys.public()
        );
        assert_ne!(DeviceKeys::random().id(), keys.id());
    }

    #[test]
    fn bytes_that_are_no_keys_are_refused() {
        let bytes = DeviceKeys::random().to_secret_bytes();
        for end in 0..bytes.len() {
            assert!(DeviceKeys::from_secret_bytes(&bytes[..end]).is_none());
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(DeviceKeys::from_secret_bytes(&longer).is_none());
        let newer = [&[2], &bytes[1..]].concat();
        assert!(DeviceKeys::from_secret_bytes(&newer).is_none());
    }

    #[test]
    fn every_bit_of_message_and_signature_matters() {
        let keys = DeviceKeys::random();
        let signature = keys.sign(b"satchel");
        assert!(keys.public().verify(b"satchel", &signature));
        assert!(!keys.public().verify(b"satchem", &signature));
        assert!(!DeviceKeys::random().public().verify(b"satchel", &signature));
        for bit in 0..512 {
            let mut changed = signature;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.public().verify(b"satchel", &changed), "bit {bit}");
        }
        assert!(!keys.public().verify(b"satchel", &signature[..63]));
    }

    #[test]
    fn debug_output_shows_no_key() {
        let keys = DeviceKeys::from_parts([0xab; 32], [0xcd; 32]).unwrap();
        assert!(!format!("{keys:?}").contains("abab"));
    }
}
