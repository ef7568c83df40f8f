//! Reads a prompt and writes an answer, token by token.
//!
//! Keeps what was read: a follow-up question shares its beginning with the one before, and only what differs is read
//! again. A request stops within one token while writing and within [`PROMPT_CHUNK_TOKENS`] while reading; whatever
//! happens, the tokens in the context and the list of them stay equal. Start at [`Generator::run`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;

use crate::protocol::RequestError;
use crate::request::{Sampling, StopReason, StreamEvent, TokenUsage};
use crate::text_stream::{AnswerText, Pushed};

/// Tokens of a prompt that are read at once, and so the longest wait until a cancelled request stops reading.
pub const PROMPT_CHUNK_TOKENS: usize = 128;

/// A chat model with its context.
pub(crate) struct Generator<'m> {
    model: &'m LlamaModel,
    context: LlamaContext<'m>,
    context_len_tokens: usize,
    /// The tokens in the context, in order.
    known: Vec<LlamaToken>,
    batch: LlamaBatch<'static>,
}

/// An answer to be written.
pub(crate) struct Task<'a> {
    pub(crate) prompt: &'a [LlamaToken],
    pub(crate) sampling: Sampling,
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
}

impl<'m> Generator<'m> {
    /// Takes a fresh context of `context_len_tokens`.
    pub(crate) fn new(
        model: &'m LlamaModel,
        context: LlamaContext<'m>,
        context_len_tokens: usize,
    ) -> Self {
        let batch = LlamaBatch::new(PROMPT_CHUNK_TOKENS, 1);
        Self {
            model,
            context,
            context_len_tokens,
            known: Vec::new(),
            batch,
        }
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
            }
        };
        emit(StreamEvent::Finished {
            reason: written.reason,
            usage: TokenUsage {
                prompt_tokens: task.prompt.len(),
                cached_tokens,
                output_tokens: written.tokens,
                prompt_ms,
                output_ms: milliseconds_since(begin),
            },
        });
        Ok(())
    }

    /// Removes from the context what differs from the prompt. Returns how many tokens stay.
    ///
    /// The last token of the prompt is always read again: its result is where the answer begins.
    fn keep_common_beginning(&mut self, prompt: &[LlamaToken]) -> usize {
        let same = self
            .known
            .iter()
            .zip(prompt)
            .take_while(|(known, wanted)| known == wanted)
            .count();
        let keep = same.min(prompt.len() - 1);
        if keep == self.known.len() {
            return keep;
        }
        let position = u32::try_from(keep).unwrap_or(0);
        // Models with a running state instead of a list of tokens can only forget everything.
        if keep > 0
            && matches!(
                self.context
                    .clear_kv_cache_seq(Some(0), Some(position), None),
                Ok(true)
            )
        {
            self.known.truncate(keep);
            return keep;
        }
        self.forget();
        0
    }

    fn forget(&mut self) {
        self.context.clear_kv_cache();
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
        for chunk in task.prompt[cached_tokens..].chunks(PROMPT_CHUNK_TOKENS) {
            if task.is_cancelled() {
                return Ok(false);
            }
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
        let mut sampler = sampler(
            &task.sampling,
            self.model.n_vocab(),
            self.context_len_tokens,
        );
        let mut text = AnswerText::new(task.stop);
        let mut tokens = 0;
        let reason = loop {
            if task.is_cancelled() {
                break StopReason::Cancelled;
            }
            if tokens == task.max_output_tokens {
                break StopReason::MaxTokens;
            }
            let token = sampler.sample(&self.context, -1);
            if self.model.vocab().is_eog(token) {
                break StopReason::EndOfAnswer;
            }
            tokens += 1;
            match text.push(&self.model.vocab().token_to_piece(token, false, None)) {
                Pushed::Text(text) => emit_text(text, emit),
                Pushed::Stopped(text) => {
                    emit_text(text, emit);
                    return Ok(Written {
                        reason: StopReason::StopWord,
                        tokens,
                    });
                }
            }
            if self.known.len() == self.context_len_tokens {
                break StopReason::ContextFull;
            }
            // The last token allowed need not be understood.
            if tokens < task.max_output_tokens {
                self.compute(&[token], true)?;
            }
        };
        emit_text(text.finish(), emit);
        Ok(Written { reason, tokens })
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
        self.context
            .decode(&mut self.batch)
            .map_err(compute_error)?;
        self.known.extend_from_slice(tokens);
        Ok(())
    }
}

/// The steps by which a token is chosen, in the order that [`Sampling`] documents.
fn sampler(sampling: &Sampling, n_vocab: i32, context_len_tokens: usize) -> LlamaSampler {
    let mut steps = Vec::new();
    let look_back = match sampling.repeat_last_n {
        ..0 => i32::try_from(context_len_tokens).unwrap_or(i32::MAX),
        tokens => tokens,
    };
    let penalty = sampling.repeat_penalty;
    if look_back > 0 && penalty.is_finite() && penalty > 0.0 && penalty != 1.0 {
        steps.push(LlamaSampler::penalties(
            n_vocab, look_back, penalty, 0.0, 0.0,
        ));
    }
    if sampling.temperature.is_nan() || sampling.temperature <= 0.0 {
        steps.push(LlamaSampler::greedy());
        return LlamaSampler::chain(steps, true);
    }
    if sampling.top_k > 0 {
        steps.push(LlamaSampler::top_k(sampling.top_k));
    }
    if sampling.top_p < 1.0 {
        steps.push(LlamaSampler::top_p(sampling.top_p.max(0.0), MIN_KEEP));
    }
    if sampling.min_p > 0.0 {
        steps.push(LlamaSampler::min_p(sampling.min_p.min(1.0), MIN_KEEP));
    }
    steps.push(LlamaSampler::temp(sampling.temperature));
    steps.push(LlamaSampler::dist(sampling.seed.unwrap_or(RANDOM_SEED)));
    LlamaSampler::chain(steps, true)
}

fn emit_text(text: String, emit: &mut dyn FnMut(StreamEvent)) {
    if !text.is_empty() {
        emit(StreamEvent::Text(text));
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

/// However sharp the settings, one token is always left to choose.
const MIN_KEEP: usize = 1;
/// llama.cpp's word for "another seed each time".
const RANDOM_SEED: u32 = u32::MAX;
