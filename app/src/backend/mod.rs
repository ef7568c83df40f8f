//! Does what the faces of Satchel ask for: the one place where documents, index and models meet.
//!
//! Knows no window and prints nothing. Start at [`Backend::open`] and [`Backend::submit`];
//! a face uses [`connect::Connection`], which finds a backend in this or in another process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use satchel_sync::Workspace;
use satchel_sync::workspace::MeetingCache;
use satchel_vector::VectorStore;
use tokio::sync::watch;

pub mod answer;
pub mod beside;
pub mod borrow;
pub mod calibrate;
pub mod cite;
pub mod completion;
pub mod connect;
pub mod contacts;
pub mod conversation;
pub mod doctor;
pub mod documents;
pub mod downloads;
pub mod embedding_engine;
pub mod failure;
pub mod fitting;
pub mod hardware;
pub mod history;
pub mod hub;
pub mod indexing;
pub mod ingest;
pub mod jobs;
pub mod layout;
pub mod lend;
pub mod mcp;
pub mod model_host;
pub mod preferences;
pub mod prompt;
pub mod reference;
pub mod rerank;
pub mod rest;
pub mod retrieve;
pub mod runtime;
pub mod sample;
pub mod scan;
pub mod shared_embeddings;
pub mod socket;
pub mod sync;
pub mod tools;
pub mod transcript;
pub mod unlock;
pub mod warm;
pub mod words;
pub mod workspaces;
mod writing;

use crate::config::{DataDirs, Settings};
use crate::message::{Command, Failure, FailureKind, Reply};
use crate::parse::{ParsePool, WorkerProgram};
use beside::Beside;
use jobs::{Emitter, EventStream};
use lend::Lending;
use mcp::Permissions;
use model_host::ModelHost;
use preferences::Preferences;
use sync::SyncHost;
use transcript::Transcripts;
use workspaces::{WorkspaceChoice, Workspaces};

/// An open workspace with everything that works on it. Cloning shares it.
#[derive(Clone)]
pub struct Backend {
    shared: Arc<Shared>,
    busy: Arc<watch::Sender<usize>>,
    follower: Arc<sync::Follower>,
    lender: Arc<sync::Follower>,
    rest: Arc<tokio::task::AbortHandle>,
}

/// What the parts of the backend work on.
pub struct Shared {
    /// Folders.
    pub dirs: DataDirs,
    /// Settings.
    pub settings: Arc<Preferences>,
    /// The documents: the truth. Its calls block: short look-ups are made where they are needed, reading and
    /// writing of files through [`Shared::with_workspace`].
    pub workspace: Arc<Workspace>,
    /// All workspaces of the data folder, this one among them.
    pub workspaces: Workspaces,
    /// The index: a cache of the documents.
    pub index: VectorStore,
    /// Every document is in the index, as far as this process knows: searches need not compare the two.
    pub index_is_current: AtomicBool,
    /// One job writes to the index at a time.
    pub index_writer: tokio::sync::Mutex<()>,
    /// Models and their workers.
    pub models: Arc<ModelHost>,
    /// Workers that read files.
    pub parse: ParsePool,
    /// Keeps the workspace equal with other laptops.
    pub sync: SyncHost,
    /// What other programs do to this workspace.
    pub beside: Beside,
    /// Who wants the chat model of this laptop.
    pub lending: Lending,
    /// Calls of MCP servers that wait for the user's word.
    pub permissions: Permissions,
    /// Conversations as the chat model was given them.
    pub transcripts: Transcripts,
    /// Where edits of two laptops met, of documents that have not changed since.
    pub meetings: std::sync::Mutex<MeetingCache>,
    /// Words for the user from opening: recovered data, a rebuilt index, a plain key file.
    pub opening_notices: Vec<String>,
}

impl Shared {
    /// Runs `work` on the documents, on the blocking pool.
    ///
    /// # Errors
    /// What `work` returns, or a failure when it panicked.
    pub async fn with_workspace<T, E>(
        self: &Arc<Self>,
        work: impl FnOnce(&Workspace) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Into<Failure> + Send + 'static,
    {
        let shared = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&shared.workspace).map_err(Into::into))
            .await
            .unwrap_or_else(|panic| Err(failure::of_panic(panic)))
    }
}

impl Backend {
    /// Opens a workspace, its index and the model store in `dirs`.
    ///
    /// The first start creates a workspace and its key. Takes tens of milliseconds, longer while a
    /// passphrase is checked.
    ///
    /// # Errors
    /// When another process has the workspace open ([`crate::message::FailureKind::Locked`]), the key
    /// cannot be had, or a folder cannot be used.
    pub async fn open(
        dirs: DataDirs,
        settings: Settings,
        unlock: unlock::Unlock,
        which: &WorkspaceChoice,
    ) -> Result<Self, Failure> {
        let started = std::time::Instant::now();
        let workspaces = Workspaces::new(dirs.clone(), unlock);
        let (workspace, mut notices) = {
            let (workspaces, which) = (workspaces.clone(), which.clone());
            tokio::task::spawn_blocking(move || workspaces.open(&which))
                .await
                .unwrap_or_else(|panic| Err(failure::of_panic(panic)))?
        };
        let workspace = Arc::new(workspace);
        tracing::debug!(
            elapsed_ms = started.elapsed().as_millis() as u64,
            "workspace is open"
        );
        let (index, report) = VectorStore::open(&dirs.index_of(workspace.id()))
            .await
            .map_err(Failure::from)?;
        if let Some(words) = failure::words_of_open_report(&report) {
            notices.push(words);
        }
        tracing::debug!(
            elapsed_ms = started.elapsed().as_millis() as u64,
            "index is open"
        );
        let workers = parse_workers(&settings);
        let settings = Arc::new(Preferences::new(settings, dirs.config_file.clone()));
        let models = Arc::new(ModelHost::open(&dirs, Arc::clone(&settings))?);
        // Before anything is written: what is written into a shared workspace is written as this laptop.
        let (sync, engine) = {
            let (workspace, settings) = (Arc::clone(&workspace), Arc::clone(&settings));
            tokio::task::spawn_blocking(move || SyncHost::open(workspace, settings))
                .await
                .map_err(failure::of_panic)?
        };
        sync.start(engine);
        let parse = ParsePool::new(
            WorkerProgram {
                program: dirs.program.clone(),
                args: vec!["worker".into(), "parse".into()],
            },
            workers,
        );
        let shared = Shared {
            dirs,
            settings,
            workspaces: workspaces.with_open(Arc::clone(&workspace)),
            workspace,
            index,
            index_is_current: AtomicBool::new(false),
            index_writer: tokio::sync::Mutex::new(()),
            models,
            parse,
            sync,
            beside: Beside::default(),
            lending: Lending::default(),
            permissions: Permissions::default(),
            transcripts: Transcripts::default(),
            meetings: std::sync::Mutex::default(),
            opening_notices: notices,
        };
        let shared = Arc::new(shared);
        let busy = Arc::new(watch::Sender::new(0));
        Ok(Self {
            follower: Arc::new(sync::follow_arrivals(&shared)),
            lender: Arc::new(lend::start(&shared, &busy)),
            rest: Arc::new(rest::start(&shared).abort_handle()),
            shared,
            busy,
        })
    }

    /// What the parts work on.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Starts carrying out a command. Must be called within the runtime.
    #[must_use]
    pub fn submit(&self, command: Command) -> EventStream {
        let shared = Arc::clone(&self.shared);
        let counted = Counted::new(&self.busy);
        jobs::run(|emitter| async move {
            let result = carry_out(&shared, command, &emitter).await;
            drop(shared);
            drop(counted);
            result
        })
    }

    /// As [`Backend::submit`], for another program: whoever shows this workspace is told what it changes.
    #[must_use]
    pub fn submit_for_another(&self, command: Command) -> EventStream {
        let shared = Arc::clone(&self.shared);
        let counted = Counted::new(&self.busy);
        jobs::run(|emitter| async move {
            let changed = command.changes();
            let work = carry_out(&shared, command, &emitter);
            let result = shared.beside.during(changed, work).await;
            drop(shared);
            drop(counted);
            result
        })
    }

    /// Waits until no command is being carried out. After a stream was dropped this is when its work has
    /// stopped cleanly.
    pub async fn idle(&self) {
        let mut busy = self.busy.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        drop(busy.wait_for(|jobs| *jobs == 0).await);
    }

    /// Ends the workers and leaves the index compact where it was written to. Waits for running commands first.
    pub async fn close(self) {
        // What it is writing is begun anew at the next start.
        self.lender.close().await;
        self.idle().await;
        self.rest.abort();
        self.shared.sync.close().await;
        self.follower.close().await;
        warm::put_away(&self.shared).await;
        self.shared.models.unload().await;
        // Held elsewhere only by a connection of another process that is just ending: then the next one tidies.
        if let Some(shared) = Arc::into_inner(self.shared)
            && let Err(error) = shared.index.close().await
        {
            tracing::warn!(%error, "the index was not tidied up");
        }
    }
}

/// A command that is being carried out; one that panics counts no longer, either.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(busy: &Arc<watch::Sender<usize>>) -> Self {
        busy.send_modify(|jobs| *jobs += 1);
        Self(Arc::clone(busy))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|jobs| *jobs -= 1);
    }
}

/// One call per command; the work is in the modules.
async fn carry_out(
    shared: &Arc<Shared>,
    command: Command,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    sync::check_may_write(shared, &command)?;
    let _asking = shared.lending.asking(&command);
    match command {
        Command::Import {
            paths,
            prune,
            skip_embeddings,
        } => ingest::import(
            shared,
            emitter,
            ingest::Import {
                paths,
                prune,
                skip_embeddings,
            },
        )
        .await
        .map(Reply::Imported),
        Command::Index => ingest::bring_up_to_date(shared, emitter)
            .await
            .map(Reply::Imported),
        Command::Search {
            query,
            limit,
            mode,
            thorough,
        } => retrieve::search(shared, emitter, &query, limit, mode, thorough)
            .await
            .map(Reply::Hits),
        Command::Ask {
            question,
            thread,
            on: Some(on),
            no_wait,
            ..
        } => borrow::ask(shared, emitter, question, thread, &on, no_wait).await,
        Command::Ask {
            question,
            thread,
            tools,
            ..
        } => answer::ask(shared, emitter, question, thread, tools)
            .await
            .map(Reply::Answered),
        Command::Withdraw { thread } => borrow::withdraw_all(shared, thread)
            .await
            .map(Reply::Thread),
        Command::Consult { question, history } => {
            answer::consult(shared, emitter, question, history)
                .await
                .map(Reply::Answered)
        }
        Command::Complete(request) => completion::complete(shared, emitter, request)
            .await
            .map(Reply::Completed),
        Command::Embed { texts } => tokio::select! {
            report = completion::embed(shared, texts) => report.map(Reply::Embedded),
            () = emitter.cancelled() => Err(Failure::new(FailureKind::Cancelled, "Stopped.")),
        },
        Command::Documents => documents::list(shared).await.map(Reply::Documents),
        Command::RemoveDocuments { documents } => {
            documents::remove(shared, documents).await.map(Reply::Done)
        }
        Command::Show { reference } => documents::show(shared, &reference)
            .await
            .map(Reply::Passage),
        Command::Read { reference } => documents::read(shared, &reference)
            .await
            .map(Reply::Document),
        Command::History(command) => history::carry_out(shared, command, emitter).await,
        Command::ImportSample => sample::import(shared, emitter).await.map(Reply::Imported),
        Command::Threads => conversation::list(shared).await.map(Reply::Threads),
        Command::Thread { thread, branch } => conversation::show(shared, &thread, branch)
            .await
            .map(Reply::Thread),
        Command::RenameThread { thread, title } => conversation::rename(shared, thread, &title)
            .await
            .map(Reply::Done),
        Command::RemoveThread { thread } => {
            conversation::remove(shared, thread).await.map(Reply::Done)
        }
        Command::Settings => Ok(Reply::Settings(shared.settings.report())),
        Command::ChangeSettings { changes } => preferences::change(shared, changes)
            .await
            .map(Reply::Settings),
        Command::Models
        | Command::Catalog
        | Command::SearchHub { .. }
        | Command::ImportModel { .. }
        | Command::ShowModel { .. }
        | Command::DownloadModel { .. }
        | Command::DiscardDownload { .. }
        | Command::RemoveModel { .. }
        | Command::MeasureProcessor => {
            model_host::carry_out(&shared.models, command, emitter).await
        }
        Command::Workspace(command) => {
            workspaces::carry_out(&shared.workspaces, command, emitter).await
        }
        Command::Sync(command) => sync::carry_out(shared, command, emitter).await,
        Command::Mcp(command) => mcp::carry_out(shared, command, emitter).await,
        Command::Doctor => tokio::select! {
            findings = doctor::examine(shared) => Ok(Reply::Doctor(findings)),
            () = emitter.cancelled() => Err(Failure::new(FailureKind::Cancelled, "Stopped.")),
        },
        Command::Status => documents::status(shared).await.map(Reply::Status),
    }
}

fn parse_workers(settings: &Settings) -> usize {
    let half = std::thread::available_parallelism().map_or(1, |n| n.get() / 2);
    let usual = if rest::is_small_machine() { 1 } else { half };
    settings.parse_workers.unwrap_or(usual).clamp(1, 4)
}
