//! Finds the backend: in this process, or in the one that has the workspace open already.
//!
//! Whoever opens a workspace also answers at its socket, so a command works the same beside an open window
//! or a running import. Start at [`Connection::open`].

use std::time::Duration;

use super::Backend;
use super::jobs::EventStream;
use super::socket::{self, SocketServer};
use super::unlock::Unlock;
use crate::config::{DataDirs, Settings};
use crate::message::{Command, Failure, FailureKind};

/// A way to a backend.
pub enum Connection {
    /// In this process.
    Here {
        /// The backend.
        backend: Backend,
        /// Answers other processes while this one lives; `None` where no socket could be had.
        server: Option<SocketServer>,
    },
    /// In another process.
    There(socket::Client),
}

impl Connection {
    /// Reaches the process that has the workspace open, or opens it here.
    ///
    /// # Errors
    /// When the workspace cannot be opened, or another process holds it and does not answer.
    pub async fn open(dirs: DataDirs, settings: Settings, unlock: Unlock) -> Result<Self, Failure> {
        // Two processes that start at the same moment: the one that loses the lock finds the winner's
        // socket a moment later.
        for attempt in 0..20 {
            if let Some(client) = socket::Client::connect(&dirs.socket).await {
                return Ok(Self::There(client));
            }
            match Backend::open(dirs.clone(), settings.clone(), unlock.clone()).await {
                Ok(backend) => return Ok(Self::here(backend, &dirs)),
                Err(failure)
                    if failure.kind == FailureKind::Locked
                        && failure.hint.is_none()
                        && attempt < 19 =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Whether another process answers for these documents.
    pub async fn is_open_elsewhere(dirs: &DataDirs) -> bool {
        socket::Client::connect(&dirs.socket).await.is_some()
    }

    fn here(backend: Backend, dirs: &DataDirs) -> Self {
        let server = match SocketServer::start(&dirs.socket, backend.clone()) {
            Ok(server) => Some(server),
            Err(error) => {
                tracing::warn!(%error, "no socket: a second command will not reach this one");
                None
            }
        };
        Self::Here { backend, server }
    }

    /// Starts a command. Dropping the stream cancels it.
    ///
    /// # Errors
    /// When the other process cannot be reached any more.
    pub async fn submit(&self, command: Command) -> Result<EventStream, Failure> {
        match self {
            Self::Here { backend, .. } => Ok(backend.submit(command)),
            Self::There(client) => client.submit(command).await,
        }
    }

    /// Words from opening that the user should see.
    #[must_use]
    pub fn opening_notices(&self) -> &[String] {
        match self {
            Self::Here { backend, .. } => &backend.shared().opening_notices,
            Self::There(_) => &[],
        }
    }

    /// Lets running work end cleanly and ends the workers.
    pub async fn close(self) {
        if let Self::Here { backend, server } = self {
            drop(server);
            backend.close().await;
        }
    }
}
