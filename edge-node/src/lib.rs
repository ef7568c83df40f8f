//! An edge node: keeps encrypted fragments and returns them in order, over QUIC.
//!
//! It never links `satchel-sync` or automerge, holds no content key and cannot open what it stores.
//! It builds no runtime: `main.rs` does, and tests bring their own.
//!
//! Version 0 of the protocol has no access control: run it on loopback or on a network whose members
//! you trust. [`config::Config::check`] refuses anything else unless told.
//!
//! Start at [`Server::bind`].
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
//! | `storage`, `writer` | fragments in redb; group commit |
//! | `identity`, `transport` | the node's key; every QUIC limit |
//! | [`metrics`] | what was done and what was refused |

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod metrics;

mod server;

mod admission;
mod connection;
mod identity;
mod rate;
mod storage;
mod transport;
mod wire;
mod writer;

pub use identity::IdentityError;
pub use server::{BindError, ServeError, Server};
pub use storage::StoreError;

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
