use proptest::prelude::*;

use super::record::{Body, EpochPart, Record};
use super::*;
use crate::bytes::{Reader, Writer};
use crate::member::{
    DeviceKeys, EpochSecrets, Keyring, PolicyKey, WalkBackError, Wrap, WrapError, previous,
};
use crate::sealing::{self, Padding};
use satchel_protocol::fragment::{EncryptedFragment, FragmentKind};

const WORKSPACE: WorkspaceId = WorkspaceId([1; 16]);

/// One device with everything it knows.
struct Device {
    keys: DeviceKeys,
    log: ControlLog,
    keyring: Keyring,
    policy: Option<PolicyKey>,
}

/// A workspace whose home edge is a list of records; every device reads it when told to.
struct World {
    records: Vec<ControlRecord>,
    owner: Device,
    now_ms: i64,
}

fn begin() -> World {
    let keys = DeviceKeys::random();
    let (log, keyring, policy, draft) =
        ControlLog::begin(WORKSPACE, &keys, "Åsa", "Desk", 1000).unwrap();
    let owner = Device {
        keys,
        log,
        keyring,
        policy: Some(policy),
    };
    World {
        records: vec![(0, draft.record, None)],
        owner,
        now_ms: 1000,
    }
}

impl Device {
    fn id(&self) -> DeviceId {
        self.keys.id()
    }

    fn propose(&self, op: Op) -> Result<ControlDraft, ControlError> {
        let policy = self.policy.as_ref();
        self.log
            .propose(op, &self.keys, &self.keyring, policy, 2000)
    }

    fn accept(&mut self, record: &ControlRecord) -> Result<Accepted, ControlError> {
        let (index, sealed, previous) = record;
        let accepted = self.log.accept(
            *index,
            sealed,
            previous.as_ref(),
            &self.keys,
            &mut self.keyring,
        )?;
        if let Some(policy) = &accepted.policy {
            self.policy = Some(policy.duplicate());
        }
        Ok(accepted)
    }

    fn catch_up(&mut self, world: &World) -> Result<(), ControlError> {
        for record in &world.records[self.log.index() as usize..] {
            self.accept(record)?;
        }
        Ok(())
    }

    fn knows_epoch_of(&self, other: &Self) -> bool {
        let newest = other.keyring.newest().unwrap();
        self.keyring.of(newest.id()).is_some()
    }
}

impl World {
    /// The owner does something.
    fn does(&mut self, op: Op) -> Result<Accepted, ControlError> {
        let record = published(self.owner.propose(op)?);
        let accepted = self.owner.accept(&record)?;
        self.records.push(record);
        self.now_ms += 1;
        Ok(accepted)
    }

    /// Takes in a device as pairing does: it is given the newest epoch and the place of the log.
    fn adds(&mut self, role: Role) -> Device {
        let keys = DeviceKeys::random();
        self.does(add(&keys, role)).unwrap();
        let newest = self.owner.keyring.newest().unwrap();
        let writer = newest
            .expose_writer_secret()
            .copied()
            .filter(|_| role.may_write());
        let mut keyring = Keyring::new();
        keyring.insert(EpochSecrets::new(
            newest.id(),
            *newest.expose_secret(),
            writer,
        ));
        let mut log = ControlLog::joining(WORKSPACE, self.owner.log.genesis_hash());
        log.accept_all(&self.records, &keys, &mut keyring).unwrap();
        assert_eq!(log.head(), self.owner.log.head());
        let policy = self
            .owner
            .policy
            .as_ref()
            .filter(|_| role == Role::Owner)
            .map(PolicyKey::duplicate);
        Device {
            keys,
            log,
            keyring,
            policy,
        }
    }
}

fn add(keys: &DeviceKeys, role: Role) -> Op {
    Op::AddDevice {
        public: keys.public(),
        user: "Bo".to_owned(),
        label: "Laptop".to_owned(),
        role,
    }
}

fn remove(device: &Device) -> Op {
    Op::RemoveDevice {
        device: device.id(),
        last_accepted: 7,
    }
}

fn set(device: &Device, role: Role) -> Op {
    Op::SetRole {
        device: device.id(),
        role,
    }
}

fn rename(device: &Device, label: &str) -> Op {
    Op::Rename {
        device: device.id(),
        label: label.to_owned(),
    }
}

const ROTATE: Op = Op::Rotate {
    reason: RotateReason::Asked,
};

fn published(draft: ControlDraft) -> ControlRecord {
    (draft.index, draft.record, draft.previous_epoch)
}

/// Seals a record that nobody would write through `propose`.
fn seal_bytes(device: &Device, bytes: &[u8]) -> ControlRecord {
    let secrets = device.keyring.newest().unwrap();
    let padding = Padding::Multiple(1024);
    let record = sealing::seal(secrets, WORKSPACE, FragmentKind::Control, bytes, padding).unwrap();
    (device.log.index(), record, None)
}

fn forge(device: &Device, op: Op) -> ControlRecord {
    let record = Record {
        index: device.log.index(),
        previous: device.log.head(),
        author: device.id(),
        created_ms: 3000,
        body: Body { op, epoch: None },
    };
    seal_bytes(device, &record.sign(&device.keys, WORKSPACE))
}

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
    let expected: [(Op, fn(&ControlError) -> bool); 10] = [
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
