//! `satchel workspace`: list, make, rename and remove workspaces, and switch between them.
//!
//! Needs none to be open: what can be done beside a running Satchel is done by it, everything else here.
//! Never removes anything that nobody agreed to. Start at [`run`].

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use super::args::WorkspaceAction;
use super::print::{self, Printer};
use super::{follow, unlock};
use crate::backend::connect;
use crate::backend::jobs;
use crate::backend::workspaces::{Workspaces, carry_out, resolve};
use crate::config::DataDirs;
use crate::message::{Command, Failure, FailureKind, Reply, WorkspaceCommand, WorkspaceSummary};
use crate::units::{self, size};

/// The variable that names a workspace for every command of a shell.
const VARIABLE: &str = "SATCHEL_WORKSPACE";

/// Carries out `satchel workspace …`.
///
/// # Errors
/// The command's failure; [`FailureKind::Usage`] where a removal is not confirmed and nobody can be asked.
pub(crate) async fn run(
    action: WorkspaceAction,
    dirs: &DataDirs,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let desk = Desk {
        dirs,
        workspaces: Workspaces::new(dirs.clone(), unlock()),
        printer,
    };
    let switches = matches!(action, WorkspaceAction::Switch { .. });
    let command = match action {
        WorkspaceAction::List => WorkspaceCommand::List,
        WorkspaceAction::New { name } => WorkspaceCommand::New { name },
        WorkspaceAction::Switch { name } => WorkspaceCommand::Switch { workspace: name },
        WorkspaceAction::Rename { name, new_name } => WorkspaceCommand::Rename {
            workspace: name,
            name: new_name,
        },
        WorkspaceAction::Members | WorkspaceAction::Role { .. } => {
            unreachable!("they are about the documents of one workspace")
        }
        WorkspaceAction::Remove { name, yes: true } => WorkspaceCommand::Remove { workspace: name },
        WorkspaceAction::Remove { name, yes: false } => WorkspaceCommand::Remove {
            workspace: desk.confirmed(&name).await?,
        },
    };
    printer.reply(&desk.perform(command).await?);
    if switches && std::env::var_os(VARIABLE).is_some_and(|name| !name.is_empty()) {
        printer.message(&format!(
            "{VARIABLE} is set: commands in this shell go on using the workspace that it names."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the actions work with.
struct Desk<'a> {
    dirs: &'a DataDirs,
    workspaces: Workspaces,
    printer: &'a Printer,
}

impl Desk<'_> {
    async fn perform(&self, command: WorkspaceCommand) -> Result<Reply, Failure> {
        let events = match connect::any_process(self.dirs).await? {
            Some(client) => client.submit(Command::Workspace(command)).await?,
            None => {
                let workspaces = self.workspaces.clone();
                jobs::run(
                    move |emitter| async move { carry_out(&workspaces, command, &emitter).await },
                )
            }
        };
        follow(events, self.printer).await
    }

    /// Asks whether to remove a workspace; returns its id, so that exactly this one is removed.
    async fn confirmed(&self, name: &str) -> Result<String, Failure> {
        let Reply::Workspaces(all) = self.perform(WorkspaceCommand::List).await? else {
            return Err(Failure::general("the backend gave no list of workspaces"));
        };
        let wanted = resolve(&all, |one| (&one.name, &one.id), name)?;
        // It will be refused: there is nothing to ask.
        if wanted.current {
            return Ok(wanted.id.clone());
        }
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(Failure::new(
                FailureKind::Usage,
                "a removed workspace cannot be brought back, and nobody can be asked here whether to remove it",
            )
            .with_hint("Add --yes if you are sure."));
        }
        eprint!("{} [y/N] ", question(wanted));
        match answer().await?.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(wanted.id.clone()),
            _ => Err(Failure::general("Nothing was removed.")),
        }
    }
}

fn question(wanted: &WorkspaceSummary) -> String {
    let documents = match wanted.documents {
        Some(count) => units::count(count, "document"),
        None => "all its documents".to_owned(),
    };
    format!(
        "Remove {} with {documents} and all its chats ({})? It cannot be brought back. \
         The files that were imported stay where they are.",
        print::workspace_label(wanted),
        size(wanted.size_bytes),
    )
}

/// A line from the terminal. Ctrl-C ends the program.
pub(super) async fn answer() -> Result<String, Failure> {
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        // Without an answer nothing is removed.
        drop(std::io::stdin().lock().read_line(&mut line));
        line
    });
    tokio::select! {
        line = reading => Ok(line.unwrap_or_default()),
        _ = tokio::signal::ctrl_c() => Err(Failure::new(FailureKind::Cancelled, "Stopped. Nothing was changed.")),
    }
}
