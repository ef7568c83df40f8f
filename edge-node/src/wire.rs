//! Frames on QUIC streams, under deadlines and within the node's memory budget.
//!
//! No decisions about content: it moves bytes and says when they came too slowly. Start at
//! [`read_request`].

use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream, VarInt};
use satchel_protocol::frame::{Answer, DecodeError, Direction, FrameHeader, FrameType, Request};
use satchel_protocol::limits::{
    FRAME_HEADER_BYTES, PROGRESS_BYTES, PROGRESS_WINDOW, REQUEST_HEADER_TIMEOUT,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of fragments in memory for all connections together.
///
/// 256 MiB: a node with 1 GB has room for it beside 10,000 idle connections (0.5 GB).
const IN_FLIGHT_BYTES: usize = 256 * 1024 * 1024;

/// Stream error code: the request was refused and its rest is not wanted.
const REFUSED: VarInt = VarInt::from_u32(1);

/// What is left of [`IN_FLIGHT_BYTES`].
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// A part of the budget, given back on drop.
pub(crate) type Share = OwnedSemaphorePermit;

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(IN_FLIGHT_BYTES)))
    }

    /// Waits for so many bytes; `None` when they are not free within `limit`.
    pub(crate) async fn take(&self, bytes: usize, limit: Duration) -> Option<Share> {
        let amount = u32::try_from(bytes).ok()?;
        let share = timeout(limit, Arc::clone(&self.0).acquire_many_owned(amount)).await;
        // The semaphore is never closed, so the inner result is always Ok.
        share.ok()?.ok()
    }
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The device sent something that is no request of this version.
    #[error(transparent)]
    Frame(DecodeError),
    /// More or fewer bytes than one frame on the stream.
    #[error("the stream does not hold exactly one frame")]
    NotOneFrame,
    /// The fragment is longer than this node takes.
    #[error("the fragment is too long")]
    TooBig,
    /// The device went away or was too slow.
    #[error("the device went away")]
    Gone,
}

/// Reads the first five bytes of a request and checks them.
pub(crate) async fn read_header(
    recv: &mut RecvStream,
    max_fragment_bytes: usize,
) -> Result<FrameHeader, RequestError> {
    let mut head = [0; FRAME_HEADER_BYTES];
    match timeout(REQUEST_HEADER_TIMEOUT, recv.read_exact(&mut head)).await {
        Ok(Ok(())) => {}
        Ok(Err(quinn::ReadExactError::FinishedEarly(_))) => return Err(RequestError::NotOneFrame),
        Ok(Err(quinn::ReadExactError::ReadError(_))) | Err(_) => return Err(RequestError::Gone),
    }
    let header = FrameHeader::decode(head, Direction::ToNode).map_err(too_long_is_too_big)?;
    let (_, longest) = header.frame_type.body_bounds_bytes();
    let excess = satchel_protocol::limits::MAX_FRAGMENT_BYTES.saturating_sub(max_fragment_bytes);
    if carries_fragment(header.frame_type) && header.body_len_bytes > longest.saturating_sub(excess)
    {
        return Err(RequestError::TooBig);
    }
    Ok(header)
}

/// Reads the rest of a request up to the end of its stream.
///
/// The share of the budget grows with the bytes that came, not with those that were announced, and
/// must be kept until the request is answered.
pub(crate) async fn read_request(
    recv: &mut RecvStream,
    header: FrameHeader,
    budget: &Budget,
) -> Result<(Request, Option<Share>), RequestError> {
    let mut body = Vec::new();
    let mut share: Option<Share> = None;
    while body.len() < header.body_len_bytes {
        let start = body.len();
        let piece = PROGRESS_BYTES.min(header.body_len_bytes - start);
        let more = budget
            .take(piece, PROGRESS_WINDOW)
            .await
            .ok_or(RequestError::Gone)?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        body.resize(start + piece, 0);
        read_piece(recv, &mut body[start..]).await?;
    }
    expect_end(recv).await?;
    let request = Request::decode(header, &body).map_err(RequestError::Frame)?;
    Ok((request, share))
}

/// Sends one frame; false when the device went away or does not read.
pub(crate) async fn write_answer(send: &mut SendStream, answer: &Answer) -> bool {
    let bytes = answer.encode();
    for piece in bytes.chunks(PROGRESS_BYTES) {
        if !matches!(
            timeout(PROGRESS_WINDOW, send.write_all(piece)).await,
            Ok(Ok(()))
        ) {
            return false;
        }
    }
    true
}

/// Ends an answer and waits until the device has it; false when it never did.
///
/// Without the wait, a closing connection would throw away an acknowledgement under way.
pub(crate) async fn finish(send: &mut SendStream) -> bool {
    send.finish().is_ok() && matches!(timeout(PROGRESS_WINDOW, send.stopped()).await, Ok(Ok(None)))
}

/// Tells the device that the rest of its request is not wanted.
pub(crate) fn stop_reading(recv: &mut RecvStream) {
    // Fails only where the stream has already ended, which is as good.
    drop(recv.stop(REFUSED));
}

async fn read_piece(recv: &mut RecvStream, piece: &mut [u8]) -> Result<(), RequestError> {
    match timeout(PROGRESS_WINDOW, recv.read_exact(piece)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(quinn::ReadExactError::FinishedEarly(_))) => Err(RequestError::NotOneFrame),
        Ok(Err(quinn::ReadExactError::ReadError(_))) | Err(_) => Err(RequestError::Gone),
    }
}

/// A request counts only when its stream ends right behind it: a device that vanishes between the
/// last byte and the end has not asked.
async fn expect_end(recv: &mut RecvStream) -> Result<(), RequestError> {
    let mut byte = [0];
    match timeout(REQUEST_HEADER_TIMEOUT, recv.read(&mut byte)).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(_))) => Err(RequestError::NotOneFrame),
        Ok(Err(_)) | Err(_) => Err(RequestError::Gone),
    }
}

/// Requests that are as long as their fragment, but for some bytes.
fn carries_fragment(frame_type: FrameType) -> bool {
    matches!(
        frame_type,
        FrameType::Append | FrameType::Pack | FrameType::BlobPut
    )
}

/// A fragment above the protocol's own bound is one to be split, not a broken frame.
fn too_long_is_too_big(error: DecodeError) -> RequestError {
    match error {
        DecodeError::BodyLength {
            frame_type,
            declared_bytes,
            max_bytes,
            ..
        } if carries_fragment(frame_type) && declared_bytes > max_bytes as u64 => {
            RequestError::TooBig
        }
        error => RequestError::Frame(error),
    }
}
