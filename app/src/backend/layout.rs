//! What the chat model is given for a question: a conversation that goes on, or one laid out anew.
//!
//! Counts tokens with the model itself, so that what is laid out really fits. Start at [`lay_out`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use satchel_inference::{ChatMessage, ModelInfo, Thinking};
use satchel_models::ModelKind;
use satchel_sync::chat::ThreadId;
use satchel_sync::id::MessageId;
use satchel_vector::{Hit, SourceId, StoredChunk};

use super::conversation::{self, Turn};
use super::jobs::Emitter;
use super::model_host::{self, Running};
use super::prompt::{self, Notes, Passage, Style};
use super::transcript::Said;
use super::{Shared, failure, warm, writing};
use crate::message::{Failure, FailureKind};

/// Bytes of a question that fits into any window.
const SHORT: usize = 512;
/// Tokens kept free beside question, passages and answer: template, rounding.
const MARGIN_TOKENS: usize = 64;
/// Earlier turns given to the model where a conversation is laid out anew. Older ones rarely matter and cost reading time.
const HISTORY_TURNS: usize = 2;

/// What comes before a question.
#[derive(Default)]
pub struct Before {
    /// The chat that it belongs to, and the message that it comes after.
    pub place: Option<(ThreadId, MessageId)>,
    /// What was asked and answered, oldest first.
    pub turns: Vec<Turn>,
    /// How far the model may look before it answers.
    pub looks: Looks,
}

/// How far a model may look before it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Looks {
    /// At what was found for the question; further where the settings say so.
    #[default]
    AsSet,
    /// At the documents, where the settings say so, and beyond: somebody is there who allows each call of another program.
    AsSetAttended,
    /// As the last one, whatever the settings say.
    FurtherAttended,
}

/// A model that is going to answer.
pub struct Reader {
    /// Its worker.
    pub running: Running,
    /// What it is.
    pub info: ModelInfo,
    /// How it is asked.
    pub style: Style,
}

/// What was found for a question.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// Passages, best first.
    pub hits: &'a [Hit],
    /// What was looked up beside them.
    pub notes: Notes<'a>,
}

/// What the model is given.
pub struct Layout {
    /// The prompt.
    pub messages: Vec<ChatMessage>,
    /// The sources in it: those chosen for this question first, then those of earlier ones.
    pub passages: Vec<Passage>,
    /// How many of them bear on this question; the rest were found for earlier ones.
    pub relevant: usize,
}

impl Reader {
    /// The chat model, loaded.
    ///
    /// # Errors
    /// When none is installed, or it cannot be loaded.
    pub async fn load(shared: &Shared) -> Result<Self, Failure> {
        let running = shared.models.chat().await?;
        let info = running.engine.info().await.map_err(failure::of_engine)?;
        let wanted = shared.settings.current().prompt_style;
        let style = Style::of(wanted, running.model.parameters);
        Ok(Self {
            running,
            info,
            style,
        })
    }

    /// Tokens that an answer may take.
    #[must_use]
    pub fn most_output(&self, shared: &Shared) -> u32 {
        let settings = shared.settings.current();
        settings
            .max_output_tokens
            .min(self.style.most_output_tokens())
            .min(self.info.context_len_tokens / 3)
    }

    /// Tokens that the prompt may take.
    fn room(&self, shared: &Shared) -> usize {
        let thought = match writing::thinking(shared.settings.current().thinking, &self.info) {
            Thinking::Off => 0,
            Thinking::UpTo(tokens) => tokens,
        };
        let said = self.most_output(shared) + thought;
        (self.info.context_len_tokens - said) as usize - MARGIN_TOKENS
    }

    async fn count(&self, messages: &[ChatMessage]) -> Result<usize, Failure> {
        let counted = self.running.engine.count_prompt_tokens(messages.to_vec());
        counted.await.map_err(failure::of_engine)
    }
}

/// Lays out a question with what was found for it, behind what was said before.
///
/// # Errors
/// When the question alone is longer than the model's window, or the index cannot be read.
pub async fn lay_out(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    reader: &Reader,
    before: &Before,
    found: Found<'_>,
    question: &str,
) -> Result<Layout, Failure> {
    let Found { hits, notes } = found;
    let room = reader.room(shared);
    let budget = shared
        .settings
        .current()
        .passage_budget_tokens
        .min(reader.style.most_passage_tokens())
        .min(room);
    let sections = sections(shared, hits).await?;
    let chunks_of = |hit: &Hit| sections.get(&hit.source).cloned().unwrap_or_default();
    if let Some(said) = earlier(shared, reader, before).await? {
        let new = prompt::choose(hits, &chunks_of, budget, &said.passages);
        let messages = prompt::go_on(&said.messages, &new, notes, question);
        if reader.count(&messages).await? <= room {
            return Ok(Layout::of(messages, new, said.passages, hits));
        }
        emitter
            .notice(
                "This chat has outgrown what the model sees at once: it goes on with the last two questions alone."
                    .to_owned(),
            )
            .await;
    }
    let passages = prompt::choose(hits, &chunks_of, budget, &[]);
    let history = conversation::history(&before.turns, HISTORY_TURNS);
    let (messages, passages) = fit(reader, &history, passages, notes, question, room).await?;
    Ok(Layout::of(messages, passages, Vec::new(), hits))
}

impl Layout {
    fn of(
        messages: Vec<ChatMessage>,
        mut passages: Vec<Passage>,
        read: Vec<Passage>,
        hits: &[Hit],
    ) -> Self {
        let (found_again, others): (Vec<_>, Vec<_>) = read
            .into_iter()
            .partition(|passage| hits.iter().any(|hit| passage.holds(hit)));
        passages.extend(found_again);
        let relevant = passages.len();
        passages.extend(others);
        Self {
            messages,
            passages,
            relevant,
        }
    }
}

/// What this model was given in this chat, where it can go on with that.
async fn earlier(
    shared: &Arc<Shared>,
    reader: &Reader,
    before: &Before,
) -> Result<Option<Said>, Failure> {
    // A model that is given the best passage alone is given no earlier turns, either.
    let (Style::Marked, Some((chat, head))) = (reader.style, before.place) else {
        return Ok(None);
    };
    let name = reader.running.reader(&reader.info);
    let held = shared.transcripts.of(chat);
    let transcript = match held.filter(|held| held.leads_to(&name, head)) {
        Some(held) => held,
        None => match warm::take_up(shared, &reader.running, &name, chat, head).await {
            Some(kept) => kept,
            None => return Ok(None),
        },
    };
    let is_current = transcript.said.is_current(shared).await?;
    Ok(is_current.then_some(transcript.said))
}

/// Refuses a question that is too long for the chat model before anything is searched.
///
/// A token is at least one byte, so a short question costs nothing here; without a chat model there is no bound.
///
/// # Errors
/// When it is too long, or the model cannot be loaded to count its tokens.
pub async fn require_room(shared: &Arc<Shared>, question: &str) -> Result<(), Failure> {
    let window = shared.settings.current().context_len_tokens;
    let may_be_too_long = question.len() > window.map_or(SHORT, |tokens| tokens as usize / 2);
    if may_be_too_long && shared.models.chosen(ModelKind::Chat)?.is_some() {
        let reader = Reader::load(shared).await?;
        fit(
            &reader,
            &[],
            Vec::new(),
            Notes::default(),
            question,
            reader.room(shared),
        )
        .await?;
    }
    Ok(())
}

/// Drops earlier turns, then passages but the best, then what other programs told, then the best one, until the prompt
/// really fits. The question is never cut.
async fn fit(
    reader: &Reader,
    history: &[(String, String)],
    mut passages: Vec<Passage>,
    mut notes: Notes<'_>,
    question: &str,
    room: usize,
) -> Result<(Vec<ChatMessage>, Vec<Passage>), Failure> {
    let mut history = history.to_vec();
    loop {
        let messages = prompt::messages(reader.style, &history, &passages, notes, question);
        let tokens = reader.count(&messages).await?;
        if tokens <= room {
            return Ok((messages, passages));
        }
        if !history.is_empty() {
            history.remove(0);
        } else if passages.len() > 1 {
            passages.pop();
        } else if let Some((_, told)) = notes.told.split_last() {
            notes.told = told;
        } else if passages.pop().is_none() {
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "the question takes {tokens} tokens, and the model {} has room for {room}",
                    model_host::display_name(&reader.running.model)
                ),
            )
            .with_hint("Ask a shorter question, raise `context_len_tokens` in config.toml, or import the long text as a document."));
        }
    }
}

/// The chunks of every document among the hits, so that hits can grow to their sections.
async fn sections(
    shared: &Arc<Shared>,
    hits: &[Hit],
) -> Result<HashMap<SourceId, Vec<StoredChunk>>, Failure> {
    let mut sections = HashMap::new();
    for hit in hits {
        if let Entry::Vacant(place) = sections.entry(hit.source) {
            let chunks = shared
                .index
                .chunks_of(hit.source)
                .await
                .map_err(Failure::from)?;
            place.insert(chunks);
        }
    }
    Ok(sections)
}
