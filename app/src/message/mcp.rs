//! What faces and backend say to each other about MCP servers: which there are, and whether a call may be made.
//!
//! Plain data, as in the rest of [`message`](super). Start at [`McpCommand`] and [`ToolRequest`].

use serde::{Deserialize, Serialize};

use super::Command;
use crate::config::McpServer;

/// A wish about the MCP servers in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum McpCommand {
    /// List them; starts none. Answered by [`Reply::McpServers`](super::Reply::McpServers), as the next ones.
    List,
    /// Start one, ask for its tools, and end it.
    Tools {
        /// Its name.
        server: String,
    },
    /// Set one up, in place of one of the same name. It is not started.
    Add {
        /// What to call it.
        name: String,
        /// How it is started.
        server: McpServer,
    },
    /// Take one out of the settings.
    Remove {
        /// Its name.
        name: String,
    },
    /// The answer to a [`ToolRequest`]. Answered by [`Reply::Done`](super::Reply::Done).
    Answer {
        /// The one of the event.
        request: String,
        /// Whether the call may be made, this once.
        allow: bool,
    },
}

/// The model wants to call a tool of an MCP server: [`McpCommand::Answer`] allows it once, or declines.
///
/// Nothing is sent to the server before, and what is shown is what is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolRequest {
    /// Which request, for [`McpCommand::Answer`].
    pub request: String,
    /// The server, as the settings call it.
    pub server: String,
    /// The tool, as the server calls it.
    pub tool: String,
    /// Everything that is handed to it, as JSON in several lines.
    pub arguments: String,
}

impl ToolRequest {
    /// The command that answers it.
    #[must_use]
    pub fn answered(self, allow: bool) -> Command {
        Command::Mcp(McpCommand::Answer {
            request: self.request,
            allow,
        })
    }
}

/// An MCP server in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpServerReport {
    /// What it is called.
    pub name: String,
    /// Its command line.
    pub command: String,
    /// The variables that it is given; their values are in the settings file.
    pub variables: Vec<String>,
    /// Its tools, where they were asked for.
    pub tools: Option<Vec<McpToolReport>>,
    /// Tools that cannot be used, with the reason.
    pub left_out: Vec<String>,
}

/// A tool of an MCP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpToolReport {
    /// As the server calls it.
    pub name: String,
    /// What it does, in the server's own words.
    pub description: String,
}
