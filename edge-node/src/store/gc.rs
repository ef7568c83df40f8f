//! Deletes what is past its time: superseded entries and forgotten blobs after the grace period,
//! mailboxes that nobody opens, files that nobody names.
//!
//! The place of a deleted entry stays, with id, length and chain. Works in small transactions, so that
//! appends never wait long. Times are compared with the clock as it is and not with the newest time
//! seen: a clock that ran ahead for a while must not age what was stored before. Start at [`Store::gc`].

use std::fmt;

use redb::{ReadableDatabase, ReadableTable};
use satchel_protocol::id::{FragmentId, MailboxId};

use super::commit::Batch;
use super::head::Head;
use super::rows::{BlobRow, Body, EntryRow};
use super::{Fault, Store, StoreError, tables};

/// Rows deleted in one transaction.
const STEP: usize = 512;

/// What was deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Superseded entries.
    pub entries: u64,
    /// Forgotten blobs.
    pub blobs: u64,
    /// Mailboxes that nobody opened.
    pub mailboxes: u64,
    /// Bytes of those entries and blobs.
    pub bytes: u64,
    /// Files that no row names.
    pub orphan_files: u64,
}

impl fmt::Display for GcReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} superseded entries and {} forgotten blobs ({} bytes), {} unopened mailboxes, {} orphan files",
            self.entries, self.blobs, self.bytes, self.mailboxes, self.orphan_files
        )
    }
}

impl Store {
    /// Deletes, or with `dry_run` only counts, what is past its time.
    ///
    /// Blocks for some commits. Orphan files are looked for when `with_orphans` says so: it lists all.
    ///
    /// # Errors
    /// [`StoreError`]; what was deleted before stays deleted.
    pub(crate) fn gc(
        &self,
        now_ms: u64,
        dry_run: bool,
        with_orphans: bool,
    ) -> Result<GcReport, StoreError> {
        let mut report = GcReport::default();
        let expired = self.find_expired(now_ms).map_err(|fault| self.at(fault))?;
        for piece in expired.chunks(STEP) {
            let counted = self.in_transaction(now_ms, |batch| {
                let mut counted = GcReport::default();
                for one in piece {
                    batch.delete(*one, &mut counted)?;
                }
                Ok((counted, !dry_run))
            })?;
            report.entries += counted.entries;
            report.blobs += counted.blobs;
            report.bytes += counted.bytes;
            report.mailboxes += counted.mailboxes;
        }
        if with_orphans {
            report.orphan_files = self.remove_orphans(now_ms, dry_run)?;
        }
        Ok(report)
    }

    fn find_expired(&self, now_ms: u64) -> Result<Vec<Expired>, Fault> {
        let read = self.database.begin_read()?;
        let mut found = Vec::new();
        if let Some(before_ms) = now_ms.checked_sub(self.rules.grace_ms) {
            let entries = read.open_table(tables::SUPERSEDED)?;
            for row in entries.range(..(before_ms, [0; 16], 0))? {
                let (at_ms, mailbox, offset) = row?.0.value();
                found.push(Expired::Entry(at_ms, MailboxId(mailbox), offset));
            }
            let blobs = read.open_table(tables::FORGOTTEN)?;
            for row in blobs.range(..(before_ms, [0; 16], [0; 32]))? {
                let (at_ms, mailbox, id) = row?.0.value();
                found.push(Expired::Blob(at_ms, MailboxId(mailbox), FragmentId(id)));
            }
        }
        if let Some(before_ms) = now_ms.checked_sub(self.rules.unopened_ms) {
            for row in read.open_table(tables::HEADS)?.iter()? {
                let (key, row) = row?;
                if Head::decode(row.value())?.opened_ms < before_ms {
                    found.push(Expired::Mailbox(MailboxId(key.value())));
                }
            }
        }
        Ok(found)
    }

    /// Looks twice: without a lock for candidates, and inside a transaction, where no file can be on its
    /// way into a commit.
    fn remove_orphans(&self, now_ms: u64, dry_run: bool) -> Result<u64, StoreError> {
        let all = self.files.list().map_err(|fault| self.at(fault))?;
        let mut removed = 0;
        for piece in all.chunks(STEP) {
            removed += self.in_transaction(now_ms, |batch| {
                let mut orphans = 0;
                for (path, id) in piece {
                    let is_named = match id {
                        Some(id) => batch.tables.files.get(id.0)?.is_some(),
                        None => false,
                    };
                    if !is_named && path.exists() {
                        orphans += 1;
                        if !dry_run {
                            std::fs::remove_file(path)?;
                        }
                    }
                }
                Ok((orphans, false))
            })?;
        }
        Ok(removed)
    }
}

/// One thing that is past its time.
#[derive(Clone, Copy)]
enum Expired {
    Entry(u64, MailboxId, u64),
    Blob(u64, MailboxId, FragmentId),
    Mailbox(MailboxId),
}

impl Batch<'_, '_> {
    fn delete(&mut self, expired: Expired, counted: &mut GcReport) -> Result<(), Fault> {
        match expired {
            Expired::Entry(at_ms, mailbox, offset) => {
                self.tables.superseded.remove((at_ms, mailbox.0, offset))?;
                self.delete_entry(at_ms, mailbox, offset, counted)
            }
            Expired::Blob(at_ms, mailbox, id) => {
                self.tables.forgotten.remove((at_ms, mailbox.0, id.0))?;
                self.delete_blob(at_ms, mailbox, id, counted)
            }
            Expired::Mailbox(mailbox) => {
                counted.mailboxes += 1;
                self.drop_mailbox(mailbox).map(drop)
            }
        }
    }

    fn delete_entry(
        &mut self,
        at_ms: u64,
        mailbox: MailboxId,
        offset: u64,
        counted: &mut GcReport,
    ) -> Result<(), Fault> {
        let key = (mailbox.0, offset);
        let Some(row) = self.tables.log.get(key)?.map(|row| row.value().to_vec()) else {
            return Ok(());
        };
        let row = EntryRow::decode(&row)?;
        // Another mailbox of this id may have taken the place of one that was dropped.
        if row.superseded_ms != Some(at_ms) || row.body == Body::Deleted {
            return Ok(());
        }
        if row.body == Body::File {
            self.release(row.id)?;
        }
        let place = EntryRow {
            body: Body::Deleted,
            ..row
        };
        self.tables.log.insert(key, place.encode().as_slice())?;
        let id_key = (mailbox.0, row.id.0);
        let newest = self.tables.ids.get(id_key)?.map(|offset| offset.value());
        if newest == Some(offset) {
            self.tables.ids.remove(id_key)?;
        }
        counted.entries += 1;
        counted.bytes += u64::from(row.len_bytes);
        self.lower_use(mailbox, row.len_bytes.into())
    }

    fn delete_blob(
        &mut self,
        at_ms: u64,
        mailbox: MailboxId,
        id: FragmentId,
        counted: &mut GcReport,
    ) -> Result<(), Fault> {
        let key = (mailbox.0, id.0);
        let Some(row) = self.tables.blobs.get(key)?.map(|row| row.value().to_vec()) else {
            return Ok(());
        };
        let row = BlobRow::decode(&row)?;
        if row.forgotten_ms != Some(at_ms) {
            return Ok(());
        }
        if row.body == Body::File {
            self.release(id)?;
        }
        self.tables.blobs.remove(key)?;
        counted.blobs += 1;
        counted.bytes += u64::from(row.len_bytes);
        let freed = u64::from(row.len_bytes) + super::ROW_BYTES;
        self.lower_use(mailbox, freed)
    }

    fn lower_use(&mut self, mailbox: MailboxId, bytes: u64) -> Result<(), Fault> {
        let Some(mut head) = self.tables.head(mailbox)? else {
            return Ok(());
        };
        head.used_bytes = head.used_bytes.saturating_sub(bytes);
        self.tables.put_head(mailbox, &head)
    }
}
