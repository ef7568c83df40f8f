//! Which bytes of a file are there. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of byte positions, kept as ranges that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        // Those that touch it from the left, or begin within it or right after it.
        let touching: Vec<u64> = self
            .0
            .range(..=end)
            .rev()
            .take_while(|(_, known_end)| **known_end >= start)
            .map(|(known, _)| *known)
            .collect();
        for known in touching {
            let known_end = self.0.remove(&known).unwrap_or(end);
            start = start.min(known);
            end = end.max(known_end);
        }
        self.0.insert(start, end);
    }

    /// How many positions there are.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// The end of what is there without a gap from position 0.
    pub(super) fn prefix(&self) -> u64 {
        self.0.get(&0).copied().unwrap_or(0)
    }

    /// The first missing range before `total`, at most `longest` long.
    pub(super) fn first_gap(&self, total: u64, longest: u64) -> Option<Range<u64>> {
        let mut at = 0;
        for (start, end) in &self.0 {
            if at < *start {
                break;
            }
            at = *end;
        }
        let next = self.0.range(at..).next().map_or(total, |(start, _)| *start);
        let end = next.min(total).min(at.saturating_add(longest));
        (at < end).then_some(at..end)
    }

    /// The ranges, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(ranges: T) -> Self {
        let mut all = Self::default();
        for range in ranges {
            all.insert(range);
        }
        all
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // one range is what is meant
mod tests {
    use super::*;

    fn of(ranges: &[Range<u64>]) -> Ranges {
        ranges.iter().cloned().collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let joined = of(&[0..5, 10..15, 20..25, 5..10, 12..22]);
        assert_eq!(joined, of(&[0..25]));
        assert_eq!((joined.len(), joined.prefix()), (25, 25));
        let apart = of(&[20..25, 3..5]);
        assert_eq!((apart.len(), apart.prefix()), (7, 0));
        assert_eq!(of(&[5..5]), Ranges::default());
    }

    #[test]
    fn gaps_are_given_from_the_front() {
        let some = of(&[0..10, 15..20]);
        assert_eq!(some.first_gap(30, 100), Some(10..15));
        assert_eq!(some.first_gap(30, 2), Some(10..12));
        assert_eq!(of(&[0..10]).first_gap(30, 100), Some(10..30));
        assert_eq!(of(&[5..30]).first_gap(30, 100), Some(0..5));
        assert_eq!(of(&[0..30]).first_gap(30, 100), None);
    }

    /// Every position is in the set exactly when it was put in, whatever the order.
    #[test]
    fn it_is_a_set_of_positions() {
        let mut seed = 7_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..500 {
            let (mut ranges, mut there) = (Ranges::default(), [false; 40]);
            for _ in 0..random(8) {
                let start = random(40);
                let end = start + random(40 - start + 1);
                ranges.insert(start..end);
                there[start as usize..end as usize].fill(true);
            }
            let mut found = [false; 40];
            for range in ranges.iter() {
                found[range.start as usize..range.end as usize].fill(true);
            }
            assert_eq!(found, there);
            let first = there.iter().position(|there| !there).map(|at| at as u64);
            assert_eq!(ranges.first_gap(40, 1).map(|gap| gap.start), first);
        }
    }
}
