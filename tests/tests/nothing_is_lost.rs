//! Crashes, full disks, wrong passphrases, two processes at once: what was reported as saved stays.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use satchel_tests::laptop::kill_with_workers;
use satchel_tests::{Laptop, data};

fn write_notes(laptop: &Laptop, count: usize) {
    for index in 0..count {
        let text = format!(
            "Note {index} about lighthouse{index}. {}",
            satchel_tests::bench::invented_text(index as u64, 120)
        );
        laptop.write(format!("papers/note-{index:03}.txt"), text);
    }
}

#[test]
fn a_killed_import_keeps_what_it_reported_and_the_next_one_completes_it() {
    use std::os::unix::process::CommandExt;
    let laptop = Laptop::new();
    write_notes(&laptop, 300);
    let mut reported = Vec::new();
    for round in 0..6u64 {
        let mut command = laptop.command(["import", "-v", "papers"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // Kill at another place each time: after so many reports, some in the middle of a batch.
        let mut left = 20 + round * 37;
        for line in lines.map_while(Result::ok) {
            if let Some(path) = line.strip_prefix("+ ") {
                reported.push(path.to_owned());
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        kill_with_workers(&mut child);
        let listed = laptop.run(["documents", "--json"]).expect_success().json();
        let paths: Vec<&str> = listed
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|d| d["path"].as_str())
            .collect();
        for path in &reported {
            assert!(
                paths.contains(&path.as_str()),
                "round {round}: reported as saved and gone: {path}"
            );
        }
    }
    let report = laptop
        .run(["import", "papers", "--json"])
        .expect_success()
        .json();
    assert_eq!(report["coverage"]["documents"], 300, "{report}");
    assert_eq!(report["coverage"]["indexed"], 300, "{report}");
    let hit = laptop.first_hit("lexical", "lighthouse123");
    assert!(
        hit["path"].as_str().unwrap().ends_with("note-123.txt"),
        "{hit}"
    );
}

#[test]
fn a_command_reaches_the_process_that_has_the_workspace_open() {
    let laptop = Laptop::new();
    write_notes(&laptop, 3);
    laptop.run(["import", "papers"]).expect_success();
    // A chat waits for a question and holds the workspace meanwhile.
    let mut chat = laptop.command(["chat"]);
    let mut chat = chat
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let held = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        is_locked(&laptop.data_dir())
    });
    assert!(held, "the chat did not open the workspace");
    let found = laptop
        .run(["search", "--json", "--mode", "lexical", "lighthouse2"])
        .expect_success()
        .json();
    assert_eq!(found["hits"].as_array().unwrap().len(), 1, "{found}");
    laptop.write("papers/more.txt", "Another lighthouse, the one at Skagen.");
    let report = laptop
        .run(["import", "papers", "--json"])
        .expect_success()
        .json();
    assert_eq!(report["added"], 1, "{report}");
    drop(chat.stdin.take());
    assert!(chat.wait().unwrap().success());
    let found = laptop
        .run(["search", "--json", "--mode", "lexical", "Skagen"])
        .expect_success()
        .json();
    assert_eq!(found["hits"].as_array().unwrap().len(), 1, "{found}");
}

fn is_locked(data: &Path) -> bool {
    let workspaces = std::fs::read_dir(data.join("workspaces"))
        .into_iter()
        .flatten()
        .flatten();
    workspaces
        .flat_map(|workspace| {
            std::fs::read_dir(workspace.path())
                .into_iter()
                .flatten()
                .flatten()
        })
        .any(|entry| {
            entry.file_name().to_string_lossy().contains("lock")
                && std::fs::File::open(entry.path()).is_ok_and(|file| file.try_lock().is_err())
        })
}

#[test]
fn a_passphrase_locks_the_documents_and_a_wrong_one_changes_nothing() {
    let laptop = Laptop::new();
    write_notes(&laptop, 2);
    laptop.run(["import", "papers"]).expect_success();
    let right = laptop.write("right", "correct horse\n");
    let wrong = laptop.write("wrong", "battery staple\n");
    let with = |arguments: &[&str], variables: &[(&str, &Path)]| {
        let mut command = laptop.command(arguments);
        command.envs(variables.iter().copied());
        satchel_tests::laptop::finish(command, "", Duration::from_secs(60))
    };
    let set = with(
        &["key", "passphrase"],
        &[("SATCHEL_NEW_PASSPHRASE_FILE", &right)],
    )
    .expect_success();
    assert!(set.stdout.contains("passphrase"), "{}", set.stdout);
    let locked = laptop.run(["documents"]).expect_code(5);
    assert!(
        locked.stderr.contains("SATCHEL_PASSPHRASE_FILE"),
        "{}",
        locked.stderr
    );
    let refused = with(&["documents"], &[("SATCHEL_PASSPHRASE_FILE", &wrong)]).expect_code(5);
    assert!(refused.stderr.contains("passphrase"), "{}", refused.stderr);
    let opened = with(
        &["documents", "--json"],
        &[("SATCHEL_PASSPHRASE_FILE", &right)],
    )
    .expect_success()
    .json();
    assert_eq!(opened.as_array().unwrap().len(), 2, "{opened}");
}

#[test]
fn a_lost_key_is_said_and_never_replaced() {
    let laptop = Laptop::new();
    write_notes(&laptop, 1);
    laptop.run(["import", "papers"]).expect_success();
    std::fs::rename(
        laptop.data_dir().join("keys"),
        laptop.data_dir().join("keys-away"),
    )
    .unwrap();
    let said = laptop.run(["documents"]).expect_code(5);
    assert!(said.stderr.contains("backup"), "{}", said.stderr);
    std::fs::remove_dir_all(laptop.data_dir().join("keys")).ok();
    std::fs::rename(
        laptop.data_dir().join("keys-away"),
        laptop.data_dir().join("keys"),
    )
    .unwrap();
    laptop.run(["documents"]).expect_success();
}

#[test]
fn no_words_title_or_path_lie_on_the_disk_in_plain_text_but_in_the_index() {
    const CANARY: &str = "quetzalcoatlus";
    let laptop = Laptop::new();
    laptop.write(
        format!("papers/{CANARY}-path.md"),
        format!("# {CANARY} heading\n\nThe {CANARY} text of a private paper.\n"),
    );
    let import = laptop.run(["import", "-vv", "papers"]).expect_success();
    let asked = laptop.run(["ask", "-vv", &format!("Where is the {CANARY}?")]);
    for (what, log) in [
        ("import", log_lines(&import.stderr)),
        ("ask", log_lines(&asked.stderr)),
    ] {
        assert!(
            !log.contains(CANARY),
            "a log line of {what} names what only the user should see:\n{log}"
        );
    }
    let mut in_the_index = false;
    for file in files(&laptop.data_dir()) {
        let holds = contains(&std::fs::read(&file).unwrap(), CANARY.as_bytes());
        if file.starts_with(laptop.data_dir().join("index")) {
            in_the_index |= holds;
        } else {
            assert!(!holds, "plain text in {}", file.display());
        }
    }
    // The README says so. The day this fails, the README is wrong.
    assert!(
        in_the_index,
        "the index is encrypted now: say so in README and doctor"
    );
}

/// Lines that the logger wrote: they begin with a time.
fn log_lines(stderr: &str) -> String {
    stderr
        .lines()
        .filter(|line| line.starts_with("20") || line.starts_with("\u{1b}[2m20"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.is_file() {
            all.push(path);
        }
    }
    all
}

#[test]
fn a_full_disk_is_said_and_freeing_space_is_enough() {
    let laptop = Laptop::new();
    let disk = laptop.home().join("small-disk");
    std::fs::create_dir_all(&disk).unwrap();
    if !mount_small_disk(&disk, "3m") {
        eprintln!("skipped: only root can make a small disk");
        return;
    }
    let guard = Unmount(disk.clone());
    write_notes(&laptop, 20);
    let on_disk = |arguments: &[&str]| {
        let mut command = laptop.command(["--version"]);
        // The data folder given last is the one that counts.
        command = {
            let mut other = std::process::Command::new(command.get_program());
            other
                .envs(
                    command
                        .get_envs()
                        .filter_map(|(name, value)| Some((name, value?))),
                )
                .current_dir(laptop.home());
            other.arg("--data-dir").arg(&disk).args(arguments);
            other
        };
        satchel_tests::laptop::finish(command, "", Duration::from_secs(120))
    };
    on_disk(&["import", "papers"]).expect_success();
    let big = (0..12).map(|index| {
        laptop.write(
            format!("big/{index}.txt"),
            satchel_tests::bench::invented_text(index, 60_000),
        )
    });
    assert_eq!(big.count(), 12);
    let said = on_disk(&["import", "big"]).expect_code(6);
    assert!(said.stderr.contains("space"), "{}", said.stderr);
    let kept = on_disk(&["documents", "--json"]).expect_success().json();
    assert!(
        kept.as_array().unwrap().len() >= 20,
        "documents were lost: {kept}"
    );
    assert!(remount(&disk, "200m"));
    let report = on_disk(&["import", "papers", "big", "--json"])
        .expect_success()
        .json();
    assert_eq!(report["coverage"]["documents"], 32, "{report}");
    drop(guard);
}

fn mount_small_disk(folder: &Path, size: &str) -> bool {
    let option = format!("size={size}");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
        .arg(folder)
        .output();
    mount.is_ok_and(|mount| mount.status.success())
}

fn remount(folder: &Path, size: &str) -> bool {
    let option = format!("remount,size={size}");
    let mount = std::process::Command::new("mount")
        .args(["-o", &option])
        .arg(folder)
        .output();
    mount.is_ok_and(|mount| mount.status.success())
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg(&self.0).output());
    }
}

#[test]
fn real_documents_go_in_and_can_be_asked() {
    let Some(documents) = data("documents") else {
        return;
    };
    let laptop = Laptop::with_starter_models();
    let documents = documents.display().to_string();
    let said = laptop
        .run_with(
            ["import", "--json", "--no-embeddings", &documents],
            "",
            Duration::from_secs(600),
        )
        .expect_success();
    let report = said.json();
    assert!(report["added"].as_u64().unwrap() >= 45, "{report}");
    let found = laptop
        .run([
            "search",
            "--json",
            "--mode",
            "lexical",
            "agency financial report fiscal year",
        ])
        .expect_success()
        .json();
    let hit = &found["hits"][0];
    assert!(
        hit["path"].as_str().unwrap().contains(".pdf") && hit["page"].as_u64().is_some(),
        "{found}"
    );
}
