//! Parts of entries and Automerge documents: making them, checking them, merging them.
//!
//! Foreign bytes are looked at before Automerge sees them. Pure. Start at [`merge_part`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{Automerge, Change as AutomergeChange, ChangeHash};

use super::documents::{Incoming, Outcome, Outgoing};
use crate::author::is_actor_of;
use crate::id::DeviceId;
use crate::inflate;

/// The changes after `heads`, each as a plain chunk: they are compressed together later.
pub fn changes_after(
    doc: &Automerge,
    heads: &[ChangeHash],
    device: Option<DeviceId>,
) -> Option<Outgoing> {
    let changes = doc.get_changes(heads);
    if changes.is_empty() {
        return None;
    }
    let is_ours = |change: &AutomergeChange| {
        device.is_some_and(|device| is_actor_of(change.actor_id(), &device))
    };
    Some(Outgoing {
        heads: doc.get_heads(),
        all_ours: changes.iter().all(is_ours),
        bytes: changes
            .iter()
            .flat_map(automerge::Change::raw_bytes)
            .copied()
            .collect(),
    })
}

/// Takes one part into a document. Nothing is said about what it meant; `doc` may be half changed on a refusal.
pub fn merge_part(doc: &mut Automerge, part: &Incoming) -> Outcome {
    match inspect(part) {
        Ok(true) => {}
        Ok(false) => {
            return Outcome::Refused(
                "it holds changes that are signed as another device's".to_owned(),
            );
        }
        Err(error) => return Outcome::Refused(error.to_string()),
    }
    let merged = catch_unwind(AssertUnwindSafe(|| doc.load_incremental(&part.bytes)));
    match merged {
        Err(_) => return Outcome::Refused("it cannot be processed".to_owned()),
        Ok(Err(error)) => return Outcome::Refused(error.to_string()),
        Ok(Ok(_)) => {}
    }
    let known = |head: &ChangeHash| doc.get_change_meta_by_hash(head).is_some();
    if part.heads.iter().all(known) {
        Outcome::Applied {
            current: doc.get_heads(),
        }
    } else {
        Outcome::Missing
    }
}

/// Compares the size of a part, and what it would inflate to, with what is accepted.
///
/// # Errors
/// [`inflate::ForeignError`]: Automerge must not see it.
pub fn check_size(part: &Incoming) -> Result<(), inflate::ForeignError> {
    if part.long {
        inflate::check_long_foreign(&part.bytes)
    } else {
        inflate::check_foreign(&part.bytes)
    }
}

/// Looks at foreign bytes before Automerge does: their size, what they inflate to, whose changes they are.
pub(crate) fn inspect(part: &Incoming) -> Result<bool, Box<dyn std::error::Error>> {
    check_size(part)?;
    let Some(author) = part.author else {
        return Ok(true);
    };
    for chunk in inflate::chunks(&part.bytes)? {
        if chunk.kind == inflate::DOCUMENT_CHUNK {
            return Ok(false);
        }
        let change = AutomergeChange::from_bytes(chunk.bytes.to_vec())?;
        if !is_actor_of(change.actor_id(), &author) {
            return Ok(false);
        }
    }
    Ok(true)
}
