//! The evaluation: how well Satchel searches, answers and refuses, as a table that anyone can make again.
//!
//! Measures and prints; asserts nothing about quality (`tests/tests/sample.rs` does, on the sample).
//! Start at [`evaluate`]. What a refusal is judged on beyond the sample: questions of one collection put to the
//! documents of another, which hold no answer.

pub mod answers;
pub mod collection;
pub mod metrics;
pub mod peer;
pub mod provenance;
pub mod sample;
pub mod search;
pub mod table;
pub mod wording;

use satchel_app::backend::Backend;
use satchel_app::message::{Command, ModelSummary, Reply, SearchMode};

use crate::in_process;
use collection::Collection;
use provenance::Provenance;
use sample::Questions;
use search::Indexed;
use table::{RefusalRow, Report, SearchRow};

/// Measures everything that this machine has data and models for; says on stderr how far it is.
///
/// Takes some ten minutes on two cores: three thousand documents are embedded, forty questions answered.
///
/// # Panics
/// When the program is not built, or a command of the backend fails.
pub async fn evaluate() -> Report {
    let questions = Questions::read();
    let sample = Indexed::import(questions.collection()).await;
    let provenance = Provenance::of(&models(&sample.backend).await);
    let mut report = Report {
        provenance,
        searches: Vec::new(),
        refusals: Vec::new(),
        answers: None,
        left_out: Vec::new(),
    };
    if report.provenance.embedder.is_none() {
        report
            .left_out
            .push("vector and hybrid search (no embedder is installed)".to_owned());
    }
    let others = present(&mut report);
    let everything: Vec<&Collection> = others.iter().chain([&sample.collection]).collect();
    let asked = |name: &str, is_own: bool| -> Vec<String> {
        everything
            .iter()
            .filter(|collection| (collection.name == name) == is_own)
            .flat_map(|collection| collection.questions.iter().map(|q| q.text.clone()))
            .collect()
    };
    for collection in &others {
        let (own, foreign) = (asked(collection.name, true), asked(collection.name, false));
        let indexed = Indexed::import(collection.clone()).await;
        measure_search(&indexed, &own, &foreign, &mut report).await;
        measure_peer(&indexed, &mut report).await;
        indexed.backend.close().await;
    }
    let name = sample.collection.name;
    measure_search(
        &sample,
        &asked(name, true),
        &asked(name, false),
        &mut report,
    )
    .await;
    if report.provenance.chat_model.is_some() {
        report.answers = Some(answers::ask_all(&questions, &sample).await);
    } else {
        report
            .left_out
            .push("answers (no chat model is installed)".to_owned());
    }
    sample.backend.close().await;
    report
}

/// The collections that this machine has; the others are noted as left out.
fn present(report: &mut Report) -> Vec<Collection> {
    let mut found = Vec::new();
    for (name, collection) in [
        ("Cranfield", collection::cranfield()),
        ("CISI", collection::cisi()),
    ] {
        match collection {
            Some(collection) => found.push(collection),
            None => report
                .left_out
                .push(format!("{name} (not on this machine)")),
        }
    }
    found
}

async fn models(backend: &Backend) -> Vec<ModelSummary> {
    let Reply::Models(models) = in_process::run(backend, Command::Models, |_| ()).await else {
        panic!("no list of models")
    };
    models
}

async fn measure_search(
    indexed: &Indexed,
    own: &[String],
    foreign: &[String],
    report: &mut Report,
) {
    let modes = [
        ("lexical", SearchMode::Lexical),
        ("vector", SearchMode::Vector),
        ("hybrid", SearchMode::Hybrid),
    ];
    let collection = indexed.collection.name;
    let has_embedder = report.provenance.embedder.is_some();
    let possible = |mode: &SearchMode| has_embedder || *mode == SearchMode::Lexical;
    for (search, mode) in modes.into_iter().filter(|(_, mode)| possible(mode)) {
        eprintln!("{collection}: {search} search");
        report.searches.push(SearchRow {
            collection,
            n_questions: own.len(),
            search,
            scores: indexed.scores(mode).await,
        });
    }
    eprintln!("{collection}: refusals");
    report.refusals.push(RefusalRow {
        collection,
        own: (indexed.refused(own).await, own.len()),
        foreign: (indexed.refused(foreign).await, foreign.len()),
    });
}

async fn measure_peer(indexed: &Indexed, report: &mut Report) {
    let collection = indexed.collection.name;
    eprintln!("{collection}: vector search by the independent implementation");
    match peer::scores(indexed).await {
        Ok(scores) => report.searches.push(SearchRow {
            collection,
            n_questions: indexed.collection.questions.len(),
            search: "vector, all-MiniLM-L6-v2 by an independent implementation",
            scores,
        }),
        Err(reason) => report.left_out.push(format!(
            "independent vector search on {collection} ({reason})"
        )),
    }
}
