//! Finds small edits that turn one text into another, in time that is never quadratic in the texts' length.
//!
//! Pure. Common beginnings and ends are cut off first, then lines that occur once in both texts hold the rest
//! together (patience diff), then the same with words, and only what is left and small is compared
//! exactly. The edits are correct for every pair of texts and small for the usual ones, not always minimal.
//! Start at [`edits`] for storing and at [`line_edits`] for showing.

use std::collections::HashMap;
use std::ops::Range;

/// Replaces a range of the old text by a range of the new one. Both are UTF-8 byte ranges on character borders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) old: Range<usize>,
    pub(crate) new: Range<usize>,
}

/// Largest table of the exact comparison, in cells: 250,000 of 2 bytes are 0.5 MB and about 1 ms.
const MAX_TABLE_CELLS: usize = 250_000;

/// The edits from `old` to `new`, in rising order, apart from each other.
pub(crate) fn edits(old: &str, new: &str) -> Vec<Edit> {
    let mut found = Vec::new();
    let whole = Edit {
        old: 0..old.len(),
        new: 0..new.len(),
    };
    Differ {
        old,
        new,
        found: &mut found,
    }
    .by_tokens(whole, Level::Lines);
    found
}

/// The whole lines that differ between two texts, given as their lines: ranges of line numbers, in rising order.
pub(crate) fn line_edits(old: &[&str], new: &[&str]) -> Vec<Edit> {
    let mut found = Vec::new();
    let whole = Edit {
        old: 0..old.len(),
        new: 0..new.len(),
    };
    by_lines(old, new, whole, &mut found);
    found
}

fn by_lines(old: &[&str], new: &[&str], mut part: Edit, found: &mut Vec<Edit>) {
    while !part.old.is_empty() && !part.new.is_empty() && old[part.old.start] == new[part.new.start]
    {
        part.old.start += 1;
        part.new.start += 1;
    }
    while !part.old.is_empty()
        && !part.new.is_empty()
        && old[part.old.end - 1] == new[part.new.end - 1]
    {
        part.old.end -= 1;
        part.new.end -= 1;
    }
    let (left, right) = (&old[part.old.clone()], &new[part.new.clone()]);
    let mut anchors = common_once(left, right);
    if anchors.is_empty() && left.len() * right.len() <= MAX_TABLE_CELLS {
        anchors = longest_common(left, right);
    }
    if anchors.is_empty() {
        if !part.old.is_empty() || !part.new.is_empty() {
            found.push(part);
        }
        return;
    }
    let (mut from_old, mut from_new) = (part.old.start, part.new.start);
    let equal = anchors
        .iter()
        .map(|(at_old, at_new)| (part.old.start + at_old, part.new.start + at_new));
    for (at_old, at_new) in equal.chain([(part.old.end, part.new.end)]) {
        let gap = Edit {
            old: from_old..at_old,
            new: from_new..at_new,
        };
        by_lines(old, new, gap, found);
        (from_old, from_new) = (at_old + 1, at_new + 1);
    }
}

#[derive(Clone, Copy)]
enum Level {
    Lines,
    Words,
}

impl Level {
    fn split(self, text: &str) -> Vec<&str> {
        match self {
            Self::Lines => text.split_inclusive('\n').collect(),
            Self::Words => words(text),
        }
    }
}

/// Runs of letters and digits, and every other character alone.
///
/// Characters from U+2E80 on stand alone too: Chinese and Japanese have no spaces between words.
fn words(text: &str) -> Vec<&str> {
    let in_word = |c: char| c < '\u{2e80}' && c.is_alphanumeric();
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut last_in_word = false;
    for (at, c) in text.char_indices() {
        if at > start && !(last_in_word && in_word(c)) {
            tokens.push(&text[start..at]);
            start = at;
        }
        last_in_word = in_word(c);
    }
    if start < text.len() {
        tokens.push(&text[start..]);
    }
    tokens
}

struct Differ<'a> {
    old: &'a str,
    new: &'a str,
    found: &'a mut Vec<Edit>,
}

impl<'a> Differ<'a> {
    fn by_tokens(&mut self, part: Edit, level: Level) {
        let part = self.trimmed(part);
        if part.old.is_empty() || part.new.is_empty() {
            return self.push(part);
        }
        let (old_text, new_text) = (self.old, self.new);
        let old = Tokens::new(&old_text[part.old.clone()], part.old.start, level);
        let new = Tokens::new(&new_text[part.new.clone()], part.new.start, level);
        let mut anchors = common_once(&old.texts, &new.texts);
        if anchors.is_empty() && old.texts.len() * new.texts.len() <= MAX_TABLE_CELLS {
            anchors = longest_common(&old.texts, &new.texts);
        }
        if anchors.is_empty() {
            return match level {
                Level::Lines => self.by_tokens(part, Level::Words),
                Level::Words => self.push(part),
            };
        }
        self.between(&old, &new, &anchors, level);
    }

    /// Compares what lies between equal tokens. Each gap is smaller than the part, so this ends.
    fn between(
        &mut self,
        old: &Tokens<'_>,
        new: &Tokens<'_>,
        anchors: &[(usize, usize)],
        level: Level,
    ) {
        let (mut from_old, mut from_new) = (0, 0);
        let end = [(old.texts.len(), new.texts.len())];
        for &(at_old, at_new) in anchors.iter().chain(&end) {
            let gap = Edit {
                old: old.range(from_old..at_old),
                new: new.range(from_new..at_new),
            };
            if !gap.old.is_empty() || !gap.new.is_empty() {
                self.by_tokens(gap, level);
            }
            (from_old, from_new) = (at_old + 1, at_new + 1);
        }
    }

    /// Cuts off what both sides begin and end with, on borders of characters.
    fn trimmed(&self, part: Edit) -> Edit {
        let (old, new) = (&self.old[part.old.clone()], &self.new[part.new.clone()]);
        let mut head = old
            .bytes()
            .zip(new.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        // Equal bytes up to here may end inside a character in one text and its twin.
        while !old.is_char_boundary(head) || !new.is_char_boundary(head) {
            head -= 1;
        }
        let (old, new) = (&old[head..], &new[head..]);
        let mut tail = old
            .bytes()
            .rev()
            .zip(new.bytes().rev())
            .take_while(|(a, b)| a == b)
            .count();
        while !old.is_char_boundary(old.len() - tail) || !new.is_char_boundary(new.len() - tail) {
            tail -= 1;
        }
        Edit {
            old: part.old.start + head..part.old.end - tail,
            new: part.new.start + head..part.new.end - tail,
        }
    }

    fn push(&mut self, edit: Edit) {
        if !edit.old.is_empty() || !edit.new.is_empty() {
            self.found.push(edit);
        }
    }
}

struct Tokens<'a> {
    texts: Vec<&'a str>,
    /// Where each token starts, and where the last one ends, in the whole text.
    starts: Vec<usize>,
}

impl<'a> Tokens<'a> {
    fn new(text: &'a str, offset: usize, level: Level) -> Self {
        let texts = level.split(text);
        let mut starts = Vec::with_capacity(texts.len() + 1);
        let mut at = offset;
        for token in &texts {
            starts.push(at);
            at += token.len();
        }
        starts.push(at);
        Self { texts, starts }
    }

    fn range(&self, tokens: Range<usize>) -> Range<usize> {
        self.starts[tokens.start]..self.starts[tokens.end]
    }
}

/// Pairs of tokens that occur exactly once on both sides, the longest run of them in rising order.
fn common_once(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let mut seen: HashMap<&str, (usize, usize, usize, usize)> = HashMap::with_capacity(old.len());
    for (index, token) in old.iter().enumerate() {
        let entry = seen.entry(token).or_default();
        (entry.0, entry.1) = (entry.0 + 1, index);
    }
    for (index, token) in new.iter().enumerate() {
        if let Some(entry) = seen.get_mut(token) {
            (entry.2, entry.3) = (entry.2 + 1, index);
        }
    }
    let mut pairs: Vec<_> = seen
        .values()
        .filter(|entry| entry.0 == 1 && entry.2 == 1)
        .map(|entry| (entry.1, entry.3))
        .collect();
    pairs.sort_unstable();
    longest_rising(&pairs)
}

/// The longest subsequence whose second numbers rise, by patience sorting: `n log n`.
fn longest_rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut piles: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; pairs.len()];
    for (index, pair) in pairs.iter().enumerate() {
        let pile = piles.partition_point(|top| pairs[*top].1 < pair.1);
        before[index] = pile.checked_sub(1).map(|left| piles[left]);
        if pile == piles.len() {
            piles.push(index);
        } else {
            piles[pile] = index;
        }
    }
    let mut run = Vec::with_capacity(piles.len());
    let mut next = piles.last().copied();
    while let Some(index) = next {
        run.push(pairs[index]);
        next = before[index];
    }
    run.reverse();
    run
}

/// The longest common subsequence by the classical table; callers keep it small.
fn longest_common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let width = new.len() + 1;
    // A table of at most 250,000 cells has sides whose shorter one is below 2^16.
    let mut table = vec![0u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            table[i * width + j] = if old[i] == new[j] {
                table[(i + 1) * width + j + 1] + 1
            } else {
                table[(i + 1) * width + j].max(table[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::new();
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if table[(i + 1) * width + j] >= table[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply(old: &str, new: &str) -> String {
        let mut text = old.to_owned();
        for edit in edits(old, new).iter().rev() {
            text.replace_range(edit.old.clone(), &new[edit.new.clone()]);
        }
        text
    }

    fn touched(old: &str, new: &str) -> Vec<(String, String)> {
        edits(old, new)
            .iter()
            .map(|edit| {
                (
                    old[edit.old.clone()].to_owned(),
                    new[edit.new.clone()].to_owned(),
                )
            })
            .collect()
    }

    #[test]
    fn small_changes_give_small_edits() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(touched("a b c", "a b c"), []);
        assert_eq!(touched("", "new"), [pair("", "new")]);
        assert_eq!(
            touched("the cat sat\n", "the dog sat\n"),
            [pair("cat", "dog")]
        );
        assert_eq!(
            touched("one\ntwo\nthree\nfour\n", "one\n2\nthree\n4our\n"),
            [pair("two", "2"), pair("f", "4")]
        );
        assert_eq!(
            touched("The answer is 42.", "Now: the answer was 42, yes."),
            [pair("T", "Now: t"), pair("i", "wa"), pair("", ", yes")]
        );
        assert_eq!(
            touched("我爱读书和写字", "我爱看书和写字啊"),
            [pair("读", "看"), pair("", "啊")]
        );
        // é and è share their first byte.
        assert_eq!(touched("café", "cafè"), [pair("é", "è")]);
    }

    fn lines(old: &str, new: &str) -> Vec<(Vec<usize>, Vec<usize>)> {
        let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
        let edits = line_edits(&old, &new);
        edits
            .into_iter()
            .map(|edit| (edit.old.collect(), edit.new.collect()))
            .collect()
    }

    #[test]
    fn lines_that_differ_are_named_whole() {
        assert_eq!(lines("a\nb\nc", "a\nb\nc"), []);
        assert_eq!(lines("", "a"), [(vec![], vec![0])]);
        assert_eq!(
            lines("a\nb b\nc\nd", "a\nb B\nc\nd\ne"),
            [(vec![1], vec![1]), (vec![], vec![4])]
        );
        // Lines that occur several times hold a small text together as well.
        assert_eq!(lines("x\nx\ny\ny", "x\ny\ny"), [(vec![1], vec![])]);
    }

    proptest! {
        #[test]
        fn what_is_not_named_is_equal(old in "[ab\n]{0,40}", new in "[ab\n]{0,40}") {
            let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
            let (mut at, mut rebuilt) = (0, Vec::new());
            for edit in line_edits(&old, &new) {
                rebuilt.extend_from_slice(&old[at..edit.old.start]);
                rebuilt.extend_from_slice(&new[edit.new]);
                at = edit.old.end;
            }
            rebuilt.extend_from_slice(&old[at..]);
            prop_assert_eq!(rebuilt, new);
        }
    }

    #[test]
    fn five_megabytes_that_change_everywhere_are_compared_quickly() {
        let line = |n: usize, word: &str| format!("{word} line {} of the text\n", n % 977);
        let old: String = (0..200_000).map(|n| line(n, "this")).collect();
        let new: String = (0..200_000)
            .map(|n| line(n * 7, if n % 3 == 0 { "that" } else { "this" }))
            .collect();
        let begun = std::time::Instant::now();
        assert_eq!(apply(&old, &new), new);
        // About 0.3 s here; a quadratic comparison would take hours.
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }

    proptest! {
        #[test]
        fn edits_always_lead_to_the_new_text(
            old in "[ab é\n𝄞]{0,60}",
            new in "[ab é\n𝄞]{0,60}",
        ) {
            prop_assert_eq!(apply(&old, &new), new);
        }

        #[test]
        fn edits_rise_and_lie_on_characters(old in "(aé |bc\n|x){0,40}", new in "(aé |bc\n|x){0,40}") {
            let mut end = 0;
            for edit in edits(&old, &new) {
                prop_assert!(edit.old.start >= end);
                prop_assert!(old.is_char_boundary(edit.old.start) && old.is_char_boundary(edit.old.end));
                end = edit.old.end;
            }
        }
    }
}
