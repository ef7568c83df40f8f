//! What faces and backend say to each other about sharing a workspace with other laptops.
//!
//! Plain data, as in the rest of [`message`](super). Start at [`SyncCommand`].

use satchel_sync::DeviceId;
pub use satchel_sync::engine::{Connection, DeviceStatus, EdgePhase, EdgeStatus, Warning};
pub use satchel_sync::member::Role;
use serde::{Deserialize, Serialize};

use super::WorkspaceReport;

/// A wish about the other laptops of a workspace.
///
/// `device` is the label of a laptop (capitals do not count), its id, or the first digits of that.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SyncCommand {
    /// How it stands. Answered by [`Reply::Sync`](super::Reply::Sync) at once.
    Status,
    /// As [`SyncCommand::Status`], with an [`Event::Sync`](super::Event::Sync) at the beginning and whenever something
    /// has changed, until the command is cancelled.
    Watch,
    /// Make the open workspace one that other laptops can join. Needs no connection: the edge node is reached when it
    /// can be. Answered by [`Reply::Sync`](super::Reply::Sync).
    Share {
        /// The link of the edge node, as its operator gave it.
        link: String,
        /// The word that the operator gave besides, if any.
        invitation: Option<String>,
        /// Who uses this laptop, as the others see it; `None` takes the name of the account.
        user: Option<String>,
        /// What this laptop is called; `None` takes the name of the machine.
        label: Option<String>,
    },
    /// On a new laptop: show a code, and become a member of the workspace of the laptop that types it.
    ///
    /// Sends [`PairingEvent::Code`], then [`PairingEvent::Check`] when the other laptop has typed the code, then
    /// progress. Answered by [`Reply::Workspace`](super::Reply::Workspace): the joined workspace, which is the current
    /// one then and is not opened by itself. It concerns no workspace that is open.
    /// Cancelled before the other laptop has approved, nothing was changed; afterwards, the next start goes on.
    BeginPairing {
        /// The link of the edge node.
        link: String,
        /// As for [`SyncCommand::Share`].
        user: Option<String>,
        /// As for [`SyncCommand::Share`].
        label: Option<String>,
    },
    /// On a laptop that is an owner: let the laptop that shows this code into the open workspace.
    ///
    /// Sends [`PairingEvent::Request`] and waits for [`SyncCommand::ConfirmPairing`], unless `confirmed`. Answered by
    /// [`Reply::Devices`](super::Reply::Devices). Cancelled, the other laptop is refused.
    ApprovePairing {
        /// What the new laptop shows.
        code: String,
        /// What it may do.
        role: Role,
        /// The user has agreed beforehand; nobody compares pictures.
        confirmed: bool,
    },
    /// The answer to a [`PairingEvent::Request`]. Answered by [`Reply::Done`](super::Reply::Done).
    ConfirmPairing {
        /// The one of the event.
        request: String,
        /// Whether both laptops show the same pictures and the new one is welcome.
        accept: bool,
    },
    /// List the laptops. Answered by [`Reply::Devices`](super::Reply::Devices).
    Devices,
    /// Call a laptop something else. Answered as [`SyncCommand::Devices`], like the next two; all of them need a
    /// connection to the edge node.
    RenameDevice {
        /// Which one.
        device: String,
        /// What to call it.
        name: String,
    },
    /// A laptop gets nothing more of the workspace, and what it writes is not believed any more. What it has, it keeps.
    RemoveDevice {
        /// Which one.
        device: String,
    },
    /// A laptop may do more, or less.
    SetRole {
        /// Which one.
        device: String,
        /// What it may do.
        role: Role,
    },
    /// Send and receive everything now. Sends [`Event::Sync`](super::Event::Sync) as it goes on; answered by
    /// [`Reply::Sync`](super::Reply::Sync) when there is nothing more to do, and a failure that says why otherwise.
    Now {
        /// How long to try, in milliseconds.
        timeout_ms: u64,
    },
    /// What was changed on two laptops at once in the last 30 days, and what became of it. Answered by
    /// [`Reply::Conflicts`](super::Reply::Conflicts).
    Conflicts,
    /// Meet the other laptops at this edge node and at no other one. Answered by [`Reply::Sync`](super::Reply::Sync).
    MeetAt {
        /// The link of the edge node.
        link: String,
    },
    /// Stop sharing the open workspace on this laptop; its documents stay. Answered by
    /// [`Reply::Sync`](super::Reply::Sync).
    Leave,
    /// The user has read the warnings. Answered by [`Reply::Sync`](super::Reply::Sync).
    ForgetWarnings,
}

/// News of a pairing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingEvent {
    /// On the new laptop: the code to type on the other one. Good for one try within ten minutes.
    Code {
        /// For reading aloud and typing.
        code: String,
    },
    /// On the new laptop: the other one shows the same four pictures, or somebody interferes.
    Check {
        /// The pictures.
        pictures: Vec<Picture>,
    },
    /// On the other one: who wants to become a member, and the same four pictures.
    Request {
        /// Which request, for [`SyncCommand::ConfirmPairing`].
        request: String,
        /// Who uses the new laptop, by its own word.
        user: String,
        /// What it is called, by its own word.
        label: String,
        /// The pictures.
        pictures: Vec<Picture>,
    },
    /// On the new laptop: it is a member, and the workspace is there. What is in it comes now.
    Joined {
        /// The workspace.
        workspace: Box<WorkspaceReport>,
    },
}

/// A small picture to compare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// One character.
    pub symbol: String,
    /// For reading aloud.
    pub name: String,
}

/// How the open workspace stands with the other laptops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncReport {
    /// Whether anything goes on, in a word.
    pub state: SyncState,
    /// In one line for a status bar.
    pub line: String,
    /// Everything that is known; `None` where the workspace is not shared, or just being opened.
    pub status: Option<satchel_sync::engine::Status>,
    /// Entries that other laptops have written, by the word of a member, and that have not arrived here.
    pub missing: Vec<Missing>,
    /// Connections that were made or tried, newest last.
    pub connections: Vec<Connection>,
    /// Why it was interrupted, and what to do; `None` while it runs.
    pub problem: Option<String>,
}

impl SyncReport {
    /// Whether something may arrive if one waits a moment.
    #[must_use]
    pub fn can_receive(&self) -> bool {
        matches!(self.state, SyncState::Working | SyncState::Equal)
    }
}

/// Entries of a laptop that have not arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Whose.
    pub device: DeviceId,
    /// How many.
    pub entries: u64,
}

/// Whether a workspace is kept equal with other laptops, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// It is on this laptop alone.
    NotShared,
    /// The settings or `--offline` forbid connections.
    Forbidden,
    /// No edge node can be reached now.
    Offline,
    /// Connecting, sending or receiving.
    Working,
    /// Everything is sent and received.
    Equal,
    /// This laptop was removed from the workspace.
    Removed,
    /// Something has to be changed first: see the reason of the edge node, or the problem.
    Stopped,
}
