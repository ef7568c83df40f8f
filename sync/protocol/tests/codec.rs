//! Codec promises over random input: what is written is read back, one encoding per value, and no
//! bytes whatever make a decoder panic.

#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{
    Answer, DecodeError, Direction, ErrorAnswer, ErrorCode, FrameHeader, FrameType, Request,
};
use satchel_protocol::id::{MailboxId, Offset};
use satchel_protocol::limits::MAX_READ_ENTRIES;

fn fragments() -> impl Strategy<Value = EncryptedFragment> {
    let aead = prop_oneof![Just(Aead::Aes256GcmSiv), Just(Aead::ChaCha20Poly1305)];
    let kind = prop_oneof![
        Just(FragmentKind::Entry),
        Just(FragmentKind::Pack),
        Just(FragmentKind::BlobChunk),
        Just(FragmentKind::Control),
        Just(FragmentKind::Ephemeral),
    ];
    (
        aead,
        kind,
        any::<[u8; 12]>(),
        any::<[u8; 24]>(),
        any::<[u8; 32]>(),
        vec(any::<u8>(), 16..600),
    )
        .prop_map(|(aead, kind, epoch_id, salt, commit, segments)| {
            let header = FragmentHeader {
                aead,
                kind,
                epoch_id,
                salt,
                commit,
            };
            EncryptedFragment::new(header, &segments).unwrap()
        })
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Request::Hello {
            min_version: a.min(b),
            max_version: a.max(b)
        }),
        (any::<[u8; 16]>(), fragments()).prop_map(|(mailbox, fragment)| Request::Append {
            mailbox: MailboxId(mailbox),
            fragment
        }),
        (any::<[u8; 16]>(), any::<u64>(), 1..=MAX_READ_ENTRIES).prop_map(
            |(mailbox, from, max_entries)| {
                Request::Read {
                    mailbox: MailboxId(mailbox),
                    from: Offset(from),
                    max_entries,
                }
            }
        ),
    ]
}

fn answers() -> impl Strategy<Value = Answer> {
    let chain = || any::<[u8; 32]>().prop_map(Chain);
    prop_oneof![
        (any::<u16>(), any::<u32>(), any::<u64>()).prop_map(
            |(version, max_fragment_bytes, mailbox_quota_bytes)| {
                Answer::HelloAck {
                    version,
                    max_fragment_bytes,
                    mailbox_quota_bytes,
                }
            }
        ),
        (any::<u64>(), chain()).prop_map(|(offset, chain)| Answer::Ack {
            offset: Offset(offset),
            chain
        }),
        (any::<u64>(), fragments()).prop_map(|(offset, fragment)| Answer::Entry {
            offset: Offset(offset),
            fragment
        }),
        (any::<u64>(), any::<u64>(), chain()).prop_map(|(a, b, chain)| Answer::End {
            next: Offset(a.min(b)),
            log_end: Offset(a.max(b)),
            chain
        }),
        (0..ErrorCode::ALL.len(), any::<u64>(), any::<u32>()).prop_map(
            |(index, limit, retry_after_ms)| {
                Answer::Error(ErrorAnswer {
                    code: ErrorCode::ALL[index],
                    limit,
                    retry_after_ms,
                })
            }
        ),
    ]
}

/// A frame as a reader takes it: header first, then a body of just the declared length.
fn read_request(bytes: &[u8]) -> Option<Result<Request, DecodeError>> {
    let (head, rest) = bytes.split_first_chunk()?;
    let header = match FrameHeader::decode(*head, Direction::ToNode) {
        Ok(header) => header,
        Err(error) => return Some(Err(error)),
    };
    (rest.len() == header.body_len_bytes).then(|| Request::decode(header, rest))
}

fn read_answer(bytes: &[u8]) -> Option<Result<Answer, DecodeError>> {
    let (head, rest) = bytes.split_first_chunk()?;
    let header = match FrameHeader::decode(*head, Direction::ToDevice) {
        Ok(header) => header,
        Err(error) => return Some(Err(error)),
    };
    (rest.len() == header.body_len_bytes).then(|| Answer::decode(header, rest))
}

proptest! {
    #[test]
    fn a_request_reads_back_as_it_was_written(request in requests()) {
        prop_assert_eq!(read_request(&request.encode()), Some(Ok(request)));
    }

    #[test]
    fn an_answer_reads_back_as_it_was_written(answer in answers()) {
        prop_assert_eq!(read_answer(&answer.encode()), Some(Ok(answer)));
    }

    /// Whatever decodes encodes to the same bytes: no two byte strings mean the same frame.
    #[test]
    fn one_encoding_per_value(mut bytes in requests().prop_map(|r| r.encode()), index in any::<prop::sample::Index>(), flip in 1u8..) {
        let at = index.index(bytes.len());
        bytes[at] ^= flip;
        if let Some(Ok(request)) = read_request(&bytes) {
            prop_assert_eq!(request.encode(), bytes);
        }
    }

    #[test]
    fn one_encoding_per_answer(mut bytes in answers().prop_map(|a| a.encode()), index in any::<prop::sample::Index>(), flip in 1u8..) {
        let at = index.index(bytes.len());
        bytes[at] ^= flip;
        if let Some(Ok(answer)) = read_answer(&bytes) {
            prop_assert_eq!(answer.encode(), bytes);
        }
    }

    /// The decoders are called directly with every type and any body, also ones that a reader would
    /// never let through.
    #[test]
    fn no_bytes_make_a_decoder_panic(head in any::<[u8; 5]>(), body in vec(any::<u8>(), 0..200), which in 0..FrameType::ALL.len()) {
        for direction in [Direction::ToNode, Direction::ToDevice] {
            if let Ok(header) = FrameHeader::decode(head, direction) {
                prop_assert!(Request::decode(header, &body).is_err() || body.len() == header.body_len_bytes);
            }
        }
        let header = FrameHeader { frame_type: FrameType::ALL[which], body_len_bytes: body.len() };
        let request = Request::decode(header, &body);
        let answer = Answer::decode(header, &body);
        prop_assert!(request.is_err() || answer.is_err(), "one frame in both directions");
        prop_assert!(EncryptedFragment::from_bytes(body.clone()).is_err() || body.len() >= 87);
    }

    /// A frame cut anywhere is never taken for a whole one.
    #[test]
    fn a_cut_frame_is_never_accepted(bytes in requests().prop_map(|r| r.encode()), index in any::<prop::sample::Index>()) {
        let cut = &bytes[..index.index(bytes.len())];
        prop_assert!(!matches!(read_request(cut), Some(Ok(_))));
    }
}
