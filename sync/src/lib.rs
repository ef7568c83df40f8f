//! Documents and chats of a person, encrypted and safe on the disk, ready to travel to the person's other devices.
//!
//! Never runs a model, never knows the search index, never opens a network connection that was not
//! configured. The API blocks: call it from a thread that may wait.
//!
//! ```
//! use satchel_sync::keys::{KeyStorage, KeyStore};
//! use satchel_sync::workspace::{NewDocument, Workspace};
//!
//! # let data = tempfile::tempdir()?;
//! let key = KeyStore::open(&data.path().join("keys"))?.create(KeyStorage::PlainFile)?;
//! let folder = data.path().join("workspaces/00112233445566778899aabbccddeeff");
//! let workspace = Workspace::create(&folder, &key, "My papers")?;
//! let saved = workspace.put(vec![NewDocument::plain("Note", "Buy a satchel.")])?;
//! assert_eq!(workspace.text(saved[0].id)?, "Buy a satchel.");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | idea |
//! |---|---|
//! | [`workspace`] | what the app holds: documents, originals, chats, anchors of citations |
//! | [`document`] | one text in Automerge: diff, heads, anchors that survive editing |
//! | [`chat`] | one chat in Automerge: a tree of messages with citations |
//! | [`keys`] | the data key and where it is kept |
//! | [`log`], [`seal`] | append-only files of sealed frames |
//! | [`durable`] | whole files that survive a power cut |
//! | [`inflate`] | counts what foreign bytes would inflate to |
//! | [`member`] | who shares a workspace: devices, roles, epochs, the control log |
//! | [`entry`], [`sealing`] | what devices send each other, signed and sealed |
//! | [`engine`] | keeps a workspace equal on all its devices; pure |
//! | [`share`] | founding and joining a shared workspace |
//! | [`pairing`] | two devices prove to each other that they share a short code |
//! | [`net`] | the way to an edge node; the only part that uses tokio |
//! | [`id`] | names of things |
//!
//! Formats and threats: `sync/SCHEMA.md` on the disk, `sync/SEALING.md` between devices.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

mod author;
mod bytes;
pub mod chat;
mod diff;
pub mod document;
pub mod durable;
pub mod engine;
pub mod entry;
pub mod id;
pub mod inflate;
pub mod keys;
pub mod log;
pub mod member;
pub mod net;
pub mod pairing;
pub mod seal;
pub mod sealing;
pub mod share;
mod sync_file;
mod values;
pub mod workspace;

pub use id::{ContentHash, DeviceId, DocumentId, MessageId, ThreadId, WorkspaceId};
pub use keys::DataKey;
pub use workspace::Workspace;

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
