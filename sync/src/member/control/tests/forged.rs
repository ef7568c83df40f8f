//! Records that were changed, or that nobody writes by the rules.

use proptest::prelude::*;
use satchel_protocol::fragment::EncryptedFragment;

use super::record::EpochPart;
use super::*;
use crate::bytes::{Reader, Writer};
use crate::member::Wrap;

#[test]
fn every_bit_of_a_record_matters_and_a_refused_one_changes_nothing() {
    let mut world = begin();
    let mut device = world.adds(Role::Writer);
    world.does(ROTATE).unwrap();
    let (index, record, previous) = world.records[2].clone();
    let known = device.keyring.to_secret_bytes();
    let (record, previous) = (record.into_bytes(), previous.unwrap().into_bytes());
    let flip = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        EncryptedFragment::from_bytes(bytes).ok()
    };
    let whole = |bytes: &[u8]| EncryptedFragment::from_bytes(bytes.to_vec()).unwrap();
    for bit in (0..record.len() * 8).step_by(7) {
        if let Some(changed) = flip(&record, bit) {
            let refused = device.accept(&(index, changed, Some(whole(&previous))));
            assert!(refused.is_err(), "bit {bit} of the record");
        }
    }
    for bit in (0..previous.len() * 8).step_by(7) {
        if let Some(changed) = flip(&previous, bit) {
            let refused = device.accept(&(index, whole(&record), Some(changed)));
            assert!(refused.is_err(), "bit {bit} of the previous epoch");
        }
    }
    assert!(device.accept(&(index, whole(&record), None)).is_err());
    assert_eq!(device.keyring.to_secret_bytes(), known);
    assert_eq!(device.log.index(), 2);
    device
        .accept(&(index, whole(&record), Some(whole(&previous))))
        .unwrap();
}

#[test]
fn every_bit_of_the_signed_bytes_matters() {
    let mut world = begin();
    let device = world.adds(Role::Writer);
    let record = Record {
        index: world.owner.log.index(),
        previous: world.owner.log.head(),
        author: device.id(),
        created_ms: 3000,
        body: Body {
            op: rename(&device, "Mine"),
            epoch: None,
        },
    };
    let bytes = record.sign(&device.keys, WORKSPACE);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let sealed = seal_bytes(&device, &changed);
        assert!(world.owner.accept(&sealed).is_err(), "bit {bit}");
    }
    let elsewhere = record.sign(&device.keys, WorkspaceId([2; 16]));
    let error = world
        .owner
        .accept(&seal_bytes(&device, &elsewhere))
        .unwrap_err();
    assert!(matches!(error, ControlError::Signature { .. }), "{error}");
    world.owner.accept(&seal_bytes(&device, &bytes)).unwrap();
}

#[test]
fn a_record_of_a_newer_program_asks_for_an_update() {
    let mut world = begin();
    let owner = &world.owner;
    let mut bytes = Writer::new();
    bytes.u8(1).u8(1).u32(owner.log.index());
    bytes
        .array(&owner.log.head())
        .array(&owner.id().0)
        .i64(3000);
    // The first number that no operation has.
    bytes.u8(8).array(b"whatever it does");
    let mut digest = blake3::Hasher::new();
    digest.update(b"wsync control 1").update(&WORKSPACE.0);
    digest.update(bytes.as_slice());
    let signature = owner.keys.sign(digest.finalize().as_bytes());
    bytes.array(&signature);
    let newer_op = seal_bytes(owner, &bytes.into_vec());
    let newer_layout = seal_bytes(owner, &[&[1, 2], [0; 200].as_slice()].concat());
    for record in [newer_op, newer_layout] {
        let error = world.owner.accept(&record).unwrap_err();
        assert!(matches!(error, ControlError::Newer), "{error}");
        assert!(error.to_string().contains("update Satchel"));
    }
}

/// An owner that gives a member other keys than the rest would split the workspace in two.
#[test]
fn an_epoch_must_be_handed_to_all_members_as_announced() {
    let mut world = begin();
    let mut victim = world.adds(Role::Writer);
    let owner = &world.owner;
    let old = owner.keyring.newest().unwrap();
    let policy = owner.policy.as_ref().unwrap();
    let number = EpochId {
        number: 1,
        record: [0; 8],
    };
    let (told, given) = (EpochSecrets::random(number), EpochSecrets::random(number));
    let wrap = |device: &DeviceKeys, role, secrets| {
        Wrap::seal(&device.public(), role, WORKSPACE, secrets, Some(policy)).unwrap()
    };
    let make = |mut wraps: Vec<Wrap>| {
        wraps.sort_by_key(Wrap::device);
        let record = Record {
            index: owner.log.index(),
            previous: owner.log.head(),
            author: owner.id(),
            created_ms: 3000,
            body: Body {
                op: ROTATE,
                epoch: Some(EpochPart {
                    checks: told.checks(),
                    policy: None,
                    wraps,
                }),
            },
        };
        let bytes = record.sign(&owner.keys, WORKSPACE);
        let new = told.named(EpochId::made_by(1, &record::hash_of(&bytes)));
        let (index, record, _) = seal_bytes(owner, &bytes);
        (index, record, Some(previous::seal(&new, old, WORKSPACE)))
    };
    let ours = || wrap(&owner.keys, Role::Owner, &told);
    for wraps in [
        vec![ours()],
        vec![ours(), wrap(&victim.keys, Role::Writer, &given)],
        vec![ours(), wrap(&victim.keys, Role::Reader, &told)],
        vec![ours(), wrap(&DeviceKeys::random(), Role::Writer, &told)],
        vec![
            ours(),
            wrap(&victim.keys, Role::Writer, &told),
            wrap(&DeviceKeys::random(), Role::Writer, &told),
        ],
    ] {
        let error = victim.accept(&make(wraps)).unwrap_err();
        assert!(matches!(error, ControlError::WrongKeys), "{error}");
    }
    let honest = make(vec![ours(), wrap(&victim.keys, Role::Writer, &told)]);
    victim.accept(&honest).unwrap();
}

#[test]
fn a_removal_without_a_new_epoch_is_refused() {
    let mut world = begin();
    let mut device = world.adds(Role::Writer);
    let other = world.adds(Role::Writer);
    device.catch_up(&world).unwrap();
    let error = device
        .accept(&forge(&world.owner, remove(&other)))
        .unwrap_err();
    assert!(matches!(error, ControlError::WrongKeys), "{error}");
    // And a superfluous second fragment is as well.
    world.does(rename(&other, "x")).unwrap();
    let (index, record, _) = world.records.last().unwrap().clone();
    let error = device
        .accept(&(index, record.clone(), Some(record)))
        .unwrap_err();
    assert!(matches!(error, ControlError::PreviousEpoch), "{error}");
}
proptest! {
    #[test]
    fn any_bytes_are_read_as_a_record_without_a_panic(
        body in prop::collection::vec(any::<u8>(), 0..400),
        op in 0u8..9,
    ) {
        let mut bytes = vec![1, 1];
        bytes.extend_from_slice(&[0; 60]);
        bytes.push(op);
        bytes.extend_from_slice(&body);
        if let Ok(signed) = record::SignedRecord::read(&bytes) {
            prop_assert!(signed.body().is_err() || signed.index == 0);
        }
    }

    #[test]
    fn operations_come_back(user in "[a-zä ]{0,20}", number: u64, device: [u8; 16], owner: bool) {
        let public = DeviceKeys::random().public();
        let (device, role) = (DeviceId(device), if owner { Role::Owner } else { Role::Reader });
        for op in [
            Op::Genesis { owner: public, user: user.clone(), label: user.clone() },
            Op::AddDevice { public, user: user.clone(), label: user.clone(), role },
            Op::RemoveDevice { device, last_accepted: number },
            Op::SetRole { device, role },
            Op::Rename { device, label: user.clone() },
            Op::Edges { links: vec![user.clone(); 3] },
            ROTATE,
            Op::Rotate { reason: RotateReason::Due },
        ] {
            let mut writer = Writer::new();
            op.write(&mut writer);
            let bytes = writer.into_vec();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Op::read(&mut reader).unwrap(), op);
            prop_assert!(reader.end().is_ok());
        }
    }
}
