//! What the header of a checked GGUF file says about its model, in the user's words.
//!
//! Plain data; made by [`super::check()`] only.

use serde::{Deserialize, Serialize};

use super::shape::ModelShape;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Writes text.
    Chat,
    /// Turns a text into one vector.
    Embedder,
    /// Scores how well a passage answers a question.
    Reranker,
}

impl std::fmt::Display for ModelKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Chat => "chat",
            Self::Embedder => "embedder",
            Self::Reranker => "reranker",
        })
    }
}

/// How an embedder makes one vector from the vectors of its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// No pooling: one vector for each token.
    None,
    /// The average over all tokens.
    Mean,
    /// The first token.
    Cls,
    /// The last token.
    Last,
    /// A score from a classification head (rerankers).
    Rank,
}

impl Pooling {
    /// The number that stands in the file, as llama.cpp counts them.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Mean => 1,
            Self::Cls => 2,
            Self::Last => 3,
            Self::Rank => 4,
        }
    }

    /// The pooling with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::None, Self::Mean, Self::Cls, Self::Last, Self::Rank]
            .into_iter()
            .find(|pooling| u64::from(pooling.number()) == number)
    }
}

impl std::fmt::Display for Pooling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        })
    }
}

/// Facts from the header of a GGUF file that passed the check.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct GgufSummary {
    /// Architecture as llama.cpp names it, such as `llama` or `bert`.
    pub architecture: String,
    /// What the model is for.
    pub kind: ModelKind,
    /// Name written by the model's maker, cleaned for display.
    pub name: Option<String>,
    /// Weights: the sum of the elements of all tensors.
    pub parameters: u64,
    /// Usual name of the quantisation, such as `Q4_K_M`; from `general.file_type`, else from the largest tensors.
    pub quantisation: String,
    /// Tokens that the model was trained to see at once.
    pub context_len_tokens: u32,
    /// Length of the vectors inside the model, and of the embeddings that an embedder gives.
    pub embedding_dim: usize,
    /// Layers.
    pub block_count: u32,
    /// Entries of the vocabulary.
    pub vocabulary_len: usize,
    /// Whether the file brings its own chat template.
    pub has_chat_template: bool,
    /// Pooling that the file asks for; embedders and rerankers have one.
    pub pooling: Option<Pooling>,
    /// Licence as the model's maker wrote it, cleaned for display.
    pub license: Option<String>,
    /// Tensors in the file.
    pub tensor_count: usize,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// How large its parts are.
    pub shape: ModelShape,
}

/// The usual name of a `general.file_type` number (`llama_ftype` of llama.cpp).
pub(super) fn quantisation_name(file_type: u64) -> Option<&'static str> {
    Some(match file_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        39 => "NVFP4",
        _ => return None,
    })
}
