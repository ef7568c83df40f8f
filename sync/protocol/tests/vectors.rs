//! The frozen vectors of `PROTOCOL.md`: this crate writes and reads exactly those bytes.
//!
//! Never change a vector to make a test pass: bytes like these lie on disks and in other programs.
//! They were first computed by a second program from the byte tables (its own BLAKE3 included), not by
//! this crate.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{
    Answer, DecodeError, Direction, ErrorAnswer, ErrorCode, FrameHeader, Request,
};
use satchel_protocol::id::{MailboxId, Offset};

fn vectors() -> HashMap<&'static str, Vec<u8>> {
    let text = include_str!("../PROTOCOL.md");
    let block = text
        .split("```vectors\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    block
        .lines()
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            (name, unhex(hex))
        })
        .collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn up_from<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|index| first + index as u8)
}

fn fragment() -> EncryptedFragment {
    let mut epoch_id = [0; 12];
    epoch_id[..4].copy_from_slice(&1u32.to_be_bytes());
    epoch_id[4..].copy_from_slice(&up_from::<8>(2));
    let header = FragmentHeader {
        aead: Aead::Aes256GcmSiv,
        kind: FragmentKind::Entry,
        epoch_id,
        salt: up_from(0x10),
        commit: up_from(0x30),
    };
    EncryptedFragment::new(header, &up_from::<16>(0xa0)).unwrap()
}

const CHAIN: Chain = Chain([0xc1; 32]);

fn requests() -> Vec<(&'static str, Request)> {
    let mailbox = MailboxId(up_from(0xe0));
    vec![
        (
            "hello",
            Request::Hello {
                min_version: 0,
                max_version: 0,
            },
        ),
        (
            "append",
            Request::Append {
                mailbox,
                fragment: fragment(),
            },
        ),
        (
            "read",
            Request::Read {
                mailbox,
                from: Offset(3),
                max_entries: 100,
            },
        ),
    ]
}

fn answers() -> Vec<(&'static str, Answer)> {
    let refusal = ErrorAnswer {
        code: ErrorCode::Rate,
        limit: 20,
        retry_after_ms: 50,
    };
    vec![
        (
            "hello-ack",
            Answer::HelloAck {
                version: 0,
                max_fragment_bytes: 1_044_480,
                mailbox_quota_bytes: 1 << 30,
            },
        ),
        (
            "ack",
            Answer::Ack {
                offset: Offset(7),
                chain: CHAIN,
            },
        ),
        (
            "entry",
            Answer::Entry {
                offset: Offset(7),
                fragment: fragment(),
            },
        ),
        (
            "end",
            Answer::End {
                next: Offset(8),
                log_end: Offset(9),
                chain: CHAIN,
            },
        ),
        ("error", Answer::Error(refusal)),
    ]
}

fn read_request(bytes: &[u8]) -> Result<Request, DecodeError> {
    let (head, body) = bytes.split_first_chunk().unwrap();
    Request::decode(FrameHeader::decode(*head, Direction::ToNode)?, body)
}

#[test]
fn every_frame_has_its_frozen_bytes() {
    let vectors = vectors();
    assert_eq!(vectors["fragment"], fragment().as_bytes());
    for (name, request) in requests() {
        assert_eq!(request.encode(), vectors[name], "{name}");
        assert_eq!(
            read_request(&vectors[name]).as_ref(),
            Ok(&request),
            "{name}"
        );
    }
    for (name, answer) in answers() {
        assert_eq!(answer.encode(), vectors[name], "{name}");
        let (head, body) = vectors[name].split_first_chunk().unwrap();
        let header = FrameHeader::decode(*head, Direction::ToDevice).unwrap();
        assert_eq!(Answer::decode(header, body), Ok(answer), "{name}");
    }
}

#[test]
fn the_hashes_have_their_frozen_values() {
    let vectors = vectors();
    let id = fragment().id();
    assert_eq!(id.0.as_slice(), vectors["fragment-id"], "{id}");
    let chain = Chain::START.after(Offset(0), fragment().len_bytes(), id);
    let hex: String = chain.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(chain.0.as_slice(), vectors["chain-after-first"], "{hex}");
}

#[test]
fn every_refuse_vector_is_refused_for_its_reason() {
    let refuse: Vec<_> = vectors()
        .into_iter()
        .filter(|(name, _)| name.starts_with("refuse-"))
        .collect();
    assert_eq!(refuse.len(), 13);
    for (name, bytes) in refuse {
        let error = read_request(&bytes).unwrap_err();
        let as_named = match name {
            "refuse-length-zero"
            | "refuse-length-huge"
            | "refuse-hello-trailing"
            | "refuse-append-short"
            | "refuse-cut" => matches!(error, DecodeError::BodyLength { .. }),
            "refuse-unknown-type" => matches!(error, DecodeError::UnknownType { number: 2 }),
            "refuse-wrong-direction" => matches!(error, DecodeError::WrongDirection { .. }),
            "refuse-hello-range" | "refuse-read-none" | "refuse-read-many" => {
                matches!(error, DecodeError::Field { .. })
            }
            _ => matches!(error, DecodeError::Fragment(_)),
        };
        assert!(as_named, "{name}: {error:?}");
    }
}
