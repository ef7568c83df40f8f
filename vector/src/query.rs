//! Searching a snapshot: full text and vectors side by side, fused, and read from disk at the end.
//!
//! Changes nothing. Start at [`search`]. Three reads of the disk at most: the text index, the exact
//! vectors of the candidates, the text of the hits.

use std::collections::{HashMap, HashSet};

use arrow_array::types::{Float32Type, UInt64Type};
use lance::dataset::scanner::{RowAddrMask, RowAddrTreeMap};
use lance::dataset::{ProjectionRequest, ROW_ID};
use lancedb::index::scalar::{FtsQuery, FullTextSearchQuery};

use crate::directory::Directory;
use crate::embeddings::Embeddings;
use crate::error::Fault;
use crate::key::SourceId;
use crate::lexical::Terms;
use crate::rank::fuse;
use crate::resident::{dot, quantize, scan};
use crate::schema::{ChunkColumns, HIT_COLUMNS, StoredChunk, numbers};
use crate::snapshot::{ChunkView, Join, Snapshot};

/// Column of the full-text score.
const SCORE: &str = "_score";

/// Least number of candidates of each kind before fusion. Fusing short lists loses what only one of
/// them ranks low; 100 is what the recall of hybrid search is usually measured at.
const MIN_CANDIDATES: usize = 100;

/// Candidates per hit asked for.
const CANDIDATES_PER_HIT: usize = 4;

/// Largest number of hits given, whatever is asked for: a hit holds its text.
const MAX_LIMIT: usize = 1_000;

/// Which kinds of search take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Full text and vectors, fused.
    #[default]
    Hybrid,
    /// Full text alone.
    Lexical,
    /// Vectors alone.
    Vector,
}

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// What the user typed. Anything goes; text in quotation marks has to occur as it stands.
    pub text: String,
    /// Embedding of the question by the embedder in use, of any length but zero. Without it only
    /// full text is searched.
    pub embedding: Option<Vec<f32>>,
    /// Which kinds of search take part.
    pub mode: Mode,
    /// Most hits wanted, at most 1,000.
    pub limit: usize,
    /// Only these sources, if given.
    pub sources: Option<Vec<SourceId>>,
}

/// A chunk found.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hit {
    /// The source it belongs to.
    pub source: SourceId,
    /// Position among the source's chunks, from 0.
    pub chunk_index: u32,
    /// UTF-8 byte range in the source's text.
    pub range: std::ops::Range<usize>,
    /// Headings above it, outermost first.
    pub heading_path: Vec<String>,
    /// Page on which it begins, from 1, where the original has pages.
    pub page: Option<u32>,
    /// The source's text at `range`.
    pub text: String,
    /// Title of the source when it was indexed.
    pub title: String,
    /// Path of the source when it was indexed; empty if it has none.
    pub path: String,
    /// Fused score, larger is better: comparable within one result only.
    pub relevance_score: f32,
    /// Cosine with the question, −1 to 1, of every hit that has an embedding, if the question had one.
    pub cosine: Option<f32>,
    /// Full-text score, larger is better, if the full-text search found it.
    pub bm25: Option<f32>,
    /// Place in the full-text ranking, from 1, if among its candidates.
    pub lexical_rank: Option<u32>,
    /// Place in the vector ranking, from 1, if among its candidates.
    pub vector_rank: Option<u32>,
}

/// One kind of search's ranking: row numbers of the directory with their scores, best first.
type Ranking = Vec<(u32, f32)>;

/// Searches a snapshot. Hits come best first.
pub(crate) async fn search(snapshot: &Snapshot, query: &Query) -> Result<Vec<Hit>, Fault> {
    let limit = query.limit.min(MAX_LIMIT);
    if limit == 0 {
        return Ok(Vec::new());
    }
    let directory = snapshot.chunks.directory().await?;
    let only = query
        .sources
        .as_ref()
        .map(|sources| rows_of_sources(directory, sources));
    let n_candidates = (limit * CANDIDATES_PER_HIT).max(MIN_CANDIDATES);
    let direction = query
        .embedding
        .as_deref()
        .filter(|_| query.mode != Mode::Lexical)
        .and_then(unit);
    let lexical = async {
        if query.mode == Mode::Vector {
            Ok(Vec::new())
        } else {
            rank_by_text(
                &snapshot.chunks,
                directory,
                &query.text,
                only.as_ref(),
                n_candidates,
            )
            .await
        }
    };
    let vectors = async {
        match &direction {
            Some(direction) => {
                VectorSearch::start(snapshot, direction, only.as_ref(), n_candidates).await
            }
            None => Ok(None),
        }
    };
    let (by_text, vectors) = futures::try_join!(lexical, vectors)?;
    let (by_vector, cosines) = match vectors {
        Some(search) => search.finish(directory, &by_text, n_candidates).await?,
        None => (Vec::new(), HashMap::new()),
    };
    let found = Found::new(by_text, by_vector, cosines);
    read_hits(&snapshot.chunks, directory, &found, limit).await
}

fn rows_of_sources(directory: &Directory, sources: &[SourceId]) -> HashSet<u32> {
    sources
        .iter()
        .flat_map(|source| directory.rows_of(*source))
        .map(|(number, _)| number)
        .collect()
}

/// The vector scaled to length 1; `None` if it has no direction.
fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let length = dot(vector, vector).sqrt();
    (length.is_finite() && length > 0.0).then(|| vector.iter().map(|v| v / length).collect())
}

/// Ranks by full text. A question without words, or an index without rows, gives nothing.
async fn rank_by_text(
    chunks: &ChunkView,
    directory: &Directory,
    question: &str,
    only: Option<&HashSet<u32>>,
    limit: usize,
) -> Result<Ranking, Fault> {
    let terms = Terms::parse(question);
    let Some(query) = terms.query().filter(|_| !directory.rows.is_empty()) else {
        return Ok(Vec::new());
    };
    let mask = only.map(|rows| {
        let addresses = rows
            .iter()
            .map(|number| directory.rows[*number as usize].address);
        RowAddrMask::from_allowed(addresses.collect::<RowAddrTreeMap>())
    });
    let found = ask_text_index(chunks, directory, query, mask.clone(), limit).await?;
    match terms.query_without_phrases() {
        Some(query) if found.is_empty() => {
            ask_text_index(chunks, directory, query, mask, limit).await
        }
        _ => Ok(found),
    }
}

async fn ask_text_index(
    chunks: &ChunkView,
    directory: &Directory,
    query: FtsQuery,
    mask: Option<RowAddrMask>,
    limit: usize,
) -> Result<Ranking, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut scanner = chunks.dataset.scan();
    scanner
        .full_text_search(FullTextSearchQuery::new_query(query).limit(Some(limit)))?
        .project(&[SCORE])?
        .with_row_id()
        .limit(Some(limit), None)?;
    if let Some(mask) = mask {
        scanner.with_row_id_prefilter(mask).prefilter(true);
    }
    let batch = scanner.try_into_batch().await?;
    let (addresses, scores) = (
        numbers::<UInt64Type>(&batch, ROW_ID)?,
        numbers::<Float32Type>(&batch, SCORE)?,
    );
    let mut ranking: Ranking = addresses
        .values()
        .iter()
        .zip(scores.values())
        .filter_map(|(address, score)| Some((directory.row_at(*address)?, *score)))
        .collect();
    sort(&mut ranking);
    Ok(ranking)
}

/// Best score first; equal scores in the order of the index, so that results do not flicker.
fn sort(ranking: &mut Ranking) {
    ranking.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
}

/// A search by vectors between its scan and its exact scores.
struct VectorSearch<'a> {
    dataset: &'a std::sync::Arc<lance::Dataset>,
    embeddings: &'a Embeddings,
    join: &'a Join,
    direction: &'a [f32],
    slots: Vec<u32>,
    only: Option<&'a HashSet<u32>>,
}

impl<'a> VectorSearch<'a> {
    /// Scans the codes. `None` without an embedder, or where the embedding is not of its dimension.
    async fn start(
        snapshot: &'a Snapshot,
        direction: &'a [f32],
        only: Option<&'a HashSet<u32>>,
        limit: usize,
    ) -> Result<Option<Self>, Fault> {
        let Some((view, embeddings, join)) = snapshot.joined().await? else {
            return Ok(None);
        };
        if direction.len() != embeddings.dim {
            let expected = embeddings.dim;
            return Err(Fault::Refused(crate::StoreError::WrongDimension {
                expected,
                got: direction.len(),
            }));
        }
        let wanted = |slot| {
            let rows = join.rows_of_slot(slot);
            only.map_or(!rows.is_empty(), |only| {
                rows.iter().any(|row| only.contains(row))
            })
        };
        let found = scan(embeddings.codes(), &quantize(direction), limit, wanted);
        let slots = found.into_iter().map(|(slot, _)| slot).collect();
        Ok(Some(Self {
            dataset: &view.dataset,
            embeddings,
            join,
            direction,
            slots,
            only,
        }))
    }

    /// Scores the candidates exactly, and what the text search found with them.
    async fn finish(
        self,
        directory: &Directory,
        by_text: &Ranking,
        limit: usize,
    ) -> Result<(Ranking, HashMap<u32, f32>), Fault> {
        let mut slots = self.slots;
        let n_scanned = slots.len();
        let mut seen: HashSet<u32> = slots.iter().copied().collect();
        slots.extend(
            by_text
                .iter()
                .filter_map(|(row, _)| self.join.slot_of_row[*row as usize])
                .filter(|slot| seen.insert(*slot)),
        );
        let cosines = self
            .embeddings
            .cosines(self.dataset, &slots, self.direction)
            .await?;
        let mut ranking = Ranking::new();
        let mut of_rows = HashMap::new();
        for (i, (slot, cosine)) in slots.iter().zip(cosines).enumerate() {
            for row in self.join.rows_of_slot(*slot) {
                of_rows.insert(*row, cosine);
                if i < n_scanned && self.only.is_none_or(|only| only.contains(row)) {
                    ranking.push((*row, cosine));
                }
            }
        }
        // Equal texts in several sources: by source, so that the order does not depend on storage.
        ranking.sort_by(|a, b| {
            let key = |row: u32| {
                (
                    directory.rows[row as usize].source,
                    directory.rows[row as usize].chunk_index,
                )
            };
            b.1.total_cmp(&a.1).then_with(|| key(a.0).cmp(&key(b.0)))
        });
        ranking.truncate(limit);
        Ok((ranking, of_rows))
    }
}

/// Both rankings and what is known of their rows.
struct Found {
    by_text: HashMap<u32, (u32, f32)>,
    by_vector: HashMap<u32, u32>,
    cosines: HashMap<u32, f32>,
    fused: Vec<crate::rank::Fused<u32>>,
}

impl Found {
    fn new(by_text: Ranking, by_vector: Ranking, cosines: HashMap<u32, f32>) -> Self {
        let rows = |ranking: &Ranking| ranking.iter().map(|(row, _)| *row).collect::<Vec<_>>();
        let fused = fuse(&[rows(&by_text), rows(&by_vector)]);
        Self {
            by_text: (1..)
                .zip(by_text)
                .map(|(place, (row, score))| (row, (place, score)))
                .collect(),
            by_vector: (1..)
                .zip(by_vector)
                .map(|(place, (row, _))| (row, place))
                .collect(),
            cosines,
            fused,
        }
    }
}

/// Reads the text of the best rows.
async fn read_hits(
    chunks: &ChunkView,
    directory: &Directory,
    found: &Found,
    limit: usize,
) -> Result<Vec<Hit>, Fault> {
    let best = &found.fused[..found.fused.len().min(limit)];
    let rows: Vec<u32> = best.iter().map(|fused| fused.item).collect();
    read_columns(chunks, directory, &rows, |columns, i| {
        let fused = &best[i];
        let text = found.by_text.get(&fused.item);
        let chunk = columns.chunk(i)?;
        Ok(Hit {
            source: directory.rows[fused.item as usize].source,
            chunk_index: chunk.chunk_index,
            range: chunk.range,
            heading_path: chunk.heading_path,
            page: chunk.page,
            text: chunk.text,
            title: columns.title(i).to_owned(),
            path: columns.path(i).to_owned(),
            relevance_score: fused.relevance_score,
            cosine: found.cosines.get(&fused.item).copied(),
            bm25: text.map(|(_, score)| *score),
            lexical_rank: text.map(|(place, _)| *place),
            vector_rank: found.by_vector.get(&fused.item).copied(),
        })
    })
    .await
}

/// Reads the chunks of rows of the directory, in the order given.
#[allow(clippy::redundant_closure_for_method_calls)] // The method is not general enough over lifetimes.
pub(crate) async fn read_chunks(
    chunks: &ChunkView,
    directory: &Directory,
    rows: &[u32],
) -> Result<Vec<StoredChunk>, Fault> {
    read_columns(chunks, directory, rows, |columns, i| columns.chunk(i)).await
}

/// Reads the embedded texts of rows of the directory, in the order given.
pub(crate) async fn read_search_texts(
    chunks: &ChunkView,
    directory: &Directory,
    rows: &[u32],
) -> Result<Vec<String>, Fault> {
    read_columns(chunks, directory, rows, |columns, i| {
        Ok(columns.search_text(i).to_owned())
    })
    .await
}

async fn read_columns<T>(
    chunks: &ChunkView,
    directory: &Directory,
    rows: &[u32],
    read: impl Fn(&ChunkColumns<'_>, usize) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let addresses: Vec<u64> = rows
        .iter()
        .map(|row| directory.rows[*row as usize].address)
        .collect();
    let projection = ProjectionRequest::from_columns(HIT_COLUMNS, chunks.dataset.schema());
    let batch = chunks
        .dataset
        .take_builder(&addresses, projection)?
        .execute()
        .await?;
    if batch.num_rows() != rows.len() {
        return Err(Fault::damage("chunks are missing"));
    }
    let columns = ChunkColumns::new(&batch)?;
    (0..rows.len()).map(|i| read(&columns, i)).collect()
}
