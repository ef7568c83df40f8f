//! An Automerge document in a log file: loading, appending, compacting.
//!
//! A file begins with a snapshot and grows by changes. It is rewritten as one snapshot when it has grown, and the
//! new file replaces the old one only after it was read back from the disk and leads to the same heads.
//! Start at [`read`] and [`Journal`].

use std::io;
use std::path::{Path, PathBuf};

use automerge::{Automerge, ChangeHash};

use super::error::SaveError;
use crate::document::{LoadError, load, pack_changes, pack_rendering, pack_snapshot, unpack};
use crate::durable;
use crate::log::{Appender, Damage, FileName, LogFile, MAX_FRAME_BYTES, Scan};
use crate::seal::WorkspaceKeys;

/// A log is compacted when the changes after its snapshot are longer than the snapshot and than this.
///
/// 64 KiB: below it a load is dominated by opening the file.
const COMPACT_MIN_TAIL_BYTES: u64 = 64 << 10;
/// A log is compacted when it has this many frames of changes: loading slows with their number.
const COMPACT_FRAMES: usize = 128;

/// What a log file gave.
pub(super) struct Loaded {
    pub(super) doc: Automerge,
    pub(super) scan: Scan,
}

/// Where a document lies.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) name: FileName,
}

/// Reads and opens the frames, changing nothing. `Ok(Err(damage))` when there is none that is usable.
pub(super) fn scan(keys: &WorkspaceKeys, place: &Place) -> Result<Result<Scan, Damage>, SaveError> {
    let scan = LogFile::new(keys, place.name).read(&place.path)?;
    Ok(with_frames(scan, place))
}

/// As [`scan`], and repairs what is damaged; the damage stays in the scan.
pub(super) fn scan_and_repair(
    keys: &WorkspaceKeys,
    place: &Place,
) -> Result<Result<Scan, Damage>, SaveError> {
    let log = LogFile::new(keys, place.name);
    let mut scan = log.read(&place.path)?;
    log.repair(&place.path, &mut scan)
        .map_err(|error| SaveError::io(&place.path, 0, error))?;
    Ok(with_frames(scan, place))
}

/// As [`scan`], and loads the document.
pub(super) fn read(
    keys: &WorkspaceKeys,
    place: &Place,
) -> Result<Result<Loaded, Damage>, SaveError> {
    scan(keys, place)?.map_or_else(|damage| Ok(Err(damage)), |scan| loaded(scan, place).map(Ok))
}

/// As [`scan_and_repair`], and loads the document.
pub(super) fn read_and_repair(
    keys: &WorkspaceKeys,
    place: &Place,
) -> Result<Result<Loaded, Damage>, SaveError> {
    scan_and_repair(keys, place)?
        .map_or_else(|damage| Ok(Err(damage)), |scan| loaded(scan, place).map(Ok))
}

fn with_frames(mut scan: Scan, place: &Place) -> Result<Scan, Damage> {
    if scan.frames.is_empty() {
        return Err(scan.damage.take().unwrap_or_else(|| empty(&place.path)));
    }
    Ok(scan)
}

fn loaded(scan: Scan, place: &Place) -> Result<Loaded, SaveError> {
    let doc = load(&scan.frames).map_err(|error| SaveError::load(&place.path, error))?;
    Ok(Loaded { doc, scan })
}

/// The bytes of a new log with one snapshot. `rendering` is what the document says, for fast reading.
pub(super) fn encode_new(
    keys: &WorkspaceKeys,
    name: FileName,
    doc: &Automerge,
    rendering: Option<&[u8]>,
) -> Result<Vec<u8>, SaveError> {
    encode_frame(keys, name, &pack_snapshot(doc, rendering))
}

/// The bytes of a new log with one frame.
pub(super) fn encode_frame(
    keys: &WorkspaceKeys,
    name: FileName,
    frame: &[u8],
) -> Result<Vec<u8>, SaveError> {
    check_length(frame.len())?;
    Ok(LogFile::new(keys, name).encode(&[frame]))
}

/// A document's log, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    place: Place,
    appender: Appender,
    saved_heads: Vec<ChangeHash>,
    snapshot_bytes: u64,
    change_frames: usize,
}

impl Journal {
    /// Opens the log that `scan` came from; it must be intact or repaired.
    pub(super) fn open(place: Place, scan: &Scan) -> Result<Self, SaveError> {
        let appender = Appender::open(&place.path, place.name, scan)
            .map_err(|error| SaveError::io(&place.path, 0, error))?;
        let last = scan.frames.last().and_then(|frame| unpack(frame));
        let last = last.ok_or_else(|| SaveError::load(&place.path, LoadError::Frame))?;
        Ok(Self {
            place,
            appender,
            saved_heads: last.heads,
            snapshot_bytes: scan.frames.first().map_or(0, |frame| frame.len() as u64),
            change_frames: scan.frames.len() - 1,
        })
    }

    /// The heads of the document as the file has it.
    pub(super) fn saved_heads(&self) -> &[ChangeHash] {
        &self.saved_heads
    }

    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Whether the file is as it was when this last read or wrote it.
    pub(super) fn is_current(&self) -> Result<bool, SaveError> {
        let current = self.appender.is_at_end_of(&self.place.path);
        current.map_err(|error| SaveError::io(&self.place.path, 0, error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.place.path
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.appender.len_bytes()
    }

    /// What [`Journal::append`] would write for the changes since the last save.
    pub(super) fn pending(
        &self,
        doc: &Automerge,
        rendering: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, SaveError> {
        let frame = pack_changes(doc, &self.saved_heads, rendering);
        if let Some(frame) = &frame {
            check_length(frame.len())?;
        }
        Ok(frame)
    }

    /// As [`Journal::pending`], where the document is as it was saved and only its rendering is another.
    pub(super) fn pending_rendering(&self, rendering: &[u8]) -> Result<Vec<u8>, SaveError> {
        let frame = pack_rendering(&self.saved_heads, rendering);
        check_length(frame.len())?;
        Ok(frame)
    }

    /// Makes a frame from [`Journal::pending`] durable. On an error the file is as before.
    pub(super) fn append(
        &mut self,
        keys: &WorkspaceKeys,
        frame: &[u8],
        heads: Vec<ChangeHash>,
    ) -> Result<(), SaveError> {
        self.appender
            .append(keys, frame)
            .map_err(|error| SaveError::io(&self.place.path, frame.len() as u64, error))?;
        self.saved_heads = heads;
        self.change_frames += 1;
        Ok(())
    }

    /// Takes back the frame that was appended last, as far as the disk allows: the next save writes it again.
    pub(super) fn take_back(&mut self, len_bytes: u64, heads: Vec<ChangeHash>) {
        self.cut_to(len_bytes);
        self.saved_heads = heads;
        self.change_frames -= 1;
    }

    /// Takes back frames of a batch that failed elsewhere, as far as the disk allows.
    ///
    /// Where it does not, the document is newer than the index says, which the next reader puts right.
    pub(super) fn cut_to(&mut self, len_bytes: u64) {
        if let Err(error) = self.appender.cut_to(len_bytes) {
            tracing::warn!(%error, "a saved change could not be taken back");
        }
    }

    /// Rewrites the log as one snapshot if it has grown. `rendering` is asked only then.
    pub(super) fn compact_if_grown(
        &mut self,
        keys: &WorkspaceKeys,
        doc: &Automerge,
        rendering: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<(), SaveError> {
        let tail_bytes = self.len_bytes().saturating_sub(self.snapshot_bytes);
        let long = tail_bytes > self.snapshot_bytes.max(COMPACT_MIN_TAIL_BYTES);
        if self.change_frames > 0 && (long || self.change_frames >= COMPACT_FRAMES) {
            self.compact(keys, doc, rendering().as_deref())?;
        }
        Ok(())
    }

    /// Rewrites the log as one snapshot. The old file stays until the new one was read back and found equal.
    fn compact(
        &mut self,
        keys: &WorkspaceKeys,
        doc: &Automerge,
        rendering: Option<&[u8]>,
    ) -> Result<(), SaveError> {
        let bytes = encode_new(keys, self.place.name, doc, rendering)?;
        let io_error = |error| SaveError::io(&self.place.path, bytes.len() as u64, error);
        let staged = durable::stage(&self.place.path, &bytes).map_err(io_error)?;
        let place = Place {
            path: staged.path().to_owned(),
            name: self.place.name,
        };
        let heads = doc.get_heads();
        let Ok(written) = read(keys, &place)? else {
            return Err(io_error(io::Error::other(
                "a rewritten file does not read back",
            )));
        };
        if written.scan.damage.is_some() || written.doc.get_heads() != heads {
            return Err(io_error(io::Error::other(
                "a rewritten file does not read back",
            )));
        }
        staged.commit().map_err(io_error)?;
        *self = Self::open(self.place.clone(), &written.scan)?;
        Ok(())
    }
}

fn check_length(bytes: usize) -> Result<(), SaveError> {
    if bytes > MAX_FRAME_BYTES {
        return Err(SaveError::TooLarge {
            bytes: bytes as u64,
            limit_bytes: MAX_FRAME_BYTES as u64,
        });
    }
    Ok(())
}

fn empty(path: &Path) -> Damage {
    Damage {
        path: path.to_owned(),
        kind: crate::log::DamageKind::TornTail,
        intact_frames: 0,
        dropped_bytes: 0,
        kept_as: None,
    }
}
