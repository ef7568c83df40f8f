//! Runs the engine of the open workspace in the background, as long as connections are allowed.
//!
//! Decides nothing about documents. It starts, stops and starts anew, and passes on what the engine reports.
//! Start at [`SyncHost::open`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use satchel_sync::Workspace;
use satchel_sync::engine::{Action, Arrival, Change, ChangeError, Changed, Event};
use satchel_sync::net::driver::{self, REOPEN_AFTER, Work};
use satchel_sync::share::{self, WorkspaceEngine};
use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::report::{self, last_attempt_failed};
use crate::backend::failure;
use crate::backend::preferences::Preferences;
use crate::message::{Failure, FailureKind, SyncReport, SyncState};

/// What is asked of the engine at a time: each is done within milliseconds.
const QUEUE: usize = 64;
/// Arrivals that a slow listener may leave unread; it fetches everything anew then.
const ARRIVALS: usize = 64;
/// How long the end of a session may wait for what was written in it to be sent.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// The same where the last attempt to connect failed: enough for an edge that is there again, and not felt.
const SHORT_FLUSH_WAIT: Duration = Duration::from_millis(300);
/// How long the engine may take to answer, before what is known of it is told instead.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// A change of the members is ordered by the edge node, which may have to be reached first.
const CHANGE_WAIT: Duration = Duration::from_secs(40);

type ChangeResult = Result<Changed, ChangeError>;

/// Keeps one workspace equal with other laptops.
pub struct SyncHost {
    inner: Arc<Inner>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    workspace: Arc<Workspace>,
    settings: Arc<Preferences>,
    /// Something was written here.
    wake: Arc<Notify>,
    /// And it was in this session.
    has_written: Arc<AtomicBool>,
    /// The engine that runs is to end.
    stop: Notify,
    /// Whether to run is to be looked at anew.
    again: Notify,
    ended: AtomicBool,
    /// The user has this laptop leave: no engine may begin meanwhile.
    leaving: AtomicBool,
    /// The way to the engine, while it runs.
    work: watch::Sender<Option<mpsc::Sender<Work>>>,
    reports: watch::Sender<SyncReport>,
    arrivals: broadcast::Sender<Arrived>,
    results: Mutex<HashMap<u64, oneshot::Sender<ChangeResult>>>,
    requests: Mutex<HashMap<String, oneshot::Sender<bool>>>,
    tickets: AtomicU64,
    watchers: AtomicUsize,
}

/// What came from other laptops.
#[derive(Debug, Clone)]
pub struct Arrived(pub Arc<Arrival>);

impl Arrived {
    /// How many documents and chats are new, changed or removed.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let arrival = &self.0;
        (
            arrival.documents.len() + arrival.removed.len() + arrival.kept.len(),
            arrival.threads.len(),
        )
    }
}

/// Somebody watches for as long as it lives.
pub struct Watching(Arc<Inner>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl SyncHost {
    /// Reads what the sync of a workspace remembers, before anything is written into it.
    ///
    /// Blocks for milliseconds. What goes wrong is told in the report, and the workspace can be used as before.
    #[must_use]
    pub fn open(
        workspace: Arc<Workspace>,
        settings: Arc<Preferences>,
    ) -> (Self, Option<WorkspaceEngine>) {
        let (report, engine) = match share::open_engine(&workspace, driver::now()) {
            Ok(Some(engine)) => (
                report::of(&engine, settings.current().offline),
                Some(engine),
            ),
            Ok(None) => (report::not_shared(), None),
            Err(error) => (report::interrupted(None, &failure::words(&error)), None),
        };
        let inner = Inner {
            workspace,
            settings,
            wake: Arc::new(Notify::new()),
            has_written: Arc::default(),
            stop: Notify::new(),
            again: Notify::new(),
            ended: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            work: watch::Sender::new(None),
            reports: watch::Sender::new(report),
            arrivals: broadcast::Sender::new(ARRIVALS),
            results: Mutex::default(),
            requests: Mutex::default(),
            tickets: AtomicU64::new(1),
            watchers: AtomicUsize::new(0),
        };
        let host = Self {
            inner: Arc::new(inner),
            task: Mutex::new(None),
        };
        (host, engine)
    }

    /// Runs in the background from now on. Must be called within the runtime, once.
    pub fn start(&self, engine: Option<WorkspaceEngine>) {
        let wake = Arc::clone(&self.inner.wake);
        let has_written = Arc::clone(&self.inner.has_written);
        self.inner.workspace.wake_with(Some(Arc::new(move || {
            has_written.store(true, Ordering::Release);
            wake.notify_one();
        })));
        let task = tokio::spawn(keep_running(Arc::clone(&self.inner), engine));
        *lock(&self.task) = Some(task);
    }

    /// The workspace has just been shared.
    pub async fn begin(&self) {
        let mut reports = self.reports();
        self.inner.again.notify_one();
        let shared = reports.wait_for(|report| report.state != SyncState::NotShared);
        // It says by itself why it does not begin.
        drop(tokio::time::timeout(ANSWER_WAIT, shared).await);
    }

    /// Stops sharing the workspace on this laptop. Its documents stay.
    ///
    /// # Errors
    /// When it is not shared, or the disk refuses.
    pub async fn leave(&self) -> Result<(), Failure> {
        if self.inner.reports.borrow().state == SyncState::NotShared {
            return Err(self.not_running());
        }
        self.inner.leaving.store(true, Ordering::Release);
        self.inner.stop.notify_one();
        let mut work = self.inner.work.subscribe();
        // An engine that does not end in time has the file open still; the file is laid aside all the same.
        drop(tokio::time::timeout(ANSWER_WAIT, work.wait_for(Option::is_none)).await);
        let workspace = Arc::clone(&self.inner.workspace);
        let left = tokio::task::spawn_blocking(move || share::leave(&workspace)).await;
        let mut reports = self.reports();
        reports.borrow_and_update();
        self.inner.leaving.store(false, Ordering::Release);
        self.inner.again.notify_one();
        left.map_err(failure::of_panic)?
            .map_err(|error| Failure::general(failure::words(&error)))?;
        let alone = reports.wait_for(|report| report.state == SyncState::NotShared);
        drop(tokio::time::timeout(ANSWER_WAIT, alone).await);
        Ok(())
    }

    /// Connections may be allowed now, or forbidden.
    pub fn settings_changed(&self) {
        self.inner.again.notify_one();
        if self.inner.settings.current().offline {
            self.inner.stop.notify_one();
        }
    }

    /// What was reported last, and what will be.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<SyncReport> {
        self.inner.reports.subscribe()
    }

    /// What arrives from now on.
    #[must_use]
    pub fn arrivals(&self) -> broadcast::Receiver<Arrived> {
        self.inner.arrivals.subscribe()
    }

    /// Counts a face that shows what arrives.
    #[must_use]
    pub fn watching(&self) -> Watching {
        self.inner.watchers.fetch_add(1, Ordering::AcqRel);
        Watching(Arc::clone(&self.inner))
    }

    /// Whether a face shows what arrives, so that it is worth preparing it for searching by meaning.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.inner.watchers.load(Ordering::Acquire) > 0
    }

    /// How it stands at this moment.
    pub async fn fresh(&self) -> SyncReport {
        let offline = self.inner.settings.current().offline;
        let asked = self.with_engine(move |engine| (report::of(engine, offline), Vec::new()));
        let known = || self.inner.reports.borrow().clone();
        match tokio::time::timeout(ANSWER_WAIT, asked).await {
            Ok(Ok(report)) => {
                self.inner.reports.send_replace(report.clone());
                report
            }
            _ => known(),
        }
    }

    /// Asks something of the running engine; the events are taken in next.
    ///
    /// # Errors
    /// When it does not run, in words that say why.
    pub async fn with_engine<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut WorkspaceEngine) -> (T, Vec<Event>) + Send + 'static,
    ) -> Result<T, Failure> {
        let (sender, receiver) = oneshot::channel();
        let job: Work = Box::new(move |engine| {
            let (answer, events) = work(engine);
            // Who asked may have gone meanwhile.
            sender.send(answer).ok();
            events
        });
        let queue = self.queue().await.ok_or_else(|| self.not_running())?;
        queue.send(job).await.map_err(|_| self.not_running())?;
        receiver.await.map_err(|_| self.not_running())
    }

    /// Changes the membership, and waits until the edge node has put the change in order.
    ///
    /// # Errors
    /// When no edge can be reached, or the change is not allowed.
    pub async fn change(&self, change: Change) -> Result<Changed, Failure> {
        let ticket = self.inner.tickets.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.inner.results).insert(ticket, sender);
        let asked = self.with_engine(move |engine| {
            engine.retry_now();
            ((), vec![Event::Tick, Event::Change { ticket, change }])
        });
        let changed = async {
            asked.await?;
            receiver.await.map_err(|_| self.not_running())
        };
        let result = tokio::time::timeout(CHANGE_WAIT, changed).await;
        lock(&self.inner.results).remove(&ticket);
        match result {
            Ok(result) => result?.map_err(|error| failure::of_change(&error)),
            Err(_) => Err(Failure::new(
                FailureKind::Offline,
                "the edge node did not answer; the change may still be made when it is reached",
            )
            .with_hint("`satchel sync status` says how the connection stands.")),
        }
    }

    /// Has what was written sent without gathering more, where a connection is there: somebody watches it being written.
    pub fn send_soon(&self) {
        let job: Work = Box::new(|engine| {
            engine.flush_soon();
            vec![Event::Tick]
        });
        if let Some(queue) = &*self.inner.work.borrow() {
            // Where the engine has much to do, what was written goes with the next round.
            queue.try_send(job).ok();
        }
    }

    /// Waits for the user's answer to a pairing.
    #[must_use]
    pub fn ask_user(&self, request: &str) -> oneshot::Receiver<bool> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.inner.requests).insert(request.to_owned(), sender);
        receiver
    }

    /// Nobody needs to answer any more.
    pub fn forget_request(&self, request: &str) {
        lock(&self.inner.requests).remove(request);
    }

    /// The user's answer to a pairing.
    ///
    /// # Errors
    /// When nobody waits for it.
    pub fn answer_request(&self, request: &str, accept: bool) -> Result<(), Failure> {
        let waiting = lock(&self.inner.requests).remove(request);
        let sent = waiting.and_then(|waiting| waiting.send(accept).ok());
        sent.ok_or_else(|| {
            Failure::new(FailureKind::NotFound, "this pairing has ended meanwhile")
                .with_hint("Begin again with a new code.")
        })
    }

    /// The way to the engine; waits for one that is just starting.
    async fn queue(&self) -> Option<mpsc::Sender<Work>> {
        let can_start = {
            let report = self.inner.reports.borrow();
            let is_at_rest = matches!(report.state, SyncState::NotShared | SyncState::Forbidden);
            report.problem.is_none() && !is_at_rest && !self.inner.has_ended()
        };
        let mut work = self.inner.work.subscribe();
        if can_start {
            let running = work.wait_for(Option::is_some);
            // Without one, the report says why.
            drop(tokio::time::timeout(ANSWER_WAIT, running).await);
        }
        work.borrow().clone()
    }

    fn not_running(&self) -> Failure {
        report::why_not_running(&self.inner.reports.borrow())
    }

    /// Sends what was written in this session, for two seconds at most and only where a connection makes sense, and ends.
    pub async fn close(&self) {
        let Some(task) = lock(&self.task).take() else {
            return;
        };
        if self.inner.has_written.load(Ordering::Acquire) {
            self.flush().await;
        }
        self.inner.end();
        if let Err(error) = task.await {
            tracing::warn!(%error, "the sync crashed");
        }
        self.inner.workspace.wake_with(None);
    }

    async fn flush(&self) {
        let failed = last_attempt_failed(&self.inner.reports.borrow());
        let until = Instant::now() + if failed { SHORT_FLUSH_WAIT } else { FLUSH_WAIT };
        while Instant::now() < until {
            let asked = self.with_engine(|engine| {
                engine.flush_soon();
                (report::needs_sending(&engine.status()), vec![Event::Tick])
            });
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, asked).await {
                Ok(Ok(true)) => tokio::time::sleep(Duration::from_millis(20)).await,
                _ => return,
            }
        }
    }
}

impl Drop for SyncHost {
    fn drop(&mut self) {
        self.inner.end();
    }
}

impl Inner {
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.stop.notify_one();
        self.again.notify_one();
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn take_in(&self, engine: &WorkspaceEngine, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Arrived(arrival) => {
                    // Nobody may be listening.
                    self.arrivals.send(Arrived(Arc::new(arrival))).ok();
                }
                Action::Changed { ticket, result } => {
                    if let Some(waiting) = lock(&self.results).remove(&ticket) {
                        // Who asked may have gone meanwhile.
                        waiting.send(result).ok();
                    }
                }
                _ => {}
            }
        }
        self.reports
            .send_replace(report::of(engine, self.settings.current().offline));
    }
}

/// Runs the engine whenever there is one and connections are allowed, until the end.
async fn keep_running(inner: Arc<Inner>, mut opened: Option<WorkspaceEngine>) {
    while !inner.has_ended() {
        if inner.leaving.load(Ordering::Acquire) {
            inner.again.notified().await;
            continue;
        }
        let engine = match opened.take() {
            Some(engine) => Ok(Some(engine)),
            None => open(&inner).await,
        };
        match engine {
            Ok(Some(engine)) if inner.settings.current().offline => {
                inner.reports.send_replace(report::of(&engine, true));
                drop(engine);
                inner.again.notified().await;
            }
            Ok(Some(engine)) => {
                if let Err(words) = run(&inner, engine).await {
                    tracing::warn!(%words, "the sync was interrupted");
                    inner.interrupted(&words);
                    inner.pause().await;
                }
            }
            Ok(None) => {
                inner.reports.send_replace(report::not_shared());
                inner.again.notified().await;
            }
            Err(words) => {
                inner.interrupted(&words);
                inner.pause().await;
            }
        }
    }
}

impl Inner {
    fn interrupted(&self, words: &str) {
        self.reports.send_modify(|report| {
            let status = report.status.take();
            *report = report::interrupted(status, words);
        });
    }

    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(REOPEN_AFTER) => {}
            () = self.again.notified() => {}
        }
    }
}

async fn open(inner: &Arc<Inner>) -> Result<Option<WorkspaceEngine>, String> {
    let workspace = Arc::clone(&inner.workspace);
    let opening =
        tokio::task::spawn_blocking(move || share::open_engine(&workspace, driver::now()));
    match opening.await {
        Ok(opened) => opened.map_err(|error| failure::words(&error)),
        Err(panic) => Err(panic.to_string()),
    }
}

async fn run(inner: &Arc<Inner>, engine: WorkspaceEngine) -> Result<(), String> {
    let (queue, mut work) = mpsc::channel(QUEUE);
    inner.reports.send_replace(report::of(&engine, false));
    inner.work.send_replace(Some(queue));
    let listening = Arc::clone(inner);
    let report = move |engine: &WorkspaceEngine, actions| listening.take_in(engine, actions);
    let ended = driver::run(engine, &inner.wake, &inner.stop, &mut work, report).await;
    inner.work.send_replace(None);
    lock(&inner.results).clear();
    ended.map_err(|error| failure::words(&error))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
