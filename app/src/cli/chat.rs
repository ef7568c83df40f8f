//! `satchel chat`: one question after the other.
//!
//! Ctrl-C stops an answer; at the prompt it ends the chat, as Ctrl-D does.

use std::io::Write;
use std::process::ExitCode;

use super::print::Printer;
use super::{is_interactive, lines, perform};
use crate::backend::connect::Connection;
use crate::message::{Command, Failure, FailureKind, Reply};

/// Asks until the input ends.
///
/// # Errors
/// When the first question already fails in a way that will repeat: no model, a locked workspace.
pub(crate) async fn run(
    connection: &Connection,
    printer: &Printer,
    chat: Option<String>,
) -> Result<ExitCode, Failure> {
    let mut chat = chat;
    if is_interactive() {
        printer.message("Ask about your documents. Ctrl-C stops an answer; an empty line or Ctrl-D ends the chat.");
    }
    loop {
        let Some(question) = next_question().await else {
            return Ok(ExitCode::SUCCESS);
        };
        match perform(
            connection,
            Command::Ask {
                question,
                thread: chat.clone(),
                on: None,
                no_wait: false,
                tools: false,
            },
            printer,
        )
        .await
        {
            Ok(reply) => {
                if let Reply::Answered(report) = &reply {
                    chat = Some(report.thread.clone());
                }
                printer.reply(&reply);
            }
            // A stopped answer is what the user wanted; the chat goes on.
            Err(failure) if failure.kind == FailureKind::Cancelled && is_interactive() => {
                printer.message("\nStopped.");
            }
            Err(failure) if is_interactive() && failure.kind != FailureKind::NotFound => {
                printer.failure(&failure);
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// The next line that is a question; `None` at the end of the input.
async fn next_question() -> Option<String> {
    if is_interactive() {
        let mut out = std::io::stdout();
        // A prompt that cannot be written is no reason not to read.
        drop(out.write_all(b"\n> ").and_then(|()| out.flush()));
    }
    loop {
        let line = tokio::select! {
            line = lines::next() => line?,
            _ = tokio::signal::ctrl_c() => return None,
        };
        let line = line.trim();
        if !line.is_empty() {
            return Some(line.to_owned());
        }
        if is_interactive() {
            return None;
        }
    }
}
