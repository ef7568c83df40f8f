//! Keys that prove to an edge what we may do there, without saying who we are.
//!
//! Pure. All members of a role in an epoch share a capability, so an edge cannot tell devices apart.
//! Start at [`CapabilityKey`] and [`PolicyKey`]. Derivation: `sync/SEALING.md` § 4.

use std::fmt;

use satchel_protocol::id::MailboxId;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::device::{ed25519_public, ed25519_sign};
use super::hkdf;
use super::role::Role;
use crate::id::{random, to_hex};

/// Proves a role at one mailbox in one epoch. Wiped from memory when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct CapabilityKey([u8; 32]);

impl CapabilityKey {
    pub(super) fn derive(secret: &[u8; 32], mailbox: MailboxId, role: Role) -> Self {
        let mut seed = [0; 32];
        hkdf(
            &[],
            secret,
            &[b"edge-cap", &mailbox.0, &[role as u8]],
            &mut seed,
        );
        Self(seed)
    }

    /// What the edge keeps: an Ed25519 public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        ed25519_public(&self.0)
    }

    /// Signs with Ed25519.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        ed25519_sign(&self.0, message)
    }
}

impl fmt::Debug for CapabilityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapabilityKey(…)")
    }
}

/// The owners' key: it makes a mailbox and says which capabilities an edge accepts. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PolicyKey([u8; 32]);

impl PolicyKey {
    /// Makes a new key from the operating system's random source.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// Takes over a seed that was kept elsewhere.
    #[must_use]
    pub fn from_bytes(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// The seed itself. Whoever calls this takes care that it is not copied further.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// The seed, to be stored sealed.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_vec())
    }

    /// Reads what [`PolicyKey::to_secret_bytes`] made; `None` when the bytes are something else.
    #[must_use]
    pub fn from_secret_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        ed25519_public(&self.0)
    }

    /// Signs with Ed25519.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        ed25519_sign(&self.0, message)
    }

    /// The mailbox that this key makes. It keeps its name when a later policy key takes over.
    #[must_use]
    pub fn mailbox(&self) -> MailboxId {
        mailbox_of(&self.public())
    }

    /// The same key once more.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

/// Shows the beginning of the public key.
impl fmt::Debug for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyKey({})", to_hex(&self.public()[..4]))
    }
}

/// The mailbox of the first policy key: 16 bytes of its BLAKE3.
pub(crate) fn mailbox_of(policy_public: &[u8; 32]) -> MailboxId {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(policy_public).as_bytes()[..16]);
    MailboxId(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{DevicePublic, EpochId, EpochSecrets};

    const ID: EpochId = EpochId {
        number: 3,
        record: [4; 8],
    };

    #[test]
    fn capabilities_differ_by_role_epoch_and_mailbox() {
        let secrets = EpochSecrets::new(ID, [1; 32], Some([1; 32]));
        let other = EpochSecrets::new(ID, [2; 32], Some([2; 32]));
        let (here, there) = (MailboxId([5; 16]), MailboxId([6; 16]));
        let keys = [
            secrets.reader_capability(here).public(),
            secrets.reader_capability(there).public(),
            secrets.writer_capability(here).unwrap().public(),
            secrets.writer_capability(there).unwrap().public(),
            other.reader_capability(here).public(),
            other.writer_capability(here).unwrap().public(),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "key {at}");
        }
        assert_eq!(
            keys[0],
            secrets.duplicate().reader_capability(here).public()
        );
    }

    #[test]
    fn a_reader_cannot_prove_that_it_writes() {
        let secrets = EpochSecrets::new(ID, [1; 32], None);
        assert!(secrets.writer_capability(MailboxId([5; 16])).is_none());
    }

    #[test]
    fn what_a_capability_or_the_policy_key_signs_verifies() {
        let capability = EpochSecrets::random(ID).reader_capability(MailboxId([5; 16]));
        let policy = PolicyKey::random();
        for (public, signature) in [
            (capability.public(), capability.sign(b"open")),
            (policy.public(), policy.sign(b"open")),
        ] {
            let public = DevicePublic {
                sign_key: public,
                kem_key: [0; 32],
            };
            assert!(public.verify(b"open", &signature));
            assert!(!public.verify(b"close", &signature));
        }
        let again = PolicyKey::from_secret_bytes(&policy.to_secret_bytes()).unwrap();
        assert_eq!(again.mailbox(), policy.mailbox());
        assert!(PolicyKey::from_secret_bytes(&[0; 31]).is_none());
    }
}
