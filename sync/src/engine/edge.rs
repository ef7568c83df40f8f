//! One edge: connecting, opening the mailbox, catching up, following; and what its answers mean.
//!
//! An edge is never believed: what it sends is judged in `receive` and `membership`, and what it says of its own
//! log is compared with what it said before. Start at [`Edge`].

use std::collections::BTreeMap;

use satchel_protocol::capability;
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{
    Access, Answer, Capabilities, ErrorAnswer, ErrorCode, Request, Role,
};
use satchel_protocol::id::{FragmentId, NodeFingerprint, Offset};
use satchel_protocol::link::NodeLink;

use super::documents::Documents;
use super::rows::{Connection, EdgeRow};
use super::state::EngineError;
use super::store::SyncStore;
use super::{Action, Attachments, Engine, RequestId};
use crate::member::EpochSecrets;

/// Waiting after the first failed connection; doubles with each further one.
const RETRY_MIN_MS: u64 = 1_000;
/// Longest waiting between two attempts: a laptop that comes back to a network syncs within five minutes.
const RETRY_MAX_MS: u64 = 5 * 60 * 1000;
/// Chain values that are kept per edge: 40 bytes each.
const RECENT_CHAINS: usize = 4096;
/// Appends under way at a time; the edge serves 48 requests of a connection side by side.
pub(super) const MAX_APPENDS: usize = 16;

/// How often a mailbox is opened anew within [`REOPEN_WINDOW_MS`]: an edge that lets in and then refuses, again and
/// again, must not keep the processor busy. Two changes of the keys and a conflict need four.
const MAX_REOPENED: u32 = 8;
const REOPEN_WINDOW_MS: u64 = 60_000;

/// An edge as this device sees it at the moment.
pub(super) struct Edge {
    pub(super) link: NodeLink,
    pub(super) phase: Phase,
    pub(super) asked: BTreeMap<RequestId, Asked>,
    pub(super) sessions: u16,
    pub(super) reason: Option<String>,
    pub(super) log_end: u64,
    pub(super) binding: [u8; 32],
    pub(super) failures: u32,
    pub(super) inbox: Vec<(Offset, EncryptedFragment)>,
    pub(super) inbox_bytes: usize,
    /// The chain value after the last entry of the inbox, as far as it can be computed.
    pub(super) chain: Option<Chain>,
    pub(super) next: Offset,
    /// Chain values before the latest offsets, to compare with what other devices were shown.
    pub(super) recent: BTreeMap<Offset, Chain>,
    pub(super) appending: usize,
    /// It has no room: nothing is appended before this time of the monotonic clock.
    pub(super) full_until_ms: Option<u64>,
    /// What the edge says it took, and has not yet shown in its log.
    pub(super) taken: BTreeMap<FragmentId, Offset>,
    /// Before this offset the edge was asked to leave out what was superseded.
    pub(super) compact_until: Offset,
    /// Since when, by the monotonic clock, and how often the mailbox was opened anew.
    pub(super) reopened: (u64, u32),
    /// Whether everything was read once more on this connection.
    pub(super) reread: bool,
    /// Whether making the mailbox anew, or opening it with older keys, was tried already.
    pub(super) tried_to_make: bool,
    pub(super) tried_older: bool,
    /// The epoch whose keys opened the mailbox whole.
    pub(super) opened_epoch: Option<u32>,
}

/// What a request was for.
#[derive(Debug)]
pub(super) enum Asked {
    Create,
    Open {
        epoch: u32,
    },
    Control,
    Follow,
    /// A record that the edge lacked.
    Give(u32),
    /// Which of our unsent items the edge has all the same.
    HasItems(Vec<FragmentId>),
    Append(FragmentId),
    Change,
    Attachment(super::attach::Step),
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Offline {
        retry_at_ms: u64,
    },
    Connecting,
    /// The mailbox is being opened or made, or the control log read before that.
    Opening,
    CatchingUp,
    Live,
    /// Only a person can help.
    Stopped,
}

impl Edge {
    fn new(link: NodeLink) -> Self {
        Self {
            link,
            phase: Phase::Offline { retry_at_ms: 0 },
            asked: BTreeMap::new(),
            sessions: 0,
            reason: None,
            log_end: 0,
            binding: [0; 32],
            failures: 0,
            inbox: Vec::new(),
            inbox_bytes: 0,
            chain: None,
            next: Offset(0),
            recent: BTreeMap::new(),
            appending: 0,
            full_until_ms: None,
            taken: BTreeMap::new(),
            compact_until: Offset(0),
            reopened: (0, 0),
            reread: false,
            tried_to_make: false,
            tried_older: false,
            opened_epoch: None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    pub(super) fn wake_at_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Offline { retry_at_ms } => Some(retry_at_ms),
            _ => None,
        }
    }

    /// The chain value before an offset, where it was computed or told not long ago.
    pub(super) fn chain_before(&self, offset: Offset) -> Option<Chain> {
        self.recent.get(&offset).copied()
    }

    pub(super) fn note_chain(&mut self) {
        let Some(chain) = self.chain else {
            return;
        };
        self.recent.insert(self.next, chain);
        if self.recent.len() > RECENT_CHAINS {
            self.recent.pop_first();
        }
    }

    fn forget_connection(&mut self) {
        self.asked.clear();
        self.inbox.clear();
        self.inbox_bytes = 0;
        self.appending = 0;
        self.full_until_ms = None;
        self.sessions = 0;
    }
}

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// Makes the list of edges what the members agreed on.
    pub(super) fn follow_edges(&mut self) {
        let links = self.state.links();
        let gone: Vec<NodeFingerprint> = self
            .edges
            .keys()
            .filter(|edge| !links.iter().any(|link| link.fingerprint == **edge))
            .copied()
            .collect();
        for edge in gone {
            self.edges.remove(&edge);
            self.actions.push(Action::Disconnect(edge));
        }
        for link in links {
            self.edges
                .entry(link.fingerprint)
                .and_modify(|edge| edge.link = link.clone())
                .or_insert_with(|| Edge::new(link));
        }
    }

    pub(super) fn connect_where_due(&mut self) {
        if self.state.removed || self.state.copied {
            return;
        }
        let now = self.now.monotonic_ms;
        for edge in self.edges.values_mut() {
            if matches!(edge.phase, Phase::Offline { retry_at_ms } if retry_at_ms <= now) {
                edge.phase = Phase::Connecting;
                self.actions.push(Action::Connect(edge.link.clone()));
                self.actions.push(Action::StatusChanged);
            }
        }
    }

    /// Tries all edges again at once: the network is back, or the user asks for it.
    pub fn retry_now(&mut self) {
        if self.state.copied {
            return;
        }
        self.attach.look_for_room(u64::MAX);
        for edge in self.edges.values_mut() {
            if matches!(edge.phase, Phase::Offline { .. } | Phase::Stopped) {
                edge.failures = 0;
                edge.phase = Phase::Offline { retry_at_ms: 0 };
            }
            edge.full_until_ms = None;
        }
    }

    pub(super) fn handle_connected(&mut self, id: NodeFingerprint, binding: [u8; 32]) {
        let Some(edge) = self.edges.get_mut(&id) else {
            self.actions.push(Action::Disconnect(id));
            return;
        };
        edge.forget_connection();
        edge.binding = binding;
        edge.failures = 0;
        edge.reason = None;
        edge.tried_older = false;
        edge.opened_epoch = None;
        (edge.reopened, edge.reread) = ((0, 0), false);
        let connection = Connection {
            at_ms: self.now.wall_ms,
            address: edge.link.to_string(),
            outcome: super::rows::CONNECTED.to_owned(),
        };
        self.state.record_connection(connection, &mut self.rows);
        let is_there = self.state.edge_row(&id).has_mailbox || self.state.founding.joined;
        if is_there || self.state.policy.is_none() {
            self.open_mailbox(id, None);
        } else {
            self.create_mailbox(id);
        }
    }

    pub(super) fn handle_disconnected(&mut self, id: NodeFingerprint, reason: String, retry: bool) {
        let Some(edge) = self.edges.get_mut(&id) else {
            return;
        };
        let was_connecting = edge.phase == Phase::Connecting;
        edge.forget_connection();
        edge.failures = edge.failures.saturating_add(1);
        edge.phase = if retry {
            let wait_ms = RETRY_MIN_MS << edge.failures.min(10).saturating_sub(1);
            Phase::Offline {
                retry_at_ms: self.now.monotonic_ms + wait_ms.min(RETRY_MAX_MS),
            }
        } else {
            Phase::Stopped
        };
        let told = edge.reason.replace(reason.clone());
        if was_connecting && told.as_ref() != Some(&reason) {
            let connection = Connection {
                at_ms: self.now.wall_ms,
                address: edge.link.to_string(),
                outcome: reason,
            };
            self.state.record_connection(connection, &mut self.rows);
        }
        self.drop_attachments();
        self.changes.connection_lost(&id);
        self.actions.push(Action::StatusChanged);
    }

    pub(super) fn give_up(&mut self, id: NodeFingerprint, reason: impl Into<String>, retry: bool) {
        self.actions.push(Action::Disconnect(id));
        self.handle_disconnected(id, reason.into(), retry);
    }

    fn create_mailbox(&mut self, id: NodeFingerprint) {
        let (Some(policy), Some(edge)) = (&self.state.policy, self.edges.get_mut(&id)) else {
            return;
        };
        edge.phase = Phase::Opening;
        let Some(capabilities) = capabilities_of(self.state.newest(), self.state.mailbox) else {
            return;
        };
        let token = self.state.founding.invitation.clone().into_bytes();
        let mailbox = self.state.mailbox;
        let message = capability::create_message(&edge.binding, mailbox, &capabilities, &token);
        let request = Request::Create {
            policy_key: policy.public(),
            signature: policy.sign(&message),
            capabilities,
            token,
        };
        self.ask(id, request, Asked::Create);
    }

    /// Opens the mailbox with the newest keys, or those of an older epoch to read the control log only.
    fn open_mailbox(&mut self, id: NodeFingerprint, old_epoch: Option<u32>) {
        let mailbox = self.state.mailbox;
        let secrets = match old_epoch {
            None => self.state.newest(),
            Some(number) => match self
                .state
                .keyring
                .iter()
                .find(|old| old.id().number == number)
            {
                Some(secrets) => secrets,
                None => return,
            },
        };
        let epoch = secrets.id().number;
        let writer = secrets
            .writer_capability(mailbox)
            .filter(|_| old_epoch.is_none());
        let (role, key) = match writer {
            Some(key) => (Role::Writer, key),
            None => (Role::Reader, secrets.reader_capability(mailbox)),
        };
        let Some(edge) = self.edges.get_mut(&id) else {
            return;
        };
        edge.phase = Phase::Opening;
        let message = capability::open_message(&edge.binding, mailbox, role, epoch);
        let request = Request::Open {
            mailbox,
            role,
            cap_epoch: epoch,
            signature: key.sign(&message),
        };
        self.ask(id, request, Asked::Open { epoch });
    }

    pub(super) fn handle_answer(
        &mut self,
        id: NodeFingerprint,
        request: RequestId,
        answer: Answer,
    ) -> Result<(), EngineError> {
        let Some(edge) = self.edges.get_mut(&id) else {
            return Ok(());
        };
        let Some(asked) = edge.asked.remove(&request) else {
            return Ok(());
        };
        let mut row = self.state.edge_row(&id);
        row.last_contact_ms = self.now.wall_ms;
        self.state.edge_rows.insert(id, row);
        if let Answer::Error(error) = answer {
            return self.handle_refusal(id, asked, error);
        }
        match (asked, answer) {
            (Asked::Create, Answer::Ok | Answer::Opened { .. }) => {
                let mut row = self.state.edge_row(&id);
                row.has_mailbox = true;
                self.state.set_edge(id, row, &mut self.rows);
                self.open_mailbox(id, None);
            }
            (
                Asked::Open { epoch },
                Answer::Opened {
                    access,
                    next,
                    chain,
                    ctl_next,
                    used_bytes,
                    quota_bytes,
                },
            ) => {
                let mut row = self.state.edge_row(&id);
                (row.used_bytes, row.quota_bytes, row.has_mailbox) =
                    (used_bytes, quota_bytes, true);
                self.handle_opened(id, row, epoch, access, next, chain, ctl_next)?;
            }
            (
                Asked::Control,
                Answer::CtlEntry {
                    index,
                    record,
                    previous_epoch,
                },
            ) => {
                self.keep_asking(id, request, Asked::Control);
                if !self.gather_record(id, index, record, previous_epoch) {
                    self.give_up(
                        id,
                        "the edge node sent a list of members that does not end",
                        true,
                    );
                }
            }
            (Asked::Control, Answer::CtlEnd { .. }) => self.handle_control_end(id)?,
            (
                Asked::Follow,
                Answer::Entry {
                    offset, fragment, ..
                },
            ) => {
                self.keep_asking(id, request, Asked::Follow);
                self.gather_entry(id, offset, fragment)?;
            }
            (
                Asked::Follow,
                Answer::End {
                    next,
                    log_end,
                    chain,
                    ctl_next,
                    sessions,
                },
            ) => {
                self.keep_asking(id, request, Asked::Follow);
                self.handle_caught_up(id, next, log_end, chain, ctl_next, sessions)?;
            }
            (Asked::HasItems(ids), Answer::HasBits { bits }) => self.handle_has(id, &ids, &bits)?,
            (Asked::Append(fragment), Answer::Ack { offset, .. }) if offset.0 < u64::MAX => {
                self.expect_to_see(id, fragment, offset);
                self.handle_ack(id, fragment, offset);
                self.miss_what_was_taken(id);
            }
            (Asked::Give(index), Answer::CtlAck { .. }) => self.give_record(id, index + 1),
            (Asked::Change, Answer::CtlAck { index }) => self.handle_change_ack(id, index)?,
            (Asked::Attachment(step), answer) => self.handle_attachment(step, answer)?,
            _ => self.give_up(
                id,
                "the edge node sent an answer that does not fit: update Satchel or the node",
                true,
            ),
        }
        Ok(())
    }

    fn keep_asking(&mut self, id: NodeFingerprint, request: RequestId, asked: Asked) {
        if let Some(edge) = self.edges.get_mut(&id) {
            edge.asked.insert(request, asked);
        }
    }

    fn handle_refusal(
        &mut self,
        id: NodeFingerprint,
        asked: Asked,
        error: ErrorAnswer,
    ) -> Result<(), EngineError> {
        let busy = matches!(error.code, ErrorCode::Rate | ErrorCode::Busy);
        match asked {
            Asked::Open { epoch } if error.code == ErrorCode::Denied => {
                self.handle_open_denied(id, epoch);
            }
            Asked::Create if error.code == ErrorCode::Denied => self.give_up(
                id,
                "the edge node makes no mailbox for this workspace: ask its operator for an invitation",
                false,
            ),
            Asked::Follow | Asked::Control | Asked::Give(_) if error.code == ErrorCode::Denied => {
                // The keys have changed meanwhile.
                self.reopen_now(id);
            }
            // Another device was faster.
            Asked::Give(_) if error.code == ErrorCode::Conflict => self.reopen_now(id),
            Asked::Follow if error.code == ErrorCode::BehindEnd => {
                self.handle_rollback(id)?;
                self.reopen_now(id);
            }
            Asked::Append(fragment) => {
                if let Some(edge) = self.edges.get_mut(&id) {
                    edge.appending = edge.appending.saturating_sub(1);
                }
                match error.code {
                    ErrorCode::Denied => self.reopen(id),
                    ErrorCode::Quota | ErrorCode::DiskFull => {
                        let until_ms = self.note_no_room(id, &error);
                        if let Some(edge) = self.edges.get_mut(&id) {
                            edge.full_until_ms = Some(until_ms);
                        }
                    }
                    _ => self.give_up(id, refusal_words(&error), true),
                }
                tracing::debug!(%fragment, code = ?error.code, "an entry was not taken");
            }
            Asked::Change => self.handle_change_refused(id, &error)?,
            Asked::Attachment(step) => self.handle_attachment_refused(id, step, &error),
            _ => self.give_up(id, refusal_words(&error), busy || is_passing(error.code)),
        }
        Ok(())
    }

    /// Opens the mailbox anew on the same connection.
    pub(super) fn reopen(&mut self, id: NodeFingerprint) {
        let Some(edge) = self.edges.get_mut(&id) else {
            return;
        };
        if edge.phase == Phase::Opening {
            return;
        }
        let now = self.now.monotonic_ms;
        if edge.reopened.0 + REOPEN_WINDOW_MS < now {
            edge.reopened = (now, 0);
        }
        edge.reopened.1 += 1;
        if edge.reopened.1 > MAX_REOPENED {
            let words = "the edge node lets this laptop in and then refuses it, again and again";
            self.give_up(id, words, true);
            return;
        }
        for request in edge.asked.keys() {
            self.actions.push(Action::Cancel {
                edge: id,
                request: *request,
            });
        }
        edge.forget_connection();
        // An answer to a change may have been among what is cancelled.
        self.drop_attachments();
        self.changes.connection_lost(&id);
        self.open_mailbox(id, None);
    }

    /// As [`Self::reopen`], also while it is being opened.
    pub(super) fn reopen_now(&mut self, id: NodeFingerprint) {
        if let Some(edge) = self.edges.get_mut(&id) {
            edge.phase = Phase::Connecting;
        }
        self.reopen(id);
    }

    /// The newest keys do not open the mailbox: they were changed, or the mailbox is not there.
    fn handle_open_denied(&mut self, id: NodeFingerprint, epoch: u32) {
        let Some(edge) = self.edges.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut edge.tried_older, true) {
            // The edge keeps past reading keys, so that a laptop that was away finds the new ones.
            self.open_mailbox(id, Some(epoch));
            return;
        }
        let may_make = self.state.policy.is_some() && !edge.tried_to_make;
        if may_make {
            edge.tried_to_make = true;
            let words =
                "An edge node had lost the mailbox of this workspace; it gets everything again.";
            self.state
                .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
            self.create_mailbox(id);
            return;
        }
        self.give_up(
            id,
            "the edge node does not let this laptop in: it was removed from the workspace, or the node has lost its data",
            false,
        );
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one answer")]
    fn handle_opened(
        &mut self,
        id: NodeFingerprint,
        row: EdgeRow,
        epoch: u32,
        access: Access,
        next: Offset,
        chain: Chain,
        ctl_next: u32,
    ) -> Result<(), EngineError> {
        let items = self.state.items.values();
        let mut offsets = items.filter_map(|item| item.offset(&id));
        let rolled_back = next.0 < row.next
            || (next.0 == row.next && chain != row.chain())
            || offsets.any(|offset| offset >= next);
        self.state.set_edge(id, row, &mut self.rows);
        if access == Access::ControlOnly {
            self.read_control(id);
            return Ok(());
        }
        if let Some(edge) = self.edges.get_mut(&id) {
            edge.opened_epoch = Some(epoch);
        }
        if rolled_back {
            self.handle_rollback(id)?;
        }
        if ctl_next < self.state.control.index()
            && self.state.newest().expose_writer_secret().is_some()
        {
            self.give_record(id, ctl_next);
            return Ok(());
        }
        if ctl_next > self.state.control.index() {
            // What follows may be sealed with keys that are in there.
            self.read_control(id);
            return Ok(());
        }
        self.follow(id);
        Ok(())
    }

    pub(super) fn read_control(&mut self, id: NodeFingerprint) {
        let already = self.edges.get(&id).is_some_and(|edge| {
            let mut asked = edge.asked.values();
            asked.any(|asked| matches!(asked, Asked::Control))
        });
        if already {
            return;
        }
        let request = Request::CtlRead {
            mailbox: self.state.mailbox,
            from: self.state.control.index(),
        };
        self.ask(id, request, Asked::Control);
    }

    pub(super) fn handle_end(
        &mut self,
        id: NodeFingerprint,
        request: RequestId,
        error: Option<String>,
    ) -> Result<(), EngineError> {
        let asked = self
            .edges
            .get_mut(&id)
            .and_then(|edge| edge.asked.remove(&request));
        match asked {
            // Answered already, or forgotten.
            None => Ok(()),
            Some(asked) => {
                tracing::debug!(?asked, ?error, "a request ended early");
                let reason = error.unwrap_or_else(|| "the edge node gave up a request".to_owned());
                self.give_up(id, reason, true);
                Ok(())
            }
        }
    }
}

/// The public halves of an epoch's capabilities; `None` for a reader, who cannot make them.
pub(super) fn capabilities_of(
    secrets: &EpochSecrets,
    mailbox: satchel_protocol::id::MailboxId,
) -> Option<Capabilities> {
    Some(Capabilities {
        cap_epoch: secrets.id().number,
        reader_key: secrets.reader_capability(mailbox).public(),
        writer_key: secrets.writer_capability(mailbox)?.public(),
    })
}

fn is_passing(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::Version | ErrorCode::Denied | ErrorCode::TooBig
    )
}

pub(super) fn refusal_words(error: &ErrorAnswer) -> String {
    crate::net::RequestError::from_answer(*error, 0).to_string()
}
