//! An engine for tests: no process, no model, the same answer every time.
//!
//! A token is a word. Texts that share words get similar vectors, so that searching finds what it should, and an answer
//! is made of the conversation by a function, by default an echo of the last message. Only behind feature
//! `test-support`. Start at [`EngineHandle::fake`](crate::EngineHandle::fake).

use crate::error::EngineError;
use crate::handle::TokenStream;
use crate::request::{
    ChatMessage, Embeddings, GenerateRequest, ModelInfo, StopReason, StreamEvent, TokenUsage,
};
use crate::text_stream::{AnswerText, Pushed};

/// A deterministic engine.
pub struct FakeEngine {
    answer: AnswerFn,
    context_len_tokens: usize,
}

/// Makes an answer out of a conversation.
type AnswerFn = Box<dyn Fn(&[ChatMessage]) -> String + Send + Sync>;

impl Default for FakeEngine {
    /// Echoes the last message, with a context of 4,096 words.
    fn default() -> Self {
        Self::answering(|messages| {
            let last = messages
                .last()
                .map_or("", |message| message.content.as_str());
            format!("You said: {last}")
        })
    }
}

impl FakeEngine {
    /// Answers by a function of the conversation.
    #[must_use]
    pub fn answering(answer: impl Fn(&[ChatMessage]) -> String + Send + Sync + 'static) -> Self {
        Self {
            answer: Box::new(answer),
            context_len_tokens: 4096,
        }
    }

    /// Sets the length of the context, in words.
    #[must_use]
    pub fn with_context_len_tokens(mut self, context_len_tokens: usize) -> Self {
        self.context_len_tokens = context_len_tokens;
        self
    }

    pub(crate) fn info(&self) -> ModelInfo {
        let context_len_tokens = u32::try_from(self.context_len_tokens).unwrap_or(u32::MAX);
        ModelInfo {
            name: "Fake".into(),
            architecture: "fake".into(),
            context_len_tokens,
            context_train_tokens: context_len_tokens,
            embedding_dim: FAKE_EMBEDDING_DIM,
            size_bytes: 0,
            n_params: 0,
            gpu: None,
            gpu_refused: None,
            memory: crate::request::MemoryUse::default(),
            variant: "fake".into(),
            threads: 1,
            has_chat_template: true,
            thinking: crate::request::ThinkingSupport::None,
            sandbox: "none (no process)".into(),
            pid: std::process::id(),
        }
    }

    pub(crate) fn generate(&self, request: &GenerateRequest) -> Result<TokenStream, EngineError> {
        if request.messages.is_empty() {
            return Err(EngineError::NoMessages);
        }
        let prompt_tokens = self.count_prompt_tokens(&request.messages);
        if prompt_tokens >= self.context_len_tokens {
            return Err(EngineError::PromptTooLong {
                prompt_tokens,
                context_len_tokens: self.context_len_tokens,
            });
        }
        let mut events = vec![StreamEvent::Prompt {
            done_tokens: prompt_tokens,
            total_tokens: prompt_tokens,
            cached_tokens: 0,
        }];
        let room = self.context_len_tokens - prompt_tokens;
        let (reason, output_tokens) = self.write(request, room, &mut events);
        events.push(StreamEvent::Finished {
            reason,
            usage: TokenUsage {
                prompt_tokens,
                cached_tokens: 0,
                output_tokens,
                thought_tokens: 0,
                prompt_ms: 0.0,
                output_ms: 0.0,
            },
        });
        Ok(TokenStream::from_events(events))
    }

    fn write(
        &self,
        request: &GenerateRequest,
        room: usize,
        events: &mut Vec<StreamEvent>,
    ) -> (StopReason, usize) {
        let answer = (self.answer)(&request.messages);
        let mut text = AnswerText::new(&request.stop);
        let mut show = |text: String| {
            if !text.is_empty() {
                events.push(StreamEvent::Text(text));
            }
        };
        for (written, word) in answer.split_inclusive(' ').enumerate() {
            if written == request.max_output_tokens as usize {
                show(text.finish());
                return (StopReason::MaxTokens, written);
            }
            if written == room {
                show(text.finish());
                return (StopReason::ContextFull, written);
            }
            match text.push(word.as_bytes()) {
                Pushed::Text(text) => show(text),
                Pushed::Stopped(text) => {
                    show(text);
                    return (StopReason::StopWord, written + 1);
                }
            }
        }
        show(text.finish());
        (StopReason::EndOfAnswer, answer.split_inclusive(' ').count())
    }

    /// How many words of the query a passage has.
    pub(crate) fn rerank(&self, query: &str, passages: &[String]) -> Vec<f32> {
        let words: Vec<&str> = query.split_whitespace().collect();
        let found = |passage: &String| words.iter().filter(|word| passage.contains(**word)).count();
        passages
            .iter()
            .map(|passage| found(passage) as f32)
            .collect()
    }

    pub(crate) fn embed(&self, texts: &[String]) -> Embeddings {
        Embeddings {
            vectors: texts.iter().map(|text| bag_of_words(text)).collect(),
            tokens: self.count_tokens(texts).iter().sum(),
            windows_split: 0,
        }
    }

    pub(crate) fn count_tokens(&self, texts: &[String]) -> Vec<usize> {
        texts
            .iter()
            .map(|text| text.split_whitespace().count())
            .collect()
    }

    pub(crate) fn count_prompt_tokens(&self, messages: &[ChatMessage]) -> usize {
        messages
            .iter()
            .map(|message| message.content.split_whitespace().count() + TEMPLATE_TOKENS)
            .sum()
    }
}

/// Each word points into a direction of its own, given by its hash.
fn bag_of_words(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0f32; FAKE_EMBEDDING_DIM];
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let hash = fnv1a(word.to_lowercase().as_bytes());
        let sign = if hash & (1 << 63) == 0 { 1.0 } else { -1.0 };
        vector[(hash % FAKE_EMBEDDING_DIM as u64) as usize] += sign;
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    vector.iter_mut().for_each(|value| *value /= length);
    vector
}

/// The FNV-1a hash of Fowler, Noll and Vo with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Length of the vectors of a fake engine: that of the starter embedder.
pub const FAKE_EMBEDDING_DIM: usize = 384;
/// What a template adds to each message.
const TEMPLATE_TOKENS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Thinking;
    use crate::request::{ChatRole, Sampling};

    fn request(text: &str, max_output_tokens: u32, stop: &[&str]) -> GenerateRequest {
        GenerateRequest {
            messages: vec![ChatMessage::new(ChatRole::User, text)],
            sampling: Sampling::default(),
            max_output_tokens,
            thinking: Thinking::Off,
            stop: stop.iter().map(ToString::to_string).collect(),
        }
    }

    fn answer(engine: &FakeEngine, request: &GenerateRequest) -> (String, StopReason, usize) {
        let mut stream = engine.generate(request).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut text = String::new();
            while let Some(event) = stream.next().await {
                match event.unwrap() {
                    StreamEvent::Text(more) => text += &more,
                    StreamEvent::Finished { reason, usage } => {
                        return (text, reason, usage.output_tokens);
                    }
                    StreamEvent::Prompt { .. } | StreamEvent::Thought(_) => {}
                }
            }
            panic!("the stream ended without its last event");
        })
    }

    #[test]
    fn it_echoes_and_keeps_to_the_limits() {
        let engine = FakeEngine::default();
        let whole = ("You said: a b".to_owned(), StopReason::EndOfAnswer, 4);
        assert_eq!(answer(&engine, &request("a b", 9, &[])), whole);
        assert_eq!(
            answer(&engine, &request("a b", 3, &[])),
            ("You said: a ".into(), StopReason::MaxTokens, 3)
        );
        assert_eq!(
            answer(&engine, &request("a b", 9, &["said"])),
            ("You ".into(), StopReason::StopWord, 2)
        );
        let small = FakeEngine::default().with_context_len_tokens(8);
        assert_eq!(
            answer(&small, &request("a b c d", 9, &[])),
            ("You ".into(), StopReason::ContextFull, 1)
        );
        assert!(matches!(
            small.generate(&request("a b c d e", 9, &[])),
            Err(EngineError::PromptTooLong {
                prompt_tokens: 8,
                context_len_tokens: 8
            })
        ));
    }

    #[test]
    fn shared_words_mean_similar_vectors() {
        let texts = [
            "The cat sat.",
            "the CAT, sat!",
            "a cat",
            "quarterly report",
            "",
        ]
        .map(str::to_owned);
        let vectors = FakeEngine::default().embed(&texts).vectors;
        let cosine = |a: usize, b: usize| {
            vectors[a]
                .iter()
                .zip(&vectors[b])
                .map(|(x, y)| x * y)
                .sum::<f32>()
        };
        assert!((cosine(0, 1) - 1.0).abs() < 1e-6);
        assert!(cosine(0, 2) > 0.3);
        assert!(cosine(0, 3).abs() < 0.3);
        assert!((0..5).all(|row| (cosine(row, row) - 1.0).abs() < 1e-6));
    }
}
