//! From messages to tokens, with the border between template and content kept.
//!
//! Reads the vocabulary of a model, never its weights, and so works while the model computes. Control tokens count in
//! pieces of the template only; in contents the same characters are plain text. Start at [`Prompts::tokens`].

use std::sync::Arc;
use std::time::SystemTime;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::chat_template::{ChatTemplate, PromptPiece, SpecialTokens};
use crate::protocol::RequestError;
use crate::request::{ChatMessage, Thinking, ThinkingSupport};
use crate::thoughts::Manner;

/// Lays out and tokenises prompts for one chat model.
pub(crate) struct Prompts {
    model: Arc<LlamaModel>,
    template: Result<ChatTemplate, String>,
    context_len_tokens: usize,
}

impl Prompts {
    /// Takes the template from the model. A template that cannot be read is an error of each request, not of loading:
    /// the model can still count tokens.
    pub(crate) fn new(
        model: Arc<LlamaModel>,
        source: Option<&str>,
        context_len_tokens: usize,
    ) -> Self {
        let template = ChatTemplate::new(source, special_tokens(&model));
        Self {
            model,
            template,
            context_len_tokens,
        }
    }

    /// Stop texts that the template itself implies.
    pub(crate) fn implied_stop(&self) -> &[String] {
        self.template
            .as_ref()
            .map_or(&[], ChatTemplate::implied_stop)
    }

    /// The prompt of a conversation, in tokens, and how the model goes on from there.
    pub(crate) fn tokens(
        &self,
        messages: &[ChatMessage],
        thinking: Thinking,
    ) -> Result<(Vec<LlamaToken>, Manner), RequestError> {
        if messages.is_empty() {
            return Err(RequestError::NoMessages);
        }
        let template = self
            .template
            .as_ref()
            .map_err(|reason| RequestError::Template {
                reason: reason.clone(),
            })?;
        let pieces = template
            .render(messages, thinking != Thinking::Off, SystemTime::now())
            .map_err(|reason| RequestError::Template { reason })?;
        let vocab = self.model.vocab();
        let mut tokens = Vec::new();
        for piece in &pieces {
            match piece {
                PromptPiece::Template(text) => {
                    vocab.tokenize_into(text.as_bytes(), &mut tokens, false, true);
                }
                PromptPiece::Content(text) => {
                    vocab.tokenize_into(text.as_bytes(), &mut tokens, false, false);
                }
            }
        }
        // Most templates write it themselves.
        if vocab.should_add_bos() && tokens.first() != Some(&vocab.bos()) {
            tokens.insert(0, vocab.bos());
        }
        let ends_in_thought = matches!(
            pieces.last(),
            Some(PromptPiece::Template(text)) if text.trim_end().ends_with("<think>")
        );
        let manner = if knows(&self.model, "<|channel|>") {
            Manner::Channels
        } else if ends_in_thought {
            Manner::InThought
        } else {
            Manner::Tags
        };
        Ok((tokens, manner))
    }

    /// Like [`tokens`](Self::tokens), and refuses a prompt that leaves no room for a single token of an answer.
    pub(crate) fn fitting_tokens(
        &self,
        messages: &[ChatMessage],
        thinking: Thinking,
    ) -> Result<(Vec<LlamaToken>, Manner), RequestError> {
        let (tokens, manner) = self.tokens(messages, thinking)?;
        if tokens.len() >= self.context_len_tokens {
            return Err(RequestError::PromptTooLong {
                prompt_tokens: tokens.len(),
                context_len_tokens: self.context_len_tokens,
            });
        }
        Ok((tokens, manner))
    }
}

/// Whether the model thinks before it answers, as far as its template and vocabulary tell.
pub(crate) fn thinking_support(model: &LlamaModel, template: Option<&str>) -> ThinkingSupport {
    let template = template.unwrap_or_default();
    if asks_whether_to_think(template) {
        ThinkingSupport::OnRequest
    } else if template.contains("<think>") || knows(model, "<|channel|>") {
        ThinkingSupport::Always
    } else {
        ThinkingSupport::None
    }
}

/// Whether a template looks at one of the variables by which it is told to leave thinking away.
fn asks_whether_to_think(template: &str) -> bool {
    let asks = [
        "enable_thinking",
        "if thinking",
        "not thinking",
        "thinking is defined",
    ];
    asks.iter().any(|words| template.contains(words))
}

/// Whether a text is one token of the vocabulary.
fn knows(model: &LlamaModel, text: &str) -> bool {
    model.vocab().tokenize(text.as_bytes(), false, true).len() == 1
}

/// Counts the tokens of plain texts.
pub(crate) fn count_tokens(model: &LlamaModel, texts: &[String]) -> Vec<usize> {
    let vocab = model.vocab();
    texts
        .iter()
        .map(|text| vocab.tokenize(text.as_bytes(), false, false).len())
        .collect()
}

fn special_tokens(model: &LlamaModel) -> SpecialTokens {
    let vocab = model.vocab();
    let spelled = |token: LlamaToken| {
        // Models without such a token say -1.
        let text = (token.0 >= 0).then(|| vocab.text(token)).flatten();
        text.map(|text| text.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    SpecialTokens {
        begin_of_text: spelled(vocab.bos()),
        end_of_text: spelled(vocab.eos()),
        knows_chatml: knows(model, "<|im_start|>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_can_leave_thinking_away_are_known_by_their_question() {
        for asking in [
            "{% if enable_thinking is defined and not enable_thinking %}",
            "{%- if thinking %}Respond with your thoughts first.{%- endif %}",
            "{% if not thinking is defined %}{% set thinking = false %}{% endif %}",
        ] {
            assert!(asks_whether_to_think(asking), "{asking}");
        }
        for other in ["", "{{ message.thinking }}", "<think>{{ thinking_text }}"] {
            assert!(!asks_whether_to_think(other), "{other}");
        }
    }
}
