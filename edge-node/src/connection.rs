//! One connected device: hello first, then requests side by side, each on a stream of its own.
//!
//! Never lets one bad request harm the next: each is answered or dropped by itself, and only a device
//! that keeps sending garbage loses its connection. Start at [`serve`].

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quinn::{Connection, RecvStream, SendStream, VarInt};
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode, FrameType, Request};
use satchel_protocol::id::{MailboxId, Offset};
use satchel_protocol::limits::{HELLO_TIMEOUT, MAX_READ_PAGE_BYTES, MAX_VERSION, MIN_VERSION};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::Limits;
use crate::metrics::Metrics;
use crate::rate::Bucket;
use crate::storage::{Page, ReadRefusal, Store};
use crate::wire::{self, Budget, RequestError};
use crate::writer::{Job, JobError};

/// Requests that are no frames before the connection is closed.
const MAX_MALFORMED: u32 = 16;

/// How long a read waits for memory before the device is told to come again.
const BUDGET_WAIT: Duration = Duration::from_secs(5);

/// When to come again after "busy".
const BUSY_RETRY_MS: u32 = 1000;

/// Why the node closes a connection, as QUIC's application error code.
pub(crate) mod close {
    use quinn::VarInt;

    /// The node stops.
    pub(crate) const STOPPING: VarInt = VarInt::from_u32(0);
    /// No hello, or too many requests that were no frames.
    pub(crate) const MISBEHAVED: VarInt = VarInt::from_u32(1);
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) jobs: mpsc::Sender<Job>,
    pub(crate) budget: Budget,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
}

/// Serves one device until it leaves, misbehaves or the node stops. Requests under way are finished.
pub(crate) async fn serve(
    connection: Connection,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let session = Arc::new(Session::new(shared));
    if !session.hello(&connection).await {
        connection.close(close::MISBEHAVED, b"hello first");
        return;
    }
    let mut requests = JoinSet::new();
    let reason = loop {
        tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, recv)) => {
                    let session = Arc::clone(&session);
                    requests.spawn(async move { session.serve_request(send, recv).await });
                }
                Err(_) => return,
            },
            Some(_) = requests.join_next(), if !requests.is_empty() => {
                if session.malformed.load(Ordering::Relaxed) >= MAX_MALFORMED {
                    break close::MISBEHAVED;
                }
            }
            // A dropped sender is a stopping node as well.
            _ = stop.wait_for(|stopping| *stopping) => break close::STOPPING,
        }
    };
    while requests.join_next().await.is_some() {}
    let words: &[u8] = if reason == close::STOPPING {
        b"the node is stopping"
    } else {
        b"too many malformed requests"
    };
    connection.close(reason, words);
}

/// One device's rates and record.
struct Session {
    shared: Arc<Shared>,
    requests: Mutex<Bucket>,
    bytes: Mutex<Bucket>,
    malformed: AtomicU32,
}

/// A request's answer: one frame, or a page of entries.
enum Reply {
    One(Answer),
    Page(Page, wire::Share),
}

impl Session {
    fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let limits = &shared.limits;
        Self {
            requests: Mutex::new(Bucket::new(
                limits.requests_per_s,
                limits.request_burst,
                now,
            )),
            bytes: Mutex::new(Bucket::new(limits.bytes_per_s, limits.bytes_per_s, now)),
            malformed: AtomicU32::new(0),
            shared,
        }
    }

    /// Waits for the hello and answers it; false when the connection is to be closed.
    async fn hello(&self, connection: &Connection) -> bool {
        let exchange = async {
            let (mut send, mut recv) = connection.accept_bi().await.ok()?;
            let answer = self.answer_hello(&mut recv).await;
            let accepted = matches!(answer, Answer::HelloAck { .. });
            self.deliver(&mut send, &mut recv, Reply::One(answer)).await;
            Some(accepted)
        };
        tokio::time::timeout(HELLO_TIMEOUT, exchange)
            .await
            .ok()
            .flatten()
            .unwrap_or(false)
    }

    async fn answer_hello(&self, recv: &mut RecvStream) -> Answer {
        let header = match wire::read_header(recv, self.max_fragment_bytes()).await {
            Ok(header) if header.frame_type == FrameType::Hello => header,
            Ok(_) => return refusal(ErrorCode::HelloFirst, 0, Duration::ZERO),
            Err(error) => return self.request_refusal(&error),
        };
        match wire::read_request(recv, header, &self.shared.budget).await {
            Ok((
                Request::Hello {
                    min_version,
                    max_version,
                },
                _,
            )) => self.choose_version(min_version, max_version),
            Ok(_) => refusal(ErrorCode::HelloFirst, 0, Duration::ZERO),
            Err(error) => self.request_refusal(&error),
        }
    }

    #[allow(
        clippy::unnecessary_min_or_max,
        reason = "both bounds are 0 only in this version"
    )]
    fn choose_version(&self, min_version: u16, max_version: u16) -> Answer {
        let version = max_version.min(MAX_VERSION);
        if version < min_version.max(MIN_VERSION) {
            return refusal(ErrorCode::Version, u64::from(MAX_VERSION), Duration::ZERO);
        }
        Answer::HelloAck {
            version,
            max_fragment_bytes: self.shared.limits.max_fragment_bytes,
            mailbox_quota_bytes: self.shared.limits.mailbox_quota_bytes,
        }
    }

    async fn serve_request(&self, mut send: SendStream, mut recv: RecvStream) {
        match self.answer(&mut recv).await {
            Ok(reply) => self.deliver(&mut send, &mut recv, reply).await,
            Err(RequestError::Gone) => {
                self.shared.metrics.requests_abandoned.one();
                wire::stop_reading(&mut recv);
                // A reset, so that the device does not take silence for an answer.
                drop(send.reset(VarInt::from_u32(1)));
            }
            Err(error) => {
                let answer = self.request_refusal(&error);
                self.deliver(&mut send, &mut recv, Reply::One(answer)).await;
            }
        }
    }

    async fn answer(&self, recv: &mut RecvStream) -> Result<Reply, RequestError> {
        let header = wire::read_header(recv, self.max_fragment_bytes()).await?;
        if let Err(wait) = self.try_request() {
            let limit = u64::from(self.shared.limits.requests_per_s);
            return Ok(Reply::One(refusal(ErrorCode::Rate, limit, wait)));
        }
        // Too much data is slowed down and not refused: QUIC's flow control carries it to the sender.
        tokio::time::sleep(self.owe_bytes(header.body_len_bytes)).await;
        let (request, share) = wire::read_request(recv, header, &self.shared.budget).await?;
        let reply = match request {
            Request::Hello { .. } => Reply::One(refusal(ErrorCode::HelloFirst, 0, Duration::ZERO)),
            Request::Append { mailbox, fragment } => {
                Reply::One(self.append(mailbox, fragment).await)
            }
            Request::Read {
                mailbox,
                from,
                max_entries,
            } => self.read(mailbox, from, max_entries).await,
        };
        drop(share);
        Ok(reply)
    }

    async fn append(
        &self,
        mailbox: MailboxId,
        fragment: satchel_protocol::fragment::EncryptedFragment,
    ) -> Answer {
        tracing::trace!(mailbox = %mailbox.short(), bytes = fragment.len_bytes(), "append");
        let (reply, stored) = oneshot::channel();
        if self
            .shared
            .jobs
            .send(Job {
                mailbox,
                fragment,
                reply,
            })
            .await
            .is_err()
        {
            return refusal(ErrorCode::Storage, 0, Duration::ZERO);
        }
        match stored.await {
            Ok(Ok(placed)) => Answer::Ack {
                offset: placed.offset,
                chain: placed.chain,
            },
            Ok(Err(JobError::Quota)) => refusal(
                ErrorCode::Quota,
                self.shared.limits.mailbox_quota_bytes,
                Duration::ZERO,
            ),
            Ok(Err(JobError::DiskFull)) => refusal(ErrorCode::DiskFull, 0, Duration::from_secs(60)),
            // The writer ended with an error before this commit: nothing was stored.
            Err(_) => refusal(ErrorCode::Storage, 0, Duration::ZERO),
        }
    }

    async fn read(&self, mailbox: MailboxId, from: Offset, max_entries: u32) -> Reply {
        tracing::trace!(mailbox = %mailbox.short(), %from, "read");
        let Some(share) = self
            .shared
            .budget
            .take(MAX_READ_PAGE_BYTES, BUDGET_WAIT)
            .await
        else {
            return Reply::One(refusal(
                ErrorCode::Busy,
                0,
                Duration::from_millis(BUSY_RETRY_MS.into()),
            ));
        };
        let store = Arc::clone(&self.shared.store);
        let read = move || store.read(mailbox, from, max_entries as usize, MAX_READ_PAGE_BYTES);
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(page)) => Reply::Page(page, share),
            Ok(Err(ReadRefusal::BehindEnd { log_end })) => {
                Reply::One(refusal(ErrorCode::BehindEnd, log_end.0, Duration::ZERO))
            }
            Ok(Err(ReadRefusal::Store(error))) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot read the store"
                );
                Reply::One(refusal(ErrorCode::Storage, 0, Duration::ZERO))
            }
            // Only our own bug can panic in there; this request fails and the node goes on.
            Err(_) => Reply::One(refusal(ErrorCode::Storage, 0, Duration::ZERO)),
        }
    }

    async fn deliver(&self, send: &mut SendStream, recv: &mut RecvStream, reply: Reply) {
        let metrics = &self.shared.metrics;
        let mut sent = true;
        match reply {
            Reply::One(answer) => {
                if let Answer::Error(error) = &answer {
                    tracing::debug!(code = ?error.code, "request refused");
                    metrics.requests_refused.one();
                    wire::stop_reading(recv);
                }
                sent &= wire::write_answer(send, &answer).await;
            }
            Reply::Page(page, share) => {
                sent &= self.deliver_page(send, page).await;
                drop(share);
            }
        }
        if !(sent && wire::finish(send).await) {
            metrics.answers_undelivered.one();
        }
    }

    async fn deliver_page(&self, send: &mut SendStream, page: Page) -> bool {
        for (offset, fragment) in page.entries {
            let bytes = fragment.len_bytes();
            tokio::time::sleep(self.owe_bytes(bytes)).await;
            if !wire::write_answer(send, &Answer::Entry { offset, fragment }).await {
                return false;
            }
            self.shared.metrics.fragments_sent.one();
            self.shared.metrics.bytes_sent.add(bytes as u64);
        }
        let end = Answer::End {
            next: page.next,
            log_end: page.log_end,
            chain: page.chain,
        };
        wire::write_answer(send, &end).await
    }

    fn request_refusal(&self, error: &RequestError) -> Answer {
        match error {
            RequestError::TooBig => refusal(
                ErrorCode::TooBig,
                u64::from(self.shared.limits.max_fragment_bytes),
                Duration::ZERO,
            ),
            RequestError::Frame(_) | RequestError::NotOneFrame | RequestError::Gone => {
                tracing::debug!(%error, "malformed request");
                self.malformed.fetch_add(1, Ordering::Relaxed);
                self.shared.metrics.malformed.one();
                refusal(ErrorCode::Malformed, 0, Duration::ZERO)
            }
        }
    }

    fn max_fragment_bytes(&self) -> usize {
        self.shared.limits.max_fragment_bytes as usize
    }

    fn try_request(&self) -> Result<(), Duration> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_take(Instant::now())
    }

    fn owe_bytes(&self, amount: usize) -> Duration {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_and_owe(amount, Instant::now())
    }
}

fn refusal(code: ErrorCode, limit: u64, retry_after: Duration) -> Answer {
    // Rounded up, so that who waits this long is not refused once more.
    let retry_after_ms = u32::try_from(retry_after.as_micros().div_ceil(1000)).unwrap_or(u32::MAX);
    Answer::Error(ErrorAnswer {
        code,
        limit,
        retry_after_ms,
    })
}
