//! Mailboxes come and go: made, opened, dropped.
//!
//! Start at [`Batch::create`].

use redb::ReadableTable;
use satchel_protocol::frame::{Answer, Capabilities, ErrorCode};
use satchel_protocol::id::{FragmentId, MailboxId};

use super::Fault;
use super::commit::{Batch, Done, opened};
use super::head::{Head, Level};
use super::rows::{BlobRow, Body, EntryRow};

impl Batch<'_, '_> {
    /// Makes a mailbox. Made before by the key that still rules it: well, and nothing changes.
    pub(super) fn create(
        &mut self,
        mailbox: MailboxId,
        policy_key: [u8; 32],
        capabilities: Capabilities,
    ) -> Result<Done, Fault> {
        match self.tables.head(mailbox)? {
            Some(head) if head.policy_key == policy_key => Ok(Done::unchanged(Answer::Ok)),
            Some(_) => Ok(Done::refused(ErrorCode::Denied, 0)),
            None => {
                let head = Head::new(policy_key, capabilities, self.now_ms);
                self.tables.put_head(mailbox, &head)?;
                Ok(Done::new(Answer::Ok))
            }
        }
    }

    pub(super) fn note_opened(
        &mut self,
        mailbox: MailboxId,
        mut head: Head,
        level: Level,
    ) -> Result<Done, Fault> {
        head.opened_ms = self.now_ms;
        self.tables.put_head(mailbox, &head)?;
        let answer = opened(&head, level, self.store.rules.quota_bytes);
        Ok(Done::new(answer))
    }

    /// Removes every row of a mailbox. Entries of the gc queues that stay behind find nothing.
    pub(super) fn drop_mailbox(&mut self, mailbox: MailboxId) -> Result<Done, Fault> {
        let m = mailbox.0;
        let mut files = Vec::new();
        for row in self.tables.log.range((m, 0)..=(m, u64::MAX))? {
            let (_, row) = row?;
            let row = EntryRow::decode(row.value())?;
            if row.body == Body::File {
                files.push(row.id);
            }
        }
        let ids = (m, [0; 32])..=(m, [0xff; 32]);
        for row in self.tables.blobs.range(ids.clone())? {
            let (key, row) = row?;
            if BlobRow::decode(row.value())?.body == Body::File {
                files.push(FragmentId(key.value().1));
            }
        }
        for id in files {
            self.release(id)?;
        }
        let all = |_, _: &[u8]| false;
        self.tables.log.retain_in((m, 0)..=(m, u64::MAX), all)?;
        self.tables.blobs.retain_in(ids.clone(), |_, _| false)?;
        self.tables.ids.retain_in(ids, |_, _| false)?;
        let numbers = (m, 0)..=(m, u32::MAX);
        self.tables.ctl.retain_in(numbers.clone(), |_, _| false)?;
        self.tables.past_readers.retain_in(numbers, |_, _| false)?;
        self.tables.heads.remove(m)?;
        Ok(Done::new(Answer::Ok))
    }

    /// A row less names this file; the file goes behind the commit when it was the last.
    pub(super) fn release(&mut self, id: FragmentId) -> Result<(), Fault> {
        if self.tables.release_file(id)? {
            self.released.push(id);
        }
        Ok(())
    }
}
