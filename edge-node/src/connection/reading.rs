//! Answers that come in steps: pages of a log, and followers that wait for more.
//!
//! A wait holds no memory and no transaction. Start at [`Session::deliver_reading`].

use std::sync::Arc;
use std::time::Duration;

use quinn::SendStream;
use satchel_protocol::frame::{Answer, ErrorCode};
use satchel_protocol::limits::{MAX_READ_PAGE_BYTES, RENDEZVOUS_POLL};
use tokio::sync::watch;

use super::{BUDGET_WAIT, BUSY_RETRY_MS, Session, refusal};
use crate::mailboxes::{Reading, Step, What};
use crate::writer::now_ms;

/// How an answer ended.
pub(super) enum Delivery {
    /// All of it was sent.
    Whole,
    /// The device stopped a stream on which it waited.
    Stopped,
    /// The device went away or did not read.
    Lost,
}

impl Delivery {
    fn of(sent: bool) -> Self {
        if sent { Self::Whole } else { Self::Lost }
    }
}

/// Who ended a read that waits.
enum Wait {
    /// There may be more.
    Changed,
    /// The time for waiting is over.
    Expired,
    /// The device stopped the stream.
    Stopped,
    /// Nothing more can come: the node stops.
    Ended,
}

impl Session {
    /// Sends what is read, step by step; a follower waits here for what comes.
    pub(super) async fn deliver_reading(
        &self,
        send: &mut SendStream,
        mut reading: Reading,
    ) -> Delivery {
        let deadline = tokio::time::Instant::now() + RENDEZVOUS_POLL;
        let mut changes = self.changes(&reading);
        loop {
            let Some(share) = self
                .shared
                .budget
                .take(MAX_READ_PAGE_BYTES, BUDGET_WAIT)
                .await
            else {
                let busy = refusal(
                    ErrorCode::Busy,
                    0,
                    Duration::from_millis(BUSY_RETRY_MS.into()),
                );
                return Delivery::of(self.send(send, busy).await);
            };
            // Before the look: what changes after it wakes the wait below.
            if let Some(changes) = &mut changes {
                changes.mark_unchanged();
            }
            let mailboxes = Arc::clone(&self.shared.mailboxes);
            let looked = tokio::task::spawn_blocking(move || {
                let (answers, step) = mailboxes.step(&mut reading, now_ms());
                (answers, step, reading)
            });
            // Only our own bug can panic in there; this request fails and the node goes on.
            let Ok((mut answers, step, after)) = looked.await else {
                let failed = refusal(ErrorCode::Storage, 0, Duration::ZERO);
                return Delivery::of(self.send(send, failed).await);
            };
            reading = after;
            let is_message = matches!(reading.what, What::Message { .. });
            if is_message && step == Step::CaughtUp {
                // "Not yet" is said at the end of the wait alone.
                answers.clear();
            }
            for answer in answers {
                if !self.send(send, answer).await {
                    return Delivery::Lost;
                }
            }
            drop(share);
            match step {
                Step::Finished => return Delivery::Whole,
                Step::More => {}
                Step::CaughtUp => {
                    let deadline = is_message.then_some(deadline);
                    match self.wait(send, changes.as_mut(), deadline).await {
                        Wait::Changed => {}
                        Wait::Expired => {
                            return Delivery::of(self.send(send, Answer::RvWaiting).await);
                        }
                        Wait::Ended => return Delivery::Whole,
                        Wait::Stopped => return Delivery::Stopped,
                    }
                }
            }
        }
    }

    fn changes(&self, reading: &Reading) -> Option<watch::Receiver<()>> {
        match reading.what {
            What::Log {
                mailbox,
                follow: true,
                ..
            } => self.access().changes(mailbox),
            What::Message { .. } => Some(self.shared.mailboxes.rendezvous_changes()),
            _ => None,
        }
    }

    async fn wait(
        &self,
        send: &mut SendStream,
        changes: Option<&mut watch::Receiver<()>>,
        deadline: Option<tokio::time::Instant>,
    ) -> Wait {
        let Some(changes) = changes else {
            return Wait::Ended;
        };
        let expired = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let mut stop = self.stop.clone();
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => Wait::Changed,
                Err(_) => Wait::Ended,
            },
            () = expired => Wait::Expired,
            _ = send.stopped() => Wait::Stopped,
            _ = stop.wait_for(|stopping| *stopping) => Wait::Ended,
        }
    }
}
