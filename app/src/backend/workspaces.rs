//! The workspaces of a data folder: which there are, which one is current, and opening one.
//!
//! Each workspace is open in one process at most; several may be open in several. Never looks into a document.
//! Start at [`Workspaces::open`]; making, renaming and removing is [`carry_out`].

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use satchel_sync::keys::DataKey;
use satchel_sync::workspace::{self, Workspace, WorkspaceGlance, WorkspaceListing};
use satchel_sync::{WorkspaceId, durable};

mod commands;
mod names;
mod removal;

pub use commands::carry_out;
pub use names::resolve;

use super::failure;
use super::unlock::Unlock;
use crate::config::DataDirs;
use crate::message::Failure;

/// Name of the workspace that the first start makes.
const FIRST_NAME: &str = "My papers";

/// Which workspace to open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WorkspaceChoice {
    /// The current one: the one switched to last. Made where there is none yet.
    #[default]
    Current,
    /// The one with this name, this id, or an id that begins so: see [`resolve`].
    Named(String),
}

/// The workspaces of one data folder, seen from this process. Cloning is cheap. Every method blocks.
#[derive(Debug, Clone)]
pub struct Workspaces {
    dirs: DataDirs,
    unlock: Unlock,
    open: Option<Arc<Workspace>>,
}

impl Workspaces {
    /// Looks at nothing yet.
    #[must_use]
    pub fn new(dirs: DataDirs, unlock: Unlock) -> Self {
        Self {
            dirs,
            unlock,
            open: None,
        }
    }

    /// The same, seen from a process that has `open` open.
    #[must_use]
    pub fn with_open(self, open: Arc<Workspace>) -> Self {
        Self {
            open: Some(open),
            ..self
        }
    }

    /// Opens a workspace, making key and workspace at the first start, and finishes removals that were interrupted.
    ///
    /// Returns words for the user besides.
    ///
    /// # Errors
    /// When the key cannot be had, or the workspace not be found or opened. Without a hint when another process
    /// has it open ([`FailureKind::Locked`](crate::message::FailureKind::Locked)): it may answer at its socket.
    pub fn open(&self, which: &WorkspaceChoice) -> Result<(Workspace, Vec<String>), Failure> {
        let mut notices = Vec::new();
        let key = self.prepare(&mut notices)?;
        self.finish_removals();
        let opened = match self.find(which)? {
            Some(found) => {
                let (opened, report) =
                    Workspace::open(&found.path, key).map_err(|error| failure::of_open(&error))?;
                notices.extend(report.words());
                opened
            }
            None => self.create_first(key)?,
        };
        if *which == WorkspaceChoice::Current {
            notices.extend(self.settle_current(&opened)?);
        }
        Ok((opened, notices))
    }

    /// Finds a workspace. Asks for the key only where names have to be read. `None` when the current one is wanted
    /// and there is none at all.
    ///
    /// # Errors
    /// When none or several fit, or the key is needed and cannot be had.
    pub fn find(&self, which: &WorkspaceChoice) -> Result<Option<WorkspaceListing>, Failure> {
        let WorkspaceChoice::Named(wanted) = which else {
            return self.current();
        };
        if let Ok(id) = wanted.trim().parse()
            && let Some(found) = self.with_id(id)?
        {
            return Ok(Some(found));
        }
        let known = self.known()?;
        let found = resolve(&known, Known::name_and_id, wanted)?;
        Ok(Some(found.listing.clone()))
    }

    /// The workspaces, by id, without their names: needs no key.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn listings(&self) -> Result<Vec<WorkspaceListing>, Failure> {
        workspace::list(&self.dirs.workspaces()).map_err(|error| failure::of_open(&error))
    }

    /// The current workspace: the one that was noted, or the first where that one is gone; `None` where there is
    /// none at all. Needs no key.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn current(&self) -> Result<Option<WorkspaceListing>, Failure> {
        let noted = match self.noted() {
            Noted::Workspace(id) => self.with_id(id)?,
            Noted::Nothing | Noted::Damaged => None,
        };
        match noted {
            Some(noted) => Ok(Some(noted)),
            None => Ok(self.listings()?.into_iter().next()),
        }
    }

    fn with_id(&self, id: WorkspaceId) -> Result<Option<WorkspaceListing>, Failure> {
        let mut all = self.listings()?.into_iter();
        Ok(all.find(|listing| listing.id == id))
    }

    fn is_open_here(&self, id: WorkspaceId) -> bool {
        self.open.as_ref().is_some_and(|open| open.id() == id)
    }

    /// Makes the folders and comes by the key.
    fn prepare(&self, notices: &mut Vec<String>) -> Result<&DataKey, Failure> {
        private_folder(&self.dirs.data)?;
        private_folder(&self.dirs.index)?;
        let key = self.unlock.key(&self.dirs, notices)?;
        private_folder(&self.dirs.workspaces())?;
        Ok(key)
    }

    /// The workspaces with their names. Asks for the key where there are any.
    fn known(&self) -> Result<Vec<Known>, Failure> {
        let all = self.listings()?;
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.existing_key()?;
        let known = all.into_iter().map(|listing| Known {
            id: listing.id.to_string(),
            glance: workspace::glance(&listing.path, key).map_err(|error| failure::words(&error)),
            listing,
        });
        Ok(known.collect())
    }

    /// The key of workspaces that exist: no key is made for them, so there is nothing to tell about it.
    fn existing_key(&self) -> Result<&DataKey, Failure> {
        self.unlock.key(&self.dirs, &mut Vec::new())
    }

    fn create_first(&self, key: &DataKey) -> Result<Workspace, Failure> {
        let _changing = self.changing()?;
        // Another process may have started for the first time at the same moment.
        match self.current()? {
            Some(found) => Workspace::open(&found.path, key)
                .map(|(opened, _)| opened)
                .map_err(|error| failure::of_open(&error)),
            None => self.create_named(key, FIRST_NAME),
        }
    }

    fn create_named(&self, key: &DataKey, name: &str) -> Result<Workspace, Failure> {
        let dir = self
            .dirs
            .workspaces()
            .join(WorkspaceId::random().to_string());
        Workspace::create(&dir, key, name).map_err(|error| {
            // Half a workspace, where the disk is full for example, would be listed without a name.
            if let Ok(half) = workspace::remove(&dir) {
                drop(half.delete());
            }
            failure::of_open(&error)
        })
    }

    fn noted(&self) -> Noted {
        match fs::read_to_string(self.dirs.current_workspace_file()) {
            Ok(text) => text.trim().parse().map_or(Noted::Damaged, Noted::Workspace),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Noted::Nothing,
            Err(_) => Noted::Damaged,
        }
    }

    /// Notes durably which workspace is current. Call it within [`Workspaces::changing`].
    fn note(&self, id: WorkspaceId) -> Result<(), Failure> {
        if self.noted() == Noted::Workspace(id) {
            return Ok(());
        }
        let path = self.dirs.current_workspace_file();
        durable::write(&path, format!("{id}\n").as_bytes())
            .map_err(|error| failure::of_write(&path, &error))
    }

    /// Notes `opened` as the current workspace where the note is missing or cannot be followed: the first by id
    /// is another one as soon as there is a new one. Returns words for the user where that was a choice.
    fn settle_current(&self, opened: &Workspace) -> Result<Option<String>, Failure> {
        if self.noted() == Noted::Workspace(opened.id()) {
            return Ok(None);
        }
        let _changing = self.changing()?;
        let (noted, all) = (self.noted(), self.listings()?);
        if let Noted::Workspace(id) = noted
            && all.iter().any(|listing| listing.id == id)
        {
            // Another process switched to it meanwhile.
            return Ok(None);
        }
        if let Err(failure) = self.note(opened.id()) {
            // Nothing is lost, and where the disk is full, reading must go on.
            tracing::warn!(%failure, "the current workspace could not be noted");
        }
        let was_a_choice = noted != Noted::Nothing && all.len() > 1;
        Ok(was_a_choice.then(|| {
            format!(
                "The note of the current workspace was damaged, or that workspace is gone: “{}” is the current one \
                 now. `satchel workspace switch NAME` chooses another.",
                opened.name()
            )
        }))
    }

    /// Held while workspaces are made, renamed, removed or switched, so that two processes do not give one name
    /// twice. It locks the folder itself, which needs no file, and ends with the process.
    fn changing(&self) -> Result<File, Failure> {
        let path = self.dirs.workspaces();
        let lock = || {
            let folder = File::open(&path)?;
            folder.lock()?;
            Ok(folder)
        };
        lock().map_err(|error: io::Error| {
            Failure::general(format!(
                "cannot lock the folder {}: {error}",
                path.display()
            ))
            .with_hint("Check that it is there and that the disk allows locks.")
        })
    }
}

/// What the file says about the current workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    Nothing,
    Workspace(WorkspaceId),
    Damaged,
}

/// A workspace with what it says of itself, or why it cannot.
struct Known {
    listing: WorkspaceListing,
    id: String,
    glance: Result<WorkspaceGlance, String>,
}

impl Known {
    /// Empty where it cannot be read.
    fn name(&self) -> &str {
        self.glance.as_ref().map_or("", |glance| &glance.name)
    }

    fn name_and_id(&self) -> (&str, &str) {
        (self.name(), &self.id)
    }

    /// What to call it before the user.
    fn label(&self) -> &str {
        match self.name() {
            "" => &self.id[..12],
            name => name,
        }
    }
}

/// Makes a folder that only the user can enter.
fn private_folder(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| {
            Failure::general(format!(
                "cannot make the folder {}: {error}",
                path.display()
            ))
            .with_hint("Check its permissions, or name another one with --data-dir.")
        })
}

#[cfg(test)]
mod tests;
