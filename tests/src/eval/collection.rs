//! Test collections: documents, questions, and which documents are relevant to each question.
//!
//! Reads the SMART format of Cranfield and CISI, which lie outside the repository and are never copied into it.
//! Start at [`cranfield`] and [`cisi`]; the sample is in [`super::sample`].

use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Documents with questions whose relevant documents are known.
#[derive(Debug, Clone)]
pub struct Collection {
    /// Its name in tables.
    pub name: &'static str,
    /// The documents.
    pub documents: Vec<Document>,
    /// The questions, each with at least one relevant document.
    pub questions: Vec<Question>,
}

/// A document of a collection, as a file to import.
#[derive(Debug, Clone)]
pub struct Document {
    /// Path of the file below the collection's folder, with `/`; names the document in rankings.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A question of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// What is asked.
    pub text: String,
    /// Paths of the relevant documents; never empty.
    pub relevant: HashSet<String>,
}

/// The Cranfield collection: 1,400 abstracts on aerodynamics, 225 questions. `None` where this machine has none.
///
/// Every judged abstract counts as relevant: the codes 1 to 4 are degrees of relevance, and the one abstract of
/// each question with code −1 is no less relevant (BM25 has it at place 2, in the median).
#[must_use]
pub fn cranfield() -> Option<Collection> {
    let folder = crate::data("cranfield")?;
    let files = ["cran.all.1400", "cran.qry", "cranqrel"].map(|name| read(&folder, name));
    Some(smart("Cranfield", &files))
}

/// The CISI collection: 1,460 abstracts on library science, 112 questions, 76 of them judged. `None` where this
/// machine has none.
#[must_use]
pub fn cisi() -> Option<Collection> {
    let folder = crate::data("cisi")?;
    let files = ["CISI.ALL", "CISI.QRY", "CISI.REL"].map(|name| read(&folder, name));
    Some(smart("CISI", &files))
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).expect("the collection is complete")
}

/// A collection from its files: documents, questions, judgements.
///
/// A judgement is a line with the number of a question, counted in file order from 1, and of a document.
fn smart(name: &'static str, [documents, questions, judgements]: &[String; 3]) -> Collection {
    let mut relevant: HashMap<usize, HashSet<String>> = HashMap::new();
    for line in judgements.lines() {
        let mut numbers = line.split_whitespace().map(str::parse::<usize>);
        if let (Some(Ok(question)), Some(Ok(document))) = (numbers.next(), numbers.next()) {
            relevant
                .entry(question)
                .or_default()
                .insert(path_of(document));
        }
    }
    let documents = records(documents).into_iter().map(|record| Document {
        path: path_of(record.number),
        bytes: record.text().into_bytes(),
    });
    let questions = (1..).zip(records(questions)).filter_map(|(place, record)| {
        Some(Question {
            text: record.text(),
            relevant: relevant.remove(&place)?,
        })
    });
    Collection {
        name,
        documents: documents.collect(),
        questions: questions.collect(),
    }
}

fn path_of(number: usize) -> String {
    format!("{number}.txt")
}

/// One document or question of the SMART format.
struct Record {
    number: usize,
    /// By the letter of the field.
    fields: HashMap<char, String>,
}

impl Record {
    /// Title and text. Authors, sources and cross references tell nothing that is asked for.
    fn text(&self) -> String {
        let field = |letter| self.fields.get(&letter).map_or("", |text| text.trim());
        format!("{}\n\n{}", field('T'), field('W'))
            .trim()
            .to_owned()
    }
}

/// Records of the SMART format: a line `.I 7` starts one, a line `.W` and its like starts a field.
fn records(text: &str) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut field = None;
    for line in text.lines() {
        if let Some(number) = line.strip_prefix(".I ") {
            records.push(Record {
                number: number.trim().parse().expect("a record has a number"),
                fields: HashMap::new(),
            });
            field = None;
        } else if let Some(letter) = field_letter(line) {
            field = Some(letter);
        } else if let (Some(record), Some(letter)) = (records.last_mut(), field) {
            let value = record.fields.entry(letter).or_default();
            value.push_str(line);
            value.push('\n');
        }
    }
    records
}

/// `W` of a line `.W`, with or without spaces after it.
fn field_letter(line: &str) -> Option<char> {
    let mut letters = line.strip_prefix('.')?.trim_end().chars();
    let letter = letters.next().filter(char::is_ascii_uppercase)?;
    letters.next().is_none().then_some(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: &str = ".X\n.I 1\n.T\nOn wings\n.A\nSmith, J.\n.W\n   First line\nsecond line .\n.X\n1\t5\t1\n\
        .I 2\n.T \nOn rivers\n.W  \n.5 of it\n";
    // As in Cranfield, questions are not numbered without gaps.
    const QUESTIONS: &str = ".I 001\n.W\nwhat lifts a wing .\n.I 004\n.W\nnever judged\n\
        .I 009\n.T\nRivers\n.A\nAnn\n.W\nand their beds\n.B\n(JASIS)\n";

    #[test]
    fn a_collection_is_read_from_its_three_files() {
        let judgements = "1 1 2\n     3     2\t0\t0.000000\n3 1 -1\n\n";
        let found = smart(
            "T",
            &[DOCUMENTS, QUESTIONS, judgements].map(ToOwned::to_owned),
        );
        let documents: Vec<(&str, &str)> = found
            .documents
            .iter()
            .map(|d| (d.path.as_str(), std::str::from_utf8(&d.bytes).unwrap()))
            .collect();
        assert_eq!(
            documents,
            [
                ("1.txt", "On wings\n\nFirst line\nsecond line ."),
                ("2.txt", "On rivers\n\n.5 of it")
            ]
        );
        let question = |text: &str, relevant: &[&str]| Question {
            text: text.to_owned(),
            relevant: relevant.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(
            found.questions,
            [
                question("what lifts a wing .", &["1.txt"]),
                question("Rivers\n\nand their beds", &["1.txt", "2.txt"])
            ]
        );
    }

    #[test]
    fn the_collections_are_as_published() {
        let counts = |c: &Collection| {
            let judged: usize = c.questions.iter().map(|q| q.relevant.len()).sum();
            (c.documents.len(), c.questions.len(), judged)
        };
        if let Some(cranfield) = cranfield() {
            // Five more records than the name of its file says.
            assert_eq!(counts(&cranfield), (1405, 225, 1837));
        }
        if let Some(cisi) = cisi() {
            assert_eq!(counts(&cisi), (1460, 76, 3114));
        }
    }
}
