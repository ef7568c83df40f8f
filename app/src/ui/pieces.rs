//! Cuts long texts into pieces that are laid out one by one, so that a frame costs what is visible.
//!
//! Pure. A piece ends at a blank line where there is one in reach. Start at [`pieces`].

use std::ops::Range;

/// Pieces shorter than this go on over blank lines: fewer pieces to look at in each frame.
const LEAST_BYTES: usize = 600;
/// A piece is cut here at the latest. One piece of 4 KiB is laid out in about a millisecond, and a frame shows
/// a handful of them.
const MOST_BYTES: usize = 4096;

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// UTF-8 byte range.
    pub(super) range: Range<usize>,
    /// It starts inside a fenced block of code, which was too long for one piece.
    pub(super) in_fence: bool,
}

/// The pieces of `text` from `start` on, which is the beginning of a piece.
pub(super) fn pieces(text: &str, start: usize, in_fence: bool) -> Vec<Piece> {
    let mut cutter = Cutter {
        pieces: Vec::new(),
        start,
        starts_in_fence: in_fence,
        in_fence,
    };
    let mut at = start;
    for line in text[start..].split_inclusive('\n') {
        let next = &text[at + line.len()..];
        cutter.line(text, at, line, next);
        at += line.len();
    }
    cutter.cut(text.len());
    cutter.pieces
}

struct Cutter {
    pieces: Vec<Piece>,
    start: usize,
    starts_in_fence: bool,
    in_fence: bool,
}

impl Cutter {
    fn line(&mut self, text: &str, at: usize, line: &str, next: &str) {
        let end = at + line.len();
        // A line that does not fit any more starts a piece; one that fits into none is cut itself.
        if at > self.start && end - self.start > MOST_BYTES {
            self.cut(at);
        }
        while end - self.start > MOST_BYTES {
            self.cut(cut_of(text, self.start));
        }
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            self.in_fence = !self.in_fence;
        }
        let long_enough = end - self.start >= LEAST_BYTES;
        // What is indented below a blank line still belongs to the item above.
        let goes_on = next.starts_with([' ', '\t']);
        if long_enough && !self.in_fence && line.trim().is_empty() && !goes_on {
            self.cut(end);
        }
    }

    fn cut(&mut self, end: usize) {
        if end > self.start {
            self.pieces.push(Piece {
                range: self.start..end,
                in_fence: self.starts_in_fence,
            });
            self.start = end;
            self.starts_in_fence = self.in_fence;
        }
    }
}

/// Where a line without an end is cut: after a space where there is one, else between two characters.
fn cut_of(text: &str, start: usize) -> usize {
    let most = text.floor_char_boundary(start + MOST_BYTES);
    text[start..most]
        .rfind(' ')
        .filter(|space| *space > MOST_BYTES / 2)
        .map_or(most, |space| start + space + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(text: &str) -> Vec<Piece> {
        let pieces = pieces(text, 0, false);
        let mut at = 0;
        for piece in &pieces {
            assert_eq!(piece.range.start, at);
            assert!(piece.range.len() <= MOST_BYTES && !piece.range.is_empty());
            assert!(text.is_char_boundary(piece.range.end));
            at = piece.range.end;
        }
        assert_eq!(at, text.len());
        pieces
    }

    #[test]
    fn pieces_cover_the_text_and_end_at_blank_lines() {
        let paragraph = format!("{}\n\n", "word ".repeat(130));
        let text = paragraph.repeat(20);
        let found = cover(&text);
        assert_eq!(found.len(), 20);
        assert!(cover("").is_empty());
        assert_eq!(cover("short\n\ntexts\n\nstay").len(), 1);
    }

    #[test]
    fn one_long_line_is_cut_between_characters() {
        assert!(cover(&"ä".repeat(10_000)).len() >= 5);
        let spaced = "some words ".repeat(2000);
        for piece in cover(&spaced) {
            assert!(spaced[piece.range].ends_with(' '));
        }
    }

    #[test]
    fn a_long_block_of_code_stays_code() {
        let text = format!("```\n{}```\n\nafter\n", "let x = 1;\n\n".repeat(1000));
        let found = cover(&text);
        assert!(found.len() > 2);
        let (first, rest) = found.split_first().unwrap();
        let (last, inside) = rest.split_last().unwrap();
        assert!(!first.in_fence && !last.in_fence);
        assert!(inside.iter().all(|piece| piece.in_fence));
    }

    #[test]
    fn what_is_appended_changes_the_last_piece_alone() {
        let text = format!("{}\n\n", "word ".repeat(130)).repeat(5);
        let before = cover(&text);
        let longer = format!("{text}and more\n\n");
        let last = before.last().unwrap();
        let mut grown = before[..before.len() - 1].to_vec();
        grown.extend(pieces(&longer, last.range.start, last.in_fence));
        assert_eq!(grown, cover(&longer));
    }
}
