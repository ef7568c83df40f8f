//! One text with its history in Automerge.
//!
//! Positions are UTF-8 bytes everywhere (feature `utf8-indexing`; a test pins it). A whole text, and each update
//! of one, is a single change: Automerge's cost follows the number of changes. Pure: no disk, no clock.
//! The schema is in `sync/SCHEMA.md`. Start at [`TextDocument`].

mod anchor;
mod payload;

use automerge::hydrate::Value;
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{Automerge, AutomergeError, ChangeHash, ObjId, ObjType, ROOT, ReadDoc};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::id::DocumentId;
pub use anchor::{Anchor, AnchorError, Resolved};
pub(crate) use payload::{
    load, pack_changes, pack_foreign_snapshot, pack_rendering, pack_saved, pack_snapshot, unpack,
};

use crate::diff;
use crate::values;

/// Version of the schema inside a document; see `sync/SCHEMA.md`.
pub const DOCUMENT_SCHEMA: i64 = 1;
/// Message of a change that is a state which somebody saved: a version of its own in the history.
pub(crate) const SAVED: &str = "saved";
/// Longest text that is taken in, in bytes: what importing a file may give at most.
pub const MAX_TEXT_BYTES: usize = 64 << 20;

/// Why stored bytes are not a document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A frame does not begin as frames do.
    #[error("a stored frame is not understood")]
    Frame,
    /// Automerge does not accept the bytes.
    #[error("the stored changes are not accepted")]
    Rejected(#[from] Box<AutomergeError>),
    /// Automerge panicked on the bytes.
    #[error("the stored changes cannot be processed")]
    Panicked,
    /// Automerge accepted a part and said nothing.
    #[error("the stored changes do not lead to the recorded heads")]
    OtherHeads,
    /// There is nothing of the expected kind inside.
    #[error("the stored document has no {0}")]
    MissingPart(&'static str),
    /// A newer Satchel wrote the document.
    #[error("a newer Satchel wrote this document (schema {0}); update Satchel")]
    NewerSchema(i64),
}

impl From<AutomergeError> for LoadError {
    fn from(error: AutomergeError) -> Self {
        Self::Rejected(Box::new(error))
    }
}

/// A text and a record about it, with all their changes.
#[derive(Debug)]
pub struct TextDocument {
    doc: Automerge,
    text: ObjId,
}

impl TextDocument {
    /// Makes a document in one change.
    ///
    /// `about` is kept beside the text, so that the document can be recognised without the index.
    ///
    /// # Errors
    /// [`AutomergeError`] only if Automerge has a mistake.
    pub fn new(text: &str, about: &impl Serialize) -> Result<Self, AutomergeError> {
        Self::new_in(Automerge::new(), text, about, 0)
    }

    /// As [`TextDocument::new`], in an empty document of some author.
    pub(crate) fn new_in(
        mut doc: Automerge,
        text: &str,
        about: &impl Serialize,
        at_s: i64,
    ) -> Result<Self, AutomergeError> {
        let noted = |_: &ObjId| {
            let noted = CommitOptions::default().with_time(at_s);
            noted.with_message(SAVED)
        };
        let about = Value::Map(values::to_map(about));
        let made = doc.transact_with::<_, _, AutomergeError, _>(noted, |tx| {
            tx.put(ROOT, "format", DOCUMENT_SCHEMA)?;
            tx.batch_create_object(ROOT, "about", &about, false)?;
            let object = tx.put_object(ROOT, "text", ObjType::Text)?;
            tx.splice_text(&object, 0, 0, text)?;
            Ok(object)
        });
        let text = made.map_err(|failure| failure.error)?.result;
        Ok(Self { doc, text })
    }

    /// Takes over a loaded Automerge document.
    ///
    /// # Errors
    /// [`LoadError`] when it is not a text document of this version.
    pub fn from_automerge(doc: Automerge) -> Result<Self, LoadError> {
        let text = Self::check(&doc)?;
        Ok(Self { doc, text })
    }

    /// Whether an Automerge document is a text document of this version; gives the text in it.
    pub(crate) fn check(doc: &Automerge) -> Result<ObjId, LoadError> {
        check_schema(doc)?;
        match doc.get(ROOT, "text")? {
            Some((automerge::Value::Object(ObjType::Text), text)) => Ok(text),
            _ => Err(LoadError::MissingPart("text")),
        }
    }

    /// The whole text.
    ///
    /// # Errors
    /// [`AutomergeError`] only if Automerge has a mistake.
    pub fn text(&self) -> Result<String, AutomergeError> {
        self.doc.text(&self.text)
    }

    /// Changes the text by the differences to `new`, in one change; says whether anything differed.
    ///
    /// Takes time in proportion to the text and its differences, never to their product.
    ///
    /// # Errors
    /// [`AutomergeError`] only if Automerge has a mistake; the text is then as before.
    pub fn set_text(&mut self, new: &str) -> Result<bool, AutomergeError> {
        self.set_text_at(new, 0)
    }

    /// As [`TextDocument::set_text`], noting when, in seconds since 1970; 0 notes nothing.
    ///
    /// # Errors
    /// As [`TextDocument::set_text`].
    pub fn set_text_at(&mut self, new: &str, at_s: i64) -> Result<bool, AutomergeError> {
        self.change_text(new, at_s, None)
    }

    /// As [`TextDocument::set_text_at`], as a version of its own in the history: a state that somebody saved.
    pub(crate) fn save_text(&mut self, new: &str, at_s: i64) -> Result<bool, AutomergeError> {
        self.change_text(new, at_s, Some(SAVED))
    }

    fn change_text(
        &mut self,
        new: &str,
        at_s: i64,
        message: Option<&str>,
    ) -> Result<bool, AutomergeError> {
        let old = self.text()?;
        let edits = diff::edits(&old, new);
        if edits.is_empty() {
            return Ok(false);
        }
        let text = self.text.clone();
        let noted = |_: &()| CommitOptions {
            message: message.map(str::to_owned),
            time: Some(at_s),
        };
        self.doc
            .transact_with::<_, _, AutomergeError, _>(noted, |tx| {
                // From the end to the beginning, so that earlier positions stay valid.
                for edit in edits.iter().rev() {
                    let deleted = edit.old.len() as isize;
                    tx.splice_text(&text, edit.old.start, deleted, &new[edit.new.clone()])?;
                }
                Ok(())
            })
            .map_err(|failure| failure.error)?;
        Ok(true)
    }

    /// The text as it was at some heads of its history.
    ///
    /// # Errors
    /// [`AutomergeError`] only if Automerge has a mistake.
    pub fn text_at(&self, heads: &[ChangeHash]) -> Result<String, AutomergeError> {
        self.doc.text_at(&self.text, heads)
    }

    /// The record beside the text.
    ///
    /// # Errors
    /// [`LoadError::MissingPart`] when there is none of this kind.
    pub fn about<T: DeserializeOwned>(&self) -> Result<T, LoadError> {
        let wrong = || LoadError::MissingPart("record about it");
        let (_, object) = self.doc.get(ROOT, "about")?.ok_or_else(wrong)?;
        let Value::Map(map) = ReadDoc::hydrate(&self.doc, &object, None)? else {
            return Err(wrong());
        };
        values::from_map(&map).map_err(|_| wrong())
    }

    /// Changes the fields of the record that differ, in one change.
    ///
    /// # Errors
    /// [`LoadError`] when there is no record.
    pub fn set_about<T: Serialize + DeserializeOwned>(&mut self, new: &T) -> Result<(), LoadError> {
        let old = values::to_json(&self.about::<T>()?);
        let new = values::to_json(new);
        if old == new {
            return Ok(());
        }
        let Some((_, object)) = self.doc.get(ROOT, "about")? else {
            return Err(LoadError::MissingPart("record about it"));
        };
        self.doc
            .transact(|tx| values::update_record(tx, &object, &old, &new))
            .map_err(|failure| failure.error)?;
        Ok(())
    }

    /// The hashes of the latest changes: equal heads mean equal documents.
    #[must_use]
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.doc.get_heads()
    }

    /// Whether the change `head` is part of this document's history.
    #[must_use]
    pub fn contains(&self, head: &ChangeHash) -> bool {
        self.doc.get_change_meta_by_hash(head).is_some()
    }

    pub(crate) fn automerge(&self) -> &Automerge {
        &self.doc
    }

    /// Where the text lies in the document.
    pub(crate) fn text_object(&self) -> ObjId {
        self.text.clone()
    }

    pub(crate) fn into_automerge(self) -> Automerge {
        self.doc
    }

    pub(crate) fn automerge_mut(&mut self) -> &mut Automerge {
        &mut self.doc
    }
}

/// Reads the schema version at the root of a document.
pub(crate) fn check_schema(doc: &Automerge) -> Result<(), LoadError> {
    let format = doc
        .get(ROOT, "format")?
        .and_then(|(value, _)| value.as_i64());
    match format {
        Some(DOCUMENT_SCHEMA) => Ok(()),
        Some(newer) if newer > DOCUMENT_SCHEMA => Err(LoadError::NewerSchema(newer)),
        _ => Err(LoadError::MissingPart("schema version")),
    }
}

#[cfg(test)]
mod tests;
