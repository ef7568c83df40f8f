//! A document's text as a sequence of blocks under headings.
//!
//! Blocks partition the text: each begins where the one before ends, so nothing can be lost between
//! them. Never holds text of its own beyond the headings.

use std::ops::Range;

/// Longest heading kept, in characters: a "heading" of megabytes would be copied into each chunk.
const MAX_HEADING_CHARS: usize = 160;

/// What a block is, as far as cutting it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// A heading line.
    Heading,
    /// Sentences: a paragraph, a list item, a quote.
    Prose,
    /// Lines: source code and the like.
    Code,
    /// A table. `rows` indexes [`Outline::row_starts`]; the first of them is the header row.
    Table {
        /// Byte range of the header row.
        header: Range<usize>,
        /// Rows in [`Outline::row_starts`].
        rows: Range<usize>,
    },
}

/// A block, from its first byte to the start of the next block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) start: usize,
    pub(super) kind: BlockKind,
    /// Index into [`Outline::heading_paths`].
    pub(super) section: usize,
    /// Page from 1; 0 where the text has no pages.
    pub(super) page: u32,
}

/// The blocks of a text and the headings above them.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) blocks: Vec<Block>,
    pub(super) heading_paths: Vec<Vec<String>>,
    pub(super) row_starts: Vec<usize>,
    headings: Vec<(u8, String)>,
}

impl Outline {
    /// An outline with one section that has no heading, and no block yet.
    pub(super) fn new() -> Self {
        Self {
            blocks: Vec::new(),
            heading_paths: vec![Vec::new()],
            row_starts: Vec::new(),
            headings: Vec::new(),
        }
    }

    /// Index of the section that new blocks belong to.
    pub(super) fn section(&self) -> usize {
        self.heading_paths.len() - 1
    }

    /// Begins the section of a heading of this level (1 is the outermost).
    pub(super) fn begin_section(&mut self, level: u8, heading: &str) {
        while self
            .headings
            .last()
            .is_some_and(|(above, _)| *above >= level)
        {
            self.headings.pop();
        }
        let heading = heading.trim();
        if !heading.is_empty() {
            self.headings
                .push((level, heading.chars().take(MAX_HEADING_CHARS).collect()));
        }
        self.heading_paths
            .push(self.headings.iter().map(|(_, text)| text.clone()).collect());
    }
}

/// Returns the byte range of each page with its number from 1, or the whole text as page 0.
///
/// The form feed at a page's end belongs to no page; it is white space.
pub(super) fn pages(text: &str, paged: bool) -> impl Iterator<Item = (Range<usize>, u32)> + '_ {
    let mut start = Some(0);
    let mut number = 0;
    std::iter::from_fn(move || {
        let from = start?;
        if !paged {
            start = None;
            return Some((from..text.len(), 0));
        }
        number += 1;
        let end = text[from..].find('\u{c}').map(|at| from + at);
        start = end.map(|end| end + 1);
        Some((from..end.unwrap_or(text.len()), number))
    })
}
