//! The models by themselves: a conversation continued, or texts embedded, without the documents.
//!
//! Plain data, as in the rest of [`message`](super). Start at [`CompletionRequest`].

use serde::{Deserialize, Serialize};

/// A conversation that the chat model in use is to go on with. The documents are not looked at, and nothing is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// What was said so far, oldest first.
    pub messages: Vec<CompletionMessage>,
    /// Randomness; 0 always takes the likeliest token. `None` takes the setting.
    pub temperature: Option<f32>,
    /// Only the likeliest tokens that reach this probability together.
    pub top_p: Option<f32>,
    /// Only the k likeliest tokens; 0 takes all.
    pub top_k: Option<u32>,
    /// Only tokens at least this fraction as likely as the likeliest.
    pub min_p: Option<f32>,
    /// Divides the score of tokens that the answer already used; 1 switches it off.
    pub repeat_penalty: Option<f32>,
    /// Makes the choice repeatable.
    pub seed: Option<u32>,
    /// Tokens to write at most. `None` takes the setting.
    pub max_output_tokens: Option<u32>,
    /// The answer ends before the first of these that it would contain.
    pub stop: Vec<String>,
    /// A JSON schema, as JSON, that the answer is forced to match; `{}` takes any JSON object.
    pub json_schema: Option<String>,
    /// The model may think before it answers, if it is one that can.
    pub thinking: bool,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionMessage {
    /// Who said it.
    pub role: CompletionRole,
    /// Its text.
    pub content: String,
}

/// Who says something in a conversation with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompletionRole {
    /// Who set the conversation up: how the model is to behave.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// What the chat model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The whole answer, without what the model thought before it.
    pub text: String,
    /// Why it ended: `end`, `length`, `stopped`, `stop_word`.
    pub ended: String,
    /// The model's name.
    pub model: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of them, tokens that were still in the model's memory.
    pub cached_tokens: usize,
    /// Tokens written, thoughts included.
    pub output_tokens: usize,
}

/// Embeddings of texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingReport {
    /// The embedder's name.
    pub model: String,
    /// One for each text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub tokens: usize,
}
