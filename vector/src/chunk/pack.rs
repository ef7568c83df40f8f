//! Packs the blocks of an outline into chunks of a good size, and gives each its context.
//!
//! Pure and greedy: one pass in the order of the text. A block that fits is kept whole; a longer one
//! is cut; small neighbours of the same section share a chunk.

use std::ops::Range;

use super::outline::{BlockKind, Outline};
use super::split::{Piece, limit_centitokens, pieces};
use super::tokens::{centitokens, estimate_tokens, language_percent};
use super::{Chunk, ChunkInput, MAX_EMBEDDED_TOKENS, MAX_TEXT_TOKENS, TINY_TOKENS};

/// Most estimated tokens of each part of a context: together they leave over half of
/// [`MAX_EMBEDDED_TOKENS`] to the text.
const MAX_TITLE_TOKENS: usize = 24;
const MAX_HEADINGS_TOKENS: usize = 40;
const MAX_TABLE_HEADER_TOKENS: usize = 48;

/// Longest part of a context that is looked at, in characters, before it is cut by tokens.
const MAX_PART_CHARS: usize = 400;

/// Packs an outline into chunks.
pub(super) fn pack(input: &ChunkInput<'_>, outline: &Outline) -> Vec<Chunk> {
    let mut packer = Packer::new(input, outline);
    let page_centitokens = packer.measure();
    packer.page_centitokens = page_centitokens;
    for i in 0..outline.blocks.len() {
        packer.add_block(i);
    }
    packer.flush();
    packer.finish()
}

/// A chunk in the making.
#[derive(Clone, Debug)]
struct Draft {
    range: Range<usize>,
    centitokens: u64,
    section: usize,
    page: u32,
    /// Page of the last piece in it.
    last_page: u32,
    /// Only headings so far: goes with whatever comes below them.
    only_headings: bool,
    /// Header row to be repeated in the context.
    table_header: Option<Range<usize>>,
}

struct Packer<'a> {
    input: &'a ChunkInput<'a>,
    outline: &'a Outline,
    title: String,
    /// How much more than estimated the text's language counts, in percent.
    language_percent: u64,
    /// Context of the last section asked for, without a table header: sections come in runs.
    section_context: (usize, String, u64),
    /// Trimmed range and cost of each block.
    blocks: Vec<Piece>,
    page_centitokens: Vec<u64>,
    current: Option<Draft>,
    done: Vec<Draft>,
}

impl<'a> Packer<'a> {
    fn new(input: &'a ChunkInput<'a>, outline: &'a Outline) -> Self {
        let title = clip(input.title, MAX_TITLE_TOKENS);
        let context = context(&title, &[]);
        let cost = centitokens(&context);
        Self {
            input,
            outline,
            title,
            language_percent: language_percent(input.text),
            section_context: (0, context, cost),
            blocks: Vec::with_capacity(outline.blocks.len()),
            page_centitokens: Vec::new(),
            current: None,
            done: Vec::new(),
        }
    }

    /// Measures every block; returns the cost of each page.
    fn measure(&mut self) -> Vec<u64> {
        let blocks = &self.outline.blocks;
        let mut of_pages = vec![0; blocks.last().map_or(0, |b| b.page as usize) + 1];
        for (i, block) in blocks.iter().enumerate() {
            let end = blocks
                .get(i + 1)
                .map_or(self.input.text.len(), |next| next.start);
            let range = trim(self.input.text, block.start..end);
            let centitokens = centitokens(&self.input.text[range.clone()]);
            of_pages[block.page as usize] += centitokens;
            self.blocks.push(Piece { range, centitokens });
        }
        of_pages
    }

    fn add_block(&mut self, i: usize) {
        let piece = self.blocks[i].clone();
        if piece.range.is_empty() {
            return;
        }
        let block = &self.outline.blocks[i];
        let draft = |piece: Piece, table_header: Option<Range<usize>>| Draft {
            range: piece.range,
            centitokens: piece.centitokens,
            section: block.section,
            page: block.page,
            last_page: block.page,
            only_headings: block.kind == BlockKind::Heading,
            table_header,
        };
        if piece.centitokens <= self.text_limit(block.section) {
            self.place(draft(piece, None));
            return;
        }
        let mut limit = self.text_limit(block.section);
        let mut table_header = None;
        if let BlockKind::Table { header, .. } = &block.kind {
            table_header = Some(header.clone());
            let repeated = self.repeated_cost(table_header.as_ref());
            limit = limit.min(self.room(block.section).saturating_sub(repeated));
            if self
                .current
                .as_ref()
                .is_some_and(|c| c.centitokens >= limit_centitokens(TINY_TOKENS))
            {
                self.flush();
            }
        }
        let row_starts = &self.outline.row_starts;
        for mut piece in pieces(self.input.text, piece.range, &block.kind, row_starts, limit) {
            piece.range = trim(self.input.text, piece.range);
            if !piece.range.is_empty() {
                let header = table_header
                    .clone()
                    .filter(|header| piece.range.start > header.start);
                self.place_limited(draft(piece, header), limit);
            }
        }
    }

    fn place(&mut self, piece: Draft) {
        let limit = self.text_limit(piece.section);
        self.place_limited(piece, limit);
    }

    /// Adds a piece to the current chunk, or begins the next chunk with it.
    fn place_limited(&mut self, piece: Draft, limit: u64) {
        match &mut self.current {
            Some(current)
                if joins(current, &piece, limit, self.outline, &self.page_centitokens) =>
            {
                current.range.end = piece.range.end;
                current.centitokens += piece.centitokens;
                current.last_page = piece.last_page;
                current.section = piece.section;
                current.only_headings &= piece.only_headings;
            }
            _ => {
                self.flush();
                self.current = Some(piece);
            }
        }
    }

    /// Ends the current chunk; one that says too little goes back to the chunk before it.
    fn flush(&mut self) {
        let Some(draft) = self.current.take() else {
            return;
        };
        let room = self
            .room(draft.section)
            .saturating_sub(self.repeated_cost(draft.table_header.as_ref()));
        let tiny = limit_centitokens(TINY_TOKENS);
        if let Some(last) = self.done.last_mut()
            && draft.centitokens < tiny
            && last.section == draft.section
            && last.table_header == draft.table_header
            && last.centitokens + draft.centitokens <= room
            && (last.last_page == draft.page || self.page_centitokens[draft.page as usize] < tiny)
        {
            last.range.end = draft.range.end;
            last.centitokens += draft.centitokens;
            last.last_page = draft.last_page;
            return;
        }
        self.done.push(draft);
    }

    /// Cost of a table's header row in the context.
    fn repeated_cost(&self, header: Option<&Range<usize>>) -> u64 {
        header.map_or(0, |header| centitokens(&self.table_header(header)))
    }

    fn table_header(&self, header: &Range<usize>) -> String {
        clip(&self.input.text[header.clone()], MAX_TABLE_HEADER_TOKENS)
    }

    /// Most that a chunk of this section may hold, beside its context.
    fn room(&mut self, section: usize) -> u64 {
        if self.section_context.0 != section {
            let context = context(&self.title, &self.outline.heading_paths[section]);
            let cost = centitokens(&context);
            self.section_context = (section, context, cost);
        }
        self.scaled(MAX_EMBEDDED_TOKENS)
            .saturating_sub(self.section_context.2)
    }

    /// Most that a chunk of this section should hold.
    fn text_limit(&mut self, section: usize) -> u64 {
        self.room(section).min(self.scaled(MAX_TEXT_TOKENS))
    }

    /// A limit in real tokens as hundredths of an estimated one.
    fn scaled(&self, tokens: usize) -> u64 {
        limit_centitokens(tokens) * 100 / self.language_percent
    }

    fn finish(mut self) -> Vec<Chunk> {
        let drafts = std::mem::take(&mut self.done);
        let mut chunks = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let _room = self.room(draft.section);
            let mut context = self.section_context.1.clone();
            if let Some(header) = draft.table_header {
                if !context.is_empty() {
                    context.push('\n');
                }
                context.push_str(&self.table_header(&header));
            }
            chunks.push(Chunk {
                index: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
                text: self.input.text[draft.range.clone()].to_owned(),
                range: draft.range,
                heading_path: self.outline.heading_paths[draft.section].clone(),
                page: self.input.paged.then_some(draft.page),
                context,
            });
        }
        chunks
    }
}

/// Whether a piece may go into the current chunk.
fn joins(current: &Draft, piece: &Draft, limit: u64, outline: &Outline, pages: &[u64]) -> bool {
    let tiny = limit_centitokens(TINY_TOKENS);
    let same_section = current.section == piece.section
        || (current.only_headings && below(outline, current.section, piece.section));
    // The first group of a table's rows holds the header row itself; the others repeat it.
    let same_table = current.table_header == piece.table_header
        || (current.table_header.is_none()
            && piece
                .table_header
                .as_ref()
                .is_some_and(|header| current.range.contains(&header.start)));
    let same_page = current.last_page == piece.page
        || current.centitokens < tiny
        || pages[piece.page as usize] < tiny;
    same_section && same_table && same_page && current.centitokens + piece.centitokens <= limit
}

/// Whether the headings of `inner` begin with those of `outer`.
fn below(outline: &Outline, outer: usize, inner: usize) -> bool {
    let (outer, inner) = (&outline.heading_paths[outer], &outline.heading_paths[inner]);
    inner.starts_with(outer)
}

/// Title and headings, one line each; a title that is the first heading too is said once.
fn context(title: &str, headings: &[String]) -> String {
    let headings = match headings {
        [first, rest @ ..] if first == title => rest,
        all => all,
    };
    // The innermost headings say most: outer ones are left out first.
    let mut kept = headings.len();
    let mut tokens = 0;
    for heading in headings.iter().rev() {
        tokens += estimate_tokens(heading) + 1;
        if tokens > MAX_HEADINGS_TOKENS && kept < headings.len() {
            break;
        }
        kept -= 1;
    }
    let path = clip(&headings[kept..].join(" > "), MAX_HEADINGS_TOKENS);
    match (title.is_empty(), path.is_empty()) {
        (_, true) => title.to_owned(),
        (true, false) => path,
        (false, false) => format!("{title}\n{path}"),
    }
}

/// Cuts a part of a context between words, on one line.
fn clip(text: &str, max_tokens: usize) -> String {
    let limit = limit_centitokens(max_tokens);
    let start = match text.char_indices().nth(MAX_PART_CHARS) {
        Some((end, _)) => &text[..end],
        None => text,
    };
    let mut clipped = String::new();
    let mut spent = 0;
    for word in start.split_whitespace() {
        spent += centitokens(word);
        if spent > limit {
            if clipped.is_empty() {
                clipped = word.chars().take(max_tokens).collect();
            }
            break;
        }
        if !clipped.is_empty() {
            clipped.push(' ');
        }
        clipped.push_str(word);
    }
    clipped
}

/// Takes white space off both ends of a range.
fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    let end = start + part.trim().len();
    start..end
}

#[cfg(test)]
mod tests {
    use super::{clip, context};

    #[test]
    fn a_title_is_not_repeated() {
        assert_eq!(
            context("Lease", &["Lease".into(), "Rent".into()]),
            "Lease\nRent"
        );
        assert_eq!(context("", &["Rent".into()]), "Rent");
        assert_eq!(context("Lease", &[]), "Lease");
    }

    #[test]
    fn a_long_part_is_cut_between_words() {
        assert_eq!(clip("one  two\nthree", 3), "one two");
        assert_eq!(clip(&"x".repeat(5_000_000), 10).len(), 10);
    }
}
