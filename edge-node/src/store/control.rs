//! The control log: compare-and-set on its index, in one transaction with new keys.
//!
//! Never reads a record. Start at [`Batch::control`].

use redb::ReadableTable;
use satchel_protocol::capability;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{Answer, ErrorCode};
use satchel_protocol::id::MailboxId;

use super::commit::{Batch, Control, Done};
use super::head::{Columns, Head};
use super::{Fault, ROW_BYTES};

/// Bytes of control records beyond the quota: a full mailbox can still remove a lost laptop.
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

impl Batch<'_, '_> {
    pub(super) fn control(
        &mut self,
        mailbox: MailboxId,
        mut head: Head,
        control: &Control,
    ) -> Result<Done, Fault> {
        let conflict = Done::refused(ErrorCode::Conflict, head.ctl_next.into());
        let index = control.expect_index;
        let row = ctl_row(
            self.now_ms,
            &control.record,
            control.previous_epoch.as_ref(),
        );
        if index != head.ctl_next {
            let is_repeated = self
                .tables
                .ctl
                .get((mailbox.0, index))?
                .is_some_and(|stored| stored.value().get(8..) == row.get(8..));
            return Ok(if is_repeated {
                Done::unchanged(Answer::CtlAck { index })
            } else {
                conflict
            });
        }
        let before = head.capabilities;
        match rotated(mailbox, &head, control) {
            Ok(after) => head = after,
            Err(Refused::Signature) => return Ok(Done::refused(ErrorCode::Denied, 0)),
            Err(Refused::Counter) => return Ok(conflict),
        }
        let quota_bytes = self.store.rules.quota_bytes;
        let used_bytes = head.used_bytes.saturating_add(row.len() as u64 + ROW_BYTES);
        let (true, Some(next)) = (
            used_bytes <= quota_bytes.saturating_add(RESERVE_BYTES),
            index.checked_add(1),
        ) else {
            return Ok(Done::refused(ErrorCode::Quota, quota_bytes));
        };
        if head.capabilities != before {
            self.tables
                .past_readers
                .insert((mailbox.0, before.cap_epoch), before.reader_key)?;
        }
        self.tables.ctl.insert((mailbox.0, index), row.as_slice())?;
        (head.ctl_next, head.used_bytes) = (next, used_bytes);
        self.tables.put_head(mailbox, &head)?;
        Ok(Done::new(Answer::CtlAck { index }))
    }
}

enum Refused {
    /// Not signed by the key that may.
    Signature,
    /// Signed for a state which is past.
    Counter,
}

/// The head with the new keys of this record: first the policy key, then what it signed.
fn rotated(mailbox: MailboxId, head: &Head, control: &Control) -> Result<Head, Refused> {
    let mut head = *head;
    if let Some(policy) = &control.policy {
        let message = capability::policy_message(mailbox, policy.counter, &policy.new_key);
        if !capability::verify(&head.policy_key, &message, &policy.signature) {
            return Err(Refused::Signature);
        }
        if Some(policy.counter) != head.policy_counter.checked_add(1) {
            return Err(Refused::Counter);
        }
        (head.policy_key, head.policy_counter) = (policy.new_key, policy.counter);
    }
    if let Some(rotation) = &control.rotation {
        let message = capability::capabilities_message(mailbox, &rotation.capabilities);
        if !capability::verify(&head.policy_key, &message, &rotation.signature) {
            return Err(Refused::Signature);
        }
        if rotation.capabilities.cap_epoch <= head.capabilities.cap_epoch {
            return Err(Refused::Counter);
        }
        head.capabilities = rotation.capabilities;
    }
    Ok(head)
}

fn ctl_row(
    now_ms: u64,
    record: &EncryptedFragment,
    previous_epoch: Option<&EncryptedFragment>,
) -> Vec<u8> {
    [
        now_ms.to_be_bytes().as_slice(),
        &(record.len_bytes() as u32).to_be_bytes(),
        record.as_bytes(),
        previous_epoch.map_or(&[], EncryptedFragment::as_bytes),
    ]
    .concat()
}

/// A stored record: time, record, previous epoch.
pub(super) fn read_ctl_row(
    row: &[u8],
) -> Result<(u64, EncryptedFragment, Option<EncryptedFragment>), Fault> {
    let mut columns = Columns(row);
    let stored_ms = columns.u64()?;
    let record_len = columns.u32()? as usize;
    let damaged = || Fault::Row("a control record");
    let (record, previous) = columns
        .rest()
        .split_at_checked(record_len)
        .ok_or_else(damaged)?;
    let fragment = |bytes: &[u8]| EncryptedFragment::from_bytes(bytes.to_vec());
    let record = fragment(record).map_err(|_| damaged())?;
    let previous = match previous {
        [] => None,
        bytes => Some(fragment(bytes).map_err(|_| damaged())?),
    };
    Ok((stored_ms, record, previous))
}
