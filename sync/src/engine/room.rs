//! An edge without room, and a clock that is far from an edge's: what is said, and when it is tried again.
//!
//! Nothing is lost by either: what an edge does not take waits on this device, and no order goes by a clock.
//! Start at `note_no_room`.

use satchel_protocol::frame::{ErrorAnswer, ErrorCode};
use satchel_protocol::id::NodeFingerprint;

use super::documents::Documents;
use super::state::EngineError;
use super::store::SyncStore;
use super::{Action, Attachments, Engine, Now};

/// How long an edge without room is left alone: its operator is a person.
const ROOM_RETRY_MS: u64 = 5 * 60 * 1000;
/// Two clocks that are further apart mislead who reads the times that are shown.
const MAX_SKEW_MS: i64 = 10 * 60 * 1000;
/// How every warning of a clock begins.
const CLOCK: &str = "The clock of this laptop";

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// An edge does not take something for want of room. The connection stays: what others wrote still comes.
    pub(super) fn note_no_room(&mut self, id: NodeFingerprint, error: &ErrorAnswer) -> u64 {
        let until_ms = self.now.monotonic_ms + ROOM_RETRY_MS;
        if let Some(edge) = self.edges.get_mut(&id) {
            edge.reason = Some(words(error));
        }
        self.actions.push(Action::StatusChanged);
        until_ms
    }

    /// Tries again where the time has come, and forgets why it was not tried before.
    pub(super) fn look_for_room(&mut self) {
        let now = self.now.monotonic_ms;
        self.attach.look_for_room(now);
        for edge in self.edges.values_mut().filter(|edge| edge.is_live()) {
            if edge.full_until_ms.is_some_and(|until| until <= now) {
                edge.full_until_ms = None;
            }
            if edge.full_until_ms.is_none()
                && !self.attach.is_full()
                && edge.reason.take().is_some()
            {
                self.actions.push(Action::StatusChanged);
            }
        }
    }

    pub(super) fn room_at_ms(&self) -> Option<u64> {
        let edges = self.edges.values().filter(|edge| edge.is_live());
        edges
            .filter_map(|edge| edge.full_until_ms)
            .chain(self.attach.full_until_ms())
            .min()
    }

    /// Tells the user when this device's clock and the one of an edge are far apart.
    ///
    /// `edge_ms` is what the edge said when it was greeted, in milliseconds since 1970; 0 is nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn note_clock(&mut self, edge_ms: u64, now: Now) -> Result<(), EngineError> {
        let Some(edge_ms) = i64::try_from(edge_ms).ok().filter(|at| *at > 0) else {
            return Ok(());
        };
        let ahead_ms = now.wall_ms.saturating_sub(edge_ms);
        let is_told = |words: &str| words.starts_with(CLOCK);
        if ahead_ms.abs() <= MAX_SKEW_MS {
            self.state.unwarn(is_told, &mut self.rows);
        } else {
            let way = if ahead_ms > 0 { "ahead of" } else { "behind" };
            let words = format!(
                "{CLOCK} is {} {way} the one of the edge node. Nothing is lost by that, and changes are not put in order by clocks; but times that are shown are wrong. Set the one that is wrong.",
                span(ahead_ms.unsigned_abs())
            );
            if !self
                .state
                .warnings
                .iter()
                .any(|warning| warning.words == words)
            {
                self.state.unwarn(is_told, &mut self.rows);
            }
            self.state.warn(now.wall_ms, words, &mut self.rows);
        }
        self.commit()
    }
}

fn words(error: &ErrorAnswer) -> String {
    let limit = match error.code {
        ErrorCode::Quota => format!(
            "the edge node keeps at most {:.1} MiB of this workspace, and they are used up: ask its operator for more (`mailbox_quota_bytes` in its edge.toml)",
            error.limit as f64 / f64::from(1 << 20)
        ),
        _ => "the disk of the edge node is almost full, and it takes nothing new: its operator must make room".to_owned(),
    };
    format!("{limit}. Nothing is lost: what it does not take waits on this laptop")
}

/// A length of time in the unit that fits.
fn span(ms: u64) -> String {
    const MINUTE: u64 = 60_000;
    let (number, unit) = match ms / MINUTE {
        minutes @ ..120 => (minutes, "minutes"),
        minutes @ ..2880 => (minutes / 60, "hours"),
        minutes => (minutes / 1440, "days"),
    };
    format!("about {number} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        assert_eq!(span(11 * 60_000), "about 11 minutes");
        assert_eq!(span(3 * 3_600_000), "about 3 hours");
        assert_eq!(span(365 * 86_400_000 + 5), "about 365 days");
    }
}
