//! The real program `satchel-edge`: killed, stopped, misconfigured.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{RawClient, fragment};
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_satchel-edge");

/// A running `satchel-edge`; killed on drop.
struct Program {
    child: Child,
    address: SocketAddr,
    fingerprint: String,
}

impl Program {
    fn start(dir: &Path) -> Self {
        let config = dir.join("edge.toml");
        let text =
            "[limits]\nrequest_burst = 100000\ndisk_reserve_bytes = 0\ndisk_reserve_percent = 0\n";
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["run", "--log-json", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(dir.join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut value = |name: &str| {
            let line = lines.next().expect("the program ended early").unwrap();
            line.strip_prefix(name)
                .unwrap_or_else(|| panic!("{line}"))
                .trim()
                .to_owned()
        };
        let address = value("listening").parse().unwrap();
        let fingerprint = value("fingerprint");
        let link: satchel_protocol::link::NodeLink = value("link:").parse().unwrap();
        assert_eq!(link.fingerprint.to_string(), fingerprint);
        Self {
            child,
            address,
            fingerprint,
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and what the program wrote to stderr.
    fn terminate(mut self) -> (std::process::ExitStatus, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The node is killed with -9 while a device appends, five times over. Everything acknowledged is
/// there after each restart, at its offset, byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_keeps_everything_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut number = 0u32;
    for round in 0..5 {
        let mut program = Some(Program::start(dir.path()));
        let client = RawClient::welcome(program.as_ref().unwrap().address).await;
        check(&client, &acknowledged).await;
        // After so many appends the kill comes from another thread, somewhere in the middle of one.
        let enough = acknowledged.len() + 5 + 7 * round;
        let mut killer = None;
        loop {
            if acknowledged.len() >= enough
                && let Some(program) = program.take()
            {
                killer = Some(std::thread::spawn(move || program.kill()));
            }
            // Some in the store, some as files.
            let len = if number.is_multiple_of(5) {
                40_000
            } else {
                100
            };
            let fragment = fragment(number, len + number as usize % 5000);
            number += 1;
            // A killed node says nothing; until it is killed, slowness is no reason to give up.
            let patience = if killer.is_some() {
                Duration::from_millis(300)
            } else {
                Duration::from_secs(10)
            };
            match tokio::time::timeout(patience, client.append(&fragment)).await {
                Ok(Some(offset)) => acknowledged.push((offset, fragment)),
                Ok(None) | Err(_) if killer.is_some() => break,
                Ok(None) | Err(_) => {}
            }
        }
        killer.unwrap().join().unwrap();
    }
    assert!(
        acknowledged.len() >= 5 * 5,
        "only {} appends: the test did not test",
        acknowledged.len()
    );
    let program = Program::start(dir.path());
    check(&RawClient::welcome(program.address).await, &acknowledged).await;
}

/// Four devices append side by side, and the node is killed ten times: whoever has an `Ack` finds his fragment at
/// that offset at the end, byte for byte, and no offset was given twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_killed_again_and_again_keeps_what_several_devices_have_acks_for() {
    const KILLS: u32 = 10;
    const DEVICES: u32 = 4;
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let program = Program::start(dir.path());
        let address = program.address;
        let is_killed = tokio::sync::watch::Sender::new(false);
        let devices: Vec<_> = (0..DEVICES)
            .map(|device| {
                let mut killed = is_killed.subscribe();
                tokio::spawn(async move {
                    let client = RawClient::welcome(address).await;
                    let mut acks = Vec::new();
                    for number in 0.. {
                        let name = (round * DEVICES + device) << 16 | number;
                        let fragment = fragment(name, 100 + name as usize % 3000);
                        // A killed node says nothing.
                        let answer = tokio::select! {
                            answer = client.append(&fragment) => answer,
                            _ = killed.wait_for(|killed| *killed) => None,
                        };
                        match answer {
                            Some(offset) => acks.push((offset, fragment)),
                            None => break,
                        }
                    }
                    acks
                })
            })
            .collect();
        // Somewhere in the middle of what they do: the moments differ from round to round.
        tokio::time::sleep(Duration::from_millis(150 + u64::from(round) * 37)).await;
        tokio::task::spawn_blocking(move || program.kill())
            .await
            .unwrap();
        is_killed.send_replace(true);
        for device in devices {
            acknowledged.extend(device.await.unwrap());
        }
    }
    assert!(
        acknowledged.len() >= (KILLS * DEVICES) as usize,
        "only {} appends: the test did not test",
        acknowledged.len()
    );
    let mut offsets: Vec<u64> = acknowledged.iter().map(|(offset, _)| offset.0).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(
        offsets.len(),
        acknowledged.len(),
        "an offset was given twice"
    );
    let program = Program::start(dir.path());
    check(&RawClient::welcome(program.address).await, &acknowledged).await;
}

async fn check(
    client: &RawClient,
    acknowledged: &[(
        satchel_protocol::id::Offset,
        satchel_protocol::fragment::EncryptedFragment,
    )],
) {
    let log = client.read_all().await;
    for (offset, fragment) in acknowledged {
        assert_eq!(
            log.get(offset.0 as usize),
            Some(fragment),
            "offset {offset} of {}",
            log.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_stops_within_ten_seconds_and_tells_the_totals() {
    let dir = tempfile::tempdir().unwrap();
    let program = Program::start(dir.path());
    let fingerprint = program.fingerprint.clone();
    let client = RawClient::welcome(program.address).await;
    client.append(&fragment(1, 100)).await.unwrap();
    let start = Instant::now();
    let (status, log) = tokio::task::spawn_blocking(move || program.terminate())
        .await
        .unwrap();
    assert!(status.success(), "{status}: {log}");
    assert!(start.elapsed() < Duration::from_secs(10));
    assert!(
        log.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}')),
        "{log}"
    );
    assert!(log.contains("fragments_stored: 1"), "{log}");
    assert!(
        !log.contains("127.0.0.1"),
        "addresses stay out of the log: {log}"
    );
    assert!(
        client
            .connection
            .closed()
            .await
            .to_string()
            .contains("stopping")
    );
    assert_eq!(Program::start(dir.path()).fingerprint, fingerprint);
}

#[test]
fn a_second_node_on_the_same_folder_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Program::start(dir.path());
    let data = dir.path().join("data");
    let second = run(&[
        "run",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr(&second).contains("another satchel-edge uses this data folder"),
        "{}",
        stderr(&second)
    );
}

#[test]
fn an_address_open_to_others_is_refused_until_somebody_says_who_may_make_mailboxes() {
    let output = run(&[
        "run",
        "--listen",
        "0.0.0.0:0",
        "--data-dir",
        "/nonexistent/never-made",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("--creation open"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn check_config_judges_a_file() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/edge.example.toml");
    let good = run(&["check-config", example]);
    assert!(good.status.success(), "{}", stderr(&good));
    assert!(String::from_utf8_lossy(&good.stdout).contains("127.0.0.1:4747"));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:1\"\nlisen = 3\n").unwrap();
    let bad = run(&["check-config", file.to_str().unwrap()]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(stderr(&bad).contains("lisen"), "{}", stderr(&bad));
    assert_eq!(
        run(&["check-config", "/nonexistent/edge.toml"])
            .status
            .code(),
        Some(2)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_tells_the_operator_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let place = ["--data-dir", data.to_str().unwrap()];
    let empty = run(&["stats", place[0], place[1]]);
    assert_eq!(empty.status.code(), Some(2));
    assert!(stderr(&empty).contains("no store"), "{}", stderr(&empty));

    let program = Program::start(dir.path());
    let client = RawClient::welcome(program.address).await;
    client.append(&fragment(1, 50_000)).await.unwrap();
    let busy = run(&["stats", place[0], place[1]]);
    assert!(stderr(&busy).contains("stop it first"), "{}", stderr(&busy));
    program.kill();

    let mailbox = common::mailbox().to_string();
    let audit = run(&["audit", &mailbox, place[0], place[1]]);
    let text = String::from_utf8(audit.stdout).unwrap();
    assert!(text.contains("entry at 0 50071 bytes"), "{text}");
    let stats = run(&["stats", place[0], place[1]]);
    assert!(String::from_utf8_lossy(&stats.stdout).contains("mailboxes 1"));
    let gc = run(&["gc", "--dry-run", place[0], place[1]]);
    assert!(String::from_utf8_lossy(&gc.stdout).contains("would delete 0"));
}

#[test]
fn health_and_metrics_answer_on_loopback() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["run", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address: SocketAddr = lines
        .map(|line| line.unwrap())
        .find_map(|line| line.strip_prefix("http ").map(|rest| rest.parse().unwrap()))
        .unwrap();
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(get("/healthz").starts_with("HTTP/1.0 200"));
    assert!(get("/nothing").starts_with("HTTP/1.0 404"));
    let metrics = get("/metrics");
    assert!(
        metrics.contains("\nsatchel_edge_http_requests_total 3\n"),
        "{metrics}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What is packaged names commands and files that exist.
#[test]
fn the_packaged_service_runs_this_program() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/edge");
    for file in ["satchel-edge.service", "Containerfile"] {
        let text = std::fs::read_to_string(packaging.join(file)).unwrap();
        assert!(text.contains("satchel-edge"), "{file}");
        assert!(text.contains("run"), "{file}");
        for option in text
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '-'))
            .filter(|word| ["config", "data-dir", "listen", "http", "creation"].contains(word))
        {
            let help = run(&["run", "--help"]);
            let help = String::from_utf8(help.stdout).unwrap();
            assert!(help.contains(&format!("--{option}")), "{file}: --{option}");
        }
    }
}
