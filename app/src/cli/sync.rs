//! `satchel sync` and `satchel devices`: other laptops of a workspace.
//!
//! Never lets a laptop in, or out, that nobody agreed to. Start at [`run`], [`devices`] and [`pair`].

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use super::args::{DevicesAction, SyncAction};
use super::print::Printer;
use super::workspace::answer;
use super::{perform, unlock};
use crate::backend::connect::{self, Connection};
use crate::backend::workspaces::Workspaces;
use crate::backend::{jobs, sync};
use crate::config::{DataDirs, Settings};
use crate::message::{Command, Event, Failure, FailureKind, PairingEvent, Reply, SyncCommand};
use crate::units;

/// Carries out `satchel sync …`.
///
/// # Errors
/// The command's failure.
pub(crate) async fn run(
    connection: &Connection,
    printer: &Printer,
    action: Option<SyncAction>,
) -> Result<ExitCode, Failure> {
    let command = match action.unwrap_or(SyncAction::Status) {
        SyncAction::Share {
            link,
            label,
            user,
            invitation,
        } => SyncCommand::Share {
            link,
            invitation,
            user,
            label,
        },
        SyncAction::Status => return status(connection, printer).await,
        SyncAction::Now { timeout } => SyncCommand::Now {
            timeout_ms: u64::from(timeout) * 1000,
        },
        SyncAction::MeetAt { link, yes } => {
            if !yes {
                confirm(
                    "Meet the other laptops at this edge node from now on, and at the old one no more? Go on only if its operator told you of it; every laptop needs the new link.",
                    "the workspace is given to another edge node, and nobody can be asked here whether to do it",
                )
                .await?;
            }
            SyncCommand::MeetAt { link }
        }
        SyncAction::Leave { yes } => {
            if !yes {
                confirm(
                    "Stop sharing this workspace on this laptop? Its documents stay here; nothing comes or goes any more.",
                    "this laptop leaves the others, and nobody can be asked here whether to do it",
                )
                .await?;
            }
            SyncCommand::Leave
        }
        SyncAction::Run => return stay(connection, printer).await,
        SyncAction::Ledger => {
            let reply = perform(connection, Command::Sync(SyncCommand::Status), printer).await?;
            if let Reply::Sync(report) = reply {
                printer.connections(&report.connections);
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    printer.reply(&perform(connection, Command::Sync(command), printer).await?);
    Ok(ExitCode::SUCCESS)
}

/// How it stands, and what was changed on two laptops at once.
async fn status(connection: &Connection, printer: &Printer) -> Result<ExitCode, Failure> {
    let report = perform(connection, Command::Sync(SyncCommand::Status), printer).await?;
    let conflicts = perform(connection, Command::Sync(SyncCommand::Conflicts), printer).await?;
    if let (Reply::Sync(report), Reply::Conflicts(conflicts)) = (report, conflicts) {
        printer.sync_status(&report, &conflicts);
    }
    Ok(ExitCode::SUCCESS)
}

/// Stays until Ctrl-C, and prints a line whenever it says something else.
async fn stay(connection: &Connection, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut events = connection.submit(Command::Sync(SyncCommand::Watch)).await?;
    let mut said = String::new();
    // One for the whole loop: another would not know of a signal that came between two rounds.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
        };
        match event {
            Some(Event::Sync(report)) if report.line != said => {
                said.clone_from(&report.line);
                printer.line(&said);
            }
            Some(Event::Arrived { documents, chats }) => {
                let (documents, chats) = (
                    units::count(documents, "document"),
                    units::count(chats, "chat"),
                );
                printer.line(&format!("Received: {documents}, {chats}"));
            }
            Some(Event::Failed(failure)) => return Err(failure),
            Some(Event::Reply(_)) => return Ok(ExitCode::SUCCESS),
            Some(_) => {}
            None => return Err(jobs::ended_early()),
        }
    }
}

/// Carries out `satchel devices …`, but for `pair`.
///
/// # Errors
/// The command's failure; [`FailureKind::Usage`] where something is not confirmed and nobody can be asked.
pub(crate) async fn devices(
    connection: &Connection,
    printer: &Printer,
    action: Option<DevicesAction>,
) -> Result<ExitCode, Failure> {
    let command = match action.unwrap_or(DevicesAction::List) {
        DevicesAction::List => SyncCommand::Devices,
        DevicesAction::Rename { device, name } => SyncCommand::RenameDevice { device, name },
        DevicesAction::Remove { device, yes } => {
            if !yes {
                confirm(
                    &format!("Remove {device}? It gets nothing more of this workspace; what it has, it keeps."),
                    "a laptop is removed for good, and nobody can be asked here whether to do it",
                )
                .await?;
            }
            SyncCommand::RemoveDevice { device }
        }
        DevicesAction::Approve { code, role, yes } => {
            if !yes && !can_ask() {
                return Err(nobody_to_ask(
                    "nobody can be asked here whether both laptops show the same pictures",
                ));
            }
            let command = SyncCommand::ApprovePairing {
                code,
                role: role.into(),
                confirmed: yes,
            };
            return approve(connection, printer, command, yes).await;
        }
        DevicesAction::Pair { .. } => unreachable!("it needs no workspace"),
    };
    printer.reply(&perform(connection, Command::Sync(command), printer).await?);
    Ok(ExitCode::SUCCESS)
}

/// How long a pairing that is stopped may take to tell the other laptop.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Ends a command at Ctrl-C: it is told, and what it says at the end is passed on.
async fn stop(mut events: jobs::EventStream, otherwise: &str) -> Result<Reply, Failure> {
    events.stopper().stop();
    let ending = async {
        loop {
            match events.next().await {
                Some(Event::Reply(reply)) => return Ok(*reply),
                Some(Event::Failed(failure)) => return Err(failure),
                Some(_) => {}
                None => return Err(Failure::new(FailureKind::Cancelled, otherwise)),
            }
        }
    };
    tokio::time::timeout(STOP_WAIT, ending)
        .await
        .unwrap_or_else(|_| Err(Failure::new(FailureKind::Cancelled, otherwise)))
}

/// Shows who wants to join, and asks.
async fn approve(
    connection: &Connection,
    printer: &Printer,
    command: SyncCommand,
    confirmed: bool,
) -> Result<ExitCode, Failure> {
    let mut events = connection.submit(Command::Sync(command)).await?;
    let mut is_agreed = confirmed;
    // One for the whole loop: another would not know of a signal that came between two rounds.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = &mut interrupted => {
                let otherwise = if is_agreed {
                    "Stopped while the new laptop was joining: `satchel devices list` says whether it is a member."
                } else {
                    "Stopped. Nothing was changed."
                };
                printer.reply(&stop(events, otherwise).await?);
                return Ok(ExitCode::SUCCESS);
            }
        };
        match event {
            Some(Event::Pairing(PairingEvent::Request {
                request,
                user,
                label,
                pictures,
            })) => {
                printer.event(&Event::Pairing(PairingEvent::Request {
                    request: request.clone(),
                    user,
                    label,
                    pictures,
                }));
                if !confirmed {
                    eprint!("Do both laptops show these? [y/N] ");
                    let accept = match answer().await {
                        Ok(answer) => is_yes(&answer),
                        // Ctrl-C at the question: the new laptop is refused.
                        Err(_) => {
                            printer.reply(&stop(events, "Stopped. Nothing was changed.").await?);
                            return Ok(ExitCode::SUCCESS);
                        }
                    };
                    is_agreed = accept;
                    let command = SyncCommand::ConfirmPairing { request, accept };
                    perform(connection, Command::Sync(command), printer).await?;
                }
            }
            Some(Event::Reply(reply)) => {
                printer.reply(&reply);
                return Ok(ExitCode::SUCCESS);
            }
            Some(Event::Failed(failure)) => return Err(failure),
            Some(event) => printer.event(&event),
            None => return Err(jobs::ended_early()),
        }
    }
}

/// Carries out `satchel devices pair`: in the process that has a workspace open, or here.
///
/// # Errors
/// The command's failure.
pub(crate) async fn pair(
    dirs: &DataDirs,
    settings: &Settings,
    link: String,
    label: Option<String>,
    user: Option<String>,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let events = match connect::any_process(dirs).await? {
        Some(client) => {
            let command = SyncCommand::BeginPairing { link, user, label };
            client.submit(Command::Sync(command)).await?
        }
        None => {
            let workspaces = Workspaces::new(dirs.clone(), unlock());
            let offline = settings.offline;
            jobs::run(move |emitter| async move {
                sync::begin(&workspaces, offline, &link, user, label, &emitter).await
            })
        }
    };
    printer.reply(&joining(events, printer).await?);
    Ok(ExitCode::SUCCESS)
}

/// As [`follow`], but at Ctrl-C the code is given up, so that nobody waits for this laptop.
async fn joining(mut events: jobs::EventStream, printer: &Printer) -> Result<Reply, Failure> {
    // One for the whole loop: another would not know of a signal that came between two rounds.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = &mut interrupted => {
                return stop(events, "Stopped. `satchel workspace list` says whether it was joined already.").await;
            }
        };
        match event {
            Some(Event::Reply(reply)) => return Ok(*reply),
            Some(Event::Failed(failure)) => return Err(failure),
            Some(Event::Progress(_)) => {}
            Some(event) => printer.event(&event),
            None => return Err(jobs::ended_early()),
        }
    }
}

async fn confirm(question: &str, why: &str) -> Result<(), Failure> {
    if !can_ask() {
        return Err(nobody_to_ask(why));
    }
    eprint!("{question} [y/N] ");
    if is_yes(&answer().await?) {
        Ok(())
    } else {
        Err(Failure::general("Nothing was changed."))
    }
}

fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn nobody_to_ask(why: &str) -> Failure {
    Failure::new(FailureKind::Usage, why).with_hint("Add --yes if you are sure.")
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
