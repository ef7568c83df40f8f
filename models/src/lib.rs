//! Model files: which models are known, whether a file may be loaded, and where the installed ones are.
//!
//! - [`gguf`]: the check that every model file passes before llama.cpp sees it, a writer for GGUF, and the joining of
//!   models that were split into several files.
//! - [`convert`]: BERT-type embedders from safetensors to GGUF.
//! - [`store`]: the installed models, imported durably and proven unchanged before each use.
//! - [`catalog`]: real models for real laptops, with size, memory and licence.
//! - [`fit`]: what memory a model needs, how fast it will write, and whether it suits a machine.
//! - [`instruction`]: what an embedder wants before questions and passages.
//! - [`fetch`](mod@fetch): brings a model file, or all parts of one, from the network, and goes on where it stopped.
//!
//! Never loads a model, never changes a file that the user brought. Only [`fetch`](mod@fetch) uses the network, when it
//! is called; everything else blocks on the disk, and nothing here starts a thread.
//!
//! # Example
//! ```no_run
//! use std::path::Path;
//! use satchel_models::store::ModelStore;
//!
//! let store = ModelStore::open(Path::new("data/models"))?;
//! let model = store.import_file(Path::new("Downloads/qwen3-4b.gguf"), &mut |progress| {
//!     eprintln!("{:?}: {} of {} bytes", progress.stage, progress.done_bytes, progress.total_bytes);
//! })?;
//! let verified = store.verify(&model)?;
//! println!("{} is at {}", model.name, verified.path().display());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What the check is worth
//! llama.cpp ends its process on many malformed files. The check refuses the known classes (lying counts,
//! lengths, dimensions and offsets, type confusion, duplicate tokens, unknown architectures) by reading the
//! header only. It cannot prove that weights are meant well, so models run in a worker process all the same.
//!
//! # Which embedders can be converted
//! Folders in the form of sentence-transformers with a plain uncased BERT: `BertModel` or `BertForMaskedLM`, GELU,
//! absolute positions, WordPiece, and mean, first-token or last-token pooling, in one `model.safetensors`. Other
//! kinds are refused with the reason: a conversion that is a little wrong gives vectors that are a little
//! wrong, and nobody would notice.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod catalog;
pub mod convert;
mod durable;
pub mod fetch;
pub mod fit;
pub mod gguf;
pub mod instruction;
pub mod store;

pub use convert::EmbedderQuantisation;
pub use gguf::{ModelKind, Pooling};
pub use instruction::Instructions;
pub use store::{InstalledModel, ModelStore, VerifiedModel};

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
