//! Which workspaces are in a folder, what they are called and how much is in them.
//!
//! Reads only; takes no lock, so it works beside a running Satchel. Start at [`list`].

use std::fs;
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::error::OpenError;
use super::remove::is_removed;
use super::{CHATS, DOCUMENTS, INDEX_FILE, index_place, journal};
use crate::id::WorkspaceId;
use crate::keys::DataKey;
use crate::log::{HEADER_BYTES, Header};
use crate::seal::WorkspaceKeys;

/// A workspace that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceListing {
    /// Its id.
    pub id: WorkspaceId,
    /// Its folder.
    pub path: PathBuf,
}

/// What a workspace says of itself without being opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceGlance {
    /// The name that the user gave it.
    pub name: String,
    /// How many documents it lists.
    pub documents: usize,
}

/// The workspaces in `<data>/workspaces`, by id. A folder that does not exist holds none.
///
/// Names are encrypted: see [`glance`]. Those that were removed are not listed: see [`removed`](super::removed).
///
/// # Errors
/// [`OpenError::Io`] when the folder cannot be read.
pub fn list(workspaces: &Path) -> Result<Vec<WorkspaceListing>, OpenError> {
    let entries = match fs::read_dir(workspaces) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(OpenError::io(workspaces, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| OpenError::io(workspaces, error))?
            .path();
        if holds_workspace(&path)
            && !is_removed(&path)
            && let Some(id) = find_id(&path)
        {
            found.push(WorkspaceListing { id, path });
        }
    }
    found.sort_by_key(|listing| listing.id);
    Ok(found)
}

/// Name and size of a workspace, read without opening it for writing.
///
/// Takes time in proportion to its index. While another process has it open, this is what that process saved last.
///
/// # Errors
/// [`OpenError::WrongKey`] when the key does not fit; otherwise see [`OpenError`].
pub fn glance(dir: &Path, data_key: &DataKey) -> Result<WorkspaceGlance, OpenError> {
    let not_found = || OpenError::NotFound {
        path: dir.to_owned(),
    };
    let keys = WorkspaceKeys::new(data_key, find_id(dir).ok_or_else(not_found)?);
    let place = index_place(dir);
    let scan = journal::scan(&keys, &place).map_err(super::recovery::open_error)?;
    let scan = scan.map_err(|_| not_found())?;
    let contents = Contents::read(&scan.frames).map_err(|source| OpenError::Index {
        path: place.path,
        source,
    })?;
    Ok(WorkspaceGlance {
        documents: contents.documents.len(),
        name: contents.name,
    })
}

/// Whether a folder is one that Satchel made, even if its index is lost.
pub(super) fn holds_workspace(dir: &Path) -> bool {
    dir.join(INDEX_FILE).exists() || dir.join(DOCUMENTS).is_dir()
}

/// The id in a folder's name.
pub(super) fn id_of(dir: &Path) -> Option<WorkspaceId> {
    dir.file_name()?.to_str()?.parse().ok()
}

/// The id of a workspace: from its index, else from any of its files, else from its folder's name.
pub(super) fn find_id(dir: &Path) -> Option<WorkspaceId> {
    let logs = |folder: &str| {
        let entries = fs::read_dir(dir.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        entries.map(|entry| entry.path())
    };
    std::iter::once(dir.join(INDEX_FILE))
        .chain(logs(DOCUMENTS))
        .chain(logs(CHATS))
        .find_map(|path| id_in(&path))
        .or_else(|| id_of(dir))
}

fn id_in(path: &Path) -> Option<WorkspaceId> {
    use std::io::Read;
    let mut header = [0; HEADER_BYTES];
    fs::File::open(path).ok()?.read_exact(&mut header).ok()?;
    Header::parse(&header).map(|header| header.workspace())
}
