//! Lets a model write, and passes on what it says.
//!
//! Start at [`write`]; [`write_quietly`] is for what only the program reads.

use satchel_inference::{
    EngineError, EngineHandle, GenerateRequest, ModelInfo, Sampling, StopReason, StreamEvent,
    Thinking, ThinkingSupport, TokenUsage,
};

use super::failure;
use super::jobs::Emitter;
use crate::config::Settings;
use crate::message::{Event, Failure, Progress, Stage};

/// Tokens that a model may think for before it is made to answer: at ten tokens a second, what a laptop without a GPU
/// writes with a model of four billion weights, a minute and a half.
const MOST_THOUGHT_TOKENS: u32 = 1024;

/// A model's words with how they ended.
pub(super) struct Written {
    pub(super) text: String,
    /// `end`, `stop_word`, `length`, `stopped`.
    pub(super) ended: &'static str,
    /// `None` where it was stopped.
    pub(super) usage: Option<TokenUsage>,
}

/// How long a model may think before it answers: not at all where it has no thoughts, or is told to leave them.
pub(super) fn thinking(is_wanted: bool, info: &ModelInfo) -> Thinking {
    match info.thinking {
        ThinkingSupport::None => Thinking::Off,
        ThinkingSupport::OnRequest if !is_wanted => Thinking::Off,
        ThinkingSupport::OnRequest | ThinkingSupport::Always => {
            Thinking::UpTo(MOST_THOUGHT_TOKENS.min(info.context_len_tokens / 4))
        }
    }
}

/// How tokens are chosen, as the settings have it; `repeat_penalty` where they leave that open.
pub(super) fn sampling(settings: &Settings, repeat_penalty: f32) -> Sampling {
    let usual = Sampling::default();
    Sampling {
        temperature: settings.temperature,
        top_k: settings.top_k.map_or(usual.top_k, u32::cast_signed),
        top_p: settings.top_p.unwrap_or(usual.top_p),
        min_p: settings.min_p.unwrap_or(usual.min_p),
        repeat_penalty: settings.repeat_penalty.unwrap_or(repeat_penalty),
        seed: settings.seed,
        ..usual
    }
}

/// Writes an answer; pieces of it go to the emitter as they come.
pub(super) async fn write(
    engine: &EngineHandle,
    emitter: &Emitter,
    request: GenerateRequest,
) -> Result<Written, Failure> {
    // What cannot be told not to think may do so for as long as it may answer.
    let most_thoughts = match request.thinking {
        Thinking::Off => request.max_output_tokens,
        Thinking::UpTo(tokens) => tokens,
    };
    let (most_thoughts, mut thoughts) = (u64::from(most_thoughts), 0);
    let mut stream = engine.generate(request).await.map_err(failure::of_engine)?;
    let mut text = String::new();
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            // Dropping the stream stops the model; what it has said is kept.
            () = emitter.cancelled() => return Ok(Written { text, ended: "stopped", usage: None }),
        };
        match event {
            Some(Ok(StreamEvent::Prompt {
                done_tokens,
                total_tokens,
                ..
            })) => emitter.progress(Progress {
                stage: Stage::Prompt,
                done: done_tokens as u64,
                total: total_tokens as u64,
                eta_ms: None,
            }),
            Some(Ok(StreamEvent::Thought(piece))) => {
                thoughts += 1;
                emitter.progress(Progress {
                    stage: Stage::Thinking,
                    done: thoughts,
                    total: most_thoughts,
                    eta_ms: None,
                });
                emitter.send(Event::Thought(piece)).await;
            }
            Some(Ok(StreamEvent::Text(piece))) => {
                text += &piece;
                emitter.send(Event::Answer(piece)).await;
            }
            Some(Ok(StreamEvent::Finished { reason, usage })) => {
                return Ok(Written {
                    text,
                    ended: words_of(reason),
                    usage: Some(usage),
                });
            }
            Some(Err(error)) => return Err(failure::of_engine(error)),
            None => return Err(failure::of_engine(EngineError::Unloaded)),
        }
    }
}

/// Lets a model write what nobody reads along; `None` where it was stopped.
pub(super) async fn write_quietly(
    engine: &EngineHandle,
    emitter: &Emitter,
    request: GenerateRequest,
) -> Result<Option<String>, EngineError> {
    let mut stream = engine.generate(request).await?;
    let mut text = String::new();
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = emitter.cancelled() => return Ok(None),
        };
        match event {
            Some(Ok(StreamEvent::Text(piece))) => text += &piece,
            Some(Ok(StreamEvent::Finished { .. })) => return Ok(Some(text)),
            Some(Ok(StreamEvent::Prompt { .. } | StreamEvent::Thought(_))) => {}
            Some(Err(error)) => return Err(error),
            None => return Err(EngineError::Unloaded),
        }
    }
}

fn words_of(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextFull => "length",
        StopReason::Cancelled => "stopped",
        StopReason::StopWord => "stop_word",
        StopReason::EndOfAnswer => "end",
    }
}
