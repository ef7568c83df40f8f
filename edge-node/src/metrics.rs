//! Counts what the node did and what it refused.
//!
//! No clock, no listener: the totals are one log line when the node stops, and text for a monitor. Never counts per device or
//! per address. Start at [`Counters`].

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Totals since the start of the node.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        /// The live counters, shared by all tasks.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $(pub(crate) $name: Count,)*
        }

        impl Metrics {
            /// The totals now. Not one instant for all fields, which totals do not need.
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.total(),)* }
            }
        }

        impl Counters {
            /// The totals in the text format of Prometheus.
            pub(crate) fn prometheus(&self) -> String {
                let rows = [$((stringify!($name), [$($doc),+].concat(), self.$name),)*];
                rows.iter()
                    .map(|(name, help, total)| {
                        let help = help.trim();
                        format!(
                            "# HELP satchel_edge_{name}_total {help}\n# TYPE satchel_edge_{name}_total counter\nsatchel_edge_{name}_total {total}\n"
                        )
                    })
                    .collect()
            }
        }
    };
}

counters! {
    /// Connections that finished their handshake.
    connections,
    /// Connection attempts asked to prove their address first.
    retries_demanded,
    /// Connection attempts refused for a limit.
    connections_refused,
    /// Handshakes that failed or took too long.
    handshakes_failed,
    /// Fragments stored.
    fragments_stored,
    /// Bytes of those.
    bytes_stored,
    /// Appends of a fragment that was already there.
    duplicates,
    /// Commits to disk; below `fragments_stored` where appends shared one.
    commits,
    /// Fragments sent.
    fragments_sent,
    /// Bytes of those.
    bytes_sent,
    /// Requests refused with an error answer, for any reason.
    requests_refused,
    /// Requests that were no valid frame (among `requests_refused`).
    malformed,
    /// Requests whose device went away or became too slow before the request was whole.
    requests_abandoned,
    /// Answers that could not be delivered.
    answers_undelivered,
    /// Mailboxes, entries, blobs and files deleted by gc.
    gc_deletions,
    /// Health and metrics requests over HTTP.
    http_requests,
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
