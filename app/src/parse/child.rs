//! One parse worker as its parent sees it: a process with two pipes and a stopwatch.
//!
//! Start at [`WorkerProcess::parse`]. Dropping it kills the process.

use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::frame::{Reply, Request, receive_message, send_bytes, send_message};
use super::pool::WorkerProgram;
use super::{Extracted, ParseError, Sandbox, limits, process};

/// Time a worker has to start and say that it is ready; generous, for a cold disk.
const START_TIME: Duration = Duration::from_secs(30);

/// How often the time that a file has taken is looked at.
const TICK: Duration = Duration::from_millis(100);

/// What a worker keeps of what it said on standard error before it ended.
const LAST_WORDS_BYTES: usize = 4096;

/// A running worker.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Collects standard error, so that the worker never waits for somebody to read it.
    last_words: Option<JoinHandle<Vec<u8>>>,
    pid: u32,
    sandbox: Sandbox,
    files_read: u32,
    /// False once it is mid-file, has crashed, or holds too much memory.
    reusable: bool,
}

impl WorkerProcess {
    /// Starts a worker and waits until it has locked itself in.
    pub(crate) async fn start(program: &WorkerProgram) -> Result<Self, ParseError> {
        let mut child = command(program)
            .spawn()
            .map_err(|error| no_worker(&error))?;
        let pipes = (
            child.stdin.take(),
            child.stdout.take(),
            child.stderr.take(),
            child.id(),
        );
        let (Some(input), Some(output), Some(errors), Some(pid)) = pipes else {
            return Err(no_worker(&"it has no pipes"));
        };
        let mut worker = Self {
            child,
            input,
            output: BufReader::new(output),
            last_words: Some(tokio::spawn(collect(errors))),
            pid,
            sandbox: Sandbox::LimitsOnly,
            files_read: 0,
            reusable: true,
        };
        match tokio::time::timeout(START_TIME, receive_message(&mut worker.output)).await {
            Ok(Ok(Reply::Ready { sandbox })) => {
                worker.sandbox = sandbox;
                Ok(worker)
            }
            Ok(Ok(_)) => Err(no_worker(&"it speaks out of turn")),
            Ok(Err(error)) => Err(no_worker(&error)),
            Err(_) => Err(no_worker(&"it does not answer")),
        }
    }

    pub(crate) fn sandbox(&self) -> Sandbox {
        self.sandbox
    }

    /// Whether the next file may go to this worker.
    pub(crate) fn is_reusable(&self) -> bool {
        self.reusable
    }

    /// Whether the process still runs, as far as the system knows.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Hands one file over and waits for its text, within the time limits.
    pub(crate) async fn parse(
        &mut self,
        name: String,
        bytes: &[u8],
        cpu_time: Duration,
    ) -> Result<Extracted, ParseError> {
        // Until the answer is here: an error, or a dropped future, must not leave a worker in use
        // that is about to answer for another file.
        self.reusable = false;
        let stopwatch = Stopwatch::start(self.pid, cpu_time);
        let answer = {
            let exchange = exchange(
                &mut self.input,
                &mut self.output,
                name,
                bytes,
                &stopwatch.pages,
            );
            tokio::pin!(exchange);
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    answer = &mut exchange => break Some(answer),
                    _ = ticks.tick() => if stopwatch.is_over() { break None },
                }
            }
        };
        match answer {
            Some(Ok(outcome)) => {
                self.files_read += 1;
                self.reusable = self.may_go_on(&outcome);
                outcome
            }
            Some(Err(_)) => Err(self.cause_of_death().await),
            None => Err(ParseError::TimedOut {
                seconds: stopwatch.started.elapsed().as_secs(),
            }),
        }
    }

    fn may_go_on(&self, outcome: &Result<Extracted, ParseError>) -> bool {
        let memory_bytes = process::resident_bytes(self.pid).unwrap_or(0);
        !matches!(outcome, Err(ParseError::Crashed))
            && self.files_read < limits::FILES_PER_WORKER
            && memory_bytes < limits::KEPT_MEMORY_BYTES
    }

    /// Why a worker closed its pipe in the middle of a file.
    async fn cause_of_death(&mut self) -> ParseError {
        let status = tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await;
        let Ok(Ok(status)) = status else {
            return ParseError::Crashed;
        };
        let last_words = match self.last_words.take() {
            Some(collecting) => collecting.await.unwrap_or_default(),
            None => Vec::new(),
        };
        tracing::debug!(pid = self.pid, %status, "a parse worker ended in the middle of a file");
        cause_of(status, &last_words)
    }
}

fn command(program: &WorkerProgram) -> Command {
    let mut command = Command::new(&program.program);
    command
        .args(&program.args)
        // The environment may hold secrets, and a parser needs none of it; only the loader does.
        .env_clear()
        .envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn no_worker(words: &dyn ToString) -> ParseError {
    ParseError::NoWorker {
        words: words.to_string(),
    }
}

/// The whole conversation about one file.
async fn exchange(
    input: &mut ChildStdin,
    output: &mut BufReader<ChildStdout>,
    name: String,
    bytes: &[u8],
    pages: &AtomicU32,
) -> std::io::Result<Result<Extracted, ParseError>> {
    send_message(input, &Request { name }).await?;
    send_bytes(input, bytes).await?;
    loop {
        match receive_message(output).await? {
            Reply::Page => {
                pages.fetch_add(1, Ordering::Relaxed);
            }
            Reply::Done { outcome } => return Ok(outcome),
            Reply::Ready { .. } => return Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Keeps the last part of what a worker writes to standard error.
async fn collect(mut errors: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(length) = errors.read(&mut piece).await {
        if length == 0 {
            break;
        }
        kept.extend_from_slice(&piece[..length]);
        let surplus = kept.len().saturating_sub(LAST_WORDS_BYTES);
        kept.drain(..surplus);
    }
    kept
}

/// Rust says so when memory runs out; the system's own remedy is to kill.
fn cause_of(status: ExitStatus, last_words: &[u8]) -> ParseError {
    use std::os::unix::process::ExitStatusExt;
    const KILL: i32 = 9;
    let said = String::from_utf8_lossy(last_words);
    if said.contains("memory allocation of") || status.signal() == Some(KILL) {
        ParseError::OutOfMemory
    } else {
        ParseError::Crashed
    }
}

/// Measures what one file has cost, mainly in processor time, which a busy machine does not stretch.
struct Stopwatch {
    pid: u32,
    cpu_time: Duration,
    started: Instant,
    cpu_before: Option<Duration>,
    /// Pages with text that were finished; each earns more time.
    pages: AtomicU32,
}

impl Stopwatch {
    fn start(pid: u32, cpu_time: Duration) -> Self {
        Self {
            pid,
            cpu_time,
            started: Instant::now(),
            cpu_before: process::cpu_time(pid),
            pages: AtomicU32::new(0),
        }
    }

    fn is_over(&self) -> bool {
        let pages = self.pages.load(Ordering::Relaxed);
        let granted = (self.cpu_time + limits::PAGE_TIME * pages).min(limits::LONGEST_TIME);
        let elapsed = self.started.elapsed();
        // Nothing can have used more processor time than has passed; so most ticks cost nothing.
        if elapsed < granted {
            return false;
        }
        let used = self
            .cpu_before
            .and_then(|before| Some(process::cpu_time(self.pid)?.saturating_sub(before)));
        elapsed >= granted * limits::WALL_TIME_FACTOR || used.is_none_or(|used| used >= granted)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn the_cause_of_death_is_read_from_status_and_last_words() {
        let aborted = ExitStatus::from_raw(6);
        assert_eq!(
            cause_of(aborted, b"memory allocation of 99 bytes failed"),
            ParseError::OutOfMemory
        );
        assert_eq!(
            cause_of(aborted, b"thread 'parse' has overflowed its stack"),
            ParseError::Crashed
        );
        assert_eq!(
            cause_of(ExitStatus::from_raw(9), b""),
            ParseError::OutOfMemory
        );
    }

    #[test]
    fn time_runs_out_later_for_a_file_that_makes_progress() {
        let started = Instant::now().checked_sub(limits::CPU_TIME).unwrap();
        let mut stopwatch = Stopwatch {
            pid: 0,
            cpu_time: limits::CPU_TIME,
            started,
            cpu_before: None,
            pages: AtomicU32::new(0),
        };
        assert!(stopwatch.is_over());
        stopwatch.pages = AtomicU32::new(100);
        assert!(!stopwatch.is_over());
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_is_named_as_such() {
        for program in ["/nonexistent/program", "/bin/true"] {
            let program = WorkerProgram {
                program: program.into(),
                args: Vec::new(),
            };
            let error = WorkerProcess::start(&program).await.unwrap_err();
            assert!(matches!(error, ParseError::NoWorker { .. }), "{error}");
        }
    }
}
