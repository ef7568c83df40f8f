//! `satchel mcp-servers`, and the question whether a tool of one may be called.
//!
//! Nobody but a person at a terminal can allow a call here. Start at [`command`] and [`allow`].

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;

use super::args::McpServersAction;
use super::print::Printer;
use super::{absolute, lines};
use crate::config::McpServer;
use crate::message::{Failure, FailureKind, McpCommand, ToolRequest};

/// The command for an action.
///
/// # Errors
/// When a variable has no value, or the current folder cannot be found.
pub(crate) fn command(action: McpServersAction) -> Result<McpCommand, Failure> {
    Ok(match action {
        McpServersAction::List => McpCommand::List,
        McpServersAction::Tools { name } => McpCommand::Tools { server: name },
        McpServersAction::Remove { name } => McpCommand::Remove { name },
        McpServersAction::Add {
            name,
            env,
            mut command,
        } => {
            let program = command.remove(0);
            // It is started in other folders than this one.
            let program = if program.contains('/') && !Path::new(&program).is_absolute() {
                let path = absolute(&[program.into()])?.remove(0);
                path.to_string_lossy().into_owned()
            } else {
                program
            };
            let server = McpServer {
                command: program,
                args: command,
                env: env
                    .iter()
                    .map(|word| variable(word))
                    .collect::<Result<BTreeMap<_, _>, _>>()?,
            };
            McpCommand::Add { name, server }
        }
    })
}

/// `NAME=VALUE`, or `NAME` with the value that it has here.
fn variable(word: &str) -> Result<(String, String), Failure> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, std::env::var(word).ok()),
    };
    match value {
        Some(value) if !name.is_empty() => Ok((name.to_owned(), value)),
        _ => Err(Failure::new(
            FailureKind::Usage,
            format!("the variable “{name}” has no value here"),
        )
        .with_hint("Write NAME=VALUE, or set it before.")),
    }
}

/// Asks whether a call may be made. No, where nobody can be asked.
pub(crate) async fn allow(request: &ToolRequest, printer: &Printer) -> bool {
    let ToolRequest {
        server,
        tool,
        arguments,
        ..
    } = request;
    if printer.is_json() || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        printer.message(&format!(
            "The model wanted to call {server}.{tool}. Nobody could be asked at a terminal, so it was not called."
        ));
        return false;
    }
    printer.question(&format!(
        "The model wants to call {tool} of the MCP server {server}, which is another program. It would be given:\n\
         {arguments}\n\
         Allow it, this once? [y/N] "
    ));
    // A question that cannot be shown is answered by Enter, which is no.
    drop(std::io::stderr().flush());
    let answer = lines::next().await.unwrap_or_default();
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
