//! Text that knows which of its characters were written by whom.
//!
//! Chat templates look into messages: they ask whether an answer holds `</think>`, cut there, strip what is left. So
//! they must see the true text, and afterwards it must still be known what of the prompt is text of a message. Therefore
//! every message goes through the template between two marks, characters of private use; whatever takes a text apart
//! (`python_text`) does so with a [`Marked`] and marks the parts anew. Marks that a message brings itself are escaped.
//! Pure. Start at [`Marked::content`] and [`Marked::decode`].

use std::ops::Range;

/// A text with the places that come from messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marked {
    text: String,
    /// In order, not empty, none over another.
    spans: Vec<Span>,
}

/// A place that comes from one message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    range: Range<usize>,
    owner: usize,
}

/// A stretch of a text that comes from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch<'a> {
    pub(crate) text: &'a str,
    /// The number of the message; `None` where the template wrote it.
    pub(crate) owner: Option<usize>,
}

impl Marked {
    /// The whole content of message `owner`.
    pub(crate) fn content(text: &str, owner: usize) -> Self {
        let mut marked = Self::default();
        marked.push(text, Some(owner));
        marked
    }

    /// A text of the template.
    pub(crate) fn template(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            spans: Vec::new(),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote, or what a template made of it by putting such texts together.
    /// `None` where marks are torn: then it cannot be told what comes from where.
    pub(crate) fn decode(encoded: &str) -> Option<Self> {
        if !has_marks(encoded) {
            return Some(Self::template(encoded));
        }
        let mut marked = Self::default();
        let mut open: Option<(usize, usize)> = None;
        let mut characters = encoded.chars();
        while let Some(character) = characters.next() {
            match character {
                CLOSE => {
                    let (start, owner) = open.take()?;
                    marked.mark(start, owner);
                }
                ESCAPE => {
                    let escaped = u32::from(characters.next()?).checked_add(ESCAPED_BY)?;
                    marked.text.push(char::from_u32(escaped)?);
                }
                FIRST_OPEN..=LAST_OPEN => {
                    let owner = usize::try_from(u32::from(character) - u32::from(FIRST_OPEN));
                    if open.replace((marked.text.len(), owner.ok()?)).is_some() {
                        return None;
                    }
                }
                RESERVED.. => return None,
                other => marked.text.push(other),
            }
        }
        open.is_none().then_some(marked)
    }

    /// As text for the template, with marks around what comes from messages.
    pub(crate) fn encode(&self) -> String {
        let mut encoded = String::with_capacity(self.text.len() + 8 * self.spans.len());
        for stretch in self.stretches() {
            match stretch.owner {
                Some(owner) => {
                    encoded.push(open_mark(owner));
                    push_escaped(&mut encoded, stretch.text);
                    encoded.push(CLOSE);
                }
                None => push_escaped(&mut encoded, stretch.text),
            }
        }
        encoded
    }

    /// The text without marks.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The whole text in stretches, in order; none is empty.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Stretch<'_>> {
        let ends = self.spans.iter().map(|span| span.range.end);
        let starts = std::iter::once(0).chain(ends);
        let marked = self.spans.iter().map(Some).chain([None]);
        starts
            .zip(marked)
            .flat_map(|(start, span)| {
                let end = span.map_or(self.text.len(), |span| span.range.start);
                let between = Stretch {
                    text: &self.text[start..end],
                    owner: None,
                };
                let inside = span.map(|span| Stretch {
                    text: &self.text[span.range.clone()],
                    owner: Some(span.owner),
                });
                [Some(between), inside]
            })
            .flatten()
            .filter(|stretch| !stretch.text.is_empty())
    }

    /// A part of it, by bytes of [`text`](Self::text).
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let spans = self.spans.iter().filter_map(|span| {
            let start = span.range.start.max(range.start);
            let end = span.range.end.min(range.end);
            (start < end).then(|| Span {
                range: start - range.start..end - range.start,
                owner: span.owner,
            })
        });
        Self {
            spans: spans.collect(),
            text: self.text[range].to_owned(),
        }
    }

    /// Puts a text at the end.
    pub(crate) fn push(&mut self, text: &str, owner: Option<usize>) {
        let start = self.text.len();
        self.text.push_str(text);
        if let Some(owner) = owner {
            self.mark(start, owner);
        }
    }

    /// Puts another text at the end.
    pub(crate) fn append(&mut self, other: &Self) {
        for stretch in other.stretches() {
            self.push(stretch.text, stretch.owner);
        }
    }

    /// Marks everything from `start` on. Neighbours of one owner become one.
    fn mark(&mut self, start: usize, owner: usize) {
        let end = self.text.len();
        match self.spans.last_mut() {
            _ if start == end => {}
            Some(last) if last.range.end == start && last.owner == owner => last.range.end = end,
            _ => self.spans.push(Span {
                range: start..end,
                owner,
            }),
        }
    }
}

/// Whether a text holds a character of plane 16, all of which begin with this byte. A quick look: most texts do not.
pub(crate) fn has_marks(text: &str) -> bool {
    text.as_bytes().contains(&0xF4)
}

fn open_mark(owner: usize) -> char {
    let owner = u32::try_from(owner.min(LAST_OWNER)).unwrap_or(0);
    char::from_u32(u32::from(FIRST_OPEN) + owner).unwrap_or(FIRST_OPEN)
}

fn push_escaped(encoded: &mut String, text: &str) {
    if !has_marks(text) {
        encoded.push_str(text);
        return;
    }
    for character in text.chars() {
        let lower = u32::from(character).checked_sub(ESCAPED_BY);
        match lower.and_then(char::from_u32) {
            Some(lower) if character >= FIRST_OPEN => encoded.extend([ESCAPE, lower]),
            _ => encoded.push(character),
        }
    }
}

/// Owners from this one on share a mark, which tells that there is one, not which.
pub(crate) const LAST_OWNER: usize = 0xFFEF;

// All of plane 16, which is for private use and which nobody uses.
const FIRST_OPEN: char = '\u{100000}';
const LAST_OPEN: char = '\u{10FFEF}';
const CLOSE: char = '\u{10FFF0}';
const ESCAPE: char = '\u{10FFF1}';
const RESERVED: char = '\u{10FFF2}';
/// An escaped character of plane 16 is written with its neighbour in plane 15.
const ESCAPED_BY: u32 = 0x1_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back() {
        let mut marked = Marked::template("<s>");
        marked.push("Hé \u{100000}x\u{10FFF0}\u{10FFF1}\u{10FFFF}", Some(3));
        marked.push("more", Some(4));
        marked.push("</s>\u{100001}", None);
        assert_eq!(Marked::decode(&marked.encode()), Some(marked));
    }

    #[test]
    fn parts_keep_their_marks() {
        let mut marked = Marked::template("ab");
        marked.push("cdef", Some(0));
        marked.push("gh", None);
        let part = marked.slice(1..4);
        let stretches: Vec<_> = part.stretches().map(|s| (s.text, s.owner)).collect();
        assert_eq!(stretches, [("b", None), ("cd", Some(0))]);
        assert_eq!(marked.slice(0..2), Marked::template("ab"));
    }

    #[test]
    fn torn_marks_are_noticed() {
        let encoded = Marked::content("abc", 0).encode();
        let torn: String = encoded.chars().take(3).collect();
        assert_eq!(Marked::decode(&torn), None);
        let torn: String = encoded.chars().skip(1).collect();
        assert_eq!(Marked::decode(&torn), None);
        assert_eq!(
            Marked::decode(&format!("{FIRST_OPEN}{encoded}{CLOSE}")),
            None
        );
    }

    #[test]
    fn nothing_leaves_no_mark() {
        assert_eq!(Marked::content("", 7).encode(), "");
    }

    #[test]
    fn more_messages_than_marks_are_still_content() {
        let marked = Marked::decode(&Marked::content("abc", 70_000).encode()).unwrap();
        assert_eq!(marked.text(), "abc");
        assert!(marked.stretches().all(|stretch| stretch.owner.is_some()));
    }
}
