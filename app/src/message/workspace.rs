//! What faces and backend say to each other about workspaces.
//!
//! Plain data, as in the rest of [`message`](super). Start at [`WorkspaceCommand`].

use serde::{Deserialize, Serialize};

/// A wish about the workspaces of the data folder, whichever of them is open.
///
/// `workspace` is a name (capitals do not count), an id, or the first four digits of one and more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum WorkspaceCommand {
    /// List them. Answered by [`Reply::Workspaces`](super::Reply::Workspaces), the others by
    /// [`Reply::Workspace`](super::Reply::Workspace) or [`Reply::Done`](super::Reply::Done).
    List,
    /// Make one. The current one stays the current one, unless there was none.
    New {
        /// 1 to 80 characters that no other workspace is called by.
        name: String,
    },
    /// Give one another name, wherever it is open.
    Rename {
        /// Which one.
        workspace: String,
        /// As for [`WorkspaceCommand::New`].
        name: String,
    },
    /// Make one the current one. What is open stays open: the face opens the other one by itself.
    Switch {
        /// Which one.
        workspace: String,
    },
    /// Remove one with its documents, originals, chats and index, for good.
    /// The current one and those that are open are refused.
    Remove {
        /// Which one.
        workspace: String,
    },
}

/// One workspace in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceSummary {
    /// Id.
    pub id: String,
    /// Name; empty where it cannot be read.
    pub name: String,
    /// It is the one that is opened where no other is asked for.
    pub current: bool,
    /// The process that answers has it open.
    pub open_here: bool,
    /// Number of documents; `None` where it cannot be read.
    pub documents: Option<usize>,
    /// Size of its documents, originals, chats and index on the disk.
    pub size_bytes: u64,
    /// Why name and number cannot be read, where they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What became of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceReport {
    /// In words.
    pub done: String,
    /// The workspace as it is now.
    pub workspace: WorkspaceSummary,
}
