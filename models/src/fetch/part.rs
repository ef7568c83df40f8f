//! The unfinished file on the disk, and what is known of it.
//!
//! ```text
//! models/.downloading/<first 16 digits of the SHA-256 of the address>/
//!   part         the file, with holes where nothing has come yet
//!   state.json   address, length, which version of the file, which ranges have come (see `State`)
//!   lock         held by the program that fetches
//! ```
//!
//! A range is noted in `state.json` only after an fsync of its bytes, so that it is true after a power cut as well.
//! All of it blocks on the disk.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ranges::Ranges;
use crate::durable;

/// Folder of unfinished downloads in the store.
const DIR: &str = ".downloading";
const PART_FILE: &str = "part";
const STATE_FILE: &str = "state.json";
const LOCK_FILE: &str = "lock";
const FORMAT_VERSION: u32 = 1;

/// What `state.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    format_version: u32,
    pub(super) url: String,
    pub(super) size_bytes: u64,
    /// The `ETag` of the file, or when it was changed last; `None` where the host says neither.
    pub(super) validator: Option<String>,
    /// What the content must have, where that is known.
    pub(super) sha256: Option<String>,
    /// Start and end of each range that has come.
    done: Vec<(u64, u64)>,
}

impl State {
    pub(super) fn new(
        url: String,
        size_bytes: u64,
        validator: Option<String>,
        sha256: Option<String>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            url,
            size_bytes,
            validator,
            sha256,
            done: Vec::new(),
        }
    }

    /// Whether this is the same version of the same file, so that parts of the two can be put together.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        let is_same_hash = match (&self.sha256, &other.sha256) {
            (Some(one), Some(other)) => one == other,
            _ => self.validator.is_some() && self.validator == other.validator,
        };
        self.url == other.url && self.size_bytes == other.size_bytes && is_same_hash
    }

    /// How many bytes have come.
    pub(super) fn done_bytes(&self) -> u64 {
        self.ranges().len()
    }

    fn ranges(&self) -> Ranges {
        self.done.iter().map(|(start, end)| *start..*end).collect()
    }
}

/// An unfinished file that this program fetches.
#[derive(Debug)]
pub(super) struct Part {
    dir: PathBuf,
    file: File,
    state: State,
    /// What has come, noted or not.
    done: Ranges,
    /// Held until this and every [`Note`] of it are dropped.
    lock: Arc<File>,
}

/// What is to be noted, so that it can be done while more arrives.
#[derive(Debug)]
pub(super) struct Note {
    file: File,
    path: PathBuf,
    state: State,
    _lock: Arc<File>,
}

/// The folder of the download of an address.
pub(super) fn dir_of(store: &Path, url: &str) -> PathBuf {
    let name = crate::store::hex(&Sha256::digest(url.as_bytes())[..8]);
    store.join(DIR).join(name)
}

/// What the unfinished downloads of a store know of themselves.
pub(super) fn unfinished(store: &Path) -> io::Result<Vec<State>> {
    let entries = match fs::read_dir(store.join(DIR)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(entries
        .flatten()
        .filter_map(|entry| read_state(&entry.path()))
        .collect())
}

/// Throws an unfinished download away, unless somebody is at it.
pub(super) fn discard(dir: &Path) -> io::Result<bool> {
    if !dir.exists() {
        return Ok(false);
    }
    let Some(_lock) = lock(dir)? else {
        return Err(io::ErrorKind::ResourceBusy.into());
    };
    fs::remove_dir_all(dir)?;
    Ok(true)
}

fn read_state(dir: &Path) -> Option<State> {
    let text = fs::read(dir.join(STATE_FILE)).ok()?;
    let state: State = serde_json::from_slice(&text).ok()?;
    (state.format_version == FORMAT_VERSION).then_some(state)
}

/// `None` where another program holds it.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(dir.join(LOCK_FILE))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Part {
    /// Goes on with what has come of this file (where it `can_go_on`), or begins anew where it is another one. `None`
    /// where another program is at it.
    pub(super) fn open(store: &Path, wanted: State, can_go_on: bool) -> io::Result<Option<Self>> {
        let dir = dir_of(store, &wanted.url);
        fs::create_dir_all(&dir)?;
        let Some(lock) = lock(&dir)? else {
            return Ok(None);
        };
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(dir.join(PART_FILE))?;
        let known = read_state(&dir).filter(|known| {
            // A range behind the end of the file is none.
            let is_there = file.metadata().is_ok_and(|file| {
                let end = known.ranges().iter().map(|range| range.end).max();
                end.is_none_or(|end| end <= file.len())
            });
            can_go_on && is_there && known.is_same_file(&wanted)
        });
        let part = Self {
            dir,
            file,
            done: known.as_ref().map(State::ranges).unwrap_or_default(),
            state: wanted,
            lock: Arc::new(lock),
        };
        if known.is_none() {
            part.file.set_len(0)?;
        }
        part.to_note()?.write()?;
        Ok(Some(part))
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn done(&self) -> &Ranges {
        &self.done
    }

    /// The file, to be written to at its ranges.
    pub(super) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Says that a range has been written.
    pub(super) fn wrote(&mut self, range: Range<u64>) {
        self.done.insert(range);
    }

    /// What has come so far, to be noted.
    pub(super) fn to_note(&self) -> io::Result<Note> {
        let done = self.done.iter().map(|range| (range.start, range.end));
        Ok(Note {
            file: self.file()?,
            path: self.dir.join(STATE_FILE),
            state: State {
                done: done.collect(),
                ..self.state.clone()
            },
            _lock: Arc::clone(&self.lock),
        })
    }

    /// Forgets everything that has come.
    pub(super) fn throw_away(self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)
    }

    /// The whole file, durable; the folder goes when the file has been moved out of it.
    pub(super) fn finish(self) -> io::Result<Whole> {
        self.file.sync_all()?;
        Ok(Whole {
            path: self.dir.join(PART_FILE),
            part: self,
        })
    }
}

impl Note {
    /// Makes what had been written last, and then notes it.
    pub(super) fn write(&self) -> io::Result<()> {
        self.file.sync_data()?;
        let text = serde_json::to_vec(&self.state).map_err(io::Error::other)?;
        durable::write(&self.path, &text)
    }
}

/// A file that has come as a whole.
#[derive(Debug)]
pub(super) struct Whole {
    path: PathBuf,
    part: Part,
}

impl Whole {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what is left of the download, the file too where it is still there.
    pub(super) fn clear(self) -> io::Result<()> {
        self.part.throw_away()
    }
}

/// Takes bytes from `at` on into the hash, as far as `end` and at most 8 MiB of them; gives the new position.
pub(super) fn hash_on(hash: &mut Sha256, file: &File, at: u64, end: u64) -> io::Result<u64> {
    const STEP_BYTES: u64 = 8 << 20;
    let mut buffer = vec![0; 1 << 20];
    let end = end.min(at + STEP_BYTES);
    let mut position = at;
    while position < end {
        let left = usize::try_from(end - position).unwrap_or(usize::MAX);
        let piece = left.min(buffer.len());
        file.read_exact_at(&mut buffer[..piece], position)?;
        hash.update(&buffer[..piece]);
        position += piece as u64;
    }
    Ok(position)
}
