//! How the five messages of pairing lie in bytes.
//!
//! Knows lengths and places, never a key. Start at [`Message`]; the tables are in the module above.

use zeroize::Zeroizing;

use super::error::PairingError;

/// Longest payload that a device may send inside pairing: its description, or the welcome.
///
/// Each is padded to this length, so that the edge sees neither the length of a name nor whether the answer was yes.
/// 2 (header) + 32 (confirmation) + 32 (reveal) + 2 (length) + 1,536 + 16 (tag) = 1,620 bytes: below the 2,048 that
/// an edge passes on.
pub const MAX_PAYLOAD_BYTES: usize = 1536;

/// Longest message that an edge passes on between the two devices.
pub const MAX_MESSAGE_BYTES: usize = 2048;

const _: () = assert!(crate::member::welcome::MAX_WELCOME_BYTES <= MAX_PAYLOAD_BYTES);
const _: () = assert!(crate::member::welcome::MAX_DEVICE_INFO_BYTES <= MAX_PAYLOAD_BYTES);
const _: () = assert!(ACCEPT_BYTES <= MAX_MESSAGE_BYTES && ANSWER_BYTES <= MAX_MESSAGE_BYTES);

/// SPAKE2's message: which side, then a point of Ed25519.
pub(super) const PAKE_BYTES: usize = 33;
pub(super) const HASH_BYTES: usize = 32;
pub(super) const TAG_BYTES: usize = 16;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 2;
const PADDED_BYTES: usize = 2 + MAX_PAYLOAD_BYTES;

pub(super) const HELLO_BYTES: usize = HEADER_BYTES + PAKE_BYTES + HASH_BYTES;
const REPLY_BYTES: usize = HEADER_BYTES + PAKE_BYTES + HASH_BYTES;
const ACCEPT_BYTES: usize = HEADER_BYTES + HASH_BYTES + HASH_BYTES + PADDED_BYTES + TAG_BYTES;
const ANSWER_BYTES: usize = HEADER_BYTES + 1 + PADDED_BYTES + TAG_BYTES;
const JOINED_BYTES: usize = HEADER_BYTES + HASH_BYTES;

/// Which of the five. The number is its second byte, its nonce, and its place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Message {
    /// m0, joiner to approver.
    Hello = 0,
    /// m1, approver to joiner.
    Reply = 1,
    /// m2, joiner to approver.
    Accept = 2,
    /// m3, approver to joiner.
    Answer = 3,
    /// m4, joiner to approver.
    Joined = 4,
}

impl Message {
    pub(super) fn header(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.total_bytes());
        bytes.extend([VERSION, self as u8]);
        bytes
    }

    /// What follows the header, when this is the message that `bytes` are.
    pub(super) fn body(self, bytes: &[u8]) -> Result<&[u8], PairingError> {
        let Some(([version, number], body)) = bytes.split_first_chunk() else {
            return Err(PairingError::Malformed);
        };
        match (*version, *number) {
            // A later version may order and lay out everything after its first byte differently.
            (version, _) if version > VERSION => Err(PairingError::NewerVersion),
            (VERSION, number) if number == self as u8 && bytes.len() == self.total_bytes() => {
                Ok(body)
            }
            (VERSION, number) if number != self as u8 && number <= Self::Joined as u8 => {
                Err(PairingError::OutOfOrder)
            }
            _ => Err(PairingError::Malformed),
        }
    }

    fn total_bytes(self) -> usize {
        match self {
            Self::Hello => HELLO_BYTES,
            Self::Reply => REPLY_BYTES,
            Self::Accept => ACCEPT_BYTES,
            Self::Answer => ANSWER_BYTES,
            Self::Joined => JOINED_BYTES,
        }
    }
}

/// What the approver says at the end. The number is part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Verdict {
    Refused = 0,
    Welcome = 1,
}

/// Refuses a payload that does not fit.
pub(super) fn check_payload(payload: &[u8]) -> Result<(), PairingError> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(PairingError::TooLong {
            found_bytes: payload.len(),
            max_bytes: MAX_PAYLOAD_BYTES,
        });
    }
    Ok(())
}

/// `prefix`, the payload's length, the payload, and zeros.
pub(super) fn pad(prefix: &[u8], payload: &[u8]) -> Result<Zeroizing<Vec<u8>>, PairingError> {
    check_payload(payload)?;
    let length = u16::try_from(payload.len()).expect("MAX_PAYLOAD_BYTES fits 16 bits");
    let padded_bytes = prefix.len() + PADDED_BYTES;
    // With room for the tag, so that sealing in place leaves no copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(padded_bytes + TAG_BYTES));
    bytes.extend_from_slice(prefix);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(padded_bytes, 0);
    Ok(bytes)
}

/// Undoes [`pad`]: the prefix and the payload.
pub(super) fn unpad<const PREFIX: usize>(
    padded: &[u8],
) -> Result<([u8; PREFIX], Zeroizing<Vec<u8>>), PairingError> {
    let split = || {
        let (prefix, rest) = padded.split_first_chunk::<PREFIX>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (payload, zeros) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let is_canonical = rest.len() == MAX_PAYLOAD_BYTES && zeros.iter().all(|byte| *byte == 0);
        is_canonical.then(|| (*prefix, Zeroizing::new(payload.to_vec())))
    };
    split().ok_or(PairingError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_payload_keeps_its_bytes_and_hides_its_length() {
        for payload in [vec![], vec![0], vec![7; 500], vec![9; MAX_PAYLOAD_BYTES]] {
            let padded = pad(b"abc", &payload).unwrap();
            assert_eq!(padded.len(), 3 + PADDED_BYTES);
            let (prefix, found) = unpad::<3>(&padded).unwrap();
            assert_eq!((&prefix, &*found), (b"abc", &payload));
        }
    }

    #[test]
    fn a_payload_that_does_not_fit_is_refused() {
        let error = pad(&[], &[0; MAX_PAYLOAD_BYTES + 1]).unwrap_err();
        let expected = PairingError::TooLong {
            found_bytes: 1537,
            max_bytes: 1536,
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn padding_has_one_spelling() {
        let mut padded = pad(&[], b"abc").unwrap();
        padded[PADDED_BYTES - 1] = 1;
        assert!(unpad::<0>(&padded).is_err());
        let mut padded = pad(&[], b"abc").unwrap();
        padded[..2].copy_from_slice(&1537u16.to_le_bytes());
        assert!(unpad::<0>(&padded).is_err());
        assert!(unpad::<0>(&padded[..PADDED_BYTES - 1]).is_err());
    }

    #[test]
    fn a_message_says_what_is_wrong_with_it() {
        let body = |bytes: &[u8]| Message::Hello.body(bytes).unwrap_err();
        let with = |version, number| {
            let mut bytes = vec![0; HELLO_BYTES];
            bytes[..2].copy_from_slice(&[version, number]);
            bytes
        };
        assert_eq!(body(&[]), PairingError::Malformed);
        assert_eq!(body(&[1]), PairingError::Malformed);
        assert_eq!(body(&with(0, 0)), PairingError::Malformed);
        assert_eq!(body(&with(2, 0)), PairingError::NewerVersion);
        assert_eq!(body(&with(1, 1)), PairingError::OutOfOrder);
        assert_eq!(body(&with(1, 5)), PairingError::Malformed);
        assert_eq!(body(&with(1, 0)[1..]), PairingError::Malformed);
        assert!(Message::Hello.body(&with(1, 0)).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1700)) {
            if let Ok(body) = Message::Accept.body(&bytes) {
                prop_assert_eq!(body.len(), ACCEPT_BYTES - HEADER_BYTES);
            }
            if let Ok((_, payload)) = unpad::<32>(&bytes) {
                prop_assert!(payload.len() <= MAX_PAYLOAD_BYTES);
            }
        }
    }
}
