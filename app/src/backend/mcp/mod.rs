//! Tools of other programs: MCP servers that the user has set up, each call of which the user allows.
//!
//! A server runs only while a question that may use it is answered, or its tools are listed; offline, none runs. What it
//! says may come from anybody, so it is cleaned and cut, and starts nothing. A call is made when the user has seen its
//! server, tool and whole arguments and allowed it, this once: never on the word of a model or of a document.
//! Start at [`Servers::start`] and [`Servers::call`].

mod permission;
mod process;
mod server;

use std::sync::Arc;

use tokio::task::JoinSet;

pub use permission::Permissions;
pub(super) use server::Offered;
use server::Server;

use super::Shared;
use super::jobs::Emitter;
use crate::config::{McpServer, Settings};
use crate::message::{Failure, FailureKind, McpCommand, McpServerReport, McpToolReport, Reply};
use crate::parse::clean::{FormFeed, clean};

/// The servers that run for one question.
#[derive(Default)]
pub(super) struct Servers {
    running: Vec<(String, Server)>,
}

impl Servers {
    /// Starts those of the settings, all at once. One that cannot be started is left out, with a notice.
    pub(super) async fn start(settings: &Settings, emitter: &Emitter) -> Self {
        if settings.mcp_servers.is_empty() {
            return Self::default();
        }
        if settings.offline {
            emitter
                .notice(
                    "Offline: tools of MCP servers are left out, since they may use the network.",
                )
                .await;
            return Self::default();
        }
        let mut starting = JoinSet::new();
        for (name, server) in settings.mcp_servers.clone() {
            starting.spawn(async move { (name, Server::start(&server).await) });
        }
        let mut running = Vec::new();
        loop {
            let started = tokio::select! {
                started = starting.join_next() => started,
                // Dropping the set ends those that are starting.
                () = emitter.cancelled() => None,
            };
            match started {
                Some(Ok((name, Ok(server)))) => running.push((name, server)),
                Some(Ok((name, Err(reason)))) => {
                    emitter
                        .notice(format!("The MCP server {name} is left out: {reason}."))
                        .await;
                }
                Some(Err(panic)) => tracing::error!(%panic, "an MCP server could not be started"),
                None => break,
            }
        }
        // The model is told of them in the same order each time.
        running.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self { running }
    }

    /// Their tools, each with the name that the model knows it by: `SERVER.TOOL`.
    pub(super) fn tools(&self) -> Vec<(String, Offered)> {
        let tools = self.running.iter().flat_map(|(name, server)| {
            let tools = server.tools.iter();
            tools.map(move |tool| (format!("{name}.{}", tool.name), tool.clone()))
        });
        tools.collect()
    }

    /// Calls a tool, where the user allows it. `None` where not.
    ///
    /// # Errors
    /// Words about why there is no result.
    pub(super) async fn call(
        &self,
        permissions: &Permissions,
        emitter: &Emitter,
        tool: &str,
        arguments: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Option<String>, String> {
        let found = self.running.iter().find_map(|(name, server)| {
            let tool = tool.strip_prefix(name.as_str())?.strip_prefix('.')?;
            Some((name, server, tool))
        });
        let Some((name, server, tool)) = found else {
            return Err("there is no such tool".to_owned());
        };
        let shown = serde_json::to_string_pretty(&arguments).map_err(|error| error.to_string())?;
        if !permissions.ask(emitter, name, tool, &shown).await {
            return Ok(None);
        }
        tokio::select! {
            result = server.call(tool, arguments) => result.map(Some),
            () = emitter.cancelled() => Err("it was stopped".to_owned()),
        }
    }

    /// Ends them.
    pub(super) async fn end(self) {
        let ending = self
            .running
            .into_iter()
            .map(|(_, server)| tokio::spawn(server.end()));
        for server in ending.collect::<Vec<_>>() {
            // One that panics has dropped its process, which kills it.
            drop(server.await);
        }
    }
}

/// Carries out a wish about MCP servers.
///
/// # Errors
/// When there is no server of that name, it cannot be started, or the settings cannot be changed.
pub async fn carry_out(
    shared: &Arc<Shared>,
    command: McpCommand,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    match command {
        McpCommand::List => Ok(()),
        McpCommand::Answer { request, allow } => {
            return shared.permissions.answer(&request, allow).map(Reply::Done);
        }
        McpCommand::Tools { server } => {
            let settings = shared.settings.current();
            return tokio::select! {
                report = tools(&settings, &server) => report.map(|report| Reply::McpServers(vec![report])),
                () = emitter.cancelled() => Err(Failure::new(FailureKind::Cancelled, "Stopped.")),
            };
        }
        McpCommand::Add { name, server } => {
            shared
                .settings
                .edit(move |file| Settings::add_mcp_server(file, &name, &server))
                .await
        }
        McpCommand::Remove { name } => {
            known(&shared.settings.current(), &name)?;
            shared
                .settings
                .edit(move |file| Settings::remove_mcp_server(file, &name))
                .await
        }
    }?;
    let settings = shared.settings.current();
    let servers = settings.mcp_servers.iter();
    Ok(Reply::McpServers(
        servers.map(|(name, server)| report(name, server)).collect(),
    ))
}

/// Starts a server, asks what it offers, and ends it.
async fn tools(settings: &Settings, name: &str) -> Result<McpServerReport, Failure> {
    let settings_of = known(settings, name)?;
    if settings.offline {
        return Err(Failure::new(
            FailureKind::Offline,
            "no MCP server is started offline: it may use the network",
        ));
    }
    let mut server = Server::start(settings_of).await.map_err(|reason| {
        Failure::general(format!("the MCP server {name} cannot be used: {reason}"))
            .with_hint("Try its command in a terminal: it should wait for input. Then set it up anew with `satchel mcp-servers add`.")
    })?;
    let tools = std::mem::take(&mut server.tools);
    let left_out = std::mem::take(&mut server.left_out);
    server.end().await;
    let tools = tools.into_iter().map(|tool| McpToolReport {
        name: tool.name,
        description: tool.about,
    });
    Ok(McpServerReport {
        tools: Some(tools.collect()),
        left_out,
        ..report(name, settings_of)
    })
}

fn known<'a>(settings: &'a Settings, name: &str) -> Result<&'a McpServer, Failure> {
    settings.mcp_servers.get(name).ok_or_else(|| {
        Failure::new(
            FailureKind::NotFound,
            format!("no MCP server is called “{name}”"),
        )
        .with_hint("`satchel mcp-servers` lists them.")
    })
}

fn report(name: &str, server: &McpServer) -> McpServerReport {
    McpServerReport {
        name: name.to_owned(),
        command: server.line(),
        variables: server.env.keys().cloned().collect(),
        tools: None,
        left_out: Vec::new(),
    }
}

/// Foreign text as it may be shown to a person or a model: nothing invisible, so many characters at most.
fn cleaned(text: &str, most: usize) -> String {
    // What is dropped by cleaning is bounded too: nobody reads on for a visible character.
    let beginning = text
        .char_indices()
        .nth(most * 4)
        .map_or(text, |(end, _)| &text[..end]);
    let text = clean(beginning, FormFeed::Whitespace).text;
    let text = text.trim();
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} … (cut)", &text[..end]),
    }
}

/// As [`cleaned`], in one line.
fn cleaned_line(text: &str, most: usize) -> String {
    let line = cleaned(text, most);
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_cut_and_nothing_in_it_is_hidden() {
        assert_eq!(cleaned(" a\u{200b}b\u{202e}c\r\nd ", 10), "abc\nd");
        assert_eq!(cleaned_line("a\n\n b\tc", 10), "a b c");
        let long = cleaned(&"é".repeat(50), 10);
        assert_eq!(long, format!("{} … (cut)", "é".repeat(10)));
        assert_eq!(cleaned(&"\u{200b}".repeat(1000), 10), "");
    }
}
