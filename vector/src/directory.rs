//! Which chunks the index holds: source, hash and row address of each, in memory.
//!
//! Read from the table without any text, so that a program start stays fast; page by page, so that
//! after a commit only what changed is read again. A page is what one fragment of the table holds.
//! 44 bytes per chunk: 200,000 chunks take 9 MB.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::{UInt32Type, UInt64Type};
use futures::TryStreamExt;
use lance::Dataset;
use lance::dataset::ROW_ID;

use crate::error::Fault;
use crate::key::{ChunkHash, SourceId};
use crate::schema::{NO_CHUNK, chunk_column, id, ids, numbers, strings};

/// One chunk's row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkRow {
    pub(crate) hash: ChunkHash,
    pub(crate) source: SourceId,
    /// Row address in the table: fragment in the upper half, offset in it in the lower.
    pub(crate) address: u64,
    /// Position among the source's chunks, or [`NO_CHUNK`].
    pub(crate) chunk_index: u32,
}

impl ChunkRow {
    /// Whether the row is a chunk, and not the mark of a source without any.
    pub(crate) fn is_chunk(&self) -> bool {
        self.chunk_index != NO_CHUNK
    }
}

/// Identity of a fragment's content: its number and its deletions' file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageKey {
    fragment: u64,
    deletions: Option<(u64, u64)>,
}

impl PageKey {
    /// The keys of all fragments, in the table's order.
    pub(crate) fn all(dataset: &Dataset) -> Vec<Self> {
        dataset
            .iter_fragments()
            .map(|fragment| Self {
                fragment: fragment.id,
                deletions: fragment
                    .deletion_file
                    .as_ref()
                    .map(|file| (file.read_version, file.id)),
            })
            .collect()
    }

    /// Number of the fragment.
    pub(crate) fn fragment(self) -> u64 {
        self.fragment
    }
}

/// The chunks of one fragment.
#[derive(Debug)]
pub(crate) struct Page {
    key: PageKey,
    rows: Vec<ChunkRow>,
    versions: Vec<(SourceId, String)>,
}

/// A source in the index.
#[derive(Debug)]
pub(crate) struct SourceRows {
    pub(crate) version: String,
    /// Numbers of its rows in [`Directory::rows`], by chunk index.
    pub(crate) rows: Vec<u32>,
}

/// All chunks of one version of the table.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) pages: Vec<Arc<Page>>,
    pub(crate) rows: Vec<ChunkRow>,
    pub(crate) sources: HashMap<SourceId, SourceRows>,
    by_address: HashMap<u64, u32>,
}

impl Directory {
    /// Reads the directory of a table, taking pages that did not change from `known`.
    pub(crate) async fn load(dataset: &Dataset, known: &[Arc<Page>]) -> Result<Self, Fault> {
        let keys = PageKey::all(dataset);
        let mut pages: HashMap<u64, Arc<Page>> = known
            .iter()
            .filter(|page| keys.contains(&page.key))
            .map(|page| (page.key.fragment, page.clone()))
            .collect();
        let missing: Vec<PageKey> = keys
            .iter()
            .filter(|key| !pages.contains_key(&key.fragment))
            .copied()
            .collect();
        for page in read_pages(dataset, &missing).await? {
            pages.insert(page.key.fragment, Arc::new(page));
        }
        Ok(Self::assemble(
            keys.iter()
                .filter_map(|key| pages.remove(&key.fragment))
                .collect(),
        ))
    }

    fn assemble(pages: Vec<Arc<Page>>) -> Self {
        let n_rows = pages.iter().map(|page| page.rows.len()).sum();
        let mut directory = Self {
            rows: Vec::with_capacity(n_rows),
            by_address: HashMap::with_capacity(n_rows),
            ..Self::default()
        };
        for page in &pages {
            for (source, version) in &page.versions {
                directory
                    .sources
                    .entry(*source)
                    .or_insert_with(|| SourceRows {
                        version: version.clone(),
                        rows: Vec::new(),
                    });
            }
            for row in &page.rows {
                let number = u32::try_from(directory.rows.len()).unwrap_or(u32::MAX);
                if let Some(source) = directory.sources.get_mut(&row.source) {
                    source.rows.push(number);
                }
                directory.by_address.insert(row.address, number);
                directory.rows.push(*row);
            }
        }
        for source in directory.sources.values_mut() {
            source
                .rows
                .sort_by_key(|number| directory.rows[*number as usize].chunk_index);
        }
        directory.pages = pages;
        directory
    }

    /// Row addresses of everything a source has in the table.
    pub(crate) fn addresses_of(&self, source: SourceId) -> impl Iterator<Item = u64> + '_ {
        self.rows_of(source).map(|(_, row)| row.address)
    }

    /// Numbers and rows of a source, by chunk index.
    pub(crate) fn rows_of(&self, source: SourceId) -> impl Iterator<Item = (u32, &ChunkRow)> + '_ {
        let numbers = self
            .sources
            .get(&source)
            .map_or(&[][..], |source| &source.rows);
        numbers
            .iter()
            .map(|number| (*number, &self.rows[*number as usize]))
    }

    /// Number of the row at an address.
    pub(crate) fn row_at(&self, address: u64) -> Option<u32> {
        self.by_address.get(&address).copied()
    }

    /// Number of chunks.
    pub(crate) fn n_chunks(&self) -> usize {
        self.rows.iter().filter(|row| row.is_chunk()).count()
    }
}

/// Reads the pages of some fragments in one pass over four small columns.
async fn read_pages(dataset: &Dataset, keys: &[PageKey]) -> Result<Vec<Page>, Fault> {
    use chunk_column::{CHUNK_INDEX, HASH, SOURCE, SOURCE_VERSION};
    let mut pages: Vec<Page> = keys
        .iter()
        .map(|key| Page {
            key: *key,
            rows: Vec::new(),
            versions: Vec::new(),
        })
        .collect();
    let places: HashMap<u64, usize> = keys
        .iter()
        .enumerate()
        .map(|(i, key)| (key.fragment, i))
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
        .project(&[SOURCE, SOURCE_VERSION, CHUNK_INDEX, HASH])?
        .with_row_id()
        .scan_in_order(true);
    let mut batches = scanner.try_into_stream().await?;
    while let Some(batch) = batches.try_next().await? {
        let (sources, versions, hashes) = (
            ids(&batch, SOURCE)?,
            strings(&batch, SOURCE_VERSION)?,
            ids(&batch, HASH)?,
        );
        let indexes = numbers::<UInt32Type>(&batch, CHUNK_INDEX)?;
        let addresses = numbers::<UInt64Type>(&batch, ROW_ID)?;
        for i in 0..batch.num_rows() {
            let address = addresses.value(i);
            let place = places.get(&(address >> 32));
            let page =
                &mut pages[*place.ok_or_else(|| Fault::damage("a row is of no known fragment"))?];
            let source = SourceId(id(sources, i));
            // The rows of a source lie together, so this keeps one version per source.
            if page.versions.last().is_none_or(|(last, _)| *last != source) {
                page.versions.push((source, versions.value(i).to_owned()));
            }
            page.rows.push(ChunkRow {
                hash: ChunkHash(id(hashes, i)),
                source,
                address,
                chunk_index: indexes.value(i),
            });
        }
    }
    Ok(pages)
}
