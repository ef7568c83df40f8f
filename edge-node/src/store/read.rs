//! What is there, from one consistent look at the store.
//!
//! Every read checks again what the connection may do: keys may have been rotated since it opened the
//! mailbox. Start at [`Store::read_log`].

use redb::{ReadTransaction, ReadableDatabase};
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode};
use satchel_protocol::id::{FragmentId, MailboxId, Offset};

use super::control::read_ctl_row;
use super::head::{Grant, Head, Level};
use super::rows::{BlobRow, Body, EntryRow};
use super::{Fault, Store, StoreError, tables};

/// Places that one page may pass over: hidden entries cost time, but no bytes.
const MAX_SCANNED: u64 = 16_384;

/// Part of a log.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) entries: Vec<(Offset, bool, EncryptedFragment)>,
    pub(crate) next: Offset,
    pub(crate) log_end: Offset,
    /// The chain value before `next`.
    pub(crate) chain: Chain,
    pub(crate) ctl_next: u32,
}

/// What a page may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_entries: usize,
    pub(crate) max_bytes: usize,
    pub(crate) compact: bool,
}

/// A read gives something, or the answer that refuses it.
pub(crate) type Refusable<T> = Result<T, Box<Answer>>;

impl Store {
    /// Reads from `from` on: at most so many entries and bytes, but one entry if there is one.
    pub(crate) fn read_log(
        &self,
        mailbox: MailboxId,
        grant: Option<&Grant>,
        from: Offset,
        bounds: Bounds,
    ) -> Result<Refusable<Page>, StoreError> {
        self.look(mailbox, grant, Level::Reader, |read, head| {
            if from > head.next {
                return Ok(refused(ErrorCode::BehindEnd, head.next.0));
            }
            self.page(read, mailbox, head, from, bounds).map(Ok)
        })
    }

    /// Control records from an index on, up to about `max_bytes`; and where the control log ends.
    pub(crate) fn read_ctl(
        &self,
        mailbox: MailboxId,
        grant: Option<&Grant>,
        from: u32,
        max_bytes: usize,
    ) -> Result<Refusable<(Vec<Answer>, u32)>, StoreError> {
        self.look(mailbox, grant, Level::ControlOnly, |read, head| {
            if from > head.ctl_next {
                return Ok(refused(ErrorCode::BehindEnd, head.ctl_next.into()));
            }
            let rows = read.open_table(tables::CTL)?;
            let (mut answers, mut bytes) = (Vec::new(), 0);
            for row in rows.range((mailbox.0, from)..(mailbox.0, head.ctl_next))? {
                let (key, row) = row?;
                let (_, record, previous_epoch) = read_ctl_row(row.value())?;
                bytes += row.value().len();
                if bytes > max_bytes && !answers.is_empty() {
                    break;
                }
                answers.push(Answer::CtlEntry {
                    index: key.value().1,
                    record,
                    previous_epoch,
                });
            }
            Ok(Ok((answers, head.ctl_next)))
        })
    }

    /// One piece of a file.
    pub(crate) fn read_blob(
        &self,
        mailbox: MailboxId,
        grant: Option<&Grant>,
        id: FragmentId,
    ) -> Result<Refusable<Answer>, StoreError> {
        self.look(mailbox, grant, Level::Reader, |read, _| {
            let rows = read.open_table(tables::BLOBS)?;
            let row = rows.get((mailbox.0, id.0))?;
            let body = row
                .as_ref()
                .map(|row| BlobRow::decode(row.value()))
                .transpose()?;
            let fragment = match body {
                Some(row) => self.bytes_of(id, row.body)?,
                None => None,
            };
            Ok(match fragment {
                Some(fragment) => Ok(Answer::Blob { fragment }),
                None => refused(ErrorCode::Gone, 0),
            })
        })
    }

    /// Which of these are stored to stay; their files must be there, too.
    pub(crate) fn has(
        &self,
        mailbox: MailboxId,
        grant: Option<&Grant>,
        ids: &[FragmentId],
    ) -> Result<Refusable<Answer>, StoreError> {
        self.look(mailbox, grant, Level::Reader, |read, _| {
            let offsets = read.open_table(tables::IDS)?;
            let log = read.open_table(tables::LOG)?;
            let blobs = read.open_table(tables::BLOBS)?;
            let mut bits = vec![0; ids.len().div_ceil(8)];
            for (index, id) in ids.iter().enumerate() {
                let key = (mailbox.0, id.0);
                let mut is_there = false;
                if let Some(offset) = offsets.get(key)?
                    && let Some(row) = log.get((mailbox.0, offset.value()))?
                {
                    let row = EntryRow::decode(row.value())?;
                    is_there = row.is_live() && self.is_whole(*id, row.len_bytes, row.body);
                }
                if !is_there && let Some(row) = blobs.get(key)? {
                    let row = BlobRow::decode(row.value())?;
                    is_there =
                        row.forgotten_ms.is_none() && self.is_whole(*id, row.len_bytes, row.body);
                }
                bits[index / 8] |= u8::from(is_there) << (index % 8);
            }
            Ok(Ok(Answer::HasBits { bits }))
        })
    }

    /// One transaction for the check of the grant and for what it allows.
    fn look<T>(
        &self,
        mailbox: MailboxId,
        grant: Option<&Grant>,
        needed: Level,
        work: impl FnOnce(&ReadTransaction, Head) -> Result<Refusable<T>, Fault>,
    ) -> Result<Refusable<T>, StoreError> {
        let run = || {
            let Some(grant) = grant else {
                return Ok(refused(ErrorCode::Denied, 0));
            };
            let read = self.database.begin_read()?;
            let head = read.open_table(tables::HEADS)?.get(mailbox.0)?;
            let head = head.map(|row| Head::decode(row.value())).transpose()?;
            match head {
                Some(head) if head.level_of(grant) >= Some(needed) => work(&read, head),
                _ => Ok(refused(ErrorCode::Denied, 0)),
            }
        };
        run().map_err(|fault| self.at(fault))
    }

    fn page(
        &self,
        read: &ReadTransaction,
        mailbox: MailboxId,
        head: Head,
        from: Offset,
        bounds: Bounds,
    ) -> Result<Page, Fault> {
        let rows = read.open_table(tables::LOG)?;
        let mut page = Page {
            entries: Vec::new(),
            next: from,
            log_end: head.next,
            chain: Chain::START,
            ctl_next: head.ctl_next,
        };
        let last = match bounds.max_entries {
            0 => from.0,
            _ => head.next.0.min(from.0.saturating_add(MAX_SCANNED)),
        };
        let mut bytes = 0;
        for row in rows.range((mailbox.0, from.0)..(mailbox.0, last))? {
            let (key, row) = row?;
            let offset = key.value().1;
            let row = EntryRow::decode(row.value())?;
            let is_hidden = !row.is_live() && (bounds.compact || row.body == Body::Deleted);
            if !is_hidden {
                bytes += row.len_bytes as usize;
                if page.entries.len() == bounds.max_entries
                    || (bytes > bounds.max_bytes && !page.entries.is_empty())
                {
                    break;
                }
                // One that is lost leaves a gap, so that the others can still be read.
                if let Some(fragment) = self.bytes_of(row.id, row.body)? {
                    let superseded = row.superseded_ms.is_some();
                    page.entries.push((Offset(offset), superseded, fragment));
                }
            }
            page.next = Offset(offset.saturating_add(1));
            page.chain = row.chain;
        }
        if page.next == from && from > Offset(0) {
            let before = rows.get((mailbox.0, from.0 - 1))?;
            let before = before.ok_or(Fault::Row("a log has a gap"))?;
            page.chain = EntryRow::decode(before.value())?.chain;
        }
        Ok(page)
    }

    fn bytes_of(&self, id: FragmentId, body: Body<'_>) -> Result<Option<EncryptedFragment>, Fault> {
        let found = match body {
            Body::Deleted => return Ok(None),
            Body::Inline(bytes) => EncryptedFragment::from_bytes(bytes.to_vec()).ok(),
            Body::File => self.files.read(id)?,
        };
        if found.is_none() {
            tracing::error!("a stored fragment is damaged or lost; devices will send it again");
        }
        Ok(found)
    }

    fn is_whole(&self, id: FragmentId, len_bytes: u32, body: Body<'_>) -> bool {
        match body {
            Body::Deleted => false,
            Body::Inline(bytes) => bytes.len() == len_bytes as usize,
            Body::File => self.files.is_there(id, len_bytes as usize),
        }
    }
}

fn refused<T>(code: ErrorCode, limit: u64) -> Refusable<T> {
    Err(Box::new(Answer::Error(ErrorAnswer {
        code,
        limit,
        retry_after_ms: 0,
    })))
}
