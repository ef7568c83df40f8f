//! Keeps a download below a number of bytes per second, over all its connections.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Hands out the time at which bytes may be taken.
#[derive(Debug)]
pub(super) struct Limit {
    bytes_per_s: Option<u64>,
    /// When everything that was taken so far is paid for.
    paid: Mutex<Instant>,
}

impl Limit {
    pub(super) fn new(bytes_per_s: Option<u64>) -> Self {
        Self {
            bytes_per_s: bytes_per_s.map(|rate| rate.max(1)),
            paid: Mutex::new(Instant::now()),
        }
    }

    /// Waits until so many bytes more are within the limit.
    pub(super) async fn take(&self, bytes: u64) {
        let Some(rate) = self.bytes_per_s else {
            return;
        };
        let until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            // What was not used is not saved up.
            let cost = Duration::from_secs_f64(bytes as f64 / rate as f64);
            *paid = (*paid).max(Instant::now()) + cost;
            *paid
        };
        tokio::time::sleep_until(until).await;
    }
}
