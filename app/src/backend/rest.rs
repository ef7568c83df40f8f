//! What is done while nobody asks: models give their memory back, and the processor is measured once.
//!
//! Small laptops need it for other programs; a model comes back with the next question, and a chat with what was known
//! of it (`warm`). Start at [`start`].

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Shared, calibrate, hardware, warm};
use crate::config::Settings;

/// Machines with no more memory than this are small: what is sold as 8 GB.
const SMALL_BYTES: u64 = 8 << 30;
/// How long models stay on a small machine: longer than one reads an answer, shorter than a meeting.
const PATIENCE_WHEN_SMALL: Duration = Duration::from_secs(5 * 60);
/// How often it is looked, at most, and at least: also whether the setting has changed.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

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

/// Ends idle workers until the backend ends. Must be called within the runtime.
pub(super) fn start(shared: &Arc<Shared>) -> JoinHandle<()> {
    tokio::spawn(watch_over(Arc::downgrade(shared)))
}

async fn watch_over(shared: Weak<Shared>) {
    let is_small = is_small_machine();
    loop {
        let Some(settings) = shared.upgrade().map(|shared| shared.settings.current()) else {
            return;
        };
        let patience = patience(&settings, is_small);
        let (least, most) = LOOK_EVERY;
        tokio::time::sleep(patience.map_or(most, |patience| (patience / 4).clamp(least, most)))
            .await;
        let Some(here) = shared.upgrade() else {
            return;
        };
        calibrate::when_resting(&here).await;
        let Some(patience) = patience else {
            continue;
        };
        if here
            .models
            .idle_for()
            .await
            .is_some_and(|idle| idle >= patience)
        {
            tracing::debug!("nobody asks: the models are unloaded");
            warm::put_away(&here).await;
            here.models.unload_unused().await;
        }
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
}
