//! The processor is measured, and models compute with what was fastest.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;

use satchel_tests::{models_dir, satchel_bin, starter_chat_model};

fn satchel(home: &Path, arguments: &[&str]) -> String {
    let run = Command::new(satchel_bin())
        .args(arguments)
        .env("SATCHEL_HOME", home)
        .env("SATCHEL_MODELS_DIR", models_dir())
        .env_remove("SATCHEL_CPU_VARIANT")
        .output()
        .unwrap();
    let told = [run.stdout, run.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(run.status.success(), "{told}");
    told
}

/// The build that the chat model computes with.
fn build_in_use(home: &Path) -> String {
    let told = satchel(home, &["doctor", "--json"]);
    let (_, after) = told.split_once("CPU code ").unwrap();
    after
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect()
}

#[test]
fn builds_are_tried_and_the_fastest_is_used() {
    assert!(starter_chat_model().is_file());
    let home = tempfile::tempdir().unwrap();
    let told = satchel(home.path(), &["models", "calibrate"]);
    assert!(told.contains("Models compute with "), "{told}");
    let file = home.path().join("state/processor.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    let speeds = record["speeds"].as_array().unwrap().clone();
    let builds: Vec<&str> = speeds
        .iter()
        .map(|speed| speed["build"].as_str().unwrap())
        .collect();
    for speed in &speeds {
        let (reads, writes) = (&speed["reads_per_s"], &speed["writes_per_s"]);
        assert!(
            reads.as_f64().unwrap() > 1.0 && writes.as_f64().unwrap() > 1.0,
            "{speed}"
        );
    }
    let chosen = record["build"].as_str().unwrap_or(builds[0]).to_owned();
    assert_eq!(build_in_use(home.path()), chosen);

    // What the record says is done, as far as it can be.
    let mut with = |build: &str| {
        record["build"] = build.into();
        std::fs::write(&file, record.to_string()).unwrap();
        build_in_use(home.path())
    };
    for build in &builds {
        assert_eq!(with(build), *build);
    }
    for nonsense in ["none-such", "../../libevil", ""] {
        assert_eq!(with(nonsense), builds[0], "{nonsense}");
    }
}
