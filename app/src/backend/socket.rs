//! Commands from other processes: one connection carries one command and its events.
//!
//! A Unix socket of mode 0600 in a folder of mode 0700; a line of JSON in (the [`Command`]), lines of JSON out
//! (the [`Event`]s). Closing the connection cancels the command. Never reachable from another user or machine.
//! Start at [`SocketServer::start`] and [`Client::connect`].

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

use super::Backend;
use super::jobs::{self, EventStream};
use crate::message::{Command, Event, Failure, FailureKind};

/// Longest command line: texts of another program to be embedded take 8 MiB at most, twice that as JSON in JSON.
const MAX_COMMAND_BYTES: u64 = 16 << 20;

/// Answers other processes until dropped; then the socket is removed.
pub struct SocketServer {
    path: PathBuf,
    task: AbortHandle,
}

impl SocketServer {
    /// Listens at `path`. A socket left by a dead process is replaced: the caller holds the workspace's lock.
    ///
    /// # Errors
    /// When the folder cannot be made private or the socket not be bound.
    pub fn start(path: &Path, backend: Backend) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let task = tokio::spawn(accept(listener, backend)).abort_handle();
        Ok(Self {
            path: path.to_path_buf(),
            task,
        })
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        self.task.abort();
        // A socket that stays behind is replaced by the next start.
        drop(std::fs::remove_file(&self.path));
    }
}

async fn accept(listener: UnixListener, backend: Backend) {
    // Dropping the set with this task ends every connection, which cancels its command.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, backend.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the socket takes no more connections");
                return;
            }
        }
    }
}

/// Carries out the one command of a connection. Errors of the connection end it; nobody is left to tell.
async fn serve(stream: UnixStream, backend: Backend) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    if (&mut reader)
        .take(MAX_COMMAND_BYTES)
        .read_line(&mut line)
        .await
        .is_err()
        || line.is_empty()
    {
        return;
    }
    let mut events = match serde_json::from_str::<Command>(&line) {
        Ok(command) => backend.submit_for_another(command),
        Err(error) => {
            let failure = Failure::new(
                FailureKind::Usage,
                format!("the other Satchel process does not know this command: {error}"),
            )
            .with_hint("It may be of another version: close it and try again.");
            drop(write_event(&mut writer, &Event::Failed(failure)).await);
            return;
        }
    };
    let mut closed = [0u8; 1];
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event else { return };
                if write_event(&mut writer, &event).await.is_err() {
                    return;
                }
            }
            // The client says nothing more; an end of its stream means that it has gone.
            _ = reader.read(&mut closed) => return,
        }
    }
}

async fn write_event(writer: &mut (impl AsyncWriteExt + Unpin), event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// The way to a backend in another process.
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// Whether a process answers at `path`.
    pub async fn connect(path: &Path) -> Option<Self> {
        UnixStream::connect(path).await.ok().map(|_| Self {
            path: path.to_path_buf(),
        })
    }

    /// Sends a command.
    ///
    /// # Errors
    /// When the process has gone meanwhile.
    pub async fn submit(&self, command: Command) -> Result<EventStream, Failure> {
        let gone = |error: io::Error| {
            Failure::general(format!(
                "the Satchel process that has this workspace open cannot be reached: {error}"
            ))
            .with_hint("Run the command again.")
        };
        let mut stream = UnixStream::connect(&self.path).await.map_err(gone)?;
        let mut line = serde_json::to_vec(&command).map_err(|error| gone(error.into()))?;
        line.push(b'\n');
        stream.write_all(&line).await.map_err(gone)?;
        let (emitter, events) = jobs::channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            loop {
                let line = tokio::select! {
                    line = lines.next_line() => line,
                    () = emitter.cancelled() => {
                        // Closing the connection cancels the command there. Who only stopped it still listens.
                        let stopped = Failure::new(FailureKind::Cancelled, "Stopped; what was saved is safe.");
                        emitter.send(Event::Failed(stopped)).await;
                        return;
                    }
                };
                let Ok(Some(line)) = line else { return };
                let Ok(event) = serde_json::from_str(&line) else {
                    return;
                };
                emitter.send(event).await;
            }
        });
        Ok(events)
    }
}
