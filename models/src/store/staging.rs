//! Temporary folders inside the store, in which an import grows until it is complete.
//!
//! Each is locked by its owner as long as the owner lives. A folder whose lock is free was left by a program
//! that was killed, and is removed when a store is opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};

const PREFIX: &str = ".importing-";
const LOCK_FILE: &str = "lock";
const STORE_LOCK_FILE: &str = ".lock";
const CONTENT_DIR: &str = "content";

/// A locked temporary folder; removed when it is dropped.
#[derive(Debug)]
pub(super) struct StagingDir {
    dir: PathBuf,
    /// Held for the lock only; the lock ends with the process, however it ends.
    _lock: File,
}

impl StagingDir {
    /// Makes an empty folder of its own in `store`.
    pub(super) fn create(store: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let dir = store.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&dir) {
                Ok(()) => return Self::lock(dir),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn lock(dir: PathBuf) -> io::Result<Self> {
        let lock = File::create_new(dir.join(LOCK_FILE))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::create_dir(dir.join(CONTENT_DIR))?;
        Ok(Self { dir, _lock: lock })
    }

    /// The folder to fill; it can be renamed into the store as a whole.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(CONTENT_DIR)
    }

    /// Removes the folder now and tells whether that worked.
    pub(super) fn discard(self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed at the next start.
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Waits until this program alone may add and remove models; until the returned file is dropped.
///
/// Held for milliseconds only: copying and converting happen before.
pub(super) fn lock_store(store: &Path) -> io::Result<File> {
    let lock = File::options()
        .create(true)
        .append(true)
        .open(store.join(STORE_LOCK_FILE))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// Removes the temporary folders of programs that are gone.
pub(super) fn remove_leftovers(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let entry = entry?;
        let is_staging = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        if is_staging && is_abandoned(&entry.path()) {
            tracing::info!("removing what an interrupted import left");
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Whether nobody holds the lock of a temporary folder.
fn is_abandoned(dir: &Path) -> bool {
    /// A folder without a lock was perhaps made this moment.
    const GRACE: std::time::Duration = std::time::Duration::from_secs(60);
    match File::open(dir.join(LOCK_FILE)) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(_) => fs::metadata(dir)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > GRACE)),
    }
}
