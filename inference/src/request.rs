//! The data that goes into an engine and comes out of it.
//!
//! Plain values, no behaviour: nothing here starts a process or touches a model. What travels to the worker derives
//! serde, and field names are part of that private language between two processes of the same version.
//! Start at [`ModelSpec`] and [`GenerateRequest`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a model is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Writes answers.
    Chat {
        /// Length of the context in tokens, question and answer together. Cut to what the model was trained for;
        /// 0 takes that length itself. Memory grows with it: for every token some kilobytes.
        context_len_tokens: u32,
    },
    /// Turns texts into vectors.
    Embedder,
    /// Scores how well passages answer a question.
    Reranker,
}

/// Which model a worker loads, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// The GGUF file. Must have been checked: this crate trusts its caller with that.
    pub path: PathBuf,
    /// What it is loaded for.
    pub role: Role,
    /// Threads to compute with. `None` (the default choice) takes the physical cores that this process may use.
    pub threads: Option<u32>,
    /// How much of it is put on a GPU.
    pub gpu_layers: GpuLayers,
    /// What is laid over the weights of a chat model.
    pub adapter: Option<Adapter>,
    /// An embedder that onnxruntime computes, where [`has_onnxruntime`](crate::has_onnxruntime). Its vectors are others than those of llama.cpp.
    pub bert: Option<BertModel>,
}

/// An embedder of the BERT kind: its numbers, and where its weights lie in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BertModel {
    /// Length of the vectors between layers.
    pub width: usize,
    /// Heads of the attention; `width` is a multiple.
    pub heads: usize,
    /// Number of layers.
    pub layers: usize,
    /// Added to the variance in normalisations.
    pub epsilon: f32,
    /// How one vector is made of those of the tokens.
    pub pooling: BertPooling,
    /// Tensors by their names in the file. Must have been checked: each as long as these numbers say.
    pub tensors: BTreeMap<String, TensorBytes>,
}

/// How one vector is made of those of the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BertPooling {
    /// Their mean.
    Mean,
    /// That of the first one.
    First,
    /// That of the last one.
    Last,
}

/// Where a tensor lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorBytes {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub len: u64,
    /// How they are to be read.
    pub kind: WeightType,
}

/// How the numbers of a tensor are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WeightType {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point.
    F16,
    /// Blocks of 32 bytes with a scale.
    Q8_0,
}

/// A low-rank adapter (LoRA): small matrices that are added to those of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// The GGUF file. Must have been checked, as the model.
    pub path: PathBuf,
    /// How strongly it counts: 1 as it was trained, 0 not at all.
    pub scale: f32,
}

/// How much of a model is put on a GPU, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GpuLayers {
    /// Nothing. No driver of a GPU is loaded.
    None,
    /// As many layers as fit beside the context into the memory that is free.
    Fit,
    /// So many, at most all.
    Exactly(u32),
}

impl GpuLayers {
    /// Whether a GPU is wanted at all. Where none is, its driver is not even loaded: with no layer on it llama.cpp would
    /// still take memory there.
    #[must_use]
    pub fn wants_gpu(self) -> bool {
        !matches!(self, Self::None | Self::Exactly(0))
    }
}

/// What of a model is on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuUse {
    /// The product's name; several are joined by commas.
    pub device: String,
    /// Layers on it.
    pub layers: u32,
    /// Layers of the model, the output counted as one.
    pub of_layers: u32,
}

/// Memory of a loaded model, processor and GPUs together, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Weights: mapped from the file, rearranged for the processor, or on a GPU.
    pub weights_bytes: u64,
    /// What is kept of the tokens that were read: keys and values, or a running state.
    pub context_bytes: u64,
    /// Room to compute in.
    pub compute_bytes: u64,
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// `general.name` of the file, or an empty string.
    pub name: String,
    /// `general.architecture` of the file, such as `llama` or `bert`.
    pub architecture: String,
    /// Tokens that fit into the context that was made. For an embedder: the window, the longest text embedded in one go.
    pub context_len_tokens: u32,
    /// Tokens that the model was trained to read.
    pub context_train_tokens: u32,
    /// Length of a vector. Meaningful for embedders.
    pub embedding_dim: usize,
    /// Size of all tensors, in bytes.
    pub size_bytes: u64,
    /// Number of parameters.
    pub n_params: u64,
    /// What is on a GPU; `None` where the processor does everything.
    pub gpu: Option<GpuUse>,
    /// Why the processor does everything although a GPU was wanted and is there, or was there. For the user.
    pub gpu_refused: Option<String>,
    /// The memory that it takes, as llama.cpp reports it.
    pub memory: MemoryUse,
    /// Which build of the processor code runs, such as `haswell` or `zen4`; `unknown` where llama.cpp did not say; `onnxruntime`
    /// where that one computes.
    pub variant: String,
    /// Threads used to write tokens and to read prompts or texts.
    pub threads: u32,
    /// Whether the file brings a chat template of its own.
    pub has_chat_template: bool,
    /// Whether it thinks before it answers.
    pub thinking: ThinkingSupport,
    /// How strongly the worker is locked in, in words for `doctor`.
    pub sandbox: String,
    /// Process id of the worker that holds the model.
    pub pid: u32,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Instructions of the program.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl ChatRole {
    /// The word that chat templates compare with.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
///
/// The content is data: text in it that looks like a control token of the model (`<|im_start|>`) stays text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// Makes a message.
    #[must_use]
    pub fn new(role: ChatRole, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }
}

/// A question to a chat model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// The conversation so far, oldest first, the question last.
    pub messages: Vec<ChatMessage>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// The answer ends after this many tokens at the latest.
    pub max_output_tokens: u32,
    /// Whether the model thinks before it answers, where it can. Thoughts do not count as output.
    pub thinking: Thinking,
    /// The answer ends before any of these texts; they are not part of it. Empty ones are ignored.
    pub stop: Vec<String>,
    /// The form that the answer must have. Thoughts are free.
    pub form: AnswerForm,
}

/// The form of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerForm {
    /// As the model likes.
    #[default]
    Free,
    /// JSON that matches this schema, which is JSON itself; `{}` takes any object. An answer that ends for want of room
    /// is cut off in the middle.
    Json(String),
    /// Text of this grammar, in llama.cpp's GBNF, from its rule `root` on.
    Grammar(String),
}

/// Whether a model thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Thinking {
    /// It is told not to. One that thinks all the same may do so for [`GenerateRequest::max_output_tokens`].
    Off,
    /// For so many tokens at most; then it is made to answer.
    UpTo(u32),
}

/// Which models think before they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThinkingSupport {
    /// Not this one, as far as its template tells.
    None,
    /// When it is asked to.
    OnRequest,
    /// Always.
    Always,
}

/// How the next token is chosen from the model's probabilities.
///
/// The steps are applied in this order: repeat penalty, top-k, top-p, min-p, temperature, random choice.
/// The defaults suit answers from documents: close to the text, with enough freedom that a small model does not run in
/// circles.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Flattens (above 1) or sharpens (below 1) the probabilities. 0 always takes the likeliest token. Default 0.3.
    pub temperature: f32,
    /// Only the k likeliest tokens are considered; 0 or less considers all. Default 40.
    pub top_k: i32,
    /// Only the likeliest tokens that reach this probability together; 1 switches it off. Default 0.95.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the likeliest; 0 switches it off. Default 0.05.
    pub min_p: f32,
    /// Divides the score of tokens that the answer already used; 1 switches it off. The prompt is not counted, or a
    /// quotation would be punished. Default 1.1.
    pub repeat_penalty: f32,
    /// How many tokens of the answer are looked back at; 0 switches it off, less than 0 takes the whole answer.
    /// Default 64.
    pub repeat_last_n: i32,
    /// Makes the choice repeatable. `None` differs each time. Default `None`.
    pub seed: Option<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.3,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.1,
            repeat_last_n: 64,
            seed: None,
        }
    }
}

impl Sampling {
    /// Always the likeliest token, no penalty: the same question gives the same answer.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            repeat_penalty: 1.0,
            ..Self::default()
        }
    }
}

/// What a [`TokenStream`](crate::TokenStream) delivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StreamEvent {
    /// The prompt is being read. Comes once at the start and after each chunk of
    /// [`prompt_chunk_tokens`](crate::prompt_chunk_tokens).
    Prompt {
        /// Tokens known by now, cached ones included.
        done_tokens: usize,
        /// Length of the prompt in tokens.
        total_tokens: usize,
        /// Tokens that an earlier request had left in the context and that were not read again.
        cached_tokens: usize,
    },
    /// More of what the model thinks before it answers: one or more whole characters.
    Thought(String),
    /// More of the answer: one or more whole characters.
    Text(String),
    /// The last event.
    Finished {
        /// Why the answer ended.
        reason: StopReason,
        /// What it cost.
        usage: TokenUsage,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// The model said that it is done.
    EndOfAnswer,
    /// One of the stop texts came.
    StopWord,
    /// `max_output_tokens` of the answer were written.
    MaxTokens,
    /// The context is full: question and answer together reached its length.
    ContextFull,
    /// The caller stopped it.
    Cancelled,
}

/// What an answer cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Length of the prompt, cached tokens included.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that were still known from an earlier request.
    pub cached_tokens: usize,
    /// Tokens of the answer.
    pub output_tokens: usize,
    /// Tokens of thoughts before it.
    pub thought_tokens: usize,
    /// Time spent reading the prompt, in milliseconds.
    pub prompt_ms: f64,
    /// Time spent writing, in milliseconds.
    pub output_ms: f64,
}

/// What a model knows of a conversation, so that it need not be read again: to be kept and given back.
///
/// Holds every word of the conversation in a form that can be read: whoever keeps it encrypts it.
#[derive(Clone, PartialEq, Eq)]
pub struct KnownConversation {
    /// Its tokens, oldest first.
    pub tokens: Vec<i32>,
    /// What the model made of them, in llama.cpp's own layout: some tens to hundreds of KiB per token.
    pub state: Vec<u8>,
}

impl std::fmt::Debug for KnownConversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownConversation")
            .field("tokens", &self.tokens.len())
            .field("state_bytes", &self.state.len())
            .finish()
    }
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    /// One row per text, in the order of the texts; each has [`ModelInfo::embedding_dim`] numbers and length 1
    /// (‖v‖₂ = 1 ± 1e-3). No text gives no row.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read for all of them.
    pub tokens: usize,
    /// How many texts were longer than the model's window and were embedded in pieces.
    pub windows_split: usize,
}
