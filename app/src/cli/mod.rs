//! The command line: parses arguments, sends commands to the backend, prints what comes back.
//!
//! Decides nothing that the window could not. Data goes to stdout, messages to stderr. Start at [`run`].

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

mod args;
mod chat;
mod key;
mod lines;
mod mcp_servers;
mod passphrase;
mod print;
mod progress;
mod sample;
mod serve;
mod sync;
mod workspace;

use crate::backend::connect::{self, Connection};
use crate::backend::model_host::{self, ModelHost};
use crate::backend::preferences::Preferences;
use crate::backend::unlock::{NewKey, Unlock};
use crate::backend::workspaces::WorkspaceChoice;
use crate::backend::{failure, jobs, runtime};
use crate::config::{DataDirs, Settings};
use crate::message::{Command, Event, Failure, FailureKind, HistoryCommand, Reply, SyncCommand};
use args::{
    Cli, CliCommand, DevicesAction, DocumentsAction, Global, McpServersAction, ModelsAction,
    WorkerKind, WorkspaceAction,
};
use print::Printer;
use progress::ProgressLine;

/// Runs the program and gives its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    // Workers come first: they take no settings, open no data and must not start a runtime.
    if let Some(CliCommand::Worker { kind, build }) = cli.command {
        return match kind {
            WorkerKind::Inference => satchel_inference::run_worker(build.as_deref()),
            WorkerKind::Parse => crate::parse::run_worker(),
        };
    }
    start_logs(&cli.global);
    let printer = Printer::new(&cli.global);
    match start(cli, &printer) {
        Ok(code) => code,
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.kind.exit_code())
        }
    }
}

fn start(cli: Cli, printer: &Printer) -> Result<ExitCode, Failure> {
    // One cryptography provider for the whole process, chosen before anything can need one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let dirs = DataDirs::find(cli.global.data_dir.as_deref());
    let command = cli.command.unwrap_or(CliCommand::Open);
    match &command {
        CliCommand::Paths => {
            printer.paths(&dirs);
            return Ok(ExitCode::SUCCESS);
        }
        CliCommand::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "satchel",
                &mut std::io::stdout(),
            );
            return Ok(ExitCode::SUCCESS);
        }
        CliCommand::Key { action } => {
            key::run(action, &dirs, printer)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let mut settings = Settings::load(&dirs.config_file).map_err(failure::of_settings)?;
    settings.offline |= cli.global.offline;
    let which = choice(cli.global.workspace);
    let runtime = runtime::build()
        .map_err(|error| Failure::general(format!("no threads can be started: {error}")))?;
    let result = match command {
        CliCommand::Open => {
            // The window asks for a passphrase itself, where no file holds it.
            let unlock = Unlock::new(passphrase::file_asker(), NewKey::Automatic);
            return crate::ui::run(&runtime, dirs, settings, unlock, which)
                .map(|()| ExitCode::SUCCESS);
        }
        CliCommand::Models { .. } => {
            let filter = match &command {
                CliCommand::Models {
                    action: Some(ModelsAction::Catalog { filter }),
                } => filter.clone(),
                _ => None,
            };
            let models = backend_command(command)?;
            // Ends the runtime by dropping it: a copy that was stopped clears up behind itself.
            return runtime.block_on(about_models(&dirs, &settings, models, filter, printer));
        }
        CliCommand::Serve {
            port,
            token_file,
            allow_origin,
        } => {
            let options = serve::HttpOptions {
                port,
                token_file,
                origins: allow_origin,
            };
            runtime.block_on(serve::http(&dirs, settings, which, options, printer))
        }
        CliCommand::Mcp => runtime.block_on(serve::mcp(&dirs, settings, which, printer)),
        CliCommand::Workspace {
            action: Some(WorkspaceAction::Members | WorkspaceAction::Role { .. }),
        } => runtime.block_on(about_documents(&dirs, settings, which, command, printer)),
        CliCommand::Devices {
            action: Some(DevicesAction::Pair { link, label, user }),
        } => runtime.block_on(sync::pair(&dirs, &settings, link, label, user, printer)),
        CliCommand::Workspace { action } => {
            let action = action.unwrap_or(WorkspaceAction::List);
            runtime.block_on(workspace::run(action, &dirs, printer))
        }
        command => runtime.block_on(about_documents(&dirs, settings, which, command, printer)),
    };
    // Blocking reads of a terminal cannot be interrupted; do not wait for them.
    runtime.shutdown_background();
    result
}

/// The workspace that the options name. An empty variable names none, as everywhere in a shell.
fn choice(named: Option<String>) -> WorkspaceChoice {
    match named {
        Some(name) if !name.is_empty() => WorkspaceChoice::Named(name),
        _ => WorkspaceChoice::Current,
    }
}

/// Everything else needs a workspace: in this process, or in the one that has it open.
async fn about_documents(
    dirs: &DataDirs,
    settings: Settings,
    which: WorkspaceChoice,
    command: CliCommand,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let connection = open(dirs, settings, unlock(), which, printer).await?;
    let result = carry_out(&connection, command, printer).await;
    connection.close().await;
    result
}

/// Opens a workspace, and says what the user should know of that.
async fn open(
    dirs: &DataDirs,
    settings: Settings,
    unlock: Unlock,
    which: WorkspaceChoice,
    printer: &Printer,
) -> Result<Connection, Failure> {
    let connection = Connection::open(dirs.clone(), settings, unlock, which).await?;
    for notice in connection.opening_notices() {
        printer.message(notice);
    }
    Ok(connection)
}

/// Commands about models go to the process that uses them, if there is one; they need no documents and no key.
async fn about_models(
    dirs: &DataDirs,
    settings: &Settings,
    command: Command,
    filter: Option<String>,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let events = match connect::any_process(dirs).await? {
        Some(client) => client.submit(command).await?,
        None => {
            let preferences = Preferences::new(settings.clone(), dirs.config_file.clone());
            let host = Arc::new(ModelHost::open(dirs, Arc::new(preferences))?);
            jobs::run(move |emitter| async move {
                model_host::carry_out(&host, command, &emitter).await
            })
        }
    };
    match follow(events, printer).await? {
        Reply::Catalog(report) => printer.catalog(&report, filter.as_deref()),
        reply => printer.reply(&reply),
    }
    Ok(ExitCode::SUCCESS)
}

/// How the command line comes by a passphrase.
fn unlock() -> Unlock {
    Unlock::new(passphrase::asker(), NewKey::Automatic)
}

async fn carry_out(
    connection: &Connection,
    command: CliCommand,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let command = match command {
        CliCommand::Chat { list: true, .. } => Command::Threads,
        CliCommand::Chat {
            show: Some(thread),
            branch,
            ..
        } => Command::Thread { thread, branch },
        CliCommand::Chat {
            remove: Some(thread),
            ..
        } => Command::RemoveThread { thread },
        CliCommand::Chat {
            withdraw: Some(thread),
            ..
        } => Command::Withdraw { thread },
        CliCommand::Chat {
            chat: Some(thread),
            rename: Some(title),
            ..
        } => Command::RenameThread { thread, title },
        CliCommand::Chat { chat, .. } => return chat::run(connection, printer, chat).await,
        CliCommand::Try => return sample::run(connection, printer).await,
        CliCommand::Sync { action } => return sync::run(connection, printer, action).await,
        CliCommand::Devices { action } => return sync::devices(connection, printer, action).await,
        CliCommand::Workspace {
            action: Some(WorkspaceAction::Role { device, role }),
        } => Command::Sync(SyncCommand::SetRole {
            device,
            role: role.into(),
        }),
        CliCommand::Workspace {
            action: Some(WorkspaceAction::Members),
        } => Command::Sync(SyncCommand::Devices),
        other => backend_command(other)?,
    };
    let reply = perform(connection, command, printer).await?;
    printer.reply(&reply);
    Ok(exit_code(&reply))
}

fn backend_command(command: CliCommand) -> Result<Command, Failure> {
    Ok(match command {
        CliCommand::Import {
            paths,
            prune,
            no_embeddings,
        } => Command::Import {
            paths: absolute(&paths)?,
            prune,
            skip_embeddings: no_embeddings,
        },
        CliCommand::Index => Command::Index,
        CliCommand::Ask {
            question,
            chat,
            on,
            no_wait,
            tools,
        } => Command::Ask {
            question: words(question)?,
            thread: chat,
            on,
            no_wait,
            tools,
        },
        CliCommand::Search { query, limit, mode } => Command::Search {
            query: words(query)?,
            limit: limit as usize,
            mode: mode.into(),
            thorough: true,
        },
        CliCommand::Documents {
            action: Some(DocumentsAction::Remove { documents }),
        } => Command::RemoveDocuments { documents },
        CliCommand::Documents {
            action: None | Some(DocumentsAction::List),
        } => Command::Documents,
        CliCommand::Documents {
            action: Some(action),
        } => Command::History(history(action)),
        CliCommand::Show {
            reference,
            whole: true,
        } => Command::Read { reference },
        CliCommand::Show { reference, .. } => Command::Show { reference },
        CliCommand::McpServers { action } => Command::Mcp(mcp_servers::command(
            action.unwrap_or(McpServersAction::List),
        )?),
        CliCommand::Settings { setting: None, .. } => Command::Settings,
        CliCommand::Settings {
            setting: Some(name),
            value,
        } => Command::ChangeSettings {
            changes: vec![(name, value.unwrap_or_default())],
        },
        CliCommand::Models {
            action: Some(ModelsAction::Import { path, quantisation }),
        } => Command::ImportModel {
            path: absolute(&[path])?.remove(0),
            quantisation,
        },
        CliCommand::Models {
            action: Some(ModelsAction::Catalog { .. }),
        } => Command::Catalog,
        CliCommand::Models {
            action: Some(ModelsAction::Search { query }),
        } => Command::SearchHub {
            query: query.join(" "),
        },
        CliCommand::Models {
            action:
                Some(ModelsAction::Download {
                    model,
                    accept_licence,
                }),
        } => Command::DownloadModel {
            model,
            accepts_licence: accept_licence,
        },
        CliCommand::Models {
            action: Some(ModelsAction::Calibrate),
        } => Command::MeasureProcessor,
        CliCommand::Models {
            action: Some(ModelsAction::Show { model }),
        } => Command::ShowModel {
            // A file may lie where the command is given, and the command be carried out elsewhere.
            model: if Path::new(&model).is_file() {
                absolute(&[PathBuf::from(model)])?
                    .remove(0)
                    .to_string_lossy()
                    .into_owned()
            } else {
                model
            },
        },
        CliCommand::Models {
            action: Some(ModelsAction::Discard { model }),
        } => Command::DiscardDownload { model },
        CliCommand::Models {
            action: Some(ModelsAction::Remove { model }),
        } => Command::RemoveModel { model },
        CliCommand::Models { .. } => Command::Models,
        CliCommand::Status => Command::Status,
        CliCommand::Doctor => Command::Doctor,
        CliCommand::Open
        | CliCommand::Chat { .. }
        | CliCommand::Paths
        | CliCommand::Key { .. }
        | CliCommand::Try
        | CliCommand::Sync { .. }
        | CliCommand::Devices { .. }
        | CliCommand::Serve { .. }
        | CliCommand::Mcp
        | CliCommand::Workspace { .. }
        | CliCommand::Completions { .. }
        | CliCommand::Worker { .. } => unreachable!("handled before the backend is reached"),
    })
}

fn history(action: DocumentsAction) -> HistoryCommand {
    match action {
        DocumentsAction::History { name, limit } => HistoryCommand::Versions {
            document: name,
            limit,
        },
        DocumentsAction::Diff { name, from, to } => HistoryCommand::Difference {
            document: name,
            from,
            to,
        },
        DocumentsAction::Restore { name, version } => HistoryCommand::Restore {
            document: name,
            version,
        },
        DocumentsAction::List | DocumentsAction::Remove { .. } => {
            unreachable!("they are about no version")
        }
    }
}

/// Sends a command, shows its progress, and returns its reply. Ctrl-C cancels it.
///
/// # Errors
/// The command's failure, or [`FailureKind::Cancelled`].
async fn perform(
    connection: &Connection,
    command: Command,
    printer: &Printer,
) -> Result<Reply, Failure> {
    let events = connection.submit(command).await?;
    follow_asked(events, Some(connection), printer).await
}

async fn follow(events: jobs::EventStream, printer: &Printer) -> Result<Reply, Failure> {
    follow_asked(events, None, printer).await
}

/// As [`follow`]; `connection` takes the answers to what the user is asked on the way.
async fn follow_asked(
    mut events: jobs::EventStream,
    connection: Option<&Connection>,
    printer: &Printer,
) -> Result<Reply, Failure> {
    let mut progress = ProgressLine::new(printer.shows_progress());
    let mut saved = 0usize;
    // One for the whole loop: another would not know of a signal that came between two rounds.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = &mut interrupted => {
                progress.clear();
                let saved = if saved > 0 { format!(" {saved} files were saved; run the command again to go on.") } else { String::new() };
                return Err(Failure::new(FailureKind::Cancelled, format!("Stopped.{saved}")));
            }
        };
        match event {
            Some(Event::Progress(step)) => progress.show(&step),
            // Said at the end, and by the commands that are about it.
            Some(Event::Sync(_) | Event::Arrived { .. } | Event::Changed(_)) => {}
            Some(Event::Tool(request)) => {
                progress.clear();
                // The command waits for this.
                let allow = tokio::select! {
                    allow = mcp_servers::allow(&request, printer) => allow,
                    _ = &mut interrupted => {
                        return Err(Failure::new(FailureKind::Cancelled, "Stopped."));
                    }
                };
                if let Some(connection) = connection {
                    let answer = connection.submit(request.answered(allow)).await?;
                    // One that nobody waits for any more changes nothing.
                    drop(answer.finish(|_| ()).await);
                }
            }
            Some(Event::Reply(reply)) => {
                progress.clear();
                return Ok(*reply);
            }
            Some(Event::Failed(failure)) => {
                progress.clear();
                return Err(failure);
            }
            Some(event) => {
                progress.clear();
                saved += usize::from(print::is_saved(&event));
                printer.event(&event);
            }
            None => {
                progress.clear();
                return Err(jobs::ended_early());
            }
        }
    }
}

/// An import in which nothing at all could be read has failed.
fn exit_code(reply: &Reply) -> ExitCode {
    match reply {
        Reply::Imported(report)
            if !report.failed.is_empty()
                && report.added + report.updated + report.unchanged + report.duplicates == 0 =>
        {
            ExitCode::FAILURE
        }
        Reply::Doctor(findings)
            if findings
                .iter()
                .any(|f| f.level == crate::message::Level::Problem) =>
        {
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The words of a question, or stdin for `-`.
fn words(words: Vec<String>) -> Result<String, Failure> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    let mut text = String::new();
    // A question beyond this is refused anyway.
    std::io::stdin()
        .take(1 << 20)
        .read_to_string(&mut text)
        .map_err(|error| {
            Failure::new(
                FailureKind::Usage,
                format!("cannot read the question from stdin: {error}"),
            )
        })?;
    Ok(text)
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    // Canonical where it exists, so that one file has one name; a path that does not is reported by the import.
    let full = |path: &PathBuf| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    paths
        .iter()
        .map(full)
        .collect::<std::io::Result<_>>()
        .map_err(|error| {
            Failure::new(
                FailureKind::NotFound,
                format!("the current folder cannot be found: {error}"),
            )
        })
}

/// Whether the program talks to a person.
fn is_interactive() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

fn start_logs(global: &Global) {
    // rmcp's client logs messages with all that is in them.
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error,rmcp=off",
        (false, 0) => "warn,rmcp=off",
        (false, 1) => {
            "satchel_app=info,satchel_sync=info,satchel_vector=info,satchel_inference=info,satchel_models=info,warn,rmcp=off"
        }
        _ => {
            "satchel_app=trace,satchel_sync=debug,satchel_vector=debug,satchel_inference=debug,satchel_models=debug,info,rmcp=off"
        }
    };
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("SATCHEL_LOG").unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(!global.no_color && std::io::stderr().is_terminal())
        .init();
}
