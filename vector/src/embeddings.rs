//! The resident embeddings of one embedder: hashes and 8-bit codes in memory, exact vectors on disk.
//!
//! Read page by page like the directory of chunks: after a commit only the new fragments are read.
//! About 420 bytes per embedding of 384 numbers: 200,000 of them take 84 MB.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::{Float32Type, UInt64Type};
use futures::TryStreamExt;
use lance::Dataset;
use lance::dataset::{ProjectionRequest, ROW_ID};

use crate::directory::PageKey;
use crate::error::Fault;
use crate::key::ChunkHash;
use crate::resident::{Codes, dot};
use crate::schema::{codes, embedding_column, exact_vectors, id, ids, numbers};

/// The embeddings of one fragment.
#[derive(Debug)]
pub(crate) struct EmbeddingPage {
    key: PageKey,
    hashes: Vec<ChunkHash>,
    addresses: Vec<u64>,
    codes: Vec<i8>,
    scales: Vec<f32>,
}

/// All embeddings of one version of a table. Each has a number, its slot.
#[derive(Debug, Default)]
pub(crate) struct Embeddings {
    pub(crate) dim: usize,
    pub(crate) pages: Vec<Arc<EmbeddingPage>>,
    slots: HashMap<ChunkHash, u32>,
    /// Row address of each slot.
    addresses: Vec<u64>,
}

impl Embeddings {
    /// Reads the resident part of a table, taking pages that did not change from `known`.
    pub(crate) async fn load(
        dataset: &Dataset,
        dim: usize,
        known: &[Arc<EmbeddingPage>],
    ) -> Result<Self, Fault> {
        let keys = PageKey::all(dataset);
        let mut pages: HashMap<u64, Arc<EmbeddingPage>> = known
            .iter()
            .filter(|page| keys.contains(&page.key))
            .map(|page| (page.key.fragment(), page.clone()))
            .collect();
        let missing: Vec<PageKey> = keys
            .iter()
            .filter(|key| !pages.contains_key(&key.fragment()))
            .copied()
            .collect();
        for page in read_pages(dataset, dim, &missing).await? {
            pages.insert(page.key.fragment(), Arc::new(page));
        }
        Ok(Self::assemble(
            dim,
            keys.iter()
                .filter_map(|key| pages.remove(&key.fragment()))
                .collect(),
        ))
    }

    fn assemble(dim: usize, pages: Vec<Arc<EmbeddingPage>>) -> Self {
        let n = pages.iter().map(|page| page.hashes.len()).sum();
        let mut slots = HashMap::with_capacity(n);
        let mut addresses = Vec::with_capacity(n);
        for page in &pages {
            for (hash, address) in page.hashes.iter().zip(&page.addresses) {
                let slot = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
                slots.insert(*hash, slot);
                addresses.push(*address);
            }
        }
        Self {
            dim,
            pages,
            slots,
            addresses,
        }
    }

    /// Number of embeddings.
    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Slot of a text's embedding.
    pub(crate) fn slot(&self, hash: ChunkHash) -> Option<u32> {
        self.slots.get(&hash).copied()
    }

    /// Row address of a slot.
    pub(crate) fn address(&self, slot: u32) -> u64 {
        self.addresses[slot as usize]
    }

    /// The codes of all slots, in order.
    pub(crate) fn codes(&self) -> impl Iterator<Item = Codes<'_>> {
        let mut first = 0;
        self.pages.iter().map(move |page| {
            let codes = Codes {
                codes: &page.codes,
                scales: &page.scales,
                first,
            };
            first += u32::try_from(page.scales.len()).unwrap_or(u32::MAX);
            codes
        })
    }

    /// Returns the exact cosine of each slot with a query of length 1, in the order of `slots`.
    pub(crate) async fn cosines(
        &self,
        dataset: &Arc<Dataset>,
        slots: &[u32],
        query: &[f32],
    ) -> Result<Vec<f32>, Fault> {
        let vectors = self.vectors(dataset, slots).await?;
        Ok(vectors
            .chunks_exact(self.dim)
            .map(|vector| dot(vector, query).clamp(-1.0, 1.0))
            .collect())
    }

    /// Returns the stored vectors of some slots, one behind the other.
    pub(crate) async fn vectors(
        &self,
        dataset: &Arc<Dataset>,
        slots: &[u32],
    ) -> Result<Vec<f32>, Fault> {
        if slots.is_empty() {
            return Ok(Vec::new());
        }
        let addresses: Vec<u64> = slots.iter().map(|slot| self.address(*slot)).collect();
        let projection =
            ProjectionRequest::from_columns([embedding_column::VECTOR], dataset.schema());
        let batch = dataset
            .take_builder(&addresses, projection)?
            .execute()
            .await?;
        let vectors = exact_vectors(&batch, self.dim)?;
        if batch.num_rows() != slots.len() {
            return Err(Fault::damage("embeddings are missing"));
        }
        Ok(vectors.to_vec())
    }
}

/// Reads the pages of some fragments, without the exact vectors.
async fn read_pages(
    dataset: &Dataset,
    dim: usize,
    keys: &[PageKey],
) -> Result<Vec<EmbeddingPage>, Fault> {
    use embedding_column::{CODES, HASH, SCALE};
    let mut pages: Vec<EmbeddingPage> = keys
        .iter()
        .map(|key| EmbeddingPage {
            key: *key,
            hashes: Vec::new(),
            addresses: Vec::new(),
            codes: Vec::new(),
            scales: Vec::new(),
        })
        .collect();
    let places: HashMap<u64, usize> = keys
        .iter()
        .enumerate()
        .map(|(i, key)| (key.fragment(), i))
        .collect();
    if keys.is_empty() {
        return Ok(pages);
    }
    let fragments = dataset
        .iter_fragments()
        .filter(|f| places.contains_key(&f.id))
        .cloned()
        .collect();
    let mut scanner = dataset.scan();
    scanner
        .with_fragments(fragments)
        .project(&[HASH, CODES, SCALE])?
        .with_row_id()
        .scan_in_order(true);
    let mut batches = scanner.try_into_stream().await?;
    while let Some(batch) = batches.try_next().await? {
        let (hashes, scales) = (ids(&batch, HASH)?, numbers::<Float32Type>(&batch, SCALE)?);
        let addresses = numbers::<UInt64Type>(&batch, ROW_ID)?;
        let codes = codes(&batch, dim)?;
        for i in 0..batch.num_rows() {
            let address = addresses.value(i);
            let place = places.get(&(address >> 32));
            let page =
                &mut pages[*place.ok_or_else(|| Fault::damage("a row is of no known fragment"))?];
            page.hashes.push(ChunkHash(id(hashes, i)));
            page.addresses.push(address);
            page.codes.extend_from_slice(&codes[i * dim..(i + 1) * dim]);
            page.scales.push(scales.value(i));
        }
    }
    Ok(pages)
}
