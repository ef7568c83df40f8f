//! Many small entries into few packs, and the check of packs that other devices made.
//!
//! A pack may drop nothing: whoever holds the entries that it stands for compares it with them, says so when something
//! is missing, and sends that again. The edge keeps what was superseded for some weeks. Start at `pack_where_due`.

use std::collections::{BTreeMap, BTreeSet};

use satchel_protocol::fragment::FragmentKind;
use satchel_protocol::id::{FragmentId, NodeFingerprint};

use super::documents::Documents;
use super::rows::{Item, PartNote, Peer, Wait};
use super::send::{MAX_BODY_BYTES, part_of};
use super::state::EngineError;
use super::store::SyncStore;
use super::{Attachments, Engine};
use crate::entry::{DocKey, Encoding, Inner, MAX_SUPERSEDES};
use crate::id::to_hex;

/// Entries are packed when there are so many: a new device then reads at most that many small fragments.
const PACK_ENTRIES: usize = 64;
/// Or so many bytes of them.
const PACK_BYTES: u64 = 256 << 10;
/// Or so few, when nothing was written for a while.
const IDLE_ENTRIES: usize = 16;
const IDLE_MS: u64 = 60_000;
/// Changes since a whole document are sent beside it until they are longer than a third of it (as Automerge itself
/// decides between its log and a snapshot), and than this.
const MIN_DELTA_BYTES: usize = 4 << 10;

/// Where the whole of a document, and the changes since then, lie at the moment.
#[derive(Default)]
struct Bases {
    whole: BTreeMap<DocKey, (FragmentId, PartNote)>,
    delta: BTreeMap<DocKey, FragmentId>,
}

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// Small entries that an edge has and that nothing stands for yet, oldest first.
    fn small_entries(&self) -> Vec<(FragmentId, &Item)> {
        let Some(edge) = self.packing_edge() else {
            return Vec::new();
        };
        let mut entries: Vec<(FragmentId, &Item)> = self
            .state
            .items
            .iter()
            .filter(|(_, item)| !item.pack && item.offset(&edge).is_some())
            .map(|(id, item)| (*id, item))
            .collect();
        entries.sort_by_key(|(_, item)| item.offset(&edge));
        entries
    }

    fn packing_edge(&self) -> Option<NodeFingerprint> {
        let links = self.state.links();
        let live = links
            .iter()
            .find(|link| {
                self.edges
                    .get(&link.fingerprint)
                    .is_some_and(super::edge::Edge::is_live)
            })?
            .fingerprint;
        Some(live)
    }

    /// The device whose entry is the newest packs: the others see its pack and need not.
    fn is_our_turn(&self, entries: &[(FragmentId, &Item)]) -> bool {
        let newest = entries.last().map(|(_, item)| item.device);
        newest == Some(self.state.device.id())
            || entries.len() >= 2 * PACK_ENTRIES
            || entries.iter().map(|(_, item)| item.bytes).sum::<u64>() >= 2 * PACK_BYTES
    }

    /// Whether something arrived that does not fit yet: a pack made now would leave it out.
    fn awaits_entries(&self) -> bool {
        let mut waiting = self.state.waiting.values();
        // What an edge invented, or a removed device wrote, waits for ever and keeps nobody from packing.
        waiting.any(|waiting| waiting.why == Wait::Gap)
    }

    pub(super) fn pack_due_ms(&self) -> Option<u64> {
        let entries = self.small_entries();
        (entries.len() >= IDLE_ENTRIES && self.is_our_turn(&entries) && !self.awaits_entries())
            .then_some(self.last_taken_ms + IDLE_MS)
    }

    pub(super) fn pack_where_due(&mut self) -> Result<(), EngineError> {
        if !self.may_write() || self.awaits_entries() {
            return Ok(());
        }
        let entries = self.small_entries();
        let (count, bytes) = (
            entries.len(),
            entries.iter().map(|(_, item)| item.bytes).sum::<u64>(),
        );
        let ours = self.is_our_turn(&entries);
        if count > self.entries_seen {
            self.last_taken_ms = self.now.monotonic_ms;
        }
        let idle = self.now.monotonic_ms >= self.last_taken_ms + IDLE_MS;
        self.entries_seen = count;
        let is_due =
            count >= PACK_ENTRIES || bytes >= PACK_BYTES || (idle && count >= IDLE_ENTRIES);
        if is_due && ours {
            self.pack()?;
            self.entries_seen = 0;
        }
        Ok(())
    }

    /// Puts everything that small entries brought into packs.
    ///
    /// # Errors
    /// [`EngineError`] when a document cannot be read or the store refuses.
    pub fn pack(&mut self) -> Result<(), EngineError> {
        let entries: Vec<(FragmentId, Vec<PartNote>)> = self
            .small_entries()
            .into_iter()
            .take(MAX_SUPERSEDES / 2)
            .map(|(id, item)| (id, item.parts.clone()))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let mut bases = self.bases();
        let mut touched: BTreeSet<DocKey> = entries
            .iter()
            .flat_map(|(_, parts)| parts.iter().filter_map(PartNote::doc))
            .collect();
        touched.extend(self.documents.prepare_pack()?);
        touched.extend(self.in_mostly_dead_packs(&bases, &touched));
        let (mut parts, mut bytes, mut left_out) = (Vec::new(), 0, BTreeSet::new());
        let mut packs = Vec::new();
        for key in &touched {
            let Some((encoding, outgoing)) = self.packed(*key, &bases)? else {
                bases.whole.remove(key);
                bases.delta.remove(key);
                continue;
            };
            if outgoing.bytes.len() > MAX_BODY_BYTES {
                // Too long for a pack: its entries stay as they are.
                left_out.insert(*key);
                continue;
            }
            if bytes + outgoing.bytes.len() > MAX_BODY_BYTES {
                packs.push(std::mem::take(&mut parts));
                bytes = 0;
            }
            bytes += outgoing.bytes.len();
            if encoding == Encoding::Save {
                bases.whole.remove(key);
            }
            bases.delta.remove(key);
            parts.push(part_of(*key, encoding, outgoing));
        }
        packs.push(parts);
        let stands_for = |parts: &[PartNote]| {
            let mut docs = parts.iter().filter_map(PartNote::doc);
            !docs.any(|key| left_out.contains(&key))
        };
        let mut superseded: Vec<FragmentId> = entries
            .iter()
            .filter(|(_, parts)| stands_for(parts))
            .map(|(id, _)| *id)
            .collect();
        superseded.extend(self.dead_packs(&bases));
        superseded.truncate(MAX_SUPERSEDES);
        if superseded.is_empty() {
            return Ok(());
        }
        let last = packs.len() - 1;
        for (number, parts) in packs.into_iter().enumerate() {
            // Only the last one stands for the entries: before it not everything is there.
            let superseded = if number == last { &superseded[..] } else { &[] };
            if !parts.is_empty() || !superseded.is_empty() {
                self.make_item(FragmentKind::Pack, parts, superseded)?;
            }
        }
        Ok(())
    }

    /// A document as it goes into a pack: whole, or the changes since it was last packed whole.
    fn packed(
        &mut self,
        key: DocKey,
        bases: &Bases,
    ) -> Result<Option<(Encoding, super::Outgoing)>, EngineError> {
        if let Some((_, base)) = bases.whole.get(&key)
            && let Some(delta) = self.documents.since(key, &base.heads())?
        {
            let longest = MIN_DELTA_BYTES.max(base.bytes as usize / 3);
            if delta.bytes.len() <= longest {
                return Ok(Some((Encoding::Changes, delta)));
            }
        }
        let whole = self.documents.snapshot(key)?;
        Ok(whole.map(|whole| (Encoding::Save, whole)))
    }

    fn bases(&self) -> Bases {
        let mut packs: Vec<(&FragmentId, &Item)> = self
            .state
            .items
            .iter()
            .filter(|(_, item)| item.pack)
            .collect();
        packs.sort_by_key(|(id, item)| (item.offsets.values().min().copied(), item.sequence, **id));
        let mut bases = Bases::default();
        for (id, item) in packs {
            for part in &item.parts {
                let Some(key) = part.doc() else {
                    continue;
                };
                if part.whole {
                    bases.whole.insert(key, (*id, part.clone()));
                    bases.delta.remove(&key);
                } else {
                    bases.delta.insert(key, *id);
                }
            }
        }
        bases
    }

    fn live_docs<'a>(
        bases: &'a Bases,
        id: &'a FragmentId,
    ) -> impl Iterator<Item = DocKey> + use<'a, D, S> {
        let whole = bases.whole.iter().filter(move |(_, (base, _))| base == id);
        let delta = bases.delta.iter().filter(move |(_, delta)| *delta == id);
        whole.map(|(key, _)| *key).chain(delta.map(|(key, _)| *key))
    }

    /// Packs in which nothing is of use any more.
    fn dead_packs(&self, bases: &Bases) -> Vec<FragmentId> {
        let packs = self.state.items.iter().filter(|(_, item)| item.pack);
        packs
            .filter(|(id, _)| Self::live_docs(bases, id).next().is_none())
            .map(|(id, _)| *id)
            .collect()
    }

    /// Documents in packs of which most is dead, so that the packs can go.
    fn in_mostly_dead_packs(&self, bases: &Bases, touched: &BTreeSet<DocKey>) -> Vec<DocKey> {
        let mut docs = Vec::new();
        for (id, item) in self.state.items.iter().filter(|(_, item)| item.pack) {
            let live: BTreeSet<DocKey> = Self::live_docs(bases, id)
                .filter(|key| !touched.contains(key))
                .collect();
            let all: u64 = item.parts.iter().map(|part| part.bytes).sum();
            let alive: u64 = item
                .parts
                .iter()
                .filter(|part| part.doc().is_some_and(|key| live.contains(&key)))
                .map(|part| part.bytes)
                .sum();
            if alive < all / 2 {
                docs.extend(live);
            }
        }
        docs
    }

    /// Counts as taken in what a pack stands for; says whether anything was new.
    pub(super) fn believe_covers(&mut self, inner: &Inner) -> bool {
        let mut is_new = false;
        for covered in &inner.covers {
            let known = self.state.peers.get(&covered.device);
            if covered.device != self.state.device.id()
                && known.is_none_or(|peer| peer.sequence < covered.sequence)
            {
                let peer = Peer {
                    sequence: covered.sequence,
                    hash: to_hex(&covered.hash),
                    created_ms: known.map_or(inner.created_ms, |peer| peer.created_ms),
                    arrived_ms: self.now.wall_ms,
                };
                self.state.set_peer(covered.device, peer, &mut self.rows);
                is_new = true;
            }
        }
        is_new
    }

    /// Believes a pack of another device as far as it holds what it stands for.
    pub(super) fn accept_pack(&mut self, id: FragmentId, inner: &Inner) -> Result<(), EngineError> {
        self.believe_covers(inner);
        let mut lost = BTreeSet::new();
        let superseded: Vec<(FragmentId, Item)> = inner
            .supersedes
            .iter()
            .filter(|superseded| **superseded != id)
            .filter_map(|id| Some((*id, self.state.items.get(id)?.clone())))
            .collect();
        let gone: BTreeSet<FragmentId> = superseded.iter().map(|(id, _)| *id).collect();
        for (_, item) in &superseded {
            for part in &item.parts {
                let Some(key) = part.doc().filter(|key| !lost.contains(key)) else {
                    continue;
                };
                if !self.is_packed(key, part, &gone)? {
                    lost.insert(key);
                }
            }
        }
        for (id, _) in &superseded {
            self.state.drop_item(*id, &mut self.rows);
        }
        if !lost.is_empty() {
            let label = self.label_of(&inner.device);
            let words = format!(
                "The laptop “{label}” packed entries and left something out. This laptop has it and sends it again; nothing is lost."
            );
            self.state.warn(self.now.wall_ms, words, &mut self.rows);
        }
        for key in lost {
            self.state.set_shared(key, Vec::new(), &mut self.rows);
            self.sending.note(vec![(key, None)], self.now);
        }
        Ok(())
    }

    /// Whether some pack that stays holds what a superseded part brought.
    fn is_packed(
        &mut self,
        key: DocKey,
        part: &PartNote,
        gone: &BTreeSet<FragmentId>,
    ) -> Result<bool, EngineError> {
        let wanted = part.heads();
        let packed: Vec<Vec<_>> = self
            .state
            .items
            .iter()
            .filter(|(id, item)| item.pack && !gone.contains(id))
            .flat_map(|(_, item)| item.parts.iter())
            .filter(|part| part.doc() == Some(key))
            .map(PartNote::heads)
            .collect();
        if packed.contains(&wanted) {
            return Ok(true);
        }
        if !packed.is_empty() && self.documents.snapshot(key)?.is_none() {
            // Removed here; nobody needs it.
            return Ok(true);
        }
        for heads in packed {
            if !self.documents.lacks(key, &heads, &wanted)? {
                return Ok(true);
            }
        }
        // A document that was removed is in no pack.
        Ok(self.documents.snapshot(key)?.is_none())
    }
}
