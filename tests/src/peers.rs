//! What `make bench` compares with, each as its users would run it.
//!
//! `packaging/bench-peers.sh` fetches and builds them; where that fails it says why, and the rows are left out. Used by
//! measurements only, never by a test.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::repository::root;

/// Tokens per second of reading a prompt and of writing after it.
pub type Rates = (f64, f64);

/// What the script prints for one peer: where it lies.
fn obtain(arguments: &[&str]) -> Option<PathBuf> {
    let built = Command::new(root().join("packaging/bench-peers.sh"))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&built.stdout).trim());
    let is_there = built.status.success() && path.exists();
    if !is_there {
        println!("{} is not there: no ratios to it", arguments[0]);
    }
    is_there.then_some(path)
}

/// llama.cpp's own measuring program, over the libraries of the built `satchel`.
#[must_use]
pub fn llama_bench(satchel: &Path) -> Option<PathBuf> {
    let target = satchel.ancestors().nth(2)?;
    obtain(&["llama-bench", target.to_str()?])
}

/// One run of it, 512 tokens read and 128 written after them.
#[must_use]
pub fn run_llama_bench(peer: &Path, model: &Path, threads: usize) -> Option<Rates> {
    let rate = |what: &[&str]| {
        let threads = threads.to_string();
        let run = Command::new(peer)
            .args(["-m", model.to_str()?, "-r", "1", "-o", "json"])
            .args(["-t", threads.as_str()])
            .args(what)
            .current_dir(peer.parent()?)
            .output()
            .ok()?;
        let rows: Value = serde_json::from_slice(&run.stdout).ok()?;
        rows[0]["avg_ts"].as_f64()
    };
    Some((
        rate(&["-p", "512", "-n", "0"])?,
        rate(&["-p", "0", "-n", "128", "-d", "512"])?,
    ))
}

/// llama.cpp as it is installed for JavaScript, compiled by its makers.
#[must_use]
pub fn node_llama_cpp() -> Option<PathBuf> {
    obtain(&["node-llama-cpp"])
}

/// One run of it, as [`run_llama_bench`].
#[must_use]
pub fn run_node_llama_cpp(peer: &Path, model: &Path, threads: usize) -> Option<Rates> {
    let run = Command::new("node")
        .arg(root().join("tests/peers/generate_with_node_llama_cpp.mjs"))
        .args([peer, model])
        .args([&threads.to_string(), "512", "128"])
        .output()
        .ok()?;
    let rates: Value = serde_json::from_slice(&run.stdout).ok()?;
    Some((rates["prompt"].as_f64()?, rates["output"].as_f64()?))
}

/// A Python that has onnxruntime.
#[must_use]
pub fn onnxruntime() -> Option<PathBuf> {
    obtain(&["onnxruntime"])
}

/// Texts embedded by onnxruntime with 32-bit numbers, and with 8-bit ones.
#[derive(Debug)]
pub struct OnnxRun {
    /// Tokens per second.
    pub f32: f64,
    /// Tokens per second.
    pub int8: f64,
    /// The vectors of the former, each of length 1.
    pub f32_vectors: Vec<Vec<f32>>,
    /// The vectors of the latter.
    pub int8_vectors: Vec<Vec<f32>>,
}

/// One run over all-MiniLM-L6-v2, whose folder is `model`.
#[must_use]
pub fn run_onnxruntime(
    python: &Path,
    model: &Path,
    threads: usize,
    texts: &[String],
) -> Option<OnnxRun> {
    let mut child = Command::new(python)
        .arg(root().join("tests/peers/embed_with_onnxruntime.py"))
        .arg(model)
        .arg(threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let texts = serde_json::to_vec(texts).ok()?;
    child.stdin.take()?.write_all(&texts).ok()?;
    let answer: Value = serde_json::from_slice(&child.wait_with_output().ok()?.stdout).ok()?;
    let rate = |name: &str| Some(answer["tokens"].as_f64()? / answer[name].as_f64()?);
    let vectors = |name: &str| serde_json::from_value(answer[name].clone()).ok();
    Some(OnnxRun {
        f32: rate("f32")?,
        int8: rate("int8")?,
        f32_vectors: vectors("f32_vectors")?,
        int8_vectors: vectors("int8_vectors")?,
    })
}
