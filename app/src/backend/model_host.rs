//! Installed models, which of them are in use, and the workers that run them.
//!
//! The only place that starts a model: it takes a [`VerifiedModel`], never a path from elsewhere.
//! Start at [`ModelHost::chat`] and [`ModelHost::embedder`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use satchel_inference::{
    Adapter, BertModel, EngineHandle, GpuLayers, ModelInfo, ModelSpec, Role, STATE_VERSION,
    WorkerCommand,
};
use satchel_models::fit::{Machine, USUAL_CONTEXT};
use satchel_models::{EmbedderQuantisation, InstalledModel, ModelKind, ModelStore, VerifiedModel};
use satchel_vector::{EmbedderKey, VectorStore};

use super::calibrate::Calibration;
use super::contacts::Contacts;
use super::embedding_engine::EmbeddingEngine;
use super::jobs::{Emitter, Meter};
use super::preferences::Preferences;
use super::{calibrate, downloads, failure, fitting, hardware, hub};
use crate::config::{DataDirs, Settings};
use crate::message::{Command, Failure, FailureKind, ModelSummary, Reply, Stage};

/// Below this no question fits into a window.
const LEAST_CONTEXT: u32 = 256;
/// Holds what is read and written to see how fast a build is.
const CONTEXT_TO_MEASURE: u32 = 1024;

/// Models and their workers.
pub struct ModelHost {
    store: ModelStore,
    settings: Arc<Preferences>,
    program: PathBuf,
    contacts: Contacts,
    calibration: Calibration,
    embedding: EmbeddingEngine,
    /// What the user knows already: why no GPU is used, why the window is small.
    told_of_gpu: AtomicBool,
    told_of_window: AtomicBool,
    machine: tokio::sync::OnceCell<Machine>,
    chat: tokio::sync::Mutex<Option<Running>>,
    embedder: tokio::sync::Mutex<Option<Running>>,
    reranker: tokio::sync::Mutex<Option<Running>>,
    last_used: Mutex<Instant>,
}

/// A model with its worker. Cloning shares the worker.
#[derive(Clone)]
pub struct Running {
    /// What runs.
    pub model: InstalledModel,
    /// Its worker.
    pub engine: EngineHandle,
    /// The adapter over it, as it was when the worker was started.
    adapter: String,
    /// Shared by all clones: more than one means that somebody uses it.
    held: Arc<()>,
}

impl Running {
    /// Whether there is another clone of it.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.held) > 1
    }

    /// Names what reads: two of the same name understand what the other one knows of a conversation.
    #[must_use]
    pub fn reader(&self, info: &ModelInfo) -> String {
        format!(
            "{}, {}, {} tokens, {STATE_VERSION}",
            self.model.sha256, self.adapter, info.context_len_tokens
        )
    }
}

impl ModelHost {
    /// Opens the model store; starts nothing.
    ///
    /// # Errors
    /// When the models folder cannot be used.
    pub fn open(dirs: &DataDirs, settings: Arc<Preferences>) -> Result<Self, Failure> {
        let store = ModelStore::open(&dirs.models).map_err(failure::of_model_store)?;
        Ok(Self {
            store,
            settings,
            program: dirs.program.clone(),
            contacts: Contacts::new(&dirs.state),
            calibration: Calibration::open(&dirs.state),
            embedding: EmbeddingEngine::new(&dirs.program),
            told_of_gpu: AtomicBool::new(false),
            told_of_window: AtomicBool::new(false),
            machine: tokio::sync::OnceCell::new(),
            chat: tokio::sync::Mutex::new(None),
            embedder: tokio::sync::Mutex::new(None),
            reranker: tokio::sync::Mutex::new(None),
            last_used: Mutex::new(Instant::now()),
        })
    }

    /// The installed models and begun downloads.
    #[must_use]
    pub fn store(&self) -> &ModelStore {
        &self.store
    }

    /// What the user should know of how a chat model runs, each thing once.
    #[must_use]
    pub fn news(&self, running: &Running, info: &ModelInfo) -> Vec<String> {
        let is_new = |told: &AtomicBool| !told.swap(true, Ordering::Relaxed);
        let mut news = Vec::new();
        if let Some(why) = &info.gpu_refused
            && is_new(&self.told_of_gpu)
        {
            news.push(format!(
                "Answers come from the processor, not from the GPU: {why}."
            ));
        }
        let usual = USUAL_CONTEXT.min(running.model.context_len_tokens);
        let is_short =
            info.context_len_tokens < usual && self.settings.current().context_len_tokens.is_none();
        if is_short && is_new(&self.told_of_window) {
            news.push(format!(
                "Little memory is free: {} sees {} tokens at once. Close other programs, or choose a smaller model.",
                display_name(&running.model),
                info.context_len_tokens
            ));
        }
        news
    }

    /// What this machine has for models. Takes some tenths of a second the first time.
    pub async fn machine(&self) -> Machine {
        *self
            .machine
            .get_or_init(|| hardware::machine(&self.program))
            .await
    }

    /// The hosts that models were asked for.
    #[must_use]
    pub fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// What was measured of the processor.
    #[must_use]
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// What computes the embedder.
    #[must_use]
    pub fn embedding(&self) -> &EmbeddingEngine {
        &self.embedding
    }

    /// The program whose workers run the models.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.current()
    }

    /// The model in use for a kind: the one named in the settings, else the first installed.
    ///
    /// # Errors
    /// When the store cannot be read, or the settings name a model that is not installed.
    pub fn chosen(&self, kind: ModelKind) -> Result<Option<InstalledModel>, Failure> {
        let settings = self.settings.current();
        let named = match kind {
            ModelKind::Chat => &settings.chat_model,
            ModelKind::Embedder => &settings.embedder,
            ModelKind::Reranker => &settings.reranker,
        };
        let installed = self.store.list().map_err(failure::of_model_store)?;
        let mut fitting = installed.into_iter().filter(|model| model.kind == kind);
        match named {
            None => Ok(fitting.next()),
            Some(id) => match fitting.find(|model| &model.id == id) {
                Some(model) => Ok(Some(model)),
                None => Err(Failure::new(
                    FailureKind::NotFound,
                    format!("the settings name the model {id}, which is not installed"),
                )
                .with_hint(
                    "`satchel models list` shows what is; correct the name in config.toml.",
                )),
            },
        }
    }

    /// The chat model with its worker.
    ///
    /// # Errors
    /// When none is installed, or its file is damaged.
    pub async fn chat(&self) -> Result<Running, Failure> {
        let mut slot = self.chat.lock().await;
        self.note_use();
        if let Some(running) = &*slot {
            return Ok(running.clone());
        }
        let Some(model) = self.chosen(ModelKind::Chat)? else {
            return Err(no_chat_model());
        };
        let wanted = self.settings.current().context_len_tokens;
        let advised = model.clone();
        let advice = tokio::task::spawn_blocking(move || {
            fitting::of_chat_model(&advised, &hardware::memory_now(), wanted)
        });
        let advice = advice
            .await
            .unwrap_or_else(|panic| Err(failure::of_panic(panic)))?;
        let context_len_tokens = advice.context_len_tokens.max(LEAST_CONTEXT);
        let running = self.start(model, Role::Chat { context_len_tokens }).await?;
        Ok(slot.insert(running).clone())
    }

    /// The chat model with its worker where it was used already.
    pub async fn running_chat(&self) -> Option<Running> {
        self.chat.lock().await.clone()
    }

    /// The embedder, with the index told to use its embeddings; `None` where none is installed.
    ///
    /// # Errors
    /// When its file is damaged or the index cannot be written.
    pub async fn embedder(&self, index: &VectorStore) -> Result<Option<Running>, Failure> {
        let mut slot = self.embedder.lock().await;
        self.note_use();
        if let Some(running) = &*slot {
            return Ok(Some(running.clone()));
        }
        let Some(model) = self.chosen(ModelKind::Embedder)? else {
            return Ok(None);
        };
        self.tell_index(index, &model).await?;
        let running = self.start(model, Role::Embedder).await?;
        Ok(Some(slot.insert(running).clone()))
    }

    /// The reranker; `None` where none is installed.
    ///
    /// # Errors
    /// When its file is damaged.
    pub async fn reranker(&self) -> Result<Option<Running>, Failure> {
        let mut slot = self.reranker.lock().await;
        self.note_use();
        if let Some(running) = &*slot {
            return Ok(Some(running.clone()));
        }
        let Some(model) = self.chosen(ModelKind::Reranker)? else {
            return Ok(None);
        };
        let running = self.start(model, Role::Reranker).await?;
        Ok(Some(slot.insert(running).clone()))
    }

    /// Tells the index which embeddings to use without starting the embedder.
    ///
    /// # Errors
    /// As for [`Self::embedder`].
    pub async fn announce_embedder(&self, index: &VectorStore) -> Result<(), Failure> {
        match self.chosen(ModelKind::Embedder)? {
            Some(model) => self.tell_index(index, &model).await,
            None => Ok(()),
        }
    }

    /// Tells the index whose embeddings to use: they belong to the exact weights that made them, and to the engine.
    async fn tell_index(
        &self,
        index: &VectorStore,
        embedder: &InstalledModel,
    ) -> Result<(), Failure> {
        let Some(dim) = embedder.embedding_dim else {
            return Err(Failure::general(format!(
                "the embedder {} does not say how long its embeddings are",
                embedder.id
            )));
        };
        let id = self.embedding.embedding_id(embedder)?;
        index
            .use_embedder(Some(EmbedderKey { id, dim }))
            .await
            .map_err(Failure::from)
    }

    async fn start(&self, model: InstalledModel, role: Role) -> Result<Running, Failure> {
        // Reads the whole file where its record does not prove it unchanged: gigabytes.
        let (store, wanted) = (self.store.clone(), model.clone());
        let settings = self.settings.current();
        let starting = tokio::task::spawn_blocking(move || {
            let adapter = match role {
                Role::Chat { .. } => adapter(&wanted, &settings)?,
                Role::Embedder | Role::Reranker => None,
            };
            let name = adapter.as_ref().map_or_else(String::new, name_of_adapter);
            Ok((verify(&store, &wanted)?, adapter, name))
        });
        let (verified, adapter, name) = starting
            .await
            .unwrap_or_else(|panic| Err(failure::of_panic(panic)))?;
        let bert = match role {
            Role::Embedder => self.embedding.bert_of(&model)?,
            Role::Chat { .. } | Role::Reranker => None,
        };
        Ok(Running {
            model,
            engine: self.engine(&verified, role, adapter, bert),
            adapter: name,
            held: Arc::default(),
        })
    }

    /// Starts no process: the worker starts with its first request.
    fn engine(
        &self,
        model: &VerifiedModel,
        role: Role,
        adapter: Option<Adapter>,
        bert: Option<BertModel>,
    ) -> EngineHandle {
        let settings = self.settings.current();
        let spec = ModelSpec {
            path: model.path().to_path_buf(),
            role,
            threads: settings.threads,
            gpu_layers: match (role, settings.gpu_layers) {
                (Role::Embedder | Role::Reranker, _) => GpuLayers::None,
                (Role::Chat { .. }, None) => GpuLayers::Fit,
                (Role::Chat { .. }, Some(layers)) => GpuLayers::Exactly(layers),
            },
            adapter,
            bert,
        };
        let build = self.calibration.build();
        EngineHandle::new(self.worker(build.as_deref()), spec)
    }

    /// How to start a worker that prefers a build for processors.
    fn worker(&self, build: Option<&str>) -> WorkerCommand {
        let mut command = worker_command(&self.program, "inference");
        if let Some(build) = build {
            command.args.extend(["--build".into(), build.into()]);
        }
        command
    }

    /// The chat model in a worker of its own, on the processor, to see how fast a build is; `None` leaves the choice to
    /// llama.cpp. Nobody else uses it, and it counts as no use.
    ///
    /// # Errors
    /// As for [`Self::chat`].
    pub async fn engine_to_measure(&self, build: Option<&str>) -> Result<EngineHandle, Failure> {
        let Some(model) = self.chosen(ModelKind::Chat)? else {
            return Err(no_chat_model());
        };
        let store = self.store.clone();
        let verified = tokio::task::spawn_blocking(move || verify(&store, &model))
            .await
            .unwrap_or_else(|panic| Err(failure::of_panic(panic)))?;
        let spec = ModelSpec {
            path: verified.path().to_path_buf(),
            role: Role::Chat {
                context_len_tokens: CONTEXT_TO_MEASURE,
            },
            threads: self.settings.current().threads,
            gpu_layers: GpuLayers::None,
            adapter: None,
            bert: None,
        };
        Ok(EngineHandle::new(self.worker(build), spec))
    }

    /// The installed models.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<ModelSummary>, Failure> {
        let kinds = [ModelKind::Chat, ModelKind::Embedder, ModelKind::Reranker];
        let in_use: Vec<String> = kinds
            .into_iter()
            .filter_map(|kind| self.chosen(kind).ok().flatten())
            .map(|model| model.id)
            .collect();
        let installed = self.store.list().map_err(failure::of_model_store)?;
        Ok(installed
            .into_iter()
            .map(|model| summary(model, &in_use))
            .collect())
    }

    /// Removes a model and ends its worker.
    ///
    /// # Errors
    /// When it is not installed or its files cannot be removed.
    pub async fn remove(&self, id: &str) -> Result<String, Failure> {
        let known = self.store.list().map_err(failure::of_model_store)?;
        if !known.iter().any(|model| model.id == id) {
            return Err(
                Failure::new(FailureKind::NotFound, format!("no model {id} is installed"))
                    .with_hint("`satchel models list` shows the names."),
            );
        }
        for slot in self.slots() {
            let mut slot = slot.lock().await;
            if slot.as_ref().is_some_and(|running| running.model.id == id)
                && let Some(running) = slot.take()
            {
                running.engine.unload().await;
            }
        }
        self.store.remove(id).map_err(failure::of_model_store)?;
        Ok(format!("Removed the model {id}."))
    }

    fn slots(&self) -> [&tokio::sync::Mutex<Option<Running>>; 3] {
        [&self.chat, &self.embedder, &self.reranker]
    }

    /// When somebody last wanted a model.
    #[must_use]
    pub fn last_used(&self) -> Instant {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note_use(&self) {
        *self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long no model has been used; `None` while one is, and where none is loaded.
    pub async fn idle_for(&self) -> Option<Duration> {
        let mut is_loaded = false;
        for slot in self.slots() {
            match &*slot.lock().await {
                Some(running) if running.is_in_use() => {
                    self.note_use();
                    return None;
                }
                Some(_) => is_loaded = true,
                None => {}
            }
        }
        is_loaded.then(|| self.last_used().elapsed())
    }

    /// Ends the workers that nobody uses. Who asks meanwhile gets another one: a model is handed out and taken away under
    /// the same lock.
    pub async fn unload_unused(&self) {
        for slot in self.slots() {
            let unused = slot.lock().await.take_if(|running| !running.is_in_use());
            if let Some(running) = unused {
                running.engine.unload().await;
            }
        }
    }

    /// Ends the workers; they start again when needed.
    pub async fn unload(&self) {
        for slot in self.slots() {
            if let Some(running) = slot.lock().await.take() {
                running.engine.unload().await;
            }
        }
    }
}

fn no_chat_model() -> Failure {
    Failure::new(FailureKind::NotFound, "no chat model is installed")
        .with_hint("`satchel models catalog` lists some that `satchel models download` fetches; `satchel models import FILE.gguf` takes one of yours. Search works without.")
}

/// The adapter that the settings name, checked. Blocks on the disk.
fn adapter(model: &InstalledModel, settings: &Settings) -> Result<Option<Adapter>, Failure> {
    let Some(path) = &settings.lora else {
        return Ok(None);
    };
    let refused = |failure: Failure| {
        failure.with_hint("`satchel settings lora` without a value goes on without an adapter.")
    };
    let summary = satchel_models::gguf::check_adapter(path)
        .map_err(|error| refused(failure::of_model_file(path, &error)))?;
    if summary.architecture != model.architecture {
        return Err(refused(Failure::new(
            FailureKind::Usage,
            format!(
                "the adapter {} is for models of the kind {}, and {} is of the kind {}",
                path.display(),
                summary.architecture,
                model.id,
                model.architecture
            ),
        )));
    }
    Ok(Some(Adapter {
        path: path.clone(),
        scale: settings.lora_scale.unwrap_or(1.0),
    }))
}

/// Tells an adapter from others, and from what its file was before it changed.
fn name_of_adapter(adapter: &Adapter) -> String {
    let file = std::fs::metadata(&adapter.path).ok();
    let changed = file.as_ref().and_then(|file| file.modified().ok());
    let bytes = file.map(|file| file.len());
    format!(
        "{} {bytes:?} {changed:?} × {}",
        adapter.path.display(),
        adapter.scale
    )
}

fn verify(store: &ModelStore, model: &InstalledModel) -> Result<VerifiedModel, Failure> {
    store.verify(model).map_err(|error| {
        Failure::general(format!("the model {} cannot be used: {error}", model.id)).with_hint(
            format!(
                "Remove it with `satchel models remove {}` and import it again.",
                model.id
            ),
        )
    })
}

/// How to start a worker of the program.
#[must_use]
pub fn worker_command(program: &Path, kind: &str) -> WorkerCommand {
    WorkerCommand {
        program: program.to_path_buf(),
        args: vec![OsString::from("worker"), OsString::from(kind)],
    }
}

/// Carries out a command about models; needs no workspace and no key.
///
/// # Errors
/// The command's own; [`FailureKind::Usage`] for a command about something else.
pub async fn carry_out(
    host: &Arc<ModelHost>,
    command: Command,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    match command {
        Command::Models => host.list().map(Reply::Models),
        Command::ImportModel { path, quantisation } => import(host, emitter, path, &quantisation)
            .await
            .map(Reply::Done),
        Command::Catalog => downloads::catalog(host).await.map(Reply::Catalog),
        Command::SearchHub { query } => hub::search(host, &query, emitter).await.map(Reply::Hub),
        Command::DownloadModel {
            model,
            accepts_licence,
        } => downloads::download(host, &model, accepts_licence, emitter)
            .await
            .map(Reply::Done),
        Command::DiscardDownload { model } => {
            downloads::discard(host, &model).await.map(Reply::Done)
        }
        Command::ShowModel { model } => {
            let details = fitting::show(host, model).await?;
            Ok(Reply::Model(Box::new(details)))
        }
        Command::RemoveModel { model } => host.remove(&model).await.map(Reply::Done),
        Command::MeasureProcessor => calibrate::measure(host, emitter).await.map(Reply::Done),
        _ => Err(Failure::new(
            FailureKind::Usage,
            "this command is not about models",
        )),
    }
}

/// Imports a GGUF file, or converts a folder with an embedder.
async fn import(
    host: &Arc<ModelHost>,
    emitter: &Emitter,
    path: PathBuf,
    quantisation: &str,
) -> Result<String, Failure> {
    let quantisation = match quantisation {
        "q8_0" => EmbedderQuantisation::Q8_0,
        "f16" => EmbedderQuantisation::F16,
        other => {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("unknown quantisation {other}: use q8_0 or f16"),
            ));
        }
    };
    let (store, emitter) = (host.store.clone(), emitter.clone());
    let importing = tokio::task::spawn_blocking(move || {
        let mut meter = Meter::new(&emitter, Stage::Model, 0);
        let mut progress = |progress: satchel_models::store::Progress| {
            meter.at(progress.done_bytes, progress.total_bytes);
        };
        import_into(&store, &path, quantisation, &mut progress)
    });
    let model = importing
        .await
        .map_err(|panic| Failure::general(format!("the import crashed: {panic}")))??;
    Ok(format!(
        "Installed {} ({}, {} MiB).",
        model.id,
        model.quantisation,
        model.size_bytes >> 20
    ))
}

fn import_into(
    store: &ModelStore,
    path: &Path,
    quantisation: EmbedderQuantisation,
    progress: &mut dyn FnMut(satchel_models::store::Progress),
) -> Result<InstalledModel, Failure> {
    let imported = if path.is_dir() {
        store.import_dir(path, quantisation, progress)
    } else {
        store.import_file(path, progress)
    };
    imported.map_err(|error| failure::of_model_import(path, &error))
}

/// The catalogue's name for a known file, else the one that the file gives itself.
#[must_use]
pub fn display_name(model: &InstalledModel) -> String {
    satchel_models::catalog::find_by_sha256(&model.sha256)
        .map_or_else(|| model.name.clone(), |entry| entry.name.clone())
}

fn summary(model: InstalledModel, in_use: &[String]) -> ModelSummary {
    ModelSummary {
        kind: model.kind.to_string(),
        in_use: in_use.contains(&model.id),
        name: display_name(&model),
        id: model.id,
        architecture: model.architecture,
        quantisation: model.quantisation,
        context_len_tokens: model.context_len_tokens,
        size_bytes: model.size_bytes,
        sha256: model.sha256,
        source_sha256: model.source_sha256,
        license: model.license,
        path: model.path,
    }
}
