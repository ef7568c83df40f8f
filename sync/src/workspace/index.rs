//! The index of a workspace: its name, documents, chats and failed imports, in one Automerge document.
//!
//! Kept in memory as a whole and in `index.log`; each change is durable before it is visible.
//! The schema is in `sync/SCHEMA.md`. Start at [`Index`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use automerge::hydrate::Value;
use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Automerge, AutomergeError, ChangeHash, ObjId, ObjType, ROOT, ReadDoc};

use super::contents::{Change, Contents, IndexedDocument, Record};
use super::dirty::Dirty;
use super::documents::now_ms;
use super::error::SaveError;
use super::journal::{self, Journal, Place};
use crate::author::Author;
use crate::document::{DOCUMENT_SCHEMA, LoadError, check_schema, pack_saved};
use crate::entry::DocKey;
use crate::id::to_hex;
use crate::log::Scan;
use crate::seal::WorkspaceKeys;
use crate::values;

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
    shared: Option<(Arc<Author>, Arc<Dirty>)>,
}

#[derive(Debug)]
struct Maps {
    documents: ObjId,
    threads: ObjId,
    failures: ObjId,
    removed: ObjId,
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
            shared: None,
        })
    }

    /// Says as whom to write, and where to note that something has changed.
    pub(super) fn attach(&mut self, author: Arc<Author>, dirty: Arc<Dirty>) {
        self.shared = Some((author, dirty));
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
        let heads = self.heads().to_vec();
        let Some((doc, maps)) = &mut self.loaded else {
            return Err(SaveError::Reopen);
        };
        let contents = &self.contents;
        let at_s = now_ms() / 1000;
        let noted = |_: &()| CommitOptions::default().with_time(at_s);
        let made = doc.transact_with::<_, _, AutomergeError, _>(noted, |tx| {
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
        if let Some((_, dirty)) = &self.shared
            && self.heads() != heads
        {
            dirty.mark(DocKey::INDEX);
        }
        self.compact_if_grown(keys);
        Ok(())
    }

    /// Makes the shared list say of the texts what the files on this device are; says whether it did not.
    pub(super) fn list_texts(&mut self, keys: &WorkspaceKeys) -> Result<bool, SaveError> {
        self.load(keys)?;
        let Some((doc, maps)) = &self.loaded else {
            return Err(SaveError::Reopen);
        };
        let is_listed = |document: &&IndexedDocument| {
            let listed = match doc.get(&maps.documents, document.entry.id.to_string()) {
                Ok(Some((_, record))) => doc.get(record, "heads"),
                _ => return true,
            };
            matches!(listed, Ok(Some((heads, _))) if heads.as_str() == Some(&document.heads))
        };
        let documents = self.contents.documents.values();
        let stale = documents.filter(|document| !is_listed(document));
        let changes: Vec<Change> = stale.cloned().map(Change::Document).collect();
        let is_stale = !changes.is_empty();
        self.change(keys, changes)?;
        Ok(is_stale)
    }

    /// The Automerge document.
    pub(super) fn automerge(&mut self, keys: &WorkspaceKeys) -> Result<&Automerge, SaveError> {
        self.load(keys)?;
        let loaded = self.loaded.as_ref();
        loaded.map(|(doc, _)| doc).ok_or(SaveError::Reopen)
    }

    /// The heads as the file has them.
    pub(super) fn heads(&self) -> &[ChangeHash] {
        self.journal.saved_heads()
    }

    /// Takes in changes of another device, and says what they changed. On an error nothing has changed.
    ///
    /// `bytes` were checked by the caller. Where a panic inside Automerge or an unusable result shows that they are
    /// no index, that is [`SaveError::NotUnderstood`].
    pub(super) fn merge(
        &mut self,
        keys: &WorkspaceKeys,
        bytes: &[u8],
    ) -> Result<Vec<Change>, SaveError> {
        self.load(keys)?;
        let path = self.journal.place().path;
        let Some((doc, _)) = &mut self.loaded else {
            return Err(SaveError::Reopen);
        };
        let merged = catch_unwind(AssertUnwindSafe(|| {
            doc.load_incremental(bytes)?;
            Contents::of(doc)
        }));
        let merged = merged.unwrap_or(Err(LoadError::Panicked));
        let saved = merged
            .map_err(|error| SaveError::load(&path, error))
            .and_then(|mut merged| {
                merged.keep_texts_of(&self.contents);
                let changes = self.contents.difference(&merged);
                self.save(keys, &changes)?;
                Ok((merged, changes))
            });
        match saved {
            Ok((merged, changes)) => {
                self.contents = merged;
                self.compact_if_grown(keys);
                Ok(changes)
            }
            Err(error) => {
                self.take_back(keys);
                Err(error)
            }
        }
    }

    /// Replaces an index in which nothing was ever written by that of another device.
    pub(super) fn replace(
        &mut self,
        keys: &WorkspaceKeys,
        bytes: &[u8],
    ) -> Result<Vec<Change>, SaveError> {
        let place = self.journal.place();
        let understood = |error| SaveError::load(&place.path, error);
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            let doc = Automerge::load(bytes)?;
            check_schema(&doc)?;
            let maps = Maps::of(&doc)?;
            let contents = Contents::of(&doc)?;
            Ok::<_, LoadError>((doc, maps, contents))
        }));
        let (mut doc, maps, contents) = loaded
            .unwrap_or(Err(LoadError::Panicked))
            .map_err(understood)?;
        let rendering = contents.render();
        let frame = pack_saved(&doc.get_heads(), bytes, Some(&rendering));
        let file = journal::encode_frame(keys, place.name, &frame)?;
        crate::durable::write(&place.path, &file)
            .map_err(|error| SaveError::io(&place.path, file.len() as u64, error))?;
        let changes = self.contents.difference(&contents);
        let Ok(scan) = journal::scan(keys, &place)? else {
            return Err(SaveError::Damaged { path: place.path });
        };
        self.journal = Journal::open(place, &scan)?;
        self.contents = contents;
        if let Some((author, _)) = &self.shared {
            // What was replaced had numbers that must not be used again.
            author.renew();
            author.take_over(&mut doc);
        }
        self.loaded = Some((doc, maps));
        Ok(changes)
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
            let mut doc = read.doc;
            if let Some((author, _)) = &self.shared {
                author.take_over(&mut doc);
            }
            self.loaded = Some((doc, maps));
        }
        Ok(())
    }

    fn save(&mut self, keys: &WorkspaceKeys, changes: &[Change]) -> Result<(), SaveError> {
        let Some((doc, _)) = &self.loaded else {
            return Ok(());
        };
        let rendering = serde_json::to_vec(changes).expect("changes are plain data");
        let is_text = |change: &Change| matches!(change, Change::Text(_));
        let frame = match self.journal.pending(doc, Some(&rendering))? {
            Some(frame) => frame,
            None if changes.iter().any(is_text) => self.journal.pending_rendering(&rendering)?,
            None => return Ok(()),
        };
        self.journal.append(keys, &frame, doc.get_heads())
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
        let shared = self.shared.take();
        if let Some((author, _)) = &shared {
            // What is taken back had numbers that must not be used again.
            author.renew();
        }
        let reread = journal::scan(keys, &place).ok().and_then(Result::ok);
        match reread.and_then(|scan| Self::open(place, &scan).ok()) {
            Some(index) => *self = index,
            None => self.in_doubt = true,
        }
        self.shared = shared;
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
            let id = new.entry.id.to_string();
            let old = contents.documents.get(&new.entry.id);
            let old = match old {
                Some(old) => Some(listed(tx, &maps.documents, &id)?.unwrap_or_else(|| old.clone())),
                None => None,
            };
            let old = old.as_ref().map(IndexedDocument::record);
            put_record(tx, &maps.documents, &id, old.as_ref(), &new.record())
        }
        Change::Text(_) => Ok(()),
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
            let known = contents.documents.get(id);
            let heads = known.map_or("", |document| document.heads.as_str());
            tx.put(&maps.removed, id.to_string(), heads)
        }
        Change::RemoveThread(id) => {
            tx.delete(&maps.threads, id.to_string())?;
            tx.put(&maps.removed, id.to_string(), "")
        }
        Change::Blobs { file, fragments } => match shared_map(tx, "blobs")? {
            Some(map) => tx.put(&map, file.to_string(), fragments.as_str()),
            None => Ok(()),
        },
        Change::Derived { key, content } => match (shared_map(tx, "derived")?, content) {
            (Some(map), Some(content)) => tx.put(&map, key.as_str(), content.to_string()),
            (Some(map), None) => tx.delete(&map, key.as_str()),
            (None, _) => Ok(()),
        },
        Change::ShareMaps => {
            for name in ["blobs", "derived"] {
                if shared_map(tx, name)?.is_none() {
                    tx.put_object(ROOT, name, ObjType::Map)?;
                }
            }
            Ok(())
        }
        Change::Removed { id, heads } => tx.put(&maps.removed, to_hex(id), heads.as_str()),
        Change::Forget(id) => tx.delete(&maps.removed, to_hex(id)),
        Change::Failure {
            path,
            reason: Some(reason),
        } => tx.put(&maps.failures, path.as_str(), reason.as_str()),
        Change::Failure { path, reason: None } => tx.delete(&maps.failures, path.as_str()),
    }
}

/// A map that only shared workspaces have.
fn shared_map(tx: &Transaction<'_>, name: &str) -> Result<Option<ObjId>, AutomergeError> {
    Ok(match tx.get(ROOT, name)? {
        Some((automerge::Value::Object(ObjType::Map), map)) => Some(map),
        _ => None,
    })
}

/// An entry as the shared list has it.
fn listed(
    tx: &Transaction<'_>,
    documents: &ObjId,
    id: &str,
) -> Result<Option<IndexedDocument>, AutomergeError> {
    let Some((_, record)) = tx.get(documents, id)? else {
        return Ok(None);
    };
    Ok(match tx.hydrate(&record, None)? {
        Value::Map(record) => IndexedDocument::from_map(&record),
        _ => None,
    })
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
