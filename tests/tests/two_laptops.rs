//! Two laptops and an edge node, as real processes: shared, paired, written on both, one removed.
//!
//! Needs no models: words are found without them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use satchel_tests::{Laptop, satchel_edge_bin};
use serde_json::Value;

/// An edge node of its own, for one test.
struct EdgeNode {
    child: Child,
    link: String,
    _folder: tempfile::TempDir,
}

impl EdgeNode {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let mut child = std::process::Command::new(satchel_edge_bin())
            .args(["run", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the edge node starts");
        let said = BufReader::new(child.stdout.take().expect("the pipe was asked for"));
        let link = said
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("link: ").map(str::to_owned));
        Self {
            child,
            link: link.expect("it prints its link"),
            _folder: folder,
        }
    }
}

impl Drop for EdgeNode {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Lets `new` into the workspace of `known`.
fn pair(known: &Laptop, new: &Laptop, link: &str, role: &str) {
    let mut joining = new
        .command(["devices", "pair", link, "--label", "travel", "--user", "Bo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(joining.stdout.take().expect("the pipe was asked for")).lines();
    let code = lines
        .by_ref()
        .map_while(Result::ok)
        .map(|line| line.trim().to_owned())
        .find(|line| line.split('-').count() == 4)
        .expect("it shows a code");
    let approved = known
        .run(["devices", "approve", &code, "--role", role, "--yes"])
        .expect_success();
    assert!(
        approved.stderr.contains("travel of Bo"),
        "{}",
        approved.stderr
    );
    let pictures = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.starts_with("    "))
        .expect("it shows the pictures");
    assert!(
        approved.stderr.contains(pictures.trim()),
        "both show the same pictures: {pictures}\n{}",
        approved.stderr
    );
    lines.for_each(drop);
    assert!(joining.wait().expect("it ends").success());
}

fn titles_and_texts(laptop: &Laptop) -> Vec<(String, String)> {
    let listed = laptop.run(["documents", "--json"]).expect_success().json();
    let all = listed.as_array().expect("a list").iter();
    let mut found: Vec<(String, String)> = all
        .map(|document| {
            let id = document["id"].as_str().expect("an id");
            let shown = laptop.run(["show", "--whole", id]).expect_success();
            (id.to_owned(), shown.stdout)
        })
        .collect();
    found.sort();
    found
}

fn exchange(laptop: &Laptop) {
    let done = laptop.run(["sync", "now", "--json"]).expect_success();
    assert_eq!(done.json()["state"], "equal", "{}", done.stdout);
}

fn hits(laptop: &Laptop, word: &str) -> usize {
    let found = laptop
        .run(["search", "--json", "--mode", "lexical", word])
        .expect_success()
        .json();
    found["hits"].as_array().map_or(0, Vec::len)
}

fn status(laptop: &Laptop) -> Value {
    laptop
        .run(["sync", "status", "--json"])
        .expect_success()
        .json()
}

#[test]
fn what_is_written_on_two_laptops_is_equal_on_both_until_one_is_removed() {
    let edge = EdgeNode::start();
    let (anna, bo) = (Laptop::new(), Laptop::new());
    let lease = anna.write("lease.md", "# Lease\n\nThe lease ends in September.\n");
    anna.write("notes.txt", "The lighthouse has 214 steps.\n");
    anna.run(["import", "lease.md", "notes.txt"])
        .expect_success();
    anna.run([
        "sync", "share", &edge.link, "--label", "desk", "--user", "Anna",
    ])
    .expect_success();
    let again = anna.run(["sync", "share", &edge.link]).expect_code(2);
    assert!(again.stderr.contains("shared already"), "{}", again.stderr);

    // Bo has papers of his own, which stay his own.
    bo.write("own.txt", "Nobody else reads about marmots.\n");
    bo.run(["import", "own.txt"]).expect_success();
    pair(&anna, &bo, &edge.link, "writer");
    exchange(&bo);
    assert_eq!(titles_and_texts(&bo), titles_and_texts(&anna));
    assert_eq!((hits(&bo, "lighthouse"), hits(&bo, "marmots")), (1, 0));
    let devices = status(&anna)["status"]["devices"].clone();
    let labels: Vec<&str> = devices
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|device| device["label"].as_str())
        .collect();
    assert_eq!(labels, ["desk", "travel"]);

    anna.run(["workspace", "role", "TRAVEL", "reader"])
        .expect_success();
    exchange(&bo);
    let reader = bo.run(["import", "own.txt"]).expect_code(2);
    assert!(reader.stderr.contains("is a reader"), "{}", reader.stderr);
    anna.run(["workspace", "role", "travel", "writer"])
        .expect_success();
    exchange(&bo);

    // Both write while they are offline; one changes a file that only lies there, the other one brings a new one.
    let offline = |laptop: &Laptop, args: &[&str]| {
        laptop.run([&["--offline"], args].concat()).expect_success();
    };
    std::fs::write(
        &lease,
        "# Lease\n\nThe lease ends in October, with a deposit.\n",
    )
    .unwrap();
    offline(&anna, &["import", "lease.md"]);
    // The same path on another laptop is another file.
    std::fs::create_dir_all(bo.home().join("sub")).unwrap();
    bo.write("bridge.txt", "The bridge at Osterby is red.\n");
    offline(&bo, &["import", "bridge.txt"]);
    for laptop in [&anna, &bo, &anna, &bo] {
        exchange(laptop);
    }
    let (here, there) = (titles_and_texts(&anna), titles_and_texts(&bo));
    assert_eq!(here, there);
    assert_eq!(here.len(), 3);
    assert_eq!((hits(&bo, "deposit"), hits(&anna, "Osterby")), (1, 1));
    assert_eq!(
        hits(&bo, "September"),
        0,
        "the old words are gone from the index"
    );

    anna.run(["devices", "remove", "travel", "--yes"])
        .expect_success();
    anna.write("secret.txt", "The password of the safe is marigold.\n");
    anna.run(["import", "secret.txt"]).expect_success();
    exchange(&anna);
    let refused = bo
        .run_with(["sync", "now"], "", Duration::from_secs(60))
        .expect_code(1);
    assert!(refused.stderr.contains("removed"), "{}", refused.stderr);
    assert_eq!(hits(&bo, "marigold"), 0);
    assert_eq!(titles_and_texts(&bo), there, "what he had, he keeps");
    assert_eq!(status(&bo)["state"], "removed");
}

#[test]
fn what_does_not_work_is_said_in_words() {
    let edge = EdgeNode::start();
    let laptop = Laptop::new();
    let not_shared = laptop.run(["sync", "now"]).expect_code(2);
    assert!(
        not_shared.stderr.contains("not shared"),
        "{}",
        not_shared.stderr
    );
    let no_link = laptop
        .run(["sync", "share", "http://example.org"])
        .expect_code(2);
    assert!(no_link.stderr.contains("no link"), "{}", no_link.stderr);
    laptop.run(["sync", "share", &edge.link]).expect_success();
    exchange(&laptop);
    let wrong = laptop
        .run(["devices", "approve", "9999-anchor-river-stone", "--yes"])
        .expect_code(3);
    assert!(wrong.stderr.contains("no such code"), "{}", wrong.stderr);
    let forbidden = laptop.run(["--offline", "sync", "now"]).expect_code(4);
    assert!(
        forbidden.stderr.contains("--offline"),
        "{}",
        forbidden.stderr
    );
    let unsure = laptop.run(["devices", "remove", "desk"]).expect_code(2);
    assert!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);

    drop(edge);
    laptop.write("late.txt", "Written while nobody was there.\n");
    laptop.run(["import", "late.txt"]).expect_success();
    let alone = laptop.run(["sync", "now"]).expect_code(4);
    assert!(
        alone.stderr.contains("no edge node answers"),
        "{}",
        alone.stderr
    );
    assert_eq!(
        status(&laptop)["status"]["unsent"].as_u64().map(|n| n > 0),
        Some(true)
    );
}
