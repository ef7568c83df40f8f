//! Who was removed learns nothing later, and an edge that lost everything gets it all again.

use satchel_protocol::fragment::EncryptedFragment;
use satchel_sync::WorkspaceId;
use satchel_sync::engine::{Change, Event, Key, SyncStore, Table};
use satchel_sync::member::{Keyring, Role};
use satchel_sync::sealing;

use crate::edge::SimEdge;
use crate::world::{World, doc};

/// All keys that a device has stored.
fn keyring(world: &World, number: usize) -> Keyring {
    let rows = world.devices[number].store.clone().load().unwrap();
    let wanted = Key::new(Table::Own, "keyring");
    let row = rows.into_iter().find(|(key, _)| *key == wanted).unwrap();
    Keyring::from_secret_bytes(&row.1).unwrap()
}

fn stored(world: &World) -> Vec<EncryptedFragment> {
    let edges = world.edges.values();
    let mailboxes = edges.flat_map(|edge| edge.mailboxes.values());
    mailboxes
        .flat_map(|mailbox| mailbox.log.iter().map(|(fragment, _)| fragment.clone()))
        .collect()
}

fn opens(keys: &Keyring, fragment: &EncryptedFragment) -> bool {
    let secrets = keys.find(&fragment.header().epoch_id);
    let workspace = WorkspaceId([7; 16]);
    secrets.is_some_and(|secrets| {
        sealing::open(secrets, workspace, fragment.header().kind, fragment).is_ok()
    })
}

#[test]
fn a_removed_device_opens_nothing_later() {
    for seed in 1..=20 {
        let mut world = World::new(seed, 3, 1);
        world.settle();
        let removed = world.devices[2].keys.id();
        world.change(0, Change::Remove(removed)).unwrap();
        let before = stored(&world).len();
        // Written by somebody who has not heard of it yet, and by the remover.
        for number in [0, 1] {
            let word = format!("later {number}");
            world.devices[number].documents.write(doc(1), &word);
            world.step(number, Event::Tick);
        }
        // The removed one goes on writing.
        world.devices[2].documents.write(doc(2), "late");
        world.settle();
        let keys = keyring(&world, 2);
        for fragment in stored(&world).iter().skip(before) {
            assert!(
                !opens(&keys, fragment),
                "seed {seed}: a removed device can read on"
            );
        }
        let member = keyring(&world, 1);
        assert!(
            stored(&world)
                .iter()
                .all(|fragment| opens(&member, fragment))
        );
        assert!(!world.devices[2].documents.words(doc(1)).contains("later 0"));
        assert!(!world.devices[0].documents.words(doc(2)).contains("late"));
        let both = ["later 0", "later 1"];
        for number in [0, 1] {
            let words = world.devices[number].documents.words(doc(1));
            assert!(
                both.iter().all(|word| words.contains(*word)),
                "seed {seed}: {words:?}"
            );
        }
        let status = world.devices[2].engine.as_ref().unwrap().status();
        assert_eq!(status.role, None, "seed {seed}: it is not told");
    }
}

#[test]
fn a_reader_reads_and_does_not_write() {
    let mut world = World::new(5, 1, 1);
    world.settle();
    let reader = world.join(Role::Reader);
    world.devices[0].documents.write(doc(1), "seen");
    world.settle();
    assert!(
        world.devices[reader]
            .documents
            .words(doc(1))
            .contains("seen")
    );
    world.devices[reader].documents.write(doc(1), "scribbled");
    world.settle();
    assert!(
        !world.devices[0]
            .documents
            .words(doc(1))
            .contains("scribbled")
    );
    let id = world.devices[reader].keys.id();
    world.change(0, Change::SetRole(id, Role::Writer)).unwrap();
    world.settle();
    assert!(
        world.devices[0]
            .documents
            .words(doc(1))
            .contains("scribbled"),
        "what waited was not sent once it was allowed"
    );
}

#[test]
fn two_owners_who_change_something_at_once_are_put_in_order() {
    for seed in 1..=20 {
        let mut world = World::new(seed, 3, 1);
        world.settle();
        let third = world.devices[2].keys.id();
        for (number, label) in [(0, "Desk"), (1, "Bag")] {
            let change = Change::Rename(third, label.into());
            world.step(number, Event::Change { ticket: 99, change });
        }
        world.settle();
        for number in [0, 1] {
            let results = &world.devices[number].results;
            let result = results.iter().find(|(ticket, _)| *ticket == 99);
            assert!(
                matches!(result, Some((_, Ok(_)))),
                "seed {seed}: {result:?}"
            );
        }
        let labels: Vec<String> = world
            .devices
            .iter()
            .map(|device| {
                let status = device.engine.as_ref().unwrap().status();
                let mut devices = status.devices.into_iter();
                devices.find(|device| device.id == third).unwrap().label
            })
            .collect();
        assert!(
            labels.iter().all(|label| *label == labels[0]),
            "seed {seed}: {labels:?}"
        );
    }
}

#[test]
fn an_edge_that_lost_everything_gets_it_all_again() {
    for seed in 1..=20 {
        let mut world = World::new(seed, 3, 1);
        for number in 0..3 {
            world.settle();
            world.devices[number]
                .documents
                .write(doc(1), &format!("word {number}"));
        }
        world.settle();
        let link = world.links[0].fingerprint;
        world.edges.insert(link, SimEdge::default());
        // Only one device is left that has it.
        let survivor = 1 + (seed % 2) as usize;
        for number in 0..3 {
            world.break_line(number, link);
            if number != survivor {
                world.devices[number].engine = None;
            }
        }
        world.settle_only(&[survivor]);
        let fresh = world.join_by(survivor, Role::Owner);
        world.settle_only(&[survivor, fresh]);
        let words = world.devices[fresh].documents.words(doc(1));
        assert_eq!(words.len(), 3, "seed {seed}: {words:?}");
    }
}

#[test]
fn packing_loses_nothing_and_a_new_device_reads_less() {
    let mut world = World::new(9, 2, 1);
    for round in 0..150 {
        world.devices[round % 2]
            .documents
            .write(doc((round % 4) as u8), &format!("w{round}"));
        world.settle();
    }
    let link = world.links[0].fingerprint;
    let mailbox = world.edges[&link].mailboxes.values().next().unwrap();
    let live = mailbox
        .log
        .iter()
        .filter(|(_, superseded)| !superseded)
        .count();
    assert!(
        live < 100,
        "{live} of {} entries are left",
        mailbox.log.len()
    );
    let fresh = world.join(Role::Owner);
    world.settle();
    assert_eq!(
        world.devices[fresh].documents.heads(),
        world.devices[0].documents.heads()
    );
    let warnings = world.devices[fresh]
        .engine
        .as_ref()
        .unwrap()
        .status()
        .warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
}
