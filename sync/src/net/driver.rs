//! Runs the engine of a workspace over QUIC: clocks, connections, requests. Decides nothing.
//!
//! Tasks live in this module's own set and end with it. Start at [`run`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::Endpoint;
use satchel_protocol::frame::Request;
use satchel_protocol::id::{MailboxId, NodeFingerprint};
use satchel_protocol::link::NodeLink;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::{Answers, ConnectError, EdgeClient, open_socket};
use crate::engine::{Action, Event, Now, RequestId};
use crate::share::WorkspaceEngine;

/// Events that wait for the engine. A full queue slows the connections down, as it should.
const QUEUE: usize = 1024;
/// How long an address is looked up and connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// After the disk refused, the engine is opened anew after so long.
pub const REOPEN_AFTER: Duration = Duration::from_secs(20);

/// What whoever runs an engine may ask of it while it runs. The events that it gives are taken in next, and what they
/// lead to is performed and reported like everything else.
pub type Work = Box<dyn FnOnce(&mut WorkspaceEngine) -> Vec<Event> + Send>;

/// Opens a UDP socket to reach a node at an address: [`open_socket`] does on this machine.
pub type OpenSocket = dyn Fn(SocketAddr) -> std::io::Result<Endpoint> + Send + Sync;

/// The clocks now. Monotonic time counts from the first call in this process, by the clock of the tokio runtime that
/// it is called in, so that a simulation of time rules it.
#[must_use]
pub fn now() -> Now {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        // From 1 on, so that 0 is always past.
        monotonic_ms: elapsed.as_millis() as u64 + 1,
        wall_ms: wall.map_or(0, |wall| {
            i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
        }),
    }
}

/// Runs an engine until `stop` is notified or the disk refuses.
///
/// `wake` is notified when something was written here. `work` is done between two steps. Actions that are no business
/// of the network are handed to `report`, with the engine as it is then.
///
/// # Errors
/// What the disk said. The engine is gone then: open it anew, after [`REOPEN_AFTER`].
pub async fn run(
    engine: WorkspaceEngine,
    wake: &Notify,
    stop: &Notify,
    work: &mut mpsc::Receiver<Work>,
    report: impl Fn(&WorkspaceEngine, Vec<Action>) + Send + Sync + 'static,
) -> Result<(), crate::engine::EngineError> {
    run_with(Arc::new(open_socket), engine, wake, stop, work, report).await
}

/// As [`run`], through sockets and a runtime of the caller's choice.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    sockets: Arc<OpenSocket>,
    engine: WorkspaceEngine,
    wake: &Notify,
    stop: &Notify,
    work: &mut mpsc::Receiver<Work>,
    report: impl Fn(&WorkspaceEngine, Vec<Action>) + Send + Sync + 'static,
) -> Result<(), crate::engine::EngineError> {
    let mailbox = engine.mailbox();
    let engine = Arc::new(Mutex::new(engine));
    let report = Arc::new(report);
    let (events, mut arriving) = mpsc::channel(QUEUE);
    let mut connections = Connections {
        sockets,
        mailbox,
        events,
        open: HashMap::new(),
        tasks: JoinSet::new(),
        next_generation: 0,
    };
    let mut gathered = vec![(0, Event::Tick)];
    let mut jobs: Vec<Work> = Vec::new();
    loop {
        let events = connections.current(std::mem::take(&mut gathered));
        jobs.extend(connections.clocks(&events));
        let (shared, report) = (Arc::clone(&engine), Arc::clone(&report));
        let doing = std::mem::take(&mut jobs);
        let stepped = tokio::task::spawn_blocking(move || step(&shared, events, doing, &*report));
        let (actions, wake_at_ms) = match stepped.await {
            Ok(result) => result?,
            // Only our own bug can panic in there.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        for action in actions {
            connections.perform(action);
        }
        let timer = async {
            match wake_at_ms {
                Some(at) => {
                    let wait_ms = at.saturating_sub(now().monotonic_ms).max(5);
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.notified() => return Ok(()),
            received = arriving.recv_many(&mut gathered, QUEUE) => if received == 0 { return Ok(()) },
            () = wake.notified() => gathered.push((0, Event::Tick)),
            () = timer => gathered.push((0, Event::Tick)),
            Some(job) = work.recv() => { jobs.push(job); gathered.push((0, Event::Tick)); }
            Some(_) = connections.tasks.join_next(), if !connections.tasks.is_empty() => {}
        }
    }
}

type Stepped = (Vec<Action>, Option<u64>);

fn step(
    engine: &Mutex<WorkspaceEngine>,
    mut events: Vec<Event>,
    jobs: Vec<Work>,
    report: &(impl Fn(&WorkspaceEngine, Vec<Action>) + Send + Sync),
) -> Result<Stepped, crate::engine::EngineError> {
    let mut engine = engine.lock().unwrap_or_else(PoisonError::into_inner);
    for job in jobs {
        events.extend(job(&mut engine));
    }
    let (mut outside, mut inside) = (Vec::new(), Vec::new());
    for event in events {
        for action in engine.step(event, now())? {
            match action {
                Action::Arrived(_) | Action::Changed { .. } | Action::StatusChanged => {
                    inside.push(action);
                }
                action => outside.push(action),
            }
        }
    }
    if !inside.is_empty() {
        report(&engine, inside);
    }
    Ok((outside, engine.wake_at_ms()))
}

/// Events carry the generation of their connection; 0 belongs to none.
type Numbered = (u64, Event);

struct Connections {
    sockets: Arc<OpenSocket>,
    mailbox: MailboxId,
    events: mpsc::Sender<Numbered>,
    open: HashMap<NodeFingerprint, Open>,
    tasks: JoinSet<()>,
    next_generation: u64,
}

struct Open {
    generation: u64,
    client: Arc<tokio::sync::OnceCell<Arc<EdgeClient>>>,
    connecting: AbortHandle,
    requests: HashMap<RequestId, AbortHandle>,
    /// Ends when the entry before the next one has been written to the connection.
    turn: Option<oneshot::Receiver<()>>,
}

impl Connections {
    /// Leaves out what connections have to say that were given up meanwhile.
    fn current(&self, events: Vec<Numbered>) -> Vec<Event> {
        let generations: Vec<u64> = self.open.values().map(|open| open.generation).collect();
        events
            .into_iter()
            .filter(|(generation, _)| *generation == 0 || generations.contains(generation))
            .map(|(_, event)| event)
            .collect()
    }

    /// Has the engine compare this device's clock with those of edges that have just said theirs.
    fn clocks(&self, events: &[Event]) -> Vec<Work> {
        let connected = events.iter().filter_map(|event| match event {
            Event::Connected { edge, .. } => self.open.get(edge)?.client.get(),
            _ => None,
        });
        connected
            .map(|client| {
                let edge_ms = client.limits().time_ms;
                let work: Work = Box::new(move |engine| {
                    if let Err(error) = engine.note_clock(edge_ms, now()) {
                        // The step that follows meets the same disk, and says so.
                        tracing::debug!(%error, "what the clocks say was not kept");
                    }
                    Vec::new()
                });
                work
            })
            .collect()
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Connect(link) => self.connect(link),
            Action::Disconnect(edge) => self.disconnect(&edge),
            Action::Send {
                edge,
                request,
                message,
            } => self.send(edge, request, *message),
            Action::Cancel { edge, request } => {
                if let Some(open) = self.open.get_mut(&edge)
                    && let Some(task) = open.requests.remove(&request)
                {
                    task.abort();
                }
            }
            Action::Arrived(_) | Action::Changed { .. } | Action::StatusChanged => {}
        }
    }

    fn connect(&mut self, link: NodeLink) {
        self.disconnect(&link.fingerprint);
        self.next_generation += 1;
        let generation = self.next_generation;
        let client = Arc::new(tokio::sync::OnceCell::new());
        let (cell, events, mailbox) = (Arc::clone(&client), self.events.clone(), self.mailbox);
        let (edge, sockets) = (link.fingerprint, Arc::clone(&self.sockets));
        let connecting = self.tasks.spawn(async move {
            let ended = match connect(&link, &*sockets).await {
                Ok(connected) => {
                    let connected = Arc::new(connected);
                    let binding = connected.binding(mailbox);
                    // Set once: the task is the only one that does.
                    cell.set(Arc::clone(&connected)).ok();
                    let event = Event::Connected { edge, binding };
                    if events.send((generation, event)).await.is_err() {
                        return;
                    }
                    let reason = connected.closed().await.to_string();
                    Event::Disconnected {
                        edge,
                        reason,
                        retry: true,
                    }
                }
                Err((reason, retry)) => Event::Disconnected {
                    edge,
                    reason,
                    retry,
                },
            };
            // Nobody listens any more where the engine has ended.
            events.send((generation, ended)).await.ok();
        });
        self.open.insert(
            edge,
            Open {
                generation,
                client,
                connecting,
                requests: HashMap::new(),
                turn: None,
            },
        );
    }

    fn disconnect(&mut self, edge: &NodeFingerprint) {
        if let Some(open) = self.open.remove(edge) {
            open.connecting.abort();
            open.requests.values().for_each(AbortHandle::abort);
        }
    }

    fn send(&mut self, edge: NodeFingerprint, request: RequestId, message: Request) {
        let Some(open) = self.open.get_mut(&edge) else {
            return;
        };
        let Some(client) = open.client.get().map(Arc::clone) else {
            return;
        };
        let (events, generation) = (self.events.clone(), open.generation);
        open.requests.retain(|_, task| !task.is_finished());
        // Entries go one after the other, so that the node stores them in the order in which they were made, and
        // whoever reads them can use each at once. Their answers are waited for side by side.
        let (written, next) = oneshot::channel();
        let is_entry = matches!(message, Request::Append { .. } | Request::Pack { .. });
        let turn = is_entry.then(|| open.turn.replace(next)).flatten();
        let task = self.tasks.spawn(async move {
            if let Some(turn) = turn {
                // The task before this one may have been given up: its turn has come all the same.
                turn.await.ok();
            }
            let asked = client.ask(&message).await;
            drop(written);
            let error = match asked {
                Ok(answers) => hand_on(answers, edge, request, &events, generation).await,
                Err(error) => Err(error.to_string()),
            };
            let event = Event::Ended {
                edge,
                request,
                error: error.err(),
            };
            // Nobody listens any more where the engine has ended.
            events.send((generation, event)).await.ok();
        });
        open.requests.insert(request, task);
    }
}

async fn hand_on(
    mut answers: Answers,
    edge: NodeFingerprint,
    request: RequestId,
    events: &mpsc::Sender<Numbered>,
    generation: u64,
) -> Result<(), String> {
    while let Some(answer) = answers.next().await.map_err(|error| error.to_string())? {
        let event = Event::Answered {
            edge,
            request,
            answer,
        };
        if events.send((generation, event)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A connection to the node of a link, or why there is none and whether trying again by itself makes sense.
pub(super) async fn connect(
    link: &NodeLink,
    open_socket: impl Fn(SocketAddr) -> std::io::Result<Endpoint>,
) -> Result<EdgeClient, (String, bool)> {
    let connecting = async {
        let mut addresses = tokio::net::lookup_host(&link.address)
            .await
            .map_err(|error| (format!("{} is not found: {error}", link.address), true))?;
        let address = addresses
            .next()
            .ok_or_else(|| (format!("{} is not found", link.address), true))?;
        let connected = match open_socket(address) {
            Ok(endpoint) => EdgeClient::connect_with(endpoint, address, link.fingerprint).await,
            Err(error) => Err(ConnectError::Socket(error)),
        };
        connected.map_err(|error| (words_of(&error), is_passing(&error)))
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(result) => result,
        Err(_) => Err((
            format!(
                "no edge node answers at {}: check that it runs and that UDP may pass",
                link.address
            ),
            true,
        )),
    }
}

fn is_passing(error: &ConnectError) -> bool {
    !matches!(
        error,
        ConnectError::WrongFingerprint { .. } | ConnectError::Version | ConnectError::Tls(_)
    )
}

fn words_of(error: &ConnectError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        words = format!("{words}: {inner}");
        source = inner.source();
    }
    words
}
