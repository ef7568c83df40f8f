//! Import of 1,000 text files by stage, and search over them and over 20,000 passages.
//!
//! `make bench BENCH=import_search`. Real program, real index, real embedder; a fresh data folder.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::time::{Duration, Instant};

use satchel_app::backend::Backend;
use satchel_app::message::{Command, Event, Progress, Reply, SearchMode, Stage};
use satchel_tests::bench::{Row, invented_text, print, quantile, time_ms};
use satchel_tests::in_process::{import_of, open, run};
use satchel_tests::satchel_bin;

const FILES: usize = 1000;
/// About 250 words: one to two passages, as a note or letter has.
const WORDS: usize = 250;
/// Files that give some 20,000 passages.
const LARGE_WORDS: usize = 1800;

fn main() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let runtime = satchel_app::backend::runtime::build().expect("threads");
    runtime.block_on(async {
        let papers = data.path().join("papers");
        write_files(&papers, WORDS, 0);
        import_by_stage(data.path(), &papers).await;
        commands(data.path(), &papers);
        let large = tempfile::tempdir().expect("a temporary folder");
        let papers = large.path().join("papers");
        write_files(&papers, LARGE_WORDS, 50_000);
        search_large(large.path(), &papers).await;
    });
}

fn write_files(folder: &Path, words: usize, seed: u64) {
    std::fs::create_dir_all(folder).expect("a folder");
    for index in 0..FILES {
        let text = invented_text(seed + index as u64, words);
        std::fs::write(folder.join(format!("note-{index:04}.txt")), text).expect("a file");
    }
}

async fn import_by_stage(data: &Path, papers: &Path) {
    let backend = open(data).await;
    let started = Instant::now();
    let seconds = move || started.elapsed().as_secs_f64();
    let (mut words_done, mut embedding_began) = (0.0, 0.0);
    let importing = backend.submit(import_of(papers, false)).finish(|event| {
        if let Event::Progress(Progress {
            stage, done, total, ..
        }) = event
        {
            match stage {
                Stage::Reading if done == total => words_done = seconds(),
                Stage::Embedding if embedding_began == 0.0 => embedding_began = seconds(),
                _ => {}
            }
        }
    });
    let searching = async {
        // A second user of the same backend: when does the first word come up?
        loop {
            let query = Command::Search {
                query: "contract payment river".to_owned(),
                limit: 5,
                mode: SearchMode::Lexical,
                thorough: false,
            };
            if let Ok(Reply::Hits(report)) = backend.submit(query).finish(|_| ()).await
                && !report.hits.is_empty()
            {
                return seconds();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (imported, first_hit) = tokio::join!(importing, searching);
    let all = seconds();
    let Ok(Reply::Imported(report)) = imported else {
        panic!("the import failed: {imported:?}")
    };
    print(
        &format!(
            "Import of {FILES} text files, {} passages",
            report.coverage.passages
        ),
        &[
            Row::new("first lexical hit after [s]", vec![first_hit]).at_most(10.0),
            Row::new("all words searchable after [s]", vec![words_done]),
            Row::new("everything embedded after [s]", vec![all]),
            Row::new(
                "files read, saved (fsync) and indexed per second",
                vec![FILES as f64 / words_done],
            ),
            Row::new(
                "passages embedded per second",
                vec![report.embedded as f64 / (all - embedding_began)],
            ),
        ],
    );
    let (_, again_ms) = {
        let started = Instant::now();
        let reply = run(&backend, import_of(papers, false), |_| ()).await;
        (reply, started.elapsed().as_secs_f64() * 1000.0)
    };
    print(
        "Import again, nothing changed",
        &[Row::new("in the process [s]", vec![again_ms / 1000.0]).at_most(2.0)],
    );
    search_rows(&backend, "Search in the process, some 2,000 passages").await;
    backend.close().await;
}

/// Whole commands, from start to exit.
fn commands(data: &Path, papers: &Path) {
    let satchel = |arguments: &[&str]| {
        let (status, ms) = time_ms(|| {
            std::process::Command::new(satchel_bin())
                .arg("--data-dir")
                .arg(data)
                .args(arguments)
                .env("SATCHEL_MODELS_DIR", satchel_tests::models_dir())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .expect("satchel starts")
        });
        assert!(status.success(), "satchel {arguments:?} failed");
        ms
    };
    satchel(&["search", "warm"]);
    let times = |arguments: &[&str]| (0..9).map(|_| satchel(arguments)).collect::<Vec<f64>>();
    let papers = papers.display().to_string();
    print(
        "Commands from start to exit",
        &[
            Row::new(
                "satchel search (hybrid) [ms]",
                times(&["search", "the contract of the river"]),
            )
            .at_most(300.0),
            Row::new(
                "satchel search --mode lexical [ms]",
                times(&["search", "--mode", "lexical", "contract river"]),
            )
            .at_most(300.0),
            Row::new(
                "satchel import, unchanged folder [ms]",
                times(&["import", &papers]),
            )
            .at_most(2000.0),
        ],
    );
}

async fn search_rows(backend: &Backend, title: &str) {
    let mut rows = Vec::new();
    for (name, mode) in [
        ("lexical", SearchMode::Lexical),
        ("vector", SearchMode::Vector),
        ("hybrid", SearchMode::Hybrid),
    ] {
        let mut times = Vec::new();
        for index in 0..60u64 {
            let query = invented_text(900_000 + index, 6).replace('\n', " ");
            let started = Instant::now();
            run(
                backend,
                Command::Search {
                    query,
                    limit: 10,
                    mode,
                    thorough: false,
                },
                |_| (),
            )
            .await;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        // The first queries load the model and warm the index.
        let times = times.split_off(10);
        let p95 = quantile(&times, 0.95);
        rows.push(Row::new(
            format!("{name}, query embedding included, median [ms]"),
            times,
        ));
        rows.push(Row::new(format!("{name}, p95 [ms]"), vec![p95]).at_most(30.0));
    }
    print(title, &rows);
}

async fn search_large(data: &Path, papers: &Path) {
    let backend = open(data).await;
    let reply = run(&backend, import_of(papers, true), |_| ()).await;
    let Reply::Imported(report) = reply else {
        panic!("not an import")
    };
    // Embedding 20,000 passages takes many minutes on two cores and says nothing about search: unit
    // vectors that differ stand in for them.
    fill_embeddings(&backend).await;
    search_rows(
        &backend,
        &format!(
            "Search in the process, {} passages",
            report.coverage.passages
        ),
    )
    .await;
    // The command needs the workspace for itself.
    backend.close().await;
    let mut times = Vec::new();
    for _ in 0..9 {
        let (status, ms) = time_ms(|| {
            std::process::Command::new(satchel_bin())
                .arg("--data-dir")
                .arg(data)
                .args(["search", "the contract of the river"])
                .env("SATCHEL_MODELS_DIR", satchel_tests::models_dir())
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .expect("satchel starts")
        });
        assert!(status.success());
        times.push(ms);
    }
    print(
        "Command over as many passages",
        &[Row::new("satchel search (hybrid) [ms]", times).at_most(300.0)],
    );
}

async fn fill_embeddings(backend: &Backend) {
    let index = &backend.shared().index;
    backend
        .shared()
        .models
        .announce_embedder(index)
        .await
        .expect("an embedder is installed");
    let mut seed = 1u64;
    loop {
        let pending = index
            .pending_embeddings(2048)
            .await
            .expect("the index answers");
        if pending.is_empty() {
            return;
        }
        let rows = pending.iter().map(|pending| {
            seed += 1;
            (pending.hash, unit_vector(seed, 384))
        });
        index
            .insert_embeddings(rows.collect())
            .await
            .expect("the index takes embeddings");
    }
}

fn unit_vector(seed: u64, dim: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut vector: Vec<f32> = (0..dim)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}
