//! Keeps fragments in one redb file and gives them back by offset.
//!
//! Blocking, no network. Never opens a fragment. A write is durable when [`Store::append_batch`]
//! returns. Every write transaction uses quick repair: it implies redb's two-phase commit (its default
//! commit is documented as unsafe where others choose the bytes) and makes a restart after a crash
//! instant. Start at [`Store::open`].
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | number; `format` = 1 |
//! | `mailboxes` | mailbox (16) | next offset, used bytes, chain value (32) |
//! | `entries` | mailbox (16), offset | chain value after it (32) ‖ fragment |
//! | `fragment_ids` | mailbox (16), fragment id (32) | offset |

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{EncryptedFragment, FragmentError};
use satchel_protocol::id::{MailboxId, Offset};

/// Name of the store's file in the data folder.
pub(crate) const STORE_FILE: &str = "store.redb";

/// What a fragment costs beside its own bytes: keys and values of its rows are 16+8+32 and 16+32+8
/// bytes, the rest is a share of the pages. Counted so that tiny fragments cannot outgrow a quota.
pub(crate) const ROW_BYTES: u64 = 128;

/// redb's page cache. Its own default is 1 GiB; a node is meant to run in 2 GB of memory, and the
/// operating system caches the file as well.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

const FORMAT: u64 = 1;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const MAILBOXES: TableDefinition<'_, [u8; 16], (u64, u64, [u8; 32])> =
    TableDefinition::new("mailboxes");
const ENTRIES: TableDefinition<'_, ([u8; 16], u64), &[u8]> = TableDefinition::new("entries");
const FRAGMENT_IDS: TableDefinition<'_, ([u8; 16], [u8; 32]), u64> =
    TableDefinition::new("fragment_ids");

/// The open store. One process at a time: redb locks the file.
pub(crate) struct Store {
    database: Database,
    path: PathBuf,
    mailbox_quota_bytes: u64,
}

/// Where a mailbox's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    next: Offset,
    used_bytes: u64,
    chain: Chain,
}

impl Head {
    const EMPTY: Self = Self {
        next: Offset(0),
        used_bytes: 0,
        chain: Chain::START,
    };
}

/// A fragment with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) offset: Offset,
    pub(crate) chain: Chain,
    /// False when it was there before.
    pub(crate) is_new: bool,
}

/// Why one append of a batch was refused. The others are not affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendRefusal {
    /// The mailbox would hold more than its quota.
    Quota,
}

/// Part of a log.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) entries: Vec<(Offset, EncryptedFragment)>,
    pub(crate) next: Offset,
    pub(crate) log_end: Offset,
    /// The chain value before `next`.
    pub(crate) chain: Chain,
}

impl Store {
    /// Opens or creates the store of this data folder.
    pub(crate) fn open(dir: &Path, mailbox_quota_bytes: u64) -> Result<Self, StoreError> {
        let path = dir.join(STORE_FILE);
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&path)
            .map_err(|error| StoreError::open(error, &path))?;
        let store = Self {
            database,
            path,
            mailbox_quota_bytes,
        };
        store.check_format()?;
        crate::identity::sync_parent(&store.path)
            .map_err(|error| StoreError::storage(redb::StorageError::Io(error), &store.path))?;
        Ok(store)
    }

    /// Stores fragments in this order with one commit, which is on disk when this returns.
    ///
    /// Blocks for an fsync: call from `spawn_blocking`. One answer per append.
    ///
    /// # Errors
    /// [`StoreError`] when the commit failed: then none of the batch counts as stored.
    pub(crate) fn append_batch(
        &self,
        batch: &[(MailboxId, EncryptedFragment)],
    ) -> Result<Vec<Result<Placed, AppendRefusal>>, StoreError> {
        self.try_append_batch(batch)
            .map_err(|error| StoreError::storage(error, &self.path))
    }

    /// Reads from `from` on: at most `max_entries` entries and `max_bytes` bytes, but one entry if
    /// there is one.
    ///
    /// # Errors
    /// [`ReadRefusal::BehindEnd`], or [`ReadRefusal::Store`].
    pub(crate) fn read(
        &self,
        mailbox: MailboxId,
        from: Offset,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Page, ReadRefusal> {
        let head = self
            .head(mailbox)
            .map_err(|error| StoreError::storage(error, &self.path))?;
        if from > head.next {
            return Err(ReadRefusal::BehindEnd { log_end: head.next });
        }
        self.try_read(mailbox, from, head, max_entries, max_bytes)
            .map_err(|error| match error {
                PageError::Redb(error) => StoreError::storage(error, &self.path).into(),
                PageError::Row(source) => StoreError::Row {
                    source,
                    path: self.path.clone(),
                }
                .into(),
            })
    }

    /// Folder in which the store lies.
    pub(crate) fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let found = self
            .read_or_write_format()
            .map_err(|error| StoreError::storage(error, &self.path))?;
        if found == FORMAT {
            return Ok(());
        }
        Err(StoreError::Format {
            found,
            path: self.path.clone(),
        })
    }

    fn read_or_write_format(&self) -> Result<u64, redb::Error> {
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
        match found {
            Some(format) => {
                write.abort()?;
                Ok(format)
            }
            None => {
                write.open_table(MAILBOXES)?;
                write.open_table(ENTRIES)?;
                write.open_table(FRAGMENT_IDS)?;
                write.commit()?;
                Ok(FORMAT)
            }
        }
    }

    fn try_append_batch(
        &self,
        batch: &[(MailboxId, EncryptedFragment)],
    ) -> Result<Vec<Result<Placed, AppendRefusal>>, redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        let mut answers = Vec::with_capacity(batch.len());
        {
            let mut mailboxes = write.open_table(MAILBOXES)?;
            let mut entries = write.open_table(ENTRIES)?;
            let mut ids = write.open_table(FRAGMENT_IDS)?;
            for (mailbox, fragment) in batch {
                answers.push(self.append_one(
                    &mut mailboxes,
                    &mut entries,
                    &mut ids,
                    *mailbox,
                    fragment,
                )?);
            }
        }
        if answers.iter().flatten().any(|placed| placed.is_new) {
            write.commit()?;
        } else {
            write.abort()?;
        }
        Ok(answers)
    }

    fn append_one(
        &self,
        mailboxes: &mut redb::Table<'_, [u8; 16], (u64, u64, [u8; 32])>,
        entries: &mut redb::Table<'_, ([u8; 16], u64), &'static [u8]>,
        ids: &mut redb::Table<'_, ([u8; 16], [u8; 32]), u64>,
        mailbox: MailboxId,
        fragment: &EncryptedFragment,
    ) -> Result<Result<Placed, AppendRefusal>, redb::Error> {
        let id = fragment.id();
        let known = ids.get((mailbox.0, id.0))?.map(|offset| offset.value());
        if let Some(offset) = known
            // Were its row lost, storing it again heals the log.
            && let Some(row) = entries.get((mailbox.0, offset))?
            && let Some((chain, _)) = split_row(row.value())
        {
            return Ok(Ok(Placed {
                offset: Offset(offset),
                chain,
                is_new: false,
            }));
        }
        let head = mailboxes
            .get(mailbox.0)?
            .map_or(Head::EMPTY, |row| head_of(row.value()));
        let used_bytes = head
            .used_bytes
            .saturating_add(fragment.len_bytes() as u64 + ROW_BYTES);
        // No log reaches 2^64 entries before its quota; both ends say "full".
        let (true, Some(next)) = (used_bytes <= self.mailbox_quota_bytes, head.next.next()) else {
            return Ok(Err(AppendRefusal::Quota));
        };
        let chain = head.chain.after(head.next, fragment.len_bytes(), id);
        let row = [chain.0.as_slice(), fragment.as_bytes()].concat();
        entries.insert((mailbox.0, head.next.0), row.as_slice())?;
        ids.insert((mailbox.0, id.0), head.next.0)?;
        mailboxes.insert(mailbox.0, (next.0, used_bytes, chain.0))?;
        Ok(Ok(Placed {
            offset: head.next,
            chain,
            is_new: true,
        }))
    }

    fn head(&self, mailbox: MailboxId) -> Result<Head, redb::Error> {
        let read = self.database.begin_read()?;
        let mailboxes = read.open_table(MAILBOXES)?;
        Ok(mailboxes
            .get(mailbox.0)?
            .map_or(Head::EMPTY, |row| head_of(row.value())))
    }

    fn try_read(
        &self,
        mailbox: MailboxId,
        from: Offset,
        head: Head,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Page, PageError> {
        let read = self.database.begin_read().map_err(redb::Error::from)?;
        let rows = read.open_table(ENTRIES).map_err(redb::Error::from)?;
        let mut page = Page {
            entries: Vec::new(),
            next: from,
            log_end: head.next,
            chain: Chain::START,
        };
        let mut bytes = 0;
        // Up to the end seen with the head, so that `log_end` is true of this page also while
        // others append.
        for row in rows
            .range((mailbox.0, from.0)..(mailbox.0, head.next.0))
            .map_err(redb::Error::from)?
        {
            let (key, value) = row.map_err(redb::Error::from)?;
            let (_, offset) = key.value();
            let (chain, fragment) =
                split_row(value.value()).ok_or(FragmentError::Length { found_bytes: 0 })?;
            bytes += fragment.len();
            if page.entries.len() == max_entries || (bytes > max_bytes && !page.entries.is_empty())
            {
                break;
            }
            page.entries.push((
                Offset(offset),
                EncryptedFragment::from_bytes(fragment.to_vec())?,
            ));
            page.next = Offset(offset.saturating_add(1));
            page.chain = chain;
        }
        if page.entries.is_empty() && from > Offset(0) {
            let before = rows
                .get((mailbox.0, from.0 - 1))
                .map_err(redb::Error::from)?;
            let chain = before.as_ref().and_then(|row| split_row(row.value()));
            page.chain = chain.ok_or(FragmentError::Length { found_bytes: 0 })?.0;
        }
        Ok(page)
    }
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("another satchel-edge uses this data folder: stop it, or choose another with --data-dir: {}", path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// It cannot be opened.
    #[error("cannot open the store {}", path.display())]
    Open {
        /// Why.
        source: Box<redb::DatabaseError>,
        /// Which file.
        path: PathBuf,
    },
    /// A read or a commit failed. After a failed commit the node must be started again.
    #[error("cannot read or write the store (is the disk full or failing?) {}", path.display())]
    Storage {
        /// Why.
        source: Box<redb::Error>,
        /// Which file.
        path: PathBuf,
    },
    /// A stored row is not what was written.
    #[error("an entry of the store is damaged; its devices will upload what they miss: {}", path.display())]
    Row {
        /// What is wrong with it.
        source: FragmentError,
        /// Which file.
        path: PathBuf,
    },
    /// Written by a newer program.
    #[error("the store has format {found}, this program reads {FORMAT}: update satchel-edge: {}", path.display())]
    Format {
        /// Its format.
        found: u64,
        /// Which file.
        path: PathBuf,
    },
}

impl StoreError {
    fn open(error: redb::DatabaseError, path: &Path) -> Self {
        let path = path.to_owned();
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => Self::InUse { path },
            source => Self::Open {
                source: Box::new(source),
                path,
            },
        }
    }

    fn storage(error: impl Into<redb::Error>, path: &Path) -> Self {
        Self::Storage {
            source: Box::new(error.into()),
            path: path.to_owned(),
        }
    }
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadRefusal {
    #[error("the log ends at {log_end}")]
    BehindEnd { log_end: Offset },
    #[error(transparent)]
    Store(#[from] StoreError),
}

enum PageError {
    Redb(redb::Error),
    Row(FragmentError),
}

impl From<redb::Error> for PageError {
    fn from(error: redb::Error) -> Self {
        Self::Redb(error)
    }
}

impl From<FragmentError> for PageError {
    fn from(error: FragmentError) -> Self {
        Self::Row(error)
    }
}

fn head_of((next, used_bytes, chain): (u64, u64, [u8; 32])) -> Head {
    Head {
        next: Offset(next),
        used_bytes,
        chain: Chain(chain),
    }
}

fn split_row(row: &[u8]) -> Option<(Chain, &[u8])> {
    row.split_first_chunk()
        .map(|(chain, fragment)| (Chain(*chain), fragment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use satchel_protocol::fragment::{Aead, FragmentHeader, FragmentKind};

    const ROOM: u64 = 1 << 20;

    fn fragment(number: u8, len: usize) -> EncryptedFragment {
        let header = FragmentHeader {
            aead: Aead::Aes256GcmSiv,
            kind: FragmentKind::Entry,
            epoch_id: [0; 12],
            salt: [number; 24],
            commit: [0; 32],
        };
        EncryptedFragment::new(header, &vec![number; len]).unwrap()
    }

    fn mailbox(number: u8) -> MailboxId {
        MailboxId([number; 16])
    }

    fn placed(store: &Store, mailbox: MailboxId, fragment: EncryptedFragment) -> Placed {
        store
            .append_batch(&[(mailbox, fragment)])
            .unwrap()
            .remove(0)
            .unwrap()
    }

    #[test]
    fn fragments_come_back_in_order_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), ROOM).unwrap();
        let batch: Vec<_> = (0..5).map(|n| (mailbox(n % 2), fragment(n, 100))).collect();
        let offsets: Vec<_> = store
            .append_batch(&batch)
            .unwrap()
            .into_iter()
            .map(|p| p.unwrap().offset.0)
            .collect();
        assert_eq!(offsets, [0, 0, 1, 1, 2]);
        drop(store);

        let store = Store::open(dir.path(), ROOM).unwrap();
        let page = store.read(mailbox(0), Offset(0), 10, 10_000).unwrap();
        let numbers: Vec<_> = page
            .entries
            .iter()
            .map(|(offset, f)| (offset.0, f.header().salt[0]))
            .collect();
        assert_eq!(numbers, [(0, 0), (1, 2), (2, 4)]);
        assert_eq!((page.next, page.log_end), (Offset(3), Offset(3)));
        assert_eq!(
            placed(&store, mailbox(0), fragment(9, 100)).offset,
            Offset(3)
        );
    }

    #[test]
    fn a_page_stops_at_its_bounds_and_never_stays_empty() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), ROOM).unwrap();
        for number in 0..4 {
            placed(&store, mailbox(1), fragment(number, 1000));
        }
        let read = |from, entries, bytes| {
            store
                .read(mailbox(1), Offset(from), entries, bytes)
                .unwrap()
        };
        assert_eq!(read(0, 2, 100_000).entries.len(), 2);
        assert_eq!(read(0, 10, 2200).entries.len(), 2);
        let page = read(1, 10, 1);
        assert_eq!(
            (page.entries.len(), page.next, page.log_end),
            (1, Offset(2), Offset(4))
        );
        let end = read(4, 10, 10_000);
        assert_eq!(
            (end.entries.len(), end.next, end.chain),
            (0, Offset(4), read(3, 1, 9999).chain)
        );
        assert!(matches!(
            store.read(mailbox(1), Offset(5), 1, 1),
            Err(ReadRefusal::BehindEnd { log_end: Offset(4) })
        ));
        assert!(
            store
                .read(mailbox(8), Offset(0), 1, 1)
                .unwrap()
                .entries
                .is_empty(),
            "an unknown mailbox is empty"
        );
    }

    #[test]
    fn an_append_repeated_after_a_lost_answer_keeps_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), ROOM).unwrap();
        let first = placed(&store, mailbox(1), fragment(1, 100));
        placed(&store, mailbox(1), fragment(2, 100));
        assert_eq!(
            placed(&store, mailbox(1), fragment(1, 100)),
            Placed {
                is_new: false,
                ..first
            }
        );
        assert!(
            placed(&store, mailbox(2), fragment(1, 100)).is_new,
            "another mailbox is another log"
        );
        let twice = [(mailbox(3), fragment(5, 50)), (mailbox(3), fragment(5, 50))];
        let answers = store.append_batch(&twice).unwrap();
        assert_eq!(answers[0].unwrap().offset, answers[1].unwrap().offset);
        assert_eq!(
            store
                .read(mailbox(3), Offset(0), 9, 9999)
                .unwrap()
                .entries
                .len(),
            1
        );
    }

    #[test]
    fn the_chain_can_be_computed_from_what_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), ROOM).unwrap();
        for number in 0..3 {
            placed(
                &store,
                mailbox(1),
                fragment(number, 100 + usize::from(number)),
            );
        }
        let page = store.read(mailbox(1), Offset(0), 10, 10_000).unwrap();
        let computed = page
            .entries
            .iter()
            .fold(Chain::START, |chain, (offset, f)| {
                chain.after(*offset, f.len_bytes(), f.id())
            });
        assert_eq!(computed, page.chain);
    }

    #[test]
    fn a_full_mailbox_refuses_more_and_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let one = fragment(1, 1000).len_bytes() as u64 + ROW_BYTES;
        let store = Store::open(dir.path(), 2 * one).unwrap();
        let batch: Vec<_> = (0..3)
            .map(|n| (mailbox(1), fragment(n, 1000)))
            .chain([(mailbox(2), fragment(7, 1000))])
            .collect();
        let stored: Vec<_> = store
            .append_batch(&batch)
            .unwrap()
            .iter()
            .map(Result::is_ok)
            .collect();
        assert_eq!(stored, [true, true, false, true]);
        assert!(store.append_batch(&batch[2..3]).unwrap()[0].is_err());
        assert!(
            store.append_batch(&batch[..1]).unwrap()[0].is_ok(),
            "what is there already needs no room"
        );
    }

    #[test]
    fn one_folder_serves_one_node() {
        let dir = tempfile::tempdir().unwrap();
        let _store = Store::open(dir.path(), ROOM).unwrap();
        assert!(matches!(
            Store::open(dir.path(), ROOM),
            Err(StoreError::InUse { .. })
        ));
    }

    #[test]
    fn a_store_of_a_newer_program_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), ROOM).unwrap();
        let write = store.database.begin_write().unwrap();
        write.open_table(META).unwrap().insert("format", 2).unwrap();
        write.commit().unwrap();
        drop(store);
        assert!(matches!(
            Store::open(dir.path(), ROOM),
            Err(StoreError::Format { found: 2, .. })
        ));
    }
}
