//! One state of the index that a search works on from begin to end.
//!
//! Writers publish a new snapshot after each commit; searches that run keep the old one, so neither
//! waits for the other. What is resident is read on first use, never at open.

use std::collections::HashSet;
use std::sync::Arc;

use lance::Dataset;
use tokio::sync::OnceCell;

use crate::directory::{Directory, Page};
use crate::embeddings::{EmbeddingPage, Embeddings};
use crate::error::Fault;
use crate::key::{ChunkHash, EmbedderKey};

/// The chunks of one version.
pub(crate) struct ChunkView {
    pub(crate) dataset: Arc<Dataset>,
    known: Vec<Arc<Page>>,
    directory: OnceCell<Directory>,
}

impl ChunkView {
    /// A view of a version; `before` lends the pages that did not change.
    pub(crate) fn new(dataset: Arc<Dataset>, before: Option<&Self>) -> Self {
        let known = before.map_or(Vec::new(), |view| {
            view.directory
                .get()
                .map_or_else(|| view.known.clone(), |directory| directory.pages.clone())
        });
        Self {
            dataset,
            known,
            directory: OnceCell::new(),
        }
    }

    /// The directory, read on first use.
    pub(crate) async fn directory(&self) -> Result<&Directory, Fault> {
        self.directory
            .get_or_try_init(|| Directory::load(&self.dataset, &self.known))
            .await
    }
}

/// The embeddings of one version.
pub(crate) struct EmbeddingView {
    pub(crate) key: EmbedderKey,
    pub(crate) dataset: Arc<Dataset>,
    known: Vec<Arc<EmbeddingPage>>,
    resident: OnceCell<Embeddings>,
}

impl EmbeddingView {
    /// A view of a version; `before`, of the same table, lends the pages that did not change.
    pub(crate) fn new(key: EmbedderKey, dataset: Arc<Dataset>, before: Option<&Self>) -> Self {
        let before = before.filter(|view| view.key == key);
        let known = before.map_or(Vec::new(), |view| {
            view.resident
                .get()
                .map_or_else(|| view.known.clone(), |resident| resident.pages.clone())
        });
        Self {
            key,
            dataset,
            known,
            resident: OnceCell::new(),
        }
    }

    /// The resident part, read on first use.
    pub(crate) async fn resident(&self) -> Result<&Embeddings, Fault> {
        self.resident
            .get_or_try_init(|| Embeddings::load(&self.dataset, self.key.dim, &self.known))
            .await
    }
}

/// Which chunks have which embedding.
pub(crate) struct Join {
    /// Slot of each row of the directory.
    pub(crate) slot_of_row: Vec<Option<u32>>,
    /// Row numbers by slot: those of slot `s` are `rows[starts[s]..starts[s + 1]]`.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Join {
    fn new(directory: &Directory, embeddings: &Embeddings) -> Self {
        let slot_of_row: Vec<Option<u32>> = directory
            .rows
            .iter()
            .map(|row| row.is_chunk().then(|| embeddings.slot(row.hash)).flatten())
            .collect();
        let mut starts = vec![0; embeddings.len() + 1];
        for slot in slot_of_row.iter().flatten() {
            starts[*slot as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        let mut next = starts.clone();
        let mut rows = vec![0; starts.last().map_or(0, |n| *n as usize)];
        for (number, slot) in (0_u32..).zip(&slot_of_row) {
            if let Some(slot) = slot {
                let at = &mut next[*slot as usize];
                rows[*at as usize] = number;
                *at += 1;
            }
        }
        Self {
            slot_of_row,
            starts,
            rows,
        }
    }

    /// The chunks that a slot's embedding stands for: none for one that no source uses any more.
    pub(crate) fn rows_of_slot(&self, slot: u32) -> &[u32] {
        let slot = slot as usize;
        &self.rows[self.starts[slot] as usize..self.starts[slot + 1] as usize]
    }
}

/// How much the index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Sources, those without text too.
    pub sources: usize,
    /// Chunks of all sources.
    pub chunks: usize,
    /// Chunks with different embedded texts.
    pub distinct_chunks: usize,
    /// Of `distinct_chunks`, how many have an embedding by the embedder in use.
    pub embedded: usize,
}

/// A state of the index.
pub(crate) struct Snapshot {
    pub(crate) chunks: Arc<ChunkView>,
    pub(crate) embeddings: Option<Arc<EmbeddingView>>,
    join: OnceCell<Join>,
    /// Counted once: every search says how much it has searched.
    stats: OnceCell<IndexStats>,
}

impl Snapshot {
    pub(crate) fn new(chunks: Arc<ChunkView>, embeddings: Option<Arc<EmbeddingView>>) -> Self {
        Self {
            chunks,
            embeddings,
            join: OnceCell::new(),
            stats: OnceCell::new(),
        }
    }

    /// How much this state holds.
    pub(crate) async fn stats(&self) -> Result<IndexStats, Fault> {
        self.stats.get_or_try_init(|| self.count()).await.copied()
    }

    async fn count(&self) -> Result<IndexStats, Fault> {
        let directory = self.chunks.directory().await?;
        let distinct: HashSet<ChunkHash> = directory
            .rows
            .iter()
            .filter(|row| row.is_chunk())
            .map(|row| row.hash)
            .collect();
        let embedded = match self.joined().await? {
            Some((_, embeddings, _)) => distinct
                .iter()
                .filter(|hash| embeddings.slot(**hash).is_some())
                .count(),
            None => 0,
        };
        Ok(IndexStats {
            sources: directory.sources.len(),
            chunks: directory.n_chunks(),
            distinct_chunks: distinct.len(),
            embedded,
        })
    }

    /// Directory, resident embeddings and how they belong together; `None` without an embedder.
    pub(crate) async fn joined(
        &self,
    ) -> Result<Option<(&EmbeddingView, &Embeddings, &Join)>, Fault> {
        let Some(view) = &self.embeddings else {
            return Ok(None);
        };
        let (directory, embeddings) = futures::try_join!(self.chunks.directory(), view.resident())?;
        let join = self
            .join
            .get_or_init(|| async { Join::new(directory, embeddings) })
            .await;
        Ok(Some((view, embeddings, join)))
    }
}
