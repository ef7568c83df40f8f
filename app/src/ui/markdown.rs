//! Markdown of models and documents as plain blocks to draw.
//!
//! Everything in it is inert: pictures become their description, HTML is shown as it is written, and a link is
//! its words with its address behind them. There is nothing in a [`Block`] that could be fetched, opened or run,
//! whatever the text says; only the marks of citations can be clicked. That is why this is not drawn by a
//! ready-made viewer: those load pictures and open links. Start at [`parse`].

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Deepest indent drawn; deeper lists go on there.
const MAX_DEPTH: u8 = 8;

/// A part of a text that stands on its own lines.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Block {
    /// What it is.
    pub(super) kind: BlockKind,
    /// How far it is moved to the right, in steps.
    pub(super) depth: u8,
    /// `•`, `3.` or a box before the first line of an item.
    pub(super) marker: Option<String>,
    /// It is part of a quotation.
    pub(super) quoted: bool,
}

/// The kinds of blocks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum BlockKind {
    /// A heading (level 1 to 6) or a paragraph (level 0).
    Text {
        /// 0 for a paragraph.
        level: u8,
        /// The words.
        spans: Vec<Span>,
    },
    /// Lines in a fixed-width font.
    Code {
        /// The lines.
        spans: Vec<Span>,
    },
    /// A table; the first row holds the titles of the columns.
    Table {
        /// Rows of cells.
        rows: Vec<Vec<Vec<Span>>>,
    },
    /// A line across.
    Rule,
}

/// Words in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// The words.
    pub(super) text: String,
    /// UTF-8 byte range in the source, for highlighting.
    pub(super) source: Range<usize>,
    /// How they look.
    pub(super) look: Look,
    /// They are the mark of a citation, such as `S1`.
    pub(super) mark: bool,
}

/// How words look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Look {
    /// Strong.
    pub(super) strong: bool,
    /// Emphasised.
    pub(super) emphasised: bool,
    /// In a fixed-width font.
    pub(super) code: bool,
    /// Struck out.
    pub(super) struck: bool,
    /// Less important: addresses of links, descriptions of pictures.
    pub(super) weak: bool,
}

/// Takes a text apart. `offset` is where it starts in the source; marks of citations are found where
/// `with_marks` asks for them.
pub(super) fn parse(text: &str, offset: usize, with_marks: bool) -> Vec<Block> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut reader = Reader {
        offset,
        with_marks,
        ..Reader::default()
    };
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        reader.event(event, range);
    }
    reader.flush(0);
    reader.blocks
}

/// The words of a text in one line, without its headings and marks: for quotes in lists.
///
/// Rows of tables are told by their bars, since a quote may hold rows without the head that makes them a table.
pub(super) fn line(text: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut prose = String::new();
    for row in text.lines() {
        let Some(cells) = row.trim().strip_prefix('|') else {
            prose += row;
            prose.push('\n');
            continue;
        };
        parts.extend(words_of(&std::mem::take(&mut prose)));
        let is_cell = |cell: &&str| !cell.is_empty() && !cell.bytes().all(|b| b"-: ".contains(&b));
        let cells: Vec<&str> = cells.split('|').map(str::trim).filter(is_cell).collect();
        if !cells.is_empty() {
            parts.push(cells.join(" · ") + ";");
        }
    }
    parts.extend(words_of(&prose));
    parts.join(" ").trim_end_matches(';').to_owned()
}

/// The words of a text that holds no table; headings only where there is nothing else.
fn words_of(text: &str) -> Option<String> {
    let blocks = parse(text, 0, false);
    let is_heading = |block: &Block| matches!(block.kind, BlockKind::Text { level: 1.., .. });
    let only_headings = blocks.iter().all(is_heading);
    let words: Vec<&str> = blocks
        .iter()
        .filter(|block| only_headings || !is_heading(block))
        .filter_map(|block| match &block.kind {
            BlockKind::Text { spans, .. } | BlockKind::Code { spans } => Some(spans),
            _ => None,
        })
        .flat_map(|spans| spans.iter().map(|span| span.text.as_str()).chain([" "]))
        .collect();
    let line = words
        .concat()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    (!line.is_empty()).then_some(line)
}

/// A text that is no Markdown, as one block.
pub(super) fn plain(text: &str, offset: usize, as_code: bool) -> Block {
    let spans = vec![Span {
        text: text.to_owned(),
        source: offset..offset + text.len(),
        look: Look {
            code: as_code,
            ..Look::default()
        },
        mark: false,
    }];
    Block {
        kind: if as_code {
            BlockKind::Code { spans }
        } else {
            BlockKind::Text { level: 0, spans }
        },
        depth: 0,
        marker: None,
        quoted: false,
    }
}

#[derive(Default)]
struct Reader {
    offset: usize,
    with_marks: bool,
    blocks: Vec<Block>,
    spans: Vec<Span>,
    look: Look,
    /// The numbers of the lists around; `None` for one with dots.
    lists: Vec<Option<u64>>,
    marker: Option<String>,
    quotes: u32,
    /// Where links around lead, and where their words began.
    links: Vec<(String, usize)>,
    in_code: bool,
    rows: Vec<Vec<Vec<Span>>>,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, range: Range<usize>) {
        let source = self.offset + range.start..self.offset + range.end;
        match event {
            Event::Start(tag) => self.start(tag, source),
            Event::End(tag) => self.end(tag, source.end),
            Event::Text(text) => self.push(&text, source),
            Event::Code(text) => {
                let look = self.look;
                self.look.code = true;
                self.push(&text, source);
                self.look = look;
            }
            Event::Html(text) | Event::InlineHtml(text) => self.push(&text, source),
            Event::InlineMath(text) | Event::DisplayMath(text) => self.push(&text, source),
            Event::FootnoteReference(text) => self.push(&format!("[{text}]"), source),
            Event::SoftBreak => self.push(" ", source),
            Event::HardBreak => self.push("\n", source),
            Event::Rule => self.add(BlockKind::Rule),
            Event::TaskListMarker(done) => {
                self.marker = Some(if done { "[x]" } else { "[ ]" }.to_owned());
            }
        }
    }

    fn start(&mut self, tag: Tag<'_>, source: Range<usize>) {
        match tag {
            Tag::List(first) => {
                // The words of an item before a list inside it are a block of their own.
                self.flush(0);
                self.lists.push(first);
            }
            Tag::Item => {
                self.flush(0);
                self.marker = Some(match self.lists.last_mut() {
                    Some(Some(number)) => {
                        let marker = format!("{number}.");
                        *number += 1;
                        marker
                    }
                    _ => "•".to_owned(),
                });
            }
            Tag::BlockQuote(_) => self.quotes += 1,
            // The name of the language says nothing to a reader.
            Tag::CodeBlock(_) => {
                self.flush(0);
                self.in_code = true;
                self.look.code = true;
            }
            Tag::Emphasis => self.look.emphasised = true,
            Tag::Strong => self.look.strong = true,
            Tag::Strikethrough => self.look.struck = true,
            Tag::Link { dest_url, .. } => self.links.push((dest_url.to_string(), self.spans.len())),
            Tag::Image { .. } => self.aside("[image: ", source.start),
            Tag::TableHead | Tag::TableRow => self.rows.push(Vec::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd, at: usize) {
        match tag {
            TagEnd::Paragraph | TagEnd::Item | TagEnd::HtmlBlock => self.flush(0),
            TagEnd::Heading(level) => self.flush(level as u8),
            TagEnd::List(_) => {
                self.flush(0);
                self.lists.pop();
            }
            TagEnd::BlockQuote(_) => {
                self.flush(0);
                self.quotes = self.quotes.saturating_sub(1);
            }
            TagEnd::CodeBlock => {
                let mut spans = std::mem::take(&mut self.spans);
                if let Some(last) = spans.last_mut() {
                    last.text.truncate(last.text.trim_end_matches('\n').len());
                }
                self.in_code = false;
                self.look.code = false;
                self.add(BlockKind::Code { spans });
            }
            TagEnd::Emphasis => self.look.emphasised = false,
            TagEnd::Strong => self.look.strong = false,
            TagEnd::Strikethrough => self.look.struck = false,
            TagEnd::Link => self.end_link(at),
            TagEnd::Image => self.aside("]", at),
            TagEnd::TableCell => {
                let spans = self.finished_spans();
                if let Some(row) = self.rows.last_mut() {
                    row.push(spans);
                }
            }
            TagEnd::Table => {
                let rows = std::mem::take(&mut self.rows);
                self.add(BlockKind::Table { rows });
            }
            _ => {}
        }
    }

    /// Where a link leads is said, so that words cannot hide it.
    fn end_link(&mut self, at: usize) {
        let Some((address, start)) = self.links.pop() else {
            return;
        };
        let words: String = self.spans[start.min(self.spans.len())..]
            .iter()
            .map(|span| span.text.as_str())
            .collect();
        if !address.is_empty() && address != words && address != format!("mailto:{words}") {
            self.aside(&format!(" ({address})"), at);
        }
    }

    fn aside(&mut self, text: &str, at: usize) {
        let look = self.look;
        self.look.weak = true;
        self.push(text, at..at);
        self.look = look;
    }

    fn push(&mut self, text: &str, source: Range<usize>) {
        match self.spans.last_mut() {
            // Neighbours in one style are one span, where their places are neighbours too.
            Some(last) if last.look == self.look && last.source.end == source.start => {
                last.text.push_str(text);
                last.source.end = source.end;
            }
            _ => self.spans.push(Span {
                text: text.to_owned(),
                source,
                look: self.look,
                mark: false,
            }),
        }
    }

    fn finished_spans(&mut self) -> Vec<Span> {
        let spans = std::mem::take(&mut self.spans);
        if !self.with_marks {
            return spans;
        }
        spans.into_iter().flat_map(with_marks).collect()
    }

    fn flush(&mut self, level: u8) {
        if self.in_code {
            return;
        }
        let spans = self.finished_spans();
        if spans.iter().any(|span| !span.text.trim().is_empty()) {
            self.add(BlockKind::Text { level, spans });
        }
    }

    fn add(&mut self, kind: BlockKind) {
        self.blocks.push(Block {
            kind,
            depth: u8::try_from(self.lists.len()).map_or(MAX_DEPTH, |depth| depth.min(MAX_DEPTH)),
            marker: self.marker.take(),
            quoted: self.quotes > 0,
        });
    }
}

/// Cuts the marks of citations (`[S1]`, `[S1, S2]`) out of a span.
fn with_marks(span: Span) -> Vec<Span> {
    if span.look.code {
        return vec![span];
    }
    let mut pieces = Vec::new();
    let mut from = 0;
    // Places inside are exact where the text stands in the source as it is.
    let exact = span.source.len() == span.text.len();
    let mut piece = |range: Range<usize>, mark: bool, text: &str| {
        if !text.is_empty() {
            let source = if exact {
                span.source.start + range.start..span.source.start + range.end
            } else {
                span.source.clone()
            };
            pieces.push(Span {
                text: text.to_owned(),
                source,
                look: span.look,
                mark,
            });
        }
    };
    while let Some(open) = span.text[from..].find("[S").map(|at| from + at) {
        let Some(close) = span.text[open..].find(']').map(|at| open + at) else {
            break;
        };
        let names: Vec<&str> = span.text[open + 1..close]
            .split(',')
            .map(str::trim)
            .collect();
        if !names.iter().all(|name| is_mark(name)) {
            piece(from..open + 2, false, &span.text[from..open + 2]);
            from = open + 2;
            continue;
        }
        piece(from..open, false, &span.text[from..open]);
        for name in names {
            piece(open..close + 1, true, name);
        }
        from = close + 1;
    }
    piece(from..span.text.len(), false, &span.text[from..]);
    pieces
}

fn is_mark(name: &str) -> bool {
    name.strip_prefix('S')
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(block: &Block) -> String {
        match &block.kind {
            BlockKind::Text { spans, .. } | BlockKind::Code { spans } => {
                spans.iter().map(|span| span.text.as_str()).collect()
            }
            BlockKind::Table { rows } => rows
                .iter()
                .map(|row| {
                    row.iter()
                        .map(|cell| {
                            cell.iter()
                                .map(|span| span.text.as_str())
                                .collect::<String>()
                        })
                        .collect::<Vec<_>>()
                        .join("|")
                })
                .collect::<Vec<_>>()
                .join("\n"),
            BlockKind::Rule => "---".into(),
        }
    }

    fn all(text: &str) -> Vec<String> {
        parse(text, 0, true).iter().map(words).collect()
    }

    #[test]
    fn blocks_keep_their_order_and_words() {
        let text = "# Title\n\nSome *em* and **strong**\ntext.\n\n- one\n- two\n  - deep\n\n3. three\n\n```rust\nfn a() {}\n```\n\n> said\n\n---\n\n| a | b |\n|---|---|\n| 1 | 2 |\n";
        assert_eq!(
            all(text),
            [
                "Title",
                "Some em and strong text.",
                "one",
                "two",
                "deep",
                "three",
                "fn a() {}",
                "said",
                "---",
                "a|b\n1|2"
            ]
        );
        let blocks = parse(text, 0, true);
        let markers: Vec<_> = blocks.iter().filter_map(|b| b.marker.as_deref()).collect();
        assert_eq!(markers, ["•", "•", "•", "3."]);
        assert_eq!(blocks[4].depth, 2);
        assert!(blocks[7].quoted);
    }

    #[test]
    fn pictures_links_and_html_are_words() {
        assert_eq!(
            all("![secret](https://evil.example/x.png?q=1)"),
            ["[image: secret]"]
        );
        assert_eq!(
            all("[your bank](https://evil.example)"),
            ["your bank (https://evil.example)"]
        );
        assert_eq!(all("<https://a.example/>"), ["https://a.example/"]);
        assert_eq!(
            all("<img src=x onerror=alert(1)>\n\na <b>c</b>"),
            ["<img src=x onerror=alert(1)>\n", "a <b>c</b>"]
        );
        assert_eq!(all("![a][r]\n\n[r]: file:///etc/passwd"), ["[image: a]"]);
    }

    #[test]
    fn marks_are_found_and_nothing_else_is_taken_for_one() {
        let blocks = parse(
            "It ends in May [S1]. Rent is due [S2, S3] or [Sx] or `[S4]`.",
            0,
            true,
        );
        let BlockKind::Text { spans, .. } = &blocks[0].kind else {
            panic!("no text")
        };
        let marks: Vec<_> = spans
            .iter()
            .filter(|s| s.mark)
            .map(|s| s.text.as_str())
            .collect();
        assert_eq!(marks, ["S1", "S2", "S3"]);
        assert!(words(&blocks[0]).contains("[Sx] or [S4]."));
        assert_eq!(words(&parse("see [S1]", 0, false)[0]), "see [S1]");
    }

    #[test]
    fn places_are_those_of_the_source() {
        let text = "# A\n\nOne **two** three.";
        for block in parse(text, 100, false) {
            let BlockKind::Text { spans, .. } = block.kind else {
                panic!("no text")
            };
            for span in spans {
                assert_eq!(
                    span.text,
                    text[span.source.start - 100..span.source.end - 100]
                );
            }
        }
    }

    #[test]
    fn a_line_has_the_words_alone() {
        assert_eq!(
            line("## Rent\n\nThe **rent** is\n1,180."),
            "The rent is 1,180."
        );
        assert_eq!(line("# Only"), "Only");
        assert_eq!(
            line("# T\n| a | b |\n|---|---|\n| 1 |  |\n\nAfter."),
            "T a · b; 1; After."
        );
        assert_eq!(
            line("| 2025-03-18 | Seals | 318.60 |"),
            "2025-03-18 · Seals · 318.60"
        );
    }

    #[test]
    fn deep_and_broken_input_is_only_drawn() {
        parse(&">".repeat(10_000), 0, true);
        parse(&"- ".repeat(2_000), 0, true);
        parse(&"[S".repeat(5_000), 0, true);
        parse(&"![".repeat(5_000), 0, true);
        assert_eq!(all("```\nopen"), ["open"]);
    }
}
