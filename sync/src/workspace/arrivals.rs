//! Takes in what other devices wrote.
//!
//! What arrives is checked before Automerge sees it, and durable before it is reported. A whole document that is
//! new here is stored as it came and read when somebody asks for it. Start at `Workspace::take_in`.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::PoisonError;

use automerge::{Automerge, ChangeHash};

use super::contents::{Change, IndexedDocument};
use super::documents::{heads_text, parse_heads};
use super::entry::DocumentEntry;
use super::error::SaveError;
use super::journal::{self, Journal, Place};
use super::{Workspace, chat_place, document_place, remove_files};
use crate::chat::ChatDocument;
use crate::document::{TextDocument, pack_foreign_snapshot, unpack};
use crate::durable;
use crate::engine::parts::{check_size, inspect, merge_part};
use crate::engine::{Arrival, Incoming, Outcome};
use crate::entry::{DocKey, DocKind, Encoding};
use crate::id::{ContentHash, DocumentId, ThreadId};

/// Parts that are taken in together, and what became of them.
struct Batch<'a> {
    parts: &'a [Incoming],
    /// One for each part.
    outcomes: Vec<Outcome>,
    arrival: Arrival,
    states: HashMap<DocumentId, State>,
}

/// A document that parts are being merged into.
struct Merging {
    doc: Automerge,
    journal: Option<Journal>,
}

/// A document as it is after a batch, and what is to be written for that.
struct Merged {
    state: State,
    write: Write,
}

/// What is known of a document after a batch.
struct State {
    /// `None` where it was not there.
    heads_before: Option<Vec<ChangeHash>>,
    heads: Vec<ChangeHash>,
    /// `None` where it was not read.
    text: Option<String>,
}

enum Write {
    File(PathBuf, Vec<u8>),
    Frame(Box<(Journal, Vec<u8>, Vec<ChangeHash>)>),
}

impl Workspace {
    /// Takes in parts of other devices: documents and chats first, then the index, as in a batch of our own.
    pub(super) fn take_in(&self, parts: &[Incoming]) -> Result<(Vec<Outcome>, Arrival), SaveError> {
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let outcomes = vec![Outcome::Missing; parts.len()];
        let mut by_key: BTreeMap<DocKey, Vec<usize>> = BTreeMap::new();
        for (number, part) in parts.iter().enumerate() {
            by_key.entry(part.key).or_default().push(number);
        }
        let index_parts = by_key.remove(&DocKey::INDEX).unwrap_or_default();
        let (removed, wanted): (Vec<_>, Vec<_>) = by_key
            .into_iter()
            .partition(|(key, _)| self.is_removed(*key));
        let mut batch = Batch {
            parts,
            outcomes,
            arrival: Arrival::default(),
            states: HashMap::new(),
        };
        self.take_in_documents(wanted, &mut batch)?;
        if !index_parts.is_empty() {
            let files: Vec<ContentHash> = self.index().contents().files().collect();
            for number in index_parts {
                let (outcome, changes) = self.merge_index(&parts[number]);
                batch.outcomes[number] = outcome;
                self.follow_index(changes, &mut batch.arrival)?;
            }
            self.remove_unneeded(files);
        }
        // What somebody kept comes back with the list that says so, in one batch where this laptop was away.
        let (removed, back): (Vec<_>, Vec<_>) = removed
            .into_iter()
            .partition(|(key, _)| self.is_removed(*key));
        for number in removed.into_iter().flat_map(|(_, numbers)| numbers) {
            batch.outcomes[number] = Outcome::Removed;
        }
        self.take_in_documents(back, &mut batch)?;
        let Batch {
            outcomes,
            mut arrival,
            states,
            ..
        } = batch;
        arrival.documents.sort_unstable();
        arrival.documents.dedup();
        self.follow_documents(&arrival.documents, &states)?;
        arrival.threads.sort_unstable();
        arrival.threads.dedup();
        Ok((outcomes, arrival))
    }

    /// Merges parts of documents and chats, given by their numbers in the batch, and makes them durable.
    fn take_in_documents(
        &self,
        wanted: Vec<(DocKey, Vec<usize>)>,
        batch: &mut Batch<'_>,
    ) -> Result<(), SaveError> {
        let threads = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let merged = durable::in_parallel(threads, &wanted, |(key, numbers)| {
            let chosen: Vec<&Incoming> =
                numbers.iter().map(|number| &batch.parts[*number]).collect();
            self.merge_into(*key, &chosen)
        })?;
        let mut writes = Vec::new();
        for ((key, numbers), (results, merged)) in wanted.into_iter().zip(merged) {
            for (number, result) in numbers.into_iter().zip(results) {
                batch.outcomes[number] = result;
            }
            let Some(Merged { state, write }) = merged else {
                continue;
            };
            match key.kind {
                DocKind::Document => {
                    let id = DocumentId(key.id);
                    batch.arrival.documents.push(id);
                    batch.states.insert(id, state);
                }
                DocKind::Chat => batch.arrival.threads.push(ThreadId(key.id)),
                DocKind::Index => {}
            }
            writes.push(write);
        }
        self.write_merged(writes)
    }

    fn is_removed(&self, key: DocKey) -> bool {
        let index = self.index();
        let contents = index.contents();
        contents.removed.contains_key(&key.id)
            && !contents.documents.contains_key(&DocumentId(key.id))
            && !contents.threads.contains_key(&ThreadId(key.id))
    }

    fn merge_into(
        &self,
        key: DocKey,
        parts: &[&Incoming],
    ) -> Result<(Vec<Outcome>, Option<Merged>), SaveError> {
        let place = self.place_of(key);
        if let ([part], false) = (parts, place.path.exists())
            && part.encoding == Encoding::Save
        {
            return self.store_as_it_came(&place, part);
        }
        let mut merging = self.open_merging(key, &place)?;
        let before = merging.doc.get_heads();
        let mut outcomes = Vec::with_capacity(parts.len());
        for part in parts {
            let heads = merging.doc.get_heads();
            let outcome = match merge_part(&mut merging.doc, part) {
                Outcome::Applied { .. } if !is_usable(key, &merging.doc) => {
                    Outcome::Refused("it is not what it should be".to_owned())
                }
                outcome => outcome,
            };
            if matches!(outcome, Outcome::Refused(_)) {
                // What was merged before it is kept.
                merging.doc = match merging.doc.fork_at(&heads) {
                    Ok(doc) if !heads.is_empty() => doc,
                    _ => Automerge::new(),
                };
            }
            outcomes.push(outcome);
        }
        if merging.doc.get_heads() == before || !is_usable(key, &merging.doc) {
            return Ok((outcomes, None));
        }
        let merged = self.merged(key, place, before, merging)?;
        Ok((outcomes, merged))
    }

    fn open_merging(&self, key: DocKey, place: &Place) -> Result<Merging, SaveError> {
        if !place.path.exists() {
            return Ok(Merging {
                doc: self.author.new_document(),
                journal: None,
            });
        }
        match journal::read_and_repair(&self.keys, place)? {
            Ok(loaded) => {
                if let Some(damage) = &loaded.scan.damage {
                    self.report(damage.clone());
                }
                let journal = Journal::open(place.clone(), &loaded.scan)?;
                Ok(Merging {
                    doc: loaded.doc,
                    journal: Some(journal),
                })
            }
            Err(damage) => {
                tracing::debug!(kind = ?key.kind, "a damaged document is taken from the other devices");
                self.report(damage);
                Ok(Merging {
                    doc: self.author.new_document(),
                    journal: None,
                })
            }
        }
    }

    /// A whole document that is new here: its heads are compared when it is read.
    fn store_as_it_came(
        &self,
        place: &Place,
        part: &Incoming,
    ) -> Result<(Vec<Outcome>, Option<Merged>), SaveError> {
        if let Err(error) = check_size(part) {
            return Ok((vec![Outcome::Refused(error.to_string())], None));
        }
        let Some(frame) = pack_foreign_snapshot(&part.heads, &part.bytes) else {
            let words = "it names no heads, or too many".to_owned();
            return Ok((vec![Outcome::Refused(words)], None));
        };
        let mut heads = part.heads.clone();
        heads.sort_unstable();
        let bytes = journal::encode_frame(&self.keys, place.name, &frame)?;
        let merged = Merged {
            state: State {
                heads_before: None,
                heads,
                text: None,
            },
            write: Write::File(place.path.clone(), bytes),
        };
        let outcome = Outcome::Applied {
            current: part.heads.clone(),
        };
        Ok((vec![outcome], Some(merged)))
    }

    fn merged(
        &self,
        key: DocKey,
        place: Place,
        before: Vec<ChangeHash>,
        Merging { doc, journal }: Merging,
    ) -> Result<Option<Merged>, SaveError> {
        let heads = doc.get_heads();
        let (doc, text) = match key.kind {
            DocKind::Document => {
                let document = TextDocument::from_automerge(doc)
                    .map_err(|error| SaveError::load(&place.path, error))?;
                let text = document.text().ok();
                (document.into_automerge(), text)
            }
            _ => (doc, None),
        };
        let rendering = text.as_deref().map(str::as_bytes);
        let (heads_before, write) = match journal {
            Some(journal) => {
                let Some(frame) = journal.pending(&doc, rendering)? else {
                    return Ok(None);
                };
                let frame = Box::new((journal, frame, heads.clone()));
                (Some(before), Write::Frame(frame))
            }
            None => {
                let bytes = journal::encode_new(&self.keys, place.name, &doc, rendering)?;
                (None, Write::File(place.path, bytes))
            }
        };
        let state = State {
            heads_before,
            heads,
            text,
        };
        Ok(Some(Merged { state, write }))
    }

    fn write_merged(&self, writes: Vec<Write>) -> Result<(), SaveError> {
        let (mut files, mut frames) = (Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::File(path, bytes) => files.push((path, bytes)),
                Write::Frame(frame) => frames.push(std::sync::Mutex::new(*frame)),
            }
        }
        let needed_bytes = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        durable::write_all(&files)
            .map_err(|error| SaveError::io(&self.dir, needed_bytes, error))?;
        durable::in_parallel(durable::WRITE_THREADS, &frames, |frame| {
            let (journal, frame, heads) =
                &mut *frame.lock().unwrap_or_else(PoisonError::into_inner);
            journal.append(&self.keys, frame, heads.clone())
        })?;
        Ok(())
    }

    fn merge_index(&self, part: &Incoming) -> (Outcome, Vec<Change>) {
        match inspect(part) {
            Ok(true) => {}
            Ok(false) => {
                let words = "it holds changes that are signed as another device's".to_owned();
                return (Outcome::Refused(words), Vec::new());
            }
            Err(error) => return (Outcome::Refused(error.to_string()), Vec::new()),
        }
        let mut index = self.index();
        let awaits_first = index.contents().is_untouched() && self.awaits_index();
        let merged = if awaits_first && part.encoding == Encoding::Save {
            index.replace(&self.keys, &part.bytes)
        } else {
            index.merge(&self.keys, &part.bytes)
        };
        let changes = match merged {
            Ok(changes) => changes,
            Err(error) => return (Outcome::Refused(error.to_string()), Vec::new()),
        };
        let current = index.heads().to_vec();
        let complete = match index.automerge(&self.keys) {
            Ok(doc) => part
                .heads
                .iter()
                .all(|head| doc.get_change_meta_by_hash(head).is_some()),
            Err(_) => false,
        };
        if complete {
            (Outcome::Applied { current }, changes)
        } else {
            (Outcome::Missing, changes)
        }
    }

    /// Does what changes of the index ask for: forgets what others removed, or keeps what they did not know.
    fn follow_index(&self, changes: Vec<Change>, arrival: &mut Arrival) -> Result<(), SaveError> {
        let (mut gone, mut back) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Document(document) => arrival.documents.push(document.entry.id),
                Change::Thread(thread) => arrival.threads.push(thread.id),
                Change::RemoveThread(id) => gone.push(chat_place(&self.dir, id).path),
                Change::RemoveDocument(id) => match self.unknown_to_remover(id)? {
                    Some(indexed) => back.push(indexed),
                    None => {
                        gone.push(document_place(&self.dir, id).path);
                        arrival.removed.push(id);
                    }
                },
                _ => {}
            }
        }
        arrival
            .kept
            .extend(back.iter().map(|document| document.entry.id));
        if !back.is_empty() {
            let back = back.into_iter().map(Change::Document).collect();
            self.index().change(&self.keys, back)?;
        }
        remove_files(gone);
        Ok(())
    }

    /// The entry of a document that another device removed without knowing the latest of our edits.
    fn unknown_to_remover(&self, id: DocumentId) -> Result<Option<IndexedDocument>, SaveError> {
        let place = document_place(&self.dir, id);
        let Ok(Ok(loaded)) = journal::read(&self.keys, &place) else {
            return Ok(None);
        };
        let doc = loaded.doc;
        let known = {
            let index = self.index();
            let heads = index.contents().removed.get(&id.0).cloned();
            parse_heads(&heads.unwrap_or_default())
        };
        let here = doc.get_heads();
        let knows_all = known
            .iter()
            .all(|head| doc.get_change_meta_by_hash(head).is_some());
        if known.is_empty() || !knows_all || here == known {
            return Ok(None);
        }
        let Ok(document) = TextDocument::from_automerge(doc) else {
            return Ok(None);
        };
        let entry = DocumentEntry::of(id, &document).ok();
        Ok(entry.map(|entry| IndexedDocument {
            entry,
            heads: heads_text(&here),
        }))
    }

    /// Makes entries say what the documents are now. `states` are those that were just written.
    fn follow_documents(
        &self,
        documents: &[DocumentId],
        states: &HashMap<DocumentId, State>,
    ) -> Result<(), SaveError> {
        let threads = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let changes = durable::in_parallel(threads, documents, |id| {
            Ok::<_, SaveError>(self.follow_document(*id, states.get(id)))
        })?;
        let changes: Vec<Change> = changes.into_iter().flatten().collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.index().change(&self.keys, changes)
    }

    /// What makes one entry true; `None` where it is, or where only reading the document can tell what is wrong.
    fn follow_document(&self, id: DocumentId, state: Option<&State>) -> Option<Change> {
        let known = self.index().contents().documents.get(&id).cloned()?;
        let is_known = |heads: &[ChangeHash]| heads_text(heads) == known.heads;
        if state.is_some_and(|state| is_known(&state.heads)) {
            return None;
        }
        // An entry that came before its document may describe a later one.
        let is_new = state.is_some_and(|state| state.heads_before.is_none());
        let was_known = |state: &State| state.heads_before.as_deref().is_some_and(is_known);
        let (heads, text) = match state {
            Some(State {
                heads,
                text: Some(text),
                ..
            }) if is_new || state.is_some_and(was_known) => (heads_text(heads), text.clone()),
            _ => {
                let scan = journal::scan(&self.keys, &document_place(&self.dir, id));
                let scan = scan.ok()?.ok()?;
                let last = scan.frames.last().and_then(|frame| unpack(frame))?;
                if is_known(&last.heads) {
                    return None;
                }
                let loaded = crate::document::load(&scan.frames);
                let document = loaded.and_then(TextDocument::from_automerge).ok()?;
                let is_newer = || {
                    let known = parse_heads(&known.heads);
                    known.iter().all(|head| document.contains(head))
                };
                if !is_new && !is_newer() {
                    return None;
                }
                (heads_text(&last.heads), document.text().ok()?)
            }
        };
        Some(Change::Text(IndexedDocument {
            entry: known.entry.with_text(&text),
            heads,
        }))
    }
}

/// Whether a merged document is of the kind that it is listed as.
fn is_usable(key: DocKey, doc: &Automerge) -> bool {
    match key.kind {
        DocKind::Document => TextDocument::check(doc).is_ok(),
        DocKind::Chat => ChatDocument::check(doc).is_ok(),
        DocKind::Index => true,
    }
}
