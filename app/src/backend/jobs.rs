//! A command on its way: the sending and the receiving end of its events.
//!
//! Cancelling is dropping the receiving end, or [`Stopper::stop`] for who wants to hear how it ends; work looks at
//! [`Emitter::is_cancelled`] between two steps that leave everything consistent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::message::{Event, Failure, Progress, Reply, Stage};

/// Events waiting for a slow reader before the work waits too. An event takes some hundred bytes.
const QUEUE_EVENTS: usize = 256;

/// Where work reports to.
#[derive(Debug, Clone)]
pub struct Emitter {
    sender: mpsc::Sender<Event>,
    stopped: watch::Receiver<bool>,
}

/// The events of one command, ending with [`Event::Reply`] or [`Event::Failed`].
#[derive(Debug)]
pub struct EventStream {
    receiver: mpsc::Receiver<Event>,
    stopper: Stopper,
}

/// Stops a command while its events are still received: it ends early, and says how far it came.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<watch::Sender<bool>>);

impl Stopper {
    /// Asks the work to end. What has been done stays.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Both ends for one command.
#[must_use]
pub fn channel() -> (Emitter, EventStream) {
    let (sender, receiver) = mpsc::channel(QUEUE_EVENTS);
    let (stopper, stopped) = watch::channel(false);
    let stopper = Stopper(Arc::new(stopper));
    (
        Emitter { sender, stopped },
        EventStream { receiver, stopper },
    )
}

/// Starts work that ends with a reply or a failure. Must be called within the runtime.
pub fn run<W, F>(work: W) -> EventStream
where
    W: FnOnce(Emitter) -> F,
    F: Future<Output = Result<Reply, Failure>> + Send + 'static,
{
    let (emitter, stream) = channel();
    let working = work(emitter.clone());
    tokio::spawn(async move {
        let last = working
            .await
            .map_or_else(Event::Failed, |reply| Event::Reply(Box::new(reply)));
        emitter.send(last).await;
    });
    stream
}

impl Emitter {
    /// Sends an event; waits while the queue is full; does nothing once nobody listens.
    pub async fn send(&self, event: Event) {
        // A closed channel is a cancelled command; the work finds out through `is_cancelled`.
        drop(self.sender.send(event).await);
    }

    /// Sends words for the user.
    pub async fn notice(&self, text: impl Into<String>) {
        self.send(Event::Notice(text.into())).await;
    }

    /// Sends words for the user where nobody can wait; they are left out when the queue is full.
    pub fn hint(&self, text: impl Into<String>) {
        drop(self.sender.try_send(Event::Notice(text.into())));
    }

    /// Whether nobody listens any more, or the work is to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.sender.is_closed() || *self.stopped.borrow()
    }

    /// Returns when nobody listens any more, or the work is to end.
    pub async fn cancelled(&self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = self.sender.closed() => {}
            // An error means that the stopper went with the stream, and nobody listens.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    }

    /// Sends progress without waiting: an update that finds the queue full is dropped, the next one tells more.
    pub fn progress(&self, progress: Progress) {
        drop(self.sender.try_send(Event::Progress(progress)));
    }
}

impl EventStream {
    /// What stops the command while this stream is read on.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The next event, or `None` after the last.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// Passes every event but the last to `each` and returns how the command ended.
    ///
    /// # Errors
    /// The failure that the command ended with.
    pub async fn finish(mut self, mut each: impl FnMut(Event)) -> Result<Reply, Failure> {
        while let Some(event) = self.next().await {
            match event {
                Event::Reply(reply) => return Ok(*reply),
                Event::Failed(failure) => return Err(failure),
                other => each(other),
            }
        }
        Err(ended_early())
    }
}

/// Of a stream that ended without saying how: the process that did the work has gone, or crashed in it.
#[must_use]
pub fn ended_early() -> Failure {
    Failure::general("the Satchel process that was doing this ended before it was done")
        .with_hint("Run the command again; what was saved is safe.")
}

/// Sends progress of a stage at most ten times a second, with the time left.
#[derive(Debug)]
pub struct Meter {
    emitter: Emitter,
    stage: Stage,
    total: u64,
    /// Done before it started.
    base: u64,
    started: Instant,
    last: Option<Instant>,
}

impl Meter {
    /// Starts measuring a stage.
    #[must_use]
    pub fn new(emitter: &Emitter, stage: Stage, total: u64) -> Self {
        Self::resumed(emitter, stage, 0, total)
    }

    /// As [`Self::new`], for a stage of which a part was done earlier.
    #[must_use]
    pub fn resumed(emitter: &Emitter, stage: Stage, done: u64, total: u64) -> Self {
        let mut meter = Self {
            emitter: emitter.clone(),
            stage,
            total,
            base: done,
            started: Instant::now(),
            last: None,
        };
        meter.at(done, total);
        meter
    }

    /// Reports a position; `total` may have grown meanwhile.
    pub fn at(&mut self, done: u64, total: u64) {
        self.total = total;
        let now = Instant::now();
        let soon = self
            .last
            .is_some_and(|last| now - last < Duration::from_millis(100));
        if soon && done < total {
            return;
        }
        self.last = Some(now);
        let elapsed_ms = self.started.elapsed().as_millis() as u64;
        // A rate is worth showing once a second has gone by.
        let here = done.saturating_sub(self.base);
        let eta_ms =
            (here > 0 && elapsed_ms > 1000).then(|| elapsed_ms * total.saturating_sub(done) / here);
        self.emitter.progress(Progress {
            stage: self.stage,
            done,
            total,
            eta_ms,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::FailureKind;

    #[tokio::test]
    async fn dropping_the_stream_cancels_the_work() {
        let (emitter, stream) = channel();
        assert!(!emitter.is_cancelled());
        drop(stream);
        assert!(emitter.is_cancelled());
        emitter.notice("nobody hears this").await;
    }

    #[tokio::test]
    async fn stopped_work_is_still_heard() {
        let (emitter, mut stream) = channel();
        stream.stopper().stop();
        assert!(emitter.is_cancelled());
        emitter.cancelled().await;
        emitter.notice("half of it is done").await;
        assert!(matches!(stream.next().await, Some(Event::Notice(_))));
    }

    #[tokio::test]
    async fn a_stream_that_ends_without_a_reply_is_a_failure() {
        let (emitter, stream) = channel();
        drop(emitter);
        let failure = stream.finish(|_| ()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::General);
    }
}
