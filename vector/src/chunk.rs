//! Cuts a document's text into chunks that follow its structure.
//!
//! Pure: no clock, no disk, no model; the same text always gives the same chunks, in time linear in
//! its length. Never loses text (every byte that is not white space lies in exactly one chunk), never
//! cuts inside a UTF-8 character, never recurses on the input.
//! Start at [`chunks`]: an outline of blocks is read from the text (`markdown`, `lines`), blocks that
//! are too long are cut (`split`), and neighbours are packed up to the size that an embedder reads
//! well (`pack`).

use std::ops::Range;

mod lines;
mod markdown;
mod outline;
mod pack;
mod split;
mod tokens;

#[cfg(test)]
mod tests;

pub use tokens::estimate_tokens;

/// Version of the rules in this module.
///
/// It is part of the names of the index's tables: raise it whenever the same text would give other
/// chunks or other contexts, and every index is rebuilt.
pub const CHUNKER_VERSION: u32 = 1;

/// Most estimated tokens of a chunk with its context.
///
/// 256 tokens is the window that all-MiniLM-L6-v2 and its relatives were trained with; two of them
/// are the marks at both ends, and four are kept as a margin for the estimate.
pub const MAX_EMBEDDED_TOKENS: usize = 250;

/// Most estimated tokens of a chunk's own text, where its context leaves that much room.
///
/// Smaller leaves match more sharply; below about 100 tokens a leaf loses what it is about.
pub const MAX_TEXT_TOKENS: usize = 200;

/// A piece below this many estimated tokens says too little to stand alone and joins a neighbour
/// of the same section, over a page break too.
const TINY_TOKENS: usize = 32;

/// How a document's text is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextKind {
    /// Markdown: headings are `#` lines, tables are pipe tables.
    Markdown,
    /// Plain text: paragraphs are separated by blank lines.
    Plain,
    /// Source code or another text whose lines are units.
    Code,
}

/// One document, as the chunker needs it.
#[derive(Clone, Copy, Debug)]
pub struct ChunkInput<'a> {
    /// Title shown to the user; becomes part of each chunk's context. May be empty.
    pub title: &'a str,
    /// How `text` is to be read.
    pub kind: TextKind,
    /// The whole text.
    pub text: &'a str,
    /// Whether U+000C (form feed) in `text` ends a page of the original.
    pub paged: bool,
}

/// A passage of a document: the unit of embedding, of search and of quoting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Position among the document's chunks, from 0.
    pub index: u32,
    /// UTF-8 byte range in the document's text, without white space at its ends.
    pub range: Range<usize>,
    /// Headings above the chunk, outermost first. Each is cut at 160 characters.
    pub heading_path: Vec<String>,
    /// Page on which the chunk begins, from 1; `None` where the original has no pages.
    pub page: Option<u32>,
    /// The document's text at `range`.
    pub text: String,
    /// Title, heading path and, for a later group of a table's rows, the table's header row.
    /// Prefixed to what is embedded and indexed, never quoted. May be empty.
    pub context: String,
}

impl Chunk {
    /// Returns what is embedded and indexed: the context, a line break and the text.
    pub fn embedded_text(&self) -> String {
        if self.context.is_empty() {
            return self.text.clone();
        }
        format!("{}\n{}", self.context, self.text)
    }
}

/// Cuts a document into chunks, in the order of the text.
///
/// The ranges ascend, do not overlap, and together hold every byte that is not white space. A text
/// of white space alone gives no chunk. A chunk with its context has at most about
/// [`MAX_EMBEDDED_TOKENS`] tokens by [`estimate_tokens`].
///
/// # Examples
/// ```
/// use satchel_vector::chunk::{ChunkInput, TextKind, chunks};
///
/// let text = "# Rent\n\nThe rent is due on the third working day of each month.";
/// let all = chunks(&ChunkInput { title: "Lease", kind: TextKind::Markdown, text, paged: false });
/// assert_eq!(all[0].heading_path, ["Rent"]);
/// assert_eq!(all[0].context, "Lease\nRent");
/// assert_eq!(all[0].text, &text[all[0].range.clone()]);
/// ```
pub fn chunks(input: &ChunkInput<'_>) -> Vec<Chunk> {
    let outline = match input.kind {
        TextKind::Markdown => markdown::outline(input.text, input.paged),
        TextKind::Plain => lines::outline(input.text, input.paged, outline::BlockKind::Prose),
        TextKind::Code => lines::outline(input.text, input.paged, outline::BlockKind::Code),
    };
    pack::pack(input, &outline)
}
