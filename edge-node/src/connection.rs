//! One connected device: hello first, then requests side by side, each on a stream of its own.
//!
//! Never lets one bad request harm the next: each is answered or dropped by itself, and only a device
//! that keeps sending garbage loses its connection. Start at [`serve`].

mod reading;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode, FrameType, Request};
use satchel_protocol::id::MailboxId;
use satchel_protocol::limits::{EXPORTER_LABEL, HELLO_TIMEOUT, MAX_REQUEST_BODIES};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Limits;
use crate::mailboxes::{Begun, Mailboxes, Reading, SessionAccess};
use crate::metrics::Metrics;
use crate::rate::Bucket;
use crate::store::Write;
use crate::wire::{self, Budget, RequestError};
use crate::writer::{DiskFull, Job, now_ms};
use reading::Delivery;

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
    pub(crate) mailboxes: Arc<Mailboxes>,
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
    let session = Arc::new(Session::new(shared, connection.clone(), stop.clone()));
    if !Box::pin(session.hello()).await {
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

/// One device: what it has opened, its rates and its record.
struct Session {
    shared: Arc<Shared>,
    connection: Connection,
    stop: watch::Receiver<bool>,
    access: Arc<Mutex<SessionAccess>>,
    bodies: Semaphore,
    requests: Mutex<Bucket>,
    bytes: Mutex<Bucket>,
    malformed: AtomicU32,
}

/// How a request is answered.
enum Reply {
    One(Answer),
    Read(Reading),
}

impl Session {
    fn new(shared: Arc<Shared>, connection: Connection, stop: watch::Receiver<bool>) -> Self {
        let now = Instant::now().into_std();
        let limits = &shared.limits;
        let origin: IpAddr = connection.remote_address().ip();
        Self {
            access: Arc::new(Mutex::new(shared.mailboxes.session(origin))),
            connection,
            stop,
            bodies: Semaphore::new(MAX_REQUEST_BODIES),
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
    async fn hello(&self) -> bool {
        let exchange = async {
            let (mut send, mut recv) = self.connection.accept_bi().await.ok()?;
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
            Ok((request @ Request::Hello { .. }, _)) => match self.begin(request).await {
                Begun::Answer(answer) => answer,
                Begun::Write(_) | Begun::Read(_) => {
                    refusal(ErrorCode::HelloFirst, 0, Duration::ZERO)
                }
            },
            Ok(_) => refusal(ErrorCode::HelloFirst, 0, Duration::ZERO),
            Err(error) => self.request_refusal(&error),
        }
    }

    async fn serve_request(&self, mut send: SendStream, mut recv: RecvStream) {
        // Its own allocation, given back when the request is taken in: a follower stays as long as the connection.
        match Box::pin(self.answer(&mut recv)).await {
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
        self.pay(header.body_len_bytes).await;
        let place = self.body_place().await;
        let (request, share) = wire::read_request(recv, header, &self.shared.budget).await?;
        let reply = if matches!(request, Request::Hello { .. }) {
            Reply::One(refusal(ErrorCode::HelloFirst, 0, Duration::ZERO))
        } else {
            match self.begin(request).await {
                Begun::Answer(answer) => Reply::One(answer),
                Begun::Write(write) => Reply::One(self.write(*write).await),
                Begun::Read(reading) => Reply::Read(reading),
            }
        };
        drop((place, share));
        Ok(reply)
    }

    /// Few requests of one device are taken in at a time, however many streams it has.
    async fn body_place(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so there always is one some time.
        self.bodies.acquire().await.ok()
    }

    /// The first part of a request; in a thread that may wait where a signature or the store is looked at.
    async fn begin(&self, request: Request) -> Begun {
        let connection = self.connection.clone();
        let binding = move |mailbox: MailboxId| {
            let mut bytes = [0; 32];
            // Fails only for lengths that TLS cannot export; zeros match nobody's signature then.
            connection
                .export_keying_material(&mut bytes, EXPORTER_LABEL, &mailbox.0)
                .ok();
            bytes
        };
        let mailboxes = Arc::clone(&self.shared.mailboxes);
        let access = Arc::clone(&self.access);
        let is_long = matches!(
            request,
            Request::Open { .. } | Request::Create { .. } | Request::Drop { .. }
        );
        let work = move || {
            let mut access = access.lock().unwrap_or_else(PoisonError::into_inner);
            mailboxes.begin(&mut access, &binding, request, now_ms())
        };
        if !is_long {
            return work();
        }
        // Only our own bug can panic in there; this request fails and the node goes on.
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Begun::Answer(refusal(ErrorCode::Storage, 0, Duration::ZERO)))
    }

    async fn write(&self, write: Write) -> Answer {
        tracing::trace!(mailbox = %write.mailbox.short(), "write");
        let (reply, stored) = oneshot::channel();
        let queued = self.shared.jobs.send(Job { write, reply }).await;
        if queued.is_err() {
            return refusal(ErrorCode::Storage, 0, Duration::ZERO);
        }
        match stored.await {
            Ok(Ok(done)) => done.answer,
            Ok(Err(DiskFull)) => refusal(ErrorCode::DiskFull, 0, Duration::from_secs(60)),
            // The writer ended with an error before this commit: nothing was stored.
            Err(_) => refusal(ErrorCode::Storage, 0, Duration::ZERO),
        }
    }

    async fn deliver(&self, send: &mut SendStream, recv: &mut RecvStream, reply: Reply) {
        let sent = match reply {
            Reply::One(answer) => {
                if let Answer::Error(error) = &answer {
                    tracing::debug!(code = ?error.code, "request refused");
                    wire::stop_reading(recv);
                }
                self.send(send, answer).await
            }
            Reply::Read(reading) => match self.deliver_reading(send, reading).await {
                Delivery::Whole => true,
                Delivery::Lost => false,
                // It has what it wanted, and the stream is over.
                Delivery::Stopped => return,
            },
        };
        if !(sent && wire::finish(send).await) {
            self.shared.metrics.answers_undelivered.one();
        }
    }

    async fn send(&self, send: &mut SendStream, answer: Answer) -> bool {
        let metrics = &self.shared.metrics;
        let bytes = match &answer {
            Answer::Entry { fragment, .. } | Answer::Blob { fragment } => fragment.len_bytes(),
            Answer::CtlEntry { record, .. } => record.len_bytes(),
            Answer::Error(_) => {
                metrics.requests_refused.one();
                0
            }
            _ => 0,
        };
        if bytes > 0 {
            self.pay(bytes).await;
        }
        let sent = wire::write_answer(send, &answer).await;
        if sent && bytes > 0 {
            metrics.fragments_sent.one();
            metrics.bytes_sent.add(bytes as u64);
        }
        sent
    }

    fn access(&self) -> MutexGuard<'_, SessionAccess> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
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
            .try_take(Instant::now().into_std())
    }

    /// Waits until the rate allows so many bytes more.
    async fn pay(&self, amount: usize) {
        let wait = self
            .bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_and_owe(amount, Instant::now().into_std());
        // tokio's clock has milliseconds: a sleep of nothing would take one, for each entry of a log.
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
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
