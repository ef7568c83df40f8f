//! Sends and receives everything now, or says why it cannot.
//!
//! Start at [`exchange`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use satchel_sync::engine::{EdgePhase, Event, Status};

use super::report;
use crate::backend::jobs::Emitter;
use crate::backend::{Shared, indexing, shared_embeddings};
use crate::message::{self, Failure, FailureKind, Reply, SyncState};

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Connects, and waits until nothing is left to send or to receive.
///
/// # Errors
/// When no edge can be reached, this laptop was removed, or the time is over; what was done stays.
pub(super) async fn exchange(
    shared: &Arc<Shared>,
    timeout: Duration,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    let until = Instant::now() + timeout;
    let mut is_first = true;
    let mut was_open = false;
    let mut equal_looks = 0;
    loop {
        let status = look(shared, is_first).await?;
        was_open |= is_first && report::has_connection(&status);
        if report::was_removed(&status) {
            return Err(report::removed());
        }
        // Twice: what the first look has flushed is seen by the second.
        equal_looks = if report::is_equal(&status) {
            equal_looks + 1
        } else {
            0
        };
        if equal_looks == 2 {
            break;
        }
        if !is_first && let Some(failure) = unreachable(&status) {
            // What was open at the beginning may have been broken for long: only a new attempt tells.
            if !std::mem::take(&mut was_open) {
                return Err(failure);
            }
            look(shared, true).await?;
        }
        if !is_first && let Some(reason) = report::blocked(&status) {
            return Err(Failure::general(format!("not everything can be sent: {reason}"))
                .with_hint("What the others wrote is here. It is tried again by itself; `satchel sync now` tries at once."));
        }
        if Instant::now() >= until {
            return Err(too_slow(&status));
        }
        if emitter.is_cancelled() {
            return Err(Failure::new(
                FailureKind::Cancelled,
                "Stopped; what was saved is safe.",
            ));
        }
        is_first = false;
        let now = shared.sync.fresh().await;
        emitter.send(message::Event::Sync(Box::new(now))).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    indexing::ensure_current(shared, emitter).await?;
    shared.models.announce_embedder(&shared.index).await?;
    shared_embeddings::adopt_present(shared).await?;
    let mut now = shared.sync.fresh().await;
    if now.state == SyncState::Working {
        now.state = SyncState::Equal;
    }
    Ok(Reply::Sync(Box::new(now)))
}

async fn look(shared: &Arc<Shared>, is_first: bool) -> Result<Status, Failure> {
    let looked = shared.sync.with_engine(move |engine| {
        if is_first {
            engine.retry_now();
        }
        engine.flush_soon();
        (engine.status(), vec![Event::Tick])
    });
    looked.await
}

/// Of an attempt that has just failed on every edge.
fn unreachable(status: &Status) -> Option<Failure> {
    let gone = |phase| matches!(phase, EdgePhase::Offline | EdgePhase::Stopped);
    if status.edges.is_empty() || !status.edges.iter().all(|edge| gone(edge.phase)) {
        return None;
    }
    let reason = status.edges.iter().find_map(|edge| edge.reason.clone())?;
    let stopped = status
        .edges
        .iter()
        .any(|edge| edge.phase == EdgePhase::Stopped);
    let kind = if stopped {
        FailureKind::General
    } else {
        FailureKind::Offline
    };
    let failure = Failure::new(kind, reason);
    Some(if stopped {
        failure
    } else {
        failure.with_hint("What you write is kept and sent when the edge node can be reached.")
    })
}

fn too_slow(status: &Status) -> Failure {
    let mut open = Vec::new();
    let mut count = |number: usize, words: &str| {
        if number > 0 {
            open.push(format!("{number} {words}"));
        }
    };
    count(status.unsent, "documents or chats to send");
    count(
        status.edges.iter().map(|edge| edge.lacks).sum(),
        "entries on their way",
    );
    count(status.uploads, "files to send");
    count(status.downloads, "files to receive");
    count(status.waiting, "entries that wait for others");
    let behind: u64 = status.edges.iter().map(|edge| edge.behind).sum();
    count(
        usize::try_from(behind).unwrap_or(usize::MAX),
        "entries to read",
    );
    let reason = status.edges.iter().find_map(|edge| edge.reason.clone());
    open.extend(reason);
    if status.awaits_documents {
        open.push("the list of documents has not come yet".to_owned());
    }
    let open = if open.is_empty() {
        "no edge node has answered".to_owned()
    } else {
        open.join(", ")
    };
    Failure::general(format!(
        "not everything is sent and received within the time: {open}"
    ))
    .with_hint("Run the command again, with a longer --timeout if there is much to do.")
}
