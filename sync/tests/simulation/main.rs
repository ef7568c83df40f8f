//! Many devices and edges in one process, in virtual time, with every fault that a seed brings.
//!
//! A failure prints its seed; `SATCHEL_SEED=<seed>` runs that one, `SATCHEL_SEEDS=<count>` more of them.
//! Start at [`devices_become_equal_whatever_happens`].

#![allow(clippy::unwrap_used, unreachable_pub)]

mod canary;
mod documents;
mod edge;
mod evil;
mod forge;
mod lost_edge;
mod members;
#[path = "../common/random.rs"]
mod random;
mod removal;
mod world;

use satchel_sync::engine::Event;
use world::{DOCS, World, doc};

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SATCHEL_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SATCHEL_SEEDS").unwrap_or(default)).collect(),
    }
}

#[test]
fn devices_become_equal_whatever_happens() {
    for seed in seeds(400) {
        let outcome = std::panic::catch_unwind(|| run(seed));
        if let Err(panic) = outcome {
            eprintln!("SATCHEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn run(seed: u64) {
    let devices = 3 + (seed % 4) as usize;
    let edges = 1 + (seed % 2) as u8;
    let mut world = World::new(seed, devices, edges);
    world.answers_overtake = true;
    let mut written: Vec<(u8, String)> = Vec::new();
    for round in 0..120 {
        let number = world.random.below(devices);
        let edge = world.links[world.random.below(world.links.len())].fingerprint;
        match world.random.below(20) {
            0..6 => {
                let which = world.random.below(DOCS as usize + 1) as u8;
                let waits = world.devices[number].documents.0.borrow().awaits_index;
                if !waits {
                    let word = format!("{number} {round}");
                    world.devices[number].documents.write(doc(which), &word);
                    written.push((which, word));
                    world.step(number, Event::Tick);
                }
            }
            6..8 => world.tick(),
            8 => world.break_line(number, edge),
            9 => {
                world.cut.insert((number, edge));
                world.break_line(number, edge);
            }
            10 => {
                world.cut.remove(&(number, edge));
            }
            11 => world.restart(number),
            12 => {
                // The n-th write from now fails, and the process ends there.
                let left = world.random.below(6) as u32;
                *world.devices[number].store.fail_after.borrow_mut() = Some(left);
            }
            13 => {
                let left = world.random.below(3) as u32;
                world.devices[number].documents.0.borrow_mut().fail_after = Some(left);
            }
            _ => {
                for _ in 0..1 + world.random.below(40) {
                    world.deliver_any();
                }
            }
        }
    }
    world.settle();
    let first = world.devices[0].documents.heads();
    for (number, device) in world.devices.iter().enumerate() {
        let status = device.engine.as_ref().unwrap().status();
        assert_eq!(
            device.documents.heads(),
            first,
            "device {number}: {status:#?}"
        );
        assert_eq!(
            (status.waiting, status.unsent),
            (0, 0),
            "device {number}: {status:#?}"
        );
        assert!(
            status.warnings.is_empty(),
            "device {number}: {:#?}",
            status.warnings
        );
        for (which, word) in &written {
            assert!(
                device.documents.words(doc(*which)).contains(word),
                "device {number} lost {word} of document {which}: {status:#?}"
            );
        }
    }
}
