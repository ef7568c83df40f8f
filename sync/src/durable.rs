//! Puts whole files on the disk so that a power cut finds either the old file or the new one.
//!
//! Each file goes to a temporary name in the same folder, is written and fsynced, is renamed, and then the
//! folder is fsynced. Nothing else in this crate writes a whole file, and nothing here knows what a file means.
//! Blocking: one file costs two waits for the disk; [`write_all`] shares them among many files.
//! Start at [`write()`].

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Ending of files that are not finished. One that is found when nothing is being written is left from a
/// crash and may be deleted.
pub const UNFINISHED_SUFFIX: &str = ".unfinished";

/// How many files are written and fsynced at once by [`write_all`].
///
/// A thread here only waits for the disk, so it does not follow the number of processors. File systems with
/// a journal put fsyncs that wait together into one commit: 128 new files of 20 kB took 296 to 520 ms with
/// 1 thread, 31 to 160 ms with 8, and 20 to 68 ms with 16 (ext4 on a virtual disk, 2 cores, other work running).
pub const WRITE_THREADS: usize = 16;

/// Writes `bytes` to `path`, replacing what was there, and returns when the disk has them.
///
/// After an error or a crash, `path` holds what it held before.
///
/// # Errors
/// Whatever the file system says; [`io::ErrorKind::StorageFull`] when the disk is full. The temporary file
/// is removed again where that is possible.
///
/// # Examples
/// ```
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("settings");
/// satchel_sync::durable::write(&path, b"kept")?;
/// assert_eq!(std::fs::read(&path)?, b"kept");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    stage(path, bytes)?.commit()
}

/// A file that is complete and safe on the disk under its temporary name, and not visible yet.
///
/// Dropping it without [`Staged::commit`] removes the temporary file.
#[derive(Debug)]
pub struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    renamed: bool,
}

/// Writes and fsyncs `bytes` beside `path` without touching `path`.
///
/// For callers that want to read the new file back before it replaces the old one.
///
/// # Errors
/// As [`write()`]; nothing is left behind.
pub fn stage(path: &Path, bytes: &[u8]) -> io::Result<Staged> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(UNFINISHED_SUFFIX);
    let staged = Staged {
        temporary: PathBuf::from(temporary),
        target: path.to_owned(),
        renamed: false,
    };
    let mut file = private_file(&staged.temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(staged)
}

impl Staged {
    /// Where the new bytes are until they are committed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file its real name and fsyncs the folder.
    ///
    /// # Errors
    /// As [`write()`]; when the rename failed, the old file is untouched and the temporary one is removed.
    pub fn commit(self) -> io::Result<()> {
        let folder = folder_of(&self.target).to_owned();
        self.rename()?;
        sync_folder(&folder)
    }

    #[allow(clippy::disallowed_methods)] // this is the durable write itself
    fn rename(mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.target)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.renamed {
            // Nothing more can be done about a file that cannot be removed; the next start tries again.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Writes many files; when it returns `Ok`, all of them are durable.
///
/// All files are written and fsynced under temporary names first, with up to [`WRITE_THREADS`] threads, then
/// renamed, then each folder is fsynced once. Folders must exist.
///
/// # Errors
/// The first error. When it happens before the renames (a full disk nearly always does), no file has
/// changed; otherwise some may carry their new contents, each of them complete.
pub fn write_all(files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
    let staged = in_parallel(WRITE_THREADS, files, |(path, bytes)| stage(path, bytes))?;
    let folders: BTreeSet<PathBuf> = files
        .iter()
        .map(|(path, _)| folder_of(path).to_owned())
        .collect();
    for file in staged {
        file.rename()?;
    }
    let folders: Vec<PathBuf> = folders.into_iter().collect();
    in_parallel(WRITE_THREADS, &folders, |folder| sync_folder(folder))?;
    Ok(())
}

/// Runs `work` for every item on up to `threads` threads that end before it returns; results in the items' order.
///
/// # Errors
/// The first error by the items' order. Items that were not begun when an error appeared are skipped.
pub(crate) fn in_parallel<I, O, E>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> Result<O, E> + Sync,
) -> Result<Vec<O>, E>
where
    I: Sync,
    O: Send,
    E: Send,
{
    let threads = threads.min(items.len());
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<O, E>>>> =
        Mutex::new(items.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().flatten().collect()
}

/// Makes a folder and its parents, readable by this user only where the system has such a notion, and
/// fsyncs the parent of each new one.
///
/// # Errors
/// Whatever the file system says. An existing folder is left as it is.
pub fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = folder_of(path);
    if !parent.as_os_str().is_empty() {
        create_folder(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => sync_folder(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a folder another name beside its old one, and returns when the disk has the name.
///
/// After an error or a crash, it has one of the two names, with everything in it.
///
/// # Errors
/// Whatever the file system says; among others when `to` exists and is not an empty folder.
#[allow(clippy::disallowed_methods)] // the fsync follows, and the files in it do not change
pub fn rename_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(folder_of(to))
}

/// Waits until the names in a folder (new, renamed, removed) are on the disk.
///
/// # Errors
/// Whatever the file system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    // Only Unix lets a folder be opened and fsynced.
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

/// Removes files that a crash left unfinished in `folder`; returns how many.
///
/// Call it only while nothing writes into the folder.
///
/// # Errors
/// Whatever the file system says when the folder is read; a file that cannot be removed is skipped.
pub fn remove_unfinished(folder: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let unfinished = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.ends_with(UNFINISHED_SUFFIX));
        if unfinished && fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// How many bytes this user can still write on the disk that holds `path`, if the system tells.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_staged_file_that_is_dropped_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, b"old").unwrap();
        drop(stage(&path, b"new").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_files_are_written_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<_> = (0..50u8)
            .map(|n| (folder.path().join(n.to_string()), vec![n; 10]))
            .collect();
        write_all(&files).unwrap();
        for (path, bytes) in &files {
            assert_eq!(&fs::read(path).unwrap(), bytes);
        }

        let mut broken: Vec<_> = files
            .iter()
            .map(|(path, _)| (path.clone(), vec![9]))
            .collect();
        broken.push((folder.path().join("no such folder/file"), vec![9]));
        write_all(&broken).unwrap_err();
        for (path, bytes) in &files {
            assert_eq!(&fs::read(path).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 50);
    }

    #[test]
    fn leftovers_of_a_crash_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.log.unfinished"), b"half").unwrap();
        fs::write(folder.path().join("b.log"), b"whole").unwrap();
        assert_eq!(remove_unfinished(folder.path()).unwrap(), 1);
        assert!(folder.path().join("b.log").exists());
    }

    #[cfg(unix)]
    #[test]
    fn files_and_folders_belong_to_this_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a/b");
        create_folder(&folder).unwrap();
        write(&folder.join("file"), b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("file")), 0o600);
    }
}
