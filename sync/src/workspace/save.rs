//! Saving batches of documents.
//!
//! Order of a batch: document and original files first, then the index; so a crash leaves no entry without its
//! data, only data without an entry, which the next start lists. Start at [`Workspace::put`].

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use automerge::ChangeHash;

use super::contents::IndexedDocument;
use super::documents::{heads_text, now_ms};
use super::entry::{DocumentEntry, NewDocument, version_of};
use super::error::SaveError;
use super::journal::{self, Journal};
use super::originals::{self, MAX_ORIGINAL_BYTES};
use super::{Workspace, document_place, remove_files};
use crate::document::{MAX_TEXT_BYTES, TextDocument};
use crate::durable;
use crate::entry::DocKey;
use crate::id::{ContentHash, DocumentId};

/// Free space that a batch must leave, in bytes: the index, folders and the file system's own needs.
const SPARE_BYTES: u64 = 1 << 20;

/// One document of a batch, ready to be written.
struct Prepared {
    indexed: IndexedDocument,
    write: Write,
    original: Option<(PathBuf, Vec<u8>)>,
}

enum Write {
    /// A file that replaces whatever is there.
    Whole(PathBuf, Vec<u8>),
    /// A frame for the end of a file.
    Append(Box<Append>),
    /// The stored document is equal already.
    Nothing,
}

struct Append {
    journal: Journal,
    frame: Vec<u8>,
    document: TextDocument,
    len_before_bytes: u64,
}

impl Workspace {
    /// Saves a batch of documents; when it returns `Ok`, all of them are durable.
    ///
    /// Entries come back in the order of `documents`. A document with `existing` keeps its id and history: its text
    /// changes by the differences. Larger batches share the waiting for the disk: 64 documents
    /// of 3 kB with originals of 20 kB at once are saved at 740 a second (2 cores, `examples/measure_storage.rs`).
    ///
    /// # Errors
    /// See [`SaveError`]; nothing of the batch is saved then. [`SaveError::NoSpace`] says how many bytes were needed.
    pub fn put(&self, documents: Vec<NewDocument>) -> Result<Vec<DocumentEntry>, SaveError> {
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let mut seen = HashSet::new();
        let repeated = documents
            .iter()
            .filter_map(|document| document.existing)
            .any(|id| !seen.insert(id));
        if repeated {
            // Two states of one document in a batch: each must see the one before.
            let saved = documents
                .into_iter()
                .map(|document| self.put_batch(vec![document]));
            return Ok(saved.collect::<Result<Vec<_>, _>>()?.concat());
        }
        self.put_batch(documents)
    }

    fn put_batch(&self, documents: Vec<NewDocument>) -> Result<Vec<DocumentEntry>, SaveError> {
        let threads = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let prepared =
            durable::in_parallel(threads, &documents, |document| self.prepare(document))?;
        drop(documents);
        self.check_space(&prepared)?;
        let (mut files, mut appends, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let stored = self.stored_originals();
        let mut in_batch = HashSet::new();
        for item in prepared {
            changes.push(item.indexed);
            match item.write {
                Write::Whole(path, bytes) => files.push((path, bytes)),
                Write::Append(append) => appends.push(Mutex::new(*append)),
                Write::Nothing => {}
            }
            let mut needed = |path: &PathBuf| {
                in_batch.insert(path.clone()) && !(stored.contains(path) && path.exists())
            };
            files.extend(item.original.filter(|(path, _)| needed(path)));
        }
        let replaced = self.replaced_originals(&changes);
        self.write_batch(&files, &appends, &changes)?;
        self.remove_unneeded(replaced);
        self.compact(appends);
        for document in &changes {
            self.dirty.mark(DocKey::document(document.entry.id));
        }
        Ok(changes.into_iter().map(|document| document.entry).collect())
    }

    /// Writes files and frames, then the index; takes everything back when one of them fails.
    fn write_batch(
        &self,
        files: &[(PathBuf, Vec<u8>)],
        appends: &[Mutex<Append>],
        changes: &[IndexedDocument],
    ) -> Result<(), SaveError> {
        let new: Vec<PathBuf> = files
            .iter()
            .map(|(path, _)| path.clone())
            .filter(|path| !path.exists())
            .collect();
        let saved = self.write_files(files).and_then(|()| {
            durable::in_parallel(durable::WRITE_THREADS, appends, |append| {
                self.append(append)
            })?;
            let mut index = self.index();
            let known = &index.contents().documents;
            let changes = changes.iter().filter_map(|document| {
                let known = known.get(&document.entry.id);
                document.clone().change_from(known)
            });
            let changes = changes.collect();
            index.change(&self.keys, changes)
        });
        if saved.is_err() {
            self.author.renew();
            for append in appends {
                let mut append = append.lock().unwrap_or_else(PoisonError::into_inner);
                let len_before_bytes = append.len_before_bytes;
                append.journal.cut_to(len_before_bytes);
            }
            remove_files(new);
        }
        saved
    }

    fn write_files(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<(), SaveError> {
        let needed_bytes = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let folders: BTreeSet<_> = files.iter().filter_map(|(path, _)| path.parent()).collect();
        for folder in folders {
            durable::create_folder(folder)
                .map_err(|error| SaveError::io(folder, needed_bytes, error))?;
        }
        durable::write_all(files).map_err(|error| SaveError::io(&self.dir, needed_bytes, error))
    }

    fn append(&self, append: &Mutex<Append>) -> Result<(), SaveError> {
        let append = &mut *append.lock().unwrap_or_else(PoisonError::into_inner);
        append
            .journal
            .append(&self.keys, &append.frame, append.document.heads())
    }

    fn compact(&self, appends: Vec<Mutex<Append>>) {
        for append in appends {
            let mut append = append.into_inner().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) =
                append
                    .journal
                    .compact_if_grown(&self.keys, append.document.automerge(), || {
                        append.document.text().ok().map(String::into_bytes)
                    })
            {
                // The document is durable; its log only stays longer than it need be.
                tracing::warn!(%error, "a document could not be compacted");
            }
        }
    }

    fn prepare(&self, new: &NewDocument) -> Result<Prepared, SaveError> {
        check_sizes(new)?;
        let old = match new.existing {
            Some(document) => {
                let old = self.index().contents().documents.get(&document).cloned();
                Some(old.ok_or(SaveError::UnknownDocument { document })?)
            }
            None => None,
        };
        let old_entry = old.as_ref().map(|old| &old.entry);
        let content = new.original.as_deref().map(ContentHash::of);
        let mut entry = entry_of(new, content, old_entry);
        // A path is a file of this device, unless the new state says nothing about it or was not read from a file.
        entry.origin = match (&entry.path, old_entry) {
            (Some(path), Some(old)) if old.path.as_ref() == Some(path) && content.is_none() => {
                old.origin
            }
            (Some(path), Some(old)) if old.path.as_ref() == Some(path) && old.origin.is_some() => {
                self.device().or(old.origin)
            }
            (Some(_), _) => self.device(),
            (None, _) => None,
        };
        let (write, heads) = self.prepare_text(&entry, &new.text, old.is_some())?;
        let original = content
            .zip(new.original.as_deref())
            .map(|(content, bytes)| {
                let path = originals::path(&self.keys, &self.dir, &content);
                (path, originals::encode(&self.keys, &content, bytes))
            });
        Ok(Prepared {
            indexed: IndexedDocument {
                entry,
                heads: heads_text(&heads),
            },
            write,
            original,
        })
    }

    fn prepare_text(
        &self,
        entry: &DocumentEntry,
        text: &str,
        exists: bool,
    ) -> Result<(Write, Vec<ChangeHash>), SaveError> {
        let place = document_place(&self.dir, entry.id);
        let understood = |error| SaveError::load(&place.path, error);
        if exists && let Some((mut document, journal)) = self.open_for_writing(entry.id)? {
            document
                .save_text(text, now_ms() / 1000)
                .map_err(|error| SaveError::load(&place.path, error))?;
            document.set_about(&entry.about()).map_err(understood)?;
            let heads = document.heads();
            let write = match journal.pending(document.automerge(), Some(text.as_bytes()))? {
                None => Write::Nothing,
                Some(frame) => {
                    let len_before_bytes = journal.len_bytes();
                    Write::Append(Box::new(Append {
                        journal,
                        frame,
                        document,
                        len_before_bytes,
                    }))
                }
            };
            return Ok((write, heads));
        }
        let empty = self.author.new_document();
        let document = TextDocument::new_in(empty, text, &entry.about(), now_ms() / 1000)
            .map_err(|error| SaveError::load(&place.path, error))?;
        let bytes = journal::encode_new(
            &self.keys,
            place.name,
            document.automerge(),
            Some(text.as_bytes()),
        )?;
        Ok((Write::Whole(place.path, bytes), document.heads()))
    }

    /// A stored document and its log; `None` when nothing of it is left, so that it is written anew.
    pub(super) fn open_for_writing(
        &self,
        id: DocumentId,
    ) -> Result<Option<(TextDocument, Journal)>, SaveError> {
        let place = document_place(&self.dir, id);
        match journal::read_and_repair(&self.keys, &place)? {
            Err(damage) => {
                self.report(damage);
                Ok(None)
            }
            Ok(loaded) => {
                if let Some(damage) = &loaded.scan.damage {
                    self.report(damage.clone());
                }
                let journal = Journal::open(place.clone(), &loaded.scan)?;
                let mut document = TextDocument::from_automerge(loaded.doc)
                    .map_err(|error| SaveError::load(&place.path, error))?;
                self.author.take_over(document.automerge_mut());
                Ok(Some((document, journal)))
            }
        }
    }

    fn check_space(&self, prepared: &[Prepared]) -> Result<(), SaveError> {
        let sum = |item: &Prepared| {
            let text = match &item.write {
                Write::Whole(_, bytes) => bytes.len(),
                Write::Append(append) => append.frame.len(),
                Write::Nothing => 0,
            };
            (text + item.original.as_ref().map_or(0, |(_, bytes)| bytes.len())) as u64
        };
        self.check_free(prepared.iter().map(sum).sum())
    }

    /// Checks that the disk has room for so many bytes more.
    pub(super) fn check_free(&self, bytes: u64) -> Result<(), SaveError> {
        let needed_bytes = bytes + SPARE_BYTES;
        match durable::free_bytes(&self.dir) {
            Some(free_bytes) if free_bytes < needed_bytes => Err(SaveError::NoSpace {
                needed_bytes,
                free_bytes,
                path: self.dir.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Files of originals that entries point to.
    fn stored_originals(&self) -> HashSet<PathBuf> {
        let index = self.index();
        let contents = index.contents().by_original.keys();
        contents
            .map(|content| originals::path(&self.keys, &self.dir, content))
            .collect()
    }

    /// Originals that the new entries will no longer point to.
    fn replaced_originals(&self, changes: &[IndexedDocument]) -> Vec<ContentHash> {
        let index = self.index();
        let documents = &index.contents().documents;
        changes
            .iter()
            .filter_map(|new| {
                let old = documents.get(&new.entry.id)?.entry.original?;
                (new.entry.original != Some(old)).then_some(old)
            })
            .collect()
    }

    pub(super) fn remove_unneeded(&self, originals: Vec<ContentHash>) {
        let unneeded: Vec<PathBuf> = {
            let index = self.index();
            let needed: HashSet<ContentHash> = index.contents().files().collect();
            originals
                .iter()
                .filter(|content| !needed.contains(content))
                .map(|content| originals::path(&self.keys, &self.dir, content))
                .collect()
        };
        remove_files(unneeded);
    }
}

fn entry_of(
    new: &NewDocument,
    content: Option<ContentHash>,
    old: Option<&DocumentEntry>,
) -> DocumentEntry {
    let old_original = old.and_then(|old| old.original);
    DocumentEntry {
        id: old.map_or_else(DocumentId::random, |old| old.id),
        title: new.title.clone(),
        kind: new.kind,
        media_type: new.media_type.clone(),
        path: new.path.clone(),
        paged: new.paged,
        original: content.or(old_original),
        original_bytes: match &new.original {
            Some(bytes) => bytes.len() as u64,
            None => old.map_or(0, |old| old.original_bytes),
        },
        source_mtime_ms: new.source_mtime_ms,
        text_bytes: new.text.len() as u64,
        version: version_of(new.kind, &new.text),
        imported_at_ms: old.map_or_else(now_ms, |old| old.imported_at_ms),
        note: new.note.clone(),
        origin: None,
    }
}

fn check_sizes(new: &NewDocument) -> Result<(), SaveError> {
    let original_bytes = new.original.as_ref().map_or(0, Vec::len) as u64;
    for (bytes, limit_bytes) in [
        (new.text.len() as u64, MAX_TEXT_BYTES as u64),
        (original_bytes, MAX_ORIGINAL_BYTES),
    ] {
        if bytes > limit_bytes {
            return Err(SaveError::TooLarge { bytes, limit_bytes });
        }
    }
    Ok(())
}
