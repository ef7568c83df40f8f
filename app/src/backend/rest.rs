//! Gives the memory of models back when nobody asks for a while.
//!
//! Small laptops need it for other programs; a model comes back with the next question, and a chat with what was known
//! of it (`warm`). Start at [`start`].

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Shared, hardware, warm};
use crate::config::Settings;

/// Machines with no more memory than this are small: what is sold as 8 GB.
const SMALL_BYTES: u64 = 8 << 30;
/// How long models stay on a small machine: longer than one reads an answer, shorter than a meeting.
const PATIENCE_WHEN_SMALL: Duration = Duration::from_secs(5 * 60);
/// How often it is looked whether the setting has changed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Whether this machine has little memory. One that does not say is not small.
#[must_use]
pub fn is_small_machine() -> bool {
    (1..=SMALL_BYTES).contains(&hardware::memory_bytes())
}

/// How long models stay without being used; `None` for as long as the program runs.
#[must_use]
pub fn patience(settings: &Settings, is_small: bool) -> Option<Duration> {
    match settings.unload_after_s {
        Some(0) => None,
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => is_small.then_some(PATIENCE_WHEN_SMALL),
    }
}

/// Ends idle workers until the backend ends; `busy` counts the commands under way. Must be called within the runtime.
pub(super) fn start(shared: &Arc<Shared>, busy: watch::Receiver<usize>) -> JoinHandle<()> {
    tokio::spawn(watch_over(Arc::downgrade(shared), busy))
}

async fn watch_over(shared: Weak<Shared>, mut busy: watch::Receiver<usize>) {
    let is_small = is_small_machine();
    loop {
        // Fails when the backend is gone.
        if busy.wait_for(|jobs| *jobs == 0).await.is_err() {
            return;
        }
        let Some(settings) = shared.upgrade().map(|shared| shared.settings.current()) else {
            return;
        };
        let patience = patience(&settings, is_small);
        let nap = patience.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        if !stays_idle(&mut busy, patience.unwrap_or(nap)).await {
            continue;
        }
        let Some(here) = shared.upgrade() else {
            return;
        };
        if patience.is_some() && here.models.is_running().await {
            tracing::debug!("nobody asks: the models are unloaded");
            warm::put_away(&here).await;
            // A question that came meanwhile waits for the worker that it has.
            if *busy.borrow() == 0 {
                here.models.unload().await;
            }
        }
    }
}

/// Whether nothing is asked for so long.
async fn stays_idle(busy: &mut watch::Receiver<usize>, patience: Duration) -> bool {
    tokio::select! {
        _ = busy.wait_for(|jobs| *jobs > 0) => false,
        () = tokio::time::sleep(patience) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machines_give_memory_back_and_the_user_decides() {
        let of = |unload_after_s, is_small| {
            let settings = Settings {
                unload_after_s,
                ..Settings::default()
            };
            patience(&settings, is_small)
        };
        assert_eq!(of(None, false), None);
        assert_eq!(of(None, true), Some(PATIENCE_WHEN_SMALL));
        assert_eq!(of(Some(0), true), None);
        assert_eq!(of(Some(9), false), Some(Duration::from_secs(9)));
    }

    #[tokio::test]
    async fn a_question_ends_the_rest() {
        let (sender, mut busy) = watch::channel(0);
        assert!(stays_idle(&mut busy, Duration::from_millis(10)).await);
        let asking = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            sender.send(1).unwrap();
            sender
        });
        assert!(!stays_idle(&mut busy, Duration::from_secs(3600)).await);
        asking.await.unwrap();
    }
}
