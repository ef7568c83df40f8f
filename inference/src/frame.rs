//! Messages between the program and its worker: two lengths, then so many bytes of JSON, then so many raw ones.
//!
//! A length is an unsigned 32-bit number, lowest byte first. Raw bytes are what would be several times as long as JSON;
//! most messages have none. Neither side reads a message of which either part is larger than [`MAX_FRAME_BYTES`], so a
//! confused peer cannot make the other one allocate without end.
//! Pure encoding plus a blocking reader and writer for the worker and an async reader for the program.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The largest message, in bytes.
///
/// A prompt of 128k tokens is about 0.6 MB and 64 vectors of 4,096 numbers are 3.4 MB as text; 16 MiB leave room for
/// escapes (a control character takes 6 bytes in JSON) and stay far below what a laptop notices.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Raw bytes of one message where they are part of something longer: other messages wait no longer than their copying
/// takes, some milliseconds.
pub(crate) const PIECE_BYTES: usize = 8 << 20;

/// What goes through the pipe.
pub(crate) trait Message: Serialize + DeserializeOwned {
    /// The bytes beside its JSON.
    fn raw(&self) -> &[u8] {
        &[]
    }

    /// Where the bytes beside its JSON belong; `None` for a message that has none.
    fn raw_mut(&mut self) -> Option<&mut Vec<u8>> {
        None
    }
}

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The pipe broke in the middle of a message, or could not be used.
    #[error("the pipe to the other process broke")]
    Io(#[from] io::Error),
    /// The message is larger than [`MAX_FRAME_BYTES`].
    #[error("a message of {bytes} bytes is larger than the {MAX_FRAME_BYTES} allowed")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
    /// The bytes are not the message that was expected.
    #[error("a message is not understood")]
    Malformed(#[from] serde_json::Error),
    /// There are bytes beside a message that has no place for them.
    #[error("a message is longer than it should be")]
    NoPlace,
}

/// Encodes a message with its lengths in front.
///
/// # Errors
/// [`FrameError::TooLarge`]; nothing is sent.
pub(crate) fn encode<T: Message>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTHS_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let json = checked_length(frame.len() - LENGTHS_BYTES)?;
    let raw = checked_length(message.raw().len())?;
    frame[..LENGTH_BYTES].copy_from_slice(&json.to_le_bytes());
    frame[LENGTH_BYTES..LENGTHS_BYTES].copy_from_slice(&raw.to_le_bytes());
    frame.extend_from_slice(message.raw());
    Ok(frame)
}

/// Reads one message, waiting for it. `None` when the other side closed the pipe between two messages.
///
/// # Errors
/// Every [`FrameError`]; the pipe cannot be used any more after one.
pub(crate) fn read<T: Message>(source: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut lengths = [0; LENGTHS_BYTES];
    if !read_first_byte(source, &mut lengths)? {
        return Ok(None);
    }
    source.read_exact(&mut lengths[1..])?;
    let (json, raw) = part_lens(lengths)?;
    let (mut json, mut raw) = (vec![0; json], vec![0; raw]);
    source.read_exact(&mut json)?;
    source.read_exact(&mut raw)?;
    decode(&json, raw).map(Some)
}

/// Writes one message and hands it to the operating system at once.
///
/// # Errors
/// Every [`FrameError`].
pub(crate) fn write<T: Message>(sink: &mut impl Write, message: &T) -> Result<(), FrameError> {
    sink.write_all(&encode(message)?)?;
    Ok(sink.flush()?)
}

/// Reads one message like [`read`], without blocking the thread.
///
/// Not cancel-safe: a dropped call may have read half a message.
///
/// # Errors
/// Every [`FrameError`].
pub(crate) async fn read_async<T: Message>(
    source: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut lengths = [0; LENGTHS_BYTES];
    if source.read(&mut lengths[..1]).await? == 0 {
        return Ok(None);
    }
    source.read_exact(&mut lengths[1..]).await?;
    let (json, raw) = part_lens(lengths)?;
    let (mut json, mut raw) = (vec![0; json], vec![0; raw]);
    source.read_exact(&mut json).await?;
    source.read_exact(&mut raw).await?;
    decode(&json, raw).map(Some)
}

fn decode<T: Message>(json: &[u8], raw: Vec<u8>) -> Result<T, FrameError> {
    let mut message: T = serde_json::from_slice(json)?;
    match message.raw_mut() {
        Some(place) => *place = raw,
        None if raw.is_empty() => {}
        None => return Err(FrameError::NoPlace),
    }
    Ok(message)
}

fn read_first_byte(source: &mut impl Read, lengths: &mut [u8]) -> io::Result<bool> {
    loop {
        match source.read(&mut lengths[..1]) {
            Ok(count) => return Ok(count == 1),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Lengths of the JSON and of the raw bytes.
fn part_lens(lengths: [u8; LENGTHS_BYTES]) -> Result<(usize, usize), FrameError> {
    let [a, b, c, d, e, f, g, h] = lengths;
    let part = |length: [u8; LENGTH_BYTES]| {
        let bytes = u32::from_le_bytes(length) as usize;
        checked_length(bytes).map(|_| bytes)
    };
    Ok((part([a, b, c, d])?, part([e, f, g, h])?))
}

fn checked_length(bytes: usize) -> Result<u32, FrameError> {
    match u32::try_from(bytes) {
        Ok(length) if bytes <= MAX_FRAME_BYTES => Ok(length),
        _ => Err(FrameError::TooLarge { bytes }),
    }
}

const LENGTH_BYTES: usize = 4;
const LENGTHS_BYTES: usize = 2 * LENGTH_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    impl Message for String {}
    impl Message for Vec<f32> {}

    #[derive(Serialize, serde::Deserialize)]
    struct Piece {
        of: u8,
        #[serde(skip)]
        bytes: Vec<u8>,
    }

    impl Message for Piece {
        fn raw(&self) -> &[u8] {
            &self.bytes
        }

        fn raw_mut(&mut self) -> Option<&mut Vec<u8>> {
            Some(&mut self.bytes)
        }
    }

    #[test]
    fn bytes_travel_beside_the_json_and_nowhere_else() {
        let bytes: Vec<u8> = (0..=255).collect();
        let pipe = encode(&Piece {
            of: 3,
            bytes: bytes.clone(),
        })
        .unwrap();
        assert_eq!(pipe.len(), LENGTHS_BYTES + r#"{"of":3}"#.len() + 256);
        let piece: Piece = read(&mut pipe.as_slice()).unwrap().unwrap();
        assert_eq!((piece.of, piece.bytes), (3, bytes));

        let mut stray = encode(&"text".to_owned()).unwrap();
        stray[LENGTH_BYTES] = 1;
        stray.push(0);
        assert!(matches!(
            read::<String>(&mut stray.as_slice()),
            Err(FrameError::NoPlace)
        ));
        stray[LENGTH_BYTES..LENGTHS_BYTES].fill(0xff);
        assert!(matches!(
            read::<String>(&mut stray.as_slice()),
            Err(FrameError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_message_survives_the_pipe_and_the_end_is_seen() {
        let mut pipe = Vec::new();
        write(&mut pipe, &"first ünïcödé \u{0}".to_owned()).unwrap();
        write(&mut pipe, &vec![1.5f32, -0.1, f32::MIN_POSITIVE]).unwrap();
        let mut source = pipe.as_slice();
        assert_eq!(
            read::<String>(&mut source).unwrap().unwrap(),
            "first ünïcödé \u{0}"
        );
        assert_eq!(
            read::<Vec<f32>>(&mut source).unwrap().unwrap(),
            [1.5, -0.1, f32::MIN_POSITIVE]
        );
        assert!(read::<String>(&mut source).unwrap().is_none());
    }

    #[test]
    fn lengths_are_little_endian_and_count_neither_themselves() {
        let text = "ab".to_owned();
        let expected = [4, 0, 0, 0, 0, 0, 0, 0, b'"', b'a', b'b', b'"'];
        assert_eq!(encode(&text).unwrap(), expected);
    }

    #[test]
    fn vectors_keep_every_bit() {
        let exact: Vec<f32> = (1..5000u32)
            .map(|i| f32::from_bits(0x3d00_0000 + i * 7919))
            .collect();
        let pipe = encode(&exact).unwrap();
        assert_eq!(
            read::<Vec<f32>>(&mut pipe.as_slice()).unwrap().unwrap(),
            exact
        );
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_memory_is_taken() {
        let mut source: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, b'"'];
        assert!(
            matches!(read::<String>(&mut source), Err(FrameError::TooLarge { bytes }) if bytes == u32::MAX as usize)
        );
        let big = "x".repeat(MAX_FRAME_BYTES);
        assert!(matches!(encode(&big), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error_not_an_end() {
        let whole = encode(&"hello".to_owned()).unwrap();
        for cut in 1..whole.len() {
            assert!(
                matches!(read::<String>(&mut &whole[..cut]), Err(FrameError::Io(_))),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn bytes_that_are_not_the_message_are_malformed() {
        let pipe = encode(&vec![17.0f32]).unwrap();
        assert!(matches!(
            read::<String>(&mut pipe.as_slice()),
            Err(FrameError::Malformed(_))
        ));
    }

    #[test]
    fn the_async_reader_reads_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let pipe = encode(&"same".to_owned()).unwrap();
            let mut source = pipe.as_slice();
            assert_eq!(
                read_async::<String>(&mut source).await.unwrap().unwrap(),
                "same"
            );
            assert!(read_async::<String>(&mut source).await.unwrap().is_none());
            assert!(matches!(
                read_async::<String>(&mut &pipe[..3]).await,
                Err(FrameError::Io(_))
            ));
        });
    }
}
