//! The index's folder: its lock, its format mark, and setting a damaged one aside.
//!
//! Never deletes an index that it could rename, and never touches anything but the folder and its
//! `.damaged-<n>` neighbours. Layout: `FORMAT.md`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use lance::Dataset;
use lance::index::DatasetIndexExt;

use crate::error::{Fault, StoreError};
use crate::schema::INDEX_FORMAT_VERSION;

/// Holds the lock as long as the index is open: a second process would prune files under a reader.
const LOCK_FILE: &str = "LOCK";

/// Says what the folder is and which version wrote it.
const FORMAT_FILE: &str = "FORMAT";

/// The folder of an open index. Dropping it releases the lock.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder ready: creates and locks it, and checks that it is an index of this version.
    ///
    /// Returns whether it is new. A folder that holds anything else is [`Fault::Damage`].
    pub(crate) fn open(dir: &Path) -> Result<(Self, bool), Fault> {
        let dir = std::path::absolute(dir)?;
        fs::create_dir_all(&dir)?;
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join(LOCK_FILE))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Fault::Refused(StoreError::InUse { dir })),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let created = check_format(&dir)?;
        Ok((Self { dir, _lock: lock }, created))
    }

    /// The folder as LanceDB wants it.
    pub(crate) fn uri(&self) -> Result<&str, Fault> {
        self.dir.to_str().ok_or_else(|| {
            Fault::Trouble("the path of the search index is not valid Unicode".into())
        })
    }

    /// Whether the folder is still there: a user may delete it under a running program, and Lance
    /// would write into a new one as if nothing were missing.
    pub(crate) fn check_present(&self) -> Result<(), Fault> {
        if self.dir.join(FORMAT_FILE).exists() {
            Ok(())
        } else {
            Err(Fault::damage("the index's folder was deleted"))
        }
    }

    /// Whether a table's folder exists, readable or not.
    pub(crate) fn has_table(&self, name: &str) -> bool {
        self.table_dir(name).exists()
    }

    /// Compares the sizes of all files of a table with what its manifest says.
    ///
    /// Lance does not flush to the disk, so a power cut leaves files of 0 bytes behind. They would
    /// show only when a search needs them; this costs one look at the file system per file.
    pub(crate) async fn check_files(&self, name: &str, dataset: &Dataset) -> Result<(), Fault> {
        let dir = self.table_dir(name);
        for fragment in dataset.iter_fragments() {
            for file in &fragment.files {
                let expected = file.file_size_bytes.get().map(u64::from);
                check_size(&dir.join("data").join(&file.path), expected)?;
            }
            if let Some(file) = &fragment.deletion_file {
                let name = format!(
                    "{}-{}-{}.{}",
                    fragment.id,
                    file.read_version,
                    file.id,
                    file.file_type.suffix()
                );
                check_size(&dir.join("_deletions").join(name), None)?;
            }
        }
        for index in dataset.load_indices().await?.iter() {
            let index_dir = dir.join("_indices").join(index.uuid.to_string());
            for file in index.files.iter().flatten() {
                check_size(&index_dir.join(&file.path), Some(file.size_bytes))?;
            }
        }
        Ok(())
    }

    fn table_dir(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.lance"))
    }
}

/// Reads the format mark, or writes it into an empty folder; returns whether it was empty.
fn check_format(dir: &Path) -> Result<bool, Fault> {
    let path = dir.join(FORMAT_FILE);
    let ours = format!("satchel-vector {INDEX_FORMAT_VERSION}\n");
    let mut found = String::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(1024)
                .read_to_string(&mut found)
                .map_err(|_| Fault::damage("the index's FORMAT file is not text"))?;
            if found == ours {
                Ok(false)
            } else {
                Err(Fault::damage("the index was written by another version"))
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let foreign = fs::read_dir(dir)?
                .flatten()
                .any(|entry| entry.file_name() != LOCK_FILE);
            if foreign {
                return Err(Fault::damage(
                    "the folder holds something else than a search index",
                ));
            }
            // A cache need not be durable: half a mark counts as damage and is built anew.
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)?;
            file.write_all(ours.as_bytes())?;
            Ok(true)
        }
        Err(error) => Err(error.into()),
    }
}

fn check_size(path: &Path, expected: Option<u64>) -> Result<(), Fault> {
    let got = fs::metadata(path).map_err(Fault::of_write)?.len();
    if got == 0 || expected.is_some_and(|expected| expected != got) {
        return Err(Fault::damage(format!(
            "a file of the index has {got} bytes instead of {}",
            expected.unwrap_or(1)
        )));
    }
    Ok(())
}

/// Moves an index out of the way, to `<dir>.damaged-<n>`, and removes those set aside before.
///
/// Returns where it lies now; `None` if there was nothing, or if it could only be removed.
pub(crate) fn set_aside(dir: &Path) -> io::Result<Option<PathBuf>> {
    let dir = std::path::absolute(dir)?;
    if !dir.exists() {
        return Ok(None);
    }
    let mut last = 0;
    for (number, path) in set_aside_before(&dir) {
        last = last.max(number);
        // One is kept for a look at what happened; more would only fill the disk.
        fs::remove_dir_all(path)?;
    }
    let target = neighbour(&dir, last + 1);
    #[allow(clippy::disallowed_methods)] // A damaged cache: nothing has to survive a power cut.
    let renamed = fs::rename(&dir, &target);
    match renamed {
        Ok(()) => Ok(Some(target)),
        Err(_) => fs::remove_dir_all(&dir).map(|()| None),
    }
}

fn neighbour(dir: &Path, number: u64) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".damaged-{number}"));
    dir.with_file_name(name)
}

fn set_aside_before(dir: &Path) -> Vec<(u64, PathBuf)> {
    let Some((parent, name)) = dir
        .parent()
        .zip(dir.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let prefix = format!("{name}.damaged-");
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix(&prefix)?
                .parse()
                .ok()?;
            Some((number, entry.path()))
        })
        .collect()
}

/// Bytes of all files below a folder. What vanishes meanwhile counts nothing.
pub(crate) fn bytes_below(dir: &Path) -> u64 {
    let mut sum = 0;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => sum += meta.len(),
                Err(_) => {}
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Folder, set_aside};
    use crate::error::{Fault, StoreError};

    #[test]
    fn a_folder_is_locked_while_open() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("index");
        let (open, created) = Folder::open(&dir).unwrap();
        assert!(created);
        assert!(matches!(
            Folder::open(&dir),
            Err(Fault::Refused(StoreError::InUse { .. }))
        ));
        drop(open);
        assert!(!Folder::open(&dir).unwrap().1);
    }

    #[test]
    fn another_folder_is_not_taken_for_an_index() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("letter.txt"), "dear").unwrap();
        assert!(matches!(Folder::open(home.path()), Err(Fault::Damage(_))));
    }

    #[test]
    fn one_damaged_index_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("index");
        assert_eq!(set_aside(&dir).unwrap(), None);
        for n in 1..4 {
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("n"), n.to_string()).unwrap();
            let kept = set_aside(&dir).unwrap().unwrap();
            assert_eq!(fs::read_to_string(kept.join("n")).unwrap(), n.to_string());
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
        }
    }
}
