//! The search index: chunks of sources, their embeddings, and searching them.
//!
//! A cache: everything here can be made again from the sources, and is, when it cannot be read. Never
//! computes an embedding, never knows what a source is. Start at [`VectorStore::open`].

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use futures::FutureExt;
use tokio::sync::{Mutex, MutexGuard};

use crate::chunk::Chunk;
use crate::error::{BoxError, Fault, StoreError};
use crate::folder::{Folder, bytes_below, set_aside};
use crate::key::{ChunkHash, EmbedderKey, SourceId};
use crate::query::{Hit, Query, read_chunks, read_search_texts, search};
use crate::resident::dot;
use crate::schema::{StoredChunk, chunk_batch, embedding_batch};
use crate::snapshot::{ChunkView, EmbeddingView, IndexStats, Snapshot};
use crate::tables::Tables;

/// Embeddings that no chunk uses any more, above which they are removed: a document that is edited
/// and edited back should find its embeddings again.
const MAX_UNUSED_EMBEDDINGS: usize = 2_000;

/// All chunks of one source.
#[derive(Clone, Debug)]
pub struct SourceChunks {
    /// The source.
    pub source: SourceId,
    /// Version of its text, opaque; comes back from [`VectorStore::source_versions`].
    pub version: String,
    /// Title shown with hits.
    pub title: String,
    /// Path shown with hits; empty if it has none.
    pub path: String,
    /// Its chunks, in order; empty for a source without text.
    pub chunks: Vec<Chunk>,
}

/// A text that waits for its embedding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingEmbedding {
    /// Names the text in [`VectorStore::insert_embeddings`].
    pub hash: ChunkHash,
    /// What is to be embedded: context, line break, text.
    pub text: String,
}

/// What opening an index found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The index is new and empty: all sources are to be given to it.
    pub created: bool,
    /// There was an index, or something else, that could not be used; why.
    pub damage: Option<String>,
    /// Where it lies now, if it could be kept.
    pub set_aside: Option<PathBuf>,
}

/// The search index in one folder.
///
/// All methods take `&self`: share it in an [`Arc`]. Searches never wait for writes; writes wait for
/// each other. Dropping a future leaves the index as before or after its operation.
///
/// # Errors
/// Every method can return [`StoreError::Damaged`]: then the index is empty and usable, and all
/// sources are to be given to it again. [`StoreError::Disk`] means that the system refuses.
pub struct VectorStore {
    dir: PathBuf,
    writer: Mutex<Option<Tables>>,
    snapshot: RwLock<Arc<Snapshot>>,
}

impl std::fmt::Debug for VectorStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorStore")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl VectorStore {
    /// Opens the index in a folder, creating it if need be.
    ///
    /// Reads no more than the tables' descriptions; what searches need resident is read by the first
    /// of them. What cannot be used as an index is moved to `<dir>.damaged-<n>` (one such folder is
    /// kept), and the report says so.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process has the index open, [`StoreError::Disk`].
    pub async fn open(dir: &Path) -> Result<(Self, OpenReport), StoreError> {
        let mut report = OpenReport::default();
        let opened = match guarded(open_tables(dir)).await {
            Err(Fault::Damage(error)) => {
                tracing::warn!(%error, "the search index cannot be used and is built anew");
                report.damage = Some(error.to_string());
                report.set_aside = set_aside(dir).map_err(|error| disk(dir, error.into()))?;
                guarded(open_tables(dir)).await
            }
            opened => opened,
        };
        let (tables, created) = opened.map_err(|fault| settle(dir, fault))?;
        report.created = created;
        let snapshot = take_snapshot(&tables, None)
            .await
            .map_err(|fault| settle(dir, fault))?;
        let store = Self {
            dir: dir.to_owned(),
            writer: Mutex::new(Some(tables)),
            snapshot: RwLock::new(Arc::new(snapshot)),
        };
        Ok((store, report))
    }

    /// Chooses the embedder whose vectors are searched and asked for; `None` for full text alone.
    ///
    /// Each embedder has a table of its own, which stays when another is chosen.
    ///
    /// # Errors
    /// [`StoreError::InvalidEmbedder`] if the key cannot name a table.
    pub async fn use_embedder(&self, key: Option<EmbedderKey>) -> Result<(), StoreError> {
        if let Some(EmbedderKey { id, dim }) = key.as_ref().filter(|key| !key.is_valid()) {
            return Err(StoreError::InvalidEmbedder {
                id: id.clone(),
                dim: *dim,
            });
        }
        let mut writer = self.writer.lock().await;
        let done = guarded(async {
            let tables = self.tables(&mut writer).await?;
            if tables.embedder() != key.as_ref() {
                tables.use_embedder(key).await?;
            }
            self.publish(tables).await
        });
        let done = done.await;
        self.after_write(&mut writer, done).await
    }

    /// Replaces all chunks of some sources, in one commit: after a crash either all of it is there or
    /// nothing. Embeddings of texts that did not change stay.
    ///
    /// Give many sources at once (some 64): a commit costs milliseconds, whatever it holds. Of a
    /// source given twice the last counts.
    pub async fn replace_sources(&self, sources: &[SourceChunks]) -> Result<(), StoreError> {
        let mut seen = HashSet::new();
        let mut sources: Vec<SourceChunks> = sources
            .iter()
            .rev()
            .filter(|source| seen.insert(source.source))
            .cloned()
            .collect();
        sources.reverse();
        self.change_sources(&sources, seen.into_iter().collect())
            .await
    }

    /// Removes sources with all their chunks. Unknown ones do no harm.
    pub async fn delete_sources(&self, sources: &[SourceId]) -> Result<(), StoreError> {
        self.change_sources(&[], sources.to_vec()).await
    }

    async fn change_sources(
        &self,
        new: &[SourceChunks],
        old: Vec<SourceId>,
    ) -> Result<(), StoreError> {
        if old.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock().await;
        let done = guarded(async {
            let tables = self.tables(&mut writer).await?;
            let snapshot = self.snapshot();
            let directory = snapshot.chunks.directory().await?;
            let batch = if new.is_empty() {
                None
            } else {
                Some(chunk_batch(new)?)
            };
            let deleted = old
                .iter()
                .flat_map(|source| directory.addresses_of(*source));
            tables.change_chunks(batch, deleted).await?;
            self.publish(tables).await?;
            self.tidy(tables).await
        });
        let done = done.await;
        self.after_write(&mut writer, done).await
    }

    /// Returns the version of each source in the index, as given to [`Self::replace_sources`].
    pub async fn source_versions(&self) -> Result<HashMap<SourceId, String>, StoreError> {
        let mut snapshot = self.snapshot();
        loop {
            let read = guarded(async {
                let sources = &snapshot.chunks.directory().await?.sources;
                Ok(sources
                    .iter()
                    .map(|(source, rows)| (*source, rows.version.clone()))
                    .collect())
            });
            let read = read.await;
            if let Some(versions) = self.after_read(&mut snapshot, read).await? {
                return Ok(versions);
            }
        }
    }

    /// Returns up to `limit` texts that have no embedding by the embedder in use, each text once,
    /// sorted by length, so that neighbours make good batches. Empty when all is done, or without an
    /// embedder.
    pub async fn pending_embeddings(
        &self,
        limit: usize,
    ) -> Result<Vec<PendingEmbedding>, StoreError> {
        let mut snapshot = self.snapshot();
        loop {
            let read = guarded(pending(&snapshot, limit)).await;
            if let Some(pending) = self.after_read(&mut snapshot, read).await? {
                return Ok(pending);
            }
        }
    }

    /// Returns the embeddings of some texts by the embedder in use, as far as there are any: each of length 1.
    pub async fn embeddings(
        &self,
        texts: &[ChunkHash],
    ) -> Result<HashMap<ChunkHash, Vec<f32>>, StoreError> {
        let mut snapshot = self.snapshot();
        loop {
            let read = guarded(stored_embeddings(&snapshot, texts)).await;
            if let Some(found) = self.after_read(&mut snapshot, read).await? {
                return Ok(found);
            }
        }
    }

    /// Stores embeddings of texts from [`Self::pending_embeddings`], in one commit. Each is scaled to
    /// length 1; what is stored already is skipped.
    ///
    /// # Errors
    /// [`StoreError::NoEmbedder`], [`StoreError::WrongDimension`] and [`StoreError::BadEmbedding`]:
    /// nothing was written.
    pub async fn insert_embeddings(
        &self,
        embeddings: Vec<(ChunkHash, Vec<f32>)>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let done = guarded(async {
            let tables = self.tables(&mut writer).await?;
            let snapshot = self.snapshot();
            let Some(view) = &snapshot.embeddings else {
                return Err(Fault::Refused(StoreError::NoEmbedder));
            };
            let resident = view.resident().await?;
            let mut new = normalized(embeddings, view.key.dim)?;
            let mut seen = HashSet::new();
            new.retain(|(hash, _)| resident.slot(*hash).is_none() && seen.insert(*hash));
            if new.is_empty() {
                return Ok(());
            }
            tables
                .change_embeddings(
                    Some(embedding_batch(view.key.dim, &new)?),
                    std::iter::empty(),
                )
                .await?;
            self.publish(tables).await?;
            self.tidy(tables).await
        });
        let done = done.await;
        self.after_write(&mut writer, done).await
    }

    /// Finds chunks, best first. Chunks without an embedding are found by their words.
    ///
    /// # Errors
    /// [`StoreError::WrongDimension`] if the question's embedding is not of the embedder in use.
    pub async fn search(&self, query: &Query) -> Result<Vec<Hit>, StoreError> {
        let mut snapshot = self.snapshot();
        loop {
            let read = guarded(search(&snapshot, query)).await;
            if let Some(hits) = self.after_read(&mut snapshot, read).await? {
                return Ok(hits);
            }
        }
    }

    /// Returns all chunks of a source in order; empty if it is unknown.
    pub async fn chunks_of(&self, source: SourceId) -> Result<Vec<StoredChunk>, StoreError> {
        let mut snapshot = self.snapshot();
        loop {
            let read = guarded(async {
                let directory = snapshot.chunks.directory().await?;
                let rows: Vec<u32> = directory
                    .rows_of(source)
                    .filter(|(_, row)| row.is_chunk())
                    .map(|(number, _)| number)
                    .collect();
                read_chunks(&snapshot.chunks, directory, &rows).await
            });
            let read = read.await;
            if let Some(chunks) = self.after_read(&mut snapshot, read).await? {
                return Ok(chunks);
            }
        }
    }

    /// Brings the index into its best shape: all text indexed, few files, nothing left over.
    ///
    /// Takes seconds for a large index; call it when an import has ended. Searches go on meanwhile.
    pub async fn optimize(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let done = guarded(async {
            let tables = self.tables(&mut writer).await?;
            self.remove_unused_embeddings(tables).await?;
            tables.optimize(None).await?;
            self.publish(tables).await
        });
        let done = done.await;
        self.after_write(&mut writer, done).await
    }

    /// Ends the use of the index: tidies up and releases the folder. Not calling it loses nothing.
    pub async fn close(self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        let Some(mut tables) = writer.take() else {
            return Ok(());
        };
        // No search can be running: this method owns the store.
        guarded(tables.optimize(Some(0)))
            .await
            .map_err(|fault| settle(&self.dir, fault))
    }

    /// Returns how much the index holds.
    pub async fn stats(&self) -> Result<IndexStats, StoreError> {
        let mut snapshot = self.snapshot();
        loop {
            let read = guarded(snapshot.stats()).await;
            if let Some(stats) = self.after_read(&mut snapshot, read).await? {
                return Ok(stats);
            }
        }
    }

    /// Bytes of the index's folder, older versions included until they are pruned. Looks at every file: not for
    /// each search.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        bytes_below(&self.dir)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes the newest versions visible to searches.
    async fn publish(&self, tables: &Tables) -> Result<(), Fault> {
        let before = self.snapshot();
        let snapshot = Arc::new(take_snapshot(tables, Some(&before)).await?);
        *self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }

    /// Upkeep after a change. What was written is written: a failure here is only worth a line, unless
    /// the index turns out to be damaged.
    async fn tidy(&self, tables: &mut Tables) -> Result<(), Fault> {
        match tables.tidy().await {
            Err(Fault::Trouble(error)) => {
                tracing::warn!(%error, "upkeep of the search index failed");
                Ok(())
            }
            Err(fault) => Err(fault),
            Ok(()) => self.publish(tables).await,
        }
    }

    async fn remove_unused_embeddings(&self, tables: &mut Tables) -> Result<(), Fault> {
        let snapshot = self.snapshot();
        let Some((_, embeddings, join)) = snapshot.joined().await? else {
            return Ok(());
        };
        let slots = 0..u32::try_from(embeddings.len()).unwrap_or(u32::MAX);
        let unused: Vec<u64> = slots
            .filter(|slot| join.rows_of_slot(*slot).is_empty())
            .map(|slot| embeddings.address(slot))
            .collect();
        if unused.len() <= MAX_UNUSED_EMBEDDINGS {
            return Ok(());
        }
        tables.change_embeddings(None, unused.into_iter()).await?;
        self.publish(tables).await
    }

    /// The tables, opened again if a repair could not finish.
    async fn tables<'a>(
        &self,
        writer: &'a mut MutexGuard<'_, Option<Tables>>,
    ) -> Result<&'a mut Tables, Fault> {
        if writer.is_none() {
            let (mut tables, _) = open_tables(&self.dir).await?;
            tables
                .use_embedder(
                    self.snapshot()
                        .embeddings
                        .as_ref()
                        .map(|view| view.key.clone()),
                )
                .await?;
            self.publish(&tables).await?;
            **writer = Some(tables);
        }
        writer
            .as_mut()
            .ok_or_else(|| Fault::damage("the index is closed"))
    }

    async fn after_write(
        &self,
        writer: &mut MutexGuard<'_, Option<Tables>>,
        done: Result<(), Fault>,
    ) -> Result<(), StoreError> {
        match done {
            Err(Fault::Damage(error)) => Err(self.repair(writer, error).await),
            done => done.map_err(|fault| settle(&self.dir, fault)),
        }
    }

    /// Decides what follows from a read: its result, another try with a newer snapshot (`None`), or
    /// a repair.
    async fn after_read<T>(
        &self,
        used: &mut Arc<Snapshot>,
        read: Result<T, Fault>,
    ) -> Result<Option<T>, StoreError> {
        let error = match read {
            Ok(value) => return Ok(Some(value)),
            Err(Fault::Damage(error)) => error,
            Err(fault) => return Err(settle(&self.dir, fault)),
        };
        let mut writer = self.writer.lock().await;
        let newest = self.snapshot();
        if !Arc::ptr_eq(used, &newest) {
            *used = newest;
            return Ok(None);
        }
        Err(self.repair(&mut writer, error).await)
    }

    /// Sets the index aside and begins an empty one with the same embedder.
    async fn repair(
        &self,
        writer: &mut MutexGuard<'_, Option<Tables>>,
        source: BoxError,
    ) -> StoreError {
        tracing::warn!(error = %source, "the search index is damaged and is built anew");
        let embedder = writer
            .as_ref()
            .and_then(|tables| tables.embedder().cloned());
        // Closed first: some systems do not rename a folder with open files.
        **writer = None;
        let set_aside = match set_aside(&self.dir) {
            Ok(set_aside) => set_aside,
            Err(error) => return disk(&self.dir, error.into()),
        };
        let reopened = guarded(async {
            let (mut tables, _) = open_tables(&self.dir).await?;
            tables.use_embedder(embedder).await?;
            let snapshot = Arc::new(take_snapshot(&tables, None).await?);
            *self
                .snapshot
                .write()
                .unwrap_or_else(PoisonError::into_inner) = snapshot;
            **writer = Some(tables);
            Ok(())
        });
        match reopened.await {
            Ok(()) => StoreError::Damaged { set_aside, source },
            Err(fault) => settle(&self.dir, fault),
        }
    }
}

async fn open_tables(dir: &Path) -> Result<(Tables, bool), Fault> {
    let (folder, created) = Folder::open(dir)?;
    Tables::open(folder, created).await
}

/// Views of the newest versions; what did not change is taken over from `before`.
async fn take_snapshot(tables: &Tables, before: Option<&Snapshot>) -> Result<Snapshot, Fault> {
    let dataset = tables.chunk_dataset().await?;
    let chunks = match before.map(|snapshot| &snapshot.chunks) {
        Some(view) if view.dataset.version_id() == dataset.version_id() => view.clone(),
        view => Arc::new(ChunkView::new(dataset, view.map(AsRef::as_ref))),
    };
    let embeddings = tables.embedding_dataset().await?.map(|(key, dataset)| {
        match before.and_then(|snapshot| snapshot.embeddings.as_ref()) {
            Some(view) if view.key == key && view.dataset.version_id() == dataset.version_id() => {
                view.clone()
            }
            view => Arc::new(EmbeddingView::new(key, dataset, view.map(AsRef::as_ref))),
        }
    });
    Ok(Snapshot::new(chunks, embeddings))
}

async fn pending(snapshot: &Snapshot, limit: usize) -> Result<Vec<PendingEmbedding>, Fault> {
    let Some((_, _, join)) = snapshot.joined().await? else {
        return Ok(Vec::new());
    };
    let directory = snapshot.chunks.directory().await?;
    let mut seen = HashSet::new();
    let rows: Vec<u32> = (0..)
        .zip(&directory.rows)
        .zip(&join.slot_of_row)
        .filter(|((_, row), slot)| slot.is_none() && row.is_chunk() && seen.insert(row.hash))
        .map(|((number, _), _)| number)
        .take(limit)
        .collect();
    let texts = read_search_texts(&snapshot.chunks, directory, &rows).await?;
    let mut pending: Vec<PendingEmbedding> = rows
        .iter()
        .zip(texts)
        .map(|(row, text)| PendingEmbedding {
            hash: directory.rows[*row as usize].hash,
            text,
        })
        .collect();
    pending.sort_by_key(|pending| pending.text.len());
    Ok(pending)
}

async fn stored_embeddings(
    snapshot: &Snapshot,
    texts: &[ChunkHash],
) -> Result<HashMap<ChunkHash, Vec<f32>>, Fault> {
    let Some(view) = &snapshot.embeddings else {
        return Ok(HashMap::new());
    };
    let resident = view.resident().await?;
    let (mut hashes, mut slots) = (Vec::new(), Vec::new());
    for hash in texts {
        if let Some(slot) = resident.slot(*hash) {
            hashes.push(*hash);
            slots.push(slot);
        }
    }
    let vectors = resident.vectors(&view.dataset, &slots).await?;
    let vectors = vectors.chunks_exact(view.key.dim).map(<[f32]>::to_vec);
    Ok(hashes.into_iter().zip(vectors).collect())
}

/// Checks embeddings and scales each to length 1.
fn normalized(
    mut embeddings: Vec<(ChunkHash, Vec<f32>)>,
    expected: usize,
) -> Result<Vec<(ChunkHash, Vec<f32>)>, Fault> {
    for (_, vector) in &mut embeddings {
        if vector.len() != expected {
            return Err(Fault::Refused(StoreError::WrongDimension {
                expected,
                got: vector.len(),
            }));
        }
        let length = dot(vector, vector).sqrt();
        if !length.is_finite() || length == 0.0 {
            return Err(Fault::Refused(StoreError::BadEmbedding));
        }
        vector.iter_mut().for_each(|v| *v /= length);
    }
    Ok(embeddings)
}

/// Turns a panic of a library on damaged data into damage.
async fn guarded<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            Err(Fault::damage(
                "reading the index failed in a way that was not foreseen",
            ))
        })
}

fn settle(dir: &Path, fault: Fault) -> StoreError {
    match fault {
        Fault::Refused(error) => error,
        Fault::Damage(source) | Fault::Trouble(source) => disk(dir, source),
    }
}

fn disk(dir: &Path, source: BoxError) -> StoreError {
    StoreError::Disk {
        dir: dir.to_owned(),
        source,
    }
}
