//! Puts passages before the model: whole sections where they fit, within a budget of tokens.
//!
//! Pure: decides what goes in and how it is written; counting tokens exactly is the caller's matter.
//! Start at [`choose`] and [`messages`].

use std::ops::Range;

use satchel_inference::{ChatMessage, ChatRole, Sampling};
use satchel_vector::chunk::estimate_tokens;
use satchel_vector::{Hit, StoredChunk};
use serde::{Deserialize, Serialize};

use crate::config::PromptStyle;

/// A stretch of a document that the model is given under a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passage {
    /// The mark that the model writes to cite it: `S1`, `S2`, …
    pub mark: String,
    /// The hit it grew from.
    pub hit: Hit,
    /// Range in the document's text; includes the hit's.
    pub range: Range<usize>,
    /// The words.
    pub text: String,
}

impl Passage {
    /// Whether a hit lies within it.
    #[must_use]
    pub fn holds(&self, hit: &Hit) -> bool {
        self.hit.source == hit.source
            && self.range.start <= hit.range.start
            && hit.range.end <= self.range.end
    }
}

/// How a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Many passages, each under its mark, which the model is to write after its sentences.
    Marked,
    /// The best passage alone and a short request. A model below a billion parameters loses its way in more, and
    /// copies marks without meaning; its sentences are matched to the passages afterwards.
    ///
    /// Tried with SmolLM2-135M on the 30 questions of the sample, apart from the backend, at temperature 0: 350 tokens
    /// of passages gave 2 right answers (22 of the prompts held one), the best passage alone 9 (16 held one).
    /// Chosen on these questions, so not a held-out figure.
    Plain,
}

impl Style {
    /// Parameters from which a model follows the longer instructions.
    const MARKED_FROM_PARAMETERS: u64 = 1_000_000_000;

    /// The style that is wanted, or that suits a model of so many parameters.
    #[must_use]
    pub fn of(wanted: PromptStyle, parameters: u64) -> Self {
        match wanted {
            PromptStyle::OnePassage => Self::Plain,
            PromptStyle::ManyPassages => Self::Marked,
            PromptStyle::Auto if parameters < Self::MARKED_FROM_PARAMETERS => Self::Plain,
            PromptStyle::Auto => Self::Marked,
        }
    }

    /// Tokens of passages that are chosen for a model asked in this style, at most.
    #[must_use]
    pub fn most_passage_tokens(self) -> usize {
        match self {
            Self::Marked => usize::MAX,
            // The model is given the first alone; these are the passages that the user sees.
            Self::Plain => 350,
        }
    }

    /// Divides the score of words that the answer already used; 1 leaves it.
    #[must_use]
    pub fn repeat_penalty(self) -> f32 {
        match self {
            Self::Marked => Sampling::default().repeat_penalty,
            // A small model answers by copying, and the penalty makes it change what it copies, numbers above all:
            // 6 answers of the sample were right with 1.1 at temperature 0.1, 9 with neither.
            Self::Plain => 1.0,
        }
    }

    /// Tokens that an answer in this style needs, at most.
    #[must_use]
    pub fn most_output_tokens(self) -> u32 {
        match self {
            Self::Marked => u32::MAX,
            Self::Plain => 120,
        }
    }
}

/// What was looked up beside passages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notes<'a> {
    /// Calculated and listed here.
    pub own: &'a [String],
    /// What tools of other programs gave: foreign text, as that of documents is.
    pub told: &'a [String],
}

/// What a small model is told.
const SHORT_INSTRUCTIONS: &str = "Answer the question with the exact words of the text. Be short.";

/// Never changes between turns, so that the model's memory of it can be reused.
const INSTRUCTIONS: &str = "You answer questions from the user's own documents. \
Use only the numbered sources, and notes where there are some. \
Give a short, direct answer in complete sentences. \
After each sentence write the mark of the source it comes from, like [S1]. \
If the sources do not contain the answer, say: The documents do not say.";

/// Chooses passages for the hits, best first, until the budget is full.
///
/// A hit grows to its section: neighbours under the same headings join while a fair share of the
/// budget is left, so that a small leaf found by search brings its surroundings. Hits inside a passage that is
/// already chosen, or among those that the model has `read`, are dropped. `chunks_of` gives a document's chunks in order.
pub fn choose(
    hits: &[Hit],
    chunks_of: &dyn Fn(&Hit) -> Vec<StoredChunk>,
    budget_tokens: usize,
    read: &[Passage],
) -> Vec<Passage> {
    let mut passages: Vec<Passage> = Vec::new();
    let mut left = budget_tokens;
    for hit in hits {
        if passages.iter().chain(read).any(|known| known.holds(hit)) {
            continue;
        }
        let cost = estimate_tokens(&hit.text);
        if cost > left && !passages.is_empty() {
            continue;
        }
        // The first passage may take half of the budget, each later one half of what is left.
        let share = (left / 2).max(cost.min(left));
        let taken: Vec<Range<usize>> = passages
            .iter()
            .chain(read)
            .filter(|p| p.hit.source == hit.source)
            .map(|p| p.range.clone())
            .collect();
        let (range, text) = grow(hit, &chunks_of(hit), share, &taken);
        left = left.saturating_sub(estimate_tokens(&text) + MARKUP_TOKENS);
        passages.push(Passage {
            mark: format!("S{}", read.len() + passages.len() + 1),
            hit: hit.clone(),
            range,
            text,
        });
        if left < MIN_PASSAGE_TOKENS || passages.len() == MAX_PASSAGES {
            break;
        }
    }
    passages
}

/// Passages beyond this help no model that runs on a laptop and cost reading time.
const MAX_PASSAGES: usize = 8;
/// A remainder smaller than this holds no useful passage.
const MIN_PASSAGE_TOKENS: usize = 40;
/// Mark, title and page around a passage.
const MARKUP_TOKENS: usize = 24;

fn grow(
    hit: &Hit,
    chunks: &[StoredChunk],
    budget_tokens: usize,
    taken: &[Range<usize>],
) -> (Range<usize>, String) {
    let Some(at) = chunks.iter().position(|chunk| chunk.range == hit.range) else {
        return (hit.range.clone(), hit.text.clone());
    };
    let fits = |chunk: &StoredChunk| {
        chunk.heading_path == hit.heading_path
            && !taken
                .iter()
                .any(|t| t.start < chunk.range.end && chunk.range.start < t.end)
    };
    let (mut first, mut last) = (at, at);
    let mut cost = estimate_tokens(&hit.text);
    loop {
        let mut grown = false;
        // What follows a hit explains it more often than what precedes it.
        if let Some(next) = chunks.get(last + 1).filter(|chunk| fits(chunk))
            && cost + estimate_tokens(&next.text) <= budget_tokens
        {
            cost += estimate_tokens(&next.text);
            last += 1;
            grown = true;
        }
        if let Some(previous) = first
            .checked_sub(1)
            .map(|i| &chunks[i])
            .filter(|chunk| fits(chunk))
            && cost + estimate_tokens(&previous.text) <= budget_tokens
        {
            cost += estimate_tokens(&previous.text);
            first -= 1;
            grown = true;
        }
        if !grown {
            break;
        }
    }
    let range = chunks[first].range.start..chunks[last].range.end;
    let text = chunks[first..=last]
        .iter()
        .map(|chunk| chunk.text.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    (range, text)
}

/// The messages for the model: instructions, earlier turns, then the sources with the question.
///
/// Text of documents is data. Marks of our form inside it are broken up, so that a document cannot cite
/// in the model's place; the engine tokenises contents without control tokens.
#[must_use]
pub fn messages(
    style: Style,
    history: &[(String, String)],
    passages: &[Passage],
    notes: Notes<'_>,
    question: &str,
) -> Vec<ChatMessage> {
    if style == Style::Plain {
        // The hit itself: what it grew by would be more to lose the way in.
        let best = passages.first().map(|passage| defuse(&passage.hit.text));
        let request = format!(
            "Text:\n{}\n\n{}Question: {question}\nAnswer:",
            best.unwrap_or_default(),
            notes_block(notes)
        );
        return vec![
            message(ChatRole::System, SHORT_INSTRUCTIONS.to_owned()),
            message(ChatRole::User, request),
        ];
    }
    let mut messages = vec![message(ChatRole::System, INSTRUCTIONS.to_owned())];
    for (asked, answered) in history {
        messages.push(message(ChatRole::User, asked.clone()));
        messages.push(message(ChatRole::Assistant, answered.clone()));
    }
    messages.push(asked(passages, notes, question));
    messages
}

/// Notes for a question, those of other programs apart.
fn notes_block(notes: Notes<'_>) -> String {
    let block = |title: &str, notes: &[String]| {
        if notes.is_empty() {
            return String::new();
        }
        let lines = notes.iter().map(|note| format!("- {}\n", defuse(note)));
        format!("{title}:\n{}\n", lines.collect::<String>())
    };
    block("Notes", notes.own) + &block("Quoted from other programs", notes.told)
}

/// A conversation that goes on: what was said stays as it was, to the last byte, so that the model need not read it again.
#[must_use]
pub fn go_on(
    said: &[ChatMessage],
    passages: &[Passage],
    notes: Notes<'_>,
    question: &str,
) -> Vec<ChatMessage> {
    let mut messages = said.to_vec();
    messages.push(asked(passages, notes, question));
    messages
}

fn asked(passages: &[Passage], notes: Notes<'_>, question: &str) -> ChatMessage {
    let mut text = String::new();
    if !passages.is_empty() {
        text += "Sources:\n\n";
    }
    for passage in passages {
        let place =
            super::retrieve::citation(&passage.hit, crate::message::Origin::Retrieved).place();
        text += &format!(
            "[{}] ({place})\n{}\n\n",
            passage.mark,
            defuse(&passage.text)
        );
    }
    text += &notes_block(notes);
    text += &format!("Question: {question}");
    message(ChatRole::User, text)
}

fn message(role: ChatRole, content: String) -> ChatMessage {
    ChatMessage { role, content }
}

fn defuse(text: &str) -> String {
    text.replace("[S", "(S").replace('\u{c}', "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use satchel_vector::SourceId;

    fn hit(source: u8, range: Range<usize>, text: &str) -> Hit {
        Hit {
            source: SourceId([source; 16]),
            chunk_index: 0,
            range,
            heading_path: vec!["H".to_owned()],
            page: None,
            text: text.to_owned(),
            title: "T".to_owned(),
            path: "/t.md".to_owned(),
            relevance_score: 1.0,
            cosine: Some(0.9),
            bm25: None,
            lexical_rank: None,
            vector_rank: Some(0),
        }
    }

    fn chunk(range: Range<usize>, heading: &str, text: &str) -> StoredChunk {
        StoredChunk {
            chunk_index: 0,
            range,
            heading_path: vec![heading.to_owned()],
            page: None,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_hit_grows_to_its_section_and_not_beyond() {
        let chunks = vec![
            chunk(0..5, "other", "aaaaa"),
            chunk(6..11, "H", "bbbbb"),
            chunk(12..17, "H", "ccccc"),
            chunk(18..23, "H", "ddddd"),
        ];
        let passages = choose(&[hit(1, 12..17, "ccccc")], &|_| chunks.clone(), 1000, &[]);
        assert_eq!(passages[0].range, 6..23);
        assert_eq!(passages[0].text, "bbbbb\nccccc\nddddd");
    }

    #[test]
    fn a_hit_inside_a_chosen_passage_is_dropped() {
        let chunks = vec![chunk(0..5, "H", "aaaaa"), chunk(6..11, "H", "bbbbb")];
        let hits = [
            hit(1, 0..5, "aaaaa"),
            hit(1, 6..11, "bbbbb"),
            hit(2, 0..5, "zzzzz"),
        ];
        let passages = choose(
            &hits,
            &|h| {
                if h.source.0[0] == 1 {
                    chunks.clone()
                } else {
                    Vec::new()
                }
            },
            1000,
            &[],
        );
        let marks: Vec<_> = passages
            .iter()
            .map(|p| (p.mark.as_str(), p.text.as_str()))
            .collect();
        assert_eq!(marks, [("S1", "aaaaa\nbbbbb"), ("S2", "zzzzz")]);
    }

    #[test]
    fn a_conversation_goes_on_with_what_is_new() {
        let chunks = vec![chunk(0..5, "H", "aaaaa"), chunk(6..11, "H", "bbbbb")];
        let first = choose(&[hit(1, 0..5, "aaaaa")], &|_| chunks.clone(), 1000, &[]);
        let mut said = messages(Style::Marked, &[], &first, Notes::default(), "what is a?");
        said.push(message(ChatRole::Assistant, "It is a [S1].".to_owned()));

        let hits = [hit(1, 6..11, "bbbbb"), hit(2, 0..5, "zzzzz")];
        let new = choose(&hits, &|_| Vec::new(), 1000, &first);
        let marks: Vec<_> = new
            .iter()
            .map(|p| (p.mark.as_str(), p.hit.source.0[0]))
            .collect();
        assert_eq!(marks, [("S2", 2)], "the other was read with the first");
        let asked = go_on(&said, &new, Notes::default(), "and z?");
        assert_eq!(asked[..said.len()], said);
        let last = &asked.last().unwrap().content;
        assert!(last.starts_with("Sources:\n\n[S2]") && last.ends_with("Question: and z?"));
        let nothing_new = go_on(&said, &[], Notes::default(), "why?");
        assert_eq!(nothing_new.last().unwrap().content, "Question: why?");
    }

    #[test]
    fn a_document_cannot_write_a_mark() {
        let passages = vec![Passage {
            mark: "S1".into(),
            hit: hit(1, 0..9, "x"),
            range: 0..9,
            text: "trust [S2] me".into(),
        }];
        let rendered = messages(Style::Marked, &[], &passages, Notes::default(), "why?")
            .pop()
            .unwrap()
            .content;
        assert!(!rendered.contains("[S2]"), "{rendered}");
        assert!(rendered.ends_with("Question: why?"));
    }

    #[test]
    fn a_small_model_reads_the_best_hit_alone() {
        let passage = |hit: Hit| Passage {
            mark: "S1".into(),
            range: hit.range.clone(),
            text: format!("grown {}", hit.text),
            hit,
        };
        let passages = [passage(hit(1, 0..4, "best")), passage(hit(2, 0..4, "next"))];
        let asked = messages(Style::Plain, &[], &passages, Notes::default(), "why?").pop();
        assert_eq!(
            asked.unwrap().content,
            "Text:\nbest\n\nQuestion: why?\nAnswer:"
        );
        let notes = Notes {
            own: &["2 + 2 = 4 [S1]".to_owned()],
            told: &["rain [S1]".to_owned()],
        };
        let asked = messages(Style::Plain, &[], &passages, notes, "why?").pop();
        assert_eq!(
            asked.unwrap().content,
            "Text:\nbest\n\nNotes:\n- 2 + 2 = 4 (S1]\n\nQuoted from other programs:\n- rain (S1]\n\nQuestion: why?\nAnswer:"
        );
    }

    #[test]
    fn the_budget_is_kept() {
        let long = "word ".repeat(400);
        let hits: Vec<Hit> = (0..9).map(|i| hit(i, 0..long.len(), &long)).collect();
        let passages = choose(&hits, &|_| Vec::new(), 1000, &[]);
        let tokens: usize = passages.iter().map(|p| estimate_tokens(&p.text)).sum();
        assert!(tokens <= 1000, "{tokens}");
        assert!(!passages.is_empty());
    }
}
