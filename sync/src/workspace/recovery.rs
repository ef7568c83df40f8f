//! Opening the index after anything: a clean end, a crash, damage, or its loss.
//!
//! Documents and chats that the index does not list are listed again: a crash came before the index was
//! written, or the index lost them. Only what the index says was removed is deleted; better a document
//! that comes back than one that is lost. Start at [`open_index`].

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::contents::{Change, Contents, IndexedDocument};
use super::documents::heads_text;
use super::entry::DocumentEntry;
use super::error::{OpenError, SaveError};
use super::index::{self, Index};
use super::journal;
use super::{
    CHATS, DOCUMENTS, ORIGINALS, SYNC_FILE, chat_place, document_place, index_place, originals,
    remove_files,
};
use crate::chat::{ChatDocument, ThreadEntry};
use crate::document::TextDocument;
use crate::durable;
use crate::id::{DocumentId, ThreadId};
use crate::log::{Damage, DamageKind, LogError};
use crate::seal::WorkspaceKeys;

/// Name of a workspace whose own name was lost with its index.
const RECOVERED_NAME: &str = "Recovered documents";

/// What had to be repaired when a workspace was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Files that were not intact.
    pub damages: Vec<Damage>,
    /// Documents that the index did not list and that are listed again.
    pub adopted_documents: usize,
    /// Chats that the index did not list and that are listed again.
    pub adopted_threads: usize,
    /// Documents that keystrokes were put into which the last process could not put there any more.
    pub rescued_documents: usize,
    /// Documents and chats that are not listed and cannot be read; their files were left alone.
    pub unreadable_files: usize,
    /// Files that were unfinished, belonged to something removed, or were originals of no document.
    pub removed_files: usize,
}

impl RecoveryReport {
    /// Whether the last process ended well and everything is as it was.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// What the user should know, one sentence each. What a crash leaves normally is not worth one.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = self.damages.iter().filter_map(words_of).collect();
        if !words.is_empty() && self.adopted_documents + self.adopted_threads > 0 {
            words.push(format!(
                "The list of your documents was damaged. {} documents and {} chats were found again and are listed; \
                 some that you had removed may be among them.",
                self.adopted_documents, self.adopted_threads
            ));
        }
        words
    }
}

fn words_of(damage: &Damage) -> Option<String> {
    let kept = damage.kept_as.as_ref().map_or_else(String::new, |path| {
        format!(" It was kept as {}.", path.display())
    });
    match damage.kind {
        DamageKind::TornTail if damage.intact_frames > 0 => None,
        DamageKind::Missing => Some(format!("The file {} is missing.", damage.path.display())),
        DamageKind::RolledBack => Some(format!(
            "The file {} is older than it should be.",
            damage.path.display()
        )),
        _ => Some(format!(
            "The file {} was damaged; {} of its bytes could not be used.{kept}",
            damage.path.display(),
            damage.dropped_bytes
        )),
    }
}

/// Reads the index, repairing or rebuilding it where needed, and clears up what a crash left.
pub(super) fn open_index(
    keys: &WorkspaceKeys,
    dir: &Path,
) -> Result<(Index, RecoveryReport), OpenError> {
    let place = index_place(dir);
    let mut report = RecoveryReport::default();
    refuse_wrong_key(keys, dir)?;
    let index = match journal::scan_and_repair(keys, &place).map_err(open_error)? {
        Ok(scan) => {
            if let Some(damage) = scan.damage.clone() {
                report.damages.push(damage);
            }
            Index::open(place, &scan).map_err(open_error)?
        }
        Err(damage) => {
            report.damages.push(damage);
            if place.path.exists() {
                // A header without a frame: nothing in it is worth keeping.
                fs::remove_file(&place.path).map_err(|error| OpenError::io(&place.path, error))?;
            }
            write_new_index(keys, dir, RECOVERED_NAME)?
        }
    };
    let mut opened = Opened {
        keys,
        dir,
        index,
        report,
    };
    opened.remove_unfinished();
    opened.remove_removed().map_err(open_error)?;
    opened.adopt().map_err(open_error)?;
    if opened.report.damages.is_empty() && opened.report.unreadable_files == 0 {
        opened.remove_originals_of_nothing();
    }
    Ok((opened.index, opened.report))
}

/// Makes a new index file and opens it.
pub(super) fn write_new_index(
    keys: &WorkspaceKeys,
    dir: &Path,
    name: &str,
) -> Result<Index, OpenError> {
    let place = index_place(dir);
    let doc = index::new_document(name).map_err(|error| OpenError::Index {
        path: place.path.clone(),
        source: error.into(),
    })?;
    let contents = Contents {
        name: name.to_owned(),
        ..Contents::default()
    };
    let bytes = journal::encode_new(keys, place.name, &doc, Some(&contents.render()))
        .map_err(open_error)?;
    durable::write(&place.path, &bytes).map_err(|error| OpenError::io(&place.path, error))?;
    match journal::scan(keys, &place).map_err(open_error)? {
        Ok(scan) => Index::open(place, &scan).map_err(open_error),
        Err(_) => Err(OpenError::io(
            &place.path,
            std::io::Error::other("the new index does not read back"),
        )),
    }
}

/// Asks a document file when the index cannot tell, so that a wrong key never makes an empty workspace.
fn refuse_wrong_key(keys: &WorkspaceKeys, dir: &Path) -> Result<(), OpenError> {
    for id in ids::<DocumentId>(&dir.join(DOCUMENTS)).take(1) {
        match journal::scan(keys, &document_place(dir, id)) {
            Err(SaveError::Log(error @ LogError::WrongKey { .. })) => return Err(error.into()),
            _ => continue,
        }
    }
    Ok(())
}

pub(super) fn open_error(error: SaveError) -> OpenError {
    match error {
        SaveError::Log(error) => error.into(),
        SaveError::NotUnderstood { path, source } => OpenError::Index { path, source },
        SaveError::NoSpace {
            needed_bytes, path, ..
        } => OpenError::NoSpace { needed_bytes, path },
        SaveError::Io { path, source } => OpenError::Io { path, source },
        other => OpenError::Io {
            path: PathBuf::new(),
            source: std::io::Error::other(other),
        },
    }
}

struct Opened<'a> {
    keys: &'a WorkspaceKeys,
    dir: &'a Path,
    index: Index,
    report: RecoveryReport,
}

impl Opened<'_> {
    fn remove_unfinished(&mut self) {
        let folders = [
            self.dir.to_owned(),
            self.dir.join(DOCUMENTS),
            self.dir.join(CHATS),
        ];
        for folder in folders.into_iter().chain(original_folders(self.dir)) {
            match durable::remove_unfinished(&folder) {
                Ok(removed) => self.report.removed_files += removed,
                Err(error) => {
                    tracing::warn!(%error, "leftovers of a crash could not be looked for");
                }
            }
        }
    }

    /// Deletes files of what was removed, where a crash came in between.
    fn remove_removed(&mut self) -> Result<(), SaveError> {
        let contents = self.index.contents();
        let is_back = |id: &[u8; 16]| {
            contents.documents.contains_key(&DocumentId(*id))
                || contents.threads.contains_key(&ThreadId(*id))
        };
        let removed = contents.removed.keys().copied();
        let removed: Vec<[u8; 16]> = removed.filter(|id| !is_back(id)).collect();
        let files: Vec<PathBuf> = removed
            .iter()
            .flat_map(|id| {
                [
                    document_place(self.dir, DocumentId(*id)).path,
                    chat_place(self.dir, ThreadId(*id)).path,
                ]
            })
            .filter(|path| path.exists())
            .collect();
        self.report.removed_files += files.len();
        remove_files(files);
        if self.dir.join(SYNC_FILE).exists() {
            // The other devices need to know it, too.
            return Ok(());
        }
        self.index
            .change(self.keys, removed.into_iter().map(Change::Forget).collect())
    }

    fn remove_originals_of_nothing(&mut self) {
        let contents = self.index.contents().files();
        let listed: HashSet<PathBuf> = contents
            .map(|content| originals::path(self.keys, self.dir, &content))
            .collect();
        let originals = original_folders(self.dir).flat_map(|folder| files(&folder));
        let unlisted: Vec<PathBuf> = originals
            .filter(|path| !listed.contains(path) && has_suffix(path))
            .collect();
        self.report.removed_files += unlisted.len();
        remove_files(unlisted);
    }

    fn adopt(&mut self) -> Result<(), SaveError> {
        let contents = self.index.contents();
        let documents = ids::<DocumentId>(&self.dir.join(DOCUMENTS));
        let documents: Vec<_> = documents
            .filter(|id| !contents.documents.contains_key(id))
            .collect();
        let threads = ids::<ThreadId>(&self.dir.join(CHATS));
        let threads: Vec<_> = threads
            .filter(|id| !contents.threads.contains_key(id))
            .collect();
        let found = documents.len() + threads.len();
        let documents: Vec<Change> = documents
            .into_iter()
            .filter_map(|id| self.forgotten_document(id))
            .collect();
        let threads: Vec<Change> = threads
            .into_iter()
            .filter_map(|id| self.forgotten_thread(id))
            .collect();
        self.report.adopted_documents = documents.len();
        self.report.adopted_threads = threads.len();
        self.report.unreadable_files = found - documents.len() - threads.len();
        self.index
            .change(self.keys, documents.into_iter().chain(threads).collect())
    }

    /// The entry of a document, from the record inside it. One that cannot be read stays where it is.
    fn forgotten_document(&self, id: DocumentId) -> Option<Change> {
        let loaded = journal::read(self.keys, &document_place(self.dir, id))
            .ok()?
            .ok()?;
        let document = TextDocument::from_automerge(loaded.doc).ok()?;
        Some(Change::Document(IndexedDocument {
            entry: DocumentEntry::of(id, &document).ok()?,
            heads: heads_text(&document.heads()),
        }))
    }

    fn forgotten_thread(&self, id: ThreadId) -> Option<Change> {
        let loaded = journal::read(self.keys, &chat_place(self.dir, id))
            .ok()?
            .ok()?;
        let chat = ChatDocument::from_automerge(loaded.doc).ok()?;
        let entry = chat.first_entry().ok()?;
        let last = chat
            .messages()
            .ok()?
            .last()
            .map_or(0, |message| message.created_at_ms);
        let updated_at_ms = entry.updated_at_ms.max(last);
        Some(Change::Thread(ThreadEntry {
            id,
            updated_at_ms,
            ..entry
        }))
    }
}

/// Ids of the `.log` files in a folder.
fn ids<T: std::str::FromStr>(folder: &Path) -> impl Iterator<Item = T> + use<T> {
    files(folder).into_iter().filter_map(|path| {
        path.file_name()?
            .to_str()?
            .strip_suffix(".log")?
            .parse()
            .ok()
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

fn original_folders(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    files(&dir.join(ORIGINALS))
        .into_iter()
        .filter(|path| path.is_dir())
}

fn has_suffix(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|name| name.ends_with(originals::SUFFIX))
}
