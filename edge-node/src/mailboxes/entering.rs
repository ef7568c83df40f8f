//! Requests whose signature is the proof: Open, Create, Drop.
//!
//! Every refusal is the same and costs the same: one verification, also for a mailbox that is not there.
//! Start at [`Mailboxes::open_mailbox`].

use satchel_protocol::capability;
use satchel_protocol::frame::{ErrorCode, Request, Role};
use satchel_protocol::id::MailboxId;

use super::access::SessionAccess;
use super::{Begun, Mailboxes, begin_write, refusal, storage_refusal};
use crate::store::{Change, Grant, Level, StoreError, Write, opened};

/// A mailbox's last use is noted once a day, so that opening it seldom costs a commit.
const NOTE_OPENED_MS: u64 = 24 * 60 * 60 * 1000;

/// A valid key that nobody holds (RFC 8032 § 7.1, test 2): a signature for an unknown mailbox is checked
/// against it, so that refusing it takes as long as refusing a wrong one.
const NOBODYS_KEY: [u8; 32] = [
    0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
    0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c,
];

impl Mailboxes {
    pub(super) fn open_mailbox(
        &self,
        access: &mut SessionAccess,
        mailbox: MailboxId,
        role: Role,
        cap_epoch: u32,
        proof: Proof<'_>,
        now_ms: u64,
    ) -> Result<Begun, StoreError> {
        let head = self.store.head(mailbox)?;
        let current = head.map(|head| head.capabilities);
        let (key, level) = match (role, head, current) {
            (Role::Policy, Some(head), _) => (Some(head.policy_key), Level::Policy),
            (Role::Writer, _, Some(keys)) if keys.cap_epoch == cap_epoch => {
                (Some(keys.writer_key), Level::Writer)
            }
            (Role::Reader, _, Some(keys)) if keys.cap_epoch == cap_epoch => {
                (Some(keys.reader_key), Level::Reader)
            }
            (Role::Reader, Some(_), _) => (
                self.store.past_reader(mailbox, cap_epoch)?,
                Level::ControlOnly,
            ),
            _ => (None, Level::ControlOnly),
        };
        let is_proved = proof.holds(&key.unwrap_or(NOBODYS_KEY));
        let (Some(head), Some(_), true) = (head, key, is_proved) else {
            return Ok(Begun::Answer(refusal(ErrorCode::Denied, 0)));
        };
        let grant = Grant {
            level,
            cap_epoch,
            policy_counter: head.policy_counter,
            created_ms: head.created_ms,
        };
        if let Err(limit) = access.insert(mailbox, grant, &head) {
            return Ok(Begun::Answer(refusal(ErrorCode::TooMany, limit)));
        }
        let level = access.level(mailbox, &head).unwrap_or(level);
        if now_ms.saturating_sub(head.opened_ms) > NOTE_OPENED_MS {
            return Ok(begin_write(access, mailbox, Change::Opened));
        }
        let quota_bytes = self.store.rules().quota_bytes;
        Ok(Begun::Answer(opened(&head, level, quota_bytes)))
    }

    /// Create and Drop: the policy key itself asks, without having opened anything.
    pub(super) fn begin_signed(
        &self,
        binding: &dyn Fn(MailboxId) -> [u8; 32],
        request: Request,
    ) -> Begun {
        let denied = Begun::Answer(refusal(ErrorCode::Denied, 0));
        match request {
            Request::Create {
                policy_key,
                capabilities,
                token,
                signature,
            } => {
                let mailbox = MailboxId::of_policy_key(&policy_key);
                let message =
                    capability::create_message(&binding(mailbox), mailbox, &capabilities, &token);
                let is_signed = capability::verify(&policy_key, &message, &signature);
                if !is_signed || !self.creation.admits(&token) {
                    return denied;
                }
                let change = Change::Create {
                    policy_key,
                    capabilities,
                };
                Begun::Write(Box::new(Write {
                    mailbox,
                    grant: None,
                    change,
                }))
            }
            Request::Drop { mailbox, signature } => {
                let head = match self.store.head(mailbox) {
                    Ok(head) => head,
                    Err(error) => return Begun::Answer(storage_refusal(&error)),
                };
                let key = head.map_or(NOBODYS_KEY, |head| head.policy_key);
                let message = capability::drop_message(&binding(mailbox), mailbox);
                let is_signed = capability::verify(&key, &message, &signature);
                let (Some(head), true) = (head, is_signed) else {
                    return denied;
                };
                let grant = Grant {
                    level: Level::Policy,
                    cap_epoch: 0,
                    policy_counter: head.policy_counter,
                    created_ms: head.created_ms,
                };
                Begun::Write(Box::new(Write {
                    mailbox,
                    grant: Some(grant),
                    change: Change::Drop,
                }))
            }
            _ => denied,
        }
    }
}

/// A signature and what it is over.
pub(super) struct Proof<'a> {
    pub(super) message: &'a [u8],
    pub(super) signature: &'a [u8; 64],
}

impl Proof<'_> {
    fn holds(&self, key: &[u8; 32]) -> bool {
        capability::verify(key, self.message, self.signature)
    }
}
