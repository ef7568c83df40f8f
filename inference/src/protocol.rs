//! The messages between the program and its worker.
//!
//! A private language of two processes of the same version: no compatibility is promised, and nothing here is stored.
//! Order: the program sends [`ToWorker::Load`] or [`ToWorker::Devices`] first and nothing else before the reply; then
//! requests with ids of its choice, as many at a time as it likes. The worker answers each id with one `Failed` or with
//! its result; for a generation `Accepted`, then events, the last one [`StreamEvent::Finished`]. What is longer than a
//! message goes in pieces of the same id before the message that names their whole.

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::error::{EngineError, LoadError};
use crate::frame::Message;
use crate::request::{ChatMessage, GenerateRequest, ModelInfo, ModelSpec, StreamEvent};

/// From the program to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// First message: hold this model from now on.
    Load(ModelSpec),
    /// First message: say which devices there are and end.
    Devices,
    /// Write an answer.
    Generate { id: u64, request: GenerateRequest },
    /// Make vectors.
    Embed { id: u64, texts: Vec<String> },
    /// Score how well each passage answers a question.
    Rerank {
        id: u64,
        query: String,
        passages: Vec<String>,
    },
    /// Count the tokens of each text, without any that the model adds by itself.
    CountTokens { id: u64, texts: Vec<String> },
    /// Count the tokens of a whole prompt, template included.
    CountPromptTokens { id: u64, messages: Vec<ChatMessage> },
    /// Give what is known of this conversation, to be kept: `Piece`s, then `PutAway`.
    PutAway { id: u64, messages: Vec<ChatMessage> },
    /// Part of a state that was kept.
    Piece {
        id: u64,
        #[serde(skip)]
        bytes: Vec<u8>,
    },
    /// The pieces of this id are what was known of a conversation of these tokens.
    TakeUp { id: u64, tokens: Vec<i32> },
    /// Stop working on this id, queued or running. Unknown ids are ignored: the answer may be on its way.
    Cancel { id: u64 },
}

/// From the worker to the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// The processor code is loaded; loading the model begins. Also the answer to `Devices`.
    Ready { devices: Vec<Device> },
    /// There is no processor code that can be used. The worker ends.
    Unusable { reason: String },
    /// The model is loaded.
    Loaded(ModelInfo),
    /// The model is not loaded. The worker ends.
    LoadFailed(LoadError),
    /// The prompt fits and is queued.
    Accepted { id: u64 },
    /// Progress of a generation.
    Event { id: u64, event: StreamEvent },
    /// The vectors of one request, in the order of its texts.
    Embedded {
        id: u64,
        vectors: Vec<Vec<f32>>,
        tokens: usize,
        windows_split: usize,
    },
    /// Scores, in the order of the passages.
    Scored { id: u64, scores: Vec<f32> },
    /// Counts, in the order of the texts; one number for a prompt.
    Counted { id: u64, counts: Vec<usize> },
    /// Part of what is known of a conversation.
    Piece {
        id: u64,
        #[serde(skip)]
        bytes: Vec<u8>,
    },
    /// The pieces of this id are what is known of the conversation that begins with these tokens; none where nothing is.
    PutAway { id: u64, tokens: Vec<i32> },
    /// What was kept is at hand, or could not be used.
    TakenUp { id: u64, is_usable: bool },
    /// The request failed; the worker goes on.
    Failed { id: u64, error: RequestError },
}

impl Message for ToWorker {
    fn raw(&self) -> &[u8] {
        match self {
            Self::Piece { bytes, .. } => bytes,
            _ => &[],
        }
    }

    fn raw_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Piece { bytes, .. } => Some(bytes),
            _ => None,
        }
    }
}

impl Message for FromWorker {
    fn raw(&self) -> &[u8] {
        match self {
            Self::Piece { bytes, .. } => bytes,
            _ => &[],
        }
    }

    fn raw_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Piece { bytes, .. } => Some(bytes),
            _ => None,
        }
    }
}

impl FromWorker {
    /// The request that this message belongs to; `None` for those about the worker itself.
    pub(crate) fn request_id(&self) -> Option<u64> {
        match self {
            Self::Accepted { id }
            | Self::Event { id, .. }
            | Self::Embedded { id, .. }
            | Self::Scored { id, .. }
            | Self::Counted { id, .. }
            | Self::Piece { id, .. }
            | Self::PutAway { id, .. }
            | Self::TakenUp { id, .. }
            | Self::Failed { id, .. } => Some(*id),
            Self::Ready { .. } | Self::Unusable { .. } | Self::Loaded(_) | Self::LoadFailed(_) => {
                None
            }
        }
    }

    /// Whether nothing more follows for this request.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Piece { .. } => false,
            Self::Event { event, .. } => matches!(event, StreamEvent::Finished { .. }),
            _ => true,
        }
    }
}

/// Why one request failed, as the worker knows it. Becomes an [`EngineError`] on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RequestError {
    PromptTooLong {
        prompt_tokens: usize,
        context_len_tokens: usize,
    },
    NoMessages,
    Template {
        reason: String,
    },
    Form {
        reason: String,
    },
    NotAChatModel,
    NotAnEmbedder,
    NotAReranker,
    Compute {
        reason: String,
    },
    ZeroVector,
    Cancelled,
    TooLarge {
        bytes: usize,
    },
}

impl From<RequestError> for EngineError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::PromptTooLong {
                prompt_tokens,
                context_len_tokens,
            } => Self::PromptTooLong {
                prompt_tokens,
                context_len_tokens,
            },
            RequestError::NoMessages => Self::NoMessages,
            RequestError::Template { reason } => Self::Template { reason },
            RequestError::Form { reason } => Self::Form { reason },
            RequestError::NotAChatModel => Self::WrongRole {
                loaded_as: "an embedder",
                asked_for: "write answers",
            },
            RequestError::NotAnEmbedder => Self::WrongRole {
                loaded_as: "a chat model",
                asked_for: "make embeddings",
            },
            RequestError::NotAReranker => Self::WrongRole {
                loaded_as: "another kind of model",
                asked_for: "score passages",
            },
            RequestError::Compute { reason } => Self::Compute { reason },
            RequestError::ZeroVector => Self::ZeroVector,
            // Only the one who cancelled could receive it, and that one has stopped listening.
            RequestError::Cancelled => Self::Unloaded,
            RequestError::TooLarge { bytes } => Self::RequestTooLarge {
                bytes,
                max_bytes: crate::frame::MAX_FRAME_BYTES,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use crate::request::Thinking;
    use crate::request::{ChatRole, Role, Sampling};

    #[test]
    fn every_request_survives_the_pipe() {
        let request = GenerateRequest {
            messages: vec![ChatMessage::new(ChatRole::User, "what is \"it\"?\n\u{0}")],
            sampling: Sampling {
                seed: Some(7),
                ..Sampling::default()
            },
            max_output_tokens: 5,
            thinking: Thinking::Off,
            stop: vec!["\n".into()],

            form: crate::request::AnswerForm::Free,
        };
        let sent = ToWorker::Generate {
            id: u64::MAX,
            request: request.clone(),
        };
        let pipe = frame::encode(&sent).unwrap();
        let Some(ToWorker::Generate {
            id,
            request: received,
        }) = frame::read(&mut pipe.as_slice()).unwrap()
        else {
            panic!("another message came out");
        };
        assert_eq!((id, received), (u64::MAX, request));

        let spec = ModelSpec {
            path: "/models/a b.gguf".into(),
            role: Role::Chat {
                context_len_tokens: 4096,
            },
            threads: None,
            gpu_layers: crate::GpuLayers::None,
            adapter: None,
            bert: None,
        };
        let pipe = frame::encode(&ToWorker::Load(spec.clone())).unwrap();
        let Some(ToWorker::Load(received)) = frame::read(&mut pipe.as_slice()).unwrap() else {
            panic!("another message came out");
        };
        assert_eq!(received, spec);
    }

    #[test]
    fn only_the_last_event_ends_a_request() {
        let text = FromWorker::Event {
            id: 3,
            event: StreamEvent::Text("a".into()),
        };
        assert_eq!(text.request_id(), Some(3));
        assert!(!text.is_last());
        assert!(!FromWorker::Accepted { id: 3 }.is_last());
        assert!(
            FromWorker::Failed {
                id: 3,
                error: RequestError::NoMessages
            }
            .is_last()
        );
        assert_eq!(
            FromWorker::Ready {
                devices: Vec::new()
            }
            .request_id(),
            None
        );
    }

    #[test]
    fn a_request_error_tells_the_user_what_to_do() {
        let error = EngineError::from(RequestError::PromptTooLong {
            prompt_tokens: 900,
            context_len_tokens: 512,
        });
        assert_eq!(
            error.to_string(),
            "the question and its passages are 900 tokens long, the model reads at most 512: shorten the question or choose a model with a longer context"
        );
    }
}
