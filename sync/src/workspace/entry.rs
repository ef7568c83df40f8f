//! What the index knows about a document, and what is handed in to make one.
//!
//! Plain data in the user's words. Start at [`DocumentEntry`].

use serde::{Deserialize, Serialize};

use super::contents::Record;
use crate::document::{LoadError, TextDocument};
use crate::id::{ContentHash, DeviceId, DocumentId, to_hex};
use crate::values;

/// How a text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextKind {
    /// Markdown: headings are `#` lines, tables are pipe tables.
    Markdown,
    /// Text without marks.
    Plain,
    /// Source code.
    Code,
}

impl TextKind {
    fn as_byte(self) -> u8 {
        match self {
            Self::Markdown => b'm',
            Self::Plain => b'p',
            Self::Code => b'c',
        }
    }
}

/// One document in the list of documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentEntry {
    /// Which document.
    pub id: DocumentId,
    /// Its title.
    pub title: String,
    /// How the text is to be read.
    pub kind: TextKind,
    /// Media type of the original, such as `application/pdf`.
    pub media_type: String,
    /// Absolute path of the file that it was imported from.
    pub path: Option<String>,
    /// Whether form feeds (U+000C) in the text are borders of pages.
    pub paged: bool,
    /// Hash of the original's bytes.
    pub original: Option<ContentHash>,
    /// Length of the original in bytes; 0 without one.
    pub original_bytes: u64,
    /// When the source file was last changed, in milliseconds since 1970.
    pub source_mtime_ms: i64,
    /// Length of the text in UTF-8 bytes.
    pub text_bytes: u64,
    /// Names kind and text: equal versions mean equal texts. 32 hexadecimal digits of BLAKE3.
    pub version: String,
    /// When it was first imported, in milliseconds since 1970.
    pub imported_at_ms: i64,
    /// What the import had to say about it.
    pub note: Option<String>,
    /// The device whose file `path` is, in a shared workspace: the same path on another one is another file.
    #[serde(default)]
    pub origin: Option<DeviceId>,
}

/// Fields of an entry that follow from the text.
const OF_THE_TEXT: [&str; 2] = ["text_bytes", "version"];

impl DocumentEntry {
    /// The record beside the text: the entry without what follows from the text, so that an edit does not change it.
    pub(super) fn about(&self) -> Record {
        let mut about = values::to_json(self);
        about.retain(|field, _| !OF_THE_TEXT.contains(&field.as_str()));
        about
    }

    /// The entry of a document that is stored under this id, as the document itself tells it.
    pub(super) fn of(id: DocumentId, document: &TextDocument) -> Result<Self, LoadError> {
        let mut about: Record = document.about()?;
        for (field, empty) in OF_THE_TEXT.into_iter().zip([0.into(), "".into()]) {
            about.insert(field.to_owned(), empty);
        }
        let about: Self = serde_json::from_value(about.into())
            .map_err(|_| LoadError::MissingPart("record about it"))?;
        let text = document.text()?;
        Ok(Self { id, ..about }.with_text(&text))
    }

    /// The entry when the document has this text.
    pub(super) fn with_text(self, text: &str) -> Self {
        Self {
            version: version_of(self.kind, text),
            text_bytes: text.len() as u64,
            ..self
        }
    }
}

/// A document to be saved.
#[derive(Debug, Clone)]
pub struct NewDocument {
    /// The document that this is a new state of; `None` makes a new document.
    pub existing: Option<DocumentId>,
    /// Its title.
    pub title: String,
    /// How the text is to be read.
    pub kind: TextKind,
    /// Media type of the original.
    pub media_type: String,
    /// Absolute path of the source file.
    pub path: Option<String>,
    /// Whether form feeds in the text are borders of pages.
    pub paged: bool,
    /// When the source file was last changed, in milliseconds since 1970.
    pub source_mtime_ms: i64,
    /// The original's bytes. `None` keeps the present original of an existing document.
    pub original: Option<Vec<u8>>,
    /// The whole text.
    pub text: String,
    /// What the import had to say about it.
    pub note: Option<String>,
}

impl NewDocument {
    /// A document written here, without a source file.
    #[must_use]
    pub fn plain(title: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            existing: None,
            title: title.into(),
            kind: TextKind::Plain,
            media_type: "text/plain".to_owned(),
            path: None,
            paged: false,
            source_mtime_ms: 0,
            original: None,
            text: text.into(),
            note: None,
        }
    }
}

/// A file that could not be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportFailure {
    /// Absolute path of the file.
    pub path: String,
    /// Why, in the user's words.
    pub reason: String,
}

/// Names a kind and a text; see [`DocumentEntry::version`].
#[must_use]
pub fn version_of(kind: TextKind, text: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind.as_byte()]);
    hasher.update(text.as_bytes());
    to_hex(&hasher.finalize().as_bytes()[..16])
}
