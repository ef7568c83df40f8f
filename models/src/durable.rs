//! Writes small files and folder entries so that they survive a power cut.
//!
//! The order is always: write to a temporary name, fsync the file, rename, fsync the folder. Used for the
//! records of the model store only; documents have their own, in the package `satchel-sync`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces the file at `path` with `bytes`: after a power cut either the old or the new content is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    #[allow(clippy::disallowed_methods)]
    // the temporary file of the durable write; an old one may be in the way
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rename(&temporary, path)
}

/// Renames a file or folder whose content is already on disk, and makes the new name last.
///
/// The old name may come back after a power cut when it lies in another folder; the new one stays.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[allow(clippy::disallowed_methods)] // the folder is synced below
    fs::rename(from, to)?;
    match to.parent() {
        Some(folder) => sync_dir(folder),
        None => Ok(()),
    }
}

/// Makes the entries of a folder last.
pub(crate) fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Bytes that an ordinary user can still write on the disk that holds `folder`.
pub(crate) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
