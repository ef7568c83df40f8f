//! An edge node and laptops on hosts of turmoil, ruled from outside between two steps of the simulation.
//!
//! Start at [`World::new`]; [`World::add_laptop`] brings real workspaces.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use satchel_edge_node::Server;
use satchel_edge_node::config::{Config, CreationMode, Limits};
use satchel_protocol::id::NodeFingerprint;
use satchel_protocol::link::NodeLink;
use satchel_sync::engine::{Action, Change, EdgePhase, EdgeStatus, Event, Status};
use satchel_sync::keys::DataKey;
use satchel_sync::member::{DeviceKeys, Role};
use satchel_sync::net::driver;
use satchel_sync::share;
use satchel_sync::workspace::{NewDocument, Workspace};
use tokio::sync::{Notify, mpsc};

use crate::line::Line;
use crate::random::Random;

/// Simulated time of one step, the grain of all delays between hosts.
const TICK: Duration = Duration::from_millis(5);
const PORT: u16 = 4747;
/// Name of the edge's host.
pub const EDGE: &str = "edge";

pub struct World {
    pub sim: turmoil::Sim<'static>,
    pub random: Random,
    pub line: Arc<Line>,
    pub dir: tempfile::TempDir,
    pub link: NodeLink,
    pub laptops: Vec<Laptop>,
    pub edge_runs: bool,
}

/// One laptop: what stays when its process ends, and its process.
pub struct Laptop {
    pub name: &'static str,
    running: Arc<Mutex<Option<Running>>>,
}

/// A change of the members by its ticket, and why it was not made.
type Answered = (u64, Result<(), String>);

#[derive(Clone)]
struct Files {
    dir: PathBuf,
    key: Arc<DataKey>,
}

/// What can be reached of a laptop's process from outside.
#[derive(Clone)]
pub struct Running {
    pub workspace: Arc<Workspace>,
    pub status: Arc<Mutex<Option<Status>>>,
    results: Arc<Mutex<Vec<Answered>>>,
    work: mpsc::Sender<driver::Work>,
}

impl World {
    /// A running edge, reached over a line that delays and nothing worse.
    pub fn new(seed: u64) -> Self {
        // Counts from here: before any host has a clock, so that none is behind it.
        assert!(driver::now().monotonic_ms > 0);
        let line = Line::new(seed);
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .tick_duration(TICK)
            .simulation_duration(Duration::MAX)
            .min_message_latency(Duration::from_millis(10))
            .max_message_latency(Duration::from_millis(150))
            .udp_capacity(1024)
            .enable_random_order()
            .build();
        let dir = folder();
        let config = edge_config(dir.path().join("edge"));
        let fingerprint: Arc<OnceLock<NodeFingerprint>> = Arc::default();
        let (told, socket) = (Arc::clone(&fingerprint), Arc::clone(&line));
        sim.host(EDGE, move || {
            let (config, told, socket) = (config.clone(), Arc::clone(&told), Arc::clone(&socket));
            async move {
                let open = |config, quic| socket.endpoint(PORT, config, Some(quic));
                let server = Server::bind_with(&config, open)?;
                assert_eq!(
                    server.fingerprint(),
                    *told.get_or_init(|| server.fingerprint())
                );
                server.serve(std::future::pending()).await?;
                Ok(())
            }
        });
        sim.step().unwrap();
        let address = std::net::SocketAddr::new(sim.lookup(EDGE), PORT);
        let link = NodeLink {
            address: address.to_string(),
            fingerprint: *fingerprint.get().unwrap(),
        };
        Self {
            sim,
            random: Random(seed),
            line,
            dir,
            link,
            laptops: Vec::new(),
            edge_runs: true,
        }
    }

    /// A world with laptops that share one workspace with one document, all up to date.
    pub fn with_laptops(seed: u64, names: &[&'static str]) -> Self {
        let mut world = Self::new(seed);
        for name in names {
            world.add_laptop(name);
        }
        world.settle(&[]);
        world
    }

    /// The first laptop begins the workspace; each further one is made a member by the first.
    pub fn add_laptop(&mut self, name: &'static str) {
        let dir = self.dir.path().join(name);
        let key = Arc::new(DataKey::random());
        let workspace = if self.laptops.is_empty() {
            let workspace = Arc::new(Workspace::create_in(&dir, &key, "Papers").unwrap());
            let begun = NewDocument::plain("Log", "The log.\n");
            workspace.put(vec![begun]).unwrap();
            share::found(&workspace, &self.link, "", "Ada", name, 0).unwrap();
            workspace
        } else {
            let device = DeviceKeys::random();
            let welcome = self.welcome(&device, name);
            share::join(&dir, &key, &device, &welcome).unwrap()
        };
        let files = Files {
            dir: workspace.dir().to_owned(),
            key,
        };
        drop(workspace);
        let running: Arc<Mutex<Option<Running>>> = Arc::default();
        let (shown, line) = (Arc::clone(&running), Arc::clone(&self.line));
        self.sim.host(name, move || {
            sync(files.clone(), Arc::clone(&shown), Arc::clone(&line))
        });
        let number = self.laptops.len();
        self.laptops.push(Laptop { name, running });
        self.until(
            Duration::from_secs(60),
            "the laptop's first contact",
            |world| {
                let status = world.status(number);
                status.is_some_and(|status| edge(&status).phase == EdgePhase::UpToDate)
            },
        );
    }

    /// Makes a device a member by the first laptop.
    fn welcome(&mut self, device: &DeviceKeys, label: &str) -> satchel_sync::member::Welcome {
        let first = self.laptops[0].running.lock().unwrap().clone().unwrap();
        let ticket = self.laptops.len() as u64;
        let change = Change::Add {
            public: device.public(),
            user: "Ada".into(),
            label: label.into(),
            role: Role::Owner,
        };
        let add: driver::Work = Box::new(move |_| vec![Event::Change { ticket, change }]);
        first.work.try_send(add).ok().unwrap();
        let results = Arc::clone(&first.results);
        self.until(Duration::from_secs(60), "the new member", |_| {
            let found = results.lock().unwrap().clone();
            assert!(found.iter().all(|(_, result)| result.is_ok()), "{found:?}");
            found.contains(&(ticket, Ok(())))
        });
        let welcome = Arc::new(Mutex::new(None));
        let told = Arc::clone(&welcome);
        let ask: driver::Work = Box::new(move |engine| {
            *told.lock().unwrap() = Some(engine.welcome(Role::Owner, "Papers".into()));
            Vec::new()
        });
        first.work.try_send(ask).ok().unwrap();
        self.until(Duration::from_secs(1), "the welcome", |_| {
            welcome.lock().unwrap().is_some()
        });
        welcome.lock().unwrap().take().unwrap()
    }

    pub fn status(&self, laptop: usize) -> Option<Status> {
        let running = self.laptops[laptop].running.lock().unwrap();
        running
            .as_ref()
            .and_then(|running| running.status.lock().unwrap().clone())
    }

    /// `None` while its process is down.
    pub fn workspace(&self, laptop: usize) -> Option<Arc<Workspace>> {
        let running = self.laptops[laptop].running.lock().unwrap();
        running
            .as_ref()
            .map(|running| Arc::clone(&running.workspace))
    }

    /// Ends a laptop's process as a power button does; disk work that has begun is finished.
    pub fn crash_laptop(&mut self, laptop: usize) {
        self.laptops[laptop].running.lock().unwrap().take();
        self.sim.crash(self.laptops[laptop].name);
    }

    pub fn start_laptop(&mut self, laptop: usize) {
        if self.laptops[laptop].running.lock().unwrap().is_none() {
            self.sim.bounce(self.laptops[laptop].name);
        }
    }

    /// As [`World::crash_laptop`].
    pub fn crash_edge(&mut self) {
        self.sim.crash(EDGE);
        self.edge_runs = false;
    }

    /// With the store that it had.
    pub fn start_edge(&mut self) {
        if !std::mem::replace(&mut self.edge_runs, true) {
            self.sim.bounce(EDGE);
        }
    }

    pub fn partition(&self, laptop: usize) {
        self.sim.partition(self.laptops[laptop].name, EDGE);
    }

    pub fn repair(&self, laptop: usize) {
        self.sim.repair(self.laptops[laptop].name, EDGE);
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            self.sim.step().unwrap();
        }
    }

    /// Runs until something holds; looks every 50 ms.
    pub fn until(&mut self, patience: Duration, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = self.sim.elapsed() + patience;
        while !holds(self) {
            assert!(
                self.sim.elapsed() < end,
                "waited {} s in vain for {what}\n{}",
                patience.as_secs(),
                self.describe(),
            );
            self.run(Duration::from_millis(50));
        }
    }

    /// Repairs everything, and waits until all laptops have the same documents with the same history and every word, and
    /// say that nothing is missing anywhere.
    pub fn settle(&mut self, words: &[String]) {
        self.start_edge();
        for laptop in 0..self.laptops.len() {
            self.start_laptop(laptop);
            self.repair(laptop);
            self.sim.release(self.laptops[laptop].name, EDGE);
        }
        // The longest wait between two attempts to connect is five minutes.
        let end = self.sim.elapsed() + Duration::from_secs(420);
        while let Some(difference) = self.difference(words) {
            assert!(
                self.sim.elapsed() < end,
                "waited in vain for all to be equal: {difference}\n{}",
                self.describe()
            );
            self.run(Duration::from_secs(1));
        }
    }

    /// Whether the edge has what this laptop wrote, and this laptop what the edge has.
    pub fn is_up_to_date(&self, laptop: usize) -> bool {
        self.status(laptop).is_some_and(|status| {
            let edge = edge(&status);
            let is_all_sent = status.unsent == 0 && status.uploads == 0 && edge.lacks == 0;
            let is_all_here = edge.behind == 0
                && status.waiting == 0
                && status.downloads == 0
                && !status.awaits_documents;
            edge.phase == EdgePhase::UpToDate && is_all_sent && is_all_here
        })
    }

    /// Adds a line to the shared document, or makes a new document; says what must be found again.
    pub fn write(&mut self, laptop: usize, word: &str) -> bool {
        let Some(workspace) = self.workspace(laptop) else {
            return false;
        };
        let documents = workspace.documents();
        let shared = documents.into_iter().find(|entry| entry.title == "Log");
        let new = match shared {
            Some(shared) if !self.random.chance(20) => {
                let Ok(text) = workspace.text(shared.id) else {
                    return false;
                };
                NewDocument {
                    existing: Some(shared.id),
                    ..NewDocument::plain("Log", format!("{text}{word}\n"))
                }
            }
            Some(_) => {
                let length = 1 + self.random.number(1500);
                let filling: String = (0..length)
                    .map(|_| format!("{:016x} ", self.random.next()))
                    .collect();
                NewDocument::plain(word, format!("{word}\n{filling}"))
            }
            None => return false,
        };
        workspace.put(vec![new]).unwrap();
        true
    }

    /// What is not as it should be on some laptop: not what the first has, or a word is not there exactly once.
    pub fn difference(&self, words: &[String]) -> Option<String> {
        let behind = |laptop: &usize| !self.is_up_to_date(*laptop);
        if let Some(laptop) = (0..self.laptops.len()).find(behind) {
            return Some(format!("{} is not up to date", self.laptops[laptop].name));
        }
        let mut first = None;
        for (number, laptop) in self.laptops.iter().enumerate() {
            let Some(found) = self.workspace(number).map(|workspace| state(&workspace)) else {
                return Some(format!("{} does not run", laptop.name));
            };
            let all: String = found
                .iter()
                .map(|document| document.text.as_str())
                .collect();
            for word in words {
                let count = all.matches(&format!("{word}\n")).count();
                if count != 1 {
                    return Some(format!("{} has {word} {count} times", laptop.name));
                }
            }
            if first.get_or_insert_with(|| found.clone()) != &found {
                return Some(format!("{} differs from the first laptop", laptop.name));
            }
        }
        None
    }

    pub fn describe(&self) -> String {
        let faults = self.line.faults();
        let mut text = format!(
            "after {:?}; {} datagrams, {} lost, {} doubled\n",
            self.sim.elapsed(),
            faults.sent,
            faults.lost,
            faults.doubled
        );
        for (number, laptop) in self.laptops.iter().enumerate() {
            text += &format!("{}: {:#?}\n", laptop.name, self.status(number));
        }
        text
    }
}

/// A document as it is compared: its id, its heads and its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    id: String,
    heads: Vec<String>,
    text: String,
}

fn state(workspace: &Workspace) -> Vec<State> {
    let mut states: Vec<State> = workspace
        .documents()
        .into_iter()
        .map(|entry| {
            // A document may arrive after the list that names it; it has no text and no history until then.
            let history = workspace.history(entry.id).unwrap_or_default();
            let heads = history.last().map(|version| version.heads.as_slice());
            let heads = heads.unwrap_or_default().iter();
            let mut heads: Vec<String> = heads.map(ToString::to_string).collect();
            heads.sort_unstable();
            State {
                id: entry.id.to_string(),
                heads,
                text: workspace.text(entry.id).unwrap_or_default(),
            }
        })
        .collect();
    states.sort_unstable();
    states
}

/// The one edge of a workspace.
pub fn edge(status: &Status) -> &EdgeStatus {
    &status.edges[0]
}

/// In memory where there is such a folder: only processes crash here, so what fsync costs would prove nothing.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn edge_config(dir: PathBuf) -> Config {
    Config {
        listen: "0.0.0.0:4747".parse().unwrap(),
        data_dir: Some(dir),
        creation: Some(CreationMode::Open),
        limits: Limits {
            disk_reserve_bytes: 0,
            disk_reserve_percent: 0,
            ..Limits::default()
        },
        ..Config::default()
    }
}

/// A laptop's process: opens its workspace from the disk and syncs it.
async fn sync(
    files: Files,
    shown: Arc<Mutex<Option<Running>>>,
    line: Arc<Line>,
) -> turmoil::Result {
    let (workspace, _) = Workspace::open(&files.dir, &files.key)?;
    let workspace = Arc::new(workspace);
    let engine = share::open_engine(&workspace, driver::now())?.unwrap();
    let wake = Arc::new(Notify::new());
    let waker = Arc::clone(&wake);
    workspace.wake_with(Some(Arc::new(move || waker.notify_one())));
    let (work, mut wanted) = mpsc::channel(8);
    let running = Running {
        workspace,
        status: Arc::new(Mutex::new(Some(engine.status()))),
        results: Arc::default(),
        work,
    };
    let (status, results) = (Arc::clone(&running.status), Arc::clone(&running.results));
    *shown.lock().unwrap() = Some(running);
    let report = move |engine: &share::WorkspaceEngine, actions: Vec<Action>| {
        *status.lock().unwrap() = Some(engine.status());
        for action in actions {
            if let Action::Changed { ticket, result } = action {
                results
                    .lock()
                    .unwrap()
                    .push((ticket, result.map(drop).map_err(|error| error.to_string())));
            }
        }
    };
    let sockets: Arc<driver::OpenSocket> =
        Arc::new(move |_| line.endpoint(0, quinn::EndpointConfig::default(), None));
    let stop = Notify::new();
    driver::run_with(sockets, engine, &wake, &stop, &mut wanted, report).await?;
    Ok(())
}
