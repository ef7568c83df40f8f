//! One paragraph of a long document is changed: how much cheaper is it than the whole document?
//!
//! `make bench BENCH=reindex`. Real program, real index, real embedder; a fresh data folder.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::time::Instant;

use satchel_app::backend::Backend;
use satchel_app::message::{ImportReport, Reply};
use satchel_tests::bench::{Row, invented_text, print};
use satchel_tests::in_process::{import_of, open, run};

/// A book of some 200 pages: 800 paragraphs of 100 words.
const PARAGRAPHS: usize = 800;
const PARAGRAPH_WORDS: usize = 100;
const RUNS: usize = 5;

fn main() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let runtime = satchel_app::backend::runtime::build().expect("threads");
    runtime.block_on(async {
        let backend = open(data.path()).await;
        let file = data.path().join("book.txt");
        // The first import loads the embedder and is not counted.
        let other = data.path().join("other.txt");
        std::fs::write(&other, invented_text(1, PARAGRAPH_WORDS)).expect("a file");
        import(&backend, &other).await;
        let mut paragraphs: Vec<String> = (0..PARAGRAPHS)
            .map(|index| invented_text(9000 + index as u64, PARAGRAPH_WORDS))
            .collect();
        let (whole, report) = timed_import(&backend, &file, &paragraphs).await;
        let passages = report.embedded;
        let (mut seconds, mut ratios, mut embedded) = (vec![], vec![], vec![]);
        for run in 0..RUNS {
            // Somewhere else each time; a word more shifts all that follows.
            let at = (run + 1) * PARAGRAPHS / (RUNS + 1);
            paragraphs[at].insert_str(0, "Since the spring this is different. ");
            let (changed, report) = timed_import(&backend, &file, &paragraphs).await;
            seconds.push(changed);
            ratios.push(whole / changed);
            embedded.push(report.embedded as f64);
        }
        print(
            &format!("A document of {PARAGRAPHS} paragraphs, {passages} passages"),
            &[
                Row::new("imported, indexed and embedded [s]", vec![whole]),
                Row::new("the same after one paragraph was changed [s]", seconds),
                Row::new("passages embedded again", embedded),
                Row::new("whole / changed", ratios).at_least(50.0),
            ],
        );
        backend.close().await;
    });
}

async fn timed_import(
    backend: &Backend,
    file: &Path,
    paragraphs: &[String],
) -> (f64, ImportReport) {
    std::fs::write(file, paragraphs.join("\n\n")).expect("a file");
    let started = Instant::now();
    let report = import(backend, file).await;
    (started.elapsed().as_secs_f64(), report)
}

async fn import(backend: &Backend, file: &Path) -> ImportReport {
    match run(backend, import_of(file, false), |_| ()).await {
        Reply::Imported(report) => report,
        other => panic!("another answer: {other:?}"),
    }
}
