//! Devices come, change their roles, leave, and agree on all of it.

use super::*;
use crate::member::WalkBackError;

#[test]
fn a_log_begins_with_its_owner() {
    let world = begin();
    let log = &world.owner.log;
    let member = log.member(&world.owner.id()).unwrap();
    assert_eq!(
        (member.user.as_str(), member.label.as_str()),
        ("Åsa", "Desk")
    );
    assert_eq!(member.role, Role::Owner);
    assert_eq!((member.added_ms, member.added_by), (1000, world.owner.id()));
    assert_eq!((log.index(), log.head()), (1, log.genesis_hash()));
    assert_eq!(
        log.epoch().unwrap().record[..],
        log.genesis_hash()[..8],
        "the first epoch is named after the first record"
    );
    let policy = world.owner.policy.as_ref().unwrap();
    assert_eq!(log.policy(), Some((0, policy.public())));
    assert_eq!(log.mailbox(), Some(policy.mailbox()));
}

#[test]
fn devices_that_accept_the_same_records_agree_on_everything() {
    let mut world = begin();
    let mut writer = world.adds(Role::Writer);
    let mut reader = world.adds(Role::Reader);
    world.does(rename(&reader, "Phone")).unwrap();
    let links = vec!["edge-one".to_owned(), "edge-two".to_owned()];
    world
        .does(Op::Edges {
            links: links.clone(),
        })
        .unwrap();
    world.does(ROTATE).unwrap();
    for device in [&mut writer, &mut reader] {
        device.catch_up(&world).unwrap();
        assert_eq!(device.log.head(), world.owner.log.head());
        assert_eq!(device.log.edges(), links);
        assert!(device.log.members().eq(world.owner.log.members()));
        assert_eq!(device.log.epoch(), world.owner.log.epoch());
        assert!(device.knows_epoch_of(&world.owner));
    }
    let label = &writer.log.member(&reader.id()).unwrap().label;
    assert_eq!(label, "Phone");
}

/// How the log comes back at a start: the stored fragments are accepted again.
#[test]
fn a_log_comes_back_from_its_fragments() {
    let mut world = begin();
    let second = world.adds(Role::Owner);
    world.does(ROTATE).unwrap();
    world.does(remove(&second)).unwrap();
    let stored = world.owner.keyring.to_secret_bytes();
    let mut keyring = Keyring::from_secret_bytes(&stored).unwrap();
    let mut log = ControlLog::joining(WORKSPACE, world.owner.log.genesis_hash());
    let accepted = log
        .accept_all(&world.records, &world.owner.keys, &mut keyring)
        .unwrap();
    assert_eq!(log.head(), world.owner.log.head());
    assert!(log.members().eq(world.owner.log.members()));
    assert_eq!(keyring.to_secret_bytes(), stored);
    let last = accepted.last().unwrap();
    assert!(last.new_epoch && !last.we_were_removed);
    assert_eq!(
        last.policy.as_ref().map(PolicyKey::public),
        log.policy().map(|(_, public)| public)
    );
}

#[test]
fn a_new_member_walks_back_through_five_rotations() {
    let mut world = begin();
    for _ in 0..5 {
        world.does(ROTATE).unwrap();
    }
    let writer = world.adds(Role::Writer);
    let reader = world.adds(Role::Reader);
    assert_eq!(writer.keyring.len(), 6);
    for (ours, theirs) in world.owner.keyring.iter().zip(writer.keyring.iter()) {
        assert_eq!(ours.expose_secret(), theirs.expose_secret());
        assert_eq!(ours.expose_writer_secret(), theirs.expose_writer_secret());
    }
    for (ours, theirs) in world.owner.keyring.iter().zip(reader.keyring.iter()) {
        assert_eq!(ours.expose_secret(), theirs.expose_secret());
        assert_eq!(theirs.expose_writer_secret(), None, "readers never write");
    }
}

#[test]
fn a_device_that_was_away_catches_up_with_the_rest_alone() {
    let mut world = begin();
    let mut reader = world.adds(Role::Reader);
    let seen = world.records.len();
    for _ in 0..3 {
        world.does(ROTATE).unwrap();
    }
    world.does(set(&reader, Role::Writer)).unwrap();
    world.does(ROTATE).unwrap();
    let accepted = reader
        .log
        .accept_all(&world.records[seen..], &reader.keys, &mut reader.keyring)
        .unwrap();
    assert_eq!(accepted.len(), 5);
    assert_eq!(reader.log.head(), world.owner.log.head());
    // And once more with nothing new, though older writers' secrets are unknown here.
    let none = reader
        .log
        .accept_all(&[], &reader.keys, &mut reader.keyring)
        .unwrap();
    assert!(none.is_empty());
}

#[test]
fn a_removed_device_reads_its_removal_and_nothing_after() {
    let mut world = begin();
    let mut lost = world.adds(Role::Writer);
    let mut kept = world.adds(Role::Writer);
    world.does(remove(&lost)).unwrap();
    world.does(rename(&kept, "Phone")).unwrap();

    let removal = &world.records[3];
    lost.accept(&world.records[2]).unwrap();
    let accepted = lost.accept(removal).unwrap();
    assert!(accepted.we_were_removed && accepted.new_epoch);
    assert!(!lost.knows_epoch_of(&world.owner));
    let error = lost.catch_up(&world).unwrap_err();
    assert!(
        matches!(error, ControlError::EpochUnknown { epoch: 1 }),
        "{error}"
    );
    // Nor does the fragment beside the record tell it anything.
    for known in lost.keyring.iter() {
        let new = known.named(world.owner.log.epoch().unwrap());
        assert!(previous::open(&new, WORKSPACE, removal.2.as_ref().unwrap()).is_err());
    }
    kept.catch_up(&world).unwrap();
    assert!(kept.knows_epoch_of(&world.owner));
    let removed = kept.log.member(&lost.id()).unwrap().removed.unwrap();
    assert_eq!((removed.by, removed.at_index), (world.owner.id(), 3));
    assert_eq!((removed.last_accepted, removed.at_ms), (7, 2000));
    assert_eq!(kept.log.role(&lost.id()), None);
}

#[test]
fn removing_an_owner_makes_a_new_policy_key_and_keeps_the_mailbox() {
    let mut world = begin();
    let mut second = world.adds(Role::Owner);
    let third = world.adds(Role::Owner);
    let mut writer = world.adds(Role::Writer);
    second.catch_up(&world).unwrap();
    let mailbox = world.owner.log.mailbox();
    let old = world.owner.log.policy().unwrap();

    let draft = second.propose(remove(&third)).unwrap();
    let (counter, policy) = draft.rotation.as_ref().unwrap().policy.as_ref().unwrap();
    assert_eq!(*counter, 1);
    let public = policy.public();
    let record = published(draft);
    let accepted = world.owner.accept(&record).unwrap();
    assert_eq!(accepted.policy.unwrap().public(), public);
    world.records.push(record);
    writer.catch_up(&world).unwrap();
    assert_ne!(old, (1, public));
    assert_eq!(writer.log.policy(), Some((1, public)));
    assert_eq!(writer.log.mailbox(), mailbox);
    assert!(writer.policy.is_none());
    // The old policy key makes no more epochs.
    second.policy = Some(PolicyKey::random());
    second.catch_up(&world).unwrap();
    assert_eq!(second.policy.as_ref().unwrap().public(), public);
    second.policy = None;
    let error = second.propose(ROTATE).unwrap_err();
    assert!(matches!(error, ControlError::PolicyKeyNeeded), "{error}");
}

#[test]
fn a_raised_device_gets_what_its_role_needs_and_a_lowered_one_loses_it() {
    let mut world = begin();
    let mut device = world.adds(Role::Reader);
    let policy_of = |world: &World| world.owner.log.policy().unwrap();

    world.does(set(&device, Role::Owner)).unwrap();
    device.catch_up(&world).unwrap();
    let newest = device.keyring.newest().unwrap();
    assert!(newest.expose_writer_secret().is_some());
    let policy = device.policy.as_ref().unwrap().public();
    assert_eq!(policy_of(&world), (0, policy));
    device.propose(ROTATE).unwrap();

    world.does(set(&device, Role::Writer)).unwrap();
    device.catch_up(&world).unwrap();
    assert_eq!(policy_of(&world).0, 1, "a former owner knew the old key");
    assert_eq!(device.policy.as_ref().unwrap().public(), policy);

    world.does(set(&device, Role::Reader)).unwrap();
    device.catch_up(&world).unwrap();
    let newest = device.keyring.newest().unwrap();
    assert_eq!(newest.expose_writer_secret(), None);
    assert_eq!(policy_of(&world).0, 1);
}
#[test]
fn a_joining_device_notices_a_missing_way_back() {
    let mut world = begin();
    world.does(ROTATE).unwrap();
    world.does(ROTATE).unwrap();
    let mut keyring = Keyring::new();
    keyring.insert(world.owner.keyring.newest().unwrap().duplicate());
    let mut log = ControlLog::joining(WORKSPACE, world.owner.log.genesis_hash());
    world.records[1].2 = None;
    let error = log
        .accept_all(&world.records, &DeviceKeys::random(), &mut keyring)
        .unwrap_err();
    assert!(
        matches!(
            error,
            ControlError::WalkBack(WalkBackError::Missing { epoch: 1 })
        ),
        "{error}"
    );
}

#[test]
fn the_role_at_a_head_is_the_one_of_that_time() {
    let mut world = begin();
    let before = world.owner.log.head();
    let device = world.adds(Role::Writer);
    let as_writer = world.owner.log.head();
    world.does(rename(&device, "x")).unwrap();
    let still_writer = world.owner.log.head();
    world.does(set(&device, Role::Reader)).unwrap();
    let as_reader = world.owner.log.head();
    world.does(remove(&device)).unwrap();
    let removed = world.owner.log.head();
    world.does(ROTATE).unwrap();
    let log = &world.owner.log;
    let role_at = |head| log.role_at(&device.id(), &head);
    assert_eq!(role_at(before), None);
    assert_eq!(role_at(as_writer), Some(Role::Writer));
    assert_eq!(role_at(still_writer), Some(Role::Writer));
    assert_eq!(role_at(as_reader), Some(Role::Reader));
    assert_eq!(role_at(removed), None);
    assert_eq!(role_at(log.head()), None);
    assert_eq!(role_at([0; 32]), None);
    assert!(log.knows_head(&as_reader) && !log.knows_head(&[0; 32]));
    assert_eq!(log.role_at(&world.owner.id(), &before), Some(Role::Owner));
}

#[test]
fn what_an_edge_sees_are_multiples_of_a_kibibyte() {
    let mut world = begin();
    let device = world.adds(Role::Writer);
    world.does(remove(&device)).unwrap();
    for (_, record, previous) in &world.records {
        for fragment in [Some(record), previous.as_ref()].into_iter().flatten() {
            assert_eq!((fragment.segments().len() - 16) % 1024, 0);
        }
    }
}

#[test]
fn debug_output_names_no_person() {
    let world = begin();
    let shown = format!("{:?}", world.owner.log);
    assert!(!shown.contains("Desk"), "{shown}");
}

#[test]
fn a_hundred_devices_rotate_in_one_record() {
    let mut world = begin();
    for _ in 0..100 {
        let keys = DeviceKeys::random();
        world.does(add(&keys, Role::Writer)).unwrap();
    }
    world.does(ROTATE).unwrap();
    assert!(world.records.last().unwrap().1.len_bytes() < 20_000);
}
