//! Cuts a block that is too long into pieces that fit.
//!
//! Pure. Cuts at the best places first: table rows or lines or sentence ends, then lines, then words,
//! and inside a word only where the word alone is too long. Pieces follow each other without a gap.

use std::ops::Range;

use super::outline::BlockKind;
use super::tokens::{CENTI, centitokens, char_centitokens};

/// A part of a block with its estimated tokens.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    pub(super) centitokens: u64,
}

/// Cuts `range` of `text` into pieces of at most `limit` hundredths of a token each.
pub(super) fn pieces(
    text: &str,
    range: Range<usize>,
    kind: &BlockKind,
    row_starts: &[usize],
    limit: u64,
) -> Vec<Piece> {
    let mut out = Vec::new();
    match kind {
        BlockKind::Table { rows, .. } => {
            // Whatever stands before the second row (the header and its rule) is the first piece.
            let mut start = range.start;
            for next in row_starts[rows.clone()]
                .iter()
                .copied()
                .skip(1)
                .chain([range.end])
            {
                push_line(text, start..next, limit, &mut out);
                start = next;
            }
        }
        BlockKind::Code => push_lines(text, range, limit, &mut out),
        BlockKind::Heading | BlockKind::Prose => {
            for sentence in sentences(text, range) {
                let cost = centitokens(&text[sentence.clone()]);
                if cost <= limit {
                    out.push(Piece {
                        range: sentence,
                        centitokens: cost,
                    });
                } else {
                    push_lines(text, sentence, limit, &mut out);
                }
            }
        }
    }
    out
}

fn push_lines(text: &str, range: Range<usize>, limit: u64, out: &mut Vec<Piece>) {
    let mut start = range.start;
    for line in text[range].split_inclusive('\n') {
        push_line(text, start..start + line.len(), limit, out);
        start += line.len();
    }
}

/// Adds a line or table row, cut between words where it is too long.
fn push_line(text: &str, range: Range<usize>, limit: u64, out: &mut Vec<Piece>) {
    let cost = centitokens(&text[range.clone()]);
    if cost <= limit {
        out.push(Piece {
            range,
            centitokens: cost,
        });
        return;
    }
    let mut piece = Piece {
        range: range.start..range.start,
        centitokens: 0,
    };
    for word in text[range].split_inclusive(char::is_whitespace) {
        let cost = centitokens(word);
        if piece.centitokens + cost > limit {
            push_piece(&mut piece, out);
        }
        if cost > limit {
            push_word(word, limit, &mut piece, out);
        } else {
            piece.range.end += word.len();
            piece.centitokens += cost;
        }
    }
    push_piece(&mut piece, out);
}

/// Adds the characters of a word that is too long, cutting between characters.
fn push_word(word: &str, limit: u64, piece: &mut Piece, out: &mut Vec<Piece>) {
    for c in word.chars() {
        let cost = char_centitokens(c);
        if piece.centitokens + cost > limit {
            push_piece(piece, out);
        }
        piece.range.end += c.len_utf8();
        piece.centitokens += cost;
    }
}

/// Moves the piece out, if there is anything in it, and begins the next behind it.
fn push_piece(piece: &mut Piece, out: &mut Vec<Piece>) {
    let end = piece.range.end;
    if !piece.range.is_empty() {
        out.push(piece.clone());
    }
    *piece = Piece {
        range: end..end,
        centitokens: 0,
    };
}

/// Returns the sentences of a range, each with the white space behind it.
fn sentences(text: &str, range: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = range.start;
    std::iter::from_fn(move || {
        if start >= range.end {
            return None;
        }
        let end = start + sentence_len(&text[start..range.end]);
        let sentence = start..end;
        start = end;
        Some(sentence)
    })
}

/// Length in bytes of the first sentence with the white space behind it.
fn sentence_len(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let wide = matches!(c, '。' | '！' | '？' | '｡');
        if !wide && !matches!(c, '.' | '!' | '?' | '…') {
            continue;
        }
        let mut end = at + c.len_utf8();
        while let Some((at, c)) = chars.next_if(|(_, c)| is_closer(*c)) {
            end = at + c.len_utf8();
        }
        let mut spaces = false;
        while let Some((at, c)) = chars.next_if(|(_, c)| c.is_whitespace()) {
            end = at + c.len_utf8();
            spaces = true;
        }
        // `e.g. this`, `3.14` and `file.rs` are not ends of sentences.
        let goes_on = chars
            .peek()
            .is_some_and(|(_, next)| c == '.' && next.is_lowercase());
        if wide || (spaces && !goes_on) {
            return end;
        }
    }
    text.len()
}

/// Whether a character can stand between the end of a sentence and the space behind it.
fn is_closer(c: char) -> bool {
    matches!(
        c,
        '.' | '!'
            | '?'
            | '…'
            | '"'
            | '\''
            | ')'
            | ']'
            | '}'
            | '*'
            | '_'
            | '”'
            | '’'
            | '»'
            | '」'
            | '』'
            | '。'
            | '！'
            | '？'
    )
}

/// Hundredths of a token for a limit given in tokens.
pub(super) fn limit_centitokens(tokens: usize) -> u64 {
    u64::try_from(tokens).unwrap_or(u64::MAX / CENTI) * CENTI
}
