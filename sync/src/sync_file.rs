//! The rows of the sync in one redb file, each sealed under a key of the workspace.
//!
//! A thief of the disk sees how many rows of which kind there are, and ids of documents and fragments; never a
//! key, a name or a word. Blocking; a commit waits for the disk. Start at [`SyncFile::open`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::engine::{Key, Row, StoreError, SyncStore, Table};
use crate::seal::{Aad, FileKind};
use crate::workspace::Workspace;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Layout of the rows. A file with a higher one is refused.
const FORMAT: u64 = 1;
/// redb's own default is 1 GiB; the rows are few.
const CACHE_BYTES: usize = 4 << 20;
const HEADER: &[u8; 64] = b"SATCHSYN rows of the sync, format 1, sealed by workspace......./";

/// The file `sync.redb` of a workspace.
pub struct SyncFile {
    database: Database,
    workspace: Arc<Workspace>,
    path: PathBuf,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot read or write what syncing remembers (is the disk full?): {path}")]
    Redb { source: redb::Error, path: PathBuf },
    #[error(
        "what syncing remembers is damaged ({path}); pair this laptop anew, nothing else is lost"
    )]
    Damaged { path: PathBuf },
    #[error("a newer Satchel wrote {path} (format {found}); update Satchel")]
    Newer { found: u64, path: PathBuf },
}

impl SyncFile {
    /// Whether a workspace is shared.
    pub(crate) fn exists(workspace: &Workspace) -> bool {
        path_of(workspace.dir()).exists()
    }

    /// Opens the file, making it where there is none.
    pub(crate) fn open(workspace: Arc<Workspace>) -> Result<Self, StoreError> {
        let path = path_of(workspace.dir());
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|error| failed(error.into(), &path))?;
        let file = Self {
            database,
            workspace,
            path,
        };
        match file.format().map_err(|error| failed(error, &file.path))? {
            FORMAT => Ok(file),
            found => Err(StoreError(Box::new(FileError::Newer {
                found,
                path: file.path.clone(),
            }))),
        }
    }

    fn format(&self) -> Result<u64, redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        let found = {
            let mut meta = write.open_table(META)?;
            let found = meta.get("format")?.map(|value| value.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            found
        };
        write.open_table(ROWS)?;
        write.commit()?;
        Ok(found.unwrap_or(FORMAT))
    }

    fn rows(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, redb::Error> {
        let read = self.database.begin_read()?;
        let table = read.open_table(ROWS)?;
        let rows = table.iter()?.map(|row| {
            let (key, value) = row?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        });
        rows.collect()
    }

    fn write(&self, rows: &[Row]) -> Result<(), redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        {
            let mut table = write.open_table(ROWS)?;
            for (key, value) in rows {
                let name = name_of(key);
                match value {
                    Some(value) => table.insert(&name[..], &self.seal(&name, value)[..])?,
                    None => table.remove(&name[..])?,
                };
            }
        }
        write.commit()?;
        Ok(())
    }

    fn seal(&self, name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        let file = *blake3::hash(name).as_bytes();
        let sealer = self.workspace.keys().sealer(FileKind::Sync);
        sealer.seal(&aad(&file, value.len()), value, &mut sealed);
        sealed
    }

    fn open_row(&self, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let file = *blake3::hash(name).as_bytes();
        let len = sealed.len().checked_sub(crate::seal::SEAL_OVERHEAD_BYTES)?;
        let sealer = self.workspace.keys().sealer(FileKind::Sync);
        sealer.open(&aad(&file, len), sealed).ok()
    }
}

impl SyncStore for SyncFile {
    fn load(&mut self) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        let rows = self.rows().map_err(|error| failed(error, &self.path))?;
        let damaged = || {
            StoreError(Box::new(FileError::Damaged {
                path: self.path.clone(),
            }))
        };
        rows.into_iter()
            .map(|(name, sealed)| {
                let (table, id) = name.split_first().ok_or_else(damaged)?;
                let table = Table::from_number(*table).ok_or_else(damaged)?;
                let value = self.open_row(&name, &sealed).ok_or_else(damaged)?;
                Ok((Key::new(table, id), value))
            })
            .collect()
    }

    fn commit(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.write(&rows).map_err(|error| failed(error, &self.path))
    }
}

fn path_of(dir: &Path) -> PathBuf {
    dir.join(crate::workspace::SYNC_FILE)
}

fn name_of(key: &Key) -> Vec<u8> {
    [&[key.table as u8], &key.id[..]].concat()
}

fn aad(file: &[u8; 32], plaintext_bytes: usize) -> Aad<'_> {
    Aad {
        header: HEADER,
        file,
        offset_bytes: 0,
        plaintext_bytes: plaintext_bytes as u32,
    }
}

fn failed(source: redb::Error, path: &Path) -> StoreError {
    StoreError(Box::new(FileError::Redb {
        source,
        path: path.to_owned(),
    }))
}
