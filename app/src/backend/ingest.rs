//! Brings files into the workspace: read, save durably, make words searchable, then embed.
//!
//! A file is reported as saved only after its text and its original are on the disk. Stopping at any
//! point, even by `kill -9`, leaves what was reported and loses nothing. Start at [`import`].

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use satchel_sync::DocumentId;
use satchel_sync::workspace::{ContentHash, DocumentEntry, ImportFailure, NewDocument, TextKind};

use super::jobs::{Emitter, Meter};
use super::scan::{self, FoundFile, Scan};
use super::{Shared, indexing, shared_embeddings};
use crate::message::{Event, Failure, FailureKind, FileOutcome, FileReport, ImportReport, Stage};
use crate::parse::{self, Extracted};

/// Files being read at once: enough to keep the workers busy while one large file is being parsed.
const FILES_IN_FLIGHT: usize = 8;
/// A batch is saved when it holds this many files,
const BATCH_FILES: usize = indexing::BATCH_DOCUMENTS;
/// or this many bytes of originals (they are held in memory until saved),
const BATCH_BYTES: usize = 64 << 20;
/// or when its first file has waited this long.
const BATCH_WAIT: Duration = Duration::from_millis(500);

/// What to import.
#[derive(Debug)]
pub struct Import {
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// Remove documents whose file is gone.
    pub prune: bool,
    /// Leave embeddings for later.
    pub skip_embeddings: bool,
}

/// A file that was read and understood, waiting to be saved.
struct Prepared {
    file: FoundFile,
    existing: Option<DocumentId>,
    bytes: Vec<u8>,
    extracted: Extracted,
}

/// What reading one file came to.
enum ReadOutcome {
    Prepared(Box<Prepared>),
    /// The same bytes as at the last import, under a new time or a new path.
    Touched {
        file: FoundFile,
        document: DocumentId,
        moved: bool,
    },
    Duplicate {
        file: FoundFile,
        of: String,
    },
    Failed {
        file: FoundFile,
        reason: String,
    },
}

/// Imports files and folders.
///
/// # Errors
/// When nothing can go on: the disk is full, the workspace cannot be written, every path is wrong.
/// A file that cannot be read is a line in the report, not an error.
pub async fn import(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: Import,
) -> Result<ImportReport, Failure> {
    indexing::catch_up(shared, emitter).await?;
    let mut scan = scan_paths(&request.paths, emitter).await?;
    known_but_gone(shared, &mut scan);
    if scan.files.is_empty() && scan.folders.is_empty() {
        let (path, reason) = &scan.unreadable[0];
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("cannot import {}: {reason}", path.display()),
        ));
    }
    let mut run = Run::new(shared, emitter);
    for (path, reason) in &scan.unreadable {
        run.fail(path, reason.clone()).await;
    }
    run.report.skipped = scan
        .skipped
        .iter()
        .map(|(what, count)| (what.clone(), *count))
        .collect();
    let to_read = run.plan(&scan).await;
    run.read_and_save(to_read).await?;
    run.missing(&scan, request.prune).await?;
    run.remember_failures().await?;
    let mut report = run.report;
    if !request.skip_embeddings && !emitter.is_cancelled() {
        report.embedded = indexing::embed_pending(shared, emitter).await?;
    }
    shared_embeddings::forget(shared).await?;
    finish(shared, emitter, report).await
}

/// Brings the index up to date without importing: words, then embeddings.
///
/// # Errors
/// As for [`import`].
pub async fn bring_up_to_date(
    shared: &Arc<Shared>,
    emitter: &Emitter,
) -> Result<ImportReport, Failure> {
    indexing::catch_up(shared, emitter).await?;
    let embedded = indexing::embed_pending(shared, emitter).await?;
    finish(
        shared,
        emitter,
        ImportReport {
            embedded,
            ..ImportReport::default()
        },
    )
    .await
}

/// Documents and passages; for so few, what the index does after each change by itself is enough. Bringing all of it
/// into its best shape takes 0.2 s at 800 passages (`make bench BENCH=reindex`), more at more.
const FEW_CHANGES: usize = 32;

async fn finish(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    mut report: ImportReport,
) -> Result<ImportReport, Failure> {
    // What was removed is not to stay in old files of the index.
    let is_due = report.added + report.updated + report.embedded > FEW_CHANGES;
    if is_due || report.removed > 0 {
        let _writer = shared.index_writer.lock().await;
        shared.index.optimize().await.map_err(Failure::from)?;
    }
    report.cancelled = emitter.is_cancelled();
    report.coverage = indexing::coverage(shared).await?;
    Ok(report)
}

async fn scan_paths(paths: &[PathBuf], emitter: &Emitter) -> Result<Scan, Failure> {
    if paths.is_empty() {
        return Err(Failure::new(
            FailureKind::Usage,
            "nothing to import: name at least one file or folder",
        ));
    }
    let (paths, emitter) = (paths.to_vec(), emitter.clone());
    let scanning = tokio::task::spawn_blocking(move || {
        let mut meter = Meter::new(&emitter, Stage::Scanning, 0);
        scan::scan(&paths, &|| emitter.is_cancelled(), &mut |files| {
            meter.at(files as u64, files as u64 + 1);
        })
    });
    scanning
        .await
        .map_err(|panic| Failure::general(format!("the folder scan crashed: {panic}")))
}

/// One import while it goes on.
struct Run<'a> {
    shared: &'a Arc<Shared>,
    emitter: &'a Emitter,
    report: ImportReport,
    failures: Vec<ImportFailure>,
    read_well: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(shared: &'a Arc<Shared>, emitter: &'a Emitter) -> Self {
        Self {
            shared,
            emitter,
            report: ImportReport::default(),
            failures: Vec::new(),
            read_well: Vec::new(),
        }
    }

    /// Sets aside the files whose size and time are those of the last import.
    async fn plan(&mut self, scan: &Scan) -> Vec<(FoundFile, Option<DocumentId>)> {
        let by_path: HashMap<String, DocumentEntry> = {
            let workspace = &self.shared.workspace;
            let documents = workspace.documents().into_iter();
            documents
                .filter_map(|entry| Some((workspace.local_path(&entry)?.to_owned(), entry)))
                .collect()
        };
        let mut to_read = Vec::new();
        for file in &scan.files {
            let known = by_path.get(file.path.to_string_lossy().as_ref());
            match known {
                Some(entry)
                    if entry.original_bytes == file.size_bytes
                        && entry.source_mtime_ms == file.mtime_ms =>
                {
                    self.report.unchanged += 1;
                    self.read_well.push(file.path.display().to_string());
                }
                known => to_read.push((file.clone(), known.map(|entry| entry.id))),
            }
        }
        to_read
    }

    async fn read_and_save(
        &mut self,
        to_read: Vec<(FoundFile, Option<DocumentId>)>,
    ) -> Result<(), Failure> {
        let total = to_read.len() as u64;
        if total == 0 {
            return Ok(());
        }
        let mut meter = Meter::new(self.emitter, Stage::Reading, total);
        let shared = Arc::clone(self.shared);
        let mut reads = futures::stream::iter(to_read)
            .map(|(file, existing)| {
                let shared = Arc::clone(&shared);
                let path = file.path.clone();
                let reading = tokio::spawn(read_one(shared, file, existing));
                async move {
                    reading.await.unwrap_or_else(|panic| ReadOutcome::Failed {
                        file: FoundFile {
                            path,
                            size_bytes: 0,
                            mtime_ms: 0,
                        },
                        reason: format!("reading it crashed: {panic}"),
                    })
                }
            })
            // In order, so that the first of two equal files is the one that stays.
            .buffered(FILES_IN_FLIGHT);
        let mut batch = Batch::default();
        let mut done = 0;
        while let Some(outcome) = reads.next().await {
            done += 1;
            self.take(outcome, &mut batch).await?;
            if batch.is_due() {
                self.save(std::mem::take(&mut batch)).await?;
            }
            meter.at(done, total);
            if self.emitter.is_cancelled() {
                break;
            }
        }
        self.save(batch).await
    }

    async fn take(&mut self, outcome: ReadOutcome, batch: &mut Batch) -> Result<(), Failure> {
        match outcome {
            ReadOutcome::Prepared(prepared) => {
                let hash = ContentHash::of(&prepared.bytes);
                if let Some(first) = batch.hashes.get(&hash) {
                    let of = first.clone();
                    self.duplicate(&prepared.file.path, of).await;
                } else {
                    batch.push(hash, *prepared);
                }
            }
            ReadOutcome::Touched {
                file,
                document,
                moved,
            } => {
                let path = file.path.display().to_string();
                self.shared
                    .with_workspace(move |workspace| {
                        workspace.record_path_seen(document, &path, file.mtime_ms)
                    })
                    .await?;
                self.read_well.push(file.path.display().to_string());
                if moved {
                    let outcome = FileOutcome::Updated {
                        document: document.to_string(),
                    };
                    self.report.updated += 1;
                    self.tell(
                        &file.path,
                        outcome,
                        vec!["the file was moved; its document follows".to_owned()],
                    )
                    .await;
                } else {
                    self.report.unchanged += 1;
                }
            }
            ReadOutcome::Duplicate { file, of } => self.duplicate(&file.path, of).await,
            ReadOutcome::Failed { file, reason } => self.fail(&file.path, reason).await,
        }
        Ok(())
    }

    /// Saves a batch durably, makes its words searchable, then reports it.
    async fn save(&mut self, batch: Batch) -> Result<(), Failure> {
        if batch.files.is_empty() {
            return Ok(());
        }
        let mut told = Vec::with_capacity(batch.files.len());
        let mut documents = Vec::with_capacity(batch.files.len());
        let mut texts = Vec::with_capacity(batch.files.len());
        for prepared in batch.files {
            told.push((
                prepared.file.path.clone(),
                prepared.existing.is_some(),
                prepared.extracted.notes.clone(),
            ));
            texts.push(prepared.extracted.text.clone());
            documents.push(new_document(prepared));
        }
        // Between the two writes, and after a failure of the second, the index lacks these documents.
        let was_current = self.shared.index_is_current.swap(false, Ordering::AcqRel);
        let entries = self
            .shared
            .with_workspace(move |workspace| workspace.put(documents))
            .await?;
        self.index(&entries, texts).await?;
        self.shared
            .index_is_current
            .store(was_current, Ordering::Release);
        for ((path, existed, notes), entry) in told.into_iter().zip(&entries) {
            let document = entry.id.to_string();
            self.read_well.push(path.display().to_string());
            let outcome = if existed {
                self.report.updated += 1;
                FileOutcome::Updated { document }
            } else {
                self.report.added += 1;
                FileOutcome::Added { document }
            };
            self.tell(&path, outcome, notes).await;
        }
        Ok(())
    }

    async fn index(&self, entries: &[DocumentEntry], texts: Vec<String>) -> Result<(), Failure> {
        let entries = entries.to_vec();
        let chunking = tokio::task::spawn_blocking(move || {
            entries
                .iter()
                .zip(&texts)
                .map(|(entry, text)| indexing::chunked(entry, text))
                .collect::<Vec<_>>()
        });
        let sources = chunking
            .await
            .map_err(|panic| Failure::general(format!("cutting text crashed: {panic}")))?;
        let _writer = self.shared.index_writer.lock().await;
        self.shared
            .index
            .replace_sources(&sources)
            .await
            .map_err(Failure::from)
    }

    /// Handles documents whose file below a scanned folder is no longer there.
    async fn missing(&mut self, scan: &Scan, prune: bool) -> Result<(), Failure> {
        if self.emitter.is_cancelled() {
            return Ok(());
        }
        let found: HashSet<&Path> = scan.files.iter().map(|file| file.path.as_path()).collect();
        let gone: Vec<(DocumentId, PathBuf)> = {
            let workspace = &self.shared.workspace;
            let documents = workspace.documents().into_iter();
            documents
                .filter_map(|entry| Some((entry.id, PathBuf::from(workspace.local_path(&entry)?))))
                .filter(|(_, path)| scan.folders.iter().any(|folder| path.starts_with(folder)))
                .filter(|(_, path)| !found.contains(path.as_path()) && is_gone(path))
                .collect()
        };
        if gone.is_empty() {
            return Ok(());
        }
        if prune {
            let ids: Vec<DocumentId> = gone.iter().map(|(id, _)| *id).collect();
            super::documents::remove_ids(self.shared, ids).await?;
        }
        for (_, path) in gone {
            let outcome = if prune {
                self.report.removed += 1;
                FileOutcome::Removed
            } else {
                self.report.missing += 1;
                FileOutcome::Missing
            };
            self.tell(&path, outcome, Vec::new()).await;
        }
        Ok(())
    }

    /// Keeps the list of unreadable files, so that coverage can say what is not searched.
    async fn remember_failures(&mut self) -> Result<(), Failure> {
        let (failures, read_well) = (
            std::mem::take(&mut self.failures),
            std::mem::take(&mut self.read_well),
        );
        if failures.is_empty() && self.shared.workspace.import_failures().is_empty() {
            return Ok(());
        }
        self.shared
            .with_workspace(move |workspace| workspace.record_import_failures(failures, &read_well))
            .await
    }

    async fn fail(&mut self, path: &Path, reason: String) {
        self.failures.push(ImportFailure {
            path: path.display().to_string(),
            reason: reason.clone(),
        });
        let outcome = FileOutcome::Failed { reason };
        self.report.failed.push(FileReport {
            path: path.to_path_buf(),
            outcome: outcome.clone(),
            notes: Vec::new(),
        });
        self.tell(path, outcome, Vec::new()).await;
    }

    async fn duplicate(&mut self, path: &Path, of: String) {
        self.report.duplicates += 1;
        self.read_well.push(path.display().to_string());
        self.tell(path, FileOutcome::Duplicate { of }, Vec::new())
            .await;
    }

    async fn tell(&self, path: &Path, outcome: FileOutcome, notes: Vec<String>) {
        self.emitter
            .send(Event::File(FileReport {
                path: path.to_path_buf(),
                outcome,
                notes,
            }))
            .await;
    }
}

/// Files waiting to be saved together.
#[derive(Default)]
struct Batch {
    files: Vec<Prepared>,
    hashes: HashMap<ContentHash, String>,
    bytes: usize,
    since: Option<Instant>,
}

impl Batch {
    fn push(&mut self, hash: ContentHash, prepared: Prepared) {
        self.bytes += prepared.bytes.len();
        self.since.get_or_insert_with(Instant::now);
        self.hashes
            .insert(hash, prepared.file.path.display().to_string());
        self.files.push(prepared);
    }

    fn is_due(&self) -> bool {
        self.files.len() >= BATCH_FILES
            || self.bytes >= BATCH_BYTES
            || self
                .since
                .is_some_and(|since| since.elapsed() >= BATCH_WAIT)
    }
}

async fn read_one(
    shared: Arc<Shared>,
    file: FoundFile,
    existing: Option<DocumentId>,
) -> ReadOutcome {
    let path = file.path.clone();
    let read = tokio::task::spawn_blocking(move || {
        let (bytes, facts) = parse::read_file(&path)?;
        let hash = ContentHash::of(&bytes);
        Ok::<_, parse::ParseError>((bytes, facts, hash))
    });
    let (bytes, facts, hash) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => {
            return ReadOutcome::Failed {
                file,
                reason: error.to_string(),
            };
        }
        Err(panic) => {
            return ReadOutcome::Failed {
                file,
                reason: format!("reading it crashed: {panic}"),
            };
        }
    };
    // The facts of the bytes that were read, not those of the scan: the file may have changed since.
    let file = FoundFile {
        path: file.path,
        size_bytes: facts.size_bytes,
        mtime_ms: facts.mtime_ms,
    };
    if let Some(outcome) = known_bytes(&shared, &file, existing, &hash) {
        return outcome;
    }
    let name = file
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let bytes = Arc::new(bytes);
    match shared.parse.parse(&name, Arc::clone(&bytes)).await {
        Ok(extracted) => {
            let bytes = Arc::try_unwrap(bytes).unwrap_or_else(|shared| shared.as_ref().clone());
            ReadOutcome::Prepared(Box::new(Prepared {
                file,
                existing,
                bytes,
                extracted,
            }))
        }
        Err(error) => ReadOutcome::Failed {
            file,
            reason: error.to_string(),
        },
    }
}

/// Recognises bytes that are in the workspace already: unchanged, moved, or a duplicate.
fn known_bytes(
    shared: &Shared,
    file: &FoundFile,
    existing: Option<DocumentId>,
    hash: &ContentHash,
) -> Option<ReadOutcome> {
    let entry = shared
        .workspace
        .entry(shared.workspace.find_original(hash)?)?;
    if existing == Some(entry.id) {
        return Some(ReadOutcome::Touched {
            file: file.clone(),
            document: entry.id,
            moved: false,
        });
    }
    if existing.is_some() {
        // This path held another document before: its text becomes this one, so both keep their history.
        return None;
    }
    let moved = shared
        .workspace
        .local_path(&entry)
        .is_some_and(|path| is_gone(Path::new(path)));
    Some(if moved {
        ReadOutcome::Touched {
            file: file.clone(),
            document: entry.id,
            moved: true,
        }
    } else {
        ReadOutcome::Duplicate {
            file: file.clone(),
            of: entry.path.unwrap_or(entry.title),
        }
    })
}

/// A document's file that was named and is gone is missing, as one in a folder would be; not unreadable.
fn known_but_gone(shared: &Shared, scan: &mut Scan) {
    let documents = shared.workspace.documents();
    let known: HashSet<&Path> = documents
        .iter()
        .filter_map(|entry| shared.workspace.local_path(entry).map(Path::new))
        .collect();
    let (gone, unreadable) = std::mem::take(&mut scan.unreadable)
        .into_iter()
        .partition(|(path, _)| known.contains(path.as_path()) && is_gone(path));
    scan.unreadable = unreadable;
    let gone: Vec<(PathBuf, String)> = gone;
    scan.folders.extend(gone.into_iter().map(|(path, _)| path));
}

/// Only "there is no such file" counts as gone: an unplugged drive or a permission does not.
fn is_gone(path: &Path) -> bool {
    let missing = |path: &Path| {
        std::fs::symlink_metadata(path)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    missing(path) && path.parent().is_none_or(|folder| !missing(folder))
}

fn new_document(prepared: Prepared) -> NewDocument {
    let Prepared {
        file,
        existing,
        bytes,
        extracted,
    } = prepared;
    NewDocument {
        existing,
        title: extracted.title,
        kind: match extracted.kind {
            parse::TextKind::Markdown => TextKind::Markdown,
            parse::TextKind::Plain => TextKind::Plain,
            parse::TextKind::Code => TextKind::Code,
        },
        media_type: extracted.media_type,
        path: Some(file.path.display().to_string()),
        paged: extracted.paged,
        source_mtime_ms: file.mtime_ms,
        original: Some(bytes),
        text: extracted.text,
        note: (!extracted.notes.is_empty()).then(|| extracted.notes.join("; ")),
    }
}
