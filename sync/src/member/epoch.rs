//! The secrets of an epoch: the time between two changes of who may read.
//!
//! Pure. Start at [`EpochSecrets`] and [`Keyring`]. Layouts: `sync/SEALING.md` § 3.

use std::collections::BTreeMap;
use std::fmt;

use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::id::MailboxId;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::capability::CapabilityKey;
use super::role::Role;
use super::{hkdf, previous};
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::{WorkspaceId, random, to_hex};
use crate::sealing::OpenError;

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

/// All epochs whose secrets we know.
#[derive(Default)]
pub struct Keyring(BTreeMap<u32, EpochSecrets>);

impl Keyring {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The epoch with the highest number.
    #[must_use]
    pub fn newest(&self) -> Option<&EpochSecrets> {
        self.0.values().next_back()
    }

    /// The epoch that a fragment's header names.
    #[must_use]
    pub fn find(&self, epoch_id: &[u8; 12]) -> Option<&EpochSecrets> {
        self.of(EpochId::from_bytes(epoch_id))
    }

    pub(crate) fn of(&self, id: EpochId) -> Option<&EpochSecrets> {
        self.0.get(&id.number).filter(|secrets| secrets.id == id)
    }

    /// All epochs, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &EpochSecrets> {
        self.0.values()
    }

    /// How many epochs are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Learns an epoch.
    ///
    /// A writers' secret that is known already stays when `secrets` brings none. Another epoch of that
    /// number is replaced: its record lost against the one that is in the log.
    pub fn insert(&mut self, secrets: EpochSecrets) {
        let known = self.of(secrets.id);
        if known.is_some_and(|known| known.epoch == secrets.epoch && secrets.writer.is_none()) {
            return;
        }
        self.0.insert(secrets.id.number, secrets);
    }

    /// Layout version, count, then each epoch: to be stored sealed.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Writer::with_capacity(5 + self.0.len() * (12 + 32 + 1 + 32));
        bytes.u8(KEYRING_VERSION);
        bytes.u32(u32::try_from(self.0.len()).expect("numbers of epochs have 32 bits"));
        for secrets in self.0.values() {
            bytes.array(&secrets.id.to_bytes()).array(&secrets.epoch);
            match &secrets.writer {
                Some(writer) => bytes.u8(1).array(writer),
                None => bytes.u8(0),
            };
        }
        Zeroizing::new(bytes.into_vec())
    }

    /// Reads what [`Keyring::to_secret_bytes`] made; `None` when the bytes are something else.
    #[must_use]
    pub fn from_secret_bytes(bytes: &[u8]) -> Option<Self> {
        read_keyring(bytes).ok()
    }

    /// Learns the epochs before the newest one, each from what was sealed under its successor.
    ///
    /// `sealed` are the second fragments of control records, in any order; those of epochs that are known
    /// already are not opened. Returns how many epochs were learnt.
    ///
    /// # Errors
    /// [`WalkBackError`] when a link is missing or does not open. What was learnt before stays.
    pub fn walk_back<'a>(
        &mut self,
        workspace: WorkspaceId,
        sealed: impl IntoIterator<Item = &'a EncryptedFragment>,
    ) -> Result<usize, WalkBackError> {
        let links: BTreeMap<[u8; 12], &EncryptedFragment> = sealed
            .into_iter()
            .map(|fragment| (fragment.header().epoch_id, fragment))
            .collect();
        let mut learnt = 0;
        let Some(mut number) = self.newest().map(|newest| newest.id.number) else {
            return Ok(0);
        };
        while let Some(before) = number.checked_sub(1) {
            let Some(later) = self.0.get(&number) else {
                break;
            };
            let known = self.0.get(&before);
            let is_complete =
                known.is_some_and(|known| known.writer.is_some() || later.writer.is_none());
            let link = links.get(&later.id.to_bytes());
            if known.is_none() && link.is_none() {
                return Err(WalkBackError::Missing { epoch: number });
            }
            if let (false, Some(link)) = (is_complete, link) {
                let previous = previous::open(later, workspace, link).map_err(|source| {
                    WalkBackError::Open {
                        epoch: number,
                        source,
                    }
                })?;
                let contradicts = known
                    .is_some_and(|known| (known.id, known.epoch) != (previous.id, previous.epoch));
                if previous.id.number != before || contradicts {
                    return Err(WalkBackError::Broken { epoch: number });
                }
                learnt += usize::from(known.is_none());
                self.insert(previous);
            }
            number = before;
        }
        Ok(learnt)
    }
}

/// Shows how many epochs there are.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} epochs)", self.0.len())
    }
}

/// Older epochs cannot be learnt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkBackError {
    /// The edge did not send the record that made an epoch.
    #[error("the way back to older keys is missing at epoch {epoch}: ask another edge or device")]
    Missing {
        /// The epoch under which its predecessor is sealed.
        epoch: u32,
    },
    /// What was sent does not open.
    #[error("the way back to older keys is damaged at epoch {epoch}: ask another edge or device")]
    Open {
        /// The epoch under which its predecessor is sealed.
        epoch: u32,
        /// Why.
        source: OpenError,
    },
    /// What was sealed there is not the epoch before.
    #[error(
        "the way back to older keys leads elsewhere at epoch {epoch}: remove the device that wrote it"
    )]
    Broken {
        /// The epoch under which its predecessor is sealed.
        epoch: u32,
    },
}

const KEYRING_VERSION: u8 = 1;

fn read_keyring(bytes: &[u8]) -> Result<Keyring, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != KEYRING_VERSION {
        return Err(Malformed::Value);
    }
    let count = reader.u32()?;
    let mut keyring = Keyring::new();
    for _ in 0..count {
        let id = EpochId::from_bytes(&reader.array()?);
        let epoch = reader.array()?;
        let writer = if reader.flag()? {
            Some(reader.array()?)
        } else {
            None
        };
        keyring.insert(EpochSecrets::new(id, epoch, writer));
    }
    reader.end()?;
    Ok(keyring)
}

#[cfg(test)]
mod tests;
