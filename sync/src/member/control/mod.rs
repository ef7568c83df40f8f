//! The control log: who is a member, as a chain of signed and sealed records.
//!
//! Pure: no network, no clock, no disk. A log is kept by storing the fragments that were accepted, and comes back
//! by accepting them again. An edge sees how many records there are and how large, nothing else.
//! Start at [`ControlLog`]. Format: `sync/SEALING.md` § 7.

mod accept;
mod error;
mod members;
mod op;
mod propose;
mod record;
mod rules;

use std::collections::HashMap;
use std::fmt;

use satchel_protocol::id::MailboxId;

pub use accept::{Accepted, ControlRecord};
pub use error::ControlError;
pub use members::{Member, Removal};
pub use op::{Op, RotateReason};
pub use propose::{ControlDraft, NewEpoch};

use super::capability::mailbox_of;
use super::epoch::{EpochChecks, EpochId};
use super::role::Role;
use crate::id::{DeviceId, WorkspaceId};
use members::Members;
use record::PolicyPublic;

/// All accepted records and what follows from them.
pub struct ControlLog {
    workspace: WorkspaceId,
    genesis_hash: [u8; 32],
    /// Hash of the newest record; zeros before the first.
    head: [u8; 32],
    /// At which index each head was made.
    heads: HashMap<[u8; 32], u32>,
    next: u32,
    members: Members,
    edges: Vec<String>,
    /// Missing before the first record.
    current: Option<Current>,
}

/// What is in force after the newest record.
#[derive(Clone, Copy)]
struct Current {
    epoch: EpochId,
    checks: EpochChecks,
    policy: PolicyPublic,
    mailbox: MailboxId,
}

impl ControlLog {
    /// An empty log that accepts records from index 0 on, of the workspace that began with this record.
    #[must_use]
    pub fn joining(workspace: WorkspaceId, genesis_hash: [u8; 32]) -> Self {
        Self {
            workspace,
            genesis_hash,
            head: [0; 32],
            heads: HashMap::new(),
            next: 0,
            members: Members::default(),
            edges: Vec::new(),
            current: None,
        }
    }

    /// Which workspace.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// Hash of the first record: together with the workspace's id it names the log.
    #[must_use]
    pub fn genesis_hash(&self) -> [u8; 32] {
        self.genesis_hash
    }

    /// Hash of the newest record; zeros before the first.
    #[must_use]
    pub fn head(&self) -> [u8; 32] {
        self.head
    }

    /// Index of the next record, which is how many there are.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.next
    }

    /// Whether this is the hash of a record of the log.
    #[must_use]
    pub fn knows_head(&self, head: &[u8; 32]) -> bool {
        self.heads.contains_key(head)
    }

    /// The epoch in force; `None` before the first record.
    #[must_use]
    pub fn epoch(&self) -> Option<EpochId> {
        self.current.map(|current| current.epoch)
    }

    /// Where the workspace lies on edges; `None` before the first record.
    #[must_use]
    pub fn mailbox(&self) -> Option<MailboxId> {
        self.current.map(|current| current.mailbox)
    }

    /// Public policy key in force, and how many came before it; `None` before the first record.
    #[must_use]
    pub fn policy(&self) -> Option<(u32, [u8; 32])> {
        let policy = self.current?.policy;
        Some((policy.counter, policy.public))
    }

    /// All devices that are or were members, by device id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// A device that is or was a member.
    #[must_use]
    pub fn member(&self, device: &DeviceId) -> Option<&Member> {
        self.members.find(device)
    }

    /// What a device may do now; `None` when it is no member.
    #[must_use]
    pub fn role(&self, device: &DeviceId) -> Option<Role> {
        self.members.find_in_force(device).map(|member| member.role)
    }

    /// What a device might do when this head was the newest.
    ///
    /// `None` when it was no member then, and when the head is not one of ours.
    #[must_use]
    pub fn role_at(&self, device: &DeviceId, control_head: &[u8; 32]) -> Option<Role> {
        let index = self.heads.get(control_head)?;
        self.members.role_after(device, *index)
    }

    /// Links to the edges where the workspace is kept, the home first.
    #[must_use]
    pub fn edges(&self) -> &[String] {
        &self.edges
    }

    /// Makes a record that was found valid the newest one.
    fn append(&mut self, hash: [u8; 32], op: &Op, at: members::At, epoch: Option<NewCurrent>) {
        self.members.apply(op, at);
        if let Op::Edges { links } = op {
            self.edges.clone_from(links);
        }
        if let Some(new) = epoch {
            let number = self.current.map_or(0, |current| current.epoch.number + 1);
            let before = self
                .current
                .map(|current| (current.policy, current.mailbox));
            let policy = new.policy.or(before.map(|(policy, _)| policy));
            let policy = policy.expect("the first record names the policy key");
            let mailbox = before.map_or_else(|| mailbox_of(&policy.public), |(_, mailbox)| mailbox);
            self.current = Some(Current {
                epoch: EpochId::made_by(number, &hash),
                checks: new.checks,
                policy,
                mailbox,
            });
        }
        self.heads.insert(hash, at.index);
        self.head = hash;
        self.next = at.index + 1;
    }
}

/// What a record changes about the epoch in force.
struct NewCurrent {
    checks: EpochChecks,
    policy: Option<PolicyPublic>,
}

/// Shows where the log stands; names of people stay inside.
impl fmt::Debug for ControlLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ControlLog({}, {} records, {:?})",
            self.workspace.short(),
            self.next,
            self.epoch()
        )
    }
}

#[cfg(test)]
mod tests;
