//! An edge node: keeps encrypted fragments and returns them in order, over QUIC.
//!
//! It never links `satchel-sync` or automerge, holds no content key and cannot open what it stores.
//! It builds no runtime: `main.rs` does, and tests bring their own.
//!
//! Whoever reaches the port may say hello; everything else needs a signature by a key of the mailbox, or
//! the right to make one: see [`config::Config::creation`].
//!
//! Start at [`Server::bind`]; without sockets, at [`mailboxes::Mailboxes`].
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use satchel_edge_node::{Server, config::Config};
//!
//! let config = Config { data_dir: Some("/var/lib/satchel-edge".into()), ..Config::default() };
//! let server = Server::bind(&config)?;
//! println!("{} {}", server.local_addr(), server.fingerprint());
//! let counters = server.serve(std::future::pending()).await?;
//! println!("{counters:?}");
//! # Ok(()) }
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the one file of settings |
//! | `server`, `connection`, `wire` | accept loop; one task per device; frames under deadlines |
//! | `admission`, `rate` | who may connect, how often one may ask; pure |
//! | [`mailboxes`] | every request, without sockets |
//! | `store`, `writer` | redb and files; group commit |
//! | `identity`, `transport` | the node's key; every QUIC limit |
//! | [`metrics`], `http` | what was done and what was refused; a loopback page of it |

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod config;
pub mod mailboxes;
pub mod metrics;

mod server;

mod admission;
mod connection;
mod http;
mod identity;
mod rate;
mod store;
mod transport;
mod wire;
mod writer;

pub use identity::IdentityError;
pub use server::{BindError, ServeError, Server};
pub use store::{AuditReport, GcReport, StatsReport, StoreError};

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
