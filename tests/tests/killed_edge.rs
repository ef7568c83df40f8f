//! The edge node is killed with -9 again and again while two laptops write.
//!
//! Real processes. What a laptop said is sent is on the other one at the end, and everything that was written at all.

use std::time::Duration;

use satchel_tests::Laptop;
use satchel_tests::edge::{EdgeNode, Running, pair, wait_until};

const ROUNDS: usize = 6;

fn names(laptop: &Laptop) -> Vec<String> {
    let listed = laptop.run(["documents", "--json"]).expect_success().json();
    let mut ids: Vec<String> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|document| document["id"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

fn text_of(laptop: &Laptop, id: &str) -> String {
    laptop.run(["show", "--whole", id]).expect_success().stdout
}

/// Whether the laptop says that all it has is on the edge node.
fn is_equal(laptop: &Laptop) -> bool {
    let status = laptop
        .run(["sync", "status", "--json"])
        .expect_success()
        .json();
    status["state"] == "equal"
}

#[test]
fn laptops_that_write_while_the_node_is_killed_are_equal_at_the_end() {
    let mut edge = EdgeNode::start();
    let (anna, bo) = (Laptop::new(), Laptop::new());
    anna.write("a.txt", "The lighthouse has 214 steps.");
    anna.run(["import", "a.txt"]).expect_success();
    anna.run(["sync", "share", edge.link(), "--label", "desk"])
        .expect_success();
    anna.run(["sync", "now"]).expect_success();
    pair(&anna, &bo, edge.link());

    let running = [
        Running::start(&anna, &["sync", "run"]),
        Running::start(&bo, &["sync", "run"]),
    ];
    let mut written = 1;
    // What one laptop called sent, with the node killed right after it said so.
    let mut called_sent: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        for (laptop, who) in [(&anna, "anna"), (&bo, "bo")] {
            for number in 0..2 {
                let name = format!("{who}-{round}-{number}.txt");
                laptop.write(&name, format!("Note {number} of {who} in round {round}."));
                laptop.run(["import", &name]).expect_success();
                written += 1;
            }
        }
        if round % 2 == 0 {
            wait_until("a laptop has sent everything", || is_equal(&anna));
            called_sent = names(&anna);
        }
        edge.kill();
        // While nobody answers, everything else goes on.
        let name = format!("alone-{round}.txt");
        bo.write(
            &name,
            format!("Written while the node was away, round {round}."),
        );
        bo.run(["import", &name]).expect_success();
        written += 1;
        edge.start_again();
    }
    // Asks for a connection at once, instead of waiting until it is tried again by itself.
    for laptop in [&anna, &bo, &anna, &bo] {
        laptop
            .run_with(["sync", "now"], "", Duration::from_secs(120))
            .expect_success();
    }
    let (here, there) = (names(&anna), names(&bo));
    assert_eq!(here.len(), written, "nothing that was saved is lost");
    assert_eq!(here, there);
    assert!(!called_sent.is_empty() && called_sent.iter().all(|id| there.contains(id)));
    for id in &here {
        assert_eq!(text_of(&anna, id), text_of(&bo, id));
    }
    for laptop in running {
        assert_eq!(laptop.interrupt(), Some(0), "Ctrl-C ends it");
    }
    for laptop in [&anna, &bo] {
        let status = laptop.run(["sync", "status", "--json"]).json();
        let warnings = &status["status"]["warnings"];
        assert_eq!(
            warnings,
            &serde_json::json!([]),
            "a killed node forgets nothing"
        );
    }
}

#[test]
fn forbidding_connections_closes_the_one_that_is_open() {
    let edge = EdgeNode::start();
    let laptop = Laptop::new();
    laptop.write("a.txt", "The lighthouse has 214 steps.");
    laptop.run(["import", "a.txt"]).expect_success();
    laptop
        .run(["sync", "share", edge.link(), "--label", "desk"])
        .expect_success();
    let running = Running::start(&laptop, &["sync", "run"]);
    wait_until("it is connected", || is_equal(&laptop));
    laptop.run(["settings", "offline", "true"]).expect_success();
    let pid = running.id();
    wait_until("it has no UDP socket any more", || udp_sockets(pid) == 0);
    laptop.write("b.txt", "The ferry leaves at seven.");
    laptop.run(["import", "b.txt"]).expect_success();
    let forbidden = laptop.run(["sync", "now"]).expect_code(4);
    assert!(
        forbidden.stderr.contains("forbidden by the settings"),
        "{}",
        forbidden.stderr
    );
    assert_eq!(udp_sockets(pid), 0, "and opens none");
    laptop
        .run(["settings", "offline", "false"])
        .expect_success();
    wait_until("it is connected again", || is_equal(&laptop));
    assert_eq!(running.interrupt(), Some(0));
}

/// Open UDP sockets of a process.
fn udp_sockets(pid: u32) -> usize {
    let open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("it runs")
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|target| {
            let target = target.to_string_lossy().into_owned();
            Some(
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .to_owned(),
            )
        })
        .collect();
    let lists = ["udp", "udp6"].map(|list| {
        let path = format!("/proc/{pid}/net/{list}");
        std::fs::read_to_string(path).unwrap_or_default()
    });
    let inodes = lists.iter().flat_map(|list| list.lines().skip(1));
    inodes
        .filter_map(|line| line.split_whitespace().nth(9))
        .filter(|inode| open.iter().any(|open| open == inode))
        .count()
}
