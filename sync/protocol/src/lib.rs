//! What a device and an edge node say to each other: ids, frames, limits.
//!
//! Pure: no network, no clock, no disk, and no key that opens or signs anything. Every decoder is strict:
//! one encoding per value, every length bounded before a byte is allocated, unknown numbers refused,
//! and no input makes it panic. The edge node links this crate and nothing else of `sync`.
//!
//! Start at [`frame::Request`] and [`frame::Answer`]; the normative text, with byte tables, the threat
//! model and frozen vectors, is `PROTOCOL.md` beside this crate.
//!
//! ```
//! use satchel_protocol::{frame::{FrameHeader, Direction, Request}, id::{MailboxId, Offset}};
//!
//! let request = Request::Follow { mailbox: MailboxId([7; 16]), from: Offset(3), compact: true };
//! let bytes = request.encode();
//! let (head, body) = bytes.split_first_chunk().expect("a frame has a header");
//! let header = FrameHeader::decode(*head, Direction::ToNode)?;
//! assert_eq!(header.body_len_bytes, body.len());
//! assert_eq!(Request::decode(header, body)?, request);
//! # Ok::<(), satchel_protocol::frame::DecodeError>(())
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`id`] | mailboxes, fragments, offsets, fingerprints |
//! | [`limits`] | every bound and deadline, with its sum |
//! | [`fragment`] | the envelope of ciphertext: header in the clear, rest opaque |
//! | [`chain`] | the hash chain over one mailbox's log |
//! | [`frame`] | requests and answers as bytes |
//! | [`capability`] | the bytes that are signed for access, and the check of a signature |
//! | [`link`] | what an operator gives to users: address and fingerprint in one line |

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod id;
pub mod limits;

pub mod capability;
pub mod chain;
pub mod fragment;
pub mod frame;
pub mod link;

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
