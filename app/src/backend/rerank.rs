//! Puts what was found into the order of a model that reads question and passage together, where one is installed.
//!
//! For questions and searches that may take a moment, not for search as one types. A reranker that cannot be used stops
//! nothing: the order of the search stays, and the user is told. Start at [`passages`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use satchel_vector::Hit;

use super::jobs::Emitter;
use super::model_host::Running;
use super::retrieve::{self, Found};
use super::{Shared, failure};
use crate::message::{Failure, SearchMode};

/// Hits that it reads at most, best first: a bound for machines where the time is none.
const CANDIDATES: usize = 30;
/// Hits that it reads in one go, after which the time is looked at.
const CANDIDATES_AT_ONCE: usize = 4;
/// Time after which it reads no more: a large one on a processor takes long for each passage, and somebody waits.
const MOST_TIME: Duration = Duration::from_millis(1500);

/// Finds the passages nearest to a query by words and meaning, in the order of the reranker.
///
/// # Errors
/// As for [`retrieve::passages`].
pub async fn passages(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    query: &str,
    limit: usize,
) -> Result<Found, Failure> {
    let find =
        async |limit| retrieve::passages(shared, emitter, query, limit, SearchMode::Hybrid).await;
    let reranker = match shared.models.reranker().await {
        Ok(Some(reranker)) => reranker,
        Ok(None) => return find(limit).await,
        Err(failure) => return Ok(unordered(find(limit).await?, &failure)),
    };
    let mut found = find(limit.max(CANDIDATES)).await?;
    let sorted = sort(&reranker, emitter, query, &mut found.hits).await;
    found.hits.truncate(limit);
    Ok(match sorted {
        Ok(()) => found,
        Err(failure) => unordered(found, &failure),
    })
}

/// What was found, with the word that it is in the order of the search.
fn unordered(mut found: Found, failure: &Failure) -> Found {
    let told = format!("Passages are in the order of the search, not of the reranker: {failure}.");
    found.limitation = Some(match found.limitation {
        Some(other) => format!("{other} {told}"),
        None => told,
    });
    found
}

/// Those that it has no time for keep their order behind the others.
async fn sort(
    reranker: &Running,
    emitter: &Emitter,
    query: &str,
    hits: &mut Vec<Hit>,
) -> Result<(), Failure> {
    // Loading it is no part of the time that it may take.
    reranker.engine.info().await.map_err(failure::of_engine)?;
    let begun = Instant::now();
    let mut scores = Vec::new();
    for some in hits[..hits.len().min(CANDIDATES)].chunks(CANDIDATES_AT_ONCE) {
        if emitter.is_cancelled() || begun.elapsed() > MOST_TIME {
            break;
        }
        let texts = some
            .iter()
            .map(|hit| format!("{}\n{}", hit.title, hit.text));
        let scoring = reranker.engine.rerank(query, texts.collect());
        scores.extend(scoring.await.map_err(failure::of_engine)?);
    }
    let rest = hits.split_off(scores.len());
    let mut scored: Vec<(f32, Hit)> = scores.into_iter().zip(hits.drain(..)).collect();
    // Stable: equal scores leave the order of the search.
    scored.sort_by(|one, other| other.0.total_cmp(&one.0));
    hits.extend(scored.into_iter().map(|(_, hit)| hit));
    hits.extend(rest);
    Ok(())
}
