//! Tells whoever shows this workspace what other programs do to it through the socket.
//!
//! Start at [`Beside::during`].

use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{MissedTickBehavior, interval};

use crate::message::Changed;

/// How often a long command is told of while it works: an import of a folder should be seen to grow.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What is told and not heard yet. Who misses some is told that everything may have changed.
const WAITING: usize = 16;

/// What other programs changed.
#[derive(Debug)]
pub struct Beside(broadcast::Sender<Changed>);

impl Default for Beside {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING))
    }
}

impl Beside {
    /// Hears of every change from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Changed> {
        self.0.subscribe()
    }

    /// Does `work`, and tells what it changes, every second and at its end.
    pub async fn during<T>(&self, changed: Changed, work: impl Future<Output = T>) -> T {
        if !changed.is_any() {
            return work.await;
        }
        let mut ticks = interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    self.tell(changed);
                    return done;
                }
                _ = ticks.tick() => self.tell(changed),
            }
        }
    }

    fn tell(&self, changed: Changed) {
        // An error means that nobody listens.
        self.0.send(changed).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn long_work_is_told_while_it_lasts_and_at_its_end() {
        let beside = Beside::default();
        let mut heard = beside.listen();
        let documents = Changed {
            documents: true,
            ..Changed::default()
        };
        let work = tokio::time::sleep(TELL_EVERY * 5 / 4);
        beside.during(documents, work).await;
        for _ in 0..2 {
            assert_eq!(heard.try_recv().ok(), Some(documents));
        }
        beside.during(Changed::default(), async {}).await;
        assert!(heard.try_recv().is_err(), "nothing was changed");
    }
}
