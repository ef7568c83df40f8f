//! `satchel try`: the main job on a few documents that come with the program.
//!
//! Never mixes the sample with a user's own documents: it is imported only into an empty workspace.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::print::Printer;
use super::{chat, is_interactive, perform};
use crate::backend::connect::Connection;
use crate::config::DataDirs;
use crate::message::{Command, Failure, Reply};

/// The sample, written for Satchel; everything in it is invented.
const FILES: [(&str, &str); 6] = [
    (
        "house/lease.md",
        include_str!("../../sample/house/lease.md"),
    ),
    (
        "house/roof-repair.txt",
        include_str!("../../sample/house/roof-repair.txt"),
    ),
    (
        "health/allergy-letter.html",
        include_str!("../../sample/health/allergy-letter.html"),
    ),
    (
        "travel/madeira.md",
        include_str!("../../sample/travel/madeira.md"),
    ),
    (
        "work/minutes-2025-03.md",
        include_str!("../../sample/work/minutes-2025-03.md"),
    ),
    (
        "work/expenses.csv",
        include_str!("../../sample/work/expenses.csv"),
    ),
];

/// What is asked when nobody is there to ask.
const QUESTION: &str = "How much notice must be given to end the lease of the house?";

/// Imports the sample where the workspace is empty, asks one question, and goes on as a chat at a terminal.
///
/// # Errors
/// When the sample cannot be written or imported, or no model answers.
pub(crate) async fn run(
    connection: &Connection,
    dirs: &DataDirs,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    let Reply::Status(status) = perform(connection, Command::Status, printer).await? else {
        return Err(Failure::general("the backend gave no status"));
    };
    if status.coverage.documents == 0 {
        let folder = write_sample(&dirs.data.join("sample"))?;
        printer.message(&format!("Importing the sample from {} …", folder.display()));
        let import = Command::Import {
            paths: vec![folder],
            prune: false,
            skip_embeddings: false,
        };
        printer.reply(&perform(connection, import, printer).await?);
    }
    printer.message(&format!("\n> {QUESTION}"));
    let ask = Command::Ask {
        question: QUESTION.to_owned(),
        thread: None,
    };
    let reply = perform(connection, ask, printer).await?;
    printer.reply(&reply);
    if is_interactive() {
        let thread = if let Reply::Answered(report) = reply {
            Some(report.thread)
        } else {
            None
        };
        return chat::run(connection, printer, thread).await;
    }
    printer.message(
        "\nNow your own: `satchel import FOLDER`, then `satchel ask \"…\"` or `satchel chat`.",
    );
    Ok(ExitCode::SUCCESS)
}

fn write_sample(folder: &Path) -> Result<PathBuf, Failure> {
    for (name, text) in FILES {
        let path = folder.join(name);
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| {
                if path.exists() {
                    Ok(())
                } else {
                    satchel_sync::durable::write(&path, text.as_bytes())
                }
            });
        written.map_err(|error| {
            Failure::general(format!(
                "cannot write the sample to {}: {error}",
                path.display()
            ))
        })?;
    }
    std::fs::canonicalize(folder)
        .map_err(|error| Failure::general(format!("cannot find {}: {error}", folder.display())))
}
