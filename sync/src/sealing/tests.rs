//! Fragments that open, and all the ways in which they must not.

use proptest::prelude::*;
use satchel_protocol::limits::MAX_FRAGMENT_BYTES;

use super::*;

const WORKSPACE: WorkspaceId = WorkspaceId([1; 16]);
const EPOCH: EpochId = EpochId {
    number: 3,
    record: [4; 8],
};

fn secrets_of(byte: u8) -> EpochSecrets {
    EpochSecrets::new(EPOCH, [byte; 32], None)
}

fn seal_entry(inner: &[u8]) -> EncryptedFragment {
    seal(
        &secrets_of(1),
        WORKSPACE,
        FragmentKind::Entry,
        inner,
        Padding::Padme,
    )
    .unwrap()
}

fn open_entry(fragment: &EncryptedFragment) -> Result<Vec<u8>, OpenError> {
    open(&secrets_of(1), WORKSPACE, FragmentKind::Entry, fragment)
}

#[test]
fn texts_of_all_sizes_come_back() {
    let sizes = [
        0,
        1,
        251,
        252,
        253,
        SEGMENT_BYTES - 5,
        SEGMENT_BYTES - 4,
        SEGMENT_BYTES,
        3 * SEGMENT_BYTES,
        MAX_INNER_BYTES,
    ];
    for size in sizes {
        let text: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let fragment = seal_entry(&text);
        assert!(fragment.len_bytes() <= MAX_FRAGMENT_BYTES);
        assert_eq!(open_entry(&fragment).unwrap(), text, "{size} bytes");
    }
}

#[test]
fn a_longer_text_is_refused_with_its_length() {
    let found_bytes = MAX_INNER_BYTES + 1;
    let text = vec![0; found_bytes];
    for padding in [Padding::Padme, Padding::Multiple(1024)] {
        let refused = seal(
            &secrets_of(1),
            WORKSPACE,
            FragmentKind::Pack,
            &text,
            padding,
        );
        assert_eq!(refused.unwrap_err(), SealError::TooLong { found_bytes });
    }
    let longest = &text[1..];
    for padding in [Padding::Padme, Padding::Multiple(1024)] {
        assert!(
            seal(
                &secrets_of(1),
                WORKSPACE,
                FragmentKind::Pack,
                longest,
                padding
            )
            .is_ok()
        );
    }
}

#[test]
fn both_ciphers_open() {
    for aead in [Aead::Aes256GcmSiv, Aead::ChaCha20Poly1305] {
        let place = Place {
            workspace: WORKSPACE,
            epoch: EPOCH,
            kind: FragmentKind::Entry,
        };
        let choice = Choice {
            aead,
            salt: [9; 24],
        };
        let fragment = seal_with(&[1; 32], &place, &choice, b"satchel", Padding::Padme).unwrap();
        assert_eq!(fragment.header().aead, aead);
        assert_eq!(open_entry(&fragment).unwrap(), b"satchel");
    }
}

#[test]
fn every_bit_of_a_fragment_matters() {
    let bytes = seal_entry(b"satchel").into_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let opened = EncryptedFragment::from_bytes(changed).map(|fragment| open_entry(&fragment));
        assert!(!matches!(opened, Ok(Ok(_))), "bit {bit}");
    }
}

#[test]
fn epoch_kind_workspace_and_secret_all_matter() {
    let fragment = seal_entry(b"satchel");
    let kind = FragmentKind::Entry;
    let other_epoch = EpochId { number: 4, ..EPOCH };
    let later = EpochSecrets::new(other_epoch, [1; 32], None);
    assert_eq!(
        open(&later, WORKSPACE, kind, &fragment),
        Err(OpenError::OtherEpoch { found: EPOCH })
    );
    assert_eq!(
        open(&secrets_of(1), WORKSPACE, FragmentKind::Pack, &fragment),
        Err(OpenError::OtherKind { found: kind })
    );
    for (secrets, workspace) in [
        (secrets_of(2), WORKSPACE),
        (secrets_of(1), WorkspaceId([2; 16])),
    ] {
        assert_eq!(
            open(&secrets, workspace, kind, &fragment),
            Err(OpenError::Sealed)
        );
    }
}

#[test]
fn segments_cannot_be_dropped_swapped_or_repeated() {
    let fragment = seal_entry(&vec![7; 3 * SEGMENT_BYTES]);
    let sealed: Vec<_> = fragment
        .segments()
        .chunks(SEGMENT_BYTES + TAG_BYTES)
        .collect();
    assert!(sealed.len() >= 4);
    let with = |order: &[usize]| {
        let segments: Vec<u8> = order.iter().flat_map(|at| sealed[*at]).copied().collect();
        open_entry(&EncryptedFragment::new(fragment.header().clone(), &segments).unwrap())
    };
    let all: Vec<usize> = (0..sealed.len()).collect();
    assert!(with(&all).is_ok());
    for refused in [
        &all[..all.len() - 1],
        &all[1..],
        &[1, 0, 2, 3],
        &[0, 0, 1, 2, 3],
    ] {
        assert_eq!(with(refused), Err(OpenError::Sealed), "{refused:?}");
    }
}

#[test]
fn sealing_twice_never_gives_the_same_bytes() {
    let (first, second) = (seal_entry(b"satchel"), seal_entry(b"satchel"));
    assert_ne!(first.segments(), second.segments());
    assert_ne!(first.header().commit, second.header().commit);
}

/// A member that pads with words or lies about the length is not followed.
#[test]
fn padding_that_is_not_zero_is_refused() {
    let text = |bytes: &[u8]| unpad(Zeroizing::new(bytes.to_vec()));
    assert_eq!(text(&[0, 0, 0, 1, 9, 0, 0]), Ok(vec![9]));
    assert_eq!(text(&[0, 0, 0, 1, 9, 0, 1]), Err(OpenError::Malformed));
    assert_eq!(text(&[0, 0, 0, 4, 9, 0, 0]), Err(OpenError::Malformed));
    assert_eq!(text(&[255; 7]), Err(OpenError::Malformed));
    assert_eq!(text(&[0, 0, 0]), Err(OpenError::Malformed));
}

#[test]
fn sizes_are_those_of_padme() {
    let examples = [
        (0, 256),
        (256, 256),
        (257, 272),
        (1000, 1024),
        (1025, 1088),
        (100_000, 100_352),
        (1_032_192, 1_032_192),
    ];
    for (len, padded) in examples {
        assert_eq!(Padding::Padme.padded_bytes(len), padded, "{len}");
    }
    assert_eq!(Padding::Multiple(1024).padded_bytes(1024), 1024);
    assert_eq!(Padding::Multiple(1024).padded_bytes(1025), 2048);
}

/// A length is Padmé's when only the upper log2(e) + 1 bits of it are set.
fn is_padme(len: usize) -> bool {
    let exponent = len.ilog2();
    len.trailing_zeros() >= exponent - (exponent.ilog2() + 1)
}

proptest! {
    #[test]
    fn what_an_edge_sees_is_a_padme_size(len in 0..MAX_INNER_BYTES) {
        let padded = Padding::Padme.padded_bytes(len + LENGTH_BYTES);
        prop_assert!(is_padme(padded) && padded >= MIN_PADDED_BYTES && padded >= len + LENGTH_BYTES);
        prop_assert!(padded as f64 <= (len + LENGTH_BYTES).max(MIN_PADDED_BYTES) as f64 * 1.12);
    }

    #[test]
    fn short_texts_are_sealed_to_a_padme_size(text in prop::collection::vec(any::<u8>(), 0..5000)) {
        let fragment = seal_entry(&text);
        prop_assert!(is_padme(fragment.segments().len() - TAG_BYTES));
        prop_assert_eq!(open_entry(&fragment).unwrap(), text);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 87..600)) {
        let mut bytes = bytes;
        bytes[..3].copy_from_slice(&[1, 1, 0]);
        bytes[3..15].copy_from_slice(&EPOCH.to_bytes());
        let fragment = EncryptedFragment::from_bytes(bytes).unwrap();
        prop_assert_eq!(open_entry(&fragment), Err(OpenError::Sealed));
    }
}
