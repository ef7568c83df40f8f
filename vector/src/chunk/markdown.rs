//! Outline of a Markdown text, from the byte offsets of its parser's events.
//!
//! Pure. Pages are parsed one by one, so that a fence or list left open on one page does not swallow
//! the next; headings stay in force over page breaks. Each byte is looked at a bounded number of
//! times, whatever the nesting.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::outline::{Block, BlockKind, Outline, pages};

/// Reads the blocks and headings of a Markdown text.
pub(super) fn outline(text: &str, paged: bool) -> Outline {
    let mut outline = Outline::new();
    for (range, page) in pages(text, paged) {
        let base = range.start;
        Reader::new(&text[range], base, page, &mut outline).read();
    }
    outline
}

/// Reads one page.
struct Reader<'a> {
    text: &'a str,
    /// Offset of `text` in the document.
    base: usize,
    page: u32,
    outline: &'a mut Outline,
    /// Number of blocks that earlier pages gave: those are left alone.
    first_block: usize,
    /// Where the last block event was, before it was moved to the start of its line.
    last_event: usize,
    /// Up to here the last block holds nothing but marks such as `- ` and `> `.
    marks_until: usize,
    /// Block quotes, lists and the like around the current event: headings in there are prose.
    depth: usize,
    heading: Option<String>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, base: usize, page: u32, outline: &'a mut Outline) -> Self {
        let first_block = outline.blocks.len();
        Self {
            text,
            base,
            page,
            outline,
            first_block,
            last_event: 0,
            marks_until: 0,
            depth: 0,
            heading: None,
        }
    }

    fn read(mut self) {
        // Text before the first event (none in most documents) belongs to a block too.
        self.push(0, BlockKind::Prose);
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
        for (event, range) in Parser::new_ext(self.text, options).into_offset_iter() {
            match event {
                Event::Start(tag) => self.handle_start(&tag, range.start, range.end),
                Event::End(tag) => self.handle_end(tag, range.end),
                Event::Text(text) | Event::Code(text) => self.handle_heading_text(&text),
                Event::SoftBreak | Event::HardBreak => self.handle_heading_text(" "),
                _ => {}
            }
        }
    }

    fn handle_start(&mut self, tag: &Tag<'_>, start: usize, end: usize) {
        match tag {
            Tag::Heading { .. } if self.depth == 0 => {
                self.heading = Some(String::new());
                self.push(start, BlockKind::Heading);
            }
            Tag::Heading { .. } | Tag::Paragraph | Tag::HtmlBlock | Tag::MetadataBlock(_) => {
                self.push(start, BlockKind::Prose);
            }
            Tag::CodeBlock(_) => self.push(start, BlockKind::Code),
            Tag::Table(_) => {
                let rows = self.outline.row_starts.len();
                let header = self.base + start..self.base + start;
                self.push(
                    start,
                    BlockKind::Table {
                        header,
                        rows: rows..rows,
                    },
                );
            }
            Tag::TableHead => self.handle_row(start, Some(end)),
            Tag::TableRow => self.handle_row(start, None),
            Tag::Item | Tag::FootnoteDefinition(_) => {
                self.depth += 1;
                self.push(start, BlockKind::Prose);
            }
            Tag::BlockQuote(_) | Tag::List(_) => self.depth += 1,
            _ => {}
        }
    }

    fn handle_end(&mut self, tag: TagEnd, end: usize) {
        match tag {
            TagEnd::Heading(level) => {
                if let Some(heading) = self.heading.take() {
                    self.outline.begin_section(level as u8, &heading);
                    let section = self.outline.section();
                    if let Some(block) = self.outline.blocks.last_mut() {
                        block.section = section;
                    }
                    self.push(end, BlockKind::Prose);
                }
            }
            // What follows inside the same list item is prose again.
            TagEnd::CodeBlock | TagEnd::Table => self.push(end, BlockKind::Prose),
            TagEnd::BlockQuote(_) | TagEnd::List(_) | TagEnd::Item | TagEnd::FootnoteDefinition => {
                self.depth = self.depth.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn handle_heading_text(&mut self, text: &str) {
        if let Some(heading) = &mut self.heading {
            heading.push_str(text);
        }
    }

    fn handle_row(&mut self, start: usize, header_end: Option<usize>) {
        let at = self.base + start;
        self.outline.row_starts.push(at);
        let n_rows = self.outline.row_starts.len();
        if let Some(Block {
            kind: BlockKind::Table { header, rows },
            ..
        }) = self.outline.blocks.last_mut()
        {
            rows.end = n_rows;
            if let Some(end) = header_end {
                *header = at..self.base + end;
            }
        }
    }

    /// Begins a block at an event's offset in this page.
    fn push(&mut self, event_at: usize, kind: BlockKind) {
        let event_at = self.text.floor_char_boundary(event_at);
        let start = self.line_start(event_at);
        self.last_event = event_at.max(self.last_event);
        let block = Block {
            start: self.base + start,
            kind,
            section: self.outline.section(),
            page: self.page,
        };
        let of_this_page = self.outline.blocks.len() > self.first_block;
        match self.outline.blocks.last_mut().filter(|_| of_this_page) {
            Some(last)
                if block.start <= last.start
                    || Self::only_marks(self.text, &mut self.marks_until, start, last) =>
            {
                // `- ` alone is no block: what follows takes its place and its start.
                last.kind = block.kind;
                last.section = block.section;
            }
            _ => {
                self.marks_until = start;
                self.outline.blocks.push(block);
            }
        }
    }

    /// Moves an offset back to the start of its line where only marks lie between.
    ///
    /// Looks back no further than the event before, so that all looks together are linear.
    fn line_start(&self, event_at: usize) -> usize {
        let from = self.last_event.min(event_at);
        let before = &self.text.as_bytes()[from..event_at];
        let line = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(from, |at| from + at + 1);
        if self.text.as_bytes()[line..event_at]
            .iter()
            .all(|b| is_mark(*b))
        {
            line
        } else {
            event_at
        }
    }

    /// Whether the last block holds nothing but marks before `start`; remembers how far it looked.
    fn only_marks(text: &str, marks_until: &mut usize, start: usize, last: &Block) -> bool {
        if last.kind != BlockKind::Prose || *marks_until > start {
            return false;
        }
        let marks = text.as_bytes()[*marks_until..start]
            .iter()
            .all(|b| is_mark(*b));
        if marks {
            *marks_until = start;
        }
        marks
    }
}

/// Whether a byte can be part of the marks before a block: white space, quote marks, bullets, numbers.
fn is_mark(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || byte.is_ascii_digit()
        || matches!(byte, b'>' | b'-' | b'*' | b'+' | b'.' | b')')
}
