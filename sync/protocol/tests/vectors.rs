//! The frozen vectors of `PROTOCOL.md`: this crate writes and reads exactly those bytes.
//!
//! Never change a vector to make a test pass: bytes like these lie on disks and in other programs.
//! `tests/peers/read_wsync_vectors.py` is a second program that reads them, by the byte tables alone and
//! with its own BLAKE3 and Ed25519.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use satchel_protocol::capability;
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{
    Access, Answer, CapRotation, Capabilities, DecodeError, Direction, ErrorAnswer, ErrorCode,
    FrameHeader, FrameType, PolicyRotation, Request, Role,
};
use satchel_protocol::id::{FragmentId, MailboxId, Offset, OffsetRange};

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

fn fragment(kind: FragmentKind) -> EncryptedFragment {
    let mut epoch_id = [0; 12];
    epoch_id[..4].copy_from_slice(&1u32.to_be_bytes());
    epoch_id[4..].copy_from_slice(&up_from::<8>(2));
    let header = FragmentHeader {
        aead: Aead::Aes256GcmSiv,
        kind,
        epoch_id,
        salt: up_from(0x10),
        commit: up_from(0x30),
    };
    EncryptedFragment::new(header, &up_from::<16>(0xa0)).unwrap()
}

const CHAIN: Chain = Chain([0xc1; 32]);
const BINDING: [u8; 32] = [0xb0; 32];
const TOKEN: [u8; 16] = [0x70; 16];

struct Key(Ed25519KeyPair);

impl Key {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().unwrap()
    }
}

fn policy() -> Key {
    Key::new(1)
}

fn mailbox() -> MailboxId {
    MailboxId::of_policy_key(&policy().public())
}

fn capabilities() -> Capabilities {
    Capabilities {
        cap_epoch: 5,
        reader_key: Key::new(2).public(),
        writer_key: Key::new(3).public(),
    }
}

/// What is signed, by whom, and the signature.
fn signed() -> Vec<(&'static str, Vec<u8>, Key)> {
    let new_key = Key::new(4).public();
    vec![
        (
            "create",
            capability::create_message(&BINDING, mailbox(), &capabilities(), b"token"),
            policy(),
        ),
        (
            "open",
            capability::open_message(&BINDING, mailbox(), Role::Reader, 5),
            Key::new(2),
        ),
        (
            "capabilities",
            capability::capabilities_message(mailbox(), &capabilities()),
            Key::new(4),
        ),
        (
            "policy",
            capability::policy_message(mailbox(), 1, &new_key),
            policy(),
        ),
        (
            "drop",
            capability::drop_message(&BINDING, mailbox()),
            policy(),
        ),
    ]
}

fn signature(name: &str) -> [u8; 64] {
    let (_, message, key) = signed().into_iter().find(|(n, ..)| *n == name).unwrap();
    key.sign(&message)
}

fn requests() -> Vec<(&'static str, Request)> {
    let mailbox = mailbox();
    let range = |from, to| OffsetRange {
        from: Offset(from),
        to: Offset(to),
    };
    let ids = vec![FragmentId([0x11; 32]), FragmentId([0x22; 32])];
    let control = fragment(FragmentKind::Control);
    let ctl_append = Request::CtlAppend {
        mailbox,
        expect_index: 3,
        record: control.clone(),
        previous_epoch: None,
        rotation: None,
        policy: None,
    };
    let ctl_append_all = Request::CtlAppend {
        mailbox,
        expect_index: 3,
        record: control.clone(),
        previous_epoch: Some(control),
        rotation: Some(CapRotation {
            capabilities: capabilities(),
            signature: signature("capabilities"),
        }),
        policy: Some(PolicyRotation {
            counter: 1,
            new_key: Key::new(4).public(),
            signature: signature("policy"),
        }),
    };
    #[rustfmt::skip]
    let requests = vec![
        ("hello", Request::Hello { min_version: 1, max_version: 1 }),
        ("create", Request::Create {
            policy_key: policy().public(),
            capabilities: capabilities(),
            token: b"token".to_vec(),
            signature: signature("create"),
        }),
        ("open", Request::Open { mailbox, role: Role::Reader, cap_epoch: 5, signature: signature("open") }),
        ("append", Request::Append { mailbox, fragment: fragment(FragmentKind::Entry) }),
        ("pack", Request::Pack { mailbox, supersedes: vec![range(0, 3), range(5, 7)], fragment: fragment(FragmentKind::Pack) }),
        ("read", Request::Read { mailbox, from: Offset(3), max_entries: 100, compact: true }),
        ("follow", Request::Follow { mailbox, from: Offset(3), compact: false }),
        ("ctl-append", ctl_append),
        ("ctl-append-all", ctl_append_all),
        ("ctl-read", Request::CtlRead { mailbox, from: 2 }),
        ("blob-put", Request::BlobPut { mailbox, fragment: fragment(FragmentKind::BlobChunk) }),
        ("blob-get", Request::BlobGet { mailbox, fragment_id: FragmentId([0x11; 32]) }),
        ("has", Request::Has { mailbox, ids: ids.clone() }),
        ("blob-forget", Request::BlobForget { mailbox, ids }),
        ("rv-allocate", Request::RvAllocate),
        ("rv-claim", Request::RvClaim { nameplate: 7 }),
        ("rv-post", Request::RvPost { nameplate: 7, token: TOKEN, body: b"hello".to_vec() }),
        ("rv-next", Request::RvNext { nameplate: 7, token: TOKEN, index: 1 }),
        ("rv-burn", Request::RvBurn { nameplate: 7, token: TOKEN }),
        ("drop", Request::Drop { mailbox, signature: signature("drop") }),
    ];
    requests
}

fn answers() -> Vec<(&'static str, Answer)> {
    let refusal = ErrorAnswer {
        code: ErrorCode::Rate,
        limit: 20,
        retry_after_ms: 50,
    };
    let record = fragment(FragmentKind::Control);
    #[rustfmt::skip]
    let answers = vec![
        ("hello-ack", Answer::HelloAck { version: 1, max_fragment_bytes: 1_044_480, mailbox_quota_bytes: 1 << 30, time_ms: 1_700_000_000_000 }),
        ("opened", Answer::Opened { access: Access::Full, next: Offset(8), chain: CHAIN, ctl_next: 4, used_bytes: 5000, quota_bytes: 1 << 30 }),
        ("ok", Answer::Ok),
        ("ack", Answer::Ack { offset: Offset(7), chain: CHAIN }),
        ("entry", Answer::Entry { offset: Offset(7), superseded: true, fragment: fragment(FragmentKind::Entry) }),
        ("end", Answer::End { next: Offset(8), log_end: Offset(9), chain: CHAIN, ctl_next: 4, sessions: 2 }),
        ("ctl-ack", Answer::CtlAck { index: 3 }),
        ("ctl-entry", Answer::CtlEntry { index: 3, record: record.clone(), previous_epoch: Some(record) }),
        ("ctl-end", Answer::CtlEnd { next: 4 }),
        ("blob", Answer::Blob { fragment: fragment(FragmentKind::BlobChunk) }),
        ("has-bits", Answer::HasBits { bits: vec![0b10] }),
        ("rv-place", Answer::RvPlace { nameplate: 7, token: TOKEN }),
        ("rv-message", Answer::RvMessage { body: b"hello".to_vec() }),
        ("rv-waiting", Answer::RvWaiting),
        ("error", Answer::Error(refusal)),
    ];
    answers
}

fn read_request(bytes: &[u8]) -> Result<Request, DecodeError> {
    let (head, body) = bytes.split_first_chunk().unwrap();
    Request::decode(FrameHeader::decode(*head, Direction::ToNode)?, body)
}

#[test]
fn every_frame_has_its_frozen_bytes() {
    let vectors = vectors();
    assert_eq!(
        vectors["fragment"],
        fragment(FragmentKind::Entry).as_bytes()
    );
    let types: std::collections::HashSet<_> = requests()
        .iter()
        .map(|(_, request)| request.frame_type())
        .chain(answers().iter().map(|(_, answer)| answer.frame_type()))
        .collect();
    assert_eq!(
        types.len(),
        FrameType::ALL.len(),
        "a frame without a vector"
    );
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
    let id = fragment(FragmentKind::Entry).id();
    assert_eq!(id.0.as_slice(), vectors["fragment-id"], "{id}");
    let chain = Chain::START.after(Offset(0), fragment(FragmentKind::Entry).len_bytes(), id);
    let hex: String = chain.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(chain.0.as_slice(), vectors["chain-after-first"], "{hex}");
}

#[test]
fn the_signed_messages_have_their_frozen_bytes() {
    let vectors = vectors();
    assert_eq!(vectors["mailbox"], mailbox().0);
    for (name, message, key) in signed() {
        assert_eq!(
            vectors[format!("message-{name}").as_str()],
            message,
            "{name}"
        );
        assert!(capability::verify(
            &key.public(),
            &message,
            &signature(name)
        ));
    }
}

#[test]
fn every_refuse_vector_is_refused_for_its_reason() {
    let refuse: Vec<_> = vectors()
        .into_iter()
        .filter(|(name, _)| name.starts_with("refuse-"))
        .collect();
    assert_eq!(refuse.len(), 22);
    for (name, bytes) in refuse {
        let error = read_request(&bytes).unwrap_err();
        let as_named = match name {
            "refuse-length-zero"
            | "refuse-length-huge"
            | "refuse-hello-trailing"
            | "refuse-append-short"
            | "refuse-cut" => matches!(error, DecodeError::BodyLength { .. }),
            "refuse-unknown-type" => matches!(error, DecodeError::UnknownType { number: 7 }),
            "refuse-wrong-direction" => matches!(error, DecodeError::WrongDirection { .. }),
            "refuse-fragment-version" | "refuse-fragment-aead" | "refuse-fragment-kind" => {
                matches!(error, DecodeError::Fragment(_))
            }
            _ => matches!(error, DecodeError::Field { .. }),
        };
        assert!(as_named, "{name}: {error:?}");
    }
}

/// The second decoder, which shares no code with this crate.
#[test]
fn a_second_program_reads_the_vectors_alike() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new("python3")
        .arg(root.join("tests/peers/read_wsync_vectors.py"))
        .arg(root.join("sync/protocol/PROTOCOL.md"))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no python3 on this machine");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("35 frames"), "{text}");
}
