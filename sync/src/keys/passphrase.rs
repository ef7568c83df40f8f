//! Wraps the data key with a passphrase: Argon2id, then AES-256-GCM-SIV.
//!
//! Pure but slow on purpose: one guess takes 64 MiB of memory and about 0.2 s, for a thief as well.
//! The parameters lie beside the result, so that later versions can raise them. Start at [`Wrapped`].

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{DataKey, KeyError, Passphrase};
use crate::id::{from_hex, random, to_hex};

/// Memory for one guess, in KiB: 64 MiB, the second recommended setting of RFC 9106 § 4.
const MEMORY_KIB: u32 = 64 * 1024;
/// Passes over that memory (RFC 9106 § 4).
const PASSES: u32 = 3;
/// One lane: threads would help a thief with many processors more than the user.
const LANES: u32 = 1;
/// A file that asks for more than this (1 GiB, 64 passes, 16 lanes) was not written by Satchel.
const MAX_COST: (u32, u32, u32) = (1 << 20, 64, 16);

/// A data key that only the passphrase opens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Wrapped {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    nonce: String,
    /// The key's 32 bytes and 16 of tag, encrypted.
    ciphertext: String,
}

impl Wrapped {
    pub(super) fn wrap(
        key: &DataKey,
        passphrase: &Passphrase,
        fingerprint: &str,
    ) -> Result<Self, KeyError> {
        if passphrase.expose_secret().is_empty() {
            return Err(KeyError::EmptyPassphrase);
        }
        let nonce: [u8; 12] = random();
        let mut wrapped = Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: to_hex(&random::<16>()),
            nonce: to_hex(&nonce),
            ciphertext: String::new(),
        };
        let sealing = wrapped.key_from(passphrase)?;
        let mut bytes = Zeroizing::new(key.expose_secret().to_vec());
        let tag = sealing
            .seal_in_place_separate_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(fingerprint.as_bytes()),
                &mut bytes[..],
            )
            .expect("32 bytes are within the algorithm's limit");
        bytes.extend_from_slice(tag.as_ref());
        wrapped.ciphertext = to_hex(&bytes);
        Ok(wrapped)
    }

    pub(super) fn unwrap(
        &self,
        passphrase: &Passphrase,
        fingerprint: &str,
    ) -> Result<DataKey, KeyError> {
        let nonce: [u8; 12] = from_hex(&self.nonce).map_err(|_| self.not_understood("nonce"))?;
        let mut bytes: Zeroizing<[u8; 48]> = Zeroizing::new(
            from_hex(&self.ciphertext).map_err(|_| self.not_understood("ciphertext"))?,
        );
        let opening = self.key_from(passphrase)?;
        let key = opening
            .open_in_place(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(fingerprint.as_bytes()),
                &mut bytes[..],
            )
            // The file's checksum fits, so it is the passphrase that does not.
            .map_err(|_| KeyError::WrongPassphrase)?;
        DataKey::try_from_slice(key).ok_or(KeyError::WrongPassphrase)
    }

    fn key_from(&self, passphrase: &Passphrase) -> Result<aead::LessSafeKey, KeyError> {
        let (memory, passes, lanes) = MAX_COST;
        if self.memory_kib > memory || self.passes > passes || self.lanes > lanes {
            return Err(self.not_understood("costs"));
        }
        let salt: [u8; 16] = from_hex(&self.salt).map_err(|_| self.not_understood("salt"))?;
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| self.not_understood("costs"))?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose_secret().as_bytes(), &salt, &mut key[..])
            .map_err(|_| KeyError::NotEnoughMemory {
                needed_bytes: u64::from(self.memory_kib) << 10,
            })?;
        let key = aead::UnboundKey::new(&aead::AES_256_GCM_SIV, &key[..])
            .expect("the algorithm takes 32 bytes of key");
        Ok(aead::LessSafeKey::new(key))
    }

    fn not_understood(&self, what: &str) -> KeyError {
        KeyError::Damaged {
            reason: format!("its {what} cannot be right"),
            path: super::KEY_FILE_NAME.into(),
        }
    }
}
