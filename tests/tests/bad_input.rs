//! Wrong paths, wrong files, wrong words: each gives a message that says what to do, and the rest goes on.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use satchel_tests::{Laptop, data};

#[test]
fn wrong_use_is_told_from_missing_things_by_the_exit_code() {
    let laptop = Laptop::new();
    laptop.write("a.txt", "One line of text about lighthouses.");
    laptop.run(["import", "a.txt"]).expect_success();
    for (arguments, code, words) in [
        (vec!["import", "nowhere"], 3, "no such file"),
        (vec!["show", "feedfacefeedface"], 3, "documents"),
        (vec!["documents", "remove", "nothing.txt"], 3, "documents"),
        (vec!["models", "remove", "gpt-9"], 3, "models list"),
        (vec!["chat", "--show", "abcd"], 3, "chat --list"),
        (vec!["search", " "], 2, "empty"),
        (vec!["import"], 2, "Usage"),
        (vec!["frobnicate"], 2, "Usage"),
    ] {
        let said = laptop.run(&arguments).expect_code(code);
        assert!(
            said.stderr.contains(words),
            "{arguments:?} said: {}",
            said.stderr
        );
        assert!(
            said.stdout.is_empty(),
            "messages go to stderr: {arguments:?} printed {}",
            said.stdout
        );
    }
}

#[test]
fn an_empty_workspace_says_so() {
    let laptop = Laptop::new();
    let asked = laptop
        .run(["ask", "--json", "What is in here?"])
        .expect_success()
        .json();
    assert_eq!(asked["refused"], true, "{asked}");
    assert!(
        asked["answer"].as_str().unwrap().contains("satchel import"),
        "{asked}"
    );
    let searched = laptop.run(["search", "anything"]).expect_success();
    assert!(
        searched.stderr.contains("Nothing found"),
        "{}",
        searched.stderr
    );
    assert!(
        laptop
            .run(["documents"])
            .expect_success()
            .stderr
            .contains("satchel import")
    );
}

#[test]
fn one_bad_file_does_not_stop_the_others() {
    let laptop = Laptop::new();
    laptop.write("papers/good.txt", "The lighthouse keeper counts 214 steps.");
    laptop.write("papers/empty.txt", "");
    laptop.write("papers/cut.pdf", "%PDF-1.7\n1 0 obj\n<<");
    laptop.write(
        "papers/not-a-word-file.docx",
        "PK\u{3}\u{4} but no archive follows",
    );
    laptop.write("papers/noise.txt", [0u8, 159, 146, 150, 0, 1, 2, 3]);
    let named = [
        "good.txt",
        "empty.txt",
        "cut.pdf",
        "not-a-word-file.docx",
        "noise.txt",
    ]
    .map(|name| format!("papers/{name}"));
    let arguments = std::iter::once("import".to_owned())
        .chain(named)
        .chain(["--json".to_owned()]);
    let report = laptop.run(arguments).expect_success().json();
    assert_eq!(report["added"], 1, "{report}");
    let failed = report["failed"].as_array().unwrap();
    assert_eq!(failed.len(), 4, "{report}");
    for file in failed {
        let reason = file["outcome"]["reason"].as_str().unwrap();
        assert!(reason.len() > 15, "a reason in words: {file}");
    }
    let status = laptop.run(["status", "--json"]).expect_success().json();
    assert_eq!(status["failures"].as_array().unwrap().len(), 4, "{status}");
    assert_eq!(status["coverage"]["failed"], 4, "{status}");
    // A file that is repaired is no longer counted.
    laptop.write("papers/empty.txt", "Now it holds text.");
    laptop.run(["import", "papers/empty.txt"]).expect_success();
    let status = laptop.run(["status", "--json"]).expect_success().json();
    assert_eq!(status["coverage"]["failed"], 3, "{status}");
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_read_as_what_it_is() {
    let laptop = Laptop::new();
    laptop.write(
        "page.txt",
        "<!DOCTYPE html><html><body><p>The ferry leaves at <b>seven</b>.</p></body></html>",
    );
    laptop.run(["import", "page.txt"]).expect_success();
    let found = laptop
        .run(["search", "--json", "ferry"])
        .expect_success()
        .json();
    let quote = found["hits"][0]["quote"].as_str().unwrap();
    assert!(quote.contains("seven") && !quote.contains("<b>"), "{quote}");
}

#[test]
fn hostile_files_end_with_a_reason_and_harm_nothing() {
    let Some(hostile) = data("hostile") else {
        return;
    };
    let laptop = Laptop::new();
    laptop.write("good.txt", "The lighthouse keeper counts 214 steps.");
    let files = walk(&hostile);
    assert!(
        files.len() > 40,
        "the folder of hostile files is not complete"
    );
    let arguments = [
        "import".to_owned(),
        "--json".to_owned(),
        "good.txt".to_owned(),
    ]
    .into_iter()
    .chain(files.iter().cloned());
    let said = laptop
        .run_with(arguments, "", std::time::Duration::from_secs(900))
        .expect_success();
    let report = said.json();
    let told = report["added"].as_u64().unwrap()
        + report["duplicates"].as_u64().unwrap()
        + report["failed"].as_array().unwrap().len() as u64;
    assert_eq!(
        told,
        files.len() as u64 + 1,
        "every file has an end: {report}"
    );
    let found = laptop
        .run(["search", "--json", "lighthouse keeper"])
        .expect_success()
        .json();
    assert!(!found["hits"].as_array().unwrap().is_empty());
}

#[test]
fn a_wrong_setting_is_named() {
    let laptop = Laptop::new();
    std::fs::write(
        laptop.data_dir().join("config.toml"),
        "contxt_len_tokens = 5\n",
    )
    .unwrap();
    let said = laptop.run(["status"]).expect_code(2);
    assert!(
        said.stderr.contains("contxt_len_tokens") && said.stderr.contains("config.toml"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_broken_model_is_refused_with_a_reason() {
    let laptop = Laptop::new();
    for (name, bytes) in [
        ("empty.gguf", Vec::new()),
        ("text.gguf", b"this is no model".to_vec()),
        (
            "cut.gguf",
            b"GGUF\x03\0\0\0\x05\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0".to_vec(),
        ),
    ] {
        laptop.write(name, bytes);
        let said = laptop.run(["models", "import", name]).expect_code(1);
        assert!(said.stderr.contains(name), "{}", said.stderr);
    }
    assert_eq!(
        laptop
            .run(["models", "list", "--json"])
            .expect_success()
            .json(),
        serde_json::json!([])
    );
}

#[test]
fn a_question_longer_than_the_window_is_refused_not_cut() {
    let laptop = Laptop::with_starter_models();
    laptop.write(
        "a.txt",
        "The lighthouse keeper counts 214 steps on the way up.",
    );
    laptop.run(["import", "a.txt"]).expect_success();
    let window = ["settings", "context_len_tokens", "4096"];
    laptop.run(window).expect_success();
    // Within the size that is accepted, and more tokens than the window holds.
    let question = format!(
        "How many steps does the lighthouse keeper count on the way up? {}",
        "a b ".repeat(3500)
    );
    let said = laptop
        .run_with(["ask", "-"], &question, std::time::Duration::from_secs(120))
        .expect_code(2);
    assert!(said.stderr.contains("tokens"), "{}", said.stderr);
    let endless = "word ".repeat(100_000);
    let said = laptop
        .run_with(["ask", "-"], &endless, std::time::Duration::from_secs(60))
        .expect_code(2);
    assert!(said.stderr.contains("KiB"), "{}", said.stderr);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let laptop = Laptop::new();
    for index in 0..30 {
        laptop.write(
            format!("papers/{index}.txt"),
            format!("Lighthouse number {index} has a lamp."),
        );
    }
    laptop.run(["import", "papers"]).expect_success();
    let program = satchel_tests::satchel_bin();
    let script = format!(
        "'{}' --data-dir '{}' documents | head -n 1",
        program.display(),
        laptop.data_dir().display()
    );
    let said = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert!(
        said.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path().display().to_string());
        }
    }
    files.sort();
    files
}
