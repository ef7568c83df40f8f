//! The sample that comes with the program: every question on it can be answered, and its document is found.
//!
//! Needs the starter models, which `make test` installs. How good the answers are is measured by `make eval`.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};

use satchel_tests::Laptop;
use satchel_tests::eval::sample::{Questions, documents};
use satchel_tests::eval::wording::says;

/// Of the answerable questions, the part whose source must be among the first five passages.
const MUST_BE_FOUND: f64 = 0.9;

/// A laptop with the sample imported from its home folder.
fn with_sample() -> Laptop {
    let laptop = Laptop::with_starter_models();
    for document in documents() {
        laptop.write(format!("sample/{}", document.path), document.bytes);
    }
    let report = laptop
        .run(["import", "sample", "--json"])
        .expect_success()
        .json();
    assert_eq!(report["added"], documents().len(), "{report}");
    laptop
}

/// The path below the sample's folder, of a path as the program gives it.
fn below_sample(path: &serde_json::Value) -> &str {
    let path = path.as_str().unwrap_or_default();
    path.rsplit_once("/sample/")
        .map_or(path, |(_, below)| below)
}

/// The text of every document as Satchel extracted it.
fn texts(laptop: &Laptop) -> HashMap<String, String> {
    let list = laptop
        .run(["documents", "list", "--json"])
        .expect_success()
        .json();
    let text = |document: &serde_json::Value| {
        let whole = format!(
            "{}:0-{}",
            document["id"].as_str().unwrap(),
            document["text_bytes"]
        );
        let shown = laptop.run(["show", &whole, "--json"]).expect_success();
        shown.json()["citation"]["quote"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let documents = list.as_array().unwrap().iter();
    documents
        .map(|document| (below_sample(&document["path"]).to_owned(), text(document)))
        .collect()
}

#[test]
fn every_quote_stands_in_the_text_of_its_document() {
    let laptop = with_sample();
    let texts = texts(&laptop);
    let mut wrong = Vec::new();
    for question in Questions::read().answerable {
        if !says(&texts[&question.source], &question.quote) {
            wrong.push(format!(
                "{}: no {:?} in its text",
                question.source, question.quote
            ));
        }
        if !question
            .answer
            .iter()
            .any(|words| says(&question.quote, words))
        {
            wrong.push(format!(
                "{:?} says none of {:?}",
                question.quote, question.answer
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "questions whose answer is not where they say:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_right_source_is_among_the_first_five_passages() {
    let laptop = with_sample();
    let questions = Questions::read().answerable;
    let mut missed = Vec::new();
    for question in &questions {
        let found = laptop
            .run(["search", "--json", "--limit", "5", &question.question])
            .expect_success()
            .json();
        assert_eq!(found["mode"], "hybrid", "{found}");
        let sources: Vec<&str> = found["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| below_sample(&hit["path"]))
            .collect();
        if !sources.contains(&question.source.as_str()) {
            missed.push(format!(
                "{} (in {}): found {sources:?}",
                question.question, question.source
            ));
        }
    }
    let part = 1.0 - missed.len() as f64 / questions.len() as f64;
    assert!(
        part >= MUST_BE_FOUND,
        "the right source was found for {part:.2} of the questions; missed:\n{}",
        missed.join("\n")
    );
}

#[test]
fn the_program_brings_the_whole_sample_with_it() {
    let laptop = Laptop::with_starter_models();
    laptop.run(["try"]).expect_success();
    let list = laptop
        .run(["documents", "list", "--json"])
        .expect_success()
        .json();
    let brought: BTreeMap<String, Vec<u8>> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|document| {
            let file = std::fs::read(document["path"].as_str().unwrap()).unwrap();
            (below_sample(&document["path"]).to_owned(), file)
        })
        .collect();
    let expected: BTreeMap<String, Vec<u8>> = documents()
        .into_iter()
        .map(|document| (document.path, document.bytes))
        .collect();
    // Names first: a difference of bytes alone would print whole documents.
    assert_eq!(
        brought.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>(),
        "left is what `satchel try` imports, right is what lies in app/sample"
    );
    assert!(
        brought == expected,
        "a file of the sample is built in as it was before it changed"
    );
}
