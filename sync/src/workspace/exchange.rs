//! Gives other devices what was written here, and takes in what they wrote.
//!
//! What arrives is checked before Automerge sees it, and durable before it is reported. A whole document that is
//! new here is stored as it came and read when somebody asks for it. Start at [`WorkspaceDocuments`].

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use automerge::{Automerge, ChangeHash};

use super::contents::{Change, IndexedDocument};
use super::documents::heads_text;
use super::entry::DocumentEntry;
use super::error::SaveError;
use super::journal::{self, Journal, Place};
use super::{Workspace, chat_place, document_place, remove_files};
use crate::chat::ChatDocument;
use crate::document::{LoadError, TextDocument, pack_foreign_snapshot, unpack};
use crate::durable;
use crate::engine::parts::{changes_after, check_size, inspect, merge_part};
use crate::engine::{Arrival, Documents, DocumentsError, Incoming, Outcome, Outgoing};
use crate::entry::{DocKey, DocKind, Encoding};
use crate::id::{ContentHash, DocumentId, ThreadId};

/// A workspace as the sync sees it.
#[derive(Debug)]
pub struct WorkspaceDocuments(Arc<Workspace>);

impl WorkspaceDocuments {
    pub(crate) fn new(workspace: Arc<Workspace>) -> Self {
        Self(workspace)
    }

    pub(super) fn workspace(&self) -> &Workspace {
        &self.0
    }
}

/// A document that parts are being merged into.
struct Merging {
    doc: Automerge,
    journal: Option<Journal>,
}

/// What is to be written for one document.
enum Write {
    File {
        path: PathBuf,
        bytes: Vec<u8>,
        heads: Vec<ChangeHash>,
    },
    Frame(Box<(Journal, Vec<u8>, Vec<ChangeHash>)>),
}

impl Write {
    /// The heads that the document will have.
    fn heads(&self) -> &[ChangeHash] {
        match self {
            Self::File { heads, .. } => heads,
            Self::Frame(frame) => &frame.2,
        }
    }
}

impl From<SaveError> for DocumentsError {
    fn from(error: SaveError) -> Self {
        Self(Box::new(error))
    }
}

impl Documents for WorkspaceDocuments {
    fn take_changed(&mut self) -> Vec<(DocKey, Option<Vec<ChangeHash>>)> {
        let changed = self.0.dirty.take();
        changed.into_iter().map(|key| (key, None)).collect()
    }

    fn all(&mut self) -> Vec<(DocKey, Option<Vec<ChangeHash>>)> {
        let index = self.0.index();
        let mut all = vec![(DocKey::INDEX, Some(index.heads().to_vec()))];
        let contents = index.contents();
        all.extend(contents.documents.values().map(|document| {
            let heads = parse_heads(&document.heads);
            (DocKey::document(document.entry.id), Some(heads))
        }));
        all.extend(contents.threads.keys().map(|id| (DocKey::chat(*id), None)));
        all
    }

    fn since(
        &mut self,
        key: DocKey,
        heads: &[ChangeHash],
    ) -> Result<Option<Outgoing>, DocumentsError> {
        let device = self.0.device();
        let outgoing = |doc: &Automerge| changes_after(doc, heads, device);
        Ok(self.0.with_automerge(key, outgoing)?.flatten())
    }

    fn snapshot(&mut self, key: DocKey) -> Result<Option<Outgoing>, DocumentsError> {
        if let Some(stored) = self.0.stored_snapshot(key)? {
            return Ok(Some(stored));
        }
        let whole = |doc: &Automerge| Outgoing {
            heads: doc.get_heads(),
            bytes: doc.save(),
            all_ours: false,
        };
        Ok(self.0.with_automerge(key, whole)?)
    }

    fn apply(&mut self, parts: Vec<Incoming>) -> Result<(Vec<Outcome>, Arrival), DocumentsError> {
        Ok(self.0.take_in(&parts)?)
    }

    fn lacks(
        &mut self,
        key: DocKey,
        heads: &[ChangeHash],
        wanted: &[ChangeHash],
    ) -> Result<bool, DocumentsError> {
        let lacks = |doc: &Automerge| {
            let later = doc.get_changes_meta(heads);
            later.iter().any(|change| wanted.contains(&change.hash))
        };
        Ok(self.0.with_automerge(key, lacks)?.unwrap_or(false))
    }
}

impl Workspace {
    fn place_of(&self, key: DocKey) -> Place {
        match key.kind {
            DocKind::Index => super::index_place(&self.dir),
            DocKind::Document => document_place(&self.dir, DocumentId(key.id)),
            DocKind::Chat => chat_place(&self.dir, ThreadId(key.id)),
        }
    }

    /// Hands the Automerge document to `work`; `None` where there is none.
    fn with_automerge<T>(
        &self,
        key: DocKey,
        work: impl FnOnce(&Automerge) -> T,
    ) -> Result<Option<T>, SaveError> {
        if key.kind == DocKind::Index {
            return self.index().automerge(&self.keys).map(work).map(Some);
        }
        let place = self.place_of(key);
        let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        if !place.path.exists() {
            return Ok(None);
        }
        match journal::read(&self.keys, &place)? {
            Ok(loaded) => Ok(Some(work(&loaded.doc))),
            Err(_) => Err(SaveError::Damaged { path: place.path }),
        }
    }

    /// A document that lies in its file as one snapshot, without loading it.
    fn stored_snapshot(&self, key: DocKey) -> Result<Option<Outgoing>, SaveError> {
        let place = self.place_of(key);
        let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let Ok(scan) = journal::scan(&self.keys, &place)? else {
            return Ok(None);
        };
        let [only] = scan.frames.as_slice() else {
            return Ok(None);
        };
        Ok(unpack(only)
            .filter(|_| scan.damage.is_none())
            .map(|part| Outgoing {
                bytes: part.automerge_bytes().to_vec(),
                heads: part.heads,
                all_ours: false,
            }))
    }

    /// Takes in parts of other devices: documents and chats first, then the index, as in a batch of our own.
    fn take_in(&self, parts: &[Incoming]) -> Result<(Vec<Outcome>, Arrival), SaveError> {
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let mut outcomes = vec![Outcome::Missing; parts.len()];
        let mut by_key: BTreeMap<DocKey, Vec<usize>> = BTreeMap::new();
        for (number, part) in parts.iter().enumerate() {
            by_key.entry(part.key).or_default().push(number);
        }
        let index_parts = by_key.remove(&DocKey::INDEX).unwrap_or_default();
        let (removed, wanted): (Vec<_>, Vec<_>) = by_key
            .into_iter()
            .partition(|(key, _)| self.is_removed(*key));
        for number in removed.into_iter().flat_map(|(_, numbers)| numbers) {
            outcomes[number] = Outcome::Removed;
        }
        let threads = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let merged = durable::in_parallel(threads, &wanted, |(key, numbers)| {
            let chosen: Vec<&Incoming> = numbers.iter().map(|number| &parts[*number]).collect();
            self.merge_into(*key, &chosen)
        })?;
        let (mut arrival, mut writes) = (Arrival::default(), Vec::new());
        let mut heads = HashMap::new();
        for ((key, numbers), (results, write)) in wanted.into_iter().zip(merged) {
            for (number, result) in numbers.into_iter().zip(results) {
                outcomes[number] = result;
            }
            let Some(write) = write else { continue };
            match key.kind {
                DocKind::Document => {
                    let id = DocumentId(key.id);
                    arrival.documents.push(id);
                    heads.insert(id, write.heads().to_vec());
                }
                DocKind::Chat => arrival.threads.push(ThreadId(key.id)),
                DocKind::Index => {}
            }
            writes.push(write);
        }
        self.write_merged(writes)?;
        if !index_parts.is_empty() {
            let files: Vec<ContentHash> = self.index().contents().files().collect();
            for number in index_parts {
                let (outcome, changes) = self.merge_index(&parts[number]);
                outcomes[number] = outcome;
                self.follow_index(changes, &mut arrival)?;
            }
            self.remove_unneeded(files);
        }
        self.follow_documents(&arrival.documents, &heads)?;
        arrival.documents.sort_unstable();
        arrival.documents.dedup();
        arrival.threads.sort_unstable();
        arrival.threads.dedup();
        Ok((outcomes, arrival))
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
    ) -> Result<(Vec<Outcome>, Option<Write>), SaveError> {
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
        let write = self.write_of(key, place, merging)?;
        Ok((outcomes, write))
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
    ) -> Result<(Vec<Outcome>, Option<Write>), SaveError> {
        if let Err(error) = check_size(part) {
            return Ok((vec![Outcome::Refused(error.to_string())], None));
        }
        let Some(frame) = pack_foreign_snapshot(&part.heads, &part.bytes) else {
            let words = "it names no heads, or too many".to_owned();
            return Ok((vec![Outcome::Refused(words)], None));
        };
        let mut heads = part.heads.clone();
        heads.sort_unstable();
        let write = Write::File {
            path: place.path.clone(),
            bytes: journal::encode_frame(&self.keys, place.name, &frame)?,
            heads,
        };
        let outcome = Outcome::Applied {
            current: part.heads.clone(),
        };
        Ok((vec![outcome], Some(write)))
    }

    fn write_of(
        &self,
        key: DocKey,
        place: Place,
        merging: Merging,
    ) -> Result<Option<Write>, SaveError> {
        let Merging { doc, journal } = merging;
        let heads = doc.get_heads();
        let (doc, rendering) = match key.kind {
            DocKind::Document => {
                let text = TextDocument::from_automerge(doc)
                    .map_err(|error| SaveError::load(&place.path, error))?;
                let rendering = text.text().ok().map(String::into_bytes);
                (text.into_automerge(), rendering)
            }
            _ => (doc, None),
        };
        match journal {
            Some(journal) => {
                let frame = journal.pending(&doc, rendering.as_deref())?;
                Ok(frame.map(|frame| Write::Frame(Box::new((journal, frame, heads)))))
            }
            None => {
                let bytes =
                    journal::encode_new(&self.keys, place.name, &doc, rendering.as_deref())?;
                Ok(Some(Write::File {
                    path: place.path,
                    bytes,
                    heads,
                }))
            }
        }
    }

    fn write_merged(&self, writes: Vec<Write>) -> Result<(), SaveError> {
        let (mut files, mut frames) = (Vec::new(), Vec::new());
        for write in writes {
            match write {
                Write::File { path, bytes, .. } => files.push((path, bytes)),
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

    /// Makes entries say what the merged documents are: two devices that edited one text each wrote their own.
    ///
    /// `heads` are those of the documents that were just written.
    fn follow_documents(
        &self,
        documents: &[DocumentId],
        heads: &HashMap<DocumentId, Vec<ChangeHash>>,
    ) -> Result<(), SaveError> {
        let mut changes = Vec::new();
        for id in documents {
            let Some(known) = self.index().contents().documents.get(id).cloned() else {
                continue;
            };
            let written = heads.get(id);
            if written.is_some_and(|heads| heads_text(heads) == known.heads) {
                continue;
            }
            let Ok(Ok(scan)) = journal::scan(&self.keys, &document_place(&self.dir, *id)) else {
                continue;
            };
            let Some(last) = scan.frames.last().and_then(|frame| unpack(frame)) else {
                continue;
            };
            if heads_text(&last.heads) == known.heads {
                continue;
            }
            let loaded = crate::document::load(&scan.frames);
            let Ok(document) = loaded.and_then(TextDocument::from_automerge) else {
                continue;
            };
            let newer = parse_heads(&known.heads)
                .iter()
                .all(|head| document.contains(head));
            if let (true, Ok(text)) = (newer, document.text()) {
                changes.push(Change::Document(IndexedDocument {
                    entry: known.entry.with_text(&text),
                    heads: heads_text(&last.heads),
                }));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.index().change(&self.keys, changes)
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

fn parse_heads(text: &str) -> Vec<ChangeHash> {
    text.split(' ')
        .filter_map(|head| head.parse().ok())
        .collect()
}

impl From<LoadError> for DocumentsError {
    fn from(error: LoadError) -> Self {
        Self(Box::new(error))
    }
}
