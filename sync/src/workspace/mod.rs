//! A workspace: the folder with a person's documents, originals and chats, encrypted and durable.
//!
//! What a method reports as saved survives a power cut. Documents are read when they are asked for; only the
//! index is kept in memory. Every method blocks for the disk and may be called from several threads.
//! Start at [`Workspace`].
//!
//! ```text
//! <workspace id>/
//!   workspace.lock                  held by the process that has it open
//!   index.log                       name, list of documents and chats        (index)
//!   keystrokes.log                  what is being typed                     (editor, keystrokes, rescue)
//!   documents/<document id>.log     text with history                       (documents, save, journal)
//!   chats/<thread id>.log           messages                                (chats, journal)
//!   originals/<2 digits>/<keyed name>.sealed                                (originals)
//! ```

mod arrivals;
mod attachments;
mod cache;
mod chats;
mod conflicts;
mod contents;
mod dirty;
mod documents;
mod editor;
mod entry;
mod error;
mod exchange;
mod history;
mod index;
mod journal;
mod keystrokes;
mod list;
mod originals;
mod recovery;
mod remove;
mod rescue;
mod save;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

pub use cache::MAX_CACHE_BYTES;
pub use conflicts::{
    Branches, Choice, ChoiceValue, Chosen, Conflicts, DocumentMeeting, MeetingCache,
};
pub use dirty::Wake;
pub use editor::{Editor, Flushed};
pub use entry::{DocumentEntry, ImportFailure, NewDocument, TextKind, version_of};
pub use error::{OpenError, SaveError};
pub use history::{How, Hunk, Mark, Meeting, Side, Version, VersionSize, difference};
pub use list::{WorkspaceGlance, WorkspaceListing, glance, list};
pub use recovery::RecoveryReport;
pub use remove::{RemovedWorkspace, remove, removed};

use crate::author::Author;
use crate::document::TextDocument;
use crate::durable;
use crate::id::DeviceId;
pub use crate::id::{ContentHash, DocumentId, ThreadId, WorkspaceId};
use crate::keys::DataKey;
use crate::log::{Damage, FileName};
use crate::seal::{FileKind, WorkspaceKeys};
use contents::Change;
use dirty::Dirty;
pub use exchange::WorkspaceDocuments;
use index::Index;
use journal::Place;
use keystrokes::Keystrokes;

/// How long a lock is waited for: a process that was just ended, or a child between `fork` and `exec`, may hold
/// it a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_millis(200);
const LOCK_FILE: &str = "workspace.lock";
const INDEX_FILE: &str = "index.log";
const KEYSTROKES_FILE: &str = "keystrokes.log";
const DOCUMENTS: &str = "documents";
const CHATS: &str = "chats";
const ORIGINALS: &str = "originals";
/// What syncing remembers of a workspace; only a shared one has it.
pub(crate) const SYNC_FILE: &str = "sync.redb";

/// An open workspace. Only one process has it open at a time; dropping it lets the next one in.
#[derive(Debug)]
pub struct Workspace {
    dir: PathBuf,
    keys: WorkspaceKeys,
    index: Mutex<Index>,
    /// Read: files are being read. Write: files are being changed or repaired.
    files: RwLock<()>,
    /// The document that was loaded last; see [`documents`].
    last_used: Mutex<Option<(DocumentId, TextDocument)>>,
    damages: Mutex<Vec<Damage>>,
    keystrokes: Mutex<Keystrokes>,
    /// As whom documents are written.
    author: Arc<Author>,
    /// What the sync has not looked at yet.
    dirty: Arc<Dirty>,
    /// This device, in a workspace that is shared with others.
    device: Mutex<Option<DeviceId>>,
    /// Joined, and the list of documents has not arrived yet.
    awaits_index: AtomicBool,
    _lock: File,
}

impl Workspace {
    /// Makes a workspace in `dir` and opens it.
    ///
    /// `dir` is `<data>/workspaces/<workspace id>`; where its last part is not an id, a new id is made.
    ///
    /// # Errors
    /// [`OpenError::AlreadyExists`] when there is one, otherwise see [`OpenError`].
    pub fn create(dir: &Path, data_key: &DataKey, name: &str) -> Result<Self, OpenError> {
        durable::create_folder(dir).map_err(|error| OpenError::io(dir, error))?;
        let lock = lock(dir)?;
        let index_path = dir.join(INDEX_FILE);
        if index_path.exists() {
            return Err(OpenError::AlreadyExists {
                path: dir.to_owned(),
            });
        }
        create_folders(dir)?;
        let id = list::id_of(dir).unwrap_or_else(WorkspaceId::random);
        let keys = WorkspaceKeys::new(data_key, id);
        let index = recovery::write_new_index(&keys, dir, name)?;
        Ok(Self::assemble(dir, keys, index, lock))
    }

    /// Makes a workspace with a new id in the folder of all workspaces and opens it.
    ///
    /// # Errors
    /// As [`Workspace::create`].
    pub fn create_in(workspaces: &Path, data_key: &DataKey, name: &str) -> Result<Self, OpenError> {
        Self::create(
            &workspaces.join(WorkspaceId::random().to_string()),
            data_key,
            name,
        )
    }

    /// Opens a workspace: takes its lock, reads its index, repairs what a crash left.
    ///
    /// Takes time in proportion to the index, not to the documents. What was repaired is in the report.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when another process has it open, [`OpenError::WrongKey`] when the key does not
    /// fit, otherwise see [`OpenError`]. Nothing is changed then.
    pub fn open(dir: &Path, data_key: &DataKey) -> Result<(Self, RecoveryReport), OpenError> {
        let not_found = || OpenError::NotFound {
            path: dir.to_owned(),
        };
        if !list::holds_workspace(dir) {
            return Err(not_found());
        }
        let lock = lock(dir)?;
        // While the lock was waited for, its holder may have removed the workspace; the folders made below
        // would bring it back, empty.
        if !list::holds_workspace(dir) {
            return Err(not_found());
        }
        create_folders(dir)?;
        let id = list::find_id(dir).ok_or_else(not_found)?;
        let keys = WorkspaceKeys::new(data_key, id);
        let (index, mut report) = recovery::open_index(&keys, dir)?;
        let mut workspace = Self::assemble(dir, keys, index, lock);
        let recovered = workspace.recover_keystrokes()?;
        report.rescued_documents = recovered.documents;
        report.damages.extend(recovered.damage);
        Ok((workspace, report))
    }

    fn assemble(dir: &Path, keys: WorkspaceKeys, mut index: Index, lock: File) -> Self {
        let author = Arc::new(Author::unknown());
        let dirty = Arc::new(Dirty::default());
        index.attach(Arc::clone(&author), Arc::clone(&dirty));
        Self {
            dir: dir.to_owned(),
            keys,
            index: Mutex::new(index),
            files: RwLock::new(()),
            last_used: Mutex::new(None),
            damages: Mutex::new(Vec::new()),
            keystrokes: Mutex::new(Keystrokes::none(keystrokes_place(dir))),
            author,
            dirty,
            device: Mutex::new(None),
            awaits_index: AtomicBool::new(false),
            _lock: lock,
        }
    }

    /// Writes as this device of a shared workspace from now on.
    pub(crate) fn become_device(&self, device: DeviceId) {
        self.author.become_device(device);
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = Some(device);
    }

    /// Makes the workspace ready for others: notes whose paths its documents name, and makes room for what is shared.
    pub(crate) fn prepare_sharing(&self, device: DeviceId) -> Result<(), SaveError> {
        let mut index = self.index();
        let documents = index.contents().documents.values();
        let mut changes: Vec<Change> = documents
            .filter(|document| document.entry.path.is_some() && document.entry.origin.is_none())
            .cloned()
            .map(|mut document| {
                document.entry.origin = Some(device);
                Change::Document(document)
            })
            .collect();
        changes.push(Change::ShareMaps);
        index.change(&self.keys, changes)
    }

    /// Says whether the list of documents is still to come from the other devices; until then nothing is written.
    pub(crate) fn await_index(&self, awaited: bool) {
        self.awaits_index.store(awaited, Ordering::Release);
    }

    pub(crate) fn awaits_index(&self) -> bool {
        self.awaits_index.load(Ordering::Acquire)
    }

    /// This device, where the workspace is shared and its sync is open.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        *self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `wake` whenever something was saved that other devices do not have yet.
    pub fn wake_with(&self, wake: Option<Wake>) {
        self.dirty.wake_with(wake);
    }

    pub(crate) fn keys(&self) -> &WorkspaceKeys {
        &self.keys
    }

    /// The workspace's id.
    #[must_use]
    pub fn id(&self) -> WorkspaceId {
        self.keys.workspace()
    }

    /// The folder that holds it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name that the user gave it.
    #[must_use]
    pub fn name(&self) -> String {
        self.index().contents().name.clone()
    }

    /// Gives it another name.
    ///
    /// # Errors
    /// See [`SaveError`]; the name is then as before.
    pub fn rename(&self, name: &str) -> Result<(), SaveError> {
        self.index()
            .change(&self.keys, vec![Change::Name(name.to_owned())])
    }

    /// Damage that was found since the last call, for the user to hear about.
    #[must_use]
    pub fn take_damages(&self) -> Vec<Damage> {
        std::mem::take(&mut *self.damages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn report(&self, damage: Damage) {
        tracing::warn!(kind = ?damage.kind, dropped_bytes = damage.dropped_bytes, "a stored file was damaged");
        self.damages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(damage);
    }

    fn keystrokes(&self) -> MutexGuard<'_, Keystrokes> {
        // A frame is whole or cut off, so a panic elsewhere leaves nothing half done.
        self.keystrokes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // A change is visible only after it is durable, so a panic elsewhere leaves nothing half done.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| OpenError::io(&path, error))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(LOCK_PATIENCE / 10);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    path: dir.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(OpenError::io(&path, error)),
        }
    }
}

fn create_folders(dir: &Path) -> Result<(), OpenError> {
    for name in [DOCUMENTS, CHATS, ORIGINALS] {
        let path = dir.join(name);
        durable::create_folder(&path).map_err(|error| OpenError::io(&path, error))?;
    }
    Ok(())
}

fn index_place(dir: &Path) -> Place {
    Place {
        path: dir.join(INDEX_FILE),
        name: FileName::new(FileKind::Index, [0; 16]),
    }
}

fn keystrokes_place(dir: &Path) -> Place {
    Place {
        path: dir.join(KEYSTROKES_FILE),
        name: FileName::new(FileKind::Keystrokes, [0; 16]),
    }
}

fn document_place(dir: &Path, id: DocumentId) -> Place {
    let path = dir.join(DOCUMENTS).join(format!("{id}.log"));
    Place {
        path,
        name: FileName::new(FileKind::Document, id.0),
    }
}

fn chat_place(dir: &Path, id: ThreadId) -> Place {
    let path = dir.join(CHATS).join(format!("{id}.log"));
    Place {
        path,
        name: FileName::new(FileKind::Chat, id.0),
    }
}

/// Removes files that nothing points to any more; what cannot be removed is found again at the next start.
fn remove_files(paths: impl IntoIterator<Item = PathBuf>) {
    for path in paths {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a file that is not needed any more could not be removed");
        }
    }
}

#[cfg(test)]
mod tests;
