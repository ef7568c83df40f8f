//! The messages on the pipe between this program and a parse worker.
//!
//! A frame is a length (4 bytes, little-endian) and that many bytes. Only for two processes of the
//! same build: there is no version. Both sides refuse frames beyond
//! [`limits::FRAME_BYTES`].
//!
//! | direction | frames |
//! |---|---|
//! | worker, once | [`Reply::Ready`] |
//! | parent, for each file | [`Request`], then the bytes of the file as a frame of its own |
//! | worker, for each file | any number of [`Reply::Page`], then [`Reply::Done`] |

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Extracted, ParseError, Sandbox, limits};

/// Asks for the text of the file whose bytes follow in the next frame.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The file's name, without its folder.
    pub(crate) name: String,
}

/// What a worker says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The worker has locked itself in and waits for files.
    Ready { sandbox: Sandbox },
    /// Another page with text is finished: the file deserves more time.
    Page,
    /// The file is finished.
    Done {
        outcome: Result<Extracted, ParseError>,
    },
}

/// Writes one message and flushes it.
pub(crate) fn write_message(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    out.write_all(&length_of(&bytes)?)?;
    out.write_all(&bytes)?;
    out.flush()
}

/// Reads one frame; nothing at the end of the stream.
pub(crate) fn read_frame(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = vec![0; checked_length(length)?];
    input.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// Writes one message from an asynchronous task.
pub(crate) async fn send_message(
    out: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<()> {
    send_bytes(out, &serde_json::to_vec(message)?).await
}

/// Writes one frame of raw bytes from an asynchronous task.
pub(crate) async fn send_bytes(
    out: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> io::Result<()> {
    out.write_all(&length_of(bytes)?).await?;
    out.write_all(bytes).await?;
    out.flush().await
}

/// Reads one message in an asynchronous task. Not cancel-safe: poll it to the end.
pub(crate) async fn receive_message<T: DeserializeOwned>(
    input: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let mut length = [0; 4];
    input.read_exact(&mut length).await?;
    let mut bytes = vec![0; checked_length(length)?];
    input.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn length_of(bytes: &[u8]) -> io::Result<[u8; 4]> {
    if bytes.len() as u64 > limits::FRAME_BYTES {
        return Err(too_long(bytes.len() as u64));
    }
    u32::try_from(bytes.len())
        .map(u32::to_le_bytes)
        .map_err(|_| too_long(bytes.len() as u64))
}

fn checked_length(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length);
    if u64::from(length) > limits::FRAME_BYTES {
        return Err(too_long(u64::from(length)));
    }
    usize::try_from(length).map_err(|_| too_long(u64::from(length)))
}

fn too_long(bytes: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a frame of {bytes} bytes is longer than any message"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_pipe() {
        let message = Reply::Done {
            outcome: Err(ParseError::TooLarge { bytes: 5, limit: 4 }),
        };
        let mut pipe = Vec::new();
        write_message(&mut pipe, &message).unwrap();
        let mut input = pipe.as_slice();
        let frame = read_frame(&mut input).unwrap().unwrap();
        assert_eq!(serde_json::from_slice::<Reply>(&frame).unwrap(), message);
        assert_eq!(read_frame(&mut input).unwrap(), None);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
        let error = read_frame(&mut [0xFF; 8].as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_cut_frame_is_an_error() {
        let error = read_frame(&mut [4, 0, 0, 0, 1].as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
