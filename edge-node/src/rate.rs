//! Token buckets: how often, and how much.
//!
//! Pure: the caller brings the time, which must be monotonic. Start at [`Bucket`].

use std::time::{Duration, Instant};

/// Fills at a steady rate up to a bound; each use takes from it.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_s: f64,
    capacity: f64,
    /// May be negative: a debt from [`Bucket::take_and_owe`].
    level: f64,
    filled_at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_s: u32, capacity: u32, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        Self {
            per_s: f64::from(per_s),
            capacity,
            level: capacity,
            filled_at: now,
        }
    }

    /// Takes one, or says how long to wait until there is one. Takes nothing in that case.
    pub(crate) fn try_take(&mut self, now: Instant) -> Result<(), Duration> {
        self.fill(now);
        if self.level >= 1.0 {
            self.level -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.level) / self.per_s))
    }

    /// Takes `amount` even where there is less, and says how long to wait until the debt is paid.
    pub(crate) fn take_and_owe(&mut self, amount: usize, now: Instant) -> Duration {
        self.fill(now);
        self.level -= amount as f64;
        Duration::from_secs_f64((-self.level).max(0.0) / self.per_s)
    }

    /// Whether nothing was used lately, so that forgetting the bucket changes nothing.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level >= self.capacity
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.level = (self.level + elapsed.as_secs_f64() * self.per_s).min(self.capacity);
        self.filled_at = now.max(self.filled_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_steady_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        for _ in 0..3 {
            assert_eq!(bucket.try_take(start), Ok(()));
        }
        assert_eq!(bucket.try_take(start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!(bucket.try_take(later), Ok(()));
        assert!(bucket.try_take(later).is_err());
        assert!(!bucket.is_full(later));
        assert!(bucket.is_full(later + Duration::from_secs(1)));
    }

    #[test]
    fn a_debt_is_paid_by_waiting() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1000, 1000, start);
        assert_eq!(bucket.take_and_owe(1500, start), Duration::from_millis(500));
        assert_eq!(
            bucket.take_and_owe(0, start + Duration::from_millis(500)),
            Duration::ZERO
        );
    }
}
