//! Fuses rankings into one.
//!
//! Pure: knows places, not scores, since BM25 and cosine cannot be compared. Start at [`fuse`].

use std::collections::HashMap;
use std::hash::Hash;

/// The constant of reciprocal rank fusion: how little the first places count more than the next.
///
/// 60 is the value of the paper that introduced the method (Cormack, Clarke and Büttcher, SIGIR 2009).
pub const RRF_K: f32 = 60.0;

/// One item of a fused ranking.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused<T> {
    /// The item.
    pub item: T,
    /// Sum over the rankings of 1 / (k + place), places from 1; larger is better, at most
    /// `rankings / (k + 1)`.
    pub relevance_score: f32,
}

/// Fuses rankings by reciprocal rank with [`RRF_K`], best first.
///
/// Each ranking lists its items best first and at most once. Items with equal scores are ordered by
/// their best place, then as in the first ranking that holds them. No ranking gives an empty result.
///
/// # Examples
/// ```
/// let fused = satchel_vector::rank::fuse(&[vec!["a", "b"], vec!["b", "c"]]);
/// assert_eq!(fused[0].item, "b");
/// ```
pub fn fuse<T: Copy + Eq + Hash>(rankings: &[Vec<T>]) -> Vec<Fused<T>> {
    struct Place<T> {
        fused: Fused<T>,
        best: usize,
    }
    let mut places: Vec<Place<T>> = Vec::new();
    let mut seen: HashMap<T, usize> = HashMap::new();
    for ranking in rankings {
        for (i, item) in ranking.iter().enumerate() {
            let score = 1.0 / (RRF_K + i as f32 + 1.0);
            if let Some(at) = seen.get(item) {
                let place = &mut places[*at];
                place.fused.relevance_score += score;
                place.best = place.best.min(i);
            } else {
                seen.insert(*item, places.len());
                places.push(Place {
                    fused: Fused {
                        item: *item,
                        relevance_score: score,
                    },
                    best: i,
                });
            }
        }
    }
    // Stable: what is equal stays in the order of the rankings.
    places.sort_by(|a, b| {
        b.fused
            .relevance_score
            .total_cmp(&a.fused.relevance_score)
            .then(a.best.cmp(&b.best))
    });
    places.into_iter().map(|place| place.fused).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::fuse;

    fn check(rankings: &[&str], expected: &Expect) {
        let rankings: Vec<Vec<char>> = rankings.iter().map(|r| r.chars().collect()).collect();
        let lines: Vec<String> = fuse(&rankings)
            .iter()
            .map(|f| format!("{} {:.5}", f.item, f.relevance_score))
            .collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn nothing_gives_nothing() {
        check(&[], &expect![""]);
        check(&["", ""], &expect![""]);
    }

    #[test]
    fn one_ranking_keeps_its_order() {
        check(
            &["abc", ""],
            &expect![[r#"
            a 0.01639
            b 0.01613
            c 0.01587"#]],
        );
    }

    #[test]
    fn being_found_twice_beats_being_first_once() {
        check(
            &["axyb", "bcx"],
            &expect![[r#"
            b 0.03202
            x 0.03200
            a 0.01639
            c 0.01613
            y 0.01587"#]],
        );
    }

    #[test]
    fn equal_scores_are_ordered_by_the_rankings() {
        check(
            &["ab", "cd"],
            &expect![[r#"
            a 0.01639
            c 0.01639
            b 0.01613
            d 0.01613"#]],
        );
    }
}
