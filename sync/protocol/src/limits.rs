//! Every bound and deadline that both sides must agree on, with the sum behind each.
//!
//! What only a node decides (quotas, connections per address, rates) is in `satchel-edge-node::config`.
//! Start at [`MAX_FRAME_BYTES`].

use std::time::Duration;

/// Oldest protocol version that this crate speaks.
pub const MIN_VERSION: u16 = 0;

/// Newest protocol version that this crate speaks.
pub const MAX_VERSION: u16 = 0;

/// TLS application protocol.
///
/// Bound to the version without capabilities: a later node which asks for them does not offer this
/// name, so nobody can talk it down to this version.
pub const ALPN: &[u8] = b"wsync/0";

/// Bytes before a frame's body: length (4) and type (1).
pub const FRAME_HEADER_BYTES: usize = 5;

/// Longest frame, its type included and its length field not.
///
/// 1 MiB. One in flight per stream × 16 streams ([`MAX_REQUEST_STREAMS`]) = 16 MiB per connection at
/// most, and the node's budget for all connections together is 256 MiB.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// Room kept in a frame for everything that is not the fragment.
///
/// Version 0 needs 17 bytes at most (type 1 + mailbox 16). 4 KiB leaves space for the signatures of
/// later versions, so that a fragment accepted today still fits then.
pub const MAX_FRAME_OVERHEAD_BYTES: usize = 4 * 1024;

/// Longest fragment: 1 MiB − 4 KiB = 1,044,480 bytes.
pub const MAX_FRAGMENT_BYTES: usize = MAX_FRAME_BYTES - MAX_FRAME_OVERHEAD_BYTES;

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

/// Requests (bidirectional streams) open on one connection at the same time.
pub const MAX_REQUEST_STREAMS: u32 = 16;

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
