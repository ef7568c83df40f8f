//! The real QUIC of a real edge node and real laptops, over a simulated network in simulated time.
//!
//! Here runs what users run: `satchel_edge_node::Server` with its store, the net driver, the engine, workspaces on the
//! disk, quinn and rustls. Only the sockets are turmoil's. Each host is a single-threaded tokio runtime with a stopped
//! clock. Disk work runs in tokio's blocking threads or in place, and the clock does not move meanwhile (tokio holds it
//! while a blocking task runs), so it takes no simulated time. It takes effect whole: a crash ends a process between
//! two pieces of disk work, never in one; `tests/tests/nothing_is_lost.rs` does that.
//!
//! A seed fixes what is done and what befalls the line. Keys and the contents of packets are random all the same, so a
//! seed does not repeat a run to the last datagram.
//!
//! `packaging/test.sh` says how it is run. A failure prints its seed; `SATCHEL_SEED=<seed>` runs that one,
//! `SATCHEL_SEEDS=<count>` more of them.
//! Start at [`laptops_become_equal_whatever_the_line_does`].

#![cfg(satchel_turmoil)]
#![allow(clippy::unwrap_used, unreachable_pub)]

mod acks;
mod line;
mod pairing;
#[path = "../common/random.rs"]
#[allow(dead_code, reason = "shared with the simulation")]
mod random;
mod world;

use std::time::Duration;

use world::{EDGE, World, edge};

fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SATCHEL_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SATCHEL_SEEDS").unwrap_or(default)).collect(),
    }
}

fn each_seed(default: u64, run: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds(default) {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("SATCHEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn laptops_become_equal_whatever_the_line_does() {
    each_seed(16, |seed| {
        let mut world = World::with_laptops(seed, &["ada", "bob", "cyd"]);
        let mut words = Vec::new();
        for round in 0..60 {
            misfortune(&mut world, round, &mut words);
            let pause = 100 + world.random.number(2500);
            world.run(Duration::from_millis(pause));
        }
        world.settle(&words);
    });
}

/// One thing that happens to somebody.
fn misfortune(world: &mut World, round: u64, words: &mut Vec<String>) {
    let laptop = world.random.below(world.laptops.len());
    let name = world.laptops[laptop].name;
    match world.random.number(24) {
        0..10 => {
            let word = format!("<{name} {round}>");
            if world.write(laptop, &word) {
                words.push(word);
            }
        }
        10 => world.partition(laptop),
        11 => world.sim.partition_oneway(name, EDGE),
        12 => world.sim.partition_oneway(EDGE, name),
        13..15 => world.repair(laptop),
        // Datagrams that come all at once, long after they were sent.
        15 => world.sim.hold(name, EDGE),
        16 => world.sim.release(name, EDGE),
        17 => world.crash_edge(),
        18 => world.start_edge(),
        19 => world.crash_laptop(laptop),
        20 => world.start_laptop(laptop),
        21 => {
            let loss = world.random.number(25);
            let duplicates = world.random.number(10);
            let longest = 1200 + world.random.below(300);
            let mut faults = world.line.faults();
            (faults.loss_percent, faults.duplicates_percent) = (loss, duplicates);
            faults.longest_bytes = longest;
        }
        22 => {
            let latency = Duration::from_millis(20 + world.random.number(1000));
            world.sim.set_max_message_latency(latency);
        }
        // Everything on the way is lost at once, now and then.
        _ => {
            let bursts = world.random.number(20) as f64 / 1000.0;
            world.sim.set_fail_rate(bursts);
        }
    }
}

#[test]
fn a_laptop_whose_udp_is_blocked_says_so_and_catches_up() {
    each_seed(2, |seed| {
        let mut world = World::with_laptops(seed, &["ada", "bob"]);
        world.partition(0);
        let mut words = vec!["<before it is noticed>".to_owned()];
        assert!(world.write(0, &words[0]));
        world.until(seconds(120), "words about UDP", |world| {
            let status = world.status(0).unwrap();
            let reason = edge(&status).reason.clone().unwrap_or_default();
            reason.contains("no edge node answers") && reason.contains("UDP")
        });
        for round in 0..10 {
            let word = format!("<blocked {round}>");
            assert!(world.write(0, &word));
            words.push(word);
            let other = format!("<not blocked {round}>");
            assert!(world.write(1, &other));
            words.push(other);
            world.run(seconds(40));
        }
        let status = world.status(0).unwrap();
        assert!(status.unsent > 0, "{status:#?}");
        assert!(world.is_up_to_date(1), "{}", world.describe());
        world.settle(&words);
        assert_eq!(edge(&world.status(0).unwrap()).reason, None);
    });
}

/// The first laptop is told that the edge has everything, and is never seen again.
#[test]
fn what_an_edge_has_outlives_the_laptop_that_wrote_it() {
    each_seed(2, |seed| {
        let mut world = World::with_laptops(seed, &["ada", "bob"]);
        world.line.faults().loss_percent = 5;
        world.partition(1);
        let mut words = Vec::new();
        for round in 0..5 {
            let word = format!("<kept {round}>");
            assert!(world.write(0, &word));
            words.push(word);
            // It says at once that there is something to send, long before it sends it.
            world.run(Duration::from_millis(50));
            assert!(world.status(0).unwrap().unsent > 0, "{}", world.describe());
            world.until(seconds(120), "the edge to have it", |world| {
                world.is_up_to_date(0)
            });
            world.crash_edge();
            world.start_edge();
        }
        world.crash_laptop(0);
        world.laptops.remove(0);
        world.settle(&words);
    });
}

/// A process that was killed says no goodbye. Its successor knows nothing of the connections, and says so to whoever
/// uses one; each laptop does every 25 s. Once that took the 75 s until a silent connection is given up.
#[test]
fn a_node_that_was_killed_and_started_is_noticed_at_once() {
    each_seed(2, |seed| {
        let mut world = World::with_laptops(seed, &["ada", "bob"]);
        world.crash_edge();
        world.run(seconds(2));
        world.start_edge();
        let word = "<after the crash>".to_owned();
        assert!(world.write(0, &word));
        let began = world.sim.elapsed();
        world.settle(&[word]);
        let took = world.sim.elapsed() - began;
        assert!(took < seconds(35), "{took:?}");
    });
}
