//! Which documents have changed since the sync looked last, and who is to be woken then.
//!
//! In memory only: after a start everything is looked at once. Start at [`Dirty`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::entry::DocKey;

/// Called when something has changed; must return at once.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Shared by everything that writes.
#[derive(Default)]
pub(super) struct Dirty(Mutex<State>);

#[derive(Default)]
struct State {
    keys: BTreeSet<DocKey>,
    wake: Option<Wake>,
}

impl Dirty {
    /// Notes that a document has changed.
    pub(super) fn mark(&self, key: DocKey) {
        let wake = {
            let mut state = self.state();
            state.keys.insert(key);
            state.wake.clone()
        };
        if let Some(wake) = wake {
            wake();
        }
    }

    /// What has changed since the last call.
    pub(super) fn take(&self) -> BTreeSet<DocKey> {
        std::mem::take(&mut self.state().keys)
    }

    pub(super) fn wake_with(&self, wake: Option<Wake>) {
        self.state().wake = wake;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Dirty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dirty({} keys)", self.state().keys.len())
    }
}
