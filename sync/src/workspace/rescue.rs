//! Puts keystrokes that a crash left into their documents.
//!
//! The change is made again as the editor would have made it, byte for byte; one that its document has already is
//! passed over. What does not fit anywhere is kept in a file for the user. Start at
//! [`Workspace::recover_keystrokes`].

use std::fs;
use std::sync::Mutex;

use automerge::ReadDoc;
use automerge::transaction::Transactable;

use super::editor::{at, transaction};
use super::error::{OpenError, SaveError};
use super::journal::Place;
use super::keystrokes::{Keystrokes, Stretch, stretches};
use super::recovery::open_error;
use super::{Workspace, document_place, keystrokes_place};
use crate::durable;
use crate::log::{Damage, DamageKind, LogFile, free_name};

/// Keystrokes that were found again.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// Documents that they were put into.
    pub(super) documents: usize,
    /// What could not be used, and where it was kept.
    pub(super) damage: Option<Damage>,
}

impl Workspace {
    /// Puts keystrokes that a crash left into their documents.
    pub(super) fn recover_keystrokes(&mut self) -> Result<Recovered, OpenError> {
        let place = keystrokes_place(&self.dir);
        if !place.path.exists() {
            return Ok(Recovered::default());
        }
        let log = LogFile::new(&self.keys, place.name);
        let mut scan = log.read(&place.path)?;
        let found = stretches(&scan.frames);
        // The tail is what had not even reached the system when the power went.
        let is_whole = scan
            .damage
            .as_ref()
            .is_none_or(|damage| damage.kind == DamageKind::TornTail);
        let mut recovered = Recovered::default();
        let mut lost = !is_whole || found.is_none();
        for stretch in found.unwrap_or_default() {
            match self.recover_stretch(&stretch) {
                Ok(rescued) => recovered.documents += usize::from(rescued),
                Err(SaveError::NoSpace { .. } | SaveError::Io { .. }) => {
                    // They wait for a start at which the disk takes them.
                    log.repair(&place.path, &mut scan)
                        .map_err(|error| OpenError::io(&place.path, error))?;
                    let later = Keystrokes::after(place, &scan).map_err(open_error)?;
                    self.keystrokes = Mutex::new(later);
                    return Ok(recovered);
                }
                Err(error) => {
                    tracing::warn!(%error, "keystrokes could not be put into their document");
                    lost = true;
                }
            }
        }
        if lost {
            recovered.damage = Some(keep(&place)?);
        } else {
            fs::remove_file(&place.path).map_err(|error| OpenError::io(&place.path, error))?;
        }
        Ok(recovered)
    }

    /// Whether anything was put into the document: not when it was there already, or the document is gone.
    fn recover_stretch(&self, stretch: &Stretch) -> Result<bool, SaveError> {
        let id = stretch.document;
        if stretch.keystrokes.is_empty() || self.entry(id).is_none() {
            return Ok(false);
        }
        let path = document_place(&self.dir, id).path;
        let refuse = || SaveError::Damaged { path: path.clone() };
        let opened = self.open_for_writing(id)?;
        let (stored, mut journal) = opened.ok_or_else(refuse)?;
        let text = stored.text_object();
        let mut doc = stored.into_automerge();
        let is_there = doc
            .get_changes_meta(&[])
            .iter()
            .any(|change| *change.actor == stretch.actor && change.seq >= stretch.seq);
        if is_there {
            return Ok(false);
        }
        if !stretch
            .heads
            .iter()
            .all(|head| doc.get_change_meta_by_hash(head).is_some())
        {
            return Err(refuse());
        }
        doc.set_actor(stretch.actor.clone());
        let mut typing = transaction(doc, Some(&stretch.heads));
        for keystroke in &stretch.keystrokes {
            let (at, delete) = (keystroke.at_bytes as usize, keystroke.delete_bytes as usize);
            if at + delete > typing.length(&text) {
                return Err(refuse());
            }
            typing
                .splice_text(&text, at, delete as isize, &keystroke.insert)
                .map_err(|error| SaveError::load(&path, error))?;
        }
        let (doc, _, _) = typing.commit_with(at(stretch.at_s));
        self.save_one(id, &doc, &text, &mut journal)?;
        Ok(true)
    }
}

/// Keeps a log of keystrokes that could not be used for somebody who can read it.
fn keep(place: &Place) -> Result<Damage, OpenError> {
    let kept_as = free_name(&place.path);
    let failed = |error| OpenError::io(&place.path, error);
    let bytes = fs::read(&place.path).map_err(failed)?;
    durable::write(&kept_as, &bytes).map_err(failed)?;
    fs::remove_file(&place.path).map_err(failed)?;
    Ok(Damage {
        path: place.path.clone(),
        kind: DamageKind::Changed,
        intact_frames: 0,
        dropped_bytes: bytes.len() as u64,
        kept_as: Some(kept_as),
    })
}
