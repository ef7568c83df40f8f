//! Chunks, embeddings and full text of a person's documents in LanceDB, and hybrid search over them.
//!
//! Never computes an embedding and never reads a document: it takes text and finished vectors under
//! an opaque [`SourceId`]. Never the only copy of anything: the index is a cache, which heals by being
//! set aside and built anew. Offers `async fn`s and spawns nothing.
//!
//! # Example
//! ```no_run
//! use satchel_vector::chunk::{ChunkInput, TextKind, chunks};
//! use satchel_vector::{Query, SourceChunks, SourceId, VectorStore};
//!
//! # async fn example() -> Result<(), satchel_vector::StoreError> {
//! let (store, _report) = VectorStore::open("index".as_ref()).await?;
//! let text = "# Rent\n\nThe rent is due on the third working day.";
//! let input = ChunkInput { title: "Lease", kind: TextKind::Markdown, text, paged: false };
//! let source = SourceChunks {
//!     source: SourceId([1; 16]),
//!     version: "1".into(),
//!     title: "Lease".into(),
//!     path: "lease.md".into(),
//!     chunks: chunks(&input),
//! };
//! store.replace_sources(&[source]).await?;
//! let hits = store.search(&Query { text: "rent due".into(), limit: 5, ..Query::default() }).await?;
//! assert_eq!(hits[0].heading_path, ["Rent"]);
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//! | module | what | kind |
//! |---|---|---|
//! | [`chunk`] | text → chunks with byte ranges | pure |
//! | `lexical` | question → full-text query; how text becomes words | pure |
//! | [`rank`] | fusion of rankings | pure |
//! | [`resident`] | 8-bit codes and their scan | pure |
//! | `schema` | tables, columns, rows to and from Arrow; `FORMAT.md` | pure |
//! | `folder` | lock, format mark, setting aside | disk |
//! | `tables` | LanceDB's tables and every change of them | disk |
//! | `directory`, `embeddings`, `snapshot` | what is resident of one version | disk, read only |
//! | `query` | a search from begin to end | disk, read only |
//! | `store` | [`VectorStore`]: who may do what when, and repair | all of it |
//!
//! # Why these defaults
//! - **Exact scan of resident 8-bit codes, then exact scores**, no approximate index: at the sizes of a
//!   person's documents it takes about a millisecond, needs no building and misses nothing.
//! - **Reciprocal rank fusion**: BM25 and cosine have no common scale, places have.
//! - **Keyed by content**: an embedding belongs to a text, not to a place. Text that did not change is
//!   never embedded again, in whichever document it stands.
//!
//! No Cargo features.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod chunk;
pub mod rank;
pub mod resident;

mod directory;
mod embeddings;
mod error;
mod folder;
mod key;
mod lexical;
mod query;
mod schema;
mod snapshot;
mod store;
mod tables;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use key::{ChunkHash, EmbedderKey, SourceId};
pub use query::{Hit, Mode, Query};
pub use schema::{INDEX_FORMAT_VERSION, StoredChunk};
pub use snapshot::IndexStats;
pub use store::{OpenReport, PendingEmbedding, SourceChunks, VectorStore};

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
