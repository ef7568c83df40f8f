//! Counts what the node did and what it refused.
//!
//! No clock, no listener: the totals are one log line when the node stops. Never counts per device or
//! per address. Start at [`Counters`].

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the start of the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections that finished their handshake.
    pub connections: u64,
    /// Connection attempts asked to prove their address first.
    pub retries_demanded: u64,
    /// Connection attempts refused for a limit.
    pub connections_refused: u64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Fragments stored.
    pub fragments_stored: u64,
    /// Bytes of those.
    pub bytes_stored: u64,
    /// Appends of a fragment that was already there.
    pub duplicates: u64,
    /// Commits to disk; below `fragments_stored` where appends shared one.
    pub commits: u64,
    /// Fragments sent.
    pub fragments_sent: u64,
    /// Bytes of those.
    pub bytes_sent: u64,
    /// Requests refused with an error answer, for any reason.
    pub requests_refused: u64,
    /// Requests that were no valid frame (among `requests_refused`).
    pub malformed: u64,
    /// Requests whose device went away or became too slow before the request was whole.
    pub requests_abandoned: u64,
    /// Answers that could not be delivered.
    pub answers_undelivered: u64,
}

/// The live counters, shared by all tasks.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Count,
    pub(crate) retries_demanded: Count,
    pub(crate) connections_refused: Count,
    pub(crate) handshakes_failed: Count,
    pub(crate) fragments_stored: Count,
    pub(crate) bytes_stored: Count,
    pub(crate) duplicates: Count,
    pub(crate) commits: Count,
    pub(crate) fragments_sent: Count,
    pub(crate) bytes_sent: Count,
    pub(crate) requests_refused: Count,
    pub(crate) malformed: Count,
    pub(crate) requests_abandoned: Count,
    pub(crate) answers_undelivered: Count,
}

impl Metrics {
    /// The totals now. Not one instant for all fields, which totals at exit do not need.
    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            connections: self.connections.total(),
            retries_demanded: self.retries_demanded.total(),
            connections_refused: self.connections_refused.total(),
            handshakes_failed: self.handshakes_failed.total(),
            fragments_stored: self.fragments_stored.total(),
            bytes_stored: self.bytes_stored.total(),
            duplicates: self.duplicates.total(),
            commits: self.commits.total(),
            fragments_sent: self.fragments_sent.total(),
            bytes_sent: self.bytes_sent.total(),
            requests_refused: self.requests_refused.total(),
            malformed: self.malformed.total(),
            requests_abandoned: self.requests_abandoned.total(),
            answers_undelivered: self.answers_undelivered.total(),
        }
    }
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
