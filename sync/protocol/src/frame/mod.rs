//! Frames: what travels on one stream, as bytes.
//!
//! Pure: a caller brings the bytes. Each stream carries one [`Request`] from the device and then the
//! [`Answer`]s of the node; the two are separate types, so that neither side can read what only it
//! may say. Read five bytes, decode them as [`FrameHeader`], read exactly `body_len_bytes` more, decode
//! those. Start there. Byte tables: `PROTOCOL.md` § 4.

mod answer;
mod answer_bytes;
mod fields;
mod parts;
mod request;
mod request_bytes;

pub use answer::{Access, Answer, ErrorAnswer, ErrorCode};
pub use parts::{CapRotation, Capabilities, PolicyRotation, Role};
pub use request::Request;

use crate::fragment::FragmentError;
use crate::limits::{
    FRAME_HEADER_BYTES, MAX_CTL_RECORD_BYTES, MAX_FRAGMENT_BYTES, MAX_IDS,
    MAX_PREVIOUS_EPOCH_BYTES, MAX_RENDEZVOUS_BYTES, MAX_SUPERSEDED_RANGES, MAX_TOKEN_BYTES,
    MIN_FRAGMENT_BYTES,
};

/// Who may send a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A device asks.
    ToNode,
    /// A node answers.
    ToDevice,
}

/// The number of a frame. Numbers are never given to another meaning.
///
/// Requests are below 0x40 and answers from 0x40 on, but for [`FrameType::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// First request of a connection.
    Hello = 0x01,
    /// Prove who one is to a mailbox.
    Open = 0x02,
    /// Store one entry.
    Append = 0x03,
    /// Store one pack and hide what it replaces.
    Pack = 0x04,
    /// Send stored entries.
    Read = 0x05,
    /// Send stored entries, and new ones as they come.
    Follow = 0x06,
    /// Store a record of the control log.
    CtlAppend = 0x08,
    /// Send records of the control log.
    CtlRead = 0x09,
    /// Make a mailbox.
    Create = 0x0a,
    /// Delete a mailbox.
    Drop = 0x0c,
    /// Store a piece of a file.
    BlobPut = 0x0e,
    /// Send a piece of a file.
    BlobGet = 0x0f,
    /// Say which fragments are there.
    Has = 0x10,
    /// Delete pieces of files later.
    BlobForget = 0x11,
    /// Give a nameplate.
    RvAllocate = 0x12,
    /// Join a nameplate.
    RvClaim = 0x13,
    /// Leave a message at a nameplate.
    RvPost = 0x14,
    /// Wait for a message at a nameplate.
    RvNext = 0x15,
    /// A refusal.
    Error = 0x16,
    /// End a nameplate.
    RvBurn = 0x17,
    /// Answer to [`FrameType::Hello`].
    HelloAck = 0x41,
    /// Answer to [`FrameType::Open`].
    Opened = 0x42,
    /// Answer to [`FrameType::Append`] and [`FrameType::Pack`].
    Ack = 0x43,
    /// Done, and there is nothing to tell.
    Ok = 0x44,
    /// One entry of a log.
    Entry = 0x45,
    /// Answer to [`FrameType::CtlAppend`].
    CtlAck = 0x48,
    /// One record of a control log.
    CtlEntry = 0x49,
    /// Answer to [`FrameType::BlobGet`].
    Blob = 0x4f,
    /// Answer to [`FrameType::Has`].
    HasBits = 0x50,
    /// Answer to [`FrameType::RvAllocate`] and [`FrameType::RvClaim`].
    RvPlace = 0x52,
    /// Answer to [`FrameType::RvNext`]: a message.
    RvMessage = 0x53,
    /// Answer to [`FrameType::RvNext`]: not yet.
    RvWaiting = 0x54,
    /// All entries that there are were sent.
    End = 0x55,
    /// All records that there are were sent.
    CtlEnd = 0x59,
}

impl FrameType {
    /// Every type of this version.
    pub const ALL: [Self; 34] = [
        Self::Hello,
        Self::Open,
        Self::Append,
        Self::Pack,
        Self::Read,
        Self::Follow,
        Self::CtlAppend,
        Self::CtlRead,
        Self::Create,
        Self::Drop,
        Self::BlobPut,
        Self::BlobGet,
        Self::Has,
        Self::BlobForget,
        Self::RvAllocate,
        Self::RvClaim,
        Self::RvPost,
        Self::RvNext,
        Self::Error,
        Self::RvBurn,
        Self::HelloAck,
        Self::Opened,
        Self::Ack,
        Self::Ok,
        Self::Entry,
        Self::CtlAck,
        Self::CtlEntry,
        Self::Blob,
        Self::HasBits,
        Self::RvPlace,
        Self::RvMessage,
        Self::RvWaiting,
        Self::End,
        Self::CtlEnd,
    ];

    /// Who may send it.
    pub fn direction(self) -> Direction {
        if self == Self::Error || self as u8 >= 0x40 {
            Direction::ToDevice
        } else {
            Direction::ToNode
        }
    }

    /// Shortest and longest body, both included. Equal for frames of fixed size.
    pub fn body_bounds_bytes(self) -> (usize, usize) {
        let fixed = |len: usize| (len, len);
        let with_fragment = |rest: usize| (rest + MIN_FRAGMENT_BYTES, rest + MAX_FRAGMENT_BYTES);
        let with_ids = |rest: usize| (rest + 32, rest + 32 * MAX_IDS);
        match self {
            Self::Hello => fixed(2 + 2),
            Self::Create => (
                32 + Capabilities::BYTES + 65,
                32 + Capabilities::BYTES + 65 + MAX_TOKEN_BYTES,
            ),
            Self::Open => fixed(16 + 1 + 4 + 64),
            Self::Append | Self::BlobPut => with_fragment(16),
            Self::Pack => (
                16 + 2 + MIN_FRAGMENT_BYTES,
                16 + 2 + 16 * MAX_SUPERSEDED_RANGES + MAX_FRAGMENT_BYTES,
            ),
            Self::Read => fixed(16 + 8 + 4 + 1),
            Self::Follow => fixed(16 + 8 + 1),
            Self::CtlAppend => (
                16 + 4 + 1 + 4 + MIN_FRAGMENT_BYTES,
                16 + 4
                    + 1
                    + PolicyRotation::BYTES
                    + CapRotation::BYTES
                    + 4
                    + MAX_CTL_RECORD_BYTES
                    + MAX_PREVIOUS_EPOCH_BYTES,
            ),
            Self::CtlRead => fixed(16 + 4),
            Self::BlobGet => fixed(16 + 32),
            Self::Has | Self::BlobForget => with_ids(16),
            Self::RvAllocate | Self::Ok | Self::RvWaiting => fixed(0),
            Self::RvClaim => fixed(4),
            Self::RvPost => (4 + 16 + 1, 4 + 16 + MAX_RENDEZVOUS_BYTES),
            Self::RvNext => fixed(4 + 16 + 1),
            Self::RvBurn | Self::RvPlace => fixed(4 + 16),
            Self::Drop => fixed(16 + 64),
            Self::Error => fixed(1 + 8 + 4),
            Self::HelloAck => fixed(2 + 4 + 8 + 8),
            Self::Opened => fixed(1 + 8 + 32 + 4 + 8 + 8),
            Self::Ack => fixed(8 + 32),
            Self::Entry => with_fragment(8 + 1),
            Self::End => fixed(8 + 8 + 32 + 4 + 2),
            Self::CtlAck | Self::CtlEnd => fixed(4),
            Self::CtlEntry => (
                4 + 4 + MIN_FRAGMENT_BYTES,
                4 + 4 + MAX_CTL_RECORD_BYTES + MAX_PREVIOUS_EPOCH_BYTES,
            ),
            Self::Blob => with_fragment(0),
            Self::HasBits => (1, MAX_IDS / 8),
            Self::RvMessage => (1, MAX_RENDEZVOUS_BYTES),
        }
    }

    fn decode(number: u8) -> Result<Self, DecodeError> {
        Self::ALL
            .into_iter()
            .find(|frame_type| *frame_type as u8 == number)
            .ok_or(DecodeError::UnknownType { number })
    }
}

/// The first five bytes of a frame, checked: what follows is known and of bounded length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which frame.
    pub frame_type: FrameType,
    /// Bytes that follow, within the bounds of that frame.
    pub body_len_bytes: usize,
}

impl FrameHeader {
    /// Reads and checks a header, before anything is allocated for the body.
    ///
    /// # Errors
    /// [`DecodeError::UnknownType`], [`DecodeError::WrongDirection`], or [`DecodeError::BodyLength`].
    pub fn decode(
        bytes: [u8; FRAME_HEADER_BYTES],
        expected: Direction,
    ) -> Result<Self, DecodeError> {
        let [a, b, c, d, number] = bytes;
        let frame_type = FrameType::decode(number)?;
        if frame_type.direction() != expected {
            return Err(DecodeError::WrongDirection { frame_type });
        }
        let (min_bytes, max_bytes) = frame_type.body_bounds_bytes();
        // The length counts the type byte; a length of 0 has none and is out of bounds below.
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        match length
            .checked_sub(1)
            .and_then(|body| usize::try_from(body).ok())
        {
            Some(body_len_bytes) if (min_bytes..=max_bytes).contains(&body_len_bytes) => Ok(Self {
                frame_type,
                body_len_bytes,
            }),
            _ => Err(DecodeError::BodyLength {
                frame_type,
                declared_bytes: length.saturating_sub(1),
                min_bytes,
                max_bytes,
            }),
        }
    }
}

/// Bytes that are no frame of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A number that this version does not have.
    #[error("frame type {number:#04x} is unknown in this version of the protocol")]
    UnknownType {
        /// The type byte.
        number: u8,
    },
    /// An answer where a request belongs, or the other way round.
    #[error("frame {frame_type:?} may not be sent in this direction")]
    WrongDirection {
        /// The frame.
        frame_type: FrameType,
    },
    /// Declared or brought too few or too many bytes.
    #[error(
        "a {frame_type:?} frame has a body of {min_bytes} to {max_bytes} bytes, this one {declared_bytes}"
    )]
    BodyLength {
        /// The frame.
        frame_type: FrameType,
        /// What its header declares, or what followed it.
        declared_bytes: u64,
        /// Shortest allowed.
        min_bytes: usize,
        /// Longest allowed.
        max_bytes: usize,
    },
    /// A field holds a value which this version does not allow.
    #[error("field {field} of a {frame_type:?} frame has a value that is not allowed")]
    Field {
        /// The frame.
        frame_type: FrameType,
        /// The field's name in the byte table.
        field: &'static str,
    },
    /// The fragment in the frame is none.
    #[error("the frame carries no valid fragment")]
    Fragment(#[from] FragmentError),
}

/// A frame that is being written: fields are pushed one after the other.
struct Frame(Vec<u8>);

impl Frame {
    fn new(frame_type: FrameType, body_len_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + body_len_bytes);
        bytes.extend_from_slice(&[0, 0, 0, 0, frame_type as u8]);
        Self(bytes)
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The whole frame, its length filled in.
    fn end(mut self) -> Vec<u8> {
        // The length field counts everything behind itself. Parts are bounded far below 4 GiB.
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// Refuses a body which is not as long as its header said, or as its frame may be.
fn check_body(header: FrameHeader, body: &[u8]) -> Result<(), DecodeError> {
    let (min_bytes, max_bytes) = header.frame_type.body_bounds_bytes();
    if body.len() == header.body_len_bytes && (min_bytes..=max_bytes).contains(&body.len()) {
        return Ok(());
    }
    Err(DecodeError::BodyLength {
        frame_type: header.frame_type,
        declared_bytes: body.len() as u64,
        min_bytes,
        max_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_FRAME_BYTES;

    fn decode(length: u32, number: u8, expected: Direction) -> Result<FrameHeader, DecodeError> {
        let [a, b, c, d] = length.to_be_bytes();
        FrameHeader::decode([a, b, c, d, number], expected)
    }

    #[test]
    fn a_header_is_refused_before_a_byte_of_the_body_is_read() {
        assert!(matches!(
            decode(u32::MAX, 0x03, Direction::ToNode),
            Err(DecodeError::BodyLength { .. })
        ));
        assert!(matches!(
            decode(0, 0x01, Direction::ToNode),
            Err(DecodeError::BodyLength { .. })
        ));
        assert!(matches!(
            decode(6, 0x01, Direction::ToNode),
            Err(DecodeError::BodyLength { .. })
        ));
        assert_eq!(
            decode(5, 0x07, Direction::ToNode),
            Err(DecodeError::UnknownType { number: 7 })
        );
        assert!(matches!(
            decode(41, 0x43, Direction::ToNode),
            Err(DecodeError::WrongDirection { .. })
        ));
        assert_eq!(
            decode(5, 0x01, Direction::ToNode),
            Ok(FrameHeader {
                frame_type: FrameType::Hello,
                body_len_bytes: 4
            })
        );
    }

    #[test]
    fn every_frame_fits_the_frame_limit() {
        for frame_type in FrameType::ALL {
            let (min, max) = frame_type.body_bounds_bytes();
            assert!(min <= max && max < MAX_FRAME_BYTES, "{frame_type:?}");
        }
    }
}
