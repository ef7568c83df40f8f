//! Pieces of files: stored by content beside the log, forgotten on request, kept when put again.
//!
//! Deletion itself is in `gc`. Start at [`Batch::put_blob`].

use redb::ReadableTable;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{Answer, ErrorCode};
use satchel_protocol::id::{FragmentId, MailboxId};

use super::commit::{Batch, Done};
use super::head::Head;
use super::rows::{BlobRow, Body};
use super::{Fault, ROW_BYTES};

impl Batch<'_, '_> {
    pub(super) fn put_blob(
        &mut self,
        mailbox: MailboxId,
        mut head: Head,
        fragment: &EncryptedFragment,
    ) -> Result<Done, Fault> {
        let id = fragment.id();
        let key = (mailbox.0, id.0);
        let known = self.tables.blobs.get(key)?.map(|row| row.value().to_vec());
        if let Some(row) = &known {
            let row = BlobRow::decode(row)?;
            if row.body == Body::File {
                self.store.files.write(id, fragment)?;
            }
            let Some(forgotten_ms) = row.forgotten_ms else {
                return Ok(Done::unchanged(Answer::Ok));
            };
            let kept = BlobRow {
                forgotten_ms: None,
                ..row
            };
            self.tables.blobs.insert(key, kept.encode().as_slice())?;
            self.tables
                .forgotten
                .remove((forgotten_ms, mailbox.0, id.0))?;
            return Ok(Done::new(Answer::Ok));
        }
        let used_bytes = head
            .used_bytes
            .saturating_add(fragment.len_bytes() as u64 + ROW_BYTES);
        let quota_bytes = self.store.rules.quota_bytes;
        if used_bytes > quota_bytes {
            return Ok(Done::refused(ErrorCode::Quota, quota_bytes));
        }
        let row = BlobRow {
            len_bytes: fragment.len_bytes() as u32,
            put_ms: self.now_ms,
            forgotten_ms: None,
            body: self.keep(id, fragment)?,
        };
        self.tables.blobs.insert(key, row.encode().as_slice())?;
        head.used_bytes = used_bytes;
        self.tables.put_head(mailbox, &head)?;
        Ok(Done {
            stored_bytes: fragment.len_bytes() as u64,
            ..Done::new(Answer::Ok)
        })
    }

    pub(super) fn forget(&mut self, mailbox: MailboxId, ids: &[FragmentId]) -> Result<Done, Fault> {
        let mut any = false;
        for id in ids {
            let key = (mailbox.0, id.0);
            let Some(row) = self.tables.blobs.get(key)?.map(|row| row.value().to_vec()) else {
                continue;
            };
            let row = BlobRow::decode(&row)?;
            if row.forgotten_ms.is_some() {
                continue;
            }
            let forgotten_ms = self.now_ms.max(1);
            let gone = BlobRow {
                forgotten_ms: Some(forgotten_ms),
                ..row
            };
            self.tables.blobs.insert(key, gone.encode().as_slice())?;
            self.tables
                .forgotten
                .insert((forgotten_ms, mailbox.0, id.0), ())?;
            any = true;
        }
        Ok(Done {
            is_new: any,
            ..Done::new(Answer::Ok)
        })
    }
}
