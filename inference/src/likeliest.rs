//! The likeliest of many tokens.
//!
//! llama.cpp copies the scores of the whole vocabulary, 49,000 to 262,000 of them, into a list and sorts a part of it for
//! every token that is written. Most scores are far below those that count: here they are only compared. Pure. Start at
//! [`likeliest`].

use std::cmp::Ordering;

/// The `most` highest of the scores with their places, the highest first, the earlier one first among equals.
///
/// What is not a number is left out, so there may be fewer.
pub(crate) fn likeliest(scores: &[f32], most: usize) -> Vec<(i32, f32)> {
    let mut kept: Vec<(i32, f32)> = Vec::with_capacity(2 * most.max(BLOCK));
    let mut least = f32::NEG_INFINITY;
    for (block, scores) in scores.chunks(BLOCK).enumerate() {
        // A loop without a branch, which the compiler makes one of many scores at once.
        let counts = scores
            .iter()
            .fold(false, |any, score| any | (*score > least));
        if !counts {
            continue;
        }
        for (index, score) in scores.iter().enumerate() {
            if *score > least {
                let place = block * BLOCK + index;
                kept.push((i32::try_from(place).unwrap_or(i32::MAX), *score));
            }
        }
        if kept.len() >= 2 * most.max(BLOCK) - BLOCK && kept.len() > most {
            least = keep_best(&mut kept, most);
        }
    }
    if kept.len() > most {
        keep_best(&mut kept, most);
    }
    kept.sort_unstable_by(higher_first);
    kept
}

/// Keeps the best; gives what another score has to surpass.
fn keep_best(kept: &mut Vec<(i32, f32)>, most: usize) -> f32 {
    let Some(last) = most.checked_sub(1) else {
        kept.clear();
        return f32::INFINITY;
    };
    let (_, (_, least), _) = kept.select_nth_unstable_by(last, higher_first);
    let least = *least;
    kept.truncate(most);
    least
}

fn higher_first(one: &(i32, f32), other: &(i32, f32)) -> Ordering {
    // Only numbers come here.
    let by_score = other.1.partial_cmp(&one.1).unwrap_or(Ordering::Equal);
    by_score.then(one.0.cmp(&other.0))
}

/// Scores that are looked at together: two lines of the processor's cache.
const BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// All of them, sorted.
    fn expected(scores: &[f32], most: usize) -> Vec<(i32, f32)> {
        let mut all: Vec<(i32, f32)> = (0..).zip(scores.iter().copied()).collect();
        all.retain(|(_, score)| *score > f32::NEG_INFINITY);
        all.sort_by(higher_first);
        all.truncate(most);
        all
    }

    #[test]
    fn they_are_those_that_sorting_gives() {
        let mut state = 7_u64;
        let mut next = move || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            // Coarse, so that many are equal.
            ((state >> 40) % 997) as f32 / 8.0 - 60.0
        };
        for len in [0, 1, 5, 31, 32, 33, 1000, 49_152] {
            let scores: Vec<f32> = (0..len).map(|_| next()).collect();
            for most in [0, 1, 2, 40, 104, 2088] {
                assert_eq!(
                    likeliest(&scores, most),
                    expected(&scores, most),
                    "{len} {most}"
                );
            }
        }
        let rising: Vec<f32> = (0..5000_i16).map(f32::from).collect();
        assert_eq!(likeliest(&rising, 40), expected(&rising, 40));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let scores = [f32::NAN, 1.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        assert_eq!(likeliest(&scores, 4), [(3, f32::INFINITY), (1, 1.0)]);
        assert!(likeliest(&[f32::NAN; 100], 3).is_empty());
    }
}
