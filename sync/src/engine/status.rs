//! What the user sees of the sync: devices, edges, what waits, what went wrong, in plain data.
//!
//! Never holds a key or a text. Start at [`Status`].

use serde::{Deserialize, Serialize};

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
