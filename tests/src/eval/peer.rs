//! Vector search by an implementation of all-MiniLM-L6-v2 that shares no code with Satchel, on the same passages.
//!
//! Optional: needs `SATCHEL_BENCH_EMBEDDER_DIR`, the folder with the embedder's `model.safetensors` and `vocab.txt`,
//! and a `python3` with numpy and safetensors. Start at [`scores`].

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use satchel_vector::chunk::{ChunkInput, TextKind, chunks};

use super::metrics::Scores;
use super::search::{Indexed, first_of_each};
use crate::repository;

/// The mean scores of the independent ranking, for a collection of plain text.
///
/// # Errors
/// In words, what is missing for it.
pub async fn scores(indexed: &Indexed) -> Result<Scores, String> {
    let folder = std::env::var_os("SATCHEL_BENCH_EMBEDDER_DIR")
        .map(PathBuf::from)
        .ok_or("SATCHEL_BENCH_EMBEDDER_DIR is not set")?;
    require_modules()?;
    let (owners, texts) = passages(indexed).await;
    let questions = &indexed.collection.questions;
    let task = serde_json::json!({
        "chunks": texts,
        "queries": questions.iter().map(|question| &question.text).collect::<Vec<_>>(),
        "limit": texts.len(),
    });
    let rankings = rank(&folder, &task)?;
    let all: Vec<Scores> = rankings
        .iter()
        .zip(questions)
        .map(|(ranking, question)| {
            let documents = first_of_each(ranking.iter().map(|passage| owners[*passage].clone()));
            Scores::of(&documents, &question.relevant)
        })
        .collect();
    Ok(Scores::mean(&all))
}

fn require_modules() -> Result<(), String> {
    let found = Command::new("python3")
        .args(["-c", "import numpy, safetensors"])
        .stderr(Stdio::null())
        .status();
    if found.is_ok_and(|status| status.success()) {
        Ok(())
    } else {
        Err(
            "there is no python3 with numpy and safetensors (pip install numpy safetensors)"
                .to_owned(),
        )
    }
}

/// What Satchel embeds of each document, and the document each passage belongs to.
///
/// A document that is not in the index (an empty one, or one that stands twice) is left out here too.
async fn passages(indexed: &Indexed) -> (Vec<String>, Vec<String>) {
    let mut titles: HashMap<String, String> = HashMap::new();
    for summary in indexed.summaries().await {
        if let Some(name) = indexed.name_of(summary.path.as_deref()) {
            titles.insert(name, summary.title);
        }
    }
    let (mut owners, mut texts) = (Vec::new(), Vec::new());
    for document in &indexed.collection.documents {
        let Some(title) = titles.get(&document.path) else {
            continue;
        };
        let text = String::from_utf8_lossy(&document.bytes);
        let input = ChunkInput {
            title,
            kind: TextKind::Plain,
            text: &text,
            paged: false,
        };
        for chunk in chunks(&input) {
            texts.push(chunk.embedded_text());
            owners.push(document.path.clone());
        }
    }
    (owners, texts)
}

/// Places of the passages in the task, nearest first, for each of its questions.
fn rank(folder: &Path, task: &serde_json::Value) -> Result<Vec<Vec<usize>>, String> {
    let failed = |error: std::io::Error| format!("python3 failed: {error}");
    let mut python = Command::new("python3")
        .arg(repository::root().join("tests/peers/rank_with_minilm.py"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // It reads everything before it writes anything; dropping its input ends it.
    let mut input = python.stdin.take().expect("the pipe was asked for");
    let written = input.write_all(task.to_string().as_bytes());
    drop(input);
    let output = python.wait_with_output().map_err(failed)?;
    written.map_err(failed)?;
    serde_json::from_slice(&output.stdout)
        .map_err(|_| "rank_with_minilm.py gave no ranking; its reason is on stderr".to_owned())
}
