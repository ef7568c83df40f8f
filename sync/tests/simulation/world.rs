//! Devices, edges and a network that loses, delays, reorders and repeats, all from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{Answer, Request};
use satchel_protocol::id::{MailboxId, NodeFingerprint};
use satchel_protocol::link::NodeLink;
use satchel_sync::WorkspaceId;
use satchel_sync::engine::{
    Action, Change, ChangeError, Changed, Engine, EngineError, Event, Founding, MemoryStore, Now,
    RequestId, Row, StoreError, SyncStore, control_row, first_rows,
};
use satchel_sync::entry::{DocKey, DocKind};
use satchel_sync::member::{ControlLog, DeviceKeys, EpochSecrets, Keyring, Role};

use crate::documents::SimDocuments;
use crate::edge::{Mailbox, Session, SimEdge};
use crate::random::Random;

pub type SimEngine = Engine<SimDocuments, SimStore>;

/// Rows in memory, with a disk that may refuse: shared by one process after the other.
#[derive(Clone, Default)]
pub struct SimStore {
    pub rows: std::rc::Rc<std::cell::RefCell<MemoryStore>>,
    pub fail_after: std::rc::Rc<std::cell::RefCell<Option<u32>>>,
}

impl SyncStore for SimStore {
    fn load(&mut self) -> Result<Vec<(satchel_sync::engine::Key, Vec<u8>)>, StoreError> {
        self.rows.borrow_mut().load()
    }

    fn commit(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        if let Some(left) = self.fail_after.borrow_mut().as_mut() {
            if *left == 0 {
                return Err(StoreError("the disk is full".into()));
            }
            *left -= 1;
        }
        self.rows.borrow_mut().commit(rows)
    }
}

/// What a malicious edge does with one request instead of serving it: its answers, and whether they end.
pub type Instead = Box<dyn FnMut(usize, &Request) -> Option<(Vec<Answer>, bool)>>;
/// What it makes of one answer to a device.
pub type Twist = Box<dyn FnMut(usize, Answer) -> Vec<Answer>>;

/// What makes an edge a malicious one.
#[derive(Default)]
pub struct Tricks {
    pub instead: Option<Instead>,
    pub twist: Option<Twist>,
    /// Devices that are served from another store.
    pub forks: BTreeMap<(usize, NodeFingerprint), SimEdge>,
}

/// What people call things: an edge must see nothing of it.
#[derive(Clone)]
pub struct Names {
    pub workspace: WorkspaceId,
    pub title: String,
    pub user: String,
    pub label: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            workspace: WorkspaceId([7; 16]),
            title: "Papers".into(),
            user: "Ada".into(),
            label: "Laptop".into(),
        }
    }
}

struct Line {
    session: Session,
    requests: Vec<(RequestId, Request)>,
    answers: VecDeque<Event>,
    follow: Option<(RequestId, MailboxId, u64, bool)>,
    /// How long the control log was when the follower was last told.
    told_control: usize,
}

pub struct Device {
    pub documents: SimDocuments,
    pub store: SimStore,
    pub engine: Option<SimEngine>,
    pub keys: DeviceKeys,
    lines: BTreeMap<NodeFingerprint, Line>,
    pub results: Vec<(u64, Result<Changed, ChangeError>)>,
}

pub struct World {
    pub random: Random,
    pub now_ms: u64,
    pub edges: BTreeMap<NodeFingerprint, SimEdge>,
    pub devices: Vec<Device>,
    pub links: Vec<NodeLink>,
    /// Edges that a device cannot reach now.
    pub cut: BTreeSet<(usize, NodeFingerprint)>,
    /// Answers of different requests come in any order, as they may over QUIC. Whether a trick is noticed depends on the
    /// order, so worlds with tricks leave it out.
    pub answers_overtake: bool,
    pub tricks: Tricks,
    pub names: Names,
    bindings: u8,
}

pub const DOCS: u8 = 4;

/// A document, or (0) the index.
pub fn doc(number: u8) -> DocKey {
    match number {
        0 => DocKey::INDEX,
        number => DocKey {
            kind: DocKind::Document,
            id: [number; 16],
        },
    }
}

impl World {
    /// A workspace on `devices` devices, all of them members and none connected yet.
    pub fn new(seed: u64, devices: usize, edges: u8) -> Self {
        Self::named(seed, devices, edges, Names::default())
    }

    pub fn named(seed: u64, devices: usize, edges: u8, names: Names) -> Self {
        let links: Vec<NodeLink> = (1..=edges)
            .map(|number| NodeLink {
                address: format!("edge{number}.example:4747"),
                fingerprint: NodeFingerprint([number; 32]),
            })
            .collect();
        let mut world = Self {
            random: Random(seed),
            now_ms: 1,
            edges: links
                .iter()
                .map(|link| (link.fingerprint, SimEdge::default()))
                .collect(),
            devices: Vec::new(),
            links,
            cut: BTreeSet::new(),
            tricks: Tricks::default(),
            answers_overtake: false,
            names,
            bindings: 0,
        };
        world.found();
        for _ in 1..devices {
            world.join(Role::Owner);
        }
        world
    }

    fn found(&mut self) {
        let keys = self.random.device_keys();
        let Names {
            workspace,
            user,
            label,
            ..
        } = self.names.clone();
        let (control, keyring, policy, draft) =
            ControlLog::begin(workspace, &keys, &user, &label, 0).unwrap();
        let founding = Founding {
            workspace,
            mailbox: policy.mailbox().to_string(),
            policy_public: hex(&policy.public()),
            genesis: hex(&control.genesis_hash()),
            edges: self.links.iter().map(ToString::to_string).collect(),
            joined: false,
            invitation: String::new(),
            moved: false,
        };
        let mut rows = first_rows(&founding, &keys, &keyring, Some(&policy), false);
        rows.push(control_row(0, &draft.record, None));
        let number = self.add(keys, rows, false);
        self.devices[number].documents.write(DocKey::INDEX, "begun");
    }

    pub fn add(&mut self, keys: DeviceKeys, rows: Vec<Row>, joined: bool) -> usize {
        let device = Device {
            documents: SimDocuments::default(),
            store: SimStore::default(),
            engine: None,
            keys,
            lines: BTreeMap::new(),
            results: Vec::new(),
        };
        device.store.rows.borrow_mut().commit(rows).unwrap();
        device.documents.0.borrow_mut().awaits_index = joined;
        self.devices.push(device);
        let number = self.devices.len() - 1;
        self.restart(number);
        number
    }

    /// Adds a device by way of the first one, which needs its edge for that.
    pub fn join(&mut self, role: Role) -> usize {
        let keys = self.random.device_keys();
        let change = Change::Add {
            public: keys.public(),
            user: self.names.user.clone(),
            label: format!("{} {}", self.names.label, self.devices.len() + 1),
            role,
        };
        self.change(0, change).unwrap();
        let welcome = self.engine(0).welcome(role, self.names.title.clone());
        let founding = Founding {
            workspace: welcome.workspace,
            mailbox: welcome.mailbox.to_string(),
            policy_public: hex(&welcome.policy_public),
            genesis: hex(&welcome.genesis_hash),
            edges: welcome.edges.clone(),
            joined: true,
            invitation: String::new(),
            moved: false,
        };
        let mut keyring = Keyring::new();
        let secrets = &welcome.secrets;
        keyring.insert(match role {
            Role::Reader => EpochSecrets::new(secrets.id(), *secrets.expose_secret(), None),
            _ => secrets.duplicate(),
        });
        let policy = welcome.policy.as_ref().filter(|_| role == Role::Owner);
        let rows = first_rows(&founding, &keys, &keyring, policy, true);
        self.add(keys, rows, true)
    }

    /// Changes the membership and runs the world until that is done.
    pub fn change(&mut self, device: usize, change: Change) -> Result<Changed, ChangeError> {
        let ticket = self.random.next();
        for _ in 0..2_000 {
            self.deliver_any();
            self.tick();
            let is_live = self.devices[device].engine.as_ref().is_some_and(|engine| {
                engine.status().edges[0].phase == satchel_sync::engine::EdgePhase::UpToDate
            });
            if is_live {
                break;
            }
        }
        self.step(device, Event::Change { ticket, change });
        for _ in 0..2_000 {
            self.deliver_any();
            let results = &mut self.devices[device].results;
            if let Some(at) = results.iter().position(|(found, _)| *found == ticket) {
                return results.swap_remove(at).1;
            }
            self.tick();
        }
        let engine = self.devices[device].engine.as_ref().unwrap();
        panic!(
            "a change of the membership was never answered: {:#?} {:?}",
            engine.status().edges,
            self.devices[device]
                .lines
                .values()
                .map(|l| (
                    l.requests
                        .iter()
                        .map(|r| format!("{:.60}", format!("{:?}", r.1)))
                        .collect::<Vec<_>>(),
                    l.answers.len(),
                    l.follow
                ))
                .collect::<Vec<_>>()
        );
    }

    pub fn now(&self) -> Now {
        Now {
            monotonic_ms: self.now_ms,
            wall_ms: 1_800_000_000_000 + self.now_ms as i64,
        }
    }

    /// Ends a device's process, if it runs, and starts it again.
    pub fn restart(&mut self, number: usize) {
        let now = self.now();
        let device = &mut self.devices[number];
        device.engine = None;
        device.lines.clear();
        *device.store.fail_after.borrow_mut() = None;
        device.documents.0.borrow_mut().fail_after = None;
        device.documents.start(device.keys.id());
        let opened = Engine::open(device.documents.clone(), device.store.clone(), now);
        device.engine = Some(opened.unwrap());
    }

    pub fn step(&mut self, number: usize, event: Event) {
        let now = self.now();
        let Some(engine) = &mut self.devices[number].engine else {
            return;
        };
        match engine.step(event, now) {
            Ok(actions) => actions
                .into_iter()
                .for_each(|action| self.perform(number, action)),
            Err(EngineError::Store(_) | EngineError::Documents(_)) => self.restart(number),
            Err(error) => panic!("{error}"),
        }
    }

    fn perform(&mut self, number: usize, action: Action) {
        let device = &mut self.devices[number];
        match action {
            Action::Connect(link) => {
                let edge = link.fingerprint;
                self.bindings = self.bindings.wrapping_add(1);
                let mut line = Line {
                    session: Session {
                        binding: [self.bindings; 32],
                        ..Session::default()
                    },
                    requests: Vec::new(),
                    answers: VecDeque::new(),
                    follow: None,
                    told_control: 0,
                };
                line.answers
                    .push_back(if self.cut.contains(&(number, edge)) {
                        Event::Disconnected {
                            edge,
                            reason: "no route".into(),
                            retry: true,
                        }
                    } else {
                        Event::Connected {
                            edge,
                            binding: line.session.binding,
                        }
                    });
                device.lines.insert(edge, line);
            }
            Action::Disconnect(edge) => {
                device.lines.remove(&edge);
            }
            Action::Send {
                edge,
                request,
                message,
            } => {
                if let Some(line) = device.lines.get_mut(&edge) {
                    line.requests.push((request, *message));
                }
            }
            Action::Cancel { edge, request } => {
                if let Some(line) = device.lines.get_mut(&edge) {
                    line.requests.retain(|(id, _)| *id != request);
                    line.follow = line.follow.filter(|(id, ..)| *id != request);
                }
            }
            Action::Changed { ticket, result } => device.results.push((ticket, result)),
            Action::Arrived(_) | Action::StatusChanged => {}
        }
    }

    /// One random message of one random connection goes one step further; says whether there was any.
    pub fn deliver_any(&mut self) -> bool {
        let mut ready = Vec::new();
        for (number, device) in self.devices.iter().enumerate() {
            for (edge, line) in &device.lines {
                let served = self
                    .tricks
                    .forks
                    .get(&(number, *edge))
                    .unwrap_or(&self.edges[edge]);
                let has_news = line.follow.is_some_and(|(_, mailbox, next, _)| {
                    let found = served.mailboxes.get(&mailbox);
                    found.is_some_and(|found| {
                        found.log.len() as u64 > next || found.control.len() != line.told_control
                    })
                });
                if !line.requests.is_empty() || !line.answers.is_empty() || has_news {
                    ready.push((number, *edge));
                }
            }
        }
        if ready.is_empty() {
            return false;
        }
        let (number, edge) = ready[self.random.below(ready.len())];
        let line = self.devices[number].lines.get_mut(&edge).unwrap();
        let to_edge =
            !line.requests.is_empty() && (line.answers.is_empty() || self.random.chance(50));
        if to_edge {
            // Streams overtake each other.
            let at = self.random.below(line.requests.len());
            self.serve(number, edge, at);
        } else if let Some(event) = {
            let answers = &mut line.answers;
            let at = match self.answers_overtake {
                true => first_of_a_stream(answers, self.random.below(answers.len())),
                false => 0,
            };
            answers.remove(at)
        } {
            self.step(number, event);
        } else {
            self.push_news(number, edge);
        }
        true
    }

    fn serve(&mut self, number: usize, edge: NodeFingerprint, at: usize) {
        let sessions = self.sessions(edge);
        let line = self.devices[number].lines.get_mut(&edge).unwrap();
        let (request, message) = line.requests.remove(at);
        let honest = self.edges.get_mut(&edge).unwrap();
        let served = self.tricks.forks.get_mut(&(number, edge)).unwrap_or(honest);
        let trick = self.tricks.instead.as_mut();
        let (answers, ends) = match (trick.and_then(|trick| trick(number, &message)), message) {
            (Some(done), _) => done,
            (
                None,
                Request::Follow {
                    mailbox,
                    from,
                    compact,
                },
            ) => {
                let mut next = from.0;
                match served.follow(&line.session, mailbox, &mut next, compact, sessions) {
                    Ok(answers) => {
                        line.follow = Some((request, mailbox, next, compact));
                        line.told_control = served.mailboxes[&mailbox].control.len();
                        (answers, false)
                    }
                    Err(refusal) => (refusal, true),
                }
            }
            (None, message) => (served.handle(&mut line.session, &message), true),
        };
        let answers = twisted(&mut self.tricks.twist, number, answers);
        let events = answers.into_iter().map(|answer| Event::Answered {
            edge,
            request,
            answer,
        });
        line.answers.extend(events);
        if ends {
            line.answers.push_back(Event::Ended {
                edge,
                request,
                error: None,
            });
        }
    }

    fn push_news(&mut self, number: usize, edge: NodeFingerprint) {
        let sessions = self.sessions(edge);
        let line = self.devices[number].lines.get_mut(&edge).unwrap();
        let Some((request, mailbox, mut next, compact)) = line.follow else {
            return;
        };
        let served = self
            .tricks
            .forks
            .get(&(number, edge))
            .unwrap_or(&self.edges[&edge]);
        let answers: Vec<Answer> =
            match served.follow(&line.session, mailbox, &mut next, compact, sessions) {
                Ok(answers) => {
                    line.follow = Some((request, mailbox, next, compact));
                    line.told_control = served.mailboxes[&mailbox].control.len();
                    answers
                }
                Err(refusal) => {
                    line.follow = None;
                    refusal
                }
            };
        let answers = twisted(&mut self.tricks.twist, number, answers);
        line.answers
            .extend(answers.into_iter().map(|answer| Event::Answered {
                edge,
                request,
                answer,
            }));
    }

    pub fn engine(&self, number: usize) -> &SimEngine {
        self.devices[number].engine.as_ref().unwrap()
    }

    /// The keys of the epochs that a device has stored.
    pub fn keyring(&self, number: usize) -> Keyring {
        let rows = self.devices[number].store.rows.borrow_mut().load().unwrap();
        let keyring = rows
            .into_iter()
            .find(|(key, _)| key.id == b"keyring")
            .unwrap();
        Keyring::from_secret_bytes(&keyring.1).unwrap()
    }

    /// The fragments in the log of an edge, as an honest one has them.
    pub fn log(&self, edge: NodeFingerprint) -> Vec<EncryptedFragment> {
        let log = |mailbox: &Mailbox| {
            mailbox
                .log
                .iter()
                .map(|(fragment, _)| fragment.clone())
                .collect()
        };
        self.edges[&edge]
            .mailboxes
            .values()
            .next()
            .map(log)
            .unwrap_or_default()
    }

    pub fn mailbox(&mut self, edge: NodeFingerprint) -> &mut Mailbox {
        let served = self.edges.get_mut(&edge).unwrap();
        served.mailboxes.values_mut().next().unwrap()
    }

    /// Writes a word, and gives the device a moment.
    pub fn write(&mut self, number: usize, key: DocKey, word: &str) {
        self.devices[number].documents.write(key, word);
        self.step(number, Event::Tick);
    }

    /// Every connection to an edge breaks.
    pub fn break_lines(&mut self, edge: NodeFingerprint) {
        for number in 0..self.devices.len() {
            self.break_line(number, edge);
        }
    }

    /// So much time passes, whatever the edges do in it; a device that never comes to rest fails.
    pub fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            let mut moves = 0;
            while self.deliver_any() {
                moves += 1;
                assert!(moves < 4_000, "a device and an edge keep each other busy");
            }
            self.now_ms += 2_000;
            self.tick();
        }
    }

    fn sessions(&self, edge: NodeFingerprint) -> u16 {
        let lines = self
            .devices
            .iter()
            .filter(|device| device.lines.contains_key(&edge));
        lines.count() as u16
    }

    /// A connection breaks; what was on its way is lost.
    pub fn break_line(&mut self, number: usize, edge: NodeFingerprint) {
        if self.devices[number].lines.remove(&edge).is_some() {
            self.step(
                number,
                Event::Disconnected {
                    edge,
                    reason: "the line broke".into(),
                    retry: true,
                },
            );
        }
    }

    /// Time passes for everybody.
    pub fn tick(&mut self) {
        self.now_ms += 50 + self.random.next() % 500;
        for number in 0..self.devices.len() {
            self.step(number, Event::Tick);
        }
    }

    /// Runs without faults until nothing moves for a while.
    pub fn settle(&mut self) {
        let all: Vec<usize> = (0..self.devices.len()).collect();
        self.settle_only(&all);
    }

    /// As [`World::settle`], where only these devices still exist.
    pub fn settle_only(&mut self, numbers: &[usize]) {
        self.cut.clear();
        for number in numbers.iter().copied() {
            *self.devices[number].store.fail_after.borrow_mut() = None;
            self.devices[number].documents.0.borrow_mut().fail_after = None;
            if let Some(engine) = &mut self.devices[number].engine {
                engine.retry_now();
            }
        }
        let mut quiet = 0;
        for _ in 0..20_000 {
            if self.deliver_any() {
                quiet = 0;
            } else {
                quiet += 1;
                self.now_ms += 3_000;
                self.tick();
            }
            if quiet > 60 {
                return;
            }
        }
        for device in &self.devices {
            let engine = device.engine.as_ref().unwrap();
            eprintln!(
                "{:#?} {:?}",
                engine.status().edges,
                device
                    .lines
                    .values()
                    .map(|l| (
                        l.requests
                            .iter()
                            .map(|r| format!("{:.60}", format!("{:?}", r.1)))
                            .collect::<Vec<_>>(),
                        l.answers.len(),
                        l.follow
                    ))
                    .collect::<Vec<_>>()
            );
        }
        panic!("the devices never come to rest");
    }
}

/// The place of the first event of the same stream as the one at `at`. Beginning and end of the connection are not passed.
fn first_of_a_stream(events: &VecDeque<Event>, at: usize) -> usize {
    let stream = |event: &Event| match event {
        Event::Answered { request, .. } | Event::Ended { request, .. } => Some(*request),
        _ => None,
    };
    let passable = events.iter().take_while(|event| stream(event).is_some());
    let Some(chosen) = events.get(at.min(passable.count().saturating_sub(1))) else {
        return 0;
    };
    let same = |event: &Event| stream(event) == stream(chosen);
    events.iter().position(same).unwrap_or(0)
}

fn twisted(twist: &mut Option<Twist>, number: usize, answers: Vec<Answer>) -> Vec<Answer> {
    match twist {
        Some(twist) => answers
            .into_iter()
            .flat_map(|answer| twist(number, answer))
            .collect(),
        None => answers,
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
