//! Frames: what travels on one stream, as bytes.
//!
//! Pure: a caller brings the bytes. Each stream carries one [`Request`] from the device and then the
//! [`Answer`]s of the node; the two are separate types, so that neither side can read what only it
//! may say. Read five bytes, decode them as [`FrameHeader`], read exactly `body_len_bytes` more, decode
//! those. Start there. Byte tables: `PROTOCOL.md` § 4.

mod answer;
mod fields;
mod request;

pub use answer::{Answer, ErrorAnswer, ErrorCode};
pub use request::Request;

use crate::fragment::FragmentError;
use crate::limits::{FRAME_HEADER_BYTES, MAX_FRAGMENT_BYTES, MAX_FRAME_BYTES, MIN_FRAGMENT_BYTES};

/// Who may send a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A device asks.
    ToNode,
    /// A node answers.
    ToDevice,
}

/// The number of a frame. Numbers are never given to another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// First request of a connection.
    Hello = 0x01,
    /// Store one fragment.
    Append = 0x03,
    /// Send stored fragments.
    Read = 0x05,
    /// A refusal.
    Error = 0x16,
    /// Answer to [`FrameType::Hello`].
    HelloAck = 0x41,
    /// Answer to [`FrameType::Append`].
    Ack = 0x43,
    /// One fragment of the answer to [`FrameType::Read`].
    Entry = 0x45,
    /// Last frame of the answer to [`FrameType::Read`].
    End = 0x55,
}

impl FrameType {
    /// Every type of this version.
    pub const ALL: [Self; 8] = [
        Self::Hello,
        Self::Append,
        Self::Read,
        Self::Error,
        Self::HelloAck,
        Self::Ack,
        Self::Entry,
        Self::End,
    ];

    /// Who may send it.
    pub fn direction(self) -> Direction {
        match self {
            Self::Hello | Self::Append | Self::Read => Direction::ToNode,
            Self::Error | Self::HelloAck | Self::Ack | Self::Entry | Self::End => {
                Direction::ToDevice
            }
        }
    }

    /// Shortest and longest body, both included. Equal for frames of fixed size.
    pub fn body_bounds_bytes(self) -> (usize, usize) {
        let fixed = |len: usize| (len, len);
        let with_fragment = |rest: usize| (rest + MIN_FRAGMENT_BYTES, rest + MAX_FRAGMENT_BYTES);
        match self {
            Self::Hello => fixed(2 + 2),
            Self::Append => with_fragment(16),
            Self::Read => fixed(16 + 8 + 4),
            Self::Error => fixed(1 + 8 + 4),
            Self::HelloAck => fixed(2 + 4 + 8),
            Self::Ack => fixed(8 + 32),
            Self::Entry => with_fragment(8),
            Self::End => fixed(8 + 8 + 32),
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

/// Starts a frame: length and type; the caller appends exactly `body_len_bytes`.
fn begin(frame_type: FrameType, body_len_bytes: usize) -> Vec<u8> {
    debug_assert!(
        body_len_bytes < MAX_FRAME_BYTES,
        "bodies are built from bounded parts"
    );
    let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES + body_len_bytes);
    // Bodies are bounded by MAX_FRAME_BYTES (1 MiB), so the length fits 32 bits.
    bytes.extend_from_slice(&(body_len_bytes as u32 + 1).to_be_bytes());
    bytes.push(frame_type as u8);
    bytes
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
            decode(5, 0x02, Direction::ToNode),
            Err(DecodeError::UnknownType { number: 2 })
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
