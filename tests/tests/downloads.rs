//! Models from the network, fetched by the real program from a host on this machine.

use std::process::Stdio;
use std::time::{Duration, Instant};

use satchel_tests::file_host::FileHost;
use satchel_tests::{Laptop, starter_chat_model};

/// Killed again and again, the same command goes on; nothing of it comes much more than once.
#[test]
fn a_download_that_is_killed_goes_on_where_it_was() {
    let (laptop, model) = (Laptop::new(), starter_chat_model());
    let size = std::fs::metadata(&model).unwrap().len();
    let host = FileHost::start(&model, Duration::from_millis(60));
    let url = format!("{}/owner/repository/resolve/main/model.gguf", host.base());
    let mut kills = 0;
    for wait_ms in [900, 1700, 2300] {
        let mut program = laptop
            .command(["models", "download", &url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait_ms));
        kills += u32::from(program.try_wait().unwrap().is_none());
        program.kill().unwrap();
        program.wait().unwrap();
    }
    assert_eq!(kills, 3, "it was still on its way each time");
    let listed = laptop
        .run(["models", "catalog", "--json"])
        .expect_success()
        .json();
    let come = listed["others"][0]["done_bytes"].as_u64().unwrap();
    assert_eq!(listed["others"][0]["url"], url.as_str());
    assert!(
        come > 10 << 20 && come < size,
        "{come} of {size} bytes have come"
    );
    let said = laptop.run(["models", "download", &url]).expect_success();
    assert!(said.stderr.contains("Installed"), "{said:?}");
    // What came in the last second before a kill may come again: it is noted each second.
    let again = host.served_bytes() - size;
    assert!(again < 3 * (24 << 20), "{again} bytes came twice");
    let models = laptop
        .run(["models", "list", "--json"])
        .expect_success()
        .json();
    assert_eq!(models.as_array().unwrap().len(), 1);
    let listed = laptop
        .run(["models", "catalog", "--json"])
        .expect_success()
        .json();
    assert_eq!(listed["others"].as_array().unwrap().len(), 0);
    // The file is known by its hash, wherever it came from.
    let known = listed["models"].as_array().unwrap().iter();
    let mut known = known.filter(|model| model["installed"] == true);
    assert_eq!(known.next().unwrap()["id"], "smollm2-135m-instruct-q4_1");
}

#[test]
fn what_cannot_be_downloaded_is_said_with_what_to_do() {
    let laptop = Laptop::new();
    for (args, code, words) in [
        (
            &["models", "download", "no-such-model"][..],
            3,
            "satchel models catalog",
        ),
        (
            &["models", "download", "https://"][..],
            2,
            "no address of a file",
        ),
        (
            &["--offline", "models", "download", "a/b/c.gguf"][..],
            4,
            "satchel settings offline false",
        ),
        (
            &["models", "download", "smollm2-135m-instruct-q4_1"][..],
            2,
            "comes with Satchel",
        ),
        (
            &["models", "download", "gemma-3-1b-it-q4_k_m"][..],
            2,
            "--accept-licence",
        ),
        (&["models", "discard", "a/b/c.gguf"][..], 3, "nothing of"),
    ] {
        let said = laptop.run(args);
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
        assert!(said.stderr.contains(words), "{args:?}: {said:?}");
    }
}

/// What a file is stands at its beginning: one that could not be used is not fetched.
#[test]
fn a_model_that_cannot_be_used_is_refused_by_its_header() {
    let laptop = Laptop::new();
    let known = std::fs::read(starter_chat_model()).unwrap();
    let at = known
        .windows(5)
        .position(|bytes| bytes == b"llama")
        .unwrap();
    let mut strange = known;
    strange[at..at + 5].copy_from_slice(b"alpha");
    let strange = laptop.write("strange.gguf", strange);
    let host = FileHost::start(&strange, Duration::ZERO);
    let url = format!("{}/owner/repository/resolve/main/model.gguf", host.base());
    let said = laptop.run(["models", "download", &url]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stderr.contains("was not downloaded") && said.stderr.contains("alpha"),
        "{said:?}"
    );
    assert!(
        host.served_bytes() < 16 << 20,
        "{} bytes",
        host.served_bytes()
    );
    let listed = laptop
        .run(["models", "catalog", "--json"])
        .expect_success()
        .json();
    assert_eq!(listed["others"].as_array().unwrap().len(), 0);
}

/// A mirror and a limit are settings; Ctrl-C pauses, and what has come can be thrown away. What the mirror has in the
/// place of a model of the catalogue is not taken for it.
#[test]
fn a_model_comes_from_a_mirror_and_can_be_paused_and_discarded() {
    let laptop = Laptop::new();
    let host = FileHost::start(&starter_chat_model(), Duration::ZERO);
    let mirror = format!("\"{}\"", host.base());
    laptop
        .run(["settings", "model_mirror", &mirror])
        .expect_success();
    laptop
        .run(["settings", "download_kib_per_s", "8192"])
        .expect_success();
    let said = laptop.run(["models", "download", "gpt-oss-20b-mxfp4"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.contains("12109566624"), "{said:?}");

    let id = "owner/repository/model.gguf";
    let begun = Instant::now();
    let program = laptop
        .command(["models", "download", id])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    let pid = rustix::process::Pid::from_child(&program);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = program.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let come = |laptop: &Laptop| {
        let listed = laptop
            .run(["models", "catalog", "--json"])
            .expect_success()
            .json();
        let url = listed["others"][0]["url"].as_str();
        assert!(url.is_none_or(|url| url.ends_with("/owner/repository/resolve/main/model.gguf")));
        listed["others"][0]["done_bytes"].as_u64()
    };
    let fetched = come(&laptop).expect("something has come");
    assert!(
        (4 << 20..40 << 20).contains(&fetched),
        "{fetched} bytes in 2.5 s at 8 MiB/s"
    );
    laptop.run(["models", "discard", id]).expect_success();
    assert_eq!(come(&laptop), None);
}
