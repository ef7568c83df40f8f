//! What a node answers to a device.
//!
//! Carries no free text: a node is not trusted, and what the user reads about an error is written by
//! the device from [`ErrorCode`]. Start at [`Answer`]; byte tables in `PROTOCOL.md` § 4.

use super::FrameType;
use crate::chain::Chain;
use crate::fragment::EncryptedFragment;
use crate::id::Offset;

/// One frame of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a hello: the version chosen and what this node allows.
    HelloAck {
        /// The newest version that both speak.
        version: u16,
        /// Longest fragment that this node takes.
        max_fragment_bytes: u32,
        /// Bytes that one mailbox may hold.
        mailbox_quota_bytes: u64,
        /// The node's clock: milliseconds since 1970 UTC. A hint; nothing is checked by it.
        time_ms: u64,
    },
    /// To an open: this connection may now use the mailbox.
    Opened {
        /// How much of it. With `ControlOnly`, everything below but `ctl_next` is 0.
        access: Access,
        /// Where the log ends.
        next: Offset,
        /// The chain value before `next`.
        chain: Chain,
        /// Where the control log ends.
        ctl_next: u32,
        /// Bytes that the mailbox holds.
        used_bytes: u64,
        /// Bytes that it may hold.
        quota_bytes: u64,
    },
    /// Done, and on disk where something was to be stored.
    Ok,
    /// To an append or a pack: the fragment is on disk.
    Ack {
        /// Its place.
        offset: Offset,
        /// The log's chain value after it.
        chain: Chain,
    },
    /// To a read: one fragment. Offsets rise; places that were superseded or deleted are left out.
    Entry {
        /// Its place.
        offset: Offset,
        /// A pack has replaced it: it will be deleted after the grace period.
        superseded: bool,
        /// The fragment as it was appended: an entry or a pack.
        fragment: EncryptedFragment,
    },
    /// To a read: no more in this answer. While following: no more for now.
    End {
        /// Where to go on.
        next: Offset,
        /// First offset that is not taken; equal to `next` when the device has everything.
        log_end: Offset,
        /// The chain value before `next`.
        chain: Chain,
        /// Where the control log ends.
        ctl_next: u32,
        /// Connections that have the mailbox open, this one included.
        sessions: u16,
    },
    /// To a control append: the record is on disk.
    CtlAck {
        /// Its index.
        index: u32,
    },
    /// To a control read: one record. Indices rise by one.
    CtlEntry {
        /// Its index.
        index: u32,
        /// The record as it was appended.
        record: EncryptedFragment,
        /// The previous epoch's secret that came with it.
        previous_epoch: Option<EncryptedFragment>,
    },
    /// To a control read: no more.
    CtlEnd {
        /// Where the control log ends.
        next: u32,
    },
    /// To a blob get.
    Blob {
        /// The piece.
        fragment: EncryptedFragment,
    },
    /// To a has: one bit per id in the order of the ids, low bit first; the last byte is filled with 0.
    HasBits {
        /// One byte for each eight ids.
        bits: Vec<u8>,
    },
    /// To allocate and claim.
    RvPlace {
        /// The number.
        nameplate: u32,
        /// Names this participant; the other one has another.
        token: [u8; 16],
    },
    /// To next: the other participant's message.
    RvMessage {
        /// As it was posted.
        body: Vec<u8>,
    },
    /// To next: there is no such message yet. Ask again.
    RvWaiting,
    /// To anything: refused. Nothing was stored.
    Error(ErrorAnswer),
}

/// How much of a mailbox a connection may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Access {
    /// What the role may.
    Full = 0,
    /// Reads the control log and nothing else: the capabilities are past.
    ControlOnly = 1,
}

/// Why a node refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// The reason.
    pub code: ErrorCode,
    /// The bound that was hit, in the unit that [`ErrorCode`] names; 0 where there is none.
    pub limit: u64,
    /// Asking again before this time is useless; 0 where time does not help.
    pub retry_after_ms: u32,
}

/// The number of a reason. Numbers are never given to another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ErrorCode {
    /// No version in common. `limit`: the newest that the node speaks.
    Version = 1,
    /// No such mailbox, no such role, a wrong signature or invitation: it never says which.
    Denied = 2,
    /// The mailbox is full. `limit`: its quota in bytes.
    Quota = 3,
    /// Asked too often. `limit`: requests per second, or per minute for nameplates.
    Rate = 4,
    /// The fragment is too long for this node. `limit`: its longest in bytes.
    TooBig = 5,
    /// Another control record was faster. `limit`: the index that the next one gets.
    Conflict = 6,
    /// The blob is not there, or not any more.
    Gone = 7,
    /// The node has no room for the request just now, or is stopping.
    Busy = 8,
    /// The request was no valid frame.
    Malformed = 9,
    /// Something was asked before the hello was answered, or hello was said twice.
    HelloFirst = 10,
    /// The node's disk is almost full. Reading goes on.
    DiskFull = 11,
    /// The node could not use its storage.
    Storage = 12,
    /// From behind the end of the log: the node lost entries, or the device asks another node.
    /// `limit`: the end of the log.
    BehindEnd = 13,
    /// No such nameplate: never given out, taken by two others, burnt or expired.
    NoNameplate = 14,
    /// More than a node keeps of one kind. `limit`: how many.
    TooMany = 15,
}

impl ErrorCode {
    /// Every code of this version.
    pub const ALL: [Self; 15] = [
        Self::Version,
        Self::Denied,
        Self::Quota,
        Self::Rate,
        Self::TooBig,
        Self::Conflict,
        Self::Gone,
        Self::Busy,
        Self::Malformed,
        Self::HelloFirst,
        Self::DiskFull,
        Self::Storage,
        Self::BehindEnd,
        Self::NoNameplate,
        Self::TooMany,
    ];
}

impl Answer {
    /// The type of its frame.
    pub fn frame_type(&self) -> FrameType {
        match self {
            Self::HelloAck { .. } => FrameType::HelloAck,
            Self::Opened { .. } => FrameType::Opened,
            Self::Ok => FrameType::Ok,
            Self::Ack { .. } => FrameType::Ack,
            Self::Entry { .. } => FrameType::Entry,
            Self::End { .. } => FrameType::End,
            Self::CtlAck { .. } => FrameType::CtlAck,
            Self::CtlEntry { .. } => FrameType::CtlEntry,
            Self::CtlEnd { .. } => FrameType::CtlEnd,
            Self::Blob { .. } => FrameType::Blob,
            Self::HasBits { .. } => FrameType::HasBits,
            Self::RvPlace { .. } => FrameType::RvPlace,
            Self::RvMessage { .. } => FrameType::RvMessage,
            Self::RvWaiting => FrameType::RvWaiting,
            Self::Error(_) => FrameType::Error,
        }
    }
}
