//! Removing a workspace so that a crash leaves all of it or none of it.
//!
//! Its folder is renamed to `.removed-<id>` first, in one durable step; from then on nobody lists or opens it.
//! Deleting what is in it may take long and be interrupted: the next start goes on. Needs no key, so a damaged
//! workspace can be removed, too. Start at [`remove`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::list::{find_id, holds_workspace};
use super::{LOCK_FILE, lock};
use crate::durable;
use crate::id::WorkspaceId;

/// Beginning of the name of a folder that is being deleted.
const REMOVED_PREFIX: &str = ".removed-";

/// A workspace that is removed, and whose files are still to be deleted.
#[derive(Debug)]
#[must_use = "its files are still on the disk: call `delete`"]
pub struct RemovedWorkspace {
    id: WorkspaceId,
    path: PathBuf,
    /// Held while this process deletes; missing where a crash came after the lock file had been deleted.
    _lock: Option<File>,
}

/// Removes the workspace in `dir`. When it returns `Ok`, the removal is durable; the files are not deleted yet.
///
/// # Errors
/// [`OpenError::Locked`] when somebody has it open, [`OpenError::NotFound`] when there is none,
/// [`OpenError::Io`] when the folder cannot be renamed. The workspace is then as before, or removed all the same
/// where the disk failed after the renaming.
pub fn remove(dir: &Path) -> Result<RemovedWorkspace, OpenError> {
    let not_found = || OpenError::NotFound {
        path: dir.to_owned(),
    };
    let id = find_id(dir).ok_or_else(not_found)?;
    if !holds_workspace(dir) {
        return Err(not_found());
    }
    let lock = lock(dir)?;
    let path = dir.with_file_name(format!("{REMOVED_PREFIX}{id}"));
    if path.exists() {
        // Left by a crash, from a copy of the same workspace: its name is needed.
        fs::remove_dir_all(&path).map_err(|error| OpenError::io(&path, error))?;
    }
    durable::rename_folder(dir, &path).map_err(|error| OpenError::io(dir, error))?;
    Ok(RemovedWorkspace {
        id,
        path,
        _lock: Some(lock),
    })
}

/// What crashes left of removed workspaces in `<data>/workspaces`, without those that a process is deleting now.
///
/// A folder that cannot be read has none.
#[must_use]
pub fn removed(workspaces: &Path) -> Vec<RemovedWorkspace> {
    let entries = fs::read_dir(workspaces).into_iter().flatten().flatten();
    entries.filter_map(|entry| leftover(entry.path())).collect()
}

fn leftover(path: PathBuf) -> Option<RemovedWorkspace> {
    let id = removed_id(&path)?;
    let lock = match File::open(path.join(LOCK_FILE)) {
        // The process that holds it is at work on this folder.
        Ok(file) => Some(file.try_lock().is_ok().then_some(file)?),
        Err(_) => None,
    };
    Some(RemovedWorkspace {
        id,
        path,
        _lock: lock,
    })
}

impl RemovedWorkspace {
    /// The id that the workspace had.
    #[must_use]
    pub fn id(&self) -> WorkspaceId {
        self.id
    }

    /// Deletes its files. Call it when everything derived from them is gone: afterwards nothing is left that
    /// remembers the id.
    ///
    /// # Errors
    /// Whatever the file system says. The rest is found again by [`removed`].
    pub fn delete(self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // The lock file goes last: as long as it is there, no other process deletes in the same folder.
            if entry.file_name() == LOCK_FILE {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        fs::remove_dir_all(&self.path)
    }
}

/// Whether a folder is what is left of a removed workspace.
pub(super) fn is_removed(dir: &Path) -> bool {
    removed_id(dir).is_some()
}

fn removed_id(dir: &Path) -> Option<WorkspaceId> {
    let name = dir.file_name()?.to_str()?;
    name.strip_prefix(REMOVED_PREFIX)?.parse().ok()
}
