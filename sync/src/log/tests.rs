//! Files that are cut, changed, swapped and emptied: every time it is noticed and the rest is used.

use expect_test::expect;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::id::{WorkspaceId, to_hex};
use crate::keys::DataKey;

const NAME: FileName = FileName {
    kind: FileKind::Document,
    id: [1; 32],
};

struct Rig {
    folder: TempDir,
    keys: WorkspaceKeys,
}

impl Rig {
    fn new() -> Self {
        let keys = WorkspaceKeys::new(&DataKey::from_bytes([1; 32]), WorkspaceId([2; 16]));
        Self {
            folder: tempfile::tempdir().unwrap(),
            keys,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a.log")
    }

    fn log(&self) -> LogFile<'_> {
        LogFile::new(&self.keys, NAME)
    }

    fn scan(&self, bytes: &[u8]) -> Scan {
        self.log().scan(&self.path(), bytes).unwrap()
    }
}

const FRAMES: [&[u8]; 3] = [b"first frame", b"", b"the third and last frame"];

/// Offsets at which the frames of [`FRAMES`] end, the header's end first.
fn borders() -> Vec<usize> {
    let mut ends = vec![HEADER_BYTES];
    for frame in FRAMES {
        ends.push(ends.last().unwrap() + FRAME_HEAD_BYTES + SEAL_OVERHEAD_BYTES + frame.len());
    }
    ends
}

#[test]
fn frames_come_back_in_order() {
    let rig = Rig::new();
    let bytes = rig.log().encode(&FRAMES);
    let scan = rig.scan(&bytes);
    assert_eq!(scan.frames, FRAMES);
    assert_eq!((scan.good_bytes as usize, scan.damage), (bytes.len(), None));
    assert_eq!(bytes.len(), *borders().last().unwrap());
}

/// The plain part of a file; the sealed part is frozen in `seal`. If this fails, old files cannot be opened.
#[test]
fn the_header_is_as_documented() {
    let rig = Rig::new();
    let bytes = rig.log().encode(&[]);
    expect!["53415443484c4f47010001020000000002020202020202020202020202020202"]
        .assert_eq(&to_hex(&bytes[..32]));
    expect!["31bc3060286e73f5"].assert_eq(&to_hex(&bytes[48..56]));
    assert_eq!(bytes.len(), HEADER_BYTES);
    let mut check = Header([0; HEADER_BYTES]);
    check.0[32..48].copy_from_slice(&[7; 16]);
    expect!["11d140f5"].assert_eq(&to_hex(&frame_check(&check, 64, 5)));
}

#[test]
fn a_file_cut_anywhere_gives_its_whole_frames_and_a_report() {
    let rig = Rig::new();
    let bytes = rig.log().encode(&FRAMES);
    for end in 0..bytes.len() {
        let scan = rig.scan(&bytes[..end]);
        let whole = borders()
            .iter()
            .filter(|border| **border <= end)
            .count()
            .saturating_sub(1);
        assert_eq!(scan.frames, FRAMES[..whole], "cut at {end}");
        let on_border = borders().contains(&end);
        assert_eq!(scan.damage.is_none(), on_border, "cut at {end}");
        if let Some(damage) = scan.damage {
            let expected = if end < HEADER_BYTES {
                DamageKind::NoHeader
            } else {
                DamageKind::TornTail
            };
            assert_eq!(damage.kind, expected, "cut at {end}");
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed_and_nothing_wrong_is_given() {
    let rig = Rig::new();
    let bytes = rig.log().encode(&FRAMES);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let scan = rig.scan(&changed);
        assert!(scan.damage.is_some(), "bit {bit}");
        assert!(scan.frames.len() < FRAMES.len(), "bit {bit}");
        assert_eq!(scan.frames, FRAMES[..scan.frames.len()], "bit {bit}");
    }
}

#[test]
fn zeros_at_the_end_are_a_torn_write() {
    let rig = Rig::new();
    let mut bytes = rig.log().encode(&FRAMES);
    bytes.extend([0; 5000]);
    let scan = rig.scan(&bytes);
    assert_eq!(scan.frames, FRAMES);
    assert_eq!(scan.damage.unwrap().kind, DamageKind::TornTail);
}

#[test]
fn frames_of_another_file_place_or_incarnation_do_not_fit() {
    let rig = Rig::new();
    let bytes = rig.log().encode(&FRAMES);
    let other = FileName {
        id: [9; 32],
        ..NAME
    };
    assert!(
        LogFile::new(&rig.keys, other)
            .scan(&rig.path(), &bytes)
            .unwrap()
            .frames
            .is_empty()
    );
    let chat = FileName {
        kind: FileKind::Chat,
        ..NAME
    };
    let swapped = LogFile::new(&rig.keys, chat)
        .scan(&rig.path(), &bytes)
        .unwrap();
    assert_eq!(swapped.damage.unwrap().kind, DamageKind::Changed);

    let again = rig.log().encode(&FRAMES);
    let mixed = [&bytes[..HEADER_BYTES], &again[HEADER_BYTES..]].concat();
    assert!(rig.scan(&mixed).frames.is_empty());

    let ends = borders();
    let doubled = [&bytes[..ends[1]], &bytes[ends[0]..]].concat();
    assert_eq!(rig.scan(&doubled).frames, FRAMES[..1]);
}

#[test]
fn a_wrong_key_and_a_newer_format_are_errors_not_damage() {
    let rig = Rig::new();
    let bytes = rig.log().encode(&FRAMES);
    let keys = WorkspaceKeys::new(&DataKey::from_bytes([3; 32]), WorkspaceId([2; 16]));
    let wrong = LogFile::new(&keys, NAME).scan(&rig.path(), &bytes);
    assert!(matches!(wrong, Err(LogError::WrongKey { .. })));

    let mut newer = bytes;
    newer[8] = 2;
    let check = blake3::hash(&newer[..56]);
    newer[56..64].copy_from_slice(&check.as_bytes()[..8]);
    let refused = rig.log().scan(&rig.path(), &newer);
    assert!(matches!(
        refused,
        Err(LogError::NewerFormat { found: 2, .. })
    ));
}

#[test]
fn a_repaired_file_goes_on_and_what_was_dropped_is_kept() {
    let rig = Rig::new();
    let whole = rig.log().encode(&FRAMES);
    for end in HEADER_BYTES + 1..whole.len() {
        fs::write(rig.path(), &whole[..end]).unwrap();
        let mut scan = rig.log().read(&rig.path()).unwrap();
        let intact = scan.frames.clone();
        let good_bytes = scan.good_bytes as usize;
        rig.log().repair(&rig.path(), &mut scan).unwrap();
        if let Some(damage) = &scan.damage {
            let kept = damage.kept_as.clone().unwrap();
            assert_eq!(fs::read(&kept).unwrap(), &whole[good_bytes..end]);
            fs::remove_file(kept).unwrap();
        }
        let mut appender = Appender::open(&rig.path(), NAME, &scan).unwrap();
        appender.append(&rig.keys, b"new").unwrap();
        let scan = rig.log().read(&rig.path()).unwrap();
        assert_eq!(scan.damage, None);
        assert_eq!(scan.frames, [intact, vec![b"new".to_vec()]].concat());
    }
}

#[test]
fn a_file_changed_inside_is_kept_whole() {
    let rig = Rig::new();
    let mut bytes = rig.log().encode(&FRAMES);
    bytes[borders()[1] + 12] ^= 1;
    for round in ["a.log.damaged", "a.log.damaged-2"] {
        fs::write(rig.path(), &bytes).unwrap();
        let mut scan = rig.log().read(&rig.path()).unwrap();
        rig.log().repair(&rig.path(), &mut scan).unwrap();
        let damage = scan.damage.unwrap();
        assert_eq!(
            (damage.kind, damage.intact_frames),
            (DamageKind::Changed, 1)
        );
        assert_eq!(damage.kept_as.unwrap(), rig.folder.path().join(round));
        assert_eq!(fs::read(rig.folder.path().join(round)).unwrap(), bytes);
        assert_eq!(rig.log().read(&rig.path()).unwrap().frames, FRAMES[..1]);
    }
}

#[test]
fn an_unrepaired_or_changed_file_takes_no_frames() {
    let rig = Rig::new();
    let bytes = rig.log().encode(&FRAMES);
    fs::write(rig.path(), &bytes[..bytes.len() - 1]).unwrap();
    let scan = rig.log().read(&rig.path()).unwrap();
    assert_eq!(
        Appender::open(&rig.path(), NAME, &scan).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let scan = Rig::new().scan(&bytes);
        prop_assert!(scan.frames.is_empty() && scan.damage.is_some());
    }

    #[test]
    fn any_frames_survive_and_any_garbage_after_them_is_dropped(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..8),
        garbage in proptest::collection::vec(any::<u8>(), 1..100),
    ) {
        let rig = Rig::new();
        let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let mut bytes = rig.log().encode(&slices);
        bytes.extend(&garbage);
        let scan = rig.scan(&bytes);
        prop_assert_eq!(scan.frames, frames);
        prop_assert_eq!(scan.damage.unwrap().dropped_bytes as usize, garbage.len());
    }
}
