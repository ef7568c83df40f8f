//! What a node answers to a device.
//!
//! Carries no free text: a node is not trusted, and what the user reads about an error is written by
//! the device from [`ErrorCode`]. Start at [`Answer`]; byte tables in `PROTOCOL.md` § 4.

use super::fields::Fields;
use super::{DecodeError, FrameHeader, FrameType, begin};
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
    },
    /// To an append: the fragment is on disk.
    Ack {
        /// Its place.
        offset: Offset,
        /// The log's chain value after it.
        chain: Chain,
    },
    /// To a read: one fragment. Offsets rise by one from frame to frame.
    Entry {
        /// Its place.
        offset: Offset,
        /// The fragment as it was appended.
        fragment: EncryptedFragment,
    },
    /// To a read: no more in this answer.
    End {
        /// Where to go on.
        next: Offset,
        /// First offset that is not taken; equal to `next` when the device has everything.
        log_end: Offset,
        /// The chain value before `next`.
        chain: Chain,
    },
    /// To anything: refused. Nothing was stored.
    Error(ErrorAnswer),
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

/// The number of a reason. Numbers are never given to another meaning; 2, 6 and 7 are kept for
/// denied, conflict and gone of the version with capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ErrorCode {
    /// No version in common. `limit`: the newest that the node speaks.
    Version = 1,
    /// The mailbox is full. `limit`: its quota in bytes.
    Quota = 3,
    /// Asked too often. `limit`: requests per second.
    Rate = 4,
    /// The fragment is too long for this node. `limit`: its longest in bytes.
    TooBig = 5,
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
    /// A read from behind the end of the log: the node lost entries, or the device asks another node.
    /// `limit`: the end of the log.
    BehindEnd = 13,
}

impl ErrorCode {
    /// Every code of this version.
    pub const ALL: [Self; 10] = [
        Self::Version,
        Self::Quota,
        Self::Rate,
        Self::TooBig,
        Self::Busy,
        Self::Malformed,
        Self::HelloFirst,
        Self::DiskFull,
        Self::Storage,
        Self::BehindEnd,
    ];
}

impl Answer {
    /// The whole frame, header included.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::HelloAck {
                version,
                max_fragment_bytes,
                mailbox_quota_bytes,
            } => {
                let mut bytes = begin(FrameType::HelloAck, 14);
                bytes.extend_from_slice(&version.to_be_bytes());
                bytes.extend_from_slice(&max_fragment_bytes.to_be_bytes());
                bytes.extend_from_slice(&mailbox_quota_bytes.to_be_bytes());
                bytes
            }
            Self::Ack { offset, chain } => {
                let mut bytes = begin(FrameType::Ack, 40);
                bytes.extend_from_slice(&offset.0.to_be_bytes());
                bytes.extend_from_slice(&chain.0);
                bytes
            }
            Self::Entry { offset, fragment } => {
                let mut bytes = begin(FrameType::Entry, 8 + fragment.len_bytes());
                bytes.extend_from_slice(&offset.0.to_be_bytes());
                bytes.extend_from_slice(fragment.as_bytes());
                bytes
            }
            Self::End {
                next,
                log_end,
                chain,
            } => {
                let mut bytes = begin(FrameType::End, 48);
                bytes.extend_from_slice(&next.0.to_be_bytes());
                bytes.extend_from_slice(&log_end.0.to_be_bytes());
                bytes.extend_from_slice(&chain.0);
                bytes
            }
            Self::Error(ErrorAnswer {
                code,
                limit,
                retry_after_ms,
            }) => {
                let mut bytes = begin(FrameType::Error, 13);
                bytes.push(*code as u8);
                bytes.extend_from_slice(&limit.to_be_bytes());
                bytes.extend_from_slice(&retry_after_ms.to_be_bytes());
                bytes
            }
        }
    }

    /// Reads the body that follows `header`.
    ///
    /// # Errors
    /// [`DecodeError`] when a length, a field or the fragment is not allowed, or when `header` is
    /// the header of a request.
    pub fn decode(header: FrameHeader, body: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(header, body)?;
        match header.frame_type {
            FrameType::HelloAck => Ok(Self::HelloAck {
                version: fields.u16("version")?,
                max_fragment_bytes: fields.u32("max_fragment_bytes")?,
                mailbox_quota_bytes: fields.u64("mailbox_quota_bytes")?,
            }),
            FrameType::Ack => Ok(Self::Ack {
                offset: Offset(fields.u64("offset")?),
                chain: Chain(fields.array("chain")?),
            }),
            FrameType::Entry => {
                let offset = Offset(fields.u64("offset")?);
                let fragment = EncryptedFragment::from_bytes(fields.rest().to_vec())?;
                Ok(Self::Entry { offset, fragment })
            }
            FrameType::End => decode_end(fields),
            FrameType::Error => decode_error(fields),
            frame_type => Err(DecodeError::WrongDirection { frame_type }),
        }
    }
}

fn decode_end(mut fields: Fields<'_>) -> Result<Answer, DecodeError> {
    let next = Offset(fields.u64("next")?);
    let log_end = Offset(fields.u64("log_end")?);
    if log_end < next {
        return Err(fields.refuse("log_end"));
    }
    Ok(Answer::End {
        next,
        log_end,
        chain: Chain(fields.array("chain")?),
    })
}

fn decode_error(mut fields: Fields<'_>) -> Result<Answer, DecodeError> {
    let number = fields.u8("code")?;
    let Some(code) = ErrorCode::ALL
        .into_iter()
        .find(|code| *code as u8 == number)
    else {
        return Err(fields.refuse("code"));
    };
    let limit = fields.u64("limit")?;
    let retry_after_ms = fields.u32("retry_after_ms")?;
    Ok(Answer::Error(ErrorAnswer {
        code,
        limit,
        retry_after_ms,
    }))
}
