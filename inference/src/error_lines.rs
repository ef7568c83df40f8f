//! The last words of a worker: what it wrote to its standard error before it ended.
//!
//! Kept in memory for an error message, never logged.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStderr;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The last lines that the worker wrote to its standard error.
pub(crate) struct ErrorLines {
    lines: Arc<Mutex<Vec<String>>>,
    /// Resolves when the worker closed its standard error.
    closed: oneshot::Receiver<()>,
}

impl ErrorLines {
    /// Keeps the last lines until the pipe is closed, in a task among `tasks`.
    pub(crate) fn collect(stderr: ChildStderr, tasks: &mut JoinSet<()>) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (open, closed) = oneshot::channel::<()>();
        let kept = Arc::clone(&lines);
        tasks.spawn(async move {
            keep_last_lines(stderr, &kept).await;
            drop(open);
        });
        Self { lines, closed }
    }

    /// The last line that says something, after waiting so long for lines that are still on their way.
    pub(crate) async fn last_useful_line(&mut self, patience: Duration) -> Option<String> {
        // What was written before the end may still be in the pipe.
        tokio::time::timeout(patience, &mut self.closed).await.ok();
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .rev()
            .find(|line| !line.is_empty() && !line.starts_with("note:"))
            .cloned()
    }
}

async fn keep_last_lines(stderr: ChildStderr, kept: &Mutex<Vec<String>>) {
    let mut stderr = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        // A line without an end must not fill the memory.
        let read = (&mut stderr)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await;
        if !matches!(read, Ok(1..)) {
            return;
        }
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_LINES {
            kept.remove(0);
        }
        kept.push(String::from_utf8_lossy(&line).trim().to_owned());
    }
}

const KEPT_LINES: usize = 16;
const MAX_LINE_BYTES: u64 = 1000;

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn last_words(script: &str) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut child = tokio::process::Command::new("sh")
                .args(["-c", script])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut tasks = JoinSet::new();
            let mut lines = ErrorLines::collect(child.stderr.take().unwrap(), &mut tasks);
            let last = lines.last_useful_line(Duration::from_secs(10)).await;
            child.wait().await.unwrap();
            last
        })
    }

    #[cfg(unix)]
    #[test]
    fn the_last_line_that_says_something_is_kept() {
        assert_eq!(last_words("true"), None);
        assert_eq!(
            last_words("echo one >&2; echo ' two ' >&2; echo >&2"),
            Some("two".into())
        );
        assert_eq!(
            last_words("echo broken >&2; echo 'note: run with more' >&2"),
            Some("broken".into())
        );
        assert_eq!(
            last_words("for i in $(seq 100); do echo line $i >&2; done"),
            Some("line 100".into())
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let last = last_words("head -c 100000 /dev/zero | tr '\\0' x >&2").unwrap();
        assert!(last.len() <= 1000);
    }
}
