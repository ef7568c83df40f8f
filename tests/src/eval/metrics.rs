//! Measures of a ranking against what is known to be relevant.
//!
//! Pure. A document is relevant or it is not: grades are not used. Start at [`Scores::of`].

use std::collections::HashSet;

/// Places of a ranking that are looked at, at most; recall is measured here.
pub const DEPTH: usize = 100;
/// Places that the discounted gain looks at: the first page of results.
const FIRST_PAGE: usize = 10;
/// Places that a person looks at, and that an answer is made from.
const FIRST_GLANCE: usize = 5;

/// How good a ranking is; every value is in [0, 1], larger is better.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores {
    /// Normalised discounted cumulative gain of the first 10 places, with gains of 0 and 1 and the discount
    /// 1 / log₂(place + 1) (Järvelin and Kekäläinen, 2002).
    pub ndcg_at_10: f64,
    /// Part of the relevant documents that is among the first 100.
    pub recall_at_100: f64,
    /// 1 / place of the first relevant document; 0 where none is among the first 100.
    pub reciprocal_rank: f64,
    /// 1 where a relevant document is among the first 5.
    pub success_at_5: f64,
}

impl Scores {
    /// Scores one ranking: each document once, best first. Without anything relevant all scores are 0.
    #[must_use]
    pub fn of(ranking: &[String], relevant: &HashSet<String>) -> Self {
        let ranking = &ranking[..ranking.len().min(DEPTH)];
        let places: Vec<usize> = (1..)
            .zip(ranking)
            .filter(|(_, document)| relevant.contains(*document))
            .map(|(place, _)| place)
            .collect();
        let first = places.first().copied();
        Self {
            ndcg_at_10: ndcg(&places, relevant.len()),
            recall_at_100: ratio(places.len(), relevant.len()),
            reciprocal_rank: first.map_or(0.0, |place| 1.0 / place as f64),
            success_at_5: f64::from(u8::from(first.is_some_and(|place| place <= FIRST_GLANCE))),
        }
    }

    /// The mean of each score over questions; 0 without any.
    #[must_use]
    pub fn mean(all: &[Self]) -> Self {
        let mean =
            |score: fn(&Self) -> f64| all.iter().map(score).sum::<f64>() / all.len().max(1) as f64;
        Self {
            ndcg_at_10: mean(|s| s.ndcg_at_10),
            recall_at_100: mean(|s| s.recall_at_100),
            reciprocal_rank: mean(|s| s.reciprocal_rank),
            success_at_5: mean(|s| s.success_at_5),
        }
    }
}

/// `part` of `whole` in [0, 1]; 0 of nothing is 0.
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn ndcg(places: &[usize], n_relevant: usize) -> f64 {
    let discount = |place: usize| 1.0 / ((place + 1) as f64).log2();
    let ideal: f64 = (1..=n_relevant.min(FIRST_PAGE)).map(discount).sum();
    let on_first_page = places.iter().filter(|place| **place <= FIRST_PAGE);
    let gained: f64 = on_first_page.map(|place| discount(*place)).sum();
    if ideal > 0.0 { gained / ideal } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(ranking: &[&str], relevant: &[&str]) -> Scores {
        let ranking: Vec<String> = ranking.iter().map(ToString::to_string).collect();
        Scores::of(
            &ranking,
            &relevant.iter().map(ToString::to_string).collect(),
        )
    }

    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-5, "{value} is not {expected}");
    }

    #[test]
    fn a_ranking_is_scored_as_by_hand() {
        // Gain 1/log2(2) + 1/log2(4) = 1.5; ideal 1 + 1/log2(3) + 1/log2(4) = 2.130930.
        let two_of_three = scores(&["a", "x", "b"], &["a", "b", "c"]);
        assert_near(two_of_three.ndcg_at_10, 0.703_918);
        assert_near(two_of_three.recall_at_100, 2.0 / 3.0);
        assert_near(two_of_three.reciprocal_rank, 1.0);
        assert_near(two_of_three.success_at_5, 1.0);

        // Gain 1/log2(7) = 0.356207; ideal 1.
        let sixth = scores(&["1", "2", "3", "4", "5", "a"], &["a"]);
        assert_near(sixth.ndcg_at_10, 0.356_207);
        assert_near(sixth.reciprocal_rank, 1.0 / 6.0);
        assert_near(sixth.success_at_5, 0.0);
    }

    #[test]
    fn twelve_relevant_documents_fill_the_first_page_and_no_more() {
        let names: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        let all = Scores::of(&names, &names.iter().cloned().collect());
        assert_near(all.ndcg_at_10, 1.0);
        assert_near(all.recall_at_100, 1.0);
    }

    #[test]
    fn places_beyond_the_depth_do_not_count() {
        let mut ranking: Vec<String> = (0..DEPTH).map(|n| n.to_string()).collect();
        ranking.push("a".to_owned());
        let relevant = HashSet::from(["a".to_owned()]);
        assert_eq!(Scores::of(&ranking, &relevant), Scores::default());
        ranking.swap(DEPTH - 1, DEPTH);
        let last = Scores::of(&ranking, &relevant);
        assert_near(last.reciprocal_rank, 0.01);
        assert_near(last.recall_at_100, 1.0);
        assert_near(last.ndcg_at_10, 0.0);
    }

    #[test]
    fn nothing_gives_zero() {
        assert_eq!(scores(&[], &["a"]), Scores::default());
        assert_eq!(scores(&["a"], &[]), Scores::default());
        assert_eq!(Scores::mean(&[]), Scores::default());
    }

    #[test]
    fn a_mean_is_over_questions() {
        let (one, none) = (scores(&["a"], &["a"]), scores(&["x"], &["a"]));
        let mean = Scores::mean(&[one, none]);
        assert_near(mean.ndcg_at_10, 0.5);
        assert_near(mean.reciprocal_rank, 0.5);
    }
}
