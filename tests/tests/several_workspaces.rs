//! Several workspaces in one data folder: each with its own documents, each open in a process of its own.
//!
//! Runs the real program, without models: words are found without them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use satchel_tests::{Laptop, Outcome};
use serde_json::Value;

/// A laptop with a paper about lighthouses in “My papers” and one about bridges in “Work”.
fn with_two() -> Laptop {
    let laptop = Laptop::new();
    laptop.write("lighthouse.txt", "The lighthouse at Skagen has 214 steps.");
    laptop.write(
        "bridge.txt",
        "The bridge at Osterby was built by Lene Falk.",
    );
    laptop.run(["import", "lighthouse.txt"]).expect_success();
    laptop.run(["workspace", "new", "Work"]).expect_success();
    laptop
        .run(["--workspace", "Work", "import", "bridge.txt"])
        .expect_success();
    laptop
}

fn list(laptop: &Laptop) -> Vec<Value> {
    let listed = laptop.run(["workspace", "list", "--json"]).expect_success();
    listed.json().as_array().unwrap().clone()
}

fn one(laptop: &Laptop, name: &str) -> Value {
    let all = list(laptop);
    let found = all.iter().find(|one| one["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} among {all:?}"))
        .clone()
}

fn id(laptop: &Laptop, name: &str) -> String {
    one(laptop, name)["id"].as_str().unwrap().to_owned()
}

fn current(laptop: &Laptop) -> String {
    let all = list(laptop);
    let current: Vec<&Value> = all.iter().filter(|one| one["current"] == true).collect();
    assert_eq!(current.len(), 1, "{all:?}");
    current[0]["name"].as_str().unwrap().to_owned()
}

/// Number of hits for a word in the workspace that `options` choose.
fn hits(laptop: &Laptop, options: &[&str], word: &str) -> usize {
    let search = ["search", "--json", "--mode", "lexical", word];
    let found = laptop
        .run(options.iter().chain(&search))
        .expect_success()
        .json();
    found["hits"].as_array().unwrap().len()
}

fn folder_of(laptop: &Laptop, id: &str) -> PathBuf {
    laptop.data_dir().join("workspaces").join(id)
}

#[test]
fn what_is_in_one_workspace_is_not_found_in_another() {
    let laptop = with_two();
    assert_eq!(
        current(&laptop),
        "My papers",
        "a new one is not switched to"
    );
    let work: &[&str] = &["--workspace", "work"];
    for (options, lighthouses, bridges) in [(&[] as &[&str], 1, 0), (work, 0, 1)] {
        assert_eq!(hits(&laptop, options, "lighthouse"), lighthouses);
        assert_eq!(hits(&laptop, options, "bridge"), bridges);
    }
    laptop.run(["workspace", "switch", "WORK"]).expect_success();
    assert_eq!(current(&laptop), "Work");
    assert_eq!(hits(&laptop, &[], "bridge"), 1);
    assert_eq!(hits(&laptop, &[], "lighthouse"), 0);

    // For one command, by variable, by id and by its first digits; an empty variable names none.
    let papers = id(&laptop, "My papers");
    for (variable, lighthouses) in [(papers.as_str(), 1), (&papers[..8], 1), ("", 0)] {
        let mut command = laptop.command(["search", "--json", "--mode", "lexical", "lighthouse"]);
        command.env("SATCHEL_WORKSPACE", variable);
        let found = finish(command).expect_success().json();
        assert_eq!(found["hits"].as_array().unwrap().len(), lighthouses);
    }
    assert_eq!(current(&laptop), "Work", "nothing was switched");
    // Who switches under the variable is told that it goes before.
    let mut switch = laptop.command(["workspace", "switch", "Work"]);
    switch.env("SATCHEL_WORKSPACE", &papers);
    let switched = finish(switch).expect_success().stderr;
    assert!(switched.contains("SATCHEL_WORKSPACE is set"), "{switched}");

    // The same file in another workspace is no duplicate, and its removal there is none here.
    let again = laptop
        .run(["import", "lighthouse.txt", "--json"])
        .expect_success()
        .json();
    assert_eq!(again["added"], 1, "{again}");
    let document = laptop.home().join("lighthouse.txt").display().to_string();
    laptop
        .run(["documents", "remove", &document])
        .expect_success();
    assert_eq!(hits(&laptop, &["--workspace", &papers], "lighthouse"), 1);
}

#[test]
fn status_and_doctor_say_which_workspace_they_look_at() {
    let laptop = with_two();
    for (options, name, documents) in [
        (&[] as &[&str], "My papers", 1),
        (&["--workspace", "Work"], "Work", 1),
    ] {
        let status = laptop
            .run(options.iter().chain(&["status", "--json"]))
            .expect_success()
            .json();
        assert_eq!(status["name"], name, "{status}");
        assert_eq!(status["coverage"]["documents"], documents, "{status}");
        let doctor = laptop.run(options.iter().chain(&["doctor"]));
        let line = doctor.stdout.lines().find(|line| line.contains(name));
        let line = line.unwrap_or_else(|| panic!("{}", doctor.stdout));
        assert!(line.contains("one of 2"), "{line}");
        assert_eq!(line.contains("another one is"), name == "Work", "{line}");
    }
}

#[test]
fn workspaces_are_listed_with_what_is_in_them_and_renamed() {
    let laptop = with_two();
    let before = one(&laptop, "Work");
    assert_eq!(before["documents"], 1, "{before}");
    assert!(before["size_bytes"].as_u64().unwrap() > 1000, "{before}");
    let renamed = laptop
        .run(["workspace", "rename", "work", "  Büro ", "--json"])
        .expect_success()
        .json();
    assert_eq!(renamed["workspace"]["name"], "Büro", "{renamed}");
    assert_eq!(renamed["workspace"]["id"], before["id"], "{renamed}");
    // Another way to write the same name is a new one, too.
    laptop
        .run(["workspace", "rename", "büro", "BÜRO"])
        .expect_success();
    let shown = laptop.run(["workspace"]).expect_success().stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert!(
        lines[0].ends_with("BÜRO") && lines[0].starts_with("  "),
        "{shown}"
    );
    assert!(
        lines[1].ends_with("My papers") && lines[1].starts_with('*'),
        "{shown}"
    );
    assert_eq!(hits(&laptop, &["--workspace", "BÜRO"], "bridge"), 1);
}

#[test]
fn a_removed_workspace_leaves_nothing_behind_and_the_others_alone() {
    let laptop = with_two();
    let work = id(&laptop, "Work");
    let refused = laptop.run(["workspace", "remove", "Work"]).expect_code(2);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    let refused = laptop
        .run(["workspace", "remove", "my papers", "--yes"])
        .expect_code(2);
    assert!(refused.stderr.contains("switch"), "{}", refused.stderr);
    assert_eq!(list(&laptop).len(), 2);

    laptop
        .run(["workspace", "remove", "Work", "--yes"])
        .expect_success();
    assert_eq!(list(&laptop).len(), 1);
    let left = mentions(&laptop.data_dir(), &work);
    assert_eq!(left, [] as [PathBuf; 0]);
    assert_eq!(hits(&laptop, &[], "lighthouse"), 1);
    assert!(laptop.home().join("bridge.txt").exists());
    let gone = laptop.run(["--workspace", "Work", "status"]).expect_code(3);
    assert!(gone.stderr.contains("workspace list"), "{}", gone.stderr);
    // Its name can be given again.
    laptop.run(["workspace", "new", "Work"]).expect_success();
    assert_eq!(one(&laptop, "Work")["documents"], 0);
}

/// A power cut after the renaming: some files are deleted, the others are not.
#[test]
fn a_removal_that_was_cut_off_is_finished_at_the_next_start() {
    let laptop = with_two();
    let work = id(&laptop, "Work");
    let folder = folder_of(&laptop, &work);
    let removed = folder.with_file_name(format!(".removed-{work}"));
    std::fs::rename(&folder, &removed).unwrap();
    std::fs::remove_file(removed.join("index.log")).unwrap();
    assert_eq!(list(&laptop).len(), 1, "it is gone at once");
    assert!(laptop.data_dir().join("index").join(&work).exists());
    assert_eq!(hits(&laptop, &[], "lighthouse"), 1);
    let left = mentions(&laptop.data_dir(), &work);
    assert_eq!(left, [] as [PathBuf; 0]);
}

#[test]
fn bad_names_and_names_that_are_taken_are_refused() {
    let laptop = with_two();
    let long = "x".repeat(81);
    for (arguments, code, words) in [
        (vec!["new", ""], 2, "name"),
        (vec!["new", "  "], 2, "name"),
        (vec!["new", "two\nlines"], 2, "line break"),
        (vec!["new", &long], 2, "80"),
        (vec!["new", "wOrK"], 2, "already"),
        (vec!["rename", "Work", "my PAPERS"], 2, "already"),
        (vec!["rename", "Work", "\u{7}"], 2, "control"),
        (vec!["rename", "Wrok", "x"], 3, "workspace list"),
        (vec!["switch", "Wrok"], 3, "workspace list"),
        (vec!["remove", "Wrok", "--yes"], 3, "workspace list"),
        (vec!["remove", "", "--yes"], 3, "workspace list"),
        (vec!["new"], 2, "Usage"),
    ] {
        let said = laptop
            .run(["workspace"].iter().chain(&arguments))
            .expect_code(code);
        assert!(
            said.stderr.contains(words),
            "{arguments:?}: {}",
            said.stderr
        );
        assert!(said.stdout.is_empty(), "{arguments:?}: {}", said.stdout);
    }
    assert_eq!(list(&laptop).len(), 2);
}

#[test]
fn a_damaged_note_of_the_current_workspace_is_said_and_costs_nothing() {
    let laptop = with_two();
    std::fs::write(laptop.data_dir().join("current-workspace"), b"\0\0\0").unwrap();
    let said = laptop.run(["documents"]).expect_success();
    assert!(said.stderr.contains("workspace switch"), "{}", said.stderr);
    let said = laptop.run(["documents"]).expect_success();
    assert!(!said.stderr.contains("workspace switch"), "{}", said.stderr);
    laptop.run(["workspace", "switch", "Work"]).expect_success();
    std::fs::remove_dir_all(folder_of(&laptop, &id(&laptop, "Work"))).unwrap();
    assert_eq!(hits(&laptop, &[], "lighthouse"), 1, "the one that is left");
}

#[test]
fn nothing_is_made_by_looking_and_the_first_can_be_named() {
    let laptop = Laptop::new();
    let listed = laptop.run(["workspace"]).expect_success();
    assert!(listed.stderr.contains("workspace new"), "{}", listed.stderr);
    laptop.run(["--workspace", "Tax", "status"]).expect_code(3);
    assert!(
        !laptop
            .data_dir()
            .join("keys")
            .join("data-key.json")
            .exists()
    );
    laptop.run(["workspace", "new", "Tax"]).expect_success();
    assert_eq!(current(&laptop), "Tax");
    assert_eq!(list(&laptop).len(), 1);
}

#[test]
fn the_sample_goes_into_an_empty_workspace_alone() {
    let laptop = with_two();
    laptop
        .run(["workspace", "new", "Playground"])
        .expect_success();
    for name in ["Work", "Playground"] {
        // Without a model the question may fail; the sample comes before it.
        laptop.run(["--workspace", name, "try"]);
        let found = one(&laptop, name);
        let documents = found["documents"].as_u64().unwrap();
        assert_eq!(documents == 1, name == "Work", "{found}");
        assert!(documents > 0, "{found}");
    }
}

#[test]
fn two_workspaces_are_used_by_two_processes_at_the_same_time() {
    let laptop = with_two();
    let mut chat = hold(&laptop, &[], "My papers");

    // The other workspace, in a process of its own.
    laptop.write("more.txt", "The bridge at Skive is made of steel.");
    laptop
        .run(["--workspace", "Work", "import", "more.txt"])
        .expect_success();
    assert_eq!(hits(&laptop, &["--workspace", "Work"], "bridge"), 2);
    // The open one, through the process that has it open.
    assert_eq!(hits(&laptop, &[], "lighthouse"), 1);
    assert_eq!(
        hits(&laptop, &["--workspace", "my papers"], "lighthouse"),
        1
    );

    // Everything about workspaces beside it.
    laptop
        .run(["workspace", "rename", "My papers", "Home"])
        .expect_success();
    laptop
        .run(["workspace", "rename", "Work", "Office"])
        .expect_success();
    laptop.run(["workspace", "new", "Third"]).expect_success();
    laptop
        .run(["workspace", "switch", "Office"])
        .expect_success();
    assert_eq!(one(&laptop, "Home")["open_here"], true);
    let refused = laptop
        .run(["workspace", "remove", "Home", "--yes"])
        .expect_code(5);
    assert!(refused.stderr.contains("open"), "{}", refused.stderr);
    laptop
        .run(["workspace", "remove", "Third", "--yes"])
        .expect_success();
    assert_eq!(hits(&laptop, &[], "bridge"), 2, "switched to");
    assert_eq!(hits(&laptop, &["--workspace", "Home"], "lighthouse"), 1);

    release(&mut chat);
    assert_eq!(hits(&laptop, &["--workspace", "Home"], "lighthouse"), 1);
    laptop
        .run(["workspace", "remove", "Home", "--yes"])
        .expect_success();
    assert_eq!(list(&laptop).len(), 1);
}

/// The command reaches the one process, and the workspace is open in the other.
#[test]
fn a_workspace_that_is_open_elsewhere_is_renamed_there_and_not_removed() {
    let laptop = with_two();
    laptop.run(["workspace", "new", "Third"]).expect_success();
    let mut holders = [
        hold(&laptop, &["--workspace", "Work"], "Work"),
        hold(&laptop, &["--workspace", "Third"], "Third"),
    ];
    for (name, new_name) in [("Work", "Office"), ("Third", "Last")] {
        let renamed = laptop
            .run(["workspace", "rename", name, new_name, "--json"])
            .expect_success()
            .json();
        assert_eq!(renamed["workspace"]["name"], new_name, "{renamed}");
        laptop
            .run(["workspace", "remove", new_name, "--yes"])
            .expect_code(5);
        let status = laptop
            .run(["--workspace", new_name, "status", "--json"])
            .expect_success()
            .json();
        assert_eq!(status["name"], new_name, "{status}");
    }
    holders.iter_mut().for_each(release);
    assert_eq!(list(&laptop).len(), 3);
}

#[test]
fn a_passphrase_is_not_asked_for_while_a_process_has_a_workspace_open() {
    let laptop = with_two();
    let passphrase = laptop.write("passphrase", "four words are good\n");
    let with = |arguments: &[&str], variable: &str| {
        let mut command = laptop.command(arguments);
        command.env(variable, &passphrase);
        command
    };
    let locking = with(&["key", "passphrase"], "SATCHEL_NEW_PASSPHRASE_FILE");
    finish(locking).expect_success();
    for arguments in [&["documents"] as &[&str], &["workspace", "list"]] {
        let locked = laptop.run(arguments).expect_code(5);
        assert!(
            locked.stderr.contains("PASSPHRASE_FILE"),
            "{}",
            locked.stderr
        );
    }
    let mut chat = with(&["chat"], "SATCHEL_PASSPHRASE_FILE");
    let mut chat = spawn(&mut chat);
    wait_until(|| laptop.run(["documents"]).code == Some(0));
    assert_eq!(list(&laptop).len(), 2);
    laptop.run(["workspace", "new", "Third"]).expect_success();
    laptop.run(["workspace", "switch", "Work"]).expect_success();
    // Not open anywhere, so the key is needed.
    laptop.run(["documents"]).expect_code(5);
    let opened = with(&["documents", "--json"], "SATCHEL_PASSPHRASE_FILE");
    let opened = finish(opened).expect_success().json();
    assert_eq!(opened.as_array().unwrap().len(), 1, "{opened}");
    release(&mut chat);
}

#[test]
fn the_places_are_said_without_a_key() {
    let laptop = Laptop::new();
    let paths = laptop.run(["paths", "--json"]).expect_success().json();
    let sockets = Path::new(paths["sockets"].as_str().unwrap());
    assert!(sockets.ends_with("run/satchel"), "{paths}");
    assert!(!laptop.data_dir().join("keys").exists());
}

/// A chat that waits for a question and holds a workspace meanwhile.
fn hold(laptop: &Laptop, options: &[&str], name: &str) -> Child {
    let mut chat = laptop.command(options.iter().chain(&["chat"]));
    let chat = spawn(&mut chat);
    let lock = folder_of(laptop, &id(laptop, name)).join("workspace.lock");
    wait_until(|| std::fs::File::open(&lock).is_ok_and(|file| file.try_lock().is_err()));
    chat
}

fn spawn(command: &mut std::process::Command) -> Child {
    let quiet = command.stdin(Stdio::piped()).stdout(Stdio::null());
    quiet.stderr(Stdio::null()).spawn().unwrap()
}

fn release(chat: &mut Child) {
    drop(chat.stdin.take());
    assert!(chat.wait().unwrap().success());
}

fn wait_until(done: impl Fn() -> bool) {
    let held = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        done()
    });
    assert!(held, "it did not happen within ten seconds");
}

fn finish(command: std::process::Command) -> Outcome {
    satchel_tests::laptop::finish(command, "", Duration::from_secs(60))
}

/// Files and folders whose path names `id`, and files that hold it.
fn mentions(folder: &Path, id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().contains(id) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(mentions(&path, id));
        } else if std::fs::read(&path).is_ok_and(|bytes| contains(&bytes, id.as_bytes())) {
            found.push(path);
        }
    }
    found
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
