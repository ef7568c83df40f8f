//! Places in a text that are found again after the text was edited: what a citation points to.
//!
//! An anchor holds Automerge cursors of the first and the last character, the heads at that time, and the
//! quoted words with their hash. Pure; never changes a document. Start at [`Anchor`].

use std::ops::Range;

use automerge::{Cursor, MoveCursor, ReadDoc};
use serde::{Deserialize, Serialize};

use super::{LoadError, TextDocument};
use crate::id::{DocumentId, to_hex};

/// A passage of a document as it was when it was quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Which document.
    pub document: DocumentId,
    /// The document's heads at that time, as hexadecimal digits.
    pub heads: Vec<String>,
    /// Automerge cursor of the first quoted character.
    pub start: String,
    /// Automerge cursor of the last quoted character.
    pub end: String,
    /// The quoted words.
    pub quote: String,
    /// First 16 bytes of BLAKE3 of the quoted words, as hexadecimal digits.
    pub quote_hash: String,
}

/// Where the passage is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// UTF-8 byte range in the present text; empty where the whole passage was deleted.
    pub range: Range<usize>,
    /// The present words of that range.
    pub text: String,
    /// Whether the words differ from the quoted ones.
    pub changed: bool,
}

/// Why a passage cannot be anchored or found again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnchorError {
    /// The range is empty, outside the text or inside a character.
    #[error("bytes {start} to {end} are not a passage of this text of {text_bytes} bytes")]
    NotAPassage {
        /// First byte asked for.
        start: usize,
        /// Byte after the last one asked for.
        end: usize,
        /// Length of the text in bytes.
        text_bytes: usize,
    },
    /// The anchor belongs to another history, and its words are not in the text either.
    #[error("the quoted passage is not in this document any more")]
    NotFound,
    /// The document cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl From<automerge::AutomergeError> for AnchorError {
    fn from(error: automerge::AutomergeError) -> Self {
        Self::Load(error.into())
    }
}

impl TextDocument {
    /// Remembers a passage given as a UTF-8 byte range of the present text.
    ///
    /// # Errors
    /// [`AnchorError::NotAPassage`] when the range is empty or not on borders of characters.
    pub fn anchor(&self, document: DocumentId, range: Range<usize>) -> Result<Anchor, AnchorError> {
        let text = self.text()?;
        let quote = text.get(range.clone()).filter(|quote| !quote.is_empty());
        let quote = quote.ok_or(AnchorError::NotAPassage {
            start: range.start,
            end: range.end,
            text_bytes: text.len(),
        })?;
        let last = quote.char_indices().next_back().map_or(0, |(at, _)| at);
        let cursor = |at: usize, moving| self.doc.get_cursor_moving(&self.text, at, None, moving);
        Ok(Anchor {
            document,
            heads: self.heads().iter().map(ToString::to_string).collect(),
            start: cursor(range.start, MoveCursor::After)?.to_string(),
            end: cursor(range.start + last, MoveCursor::Before)?.to_string(),
            quote: quote.to_owned(),
            quote_hash: hash(quote),
        })
    }

    /// Finds a passage in the present text.
    ///
    /// Where the cursors' words differ from the quote but the quote stands elsewhere in the text (a paragraph that
    /// was moved, a file that was imported again), the nearest such place is given, unchanged.
    ///
    /// # Errors
    /// [`AnchorError::NotFound`] when the anchor is of another history and its words are not here.
    pub fn resolve(&self, anchor: &Anchor) -> Result<Resolved, AnchorError> {
        let text = self.text()?;
        let by_cursor = self.cursor_range(anchor, &text);
        if let Some(range) = &by_cursor
            && hash(&text[range.clone()]) == anchor.quote_hash
        {
            return Ok(resolved(&text, range.clone(), false));
        }
        let near = by_cursor.as_ref().map_or(0, |range| range.start);
        if let Some(start) = nearest(&text, &anchor.quote, near)
            && hash(&anchor.quote) == anchor.quote_hash
        {
            return Ok(resolved(&text, start..start + anchor.quote.len(), false));
        }
        let range = by_cursor.ok_or(AnchorError::NotFound)?;
        Ok(resolved(&text, range, true))
    }

    /// The range between the two cursors; `None` when this document does not know them.
    fn cursor_range(&self, anchor: &Anchor, text: &str) -> Option<Range<usize>> {
        let start = self.position(&anchor.start)?;
        let last = self.position(&anchor.end)?;
        let last_char = text.get(last..)?.chars().next();
        let mut end = last + last_char.map_or(0, char::len_utf8);
        // A deleted last character resolves to the one before it; at the very beginning there is none, and
        // position 0 is then a character that was never quoted.
        if last == 0
            && start == 0
            && !last_char.is_some_and(|last_char| anchor.quote.ends_with(last_char))
        {
            end = 0;
        }
        text.get(start..end.max(start))
            .map(|_| start..end.max(start))
    }

    fn position(&self, cursor: &str) -> Option<usize> {
        // Automerge's own parser slices by bytes, so only plain text may reach it.
        if cursor.is_empty() || !cursor.is_ascii() {
            return None;
        }
        let cursor = Cursor::try_from(cursor).ok()?;
        self.doc.get_cursor_position(&self.text, &cursor, None).ok()
    }
}

fn resolved(text: &str, range: Range<usize>, changed: bool) -> Resolved {
    Resolved {
        text: text[range.clone()].to_owned(),
        range,
        changed,
    }
}

fn nearest(text: &str, quote: &str, near: usize) -> Option<usize> {
    if quote.is_empty() {
        return None;
    }
    text.match_indices(quote)
        .map(|(at, _)| at)
        .min_by_key(|at| at.abs_diff(near))
}

fn hash(quote: &str) -> String {
    to_hex(&blake3::hash(quote.as_bytes()).as_bytes()[..16])
}
