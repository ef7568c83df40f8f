//! Syncing a workspace: what a document's history costs, and how long a new laptop takes to have everything.
//!
//! `make bench BENCH=sync`. Real workspaces on a real disk. Edits and the 200 documents go through an edge node
//! in this process without sockets; the 2,000 documents through one over QUIC on loopback. Peers in the same run:
//! Automerge alone and its own sync protocol, a raw QUIC stream, the durable writes of the same disk.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement that cannot run says where"
)]

#[path = "../../tests/src/bench.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the benches of the whole product"
)]
mod bench;
#[path = "sync/in_memory.rs"]
mod in_memory;
#[path = "sync/over_quic.rs"]
mod over_quic;
#[path = "sync/trace.rs"]
mod trace;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use automerge::sync::{State, SyncDoc};
use automerge::transaction::Transactable;
use automerge::{Automerge, ObjType, ROOT};
use bench::{Row, print, quantile};
use in_memory::{Device, Edge, Laptops};
use satchel_sync::engine::Documents;
use satchel_sync::entry::{DocKey, DocKind};
use satchel_sync::keys::DataKey;
use satchel_sync::workspace::{NewDocument, Workspace};
use trace::Trace;

const KEYSTROKES: usize = 10_000;
/// Keystrokes that become one change: what a person types in some seconds.
const COALESCED: usize = 20;
const DOCUMENTS: usize = 200;
/// Keystrokes in the history of each of them.
const EACH: usize = 800;
const RUNS: usize = 5;

fn main() {
    let trace = Trace::load();
    // `cargo bench … -- edits` runs one part.
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |part: &str| {
        let is_named = named.iter().any(|name| name == part);
        is_named || named.iter().all(|name| name.starts_with('-'))
    };
    if is_wanted("keys") {
        keys(&trace);
    }
    if is_wanted("edits") {
        edits(&trace);
    }
    if is_wanted("fresh") {
        fresh_device(&trace);
    }
    if is_wanted("many") {
        over_quic::many_documents();
    }
}

/// Folder on the disk of the build, not in memory.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

fn state_of(workspace: &Workspace, text: String) -> NewDocument {
    let existing = workspace.documents().first().map(|entry| entry.id);
    NewDocument {
        existing,
        ..NewDocument::plain("Paper", text)
    }
}

/// What each key costs while somebody writes: Automerge, the seal and the log, without waiting for the disk.
fn keys(trace: &Trace) {
    let dir = folder();
    let (mut bare_99, mut ours_99, mut ratio_99) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare_50, mut ours_50, mut flush_50, mut flush_99) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        let bare = bare_keys(trace, dir.path());
        let place = dir.path().join(run.to_string());
        let workspace = Workspace::create_in(&place, &DataKey::random(), "Papers").unwrap();
        let workspace = Arc::new(workspace);
        let new = NewDocument::plain("Paper", "");
        let id = workspace.put(vec![new]).unwrap()[0].id;
        let mut editor = workspace.edit(id).unwrap();
        let (mut ours, mut flushes) = (Vec::new(), Vec::new());
        for edits in trace.edits[..KEYSTROKES].chunks(COALESCED) {
            for edit in edits {
                let begun = Instant::now();
                editor.splice(edit.at, edit.delete, &edit.insert).unwrap();
                ours.push(ms(begun) * 1000.0);
            }
            let begun = Instant::now();
            editor.flush().unwrap();
            flushes.push(ms(begun));
        }
        assert_eq!(
            workspace.text(id).unwrap(),
            trace.text(0, KEYSTROKES),
            "it was not written"
        );
        bare_50.push(quantile(&bare, 0.5));
        bare_99.push(quantile(&bare, 0.99));
        ours_50.push(quantile(&ours, 0.5));
        ours_99.push(quantile(&ours, 0.99));
        ratio_99.push(quantile(&ours, 0.99) / quantile(&bare, 0.99));
        flush_50.push(quantile(&flushes, 0.5));
        flush_99.push(quantile(&flushes, 0.99));
    }
    print(
        &format!(
            "{KEYSTROKES} keys of {}, each applied, sealed and appended; flushed after every {COALESCED}",
            trace.name
        ),
        &[
            Row::new("a key, p50 [µs]", ours_50),
            Row::new("a key, p99 [µs]", ours_99),
            Row::new("bare Automerge, a change per key, p50 [µs]", bare_50),
            Row::new("bare Automerge, p99 [µs]", bare_99),
            Row::new("a key ÷ bare Automerge, p99", ratio_99).at_most(1.3),
            Row::new("flush with fsyncs: document and list, p50 [ms]", flush_50),
            Row::new("flush, p99 [ms]", flush_99),
        ],
    );
}

/// Microseconds for each key in Automerge alone, one change per key. As often as an editor is flushed, what is new
/// goes to the disk beside the clock, so that both begin anew after the same pause.
fn bare_keys(trace: &Trace, dir: &Path) -> Vec<f64> {
    let mut file = std::fs::File::create(dir.join("bare keys")).unwrap();
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.commit();
    let mut keys = Vec::new();
    for edits in trace.edits[..KEYSTROKES].chunks(COALESCED) {
        let before = doc.get_heads();
        for edit in edits {
            let begun = Instant::now();
            let mut tx = doc.transaction();
            tx.splice_text(&text, edit.at, edit.delete as isize, &edit.insert)
                .unwrap();
            tx.commit();
            keys.push(ms(begun) * 1000.0);
        }
        file.write_all(&doc.save_after(&before)).unwrap();
        file.sync_data().unwrap();
    }
    keys
}

/// Typing on one laptop while the other one watches.
fn edits(trace: &Trace) {
    let dir = folder();
    let edge = Edge::new();
    let Laptops { first, second } = Laptops::begin(dir.path(), &edge, |workspace| {
        workspace
            .put(vec![state_of(workspace, String::new())])
            .unwrap();
    });
    let (mut first, mut second) = (first, second.unwrap());
    let (mut put_ms, mut sealed_ms, mut taken_ms) = (Vec::new(), Vec::new(), Vec::new());
    for text in trace.texts(0, KEYSTROKES, COALESCED) {
        let begun = Instant::now();
        let document = state_of(&first.workspace, text);
        first.workspace.put(vec![document]).unwrap();
        put_ms.push(ms(begun));
        let begun = Instant::now();
        first.flush();
        sealed_ms.push(ms(begun));
        first.pump(&edge);
        let begun = Instant::now();
        second.pump(&edge);
        taken_ms.push(ms(begun));
    }
    let id = first.workspace.documents()[0].id;
    let text = trace.text(0, KEYSTROKES);
    assert_eq!(
        second.workspace.text(id).unwrap(),
        text,
        "it did not arrive"
    );
    let before = edge.stored(&mut first);
    first.pack();
    first.pump(&edge);
    second.pump(&edge);
    let after = edge.stored(&mut first);
    let mut saved = |key| first.snapshot(key).len() as f64;
    let (document, list) = (saved(DocKey::document(id)), saved(DocKey::INDEX));
    let bare = Bare::type_in(trace, dir.path());
    let kib = |bytes: usize| vec![bytes as f64 / 1024.0];
    let part = |values: &[f64], part| vec![quantile(values, part)];
    print(
        &format!(
            "{KEYSTROKES} keystrokes of {}, {COALESCED} to a change, from one laptop to another",
            trace.name
        ),
        &[
            Row::new(
                format!(
                    "stored before it is packed, {} fragments [KiB]",
                    before.entries
                ),
                kib(before.bytes),
            ),
            Row::new(
                format!("stored after packing, {} fragments [KiB]", after.entries),
                kib(after.bytes),
            ),
            Row::new(
                "… ÷ save() of the document",
                vec![after.bytes as f64 / document],
            )
            .at_most(3.0),
            Row::new(
                "… ÷ save() of the document and of the list",
                vec![after.bytes as f64 / (document + list)],
            ),
        ],
    );
    print(
        "One change of 20 keystrokes as a whole text that an import hands in, by part and with fsync",
        &[
            Row::new(
                "put: read, compare, apply, seal, append, list, p50 [ms]",
                part(&put_ms, 0.5),
            ),
            Row::new("put, p99 [ms]", part(&put_ms, 0.99)),
            Row::new(
                "entry: changes, sign, seal, remember, p50 [ms]",
                part(&sealed_ms, 0.5),
            ),
            Row::new("entry, p99 [ms]", part(&sealed_ms, 0.99)),
            Row::new(
                "taken in by the other laptop, p50 [ms]",
                part(&taken_ms, 0.5),
            ),
            Row::new(
                "taken in by the other laptop, p99 [ms]",
                part(&taken_ms, 0.99),
            ),
            Row::new(
                "bare Automerge: 20 keystrokes applied, p50 [ms]",
                part(&bare.apply_ms, 0.5),
            ),
            Row::new("bare Automerge, p99 [ms]", part(&bare.apply_ms, 0.99)),
            Row::new(
                "… appended to a file with fsync, p50 [ms]",
                part(&bare.append_ms, 0.5),
            ),
            Row::new(
                "put ÷ (bare Automerge + append), p50",
                vec![
                    quantile(&put_ms, 0.5)
                        / (quantile(&bare.apply_ms, 0.5) + quantile(&bare.append_ms, 0.5)),
                ],
            ),
        ],
    );
}

/// The same edits on Automerge alone.
struct Bare {
    apply_ms: Vec<f64>,
    append_ms: Vec<f64>,
}

impl Bare {
    fn type_in(trace: &Trace, dir: &Path) -> Self {
        let mut file = std::fs::File::create(dir.join("bare")).unwrap();
        let (mut apply_ms, mut append_ms) = (Vec::new(), Vec::new());
        let mut doc = Automerge::new();
        let mut tx = doc.transaction();
        let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
        tx.commit();
        for edits in trace.edits[..KEYSTROKES].chunks(COALESCED) {
            let before = doc.get_heads();
            let begun = Instant::now();
            let mut tx = doc.transaction();
            for edit in edits {
                tx.splice_text(&text, edit.at, edit.delete as isize, &edit.insert)
                    .unwrap();
            }
            tx.commit();
            apply_ms.push(ms(begun));
            let begun = Instant::now();
            file.write_all(&doc.save_after(&before)).unwrap();
            file.sync_data().unwrap();
            append_ms.push(ms(begun));
        }
        Self {
            apply_ms,
            append_ms,
        }
    }
}

/// A new laptop gets documents that were edited for a while.
fn fresh_device(trace: &Trace) {
    let dir = folder();
    let edge = Edge::new();
    let begin = |workspace: &Workspace| write_histories(trace, workspace);
    let Laptops { mut first, .. } = Laptops::begin_alone(dir.path(), &edge, begin);
    first.flush();
    first.pump(&edge);
    let histories = first.histories();
    let (mut join_ms, mut peer_ms, mut peer_1_ms) = (Vec::new(), Vec::new(), Vec::new());
    let (mut join_bytes, mut peer_bytes, mut peer_1_bytes) = (Vec::new(), Vec::new(), Vec::new());
    let mut entries = 0;
    let keystrokes: Vec<Automerge> = (0..DOCUMENTS)
        .map(|number| keystroke_history(trace, number))
        .collect();
    for run in 0..RUNS {
        let mut fresh = first.invite(&edge, &dir.path().join(format!("fresh {run}")));
        let begun = Instant::now();
        fresh.open();
        fresh.pump(&edge);
        join_ms.push(ms(begun));
        join_bytes.push((fresh.received_bytes + fresh.sent_bytes) as f64 / 1024.0);
        entries = fresh.received_entries;
        check_same(&first.workspace, &fresh.workspace);
        let (took, bytes) = automerge_sync(&histories);
        peer_ms.push(took);
        peer_bytes.push(bytes as f64 / 1024.0);
        let (took, bytes) = automerge_sync(&keystrokes);
        peer_1_ms.push(took);
        peer_1_bytes.push(bytes as f64 / 1024.0);
    }
    let ratio = |peer: &[f64], ours: &[f64]| -> Vec<f64> {
        peer.iter().zip(ours).map(|(a, b)| a / b).collect()
    };
    let rows = [
        Row::new("new laptop, all of it durable [ms]", join_ms.clone()),
        Row::new(
            "Automerge sync in memory, same history [ms]",
            peer_ms.clone(),
        ),
        Row::new(
            "Automerge sync in memory, 1 keystroke per change [ms]",
            peer_1_ms.clone(),
        ),
        Row::new("times faster, same history", ratio(&peer_ms, &join_ms)),
        Row::new(
            "times faster, 1 keystroke per change",
            ratio(&peer_1_ms, &join_ms),
        )
        .at_least(5.0),
        Row::new("new laptop, both directions [KiB]", join_bytes.clone()),
        Row::new("Automerge sync, same history [KiB]", peer_bytes.clone()),
        Row::new(
            "Automerge sync, 1 keystroke per change [KiB]",
            peer_1_bytes.clone(),
        ),
        Row::new(
            "times fewer bytes, same history",
            ratio(&peer_bytes, &join_bytes),
        ),
        Row::new(
            "times fewer bytes, 1 keystroke per change",
            ratio(&peer_1_bytes, &join_bytes),
        )
        .at_least(5.0),
    ];
    print(
        &format!(
            "A new laptop gets {DOCUMENTS} documents of {EACH} keystrokes, {COALESCED} to a change, in {entries} fragments"
        ),
        &rows,
    );
}

fn write_histories(trace: &Trace, workspace: &Workspace) {
    let texts: Vec<Vec<String>> = (0..DOCUMENTS)
        .map(|number| trace.texts(number * EACH, EACH, COALESCED).collect())
        .collect();
    let mut ids: Vec<_> = (0..DOCUMENTS).map(|_| None).collect();
    for change in 0..EACH / COALESCED {
        let batch = texts
            .iter()
            .enumerate()
            .map(|(number, states)| NewDocument {
                existing: ids[number],
                ..NewDocument::plain(format!("Note {number}"), states[change].clone())
            });
        let entries = workspace.put(batch.collect()).unwrap();
        ids = entries.iter().map(|entry| Some(entry.id)).collect();
    }
}

fn keystroke_history(trace: &Trace, number: usize) -> Automerge {
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
    tx.commit();
    for edit in trace.window(number * EACH, EACH) {
        let mut tx = doc.transaction();
        tx.splice_text(&text, edit.at, edit.delete as isize, &edit.insert)
            .unwrap();
        tx.commit();
    }
    doc
}

fn check_same(one: &Arc<Workspace>, other: &Arc<Workspace>) {
    assert_eq!(one.document_count(), other.document_count());
    for entry in one.documents() {
        let text = one.text(entry.id).unwrap();
        assert_eq!(other.text(entry.id).unwrap(), text);
    }
}

/// Time and bytes of Automerge's own protocol from full documents to empty ones.
fn automerge_sync(docs: &[Automerge]) -> (f64, usize) {
    let begun = Instant::now();
    let mut bytes = 0;
    for doc in docs {
        let mut full = doc.clone();
        let mut empty = Automerge::new();
        let (mut a, mut b) = (State::new(), State::new());
        loop {
            let mut done = true;
            if let Some(message) = full.generate_sync_message(&mut a) {
                let message = message.encode();
                bytes += message.len();
                let message = automerge::sync::Message::decode(&message).unwrap();
                empty.receive_sync_message(&mut b, message).unwrap();
                done = false;
            }
            if let Some(message) = empty.generate_sync_message(&mut b) {
                let message = message.encode();
                bytes += message.len();
                let message = automerge::sync::Message::decode(&message).unwrap();
                full.receive_sync_message(&mut a, message).unwrap();
                done = false;
            }
            if done {
                break;
            }
        }
        assert_eq!(full.get_heads(), empty.get_heads());
    }
    (ms(begun), bytes)
}

impl Device {
    /// The Automerge documents of everything but the list.
    fn histories(&mut self) -> Vec<Automerge> {
        let all = self.documents(Documents::all);
        let keys = all.into_iter().map(|(key, _)| key);
        let keys: Vec<DocKey> = keys.filter(|key| key.kind == DocKind::Document).collect();
        keys.into_iter()
            .map(|key| Automerge::load(&self.snapshot(key)).unwrap())
            .collect()
    }
}
