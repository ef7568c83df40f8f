//! The sample that comes with the program, and the questions on it: which it answers and which it cannot.
//!
//! Reads `app/sample` of the repository; imports nothing. Start at [`documents`] and [`Questions::read`].

use std::collections::HashSet;
use std::path::Path;

use super::collection::{Collection, Document, Question};
use crate::repository;

/// The questions are no document: they hold every answer.
const QUESTIONS: &str = "questions.toml";

/// Every question on the sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Questions {
    /// Those that a document of the sample answers.
    pub answerable: Vec<Answerable>,
    /// Those that none does.
    pub unanswerable: Vec<Unanswerable>,
}

/// A question that the sample answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answerable {
    /// What is asked.
    pub question: String,
    /// Path of the document that answers, below `app/sample`.
    pub source: String,
    /// Words of that document that answer, as they stand in its text.
    pub quote: String,
    /// An answer that says any of these is right; see [`super::wording::says`].
    pub answer: Vec<String>,
}

/// A question that the sample does not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Unanswerable {
    /// What is asked.
    pub question: String,
    /// Path of the document that comes nearest to it, below `app/sample`.
    pub near: String,
}

impl Questions {
    /// Reads `app/sample/questions.toml`.
    ///
    /// # Panics
    /// When it is missing or of another shape.
    #[must_use]
    pub fn read() -> Self {
        let path = folder().join(QUESTIONS);
        let text = std::fs::read_to_string(&path).expect("the sample has questions");
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let file: toml::Table = text.parse().expect("the questions are TOML");
        let list = |name: &str| file[name].as_array().expect("a list of questions").iter();
        let answerable = list("answerable").map(|entry| Answerable {
            question: string(&entry["question"]),
            source: string(&entry["source"]),
            quote: string(&entry["quote"]),
            answer: entry["answer"]
                .as_array()
                .expect("a list of answers")
                .iter()
                .map(string)
                .collect(),
        });
        let unanswerable = list("unanswerable")
            .map(|entry| Unanswerable {
                question: string(&entry["question"]),
                near: string(&entry["near"]),
            })
            .collect();
        Self {
            answerable: answerable.collect(),
            unanswerable,
        }
    }

    /// The sample as a test collection: to each answerable question, its one source is relevant.
    ///
    /// # Panics
    /// When the sample cannot be read.
    #[must_use]
    pub fn collection(&self) -> Collection {
        let questions = self.answerable.iter().map(|question| Question {
            text: question.question.clone(),
            relevant: HashSet::from([question.source.clone()]),
        });
        Collection {
            name: "sample",
            documents: documents(),
            questions: questions.collect(),
        }
    }
}

fn string(value: &toml::Value) -> String {
    value.as_str().expect("a text in the questions").to_owned()
}

/// The documents of the sample, by path.
///
/// # Panics
/// When the sample cannot be read.
#[must_use]
pub fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    collect(&folder(), "", &mut found);
    found.retain(|document| document.path != QUESTIONS);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn folder() -> std::path::PathBuf {
    repository::root().join("app/sample")
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<Document>) {
    for entry in std::fs::read_dir(folder).expect("the sample is readable") {
        let entry = entry.expect("the sample is readable");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
        } else {
            let bytes = std::fs::read(entry.path()).expect("the sample is readable");
            found.push(Document { path, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        let questions = Questions::parse(
            r#"
            [[answerable]]
            question = "How much notice?"
            source = "house/lease.md"
            quote = "three months' notice in writing"
            answer = ["three months", "3 months"]
            [[unanswerable]]
            question = "May I keep a dog?"
            near = "house/lease.md"
            "#,
        );
        assert_eq!(questions.answerable[0].answer, ["three months", "3 months"]);
        assert_eq!(questions.unanswerable[0].near, "house/lease.md");
    }

    #[test]
    fn every_question_names_documents_of_the_sample() {
        let questions = Questions::read();
        assert_eq!(
            (questions.answerable.len(), questions.unanswerable.len()),
            (30, 10)
        );
        let paths: HashSet<String> = documents().into_iter().map(|d| d.path).collect();
        let sources = questions.answerable.iter().map(|q| &q.source);
        let named = sources.chain(questions.unanswerable.iter().map(|q| &q.near));
        let missing: Vec<&String> = named.filter(|path| !paths.contains(*path)).collect();
        assert!(missing.is_empty(), "no such document: {missing:?}");
    }
}
