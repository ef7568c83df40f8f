//! Reads a prompt and writes an answer, token by token.
//!
//! Keeps what was read: a follow-up question shares its beginning with the one before, and only what differs is read
//! again. A request stops within one token while writing and within one chunk while reading (see [`chunk`](crate::chunk));
//! whatever happens, the tokens in the context and the list of them stay equal. The number of threads follows what other
//! programs leave free (see [`threads`](crate::threads)). Start at [`Generator::run`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::engine;
use crate::error::LoadError;
use crate::frame::PIECE_BYTES;
use crate::protocol::RequestError;
use crate::request::{Sampling, StopReason, StreamEvent, TokenUsage};
use crate::sampler::Sampler;
use crate::shelf::{Place, Shelf, common};
use crate::snapshot::Snapshot;
use crate::text_stream::{AnswerText, Pushed};
use crate::thoughts::{MARKS, Manner, Said, Thoughts};
use crate::threads::OtherWork;

/// A chat model with its context.
pub(crate) struct Generator<'m> {
    model: &'m LlamaModel,
    maker: ContextMaker<'m>,
    /// `None` only after a context could not be made.
    context: Option<LlamaContext<'m>>,
    context_len_tokens: usize,
    /// The tokens in the context, in order.
    known: Vec<LlamaToken>,
    batch: LlamaBatch<'static>,
    /// Tokens that mark thoughts; others without text of their own are not shown.
    marks: Vec<LlamaToken>,
    /// Tokens that are read at once.
    chunk_tokens: usize,
    /// Threads that may compute, and those that do.
    most_threads: u32,
    threads: u32,
    /// `None` where the processor does not compute, or its share cannot be changed.
    others: Option<OtherWork>,
    /// Conversations that another one took the place of.
    shelf: Shelf,
}

/// Makes a context that computes with so many threads.
pub(crate) type ContextMaker<'m> = Box<dyn Fn(u32) -> Result<LlamaContext<'m>, LoadError> + 'm>;

/// An answer to be written.
pub(crate) struct Task<'a> {
    pub(crate) prompt: &'a [LlamaToken],
    pub(crate) manner: Manner,
    pub(crate) most_thought_tokens: usize,
    pub(crate) sampling: Sampling,
    pub(crate) grammar: Option<&'a str>,
    pub(crate) max_output_tokens: usize,
    pub(crate) stop: &'a [String],
    pub(crate) cancelled: &'a AtomicBool,
}

impl Task<'_> {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// What writing came to.
struct Written {
    reason: StopReason,
    tokens: usize,
    thought_tokens: usize,
}

impl<'m> Generator<'m> {
    /// Makes the context of `context_len_tokens` by `maker`.
    pub(crate) fn new(
        model: &'m LlamaModel,
        maker: ContextMaker<'m>,
        context_len_tokens: usize,
        chunk_tokens: usize,
        most_threads: u32,
        gpu: bool,
    ) -> Result<Self, LoadError> {
        let context = Some(maker(most_threads)?);
        Ok(Self {
            model,
            maker,
            context,
            context_len_tokens,
            known: Vec::new(),
            batch: LlamaBatch::new(chunk_tokens, 1),
            marks: marks(model),
            chunk_tokens,
            most_threads,
            threads: most_threads,
            others: (!gpu).then(OtherWork::default),
            shelf: Shelf::new(shelf_bytes()),
        })
    }

    /// Does a task. Events go to `emit` as they come, the last one is [`StreamEvent::Finished`].
    pub(crate) fn run(
        &mut self,
        task: &Task<'_>,
        emit: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), RequestError> {
        if task.prompt.is_empty() {
            return Err(RequestError::NoMessages);
        }
        if task.prompt.len() >= self.context_len_tokens {
            return Err(RequestError::PromptTooLong {
                prompt_tokens: task.prompt.len(),
                context_len_tokens: self.context_len_tokens,
            });
        }
        if self.context.is_none() {
            self.known.clear();
            self.context = Some((self.maker)(self.threads).map_err(compute_error)?);
        }
        let result = self.read_and_write(task, emit);
        if result.is_err() {
            // What a failed computation left behind is unknown.
            self.forget();
        }
        result
    }

    fn read_and_write(
        &mut self,
        task: &Task<'_>,
        emit: &mut dyn FnMut(StreamEvent),
    ) -> Result<(), RequestError> {
        let begin = Instant::now();
        self.change_conversation(task.prompt)?;
        let cached_tokens = self.keep_common_beginning(task.prompt);
        let is_read = self.read(task, cached_tokens, emit)?;
        let prompt_ms = milliseconds_since(begin);

        let begin = Instant::now();
        let written = if is_read {
            self.write(task, emit)?
        } else {
            Written {
                reason: StopReason::Cancelled,
                tokens: 0,
                thought_tokens: 0,
            }
        };
        emit(StreamEvent::Finished {
            reason: written.reason,
            usage: TokenUsage {
                prompt_tokens: task.prompt.len(),
                cached_tokens,
                output_tokens: written.tokens,
                thought_tokens: written.thought_tokens,
                prompt_ms,
                output_ms: milliseconds_since(begin),
            },
        });
        Ok(())
    }

    /// Puts the conversation in the context aside where much of it would be forgotten for this prompt, and goes back to
    /// an earlier one where that knows more of the prompt.
    fn change_conversation(&mut self, prompt: &[LlamaToken]) -> Result<(), RequestError> {
        let here = common(&self.known, prompt);
        let earlier = self.shelf.best(prompt, here + WORTH_A_COPY);
        if self.known.len() - here >= WORTH_A_COPY {
            self.put_aside()?;
        }
        let Some(earlier) = earlier else {
            return Ok(());
        };
        self.forget();
        let context = self.context.as_mut().ok_or_else(no_context)?;
        if earlier.state.put_into(context) {
            self.known = earlier.tokens;
        } else {
            // What it left behind is unknown.
            self.forget();
        }
        Ok(())
    }

    fn put_aside(&mut self) -> Result<(), RequestError> {
        let context = self.context()?;
        if !self.shelf.takes(Snapshot::size_bytes(context)) {
            return Ok(());
        }
        // Without a copy it is read again, should it go on.
        if let Some(state) = Snapshot::take(context) {
            let tokens = self.known.clone();
            self.shelf.put(Place { tokens, state });
        }
        Ok(())
    }

    /// Gives what is known of a conversation, to be kept: its tokens, and pieces of the rest. Nothing where little is
    /// known of it, or more than is worth keeping. Afterwards the context holds this conversation and no word more.
    pub(crate) fn put_away(
        &mut self,
        conversation: &[LlamaToken],
        piece: &mut dyn FnMut(&[u8]),
    ) -> Result<&[LlamaToken], RequestError> {
        if conversation.is_empty() || self.context.is_none() {
            return Ok(&[]);
        }
        self.change_conversation(conversation)?;
        if self.keep_common_beginning(conversation) < WORTH_A_COPY {
            return Ok(&[]);
        }
        let context = self.context()?;
        let is_small = Snapshot::size_bytes(context) <= MAX_SHELF_BYTES;
        match is_small.then(|| Snapshot::take(context)).flatten() {
            Some(state) => {
                state.bytes().chunks(PIECE_BYTES).for_each(piece);
                Ok(&self.known)
            }
            None => Ok(&[]),
        }
    }

    /// Lays a conversation that was kept onto the shelf, where the next prompt that begins like it finds it. False where
    /// it has no room.
    pub(crate) fn take_up(&mut self, tokens: Vec<LlamaToken>, bytes: Vec<u8>) -> bool {
        let fits = tokens.len() <= self.context_len_tokens && self.shelf.takes(bytes.len());
        if fits {
            let state = Snapshot::kept(bytes);
            self.shelf.put(Place { tokens, state });
        }
        fits
    }

    /// Removes from the context what differs from the prompt. Returns how many tokens stay.
    ///
    /// The last token of the prompt is always read again: its result is where the answer begins.
    fn keep_common_beginning(&mut self, prompt: &[LlamaToken]) -> usize {
        let keep = common(&self.known, prompt).min(prompt.len() - 1);
        if keep == self.known.len() {
            return keep;
        }
        let position = u32::try_from(keep).unwrap_or(0);
        // Models with a running state instead of a list of tokens can only forget everything.
        let forgotten = self
            .context
            .as_mut()
            .map(|context| context.clear_kv_cache_seq(Some(0), Some(position), None));
        if keep > 0 && matches!(forgotten, Some(Ok(true))) {
            self.known.truncate(keep);
            return keep;
        }
        self.forget();
        0
    }

    fn forget(&mut self) {
        if let Some(context) = &mut self.context {
            context.clear_kv_cache();
        }
        self.known.clear();
    }

    /// Reads the rest of the prompt. False when it was cancelled on the way.
    fn read(
        &mut self,
        task: &Task<'_>,
        cached_tokens: usize,
        emit: &mut dyn FnMut(StreamEvent),
    ) -> Result<bool, RequestError> {
        let total_tokens = task.prompt.len();
        emit(StreamEvent::Prompt {
            done_tokens: cached_tokens,
            total_tokens,
            cached_tokens,
        });
        for chunk in task.prompt[cached_tokens..].chunks(self.chunk_tokens) {
            if task.is_cancelled() {
                return Ok(false);
            }
            self.follow_others()?;
            let is_last = self.known.len() + chunk.len() == total_tokens;
            self.compute(chunk, is_last)?;
            emit(StreamEvent::Prompt {
                done_tokens: self.known.len(),
                total_tokens,
                cached_tokens,
            });
        }
        Ok(true)
    }

    fn write(
        &mut self,
        task: &Task<'_>,
        emit: &mut dyn FnMut(StreamEvent),
    ) -> Result<Written, RequestError> {
        let mut sampler = Sampler::new(
            &task.sampling,
            task.grammar,
            self.model,
            self.context_len_tokens,
        )?;
        let mut speech = Speech {
            thoughts: Thoughts::new(task.manner),
            thought: AnswerText::new(&[]),
            answer: AnswerText::new(task.stop),
        };
        let (mut tokens, mut thought_tokens) = (0, 0);
        let reason = loop {
            if task.is_cancelled() {
                break StopReason::Cancelled;
            }
            if tokens == task.max_output_tokens {
                break StopReason::MaxTokens;
            }
            let was_thinking = speech.thoughts.is_thinking();
            let has_thought_enough = was_thinking && thought_tokens >= task.most_thought_tokens;
            let token = sampler.next(self.context()?, was_thinking)?;
            let is_end = self.model.vocab().is_eog(token);
            if was_thinking && (has_thought_enough || is_end) {
                // It is made to answer, also where it would have ended in the middle of its thought.
                let words = speech.cut_short(emit);
                let words = self.model.vocab().tokenize(words.as_bytes(), false, true);
                if self.known.len() + words.len() >= self.context_len_tokens {
                    break StopReason::ContextFull;
                }
                self.compute(&words, true)?;
                continue;
            }
            if is_end {
                break StopReason::EndOfAnswer;
            }
            let is_mark = self.marks.contains(&token);
            let piece = self.model.vocab().token_to_piece(token, is_mark, None);
            let is_stopped = speech.push(&piece, emit);
            if was_thinking || speech.thoughts.is_thinking() {
                thought_tokens += 1;
            } else {
                tokens += 1;
            }
            if is_stopped {
                return Ok(Written {
                    reason: StopReason::StopWord,
                    tokens,
                    thought_tokens,
                });
            }
            if self.known.len() == self.context_len_tokens {
                break StopReason::ContextFull;
            }
            // The last token allowed need not be understood.
            if tokens < task.max_output_tokens {
                self.follow_others()?;
                self.compute(&[token], true)?;
            }
        };
        speech.finish(emit);
        Ok(Written {
            reason,
            tokens,
            thought_tokens,
        })
    }

    /// Lets the model read tokens at the end of the context.
    fn compute(&mut self, tokens: &[LlamaToken], wants_result: bool) -> Result<(), RequestError> {
        self.batch.clear();
        let last = tokens.len() - 1;
        for (index, &token) in tokens.iter().enumerate() {
            let position = i32::try_from(self.known.len() + index).map_err(compute_error)?;
            self.batch
                .add(token, position, &[0], wants_result && index == last)
                .map_err(compute_error)?;
        }
        let Some(context) = &mut self.context else {
            return Err(no_context());
        };
        context.decode(&mut self.batch).map_err(compute_error)?;
        self.known.extend_from_slice(tokens);
        Ok(())
    }

    fn context(&self) -> Result<&LlamaContext<'m>, RequestError> {
        self.context.as_ref().ok_or_else(no_context)
    }

    /// Computes with fewer threads while others need the cores, and with all of them again when they are free.
    fn follow_others(&mut self) -> Result<(), RequestError> {
        let Some(others) = &mut self.others else {
            return Ok(());
        };
        let threads = others.threads_beside_them(self.threads, self.most_threads);
        if threads == self.threads {
            return Ok(());
        }
        if !self.change_threads(threads)? {
            self.others = None;
        }
        Ok(())
    }

    /// Moves what is known into a context with another number of threads, which llama.cpp's wrapper fixes when a context
    /// is made. False where that is not worth it.
    fn change_threads(&mut self, threads: u32) -> Result<bool, RequestError> {
        let context = self.context()?;
        if Snapshot::size_bytes(context) > MAX_MOVED_BYTES {
            return Ok(false);
        }
        let Some(state) = Snapshot::take(context) else {
            return Ok(false);
        };
        // The old one first: both together may not fit into memory.
        self.context = None;
        let mut context = (self.maker)(threads).map_err(compute_error)?;
        let is_moved = state.put_into(&mut context);
        self.context = Some(context);
        self.threads = threads;
        if !is_moved {
            self.read_again()?;
        }
        Ok(true)
    }

    /// Reads everything known once more, into an empty context.
    fn read_again(&mut self) -> Result<(), RequestError> {
        let known = std::mem::take(&mut self.known);
        self.forget();
        known
            .chunks(self.chunk_tokens)
            .try_for_each(|chunk| self.compute(chunk, false))
    }
}

/// What a model says, sorted and in whole characters.
struct Speech {
    thoughts: Thoughts,
    thought: AnswerText,
    answer: AnswerText,
}

impl Speech {
    /// Adds the bytes of one token; says whether a stop text came.
    fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(StreamEvent)) -> bool {
        let said = self.thoughts.push(bytes);
        self.say(said, emit)
    }

    fn say(
        &mut self,
        said: impl IntoIterator<Item = Said>,
        emit: &mut dyn FnMut(StreamEvent),
    ) -> bool {
        for said in said {
            match said {
                Said::Thought(bytes) => match self.thought.push(&bytes) {
                    Pushed::Text(text) | Pushed::Stopped(text) => {
                        emit_some(text, StreamEvent::Thought, emit);
                    }
                },
                Said::Answer(bytes) => match self.answer.push(&bytes) {
                    Pushed::Text(text) => emit_some(text, StreamEvent::Text, emit),
                    Pushed::Stopped(text) => {
                        emit_some(text, StreamEvent::Text, emit);
                        return true;
                    }
                },
            }
        }
        false
    }

    /// Ends the thought; gives what the model is made to have said.
    fn cut_short(&mut self, emit: &mut dyn FnMut(StreamEvent)) -> &'static str {
        let (words, rest) = self.thoughts.cut_short();
        self.say(rest, emit);
        words
    }

    /// What was held back is what it seemed to be.
    fn finish(mut self, emit: &mut dyn FnMut(StreamEvent)) {
        let rest = self.thoughts.finish();
        if !self.say(rest, emit) {
            emit_some(self.thought.finish(), StreamEvent::Thought, emit);
            emit_some(self.answer.finish(), StreamEvent::Text, emit);
        }
    }
}

/// The marks of thoughts that are single tokens. `<|end|>` and the like mean that only where there are channels.
fn marks(model: &LlamaModel) -> Vec<LlamaToken> {
    let one = |text: &str| match model.vocab().tokenize(text.as_bytes(), false, true)[..] {
        [token] => Some(token),
        _ => None,
    };
    let has_channels = one("<|channel|>").is_some();
    MARKS
        .iter()
        .filter(|mark| has_channels || !mark.starts_with("<|"))
        .filter_map(|mark| one(mark))
        .collect()
}

fn emit_some(text: String, kind: fn(String) -> StreamEvent, emit: &mut dyn FnMut(StreamEvent)) {
    if !text.is_empty() {
        emit(kind(text));
    }
}

fn compute_error(error: impl std::fmt::Display) -> RequestError {
    RequestError::Compute {
        reason: error.to_string(),
    }
}

fn milliseconds_since(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}

fn no_context() -> RequestError {
    RequestError::Compute {
        reason: "memory ran out for its context".into(),
    }
}

/// How much of the memory that is free conversations put aside may take.
fn shelf_bytes() -> usize {
    let free = engine::available_memory_bytes().unwrap_or(0) / FREE_SHARE_OF_SHELF;
    usize::try_from(free)
        .unwrap_or(MAX_SHELF_BYTES)
        .min(MAX_SHELF_BYTES)
}

/// Tokens that are read again rather than copied: about as many as are read in the time that nobody minds.
const WORTH_A_COPY: usize = 128;
/// Room for a conversation of 3,600 tokens with a model of four billion weights (144 KiB each token).
const MAX_SHELF_BYTES: usize = 512 << 20;
const FREE_SHARE_OF_SHELF: u64 = 16;
/// What is known is moved to another context at about 5 GB/s, so this takes a tenth of a second; a larger one stays.
const MAX_MOVED_BYTES: usize = 512 * 1024 * 1024;
