//! Keeps mailboxes in one redb file, and fragments too long for it in content-addressed files.
//!
//! Blocking, no network, no decisions about protocol versions or rates. Never opens a fragment. What
//! [`Store::commit`] has returned is on disk. Every write transaction uses quick repair: it implies
//! redb's two-phase commit (its default commit is documented as unsafe where others choose the bytes)
//! and makes a restart after a crash instant. Start at [`Store::open`].
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | number; `format` = 2, `clock` = newest time seen (ms) |
//! | `heads` | mailbox | [`Head`]: ends, chain, keys, times |
//! | `past_readers` | mailbox, cap_epoch | reader key that may still read the control log |
//! | `log` | mailbox, offset | [`rows::EntryRow`]: chain, id, length, state, bytes where they are short |
//! | `ids` | mailbox, fragment id | offset of the newest copy |
//! | `blobs` | mailbox, fragment id | [`rows::BlobRow`] |
//! | `ctl` | mailbox, index | time 8 ‖ record length 4 ‖ record ‖ previous epoch |
//! | `superseded` | time, mailbox, offset | – : what gc deletes from the log |
//! | `forgotten` | time, mailbox, fragment id | – : what gc deletes from the blobs |
//! | `files` | fragment id | how many rows name the file `blobs/xx/<id>` |

mod blobs;
mod commit;
mod control;
mod error;
mod files;
mod gc;
mod head;
mod lifecycle;
mod read;
mod report;
mod rows;
mod tables;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable};
use satchel_protocol::id::MailboxId;

use crate::config::Config;

pub(crate) use commit::opened;
pub(crate) use commit::{Change, Control, Done, Write};
pub(crate) use error::Fault;
pub use error::StoreError;
use files::Files;
pub use gc::GcReport;
pub(crate) use head::{Grant, Head, Level};
pub(crate) use read::{Bounds, Refusable};
pub use report::{AuditReport, StatsReport};
use tables::Tables;

/// Name of the store's file in the data folder.
pub(crate) const STORE_FILE: &str = "store.redb";

/// What a fragment costs beside its own bytes: keys and values of its rows are 24+83 and 48+8 bytes,
/// the rest is a share of the pages. Counted so that tiny fragments cannot outgrow a quota.
pub(crate) const ROW_BYTES: u64 = 192;

/// redb's page cache. Its own default is 1 GiB; a node is meant to run in 2 GB of memory, and the
/// operating system caches the file as well.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// 1 was protocol version 0, which had no keys; its mailboxes belong to nobody and cannot be taken over.
const FORMAT: u64 = 2;

/// The open store. One process at a time: redb locks the file.
pub(crate) struct Store {
    database: Database,
    path: PathBuf,
    files: Files,
    rules: Rules,
    /// Newest time seen: stamps never go back.
    clock_ms: AtomicU64,
    /// Held from the first file of a transaction until files nobody names are removed behind it.
    writing: Mutex<()>,
}

/// What the store is told about limits and times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) quota_bytes: u64,
    pub(crate) grace_ms: u64,
    pub(crate) unopened_ms: u64,
}

impl Rules {
    pub(crate) fn of(config: &Config) -> Self {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        Self {
            quota_bytes: config.limits.mailbox_quota_bytes,
            grace_ms: u64::from(config.keep.grace_days) * DAY_MS,
            unopened_ms: u64::from(config.keep.unopened_days) * DAY_MS,
        }
    }
}

impl Store {
    /// Opens or creates the store of this data folder.
    pub(crate) fn open(dir: &Path, rules: Rules) -> Result<Self, StoreError> {
        let path = dir.join(STORE_FILE);
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|error| StoreError::open(error, &path))?;
        let store = Self::new(database, path, Files::in_folder(dir), rules)?;
        crate::identity::sync_parent(&store.path)
            .map_err(|error| StoreError::at(Fault::Io(error), &store.path))?;
        Ok(store)
    }

    /// A store without a disk, which ends with the value.
    pub(crate) fn in_memory(rules: Rules) -> Result<Self, StoreError> {
        let path = PathBuf::from("(memory)");
        let database = Database::builder()
            .create_with_backend(InMemoryBackend::new())
            .map_err(|error| StoreError::open(error, &path))?;
        Self::new(database, path, Files::none(), rules)
    }

    fn new(
        database: Database,
        path: PathBuf,
        files: Files,
        rules: Rules,
    ) -> Result<Self, StoreError> {
        let store = Self {
            database,
            path,
            files,
            rules,
            clock_ms: AtomicU64::new(0),
            writing: Mutex::new(()),
        };
        let found = store
            .read_or_write_format()
            .map_err(|fault| store.at(fault))?;
        if found != FORMAT {
            let path = store.path;
            return Err(if found < FORMAT {
                StoreError::OldFormat { found, path }
            } else {
                StoreError::Format { found, path }
            });
        }
        Ok(store)
    }

    /// Folder in which the store lies; none for one in memory.
    pub(crate) fn dir(&self) -> Option<&Path> {
        self.files.dir()
    }

    pub(crate) fn rules(&self) -> Rules {
        self.rules
    }

    /// Where this mailbox stands, if it exists.
    pub(crate) fn head(&self, mailbox: MailboxId) -> Result<Option<Head>, StoreError> {
        let find = || {
            let read = self.database.begin_read()?;
            let row = read.open_table(tables::HEADS)?.get(mailbox.0)?;
            row.map(|row| Head::decode(row.value())).transpose()
        };
        find().map_err(|fault| self.at(fault))
    }

    /// The reader key of capabilities that are past.
    pub(crate) fn past_reader(
        &self,
        mailbox: MailboxId,
        cap_epoch: u32,
    ) -> Result<Option<[u8; 32]>, StoreError> {
        let find = || -> Result<_, Fault> {
            let read = self.database.begin_read()?;
            let row = read
                .open_table(tables::PAST_READERS)?
                .get((mailbox.0, cap_epoch))?;
            Ok(row.map(|row| row.value()))
        };
        find().map_err(|fault| self.at(fault))
    }

    /// A time for a stamp: never before an earlier one, also where the clock was set back.
    fn stamp_ms(&self, now_ms: u64) -> u64 {
        self.clock_ms
            .fetch_max(now_ms, Ordering::Relaxed)
            .max(now_ms)
    }

    fn at(&self, fault: Fault) -> StoreError {
        StoreError::at(fault, &self.path)
    }

    fn read_or_write_format(&self) -> Result<u64, Fault> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        let (found, clock_ms) = {
            let mut meta = write.open_table(tables::META)?;
            let found = meta.get("format")?.map(|value| value.value());
            if found.is_none() {
                meta.insert("format", FORMAT)?;
            }
            (found, meta.get("clock")?.map_or(0, |value| value.value()))
        };
        self.clock_ms.store(clock_ms, Ordering::Relaxed);
        match found {
            Some(format) => {
                write.abort()?;
                Ok(format)
            }
            None => {
                drop(Tables::open(&write)?);
                write.commit()?;
                Ok(FORMAT)
            }
        }
    }
}
