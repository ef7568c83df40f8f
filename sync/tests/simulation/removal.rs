//! Who was removed learns nothing later; who may only read does not write.

use satchel_protocol::fragment::EncryptedFragment;
use satchel_sync::WorkspaceId;
use satchel_sync::engine::{Change, Event, Key, SyncStore, Table};
use satchel_sync::member::{Keyring, Role};
use satchel_sync::sealing;

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
        world.answers_overtake = true;
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
