//! Messages between the program and its worker: a length, then that many bytes of JSON.
//!
//! The length is an unsigned 32-bit number, lowest byte first, and counts the JSON only. Neither side reads a message
//! larger than [`MAX_FRAME_BYTES`], so a confused peer cannot make the other one allocate without end.
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
}

/// Encodes a message with its length in front.
///
/// # Errors
/// [`FrameError::TooLarge`]; nothing is sent.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let bytes = frame.len() - LENGTH_BYTES;
    let length = checked_length(bytes)?;
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}

/// Reads one message, waiting for it. `None` when the other side closed the pipe between two messages.
///
/// # Errors
/// Every [`FrameError`]; the pipe cannot be used any more after one.
pub(crate) fn read<T: DeserializeOwned>(source: &mut impl Read) -> Result<Option<T>, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    if !read_first_byte(source, &mut length)? {
        return Ok(None);
    }
    source.read_exact(&mut length[1..])?;
    let mut payload = vec![0; payload_len(length)?];
    source.read_exact(&mut payload)?;
    Ok(Some(serde_json::from_slice(&payload)?))
}

/// Writes one message and hands it to the operating system at once.
///
/// # Errors
/// Every [`FrameError`].
pub(crate) fn write<T: Serialize>(sink: &mut impl Write, message: &T) -> Result<(), FrameError> {
    sink.write_all(&encode(message)?)?;
    Ok(sink.flush()?)
}

/// Reads one message like [`read`], without blocking the thread.
///
/// Not cancel-safe: a dropped call may have read half a message.
///
/// # Errors
/// Every [`FrameError`].
pub(crate) async fn read_async<T: DeserializeOwned>(
    source: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut length = [0; LENGTH_BYTES];
    if source.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    source.read_exact(&mut length[1..]).await?;
    let mut payload = vec![0; payload_len(length)?];
    source.read_exact(&mut payload).await?;
    Ok(Some(serde_json::from_slice(&payload)?))
}

fn read_first_byte(source: &mut impl Read, length: &mut [u8; LENGTH_BYTES]) -> io::Result<bool> {
    loop {
        match source.read(&mut length[..1]) {
            Ok(count) => return Ok(count == 1),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn payload_len(length: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    let bytes = u32::from_le_bytes(length) as usize;
    checked_length(bytes)?;
    Ok(bytes)
}

fn checked_length(bytes: usize) -> Result<u32, FrameError> {
    match u32::try_from(bytes) {
        Ok(length) if bytes <= MAX_FRAME_BYTES => Ok(length),
        _ => Err(FrameError::TooLarge { bytes }),
    }
}

const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_pipe_and_the_end_is_seen() {
        let mut pipe = Vec::new();
        write(&mut pipe, &"first ünïcödé \u{0}").unwrap();
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
    fn the_length_is_little_endian_and_counts_the_json_only() {
        assert_eq!(encode(&"ab").unwrap(), [4, 0, 0, 0, b'"', b'a', b'b', b'"']);
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
        let mut source: &[u8] = &[0xff, 0xff, 0xff, 0xff, b'"'];
        assert!(
            matches!(read::<String>(&mut source), Err(FrameError::TooLarge { bytes }) if bytes == u32::MAX as usize)
        );
        let big = "x".repeat(MAX_FRAME_BYTES);
        assert!(matches!(encode(&big), Err(FrameError::TooLarge { .. })));
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error_not_an_end() {
        let whole = encode(&"hello").unwrap();
        for cut in 1..whole.len() {
            assert!(
                matches!(read::<String>(&mut &whole[..cut]), Err(FrameError::Io(_))),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn bytes_that_are_not_the_message_are_malformed() {
        let pipe = encode(&17).unwrap();
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
            let pipe = encode(&"same").unwrap();
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
