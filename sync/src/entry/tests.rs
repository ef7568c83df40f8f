//! Entries that come back, and forged ones that neither pass nor take memory.

use proptest::prelude::*;

use super::*;
use crate::bytes::Writer;

const WORKSPACE: WorkspaceId = WorkspaceId([1; 16]);
const EPOCH: EpochId = EpochId {
    number: 3,
    record: [4; 8],
};
const KIND: FragmentKind = FragmentKind::Entry;

fn empty(keys: &DeviceKeys) -> Inner {
    Inner {
        device: keys.id(),
        sequence: 1,
        previous: [0; 32],
        control_head: [2; 32],
        created_ms: 1_700_000_000_000,
        seen: Vec::new(),
        observed: Vec::new(),
        covers: Vec::new(),
        supersedes: Vec::new(),
        parts: Vec::new(),
    }
}

fn inline(bytes: &[u8]) -> Part {
    Part {
        key: DocKey {
            kind: DocKind::Document,
            id: [3; 16],
        },
        encoding: Encoding::Changes,
        heads: vec![[4; 32], [5; 32]],
        body: PartBody::Inline(bytes.to_vec()),
    }
}

fn full(keys: &DeviceKeys) -> Inner {
    let seen = |byte| Seen {
        device: DeviceId([byte; 16]),
        sequence: 7,
        hash: [byte; 32],
    };
    let blobs = Part {
        key: DocKey {
            kind: DocKind::Index,
            id: [0; 16],
        },
        encoding: Encoding::Save,
        heads: Vec::new(),
        body: PartBody::Blobs {
            ids: vec![FragmentId([6; 32]), FragmentId([7; 32])],
            len_bytes: 3_000_000,
            hash: [8; 32],
        },
    };
    Inner {
        sequence: 9,
        previous: [1; 32],
        seen: vec![seen(1), seen(2)],
        observed: vec![Observation {
            edge: NodeFingerprint([9; 32]),
            offset: Offset(44),
            chain: Chain([10; 32]),
        }],
        covers: vec![seen(3)],
        supersedes: vec![FragmentId([11; 32])],
        parts: vec![inline(b"short"), blobs, inline(&[b'a'; 100_000])],
        ..empty(keys)
    }
}

fn encode(inner: &Inner, keys: &DeviceKeys) -> Result<Vec<u8>, EntryError> {
    inner.encode_signed(keys, WORKSPACE, EPOCH, KIND)
}

#[test]
fn an_entry_reads_back_and_its_signature_holds() {
    let keys = DeviceKeys::random();
    for inner in [empty(&keys), full(&keys)] {
        let bytes = encode(&inner, &keys).unwrap();
        let (again, signed) = Inner::decode(&bytes).unwrap();
        assert_eq!(again, inner);
        assert_eq!(
            signed.verify(&keys.public(), WORKSPACE, EPOCH, KIND),
            Ok(())
        );
        assert_eq!(signed.hash(), inner_hash(&bytes));
    }
    // 100,000 equal letters are not sent as such.
    assert!(encode(&full(&keys), &keys).unwrap().len() < 1000);
}

#[test]
fn every_bit_of_an_entry_matters() {
    let keys = DeviceKeys::random();
    let inner = Inner {
        parts: vec![inline(b"short")],
        ..full(&keys)
    };
    let bytes = encode(&inner, &keys).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let read = Inner::decode(&changed)
            .and_then(|(_, signed)| signed.verify(&keys.public(), WORKSPACE, EPOCH, KIND));
        assert!(read.is_err(), "bit {bit}");
    }
    for end in 0..bytes.len() {
        let read = Inner::decode(&bytes[..end])
            .and_then(|(_, signed)| signed.verify(&keys.public(), WORKSPACE, EPOCH, KIND));
        assert!(read.is_err(), "{end} bytes");
    }
}

#[test]
fn a_signature_serves_one_device_workspace_epoch_and_kind() {
    let keys = DeviceKeys::random();
    let bytes = encode(&full(&keys), &keys).unwrap();
    let (_, signed) = Inner::decode(&bytes).unwrap();
    let device = keys.id();
    let other_device = DeviceKeys::random().public();
    let other_epoch = EpochId { number: 4, ..EPOCH };
    let public = keys.public();
    for refused in [
        signed.verify(&other_device, WORKSPACE, EPOCH, KIND),
        signed.verify(&public, WorkspaceId([2; 16]), EPOCH, KIND),
        signed.verify(&public, WORKSPACE, other_epoch, KIND),
        signed.verify(&public, WORKSPACE, EPOCH, FragmentKind::Pack),
    ] {
        assert_eq!(refused, Err(EntryError::Signature { device }));
    }
    assert_eq!(
        encode(&full(&keys), &DeviceKeys::random()),
        Err(EntryError::OtherDevice { device })
    );
}

#[test]
fn lists_that_are_too_long_are_refused_by_name() {
    let keys = DeviceKeys::random();
    let seen = Seen {
        device: keys.id(),
        sequence: 1,
        hash: [0; 32],
    };
    let with = |change: fn(&mut Inner, Seen)| {
        let mut inner = empty(&keys);
        change(&mut inner, seen);
        encode(&inner, &keys).unwrap_err().to_string()
    };
    let text = with(|inner, seen| inner.seen = vec![seen; MAX_SEEN + 1]);
    assert!(text.contains("1025 seen entries"), "{text}");
    let text = with(|inner, seen| inner.covers = vec![seen; MAX_SEEN + 1]);
    assert!(text.contains("covered entries"), "{text}");
    let text = with(|inner, _| inner.supersedes = vec![FragmentId([0; 32]); MAX_SUPERSEDES + 1]);
    assert!(text.contains("superseded"), "{text}");
    let text = with(|inner, _| inner.parts = vec![inline(b""); MAX_PARTS + 1]);
    assert!(text.contains("parts"), "{text}");
    let text = with(|inner, _| {
        let mut part = inline(b"");
        part.heads = vec![[0; 32]; MAX_HEADS + 1];
        inner.parts = vec![part];
    });
    assert!(text.contains("heads"), "{text}");
    let text = with(|inner, _| inner.parts = vec![inline(&vec![0; MAX_PART_BYTES + 1])]);
    assert!(text.contains("send it as blobs"), "{text}");
    let text = with(|inner, _| inner.parts = vec![inline(&vec![0; MAX_PART_BYTES]); 17]);
    assert!(text.contains("split it"), "{text}");
}

#[test]
fn an_entry_that_fits_no_fragment_is_refused() {
    let keys = DeviceKeys::random();
    // What zstd cannot compress.
    let mut hash = blake3::Hasher::new().finalize_xof();
    let mut noise = vec![0; MAX_PART_BYTES];
    hash.fill(&mut noise);
    let inner = Inner {
        parts: vec![inline(&noise)],
        ..empty(&keys)
    };
    assert!(matches!(
        encode(&inner, &keys),
        Err(EntryError::TooLong { .. })
    ));
}

#[test]
fn sequences_begin_with_one_and_follow_something_later() {
    let keys = DeviceKeys::random();
    for (sequence, previous) in [(0, [0; 32]), (1, [1; 32]), (2, [0; 32])] {
        let inner = Inner {
            sequence,
            previous,
            ..empty(&keys)
        };
        assert_eq!(encode(&inner, &keys), Err(EntryError::Sequence));
    }
}

#[test]
fn an_entry_of_a_newer_program_asks_for_an_update() {
    let keys = DeviceKeys::random();
    let inner = Inner {
        parts: vec![inline(b"short")],
        ..empty(&keys)
    };
    let bytes = encode(&inner, &keys).unwrap();
    let parts_at = bytes.len() - 64 - (16 + 1 + 1 + 1 + 2 * 32 + 1 + 4 + 5);
    for at in [0, parts_at, parts_at + 17, bytes.len() - 64 - 10] {
        let mut newer = bytes.clone();
        newer[at] = 9;
        let error = Inner::decode(&newer).unwrap_err();
        assert_eq!(error, EntryError::Newer, "byte {at}");
        assert!(error.to_string().contains("update Satchel"));
    }
}

/// An entry whose one part says so much about itself, signed as if it were good.
fn forged(parts: u16, declared_bytes: u32, packed: &[u8]) -> Vec<u8> {
    let keys = DeviceKeys::random();
    let bytes = encode(&empty(&keys), &keys).unwrap();
    let mut forged = Writer::new();
    forged.array(&bytes[..bytes.len() - 64 - 2]).u16(parts);
    for _ in 0..parts {
        forged.u8(2).array(&[0; 16]).u8(1).u8(0).u8(1);
        forged.u32(declared_bytes).bytes32(packed);
    }
    forged.array(&[0; 64]);
    forged.into_vec()
}

#[test]
fn a_part_that_grows_beyond_what_it_says_is_refused() {
    // 64 MiB of zeros in a few KB.
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    assert!(bomb.len() < 10_000);
    for declared_bytes in [0, 10, MAX_PART_BYTES as u32] {
        let bytes = forged(1, declared_bytes, &bomb);
        assert_eq!(
            Inner::decode(&bytes).unwrap_err(),
            EntryError::Compressed,
            "{declared_bytes}"
        );
    }
    let honest = forged(1, 64 << 20, &bomb);
    assert!(matches!(
        Inner::decode(&honest),
        Err(EntryError::PartTooLong { .. })
    ));
    let shorter = zstd::bulk::compress(&[0; 1000], 3).unwrap();
    assert_eq!(
        Inner::decode(&forged(1, 1001, &shorter)).unwrap_err(),
        EntryError::Compressed
    );
    assert!(Inner::decode(&forged(1, 1000, &shorter)).is_ok());
}

#[test]
fn many_parts_together_may_not_grow_beyond_the_limit() {
    let packed = zstd::bulk::compress(&vec![0; MAX_PART_BYTES], 3).unwrap();
    assert!(Inner::decode(&forged(16, MAX_PART_BYTES as u32, &packed)).is_ok());
    let error = Inner::decode(&forged(4096, MAX_PART_BYTES as u32, &packed)).unwrap_err();
    assert_eq!(error, EntryError::Malformed);
}

#[test]
fn debug_output_shows_no_text() {
    let keys = DeviceKeys::random();
    let inner = Inner {
        parts: vec![inline(b"secret words")],
        ..empty(&keys)
    };
    let shown = format!("{inner:?}");
    assert!(
        !shown.contains("115, 101, 99") && shown.contains("12 bytes"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        prop_assert!(Inner::decode(&bytes).map_or(true, |(inner, _)| inner.sequence > 0));
    }

    #[test]
    fn changed_entries_are_read_without_a_panic(at in 0usize..700, value: u8) {
        let keys = DeviceKeys::from_secret_bytes(&[[1].as_slice(), &[7; 64]].concat()).unwrap();
        let mut bytes = encode(&full(&keys), &keys).unwrap();
        let at = at % bytes.len();
        let is_same = bytes[at] == value;
        bytes[at] = value;
        let read = Inner::decode(&bytes)
            .and_then(|(_, signed)| signed.verify(&keys.public(), WORKSPACE, EPOCH, KIND));
        prop_assert_eq!(read.is_ok(), is_same);
    }

    #[test]
    fn parts_of_any_content_come_back(text in prop::collection::vec(any::<u8>(), 0..3000)) {
        let keys = DeviceKeys::from_secret_bytes(&[[1].as_slice(), &[7; 64]].concat()).unwrap();
        let inner = Inner { parts: vec![inline(&text)], ..empty(&keys) };
        let bytes = encode(&inner, &keys).unwrap();
        prop_assert_eq!(Inner::decode(&bytes).unwrap().0, inner);
    }
}
