//! One request and its answers on one QUIC stream, under deadlines.
//!
//! Decides nothing about content. Start at [`Answers::next`].

use std::time::Duration;

use quinn::{Connection, ReadError, ReadExactError, RecvStream, SendStream, WriteError};
use satchel_protocol::frame::{Answer, Direction, FrameHeader, Request};
use satchel_protocol::limits::{
    FRAME_HEADER_BYTES, PROGRESS_BYTES, PROGRESS_WINDOW, RENDEZVOUS_POLL,
};
use tokio::time::timeout;

use super::error::RequestError;

/// How long the node may take until an answer begins.
///
/// Its own waits sum up to less: memory 10 s, a commit behind a full queue (1,024 appends in one to 16
/// commits, by their length, of at most 1 s each on a slow disk) 16 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long [`Answers::next`] waits for a frame to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// [`ANSWER_TIMEOUT`].
    Usual,
    /// And [`RENDEZVOUS_POLL`] before it: the node waits on purpose.
    Poll,
    /// As long as the connection lives, whose loss is noticed after 75 s: a follower.
    Endless,
}

/// The answer to one request, frame by frame. Dropping it stops the stream.
#[derive(Debug)]
pub struct Answers {
    recv: RecvStream,
    patience: Patience,
}

impl Answers {
    /// Sends a request. A node that refuses before it has read everything answers all the same, so
    /// being told to stop is no error here.
    pub(super) async fn begin(
        connection: &Connection,
        request: &Request,
        patience: Patience,
    ) -> Result<Self, RequestError> {
        let opened = timeout(ANSWER_TIMEOUT, connection.open_bi()).await;
        let (mut send, recv) = opened
            .map_err(|_| RequestError::TimedOut)?
            .map_err(RequestError::ConnectionLost)?;
        let answers = Self { recv, patience };
        let is_load = matches!(
            request,
            Request::Append { .. } | Request::Pack { .. } | Request::BlobPut { .. }
        );
        if !is_load {
            // Short ones do not wait behind entries and files. Fails only where the connection is lost, as does the next
            // line then.
            send.set_priority(1).ok();
        }
        let bytes = request.encode();
        for piece in bytes.chunks(PROGRESS_BYTES) {
            let written = timeout(PROGRESS_WINDOW, send.write_all(piece)).await;
            match written.map_err(|_| RequestError::TimedOut)? {
                Ok(()) => {}
                Err(WriteError::Stopped(_)) => return Ok(answers),
                Err(error) => return Err(write_failure(error)),
            }
        }
        end(&mut send);
        Ok(answers)
    }

    /// The next frame; `None` when the node has ended the answer.
    ///
    /// Not cancel-safe: after a dropped future the rest of the stream makes no sense. While following,
    /// race it only against the end of the whole follow.
    ///
    /// # Errors
    /// [`RequestError::ConnectionLost`], [`RequestError::TimedOut`], [`RequestError::Abandoned`] when the
    /// node reset the stream, [`RequestError::InvalidAnswer`]. Do not call it again then.
    pub async fn next(&mut self) -> Result<Option<Answer>, RequestError> {
        let mut head = [0; FRAME_HEADER_BYTES];
        let limit = match self.patience {
            Patience::Usual => Some(ANSWER_TIMEOUT),
            Patience::Poll => Some(RENDEZVOUS_POLL + ANSWER_TIMEOUT),
            Patience::Endless => None,
        };
        let first = self.recv.read(&mut head[..1]);
        let read = match limit {
            Some(limit) => timeout(limit, first)
                .await
                .map_err(|_| RequestError::TimedOut)?,
            None => first.await,
        };
        match read {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(read_failure(error)),
        }
        self.read(&mut head[1..]).await?;
        let header = FrameHeader::decode(head, Direction::ToDevice)?;
        let mut body = vec![0; header.body_len_bytes];
        for piece in body.chunks_mut(PROGRESS_BYTES) {
            self.read(piece).await?;
        }
        Ok(Some(Answer::decode(header, &body)?))
    }

    async fn read(&mut self, bytes: &mut [u8]) -> Result<(), RequestError> {
        match timeout(PROGRESS_WINDOW, self.recv.read_exact(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ReadExactError::ReadError(error))) => Err(read_failure(error)),
            Ok(Err(ReadExactError::FinishedEarly(_))) => Err(RequestError::Abandoned),
            Err(_) => Err(RequestError::TimedOut),
        }
    }
}

fn read_failure(error: ReadError) -> RequestError {
    match error {
        ReadError::ConnectionLost(error) => RequestError::ConnectionLost(error),
        _ => RequestError::Abandoned,
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
