//! The way to an edge node: QUIC, with the node's key pinned.
//!
//! The only part of this crate that uses the network or tokio. It opens no connection by itself and sends
//! nothing but [`EncryptedFragment`](satchel_protocol::fragment::EncryptedFragment)s. Tasks
//! live in the driver's own set and end with it. Start at [`EdgeClient::connect`]; [`driver`] runs an engine,
//! [`pair`] lets two laptops meet.
//!
//! ```no_run
//! # async fn example(reader_signature: impl Fn(&[u8]) -> [u8; 64]) -> Result<(), Box<dyn std::error::Error>> {
//! use satchel_protocol::capability::open_message;
//! use satchel_protocol::frame::{Answer, Request, Role};
//! use satchel_protocol::id::{MailboxId, Offset};
//! use satchel_sync::net::EdgeClient;
//!
//! let fingerprint = "…64 hex digits that `satchel-edge run` prints…".parse()?;
//! let node = EdgeClient::connect("127.0.0.1:4747".parse()?, fingerprint).await?;
//! let (mailbox, role, cap_epoch) = (MailboxId([7; 16]), Role::Reader, 1);
//! let message = open_message(&node.binding(mailbox), mailbox, role, cap_epoch);
//! let signature = reader_signature(&message);
//! let open = Request::Open { mailbox, role, cap_epoch, signature };
//! assert!(matches!(node.ask(&open).await?.next().await?, Some(Answer::Opened { .. })));
//! let follow = Request::Follow { mailbox, from: Offset(0), compact: true };
//! let mut entries = node.ask(&follow).await?;
//! while let Some(Answer::Entry { offset, .. }) = entries.next().await? {
//!     println!("{offset}");
//! }
//! node.close().await;
//! # Ok(()) }
//! ```

mod client;
pub mod driver;
mod error;
pub mod pair;
mod pin;
mod wire;

pub use client::{EdgeClient, NodeLimits, client_config, open_socket};
pub use error::{ConnectError, RequestError};
pub use wire::Answers;
