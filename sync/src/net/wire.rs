//! One request and its answers on one QUIC stream, under deadlines.
//!
//! Decides nothing about content. Start at [`Exchange::begin`].

use std::time::Duration;

use quinn::{Connection, ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use satchel_protocol::frame::{Answer, Direction, FrameHeader, Request};
use satchel_protocol::limits::{FRAME_HEADER_BYTES, PROGRESS_BYTES, PROGRESS_WINDOW};
use tokio::time::timeout;

use super::error::RequestError;

/// How long the node may take until an answer begins.
///
/// Its own waits sum up to less: memory 10 s, a commit behind a full queue (1,024 appends in 16
/// commits of at most 1 s on a slow disk) 16 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream whose request is sent.
pub(super) struct Exchange {
    recv: RecvStream,
}

impl Exchange {
    /// Sends a request. A node that refuses before it has read everything answers all the same, so
    /// being told to stop is no error here.
    pub(super) async fn begin(
        connection: &Connection,
        request: &Request,
    ) -> Result<Self, RequestError> {
        let opened = timeout(ANSWER_TIMEOUT, connection.open_bi()).await;
        let (mut send, recv) = opened
            .map_err(|_| RequestError::TimedOut)?
            .map_err(RequestError::ConnectionLost)?;
        let bytes = request.encode();
        for piece in bytes.chunks(PROGRESS_BYTES) {
            let written = timeout(PROGRESS_WINDOW, send.write_all(piece)).await;
            match written.map_err(|_| RequestError::TimedOut)? {
                Ok(()) => {}
                Err(WriteError::Stopped(_)) => return Ok(Self { recv }),
                Err(error) => return Err(write_failure(error)),
            }
        }
        end(&mut send);
        Ok(Self { recv })
    }

    /// The next frame of the answer.
    pub(super) async fn next(&mut self) -> Result<Answer, RequestError> {
        let mut head = [0; FRAME_HEADER_BYTES];
        self.read(&mut head, ANSWER_TIMEOUT).await?;
        let header = FrameHeader::decode(head, Direction::ToDevice)?;
        let mut body = vec![0; header.body_len_bytes];
        for piece in body.chunks_mut(PROGRESS_BYTES) {
            self.read(piece, PROGRESS_WINDOW).await?;
        }
        Ok(Answer::decode(header, &body)?)
    }

    async fn read(&mut self, bytes: &mut [u8], limit: Duration) -> Result<(), RequestError> {
        match timeout(limit, self.recv.read_exact(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ReadExactError::ReadError(ReadError::ConnectionLost(error)))) => {
                Err(RequestError::ConnectionLost(error))
            }
            Ok(Err(ReadExactError::FinishedEarly(_) | ReadExactError::ReadError(_))) => {
                Err(RequestError::Abandoned)
            }
            Err(_) => Err(RequestError::TimedOut),
        }
    }
}

fn end(send: &mut SendStream) {
    // Fails only where the node has already told us to stop; its answer says why.
    send.finish().ok();
}

fn write_failure(error: WriteError) -> RequestError {
    match error {
        WriteError::ConnectionLost(error) => RequestError::ConnectionLost(error),
        WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            RequestError::Abandoned
        }
    }
}
