//! Makes searchable what arrives from other laptops.
//!
//! A cache follows the documents; searches do the same themselves where this has not come to it yet.
//! Start at [`start`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::backend::jobs::{self, Emitter, Stopper};
use crate::backend::{Shared, indexing, shared_embeddings};

/// Arrivals within this time are taken in together.
const GATHER: Duration = Duration::from_millis(200);

/// A task that follows what arrives.
pub struct Follower {
    stopper: Stopper,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Follower {
    /// Begins one, which ends when its emitter says so. Must be called within the runtime.
    pub fn begin<F>(follow: impl FnOnce(Emitter) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (emitter, stream) = jobs::channel();
        let stopper = stream.stopper();
        let following = follow(emitter);
        let task = tokio::spawn(async move {
            // Held so that nobody seems to have gone; its progress is nobody's.
            let _stream = stream;
            following.await;
        });
        Self {
            stopper,
            task: Mutex::new(Some(task)),
        }
    }

    /// Lets what it is doing come to an end.
    pub async fn close(&self) {
        self.stopper.stop();
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::warn!(%error, "what follows what arrives crashed");
        }
    }
}

/// Follows until the backend ends. Must be called within the runtime.
#[must_use]
pub fn start(shared: &Arc<Shared>) -> Follower {
    let (here, arrivals) = (Arc::downgrade(shared), shared.sync.arrivals());
    Follower::begin(|emitter| follow(here, arrivals, emitter))
}

async fn follow(
    shared: Weak<Shared>,
    mut arrivals: tokio::sync::broadcast::Receiver<super::host::Arrived>,
    emitter: Emitter,
) {
    loop {
        let arrived = tokio::select! {
            arrived = arrivals.recv() => arrived,
            () = emitter.cancelled() => return,
        };
        if matches!(arrived, Err(RecvError::Closed)) {
            return;
        }
        // An answer that another laptop writes comes in many pieces, and the index holds no chats.
        let only_chats = matches!(&arrived, Ok(arrived) if matches!(arrived.counts(), (0, 1..)));
        if only_chats {
            continue;
        }
        let Some(here) = shared.upgrade() else {
            return;
        };
        here.index_is_current.store(false, Ordering::Release);
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = emitter.cancelled() => return,
        }
        while arrivals.try_recv().is_ok() {}
        if let Err(failure) = take_in(&here, &emitter).await {
            tracing::warn!(%failure, "what arrived is not searchable yet");
        }
    }
}

async fn take_in(shared: &Arc<Shared>, emitter: &Emitter) -> Result<(), crate::message::Failure> {
    indexing::catch_up(shared, emitter).await?;
    // Models are heavy: they are started only where somebody looks on.
    if shared.sync.is_watched() {
        indexing::embed_pending(shared, emitter).await?;
    } else {
        shared.models.announce_embedder(&shared.index).await?;
        shared_embeddings::adopt_present(shared).await?;
    }
    Ok(())
}
