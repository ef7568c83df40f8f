//! Documents of a workspace: listing, reading, removing, citing, and what the import remembers.
//!
//! A document is read from its file each time; an entry that does not fit its file is put right and told.
//! Saving is in `save`. Start at [`Workspace::text`].

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

use automerge::ChangeHash;

use super::contents::{Change, IndexedDocument};
use super::entry::{DocumentEntry, ImportFailure};
use super::error::SaveError;
use super::{Workspace, document_place, journal, originals, remove_files};
use crate::document::{Anchor, AnchorError, Resolved, TextDocument, unpack};
use crate::id::{ContentHash, DocumentId};
use crate::log::{Damage, DamageKind, Scan};

/// Longest text of a document that is kept loaded, in bytes: Automerge takes about 30 times that in memory.
const MAX_KEPT_TEXT_BYTES: u64 = 1 << 20;

impl Workspace {
    /// Every document, oldest import first.
    #[must_use]
    pub fn documents(&self) -> Vec<DocumentEntry> {
        let index = self.index();
        let mut entries: Vec<DocumentEntry> = index
            .contents()
            .documents
            .values()
            .map(|document| document.entry.clone())
            .collect();
        entries.sort_by_key(|entry| (entry.imported_at_ms, entry.id));
        entries
    }

    /// How many documents there are.
    #[must_use]
    pub fn document_count(&self) -> usize {
        self.index().contents().documents.len()
    }

    /// One document's entry.
    #[must_use]
    pub fn entry(&self, document: DocumentId) -> Option<DocumentEntry> {
        self.index()
            .contents()
            .documents
            .get(&document)
            .map(|document| document.entry.clone())
    }

    /// Where the file of a document lies on this device. `None` where it has none, or where it is another device's: the
    /// same path here is another file.
    #[must_use]
    pub fn local_path<'a>(&self, entry: &'a DocumentEntry) -> Option<&'a str> {
        let is_elsewhere = self.device().is_some()
            && entry
                .origin
                .is_some_and(|origin| self.device() != Some(origin));
        entry.path.as_deref().filter(|_| !is_elsewhere)
    }

    /// The document whose original has these bytes, if there is one: recognises duplicates.
    #[must_use]
    pub fn find_original(&self, content: &ContentHash) -> Option<DocumentId> {
        self.index().contents().by_original.get(content).copied()
    }

    /// Removes documents with their texts and originals. Ids that do not exist are passed over.
    ///
    /// # Errors
    /// See [`SaveError`]; nothing is removed then.
    pub fn remove(&self, documents: &[DocumentId]) -> Result<(), SaveError> {
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let mut index = self.index();
        let ids: BTreeSet<DocumentId> = documents
            .iter()
            .copied()
            .filter(|id| index.contents().documents.contains_key(id))
            .collect();
        let originals: Vec<ContentHash> = ids
            .iter()
            .filter_map(|id| index.contents().documents.get(id)?.entry.original)
            .collect();
        index.change(
            &self.keys,
            ids.iter().copied().map(Change::RemoveDocument).collect(),
        )?;
        drop(index);
        remove_files(ids.iter().map(|id| document_place(&self.dir, *id).path));
        self.remove_unneeded(originals);
        Ok(())
    }

    /// The whole text of a document.
    ///
    /// Where its file is damaged, the intact beginning of its history is given, the rest is kept as
    /// `.damaged`, and [`Workspace::take_damages`] tells.
    ///
    /// # Errors
    /// [`SaveError::Damaged`] when nothing is left of it; otherwise see [`SaveError`].
    pub fn text(&self, document: DocumentId) -> Result<String, SaveError> {
        if let Some(text) = self.rendered_text(document)? {
            return Ok(text);
        }
        self.with_document(document, |stored| Ok(stored.text()?))
            .map_err(|error| match error {
                SaveError::Anchor(AnchorError::Load(source)) => {
                    SaveError::load(&document_place(&self.dir, document).path, source)
                }
                other => other,
            })
    }

    /// The bytes of the file that the document was imported from; `None` when it was written here.
    ///
    /// # Errors
    /// [`SaveError::Damaged`] when a bit of it differs; otherwise see [`SaveError`].
    pub fn original(&self, document: DocumentId) -> Result<Option<Vec<u8>>, SaveError> {
        let entry = self
            .entry(document)
            .ok_or(SaveError::UnknownDocument { document })?;
        let Some(content) = entry.original else {
            return Ok(None);
        };
        let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        originals::read(&self.keys, &self.dir, &content).map(Some)
    }

    /// Remembers a passage, given as a UTF-8 byte range of the present text, so that it is found again after edits.
    ///
    /// # Errors
    /// [`SaveError::Anchor`] when the range is no passage; otherwise as [`Workspace::text`].
    pub fn anchor(&self, document: DocumentId, range: Range<usize>) -> Result<Anchor, SaveError> {
        self.with_document(document, |stored| stored.anchor(document, range))
    }

    /// Finds a passage in the present text.
    ///
    /// # Errors
    /// [`SaveError::Anchor`] when its words are nowhere in the document; otherwise as [`Workspace::text`].
    pub fn resolve(&self, anchor: &Anchor) -> Result<Resolved, SaveError> {
        self.with_document(anchor.document, |stored| stored.resolve(anchor))
    }

    /// Notes where a file with unchanged bytes lies now and when it was changed last.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub fn record_path_seen(
        &self,
        document: DocumentId,
        path: &str,
        source_mtime_ms: i64,
    ) -> Result<(), SaveError> {
        let mut index = self.index();
        let old = index.contents().documents.get(&document);
        let mut new = old
            .cloned()
            .ok_or(SaveError::UnknownDocument { document })?;
        new.entry.path = Some(path.to_owned());
        new.entry.source_mtime_ms = source_mtime_ms;
        new.entry.origin = self.device();
        if old == Some(&new) {
            return Ok(());
        }
        index.change(&self.keys, vec![Change::Document(new)])
    }

    /// Files that could not be imported, by path.
    #[must_use]
    pub fn import_failures(&self) -> Vec<ImportFailure> {
        let index = self.index();
        let failures = index.contents().failures.iter();
        failures
            .map(|(path, reason)| ImportFailure {
                path: path.clone(),
                reason: reason.clone(),
            })
            .collect()
    }

    /// Adds to the list of files that could not be imported, and takes off it those that could (`read_well`).
    ///
    /// # Errors
    /// See [`SaveError`]; the list is then as before.
    pub fn record_import_failures(
        &self,
        failures: Vec<ImportFailure>,
        read_well: &[String],
    ) -> Result<(), SaveError> {
        let mut index = self.index();
        let known = &index.contents().failures;
        let gone: BTreeSet<&String> = read_well
            .iter()
            .filter(|path| known.contains_key(*path))
            .collect();
        let mut changes: Vec<Change> = gone
            .into_iter()
            .map(|path| Change::Failure {
                path: path.clone(),
                reason: None,
            })
            .collect();
        let new = failures
            .into_iter()
            .filter(|failure| known.get(&failure.path) != Some(&failure.reason));
        changes.extend(new.map(|failure| Change::Failure {
            path: failure.path,
            reason: Some(failure.reason),
        }));
        index.change(&self.keys, changes)
    }

    /// The text that the last frame carries, if the file is intact and is the one that the index knows.
    fn rendered_text(&self, id: DocumentId) -> Result<Option<String>, SaveError> {
        let place = document_place(&self.dir, id);
        let (heads, scan) = {
            // A batch holds this lock until the index is written, so entry and file belong together.
            let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
            (self.indexed(id)?.heads, journal::scan(&self.keys, &place)?)
        };
        let Ok(Scan {
            frames,
            damage: None,
            ..
        }) = scan
        else {
            return Ok(None);
        };
        let last = frames.last().and_then(|frame| unpack(frame));
        let last = last.filter(|last| heads_text(&last.heads) == heads);
        let text = last.and_then(|last| last.rendering());
        Ok(text.and_then(|text| String::from_utf8(text).ok()))
    }

    fn indexed(&self, id: DocumentId) -> Result<IndexedDocument, SaveError> {
        let indexed = self.index().contents().documents.get(&id).cloned();
        indexed.ok_or(SaveError::UnknownDocument { document: id })
    }

    /// Loads a document, compares it with its entry, and hands it to `work`.
    ///
    /// The document that was used last is kept, since citations of one document come together.
    pub(super) fn with_document<T>(
        &self,
        id: DocumentId,
        work: impl FnOnce(&TextDocument) -> Result<T, AnchorError>,
    ) -> Result<T, SaveError> {
        let place = document_place(&self.dir, id);
        let mut last_used = self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (indexed, loaded) = {
            // A batch holds this lock until the index is written, so entry and file belong together.
            let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
            let indexed = self.indexed(id)?;
            if let Some((_, document)) = last_used.as_ref().filter(|(used, document)| {
                *used == id && heads_text(&document.heads()) == indexed.heads
            }) {
                return work(document).map_err(SaveError::Anchor);
            }
            (indexed, journal::read(&self.keys, &place)?)
        };
        let document = match loaded {
            Ok(loaded) if loaded.scan.damage.is_none() => TextDocument::from_automerge(loaded.doc)
                .map_err(|error| SaveError::load(&place.path, error))?,
            _ => {
                let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
                let opened = self.open_for_writing(id)?;
                opened
                    .ok_or(SaveError::Damaged {
                        path: place.path.clone(),
                    })?
                    .0
            }
        };
        if heads_text(&document.heads()) != indexed.heads {
            self.follow(&indexed, &document, place.path)?;
        }
        let result = work(&document).map_err(SaveError::Anchor);
        *last_used = (indexed.entry.text_bytes <= MAX_KEPT_TEXT_BYTES).then_some((id, document));
        result
    }

    /// Makes an entry follow a document whose heads are not those that the index knows.
    ///
    /// Newer: a crash came between saving the document and the index. Older: the file was damaged, or somebody
    /// put an old copy in its place; that is reported.
    fn follow(
        &self,
        indexed: &IndexedDocument,
        document: &TextDocument,
        path: PathBuf,
    ) -> Result<(), SaveError> {
        let known = parse_heads(&indexed.heads);
        let newer = known.iter().all(|head| document.contains(head));
        if !newer {
            let already_told = self
                .damages
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .any(|damage| damage.path == path);
            if !already_told {
                self.report(Damage {
                    path: path.clone(),
                    kind: DamageKind::RolledBack,
                    intact_frames: 0,
                    dropped_bytes: 0,
                    kept_as: None,
                });
            }
        }
        let text = document
            .text()
            .map_err(|error| SaveError::load(&path, error))?;
        let mut new = indexed.clone();
        new.heads = heads_text(&document.heads());
        new.entry = new.entry.with_text(&text);
        // The source file is newer than what is stored, whatever its time says.
        new.entry.source_mtime_ms = 0;
        let mut index = self.index();
        if index.contents().documents.get(&new.entry.id) != Some(indexed) {
            // Somebody saved the document meanwhile, and the entry is right again.
            return Ok(());
        }
        index.change(&self.keys, vec![Change::Document(new)])
    }
}

pub(super) fn heads_text(heads: &[ChangeHash]) -> String {
    let heads: Vec<String> = heads.iter().map(ToString::to_string).collect();
    heads.join(" ")
}

pub(super) fn parse_heads(text: &str) -> Vec<ChangeHash> {
    text.split(' ')
        .filter_map(|head| head.parse().ok())
        .collect()
}

/// Milliseconds since 1970 by the device's clock; 0 when it stands before that.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
