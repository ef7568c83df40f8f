//! Finds places of a text again in the one that took its place, so that a view can stay where it is.
//!
//! Pure, and a guess where the place itself was changed. Start at [`Moved::place`].

use std::ops::Range;

/// Lines that are looked for in a text that took the place of another one, to find out what was being read.
const LINES_TRIED: usize = 30;

/// Where places of a text are in the one that took its place.
pub(super) struct Moved<'a> {
    old: &'a str,
    new: &'a str,
    /// How many bytes both have in common at their beginnings and at their ends.
    head: usize,
    tail: usize,
}

impl<'a> Moved<'a> {
    /// Compares two texts.
    pub(super) fn new(old: &'a str, new: &'a str) -> Self {
        let pairs = old.bytes().zip(new.bytes());
        let head = pairs.take_while(|(a, b)| a == b).count();
        let head = old.floor_char_boundary(head);
        let (rest, other) = (&old[head..], &new[head..]);
        let pairs = rest.bytes().rev().zip(other.bytes().rev());
        let tail = pairs.take_while(|(a, b)| a == b).count();
        let tail = rest.len() - rest.ceil_char_boundary(rest.len() - tail);
        Self {
            old,
            new,
            head,
            tail,
        }
    }

    /// A place that was outside of all changes, or the like line nearest to where it was.
    pub(super) fn place(&self, at: usize) -> usize {
        if at <= self.head {
            return at;
        }
        let old_tail = self.old.len() - self.tail;
        let new_tail = self.new.len() - self.tail;
        if at >= old_tail {
            return at - old_tail + new_tail;
        }
        let between = &self.new[self.head..new_tail];
        let mut line_at = at;
        for line in self.old[at..old_tail]
            .split_inclusive('\n')
            .take(LINES_TRIED)
        {
            let found = between
                .match_indices(line)
                .map(|(index, _)| self.head + index);
            let nearest = found.min_by_key(|found| found.abs_diff(line_at));
            if let Some(found) = nearest.filter(|_| !line.trim().is_empty()) {
                let begun = found.saturating_sub(line_at - at);
                return self.new.floor_char_boundary(begun.max(self.head));
            }
            line_at += line.len();
        }
        self.head
    }

    /// Where words stand now; `None` if they were changed.
    pub(super) fn range(&self, old: &Range<usize>) -> Option<Range<usize>> {
        let words = &self.old[old.clone()];
        let start = self.place(old.start);
        let range = start..start + words.len();
        (self.new.get(range.clone()) == Some(words)).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_a_text_that_is_changed_around_them() {
        let old = "one\ntwo\nthree\nfour\n";
        let new = "zero\none\ntwo\n3\nfour\n";
        let moved = Moved::new(old, new);
        let place = |word: &str| moved.place(old.find(word).unwrap());
        assert_eq!(place("two"), new.find("two").unwrap());
        assert_eq!(place("four"), new.find("four").unwrap());
        let words = |word: &str| {
            let at = old.find(word).unwrap();
            moved.range(&(at..at + word.len()))
        };
        assert_eq!(words("two").map(|range| &new[range]), Some("two"));
        assert_eq!(words("three"), None);
        // é and è share their first byte.
        let moved = Moved::new("caféx", "cafèx");
        assert_eq!((moved.head, moved.tail), (3, 1));
    }
}
