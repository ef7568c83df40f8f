//! What arrives: opened, judged, taken in; or kept waiting, kept apart, refused with a word to the user.
//!
//! Nothing is believed: not the edge (seal, signature, sequence and membership are checked), not a member (sizes,
//! authorship and roles are checked before Automerge sees a byte). Start at `receive`.

use std::collections::{BTreeMap, BTreeSet};

use automerge::ChangeHash;
use satchel_protocol::fragment::{EncryptedFragment, FragmentKind};
use satchel_protocol::id::{FragmentId, NodeFingerprint, Offset};

use super::documents::{Documents, Incoming, Outcome};
use super::rows::{EdgeKey, Item, PartNote, Peer, Wait};
use super::state::{EngineError, Place, Waiting};
use super::store::SyncStore;
use super::{Action, Attachments, Engine};
use crate::entry::{DocKey, Inner, PartBody, inner_hash};
use crate::id::{DeviceId, to_hex};
use crate::member::Role;
use crate::sealing;

/// Entries that are kept until they can be used: 32 of the longest, or a hundred thousand small ones.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// An entry that was opened and found to be a member's.
struct Opened {
    id: FragmentId,
    fragment: EncryptedFragment,
    pack: bool,
    inner: Inner,
    hash: [u8; 32],
}

/// Why a fragment is not taken in.
enum Unfit {
    Wait(Wait),
    /// For good: it is altered, forged, or of somebody who may not write.
    Refuse(String),
    /// This device wrote it, and does not know: its data are older than what it sent.
    Copied,
}

/// How far each device's entries will have been taken in, and the hash of the last.
type Ahead = BTreeMap<DeviceId, (u64, [u8; 32])>;

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// Takes in entries in the order of an edge's log.
    pub(super) fn receive(
        &mut self,
        edge: NodeFingerprint,
        entries: Vec<(Offset, EncryptedFragment)>,
    ) -> Result<(), EngineError> {
        let mut fresh = Vec::new();
        for (offset, fragment) in entries {
            let id = fragment.id();
            if let Some(mut item) = self.state.items.get(&id).cloned() {
                if item.offset(&edge) != Some(offset) {
                    item.set_offset(edge, offset);
                    self.state.set_item(id, item, &mut self.rows);
                }
                continue;
            }
            fresh.push(((edge, offset), fragment));
        }
        self.judge_all(edge, fresh)
    }

    /// Looks again at what waits for one of these reasons.
    pub(super) fn retry_waiting(
        &mut self,
        edge: NodeFingerprint,
        reasons: &[Wait],
    ) -> Result<(), EngineError> {
        let waiting: Vec<_> = self
            .state
            .waiting
            .values()
            .filter(|waiting| reasons.contains(&waiting.why))
            .map(|waiting| (waiting.place, waiting.fragment.clone()))
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        self.judge_all(edge, waiting)
    }

    /// Judges fragments until none of them leads any further.
    fn judge_all(
        &mut self,
        edge: NodeFingerprint,
        mut fragments: Vec<(Place, EncryptedFragment)>,
    ) -> Result<(), EngineError> {
        loop {
            let batch = self.judge(edge, std::mem::take(&mut fragments));
            if batch.is_empty() || !self.take_in(batch)? {
                return self.commit();
            }
            // What waited for one of these may fit now.
            let gaps = self.state.waiting.values();
            fragments = gaps
                .filter(|waiting| waiting.why == Wait::Gap)
                .map(|waiting| (waiting.place, waiting.fragment.clone()))
                .collect();
            if fragments.is_empty() {
                return self.commit();
            }
        }
    }

    /// Those that can be taken in, each after what it builds on: an edge may have stored them in another order.
    fn judge(
        &mut self,
        edge: NodeFingerprint,
        fragments: Vec<(Place, EncryptedFragment)>,
    ) -> Vec<(Place, Opened)> {
        let mut unplaced = Vec::new();
        for (place, fragment) in fragments {
            match self.open_entry(&fragment) {
                Ok((inner, hash)) => unplaced.push((
                    place,
                    Opened {
                        id: fragment.id(),
                        pack: fragment.header().kind == FragmentKind::Pack,
                        fragment,
                        inner,
                        hash,
                    },
                )),
                Err(unfit) => self.set_aside(edge, place, fragment, unfit),
            }
        }
        let (mut batch, mut ahead) = (Vec::new(), Ahead::new());
        loop {
            let mut later = Vec::new();
            let before = unplaced.len();
            for (place, opened) in unplaced {
                match self.check_place(&opened, &ahead) {
                    Ok(()) => {
                        self.look_ahead(&opened, &mut ahead);
                        batch.push((place, opened));
                    }
                    Err(Unfit::Wait(Wait::Gap)) => later.push((place, opened)),
                    Err(unfit) => self.set_aside(edge, place, opened.fragment, unfit),
                }
            }
            if later.is_empty() || later.len() == before {
                for (place, opened) in later {
                    self.set_aside(edge, place, opened.fragment, Unfit::Wait(Wait::Gap));
                }
                return batch;
            }
            unplaced = later;
        }
    }

    /// Counts an entry and what it stands for as taken in.
    fn look_ahead(&self, opened: &Opened, ahead: &mut Ahead) {
        let inner = &opened.inner;
        if inner.sequence > self.sequence_of(&inner.device, ahead).0 {
            ahead.insert(inner.device, (inner.sequence, opened.hash));
        }
        for covered in &inner.covers {
            if covered.sequence > self.sequence_of(&covered.device, ahead).0 {
                ahead.insert(covered.device, (covered.sequence, covered.hash));
            }
        }
    }

    fn set_aside(
        &mut self,
        edge: NodeFingerprint,
        place: Place,
        fragment: EncryptedFragment,
        unfit: Unfit,
    ) {
        match unfit {
            Unfit::Wait(why) => {
                // Once for each: what nobody made would have the log read for ever.
                let is_new = !self.state.waiting.contains_key(&fragment.id());
                if is_new && matches!(why, Wait::Membership | Wait::Keys) {
                    self.read_control(edge);
                }
                self.keep_waiting(Waiting {
                    why,
                    place,
                    fragment,
                });
            }
            Unfit::Copied => self.stop_as_copy(),
            Unfit::Refuse(words) => {
                self.state.stop_waiting(fragment.id(), &mut self.rows);
                self.state.warn(self.now.wall_ms, words, &mut self.rows);
                self.actions.push(Action::StatusChanged);
            }
        }
    }

    /// Keeps what cannot be used yet, as far as there is room: an edge can invent more than any disk holds.
    fn keep_waiting(&mut self, waiting: Waiting) {
        let known = self.state.waiting.contains_key(&waiting.fragment.id());
        let bytes = self.state.waiting_bytes + waiting.fragment.len_bytes();
        if known || bytes <= MAX_WAITING_BYTES {
            self.state.wait(waiting, &mut self.rows);
        } else {
            let words = "More entries have arrived that cannot be used yet than this laptop keeps. They are asked for again after the next connection.";
            self.state
                .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
        }
    }

    fn sequence_of(&self, device: &DeviceId, ahead: &Ahead) -> (u64, [u8; 32]) {
        let here = self.state.device.id();
        if *device == here {
            return (self.state.own.sequence, self.state.own_hash());
        }
        ahead.get(device).copied().unwrap_or_else(|| {
            let peer = self.state.peers.get(device);
            peer.map_or((0, [0; 32]), |peer| {
                (peer.sequence, super::rows::hash_of(&peer.hash))
            })
        })
    }

    /// Opens a fragment that a member made who may write; also gives the hash that the next one names.
    fn open_entry(&self, fragment: &EncryptedFragment) -> Result<(Inner, [u8; 32]), Unfit> {
        let refuse = |words: &str| Err(Unfit::Refuse(words.to_owned()));
        let altered = || {
            refuse(
                "An edge node sent an entry that nobody in this workspace made, or that was altered. It was not used.",
            )
        };
        let kind = fragment.header().kind;
        if !matches!(kind, FragmentKind::Entry | FragmentKind::Pack) {
            return altered();
        }
        let Some(secrets) = self.state.keyring.find(&fragment.header().epoch_id) else {
            return Err(Unfit::Wait(Wait::Keys));
        };
        let workspace = self.state.founding.workspace;
        let Ok(bytes) = sealing::open(secrets, workspace, kind, fragment) else {
            return altered();
        };
        let Ok((inner, signed)) = Inner::decode(&bytes) else {
            return refuse(
                "An entry of another laptop is not understood: update Satchel on this one.",
            );
        };
        let Some(member) = self.state.control.member(&inner.device) else {
            return Err(Unfit::Wait(Wait::Membership));
        };
        if !self.state.control.knows_head(&inner.control_head) {
            return Err(Unfit::Wait(Wait::Membership));
        }
        let signature = signed.verify(&member.public, workspace, secrets.id(), kind);
        if signature.is_err() {
            return altered();
        }
        let label = &member.label;
        let role = self
            .state
            .control
            .role_at(&inner.device, &inner.control_head);
        match role {
            Some(Role::Owner | Role::Writer) => {}
            Some(Role::Reader) => {
                return refuse(&format!(
                    "The laptop “{label}” may only read, but wrote something. It was not used."
                ));
            }
            None => {
                return refuse(&format!(
                    "Something was written as the laptop “{label}” when it was no member. It was not used."
                ));
            }
        }
        if let Some(removal) = &member.removed
            && inner.sequence > removal.last_accepted
        {
            return Err(Unfit::Wait(Wait::Late));
        }
        let hash = inner_hash(&bytes);
        Ok((inner, hash))
    }

    /// Whether an entry follows what is here of its device.
    fn check_place(&self, opened: &Opened, ahead: &Ahead) -> Result<(), Unfit> {
        let Opened { inner, hash, .. } = opened;
        let (known, known_hash) = self.sequence_of(&inner.device, ahead);
        let is_ours = inner.device == self.state.device.id();
        if inner.sequence == known && *hash != known_hash {
            let label = self.label_of(&inner.device);
            return Err(Unfit::Refuse(if is_ours {
                "A copy of this laptop's data writes as this laptop. Remove one of the two on another laptop and pair it anew."
                    .to_owned()
            } else {
                format!(
                    "The laptop “{label}” exists twice: two copies of it wrote different things. Remove it on another laptop and pair it anew."
                )
            }));
        }
        if inner.sequence <= known {
            // A pack may have said that it stands for this; what is still there is taken in all the same.
            return Ok(());
        }
        if is_ours {
            return Err(Unfit::Copied);
        }
        let follows = inner.sequence == known + 1 && inner.previous == known_hash;
        // A pack stands for what it covers; before that nothing need have arrived.
        let covers_gap = opened.pack
            && inner.covers.iter().any(|covered| {
                covered.device == inner.device && covered.sequence + 1 == inner.sequence
            });
        if follows || covers_gap {
            return Ok(());
        }
        if inner.sequence == known + 1 {
            let label = self.label_of(&inner.device);
            return Err(Unfit::Refuse(format!(
                "An entry of the laptop “{label}” does not fit the one before it. It was not used."
            )));
        }
        Err(Unfit::Wait(Wait::Gap))
    }

    /// Says whether anything that waits may be of use now.
    fn take_in(&mut self, batch: Vec<(Place, Opened)>) -> Result<bool, EngineError> {
        let (mut parts, mut owners, mut bodies) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (_, opened)) in batch.iter().enumerate() {
            for part in &opened.inner.parts {
                let bytes = match &part.body {
                    PartBody::Inline(bytes) => bytes,
                    PartBody::Blobs { .. } => {
                        bodies.push((number, part.clone()));
                        continue;
                    }
                };
                owners.push(number);
                parts.push(Incoming {
                    key: part.key,
                    encoding: part.encoding,
                    heads: part.heads.iter().copied().map(ChangeHash).collect(),
                    bytes: bytes.clone(),
                    author: (!opened.pack).then_some(opened.inner.device),
                    long: false,
                });
            }
        }
        let keys: Vec<(DocKey, Vec<ChangeHash>)> = parts
            .iter()
            .map(|part| (part.key, part.heads.clone()))
            .collect();
        let (outcomes, arrival) = self.documents.apply(parts)?;
        let mut missing = vec![false; batch.len()];
        let mut unusable = vec![false; batch.len()];
        let mut refusals = Vec::new();
        let mut list_came = false;
        for ((outcome, (key, heads)), owner) in outcomes.into_iter().zip(keys).zip(owners) {
            match outcome {
                Outcome::Applied { current } => {
                    list_came |= key == DocKey::INDEX;
                    self.note_shared(key, heads, current);
                }
                Outcome::Missing => missing[owner] = true,
                Outcome::Removed => {}
                Outcome::Refused(words) => refusals.push((owner, words)),
            }
        }
        for (owner, words) in refusals {
            unusable[owner] = true;
            let label = self.label_of(&batch[owner].1.inner.device);
            let words = format!("A change of the laptop “{label}” could not be used: {words}.");
            self.state.warn(self.now.wall_ms, words, &mut self.rows);
        }
        for (owner, part) in bodies {
            let author = (!batch[owner].1.pack).then_some(batch[owner].1.inner.device);
            self.want_body(part, author);
        }
        let mut progress = false;
        // Nothing of a device is counted as taken in while something before it is not.
        let mut blocked = BTreeSet::new();
        for (number, (place, opened)) in batch.into_iter().enumerate() {
            if missing[number] {
                blocked.insert(opened.inner.device);
                // What it builds on may be in a pack that waits for what this one stands for.
                progress |= opened.pack && self.believe_covers(&opened.inner);
            }
            if blocked.contains(&opened.inner.device) {
                let waiting = Waiting {
                    why: Wait::Gap,
                    place,
                    fragment: opened.fragment,
                };
                self.state.wait(waiting, &mut self.rows);
            } else {
                progress = true;
                self.remember(place, opened, unusable[number])?;
            }
        }
        if self.state.awaits_index && self.state.shared.contains_key(&DocKey::INDEX) {
            self.state.index_has_come(&mut self.rows);
            self.documents.index_has_come();
        }
        for kept in &arrival.kept {
            // The remover threw its copy away: it needs the whole document again.
            let key = DocKey::document(*kept);
            self.state.set_shared(key, Vec::new(), &mut self.rows);
            self.sending.note(vec![(key, None)], self.now);
        }
        for removed in &arrival.removed {
            let key = DocKey::document(*removed);
            self.state.set_shared(key, Vec::new(), &mut self.rows);
        }
        if list_came {
            // It says where files lie, even where no document in it is new.
            self.attach.look_again();
        }
        if !arrival.is_empty() {
            self.actions.push(Action::Arrived(arrival));
        }
        self.commit()?;
        Ok(progress)
    }

    /// Notes that the other devices can have a document as of `heads`.
    pub(super) fn note_shared(
        &mut self,
        key: DocKey,
        heads: Vec<ChangeHash>,
        current: Vec<ChangeHash>,
    ) {
        let mut shared = self.state.shared.get(&key).cloned().unwrap_or_default();
        for head in heads {
            if !shared.contains(&head) {
                shared.push(head);
            }
        }
        if current.iter().all(|head| shared.contains(head)) {
            shared = current;
        } else {
            // Something of ours is in it that the others do not have.
            self.sending.note(vec![(key, None)], self.now);
        }
        self.state.set_shared(key, shared, &mut self.rows);
    }

    /// Remembers an entry whose parts are durable.
    fn remember(
        &mut self,
        place: Place,
        opened: Opened,
        unusable: bool,
    ) -> Result<(), EngineError> {
        let Opened {
            id,
            fragment,
            pack,
            inner,
            hash,
        } = opened;
        self.state.stop_waiting(id, &mut self.rows);
        let peer = Peer {
            sequence: inner.sequence,
            hash: to_hex(&hash),
            created_ms: inner.created_ms,
            arrived_ms: self.now.wall_ms,
        };
        let here = inner.device == self.state.device.id();
        if !here && inner.sequence > self.sequence_of(&inner.device, &BTreeMap::new()).0 {
            self.state.set_peer(inner.device, peer, &mut self.rows);
        }
        let offsets = BTreeMap::from([(EdgeKey(place.0), place.1.0)]);
        let item = Item {
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
            offsets,
            lost: BTreeSet::new(),
            ranges: BTreeMap::new(),
        };
        self.state.set_item(id, item, &mut self.rows);
        if self.edges.len() > 1 && !pack {
            // Another edge may lack it, and its author may not come back.
            self.state.keep_fragment(fragment, &mut self.rows);
        }
        self.compare_views(&inner);
        if pack && !unusable {
            self.accept_pack(id, &inner)?;
        }
        self.actions.push(Action::StatusChanged);
        Ok(())
    }

    pub(super) fn label_of(&self, device: &DeviceId) -> String {
        let member = self.state.control.member(device);
        member.map_or_else(|| device.short(), |member| member.label.clone())
    }

    /// Compares what a member saw of the edges and of the other devices with what this device sees.
    fn compare_views(&mut self, inner: &Inner) {
        for seen in &inner.seen {
            let known = self.seen.entry(seen.device).or_insert(0);
            *known = (*known).max(seen.sequence);
        }
        for observed in &inner.observed {
            let Some(edge) = self.edges.get(&observed.edge) else {
                continue;
            };
            if edge
                .chain_before(observed.offset)
                .is_some_and(|chain| chain != observed.chain)
            {
                let label = self.label_of(&inner.device);
                let words = format!(
                    "An edge node shows this laptop another history than the laptop “{label}”. What arrives is checked all the same; use another node."
                );
                self.state.warn(self.now.wall_ms, words, &mut self.rows);
            }
        }
    }
}
