//! An edge that lost everything, and a device that comes late: any one device is enough to have every word again.
//!
//! Start at [`any_device_gives_a_lost_edge_everything_again`].

use std::collections::BTreeMap;

use satchel_sync::member::Role;

use crate::edge::SimEdge;
use crate::world::{DOCS, World, doc};

type Written = Vec<(u8, String)>;

fn begin(seed: u64, devices: usize) -> (World, Written) {
    let mut world = World::new(seed, devices, 1);
    world.settle();
    let mut written = Vec::new();
    for round in 0..4 {
        for number in 0..devices {
            let which = world.random.below(DOCS as usize + 1) as u8;
            let word = format!("{round} {number}");
            world.write(number, doc(which), &word);
            written.push((which, word));
            world.run(2);
        }
    }
    world.settle();
    (world, written)
}

fn check(world: &World, number: usize, written: &Written) {
    let device = &world.devices[number];
    for (which, word) in written {
        let words = device.documents.words(doc(*which));
        assert!(
            words.contains(word),
            "device {number} lacks {word}: {:#?}",
            world.engine(number).status()
        );
    }
    let status = world.engine(number).status();
    assert_eq!((status.waiting, status.unsent), (0, 0), "{status:#?}");
}

/// How many entries a device reads that knows nothing yet.
fn unread(world: &mut World) -> usize {
    let edge = world.links[0].fingerprint;
    world
        .mailbox(edge)
        .log
        .iter()
        .filter(|(_, superseded)| !superseded)
        .count()
}

fn each(run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in crate::seeds(12) {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("SATCHEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn any_device_gives_a_lost_edge_everything_again() {
    each(|seed| {
        for packed in [false, true] {
            let (mut world, mut written) = begin(seed, 3);
            if packed {
                world.devices[(seed % 3) as usize]
                    .engine
                    .as_mut()
                    .unwrap()
                    .pack()
                    .unwrap();
                world.settle();
            }
            let edge = world.links[0].fingerprint;
            // The first device founds the mailbox anew, whoever else is left; the others stay away for ever.
            for gone in 1..3 {
                world.devices[gone].engine = None;
            }
            world.break_lines(edge);
            world.edges.insert(
                edge,
                SimEdge {
                    mailboxes: BTreeMap::new(),
                    ..SimEdge::default()
                },
            );
            world.run(40);
            let late = world.join(Role::Owner);
            world.run(60);
            check(&world, late, &written);
            world.write(late, doc(1), "late");
            written.push((1, "late".into()));
            world.run(20);
            check(&world, 0, &written);
            check(&world, late, &written);
            // Those who were away come back.
            for gone in 1..3 {
                world.restart(gone);
                world.write(gone, doc(2), &format!("back {gone}"));
                written.push((2, format!("back {gone}")));
            }
            world.settle();
            for number in 0..world.devices.len() {
                check(&world, number, &written);
            }
        }
    });
}

#[test]
fn a_joined_device_revives_a_lost_edge() {
    each(|seed| {
        let (mut world, written) = begin(seed, 3);
        let edge = world.links[0].fingerprint;
        world.devices[0].engine = None;
        world.devices[2].engine = None;
        world.break_lines(edge);
        world.edges.insert(edge, SimEdge::default());
        world.run(40);
        // The founder comes back without anything that the edge could remember of it.
        world.restart(0);
        world.settle();
        let late = world.join(Role::Writer);
        world.run(60);
        check(&world, late, &written);
    });
}

#[test]
fn after_packing_a_new_device_reads_less_and_has_every_word() {
    each(|seed| {
        let (mut world, written) = begin(seed, 3);
        let before = unread(&mut world);
        let packer = (seed % 3) as usize;
        world.devices[packer]
            .engine
            .as_mut()
            .unwrap()
            .pack()
            .unwrap();
        world.settle();
        let after = unread(&mut world);
        assert!(after < before, "{after} entries to read, {before} before");
        let late = world.join(Role::Owner);
        world.settle();
        for number in 0..world.devices.len() {
            check(&world, number, &written);
            let warnings = world.engine(number).status().warnings;
            assert!(warnings.is_empty(), "{warnings:#?}");
        }
        assert!(
            world.devices[late]
                .documents
                .words(doc(0))
                .contains("begun")
        );
    });
}
