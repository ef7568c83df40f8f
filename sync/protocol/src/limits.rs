//! Every bound and deadline that both sides must agree on, with the sum behind each.
//!
//! What only a node decides (quotas, connections per address, rates) is in `satchel-edge-node::config`.
//! Start at [`MAX_FRAME_BYTES`].

use std::time::Duration;

/// Oldest protocol version that this crate speaks.
pub const MIN_VERSION: u16 = 1;

/// Newest protocol version that this crate speaks.
pub const MAX_VERSION: u16 = 1;

/// TLS application protocol.
///
/// Version 0 had no access control. It is not offered, so nobody can talk a device down to it.
pub const ALPN: &[u8] = b"wsync/1";

/// Label under which both sides export the secret that binds signatures to one connection (RFC 5705).
/// The context is the mailbox id. See [`capability`](crate::capability).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-wsync-1";

/// Bytes before a frame's body: length (4) and type (1).
pub const FRAME_HEADER_BYTES: usize = 5;

/// Longest frame, its type included and its length field not.
///
/// 1 MiB + 16 KiB: the longest is a pack with a fragment of [`MAX_FRAGMENT_BYTES`] and
/// [`MAX_SUPERSEDED_RANGES`], 1 + 16 + 2 + 16,384 + 1,044,480 = 1,060,883 bytes.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024 + 16 * 1024;

/// Longest fragment: 1 MiB − 4 KiB = 1,044,480 bytes.
pub const MAX_FRAGMENT_BYTES: usize = 1024 * 1024 - 4 * 1024;

/// Longest record of a control log: 512 KiB, the wraps (112 bytes) of 4,600 devices.
pub const MAX_CTL_RECORD_BYTES: usize = 512 * 1024;

/// Longest sealed secret of the previous epoch: a few hundred bytes are used.
pub const MAX_PREVIOUS_EPOCH_BYTES: usize = 4 * 1024;

/// Ranges of offsets that one pack may supersede: 1,024 × 16 bytes = 16 KiB.
pub const MAX_SUPERSEDED_RANGES: usize = 1024;

/// Fragment ids in one request: 1,024 × 32 bytes = 32 KiB.
pub const MAX_IDS: usize = 1024;

/// Longest invitation of an operator, in bytes.
pub const MAX_TOKEN_BYTES: usize = 64;

/// Longest message at a nameplate.
pub const MAX_RENDEZVOUS_BYTES: usize = 2 * 1024;

/// Messages at one nameplate, both participants together.
pub const MAX_RENDEZVOUS_MESSAGES: usize = 10;

/// A nameplate ends this long after it was given out.
pub const RENDEZVOUS_LIFETIME: Duration = Duration::from_secs(600);

/// How long a node keeps a question for the next message open before it says "waiting".
pub const RENDEZVOUS_POLL: Duration = Duration::from_secs(20);

/// Mailboxes that one connection may have open.
pub const MAX_OPEN_MAILBOXES: usize = 64;

/// Shortest fragment: header (71) and one authentication tag (16) over an empty text.
pub const MIN_FRAGMENT_BYTES: usize = crate::fragment::HEADER_BYTES + 16;

/// Most entries that one read may ask for.
///
/// 4,096 × [`MIN_FRAGMENT_BYTES`] (87) = 348 KiB, so that even the smallest fragments stay below the
/// page bound, and the largest are cut by [`MAX_READ_PAGE_BYTES`] first.
pub const MAX_READ_ENTRIES: u32 = 4096;

/// Fragment bytes in one answer to a read. A page always holds one entry if there is one.
///
/// 1 MiB: not less than [`MAX_FRAGMENT_BYTES`], so any single fragment fits a page.
pub const MAX_READ_PAGE_BYTES: usize = 1024 * 1024;

/// Requests (bidirectional streams) open on one connection at the same time: one that follows for each
/// of some mailboxes, and room for others.
///
/// A node keeps two tables of so many streams for each connection. They double beyond 56: with 64 a
/// connection takes 2.4 KiB more (`make bench BENCH=edge`).
pub const MAX_REQUEST_STREAMS: u32 = 48;

/// Requests with a body that a node takes in side by side on one connection: 16 × 1 MiB = 16 MiB.
pub const MAX_REQUEST_BODIES: usize = 16;

/// A TLS and QUIC handshake must be over after this time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A new connection must have said hello after this time.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The five header bytes of a request must be there this long after its stream opened.
pub const REQUEST_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that must move in each [`PROGRESS_WINDOW`] while a body is sent or received.
///
/// 10 KiB per 10 s = 1 KiB/s: the slowest GSM link manages it, and a client that drips single bytes
/// to hold memory on the node is cut.
pub const PROGRESS_BYTES: usize = 10 * 1024;

/// See [`PROGRESS_BYTES`].
pub const PROGRESS_WINDOW: Duration = Duration::from_secs(10);

/// A connection on which nothing arrives for this long is closed by either side.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How often a device sends a sign of life: three of them fit into [`IDLE_TIMEOUT`], so two may be lost.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(25);

const _: () = assert!(MAX_FRAGMENT_BYTES <= MAX_READ_PAGE_BYTES);
const _: () = assert!(MAX_READ_ENTRIES as usize * MIN_FRAGMENT_BYTES <= MAX_READ_PAGE_BYTES);
const _: () = assert!(3 * KEEP_ALIVE_INTERVAL.as_secs() <= IDLE_TIMEOUT.as_secs());
