//! Bad members, removed members, and members who change the membership at once.
//!
//! A member can write nonsense into documents; it can do nothing in another's name, and cannot stop the others.
//! Start at [`a_removed_device_reads_nothing_that_came_later`].

use automerge::ActorId;
use automerge::transaction::Transactable;
use automerge::{Automerge, ROOT};
use satchel_protocol::fragment::{EncryptedFragment, FragmentKind};
use satchel_sync::engine::{Change, Row, SyncStore};
use satchel_sync::member::{DeviceKeys, Role};
use satchel_sync::sealing;

use crate::forge::{Forged, change, part};
use crate::world::{World, doc};

/// Three owners at one edge; each has written something.
fn begin(seed: u64) -> World {
    let mut world = World::new(seed, 3, 1);
    world.answers_overtake = true;
    world.settle();
    for number in 0..3 {
        world.write(number, doc(1), &format!("begin {number}"));
        world.run(3);
    }
    world.settle();
    world
}

fn plant(world: &mut World, fragment: EncryptedFragment) {
    let edge = world.links[0].fingerprint;
    world.mailbox(edge).log.push((fragment, false));
    world.settle();
}

fn has(world: &World, number: usize, which: u8, word: &str) -> bool {
    world.devices[number]
        .documents
        .words(doc(which))
        .contains(word)
}

fn warns(world: &World, number: usize, words: &str) -> bool {
    let warnings = world.engine(number).status().warnings;
    warnings.iter().any(|warning| warning.words.contains(words))
}

/// After whatever happened, honest devices still hear each other.
fn check_alive(world: &mut World, devices: &[usize]) {
    for from in devices {
        world.write(*from, doc(3), &format!("alive {from}"));
    }
    world.settle();
    for here in devices {
        for from in devices {
            assert!(
                has(world, *here, 3, &format!("alive {from}")),
                "{:#?}",
                world.engine(*here).status()
            );
        }
        assert!(!has(world, *here, 1, "forged"));
    }
}

fn remove(world: &mut World, by: usize, device: usize) {
    let id = world.devices[device].keys.id();
    world.change(by, Change::Remove(id)).unwrap();
    world.settle();
}

#[test]
fn a_removed_device_reads_nothing_that_came_later() {
    for seed in crate::seeds(6) {
        let mut world = begin(seed);
        let edge = world.links[0].fingerprint;
        remove(&mut world, 0, 2);
        let before = world.log(edge).len();
        for number in 0..2 {
            world.write(number, doc(2), &format!("secret {number}"));
        }
        world.devices[0].engine.as_mut().unwrap().pack().unwrap();
        world.settle();
        let log = world.log(edge);
        assert!(log.len() > before);
        let keyring = world.keyring(2);
        for fragment in &log[before..] {
            let kind = fragment.header().kind;
            assert!(
                keyring.find(&fragment.header().epoch_id).is_none(),
                "SATCHEL_SEED={seed}"
            );
            for secrets in keyring.iter() {
                assert!(sealing::open(secrets, world.names.workspace, kind, fragment).is_err());
            }
        }
        assert!(world.engine(2).status().role.is_none());
        assert!(!has(&world, 2, 2, "secret 0"));
        check_alive(&mut world, &[0, 1]);
    }
}

#[test]
fn what_a_removed_device_writes_late_is_kept_apart() {
    let mut world = begin(1);
    let late = Forged::new(&mut world, 2).seal();
    remove(&mut world, 0, 2);
    plant(&mut world, late);
    for number in 0..2 {
        assert_eq!(world.engine(number).status().quarantined, 1);
        assert_eq!(world.engine(number).status().waiting, 0);
    }
    check_alive(&mut world, &[0, 1]);
    // What is kept apart keeps nobody from packing.
    for round in 0..80 {
        world.write(0, doc(2), &format!("many {round}"));
        world.run(3);
    }
    world.settle();
    let edge = world.links[0].fingerprint;
    assert!(
        world
            .mailbox(edge)
            .log
            .iter()
            .any(|(_, superseded)| *superseded),
        "nobody packs"
    );
}

#[test]
fn a_reader_writes_nothing() {
    let mut world = begin(2);
    let reader = world.join(Role::Reader);
    world.settle();
    let edge = world.links[0].fingerprint;
    let before = world.log(edge).len();
    world.write(reader, doc(1), "of the reader");
    world.settle();
    assert_eq!(
        world.log(edge).len(),
        before,
        "a reader's engine sends nothing"
    );
    assert!(has(&world, reader, 1, "begin 0"), "but reads");
    // By hand, with the keys of the epoch, past an edge that looks away.
    let mut forged = Forged::new(&mut world, 0);
    let own = Forged::new(&mut world, 0).by(reader).seal();
    plant(&mut world, own);
    assert!(
        warns(&world, 0, "may only read"),
        "{:#?}",
        world.engine(0).status().warnings
    );
    // An edge that looks refuses: the reader has no key that opens the mailbox for writing.
    assert!(
        world
            .keyring(reader)
            .newest()
            .unwrap()
            .expose_writer_secret()
            .is_none()
    );
    forged.inner.sequence += 1;
    check_alive(&mut world, &[0, 1, 2]);
}

#[test]
fn a_role_changes_what_a_device_may_do() {
    let mut world = begin(3);
    let id = world.devices[2].keys.id();
    world.change(0, Change::SetRole(id, Role::Reader)).unwrap();
    world.settle();
    assert_eq!(
        world.engine(2).status().role,
        Some(Role::Reader),
        "{:#?}",
        world.engine(2).status()
    );
    world.write(2, doc(1), "as a reader");
    world.settle();
    assert!(!has(&world, 0, 1, "as a reader"));
    world.change(0, Change::SetRole(id, Role::Writer)).unwrap();
    world.settle();
    assert!(
        has(&world, 0, 1, "as a reader"),
        "what waited is sent: {:#?}",
        world.engine(2).status()
    );
    check_alive(&mut world, &[0, 1, 2]);
}

#[test]
fn two_owners_change_the_membership_at_once() {
    for seed in crate::seeds(6) {
        let mut world = begin(seed);
        let keys: Vec<DeviceKeys> = (0..2).map(|_| world.random.device_keys()).collect();
        for (number, keys) in keys.iter().enumerate() {
            let change = Change::Add {
                public: keys.public(),
                user: "Ada".into(),
                label: format!("Tablet {number}"),
                role: Role::Writer,
            };
            world.step(
                number,
                satchel_sync::engine::Event::Change { ticket: 77, change },
            );
        }
        world.settle();
        for number in 0..2 {
            let mut results = world.devices[number]
                .results
                .iter()
                .filter(|(ticket, _)| *ticket == 77);
            let result = &results.next().unwrap().1;
            assert!(result.is_ok(), "SATCHEL_SEED={seed}: {result:?}");
        }
        for number in 0..3 {
            let devices = world.engine(number).status().devices;
            assert!(
                keys.iter()
                    .all(|keys| devices.iter().any(|device| device.id == keys.id()))
            );
        }
        // Each removes the other: one is faster, and only it stays.
        let ids: Vec<_> = world
            .devices
            .iter()
            .map(|device| device.keys.id())
            .collect();
        for number in 0..2 {
            let change = Change::Remove(ids[1 - number]);
            world.step(
                number,
                satchel_sync::engine::Event::Change { ticket: 78, change },
            );
        }
        world.settle();
        let stays = usize::from(world.engine(0).status().role.is_none());
        assert!(
            world.engine(stays).status().role.is_some(),
            "SATCHEL_SEED={seed}"
        );
        assert!(
            world.engine(1 - stays).status().role.is_none(),
            "SATCHEL_SEED={seed}"
        );
        check_alive(&mut world, &[stays, 2]);
    }
}

#[test]
fn nobody_writes_as_another_device() {
    let mut world = begin(4);
    let other = world.devices[1].keys.id();
    let (bytes, heads) = change(ActorId::from([&other.0[..], &[1; 8]].concat()), "forged");
    let mut entry = Forged::new(&mut world, 2);
    entry.inner.parts = vec![part(doc(1), bytes, heads)];
    let entry = entry.seal();
    plant(&mut world, entry);
    assert!(
        warns(&world, 0, "signed as another device's"),
        "{:#?}",
        world.engine(0).status().warnings
    );
    check_alive(&mut world, &[0, 1]);
}

#[test]
fn gaps_and_repetitions_of_a_device_are_seen() {
    let mut world = begin(5);
    let mut entry = Forged::new(&mut world, 2);
    entry.inner.sequence += 3;
    let entry = entry.seal();
    plant(&mut world, entry.clone());
    assert_eq!(world.engine(0).status().waiting, 1);
    assert!(
        warns(&world, 0, "are missing"),
        "{:#?}",
        world.engine(0).status()
    );
    plant(&mut world, entry);
    assert_eq!(world.engine(0).status().waiting, 1);
    // The device itself sees that somebody writes as it.
    assert!(
        warns(&world, 2, "another copy of them is in use"),
        "{:#?}",
        world.engine(2).status().warnings
    );
    check_alive(&mut world, &[0, 1]);
}

#[test]
fn a_device_that_was_copied_is_noticed() {
    let mut world = begin(6);
    let rows: Vec<Row> = {
        let store = &world.devices[2].store;
        let all = store.rows.borrow_mut().load().unwrap();
        all.into_iter()
            .map(|(key, value)| (key, Some(value)))
            .collect()
    };
    let keys = DeviceKeys::from_secret_bytes(&world.devices[2].keys.to_secret_bytes()).unwrap();
    let copy = world.add(keys, rows, false);
    let documents: Vec<_> = {
        let disk = world.devices[2].documents.0.borrow();
        disk.docs
            .iter()
            .map(|(key, doc)| (*key, doc.clone()))
            .collect()
    };
    world.devices[copy]
        .documents
        .0
        .borrow_mut()
        .docs
        .extend(documents);
    world.restart(copy);
    world.write(2, doc(1), "of the first");
    world.write(copy, doc(1), "of the copy");
    world.settle();
    let everybody = 0..world.devices.len();
    let noticed = everybody
        .filter(|number| warns(&world, *number, "cop") || warns(&world, *number, "does not fit"));
    assert!(noticed.count() > 0);
    check_alive(&mut world, &[0, 1]);
}

/// A change that deflates well: what it holds compressed is `bytes` long.
fn deflated(actor: ActorId, bytes: usize) -> (Vec<u8>, Vec<[u8; 32]>) {
    let mut document = Automerge::new().with_actor(actor);
    document
        .transact::<_, _, automerge::AutomergeError>(|tx| tx.put(ROOT, "forged", "a".repeat(bytes)))
        .map_err(|failure| failure.error)
        .unwrap();
    let mut changes = document.get_changes(&[]);
    let bytes = changes[0].bytes().to_vec();
    (
        bytes,
        document.get_heads().iter().map(|head| head.0).collect(),
    )
}

#[test]
fn a_part_that_inflates_too_far_is_refused() {
    let mut world = begin(7);
    let actor = ActorId::from([&world.devices[2].keys.id().0[..], &[1; 8]].concat());
    let (bytes, heads) = deflated(actor, 80 << 20);
    assert!(bytes.len() < 1 << 20, "{} bytes", bytes.len());
    let mut entry = Forged::new(&mut world, 2);
    entry.inner.parts = vec![part(doc(1), bytes, heads)];
    let entry = entry.seal();
    plant(&mut world, entry);
    assert!(
        warns(&world, 0, "could not be used"),
        "{:#?}",
        world.engine(0).status().warnings
    );
    check_alive(&mut world, &[0, 1]);
}

#[test]
fn a_change_of_a_hundred_thousand_operations_is_taken_in() {
    let mut world = begin(8);
    {
        let mut disk = world.devices[0].documents.0.borrow_mut();
        let document = disk.docs.get_mut(&doc(1)).unwrap();
        document
            .transact::<_, _, automerge::AutomergeError>(|tx| {
                (0..100_000).try_for_each(|number| tx.put(ROOT, format!("{}", number % 50), number))
            })
            .map_err(|failure| failure.error)
            .unwrap();
    }
    world.write(0, doc(1), "after it");
    world.settle();
    assert!(
        has(&world, 1, 1, "after it") && has(&world, 1, 1, "49"),
        "{:#?}",
        world.engine(1).status()
    );
    check_alive(&mut world, &[0, 1, 2]);
}

#[test]
fn a_part_that_is_too_long_cannot_be_sealed_nor_named() {
    let mut world = begin(9);
    let mut entry = Forged::new(&mut world, 2);
    entry.kind = FragmentKind::Pack;
    let ids = vec![satchel_protocol::id::FragmentId([1; 32])];
    entry.inner.parts[0].body = satchel_sync::entry::PartBody::Blobs {
        ids,
        len_bytes: 1 << 50,
        hash: [1; 32],
    };
    let entry = entry.seal();
    plant(&mut world, entry);
    assert!(
        warns(&world, 0, "too long"),
        "{:#?}",
        world.engine(0).status().warnings
    );
    assert_eq!(world.engine(0).status().downloads, 0);
    check_alive(&mut world, &[0, 1]);
}

#[test]
fn a_clock_that_is_a_year_off_changes_nothing() {
    for ms in [-31_536_000_000, 31_536_000_000, i64::MAX, i64::MIN] {
        let mut world = begin(10);
        let (bytes, heads) = {
            let actor = ActorId::from([&world.devices[2].keys.id().0[..], &[1; 8]].concat());
            change(actor, "from another year")
        };
        let mut entry = Forged::new(&mut world, 2);
        entry.inner.created_ms = entry.inner.created_ms.saturating_add(ms);
        entry.inner.parts = vec![part(doc(1), bytes, heads)];
        let entry = entry.seal();
        plant(&mut world, entry);
        for number in 0..2 {
            assert!(has(&world, number, 1, "from another year"));
            assert!(world.engine(number).status().warnings.is_empty());
        }
        check_alive(&mut world, &[0, 1]);
    }
}
