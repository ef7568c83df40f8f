//! All that a node knows of a mailbox, and totals: for the operator, and for everyone who wants to see
//! how little it is.
//!
//! Never shows an address, a name or content: there is none. Start at [`Store::audit`].

use std::fmt;

use redb::{ReadableDatabase, ReadableTable};
use satchel_protocol::id::MailboxId;

use super::control::read_ctl_row;
use super::head::Head;
use super::rows::{BlobRow, Body, EntryRow};
use super::{Fault, Store, StoreError, tables};

/// Everything about one mailbox, one line for each thing.
#[derive(Debug, Clone)]
pub struct AuditReport {
    lines: Vec<String>,
}

impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Totals over all mailboxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsReport {
    /// Mailboxes.
    pub mailboxes: u64,
    /// Bytes that they use, as counted for their quotas.
    pub used_bytes: u64,
    /// Entries that compact reads show.
    pub live_entries: u64,
    /// Entries in their grace period.
    pub superseded_entries: u64,
    /// Places whose entry was deleted.
    pub deleted_entries: u64,
    /// Blobs, forgotten ones included.
    pub blobs: u64,
    /// Records of control logs.
    pub ctl_records: u64,
}

impl fmt::Display for StatsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "mailboxes {}", self.mailboxes)?;
        writeln!(f, "used {} bytes", self.used_bytes)?;
        writeln!(
            f,
            "entries {} live, {} superseded, {} deleted",
            self.live_entries, self.superseded_entries, self.deleted_entries
        )?;
        writeln!(f, "blobs {}", self.blobs)?;
        writeln!(f, "control records {}", self.ctl_records)
    }
}

impl Store {
    /// All that is known of a mailbox; `None` when there is none.
    pub(crate) fn audit(&self, mailbox: MailboxId) -> Result<Option<AuditReport>, StoreError> {
        let run = || -> Result<_, Fault> {
            let read = self.database.begin_read()?;
            let head = read.open_table(tables::HEADS)?.get(mailbox.0)?;
            let Some(head) = head.map(|row| Head::decode(row.value())).transpose()? else {
                return Ok(None);
            };
            let mut lines = head_lines(mailbox, &head);
            let m = mailbox.0;
            for row in read
                .open_table(tables::PAST_READERS)?
                .range((m, 0)..=(m, u32::MAX))?
            {
                let (key, value) = row?;
                let (epoch, key) = (key.value().1, fingerprint(&value.value()));
                lines.push(format!("past reader key {key} of epoch {epoch}"));
            }
            for row in read
                .open_table(tables::CTL)?
                .range((m, 0)..=(m, u32::MAX))?
            {
                let (key, value) = row?;
                let (stored_ms, record, previous) = read_ctl_row(value.value())?;
                lines.push(format!(
                    "control {} stored {stored_ms} ms, {} bytes, previous epoch {} bytes",
                    key.value().1,
                    record.len_bytes(),
                    previous.map_or(0, |previous| previous.len_bytes())
                ));
            }
            for row in read
                .open_table(tables::LOG)?
                .range((m, 0)..=(m, u64::MAX))?
            {
                let (key, value) = row?;
                lines.push(entry_line(key.value().1, &EntryRow::decode(value.value())?));
            }
            for row in read
                .open_table(tables::BLOBS)?
                .range((m, [0; 32])..=(m, [0xff; 32]))?
            {
                let (key, value) = row?;
                let row = BlobRow::decode(value.value())?;
                lines.push(format!(
                    "blob {} {} bytes, put {} ms, {}",
                    fingerprint(&key.value().1),
                    row.len_bytes,
                    row.put_ms,
                    row.forgotten_ms
                        .map_or("kept".to_owned(), |ms| format!("forgotten {ms} ms"))
                ));
            }
            Ok(Some(AuditReport { lines }))
        };
        run().map_err(|fault| self.at(fault))
    }

    /// Totals. Reads every row: seconds for a large store.
    pub(crate) fn stats(&self) -> Result<StatsReport, StoreError> {
        let run = || -> Result<_, Fault> {
            let read = self.database.begin_read()?;
            let mut report = StatsReport::default();
            for row in read.open_table(tables::HEADS)?.iter()? {
                let head = Head::decode(row?.1.value())?;
                report.mailboxes += 1;
                report.used_bytes = report.used_bytes.saturating_add(head.used_bytes);
                report.ctl_records += u64::from(head.ctl_next);
            }
            for row in read.open_table(tables::LOG)?.iter()? {
                let (_, value) = row?;
                let row = EntryRow::decode(value.value())?;
                match (row.body, row.superseded_ms) {
                    (Body::Deleted, _) => report.deleted_entries += 1,
                    (_, Some(_)) => report.superseded_entries += 1,
                    (_, None) => report.live_entries += 1,
                }
            }
            for row in read.open_table(tables::BLOBS)?.iter()? {
                row?;
                report.blobs += 1;
            }
            Ok(report)
        };
        run().map_err(|fault| self.at(fault))
    }
}

fn head_lines(mailbox: MailboxId, head: &Head) -> Vec<String> {
    vec![
        format!("mailbox {mailbox}"),
        "times are milliseconds since 1970 UTC; keys are shown by their first 8 bytes".to_owned(),
        format!(
            "created {} ms, opened {} ms",
            head.created_ms, head.opened_ms
        ),
        format!(
            "policy key {} counter {}",
            fingerprint(&head.policy_key),
            head.policy_counter
        ),
        format!(
            "reader key {} writer key {} of epoch {}",
            fingerprint(&head.capabilities.reader_key),
            fingerprint(&head.capabilities.writer_key),
            head.capabilities.cap_epoch
        ),
        format!(
            "log ends at {}, control records {}, used {} bytes",
            head.next, head.ctl_next, head.used_bytes
        ),
    ]
}

fn entry_line(offset: u64, row: &EntryRow<'_>) -> String {
    let state = match (row.body, row.superseded_ms) {
        (Body::Deleted, _) => "deleted".to_owned(),
        (_, Some(ms)) => format!("superseded {ms} ms"),
        (_, None) => "live".to_owned(),
    };
    let kind = if row.kind == 1 { "pack" } else { "entry" };
    format!(
        "{kind} at {offset} {} bytes, id {}, {state}",
        row.len_bytes,
        fingerprint(&row.id.0)
    )
}

fn fingerprint(bytes: &[u8; 32]) -> String {
    bytes[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
