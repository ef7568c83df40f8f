//! The tables, and all of them open in one write transaction.
//!
//! Start at [`Tables`].

use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use satchel_protocol::id::{FragmentId, MailboxId};

use super::error::Fault;
use super::head::Head;

type Mailbox = [u8; 16];
type Id = [u8; 32];

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const HEADS: TableDefinition<'_, Mailbox, &[u8]> = TableDefinition::new("heads");
pub(super) const PAST_READERS: TableDefinition<'_, (Mailbox, u32), Id> =
    TableDefinition::new("past_readers");
pub(super) const LOG: TableDefinition<'_, (Mailbox, u64), &[u8]> = TableDefinition::new("log");
pub(super) const IDS: TableDefinition<'_, (Mailbox, Id), u64> = TableDefinition::new("ids");
pub(super) const BLOBS: TableDefinition<'_, (Mailbox, Id), &[u8]> = TableDefinition::new("blobs");
pub(super) const CTL: TableDefinition<'_, (Mailbox, u32), &[u8]> = TableDefinition::new("ctl");
pub(super) const SUPERSEDED: TableDefinition<'_, (u64, Mailbox, u64), ()> =
    TableDefinition::new("superseded");
pub(super) const FORGOTTEN: TableDefinition<'_, (u64, Mailbox, Id), ()> =
    TableDefinition::new("forgotten");
pub(super) const FILES: TableDefinition<'_, Id, u32> = TableDefinition::new("files");

/// All tables of one write transaction.
pub(super) struct Tables<'txn> {
    pub(super) meta: Table<'txn, &'static str, u64>,
    pub(super) heads: Table<'txn, Mailbox, &'static [u8]>,
    pub(super) past_readers: Table<'txn, (Mailbox, u32), Id>,
    pub(super) log: Table<'txn, (Mailbox, u64), &'static [u8]>,
    pub(super) ids: Table<'txn, (Mailbox, Id), u64>,
    pub(super) blobs: Table<'txn, (Mailbox, Id), &'static [u8]>,
    pub(super) ctl: Table<'txn, (Mailbox, u32), &'static [u8]>,
    pub(super) superseded: Table<'txn, (u64, Mailbox, u64), ()>,
    pub(super) forgotten: Table<'txn, (u64, Mailbox, Id), ()>,
    pub(super) files: Table<'txn, Id, u32>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(write: &'txn WriteTransaction) -> Result<Self, Fault> {
        Ok(Self {
            meta: write.open_table(META)?,
            heads: write.open_table(HEADS)?,
            past_readers: write.open_table(PAST_READERS)?,
            log: write.open_table(LOG)?,
            ids: write.open_table(IDS)?,
            blobs: write.open_table(BLOBS)?,
            ctl: write.open_table(CTL)?,
            superseded: write.open_table(SUPERSEDED)?,
            forgotten: write.open_table(FORGOTTEN)?,
            files: write.open_table(FILES)?,
        })
    }

    pub(super) fn head(&self, mailbox: MailboxId) -> Result<Option<Head>, Fault> {
        let row = self.heads.get(mailbox.0)?;
        row.map(|row| Head::decode(row.value())).transpose()
    }

    pub(super) fn put_head(&mut self, mailbox: MailboxId, head: &Head) -> Result<(), Fault> {
        self.heads.insert(mailbox.0, head.encode().as_slice())?;
        Ok(())
    }

    /// One more row names this file.
    pub(super) fn keep_file(&mut self, id: FragmentId) -> Result<(), Fault> {
        let count = self.files.get(id.0)?.map_or(0, |count| count.value());
        self.files.insert(id.0, count.saturating_add(1))?;
        Ok(())
    }

    /// One row less names this file; true when it was the last.
    pub(super) fn release_file(&mut self, id: FragmentId) -> Result<bool, Fault> {
        let count = self.files.get(id.0)?.map_or(0, |count| count.value());
        if count > 1 {
            self.files.insert(id.0, count - 1)?;
            return Ok(false);
        }
        self.files.remove(id.0)?;
        Ok(true)
    }
}
