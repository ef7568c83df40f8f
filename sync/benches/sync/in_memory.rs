//! Laptops with workspaces on the disk and an edge node in this process, without sockets or waiting.
//!
//! Start at [`Laptops`].

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use satchel_edge_node::config::Limits;
use satchel_edge_node::mailboxes::{Mailboxes, SessionAccess};
use satchel_protocol::frame::{Answer, Request};
use satchel_protocol::id::{MailboxId, NodeFingerprint, Offset};
use satchel_protocol::link::NodeLink;
use satchel_sync::engine::{Action, Change, Documents, Event, Now, RequestId};
use satchel_sync::entry::DocKey;
use satchel_sync::keys::DataKey;
use satchel_sync::member::{DeviceKeys, Role};
use satchel_sync::share::{self, WorkspaceEngine};
use satchel_sync::workspace::{Workspace, WorkspaceDocuments};

const FINGERPRINT: NodeFingerprint = NodeFingerprint([5; 32]);
const BINDING: [u8; 32] = [9; 32];
const WALL_MS: u64 = 1_700_000_000_000;

/// An edge node that keeps everything in memory.
pub(crate) struct Edge(Mailboxes);

/// What lies in a mailbox that a new device would read.
pub(crate) struct Stored {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
}

impl Edge {
    pub(crate) fn new() -> Self {
        Self(Mailboxes::in_memory(&Limits::default()).unwrap())
    }

    fn ask(&self, access: &mut SessionAccess, request: Request) -> Vec<Answer> {
        self.0.handle(access, &|_| BINDING, request, WALL_MS)
    }

    pub(crate) fn stored(&self, device: &mut Device) -> Stored {
        let mut stored = Stored {
            entries: 0,
            bytes: 0,
        };
        let mailbox = device.engine_mut().mailbox();
        let mut from = Offset(0);
        loop {
            let read = Request::Read {
                mailbox,
                from,
                max_entries: 4096,
                compact: true,
            };
            for answer in self.ask(&mut device.access, read) {
                match answer {
                    Answer::Entry { fragment, .. } => {
                        stored.entries += 1;
                        stored.bytes += fragment.len_bytes();
                    }
                    Answer::End { next, log_end, .. } if next == log_end => return stored,
                    Answer::End { next, .. } => from = next,
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

struct Follow {
    request: RequestId,
    mailbox: MailboxId,
    next: Offset,
    compact: bool,
    told: Option<(Offset, u32, u16)>,
}

/// One laptop, its connection and what went over it.
pub(crate) struct Device {
    pub(crate) workspace: Arc<Workspace>,
    engine: Option<WorkspaceEngine>,
    access: SessionAccess,
    events: VecDeque<Event>,
    requests: VecDeque<(RequestId, Request)>,
    follow: Option<Follow>,
    now_ms: u64,
    pub(crate) received_bytes: usize,
    pub(crate) sent_bytes: usize,
    pub(crate) received_entries: usize,
    added: bool,
}

impl Device {
    fn new(workspace: Arc<Workspace>, edge: &Edge) -> Self {
        Self {
            workspace,
            engine: None,
            access: edge.0.session([127, 0, 0, 1].into()),
            events: VecDeque::new(),
            requests: VecDeque::new(),
            follow: None,
            now_ms: 1,
            received_bytes: 0,
            sent_bytes: 0,
            received_entries: 0,
            added: false,
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic_ms: self.now_ms,
            wall_ms: WALL_MS as i64,
        }
    }

    /// Begins to sync.
    pub(crate) fn open(&mut self) {
        let engine = share::open_engine(&self.workspace, self.now()).unwrap();
        self.engine = Some(engine.unwrap());
        self.step(Event::Tick);
    }

    pub(crate) fn engine_mut(&mut self) -> &mut WorkspaceEngine {
        self.engine.as_mut().unwrap()
    }

    /// Uses the documents as the engine does, and opens a new one over them.
    pub(crate) fn documents<T>(&mut self, work: impl FnOnce(&mut WorkspaceDocuments) -> T) -> T {
        let (mut documents, store) = self.engine.take().unwrap().into_parts();
        let result = work(&mut documents);
        let engine = WorkspaceEngine::open(documents, store, self.now()).unwrap();
        self.engine = Some(engine);
        self.events.clear();
        self.requests.clear();
        self.follow = None;
        self.step(Event::Tick);
        result
    }

    pub(crate) fn snapshot(&mut self, key: DocKey) -> Vec<u8> {
        let whole = self.documents(|documents| documents.snapshot(key).unwrap());
        whole.unwrap().bytes
    }

    /// Makes entries of what was written, without waiting for more.
    pub(crate) fn flush(&mut self) {
        // The engine hears of what was written at a step.
        self.step(Event::Tick);
        self.engine_mut().flush_soon();
        self.step(Event::Tick);
    }

    /// Packs what the edge has, whether it is due or not.
    pub(crate) fn pack(&mut self) {
        self.engine_mut().pack().unwrap();
        self.step(Event::Tick);
    }

    fn step(&mut self, event: Event) {
        self.now_ms += 1;
        let now = self.now();
        for action in self.engine_mut().step(event, now).unwrap() {
            match action {
                Action::Connect(link) => self.events.push_back(Event::Connected {
                    edge: link.fingerprint,
                    binding: BINDING,
                }),
                Action::Send {
                    request, message, ..
                } => {
                    self.sent_bytes += message.encode().len();
                    self.requests.push_back((request, *message));
                }
                Action::Cancel { request, .. } => {
                    self.requests.retain(|(id, _)| *id != request);
                    self.follow = self
                        .follow
                        .take()
                        .filter(|follow| follow.request != request);
                }
                Action::Changed { result, .. } => {
                    result.unwrap();
                    self.added = true;
                }
                Action::Disconnect(_) => panic!("the engine gave its connection up"),
                Action::Arrived(_) | Action::StatusChanged => {}
            }
        }
    }

    /// Carries messages to and fro until there is nothing more to say.
    pub(crate) fn pump(&mut self, edge: &Edge) {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.step(event);
            } else if let Some((request, message)) = self.requests.pop_front() {
                if let Request::Follow {
                    mailbox,
                    from,
                    compact,
                } = message
                {
                    self.follow = Some(Follow {
                        request,
                        mailbox,
                        next: from,
                        compact,
                        told: None,
                    });
                } else {
                    let answers = edge.ask(&mut self.access, message);
                    self.answered(request, answers);
                    self.events.push_back(Event::Ended {
                        edge: FINGERPRINT,
                        request,
                        error: None,
                    });
                }
            } else if !self.look_for_news(edge) {
                return;
            }
        }
    }

    fn look_for_news(&mut self, edge: &Edge) -> bool {
        let Some(follow) = &mut self.follow else {
            return false;
        };
        let request = Request::Follow {
            mailbox: follow.mailbox,
            from: follow.next,
            compact: follow.compact,
        };
        let answers = edge.ask(&mut self.access, request);
        let Some(Answer::End {
            next,
            ctl_next,
            sessions,
            ..
        }) = answers.last()
        else {
            panic!("{answers:?}")
        };
        let told = Some((*next, *ctl_next, *sessions));
        if follow.told == told {
            return false;
        }
        (follow.told, follow.next) = (told, *next);
        let request = follow.request;
        self.answered(request, answers);
        true
    }

    fn answered(&mut self, request: RequestId, answers: Vec<Answer>) {
        for answer in answers {
            self.received_bytes += answer.encode().len();
            self.received_entries += usize::from(matches!(answer, Answer::Entry { .. }));
            self.events.push_back(Event::Answered {
                edge: FINGERPRINT,
                request,
                answer,
            });
        }
    }

    /// Makes a new laptop a member. It has its keys and does not sync yet.
    pub(crate) fn invite(&mut self, edge: &Edge, dir: &Path) -> Self {
        let keys = DeviceKeys::random();
        let change = Change::Add {
            public: keys.public(),
            user: "Ada".into(),
            label: "Bag".into(),
            role: Role::Owner,
        };
        self.added = false;
        self.step(Event::Change { ticket: 1, change });
        self.pump(edge);
        assert!(self.added, "the new laptop was not added");
        let welcome = self.engine_mut().welcome(Role::Owner, "Papers".into());
        let dir: PathBuf = dir.to_owned();
        let workspace = share::join(&dir, &DataKey::random(), &keys, &welcome).unwrap();
        Self::new(workspace, edge)
    }
}

/// Two laptops with one workspace.
pub(crate) struct Laptops {
    pub(crate) first: Device,
    pub(crate) second: Option<Device>,
}

impl Laptops {
    /// The first one founds, after `begin` has written.
    pub(crate) fn begin_alone(dir: &Path, edge: &Edge, begin: impl FnOnce(&Workspace)) -> Self {
        let workspace = Workspace::create_in(&dir.join("a"), &DataKey::random(), "Papers").unwrap();
        begin(&workspace);
        let workspace = Arc::new(workspace);
        let link = NodeLink {
            address: "127.0.0.1:1".to_owned(),
            fingerprint: FINGERPRINT,
        };
        share::found(&workspace, &link, "", "Ada", "Desk", WALL_MS as i64).unwrap();
        let mut first = Device::new(workspace, edge);
        first.open();
        first.pump(edge);
        Self {
            first,
            second: None,
        }
    }

    /// And the second one has joined.
    pub(crate) fn begin(dir: &Path, edge: &Edge, begin: impl FnOnce(&Workspace)) -> Self {
        let mut laptops = Self::begin_alone(dir, edge, begin);
        laptops.first.flush();
        laptops.first.pump(edge);
        let mut second = laptops.first.invite(edge, &dir.join("b"));
        second.open();
        second.pump(edge);
        laptops.second = Some(second);
        laptops
    }
}
