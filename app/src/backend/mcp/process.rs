//! The process of an MCP server: its end of a pipe each way, and a sure end.
//!
//! It is given the variables that every program needs and those of the settings, nothing else of this process. It has a
//! process group of its own, which ends with it: a server started through a script leaves nobody behind.
//! Start at [`Process::start`].

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::AbortHandle;

use crate::config::McpServer;

/// What a program needs to find its files and to speak the user's language.
const VARIABLES: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "SYSTEMROOT",
];
/// Bytes of its last words that are kept for an error message.
const LAST_WORDS: usize = 400;
/// How long it may take to end by itself once its input has closed.
const GOODBYE: Duration = Duration::from_millis(500);

/// A running server. Dropped, it is killed.
pub(super) struct Process {
    child: Child,
    group: Option<Pid>,
    said: Arc<Mutex<Vec<u8>>>,
    listener: AbortHandle,
}

impl Process {
    /// Starts the program of a server; gives its output and its input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(server: &McpServer) -> std::io::Result<(Self, ChildStdout, ChildStdin)> {
        let known = VARIABLES
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)));
        let mut child = Command::new(&server.command)
            .args(&server.args)
            .env_clear()
            .envs(known)
            .envs(&server.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("it has no pipes");
        let output = child.stdout.take().ok_or_else(missing)?;
        let input = child.stdin.take().ok_or_else(missing)?;
        let errors = child.stderr.take().ok_or_else(missing)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let listener = tokio::spawn(listen(errors, Arc::clone(&said))).abort_handle();
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let process = Self {
            child,
            group,
            said,
            listener,
        };
        Ok((process, output, input))
    }

    /// The end of what it wrote to its error output.
    pub(super) fn last_words(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        super::cleaned(&String::from_utf8_lossy(&said), LAST_WORDS)
    }

    /// Lets it end by itself, since its input has closed, and ends it otherwise.
    pub(super) async fn end(mut self) {
        let begin = Instant::now();
        while !self.has_ended() && begin.elapsed() < GOODBYE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.kill_group();
        // It has ended, or is ending: so it is not left as a zombie.
        drop(self.child.wait().await);
        self.group = None;
    }

    /// Whether the program itself has ended. It is not reaped by this, so its number still belongs to its group.
    fn has_ended(&self) -> bool {
        let Some(pid) = self.group else { return true };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(rustix::process::waitid(WaitId::Pid(pid), look), Ok(None))
    }

    fn kill_group(&self) {
        if let Some(group) = self.group {
            // An error means that nobody is left in it.
            rustix::process::kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
        self.listener.abort();
    }
}

/// Reads all that it says, so that it never waits for a reader, and keeps the end.
async fn listen(errors: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut errors = BufReader::new(errors);
    let mut piece = [0; 1024];
    while let Ok(1..) = errors.read(&mut piece).await.inspect(|count| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(&piece[..*count]);
        let over = said.len().saturating_sub(LAST_WORDS);
        said.drain(..over);
    }) {}
}
