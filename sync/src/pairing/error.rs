//! Why two devices did not become a pair, in the words of the person who holds them.
//!
//! Never carries a secret or the bytes of a message. Start at [`PairingError`].

/// Pairing ended. Whatever the reason, the code is used up: begin again with a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairingError {
    /// The two sides do not share a code, or bytes changed on the way. The two cannot be told apart.
    #[error("the code is wrong or somebody interfered: begin again with a new code")]
    WrongCode,
    /// Not a message of pairing.
    #[error("a damaged message came instead of an answer: begin again with a new code")]
    Malformed,
    /// A message of pairing, but not the one that comes now: a repeated one, or two laptops in the same role.
    #[error(
        "the laptops are out of step: make sure that one shows the code and the other one types it, then begin again with a new code"
    )]
    OutOfOrder,
    /// The person at the other laptop said no, or its check failed.
    #[error("the other laptop refused: if that was a mistake, begin again with a new code")]
    Refused,
    /// A payload of ours does not fit one message. Nothing was sent.
    #[error(
        "{found_bytes} bytes do not fit one message of pairing, which holds {max_bytes}: shorten names or links, then begin again with a new code"
    )]
    TooLong {
        /// Bytes of the payload.
        found_bytes: usize,
        /// Bytes that fit: [`MAX_PAYLOAD_BYTES`](super::MAX_PAYLOAD_BYTES).
        max_bytes: usize,
    },
    /// The other device speaks a later version of pairing.
    #[error(
        "the other laptop has a newer Satchel: update this one, then begin again with a new code"
    )]
    NewerVersion,
}
