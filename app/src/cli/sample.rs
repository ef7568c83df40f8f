//! `satchel try`: the main job on a few documents that come with the program.
//!
//! Never mixes the sample with a user's own documents: it is imported only into an empty workspace.

use std::process::ExitCode;

use super::print::Printer;
use super::{chat, is_interactive, perform};
use crate::backend::connect::Connection;
use crate::backend::sample;
use crate::message::{Command, Failure, Reply};

/// Imports the sample where the workspace is empty, asks one question, and goes on as a chat at a terminal.
///
/// # Errors
/// When the sample cannot be written or imported, or no model answers.
pub(crate) async fn run(connection: &Connection, printer: &Printer) -> Result<ExitCode, Failure> {
    let Reply::Documents(documents) = perform(connection, Command::Documents, printer).await?
    else {
        return Err(Failure::general("the backend gave no documents"));
    };
    if documents.is_empty() {
        printer.message("Importing the sample …");
        printer.reply(&perform(connection, Command::ImportSample, printer).await?);
    } else if !sample::is_among(&documents) {
        printer.message(
            "This workspace holds documents of yours; the sample is not mixed with them.\n\
             To try it: `satchel workspace new Sample`, then `satchel --workspace Sample try`.",
        );
        if is_interactive() {
            return chat::run(connection, printer, None).await;
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Asked when nobody is there to ask.
    let question = sample::QUESTIONS[0];
    printer.message(&format!("\n> {question}"));
    let ask = Command::Ask {
        question: question.to_owned(),
        thread: None,
        on: None,
        no_wait: false,
        tools: false,
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
