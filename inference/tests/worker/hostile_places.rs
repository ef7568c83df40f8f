//! Libraries planted where llama.cpp or the system's loader would look, and how the worker is locked in.

use std::process::{Command, Stdio};

use satchel_inference::{DeviceKind, ModelInfo};

use crate::rig::*;

/// Every door through which llama.cpp or the system's loader would let in a foreign library: none may open.
pub(crate) fn planted_libraries_are_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let proof = dir.path().join("it-ran");
    let source = format!(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) {{ FILE *f = fopen(\"{}\", \"w\"); if (f) fclose(f); }}\n\
         int ggml_backend_score(void) {{ return 1 << 20; }}\n",
        proof.display()
    );
    let planted = dir.path().join("libggml-cpu-planted.so");
    std::fs::write(dir.path().join("planted.c"), source).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&planted)
        .arg(dir.path().join("planted.c"))
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("skipped: no C compiler");
        return;
    }
    for name in [
        "libggml-vulkan.so",
        "libggml-blas.so",
        "libllama.so.0",
        "libggml-base.so.0",
    ] {
        std::fs::copy(&planted, dir.path().join(name)).unwrap();
    }
    // The plant is a working one.
    let loaded = Command::new("true")
        .env("LD_PRELOAD", &planted)
        .status()
        .unwrap();
    assert!(
        loaded.success() && proof.exists(),
        "the planted library does not work"
    );
    std::fs::remove_file(&proof).unwrap();

    let asked = Command::new(std::env::current_exe().unwrap())
        .args(["helper", "ask_from_a_hostile_place"])
        .current_dir(dir.path())
        .env("GGML_BACKEND_PATH", &planted)
        .output()
        .unwrap();
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    assert!(!proof.exists(), "a planted library ran in the worker");

    // Somebody starts the worker by hand in a prepared place: it refuses.
    let refused = Command::new(std::env::current_exe().unwrap())
        .arg("worker")
        .current_dir(dir.path())
        .env("GGML_BACKEND_PATH", &planted)
        .stdin(message(br#""Devices""#))
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stdout).contains("GGML_BACKEND_PATH"));
    assert!(
        !proof.exists(),
        "a planted library ran in a worker started by hand"
    );
}

/// A file with one message, to be read as standard input.
fn message(json: &[u8]) -> Stdio {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    let bytes = u32::try_from(json.len()).unwrap();
    file.write_all(&bytes.to_le_bytes()).unwrap();
    // No raw bytes beside it.
    file.write_all(&0u32.to_le_bytes()).unwrap();
    file.write_all(json).unwrap();
    file.rewind().unwrap();
    Stdio::from(file)
}

pub(crate) fn ask_from_a_hostile_place() {
    let devices = run(satchel_inference::devices(&worker())).unwrap();
    assert!(devices.iter().any(|device| device.kind == DeviceKind::Cpu));
}

pub(crate) fn a_worker_alone_in_the_terminal_explains_itself() {
    let typed = Command::new(std::env::current_exe().unwrap())
        .arg("worker")
        .stdin(message(b"hello"))
        .output()
        .unwrap();
    assert_eq!(typed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&typed.stderr).contains("no use in a terminal"));
    assert!(typed.stdout.is_empty(), "only messages belong there");
    let closed = Command::new(std::env::current_exe().unwrap())
        .arg("worker")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(closed.status.success());
}

pub(crate) fn the_worker_is_locked_in() {
    let Some(engine) = embedder_engine() else {
        return;
    };
    run(async { look_at_the_lock(&engine.info().await.unwrap()) });
}

fn look_at_the_lock(info: &ModelInfo) {
    println!("  sandbox: {}", info.sandbox);
    let status = std::fs::read_to_string(format!("/proc/{}/status", info.pid)).unwrap();
    if info.sandbox.starts_with("full") {
        assert!(
            status.lines().any(|line| line == "NoNewPrivs:\t1"),
            "{status}"
        );
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", info.pid)).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", info.pid)).unwrap();
    assert!(!environment.contains("LD_LIBRARY_PATH="), "{environment}");
    let folder = std::fs::read_link(format!("/proc/{}/cwd", info.pid)).unwrap();
    assert!(
        folder.to_string_lossy().ends_with(" (deleted)"),
        "{folder:?}"
    );
}

/// For measuring one build of the processor code against another.
pub(crate) fn a_processor_build_can_be_forced() {
    if model("SATCHEL_TEST_EMBEDDER", "minilm").is_none() || !cfg!(target_arch = "x86_64") {
        return;
    }
    let told = |name: &str| {
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program)
            .args(["helper", "tell_the_variant"])
            .env("SATCHEL_CPU_VARIANT", name)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // Every processor of this kind runs the two oldest.
    assert_eq!(told("x64"), "x64\n");
    assert_eq!(told("sse42"), "sse42\n");
    for name in ["abacus", "../backends/x", "x64.so"] {
        let refused = told(name);
        assert!(
            refused.contains("SATCHEL_CPU_VARIANT") && refused.contains(name),
            "{refused}"
        );
    }
}

pub(crate) fn tell_the_variant() {
    let engine = embedder_engine().unwrap();
    match run(engine.info()) {
        Ok(info) => println!("{}", info.variant),
        Err(error) => println!("{error}"),
    }
}
