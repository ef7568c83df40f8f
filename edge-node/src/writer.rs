//! Gathers changes of all devices into commits, so that those who wait for the disk wait together.
//!
//! Answers a change only after its commit is on disk. Also runs gc once an hour, between commits.
//! Start at [`run`].

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::statvfs;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::Limits;
use crate::mailboxes::Mailboxes;
use crate::metrics::Metrics;
use crate::store::{Change, Done, StoreError, Write};

/// Changes in one commit: the more of them wait for one fsync, the more go through in a second.
const MAX_BATCH: usize = 1024;

/// No further change joins a commit that has so many bytes: a transaction is held in memory.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// Changes that wait for the writer. Each holds its bytes out of the node's budget, so this bounds
/// only the small ones; a full queue makes devices wait.
const QUEUE: usize = 1024;

/// How often what is past its time is deleted.
const GC_INTERVAL: Duration = Duration::from_secs(3600);

/// A wall clock that runs so far ahead of the steady one between two gc runs was set: nothing is deleted
/// by it until the node is started again, so that a wrong date costs nobody a mailbox.
const CLOCK_JUMP: Duration = Duration::from_secs(24 * 3600);

/// One change and where its answer goes.
pub(crate) struct Job {
    pub(crate) write: Write,
    pub(crate) reply: oneshot::Sender<Result<Done, DiskFull>>,
}

/// The disk is almost full: the change was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskFull;

/// A bounded queue into the writer.
pub(crate) fn queue() -> (mpsc::Sender<Job>, mpsc::Receiver<Job>) {
    mpsc::channel(QUEUE)
}

/// Milliseconds since 1970 UTC; 0 before.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Writes until all senders are gone.
///
/// # Errors
/// The first failed commit: its jobs get no answer, and the node must stop, since redb refuses
/// further writes until the store is opened again.
pub(crate) async fn run(
    mailboxes: Arc<Mailboxes>,
    mut jobs: mpsc::Receiver<Job>,
    limits: Limits,
    metrics: Arc<Metrics>,
) -> Result<(), StoreError> {
    let mut batch = Vec::new();
    let mut gc_due = tokio::time::interval(GC_INTERVAL);
    gc_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let clock = Clock::new();
    loop {
        tokio::select! {
            job = jobs.recv() => {
                let Some(job) = job else {
                    return Ok(());
                };
                gather(job, &mut jobs, &mut batch);
                write_batch(&mailboxes, &mut batch, &limits, &metrics).await?;
            }
            _ = gc_due.tick() => delete_expired(&mailboxes, &clock, &metrics).await?,
        }
    }
}

/// Adds to a change what waits behind it, as much as goes into one commit.
fn gather(first: Job, jobs: &mut mpsc::Receiver<Job>, batch: &mut Vec<Job>) {
    let mut bytes = bytes_of(&first.write);
    batch.push(first);
    while batch.len() < MAX_BATCH
        && bytes < MAX_BATCH_BYTES
        && let Ok(job) = jobs.try_recv()
    {
        bytes += bytes_of(&job.write);
        batch.push(job);
    }
}

fn bytes_of(write: &Write) -> usize {
    match &write.change {
        Change::Append(fragment) | Change::Pack { fragment, .. } | Change::Blob(fragment) => {
            fragment.len_bytes()
        }
        Change::Control(control) => control.record.len_bytes(),
        _ => 0,
    }
}

async fn write_batch(
    mailboxes: &Arc<Mailboxes>,
    batch: &mut Vec<Job>,
    limits: &Limits,
    metrics: &Metrics,
) -> Result<(), StoreError> {
    let is_low = disk_is_low(mailboxes, limits);
    let (mut writes, mut replies) = (Vec::new(), Vec::new());
    for job in batch.drain(..) {
        if is_low && grows(&job.write) {
            answer(job.reply, Err(DiskFull));
        } else {
            writes.push(job.write);
            replies.push(job.reply);
        }
    }
    if writes.is_empty() {
        return Ok(());
    }
    let mailboxes = Arc::clone(mailboxes);
    let dones = blocking(move || mailboxes.commit(&writes, now_ms())).await?;
    count(metrics, &dones);
    for (reply, done) in replies.into_iter().zip(dones) {
        answer(reply, Ok(done));
    }
    Ok(())
}

async fn delete_expired(
    mailboxes: &Arc<Mailboxes>,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<(), StoreError> {
    if clock.was_set_ahead() {
        tracing::warn!(
            "the clock was set ahead: nothing is deleted until the node is started again"
        );
        return Ok(());
    }
    let mailboxes = Arc::clone(mailboxes);
    let report = blocking(move || mailboxes.gc(now_ms(), false)).await?;
    let deleted = report.entries + report.blobs + report.mailboxes + report.orphan_files;
    metrics.gc_deletions.add(deleted);
    if deleted > 0 {
        tracing::info!(%report, "deleted what is past its time");
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // Only our own bug can panic in there; the commit did not happen and the node stops.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Both clocks at the start of the node.
struct Clock {
    steady: Instant,
    wall_ms: u64,
}

impl Clock {
    fn new() -> Self {
        Self {
            steady: Instant::now(),
            wall_ms: now_ms(),
        }
    }

    /// The steady clock may stand still while a machine sleeps; a day of that is taken for a jump, and
    /// costs nothing but a later gc.
    fn was_set_ahead(&self) -> bool {
        let wall = Duration::from_millis(now_ms().saturating_sub(self.wall_ms));
        wall.saturating_sub(self.steady.elapsed()) > CLOCK_JUMP
    }
}

/// Whether this takes room. Removing a device must work on a full disk, too.
fn grows(write: &Write) -> bool {
    matches!(
        write.change,
        Change::Append(_) | Change::Pack { .. } | Change::Blob(_) | Change::Create { .. }
    )
}

/// The device may have gone meanwhile; the change is stored all the same.
fn answer(reply: oneshot::Sender<Result<Done, DiskFull>>, result: Result<Done, DiskFull>) {
    reply.send(result).ok();
}

fn count(metrics: &Metrics, dones: &[Done]) {
    for done in dones {
        if done.stored_bytes > 0 {
            metrics.fragments_stored.one();
            metrics.bytes_stored.add(done.stored_bytes);
        } else if !done.is_new && !matches!(done.answer, satchel_protocol::frame::Answer::Error(_))
        {
            metrics.duplicates.one();
        }
    }
    if dones.iter().any(|done| done.is_new) {
        metrics.commits.one();
    }
}

/// Whether free space is below the reserve. Where the system does not tell, it is not.
pub(crate) fn disk_is_low(mailboxes: &Mailboxes, limits: &Limits) -> bool {
    let Some(volume) = mailboxes.store().dir().and_then(|dir| statvfs(dir).ok()) else {
        return false;
    };
    let free_bytes = volume.f_bavail.saturating_mul(volume.f_frsize);
    let all_bytes = volume.f_blocks.saturating_mul(volume.f_frsize);
    let reserve_bytes = limits
        .disk_reserve_bytes
        .max(all_bytes / 100 * u64::from(limits.disk_reserve_percent));
    free_bytes < reserve_bytes
}
