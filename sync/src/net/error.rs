//! What can go wrong on the way to an edge node, and what to do about it.
//!
//! All words are ours: a node sends numbers only. Start at [`ConnectError`] and [`RequestError`].

use std::net::SocketAddr;
use std::time::Duration;

use satchel_protocol::fragment::FragmentError;
use satchel_protocol::frame::{DecodeError, ErrorAnswer, ErrorCode};
use satchel_protocol::id::{NodeFingerprint, Offset};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answered. Retrying may help.
    #[error("no edge node answers: check that it runs and that UDP may pass, at {address}")]
    NoAnswer {
        /// Where.
        address: SocketAddr,
    },
    /// Somebody answered with another key. Retrying does not help.
    #[error(
        "this is not the expected edge node: it has fingerprint {found}, expected {expected}; if the operator did not tell you of a new key, do not go on. With the new link that the operator gave you: `satchel sync meet-at LINK`"
    )]
    WrongFingerprint {
        /// Whom we wanted.
        expected: NodeFingerprint,
        /// Who answered.
        found: NodeFingerprint,
    },
    /// The node has no place for this device now. Retrying later may help.
    #[error("the edge node takes no more connections now: try again in a minute")]
    Refused,
    /// No protocol version in common.
    #[error("the edge node speaks another version of the protocol: update Satchel or the node")]
    Version,
    /// The node answered the hello with an error or with nonsense.
    #[error("the edge node did not welcome this device")]
    Hello(#[from] RequestError),
    /// No UDP socket, or no TLS.
    #[error("cannot open a UDP socket on this machine")]
    Socket(#[source] std::io::Error),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// An address that cannot be connected to, such as port 0.
    #[error("the address of the edge node cannot be used: {address}")]
    Address {
        /// Why.
        source: quinn::ConnectError,
        /// Which.
        address: SocketAddr,
    },
    /// The connection broke during the handshake. Retrying may help.
    #[error("the connection to the edge node broke while it was being made")]
    Broken(#[source] quinn::ConnectionError),
}

/// Why a request has no answer. Unless said otherwise nothing was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection is gone. A fragment may have been stored or not: append it again on a new
    /// connection; it keeps its offset where it was.
    #[error("the connection to the edge node was lost: connect again")]
    ConnectionLost(#[source] quinn::ConnectionError),
    /// The node did not answer in time; as with [`RequestError::ConnectionLost`], append again.
    #[error("the edge node did not answer in time: try again")]
    TimedOut,
    /// The node gave up the request; as with [`RequestError::ConnectionLost`], append again.
    #[error("the edge node gave up the request (was it too slow?): try again")]
    Abandoned,
    /// The fragment must be split.
    #[error(
        "the fragment has {fragment_bytes} bytes, this edge node takes at most {max_bytes}: split it"
    )]
    TooBig {
        /// Its length.
        fragment_bytes: usize,
        /// What the node takes.
        max_bytes: u64,
    },
    /// The mailbox is full.
    #[error("the mailbox is full ({quota_bytes} bytes): compact it, or ask the operator for more")]
    QuotaExceeded {
        /// What the node allows.
        quota_bytes: u64,
    },
    /// Too many requests.
    #[error("too many requests for this edge node: wait {} ms", retry_after.as_millis())]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The node has no memory for the request now.
    #[error("the edge node is busy: wait {} ms", retry_after.as_millis())]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The node's disk is almost full; reading works.
    #[error("the disk of the edge node is almost full: its operator must make room")]
    NodeDiskFull,
    /// The node could not use its disk.
    #[error("the edge node could not use its storage: its operator should read its log")]
    NodeStorage,
    /// The mailbox is unknown there, or this device's key is past.
    #[error(
        "the edge node denies access: this device may have been removed, or the node does not know the mailbox (any more)"
    )]
    Denied,
    /// Another device was faster with a record of the control log.
    #[error("another device changed the members first: read its {next} records and try again")]
    Conflict {
        /// The index that the next record gets.
        next: u64,
    },
    /// The blob was deleted, or never stored there.
    #[error("the edge node does not have this piece of a file: ask another device for it")]
    Gone,
    /// The nameplate is over.
    #[error("this pairing code is not known (any more): start the pairing again with a new code")]
    NoNameplate,
    /// More of one kind than the node keeps.
    #[error("the edge node allows at most {limit} of these")]
    TooMany {
        /// How many.
        limit: u64,
    },
    /// The log is shorter than this device remembers.
    #[error(
        "the edge node has only {log_end} entries of this mailbox: it lost some, or it is another node; upload what is missing"
    )]
    BehindEnd {
        /// Where its log ends.
        log_end: Offset,
    },
    /// The node did not understand what this device sent.
    #[error("the edge node did not accept the request ({code:?}): update Satchel or the node")]
    Rejected {
        /// Its reason.
        code: ErrorCode,
    },
    /// The node sent what no correct node sends.
    #[error("the edge node sent an invalid answer: update Satchel or the node")]
    InvalidAnswer(#[source] DecodeError),
    /// The node sent a valid frame that does not belong there.
    #[error("the edge node sent an answer that does not fit the request ({why})")]
    UnexpectedAnswer {
        /// What does not fit.
        why: &'static str,
    },
}

impl RequestError {
    /// Whether the same request may succeed later without anybody doing something.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::ConnectionLost(_)
                | Self::TimedOut
                | Self::Abandoned
                | Self::RateLimited { .. }
                | Self::Busy { .. }
        )
    }

    /// The node's refusal in our words. `fragment_bytes`: what was sent, 0 for other requests.
    pub fn from_answer(answer: ErrorAnswer, fragment_bytes: usize) -> Self {
        let retry_after = Duration::from_millis(answer.retry_after_ms.into());
        match answer.code {
            ErrorCode::TooBig => Self::TooBig {
                fragment_bytes,
                max_bytes: answer.limit,
            },
            ErrorCode::Quota => Self::QuotaExceeded {
                quota_bytes: answer.limit,
            },
            ErrorCode::Rate => Self::RateLimited { retry_after },
            ErrorCode::Busy => Self::Busy { retry_after },
            ErrorCode::DiskFull => Self::NodeDiskFull,
            ErrorCode::Storage => Self::NodeStorage,
            ErrorCode::Denied => Self::Denied,
            ErrorCode::Conflict => Self::Conflict { next: answer.limit },
            ErrorCode::Gone => Self::Gone,
            ErrorCode::NoNameplate => Self::NoNameplate,
            ErrorCode::TooMany => Self::TooMany {
                limit: answer.limit,
            },
            ErrorCode::BehindEnd => Self::BehindEnd {
                log_end: Offset(answer.limit),
            },
            code => Self::Rejected { code },
        }
    }
}

impl From<DecodeError> for RequestError {
    fn from(error: DecodeError) -> Self {
        Self::InvalidAnswer(error)
    }
}

impl From<FragmentError> for RequestError {
    fn from(error: FragmentError) -> Self {
        Self::InvalidAnswer(error.into())
    }
}
