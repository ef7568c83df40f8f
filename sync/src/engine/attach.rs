//! What lies beside the log in chunks: original files, embeddings, and documents too long for an entry.
//!
//! One file up and one down at a time, behind everything else. What is on its way is not remembered: after a start
//! the list of documents says what is missing where. Start at [`Attachments`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use automerge::ChangeHash;
use satchel_protocol::fragment::{EncryptedFragment, FragmentKind};
use satchel_protocol::frame::{Answer, ErrorAnswer, ErrorCode, Request};
use satchel_protocol::id::{FragmentId, NodeFingerprint};
use serde::{Deserialize, Serialize};

use super::documents::{Documents, Incoming, Outcome, Outgoing};
use super::edge::{Asked, Edge, refusal_words};
use super::state::EngineError;
use super::store::{SyncStore, Table};
use super::{Action, Engine, rows};
use crate::entry::{DocKey, Encoding, Part, PartBody};
use crate::id::{ContentHash, DeviceId, from_hex, to_hex};
use crate::inflate::MAX_LONG_FOREIGN_BYTES;
use crate::sealing::{self, Padding};

/// Plaintext of one chunk: with padding (at most 12 %) and seal it fits a fragment.
const CHUNK_BYTES: usize = 880 << 10;
/// Chunks on their way at a time: enough to keep a line busy, and 2 MiB of memory.
const WINDOW: usize = 2;

/// Why a file could not be read or stored; the words are for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AttachError(pub Box<dyn std::error::Error + Send + Sync>);

/// The files of a workspace that are named by their content.
pub trait Attachments {
    /// Files that are here and that the list of documents says no edge has.
    fn to_upload(&mut self) -> Vec<ContentHash>;

    /// Files that an edge has, in these fragments, and that are not here.
    fn to_download(&mut self) -> Vec<(ContentHash, Vec<FragmentId>)>;

    /// A file; `None` where it is gone meanwhile.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&mut self, file: &ContentHash) -> Result<Option<Vec<u8>>, AttachError>;

    /// Notes in the list of documents in which fragments a file lies.
    ///
    /// # Errors
    /// When the list cannot be saved.
    fn record(&mut self, file: ContentHash, fragments: &[FragmentId]) -> Result<(), AttachError>;

    /// Stores a file durably. Its hash was compared.
    ///
    /// # Errors
    /// When the disk refuses.
    fn store(&mut self, file: ContentHash, bytes: Vec<u8>) -> Result<(), AttachError>;

    /// The list of documents of a joined workspace is here.
    fn index_has_come(&mut self);
}

/// What a chunk belongs to.
#[derive(Debug, Clone)]
enum Target {
    File(ContentHash),
    Body(Body),
}

/// A document, or changes of one, too long for an entry.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Body {
    key: String,
    whole: bool,
    heads: Vec<String>,
    ids: Vec<String>,
    len_bytes: u64,
    hash: String,
    author: Option<DeviceId>,
}

struct Upload {
    target: Target,
    bytes: Vec<u8>,
    ids: Vec<FragmentId>,
    under_way: usize,
}

struct Download {
    target: Target,
    ids: Vec<FragmentId>,
    next: usize,
    got: BTreeMap<usize, Vec<u8>>,
}

/// What a request about a chunk was for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Put,
    Get(usize),
}

/// What is on its way.
#[derive(Default)]
pub(super) struct Queue {
    up: Option<Upload>,
    down: Option<Download>,
    bodies_up: VecDeque<(DocKey, Encoding, Outgoing)>,
    bodies_down: VecDeque<Body>,
    uploads: Option<VecDeque<ContentHash>>,
    /// The list of documents was changed here since it was looked for files to upload.
    may_lack_uploads: bool,
    downloads: Option<VecDeque<(ContentHash, Vec<FragmentId>)>>,
    /// Files that no edge gave; asked for again after the next connection.
    missing: BTreeSet<ContentHash>,
    /// The edge has no room; tried again at this time of the monotonic clock, or after the next connection.
    full_until_ms: Option<u64>,
}

impl Queue {
    /// Forgets what was on its way; gives a document that has to be sent anew.
    pub(super) fn connection_lost(&mut self) -> Option<DocKey> {
        let unsent = match self.up.take() {
            Some(Upload {
                target: Target::Body(body),
                ..
            }) => body.doc(),
            _ => None,
        };
        if let Some(Download {
            target: Target::Body(body),
            ..
        }) = self.down.take()
        {
            self.bodies_down.push_front(body);
        }
        self.missing.clear();
        self.full_until_ms = None;
        self.look_again();
        unsent
    }

    /// The list of documents may name other files now.
    pub(super) fn look_again(&mut self) {
        self.uploads = None;
        self.downloads = None;
    }

    /// The list of documents was changed here, so that there may be another file to upload.
    pub(super) fn list_was_written(&mut self) {
        self.may_lack_uploads = true;
    }

    pub(super) fn is_full(&self) -> bool {
        self.full_until_ms.is_some()
    }

    pub(super) fn full_until_ms(&self) -> Option<u64> {
        self.full_until_ms
    }

    /// Tries again what an edge had no room for, where the time has come.
    pub(super) fn look_for_room(&mut self, now_ms: u64) {
        self.full_until_ms.take_if(|until| *until <= now_ms);
    }

    pub(super) fn uploads(&self) -> usize {
        let files = self.uploads.as_ref().map_or(0, VecDeque::len);
        files + self.bodies_up.len() + usize::from(self.up.is_some())
    }

    pub(super) fn downloads(&self) -> usize {
        let files = self.downloads.as_ref().map_or(0, VecDeque::len);
        files + self.bodies_down.len() + usize::from(self.down.is_some())
    }
}

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    /// What was on its way in chunks is lost with its connection.
    pub(super) fn drop_attachments(&mut self) {
        let unsent = self.attach.connection_lost();
        let unsent = unsent.into_iter().map(|key| (key, None)).collect();
        self.sending.note(unsent, self.now);
    }

    /// A document that is too long for an entry goes up in chunks first.
    pub(super) fn upload_body(&mut self, key: DocKey, encoding: Encoding, outgoing: Outgoing) {
        if outgoing.bytes.len() > MAX_LONG_FOREIGN_BYTES {
            let words =
                "A document is too long to be sent to the other laptops; it stays on this one.";
            self.state
                .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
            return;
        }
        // An older state of it that has not gone yet need not go.
        self.attach
            .bodies_up
            .retain(|(waiting, ..)| *waiting != key);
        self.attach.bodies_up.push_back((key, encoding, outgoing));
    }

    /// A document that came as a list of chunks is to be fetched.
    pub(super) fn want_body(&mut self, part: Part, author: Option<DeviceId>) {
        let PartBody::Blobs {
            ids,
            len_bytes,
            hash,
        } = part.body
        else {
            return;
        };
        if len_bytes > MAX_LONG_FOREIGN_BYTES as u64 {
            let words = "A document of another laptop is too long to be taken in.".to_owned();
            self.state.warn(self.now.wall_ms, words, &mut self.rows);
            return;
        }
        self.attach.bodies_down.push_back(Body {
            key: to_hex(&rows::key_bytes(part.key)),
            whole: part.encoding == Encoding::Save,
            heads: part.heads.iter().map(|head| to_hex(head)).collect(),
            ids: ids.iter().map(|id| to_hex(&id.0)).collect(),
            len_bytes,
            hash: to_hex(&hash),
            author,
        });
        self.remember_bodies();
    }

    fn remember_bodies(&mut self) {
        let mut bodies: Vec<&Body> = self.attach.bodies_down.iter().collect();
        if let Some(Download {
            target: Target::Body(body),
            ..
        }) = &self.attach.down
        {
            bodies.push(body);
        }
        self.rows.push(rows::put(Table::Own, BODIES, &bodies));
    }

    /// Goes on with what was wanted before the last end.
    pub(super) fn want_remembered_bodies(&mut self, value: Option<&Vec<u8>>) {
        let bodies: Option<Vec<Body>> = value.and_then(|value| rows::parse(value));
        self.attach.bodies_down.extend(bodies.unwrap_or_default());
    }

    pub(super) fn pump_attachments(&mut self) -> Result<(), EngineError> {
        let live = self.edges.iter().find(|(_, edge)| Edge::is_live(edge));
        let Some(edge) = live.map(|(id, _)| *id) else {
            return Ok(());
        };
        if self.may_write() {
            if !self.attach.is_full() {
                self.pump_up(edge)?;
            } else if self.attach.uploads.is_none() {
                // They wait, and the user is to see that they do.
                self.attach.uploads = Some(self.documents.to_upload().into());
            }
        }
        self.pump_down(edge)
    }

    fn pump_up(&mut self, edge: NodeFingerprint) -> Result<(), EngineError> {
        if self.attach.up.is_none() {
            self.attach.up = self.next_upload()?;
        }
        loop {
            let Some(up) = &mut self.attach.up else {
                return Ok(());
            };
            let start = up.ids.len() * CHUNK_BYTES;
            let is_done = start >= up.bytes.len();
            if is_done || up.under_way >= WINDOW {
                if is_done && up.under_way == 0 {
                    return self.finish_upload();
                }
                return Ok(());
            }
            let end = up.bytes.len().min(start + CHUNK_BYTES);
            let sealed = sealing::seal(
                self.state.newest(),
                self.state.founding.workspace,
                FragmentKind::BlobChunk,
                &up.bytes[start..end],
                Padding::Padme,
            );
            let Ok(fragment) = sealed else {
                self.attach.up = None;
                return Ok(());
            };
            up.ids.push(fragment.id());
            up.under_way += 1;
            let request = Request::BlobPut {
                mailbox: self.state.mailbox,
                fragment,
            };
            self.ask(edge, request, Asked::Attachment(Step::Put));
        }
    }

    fn next_upload(&mut self) -> Result<Option<Upload>, EngineError> {
        let upload = |target, bytes| Upload {
            target,
            bytes,
            ids: Vec::new(),
            under_way: 0,
        };
        if let Some((key, encoding, outgoing)) = self.attach.bodies_up.pop_front() {
            let body = Body {
                key: to_hex(&rows::key_bytes(key)),
                whole: encoding == Encoding::Save,
                heads: outgoing.heads.iter().map(|head| to_hex(&head.0)).collect(),
                ids: Vec::new(),
                len_bytes: outgoing.bytes.len() as u64,
                hash: to_hex(blake3::hash(&outgoing.bytes).as_bytes()),
                author: None,
            };
            return Ok(Some(upload(Target::Body(body), outgoing.bytes)));
        }
        loop {
            let is_done = self.attach.uploads.as_ref().map(VecDeque::is_empty);
            // Not for each of many files, since each that is sent changes the list as well.
            let may_lack = is_done == Some(true) && self.attach.may_lack_uploads;
            if is_done.is_none() || may_lack {
                self.attach.may_lack_uploads = false;
                self.attach.uploads = Some(self.documents.to_upload().into());
            }
            let next = self.attach.uploads.as_mut().and_then(VecDeque::pop_front);
            let Some(file) = next else {
                return Ok(None);
            };
            match self.documents.read(&file) {
                Ok(Some(bytes)) => return Ok(Some(upload(Target::File(file), bytes))),
                Ok(None) => {}
                Err(error) => {
                    let words = format!("A file could not be read for the other laptops: {error}");
                    self.state.warn(self.now.wall_ms, words, &mut self.rows);
                }
            }
        }
    }

    fn finish_upload(&mut self) -> Result<(), EngineError> {
        let Some(up) = self.attach.up.take() else {
            return Ok(());
        };
        match up.target {
            Target::File(file) => {
                if let Err(error) = self.documents.record(file, &up.ids) {
                    return Err(EngineError::Attachment(error));
                }
            }
            Target::Body(body) => {
                let Some(key) = body.doc() else {
                    return Ok(());
                };
                let part = Part {
                    key,
                    encoding: body.encoding(),
                    heads: body.heads().iter().map(|head| head.0).collect(),
                    body: PartBody::Blobs {
                        ids: up.ids,
                        len_bytes: body.len_bytes,
                        hash: from_hex(&body.hash).unwrap_or_default(),
                    },
                };
                let kind = if body.whole {
                    FragmentKind::Pack
                } else {
                    FragmentKind::Entry
                };
                self.make_item(kind, vec![part], &[])?;
            }
        }
        self.actions.push(Action::StatusChanged);
        Ok(())
    }

    fn pump_down(&mut self, edge: NodeFingerprint) -> Result<(), EngineError> {
        if self.attach.down.is_none() {
            self.attach.down = self.next_download();
        }
        let Some(down) = &mut self.attach.down else {
            return Ok(());
        };
        let mut wanted = Vec::new();
        let under_way = down.next - down.got.len();
        for _ in under_way..WINDOW {
            if let Some(id) = down.ids.get(down.next) {
                wanted.push((down.next, *id));
                down.next += 1;
            }
        }
        for (number, fragment_id) in wanted {
            let request = Request::BlobGet {
                mailbox: self.state.mailbox,
                fragment_id,
            };
            self.ask(edge, request, Asked::Attachment(Step::Get(number)));
        }
        Ok(())
    }

    fn next_download(&mut self) -> Option<Download> {
        let download = |target, ids| Download {
            target,
            ids,
            next: 0,
            got: BTreeMap::new(),
        };
        if let Some(body) = self.attach.bodies_down.pop_front() {
            let ids = body.ids();
            return Some(download(Target::Body(body), ids));
        }
        if self.attach.downloads.is_none() {
            self.attach.downloads = Some(self.documents.to_download().into());
        }
        loop {
            let (file, ids) = self.attach.downloads.as_mut()?.pop_front()?;
            if !self.attach.missing.contains(&file) && !ids.is_empty() {
                return Some(download(Target::File(file), ids));
            }
        }
    }

    pub(super) fn handle_attachment(
        &mut self,
        step: Step,
        answer: Answer,
    ) -> Result<(), EngineError> {
        match (step, answer) {
            (Step::Put, Answer::Ok | Answer::Ack { .. }) => {
                if let Some(up) = &mut self.attach.up {
                    up.under_way = up.under_way.saturating_sub(1);
                }
                Ok(())
            }
            (Step::Get(number), Answer::Blob { fragment }) => self.handle_chunk(number, &fragment),
            _ => Ok(()),
        }
    }

    pub(super) fn handle_attachment_refused(
        &mut self,
        id: NodeFingerprint,
        step: Step,
        error: &ErrorAnswer,
    ) {
        match (step, error.code) {
            (Step::Put, ErrorCode::Quota | ErrorCode::DiskFull) => {
                self.attach.full_until_ms = Some(self.note_no_room(id, error));
                self.put_back_upload();
            }
            // Nobody has it any more.
            (Step::Get(_), ErrorCode::Gone) => self.drop_download(),
            // What was on its way is taken up again on the next connection.
            _ => self.give_up(id, refusal_words(error), true),
        }
    }

    /// What has no room on the edge waits where it was.
    fn put_back_upload(&mut self) {
        match self.attach.up.take() {
            Some(Upload {
                target: Target::File(file),
                ..
            }) => {
                if let Some(uploads) = &mut self.attach.uploads {
                    uploads.push_front(file);
                }
            }
            Some(Upload {
                target: Target::Body(body),
                bytes,
                ..
            }) => {
                let encoding = body.encoding();
                // A newer state of it may have been put there meanwhile.
                let key = body.doc().filter(|key| {
                    let mut waiting = self.attach.bodies_up.iter();
                    !waiting.any(|(other, ..)| other == key)
                });
                if let Some(key) = key {
                    let outgoing = Outgoing {
                        heads: body.heads(),
                        bytes,
                        all_ours: false,
                    };
                    self.attach.bodies_up.push_front((key, encoding, outgoing));
                }
            }
            None => {}
        }
    }

    fn drop_download(&mut self) {
        if let Some(Download {
            target: Target::File(file),
            ..
        }) = self.attach.down.take()
        {
            self.attach.missing.insert(file);
        }
    }

    fn handle_chunk(
        &mut self,
        number: usize,
        fragment: &EncryptedFragment,
    ) -> Result<(), EngineError> {
        let Some(down) = &mut self.attach.down else {
            return Ok(());
        };
        let workspace = self.state.founding.workspace;
        let opened = self
            .state
            .keyring
            .find(&fragment.header().epoch_id)
            .filter(|_| down.ids.get(number) == Some(&fragment.id()))
            .and_then(|secrets| {
                sealing::open(secrets, workspace, FragmentKind::BlobChunk, fragment).ok()
            });
        let Some(bytes) = opened else {
            let words = "An edge node sent a file that was altered. It was not used.".to_owned();
            self.state.warn(self.now.wall_ms, words, &mut self.rows);
            self.drop_download();
            return Ok(());
        };
        down.got.insert(number, bytes);
        if down.got.len() < down.ids.len() {
            return Ok(());
        }
        let Some(Download { target, got, .. }) = self.attach.down.take() else {
            return Ok(());
        };
        let bytes: Vec<u8> = got.into_values().flatten().collect();
        match target {
            Target::File(file) if ContentHash::of(&bytes) == file => self
                .documents
                .store(file, bytes)
                .map_err(EngineError::Attachment)?,
            Target::File(file) => {
                let words = "A file of another laptop is not what its list says. It was not used.";
                self.state
                    .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
                self.attach.missing.insert(file);
            }
            Target::Body(body) => self.take_body(&body, bytes)?,
        }
        self.actions.push(Action::StatusChanged);
        Ok(())
    }

    fn take_body(&mut self, body: &Body, bytes: Vec<u8>) -> Result<(), EngineError> {
        let intact = bytes.len() as u64 == body.len_bytes
            && to_hex(blake3::hash(&bytes).as_bytes()) == body.hash;
        let Some(key) = body.doc().filter(|_| intact) else {
            let words = "A long document of another laptop is not what its entry says.".to_owned();
            self.state.warn(self.now.wall_ms, words, &mut self.rows);
            self.remember_bodies();
            return Ok(());
        };
        let part = Incoming {
            key,
            encoding: body.encoding(),
            heads: body.heads(),
            bytes,
            author: body.author,
            long: true,
        };
        let (outcomes, arrival) = self.documents.apply(vec![part])?;
        match outcomes.into_iter().next() {
            Some(Outcome::Applied { current }) => self.note_shared(key, body.heads(), current),
            Some(Outcome::Refused(words)) => {
                let words =
                    format!("A long document of another laptop could not be used: {words}.");
                self.state.warn(self.now.wall_ms, words, &mut self.rows);
            }
            // What it builds on is long as well, and on its way.
            Some(Outcome::Missing) => self.attach.bodies_down.push_back(body.clone()),
            Some(Outcome::Removed) | None => {}
        }
        if !arrival.is_empty() {
            self.actions.push(Action::Arrived(arrival));
        }
        self.remember_bodies();
        self.commit()
    }
}

/// Name of the row with the documents that are to be fetched in chunks.
pub(super) const BODIES: &str = "bodies";

impl Body {
    fn doc(&self) -> Option<DocKey> {
        rows::key_of(&from_hex::<17>(&self.key).ok()?)
    }

    fn encoding(&self) -> Encoding {
        if self.whole {
            Encoding::Save
        } else {
            Encoding::Changes
        }
    }

    fn heads(&self) -> Vec<ChangeHash> {
        let heads = self.heads.iter();
        heads
            .filter_map(|head| from_hex(head).ok().map(ChangeHash))
            .collect()
    }

    fn ids(&self) -> Vec<FragmentId> {
        let ids = self.ids.iter();
        ids.filter_map(|id| from_hex(id).ok().map(FragmentId))
            .collect()
    }
}
