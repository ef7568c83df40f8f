//! Gathers appends of all devices into commits, so that those who wait for the disk wait together.
//!
//! Answers an append only after its commit is on disk. Start at [`run`].

use std::sync::Arc;

use rustix::fs::statvfs;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::id::MailboxId;
use tokio::sync::{mpsc, oneshot};

use crate::config::Limits;
use crate::metrics::Metrics;
use crate::storage::{AppendRefusal, Placed, Store, StoreError};

/// Appends in one commit: 64 × 1 MiB at most = 64 MiB of a transaction in memory.
const MAX_BATCH: usize = 64;

/// Appends that wait for the writer. Each holds its bytes out of the node's budget, so this bounds
/// only the small ones; a full queue makes devices wait.
const QUEUE: usize = 1024;

/// One append and where its answer goes.
pub(crate) struct Job {
    pub(crate) mailbox: MailboxId,
    pub(crate) fragment: EncryptedFragment,
    pub(crate) reply: oneshot::Sender<Result<Placed, JobError>>,
}

/// Why an append was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobError {
    /// The mailbox is full.
    Quota,
    /// The disk is almost full.
    DiskFull,
}

/// A bounded queue into the writer.
pub(crate) fn queue() -> (mpsc::Sender<Job>, mpsc::Receiver<Job>) {
    mpsc::channel(QUEUE)
}

/// Writes until all senders are gone.
///
/// # Errors
/// The first failed commit: its jobs get no answer, and the node must stop, since redb refuses
/// further writes until the store is opened again.
pub(crate) async fn run(
    store: Arc<Store>,
    mut jobs: mpsc::Receiver<Job>,
    limits: Limits,
    metrics: Arc<Metrics>,
) -> Result<(), StoreError> {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while jobs.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let (fragments, replies): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .map(|job: Job| ((job.mailbox, job.fragment), job.reply))
            .unzip();
        if disk_is_low(&store, &limits) {
            replies
                .into_iter()
                .for_each(|reply| answer(reply, Err(JobError::DiskFull)));
            continue;
        }
        let lens: Vec<_> = fragments
            .iter()
            .map(|(_, fragment)| fragment.len_bytes())
            .collect();
        let results = commit(Arc::clone(&store), fragments).await?;
        count(&metrics, &results, &lens);
        for (reply, result) in replies.into_iter().zip(results) {
            answer(
                reply,
                result.map_err(|AppendRefusal::Quota| JobError::Quota),
            );
        }
    }
    Ok(())
}

async fn commit(
    store: Arc<Store>,
    fragments: Vec<(MailboxId, EncryptedFragment)>,
) -> Result<Vec<Result<Placed, AppendRefusal>>, StoreError> {
    match tokio::task::spawn_blocking(move || store.append_batch(&fragments)).await {
        Ok(results) => results,
        // Only our own bug can panic in there; the commit did not happen and the node stops.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The device may have gone meanwhile; the fragment is stored all the same.
fn answer(reply: oneshot::Sender<Result<Placed, JobError>>, result: Result<Placed, JobError>) {
    reply.send(result).ok();
}

fn count(metrics: &Metrics, results: &[Result<Placed, AppendRefusal>], lens: &[usize]) {
    let mut any_new = false;
    for (placed, len) in results
        .iter()
        .zip(lens)
        .filter_map(|(result, len)| result.ok().map(|placed| (placed, len)))
    {
        if placed.is_new {
            any_new = true;
            metrics.fragments_stored.one();
            metrics.bytes_stored.add(*len as u64);
        } else {
            metrics.duplicates.one();
        }
    }
    if any_new {
        metrics.commits.one();
    }
}

/// Whether free space is below the reserve. Where the system does not tell, it is not.
fn disk_is_low(store: &Store, limits: &Limits) -> bool {
    let Ok(volume) = statvfs(store.dir()) else {
        return false;
    };
    let free_bytes = volume.f_bavail.saturating_mul(volume.f_frsize);
    let all_bytes = volume.f_blocks.saturating_mul(volume.f_frsize);
    let reserve_bytes = limits
        .disk_reserve_bytes
        .max(all_bytes / 100 * u64::from(limits.disk_reserve_percent));
    free_bytes < reserve_bytes
}
