//! What was written on this device, as signed and sealed entries.
//!
//! Nothing is made while no edge is connected: what was written waits in its documents, so that a day of edits
//! becomes one entry. A fragment that was made is durable before it is sent, and kept until every edge has it.
//! Start at `flush_where_due`.

use std::collections::{BTreeMap, BTreeSet};

use automerge::ChangeHash;
use satchel_protocol::fragment::{EncryptedFragment, FragmentKind};
use satchel_protocol::frame::Request;
use satchel_protocol::id::{FragmentId, NodeFingerprint, Offset, OffsetRange};

use super::documents::{Documents, Outgoing};
use super::edge::{Asked, MAX_APPENDS, Phase};
use super::rows::{EdgeKey, Item, PartNote};
use super::state::EngineError;
use super::store::SyncStore;
use super::{Action, Attachments, Engine, Now};
use crate::entry::{
    DocKey, Encoding, Inner, MAX_PART_BYTES, Observation, Part, PartBody, Seen, inner_hash,
};
use crate::id::to_hex;
use crate::member::Role;
use crate::sealing::{self, Padding};

/// How long writing is gathered while another device is connected to the same edge.
const GATHER_WATCHED_MS: u64 = 1_000;
/// And while nobody waits for it.
const GATHER_ALONE_MS: u64 = 3_000;
/// Bytes of documents in one entry or pack: with header, padding (at most 12 %) and seal below the 1,044,480 bytes
/// that a fragment may have.
pub(super) const MAX_BODY_BYTES: usize = 880 << 10;

/// What may have to be sent.
#[derive(Default)]
pub(super) struct Sending {
    dirty: BTreeMap<DocKey, Option<Vec<ChangeHash>>>,
    since_ms: Option<u64>,
    gather_ms: u64,
}

impl Sending {
    pub(super) fn note(&mut self, changed: Vec<(DocKey, Option<Vec<ChangeHash>>)>, now: Now) {
        if changed.is_empty() {
            return;
        }
        self.since_ms.get_or_insert(now.monotonic_ms);
        self.dirty.extend(changed);
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        // 0 is what `flush_soon` sets: nothing more is waited for.
        self.since_ms.map(|since| {
            if since == 0 {
                0
            } else {
                since + self.gather_ms
            }
        })
    }

    pub(super) fn len(&self) -> usize {
        self.dirty.len()
    }
}

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    pub(super) fn may_write(&self) -> bool {
        let role = self.state.control.member(&self.state.device.id());
        let role = role.filter(|member| member.removed.is_none());
        role.is_some_and(|member| member.role != Role::Reader)
            && !self.state.removed
            && !self.state.copied
            && !self.state.awaits_index
    }

    /// Takes up what was written since the last time, so that it counts as unsent.
    pub(super) fn note_written(&mut self) {
        let (changed, unsent) = (self.documents.take_changed(), self.sending.len());
        if changed.iter().any(|(key, _)| *key == DocKey::INDEX) {
            self.attach.list_was_written();
        }
        self.sending.note(changed, self.now);
        if self.sending.len() != unsent {
            self.actions.push(Action::StatusChanged);
        }
    }

    pub(super) fn flush_where_due(&mut self) -> Result<(), EngineError> {
        let watched = self.edges.values().any(|edge| edge.sessions > 1);
        self.sending.gather_ms = if watched {
            GATHER_WATCHED_MS
        } else {
            GATHER_ALONE_MS
        };
        let is_due = self
            .sending
            .due_ms()
            .is_some_and(|due| due <= self.now.monotonic_ms);
        // What is made must be sealed with keys that are in force, which only a live edge tells.
        let is_live = self.edges.values().any(|edge| edge.phase == Phase::Live);
        if is_due && is_live && self.may_write() {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what was written now, without waiting for more; at the end of a session, or when the user asks.
    pub fn flush_soon(&mut self) {
        self.note_written();
        if self.sending.since_ms.is_some() {
            self.sending.since_ms = Some(0);
        }
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        self.sending.since_ms = None;
        let dirty = std::mem::take(&mut self.sending.dirty);
        let (mut changes, mut wholes) = (Vec::new(), Vec::new());
        for (key, heads) in dirty {
            let shared = self.state.shared.get(&key).cloned().unwrap_or_default();
            if heads.is_some_and(|heads| heads == shared) {
                continue;
            }
            let is_new = shared.is_empty();
            let outgoing = if is_new {
                None
            } else {
                match self.documents.since(key, &shared)? {
                    None => continue,
                    Some(outgoing) => Some(outgoing),
                }
            };
            match outgoing {
                Some(outgoing) if outgoing.all_ours => changes.push((key, outgoing)),
                _ => wholes.push(key),
            }
        }
        self.send_changes(changes)?;
        self.send_wholes(&wholes)?;
        self.actions.push(Action::StatusChanged);
        self.commit()
    }

    fn send_changes(&mut self, changes: Vec<(DocKey, Outgoing)>) -> Result<(), EngineError> {
        let mut parts = Vec::new();
        let mut bytes = 0;
        for (key, outgoing) in changes {
            if outgoing.bytes.len() > MAX_PART_BYTES.min(MAX_BODY_BYTES) {
                self.upload_body(key, Encoding::Changes, outgoing);
                continue;
            }
            if bytes + outgoing.bytes.len() > MAX_BODY_BYTES {
                self.make_item(FragmentKind::Entry, std::mem::take(&mut parts), &[])?;
                bytes = 0;
            }
            bytes += outgoing.bytes.len();
            parts.push(part_of(key, Encoding::Changes, outgoing));
        }
        if !parts.is_empty() {
            self.make_item(FragmentKind::Entry, parts, &[])?;
        }
        Ok(())
    }

    /// Sends whole documents in packs, the list of documents first and alone.
    pub(super) fn send_wholes(&mut self, keys: &[DocKey]) -> Result<(), EngineError> {
        if keys.contains(&DocKey::INDEX) {
            self.documents.prepare_pack()?;
        }
        let mut parts = Vec::new();
        let mut bytes = 0;
        for key in keys {
            let Some(outgoing) = self.documents.snapshot(*key)? else {
                self.state.set_shared(*key, Vec::new(), &mut self.rows);
                continue;
            };
            if outgoing.bytes.len() > MAX_PART_BYTES.min(MAX_BODY_BYTES) {
                self.upload_body(*key, Encoding::Save, outgoing);
                continue;
            }
            let is_index = *key == DocKey::INDEX;
            bytes += outgoing.bytes.len();
            if bytes > MAX_BODY_BYTES {
                self.make_item(FragmentKind::Pack, std::mem::take(&mut parts), &[])?;
                bytes = outgoing.bytes.len();
            }
            parts.push(part_of(*key, Encoding::Save, outgoing));
            if is_index {
                self.make_item(FragmentKind::Pack, std::mem::take(&mut parts), &[])?;
                bytes = 0;
            }
        }
        if !parts.is_empty() {
            self.make_item(FragmentKind::Pack, parts, &[])?;
        }
        if !self.state.own.made_good.is_empty() {
            // Whoever waits for entries that an edge lost goes on from here: what they brought has just been sent.
            self.make_item(FragmentKind::Pack, Vec::new(), &[])?;
        }
        Ok(())
    }

    /// Signs and seals an entry or pack and puts it where it is sent from. It is sent after the next commit.
    ///
    /// A pack that makes entries superfluous, or that makes good what an edge lost, says how far it stands for others.
    pub(super) fn make_item(
        &mut self,
        kind: FragmentKind,
        parts: Vec<Part>,
        supersedes: &[FragmentId],
    ) -> Result<(), EngineError> {
        let pack = kind == FragmentKind::Pack;
        let inner = Inner {
            device: self.state.device.id(),
            sequence: self.state.own.sequence + 1,
            previous: self.state.own_hash(),
            control_head: self.state.control.head(),
            created_ms: self.now.wall_ms,
            seen: self.seen_by_us(),
            observed: self.observed(),
            covers: if !supersedes.is_empty() {
                self.covered()
            } else if parts.is_empty() {
                self.made_good()
            } else {
                Vec::new()
            },
            supersedes: supersedes.to_vec(),
            parts,
        };
        let (fragment, hash) = self.seal_inner(&inner, kind)?;
        let mut item = Item {
            pack,
            device: inner.device,
            sequence: inner.sequence,
            hash: to_hex(&hash),
            bytes: fragment.len_bytes() as u64,
            parts: inner
                .parts
                .iter()
                .map(|part| PartNote::new(part.key, part.encoding, &part.heads, part.len_bytes()))
                .collect(),
            offsets: BTreeMap::new(),
            lost: BTreeSet::new(),
            ranges: BTreeMap::new(),
        };
        let edges: Vec<NodeFingerprint> = self.edges.keys().copied().collect();
        for edge in edges {
            let ranges = self.ranges_of(&edge, supersedes);
            if !ranges.is_empty() {
                item.ranges.insert(EdgeKey(edge), ranges);
            }
        }
        for part in &inner.parts {
            let mut heads: Vec<ChangeHash> = part.heads.iter().copied().map(ChangeHash).collect();
            heads.sort_unstable();
            self.state.set_shared(part.key, heads, &mut self.rows);
        }
        let mut own = self.state.next_own(hash);
        if inner.parts.is_empty() && supersedes.is_empty() {
            own.made_good.clear();
        }
        self.state.set_own(own, &mut self.rows);
        let id = fragment.id();
        self.state.keep_fragment(fragment, &mut self.rows);
        self.state.set_item(id, item, &mut self.rows);
        for superseded in supersedes {
            self.state.drop_item(*superseded, &mut self.rows);
        }
        self.commit()
    }

    fn seal_inner(
        &self,
        inner: &Inner,
        kind: FragmentKind,
    ) -> Result<(EncryptedFragment, [u8; 32]), EngineError> {
        let secrets = self.state.newest();
        let workspace = self.state.founding.workspace;
        let bytes = inner
            .encode_signed(&self.state.device, workspace, secrets.id(), kind)
            .map_err(|_| EngineError::Rows("an entry that is too long"))?;
        let fragment = sealing::seal(secrets, workspace, kind, &bytes, Padding::Padme)
            .map_err(|_| EngineError::Rows("an entry that is too long"))?;
        Ok((fragment, inner_hash(&bytes)))
    }

    fn seen_by_us(&self) -> Vec<Seen> {
        let peers = self.state.peers.iter();
        peers
            .map(|(device, peer)| Seen {
                device: *device,
                sequence: peer.sequence,
                hash: super::rows::hash_of(&peer.hash),
            })
            .collect()
    }

    fn observed(&self) -> Vec<Observation> {
        let rows = self.state.edge_rows.iter();
        rows.filter(|(_, row)| row.next > 0)
            .map(|(edge, row)| Observation {
                edge: *edge,
                offset: Offset(row.next),
                chain: row.chain(),
            })
            .collect()
    }

    /// What a pack that is made now stands for: everything that was taken in, and what this device has sent.
    fn covered(&self) -> Vec<Seen> {
        let mut covered = self.seen_by_us();
        let here = self.state.device.id();
        let unsent = self.state.items.values();
        let is_all_sent = unsent
            .filter(|item| item.device == here && !item.pack)
            .all(|item| !item.offsets.is_empty());
        if self.state.own.sequence > 0 && is_all_sent {
            covered.push(Seen {
                device: here,
                sequence: self.state.own.sequence,
                hash: self.state.own_hash(),
            });
        }
        covered
    }

    /// The entries of devices of which an edge lost some, and all before the next one of this device.
    fn made_good(&self) -> Vec<Seen> {
        let of = &self.state.own.made_good;
        let mut covered = self.seen_by_us();
        covered.retain(|seen| of.contains(&seen.device));
        if self.state.own.sequence > 0 {
            covered.push(Seen {
                device: self.state.device.id(),
                sequence: self.state.own.sequence,
                hash: self.state.own_hash(),
            });
        }
        covered
    }

    fn ranges_of(&self, edge: &NodeFingerprint, superseded: &[FragmentId]) -> Vec<(u64, u64)> {
        let items = superseded.iter().filter_map(|id| self.state.items.get(id));
        let offsets: BTreeSet<u64> = items
            .filter_map(|item| item.offset(edge))
            .map(|offset| offset.0)
            .collect();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for offset in offsets {
            match ranges.last_mut() {
                Some((_, to)) if *to == offset => *to += 1,
                _ => ranges.push((offset, offset + 1)),
            }
        }
        ranges
    }

    /// Sends fragments to the edges that lack them.
    pub(super) fn pump_items(&mut self) {
        let live: Vec<NodeFingerprint> = self
            .edges
            .iter()
            .filter(|(_, edge)| edge.is_live())
            .map(|(id, _)| *id)
            .collect();
        for edge in live {
            self.pump_edge(edge);
        }
    }

    fn pump_edge(&mut self, id: NodeFingerprint) {
        if !self.may_write() {
            return;
        }
        let Some(edge) = self
            .edges
            .get(&id)
            .filter(|edge| edge.full_until_ms.is_none())
        else {
            return;
        };
        let under_way: BTreeSet<FragmentId> = edge
            .asked
            .values()
            .filter_map(|asked| match asked {
                Asked::Append(fragment) => Some(*fragment),
                _ => None,
            })
            .collect();
        let stale: BTreeSet<FragmentId> = self.stale_fragments().into_iter().collect();
        let room = MAX_APPENDS.saturating_sub(under_way.len());
        let here = self.state.device.id();
        let mut lacking: Vec<(bool, u64, FragmentId)> = self
            .state
            .items
            .iter()
            .filter(|(fragment, item)| {
                item.offset(&id).is_none()
                    && !under_way.contains(fragment)
                    && !stale.contains(fragment)
            })
            .map(|(fragment, item)| (item.device != here, item.sequence, *fragment))
            .collect();
        lacking.sort_unstable();
        let (ready, lost): (Vec<_>, Vec<_>) = lacking
            .into_iter()
            .map(|(_, _, fragment)| fragment)
            .partition(|fragment| self.state.fragments.contains_key(fragment));
        for fragment in lost {
            self.share_again(id, fragment);
        }
        for fragment in ready.into_iter().take(room) {
            if let Some(bytes) = self.state.fragments.get(&fragment).cloned() {
                self.append(id, fragment, bytes);
            }
        }
    }

    fn append(&mut self, edge: NodeFingerprint, id: FragmentId, fragment: EncryptedFragment) {
        let mailbox = self.state.mailbox;
        let Some(item) = self.state.items.get(&id) else {
            return;
        };
        let request = if item.pack {
            let ranges = item.ranges.get(&EdgeKey(edge)).cloned();
            Request::Pack {
                mailbox,
                supersedes: ranges
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(from, to)| OffsetRange {
                        from: Offset(from),
                        to: Offset(to),
                    })
                    .collect(),
                fragment,
            }
        } else {
            Request::Append { mailbox, fragment }
        };
        self.ask(edge, request, Asked::Append(id));
    }

    pub(super) fn handle_ack(&mut self, edge: NodeFingerprint, id: FragmentId, offset: Offset) {
        let Some(mut item) = self.state.items.get(&id).cloned() else {
            return;
        };
        item.set_offset(edge, offset);
        let everywhere = self.edges.keys().all(|edge| item.offset(edge).is_some());
        self.state.set_item(id, item, &mut self.rows);
        if everywhere {
            self.state.drop_fragment(id, &mut self.rows);
        }
        self.actions.push(Action::StatusChanged);
    }

    /// An edge lost what no device keeps as it was: its documents are sent again, whole.
    ///
    /// What another device made and an edge never had is on its way from there.
    fn share_again(&mut self, edge: NodeFingerprint, id: FragmentId) {
        let Some(item) = self.state.items.get(&id).cloned() else {
            return;
        };
        if item.device != self.state.device.id() && !item.lost.contains(&EdgeKey(edge)) {
            return;
        }
        self.state.drop_item(id, &mut self.rows);
        let mut own = self.state.own.clone();
        own.made_good.insert(item.device);
        if item.pack {
            // It may have stood for entries of every device.
            own.made_good.extend(self.state.peers.keys());
        }
        self.state.set_own(own, &mut self.rows);
        for key in item.parts.iter().filter_map(PartNote::doc) {
            self.state.set_shared(key, Vec::new(), &mut self.rows);
            self.sending.note(vec![(key, None)], self.now);
        }
    }

    /// An edge has these no more, as far as is known: it says so itself when it shows its log.
    pub(super) fn forget_offsets(
        &mut self,
        edge: NodeFingerprint,
        is_gone: impl Fn(&FragmentId) -> bool,
    ) {
        let ids: Vec<FragmentId> = self.state.items.keys().copied().filter(is_gone).collect();
        for id in ids {
            let Some(mut item) = self.state.items.get(&id).cloned() else {
                continue;
            };
            if item.offset(&edge).is_some() {
                item.offsets.remove(&EdgeKey(edge));
                item.lost.insert(EdgeKey(edge));
                self.state.set_item(id, item, &mut self.rows);
            }
        }
    }

    /// What was sealed with keys that are no longer in force and may not have arrived: asks for it.
    pub(super) fn ask_for_unsent(&mut self, id: NodeFingerprint) {
        let stale: Vec<FragmentId> = self.stale_fragments();
        if !stale.is_empty() {
            let request = Request::Has {
                mailbox: self.state.mailbox,
                ids: stale.clone(),
            };
            self.ask(id, request, Asked::HasItems(stale));
        }
    }

    /// Own fragments that no edge has acknowledged and that were sealed in an older epoch.
    fn stale_fragments(&self) -> Vec<FragmentId> {
        let newest = self.state.newest().id().to_bytes();
        let here = self.state.device.id();
        let mut stale: Vec<(u64, FragmentId)> = self
            .state
            .fragments
            .iter()
            .filter(|(_, fragment)| fragment.header().epoch_id != newest)
            .filter_map(|(id, _)| Some((id, self.state.items.get(id)?)))
            .filter(|(_, item)| item.device == here && item.offsets.is_empty())
            .map(|(id, item)| (item.sequence, *id))
            .collect();
        stale.sort_unstable();
        stale.into_iter().map(|(_, id)| id).take(1024).collect()
    }

    /// Seals anew, in order, what the edge does not have: a device that was removed could read the old ones.
    pub(super) fn handle_has(
        &mut self,
        edge: NodeFingerprint,
        ids: &[FragmentId],
        bits: &[u8],
    ) -> Result<(), EngineError> {
        let has = |number: usize| {
            bits.get(number / 8)
                .is_some_and(|byte| byte >> (number % 8) & 1 == 1)
        };
        // What follows a lacking one names it, so it is made anew as well.
        let first_lacking = (0..ids.len()).find(|number| !has(*number));
        for (number, id) in ids.iter().enumerate() {
            let lost = first_lacking.is_some_and(|first| number >= first);
            if lost {
                self.seal_anew(*id)?;
            } else if let Some(fragment) = self.state.fragments.get(id).cloned() {
                // It is there: asking again tells its place.
                self.append(edge, *id, fragment);
            }
        }
        tracing::debug!(%edge, fragments = ids.len(), "what was sealed with older keys was looked at");
        self.commit()
    }

    fn seal_anew(&mut self, id: FragmentId) -> Result<(), EngineError> {
        let (Some(fragment), Some(item)) = (
            self.state.fragments.get(&id).cloned(),
            self.state.items.get(&id).cloned(),
        ) else {
            return Ok(());
        };
        let kind = fragment.header().kind;
        let workspace = self.state.founding.workspace;
        let opened = self
            .state
            .keyring
            .find(&fragment.header().epoch_id)
            .and_then(|secrets| sealing::open(secrets, workspace, kind, &fragment).ok())
            .and_then(|bytes| Inner::decode(&bytes).ok().map(|(inner, _)| inner));
        let Some(mut inner) = opened else {
            return Ok(());
        };
        inner.control_head = self.state.control.head();
        if let Some(before) = self.own_item(inner.sequence - 1) {
            inner.previous = before;
        }
        let (fragment, hash) = self.seal_inner(&inner, kind)?;
        self.state.drop_item(id, &mut self.rows);
        let item = Item {
            hash: to_hex(&hash),
            bytes: fragment.len_bytes() as u64,
            ..item
        };
        let id = fragment.id();
        if inner.sequence == self.state.own.sequence {
            let own = super::rows::Own {
                sequence: inner.sequence,
                hash: to_hex(&hash),
                ..self.state.own.clone()
            };
            self.state.set_own(own, &mut self.rows);
        }
        self.state.keep_fragment(fragment, &mut self.rows);
        self.state.set_item(id, item, &mut self.rows);
        Ok(())
    }

    fn own_item(&self, sequence: u64) -> Option<[u8; 32]> {
        let here = self.state.device.id();
        let items = self.state.items.values();
        let item = items
            .filter(|item| item.device == here)
            .find(|item| item.sequence == sequence)?;
        Some(super::rows::hash_of(&item.hash))
    }
}

pub(super) fn part_of(key: DocKey, encoding: Encoding, outgoing: Outgoing) -> Part {
    Part {
        key,
        encoding,
        heads: outgoing.heads.iter().map(|head| head.0).collect(),
        body: PartBody::Inline(outgoing.bytes),
    }
}
