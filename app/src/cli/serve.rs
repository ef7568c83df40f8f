//! `satchel serve` and `satchel mcp`: the faces for other programs, from the command line.
//!
//! Opens the workspace and says where the server is; what is answered is decided in [`crate::serve`]. Start at
//! [`http`] and [`mcp`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::print::Printer;
use super::{open, passphrase, unlock};
use crate::backend::connect::Connection;
use crate::backend::unlock::{NewKey, Unlock};
use crate::backend::workspaces::WorkspaceChoice;
use crate::config::{DataDirs, Settings};
use crate::message::Failure;
use crate::serve::Backend;
use crate::serve::http::HttpServer;
use crate::serve::mcp as mcp_server;
use crate::serve::token::Token;

/// What `satchel serve` was told.
pub(crate) struct HttpOptions {
    /// 0 takes any port that is free.
    pub port: u16,
    /// Where the token lies; `None` takes the usual place.
    pub token_file: Option<PathBuf>,
    /// Web pages that may ask.
    pub origins: Vec<String>,
}

/// Answers over HTTP until Ctrl-C.
///
/// # Errors
/// When the port is taken, the token file cannot be used, or the workspace not be opened.
pub(crate) async fn http(
    dirs: &DataDirs,
    settings: Settings,
    which: WorkspaceChoice,
    options: HttpOptions,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    // Before the workspace is opened, which may ask for a passphrase: mistakes show at once.
    let file = options
        .token_file
        .unwrap_or_else(|| dirs.state.join("serve.token"));
    let file = std::path::absolute(&file).unwrap_or(file);
    let token = Token::load_or_create(&file)?;
    let server = HttpServer::bind(options.port, token, &options.origins).await?;
    let address = server.address();
    let connection = Arc::new(open(dirs, settings, unlock(), which, printer).await?);
    let mut signals = Signals::new()?;
    printer.serving(address, &file);
    let (stop, stopped) = oneshot::channel::<()>();
    let backend: Arc<dyn Backend> = Arc::clone(&connection) as Arc<dyn Backend>;
    let result = {
        let running = server.run(backend, async move { drop(stopped.await) });
        let mut running = std::pin::pin!(running);
        tokio::select! {
            result = &mut running => result,
            () = signals.next() => {
                printer.message("Stopping. Running answers are brought to their end; Ctrl-C again cuts them off.");
                drop(stop);
                tokio::select! {
                    result = &mut running => result,
                    () = signals.next() => Ok(()),
                }
            }
        }
    };
    close(connection).await;
    result.map(|()| ExitCode::SUCCESS)
}

/// Answers over stdin and stdout until the program that started this one closes stdin.
///
/// # Errors
/// When the workspace cannot be opened, or that program does not speak MCP.
pub(crate) async fn mcp(
    dirs: &DataDirs,
    settings: Settings,
    which: WorkspaceChoice,
    printer: &Printer,
) -> Result<ExitCode, Failure> {
    // stdin belongs to the protocol: nobody can be asked for a passphrase there.
    let unlock = Unlock::new(passphrase::file_asker(), NewKey::Automatic);
    let connection = Arc::new(open(dirs, settings, unlock, which, printer).await?);
    let mut signals = Signals::new()?;
    let backend: Arc<dyn Backend> = Arc::clone(&connection) as Arc<dyn Backend>;
    let result = tokio::select! {
        result = mcp_server::run_on_stdio(backend) => result,
        () = signals.next() => Ok(()),
    };
    close(connection).await;
    result.map(|()| ExitCode::SUCCESS)
}

/// Lets running work end cleanly, once the last request has let go of the backend. One that was cut off may hold on
/// to it; it only reads, so nothing is lost when the program ends without it.
async fn close(mut connection: Arc<Connection>) {
    for _ in 0..50 {
        match Arc::try_unwrap(connection) {
            Ok(connection) => return connection.close().await,
            Err(shared) => connection = shared,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Ctrl-C, and what a service manager or another program sends.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let deaf = |error: std::io::Error| {
            Failure::general(format!("Ctrl-C could not be listened for: {error}"))
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(deaf)?,
            terminate: signal(SignalKind::terminate()).map_err(deaf)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
