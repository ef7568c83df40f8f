//! What two devices tell each other when one joins: who I am, and what you need to take part.
//!
//! Pure. Both travel inside the channel of pairing, which encrypts and authenticates them; each fits one of its
//! messages. Start at [`DeviceInfo`] and [`Welcome`]. Layouts: `sync/SEALING.md` § 8.

use std::fmt;

use satchel_protocol::id::MailboxId;
use zeroize::Zeroizing;

use super::capability::PolicyKey;
use super::device::{DeviceKeys, DevicePublic};
use super::epoch::{EpochId, EpochSecrets};
use super::role::Role;
use super::wrap::{WrapError, read_role_secrets, role_secrets, secrets_bytes};
use super::{MAX_EDGE_LINK_BYTES, MAX_EDGES, MAX_NAME_BYTES, are_good_edges, is_good_name};
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::WorkspaceId;

/// Longest [`DeviceInfo`] as bytes.
pub const MAX_DEVICE_INFO_BYTES: usize = 512;

/// Longest [`Welcome`] as bytes.
pub const MAX_WELCOME_BYTES: usize = 1400;

const VERSION: u8 = 1;

/// What a device that wants to join says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its keys.
    pub public: DevicePublic,
    /// Who uses it.
    pub user: String,
    /// What it is called.
    pub label: String,
    /// Proves that the device holds the signing key.
    sig: [u8; 64],
}

impl DeviceInfo {
    /// Says who we are.
    ///
    /// # Errors
    /// [`WelcomeError::BadName`] for a name that cannot be shown.
    pub fn new(keys: &DeviceKeys, user: &str, label: &str) -> Result<Self, WelcomeError> {
        if !is_good_name(user) || !is_good_name(label) {
            return Err(WelcomeError::BadName);
        }
        let mut info = Self {
            public: keys.public(),
            user: user.to_owned(),
            label: label.to_owned(),
            sig: [0; 64],
        };
        info.sig = keys.sign(&device_digest(&info.signed_part()));
        Ok(info)
    }

    /// The bytes to send, at most [`MAX_DEVICE_INFO_BYTES`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [self.signed_part().as_slice(), &self.sig].concat()
    }

    /// Reads what a device sent, and checks its signature and names.
    ///
    /// # Errors
    /// [`WelcomeError`]: start pairing anew.
    pub fn decode(bytes: &[u8]) -> Result<Self, WelcomeError> {
        if bytes.len() > MAX_DEVICE_INFO_BYTES {
            return Err(WelcomeError::Malformed);
        }
        let mut reader = Reader::new(bytes);
        check_version(&mut reader)?;
        let info = Self {
            public: DevicePublic::from_bytes(&reader.array()?),
            user: name(&mut reader)?,
            label: name(&mut reader)?,
            sig: reader.array()?,
        };
        reader.end()?;
        if info.verify() {
            Ok(info)
        } else {
            Err(WelcomeError::Signature)
        }
    }

    /// Whether the device that the keys belong to said this.
    #[must_use]
    pub fn verify(&self) -> bool {
        self.public
            .verify(&device_digest(&self.signed_part()), &self.sig)
    }

    fn signed_part(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .u8(VERSION)
            .array(&self.public.to_bytes())
            .bytes16(self.user.as_bytes())
            .bytes16(self.label.as_bytes());
        writer.into_vec()
    }
}

/// What a device needs to take part in a workspace.
pub struct Welcome {
    /// Which workspace.
    pub workspace: WorkspaceId,
    /// Its name, as the person sees it.
    pub name: String,
    /// Hash of the first control record.
    pub genesis_hash: [u8; 32],
    /// Index of the record that added the device.
    pub control_index: u32,
    /// Hash of that record.
    pub control_head: [u8; 32],
    /// Policy key in force.
    pub policy_public: [u8; 32],
    /// Where the workspace lies on edges.
    pub mailbox: MailboxId,
    /// What the device may do.
    pub role: Role,
    /// The epoch in force, with the writers' secret unless the device is a reader.
    pub secrets: EpochSecrets,
    /// The policy key, for an owner.
    pub policy: Option<PolicyKey>,
    /// Links to the edges where the workspace is kept, the home first.
    pub edges: Vec<String>,
}

impl Welcome {
    /// The bytes to send, at most [`MAX_WELCOME_BYTES`]. What the role may not know is left out.
    ///
    /// # Errors
    /// [`WelcomeError`] when secrets that the role needs are missing, or a name or link is too long.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, WelcomeError> {
        if !is_good_name(&self.name) {
            return Err(WelcomeError::BadName);
        }
        if !are_good_edges(&self.edges) {
            return Err(WelcomeError::BadEdges);
        }
        let secrets = role_secrets(self.role, &self.secrets, self.policy.as_ref())?;
        let mut writer = Writer::with_capacity(MAX_WELCOME_BYTES);
        writer
            .u8(VERSION)
            .array(&self.workspace.0)
            .array(&self.genesis_hash)
            .u32(self.control_index)
            .array(&self.control_head)
            .array(&self.policy_public)
            .array(&self.mailbox.0)
            .u8(self.role as u8)
            .array(&self.secrets.id().to_bytes())
            .array(&secrets)
            // At most 4.
            .u8(self.edges.len() as u8);
        for link in &self.edges {
            writer.bytes16(link.as_bytes());
        }
        writer.bytes16(self.name.as_bytes());
        Ok(Zeroizing::new(writer.into_vec()))
    }

    /// Reads what [`Welcome::encode`] made.
    ///
    /// # Errors
    /// [`WelcomeError`]: start pairing anew.
    pub fn decode(bytes: &[u8]) -> Result<Self, WelcomeError> {
        if bytes.len() > MAX_WELCOME_BYTES {
            return Err(WelcomeError::Malformed);
        }
        let mut reader = Reader::new(bytes);
        check_version(&mut reader)?;
        let workspace = WorkspaceId(reader.array()?);
        let genesis_hash = reader.array()?;
        let control_index = reader.u32()?;
        let control_head = reader.array()?;
        let policy_public = reader.array()?;
        let mailbox = MailboxId(reader.array()?);
        let role = Role::from_number(reader.u8()?).ok_or(WelcomeError::Newer)?;
        let epoch = EpochId::from_bytes(&reader.array()?);
        let (secrets, policy) = read_role_secrets(role, epoch, reader.slice(secrets_bytes(role))?)?;
        let edges = edges(&mut reader)?;
        let name = name(&mut reader)?;
        reader.end()?;
        if policy
            .as_ref()
            .is_some_and(|policy| policy.public() != policy_public)
        {
            return Err(WelcomeError::Malformed);
        }
        Ok(Self {
            workspace,
            name,
            genesis_hash,
            control_index,
            control_head,
            policy_public,
            mailbox,
            role,
            secrets,
            policy,
            edges,
        })
    }
}

/// Shows no name and no secret.
impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Welcome({} as {}, {:?})",
            self.workspace.short(),
            self.role,
            self.secrets.id()
        )
    }
}

/// A message of joining cannot be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WelcomeError {
    /// Not laid out as it should be.
    #[error("the other device sent something else than expected: start pairing anew")]
    Malformed,
    /// Laid out in a way that this program does not know.
    #[error("the other device has a newer Satchel: update Satchel here")]
    Newer,
    /// The signature is of another key.
    #[error("the other device does not hold the key that it shows: start pairing anew")]
    Signature,
    /// A name cannot be shown.
    #[error("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters: choose another one")]
    BadName,
    /// The links to edges are too many or too long.
    #[error(
        "a workspace names at most {MAX_EDGES} edges by links of at most {MAX_EDGE_LINK_BYTES} bytes"
    )]
    BadEdges,
    /// Secrets that the role needs are not here.
    #[error(transparent)]
    Wrap(#[from] WrapError),
}

impl From<Malformed> for WelcomeError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What a joining device signs. Do not change.
fn device_digest(signed: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"wsync device 1");
    hasher.update(signed);
    *hasher.finalize().as_bytes()
}

fn check_version(reader: &mut Reader<'_>) -> Result<(), WelcomeError> {
    if reader.u8()? == VERSION {
        Ok(())
    } else {
        Err(WelcomeError::Newer)
    }
}

fn name(reader: &mut Reader<'_>) -> Result<String, WelcomeError> {
    let name = text(reader, MAX_NAME_BYTES)?;
    if is_good_name(&name) {
        Ok(name)
    } else {
        Err(WelcomeError::BadName)
    }
}

fn edges(reader: &mut Reader<'_>) -> Result<Vec<String>, WelcomeError> {
    let count = usize::from(reader.u8()?);
    if count > MAX_EDGES {
        return Err(WelcomeError::BadEdges);
    }
    let mut links = Vec::new();
    for _ in 0..count {
        links.push(text(reader, MAX_EDGE_LINK_BYTES)?);
    }
    if are_good_edges(&links) {
        Ok(links)
    } else {
        Err(WelcomeError::BadEdges)
    }
}

fn text(reader: &mut Reader<'_>, max_bytes: usize) -> Result<String, Malformed> {
    let bytes = reader.bytes16(max_bytes)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed::Value)
}

#[cfg(test)]
mod tests;
