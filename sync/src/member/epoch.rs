//! The secrets of an epoch: the time between two changes of who may read.
//!
//! Pure. Start at [`EpochSecrets`]. What follows from the secrets: `sync/SEALING.md` § 3.

use std::fmt;

use satchel_protocol::id::MailboxId;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::capability::CapabilityKey;
use super::hkdf;
use super::role::Role;
use crate::id::{random, to_hex};

/// Names an epoch: its number and the beginning of the hash of the record that made it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EpochId {
    /// 0 for the first one, one more with each rotation.
    pub number: u32,
    /// First 8 bytes of the hash of the control record.
    pub record: [u8; 8],
}

impl EpochId {
    /// Number (4 bytes, big-endian), then the record's 8 bytes, as in a fragment's header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.number.to_be_bytes());
        bytes[4..].copy_from_slice(&self.record);
        bytes
    }

    /// Reads what [`EpochId::to_bytes`] made.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 12]) -> Self {
        let [a, b, c, d, record @ ..] = *bytes;
        Self {
            number: u32::from_be_bytes([a, b, c, d]),
            record,
        }
    }

    /// The epoch of this number that the record with this hash makes.
    pub(crate) fn made_by(number: u32, record_hash: &[u8; 32]) -> Self {
        let mut record = [0; 8];
        record.copy_from_slice(&record_hash[..8]);
        Self { number, record }
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochId({}, {})", self.number, to_hex(&self.record))
    }
}

/// What the members of an epoch share. Wiped from memory when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct EpochSecrets {
    #[zeroize(skip)]
    id: EpochId,
    epoch: [u8; 32],
    writer: Option<[u8; 32]>,
}

impl EpochSecrets {
    /// Makes new secrets from the operating system's random source, with the writers' one.
    #[must_use]
    pub fn random(id: EpochId) -> Self {
        Self::new(id, random(), Some(random()))
    }

    /// Takes over secrets that came from elsewhere; a reader has no writers' secret.
    #[must_use]
    pub fn new(id: EpochId, epoch: [u8; 32], writer: Option<[u8; 32]>) -> Self {
        Self { id, epoch, writer }
    }

    /// Which epoch.
    #[must_use]
    pub fn id(&self) -> EpochId {
        self.id
    }

    /// The secret that every member has. Whoever calls this takes care that it is not copied further.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.epoch
    }

    /// The secret that owners and writers have, if we are one.
    #[must_use]
    pub fn expose_writer_secret(&self) -> Option<&[u8; 32]> {
        self.writer.as_ref()
    }

    /// The key that proves to an edge that we may read this mailbox.
    #[must_use]
    pub fn reader_capability(&self, mailbox: MailboxId) -> CapabilityKey {
        CapabilityKey::derive(&self.epoch, mailbox, Role::Reader)
    }

    /// The key that proves to an edge that we may append to this mailbox; `None` for a reader.
    #[must_use]
    pub fn writer_capability(&self, mailbox: MailboxId) -> Option<CapabilityKey> {
        let writer = self.writer.as_ref()?;
        Some(CapabilityKey::derive(writer, mailbox, Role::Writer))
    }

    /// The same secrets once more.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self::new(self.id, self.epoch, self.writer)
    }

    /// The same secrets for an epoch whose record is known by now.
    pub(crate) fn named(&self, id: EpochId) -> Self {
        Self::new(id, self.epoch, self.writer)
    }

    /// What a record says about the secrets, so that everybody notices who was given others.
    pub(crate) fn checks(&self) -> EpochChecks {
        EpochChecks {
            epoch: check_of(&self.epoch, b"epoch"),
            writer: self
                .writer
                .as_ref()
                .map(|secret| check_of(secret, b"writer")),
        }
    }
}

/// Shows the id alone.
impl fmt::Debug for EpochSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochSecrets({:?}, …)", self.id)
    }
}

/// Recognises secrets without helping to find them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochChecks {
    pub(crate) epoch: [u8; 32],
    /// Missing where the holder is a reader.
    pub(crate) writer: Option<[u8; 32]>,
}

impl EpochChecks {
    /// Whether these are the checks of the secrets that a record announced.
    pub(crate) fn fit(&self, announced: &Self) -> bool {
        self.epoch == announced.epoch && (self.writer.is_none() || self.writer == announced.writer)
    }
}

fn check_of(secret: &[u8; 32], which: &[u8]) -> [u8; 32] {
    let mut check = [0; 32];
    hkdf(&[], secret, &[b"wsync check 1", which], &mut check);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epochs_name_survives_its_bytes() {
        let name = EpochId {
            number: 0x0102_0304,
            record: [5; 8],
        };
        assert_eq!(name.to_bytes(), [1, 2, 3, 4, 5, 5, 5, 5, 5, 5, 5, 5]);
        assert_eq!(EpochId::from_bytes(&name.to_bytes()), name);
    }
}
