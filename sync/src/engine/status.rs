//! What the user sees of the sync: devices, edges, what waits, what went wrong, in plain data.
//!
//! Never holds a key or a text. Start at [`Status`].

use satchel_protocol::id::NodeFingerprint;
use serde::{Deserialize, Serialize};

use super::documents::Documents;
use super::edge::Phase;
use super::rows::{Connection, Wait};
use super::state::EngineError;
use super::store::SyncStore;
use super::{Attachments, Engine};
use crate::id::DeviceId;
use crate::member::Role;

/// How a shared workspace stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This device.
    pub device: DeviceId,
    /// What this device may do; `None` once it was removed.
    pub role: Option<Role>,
    /// Every device that is or was a member, this one first.
    pub devices: Vec<DeviceStatus>,
    /// Every edge.
    pub edges: Vec<EdgeStatus>,
    /// Documents and chats with changes that no edge has yet.
    pub unsent: usize,
    /// Entries that have arrived and cannot be used yet.
    pub waiting: usize,
    /// Entries of removed devices that were kept apart.
    pub quarantined: usize,
    /// Files and embeddings that are still to be sent.
    pub uploads: usize,
    /// Files and embeddings that are still to come.
    pub downloads: usize,
    /// Joined, and the list of documents has not arrived yet.
    pub awaits_documents: bool,
    /// What the user should know, newest last.
    pub warnings: Vec<Warning>,
}

/// One device of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Which one.
    pub id: DeviceId,
    /// Whose it is.
    pub user: String,
    /// What its owner calls it.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// Whether it is this one.
    pub is_this: bool,
    /// When it was removed, in milliseconds since 1970; `None` for a member.
    pub removed_ms: Option<i64>,
    /// How many of its entries have been taken in here.
    pub entries: u64,
    /// When the last of them was written, by its clock.
    pub last_written_ms: Option<i64>,
    /// When that arrived here, by this device's clock.
    pub last_heard_ms: Option<i64>,
}

/// How the connection to an edge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgePhase {
    /// Not connected; the reason is beside it.
    Offline,
    /// On the way.
    Connecting,
    /// Reading what is new.
    CatchingUp,
    /// Nothing is missing that the edge has, as far as it says.
    UpToDate,
    /// Given up until something is changed; the reason is beside it.
    Stopped,
}

/// One edge of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStatus {
    /// Where it is.
    pub link: String,
    /// How the connection stands.
    pub phase: EdgePhase,
    /// Why it is not connected, in words.
    pub reason: Option<String>,
    /// When it last answered, in milliseconds since 1970.
    pub last_contact_ms: Option<i64>,
    /// Entries of this device that it does not have yet.
    pub lacks: usize,
    /// Entries that it has and that have not been read yet.
    pub behind: u64,
    /// Bytes that the workspace takes there.
    pub used_bytes: u64,
    /// Bytes that it may take.
    pub quota_bytes: u64,
    /// Connections that have the workspace open there, this one among them.
    pub sessions: u16,
}

/// Something that the user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// When it was noticed, in milliseconds since 1970.
    pub at_ms: i64,
    /// What, in words.
    pub words: String,
}

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// How the workspace stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        let here = self.state.device.id();
        let control = &self.state.control;
        let mut devices: Vec<DeviceStatus> = control
            .members()
            .map(|member| {
                let is_this = member.device == here;
                let peer = self.state.peers.get(&member.device);
                DeviceStatus {
                    id: member.device,
                    user: member.user.clone(),
                    label: member.label.clone(),
                    role: member.role,
                    is_this,
                    removed_ms: member.removed.as_ref().map(|removal| removal.at_ms),
                    entries: match peer {
                        Some(peer) => peer.sequence,
                        None if is_this => self.state.own.sequence,
                        None => 0,
                    },
                    last_written_ms: peer.map(|peer| peer.created_ms),
                    last_heard_ms: peer.map(|peer| peer.arrived_ms),
                }
            })
            .collect();
        devices.sort_by_key(|device| (!device.is_this, device.removed_ms.is_some()));
        let late = |wait: &Wait| *wait == Wait::Late;
        let waits = || self.state.waiting.values().map(|waiting| &waiting.why);
        Status {
            device: here,
            role: control.role(&here).filter(|_| !self.state.removed),
            devices,
            edges: self
                .edges
                .keys()
                .map(|edge| self.edge_status(edge))
                .collect(),
            unsent: self.sending.len(),
            waiting: waits().filter(|wait| !late(wait)).count(),
            quarantined: waits().filter(|wait| late(wait)).count(),
            uploads: self.attach.uploads(),
            downloads: self.attach.downloads(),
            awaits_documents: self.state.awaits_index,
            warnings: self.state.warnings.clone(),
        }
    }

    fn edge_status(&self, id: &NodeFingerprint) -> EdgeStatus {
        let edge = &self.edges[id];
        let row = self.state.edge_row(id);
        let here = self.state.device.id();
        let lacks = self
            .state
            .items
            .values()
            .filter(|item| item.device == here && item.offset(id).is_none())
            .count();
        EdgeStatus {
            link: edge.link.to_string(),
            phase: match edge.phase {
                Phase::Offline { .. } => EdgePhase::Offline,
                Phase::Connecting | Phase::Opening => EdgePhase::Connecting,
                Phase::CatchingUp => EdgePhase::CatchingUp,
                Phase::Live => EdgePhase::UpToDate,
                Phase::Stopped => EdgePhase::Stopped,
            },
            reason: edge.reason.clone(),
            last_contact_ms: Some(row.last_contact_ms).filter(|at| *at > 0),
            lacks,
            behind: edge.log_end.saturating_sub(row.next),
            used_bytes: row.used_bytes,
            quota_bytes: row.quota_bytes,
            sessions: edge.sessions,
        }
    }

    /// Entries that members say they have seen and that have not arrived here, by device.
    #[must_use]
    pub fn missing_entries(&self) -> Vec<(DeviceId, u64)> {
        let here = self.state.device.id();
        let seen = self.seen.iter().filter(|(device, _)| **device != here);
        seen.filter_map(|(device, sequence)| {
            let known = self.state.peers.get(device).map_or(0, |peer| peer.sequence);
            (*sequence > known).then(|| (*device, sequence - known))
        })
        .collect()
    }

    /// Connections that were made or tried, newest last.
    #[must_use]
    pub fn connections(&self) -> &[Connection] {
        &self.state.ledger
    }

    /// The user has read the warnings.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget_warnings(&mut self) -> Result<(), EngineError> {
        self.state.forget_warnings(&mut self.rows);
        self.commit()
    }
}
