//! Loads a model for its role, and turns every way in which that fails into words.
//!
//! Runs in the worker only: llama.cpp may abort the process on a bad file, and then the worker is what dies.
//! Start at [`load`]; what is then done with the model is in [`generate`](crate::generate) and [`embed`](crate::embed).

use std::cell::RefCell;
use std::io::Read as _;
use std::num::NonZeroU32;
use std::path::Path;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};

use crate::chunk::prompt_chunk_tokens;
use crate::error::LoadError;
use crate::gpu::Placement;
use crate::llama_log::LlamaLog;
use crate::prompt::thinking_support;
use crate::request::{Adapter, MemoryUse, ModelInfo, ModelSpec, Role};

/// Loads the file of `spec`.
pub(crate) fn load(
    backend: &LlamaBackend,
    spec: &ModelSpec,
    placement: &Placement,
    log: &LlamaLog,
) -> Result<(LlamaModel, Option<LoadedAdapter>), LoadError> {
    let size_bytes = check_file(&spec.path)?;
    if !placement.on_gpu {
        check_memory(size_bytes)?;
    }
    log.clear();
    let mut model = LlamaModel::load_from_file(backend, &spec.path, &placement.params)
        .map_err(|error| in_words(log, &error, &spec.path))?;
    check_role(&model, spec.role)?;
    let adapter = spec.adapter.as_ref();
    let adapter = adapter
        .map(|adapter| load_adapter(&mut model, adapter, log))
        .transpose()?;
    Ok((model, adapter))
}

/// An adapter that fits the model it was loaded for.
pub(crate) struct LoadedAdapter {
    adapter: RefCell<LlamaLoraAdapter>,
    scale: f32,
}

fn load_adapter(
    model: &mut LlamaModel,
    adapter: &Adapter,
    log: &LlamaLog,
) -> Result<LoadedAdapter, LoadError> {
    check_file(&adapter.path)?;
    log.clear();
    let loaded = model
        .lora_adapter_init(&adapter.path)
        .map_err(|error| LoadError::Adapter {
            reason: log.first_error().unwrap_or_else(|| error.to_string()),
        })?;
    Ok(LoadedAdapter {
        adapter: RefCell::new(loaded),
        scale: adapter.scale,
    })
}

/// Length of the context that a chat model gets, in tokens.
pub(crate) fn chat_context_len(model: &LlamaModel, asked_tokens: u32) -> u32 {
    let trained = model.n_ctx_train().max(1);
    if asked_tokens == 0 {
        trained
    } else {
        asked_tokens.min(trained)
    }
}

/// Makes the context in which a chat model reads and writes.
#[allow(clippy::too_many_arguments)] // Each is told by another part of the worker.
pub(crate) fn chat_context<'m>(
    backend: &LlamaBackend,
    model: &'m LlamaModel,
    context_len_tokens: u32,
    chunk_tokens: usize,
    on_gpu: bool,
    threads: u32,
    adapter: Option<&LoadedAdapter>,
    log: &LlamaLog,
) -> Result<LlamaContext<'m>, LoadError> {
    if !on_gpu {
        check_memory(kv_cache_bytes(model, context_len_tokens))?;
    }
    let params = chat_params(context_len_tokens, chunk_tokens)
        .with_n_threads(threads.cast_signed())
        .with_n_threads_batch(threads.cast_signed());
    let mut context = new_context(backend, model, params, log)?;
    if let Some(LoadedAdapter { adapter, scale }) = adapter {
        context
            .lora_adapter_set(&mut adapter.borrow_mut(), *scale)
            .map_err(|error| LoadError::Adapter {
                reason: error.to_string(),
            })?;
    }
    Ok(context)
}

/// What the context of a model in this role will be like, as far as its size in memory goes.
pub(crate) fn params_of(spec: &ModelSpec) -> LlamaContextParams {
    match spec.role {
        Role::Chat { context_len_tokens } => {
            chat_params(context_len_tokens, chunk_tokens_of(&spec.path))
        }
        Role::Embedder | Role::Reranker => LlamaContextParams::default(),
    }
}

/// Tokens of a prompt that the model in this file reads at once.
pub(crate) fn chunk_tokens_of(model: &Path) -> usize {
    prompt_chunk_tokens(std::fs::metadata(model).map_or(0, |file| file.len()))
}

fn chat_params(context_len_tokens: u32, chunk_tokens: usize) -> LlamaContextParams {
    let chunk = u32::try_from(chunk_tokens).unwrap_or(u32::MAX);
    LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(context_len_tokens))
        .with_n_batch(chunk)
        .with_n_ubatch(chunk)
        // Models with a sliding window (Gemma 3) would otherwise forget the beginning, and a follow-up question could not
        // use what was read for the one before.
        .with_swa_full(true)
}

/// Makes a context, with llama.cpp's reason when there is none.
pub(crate) fn new_context<'m>(
    backend: &LlamaBackend,
    model: &'m LlamaModel,
    params: LlamaContextParams,
    log: &LlamaLog,
) -> Result<LlamaContext<'m>, LoadError> {
    log.clear();
    model.new_context(backend, params).map_err(|error| {
        let reason = log.first_error().unwrap_or_else(|| error.to_string());
        if says_out_of_memory(&reason) {
            return LoadError::Other {
                reason: format!("memory ran out for the context ({reason}); shorten it"),
            };
        }
        LoadError::Other { reason }
    })
}

/// Describes a loaded model.
pub(crate) fn describe(model: &LlamaModel, context_len_tokens: u32, threads: u32) -> ModelInfo {
    ModelInfo {
        name: metadata(model, "general.name").unwrap_or_default(),
        architecture: architecture(model),
        context_len_tokens,
        context_train_tokens: model.n_ctx_train(),
        embedding_dim: usize::try_from(model.n_embd_out()).unwrap_or(0),
        size_bytes: model.size(),
        n_params: model.n_params(),
        gpu: None,
        gpu_refused: None,
        memory: MemoryUse::default(),
        variant: String::new(),
        threads,
        has_chat_template: chat_template(model).is_some(),
        thinking: thinking_support(model, chat_template(model).as_deref()),
        sandbox: String::new(),
        pid: std::process::id(),
    }
}

/// The chat template in the file.
pub(crate) fn chat_template(model: &LlamaModel) -> Option<String> {
    model
        .chat_template(None)
        .ok()?
        .to_string()
        .ok()
        .filter(|source| !source.trim().is_empty())
}

fn architecture(model: &LlamaModel) -> String {
    metadata(model, "general.architecture").unwrap_or_default()
}

fn metadata(model: &LlamaModel, key: &str) -> Option<String> {
    model.meta_val_str(key).ok()
}

/// The size of the file, when it is a readable file that begins like a model.
fn check_file(path: &Path) -> Result<u64, LoadError> {
    let shown = || path.display().to_string();
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => LoadError::Missing { path: shown() },
        _ => LoadError::Unreadable {
            reason: error.to_string(),
            path: shown(),
        },
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(LoadError::Unreadable {
            reason: "it is not a file".into(),
            path: shown(),
        });
    }
    let mut magic = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut magic))
        .map_err(unreadable)?;
    if magic != *b"GGUF" {
        return Err(LoadError::Damaged {
            reason: "it does not begin with GGUF".into(),
            path: shown(),
        });
    }
    if path.to_str().is_none() {
        return Err(LoadError::Unreadable {
            reason: "its name is not Unicode".into(),
            path: shown(),
        });
    }
    Ok(metadata.len())
}

/// Refuses what certainly does not fit, before the system begins to swap or kills the worker.
fn check_memory(needed_bytes: u64) -> Result<(), LoadError> {
    match available_memory_bytes() {
        Some(available_bytes) if needed_bytes > available_bytes => Err(LoadError::OutOfMemory {
            needed_bytes,
            available_bytes,
        }),
        _ => Ok(()),
    }
}

/// What the system can give without swapping. `None` where it does not tell.
pub(crate) fn available_memory_bytes() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Upper estimate of the memory for keys and values of a whole context, at 16 bits each.
fn kv_cache_bytes(model: &LlamaModel, context_len_tokens: u32) -> u64 {
    let heads = u64::from(model.n_head().max(1));
    let width = u64::try_from(model.n_embd()).unwrap_or(0) / heads * u64::from(model.n_head_kv());
    u64::from(model.n_layer()) * u64::from(context_len_tokens) * width * 2 * 2
}

/// A model that cannot do what it is loaded for would give nonsense or abort later.
fn check_role(model: &LlamaModel, role: Role) -> Result<(), LoadError> {
    let architecture = architecture(model);
    let key = |name: &str| metadata(model, &format!("{architecture}.{name}"));
    let wrong = |wanted: &str, reason: &str| {
        Err(LoadError::WrongKind {
            wanted: wanted.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let is_embedder = key("attention.causal").is_some_and(|causal| causal == "false");
    match role {
        Role::Chat { .. } if is_embedder => wrong("for answers", "it only makes embeddings"),
        // 0 is no pooling, 4 gives scores of a reranker.
        Role::Embedder => match key("pooling_type").as_deref() {
            None | Some("0") => wrong(
                "for search",
                "its file does not say how to make one vector of a text",
            ),
            Some("4") => wrong("for search", "it compares texts and makes no vectors"),
            Some(_) => Ok(()),
        },
        Role::Reranker => match key("pooling_type").as_deref() {
            Some("4") => Ok(()),
            _ => wrong("to sort passages", "it gives no scores"),
        },
        Role::Chat { .. } => Ok(()),
    }
}

/// Sorts what llama.cpp says about a file by what can be done about it.
fn in_words(log: &LlamaLog, error: &llama_cpp_2::LlamaModelLoadError, path: &Path) -> LoadError {
    let reason = log.first_error().unwrap_or_else(|| error.to_string());
    if let Some((_, architecture)) = reason.split_once("unknown model architecture: ") {
        return LoadError::UnknownArchitecture {
            architecture: architecture.trim_matches('\'').to_owned(),
        };
    }
    if says_out_of_memory(&reason) {
        let needed_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        return LoadError::OutOfMemory {
            needed_bytes,
            available_bytes: available_memory_bytes().unwrap_or(0),
        };
    }
    LoadError::Damaged {
        reason,
        path: path.display().to_string(),
    }
}

fn says_out_of_memory(reason: &str) -> bool {
    [
        "failed to allocate",
        "unable to allocate",
        "out of memory",
        "bad_alloc",
    ]
    .iter()
    .any(|words| reason.contains(words))
}
