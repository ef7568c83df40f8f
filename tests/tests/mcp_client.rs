//! Tools of other programs, with the real program: MCP servers are set up, looked at and taken out, and none is called
//! where nobody can be asked. The loop in which a model calls them is tested beside it, with a script in its place.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use satchel_tests::Laptop;

fn server() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/mcp_server.py")
}

/// Sets up a server of this way under its name; gives its log.
fn add(laptop: &Laptop, way: &str) -> PathBuf {
    let log = laptop.write(format!("{way}.log"), "");
    let (script, log_name) = (server(), log.clone());
    let args = [
        "mcp-servers",
        "add",
        way,
        "--env",
        "TOKEN=sesame",
        "--",
        "python3",
        script.to_str().unwrap(),
        way,
        log_name.to_str().unwrap(),
    ];
    laptop.run(args).expect_success();
    log
}

#[test]
fn servers_are_set_up_looked_at_and_taken_out() {
    let laptop = Laptop::new();
    let log = add(&laptop, "good");
    let listed = laptop.run(["mcp-servers", "--json"]).expect_success();
    assert_eq!(listed.json()[0]["name"], "good");
    for command in [["mcp-servers", "--json"], ["settings", "--json"]] {
        let said = laptop.run(command).expect_success();
        assert!(!said.stdout.contains("sesame"), "a password is shown");
    }
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "", "it was started");

    let tools = laptop
        .run(["mcp-servers", "tools", "good"])
        .expect_success();
    assert!(
        tools.stdout.contains("good.find  Finds notes."),
        "{}",
        tools.stdout
    );
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("TOKEN") && said.ends_with("end\n"), "{said}");
    assert!(
        !said.contains("SATCHEL"),
        "it sees variables of ours: {said}"
    );

    laptop
        .run(["mcp-servers", "remove", "good"])
        .expect_success();
    assert_eq!(laptop.run(["mcp-servers", "tools", "good"]).code, Some(3));
    assert_eq!(laptop.run(["mcp-servers", "remove", "good"]).code, Some(3));
}

#[test]
fn a_bad_server_is_said_in_time() {
    let laptop = Laptop::new();
    for (way, words) in [
        ("silent", "does not answer within 10 seconds"),
        ("garbage", "does not answer within 10 seconds"),
        ("crash", "the database is gone"),
    ] {
        add(&laptop, way);
        let begun = Instant::now();
        let said = laptop.run(["mcp-servers", "tools", way]);
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        assert!(said.stderr.contains(words), "{}", said.stderr);
        assert!(begun.elapsed() < Duration::from_secs(30), "{way}");
    }
    for (way, words) in [
        ("endless", "a list that is too long"),
        ("huge", "huge.find"),
        ("odd", "there are two of this name"),
    ] {
        add(&laptop, way);
        let said = laptop.run(["mcp-servers", "tools", way]).expect_success();
        let all = said.stdout + &said.stderr;
        assert!(all.contains(words), "{all}");
        assert!(!all.contains('\u{200b}'), "{all}");
    }
    for (name, command) in [("Not good", "python3"), ("a", "bin/none")] {
        let said = laptop.run(["mcp-servers", "add", name, "--", command]);
        let started = laptop.run(["mcp-servers", "tools", name]);
        assert!(said.code != Some(0) || started.code == Some(1), "{name}");
    }
}

#[test]
fn satchel_itself_is_a_server_that_can_be_used() {
    let (laptop, other) = (Laptop::new(), Laptop::new());
    other.write("papers/boat.md", "# The boat\n\nIt lies in Osterby.\n");
    other
        .run(["import", "papers", "--no-embeddings"])
        .expect_success();
    let program = satchel_tests::satchel_bin();
    let home = format!("SATCHEL_HOME={}", other.data_dir().display());
    laptop
        .run([
            "mcp-servers",
            "add",
            "other",
            "--env",
            &home,
            "--",
            program.to_str().unwrap(),
            "mcp",
        ])
        .expect_success();
    let tools = laptop
        .run(["mcp-servers", "tools", "other"])
        .expect_success();
    for tool in ["other.search  ", "other.read_passage  ", "other.ask  "] {
        assert!(tools.stdout.contains(tool), "{}", tools.stdout);
    }
}

#[test]
fn where_nobody_can_be_asked_nothing_is_called_and_offline_nothing_started() {
    let laptop = Laptop::with_starter_models();
    laptop.write("papers/lease.md", "# Lease\n\nThe rent is 412 crowns.\n");
    laptop.run(["import", "papers"]).expect_success();
    let log = add(&laptop, "good");
    let said = || std::fs::read_to_string(&log).unwrap();
    let question = "Call good.find with boat";

    laptop.run(["ask", question]).expect_success();
    assert_eq!(said(), "", "a server ran for a question without tools");
    laptop
        .run(["ask", "--tools", "--offline", question])
        .expect_success();
    assert_eq!(said(), "", "a server ran offline");
    for extra in [&["--json"][..], &[]] {
        let args = [&["ask", "--tools", question], extra].concat();
        laptop.run(args).expect_success();
        assert!(said().ends_with("end\n"), "{}", said());
    }
    assert!(!said().contains("call"), "{}", said());
}
