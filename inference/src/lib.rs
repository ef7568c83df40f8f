//! Runs language models through llama.cpp, each in a worker process of its own.
//!
//! llama.cpp aborts its process on bad input, drivers of GPUs crash, memory runs out: each of these ends one worker, is
//! reported as one failed request, and the next request starts a fresh worker. The program that holds an
//! [`EngineHandle`] never runs a line of C++.
//!
//! Never: reads a document by itself, opens a network connection, trusts a file (the caller checks models first), or
//! writes what is asked and answered into a log.
//!
//! # Map, top down
//! - Program side: [`EngineHandle`] (`handle`) holds a model by its [`ModelSpec`] (`request`); `process_engine`
//!   starts workers and cuts work into pieces; `connection` is one running worker with its pipes, and `error_lines` its last words; `worker_env` is what a worker is started in; errors are in `error`.
//! - Between: `protocol` (messages) in `frame` (length and JSON).
//! - Worker side: [`run_worker`] (`worker`, with `desk` for what comes in and `output` for what goes out) locks itself in (`sandbox`), loads processor code (`backends`), decides what goes to a
//!   GPU (`gpu`), loads the model (`engine`), then reads prompts (`prompt`, `chat_template` with `template_source`, `marked`, `python_text`, `python_json` and `strftime`) and writes answers (`generate`
//!   with `sampler`, which chooses tokens, and `shelf` for conversations put aside, each a `snapshot`; `text_stream`, `thoughts`), embeds (`embed`, `embed_plan`; `onnx` for some models) or scores (`rerank`). `device`, `threads`, `llama_log` and `stdio` are small helpers.
//!
//! # Threads
//! The program side starts none: it offers `async fn` and keeps the tasks of a connection in that connection, so that
//! dropping the last handle ends worker and tasks. The worker has three: computing, reading, preparing.
//!
//! # Processor builds
//! llama.cpp is built once for each generation of processors; the worker loads the best that runs here from the folder
//! `backends` beside the program and tells which in [`ModelInfo::variant`]. To measure one against the other, set the
//! environment variable `SATCHEL_CPU_VARIANT`, for example to `haswell`.

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

mod error;
mod handle;
mod request;

mod connection;
mod error_lines;
mod process_engine;
mod worker_env;

mod frame;
mod protocol;

mod desk;
mod output;
mod worker;

mod backends;
mod chat_template;
mod chunk;
mod device;
mod embed;
mod embed_plan;
mod engine;
mod generate;
mod gpu;
mod likeliest;
mod llama_log;
mod marked;
mod onnx;
mod prompt;
mod python_json;
mod python_text;
mod rerank;
mod sampler;
mod sandbox;
mod shelf;
mod snapshot;
mod stdio;
mod strftime;
mod template_source;
mod text_stream;
mod thoughts;
mod threads;

#[cfg(test)]
mod measure;

pub use backends::processor_builds;
pub use chunk::prompt_chunk_tokens;
pub use device::{Device, DeviceKind, GPU_MARGIN_BYTES, gpus_to_use};
pub use embed::MAX_EMBED_WINDOW_TOKENS;
pub use error::{EngineError, LoadError};
pub use frame::MAX_FRAME_BYTES;
pub use handle::{EngineHandle, TokenStream, WorkerCommand, devices};
pub use onnx::has_onnxruntime;
pub use request::{
    Adapter, AnswerForm, BertModel, BertPooling, ChatMessage, ChatRole, Embeddings,
    GenerateRequest, GpuLayers, GpuUse, KnownConversation, MemoryUse, ModelInfo, ModelSpec, Role,
    Sampling, StopReason, StreamEvent, TensorBytes, Thinking, ThinkingSupport, TokenUsage,
    WeightType,
};
pub use worker::run_worker;

/// What understands a [`KnownConversation`]: another version of llama.cpp may lay it out in another way.
pub const STATE_VERSION: &str = "llama-cpp-2 0.1.160";

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
