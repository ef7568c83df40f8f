//! Finds the backend: in this process, or in the one that has the workspace open already.
//!
//! Whoever opens a workspace also answers at its socket, so a command works the same beside an open window
//! or a running import. Each workspace has its own: two can be open in two processes.
//! Start at [`Connection::open`].

use std::time::Duration;

use satchel_sync::workspace::{self, WorkspaceListing};

use super::jobs::EventStream;
use super::socket::{self, SocketServer};
use super::unlock::Unlock;
use super::workspaces::{WorkspaceChoice, Workspaces};
use super::{Backend, failure};
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
    /// While that process runs, no key is needed, unless `which` is a name: names are encrypted.
    /// Close a connection before the same workspace is opened again in this process; another one can be opened
    /// beside it, and with the same `unlock` nobody is asked for the passphrase twice.
    ///
    /// # Errors
    /// When the workspace cannot be found or opened, or another process holds it and does not answer.
    pub async fn open(
        dirs: DataDirs,
        settings: Settings,
        unlock: Unlock,
        which: WorkspaceChoice,
    ) -> Result<Self, Failure> {
        // Two processes that start at the same moment: the one that loses the lock finds the winner's
        // socket a moment later.
        for attempt in 0..20 {
            let found = find(&dirs, &unlock, &which).await?;
            if let Some(found) = &found
                && let Some(client) = socket::Client::connect(&dirs.socket(found.id)).await
            {
                return Ok(Self::There(client));
            }
            let which = match (&which, found) {
                // A name was looked up just now.
                (WorkspaceChoice::Named(_), Some(found)) => {
                    WorkspaceChoice::Named(found.id.to_string())
                }
                (which, _) => which.clone(),
            };
            match Backend::open(dirs.clone(), settings.clone(), unlock.clone(), &which).await {
                Ok(backend) => return Ok(Self::here(backend)),
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

    /// Whether another process has the workspace open and answers for it.
    ///
    /// # Errors
    /// When the workspace cannot be found.
    pub async fn is_open_elsewhere(
        dirs: &DataDirs,
        unlock: &Unlock,
        which: &WorkspaceChoice,
    ) -> Result<bool, Failure> {
        match find(dirs, unlock, which).await? {
            Some(found) => Ok(socket::Client::connect(&dirs.socket(found.id))
                .await
                .is_some()),
            None => Ok(false),
        }
    }

    fn here(backend: Backend) -> Self {
        let shared = backend.shared();
        let path = shared.dirs.socket(shared.workspace.id());
        let server = match SocketServer::start(&path, backend.clone()) {
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

/// A process that has any workspace of the data folder open: it can do what concerns none in particular, and has
/// the key already.
///
/// # Errors
/// When the folder of workspaces cannot be read.
pub async fn any_process(dirs: &DataDirs) -> Result<Option<socket::Client>, Failure> {
    let all = workspace::list(&dirs.workspaces()).map_err(|error| failure::of_open(&error))?;
    for listing in all {
        let client = socket::Client::connect(&dirs.socket(listing.id)).await;
        if client.is_some() {
            return Ok(client);
        }
    }
    Ok(None)
}

async fn find(
    dirs: &DataDirs,
    unlock: &Unlock,
    which: &WorkspaceChoice,
) -> Result<Option<WorkspaceListing>, Failure> {
    let workspaces = Workspaces::new(dirs.clone(), unlock.clone());
    let which = which.clone();
    tokio::task::spawn_blocking(move || workspaces.find(&which))
        .await
        .unwrap_or_else(|panic| Err(failure::of_panic(panic)))
}
