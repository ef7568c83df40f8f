//! Embeddings that one laptop has computed serve all laptops of a shared workspace.
//!
//! Per document, embedder and chunker one file beside the documents, which names each text by its hash: what does not
//! fit the texts that are here is passed over, and embedded here. Start at [`adopt`], [`offer`] and [`forget`].
//!
//! Layout, little-endian: the bytes `SEMB`, version 1 as `u16`, dimension as `u16`, number of texts as `u32`; then the
//! hashes of the texts, 16 bytes each; then the vectors, a `f32` per dimension.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use satchel_models::ModelKind;
use satchel_sync::workspace::DocumentEntry;
use satchel_vector::ChunkHash;
use satchel_vector::chunk::CHUNKER_VERSION;

use super::jobs::Emitter;
use super::{Shared, indexing, sync};
use crate::message::Failure;

const MAGIC: &[u8; 4] = b"SEMB";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 12;
/// How long embeddings that another laptop has computed are waited for, before they are computed here.
const WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether they have come.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The embedder in use, as far as embeddings can be exchanged.
struct Embedder {
    id: String,
    dim: usize,
}

/// Takes over what other laptops have embedded, for passages that have no embedding here. Returns how many.
///
/// Waits up to a minute for embeddings that are known to be on their way. Does nothing in a workspace of one laptop.
///
/// # Errors
/// When the index or the workspace cannot be read.
pub async fn adopt(shared: &Arc<Shared>, emitter: &Emitter) -> Result<usize, Failure> {
    let Some(embedder) = embedder_of(shared)? else {
        return Ok(0);
    };
    let until = Instant::now() + WAIT;
    let mut adopted = 0;
    loop {
        let Pending { count, on_the_way } = take_present(shared, &embedder).await?;
        adopted += count;
        let may_come = shared.sync.reports().borrow().can_receive();
        if !on_the_way || !may_come || Instant::now() >= until || emitter.is_cancelled() {
            return Ok(adopted);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// As [`adopt`], without waiting for anything.
///
/// # Errors
/// As for [`adopt`].
pub async fn adopt_present(shared: &Arc<Shared>) -> Result<usize, Failure> {
    match embedder_of(shared)? {
        Some(embedder) => Ok(take_present(shared, &embedder).await?.count),
        None => Ok(0),
    }
}

struct Pending {
    count: usize,
    on_the_way: bool,
}

async fn take_present(shared: &Arc<Shared>, embedder: &Embedder) -> Result<Pending, Failure> {
    let mut pending = Pending {
        count: 0,
        on_the_way: false,
    };
    for entry in shared.workspace.documents() {
        let key = key_of(&entry, embedder);
        if !shared.workspace.is_derived(&key) {
            continue;
        }
        let hashes = hashes_of(shared, entry).await?;
        let known = shared
            .index
            .embeddings(&hashes)
            .await
            .map_err(Failure::from)?;
        let wanted: Vec<ChunkHash> = hashes
            .into_iter()
            .filter(|hash| !known.contains_key(hash))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let bytes = shared
            .with_workspace(move |workspace| workspace.derived(&key))
            .await;
        let bytes = match bytes {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                pending.on_the_way = true;
                continue;
            }
            Err(failure) => {
                tracing::warn!(%failure, "embeddings of another laptop are passed over");
                continue;
            }
        };
        let Some(rows) = decode(&bytes, embedder.dim) else {
            tracing::warn!("embeddings of another laptop are malformed and passed over");
            continue;
        };
        let rows: Vec<(ChunkHash, Vec<f32>)> = rows
            .into_iter()
            .filter(|(hash, _)| wanted.contains(hash))
            .collect();
        pending.count += rows.len();
        let _writer = shared.index_writer.lock().await;
        // One that is no direction, and no other, makes it refuse them all.
        if let Err(error) = shared.index.insert_embeddings(rows).await {
            tracing::warn!(%error, "embeddings of another laptop are passed over");
            pending.count = 0;
        }
    }
    Ok(pending)
}

/// Keeps the embeddings of documents that are wholly embedded for the other laptops. A reader keeps its own to itself.
///
/// # Errors
/// When the index cannot be read, or the disk refuses.
pub async fn offer(shared: &Arc<Shared>) -> Result<(), Failure> {
    if sync::is_reader(shared) {
        return Ok(());
    }
    let Some(embedder) = embedder_of(shared)? else {
        return Ok(());
    };
    for entry in shared.workspace.documents() {
        let key = key_of(&entry, &embedder);
        if shared.workspace.is_derived(&key) {
            continue;
        }
        let hashes = hashes_of(shared, entry).await?;
        let known = shared
            .index
            .embeddings(&hashes)
            .await
            .map_err(Failure::from)?;
        let rows: Option<Vec<(ChunkHash, &Vec<f32>)>> = hashes
            .iter()
            .map(|hash| Some((*hash, known.get(hash)?)))
            .collect();
        let Some(rows) = rows.filter(|rows| !rows.is_empty()) else {
            continue;
        };
        let bytes = encode(&rows, embedder.dim);
        shared
            .with_workspace(move |workspace| workspace.put_derived(&key, &bytes))
            .await?;
    }
    Ok(())
}

/// Forgets the embeddings of texts that are no document's any more, on all laptops: they tell much of what a text says.
///
/// For whoever replaced or removed a text here. A laptop to which that is news does not, or each would write the same.
///
/// # Errors
/// When the disk refuses.
pub async fn forget(shared: &Arc<Shared>) -> Result<(), Failure> {
    shared
        .with_workspace(|workspace| {
            let documents = workspace.documents();
            let versions: HashSet<&str> = documents.iter().map(|entry| &*entry.version).collect();
            let is_needed = |key: &str| {
                let version = key.split('/').next();
                version.is_some_and(|version| versions.contains(version))
            };
            workspace.forget_derived(is_needed)
        })
        .await
}

fn embedder_of(shared: &Shared) -> Result<Option<Embedder>, Failure> {
    if shared.workspace.device().is_none() {
        return Ok(None);
    }
    let model = shared.models.chosen(ModelKind::Embedder)?;
    let Some(model) = model else {
        return Ok(None);
    };
    let Some(dim) = model.embedding_dim else {
        return Ok(None);
    };
    let id = shared.models.embedding().embedding_id(&model)?;
    Ok(Some(Embedder { id, dim }))
}

/// Title and pages of a document decide about its passages like its text does, so they are a part of the key.
fn key_of(entry: &DocumentEntry, embedder: &Embedder) -> String {
    let title = blake3::hash(entry.title.as_bytes()).to_hex();
    format!(
        "{}/{}/{CHUNKER_VERSION}-{}-{}",
        entry.version,
        embedder.id,
        u8::from(entry.paged),
        &title[..8],
    )
}

async fn hashes_of(shared: &Arc<Shared>, entry: DocumentEntry) -> Result<Vec<ChunkHash>, Failure> {
    let reading = shared.with_workspace(move |workspace| {
        let chunks = indexing::chunked(&entry, &workspace.text(entry.id)?).chunks;
        let mut hashes: Vec<ChunkHash> = chunks
            .iter()
            .map(|chunk| ChunkHash::of(&chunk.embedded_text()))
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        Ok::<_, Failure>(hashes)
    });
    reading.await
}

fn encode(rows: &[(ChunkHash, &Vec<f32>)], dim: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + rows.len() * (16 + 4 * dim));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    // An embedder has at most 16,384 dimensions, and a document fewer than 2³² passages.
    bytes.extend_from_slice(&(dim as u16).to_le_bytes());
    bytes.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    for (hash, _) in rows {
        bytes.extend_from_slice(&hash.0);
    }
    for (_, vector) in rows {
        for number in *vector {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    bytes
}

/// `None` for anything but embeddings of this dimension.
fn decode(bytes: &[u8], dim: usize) -> Option<Vec<(ChunkHash, Vec<f32>)>> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let (magic, header) = header.split_at(4);
    let version = u16::from_le_bytes([header[0], header[1]]);
    let found_dim = usize::from(u16::from_le_bytes([header[2], header[3]]));
    let count = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let count = usize::try_from(count).ok()?;
    let expected = count.checked_mul(16 + 4 * dim)?;
    if magic != MAGIC
        || version != VERSION
        || found_dim != dim
        || dim == 0
        || rest.len() != expected
    {
        return None;
    }
    let (hashes, vectors) = rest.split_at(16 * count);
    let hashes = hashes
        .as_chunks::<16>()
        .0
        .iter()
        .map(|hash| ChunkHash(*hash));
    let vectors = vectors.chunks_exact(4 * dim).map(|vector| {
        let numbers = vector.as_chunks::<4>().0.iter();
        numbers
            .map(|number| f32::from_le_bytes(*number))
            .collect::<Vec<f32>>()
    });
    let is_direction = |vector: &Vec<f32>| {
        vector.iter().all(|number| number.is_finite()) && vector.iter().any(|number| *number != 0.0)
    };
    let rows: Vec<_> = hashes.zip(vectors).collect();
    rows.iter()
        .all(|(_, vector)| is_direction(vector))
        .then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_come_out_as_they_went_in() {
        let vectors = [vec![1.0, 0.0, 0.5], vec![0.0, -1.0, 0.25]];
        let hashes = [ChunkHash([1; 16]), ChunkHash([2; 16])];
        let rows: Vec<_> = hashes.iter().copied().zip(&vectors).collect();
        let bytes = encode(&rows, 3);
        let back = decode(&bytes, 3).unwrap();
        assert_eq!(
            back,
            hashes.into_iter().zip(vectors.clone()).collect::<Vec<_>>()
        );
        assert_eq!(bytes.len(), 12 + 2 * (16 + 12));
    }

    #[test]
    fn what_is_no_embedding_is_passed_over() {
        let vector = vec![1.0, 2.0];
        let good = encode(&[(ChunkHash([1; 16]), &vector)], 2);
        assert!(decode(&good, 3).is_none(), "of another embedder");
        for end in 0..good.len() {
            assert!(decode(&good[..end], 2).is_none());
        }
        let mut huge = good.clone();
        huge[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode(&huge, 2).is_none());
        for bad in [vec![f32::NAN, 1.0], vec![0.0, 0.0]] {
            assert!(decode(&encode(&[(ChunkHash([1; 16]), &bad)], 2), 2).is_none());
        }
    }
}
