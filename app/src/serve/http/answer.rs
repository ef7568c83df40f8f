//! How an answer ended, in the words of OpenAI's format and with what Satchel adds to it.
//!
//! What is added stands in an object `satchel` and in `citations`, which other clients pass over. Start at [`End`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::error::ApiError;
use crate::message::{AnswerReport, Citation, Completion, Reply};
use crate::serve;

/// What all pieces of one answer carry.
#[derive(Debug)]
pub(super) struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    #[must_use]
    pub(super) fn new(model: String) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // Told apart within a process by the number, between processes by the time.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            id: format!("chatcmpl-{:x}{number:04x}", now.as_micros()),
            created: now.as_secs(),
            model,
        }
    }

    /// The answer as one object.
    #[must_use]
    pub(super) fn whole(&self, end: End, thoughts: &str) -> Value {
        let mut message = json!({
            "role": "assistant",
            "content": end.text,
            "refusal": null,
        });
        if !thoughts.is_empty() {
            message["reasoning_content"] = thoughts.into();
        }
        if let Some(citations) = end.citations {
            message["citations"] = citations;
        }
        let choice = json!({
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": end.finish_reason,
        });
        let mut whole = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "usage": end.usage,
        });
        if let Some(satchel) = end.satchel {
            whole["satchel"] = satchel;
        }
        whole
    }

    /// A piece of a stream.
    #[must_use]
    pub(super) fn piece(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({
            "index": 0,
            "delta": delta,
            "logprobs": null,
            "finish_reason": finish_reason,
        });
        self.chunk(json!([choice]))
    }

    /// The piece of a stream that carries no choice.
    #[must_use]
    pub(super) fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

/// How an answer ended.
#[derive(Debug)]
pub(super) struct End {
    /// The whole answer.
    pub(super) text: String,
    /// `stop` or `length`.
    pub(super) finish_reason: &'static str,
    /// Tokens, by OpenAI's names.
    pub(super) usage: Value,
    /// The passages that the answer is based on, where it is one from the documents.
    pub(super) citations: Option<Value>,
    /// What Satchel adds.
    pub(super) satchel: Option<Value>,
}

impl End {
    /// # Errors
    /// When the reply is none of an answer.
    pub(super) fn of(reply: Reply, notices: Vec<String>) -> Result<Self, ApiError> {
        match reply {
            Reply::Answered(report) => Ok(Self::from_documents(report, &notices)),
            Reply::Completed(completion) => Ok(Self::plain(completion, &notices)),
            _ => Err(serve::mismatch().into()),
        }
    }

    fn from_documents(report: AnswerReport, notices: &[String]) -> Self {
        let citations: Value = report.citations.iter().map(citation).collect();
        let cost = report.usage.unwrap_or_default();
        Self {
            finish_reason: finish_reason(&report.ended),
            usage: usage(cost.prompt_tokens, cost.cached_tokens, cost.output_tokens),
            satchel: Some(json!({
                "refused": report.refused,
                "citations": citations,
                "unsupported": report.unsupported,
                "coverage": report.coverage.line(),
                "searched_for": report.searched_for,
                "model": report.model,
                "notices": notices,
            })),
            citations: Some(citations),
            text: report.answer,
        }
    }

    fn plain(completion: Completion, notices: &[String]) -> Self {
        Self {
            finish_reason: finish_reason(&completion.ended),
            usage: usage(
                completion.prompt_tokens,
                completion.cached_tokens,
                completion.output_tokens,
            ),
            citations: None,
            satchel: (!notices.is_empty()).then(|| json!({ "notices": notices })),
            text: completion.text,
        }
    }
}

fn finish_reason(ended: &str) -> &'static str {
    if ended == "length" { "length" } else { "stop" }
}

fn usage(prompt: usize, cached: usize, output: usize) -> Value {
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": { "cached_tokens": cached },
    })
}

fn citation(citation: &Citation) -> Value {
    json!({
        "mark": citation.mark,
        "title": citation.title,
        "path": citation.path,
        "page": citation.page,
        "heading_path": citation.heading_path,
        "quote": citation.quote,
        "reference": citation.reference(),
        "origin": citation.origin,
    })
}
