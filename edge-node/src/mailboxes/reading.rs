//! Requests that read, one bounded step after the other.
//!
//! Each step looks at the store anew, so a reader that waits holds no memory and no transaction, and one
//! whose capabilities are past is denied at its next step. Start at [`Mailboxes::step`].

use satchel_protocol::frame::{Answer, Request};
use satchel_protocol::id::{FragmentId, MailboxId, Offset};
use satchel_protocol::limits::{MAX_READ_ENTRIES, MAX_READ_PAGE_BYTES};

use super::access::SessionAccess;
use super::{Mailboxes, storage_refusal};
use crate::store::{Bounds, Grant, Refusable, StoreError};

/// A read under way.
pub(crate) struct Reading {
    pub(crate) what: What,
    grant: Option<Grant>,
}

/// What is read, from where on.
pub(crate) enum What {
    Log {
        mailbox: MailboxId,
        from: Offset,
        max_entries: u32,
        compact: bool,
        follow: bool,
    },
    Control {
        mailbox: MailboxId,
        from: u32,
    },
    Blob {
        mailbox: MailboxId,
        id: FragmentId,
    },
    Has {
        mailbox: MailboxId,
        ids: Vec<FragmentId>,
    },
    Message {
        nameplate: u32,
        token: [u8; 16],
        index: u8,
    },
}

/// How it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take the next step.
    More,
    /// Nothing more for now: wait for a change, then take the next step.
    CaughtUp,
    /// Over.
    Finished,
}

impl Reading {
    /// `None` where the mailbox is not open on this connection.
    pub(super) fn of(request: Request, access: &SessionAccess) -> Option<Self> {
        let (mailbox, what) = match request {
            Request::Read {
                mailbox,
                from,
                max_entries,
                compact,
            } => {
                let what = What::Log {
                    mailbox,
                    from,
                    max_entries,
                    compact,
                    follow: false,
                };
                (Some(mailbox), what)
            }
            Request::Follow {
                mailbox,
                from,
                compact,
            } => {
                let what = What::Log {
                    mailbox,
                    from,
                    max_entries: MAX_READ_ENTRIES,
                    compact,
                    follow: true,
                };
                (Some(mailbox), what)
            }
            Request::CtlRead { mailbox, from } => (Some(mailbox), What::Control { mailbox, from }),
            Request::BlobGet {
                mailbox,
                fragment_id: id,
            } => (Some(mailbox), What::Blob { mailbox, id }),
            Request::Has { mailbox, ids } => (Some(mailbox), What::Has { mailbox, ids }),
            Request::RvNext {
                nameplate,
                token,
                index,
            } => {
                let what = What::Message {
                    nameplate,
                    token,
                    index,
                };
                (None, what)
            }
            _ => return None,
        };
        let grant = mailbox.and_then(|mailbox| access.grant(mailbox));
        (grant.is_some() || mailbox.is_none()).then_some(Self { what, grant })
    }
}

impl Mailboxes {
    /// Reads the next piece: at most one page. Blocks for the disk.
    pub(crate) fn step(&self, reading: &mut Reading, now_ms: u64) -> (Vec<Answer>, Step) {
        match self.try_step(reading, now_ms) {
            Ok(Ok(answers)) => answers,
            Ok(Err(refusal)) => (vec![*refusal], Step::Finished),
            Err(error) => (vec![storage_refusal(&error)], Step::Finished),
        }
    }

    fn try_step(
        &self,
        reading: &mut Reading,
        now_ms: u64,
    ) -> Result<Refusable<(Vec<Answer>, Step)>, StoreError> {
        let grant = reading.grant.as_ref();
        let once = |answer| (vec![answer], Step::Finished);
        Ok(match &mut reading.what {
            What::Log {
                mailbox,
                from,
                max_entries,
                compact,
                follow,
            } => {
                let bounds = Bounds {
                    max_entries: *max_entries as usize,
                    max_bytes: MAX_READ_PAGE_BYTES,
                    compact: *compact,
                };
                let page = self.store.read_log(*mailbox, grant, *from, bounds)?;
                page.map(|page| {
                    let is_all = page.next == page.log_end;
                    let step = match (*follow, is_all) {
                        (false, _) => Step::Finished,
                        (true, true) => Step::CaughtUp,
                        (true, false) => Step::More,
                    };
                    *from = page.next;
                    let end = Answer::End {
                        next: page.next,
                        log_end: page.log_end,
                        chain: page.chain,
                        ctl_next: page.ctl_next,
                        sessions: self.presence.sessions(*mailbox),
                    };
                    let entries = page.entries.into_iter();
                    let mut answers: Vec<_> = entries
                        .map(|(offset, superseded, fragment)| Answer::Entry {
                            offset,
                            superseded,
                            fragment,
                        })
                        .collect();
                    if step != Step::More {
                        answers.push(end);
                    }
                    (answers, step)
                })
            }
            What::Control { mailbox, from } => self
                .store
                .read_ctl(*mailbox, grant, *from, MAX_READ_PAGE_BYTES)?
                .map(|(mut answers, next)| {
                    // As many as there are records, which are counted by 32 bits.
                    *from += answers.len() as u32;
                    if *from < next {
                        return (answers, Step::More);
                    }
                    answers.push(Answer::CtlEnd { next });
                    (answers, Step::Finished)
                }),
            What::Blob { mailbox, id } => self.store.read_blob(*mailbox, grant, *id)?.map(once),
            What::Has { mailbox, ids } => self.store.has(*mailbox, grant, ids)?.map(once),
            What::Message {
                nameplate,
                token,
                index,
            } => {
                let answer = self.places().next(*nameplate, *token, *index, now_ms);
                let step = match answer {
                    Answer::RvWaiting => Step::CaughtUp,
                    _ => Step::Finished,
                };
                Ok((vec![answer], step))
            }
        })
    }
}
