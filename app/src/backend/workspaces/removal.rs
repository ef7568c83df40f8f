//! Removing a workspace with everything derived from it.
//!
//! The order is what a crash may interrupt: the workspace is renamed away first, what is derived from it is
//! deleted next, and the renamed folder last, because it is what remembers the rest.
//! Start at [`Workspaces::remove`].

use std::fs;
use std::io;
use std::path::Path;

use satchel_sync::WorkspaceId;
use satchel_sync::workspace::{self, OpenError, RemovedWorkspace};

use super::{Known, Workspaces, resolve};
use crate::backend::failure;
use crate::message::{Failure, FailureKind};

impl Workspaces {
    /// Removes a workspace that is neither current nor open; returns what was done, in words.
    pub(super) fn remove(
        &self,
        wanted: &str,
        notices: &mut Vec<String>,
    ) -> Result<String, Failure> {
        let known = self.known()?;
        let found = resolve(&known, Known::name_and_id, wanted)?;
        let gone = {
            let _changing = self.changing()?;
            self.refuse_in_use(found)?;
            workspace::remove(&found.listing.path).map_err(|error| match error {
                OpenError::Locked { .. } => is_open(found.label()),
                error => failure::of_open(&error),
            })?
        };
        if let Err(error) = self.finish_removal(gone) {
            notices.push(format!(
                "Some of its files could not be deleted yet ({error}); the next start tries again."
            ));
        }
        Ok(format!("Removed the workspace “{}”.", found.label()))
    }

    fn refuse_in_use(&self, found: &Known) -> Result<(), Failure> {
        let (id, label) = (found.listing.id, found.label());
        if self.current()?.is_some_and(|current| current.id == id) {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("“{label}” is the current workspace"),
            )
            .with_hint("Switch to another one first: `satchel workspace switch NAME`."));
        }
        if self.is_open_here(id) {
            return Err(is_open(label));
        }
        Ok(())
    }

    /// Goes on with what a crash interrupted, and with what could not be deleted before.
    pub(super) fn finish_removals(&self) {
        for gone in workspace::removed(&self.dirs.workspaces()) {
            if let Err(error) = self.finish_removal(gone) {
                tracing::warn!(%error, "files of a removed workspace could not be deleted");
            }
        }
    }

    fn finish_removal(&self, gone: RemovedWorkspace) -> io::Result<()> {
        let id = gone.id();
        // A copy of it, put back from a backup perhaps, uses the same index.
        let is_back = self
            .listings()
            .is_ok_and(|all| all.iter().any(|listing| listing.id == id));
        if !is_back {
            remove_index(&self.dirs.index, id)?;
            // Left by a process that crashed; usually there is none.
            drop(fs::remove_file(self.dirs.socket(id)));
        }
        gone.delete()
    }
}

fn is_open(label: &str) -> Failure {
    Failure::new(
        FailureKind::Locked,
        format!("“{label}” is open in a running Satchel"),
    )
    .with_hint("Close it there, or switch to another workspace there; then remove it.")
}

/// Removes the index of a workspace, and damaged ones that were set aside beside it.
fn remove_index(folder: &Path, id: WorkspaceId) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        // The index may be deleted at any time, all of it, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let (name, aside) = (id.to_string(), format!("{id}."));
    for entry in entries {
        let entry = entry?;
        let found = entry.file_name();
        let found = found.to_string_lossy();
        if found == *name || found.starts_with(&aside) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
