//! The rows of the sync in one redb file, each sealed under a key of the workspace.
//!
//! A thief of the disk sees how many rows of which kind there are, and ids of documents and fragments; never a
//! key, a name or a word. Blocking; a commit waits for the disk. Start at [`SyncFile::open`].

use std::panic::{AssertUnwindSafe, catch_unwind};
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
/// Row of [`META`]: all rows together, see [`digest_of`]. Without it, rows that a bad disk forgot would be missed by
/// nobody, and a sequence number could be used twice.
const DIGEST: &str = "digest";
/// redb's own default is 1 GiB; the rows are few.
const CACHE_BYTES: usize = 4 << 20;
const HEADER: &[u8; 64] = b"SATCHSYN rows of the sync, format 1, sealed by workspace......./";

/// Rows as they lie in the file: names and sealed values.
type Sealed = Vec<(Vec<u8>, Vec<u8>)>;

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
        "what syncing remembers of this workspace is damaged, so it stands still; your documents are all on this laptop. Pair it anew: `satchel devices pair LINK` here, then remove its old entry on another laptop. Where there is no other one: `satchel sync leave`, then `satchel sync share LINK`. Damaged is {path}"
    )]
    Damaged { path: PathBuf },
    #[error("a newer Satchel wrote {path} (format {found}); update Satchel")]
    Newer { found: u64, path: PathBuf },
}

impl SyncFile {
    /// Whether there is one: of a workspace that is shared, or was about to be.
    pub(crate) fn exists(workspace: &Workspace) -> bool {
        path_of(workspace.dir()).exists()
    }

    /// Opens the file, making it where there is none.
    pub(crate) fn open(workspace: Arc<Workspace>) -> Result<Self, StoreError> {
        let path = path_of(workspace.dir());
        // An empty file is one that lost its content: redb would begin anew in it.
        if path.metadata().is_ok_and(|found| found.len() == 0) {
            return Err(damaged(&path));
        }
        let opened = guarded(&path, || {
            Database::builder()
                .set_cache_size(CACHE_BYTES)
                .create(&path)
                .map_err(redb::Error::from)
        });
        let file = Self {
            database: opened?,
            workspace,
            path: path.clone(),
        };
        match guarded(&path, || file.format())? {
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
            let rows = write.open_table(ROWS)?;
            if meta.get(DIGEST)?.is_none() {
                let mut digest = 0;
                for row in rows.iter()? {
                    let (name, sealed) = row?;
                    digest ^= digest_of(name.value(), sealed.value());
                }
                meta.insert(DIGEST, digest)?;
            }
            found
        };
        write.commit()?;
        Ok(found.unwrap_or(FORMAT))
    }

    /// All rows as they lie there, and what they must amount to.
    fn rows(&self) -> Result<(Sealed, u64), redb::Error> {
        let read = self.database.begin_read()?;
        let meta = read.open_table(META)?;
        let digest = meta.get(DIGEST)?.map_or(0, |value| value.value());
        let table = read.open_table(ROWS)?;
        let rows = table.iter()?.map(|row| {
            let (key, value) = row?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        });
        let rows: Result<Vec<_>, redb::Error> = rows.collect();
        Ok((rows?, digest))
    }

    fn write(&self, rows: &[Row]) -> Result<(), redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        {
            let mut table = write.open_table(ROWS)?;
            let mut meta = write.open_table(META)?;
            let mut digest = meta.get(DIGEST)?.map_or(0, |value| value.value());
            for (key, value) in rows {
                let name = name_of(key);
                let sealed = value.as_ref().map(|value| self.seal(&name, value));
                let before = match &sealed {
                    Some(sealed) => table.insert(&name[..], &sealed[..])?,
                    None => table.remove(&name[..])?,
                };
                digest ^= before.map_or(0, |before| digest_of(&name, before.value()));
                digest ^= sealed.map_or(0, |sealed| digest_of(&name, &sealed));
            }
            meta.insert(DIGEST, digest)?;
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
        let (rows, digest) = guarded(&self.path, || self.rows())?;
        let damaged = || damaged(&self.path);
        let found = rows
            .iter()
            .fold(0, |sum, (name, sealed)| sum ^ digest_of(name, sealed));
        if found != digest {
            return Err(damaged());
        }
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
        guarded(&self.path, || self.write(&rows))
    }
}

/// Whether an error says that the file is damaged, and not that the disk refuses for now.
pub(crate) fn is_damaged(error: &StoreError) -> bool {
    matches!(
        error.0.downcast_ref::<FileError>(),
        Some(FileError::Damaged { .. })
    )
}

/// Runs redb on a file that may hold any bytes: it takes some of them for its own mistakes, and panics.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if is_damage(&error) => Err(damaged(path)),
        Ok(Err(error)) => Err(failed(error, path)),
        Err(_) => Err(damaged(path)),
    }
}

fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. } => true,
        redb::Error::Io(error) => matches!(
            error.kind(),
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

/// What one row adds to the digest of all, by exclusive or: eight bytes of its hash.
fn digest_of(name: &[u8], sealed: &[u8]) -> u64 {
    let mut hash = blake3::Hasher::new();
    hash.update(&(name.len() as u64).to_le_bytes());
    hash.update(name).update(sealed);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

pub(crate) fn path_of(dir: &Path) -> PathBuf {
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

pub(crate) fn damaged(path: &Path) -> StoreError {
    StoreError(Box::new(FileError::Damaged {
        path: path.to_owned(),
    }))
}

fn failed(source: redb::Error, path: &Path) -> StoreError {
    StoreError(Box::new(FileError::Redb {
        source,
        path: path.to_owned(),
    }))
}
