//! Keeps the index equal to the documents: chunks first, so that words are found at once, then embeddings.
//!
//! The index is a cache; everything here can be repeated at any time. Start at [`catch_up`] and
//! [`embed_pending`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use satchel_models::Instructions;
use satchel_sync::workspace::DocumentEntry;
use satchel_vector::chunk::{self, ChunkInput};
use satchel_vector::{SourceChunks, SourceId, StoreError};

use super::jobs::{Emitter, Meter};
use super::{Shared, failure, shared_embeddings, warm};
use crate::message::{Coverage, Failure, Stage};

/// Documents per commit to the index: large enough to keep commits rare, small enough that the first
/// words can be found within a second.
pub const BATCH_DOCUMENTS: usize = 64;

/// Passages per request to the embedder. The worker sorts them by length; cancelling waits for one request.
const EMBED_BATCH: usize = 64;

/// Passages asked from the index at a time.
const EMBED_PAGE: usize = 1024;

/// As [`catch_up`], where it is not known yet that there is nothing to do.
///
/// # Errors
/// As for [`catch_up`].
pub async fn ensure_current(shared: &Arc<Shared>, emitter: &Emitter) -> Result<(), Failure> {
    if !shared.index_is_current.load(Ordering::Acquire) {
        catch_up(shared, emitter).await?;
    }
    Ok(())
}

/// Makes the words of every document searchable, and removes what no document stands behind.
///
/// Returns the number of documents that were brought in.
///
/// # Errors
/// When the index or a document cannot be read; what was done stays.
pub async fn catch_up(shared: &Arc<Shared>, emitter: &Emitter) -> Result<usize, Failure> {
    let _writer = shared.index_writer.lock().await;
    let indexed = match shared.index.source_versions().await {
        // It was set aside and is empty now: everything is stale.
        Err(StoreError::Damaged { .. }) => HashMap::new(),
        versions => versions.map_err(Failure::from)?,
    };
    let entries = shared.workspace.documents();
    let known: HashSet<SourceId> = entries.iter().map(source_of).collect();
    let gone: Vec<SourceId> = indexed
        .keys()
        .filter(|source| !known.contains(source))
        .copied()
        .collect();
    if !gone.is_empty() {
        shared
            .index
            .delete_sources(&gone)
            .await
            .map_err(Failure::from)?;
        warm::forget_all(shared).await;
    }
    let stale: Vec<DocumentEntry> = entries
        .into_iter()
        .filter(|entry| is_stale(&indexed, entry))
        .collect();
    if stale.is_empty() {
        shared.index_is_current.store(true, Ordering::Release);
        return Ok(0);
    }
    let mut meter = Meter::new(emitter, Stage::Rebuilding, stale.len() as u64);
    let mut done = 0;
    for batch in stale.chunks(BATCH_DOCUMENTS) {
        if emitter.is_cancelled() {
            break;
        }
        write_batch(shared, batch.to_vec()).await?;
        done += batch.len();
        meter.at(done as u64, stale.len() as u64);
    }
    shared
        .index_is_current
        .store(done == stale.len(), Ordering::Release);
    Ok(done)
}

/// Chunks the documents and writes them in one commit.
///
/// The caller holds the index writer's lock.
///
/// # Errors
/// As for [`catch_up`].
pub async fn write_batch(shared: &Arc<Shared>, batch: Vec<DocumentEntry>) -> Result<(), Failure> {
    let sources = shared.with_workspace(move |workspace| {
        batch
            .iter()
            .map(|entry| Ok(chunked(entry, &workspace.text(entry.id)?)))
            .collect::<Result<Vec<_>, Failure>>()
    });
    let sources = sources.await?;
    shared
        .index
        .replace_sources(&sources)
        .await
        .map_err(Failure::from)
}

/// Cuts a document's text into what the index stores.
#[must_use]
pub fn chunked(entry: &DocumentEntry, text: &str) -> SourceChunks {
    let input = ChunkInput {
        title: &entry.title,
        kind: chunk_kind(entry),
        text,
        paged: entry.paged,
    };
    SourceChunks {
        source: source_of(entry),
        version: entry.version.clone(),
        title: entry.title.clone(),
        path: entry.path.clone().unwrap_or_default(),
        chunks: chunk::chunks(&input),
    }
}

/// Sees to it that every passage has an embedding. Returns how many have got one, here or from another laptop.
///
/// Does nothing where no embedder is installed. Stops between two requests when cancelled; what was
/// embedded stays.
///
/// # Errors
/// When the embedder's worker or the index fails.
pub async fn embed_pending(shared: &Arc<Shared>, emitter: &Emitter) -> Result<usize, Failure> {
    // What another laptop has embedded needs no embedder here that runs.
    shared.models.announce_embedder(&shared.index).await?;
    let adopted = shared_embeddings::adopt(shared, emitter).await?;
    let done = embed_here(shared, emitter).await?;
    shared_embeddings::offer(shared).await?;
    Ok(adopted + done)
}

async fn embed_here(shared: &Arc<Shared>, emitter: &Emitter) -> Result<usize, Failure> {
    let Some(embedder) = shared.models.embedder(&shared.index).await? else {
        return Ok(0);
    };
    let instructions = Instructions::of(&embedder.model);
    let stats = shared.index.stats().await.map_err(Failure::from)?;
    let total = stats.distinct_chunks.saturating_sub(stats.embedded);
    if total == 0 {
        return Ok(0);
    }
    let _writer = shared.index_writer.lock().await;
    let mut meter = Meter::new(emitter, Stage::Embedding, total as u64);
    let mut done = 0;
    'pages: loop {
        let page = shared
            .index
            .pending_embeddings(EMBED_PAGE)
            .await
            .map_err(Failure::from)?;
        if page.is_empty() {
            break;
        }
        let mut rows = Vec::with_capacity(page.len());
        for batch in page.chunks(EMBED_BATCH) {
            if emitter.is_cancelled() {
                shared
                    .index
                    .insert_embeddings(rows)
                    .await
                    .map_err(Failure::from)?;
                break 'pages;
            }
            let texts = batch
                .iter()
                .map(|pending| instructions.passage(&pending.text));
            let embedding = embedder.engine.embed(texts.collect());
            let embeddings = embedding.await.map_err(failure::of_engine)?;
            rows.extend(
                batch
                    .iter()
                    .map(|pending| pending.hash)
                    .zip(embeddings.vectors),
            );
            done += batch.len();
            meter.at(done as u64, total.max(done) as u64);
        }
        shared
            .index
            .insert_embeddings(rows)
            .await
            .map_err(Failure::from)?;
    }
    Ok(done)
}

/// How much of the workspace a search can see at this moment.
///
/// # Errors
/// When the index cannot be read.
pub async fn coverage(shared: &Arc<Shared>) -> Result<Coverage, Failure> {
    let stats = shared.index.stats().await.map_err(Failure::from)?;
    let (documents, failed) = (
        shared.workspace.document_count(),
        shared.workspace.import_failures().len(),
    );
    Ok(Coverage {
        documents,
        indexed: stats.sources.min(documents),
        passages: stats.distinct_chunks,
        embedded: stats.embedded.min(stats.distinct_chunks),
        failed,
    })
}

/// The index's name of a document.
#[must_use]
pub fn source_of(entry: &DocumentEntry) -> SourceId {
    SourceId(*entry.id.as_bytes())
}

fn is_stale(indexed: &HashMap<SourceId, String>, entry: &DocumentEntry) -> bool {
    indexed.get(&source_of(entry)) != Some(&entry.version)
}

fn chunk_kind(entry: &DocumentEntry) -> chunk::TextKind {
    match entry.kind {
        satchel_sync::workspace::TextKind::Markdown => chunk::TextKind::Markdown,
        satchel_sync::workspace::TextKind::Plain => chunk::TextKind::Plain,
        satchel_sync::workspace::TextKind::Code => chunk::TextKind::Code,
    }
}
