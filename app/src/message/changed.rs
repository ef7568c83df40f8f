//! What a command changes that faces show.

use serde::{Deserialize, Serialize};

use super::{Command, HistoryCommand, McpCommand, WorkspaceCommand};

/// Lists that are different now; whoever shows them fetches them anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Documents: which there are, or what one says.
    pub documents: bool,
    /// How many documents are searchable.
    pub index: bool,
    /// Chats: which there are, or what was said.
    pub chats: bool,
    /// Workspaces: which there are, or what one is called.
    pub workspaces: bool,
    /// Models that are installed.
    pub models: bool,
    /// Settings.
    pub settings: bool,
}

impl Changed {
    /// Whether there is anything.
    #[must_use]
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}

impl Command {
    /// What this changes when it succeeds, as far as a face shows it. What concerns other laptops is told by
    /// [`SyncCommand::Watch`](super::SyncCommand::Watch) anyway.
    #[must_use]
    pub fn changes(&self) -> Changed {
        let mut changed = Changed::default();
        match self {
            Self::Import { .. }
            | Self::ImportSample
            | Self::RemoveDocuments { .. }
            | Self::History(HistoryCommand::Restore { .. }) => {
                (changed.documents, changed.index) = (true, true);
            }
            Self::Index => changed.index = true,
            Self::Ask { .. }
            | Self::Withdraw { .. }
            | Self::RenameThread { .. }
            | Self::RemoveThread { .. } => changed.chats = true,
            Self::Workspace(WorkspaceCommand::List) => {}
            Self::Workspace(_) => changed.workspaces = true,
            Self::ImportModel { .. }
            | Self::DownloadModel { .. }
            | Self::DiscardDownload { .. }
            | Self::RemoveModel { .. } => changed.models = true,
            Self::ChangeSettings { .. }
            | Self::Mcp(McpCommand::Add { .. } | McpCommand::Remove { .. }) => {
                changed.settings = true;
            }
            Self::History(HistoryCommand::Versions { .. } | HistoryCommand::Difference { .. })
            | Self::Search { .. }
            | Self::Consult { .. }
            | Self::Complete(_)
            | Self::Embed { .. }
            | Self::Documents
            | Self::Show { .. }
            | Self::Read { .. }
            | Self::Threads
            | Self::Thread { .. }
            | Self::Settings
            | Self::Models
            | Self::Catalog
            | Self::SearchHub { .. }
            | Self::ShowModel { .. }
            | Self::MeasureProcessor
            | Self::Sync(_)
            | Self::Mcp(_)
            | Self::Doctor
            | Self::Status => {}
        }
        changed
    }
}
