//! Outline of texts without markup: blocks are separated by blank lines.
//!
//! Pure. Knows no headings: a guess at them in plain text is wrong too often to show to a user.

use super::outline::{Block, BlockKind, Outline, pages};

/// Reads the blocks of a text, all of one kind.
pub(super) fn outline(text: &str, paged: bool, kind: BlockKind) -> Outline {
    let mut outline = Outline::new();
    for (range, page) in pages(text, paged) {
        let mut at = range.start;
        let mut after_blank = true;
        for line in text[range].split_inclusive('\n') {
            let blank = line.trim().is_empty();
            if after_blank && !blank {
                outline.blocks.push(Block {
                    start: at,
                    kind: kind.clone(),
                    section: 0,
                    page,
                });
            }
            after_blank = blank;
            at += line.len();
        }
    }
    outline
}
