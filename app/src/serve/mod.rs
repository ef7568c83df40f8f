//! The faces for other programs: an HTTP server that speaks as OpenAI's does, and an MCP server.
//!
//! Both translate what a program asks into a [`Command`] and the [`Event`]s of it into an answer; neither decides
//! anything, opens a document or loads a model, and nothing here can change a workspace. Only this machine reaches
//! them: HTTP is bound to the loopback address and wants a token, MCP is the stdin and stdout of a process that the
//! user's own program started. Start at [`Backend`], [`http::HttpServer`] and [`mcp::run`].

use futures::future::BoxFuture;

use crate::backend::connect::Connection;
use crate::backend::jobs::EventStream;
use crate::message::{Command, Event, Failure, Reply};

#[cfg(test)]
mod fake;
pub mod http;
pub mod mcp;
pub mod token;

/// All that these faces know of the backend.
pub trait Backend: Send + Sync + 'static {
    /// Starts a command. Dropping the stream cancels it.
    ///
    /// # Errors
    /// When the backend cannot be reached.
    fn submit(&self, command: Command) -> BoxFuture<'_, Result<EventStream, Failure>>;
}

impl Backend for Connection {
    fn submit(&self, command: Command) -> BoxFuture<'_, Result<EventStream, Failure>> {
        Box::pin(Self::submit(self, command))
    }
}

/// Carries out a command of which only the reply matters, with the notices on the way to it.
///
/// # Errors
/// The failure that the command ended with.
pub(crate) async fn reply_to(
    backend: &dyn Backend,
    command: Command,
) -> Result<(Reply, Vec<String>), Failure> {
    let mut notices = Vec::new();
    let events = backend.submit(command).await?;
    let reply = events
        .finish(|event| {
            if let Event::Notice(text) = event {
                notices.push(text);
            }
        })
        .await?;
    Ok((reply, notices))
}

/// Of a reply to another command than the one that was sent.
#[must_use]
pub(crate) fn mismatch() -> Failure {
    Failure::general("the backend answered something else than was asked")
        .with_hint("The Satchel process that has the workspace open may be of another version: close it and try again.")
}

/// A failure in one line: what went wrong, and what to do.
#[must_use]
pub(crate) fn in_words(failure: &Failure) -> String {
    match &failure.hint {
        Some(hint) => format!("{}. {hint}", failure.message.trim_end_matches('.')),
        None => failure.message.clone(),
    }
}
