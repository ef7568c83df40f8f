//! The way to an edge node: QUIC, with the node's key pinned.
//!
//! The only part of this crate that uses the network or tokio. It opens no connection by itself, sends
//! nothing but [`EncryptedFragment`](satchel_protocol::fragment::EncryptedFragment)s, and spawns no
//! task of its own. Start at [`EdgeClient::connect`].
//!
//! Version 0 of the protocol has no access control (`sync/protocol/PROTOCOL.md` § 7): use it with a
//! node on this machine or on a network whose members you trust.
//!
//! ```no_run
//! # async fn example(fragment: satchel_protocol::fragment::EncryptedFragment) -> Result<(), Box<dyn std::error::Error>> {
//! use satchel_protocol::id::{MailboxId, Offset};
//! use satchel_sync::net::EdgeClient;
//!
//! let fingerprint = "…64 hex digits that `satchel-edge run` prints…".parse()?;
//! let node = EdgeClient::connect("127.0.0.1:4747".parse()?, fingerprint).await?;
//! let mailbox = MailboxId([7; 16]);
//! let stored = node.append(mailbox, &fragment).await?;
//! let page = node.read(mailbox, Offset(0), 100).await?;
//! assert_eq!(page.next, Offset(stored.offset.0 + 1));
//! node.close().await;
//! # Ok(()) }
//! ```

mod error;
pub use error::{ConnectError, RequestError};
