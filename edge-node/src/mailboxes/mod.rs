//! What a node does with each request, without sockets: the same code behind QUIC and in a simulator.
//!
//! Blocking and synchronous; the caller brings the time and what binds signatures to a connection.
//! Knows nothing of rates, deadlines or memory budgets: those are the connection's.
//!
//! Start at [`Mailboxes::handle`]. A caller with its own writer (the node, for group commit) takes the
//! steps one by one: `begin`, then `commit` or `step`.
//!
//! ```
//! use satchel_edge_node::config::Limits;
//! use satchel_edge_node::mailboxes::Mailboxes;
//! use satchel_protocol::frame::{Answer, Request};
//!
//! let node = Mailboxes::in_memory(&Limits::default())?;
//! let mut session = node.session([127, 0, 0, 1].into());
//! let binding = |_mailbox| [7; 32];
//! let hello = Request::Hello { min_version: 1, max_version: 1 };
//! let answers = node.handle(&mut session, &binding, hello, 1_700_000_000_000);
//! assert!(matches!(answers[..], [Answer::HelloAck { version: 1, .. }]));
//! # Ok::<(), satchel_edge_node::StoreError>(())
//! ```

mod access;
mod entering;
mod reading;
mod rendezvous;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use satchel_protocol::capability;
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode, Request};
use satchel_protocol::id::MailboxId;
use satchel_protocol::limits::{MAX_VERSION, MIN_VERSION};
use tokio::sync::watch;

use crate::config::{Config, Creation, Limits};
use crate::store::{
    AuditReport, Change, Control, Done, GcReport, Rules, StatsReport, Store, StoreError, Write,
};
use access::Presence;
pub use access::SessionAccess;
use entering::Proof;
pub(crate) use reading::{Reading, Step, What};
use rendezvous::Rendezvous;

/// All mailboxes and nameplates of a node.
pub struct Mailboxes {
    store: Store,
    creation: Creation,
    limits: Limits,
    presence: Presence,
    rendezvous: Mutex<Rendezvous>,
    rendezvous_changed: watch::Sender<()>,
}

/// How a request goes on.
pub(crate) enum Begun {
    /// It is answered.
    Answer(Answer),
    /// It changes the store: [`Mailboxes::commit`] it.
    Write(Box<Write>),
    /// It reads, in steps.
    Read(Reading),
}

impl Mailboxes {
    /// Opens or creates the mailboxes of this data folder.
    ///
    /// # Errors
    /// [`StoreError`]; each says what to do.
    pub fn open(dir: &Path, config: &Config) -> Result<Self, StoreError> {
        let store = Store::open(dir, Rules::of(config))?;
        Ok(Self::new(store, config))
    }

    /// Mailboxes without a disk, which anyone may create. They end with the value.
    ///
    /// # Errors
    /// [`StoreError`] never, unless memory is short.
    pub fn in_memory(limits: &Limits) -> Result<Self, StoreError> {
        let config = Config {
            limits: limits.clone(),
            ..Config::default()
        };
        Ok(Self::new(Store::in_memory(Rules::of(&config))?, &config))
    }

    pub(crate) fn new(store: Store, config: &Config) -> Self {
        Self {
            store,
            creation: config.resolved_creation(),
            limits: config.limits.clone(),
            presence: Presence::default(),
            rendezvous: Mutex::new(Rendezvous::new(&config.limits)),
            rendezvous_changed: watch::Sender::new(()),
        }
    }

    /// A new connection from this address, which has opened nothing. The address counts for the limits
    /// of nameplates alone and is never stored.
    pub fn session(&self, origin: IpAddr) -> SessionAccess {
        SessionAccess::new(origin, self.presence.clone())
    }

    /// Handles one request from beginning to end. Blocks for the disk.
    ///
    /// A follow gives what there is and an `End`, a question for the next message at a nameplate
    /// `RvWaiting` where there is none: the caller asks again. `binding` gives the 32 bytes that this
    /// connection exports for a mailbox; `now_ms` is milliseconds since 1970 UTC.
    pub fn handle(
        &self,
        access: &mut SessionAccess,
        binding: &dyn Fn(MailboxId) -> [u8; 32],
        request: Request,
        now_ms: u64,
    ) -> Vec<Answer> {
        match self.begin(access, binding, request, now_ms) {
            Begun::Answer(answer) => vec![answer],
            Begun::Write(write) => match self.commit(std::slice::from_ref(&write), now_ms) {
                Ok(dones) => dones.into_iter().map(|done| done.answer).collect(),
                Err(error) => vec![storage_refusal(&error)],
            },
            Begun::Read(mut reading) => {
                let mut answers = Vec::new();
                loop {
                    let (more, step) = self.step(&mut reading, now_ms);
                    answers.extend(more);
                    if step != Step::More {
                        return answers;
                    }
                }
            }
        }
    }

    /// Deletes what is past its time: see the operator's settings `[keep]`. With `dry_run` counts only.
    ///
    /// # Errors
    /// [`StoreError`]; what was deleted before stays deleted.
    pub fn gc(&self, now_ms: u64, dry_run: bool) -> Result<GcReport, StoreError> {
        self.store.gc(now_ms, dry_run, true)
    }

    /// All that the node knows of a mailbox; `None` when it has none of this id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn audit(&self, mailbox: MailboxId) -> Result<Option<AuditReport>, StoreError> {
        self.store.audit(mailbox)
    }

    /// Totals over all mailboxes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn stats(&self) -> Result<StatsReport, StoreError> {
        self.store.stats()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Checks a request as far as that goes without changing anything, and says how it goes on.
    ///
    /// Open, Create and Drop verify a signature (60 µs) and open may look into the store; the others are
    /// quick.
    pub(crate) fn begin(
        &self,
        access: &mut SessionAccess,
        binding: &dyn Fn(MailboxId) -> [u8; 32],
        request: Request,
        now_ms: u64,
    ) -> Begun {
        match request {
            Request::Hello {
                min_version,
                max_version,
            } => Begun::Answer(self.hello(min_version, max_version, now_ms)),
            Request::Open {
                mailbox,
                role,
                cap_epoch,
                signature,
            } => {
                let message = capability::open_message(&binding(mailbox), mailbox, role, cap_epoch);
                let proof = Proof {
                    message: &message,
                    signature: &signature,
                };
                self.open_mailbox(access, mailbox, role, cap_epoch, proof, now_ms)
                    .unwrap_or_else(|error| Begun::Answer(storage_refusal(&error)))
            }
            request @ (Request::Create { .. } | Request::Drop { .. }) => {
                self.begin_signed(binding, request)
            }
            Request::Append { mailbox, fragment } => self.begin_long(
                access,
                mailbox,
                fragment.len_bytes(),
                Change::Append(fragment),
            ),
            Request::Pack {
                mailbox,
                supersedes,
                fragment,
            } => {
                let len_bytes = fragment.len_bytes();
                let change = Change::Pack {
                    supersedes,
                    fragment,
                };
                self.begin_long(access, mailbox, len_bytes, change)
            }
            Request::BlobPut { mailbox, fragment } => self.begin_long(
                access,
                mailbox,
                fragment.len_bytes(),
                Change::Blob(fragment),
            ),
            Request::BlobForget { mailbox, ids } => {
                begin_write(access, mailbox, Change::Forget(ids))
            }
            Request::CtlAppend {
                mailbox,
                expect_index,
                record,
                previous_epoch,
                rotation,
                policy,
            } => {
                let control = Control {
                    expect_index,
                    record,
                    previous_epoch,
                    rotation,
                    policy,
                };
                begin_write(access, mailbox, Change::Control(Box::new(control)))
            }
            request @ (Request::Read { .. }
            | Request::Follow { .. }
            | Request::CtlRead { .. }
            | Request::BlobGet { .. }
            | Request::Has { .. }
            | Request::RvNext { .. }) => match Reading::of(request, access) {
                Some(reading) => Begun::Read(reading),
                None => Begun::Answer(refusal(ErrorCode::Denied, 0)),
            },
            Request::RvAllocate
            | Request::RvClaim { .. }
            | Request::RvPost { .. }
            | Request::RvBurn { .. } => Begun::Answer(self.meet(access.origin(), request, now_ms)),
        }
    }

    /// Makes changes durable, all together, and wakes who follows them.
    ///
    /// # Errors
    /// [`StoreError`] when the commit failed: none of them counts as stored.
    pub(crate) fn commit(&self, writes: &[Write], now_ms: u64) -> Result<Vec<Done>, StoreError> {
        let dones = self.store.commit(writes, now_ms)?;
        for (write, done) in writes.iter().zip(&dones) {
            if done.is_new {
                self.presence.wake(write.mailbox);
            }
        }
        Ok(dones)
    }

    /// Tells when something at a nameplate changes.
    pub(crate) fn rendezvous_changes(&self) -> watch::Receiver<()> {
        self.rendezvous_changed.subscribe()
    }

    fn hello(&self, min_version: u16, max_version: u16, now_ms: u64) -> Answer {
        let version = max_version.min(MAX_VERSION);
        if version < min_version.max(MIN_VERSION) {
            return refusal(ErrorCode::Version, MAX_VERSION.into());
        }
        Answer::HelloAck {
            version,
            max_fragment_bytes: self.limits.max_fragment_bytes,
            mailbox_quota_bytes: self.limits.mailbox_quota_bytes,
            time_ms: now_ms,
        }
    }

    fn begin_long(
        &self,
        access: &SessionAccess,
        mailbox: MailboxId,
        len_bytes: usize,
        change: Change,
    ) -> Begun {
        let max_bytes = self.limits.max_fragment_bytes;
        if len_bytes > max_bytes as usize {
            return Begun::Answer(refusal(ErrorCode::TooBig, max_bytes.into()));
        }
        begin_write(access, mailbox, change)
    }

    fn meet(&self, origin: IpAddr, request: Request, now_ms: u64) -> Answer {
        let answer = self.places().handle(origin, request, now_ms);
        if !matches!(answer, Answer::Error(_)) {
            self.rendezvous_changed.send_replace(());
        }
        answer
    }

    fn places(&self) -> MutexGuard<'_, Rendezvous> {
        // A panic elsewhere leaves a nameplate at worst, which expires.
        self.rendezvous
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn begin_write(access: &SessionAccess, mailbox: MailboxId, change: Change) -> Begun {
    match access.grant(mailbox) {
        Some(grant) => Begun::Write(Box::new(Write {
            mailbox,
            grant: Some(grant),
            change,
        })),
        None => Begun::Answer(refusal(ErrorCode::Denied, 0)),
    }
}

fn refusal(code: ErrorCode, limit: u64) -> Answer {
    Answer::Error(ErrorAnswer {
        code,
        limit,
        retry_after_ms: 0,
    })
}

fn storage_refusal(error: &StoreError) -> Answer {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "cannot use the store"
    );
    refusal(ErrorCode::Storage, 0)
}
