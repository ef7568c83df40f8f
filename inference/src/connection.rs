//! One running worker, seen from the program: its process, its pipes, and who waits for what.
//!
//! Three tasks move bytes (to the worker, from it, and its standard error); they belong to the connection and end with
//! it. A connection never heals: once the worker is gone every request fails, and [`process_engine`](crate::process_engine) opens
//! another one. Start at [`Connection::open`].

use std::collections::HashMap;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::device::Device;
use crate::error::EngineError;
use crate::error_lines::ErrorLines;
use crate::frame::{self, FrameError, PIECE_BYTES};
use crate::handle::WorkerCommand;
use crate::protocol::{FromWorker, ToWorker};
use crate::request::{ModelInfo, ModelSpec};
use crate::worker_env::{EmptyDir, worker_env};

/// What the worker says about one request.
pub(crate) type Reply = FromWorker;

/// A worker that holds a model.
pub(crate) struct Connection {
    info: ModelInfo,
    link: Arc<Link>,
    stop: watch::Sender<bool>,
    /// Reading, writing, standard error. Dropping it ends them, and with them the process.
    tasks: Mutex<JoinSet<()>>,
}

impl Connection {
    /// Starts a worker and lets it load the model.
    pub(crate) async fn open(
        worker: &WorkerCommand,
        spec: &ModelSpec,
    ) -> Result<Self, EngineError> {
        // The worker lives in another folder, so a relative path would mean another file there.
        let spec = ModelSpec {
            path: std::path::absolute(&spec.path).unwrap_or_else(|_| spec.path.clone()),
            ..spec.clone()
        };
        let mut started = Started::spawn(worker)?;
        started.tell(&ToWorker::Load(spec)).await?;
        started.ready().await?;
        let info = match started.hear(LOAD_TIMEOUT, "loading the model").await? {
            FromWorker::Loaded(info) => info,
            FromWorker::LoadFailed(error) => return Err(error.into()),
            _ => {
                return Err(EngineError::Protocol {
                    reason: "an unexpected message while loading".into(),
                });
            }
        };
        Ok(started.into_connection(info))
    }

    /// Starts a worker only to ask what it can run on.
    pub(crate) async fn list_devices(worker: &WorkerCommand) -> Result<Vec<Device>, EngineError> {
        let mut started = Started::spawn(worker)?;
        started.tell(&ToWorker::Devices).await?;
        started.ready().await
    }

    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Whether the worker is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.link.lock().closed.is_some()
    }

    /// Hands a request over. The reply comes through the returned [`Request`]; dropping that cancels.
    pub(crate) fn send(
        &self,
        message: impl FnOnce(u64) -> ToWorker,
    ) -> Result<Request, EngineError> {
        self.send_with(&[], message)
    }

    /// As [`send`](Self::send), with bytes of any length, which go before it in pieces.
    pub(crate) fn send_with(
        &self,
        bytes: &[u8],
        message: impl FnOnce(u64) -> ToWorker,
    ) -> Result<Request, EngineError> {
        let id = self.link.next_id.fetch_add(1, Ordering::Relaxed);
        let last = frame::encode(&message(id)).map_err(not_encodable)?;
        let replies = self.link.expect_replies(id)?;
        for piece in bytes.chunks(PIECE_BYTES) {
            let bytes = piece.to_vec();
            let piece = ToWorker::Piece { id, bytes };
            let frame = frame::encode(&piece).map_err(not_encodable)?;
            self.link.outgoing.send(frame).ok();
        }
        // A failure means that the worker has just gone; the reader tells so through `replies`.
        self.link.outgoing.send(last).ok();
        Ok(Request {
            id,
            replies,
            link: Arc::clone(&self.link),
            finished: false,
        })
    }

    /// Ends the worker and waits until its memory is free.
    pub(crate) async fn end(&self) {
        self.stop.send_replace(true);
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.close(EngineError::Unloaded);
    }
}

/// One request under way. Dropping it tells the worker to stop.
pub(crate) struct Request {
    id: u64,
    replies: mpsc::UnboundedReceiver<Result<Reply, EngineError>>,
    link: Arc<Link>,
    finished: bool,
}

impl Request {
    /// The next message; `None` after the last one. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Reply, EngineError>> {
        if self.finished {
            return None;
        }
        let reply = self
            .replies
            .recv()
            .await
            .unwrap_or(Err(EngineError::Unloaded));
        let reply = reply.and_then(|reply| match reply {
            FromWorker::Failed { error, .. } => Err(error.into()),
            reply => Ok(reply),
        });
        self.finished = reply.as_ref().map_or(true, FromWorker::is_last);
        Some(reply)
    }

    /// The next message, which must come.
    pub(crate) async fn reply(&mut self) -> Result<Reply, EngineError> {
        self.next().await.unwrap_or(Err(EngineError::Unloaded))
    }

    /// Asks the worker to stop; its last message still comes.
    pub(crate) fn cancel(&self) {
        if let Ok(frame) = frame::encode(&ToWorker::Cancel { id: self.id }) {
            // Without a worker there is nothing to stop.
            self.link.outgoing.send(frame).ok();
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.finished {
            self.link.lock().waiting.remove(&self.id);
            self.cancel();
        }
    }
}

/// What requests need of a connection. Outlives it, so that a request can learn that it is gone.
struct Link {
    /// Unbounded: each waiting caller has one frame in it at most, or one conversation, and a cancellation of some bytes.
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    next_id: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Unbounded: what comes for one request is bounded by its `max_output_tokens`, and a slow reader of one answer must
    /// not hold up all others.
    waiting: HashMap<u64, mpsc::UnboundedSender<Result<Reply, EngineError>>>,
    /// Why the worker is gone.
    closed: Option<EngineError>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    fn expect_replies(
        &self,
        id: u64,
    ) -> Result<mpsc::UnboundedReceiver<Result<Reply, EngineError>>, EngineError> {
        let mut waiting = self.lock();
        if let Some(error) = &waiting.closed {
            return Err(error.clone());
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        waiting.waiting.insert(id, sender);
        Ok(receiver)
    }

    fn deliver(&self, reply: Reply) {
        let Some(id) = reply.request_id() else { return };
        let mut waiting = self.lock();
        let receiver = if reply.is_last() {
            waiting.waiting.remove(&id)
        } else {
            waiting.waiting.get(&id).cloned()
        };
        if let Some(receiver) = receiver {
            // Whoever asked may have gone a moment ago.
            receiver.send(Ok(reply)).ok();
        }
    }

    /// Fails everything that waits, and everything that comes later. The first reason stays.
    fn close(&self, error: EngineError) {
        let mut waiting = self.lock();
        for (_, receiver) in waiting.waiting.drain() {
            receiver.send(Err(error.clone())).ok();
        }
        waiting.closed.get_or_insert(error);
    }
}

/// A worker before it holds a model.
struct Started {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    errors: ErrorLines,
    tasks: JoinSet<()>,
}

impl Started {
    fn spawn(worker: &WorkerCommand) -> Result<Self, EngineError> {
        let failed = |reason: String| EngineError::Start {
            reason,
            program: worker.program.display().to_string(),
        };
        let program =
            std::path::absolute(&worker.program).map_err(|error| failed(error.to_string()))?;
        let empty_dir = EmptyDir::create();
        let mut child = Command::new(program)
            .args(&worker.args)
            .env_clear()
            .envs(worker_env())
            .current_dir(empty_dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        // The worker is in the folder by now; without a name in the file system nobody can put anything into it.
        drop(empty_dir);
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(failed("its pipes are missing".into()));
        };
        let mut tasks = JoinSet::new();
        let errors = ErrorLines::collect(stderr, &mut tasks);
        Ok(Self {
            child,
            stdin,
            stdout,
            errors,
            tasks,
        })
    }

    async fn tell(&mut self, message: &ToWorker) -> Result<(), EngineError> {
        let frame = frame::encode(message).map_err(not_encodable)?;
        match self.stdin.write_all(&frame).await {
            Ok(()) => Ok(()),
            Err(_) => Err(how_it_died(&mut self.child, &mut self.errors).await),
        }
    }

    async fn ready(&mut self) -> Result<Vec<Device>, EngineError> {
        match self.hear(READY_TIMEOUT, "starting").await? {
            FromWorker::Ready { devices } => Ok(devices),
            FromWorker::Unusable { reason } => Err(EngineError::Worker { reason }),
            _ => Err(EngineError::Protocol {
                reason: "an unexpected greeting".into(),
            }),
        }
    }

    async fn hear(
        &mut self,
        patience: Duration,
        doing: &'static str,
    ) -> Result<FromWorker, EngineError> {
        match tokio::time::timeout(patience, frame::read_async(&mut self.stdout)).await {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None) | Err(FrameError::Io(_))) => {
                Err(how_it_died(&mut self.child, &mut self.errors).await)
            }
            Ok(Err(error)) => Err(EngineError::Protocol {
                reason: error.to_string(),
            }),
            Err(_) => Err(EngineError::StartTimeout {
                doing,
                waited_s: patience.as_secs(),
            }),
        }
    }

    fn into_connection(self, info: ModelInfo) -> Connection {
        let Self {
            child,
            stdin,
            stdout,
            errors,
            mut tasks,
        } = self;
        let (outgoing, frames) = mpsc::unbounded_channel();
        let link = Arc::new(Link {
            outgoing,
            next_id: AtomicU64::new(1),
            waiting: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        tasks.spawn(write_frames(frames, stdin, stopped.clone()));
        tasks.spawn(read_replies(
            child,
            stdout,
            errors,
            Arc::clone(&link),
            info.gpu.as_ref().map(|gpu| gpu.device.clone()),
            stopped,
        ));
        Connection {
            info,
            link,
            stop,
            tasks: Mutex::new(tasks),
        }
    }
}

async fn write_frames(
    mut frames: mpsc::UnboundedReceiver<Vec<u8>>,
    mut stdin: ChildStdin,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let frame = tokio::select! {
            frame = frames.recv() => frame,
            () = told_to_stop(&mut stopped) => None,
        };
        let Some(frame) = frame else { return };
        if stdin.write_all(&frame).await.is_err() {
            // The worker is gone; the reader sees it too and says why.
            return;
        }
    }
}

/// Delivers what the worker says until it ends or is told to end. Owns the process.
async fn read_replies(
    mut child: Child,
    mut stdout: ChildStdout,
    mut errors: ErrorLines,
    link: Arc<Link>,
    gpu: Option<String>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut reason = loop {
        tokio::select! {
            message = frame::read_async::<FromWorker>(&mut stdout) => match message {
                Ok(Some(reply)) => link.deliver(reply),
                Ok(None) | Err(FrameError::Io(_)) => break how_it_died(&mut child, &mut errors).await,
                Err(error) => break EngineError::Protocol { reason: error.to_string() },
            },
            () = told_to_stop(&mut stopped) => break EngineError::Unloaded,
        }
    };
    if let EngineError::WorkerDied { gpu: at, .. } = &mut reason {
        *at = gpu;
    }
    link.close(reason);
    // Already dead, or not worth more: it holds nothing that could be lost.
    child.kill().await.ok();
}

/// Resolves when the connection is to end, also when it is simply gone.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    stopped.wait_for(|stop| *stop).await.ok();
}

/// Words for a worker whose pipe is closed.
async fn how_it_died(child: &mut Child, errors: &mut ErrorLines) -> EngineError {
    let status = match tokio::time::timeout(EXIT_PATIENCE, child.wait()).await {
        Ok(Ok(status)) => exit_in_words(status),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it closed its pipe".to_owned(),
    };
    EngineError::WorkerDied {
        how: status,
        last_line: errors.last_useful_line(EXIT_PATIENCE).await,
        gpu: None,
    }
}

fn exit_in_words(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal {
            4 => "illegal instruction: the processor code does not suit this machine".to_owned(),
            6 => "llama.cpp gave up".to_owned(),
            7 | 11 => "invalid memory access".to_owned(),
            9 => "killed, perhaps because memory ran out".to_owned(),
            other => format!("signal {other}"),
        };
    }
    status.to_string()
}

fn not_encodable(error: FrameError) -> EngineError {
    match error {
        FrameError::TooLarge { bytes } => EngineError::RequestTooLarge {
            bytes,
            max_bytes: frame::MAX_FRAME_BYTES,
        },
        other => EngineError::Protocol {
            reason: other.to_string(),
        },
    }
}

/// The data behind these locks is whole after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From start to the processor code being loaded: tens of milliseconds; drivers of some GPUs take seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// A model of 30 GB from a disk of 100 MB/s.
const LOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Between the end of the pipe and the end of the process. Death must be reported within a second.
const EXIT_PATIENCE: Duration = Duration::from_millis(300);
