//! What nobody may do, and records in the wrong place.

use super::*;
use crate::member::WrapError;

#[test]
fn only_owners_say_who_is_a_member() {
    let mut world = begin();
    let mut writer = world.adds(Role::Writer);
    let mut reader = world.adds(Role::Reader);
    writer.catch_up(&world).unwrap();
    let new = DeviceKeys::random();
    for device in [&writer, &reader] {
        let role = device.log.role(&device.id()).unwrap();
        for op in [
            add(&new, Role::Reader),
            remove(&world.owner),
            set(device, Role::Owner),
            rename(&world.owner, "Mine"),
            Op::Edges { links: Vec::new() },
            ROTATE,
        ] {
            let is_refused = |error: &ControlError| matches!(error, ControlError::NotAllowed { role: found } if *found == role);
            let error = device.propose(op.clone()).unwrap_err();
            assert!(is_refused(&error), "{error}");
            // Nor is such a record taken from somebody who writes it anyway.
            let error = world.owner.accept(&forge(device, op)).unwrap_err();
            assert!(is_refused(&error), "{error}");
        }
    }
    // Its own name is everybody's business.
    let record = published(reader.propose(rename(&reader, "Mine")).unwrap());
    world.owner.accept(&record).unwrap();
    reader.accept(&record).unwrap();
    assert_eq!(world.owner.log.member(&reader.id()).unwrap().label, "Mine");
}

#[test]
fn the_last_owner_stays_and_nobody_leaves_by_their_own_hand() {
    let mut world = begin();
    let owner = world.owner.id();
    let lower = Op::SetRole {
        device: owner,
        role: Role::Reader,
    };
    for op in [remove(&world.owner), lower.clone()] {
        let error = world.owner.propose(op).unwrap_err();
        assert!(matches!(error, ControlError::LastOwner), "{error}");
    }
    let mut second = world.adds(Role::Owner);
    for op in [remove(&world.owner), lower] {
        let error = world.owner.propose(op).unwrap_err();
        assert!(matches!(error, ControlError::Yourself), "{error}");
    }
    let record = published(second.propose(remove(&world.owner)).unwrap());
    second.accept(&record).unwrap();
    assert!(world.owner.accept(&record).unwrap().we_were_removed);
    let error = second.propose(remove(&second)).unwrap_err();
    assert!(matches!(error, ControlError::LastOwner), "{error}");
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let mut world = begin();
    let mut gone = world.adds(Role::Writer);
    world.does(remove(&gone)).unwrap();
    let stranger = Device {
        keys: DeviceKeys::random(),
        ..begin().owner
    };
    let same = Op::SetRole {
        device: world.owner.id(),
        role: Role::Owner,
    };
    let mut bad_key = DeviceKeys::random().public();
    bad_key.kem_key = [0; 32];
    let bad = Op::AddDevice {
        public: bad_key,
        user: "Bo".to_owned(),
        label: "Laptop".to_owned(),
        role: Role::Writer,
    };
    let long = Op::Edges {
        links: vec!["x".repeat(251)],
    };
    type Expected = fn(&ControlError) -> bool;
    let expected: [(Op, Expected); 10] = [
        (remove(&stranger), |e| {
            matches!(e, ControlError::NotMember { .. })
        }),
        (remove(&gone), |e| {
            matches!(e, ControlError::NotMember { .. })
        }),
        (rename(&gone, "x"), |e| {
            matches!(e, ControlError::NotMember { .. })
        }),
        (add(&gone.keys, Role::Writer), |e| {
            matches!(e, ControlError::AlreadyMember { .. })
        }),
        (add(&world.owner.keys, Role::Writer), |e| {
            matches!(e, ControlError::AlreadyMember { .. })
        }),
        (same, |e| {
            matches!(e, ControlError::SameRole { role: Role::Owner })
        }),
        (bad, |e| {
            matches!(e, ControlError::Wrap(WrapError::BadKey { .. }))
        }),
        (rename(&world.owner, "two\nlines"), |e| {
            matches!(e, ControlError::BadName)
        }),
        (rename(&world.owner, ""), |e| {
            matches!(e, ControlError::BadName)
        }),
        (long, |e| matches!(e, ControlError::BadEdges)),
    ];
    for (op, is_expected) in expected {
        let shown = format!("{op:?}");
        let error = world.owner.propose(op).unwrap_err();
        assert!(is_expected(&error), "{shown}: {error}");
    }
    // A device that was removed writes no more, even under keys that it still knows.
    gone.catch_up(&world).unwrap();
    let error = gone.propose(rename(&gone, "Mine")).unwrap_err();
    assert!(matches!(error, ControlError::NotMember { .. }), "{error}");
}

#[test]
fn records_are_taken_once_and_in_order() {
    let mut world = begin();
    let mut device = world.adds(Role::Writer);
    let seen = world.records.len();
    world.does(rename(&device, "One")).unwrap();
    world.does(rename(&device, "Two")).unwrap();
    let (first, second) = (world.records[seen].clone(), world.records[seen + 1].clone());

    let error = device.accept(&second).unwrap_err();
    assert!(matches!(error, ControlError::WrongIndex { .. }), "{error}");
    // An edge that gives the later record the earlier place.
    let moved = (first.0, second.1.clone(), None);
    let error = device.accept(&moved).unwrap_err();
    assert!(matches!(error, ControlError::OtherHistory), "{error}");
    device.accept(&first).unwrap();
    let error = device.accept(&first).unwrap_err();
    assert!(matches!(error, ControlError::WrongIndex { .. }), "{error}");
    let replayed = (second.0, first.1.clone(), None);
    let error = device.accept(&replayed).unwrap_err();
    assert!(matches!(error, ControlError::OtherHistory), "{error}");
    device.accept(&second).unwrap();
    assert_eq!(device.log.member(&device.id()).unwrap().label, "Two");
}

#[test]
fn of_two_records_for_one_place_only_one_is_taken() {
    let mut world = begin();
    let second = world.adds(Role::Owner);
    let other = published(second.propose(ROTATE).unwrap());
    world.does(ROTATE).unwrap();
    let error = world.owner.accept(&other).unwrap_err();
    assert!(matches!(error, ControlError::WrongIndex { .. }), "{error}");
    let later = (world.owner.log.index(), other.1, other.2);
    assert!(world.owner.accept(&later).is_err());
}

#[test]
fn another_workspaces_beginning_is_refused() {
    let (here, there) = (begin(), begin());
    let keys = DeviceKeys::random();
    let mut log = ControlLog::joining(WORKSPACE, here.owner.log.genesis_hash());
    let mut keyring = Keyring::new();
    for secrets in there.owner.keyring.iter() {
        keyring.insert(secrets.duplicate());
    }
    let error = log
        .accept(0, &there.records[0].1, None, &keys, &mut keyring)
        .unwrap_err();
    assert!(matches!(error, ControlError::OtherGenesis), "{error}");
    let error = log
        .accept(0, &here.records[0].1, None, &keys, &mut keyring)
        .unwrap_err();
    assert!(
        matches!(error, ControlError::EpochUnknown { epoch: 0 }),
        "{error}"
    );
    assert_eq!((log.index(), log.head()), (0, [0; 32]));
}
