//! What the index says, as plain data: entries, chats, failures, and the changes to them.
//!
//! Read from the renderings in the index file, or through Automerge where one is missing. Pure; a change is
//! applied here only after it is durable.
//!
//! What an entry says of its text (heads, version, length) is true of the file on this device, and lies in the
//! renderings. The shared list has it as it was when the entry was last changed for another reason: each flush of a
//! text would otherwise stay in the history of the list for ever. Start at [`Contents`].

use std::collections::{BTreeMap, HashMap};

use automerge::Automerge;
use automerge::hydrate::{Map, Value};
use serde::{Deserialize, Serialize};

use super::entry::DocumentEntry;
use crate::chat::ThreadEntry;
use crate::document::{LoadError, check_schema, load, unpack};
use crate::id::{ContentHash, DocumentId, ThreadId, from_hex};
use crate::values;

/// Fields of a record by name.
pub(super) type Record = serde_json::Map<String, serde_json::Value>;

/// An entry with the heads of the document that it describes, so that an older file is noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexedDocument {
    pub(super) entry: DocumentEntry,
    /// Change hashes in hexadecimal digits, separated by spaces.
    pub(super) heads: String,
}

/// What the index says, as plain data.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) name: String,
    pub(super) documents: BTreeMap<DocumentId, IndexedDocument>,
    pub(super) by_original: HashMap<ContentHash, DocumentId>,
    pub(super) threads: BTreeMap<ThreadId, ThreadEntry>,
    pub(super) failures: BTreeMap<String, String>,
    /// Documents and chats that were removed while their files may still be there, with the heads that a document
    /// had for the device that removed it.
    pub(super) removed: BTreeMap<[u8; 16], String>,
    /// In which fragments of the edge a file lies: their ids one after the other, in hexadecimal digits.
    pub(super) blobs: BTreeMap<ContentHash, String>,
    /// Files that were computed from texts, by what they were computed from and how.
    pub(super) derived: BTreeMap<String, ContentHash>,
}

/// One thing to change. All changes of a batch become one Automerge change and one fsync.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Change {
    Name(String),
    Document(IndexedDocument),
    /// A document has another text, and nothing else of its entry is changed. The shared list does not say so.
    Text(IndexedDocument),
    RemoveDocument(DocumentId),
    Thread(ThreadEntry),
    RemoveThread(ThreadId),
    Failure {
        path: String,
        reason: Option<String>,
    },
    /// What was removed, with the heads that the remover knew.
    Removed {
        id: [u8; 16],
        heads: String,
    },
    /// A file is on the edge.
    Blobs {
        file: ContentHash,
        fragments: String,
    },
    /// Something was computed, or does not matter any more.
    Derived {
        key: String,
        content: Option<ContentHash>,
    },
    /// Room for the two above, made once by the device that shares the workspace.
    ShareMaps,
    /// The files of something removed are gone, so it need not be remembered any longer.
    Forget([u8; 16]),
}

/// The rendering of a whole index.
#[derive(Serialize, Deserialize)]
struct Rendering {
    name: String,
    documents: Vec<IndexedDocument>,
    threads: Vec<ThreadEntry>,
    failures: BTreeMap<String, String>,
    removed: Vec<([u8; 16], String)>,
    #[serde(default)]
    blobs: Vec<(ContentHash, String)>,
    #[serde(default)]
    derived: BTreeMap<String, ContentHash>,
}

impl IndexedDocument {
    /// The fields of entry and heads side by side, as Automerge holds them.
    pub(super) fn record(&self) -> Record {
        let mut record = values::to_json(&self.entry);
        record.insert("heads".to_owned(), self.heads.clone().into());
        record
    }

    /// What makes the entry `old` this one; `None` when it is so already.
    pub(super) fn change_from(self, old: Option<&Self>) -> Option<Change> {
        match old {
            Some(old) if *old == self => None,
            Some(old) if old.entry.about() == self.entry.about() => Some(Change::Text(self)),
            _ => Some(Change::Document(self)),
        }
    }

    pub(super) fn from_map(map: &Map) -> Option<Self> {
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
            blobs: snapshot.blobs.into_iter().collect(),
            derived: snapshot.derived,
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
            removed: self
                .removed
                .iter()
                .map(|(id, heads)| (*id, heads.clone()))
                .collect(),
            blobs: self
                .blobs
                .iter()
                .map(|(file, fragments)| (*file, fragments.clone()))
                .collect(),
            derived: self.derived.clone(),
        };
        serde_json::to_vec(&rendering).expect("the index is plain data")
    }

    /// Every file that belongs to a document or was computed from one.
    pub(super) fn files(&self) -> impl Iterator<Item = ContentHash> {
        let derived = self.derived.values().copied();
        self.by_original.keys().copied().chain(derived)
    }

    /// Keeps what `own` says of the texts of the documents, since that is true of the files here.
    pub(super) fn keep_texts_of(&mut self, own: &Self) {
        for (id, document) in &mut self.documents {
            if let Some(own) = own.documents.get(id) {
                document.heads.clone_from(&own.heads);
                document.entry.version.clone_from(&own.entry.version);
                document.entry.text_bytes = own.entry.text_bytes;
            }
        }
    }

    /// Whether nothing was ever put into it.
    pub(super) fn is_untouched(&self) -> bool {
        self.documents.is_empty() && self.threads.is_empty() && self.removed.is_empty()
    }

    /// The changes that make this what `other` is.
    pub(super) fn difference(&self, other: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.name != other.name {
            changes.push(Change::Name(other.name.clone()));
        }
        let gone = self.documents.keys();
        changes.extend(
            gone.filter(|id| !other.documents.contains_key(id))
                .map(|id| Change::RemoveDocument(*id)),
        );
        let gone = self.threads.keys();
        changes.extend(
            gone.filter(|id| !other.threads.contains_key(id))
                .map(|id| Change::RemoveThread(*id)),
        );
        let new = other.documents.iter();
        changes.extend(
            new.filter(|(id, document)| self.documents.get(id) != Some(document))
                .map(|(_, document)| Change::Document(document.clone())),
        );
        let new = other.threads.iter();
        changes.extend(
            new.filter(|(id, thread)| self.threads.get(id) != Some(thread))
                .map(|(_, thread)| Change::Thread(thread.clone())),
        );
        let new = other.failures.iter();
        changes.extend(
            new.filter(|(path, reason)| self.failures.get(*path) != Some(reason))
                .map(|(path, reason)| Change::Failure {
                    path: path.clone(),
                    reason: Some(reason.clone()),
                }),
        );
        let gone = self.failures.keys();
        changes.extend(
            gone.filter(|path| !other.failures.contains_key(*path))
                .map(|path| Change::Failure {
                    path: path.clone(),
                    reason: None,
                }),
        );
        let new = other.blobs.iter();
        changes.extend(
            new.filter(|(file, fragments)| self.blobs.get(*file) != Some(fragments))
                .map(|(file, fragments)| Change::Blobs {
                    file: *file,
                    fragments: fragments.clone(),
                }),
        );
        let new = other.derived.iter();
        changes.extend(
            new.filter(|(key, content)| self.derived.get(*key) != Some(content))
                .map(|(key, content)| Change::Derived {
                    key: key.clone(),
                    content: Some(*content),
                }),
        );
        let gone = self.derived.keys();
        changes.extend(
            gone.filter(|key| !other.derived.contains_key(*key))
                .map(|key| Change::Derived {
                    key: key.clone(),
                    content: None,
                }),
        );
        let new = other.removed.iter();
        changes.extend(
            new.filter(|(id, heads)| self.removed.get(*id) != Some(heads))
                .map(|(id, heads)| Change::Removed {
                    id: *id,
                    heads: heads.clone(),
                }),
        );
        let gone = self.removed.keys();
        changes.extend(
            gone.filter(|id| !other.removed.contains_key(*id))
                .map(|id| Change::Forget(*id)),
        );
        changes
    }

    /// Reads an index through Automerge.
    pub(super) fn of(doc: &Automerge) -> Result<Self, LoadError> {
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
                .filter_map(|(id, heads)| Some((from_hex(id).ok()?, text(Some(&heads.value)))))
                .collect();
        }
        if let Some(Value::Map(blobs)) = root.get("blobs") {
            contents.blobs = blobs
                .iter()
                .filter_map(|(file, ids)| Some((file.parse().ok()?, text(Some(&ids.value)))))
                .collect();
        }
        if let Some(Value::Map(derived)) = root.get("derived") {
            contents.derived = derived
                .iter()
                .filter_map(|(key, file)| {
                    Some((key.clone(), text(Some(&file.value)).parse().ok()?))
                })
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

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Name(name) => self.name = name,
            Change::Document(document) | Change::Text(document) => self.insert(document),
            Change::RemoveDocument(id) => {
                let heads = self.documents.get(&id).map(|known| known.heads.clone());
                self.remove(id);
                self.removed.insert(id.0, heads.unwrap_or_default());
            }
            Change::Removed { id, heads } => {
                self.removed.insert(id, heads);
            }
            Change::Blobs { file, fragments } => {
                self.blobs.insert(file, fragments);
            }
            Change::Derived { key, content } => match content {
                Some(content) => {
                    self.derived.insert(key, content);
                }
                None => {
                    self.derived.remove(&key);
                }
            },
            Change::ShareMaps => {}
            Change::Forget(id) => {
                self.removed.remove(&id);
            }
            Change::Thread(thread) => {
                self.threads.insert(thread.id, thread);
            }
            Change::RemoveThread(id) => {
                self.threads.remove(&id);
                self.removed.insert(id.0, String::new());
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
