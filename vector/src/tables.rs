//! The open tables and everything that changes them.
//!
//! One owner (`store`) calls this under its lock, one operation at a time. A change of rows is one
//! commit: new rows and deletions together, so that a crash leaves all of it or nothing. Upkeep (text
//! index, compaction, pruning) are commits of their own, which change no row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lance::Dataset;
use lance::dataset::transaction::{Operation, Transaction};
use lance::dataset::{CommitBuilder, InsertBuilder, WriteMode, WriteParams};
use lance::index::DatasetIndexExt;
use lance::session::Session;
use lance::table::format::IndexMetadata;
use lancedb::index::Index;
use lancedb::table::{CompactionOptions, Duration, OptimizeAction, OptimizeOptions};
use lancedb::{Connection, ObjectStoreRegistry, Table};

use crate::error::Fault;
use crate::folder::Folder;
use crate::key::EmbedderKey;
use crate::lexical::text_index;
use crate::schema::{
    chunk_column, chunk_schema, chunk_table, embedding_schema, embedding_table, is_outdated_table,
};

/// Bytes of opened indices that Lance may keep. Its default is 6 GiB. The text index of 20,000 chunks
/// takes about 40 MiB; 128 MiB leave room for a collection some times larger.
const INDEX_CACHE_BYTES: usize = 128 << 20;

/// Bytes of manifests and file footers that Lance may keep. Its default is 1 GiB; ours are small.
const METADATA_CACHE_BYTES: usize = 32 << 20;

/// Name of the full-text index.
const TEXT_INDEX: &str = "search_text";

/// Rows outside the text index, above which it is brought up to date. Every text search reads them and
/// takes them apart: 20 of them cost it 4 ms, bringing them in costs a commit of some 50 ms.
const MAX_UNINDEXED_ROWS: usize = 32;

/// Rows of a fragment that is not rewritten any more. Smaller ones are put together: reading costs a
/// file each, and rewriting everything each time would make a long import quadratic.
const FULL_FRAGMENT_ROWS: usize = 16_384;

/// Fragments that are not full (one per commit), above which a table is compacted.
const MAX_SMALL_FRAGMENTS: usize = 32;

/// How long files of older versions are kept while the store is open, for searches that still read them.
const KEEP_OLD_VERSIONS_S: i64 = 60;

/// The tables in use.
pub(crate) struct Tables {
    folder: Folder,
    connection: Connection,
    chunks: Table,
    embeddings: Option<(EmbedderKey, Table)>,
}

/// Rows to delete, as offsets by fragment.
type Deletions = BTreeMap<u64, Vec<u32>>;

impl Tables {
    /// Opens or creates the tables in a folder; returns whether the folder is new.
    pub(crate) async fn open(folder: Folder, created: bool) -> Result<(Self, bool), Fault> {
        let session = Session::new(
            INDEX_CACHE_BYTES,
            METADATA_CACHE_BYTES,
            Arc::new(ObjectStoreRegistry::default()),
        );
        let connection = lancedb::connect(folder.uri()?)
            .session(Arc::new(session))
            .execute()
            .await?;
        if !created {
            drop_outdated(&connection).await?;
        }
        let chunks = open_table(&folder, &connection, &chunk_table(), chunk_schema()).await?;
        Ok((
            Self {
                folder,
                connection,
                chunks,
                embeddings: None,
            },
            created,
        ))
    }

    /// Selects an embedder's table, creating it if it is new.
    pub(crate) async fn use_embedder(&mut self, key: Option<EmbedderKey>) -> Result<(), Fault> {
        self.embeddings = match key {
            None => None,
            Some(key) => {
                let schema = embedding_schema(key.dim);
                let table = open_table(
                    &self.folder,
                    &self.connection,
                    &embedding_table(&key),
                    schema,
                )
                .await?;
                Some((key, table))
            }
        };
        Ok(())
    }

    /// The embedder in use.
    pub(crate) fn embedder(&self) -> Option<&EmbedderKey> {
        self.embeddings.as_ref().map(|(key, _)| key)
    }

    /// The newest version of the chunks.
    pub(crate) async fn chunk_dataset(&self) -> Result<Arc<Dataset>, Fault> {
        dataset(&self.chunks).await
    }

    /// The newest version of the embeddings in use.
    pub(crate) async fn embedding_dataset(
        &self,
    ) -> Result<Option<(EmbedderKey, Arc<Dataset>)>, Fault> {
        match &self.embeddings {
            None => Ok(None),
            Some((key, table)) => Ok(Some((key.clone(), dataset(table).await?))),
        }
    }

    /// Adds and deletes chunks in one commit.
    pub(crate) async fn change_chunks(
        &mut self,
        new: Option<RecordBatch>,
        deleted: impl Iterator<Item = u64>,
    ) -> Result<(), Fault> {
        self.folder.check_present()?;
        commit_rows(&self.chunks, new, by_fragment(deleted)).await
    }

    /// Adds and deletes embeddings in one commit.
    pub(crate) async fn change_embeddings(
        &mut self,
        new: Option<RecordBatch>,
        deleted: impl Iterator<Item = u64>,
    ) -> Result<(), Fault> {
        self.folder.check_present()?;
        match &self.embeddings {
            None => Ok(()),
            Some((_, table)) => commit_rows(table, new, by_fragment(deleted)).await,
        }
    }

    /// What is due after a change: text index, compaction. Costs nothing most of the time.
    pub(crate) async fn tidy(&mut self) -> Result<(), Fault> {
        index_text(&self.chunks, MAX_UNINDEXED_ROWS).await?;
        for table in self.all() {
            if dataset(table)
                .await?
                .num_small_files(FULL_FRAGMENT_ROWS)
                .await
                > MAX_SMALL_FRAGMENTS
            {
                compact(table).await?;
                prune(table, KEEP_OLD_VERSIONS_S).await?;
            }
        }
        Ok(())
    }

    /// Brings everything into its best shape. `keep_old_s`: how long old versions may be in use still.
    pub(crate) async fn optimize(&mut self, keep_old_s: Option<i64>) -> Result<(), Fault> {
        index_text(&self.chunks, 0).await?;
        for table in self.all() {
            compact(table).await?;
            prune(table, keep_old_s.unwrap_or(KEEP_OLD_VERSIONS_S)).await?;
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = &Table> {
        [&self.chunks]
            .into_iter()
            .chain(self.embeddings.iter().map(|(_, table)| table))
    }
}

/// Removes tables of other versions of the chunker: nothing reads them any more.
async fn drop_outdated(connection: &Connection) -> Result<(), Fault> {
    for name in connection.table_names().execute().await? {
        if is_outdated_table(&name) {
            connection.drop_table(&name, &[]).await?;
        }
    }
    Ok(())
}

async fn open_table(
    folder: &Folder,
    connection: &Connection,
    name: &str,
    schema: SchemaRef,
) -> Result<Table, Fault> {
    if !folder.has_table(name) {
        return connection
            .create_empty_table(name, schema)
            .execute()
            .await
            .map_err(Fault::of_write);
    }
    let table = connection.open_table(name).execute().await?;
    let dataset = dataset(&table).await?;
    let found = arrow_schema::Schema::from(dataset.schema());
    if found.fields() != schema.fields() {
        return Err(Fault::damage("a table of the index has other columns"));
    }
    folder.check_files(name, &dataset).await?;
    Ok(table)
}

async fn dataset(table: &Table) -> Result<Arc<Dataset>, Fault> {
    let wrapper = table
        .dataset()
        .ok_or_else(|| Fault::damage("the index is not a local one"))?;
    Ok(wrapper.get().await?)
}

fn by_fragment(addresses: impl Iterator<Item = u64>) -> Deletions {
    let mut deletions = Deletions::new();
    for address in addresses {
        // The lower half is the offset: the cut is meant.
        deletions
            .entry(address >> 32)
            .or_default()
            .push(address as u32);
    }
    deletions
}

/// Adds and deletes rows of a table in one commit.
///
/// LanceDB's own ways are two commits (delete, add) or a join with the whole table (merge insert).
/// Since the addresses of the rows to delete are known, neither is needed.
async fn commit_rows(
    table: &Table,
    new: Option<RecordBatch>,
    deletions: Deletions,
) -> Result<(), Fault> {
    let before = dataset(table).await?;
    let mut new_fragments = Vec::new();
    if let Some(batch) = new.filter(|batch| batch.num_rows() > 0) {
        let params = WriteParams {
            mode: WriteMode::Append,
            ..WriteParams::default()
        };
        let written = InsertBuilder::new(before.clone())
            .with_params(&params)
            .execute_uncommitted(vec![batch])
            .await
            .map_err(Fault::of_write)?;
        if let Operation::Append { fragments } = written.operation {
            new_fragments = fragments;
        }
    }
    let (mut updated_fragments, mut removed_fragment_ids) = (Vec::new(), Vec::new());
    for (id, offsets) in deletions {
        let fragment = usize::try_from(id)
            .ok()
            .and_then(|id| before.get_fragment(id));
        let fragment = fragment.ok_or_else(|| Fault::damage("a fragment is missing"))?;
        match fragment
            .extend_deletions(offsets)
            .await
            .map_err(Fault::of_write)?
        {
            Some(rest) => updated_fragments.push(rest.metadata().clone()),
            None => removed_fragment_ids.push(id),
        }
    }
    let operation = match (
        new_fragments.is_empty(),
        updated_fragments.is_empty() && removed_fragment_ids.is_empty(),
    ) {
        (true, true) => return Ok(()),
        (false, true) => Operation::Append {
            fragments: new_fragments,
        },
        _ => Operation::Update {
            removed_fragment_ids,
            updated_fragments,
            new_fragments,
            fields_modified: Vec::new(),
            compacted_sstables: Vec::new(),
            fields_for_preserving_frag_bitmap: Vec::new(),
            update_mode: None,
            inserted_rows_filter: None,
            updated_fragment_offsets: None,
        },
    };
    let transaction = Transaction::new(before.version().version, operation, None);
    let after = CommitBuilder::new(before)
        .execute(transaction)
        .await
        .map_err(Fault::of_write)?;
    publish(table, after)
}

/// Tells LanceDB's handle about a version that was committed beside it.
fn publish(table: &Table, dataset: Dataset) -> Result<(), Fault> {
    let wrapper = table
        .dataset()
        .ok_or_else(|| Fault::damage("the index is not a local one"))?;
    wrapper.update(dataset);
    Ok(())
}

/// Creates the text index, or brings it up to date where more than `max_unindexed` rows are outside.
///
/// Never on an empty table: an index trained on nothing ranks wrongly.
async fn index_text(table: &Table, max_unindexed: usize) -> Result<(), Fault> {
    let dataset = dataset(table).await?;
    if dataset.count_fragments() == 0 {
        return Ok(());
    }
    let segments = dataset.load_indices_by_name(TEXT_INDEX).await?;
    if segments.is_empty() {
        let index = Index::FTS(text_index());
        let build = table
            .create_index(&[chunk_column::SEARCH_TEXT], index)
            .name(TEXT_INDEX.to_owned());
        return build.execute().await.map_err(Fault::of_write);
    }
    let in_segment = |segment: &IndexMetadata, id: u64| {
        let ids = segment.fragment_bitmap.as_ref();
        ids.is_some_and(|ids| u32::try_from(id).is_ok_and(|id| ids.contains(id)))
    };
    let rows_where = |wanted: &dyn Fn(u64) -> bool| -> usize {
        let fragments = dataset
            .iter_fragments()
            .filter(|fragment| wanted(fragment.id));
        fragments
            .map(|fragment| fragment.num_rows().unwrap_or(0))
            .sum()
    };
    let unindexed = rows_where(&|id| !segments.iter().any(|segment| in_segment(segment, id)));
    let n_merged = if max_unindexed == 0 {
        segments.len()
    } else {
        let rows: Vec<usize> = segments
            .iter()
            .map(|segment| rows_where(&|id| in_segment(segment, id)))
            .collect();
        segments_to_merge(&rows, unindexed)
    };
    let in_order = unindexed == 0 && segments.len() == 1;
    if in_order || (unindexed <= max_unindexed && max_unindexed > 0) {
        return Ok(());
    }
    let options = match n_merged {
        0 => OptimizeOptions::append(),
        n => OptimizeOptions::merge(n),
    };
    table
        .optimize(OptimizeAction::Index(options))
        .await
        .map_err(Fault::of_write)?;
    Ok(())
}

/// How many of the newest segments of the text index are merged with new rows: those that are not
/// much larger than what they are merged with.
///
/// So a row is rewritten about log₂ times in all, and a search asks about log₂ segments.
fn segments_to_merge(rows_of_segments: &[usize], new_rows: usize) -> usize {
    let mut merged = new_rows;
    let newest_first = rows_of_segments.iter().rev();
    newest_first
        .take_while(|rows| {
            let small = **rows <= 2 * merged;
            merged += **rows;
            small
        })
        .count()
}

/// Writes the fragments of a table into few, without their deleted rows.
async fn compact(table: &Table) -> Result<(), Fault> {
    let options = CompactionOptions {
        target_rows_per_fragment: FULL_FRAGMENT_ROWS,
        ..CompactionOptions::default()
    };
    let action = OptimizeAction::Compact {
        options,
        remap_options: None,
    };
    table.optimize(action).await.map_err(Fault::of_write)?;
    Ok(())
}

/// Removes files that only older versions use. Nobody else writes here, so leftovers of crashes go too.
async fn prune(table: &Table, keep_s: i64) -> Result<(), Fault> {
    let action = OptimizeAction::Prune {
        older_than: Some(Duration::seconds(keep_s)),
        delete_unverified: Some(true),
        error_if_tagged_old_versions: None,
    };
    table.optimize(action).await.map_err(Fault::of_write)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::segments_to_merge;

    #[test]
    fn segments_stay_few_and_rows_are_seldom_rewritten() {
        let (mut segments, mut rewritten, mut most) = (Vec::<usize>::new(), 0, 0);
        for _ in 0..200 {
            let new_rows = 1_000;
            let n = segments_to_merge(&segments, new_rows);
            let merged: usize = segments.drain(segments.len() - n..).sum();
            rewritten += merged;
            segments.push(merged + new_rows);
            most = most.max(segments.len());
        }
        assert_eq!(segments.iter().sum::<usize>(), 200_000);
        assert!(most <= 6, "{most} segments");
        assert!(rewritten <= 8 * 200_000, "{rewritten} rows rewritten");
        assert_eq!(
            segments_to_merge(&[100_000], 65),
            0,
            "a small edit leaves the large ones alone"
        );
    }
}
