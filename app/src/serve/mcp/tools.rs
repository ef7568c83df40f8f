//! The tools: what they are called, what they take, and which command each of them is.
//!
//! Start at [`all`] and [`Call`].

use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::words;
use crate::message::{Command, Failure, Reply, SearchMode};
use crate::serve::mismatch;

/// Passages of one search.
const MAX_HITS: usize = 20;

/// Passages of a search that says no number: enough for an answer, without filling the window of a model.
const USUAL_HITS: usize = 8;

/// Documents of one list.
const MAX_DOCUMENTS: usize = 500;

/// Documents of a list that says no number.
const USUAL_DOCUMENTS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchArguments {
    query: String,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PassageArguments {
    reference: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    filter: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskArguments {
    question: String,
}

/// A tool that is called, with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `search`
    Search { query: String, limit: usize },
    /// `read_passage`
    ReadPassage { reference: String },
    /// `list_documents`
    ListDocuments { filter: String, limit: usize },
    /// `ask`
    Ask { question: String },
}

impl Call {
    /// # Errors
    /// When there is no such tool, or the arguments are not those of its schema.
    pub(super) fn read(name: &str, arguments: Option<JsonObject>) -> Result<Self, ErrorData> {
        match name {
            "search" => {
                let given: SearchArguments = read(arguments)?;
                Ok(Self::Search {
                    query: words_of("query", given.query)?,
                    limit: limit(given.limit, USUAL_HITS, MAX_HITS)?,
                })
            }
            "read_passage" => {
                let given: PassageArguments = read(arguments)?;
                Ok(Self::ReadPassage {
                    reference: words_of("reference", given.reference)?,
                })
            }
            "list_documents" => {
                let given: ListArguments = read(arguments)?;
                Ok(Self::ListDocuments {
                    filter: given.filter.unwrap_or_default(),
                    limit: limit(given.limit, USUAL_DOCUMENTS, MAX_DOCUMENTS)?,
                })
            }
            "ask" => {
                let given: AskArguments = read(arguments)?;
                Ok(Self::Ask {
                    question: words_of("question", given.question)?,
                })
            }
            _ => Err(ErrorData::invalid_params(
                format!(
                    "There is no tool {name:?}. There is search, read_passage, list_documents and ask."
                ),
                None,
            )),
        }
    }

    /// What the backend is asked.
    #[must_use]
    pub(super) fn command(&self) -> Command {
        match self {
            Self::Search { query, limit } => Command::Search {
                query: query.clone(),
                limit: *limit,
                mode: SearchMode::Hybrid,
                thorough: true,
            },
            Self::ReadPassage { reference } => Command::Show {
                reference: reference.clone(),
            },
            Self::ListDocuments { .. } => Command::Documents,
            Self::Ask { question } => Command::Consult {
                question: question.clone(),
                history: Vec::new(),
            },
        }
    }

    /// The result in words and as data.
    ///
    /// # Errors
    /// When the reply is that of another command.
    pub(super) fn result(
        &self,
        reply: Reply,
        notices: &[String],
    ) -> Result<(String, Value), Failure> {
        match (self, reply) {
            (Self::Search { .. }, Reply::Hits(report)) => Ok(words::hits(&report, notices)),
            (Self::ReadPassage { .. }, Reply::Passage(passage)) => Ok(words::passage(&passage)),
            (Self::ListDocuments { filter, limit }, Reply::Documents(documents)) => {
                Ok(words::documents(&documents, filter, *limit))
            }
            (Self::Ask { .. }, Reply::Answered(report)) => Ok(words::answer(&report, notices)),
            _ => Err(mismatch()),
        }
    }
}

fn read<A: DeserializeOwned>(arguments: Option<JsonObject>) -> Result<A, ErrorData> {
    let arguments = Value::Object(arguments.unwrap_or_default());
    serde_json::from_value(arguments).map_err(|error| {
        ErrorData::invalid_params(format!("The arguments do not fit the tool: {error}."), None)
    })
}

fn words_of(name: &str, words: String) -> Result<String, ErrorData> {
    if words.trim().is_empty() {
        let message = format!("{name} is empty: a text is expected.");
        return Err(ErrorData::invalid_params(message, None));
    }
    Ok(words)
}

fn limit(given: Option<usize>, usual: usize, most: usize) -> Result<usize, ErrorData> {
    let limit = given.unwrap_or(usual);
    if !(1..=most).contains(&limit) {
        let message = format!("limit has to be 1 to {most}.");
        return Err(ErrorData::invalid_params(message, None));
    }
    Ok(limit)
}

/// Every tool with its schema.
#[must_use]
pub(super) fn all() -> Vec<Tool> {
    let text = |what: &str| json!({ "type": "string", "minLength": 1, "description": what });
    let number = |most: usize, usual: usize| json!({ "type": "integer", "minimum": 1, "maximum": most, "default": usual, "description": "How many at most" });
    vec![
        tool(
            "search",
            "Search the documents",
            "Finds passages in the user's documents by words and by meaning, best first, each with its exact words and a reference.",
            json!({
                "query": text("What to look for, in plain words"),
                "limit": number(MAX_HITS, USUAL_HITS),
            }),
            &["query"],
        ),
        tool(
            "read_passage",
            "Read a passage",
            "Shows a passage with the text before and after it.",
            json!({ "reference": text("As search and ask give it, for example 3fa94c01be77:1204-1310") }),
            &["reference"],
        ),
        tool(
            "list_documents",
            "List the documents",
            "Lists the user's documents with title and file.",
            json!({
                "filter": { "type": "string", "description": "Only documents whose title or path contains this" },
                "limit": number(MAX_DOCUMENTS, USUAL_DOCUMENTS),
            }),
            &[],
        ),
        tool(
            "ask",
            "Ask the documents",
            "Lets the model on the user's own machine answer a question from the documents, with citations. It says so where they do not hold an answer. Takes seconds to minutes; `search` is faster.",
            json!({ "question": text("The question, understandable by itself") }),
            &["question"],
        ),
    ]
}

fn tool(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    properties: Value,
    required: &[&str],
) -> Tool {
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties);
    schema.insert("required".to_owned(), required.into());
    schema.insert("additionalProperties".to_owned(), false.into());
    let only_reads = ToolAnnotations::new()
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(false);
    Tool::new(name, description, Arc::new(schema))
        .with_title(title)
        .with_annotations(only_reads)
}
