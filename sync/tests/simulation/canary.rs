//! Blindness: nothing that people wrote or called things is in any byte that an edge gets, nor in its length.
//!
//! Start at [`an_edge_sees_no_word_name_or_id`].

use satchel_sync::WorkspaceId;
use satchel_sync::entry::{DocKey, DocKind};
use satchel_sync::member::Role;
use satchel_sync::sealing::Padding;

use crate::random::Random;
use crate::world::{Names, World, hex};

/// Bytes of a fragment besides the padded text, when that is one segment: header and tag.
const OVERHEAD_BYTES: usize = 71 + 16;

fn every_byte(world: &World) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for edge in world.edges.values() {
        all.extend(edge.received.iter().cloned());
        for mailbox in edge.mailboxes.values() {
            all.extend(
                mailbox
                    .log
                    .iter()
                    .map(|(fragment, _)| fragment.as_bytes().to_vec()),
            );
            all.extend(
                mailbox
                    .blobs
                    .values()
                    .map(|fragment| fragment.as_bytes().to_vec()),
            );
            for (record, previous) in &mailbox.control {
                all.push(record.as_bytes().to_vec());
                all.extend(previous.iter().map(|fragment| fragment.as_bytes().to_vec()));
            }
        }
    }
    all
}

fn contains(bytes: &[u8], marker: &[u8]) -> bool {
    bytes.windows(marker.len()).any(|window| window == marker)
}

#[test]
fn an_edge_sees_no_word_name_or_id() {
    for seed in crate::seeds(8) {
        let outcome = std::panic::catch_unwind(|| look_for_markers(seed));
        if let Err(panic) = outcome {
            eprintln!("SATCHEL_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn look_for_markers(seed: u64) {
    let mut random = Random(seed ^ 0xca4a);
    let mut markers: Vec<Vec<u8>> = Vec::new();
    let mut word = |prefix: &str| {
        let word = format!("{prefix}{}", hex(&random.bytes::<8>()));
        markers.push(word.clone().into_bytes());
        word
    };
    let names = Names {
        workspace: WorkspaceId([0; 16]),
        title: word("title"),
        user: word("user"),
        label: word("label"),
    };
    let words: Vec<String> = (0..12).map(|_| word("word")).collect();
    let ids: Vec<[u8; 16]> = (0..3).map(|_| random.bytes()).collect();
    let workspace = WorkspaceId(random.bytes());
    for id in ids.iter().chain([&workspace.0]) {
        markers.push(id.to_vec());
        markers.push(hex(id).into_bytes());
    }
    let mut world = World::named(seed, 3, 1, Names { workspace, ..names });
    for device in &world.devices {
        let id = device.keys.id();
        markers.push(id.0.to_vec());
        markers.push(hex(&id.0).into_bytes());
        markers.push(device.keys.public().sign_key.to_vec());
    }
    world.settle();
    for (number, word) in words.iter().enumerate() {
        let id = ids[number % ids.len()];
        let kind = if number % 2 == 0 {
            DocKind::Document
        } else {
            DocKind::Chat
        };
        world.write(number % 3, DocKey { kind, id }, word);
        world.run(2);
    }
    let gone = world.join(Role::Writer);
    let change = satchel_sync::engine::Change::Remove(world.devices[gone].keys.id());
    world.change(0, change).unwrap();
    world.devices[1].engine.as_mut().unwrap().pack().unwrap();
    world.settle();
    let all = every_byte(&world);
    assert!(all.len() > 20, "there is something to look through");
    for bytes in &all {
        for marker in &markers {
            assert!(
                !contains(bytes, marker),
                "{} is to be seen",
                String::from_utf8_lossy(marker)
            );
        }
    }
    for fragment in world.log(world.links[0].fingerprint) {
        let padded = fragment.len_bytes() - OVERHEAD_BYTES;
        assert!(padded < 64 << 10, "one segment");
        assert_eq!(
            Padding::Padme.padded_bytes(padded),
            padded,
            "a length that says more than it must"
        );
    }
}

#[test]
fn the_number_of_entries_does_not_tell_how_many_documents_were_touched() {
    let entries_for = |documents: u8| {
        let mut world = World::new(1, 2, 1);
        let keys = (1..=20).map(|number| DocKey {
            kind: DocKind::Document,
            id: [number; 16],
        });
        let keys: Vec<DocKey> = keys.collect();
        for key in &keys {
            world.write(0, *key, "begun");
        }
        world.settle();
        let edge = world.links[0].fingerprint;
        let before = world.log(edge).len();
        for key in keys.iter().take(usize::from(documents)) {
            world.devices[0].documents.write(*key, "more");
        }
        world.settle();
        world.log(edge).len() - before
    };
    assert_eq!((entries_for(1), entries_for(3), entries_for(20)), (1, 1, 1));
}
