//! What the window's frames cost: the processor's time in `logic` and `ui`, painting apart.
//!
//! Start at [`FrameWork::begin`].

use std::collections::VecDeque;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Frames remembered: the last twenty seconds at thirty a second.
const KEPT: usize = 600;

/// The cost of the last frames.
#[derive(Debug, Default)]
pub struct FrameWork {
    frames: VecDeque<Duration>,
    logic: Duration,
    started: Duration,
}

impl FrameWork {
    /// Work begins.
    pub(super) fn begin(&mut self) {
        self.started = thread_time();
    }

    /// The work before the drawing is done.
    pub(super) fn end_logic(&mut self) {
        self.logic += thread_time().saturating_sub(self.started);
    }

    /// The frame is done.
    pub(super) fn end_frame(&mut self) {
        let drawing = thread_time().saturating_sub(self.started);
        if self.frames.len() == KEPT {
            self.frames.pop_front();
        }
        self.frames
            .push_back(drawing + std::mem::take(&mut self.logic));
    }

    /// How many frames are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none has been drawn.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Forgets what was measured.
    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// The cost below which the part `q` of the remembered frames lies; `None` without any.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.frames.iter().copied().collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted.get((last as f64 * q).round() as usize).copied()
    }
}

/// What this thread has taken of the processor; the time of other threads and processes is not in it.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logic_and_drawing_are_one_frame() {
        let mut work = FrameWork::default();
        assert_eq!(work.quantile(0.99), None);
        work.begin();
        let mut sum = 0_u64;
        for i in 0..2_000_000_u64 {
            sum = std::hint::black_box(sum ^ i);
        }
        work.end_logic();
        work.begin();
        work.end_frame();
        assert_eq!(work.len(), 1);
        assert!(work.quantile(0.5).unwrap() > Duration::from_micros(50));
        for _ in 0..2 * KEPT {
            work.begin();
            work.end_frame();
        }
        assert_eq!(work.len(), KEPT);
    }
}
