//! Pairings that do not come to their end: each laptop is told, and no member stays that never came.
//!
//! Real processes.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use satchel_tests::edge::{EdgeNode, Pairing, link_to, pair};
use satchel_tests::{Laptop, Outcome};
use serde_json::Value;

fn shared(edge: &EdgeNode) -> Laptop {
    let laptop = Laptop::new();
    laptop.write("a.txt", "The lighthouse has 214 steps.");
    laptop.run(["import", "a.txt"]).expect_success();
    laptop
        .run(["sync", "share", edge.link(), "--label", "desk"])
        .expect_success();
    laptop.run(["sync", "now"]).expect_success();
    laptop
}

/// Labels of the laptops that are members.
fn members(laptop: &Laptop) -> Vec<String> {
    let listed = laptop
        .run(["devices", "list", "--json"])
        .expect_success()
        .json();
    let all = listed.as_array().expect("a list").iter();
    all.filter(|device| device["removed_ms"] == Value::Null)
        .map(|device| device["label"].as_str().expect("a label").to_owned())
        .collect()
}

fn approve(laptop: &Laptop, code: &str) -> Outcome {
    laptop.run_with(
        ["devices", "approve", code, "--yes"],
        "",
        Duration::from_secs(120),
    )
}

#[test]
fn a_code_is_good_for_one_try() {
    let edge = EdgeNode::start();
    let anna = shared(&edge);
    let new = Laptop::new();
    let pairing = Pairing::begin(&new, edge.link());
    let (number, words) = pairing.code.split_once('-').expect("a number and words");
    let typed = if words == "anchor-river-stone" {
        "river-anchor-stone"
    } else {
        "anchor-river-stone"
    };
    let wrong = approve(&anna, &format!("{number}-{typed}")).expect_code(1);
    assert!(
        wrong.stderr.contains("the code is wrong"),
        "{}",
        wrong.stderr
    );
    let right = pairing.code.clone();
    let ended = pairing.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("begin again with a new code"),
        "{ended:?}"
    );
    let second = approve(&anna, &right).expect_code(3);
    assert!(second.stderr.contains("used already"), "{}", second.stderr);
    assert_eq!(members(&anna), ["desk"]);
    pair(&anna, &new, edge.link());
    assert_eq!(members(&anna), ["desk", "travel"]);
    // The same laptop a second time: it has the workspace, and the one that let it in takes that back.
    let again = Pairing::begin(&new, edge.link());
    let taken_back = approve(&anna, &again.code).expect_code(1);
    assert!(
        taken_back
            .stderr
            .contains("taken out of the workspace again"),
        "{}",
        taken_back.stderr
    );
    let here = again.end();
    assert_eq!(here.code, Some(2), "{here:?}");
    assert!(here.stderr.contains("on this laptop already"), "{here:?}");
    assert_eq!(members(&anna), ["desk", "travel"]);
    // The keys were changed by that, and a laptop that comes afterwards gets everything all the same.
    let third = Laptop::new();
    pair(&anna, &third, edge.link());
    third.run(["sync", "now"]).expect_success();
    let found = third
        .run(["search", "--json", "--mode", "lexical", "lighthouse"])
        .expect_success()
        .json();
    assert_eq!(found["hits"].as_array().map(Vec::len), Some(1));
}

#[test]
fn ctrl_c_on_the_new_laptop_ends_the_pairing_on_both() {
    let edge = EdgeNode::start();
    let anna = shared(&edge);
    let new = Laptop::new();
    // While it shows the code.
    let pairing = Pairing::begin(&new, edge.link());
    pairing.signal(Signal::INT);
    let code = pairing.code.clone();
    let stopped = pairing.end();
    assert_eq!(stopped.code, Some(130), "{stopped:?}");
    assert!(
        stopped.stderr.contains("Nothing was changed"),
        "{stopped:?}"
    );
    let gone = approve(&anna, &code).expect_code(3);
    assert!(gone.stderr.contains("no such code"), "{}", gone.stderr);
    // While the user of the other laptop compares the pictures.
    let mut pairing = Pairing::begin(&new, edge.link());
    let code = pairing.code.clone();
    let Some(mut asked) = Terminal::start(&anna, &["devices", "approve", &code]) else {
        return;
    };
    let pictures = pairing.pictures();
    asked.wait_for("[y/N]");
    assert!(!pictures.is_empty());
    pairing.signal(Signal::INT);
    assert_eq!(pairing.end().code, Some(130));
    asked.say("y\n");
    let (code, said) = asked.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("taken out of the workspace again") || said.contains("new code"),
        "{said}"
    );
    assert_eq!(members(&anna), ["desk"]);
    pair(&anna, &new, edge.link());
    assert_eq!(members(&anna), ["desk", "travel"]);
}

#[test]
fn no_and_ctrl_c_at_the_question_let_nobody_in() {
    let edge = EdgeNode::start();
    let anna = shared(&edge);
    for (input, code_wanted) in [("n\n", 1), ("\u{3}", 130)] {
        let new = Laptop::new();
        let pairing = Pairing::begin(&new, edge.link());
        let Some(mut asked) = Terminal::start(&anna, &["devices", "approve", &pairing.code]) else {
            return;
        };
        asked.wait_for("[y/N]");
        asked.say(input);
        let (code, said) = asked.end();
        assert_eq!(code, Some(code_wanted), "{said}");
        assert!(
            said.to_lowercase().contains("nothing was changed"),
            "{said}"
        );
        let refused = pairing.end();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("refused"), "{refused:?}");
        assert_eq!(members(&anna), ["desk"]);
    }
}

#[test]
fn a_laptop_that_dies_after_it_was_let_in_does_not_stay_a_member() {
    let edge = EdgeNode::start();
    let anna = shared(&edge);
    let new = Laptop::new();
    let mut pairing = Pairing::begin(&new, edge.link());
    let Some(mut asked) = Terminal::start(&anna, &["devices", "approve", &pairing.code]) else {
        return;
    };
    let _pictures = pairing.pictures();
    asked.wait_for("[y/N]");
    pairing.signal(Signal::KILL);
    let _killed = pairing.end();
    asked.say("y\n");
    let (code, said) = asked.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("taken out of the workspace again"), "{said}");
    assert_eq!(members(&anna), ["desk"]);
    pair(&anna, &new, edge.link());
}

#[test]
fn an_edge_node_that_is_away_is_told_from_one_that_refuses() {
    let edge = EdgeNode::start();
    let new = Laptop::new();
    let closed = {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        free.local_addr().expect("it is bound")
    };
    let away = new
        .run(["devices", "pair", &link_to(closed)])
        .expect_code(4);
    assert!(away.stderr.contains("UDP"), "{}", away.stderr);
    let refused = new
        .run(["devices", "pair", &link_to(edge.address())])
        .expect_code(1);
    assert!(
        refused.stderr.contains("not the expected"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_sends_nothing() {
    let edge = EdgeNode::start();
    let anna = shared(&edge);
    let file = anna.write("passphrase", "correct horse battery staple");
    let wrong = anna.write("wrong", "incorrect horse");
    let with = |passphrase: &std::path::Path, args: &[&str]| {
        let mut command = anna.command(args);
        command
            .env("SATCHEL_PASSPHRASE_FILE", passphrase)
            .env("SATCHEL_NEW_PASSPHRASE_FILE", passphrase);
        satchel_tests::laptop::finish(command, "", Duration::from_secs(120))
    };
    with(&file, &["key", "passphrase"]).expect_success();
    let refused = with(&wrong, &["sync", "now"]).expect_code(5);
    assert!(refused.stderr.contains("passphrase"), "{}", refused.stderr);
    with(&file, &["sync", "now"]).expect_success();
}

/// A command with a terminal, so that it asks.
struct Terminal {
    child: std::process::Child,
    said: std::sync::Arc<std::sync::Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Terminal {
    /// `None`, and a line that says so, where there is no `script`.
    fn start(laptop: &Laptop, args: &[&str]) -> Option<Self> {
        let command = laptop.command(args);
        let quoted: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let mut script = std::process::Command::new("script");
        script
            .args(["--quiet", "--flush", "--return", "--command"])
            .arg(quoted.join(" "))
            .arg("/dev/null")
            .current_dir(laptop.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        let Ok(mut child) = script.spawn() else {
            eprintln!("skipped: there is no `script` (Debian: apt-get install bsdutils)");
            return None;
        };
        let said = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let mut pipe = child.stdout.take().expect("the pipe was asked for");
        let heard = std::sync::Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(len @ 1..) = std::io::Read::read(&mut pipe, &mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                heard.lock().expect("nobody panics with it").push_str(&text);
            }
        });
        Some(Self {
            child,
            said,
            reader: Some(reader),
        })
    }

    fn wait_for(&self, words: &str) {
        satchel_tests::edge::wait_until(words, || {
            self.said
                .lock()
                .expect("nobody panics with it")
                .contains(words)
        });
    }

    fn say(&mut self, words: &str) {
        use std::io::Write;
        let stdin = self.child.stdin.as_mut().expect("the pipe was asked for");
        stdin.write_all(words.as_bytes()).expect("it listens");
        stdin.flush().expect("it listens");
    }

    fn end(mut self) -> (Option<i32>, String) {
        satchel_tests::edge::wait_until_within(Duration::from_secs(150), "it ends", || {
            matches!(self.child.try_wait(), Ok(Some(_)))
        });
        let code = self.child.wait().expect("the child is ours").code();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        let said = self.said.lock().expect("nobody panics with it").clone();
        (code, said)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
