//! The parent side: a small pool of parse workers, each reading one file at a time under limits.
//!
//! A worker that takes too long, runs out of memory or crashes costs the file it was reading and
//! nothing else. Never logs names or text of files. Start at [`ParsePool::parse`].

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::child::WorkerProcess;
use super::{Extracted, ParseError, Sandbox, extract, limits, needs_worker};

/// How a worker is started: `satchel worker parse`.
#[derive(Clone, Debug)]
pub struct WorkerProgram {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// Reads files on up to a fixed number of worker processes. Cheap to clone; clones share the pool.
///
/// Workers start when they are first needed and end when they have been idle for
/// [`limits::IDLE_TIME`] or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct ParsePool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    program: WorkerProgram,
    cpu_time: Duration,
    /// One permit for each worker that may be busy.
    permits: Semaphore,
    idle: Mutex<Vec<IdleWorker>>,
    /// Whether a task is waiting to end idle workers.
    is_reaping: AtomicBool,
}

#[derive(Debug)]
struct IdleWorker {
    process: WorkerProcess,
    since: Instant,
}

impl ParsePool {
    /// A pool of at most `workers` processes (at least one). Starts none yet.
    ///
    /// Each worker may use a processor fully and up to [`limits::WORKER_MEMORY_BYTES`].
    pub fn new(program: WorkerProgram, workers: usize) -> Self {
        Self::with_cpu_time(program, workers, limits::CPU_TIME)
    }

    /// A pool that grants each file another processor time than [`limits::CPU_TIME`].
    pub fn with_cpu_time(program: WorkerProgram, workers: usize, cpu_time: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                program,
                cpu_time,
                permits: Semaphore::new(workers.max(1)),
                idle: Mutex::new(Vec::new()),
                is_reaping: AtomicBool::new(false),
            }),
        }
    }

    /// Turns the bytes of one file into text. `name` is its file name, without its folder.
    ///
    /// Waits for a free worker first; that time does not count against the file. Short text files
    /// are read in this process on the blocking pool. Dropping the future stops the work: a worker
    /// that was busy with the file is ended. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`ParseError`]; whatever the error, the pool goes on with the next file.
    pub async fn parse(&self, name: &str, bytes: Arc<Vec<u8>>) -> Result<Extracted, ParseError> {
        let name = name.to_owned();
        let task = tokio::task::spawn_blocking(move || {
            if needs_worker(&name, &bytes) {
                Err((name, bytes))
            } else {
                Ok(extract(&name, Cow::Borrowed(&bytes), &mut || {}))
            }
        });
        match task.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err((name, bytes))) => self.parse_in_worker(name, &bytes).await,
            Err(_) => Err(ParseError::Crashed),
        }
    }

    /// Starts a worker if none is idle and tells how tightly it has locked itself in.
    ///
    /// # Errors
    /// [`ParseError::NoWorker`] when no worker can be started: no document can be imported then.
    pub async fn sandbox(&self) -> Result<Sandbox, ParseError> {
        let _permit = self.shared.permits.acquire().await;
        let process = self.shared.worker().await?;
        let sandbox = process.sandbox();
        self.shared.keep(process);
        Ok(sandbox)
    }

    async fn parse_in_worker(&self, name: String, bytes: &[u8]) -> Result<Extracted, ParseError> {
        // The semaphore is never closed, so this fails never; without a permit the file is still read.
        let _permit = self.shared.permits.acquire().await;
        let mut process = self.shared.worker().await?;
        let outcome = process.parse(name, bytes, self.shared.cpu_time).await;
        if process.is_reusable() {
            self.shared.keep(process);
        }
        outcome
    }
}

impl Shared {
    async fn worker(&self) -> Result<WorkerProcess, ParseError> {
        while let Some(mut idle) = self.take_idle() {
            // One that was ended from outside meanwhile (by a tidy system) is no file's failure.
            if idle.process.is_alive() {
                return Ok(idle.process);
            }
        }
        WorkerProcess::start(&self.program).await
    }

    fn take_idle(&self) -> Option<IdleWorker> {
        self.lock_idle().pop()
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<IdleWorker>> {
        // The list is valid after every statement, so a panic elsewhere leaves it usable.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(self: &Arc<Self>, process: WorkerProcess) {
        self.lock_idle().push(IdleWorker {
            process,
            since: Instant::now(),
        });
        if !self.is_reaping.swap(true, Ordering::AcqRel) {
            tokio::spawn(reap(Arc::downgrade(self)));
        }
    }

    /// Ends workers that have been idle for long; true while others remain.
    fn end_idle(&self) -> bool {
        let mut idle = self.lock_idle();
        idle.retain(|worker| worker.since.elapsed() < limits::IDLE_TIME);
        if idle.is_empty() {
            self.is_reaping.store(false, Ordering::Release);
        }
        !idle.is_empty()
    }
}

/// Ends with the pool, or when no worker is idle any more.
async fn reap(pool: Weak<Shared>) {
    loop {
        tokio::time::sleep(limits::IDLE_TIME).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.end_idle() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that says it is ready and then runs a line of shell. Without `PATH` it has only
    /// what the shell itself can do.
    fn pool_of(script: &str) -> ParsePool {
        let ready = r#"{"type":"ready","sandbox":"full"}"#;
        let script = format!(
            "printf '\\{:o}\\0\\0\\0%s' '{ready}'; {script}",
            ready.len()
        );
        let program = WorkerProgram {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
        };
        ParsePool::with_cpu_time(program, 1, Duration::from_millis(300))
    }

    async fn error_of(pool: &ParsePool) -> ParseError {
        let table = Arc::new(b"a,b\n1,2\n".to_vec());
        pool.parse("a.csv", table).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_worker_that_never_ends_is_stopped() {
        let started = Instant::now();
        let error = error_of(&pool_of("while :; do :; done")).await;
        assert!(matches!(error, ParseError::TimedOut { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[tokio::test]
    async fn a_worker_that_crashes_costs_its_file_only() {
        let pool = pool_of("read -r x; kill -SEGV $$");
        assert_eq!(error_of(&pool).await, ParseError::Crashed);
        assert_eq!(error_of(&pool).await, ParseError::Crashed);
    }

    #[tokio::test]
    async fn a_worker_without_memory_says_so() {
        let pool =
            pool_of("read -r x; echo memory allocation of 9 bytes failed >&2; kill -ABRT $$");
        assert_eq!(error_of(&pool).await, ParseError::OutOfMemory);
    }

    #[tokio::test]
    async fn short_text_is_read_without_a_worker() {
        let pool = ParsePool::new(
            WorkerProgram {
                program: "/nonexistent".into(),
                args: Vec::new(),
            },
            1,
        );
        let note = pool
            .parse("a.md", Arc::new(b"# Beans".to_vec()))
            .await
            .unwrap();
        assert_eq!(note.title, "Beans");
        assert!(matches!(error_of(&pool).await, ParseError::NoWorker { .. }));
        assert_eq!(
            pool.parse("a.pdf", Arc::new(Vec::new())).await.unwrap_err(),
            ParseError::Empty
        );
    }
}
