//! Changes of many devices in one transaction: each is checked against the keys in force, all become
//! durable together.
//!
//! A refused change alters nothing and does not touch the others. Start at [`Store::commit`].

use std::sync::PoisonError;

use redb::ReadableTable;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{
    Access, Answer, CapRotation, Capabilities, ErrorAnswer, ErrorCode, PolicyRotation,
};
use satchel_protocol::id::{FragmentId, MailboxId, Offset, OffsetRange};

use super::head::{Grant, Head, Level};
use super::rows::{Body, EntryRow};
use super::tables::Tables;
use super::{Fault, ROW_BYTES, Store, StoreError};

/// Entries that one pack may supersede: as many rows are rewritten in its transaction.
const MAX_SUPERSEDED_ENTRIES: u64 = 16_384;

/// One change, and the proof of who wants it.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) mailbox: MailboxId,
    /// None for [`Change::Create`], whose signature is the proof.
    pub(crate) grant: Option<Grant>,
    pub(crate) change: Change,
}

/// What is to change.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Append(EncryptedFragment),
    Pack {
        supersedes: Vec<OffsetRange>,
        fragment: EncryptedFragment,
    },
    Blob(EncryptedFragment),
    Forget(Vec<FragmentId>),
    Control(Box<Control>),
    Create {
        policy_key: [u8; 32],
        capabilities: Capabilities,
    },
    /// Note that the mailbox is used.
    Opened,
    Drop,
}

/// A record of the control log, and new keys with it.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) expect_index: u32,
    pub(crate) record: EncryptedFragment,
    pub(crate) previous_epoch: Option<EncryptedFragment>,
    pub(crate) rotation: Option<CapRotation>,
    pub(crate) policy: Option<PolicyRotation>,
}

/// What became of one change.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub(crate) answer: Answer,
    /// Whether anything changed: false for refusals and for what was there before.
    pub(crate) is_new: bool,
    /// Bytes of a fragment that was stored.
    pub(crate) stored_bytes: u64,
}

impl Done {
    pub(super) fn new(answer: Answer) -> Self {
        Self {
            answer,
            is_new: true,
            stored_bytes: 0,
        }
    }

    pub(super) fn unchanged(answer: Answer) -> Self {
        Self {
            is_new: false,
            ..Self::new(answer)
        }
    }

    pub(super) fn refused(code: ErrorCode, limit: u64) -> Self {
        Self::unchanged(Answer::Error(ErrorAnswer {
            code,
            limit,
            retry_after_ms: 0,
        }))
    }
}

/// A transaction under way.
pub(super) struct Batch<'txn, 'store> {
    pub(super) store: &'store Store,
    pub(super) tables: Tables<'txn>,
    pub(super) now_ms: u64,
    /// Files which nobody names after this transaction.
    pub(super) released: Vec<FragmentId>,
}

impl Store {
    /// Applies changes in this order with one commit, which is on disk when this returns.
    ///
    /// Blocks for an fsync: call from `spawn_blocking`. One answer per change.
    ///
    /// # Errors
    /// [`StoreError`] when the commit failed: then none of the batch counts as stored.
    pub(crate) fn commit(&self, writes: &[Write], now_ms: u64) -> Result<Vec<Done>, StoreError> {
        self.in_transaction(now_ms, |batch| {
            let dones = writes
                .iter()
                .map(|write| batch.apply(write))
                .collect::<Result<Vec<_>, _>>()?;
            let is_changed = dones.iter().any(|done| done.is_new);
            Ok((dones, is_changed))
        })
    }

    /// Runs `work` in a write transaction, commits if it says so, and removes released files.
    pub(super) fn in_transaction<T>(
        &self,
        now_ms: u64,
        work: impl FnOnce(&mut Batch<'_, '_>) -> Result<(T, bool), Fault>,
    ) -> Result<T, StoreError> {
        let run = || -> Result<T, Fault> {
            // Nothing behind the lock can be left half done: a panic aborts the transaction.
            let _guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut write = self.database.begin_write()?;
            write.set_quick_repair(true);
            let (result, is_changed, released) = {
                let mut batch = Batch {
                    store: self,
                    tables: Tables::open(&write)?,
                    now_ms: self.stamp_ms(now_ms),
                    released: Vec::new(),
                };
                let (result, is_changed) = work(&mut batch)?;
                if is_changed {
                    batch.tables.meta.insert("clock", batch.now_ms)?;
                }
                (result, is_changed, batch.released)
            };
            if is_changed {
                write.commit()?;
                released.into_iter().for_each(|id| self.files.remove(id));
            } else {
                write.abort()?;
            }
            Ok(result)
        };
        run().map_err(|fault| self.at(fault))
    }
}

impl Batch<'_, '_> {
    fn apply(&mut self, write: &Write) -> Result<Done, Fault> {
        let mailbox = write.mailbox;
        if let Change::Create {
            policy_key,
            capabilities,
        } = &write.change
        {
            return self.create(mailbox, *policy_key, *capabilities);
        }
        let denied = Done::refused(ErrorCode::Denied, 0);
        let Some(head) = self.tables.head(mailbox)? else {
            return Ok(denied);
        };
        let level = write.grant.as_ref().and_then(|grant| head.level_of(grant));
        let needed = match write.change {
            Change::Opened => Level::ControlOnly,
            Change::Drop => Level::Policy,
            _ => Level::Writer,
        };
        let Some(level) = level.filter(|level| *level >= needed) else {
            return Ok(denied);
        };
        match &write.change {
            Change::Append(fragment) => self.append(mailbox, head, &[], fragment),
            Change::Pack {
                supersedes,
                fragment,
            } => self.append(mailbox, head, supersedes, fragment),
            Change::Blob(fragment) => self.put_blob(mailbox, head, fragment),
            Change::Forget(ids) => self.forget(mailbox, ids),
            Change::Control(control) => self.control(mailbox, head, control),
            Change::Opened => self.note_opened(mailbox, head, level),
            Change::Drop => self.drop_mailbox(mailbox),
            Change::Create { .. } => unreachable!("handled above"),
        }
    }

    fn append(
        &mut self,
        mailbox: MailboxId,
        mut head: Head,
        supersedes: &[OffsetRange],
        fragment: &EncryptedFragment,
    ) -> Result<Done, Fault> {
        if let Some(last) = supersedes.last()
            && last.to > head.next
        {
            return Ok(Done::refused(ErrorCode::BehindEnd, head.next.0));
        }
        let entries = supersedes.iter().map(|range| range.to.0 - range.from.0);
        if entries.fold(0, u64::saturating_add) > MAX_SUPERSEDED_ENTRIES {
            return Ok(Done::refused(ErrorCode::TooMany, MAX_SUPERSEDED_ENTRIES));
        }
        let id = fragment.id();
        if let Some(done) = self.known_entry(mailbox, id, fragment, supersedes)? {
            return Ok(done);
        }
        let used_bytes = head
            .used_bytes
            .saturating_add(fragment.len_bytes() as u64 + ROW_BYTES);
        let quota_bytes = self.store.rules.quota_bytes;
        // No log reaches 2^64 entries before its quota; both ends say "full".
        let (true, Some(next)) = (used_bytes <= quota_bytes, head.next.next()) else {
            return Ok(Done::refused(ErrorCode::Quota, quota_bytes));
        };
        let offset = head.next;
        let chain = head.chain.after(offset, fragment.len_bytes(), id);
        let row = EntryRow {
            chain,
            id,
            len_bytes: fragment.len_bytes() as u32,
            kind: fragment.header().kind as u8,
            superseded_ms: None,
            body: self.keep(id, fragment)?,
        };
        self.tables
            .log
            .insert((mailbox.0, offset.0), row.encode().as_slice())?;
        self.tables.ids.insert((mailbox.0, id.0), offset.0)?;
        self.supersede(mailbox, supersedes, offset)?;
        (head.next, head.chain, head.used_bytes) = (next, chain, used_bytes);
        self.tables.put_head(mailbox, &head)?;
        Ok(Done {
            stored_bytes: fragment.len_bytes() as u64,
            ..Done::new(Answer::Ack { offset, chain })
        })
    }

    /// The answer for an entry that is there and live. One that was superseded or deleted is stored
    /// anew: who sends it again wants it to be seen.
    fn known_entry(
        &mut self,
        mailbox: MailboxId,
        id: FragmentId,
        fragment: &EncryptedFragment,
        supersedes: &[OffsetRange],
    ) -> Result<Option<Done>, Fault> {
        let known = self.tables.ids.get((mailbox.0, id.0))?;
        let Some(offset) = known.map(|offset| offset.value()) else {
            return Ok(None);
        };
        let (chain, is_file) = {
            let Some(row) = self.tables.log.get((mailbox.0, offset))? else {
                return Ok(None);
            };
            let row = EntryRow::decode(row.value())?;
            if !row.is_live() {
                return Ok(None);
            }
            (row.chain, row.body == Body::File)
        };
        if is_file {
            // Mends a file that was lost; costs one look at the folder where it was not.
            self.store.files.write(id, fragment)?;
        }
        let any_hidden = self.supersede(mailbox, supersedes, Offset(offset))?;
        let answer = Answer::Ack {
            offset: Offset(offset),
            chain,
        };
        Ok(Some(Done {
            is_new: any_hidden,
            ..Done::new(answer)
        }))
    }

    /// Marks entries as replaced, but not the one that replaces them; true when one was not before.
    fn supersede(
        &mut self,
        mailbox: MailboxId,
        ranges: &[OffsetRange],
        by: Offset,
    ) -> Result<bool, Fault> {
        let mut any = false;
        for offset in ranges.iter().flat_map(|range| range.from.0..range.to.0) {
            let hidden = {
                let Some(row) = self.tables.log.get((mailbox.0, offset))? else {
                    continue;
                };
                let row = EntryRow::decode(row.value())?;
                if offset == by.0 || !row.is_live() {
                    continue;
                }
                EntryRow {
                    superseded_ms: Some(self.now_ms.max(1)),
                    ..row
                }
                .encode()
            };
            self.tables
                .log
                .insert((mailbox.0, offset), hidden.as_slice())?;
            self.tables
                .superseded
                .insert((self.now_ms.max(1), mailbox.0, offset), ())?;
            any = true;
        }
        Ok(any)
    }

    /// Puts the bytes where they belong.
    pub(super) fn keep<'a>(
        &mut self,
        id: FragmentId,
        fragment: &'a EncryptedFragment,
    ) -> Result<Body<'a>, Fault> {
        if !self.store.files.take(fragment.len_bytes()) {
            return Ok(Body::Inline(fragment.as_bytes()));
        }
        self.store.files.write(id, fragment)?;
        self.tables.keep_file(id)?;
        self.released.retain(|released| *released != id);
        Ok(Body::File)
    }
}

/// What a device is told that has opened a mailbox at this level.
pub(crate) fn opened(head: &Head, level: Level, quota_bytes: u64) -> Answer {
    if level == Level::ControlOnly {
        return Answer::Opened {
            access: Access::ControlOnly,
            next: Offset(0),
            chain: satchel_protocol::chain::Chain::START,
            ctl_next: head.ctl_next,
            used_bytes: 0,
            quota_bytes: 0,
        };
    }
    Answer::Opened {
        access: Access::Full,
        next: head.next,
        chain: head.chain,
        ctl_next: head.ctl_next,
        used_bytes: head.used_bytes,
        quota_bytes,
    }
}
