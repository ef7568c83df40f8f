//! Finds passages: embeds the query, searches the index, judges whether an answer can be in there.
//!
//! Never generates. Start at [`search`] (for the user) and [`passages`] (for an answer).

use std::sync::Arc;
use std::time::Instant;

use satchel_models::Instructions;
use satchel_vector::{Hit, Mode, Query, StoreError};

use super::jobs::Emitter;
use super::{Shared, failure, indexing, rerank, words};
use crate::message::{Citation, Failure, FailureKind, Origin, Scores, SearchMode, SearchReport};

/// Longest query in bytes. Longer text is a document, not a question; only its start would be embedded well.
const MAX_QUERY_BYTES: usize = 16 << 10;

/// Cosine similarity from which a passage is taken to be about the question.
///
/// Measured with all-MiniLM-L6-v2 on Cranfield, CISI and the sample, which were asked their own questions (331) and
/// each other's (662) by `make eval`, with the two rules below in force:
///
/// | cosine | own questions refused | foreign questions let through |
/// |---|---|---|
/// | 0.42 | 9 | 5 |
/// | 0.38 | 5 | 12 |
/// | 0.34 | 5 | 35 |
/// | 0.30 | 3 | 85 |
///
/// No value tells a near miss (a fact that the right document leaves out) from an answer.
const SUPPORTING_COSINE: f32 = 0.38;

/// Similarity that is enough where most of the question's words are in the passage too: the most that the
/// nearest passage of a foreign question reaches in the median (0.18 to 0.26 by collection).
const SUPPORTING_COSINE_WITH_WORDS: f32 = 0.25;

/// Part of the question's words that a passage must hold to count without a strong similarity.
const SUPPORTING_COVERAGE: f32 = 0.6;

/// Hits with the mode that was really used.
pub struct Found {
    /// Best first.
    pub hits: Vec<Hit>,
    /// `Lexical` where the query could not be embedded.
    pub mode: SearchMode,
    /// What the search did without, and why, in words.
    pub limitation: Option<String>,
}

/// Carries out a search of the user.
///
/// # Errors
/// When the query is empty or too long, or the index cannot be read.
pub async fn search(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    query: &str,
    limit: usize,
    mode: SearchMode,
    thorough: bool,
) -> Result<SearchReport, Failure> {
    let started = Instant::now();
    indexing::ensure_current(shared, emitter).await?;
    let found = if thorough && mode == SearchMode::Hybrid {
        rerank::passages(shared, emitter, query, limit).await?
    } else {
        passages(shared, emitter, query, limit, mode).await?
    };
    if let Some(limitation) = &found.limitation {
        emitter.notice(limitation.clone()).await;
    }
    let coverage = indexing::coverage(shared).await?;
    Ok(SearchReport {
        mode: found.mode,
        hits: found
            .hits
            .iter()
            .map(|hit| citation(hit, Origin::Search))
            .collect(),
        coverage,
        took_ms: started.elapsed().as_secs_f64() * 1000.0,
    })
}

/// Finds the passages nearest to a query.
///
/// # Errors
/// As for [`search`].
pub async fn passages(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    query: &str,
    limit: usize,
    mode: SearchMode,
) -> Result<Found, Failure> {
    let query = checked(query)?;
    let (embedding, limitation) = match mode {
        SearchMode::Lexical => (None, None),
        _ => embed_query(shared, query).await?,
    };
    let mode = if embedding.is_none() {
        SearchMode::Lexical
    } else {
        mode
    };
    let query = Query {
        text: query.to_owned(),
        embedding,
        mode: match mode {
            SearchMode::Hybrid => Mode::Hybrid,
            SearchMode::Lexical => Mode::Lexical,
            SearchMode::Vector => Mode::Vector,
        },
        limit: limit.clamp(1, 1000),
        sources: None,
    };
    let hits = match shared.index.search(&query).await {
        Err(StoreError::Damaged { .. }) => {
            emitter
                .notice(
                    "The index was damaged; it is rebuilt from your documents, which are unharmed.",
                )
                .await;
            indexing::catch_up(shared, emitter).await?;
            shared.index.search(&query).await
        }
        searched => searched,
    };
    let hits = hits.map_err(Failure::from)?;
    Ok(Found {
        hits,
        mode,
        limitation,
    })
}

/// The query without white space around it, if it can be one.
///
/// # Errors
/// When it is empty, or so long that it is a document.
pub fn checked(query: &str) -> Result<&str, Failure> {
    let query = query.trim();
    if query.is_empty() {
        return Err(Failure::new(
            FailureKind::Usage,
            "the question is empty: write what you want to know",
        ));
    }
    if query.len() > MAX_QUERY_BYTES {
        return Err(Failure::new(
            FailureKind::Usage,
            format!(
                "the question is {} KiB long; {} KiB is the most",
                query.len() >> 10,
                MAX_QUERY_BYTES >> 10
            ),
        )
        .with_hint("Import long text as a document and ask about it."));
    }
    Ok(query)
}

/// The query's embedding, or why there is none. A broken embedder does not stop a search by words.
async fn embed_query(
    shared: &Arc<Shared>,
    query: &str,
) -> Result<(Option<Vec<f32>>, Option<String>), Failure> {
    let Some(embedder) = shared.models.embedder(&shared.index).await? else {
        return Ok((
            None,
            Some("No embedder is installed: searching by words only.".to_owned()),
        ));
    };
    let query = Instructions::of(&embedder.model).query(query);
    match embedder.engine.embed(vec![query]).await {
        Ok(embeddings) => Ok((embeddings.vectors.into_iter().next(), None)),
        Err(error) => Ok((
            None,
            Some(format!(
                "Searching by words only: {}",
                failure::of_engine(error)
            )),
        )),
    }
}

/// Whether the passages can hold an answer to the question.
///
/// Pure. Takes the best passage by meaning and by words; both judgements are needed because an embedder
/// finds a paraphrase and misses a rare name, and words do the opposite.
#[must_use]
pub fn can_answer(question: &str, hits: &[Hit]) -> bool {
    let wanted = words::content_words(question);
    hits.iter().any(|hit| {
        let cosine = hit.cosine.unwrap_or(0.0);
        let covered = words::coverage(
            &wanted,
            &format!("{} {} {}", hit.title, hit.heading_path.join(" "), hit.text),
        );
        let by_words = covered >= SUPPORTING_COVERAGE
            && (hit.cosine.is_none() || cosine >= SUPPORTING_COSINE_WITH_WORDS);
        cosine >= SUPPORTING_COSINE || by_words
    })
}

/// A hit as the user sees it.
#[must_use]
pub fn citation(hit: &Hit, origin: Origin) -> Citation {
    Citation {
        mark: String::new(),
        document: super::reference::hex(&hit.source.0),
        title: hit.title.clone(),
        path: (!hit.path.is_empty()).then(|| hit.path.clone()),
        page: hit.page,
        heading_path: hit.heading_path.clone(),
        range: hit.range.clone(),
        quote: hit.text.clone(),
        passage: String::new(),
        origin,
        scores: Scores {
            relevance: hit.relevance_score,
            cosine: hit.cosine,
            bm25: hit.bm25,
        },
    }
}
