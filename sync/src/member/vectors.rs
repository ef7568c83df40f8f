//! The frozen vectors of `sync/SEALING.md`: this crate writes and reads exactly those bytes.
//!
//! Never change a vector to make a test pass: bytes like these lie on edges and on other devices. They were first
//! computed by a second program from the byte tables, with another library of ciphers, not by this crate.

use std::collections::HashMap;

use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentKind};
use satchel_protocol::id::{FragmentId, MailboxId, NodeFingerprint, Offset};

use super::*;
use crate::bytes::Reader;
use crate::entry::{
    DocKey, DocKind, Encoding, Inner, Observation, Part, PartBody, Seen, inner_hash,
};
use crate::id::{DeviceId, WorkspaceId, to_hex};
use crate::sealing::{self, Choice, Padding, Place};

struct Vectors(HashMap<&'static str, &'static str>);

impl Vectors {
    fn read() -> Self {
        let text = include_str!("../../SEALING.md");
        let block = text.split("```vectors\n").nth(1).unwrap();
        let lines = block.split("```").next().unwrap().lines();
        Self(lines.map(|line| line.split_once(' ').unwrap()).collect())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let hex = self.0[name];
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    fn check(&self, name: &str, found: impl AsRef<[u8]>) {
        assert_eq!(to_hex(found.as_ref()), self.0[name], "{name}");
    }
}

fn up_from<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|index| first.wrapping_add(index as u8))
}

fn workspace() -> WorkspaceId {
    WorkspaceId(up_from(0xa0))
}

fn secrets() -> EpochSecrets {
    let id = EpochId {
        number: 3,
        record: up_from(0x40),
    };
    EpochSecrets::new(id, up_from(0), Some(up_from(0x20)))
}

fn device() -> DeviceKeys {
    let bytes = [&[1], &up_from::<32>(0x70)[..], &up_from::<32>(0x90)].concat();
    DeviceKeys::from_secret_bytes(&bytes).unwrap()
}

fn policy() -> PolicyKey {
    PolicyKey::from_bytes(up_from(0xb0))
}

fn seal(aead: Aead, kind: FragmentKind, inner: &[u8]) -> EncryptedFragment {
    let place = Place {
        workspace: workspace(),
        epoch: secrets().id(),
        kind,
    };
    let choice = Choice {
        aead,
        salt: up_from(0x50),
    };
    let secret = *secrets().expose_secret();
    sealing::seal_with(&secret, &place, &choice, inner, Padding::Padme).unwrap()
}

#[test]
fn fragments_are_those_of_the_text() {
    let vectors = Vectors::read();
    let mut keys = [0; 64];
    let info: [&[u8]; 3] = [b"wsync frag 1", &workspace().0, &[1, 0]];
    hkdf(&up_from::<24>(0x50), &up_from::<32>(0), &info, &mut keys);
    vectors.check("fragment-key", &keys[..32]);
    vectors.check("fragment-commit", &keys[32..]);
    let entry = FragmentKind::Entry;
    let short = seal(Aead::Aes256GcmSiv, entry, b"satchel");
    vectors.check("fragment", short.as_bytes());
    let chacha = seal(Aead::ChaCha20Poly1305, entry, b"satchel");
    vectors.check("fragment-chacha", chacha.as_bytes());
    let text: Vec<u8> = (0..70_000).map(|at| at as u8).collect();
    let long = seal(Aead::Aes256GcmSiv, FragmentKind::Pack, &text);
    vectors.check("fragment-of-two-segments-id", long.id().0);
    let read = EncryptedFragment::from_bytes(vectors.bytes("fragment")).unwrap();
    let opened = sealing::open(&secrets(), workspace(), entry, &read);
    assert_eq!(opened.unwrap(), b"satchel");
}

#[test]
fn keys_and_names_are_those_of_the_text() {
    let vectors = Vectors::read();
    let (secrets, policy) = (secrets(), policy());
    vectors.check("epoch-id", secrets.id().to_bytes());
    let checks = secrets.checks();
    vectors.check("epoch-check", checks.epoch);
    vectors.check("writer-check", checks.writer.unwrap());
    vectors.check("policy-public", policy.public());
    let mailbox: MailboxId = policy.mailbox();
    vectors.check("mailbox", mailbox.0);
    vectors.check(
        "reader-capability",
        secrets.reader_capability(mailbox).public(),
    );
    let writer = secrets.writer_capability(mailbox).unwrap();
    vectors.check("writer-capability", writer.public());
    vectors.check("device-public", device().public().to_bytes());
    vectors.check("device-id", device().id().0);
}

#[test]
fn an_entry_is_that_of_the_text() {
    let vectors = Vectors::read();
    let seen = |byte| Seen {
        device: DeviceId([byte; 16]),
        sequence: u64::from(byte),
        hash: [byte; 32],
    };
    let document = Part {
        key: DocKey {
            kind: DocKind::Document,
            id: [0x16; 16],
        },
        encoding: Encoding::Changes,
        heads: vec![[0x17; 32]],
        body: PartBody::Inline(b"satchel".to_vec()),
    };
    let index = Part {
        key: DocKey {
            kind: DocKind::Index,
            id: [0; 16],
        },
        encoding: Encoding::Save,
        heads: Vec::new(),
        body: PartBody::Blobs {
            ids: vec![FragmentId([0x19; 32])],
            len_bytes: 3_000_000,
            hash: [0x18; 32],
        },
    };
    let inner = Inner {
        device: device().id(),
        sequence: 9,
        previous: up_from(0x10),
        control_head: up_from(0x30),
        created_ms: 1_700_000_000_000,
        seen: vec![seen(0x11)],
        observed: vec![Observation {
            edge: NodeFingerprint([0x12; 32]),
            offset: Offset(5),
            chain: Chain([0x13; 32]),
        }],
        covers: vec![seen(0x14)],
        supersedes: vec![FragmentId([0x15; 32])],
        parts: vec![document, index],
    };
    let (epoch, kind) = (secrets().id(), FragmentKind::Entry);
    let bytes = inner
        .encode_signed(&device(), workspace(), epoch, kind)
        .unwrap();
    vectors.check("inner", &bytes);
    vectors.check("inner-hash", inner_hash(&bytes));
    let bytes = vectors.bytes("inner");
    let (read, signed) = Inner::decode(&bytes).unwrap();
    assert_eq!(read, inner);
    let verified = signed.verify(&device().public(), workspace(), epoch, kind);
    assert_eq!(verified, Ok(()));
}

#[test]
fn the_first_record_is_that_of_the_text() {
    let vectors = Vectors::read();
    let names = ("Åsa", "Desk");
    let now_ms = 1_700_000_000_000;
    let (log, keyring, _, draft) =
        ControlLog::begin_with(workspace(), &device(), names, now_ms, &secrets(), policy())
            .unwrap();
    vectors.check("genesis-hash", log.genesis_hash());
    vectors.check("genesis-epoch-id", log.epoch().unwrap().to_bytes());
    let newest = keyring.newest().unwrap();
    let control = FragmentKind::Control;
    let record = sealing::open(newest, workspace(), control, &draft.record).unwrap();
    vectors.check("genesis", record);
}

#[test]
fn wraps_and_previous_epochs_of_the_text_open() {
    let vectors = Vectors::read();
    let bytes = vectors.bytes("wrap");
    let wrap = Wrap::read(&mut Reader::new(&bytes)).unwrap();
    let (opened, opened_policy) = wrap.open(&device(), workspace(), secrets().id()).unwrap();
    assert_eq!(opened.checks(), secrets().checks());
    assert_eq!(opened_policy.unwrap().public(), policy().public());

    let id = EpochId {
        number: 4,
        record: up_from(0x48),
    };
    let new = EpochSecrets::new(id, up_from(0xc0), Some(up_from(0xe0)));
    let sealed = EncryptedFragment::from_bytes(vectors.bytes("previous-epoch")).unwrap();
    let old = previous::open(&new, workspace(), &sealed).unwrap();
    assert_eq!(old.id(), secrets().id());
    assert_eq!(old.checks(), secrets().checks());
}

#[test]
fn what_devices_say_when_one_joins_is_that_of_the_text() {
    let vectors = Vectors::read();
    let info = DeviceInfo::new(&device(), "Åsa", "Desk").unwrap();
    vectors.check("device-info", info.encode());
    let welcome = Welcome {
        workspace: workspace(),
        name: "Papers".to_owned(),
        genesis_hash: up_from(0x10),
        control_index: 9,
        control_head: up_from(0x30),
        policy_public: policy().public(),
        mailbox: policy().mailbox(),
        role: Role::Writer,
        secrets: secrets(),
        policy: None,
        edges: vec!["edge-one".to_owned()],
    };
    vectors.check("welcome", welcome.encode().unwrap());
}
