//! Keeps a workspace equal on all its devices: what to ask of which edge, what to send, what to believe.
//!
//! Pure but for the two things handed in: [`Documents`] and [`SyncStore`]. No network, no clock, no thread, no
//! randomness but for keys and salts; the same code runs over QUIC and in a simulation. Whoever runs it hands in
//! [`Event`]s and performs the [`Action`]s that come back. After an error the engine must be opened anew:
//! whatever was committed is the truth. Start at [`Engine::step`].
//!
//! | file | idea |
//! |---|---|
//! | [`documents`], [`parts`] | what the engine needs of documents, and pieces of them |
//! | [`store`], `rows` | what it remembers between starts |
//! | `state` | what it remembers, in memory, with the way into rows |
//! | `edge` | one edge: connecting, opening, asking |
//! | `follow` | reading its log and staying subscribed |
//! | `membership` | the control log, and changes of it |
//! | `receive` | fragments that arrive: judged, taken in, or kept waiting |
//! | `send` | what was written here, as signed and sealed entries |
//! | `pack` | many entries into one, and the check of other devices' packs |
//! | `room` | an edge without room, and clocks that differ |
//! | `moving` | another edge; a device that exists twice |
//! | `attach` | files that belong to documents, in chunks beside the log |
//! | [`status`] | what the user sees |

mod attach;
pub mod documents;
mod edge;
mod follow;
mod membership;
mod moving;
mod pack;
pub mod parts;
mod receive;
mod room;
mod rows;
mod send;
mod state;
pub mod status;
pub mod store;

use std::collections::BTreeMap;

use satchel_protocol::frame::{Answer, Request};
use satchel_protocol::id::{MailboxId, NodeFingerprint};
use satchel_protocol::link::NodeLink;

pub use attach::{AttachError, Attachments};
pub use documents::{Arrival, Documents, DocumentsError, Incoming, Outcome, Outgoing};
pub use membership::{Change, ChangeError, Changed};
pub use rows::{CONNECTED, Connection};
pub use state::{EngineError, Founding};
pub use state::{control_row, first_rows};
pub use status::{DeviceStatus, EdgePhase, EdgeStatus, Status, Warning};
pub use store::{Key, MemoryStore, Row, StoreError, SyncStore, Table};

use crate::id::DeviceId;
use edge::Edge;
use state::State;

/// The two clocks at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never jumps; for waiting.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970 by the device's clock; for showing only.
    pub wall_ms: i64,
}

/// Which request, on one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What happened outside.
#[derive(Debug)]
pub enum Event {
    /// Time has passed, or something was written: see [`Engine::wake_at_ms`].
    Tick,
    /// A connection is there and has said hello.
    Connected {
        /// To which edge.
        edge: NodeFingerprint,
        /// Binds signatures to this connection: the TLS exporter for our mailbox.
        binding: [u8; 32],
    },
    /// There is no connection (any more).
    Disconnected {
        /// To which edge.
        edge: NodeFingerprint,
        /// Why, in words.
        reason: String,
        /// Whether trying again by itself makes sense.
        retry: bool,
    },
    /// One answer to a request; more may follow.
    Answered {
        /// Who answers.
        edge: NodeFingerprint,
        /// Which request.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// No more answers to a request come.
    Ended {
        /// Who was asked.
        edge: NodeFingerprint,
        /// Which request.
        request: RequestId,
        /// Why, when it ended badly.
        error: Option<String>,
    },
    /// The user wants the membership changed.
    Change {
        /// To recognise the result: see [`Action::Changed`].
        ticket: u64,
        /// What is to change.
        change: Change,
    },
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Action {
    /// Connect, and report [`Event::Connected`] or [`Event::Disconnected`].
    Connect(NodeLink),
    /// End the connection; nothing more of it is to be reported.
    Disconnect(NodeFingerprint),
    /// Ask, and report every answer and the end.
    Send {
        /// Whom.
        edge: NodeFingerprint,
        /// As which request.
        request: RequestId,
        /// What.
        message: Box<Request>,
    },
    /// Stop a request whose answers never end.
    Cancel {
        /// Whom it was sent to.
        edge: NodeFingerprint,
        /// Which request.
        request: RequestId,
    },
    /// Something arrived from other devices.
    Arrived(Arrival),
    /// What became of a wish to change the membership.
    Changed {
        /// Whose.
        ticket: u64,
        /// How it went.
        result: Result<Changed, ChangeError>,
    },
    /// [`Engine::status`] gives something else now.
    StatusChanged,
}

/// The sync of one workspace on one device.
pub struct Engine<D, S> {
    documents: D,
    store: S,
    state: State,
    edges: BTreeMap<NodeFingerprint, Edge>,
    attach: attach::Queue,
    next_request: u64,
    now: Now,
    actions: Vec<Action>,
    rows: Vec<Row>,
    sending: send::Sending,
    changes: membership::Wishes,
    /// The highest entry of each device that any member says it has seen.
    seen: BTreeMap<DeviceId, u64>,
    /// For packing: how many small entries there were last, and when the last one came.
    entries_seen: usize,
    last_taken_ms: u64,
    /// Since when, by the monotonic clock, entries are missing though the edges say that there are no more.
    missing_since_ms: Option<u64>,
}

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// Goes on with what the store holds.
    ///
    /// # Errors
    /// [`EngineError`] when the rows cannot be read or are not understood.
    pub fn open(documents: D, mut store: S, now: Now) -> Result<Self, EngineError> {
        let state = State::load(store.load()?)?;
        let mut engine = Self {
            documents,
            store,
            edges: BTreeMap::new(),
            attach: attach::Queue::default(),
            next_request: 1,
            now,
            actions: Vec::new(),
            rows: Vec::new(),
            sending: send::Sending::default(),
            changes: membership::Wishes::default(),
            seen: BTreeMap::new(),
            entries_seen: 0,
            last_taken_ms: now.monotonic_ms,
            missing_since_ms: None,
            state,
        };
        let all = engine.documents.all().into_iter();
        let all = all
            .filter(|(key, heads)| {
                heads.is_none() || heads.as_ref() != engine.state.shared.get(key)
            })
            .collect();
        engine.sending.note(all, now);
        let bodies = engine.state.bodies.take();
        engine.want_remembered_bodies(bodies.as_ref());
        engine.follow_edges();
        if engine.state.copied {
            engine.show_as_copy();
        }
        Ok(engine)
    }

    /// This device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.state.device.id()
    }

    /// Whether the list of documents of a joined workspace is still to come.
    #[must_use]
    pub fn awaits_documents(&self) -> bool {
        self.state.awaits_index
    }

    /// Gives back what it was opened with; whatever was not committed is gone.
    pub fn into_parts(self) -> (D, S) {
        (self.documents, self.store)
    }

    /// The mailbox of the workspace.
    #[must_use]
    pub fn mailbox(&self) -> MailboxId {
        self.state.mailbox
    }

    /// Takes in what happened and says what is to be done.
    ///
    /// # Errors
    /// [`EngineError`] when the disk refuses. Drop the engine then and open it anew; nothing that was
    /// acknowledged is lost.
    pub fn step(&mut self, event: Event, now: Now) -> Result<Vec<Action>, EngineError> {
        self.now = now;
        match event {
            Event::Tick => {}
            Event::Connected { edge, binding } => self.handle_connected(edge, binding),
            Event::Disconnected {
                edge,
                reason,
                retry,
            } => self.handle_disconnected(edge, reason, retry),
            Event::Answered {
                edge,
                request,
                answer,
            } => self.handle_answer(edge, request, answer)?,
            Event::Ended {
                edge,
                request,
                error,
            } => self.handle_end(edge, request, error)?,
            Event::Change { ticket, change } => self.handle_wish(ticket, change),
        }
        self.go_on()?;
        Ok(std::mem::take(&mut self.actions))
    }

    /// Does whatever the time and the state of the edges call for.
    fn go_on(&mut self) -> Result<(), EngineError> {
        self.note_written();
        self.connect_where_due();
        self.look_for_missing()?;
        self.propose_wishes();
        self.flush_where_due()?;
        self.pack_where_due()?;
        self.look_for_room();
        self.pump_items();
        self.pump_attachments()?;
        self.commit()
    }

    /// When the next [`Event::Tick`] is wanted, by the monotonic clock; `None` when nothing is due.
    #[must_use]
    pub fn wake_at_ms(&self) -> Option<u64> {
        if self.state.removed || self.state.copied {
            return None;
        }
        let edges = self.edges.values().filter_map(Edge::wake_at_ms);
        let may_send = self.may_write() && self.edges.values().any(Edge::is_live);
        let own = [
            self.sending.due_ms().filter(|_| may_send),
            self.pack_due_ms().filter(|_| may_send),
            self.look_for_missing_at_ms(),
            self.room_at_ms(),
        ];
        edges.chain(own.into_iter().flatten()).min()
    }

    /// Makes the rows that were gathered durable.
    fn commit(&mut self) -> Result<(), EngineError> {
        let rows = std::mem::take(&mut self.rows);
        if !rows.is_empty() {
            self.store.commit(rows)?;
        }
        Ok(())
    }

    /// Sends a request to an edge and remembers what it was for.
    fn ask(&mut self, edge: NodeFingerprint, message: Request, what: edge::Asked) {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        if let Some(edge) = self.edges.get_mut(&edge) {
            edge.asked.insert(request, what);
        }
        self.actions.push(Action::Send {
            edge,
            request,
            message: Box::new(message),
        });
    }
}
