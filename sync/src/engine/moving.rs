//! Going on at another edge, and stopping where this device's data exist twice.
//!
//! Start at [`Engine::meet_at`].

use satchel_protocol::id::NodeFingerprint;
use satchel_protocol::link::NodeLink;

use super::documents::Documents;
use super::edge::Phase;
use super::state::{EngineError, Founding};
use super::store::SyncStore;
use super::{Action, Attachments, Engine};

/// What a laptop is told whose own later entries come back to it.
const COPIED: &str = "this laptop's data were restored from an older copy, or another copy of them is in use: it sends nothing more, so that nothing is mixed up. Your documents are all here. Pair it anew: `satchel devices pair LINK` here, then remove its old entry on another laptop";

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// Meets the other devices at this edge from now on, and at no other one: it has moved, or has a new key.
    ///
    /// What the edge does not have yet it gets. The other devices have to be told as well.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn meet_at(&mut self, link: &NodeLink) -> Result<(), EngineError> {
        self.state.meet_at(link, &mut self.rows);
        self.follow_edges();
        self.retry_now();
        self.actions.push(Action::StatusChanged);
        self.commit()
    }

    /// What was fixed when the workspace was shared.
    #[must_use]
    pub fn founding(&self) -> &Founding {
        &self.state.founding
    }

    /// Whether this device takes no part any more, and may be paired anew: it was removed, or is a copy.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        self.state.removed || self.state.copied
    }

    /// Entries of this device that it does not know of: going on would use their numbers again.
    pub(super) fn stop_as_copy(&mut self) {
        self.state.be_copied(&mut self.rows);
        self.state
            .warn(self.now.wall_ms, capitalized(COPIED), &mut self.rows);
        self.show_as_copy();
    }

    /// Stops all edges of a device that was found to be a copy.
    pub(super) fn show_as_copy(&mut self) {
        let ids: Vec<NodeFingerprint> = self.edges.keys().copied().collect();
        for id in ids {
            let is_stopped = |phase| phase == Phase::Stopped;
            if self
                .edges
                .get(&id)
                .is_some_and(|edge| !is_stopped(edge.phase))
            {
                self.actions.push(Action::Disconnect(id));
                self.handle_disconnected(id, COPIED.to_owned(), false);
            }
        }
    }
}

fn capitalized(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}
