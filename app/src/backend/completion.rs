//! The models by themselves, for other programs: a conversation continued, texts embedded.
//!
//! Looks at no document and keeps nothing. Start at [`complete`] and [`embed`].

use std::sync::Arc;

use satchel_inference::{AnswerForm, ChatMessage, ChatRole, GenerateRequest, Sampling};

use super::jobs::Emitter;
use super::{Shared, failure, model_host, writing};
use crate::config::Settings;
use crate::message::{
    Completion, CompletionRequest, CompletionRole, EmbeddingReport, Failure, FailureKind,
};

/// Lets the chat model go on with a conversation.
///
/// # Errors
/// When no chat model is installed, the conversation is longer than its window, or the form of the answer cannot be
/// read.
pub async fn complete(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    request: CompletionRequest,
) -> Result<Completion, Failure> {
    let running = shared.models.chat().await?;
    let info = running.engine.info().await.map_err(failure::of_engine)?;
    let settings = shared.settings.current();
    let asked = GenerateRequest {
        sampling: sampling(&settings, &request),
        // No bound of its own: the window is one.
        max_output_tokens: request.max_output_tokens.unwrap_or(info.context_len_tokens),
        thinking: writing::thinking(request.thinking, &info),
        form: request
            .json_schema
            .map_or(AnswerForm::Free, AnswerForm::Json),
        stop: request.stop,
        messages: request.messages.into_iter().map(message).collect(),
    };
    let written = writing::write(&running.engine, emitter, asked).await?;
    let usage = written.usage;
    Ok(Completion {
        text: written.text,
        ended: written.ended.to_owned(),
        model: model_host::display_name(&running.model),
        prompt_tokens: usage.map_or(0, |usage| usage.prompt_tokens),
        cached_tokens: usage.map_or(0, |usage| usage.cached_tokens),
        output_tokens: usage.map_or(0, |usage| usage.output_tokens + usage.thought_tokens),
    })
}

/// Embeds texts with the embedder in use, as they are: what it wants before questions and passages, the caller knows.
///
/// # Errors
/// When none is installed, or its worker fails.
pub async fn embed(shared: &Arc<Shared>, texts: Vec<String>) -> Result<EmbeddingReport, Failure> {
    let Some(embedder) = shared.models.embedder(&shared.index).await? else {
        return Err(
            Failure::new(FailureKind::NotFound, "no embedder is installed")
                .with_hint("`satchel models catalog embedder` lists some that can be downloaded."),
        );
    };
    let embeddings = embedder
        .engine
        .embed(texts)
        .await
        .map_err(failure::of_engine)?;
    Ok(EmbeddingReport {
        model: model_host::display_name(&embedder.model),
        vectors: embeddings.vectors,
        tokens: embeddings.tokens,
    })
}

fn message(message: crate::message::CompletionMessage) -> ChatMessage {
    let role = match message.role {
        CompletionRole::System => ChatRole::System,
        CompletionRole::User => ChatRole::User,
        CompletionRole::Assistant => ChatRole::Assistant,
    };
    ChatMessage::new(role, message.content)
}

/// What the request says, then what the settings say.
fn sampling(settings: &Settings, request: &CompletionRequest) -> Sampling {
    let usual = writing::sampling(settings, Sampling::default().repeat_penalty);
    Sampling {
        temperature: request.temperature.unwrap_or(usual.temperature),
        top_k: request.top_k.map_or(usual.top_k, u32::cast_signed),
        top_p: request.top_p.unwrap_or(usual.top_p),
        min_p: request.min_p.unwrap_or(usual.min_p),
        repeat_penalty: request.repeat_penalty.unwrap_or(usual.repeat_penalty),
        seed: request.seed.or(usual.seed),
        ..usual
    }
}
