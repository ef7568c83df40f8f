//! Keystrokes that are not in their documents yet: one log for all documents that are being written.
//!
//! A keystroke is on the disk's way as soon as it is typed; it becomes part of its document's history when the
//! editor is flushed, together with those around it. What a crash leaves here is put into the documents at the
//! next start. Knows nothing of Automerge but names. Start at [`Keystrokes`]; who types is in `editor`.
//!
//! The file is emptied when the last editor closes, and when it has grown while every stretch in it had ended.
//!
//! Frames of `keystrokes.log`, numbers little-endian:
//!
//! | bytes | a stretch begins: keystrokes that become one change |
//! |---|---|
//! | 0 | 1 |
//! | 1..5 | number of the stretch in this file, u32 |
//! | 5..21 | document id |
//! | 21..29 | number that the change will have among those of its actor, u64 |
//! | 29..37 | when the change was begun, in seconds since 1970 by the device's clock, i64 |
//! | 37 | length `a` of the actor id, 1..=255 |
//! | 38..38+a | actor id of the change |
//! | then | number of heads `h`, u8, and the heads that the change follows, 32 bytes each |
//!
//! | bytes | a keystroke |
//! |---|---|
//! | 0 | 2 |
//! | 1..5 | number of its stretch, u32 |
//! | 5..9 | where in the text, in UTF-8 bytes, u32 |
//! | 9..13 | how many bytes go, u32 |
//! | 13.. | what comes in their place, UTF-8 |
//!
//! | bytes | a stretch has ended: its change is in the document's own log |
//! |---|---|
//! | 0 | 3 |
//! | 1..5 | number of the stretch, u32 |

use std::collections::BTreeMap;
use std::io;

use automerge::{ActorId, ChangeHash};

use super::error::SaveError;
use super::journal::Place;
use crate::document::DocumentId;
use crate::durable;
use crate::log::{Appender, HEADER_BYTES, LogFile, Scan};
use crate::seal::WorkspaceKeys;

const BEGIN: u8 = 1;
const KEYSTROKE: u8 = 2;
const END: u8 = 3;
/// The file is not emptied before it has so many bytes: the first write after that is slow.
const EMPTY_MIN_BYTES: u64 = 256 << 10;
const HASH_BYTES: usize = 32;

/// One replacement in a text; positions are UTF-8 bytes of the text before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keystroke {
    pub(super) at_bytes: u32,
    pub(super) delete_bytes: u32,
    pub(super) insert: String,
}

/// Keystrokes that become one change of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) document: DocumentId,
    pub(super) actor: ActorId,
    /// Number of the change among those of its actor, from 1.
    pub(super) seq: u64,
    /// When it was begun, in seconds since 1970: part of the change, so that it is the same one when made again.
    pub(super) at_s: i64,
    /// The state of the document that the first keystroke changes.
    pub(super) heads: Vec<ChangeHash>,
    pub(super) keystrokes: Vec<Keystroke>,
}

/// The log, made when the first key is pressed.
#[derive(Debug)]
pub(super) struct Keystrokes {
    place: Place,
    appender: Option<Appender>,
    next: u32,
    /// Stretches that are not in their documents.
    open: usize,
    editors: usize,
}

impl Keystrokes {
    /// A log without keystrokes; there is no file yet.
    pub(super) fn none(place: Place) -> Self {
        Self {
            place,
            appender: None,
            next: 0,
            open: 0,
            editors: 0,
        }
    }

    /// Goes on after what was read from the file and could not be put into the documents now: it stays.
    pub(super) fn after(place: Place, scan: &Scan) -> Result<Self, SaveError> {
        let appender = Appender::open(&place.path, place.name, scan)
            .map_err(|error| SaveError::io(&place.path, 0, error))?;
        let numbers = scan.frames.iter().filter_map(|frame| number_of(frame));
        Ok(Self {
            place,
            appender: Some(appender),
            next: numbers.max().map_or(0, |number| number + 1),
            // Never ended by this process, so the file is not emptied.
            open: 1,
            editors: 0,
        })
    }

    /// Notes where the keystrokes to come belong; gives the number of their stretch.
    pub(super) fn begin(
        &mut self,
        keys: &WorkspaceKeys,
        stretch: &Stretch,
    ) -> Result<u32, SaveError> {
        let number = self.next;
        let actor = stretch.actor.to_bytes();
        let (Ok(actor_bytes), Ok(heads)) =
            (u8::try_from(actor.len()), u8::try_from(stretch.heads.len()))
        else {
            let error = io::Error::other("the document has too many branches");
            return Err(SaveError::io(&self.place.path, 0, error));
        };
        let mut frame = vec![BEGIN];
        frame.extend_from_slice(&number.to_le_bytes());
        frame.extend_from_slice(&stretch.document.0);
        frame.extend_from_slice(&stretch.seq.to_le_bytes());
        frame.extend_from_slice(&stretch.at_s.to_le_bytes());
        frame.push(actor_bytes);
        frame.extend_from_slice(actor);
        frame.push(heads);
        stretch
            .heads
            .iter()
            .for_each(|head| frame.extend_from_slice(&head.0));
        self.append(keys, &frame)?;
        self.next = self.next.wrapping_add(1);
        self.open += 1;
        Ok(number)
    }

    /// Notes one keystroke; it survives the end of this process.
    pub(super) fn note(
        &mut self,
        keys: &WorkspaceKeys,
        stretch: u32,
        at_bytes: u32,
        delete_bytes: u32,
        insert: &str,
    ) -> Result<(), SaveError> {
        let mut frame = Vec::with_capacity(13 + insert.len());
        frame.push(KEYSTROKE);
        for number in [stretch, at_bytes, delete_bytes] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        frame.extend_from_slice(insert.as_bytes());
        self.append(keys, &frame)
    }

    /// Notes that a stretch is in its document.
    pub(super) fn end(&mut self, keys: &WorkspaceKeys, stretch: u32) {
        let mut frame = vec![END];
        frame.extend_from_slice(&stretch.to_le_bytes());
        if let Err(error) = self.append(keys, &frame) {
            // What is found again at the next start is in its document already, and passed over.
            tracing::warn!(%error, "the end of a stretch of keystrokes could not be noted");
        }
        self.open = self.open.saturating_sub(1);
        self.empty_from(EMPTY_MIN_BYTES);
    }

    /// Notes that somebody begins to write.
    pub(super) fn editor_opened(&mut self) {
        self.editors += 1;
    }

    /// Notes that an editor is closed.
    pub(super) fn editor_closed(&mut self) {
        self.editors = self.editors.saturating_sub(1);
        if self.editors == 0 {
            self.empty_from(HEADER_BYTES as u64 + 1);
        }
    }

    /// Empties a file of so many bytes where no stretch in it is needed.
    fn empty_from(&mut self, bytes: u64) {
        if self.open == 0
            && let Some(appender) = &mut self.appender
            && appender.len_bytes() >= bytes
            && let Err(error) = appender.cut_to(HEADER_BYTES as u64)
        {
            tracing::warn!(%error, "the log of keystrokes could not be emptied");
        }
    }

    /// Returns when a power cut can take nothing of what was noted.
    pub(super) fn sync(&self) -> Result<(), SaveError> {
        let synced = self.appender.as_ref().map_or(Ok(()), Appender::sync);
        synced.map_err(|error| SaveError::io(&self.place.path, 0, error))
    }

    fn append(&mut self, keys: &WorkspaceKeys, frame: &[u8]) -> Result<(), SaveError> {
        let place = &self.place;
        let failed = |error| SaveError::io(&place.path, frame.len() as u64, error);
        let appender = match &mut self.appender {
            Some(appender) => appender,
            none => {
                let log = LogFile::new(keys, place.name);
                durable::write(&place.path, &log.encode(&[])).map_err(failed)?;
                let scan = log.read(&place.path)?;
                none.insert(Appender::open(&place.path, place.name, &scan).map_err(failed)?)
            }
        };
        appender.append_unsynced(keys, frame).map_err(failed)
    }
}

/// The stretches that have not ended, in the order in which they began. `None` when a frame is not understood.
pub(super) fn stretches(frames: &[Vec<u8>]) -> Option<Vec<Stretch>> {
    let mut stretches: BTreeMap<u32, Stretch> = BTreeMap::new();
    for frame in frames {
        let number = number_of(frame)?;
        match frame[0] {
            BEGIN => {
                stretches.insert(number, read_begin(&frame[5..])?);
            }
            KEYSTROKE => {
                let keystroke = read_keystroke(&frame[5..])?;
                stretches.get_mut(&number)?.keystrokes.push(keystroke);
            }
            END => {
                stretches.remove(&number);
            }
            _ => return None,
        }
    }
    Some(stretches.into_values().collect())
}

fn number_of(frame: &[u8]) -> Option<u32> {
    let number = frame.get(1..5)?.try_into().ok()?;
    Some(u32::from_le_bytes(number))
}

fn read_begin(bytes: &[u8]) -> Option<Stretch> {
    let (document, bytes) = bytes.split_first_chunk::<16>()?;
    let (seq, bytes) = bytes.split_first_chunk::<8>()?;
    let (at_s, bytes) = bytes.split_first_chunk::<8>()?;
    let (actor_bytes, bytes) = bytes.split_first()?;
    let (actor, bytes) = bytes.split_at_checked(usize::from(*actor_bytes))?;
    let (count, bytes) = bytes.split_first()?;
    let (heads, rest) = bytes.as_chunks::<HASH_BYTES>();
    let is_whole = heads.len() == usize::from(*count) && rest.is_empty() && !actor.is_empty();
    is_whole.then(|| Stretch {
        document: DocumentId(*document),
        actor: ActorId::from(actor),
        seq: u64::from_le_bytes(*seq),
        at_s: i64::from_le_bytes(*at_s),
        heads: heads.iter().copied().map(ChangeHash).collect(),
        keystrokes: Vec::new(),
    })
}

fn read_keystroke(bytes: &[u8]) -> Option<Keystroke> {
    let (at_bytes, bytes) = bytes.split_first_chunk::<4>()?;
    let (delete_bytes, insert) = bytes.split_first_chunk::<4>()?;
    Some(Keystroke {
        at_bytes: u32::from_le_bytes(*at_bytes),
        delete_bytes: u32::from_le_bytes(*delete_bytes),
        insert: String::from_utf8(insert.to_vec()).ok()?,
    })
}
