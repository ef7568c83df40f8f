//! Following the log of an edge: gathering entries, catching up, noticing that an edge lost or changed something.
//!
//! What an edge says of its own log is compared with what it said before. Start at `follow`.

use std::collections::BTreeSet;

use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::Request;
use satchel_protocol::id::{FragmentId, NodeFingerprint, Offset};

use super::documents::Documents;
use super::edge::{Asked, Edge, Phase};
use super::rows::Wait;
use super::state::EngineError;
use super::store::SyncStore;
use super::{Action, Attachments, Engine};

/// Entries are taken in together up to so many bytes: one fsync for all documents of a batch.
const BATCH_BYTES: usize = 4 << 20;
/// And up to so many entries.
const BATCH_ENTRIES: usize = 512;
/// How long entries may be missing before an edge is asked for everything once more, and the user is told.
const PATIENCE_MS: u64 = 60_000;

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// Reads what is new and stays subscribed.
    pub(super) fn follow(&mut self, id: NodeFingerprint) {
        let row = self.state.edge_row(&id);
        let items = self.state.items.iter();
        let taken = items
            .filter_map(|(fragment, item)| Some((*fragment, item.offset(&id)?)))
            .filter(|(_, offset)| offset.0 >= row.next)
            .collect();
        let Some(edge) = self.edges.get_mut(&id) else {
            return;
        };
        edge.phase = Phase::CatchingUp;
        edge.taken = taken;
        edge.compact_until = Offset(if row.next == 0 { u64::MAX } else { 0 });
        edge.next = Offset(row.next);
        edge.chain = Some(row.chain());
        edge.note_chain();
        edge.inbox.clear();
        edge.inbox_bytes = 0;
        let request = Request::Follow {
            mailbox: self.state.mailbox,
            from: Offset(row.next),
            // What was superseded before this device came is of no use to it.
            compact: row.next == 0,
        };
        self.ask(id, request, Asked::Follow);
        self.ask_for_unsent(id);
        self.actions.push(Action::StatusChanged);
    }

    pub(super) fn gather_entry(
        &mut self,
        id: NodeFingerprint,
        offset: Offset,
        fragment: EncryptedFragment,
    ) -> Result<(), EngineError> {
        let Some(edge) = self.edges.get_mut(&id) else {
            return Ok(());
        };
        if offset < edge.next || offset.0 == u64::MAX {
            self.give_up(id, "the edge node sent entries in the wrong order", true);
            return Ok(());
        }
        let fragment_id = fragment.id();
        edge.taken.remove(&fragment_id);
        // Deleted entries are passed over; the chain over them cannot be computed.
        edge.chain = edge
            .chain
            .filter(|_| offset == edge.next)
            .map(|chain| chain.after(offset, fragment.len_bytes(), fragment_id));
        edge.next = Offset(offset.0 + 1);
        edge.note_chain();
        edge.inbox_bytes += fragment.len_bytes();
        edge.inbox.push((offset, fragment));
        let is_full = edge.inbox_bytes >= BATCH_BYTES || edge.inbox.len() >= BATCH_ENTRIES;
        // The list of documents is not kept waiting for their texts.
        if is_full || self.state.awaits_index {
            self.take_inbox(id)?;
        }
        Ok(())
    }

    pub(super) fn handle_caught_up(
        &mut self,
        id: NodeFingerprint,
        next: Offset,
        log_end: Offset,
        chain: Chain,
        ctl_next: u32,
        sessions: u16,
    ) -> Result<(), EngineError> {
        let Some(edge) = self.edges.get_mut(&id) else {
            return Ok(());
        };
        let honest = edge
            .chain
            .is_none_or(|computed| edge.next != next || computed == chain);
        if !honest || next < edge.next {
            let words = "An edge node showed a history that does not fit what it sent. What it sent was checked and nothing is lost; if this comes again, use another node.";
            self.state
                .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
        }
        let restart = !honest && !edge.reread;
        edge.compact_until = edge.compact_until.min(next);
        edge.next = next;
        edge.chain = Some(chain);
        edge.note_chain();
        edge.log_end = log_end.0;
        if edge.sessions != sessions {
            edge.sessions = sessions;
            self.actions.push(Action::StatusChanged);
        }
        self.take_inbox(id)?;
        if restart {
            return self.read_all_again(id);
        }
        self.miss_what_was_taken(id);
        if ctl_next > self.state.control.index() {
            self.read_control(id);
        }
        if let Some(edge) = self.edges.get_mut(&id)
            && edge.phase == Phase::CatchingUp
            && next == log_end
        {
            edge.phase = Phase::Live;
            edge.tried_to_make = false;
            self.actions.push(Action::StatusChanged);
            // What waited when the last process ended may fit what it had taken in.
            self.retry_waiting(id, &[Wait::Gap, Wait::Keys, Wait::Membership])?;
        }
        Ok(())
    }

    /// Takes in what was gathered, and remembers how far that is.
    fn take_inbox(&mut self, id: NodeFingerprint) -> Result<(), EngineError> {
        let Some(edge) = self.edges.get_mut(&id) else {
            return Ok(());
        };
        let inbox = std::mem::take(&mut edge.inbox);
        edge.inbox_bytes = 0;
        let (next, chain) = (edge.next, edge.chain);
        if !inbox.is_empty() {
            self.receive(id, inbox)?;
        }
        let mut row = self.state.edge_row(&id);
        if row.next != next.0 {
            row.next = next.0;
            row.set_chain(chain.unwrap_or(Chain::START));
            self.state.set_edge(id, row, &mut self.rows);
        }
        self.commit()
    }

    /// An edge that says it took something must show it in its log.
    pub(super) fn expect_to_see(
        &mut self,
        id: NodeFingerprint,
        fragment: FragmentId,
        offset: Offset,
    ) {
        let here = self.state.device.id();
        let item = self.state.items.get(&fragment);
        // What another device made may have been seen there, and have come another way before it could be used.
        let seen = item.is_none_or(|item| item.offset(&id) == Some(offset) || item.device != here);
        if let Some(edge) = self.edges.get_mut(&id)
            && !seen
            && offset >= edge.compact_until
            && !edge
                .inbox
                .iter()
                .any(|(shown, known)| *shown == offset && known.id() == fragment)
        {
            edge.taken.insert(fragment, offset);
        }
    }

    /// What an edge took and does not show where it said is sent again.
    pub(super) fn miss_what_was_taken(&mut self, id: NodeFingerprint) {
        let Some(edge) = self.edges.get_mut(&id) else {
            return;
        };
        let (next, compact_until) = (edge.next, edge.compact_until);
        let lacking: BTreeSet<FragmentId> = edge
            .taken
            .extract_if(.., |_, offset| *offset < next)
            .filter(|(_, offset)| *offset >= compact_until)
            .map(|(fragment, _)| fragment)
            .filter(|fragment| self.state.items.contains_key(fragment))
            .collect();
        if lacking.is_empty() {
            return;
        }
        let words = "An edge node said that it had stored entries, and does not show them. This laptop sends them again; if this comes again, use another node.";
        self.state
            .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
        self.forget_offsets(id, |fragment| lacking.contains(fragment));
    }

    /// Reads everything that an edge has once more; once on a connection, for it may lie again.
    fn read_all_again(&mut self, id: NodeFingerprint) -> Result<(), EngineError> {
        let Some(edge) = self.edges.get_mut(&id) else {
            return Ok(());
        };
        if std::mem::replace(&mut edge.reread, true) {
            return Ok(());
        }
        let mut row = self.state.edge_row(&id);
        row.next = 0;
        row.set_chain(Chain::START);
        self.state.set_edge(id, row, &mut self.rows);
        self.forget_offsets(id, |_| true);
        self.commit()?;
        self.reopen_now(id);
        Ok(())
    }

    /// Looks for what members have seen, or built on, and no edge has shown.
    pub(super) fn look_for_missing(&mut self) -> Result<(), EngineError> {
        let now = self.now.monotonic_ms;
        let waits = self
            .state
            .waiting
            .values()
            .any(|waiting| waiting.why != Wait::Late);
        let is_quiet = self.edges.values().any(Edge::is_live)
            && self
                .edges
                .values()
                .all(|edge| edge.phase != Phase::CatchingUp);
        if !is_quiet || (!waits && self.missing_entries().is_empty()) {
            self.missing_since_ms = None;
            return Ok(());
        }
        let since = *self.missing_since_ms.get_or_insert(now);
        if since + PATIENCE_MS > now {
            return Ok(());
        }
        let words = "Entries of other laptops are missing: an edge node does not show all that it was given, or another laptop has not sent it yet. What is there is used, and the rest is asked for again.";
        self.state
            .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
        let live: Vec<NodeFingerprint> = self
            .edges
            .iter()
            .filter(|(_, edge)| edge.is_live() && !edge.reread)
            .map(|(id, _)| *id)
            .collect();
        for id in live {
            self.read_all_again(id)?;
        }
        Ok(())
    }

    pub(super) fn look_for_missing_at_ms(&self) -> Option<u64> {
        let may = self
            .edges
            .values()
            .any(|edge| edge.is_live() && !edge.reread);
        self.missing_since_ms
            .filter(|_| may)
            .map(|since| since + PATIENCE_MS)
    }

    /// The edge has less than it had, or something else: whatever it lacks is sent again.
    pub(super) fn handle_rollback(&mut self, id: NodeFingerprint) -> Result<(), EngineError> {
        let words = "An edge node has lost entries, or shows an old copy of its data. This laptop sends again what is missing there; if this comes again, use another node.";
        self.state
            .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
        let mut row = self.state.edge_row(&id);
        row.next = 0;
        row.set_chain(Chain::START);
        self.state.set_edge(id, row, &mut self.rows);
        // Nor is what comes before its end what it was.
        self.forget_offsets(id, |_| true);
        self.commit()
    }
}
