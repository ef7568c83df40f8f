//! The index of a workspace: its name, documents, chats and failed imports, in one Automerge document.
//!
//! Kept in memory as a whole and in `index.log`; each change is durable before it is visible.
//! The schema is in `sync/SCHEMA.md`. Start at [`Index`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use automerge::hydrate::{Map, Value};
use automerge::transaction::{Transactable, Transaction};
use automerge::{Automerge, AutomergeError, ObjId, ObjType, ROOT, ReadDoc};
use serde::{Deserialize, Serialize};

use super::entry::DocumentEntry;
use super::error::SaveError;
use super::journal::{self, Journal, Place};
use crate::chat::ThreadEntry;
use crate::document::{DOCUMENT_SCHEMA, LoadError, check_schema, load, unpack};
use crate::id::{ContentHash, DocumentId, ThreadId, from_hex, to_hex};
use crate::log::Scan;
use crate::seal::WorkspaceKeys;
use crate::values;

/// Fields of a record by name.
type Record = serde_json::Map<String, serde_json::Value>;

/// An entry with the heads of the document that it describes, so that an older file is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexedDocument {
    pub(super) entry: DocumentEntry,
    /// Change hashes in hexadecimal digits, separated by spaces.
    pub(super) heads: String,
}

/// The index in memory, with its file.
///
/// Reading needs the contents only, and these come from the renderings in the file, some ten times as fast as
/// through Automerge. The Automerge document is loaded for the first change.
#[derive(Debug)]
pub(super) struct Index {
    loaded: Option<(Automerge, Maps)>,
    journal: Journal,
    contents: Contents,
    in_doubt: bool,
}

/// What the index says, as plain data.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) name: String,
    pub(super) documents: BTreeMap<DocumentId, IndexedDocument>,
    pub(super) by_original: HashMap<ContentHash, DocumentId>,
    pub(super) threads: BTreeMap<ThreadId, ThreadEntry>,
    pub(super) failures: BTreeMap<String, String>,
    /// Documents and chats that were removed while their files may still be there.
    pub(super) removed: BTreeSet<[u8; 16]>,
}

#[derive(Debug)]
struct Maps {
    documents: ObjId,
    threads: ObjId,
    failures: ObjId,
    removed: ObjId,
}

/// One thing to change. All changes of a batch become one Automerge change and one fsync.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Change {
    Name(String),
    Document(IndexedDocument),
    RemoveDocument(DocumentId),
    Thread(ThreadEntry),
    RemoveThread(ThreadId),
    Failure {
        path: String,
        reason: Option<String>,
    },
    /// The files of something removed are gone, so it need not be remembered any longer.
    Forget([u8; 16]),
}

/// The Automerge document of a new workspace.
pub(super) fn new_document(name: &str) -> Result<Automerge, AutomergeError> {
    let mut doc = Automerge::new();
    doc.transact::<_, _, AutomergeError>(|tx| {
        tx.put(ROOT, "format", DOCUMENT_SCHEMA)?;
        tx.put(ROOT, "name", name)?;
        tx.put_object(ROOT, "documents", ObjType::Map)?;
        tx.put_object(ROOT, "threads", ObjType::Map)?;
        tx.put_object(ROOT, "failures", ObjType::Map)?;
        tx.put_object(ROOT, "removed", ObjType::Map)?;
        Ok(())
    })
    .map_err(|failure| failure.error)?;
    Ok(doc)
}

/// The rendering of a whole index.
#[derive(Serialize, Deserialize)]
struct Rendering {
    name: String,
    documents: Vec<IndexedDocument>,
    threads: Vec<ThreadEntry>,
    failures: BTreeMap<String, String>,
    removed: Vec<[u8; 16]>,
}

impl Index {
    /// Takes over an index file that was read, and repaired where needed.
    pub(super) fn open(place: Place, scan: &Scan) -> Result<Self, SaveError> {
        let contents =
            Contents::read(&scan.frames).map_err(|error| SaveError::load(&place.path, error))?;
        let journal = Journal::open(place, scan)?;
        Ok(Self {
            loaded: None,
            journal,
            contents,
            in_doubt: false,
        })
    }

    pub(super) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Makes changes durable, then visible. On an error nothing has changed.
    pub(super) fn change(
        &mut self,
        keys: &WorkspaceKeys,
        changes: Vec<Change>,
    ) -> Result<(), SaveError> {
        if self.in_doubt {
            return Err(SaveError::Reopen);
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.load(keys)?;
        let Some((doc, maps)) = &mut self.loaded else {
            return Err(SaveError::Reopen);
        };
        let contents = &self.contents;
        let made = doc.transact::<_, _, AutomergeError>(|tx| {
            changes
                .iter()
                .try_for_each(|change| apply(tx, maps, contents, change))
        });
        made.map_err(|failure| SaveError::load(self.journal.path(), failure.error))?;
        if let Err(error) = self.save(keys, &changes) {
            self.take_back(keys);
            return Err(error);
        }
        for change in changes {
            self.contents.apply(change);
        }
        self.compact_if_grown(keys);
        Ok(())
    }

    /// The Automerge document, loaded from the file when it is first needed.
    fn load(&mut self, keys: &WorkspaceKeys) -> Result<(), SaveError> {
        if self.loaded.is_none() {
            let place = self.journal.place();
            let understood = |error| SaveError::load(&place.path, error);
            let Ok(read) = journal::read(keys, &place)? else {
                return Err(SaveError::Damaged { path: place.path });
            };
            if read.doc.get_heads() != self.journal.saved_heads() {
                return Err(understood(LoadError::OtherHeads));
            }
            check_schema(&read.doc).map_err(understood)?;
            let maps = Maps::of(&read.doc).map_err(understood)?;
            self.loaded = Some((read.doc, maps));
        }
        Ok(())
    }

    fn save(&mut self, keys: &WorkspaceKeys, changes: &[Change]) -> Result<(), SaveError> {
        let Some((doc, _)) = &self.loaded else {
            return Ok(());
        };
        let rendering = serde_json::to_vec(changes).expect("changes are plain data");
        match self.journal.pending(doc, Some(&rendering))? {
            Some(frame) => self.journal.append(keys, &frame, doc.get_heads()),
            None => Ok(()),
        }
    }

    fn compact_if_grown(&mut self, keys: &WorkspaceKeys) {
        let Some((doc, _)) = &self.loaded else {
            return;
        };
        let contents = &self.contents;
        let compacted = self
            .journal
            .compact_if_grown(keys, doc, || Some(contents.render()));
        if let Err(error) = compacted {
            // The changes are durable; the log only stays longer than it need be.
            tracing::warn!(%error, "the index could not be compacted");
        }
    }

    /// Goes back to what the file says, since Automerge cannot take back a committed change.
    fn take_back(&mut self, keys: &WorkspaceKeys) {
        let place = self.journal.place();
        let reread = journal::scan(keys, &place).ok().and_then(Result::ok);
        match reread.and_then(|scan| Self::open(place, &scan).ok()) {
            Some(index) => *self = index,
            None => self.in_doubt = true,
        }
    }

    /// What Automerge says, to compare with what the renderings say.
    #[cfg(test)]
    pub(super) fn contents_of_automerge(&mut self, keys: &WorkspaceKeys) -> Contents {
        self.load(keys).unwrap();
        Contents::of(&self.loaded.as_ref().unwrap().0).unwrap()
    }
}

fn apply(
    tx: &mut Transaction<'_>,
    maps: &Maps,
    contents: &Contents,
    change: &Change,
) -> Result<(), AutomergeError> {
    match change {
        Change::Name(name) => tx.put(ROOT, "name", name.as_str()),
        Change::Document(new) => {
            let id = new.entry.id;
            let old = contents.documents.get(&id).map(IndexedDocument::record);
            put_record(
                tx,
                &maps.documents,
                &id.to_string(),
                old.as_ref(),
                &new.record(),
            )
        }
        Change::Thread(new) => {
            let old = contents.threads.get(&new.id).map(values::to_json);
            let record = values::to_json(new);
            put_record(
                tx,
                &maps.threads,
                &new.id.to_string(),
                old.as_ref(),
                &record,
            )
        }
        Change::RemoveDocument(id) => {
            tx.delete(&maps.documents, id.to_string())?;
            tx.put(&maps.removed, id.to_string(), true)
        }
        Change::RemoveThread(id) => {
            tx.delete(&maps.threads, id.to_string())?;
            tx.put(&maps.removed, id.to_string(), true)
        }
        Change::Forget(id) => tx.delete(&maps.removed, to_hex(id)),
        Change::Failure {
            path,
            reason: Some(reason),
        } => tx.put(&maps.failures, path.as_str(), reason.as_str()),
        Change::Failure { path, reason: None } => tx.delete(&maps.failures, path.as_str()),
    }
}

/// Changes a record field by field, or makes it where there is none.
fn put_record(
    tx: &mut Transaction<'_>,
    map: &ObjId,
    key: &str,
    old: Option<&Record>,
    new: &Record,
) -> Result<(), AutomergeError> {
    if let Some(old) = old
        && let Some((_, object)) = tx.get(map, key)?
    {
        return values::update_record(tx, &object, old, new);
    }
    let record = Value::Map(values::object(new));
    tx.batch_create_object(map, key, &record, false)?;
    Ok(())
}

impl Maps {
    fn of(doc: &Automerge) -> Result<Self, LoadError> {
        let map = |name: &'static str| match doc.get(ROOT, name)? {
            Some((automerge::Value::Object(ObjType::Map), object)) => Ok(object),
            _ => Err(LoadError::MissingPart(name)),
        };
        Ok(Self {
            documents: map("documents")?,
            threads: map("threads")?,
            failures: map("failures")?,
            removed: map("removed")?,
        })
    }
}

impl IndexedDocument {
    /// The fields of entry and heads side by side, as Automerge holds them.
    fn record(&self) -> Record {
        let mut record = values::to_json(&self.entry);
        record.insert("heads".to_owned(), self.heads.clone().into());
        record
    }

    fn from_map(map: &Map) -> Option<Self> {
        Some(Self {
            entry: values::from_map(map).ok()?,
            heads: text(map.get("heads")),
        })
    }
}

impl Contents {
    /// Reads an index from its frames: from the renderings where all have one, else through Automerge.
    pub(super) fn read(frames: &[Vec<u8>]) -> Result<Self, LoadError> {
        match Self::rendered(frames) {
            Some(contents) => Ok(contents),
            None => {
                let doc = load(frames)?;
                check_schema(&doc)?;
                Self::of(&doc)
            }
        }
    }

    fn rendered(frames: &[Vec<u8>]) -> Option<Self> {
        let (snapshot, changes) = frames.split_first()?;
        let snapshot: Rendering = serde_json::from_slice(&unpack(snapshot)?.rendering()?).ok()?;
        let mut contents = Self {
            name: snapshot.name,
            failures: snapshot.failures,
            removed: snapshot.removed.into_iter().collect(),
            ..Self::default()
        };
        for thread in snapshot.threads {
            contents.threads.insert(thread.id, thread);
        }
        for document in snapshot.documents {
            contents.insert(document);
        }
        for frame in changes {
            let changes: Vec<Change> = serde_json::from_slice(&unpack(frame)?.rendering()?).ok()?;
            for change in changes {
                contents.apply(change);
            }
        }
        Some(contents)
    }

    /// The rendering of a snapshot.
    pub(super) fn render(&self) -> Vec<u8> {
        let rendering = Rendering {
            name: self.name.clone(),
            documents: self.documents.values().cloned().collect(),
            threads: self.threads.values().cloned().collect(),
            failures: self.failures.clone(),
            removed: self.removed.iter().copied().collect(),
        };
        serde_json::to_vec(&rendering).expect("the index is plain data")
    }

    /// Reads an index through Automerge.
    fn of(doc: &Automerge) -> Result<Self, LoadError> {
        let Value::Map(root) = doc.hydrate(None) else {
            return Err(LoadError::MissingPart("root"));
        };
        let mut contents = Self {
            name: text(root.get("name")),
            ..Self::default()
        };
        for record in records(root.get("documents")) {
            if let Some(document) = IndexedDocument::from_map(record) {
                contents.insert(document);
            }
        }
        for record in records(root.get("threads")) {
            if let Ok(thread) = values::from_map::<ThreadEntry>(record) {
                contents.threads.insert(thread.id, thread);
            }
        }
        if let Some(Value::Map(removed)) = root.get("removed") {
            contents.removed = removed
                .iter()
                .filter_map(|(id, _)| from_hex(id).ok())
                .collect();
        }
        if let Some(Value::Map(failures)) = root.get("failures") {
            contents.failures = failures
                .iter()
                .map(|(path, reason)| (path.clone(), text(Some(&reason.value))))
                .collect();
        }
        Ok(contents)
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Name(name) => self.name = name,
            Change::Document(document) => self.insert(document),
            Change::RemoveDocument(id) => {
                self.remove(id);
                self.removed.insert(id.0);
            }
            Change::Forget(id) => {
                self.removed.remove(&id);
            }
            Change::Thread(thread) => {
                self.threads.insert(thread.id, thread);
            }
            Change::RemoveThread(id) => {
                self.threads.remove(&id);
                self.removed.insert(id.0);
            }
            Change::Failure {
                path,
                reason: Some(reason),
            } => {
                self.failures.insert(path, reason);
            }
            Change::Failure { path, reason: None } => {
                self.failures.remove(&path);
            }
        }
    }

    fn insert(&mut self, document: IndexedDocument) {
        self.remove(document.entry.id);
        if let Some(original) = document.entry.original {
            self.by_original
                .entry(original)
                .or_insert(document.entry.id);
        }
        self.documents.insert(document.entry.id, document);
    }

    fn remove(&mut self, id: DocumentId) {
        let Some(IndexedDocument { entry, .. }) = self.documents.remove(&id) else {
            return;
        };
        let Some(original) = entry.original else {
            return;
        };
        if self.by_original.get(&original) == Some(&id) {
            self.by_original.remove(&original);
            let other = self
                .documents
                .values()
                .find(|other| other.entry.original == Some(original));
            if let Some(other) = other.map(|other| other.entry.id) {
                self.by_original.insert(original, other);
            }
        }
    }
}

fn records(map: Option<&Value>) -> impl Iterator<Item = &Map> {
    let map = match map {
        Some(Value::Map(map)) => Some(map),
        _ => None,
    };
    map.into_iter()
        .flat_map(Map::iter)
        .filter_map(|(_, entry)| match &entry.value {
            Value::Map(record) => Some(record),
            _ => None,
        })
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Scalar(automerge::ScalarValue::Str(text))) => text.to_string(),
        _ => String::new(),
    }
}
