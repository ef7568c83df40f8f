//! All epochs whose secrets a device knows, and how it learns older ones.
//!
//! Pure. Start at [`Keyring`].

use std::collections::BTreeMap;
use std::fmt;

use satchel_protocol::fragment::EncryptedFragment;
use zeroize::Zeroizing;

use super::epoch::{EpochId, EpochSecrets};
use super::previous;
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::WorkspaceId;
use crate::sealing::OpenError;

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
        self.0.get(&id.number).filter(|secrets| secrets.id() == id)
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
        let known = self.of(secrets.id());
        if known.is_some_and(|known| {
            known.expose_secret() == secrets.expose_secret()
                && secrets.expose_writer_secret().is_none()
        }) {
            return;
        }
        self.0.insert(secrets.id().number, secrets);
    }

    /// Layout version, count, then each epoch: to be stored sealed.
    #[must_use]
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Writer::with_capacity(5 + self.0.len() * (12 + 32 + 1 + 32));
        bytes.u8(KEYRING_VERSION);
        bytes.u32(u32::try_from(self.0.len()).expect("numbers of epochs have 32 bits"));
        for secrets in self.0.values() {
            bytes
                .array(&secrets.id().to_bytes())
                .array(secrets.expose_secret());
            match secrets.expose_writer_secret() {
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
        let known_before = self.0.len();
        let mut number = self.newest().map_or(0, |newest| newest.id().number);
        while let (Some(before), Some(later)) = (number.checked_sub(1), self.0.get(&number)) {
            let link = links.get(&later.id().to_bytes()).copied();
            if let Some(previous) = self.step_back(later, workspace, link)? {
                self.insert(previous);
            }
            number = before;
        }
        Ok(self.0.len() - known_before)
    }

    /// The epoch before `later`, when it is unknown or known without a writers' secret that we may have.
    fn step_back(
        &self,
        later: &EpochSecrets,
        workspace: WorkspaceId,
        link: Option<&EncryptedFragment>,
    ) -> Result<Option<EpochSecrets>, WalkBackError> {
        let epoch = later.id().number;
        let known = self.0.get(&(epoch - 1));
        let is_complete = known.is_some_and(|known| {
            known.expose_writer_secret().is_some() || later.expose_writer_secret().is_none()
        });
        let link = match link {
            _ if is_complete => return Ok(None),
            // What we lack for reading must be there; a former writers' secret is welcome.
            None if known.is_some() => return Ok(None),
            None => return Err(WalkBackError::Missing { epoch }),
            Some(link) => link,
        };
        let previous = previous::open(later, workspace, link)
            .map_err(|source| WalkBackError::Open { epoch, source })?;
        let contradicts = known.is_some_and(|known| {
            (known.id(), known.expose_secret()) != (previous.id(), previous.expose_secret())
        });
        if previous.id().number != epoch - 1 || contradicts {
            return Err(WalkBackError::Broken { epoch });
        }
        Ok(Some(previous))
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
