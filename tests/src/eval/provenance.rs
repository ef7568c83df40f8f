//! What an evaluation was made with: when, from which commit, with which models, on which machine.
//!
//! Start at [`Provenance::of`].

use std::process::Command;

use satchel_app::message::ModelSummary;

use crate::repository;

/// The first rows of every table.
#[derive(Debug, Clone)]
pub struct Provenance {
    /// Date and time, UTC.
    pub date: String,
    /// Short hash of the commit, with `-dirty` where files differ from it.
    pub commit: String,
    /// The chat model in use, if one is installed.
    pub chat_model: Option<String>,
    /// The embedder in use, if one is installed.
    pub embedder: Option<String>,
    /// Processor and number of cores.
    pub machine: String,
}

impl Provenance {
    /// Asks the system; `models` are those that the backend lists.
    #[must_use]
    pub fn of(models: &[ModelSummary]) -> Self {
        let in_use = |kind: &str| {
            models
                .iter()
                .find(|model| model.kind == kind && model.in_use)
                .map(describe)
        };
        Self {
            date: output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            commit: commit(),
            chat_model: in_use("chat"),
            embedder: in_use("embedder"),
            machine: machine(),
        }
    }
}

/// Name, quantisation, and enough of the hash to tell two files apart.
fn describe(model: &ModelSummary) -> String {
    let sha256 = model.sha256.get(..12).unwrap_or(&model.sha256);
    format!("{}, {}, SHA-256 {sha256}", model.name, model.quantisation)
}

/// An unpacked archive has no commit.
fn commit() -> String {
    let hash = output("git", &["rev-parse", "--short", "HEAD"]);
    let dirty = !output("git", &["status", "--porcelain"]).is_empty();
    if hash.is_empty() {
        "unknown".to_owned()
    } else if dirty {
        format!("{hash}-dirty")
    } else {
        hash
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // Linux names it here; elsewhere the architecture has to do.
    let list = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = list
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    format!("{name}, {cores} cores")
}

/// What a command prints; nothing where it fails.
fn output(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .current_dir(repository::root())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
