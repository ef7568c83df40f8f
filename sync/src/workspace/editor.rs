//! Writing in a document key by key.
//!
//! A keystroke costs what it costs Automerge, and a small sealed frame in `keystrokes.log`; what is typed between
//! two flushes becomes one change of the document. So a crash takes no key, and the history stays short.
//! Others may change the document meanwhile: the next flush brings both together. Start at [`Workspace::edit`].

use std::mem;
use std::sync::{Arc, PoisonError};

use automerge::transaction::{CommitOptions, OwnedTransaction, Transactable};
use automerge::{ActorId, Automerge, AutomergeError, ChangeHash, ObjId, ReadDoc};

use super::contents::{Change, IndexedDocument};
use super::documents::{heads_text, now_ms};
use super::entry::DocumentEntry;
use super::error::SaveError;
use super::journal::{self, Journal};
use super::keystrokes::Stretch;
use super::{Workspace, document_place};
use crate::document::MAX_TEXT_BYTES;
use crate::durable;
use crate::entry::DocKey;
use crate::id::DocumentId;

/// A document that somebody writes in. Dropping it flushes it.
pub struct Editor {
    workspace: Arc<Workspace>,
    document: DocumentId,
    /// As it was listed last, for the case that somebody removes it under our hands.
    entry: DocumentEntry,
    /// New for each editor: other writers of this process change the same document as another actor.
    actor: ActorId,
    /// Changes made by this editor.
    changes: u64,
    /// Stretches in the log of keystrokes that are not in the file of the document.
    stretches: Vec<u32>,
    began_at_s: i64,
    journal: Journal,
    state: State,
    text: ObjId,
    text_bytes: usize,
}

enum State {
    /// Everything typed is in the history; it may still have to be saved.
    Resting(Box<Automerge>),
    /// The change that is being typed, and the number of its stretch.
    Typing(Box<OwnedTransaction>, u32),
    /// Only while one of the others becomes the other.
    Between,
}

const BETWEEN: &str = "an editor is between two states only inside a call";

/// What a flush gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flushed {
    /// The document as it is listed now.
    pub entry: DocumentEntry,
    /// Whether others had changed the document: read [`Editor::text`] again before typing on.
    pub is_merged: bool,
}

impl Workspace {
    /// Opens a document for writing in it.
    ///
    /// # Errors
    /// [`SaveError::Damaged`] when nothing is left of it; otherwise as [`Workspace::text`].
    pub fn edit(self: &Arc<Self>, document: DocumentId) -> Result<Editor, SaveError> {
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let entry = self
            .entry(document)
            .ok_or(SaveError::UnknownDocument { document })?;
        let opened = self.open_for_writing(document)?;
        let (stored, journal) = opened.ok_or_else(|| SaveError::Damaged {
            path: document_place(&self.dir, document).path,
        })?;
        let text = stored.text_object();
        let doc = stored.into_automerge();
        self.keystrokes().editor_opened();
        Ok(Editor {
            workspace: Arc::clone(self),
            document,
            entry,
            actor: self.author.another(),
            changes: 0,
            stretches: Vec::new(),
            began_at_s: 0,
            journal,
            text_bytes: doc.length(&text),
            state: State::Resting(Box::new(doc)),
            text,
        })
    }

    /// Writes a document that is being written and is not there any more.
    fn write_anew(
        &self,
        entry: &DocumentEntry,
        doc: &Automerge,
        text: &ObjId,
    ) -> Result<Journal, SaveError> {
        let place = document_place(&self.dir, entry.id);
        let text = doc
            .text(text)
            .map_err(|error| SaveError::load(&place.path, error))?;
        let bytes = journal::encode_new(&self.keys, place.name, doc, Some(text.as_bytes()))?;
        durable::write(&place.path, &bytes)
            .map_err(|error| SaveError::io(&place.path, bytes.len() as u64, error))?;
        let listed = Change::Document(IndexedDocument {
            entry: entry.clone().with_text(&text),
            heads: heads_text(&doc.get_heads()),
        });
        self.index().change(&self.keys, vec![listed])?;
        self.dirty.mark(DocKey::document(entry.id));
        match journal::scan(&self.keys, &place)? {
            Ok(scan) => Journal::open(place, &scan),
            Err(damage) => Err(SaveError::Damaged { path: damage.path }),
        }
    }

    /// Makes what is new in one document durable, and its entry true.
    pub(super) fn save_one(
        &self,
        id: DocumentId,
        doc: &Automerge,
        text: &ObjId,
        journal: &mut Journal,
    ) -> Result<DocumentEntry, SaveError> {
        let text = doc
            .text(text)
            .map_err(|error| SaveError::load(journal.path(), error))?;
        let known = self.index().contents().documents.get(&id).cloned();
        let mut entry = known
            .ok_or(SaveError::UnknownDocument { document: id })?
            .entry;
        let heads = doc.get_heads();
        let Some(frame) = journal.pending(doc, Some(text.as_bytes()))? else {
            return Ok(entry);
        };
        self.check_free(frame.len() as u64)?;
        entry = entry.with_text(&text);
        let (len_before_bytes, heads_before) =
            (journal.len_bytes(), journal.saved_heads().to_vec());
        journal.append(&self.keys, &frame, heads.clone())?;
        let listed = Change::Text(IndexedDocument {
            entry: entry.clone(),
            heads: heads_text(&heads),
        });
        let indexed = self.index().change(&self.keys, vec![listed]);
        if let Err(error) = indexed {
            journal.take_back(len_before_bytes, heads_before);
            return Err(error);
        }
        if let Err(error) = journal.compact_if_grown(&self.keys, doc, || Some(text.into_bytes())) {
            tracing::warn!(%error, "a document could not be compacted");
        }
        self.dirty.mark(DocKey::document(id));
        Ok(entry)
    }
}

impl Editor {
    /// Which document.
    #[must_use]
    pub fn document(&self) -> DocumentId {
        self.document
    }

    /// The text as it is on the screen.
    ///
    /// # Errors
    /// [`SaveError`] only if Automerge has a mistake.
    pub fn text(&self) -> Result<String, SaveError> {
        let text = match &self.state {
            State::Resting(doc) => doc.text(&self.text),
            State::Typing(typing, _) => typing.text(&self.text),
            State::Between => unreachable!("{BETWEEN}"),
        };
        text.map_err(|error| self.mistake(error))
    }

    /// Length of the text in UTF-8 bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Puts `insert` in the place of `delete_bytes` at `at_bytes`, both in UTF-8 bytes of the present text and at
    /// borders of characters.
    ///
    /// When it returns, the end of this process takes nothing of it; a power cut can until [`Editor::sync`].
    ///
    /// # Errors
    /// See [`SaveError`]; the text is then as before.
    pub fn splice(
        &mut self,
        at_bytes: usize,
        delete_bytes: usize,
        insert: &str,
    ) -> Result<(), SaveError> {
        let (bytes, limit_bytes) = (
            (self.text_bytes + insert.len()) as u64,
            MAX_TEXT_BYTES as u64,
        );
        if bytes > limit_bytes {
            return Err(SaveError::TooLarge { bytes, limit_bytes });
        }
        let outside = SaveError::OutsideText {
            at_bytes,
            delete_bytes,
            text_bytes: self.text_bytes,
        };
        let end = at_bytes.checked_add(delete_bytes);
        let (Ok(at), Ok(delete)) = (u32::try_from(at_bytes), u32::try_from(delete_bytes)) else {
            return Err(outside);
        };
        if end.is_none_or(|end| end > self.text_bytes) {
            return Err(outside);
        }
        let stretch = self.begin()?;
        let workspace = &*self.workspace;
        workspace
            .keystrokes()
            .note(&workspace.keys, stretch, at, delete, insert)?;
        let State::Typing(typing, _) = &mut self.state else {
            unreachable!("{BETWEEN}");
        };
        let spliced = typing.splice_text(&self.text, at_bytes, delete_bytes as isize, insert);
        spliced.map_err(|error| self.mistake(error))?;
        self.text_bytes = self.text_bytes - delete_bytes + insert.len();
        Ok(())
    }

    /// Returns when a power cut can take nothing of what was typed. A window calls it every second or so.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub fn sync(&self) -> Result<(), SaveError> {
        self.workspace.keystrokes().sync()
    }

    /// Makes what was typed one change of the document, durable and on its way to other devices, and takes in what
    /// others changed. A window calls it after some seconds without a key.
    ///
    /// # Errors
    /// See [`SaveError`]; what was typed stays, here and in the log of keystrokes.
    pub fn flush(&mut self) -> Result<Flushed, SaveError> {
        let workspace = Arc::clone(&self.workspace);
        let _files = workspace
            .files
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        self.commit();
        let is_merged = self.follow()?;
        let State::Resting(doc) = &self.state else {
            unreachable!("{BETWEEN}");
        };
        self.text_bytes = doc.length(&self.text);
        self.entry = workspace.save_one(self.document, doc, &self.text, &mut self.journal)?;
        for stretch in self.stretches.drain(..) {
            workspace.keystrokes().end(&workspace.keys, stretch);
        }
        Ok(Flushed {
            entry: self.entry.clone(),
            is_merged,
        })
    }

    /// Begins a change where none is under way; gives the number of its stretch.
    fn begin(&mut self) -> Result<u32, SaveError> {
        let doc = match &self.state {
            State::Typing(_, stretch) => return Ok(*stretch),
            State::Resting(doc) => doc,
            State::Between => unreachable!("{BETWEEN}"),
        };
        let workspace = &*self.workspace;
        if !workspace.author.may_be(&self.actor) {
            // The workspace was shared since this editor was opened.
            self.actor = workspace.author.another();
            self.changes = 0;
        }
        let stretch = Stretch {
            document: self.document,
            actor: self.actor.clone(),
            seq: self.changes + 1,
            at_s: now_ms() / 1000,
            heads: doc.get_heads(),
            keystrokes: Vec::new(),
        };
        let number = workspace.keystrokes().begin(&workspace.keys, &stretch)?;
        let State::Resting(mut doc) = mem::replace(&mut self.state, State::Between) else {
            unreachable!("{BETWEEN}");
        };
        self.began_at_s = stretch.at_s;
        self.stretches.push(number);
        if *doc.get_actor() != self.actor {
            doc.set_actor(self.actor.clone());
        }
        self.state = State::Typing(Box::new(transaction(*doc, None)), number);
        Ok(number)
    }

    /// Ends the change that is being typed.
    fn commit(&mut self) {
        self.state = match mem::replace(&mut self.state, State::Between) {
            State::Typing(typing, _) => {
                let (doc, hash, _) = typing.commit_with(at(self.began_at_s));
                self.changes += u64::from(hash.is_some());
                State::Resting(Box::new(doc))
            }
            state => state,
        };
    }

    /// Takes in what others wrote into the file; says whether there was anything.
    fn follow(&mut self) -> Result<bool, SaveError> {
        let workspace = &*self.workspace;
        let State::Resting(doc) = &mut self.state else {
            unreachable!("{BETWEEN}");
        };
        let listed = workspace.entry(self.document);
        let is_new = doc.get_heads() != self.journal.saved_heads();
        if listed.is_none() && !is_new {
            return Err(SaveError::UnknownDocument {
                document: self.document,
            });
        }
        if listed.is_some() && self.journal.is_current()? {
            return Ok(false);
        }
        let opened = match listed {
            Some(_) => workspace.open_for_writing(self.document)?,
            None => None,
        };
        let Some((stored, journal)) = opened else {
            // Somebody removed what is being written, or its file: it comes back.
            self.journal = workspace.write_anew(&self.entry, doc, &self.text)?;
            return Ok(false);
        };
        let mut stored = stored.into_automerge();
        let heads = doc.get_heads();
        stored
            .merge(doc)
            .map_err(|error| SaveError::load(journal.path(), error))?;
        let is_merged = stored.get_heads() != heads;
        **doc = stored;
        self.journal = journal;
        Ok(is_merged)
    }

    fn mistake(&self, error: AutomergeError) -> SaveError {
        SaveError::load(self.journal.path(), error)
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        if !self.stretches.is_empty()
            && let Err(error) = self.flush()
        {
            tracing::warn!(%error, "what was typed is not in its document yet; the next start puts it there");
        }
        self.workspace.keystrokes().editor_closed();
    }
}

pub(super) fn transaction(doc: Automerge, heads: Option<&[ChangeHash]>) -> OwnedTransaction {
    doc.into_transaction(None, heads)
        .expect("a log of patches that is not there fits every document")
}

pub(super) fn at(seconds: i64) -> CommitOptions {
    CommitOptions::default().with_time(seconds)
}
