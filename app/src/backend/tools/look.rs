//! Lets the model choose, does it, tells it the result, a few times.
//!
//! Ends after [`MOST_STEPS`], when the model wants to answer, repeats itself, finds nothing twice or writes no choice: then
//! the answer is written from what there is, so that a model which chooses badly answers no worse for it.
//! Start at [`look_further`].

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use satchel_inference::{
    AnswerForm, ChatMessage, ChatRole, EngineError, GenerateRequest, Sampling, Thinking,
};
use satchel_vector::{Hit, SourceId};

use super::super::answer::HITS;
use super::super::jobs::Emitter;
use super::super::layout::Reader;
use super::super::mcp::{Offered, Servers};
use super::super::{Shared, failure, rerank, retrieve, writing};
use super::{Choice, Tool, calculator, dates, instructions, schema};
use crate::message::{Failure, Origin, Step};
use crate::units;

/// Things that are looked up for one question, at most: each takes a model on a laptop some seconds.
const MOST_STEPS: usize = 4;
/// In a row, until it is taken for granted that nothing more comes.
const MOST_IN_VAIN: usize = 2;
/// Tokens of a choice: its text and the form around it.
const CHOICE_TOKENS: u32 = 160;
/// Passages of a further search: what is new comes first in it, and all of it is read.
const NEW_HITS: usize = 5;
/// Chunks on each side of a passage that is read on.
const AROUND: u32 = 2;
/// Characters of a passage that the model sees while it chooses.
const GLANCE_CHARS: usize = 240;
/// Documents that are listed.
const MOST_LISTED: usize = 20;

/// What was looked up.
#[derive(Debug, Default)]
pub struct Looked {
    /// Each thing that was done.
    pub steps: Vec<Step>,
    /// What was calculated and listed, for the prompt.
    pub notes: Vec<String>,
    /// What tools of MCP servers gave: foreign text.
    pub told: Vec<String>,
}

/// Lets the model look further for a question. `hits` are what was found for it already; what comes goes among them.
///
/// # Errors
/// When no chat model is installed, its worker fails, or the index cannot be read.
pub(in crate::backend) async fn look_further(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    servers: &Servers,
    question: &str,
    hits: &mut Vec<Hit>,
) -> Result<Looked, Failure> {
    let reader = Reader::load(shared).await?;
    let model = Model {
        reader: &reader,
        emitter,
    };
    let desk = Desk {
        shared,
        emitter,
        servers,
        offered: servers.tools(),
        writer: &model,
    };
    desk.look(question, hits).await
}

/// Who writes the choices: a model. In tests a script.
trait Writer: Sync {
    /// What is written in the form of a JSON schema, behind these messages; `None` where it was stopped, the messages are
    /// too much to choose with, or the form is one that cannot be kept to.
    fn write(
        &self,
        messages: &[ChatMessage],
        schema: String,
    ) -> impl Future<Output = Result<Option<String>, Failure>> + Send;
}

struct Model<'a> {
    reader: &'a Reader,
    emitter: &'a Emitter,
}

impl Writer for Model<'_> {
    async fn write(
        &self,
        messages: &[ChatMessage],
        schema: String,
    ) -> Result<Option<String>, Failure> {
        let request = GenerateRequest {
            messages: messages.to_vec(),
            sampling: Sampling::greedy(),
            max_output_tokens: CHOICE_TOKENS,
            thinking: Thinking::Off,
            stop: Vec::new(),
            form: AnswerForm::Json(schema),
        };
        match writing::write_quietly(&self.reader.running.engine, self.emitter, request).await {
            Ok(written) => Ok(written),
            // What was found is too much to choose with, and enough to answer; a foreign form may be anything.
            Err(EngineError::PromptTooLong { .. } | EngineError::Form { .. }) => Ok(None),
            Err(error) => Err(failure::of_engine(error)),
        }
    }
}

/// What the steps work with.
struct Desk<'a, W> {
    shared: &'a Arc<Shared>,
    emitter: &'a Emitter,
    servers: &'a Servers,
    /// Their tools.
    offered: Vec<(String, Offered)>,
    writer: &'a W,
}

impl<W: Writer> Desk<'_, W> {
    async fn look(&self, question: &str, hits: &mut Vec<Hit>) -> Result<Looked, Failure> {
        let mut known = Known::new(std::mem::take(hits));
        let mut looked = Looked::default();
        let mut messages = vec![
            ChatMessage::new(ChatRole::System, instructions(&self.offered)),
            ChatMessage::new(
                ChatRole::User,
                format!("Question: {question}\n\n{}", known.glance(0..HITS / 2)),
            ),
        ];
        let (mut chosen, mut in_vain) = (HashSet::new(), 0);
        while looked.steps.len() < MOST_STEPS
            && in_vain < MOST_IN_VAIN
            && !self.emitter.is_cancelled()
        {
            let Some(written) = self.writer.write(&messages, schema(&self.offered)).await? else {
                break;
            };
            let Some(choice) =
                Choice::read(&written, &self.offered).filter(|choice| choice.tool != Tool::Answer)
            else {
                break;
            };
            if !chosen.insert(choice.clone()) {
                break;
            }
            messages.push(ChatMessage::new(ChatRole::Assistant, written));
            let done = match &choice.tool {
                Tool::Called(name) => self.call(name, &choice.text, &messages).await?,
                _ => carry_out(self.shared, self.emitter, &choice, &mut known).await?,
            };
            in_vain = if done.is_in_vain { in_vain + 1 } else { 0 };
            self.emitter.notice(done.step.words.clone()).await;
            looked.steps.push(done.step);
            looked.notes.extend(done.note);
            looked.told.extend(done.told);
            messages.push(ChatMessage::new(ChatRole::User, done.result));
        }
        *hits = known.in_order();
        Ok(looked)
    }

    /// Lets the model write what a tool of an MCP server is to be given, and calls it where the user allows that.
    async fn call(
        &self,
        name: &str,
        wish: &str,
        messages: &[ChatMessage],
    ) -> Result<Done, Failure> {
        let offered = self.offered.iter().find(|(known, _)| known == name);
        let Some((_, tool)) = offered else {
            return Ok(Done::in_vain(name, format!("There is no tool {name}.")));
        };
        let mut messages = messages.to_vec();
        messages.push(ChatMessage::new(
            ChatRole::User,
            format!(
                "Write what {name} is to be given for “{wish}”, as JSON of this form: {}",
                tool.form
            ),
        ));
        let written = self.writer.write(&messages, tool.form.clone()).await?;
        let arguments = written.and_then(|written| serde_json::from_str(&written).ok());
        let Some(arguments) = arguments else {
            let words = format!("Could not write what {name} is to be given.");
            return Ok(Done::in_vain(name, words));
        };
        let calling = self
            .servers
            .call(&self.shared.permissions, self.emitter, name, arguments);
        Ok(match calling.await {
            Ok(Some(result)) => {
                let begins: String = result.chars().take(GLANCE_CHARS).collect();
                let words = format!("Called {name}, which said: {begins}");
                Done {
                    told: Some(format!("{name}: {result}")),
                    ..Done::new(name, words, result)
                }
            }
            Ok(None) => Done::in_vain(name, format!("Did not call {name}: it was not allowed.")),
            Err(why) => Done::in_vain(name, format!("{name} gave no result: {why}.")),
        })
    }
}

/// What a step came to.
struct Done {
    step: Step,
    /// For the model that chooses.
    result: String,
    /// For the prompt of the answer.
    note: Option<String>,
    /// As `note`, from another program.
    told: Option<String>,
    is_in_vain: bool,
}

impl Done {
    fn new(tool: &str, words: String, result: impl Into<String>) -> Self {
        Self {
            step: Step {
                tool: tool.to_owned(),
                words,
            },
            result: result.into(),
            note: None,
            told: None,
            is_in_vain: false,
        }
    }

    fn in_vain(tool: &str, words: String) -> Self {
        Self {
            is_in_vain: true,
            ..Self::new(tool, words.clone(), words)
        }
    }
}

async fn carry_out(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    choice: &Choice,
    known: &mut Known,
) -> Result<Done, Failure> {
    let text = choice.text.as_str();
    Ok(match choice.tool {
        Tool::Search => {
            let Ok(query) = retrieve::checked(text) else {
                return Ok(Done::in_vain("search", "Searched for nothing.".to_owned()));
            };
            let found = rerank::passages(shared, emitter, query, HITS).await?;
            let new = known.add(found.hits, NEW_HITS);
            let words = format!(
                "Searched for “{query}”: {} more.",
                units::count(new.len(), "passage")
            );
            if new.is_empty() {
                Done::in_vain("search", words)
            } else {
                Done::new("search", words, known.glance(new))
            }
        }
        Tool::Read => read(shared, text, known).await?,
        Tool::List => list(shared, text),
        Tool::Calculate => match calculator::calculate(text) {
            Ok(value) => noted(
                "calculate",
                format!("Calculated {text} = {value}"),
                text,
                &value,
            ),
            Err(why) => Done::in_vain("calculate", format!("Could not calculate {text}: {why}.")),
        },
        Tool::Date => match dates::date(text, jiff::Zoned::now().date()) {
            Ok(found) => noted(
                "date",
                format!("Counted days: {text} = {found}"),
                text,
                &found,
            ),
            Err(why) => Done::in_vain("date", format!("Could not count days for {text}: {why}.")),
        },
        // The loop ends with the one, and does the other itself.
        Tool::Answer | Tool::Called(_) => Done::in_vain("answer", String::new()),
    })
}

fn noted(tool: &str, words: String, wish: &str, found: &str) -> Done {
    let note = format!("{wish} = {found}");
    Done {
        note: Some(note.clone()),
        ..Done::new(tool, words, note)
    }
}

/// What stands around a passage.
async fn read(shared: &Arc<Shared>, mark: &str, known: &mut Known) -> Result<Done, Failure> {
    let number = mark
        .trim_start_matches(['P', 'p', 'S', 's'])
        .parse::<usize>();
    let hit = number
        .ok()
        .and_then(|number| known.hits.get(number.checked_sub(1)?))
        .cloned();
    let Some(hit) = hit else {
        return Ok(Done::in_vain(
            "read",
            format!("There is no passage “{mark}” to read on from."),
        ));
    };
    let chunks = shared
        .index
        .chunks_of(hit.source)
        .await
        .map_err(Failure::from)?;
    let near = chunks
        .into_iter()
        .filter(|chunk| chunk.chunk_index.abs_diff(hit.chunk_index) <= AROUND);
    let around = near.map(|chunk| Hit {
        chunk_index: chunk.chunk_index,
        range: chunk.range,
        heading_path: chunk.heading_path,
        page: chunk.page,
        text: chunk.text,
        ..hit.clone()
    });
    let new = known.add(around.collect(), usize::MAX);
    let place = retrieve::citation(&hit, Origin::Retrieved).place();
    let words = format!(
        "Read on at {place}: {} more.",
        units::count(new.len(), "passage")
    );
    Ok(if new.is_empty() {
        Done::in_vain("read", words)
    } else {
        Done::new("read", words, known.glance(new))
    })
}

/// The documents whose titles or paths hold the words.
fn list(shared: &Shared, words: &str) -> Done {
    let wanted = words.to_lowercase();
    let documents = shared.workspace.documents();
    let mut titles: Vec<String> = documents
        .into_iter()
        .filter(|entry| {
            let path = entry.path.as_deref().unwrap_or_default();
            let of_entry = format!("{} {path}", entry.title).to_lowercase();
            wanted.split(' ').all(|word| of_entry.contains(word))
        })
        .map(|entry| entry.title)
        .collect();
    titles.sort();
    let about = if words.is_empty() {
        "Listed the documents".to_owned()
    } else {
        format!("Listed the documents named “{words}”")
    };
    let told = format!("{about}: {}.", titles.len());
    if titles.is_empty() {
        return Done::in_vain("list", told);
    }
    let count = titles.len();
    titles.truncate(MOST_LISTED);
    let more = match count - titles.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = if words.is_empty() {
        String::new()
    } else {
        format!(" named “{words}”")
    };
    let note = format!(
        "{}{named}: {}{more}",
        units::count(count, "document"),
        titles.join("; ")
    );
    Done {
        note: Some(note.clone()),
        ..Done::new("list", told, note)
    }
}

/// The passages that were found, each once, under the numbers that the model knows them by.
struct Known {
    hits: Vec<Hit>,
    /// Where the hits of each search begin.
    begins: Vec<usize>,
    seen: HashSet<(SourceId, Range<usize>)>,
}

impl Known {
    fn new(hits: Vec<Hit>) -> Self {
        let mut known = Self {
            hits: Vec::new(),
            begins: Vec::new(),
            seen: HashSet::new(),
        };
        known.add(hits, usize::MAX);
        known
    }

    /// Adds those that are new, so many at most; gives their numbers.
    fn add(&mut self, hits: Vec<Hit>, most: usize) -> Range<usize> {
        let begin = self.hits.len();
        self.begins.push(begin);
        for hit in hits {
            if self.hits.len() - begin == most {
                break;
            }
            if self.seen.insert((hit.source, hit.range.clone())) {
                self.hits.push(hit);
            }
        }
        begin..self.hits.len()
    }

    /// The beginnings of some of them, as the model sees them while it chooses.
    fn glance(&self, numbers: Range<usize>) -> String {
        let numbers = numbers.start..numbers.end.min(self.hits.len());
        if numbers.is_empty() {
            return "No passage was found.".to_owned();
        }
        let mut text = String::from("Passages:\n");
        for number in numbers {
            let hit = &self.hits[number];
            let place = retrieve::citation(hit, Origin::Retrieved).place();
            let words: String = hit.text.chars().take(GLANCE_CHARS).collect();
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            text += &format!("P{} ({place}): {words}\n", number + 1);
        }
        text
    }

    /// The best of each search in turn: what the model asked for counts as much as what was found first.
    fn in_order(self) -> Vec<Hit> {
        let ends = self.begins.iter().skip(1).copied();
        let ends: Vec<usize> = ends.chain([self.hits.len()]).collect();
        let longest = self
            .begins
            .iter()
            .zip(&ends)
            .map(|(begin, end)| end - begin);
        let longest = longest.max().unwrap_or(0);
        let mut order = Vec::with_capacity(self.hits.len());
        for rank in 0..longest {
            for (begin, end) in self.begins.iter().zip(&ends) {
                if begin + rank < *end {
                    order.push(begin + rank);
                }
            }
        }
        let mut hits: Vec<Option<Hit>> = self.hits.into_iter().map(Some).collect();
        order.into_iter().filter_map(|at| hits[at].take()).collect()
    }
}

#[cfg(test)]
mod called_tests;

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(source: u8, start: usize) -> Hit {
        Hit {
            source: SourceId([source; 16]),
            chunk_index: 0,
            range: start..start + 4,
            heading_path: Vec::new(),
            page: None,
            text: format!("text {source}"),
            title: "T".to_owned(),
            path: "/t.md".to_owned(),
            relevance_score: 1.0,
            cosine: None,
            bm25: None,
            lexical_rank: None,
            vector_rank: None,
        }
    }

    #[test]
    fn what_is_new_comes_in_turn_with_what_was_there() {
        let mut known = Known::new(vec![hit(1, 0), hit(2, 0), hit(3, 0)]);
        assert_eq!(
            known.add(vec![hit(2, 0), hit(4, 0), hit(2, 9), hit(5, 0)], 2),
            3..5
        );
        assert_eq!(known.add(vec![hit(1, 0)], 9), 5..5);
        assert_eq!(known.add(vec![hit(6, 0)], 9), 5..6);
        let glance = known.glance(3..5);
        assert!(
            glance.contains("P4 (") && glance.contains("text 4"),
            "{glance}"
        );
        assert!(!glance.contains("P3 ("), "{glance}");
        let order = known.in_order();
        let order: Vec<_> = order
            .iter()
            .map(|hit| (hit.source.0[0], hit.range.start))
            .collect();
        assert_eq!(order, [(1, 0), (4, 0), (6, 0), (2, 0), (2, 9), (3, 0)]);
    }

    #[test]
    fn nothing_found_is_nothing_to_see() {
        let known = Known::new(Vec::new());
        assert_eq!(known.glance(0..8), "No passage was found.");
        assert!(known.in_order().is_empty());
    }
}
