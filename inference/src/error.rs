//! What can go wrong, sorted by who can act on it.
//!
//! Never carries text of a document or of a question: sizes, names and reasons only. Every variant can travel between
//! the worker and the program that started it, so reasons from the operating system are kept as words.
//! Start at [`EngineError`]; what a model file can do wrong is in [`LoadError`].

use serde::{Deserialize, Serialize};

/// Why an [`EngineHandle`](crate::EngineHandle) could not do what it was asked.
///
/// Nothing is left half done: after any of these the next request is served by a worker that is whole, a fresh one where
/// the old one died.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The worker program could not be started. Retrying does not help.
    #[error(
        "cannot start the inference worker ({reason}); reinstall Satchel if its program file was moved: {program}"
    )]
    Start {
        /// What the operating system said.
        reason: String,
        /// The program that was to be started.
        program: String,
    },
    /// The worker started but did not answer in time. Retrying can help on a busy machine.
    #[error(
        "the inference worker did not answer within {waited_s} s while {doing}; close other programs and try again"
    )]
    StartTimeout {
        /// What was waited for, in words.
        doing: &'static str,
        /// How long, in seconds.
        waited_s: u64,
    },
    /// The worker found itself unable to run any model. Retrying does not help.
    #[error("the inference worker cannot run models here: {reason}")]
    Worker {
        /// The worker's own words.
        reason: String,
    },
    /// The worker ended in the middle of the work. The next request starts a fresh one.
    #[error("the inference worker ended unexpectedly ({how}{}); ask again: it is restarted by itself{}", .last_line.as_deref().map(|line| format!("; it said: {line}")).unwrap_or_default(), .gpu.as_deref().map(|gpu| format!(", and uses the processor instead of {gpu} from now on")).unwrap_or_default())]
    WorkerDied {
        /// Exit status or signal, in words.
        how: String,
        /// Last line of the worker's standard error, where it helps to understand.
        last_line: Option<String>,
        /// The GPU that the model ran on, whose driver is not tried again.
        gpu: Option<String>,
    },
    /// The model could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The prompt leaves no room for an answer in the context. Nothing was read by the model.
    #[error(
        "the question and its passages are {prompt_tokens} tokens long, the model reads at most {context_len_tokens}: shorten the question or choose a model with a longer context"
    )]
    PromptTooLong {
        /// Length of the prompt, template included, in tokens.
        prompt_tokens: usize,
        /// Length of the context, in tokens.
        context_len_tokens: usize,
    },
    /// The request holds no message.
    #[error("there is nothing to answer: the request holds no message")]
    NoMessages,
    /// The chat template of the model refuses these messages or cannot be read.
    #[error("the chat template of this model cannot be used ({reason}); choose another model")]
    Template {
        /// What the template engine said.
        reason: String,
    },
    /// The form that an answer should have cannot be read.
    #[error("the answer cannot be given that form: {reason}")]
    Form {
        /// What is wrong with it.
        reason: String,
    },
    /// A text-writing request went to an embedder, or the other way round.
    #[error("this model was loaded as {loaded_as} and cannot {asked_for}")]
    WrongRole {
        /// Role of the loaded model, in words.
        loaded_as: &'static str,
        /// What was asked, in words.
        asked_for: &'static str,
    },
    /// One request is larger than what is sent to a worker at once.
    #[error(
        "the request is {bytes} bytes, at most {max_bytes} are handed to the model at once: split it"
    )]
    RequestTooLarge {
        /// Size of the encoded request, in bytes.
        bytes: usize,
        /// Largest size, in bytes ([`MAX_FRAME_BYTES`](crate::MAX_FRAME_BYTES)).
        max_bytes: usize,
    },
    /// llama.cpp failed to compute. Retrying can help when memory was short.
    #[error(
        "the model failed to compute ({reason}); try again, with a shorter context if it happens twice"
    )]
    Compute {
        /// What llama.cpp said.
        reason: String,
    },
    /// A text has no direction in the space of meanings, so it cannot be compared with others.
    #[error(
        "the model gave an empty embedding for a text; this model file is damaged or not an embedder"
    )]
    ZeroVector,
    /// The model was unloaded while this request was under way.
    #[error("the model was unloaded before the answer was complete")]
    Unloaded,
    /// The worker said something that this program does not understand: two versions are mixed.
    #[error("the inference worker speaks another language ({reason}); reinstall Satchel")]
    Protocol {
        /// What was not understood.
        reason: String,
    },
}

impl EngineError {
    /// Returns whether the same request can succeed when it is simply tried again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::WorkerDied { .. }
                | Self::StartTimeout { .. }
                | Self::Compute { .. }
                | Self::Unloaded
        )
    }
}

/// Why a model file could not be loaded. Nothing stays loaded after one of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no file.
    #[error("the model file is missing: import it again, or choose another model ({path})")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// The file is there and cannot be read.
    #[error("the model file cannot be read ({reason}): {path}")]
    Unreadable {
        /// What the operating system said.
        reason: String,
        /// Where it is.
        path: String,
    },
    /// The file is not a model or is damaged.
    #[error(
        "the model file is damaged or not a GGUF model ({reason}); import it again from its source: {path}"
    )]
    Damaged {
        /// What llama.cpp said.
        reason: String,
        /// Where it is.
        path: String,
    },
    /// The file is a model of a kind that this version does not know.
    #[error(
        "this version does not know models of the kind \"{architecture}\"; update Satchel or choose another model"
    )]
    UnknownArchitecture {
        /// `general.architecture` of the file.
        architecture: String,
    },
    /// The memory does not suffice.
    #[error(
        "the model needs about {} MiB of memory and {} MiB are free; close other programs, shorten the context, or choose a smaller model",
        .needed_bytes.div_ceil(MIB), .available_bytes / MIB
    )]
    OutOfMemory {
        /// Estimate of what is needed, in bytes.
        needed_bytes: u64,
        /// What was free, in bytes.
        available_bytes: u64,
    },
    /// The adapter cannot be laid over the model.
    #[error(
        "the adapter does not go with this model ({reason}); choose another, or none with `satchel settings lora`"
    )]
    Adapter {
        /// What llama.cpp said.
        reason: String,
    },
    /// The model cannot do what it is to be used for.
    #[error("this model cannot be used {wanted}: {reason}")]
    WrongKind {
        /// What it was to be used for.
        wanted: String,
        /// Why not.
        reason: String,
    },
    /// onnxruntime, which is to compute an embedder, cannot.
    #[error(
        "onnxruntime cannot compute this embedder ({reason}); remove the folder `backends/onnx` beside the program to embed with llama.cpp"
    )]
    Onnxruntime {
        /// What it said.
        reason: String,
    },
    /// Anything else that llama.cpp reports.
    #[error("the model could not be loaded: {reason}")]
    Other {
        /// What llama.cpp said.
        reason: String,
    },
}

const MIB: u64 = 1024 * 1024;
