//! Converts a BERT-type embedder from safetensors to GGUF.
//!
//! Takes the folder that sentence-transformers saves: `config.json`, `model.safetensors`, `vocab.txt`,
//! `modules.json`, `1_Pooling/config.json`, and if they are there `tokenizer_config.json`,
//! `sentence_bert_config.json` and `README.md`.
//!
//! Accepts only what was proven against an independent implementation: `BertModel` and `BertForMaskedLM` with
//! GELU and absolute positions, an uncased WordPiece vocabulary, and mean, first-token or last-token pooling.
//! Anything else is refused with the reason, since a wrong conversion gives vectors that are only a little
//! wrong, which nobody would notice.
//!
//! Never holds more than one piece of a tensor in memory, never changes the folder, never guesses a setting.
//! Start at [`Conversion::open`].

pub(crate) mod config;
mod error;
mod modules;
mod numbers;
mod tensors;
mod vocabulary;
pub(crate) mod weights;

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use error::ConvertError;

use crate::gguf::{GgufWriter, MetadataValue, Pooling, TensorPlan, TensorType, WriteError};
use config::BertConfig;
use numbers::Encoder;
use vocabulary::Vocabulary;
use weights::Weights;

/// Number format of the large matrices in the converted file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbedderQuantisation {
    /// 16-bit floating point: cosine at least 0.999 to the original, 2 bytes for each weight.
    ///
    /// The default, because an embedder is small and its vectors are kept for years.
    #[default]
    F16,
    /// Blocks of 32 bytes with one scale: half the size, a little less exact.
    Q8_0,
}

impl EmbedderQuantisation {
    fn tensor_type(self) -> TensorType {
        match self {
            Self::F16 => TensorType::F16,
            Self::Q8_0 => TensorType::Q8_0,
        }
    }

    /// Number of this format in `general.file_type`.
    fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q8_0 => 7,
        }
    }
}

/// An embedder whose files were all judged and found convertible; nothing is written yet.
#[derive(Debug)]
pub struct Conversion {
    weights: Weights,
    metadata: Vec<(&'static str, MetadataValue)>,
    tensors: Vec<ConvertedTensor>,
    facts: EmbedderFacts,
}

/// What the folder says about the embedder beyond what goes into the GGUF file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EmbedderFacts {
    /// Name of the model.
    pub name: String,
    /// How the vectors of the tokens become one.
    pub pooling: Pooling,
    /// Whether the model asks for vectors of length 1. Satchel always makes them so.
    pub normalizes: bool,
    /// Longest text, in tokens, that the makers trained or recommend; may be less than the model can take.
    pub max_input_tokens: Option<u32>,
    /// Licence from the front matter of `README.md`.
    pub license: Option<String>,
}

/// A tensor of the safetensors file and what it becomes.
#[derive(Debug)]
struct ConvertedTensor {
    source_name: String,
    plan: TensorPlan,
}

impl Conversion {
    /// Judges all files in `dir`: settings, vocabulary, pooling, and the name, shape and number format of every
    /// tensor. Reads no weights yet.
    ///
    /// # Errors
    /// [`ConvertError`] says which file is missing or which setting is not supported, and why.
    pub fn open(dir: &Path, quantisation: EmbedderQuantisation) -> Result<Self, ConvertError> {
        let config = BertConfig::read(dir)?;
        let vocabulary = Vocabulary::read(dir, config.vocab_size)?;
        let modules = modules::read(dir, config.hidden_size)?;
        let weights = Weights::open(dir)?;
        let facts = EmbedderFacts {
            name: config::display_name(dir, &config),
            pooling: modules.pooling,
            normalizes: modules.normalizes,
            max_input_tokens: config::max_input_tokens(dir)?,
            license: config::readme_license(dir),
        };
        let tensors = tensors::plan(&config, &weights, quantisation)?;
        let metadata = metadata(&config, &vocabulary, &facts, quantisation);
        Ok(Self {
            weights,
            metadata,
            tensors,
            facts,
        })
    }

    /// What the folder says about the embedder.
    #[must_use]
    pub fn facts(&self) -> &EmbedderFacts {
        &self.facts
    }

    /// Exact size in bytes of the file that [`Conversion::write`] makes.
    ///
    /// # Errors
    /// [`ConvertError::Write`] when a tensor has impossible dimensions.
    pub fn output_bytes(&self) -> Result<u64, ConvertError> {
        Ok(crate::gguf::file_bytes(&self.metadata, &self.plans())?)
    }

    /// Converts, tensor by tensor, and gives the output back, flushed. The same folder always gives the same bytes.
    ///
    /// `progress` gets the bytes of weights read so far and in all. Memory: one piece of 1 MiB.
    ///
    /// # Errors
    /// [`ConvertError::BadWeights`] when a weight is not a number or too large for the format,
    /// [`ConvertError::Read`] and [`ConvertError::Write`] when a file fails. The output is unusable then.
    pub fn write<W: Write>(
        &mut self,
        output: W,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<W, ConvertError> {
        let total_bytes: u64 = self
            .tensors
            .iter()
            .map(|tensor| self.weights.tensor_bytes(&tensor.source_name))
            .sum();
        let mut done_bytes = 0;
        let mut writer = GgufWriter::start(output, &self.metadata, self.plans())?;
        for tensor in &self.tensors {
            let encoder = Encoder::new(tensor.plan.kind);
            self.weights
                .for_each_piece(&tensor.source_name, &mut |piece, source_bytes| {
                    let encoded = encoder.encode(&tensor.source_name, piece)?;
                    writer.write_data(&encoded)?;
                    done_bytes += source_bytes;
                    progress(done_bytes, total_bytes);
                    Ok(())
                })?;
        }
        Ok(writer.finish()?)
    }

    fn plans(&self) -> Vec<TensorPlan> {
        self.tensors
            .iter()
            .map(|tensor| tensor.plan.clone())
            .collect()
    }
}

impl From<WriteError> for ConvertError {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

/// The metadata that llama.cpp needs for its `bert` architecture, in a fixed order.
fn metadata(
    config: &BertConfig,
    vocabulary: &Vocabulary,
    facts: &EmbedderFacts,
    quantisation: EmbedderQuantisation,
) -> Vec<(&'static str, MetadataValue)> {
    use MetadataValue::{Bool, Float32, Int32s, Text, Texts, Uint32};
    let special = &vocabulary.special;
    vec![
        ("general.architecture", Text("bert".to_owned())),
        ("general.name", Text(facts.name.clone())),
        (
            "bert.context_length",
            Uint32(config.max_position_embeddings),
        ),
        ("bert.embedding_length", Uint32(config.hidden_size)),
        ("bert.feed_forward_length", Uint32(config.intermediate_size)),
        ("bert.block_count", Uint32(config.num_hidden_layers)),
        (
            "bert.attention.head_count",
            Uint32(config.num_attention_heads),
        ),
        (
            "bert.attention.layer_norm_epsilon",
            Float32(config.layer_norm_eps as f32),
        ),
        ("bert.attention.causal", Bool(false)),
        ("bert.pooling_type", Uint32(facts.pooling.number())),
        ("general.file_type", Uint32(quantisation.file_type())),
        ("tokenizer.ggml.model", Text("bert".to_owned())),
        ("tokenizer.ggml.pre", Text("bert-bge".to_owned())),
        ("tokenizer.ggml.tokens", Texts(vocabulary.tokens.clone())),
        (
            "tokenizer.ggml.token_type",
            Int32s(vocabulary.token_types.clone()),
        ),
        (
            "tokenizer.ggml.token_type_count",
            Uint32(config.type_vocab_size),
        ),
        ("tokenizer.ggml.bos_token_id", Uint32(special.cls)),
        ("tokenizer.ggml.eos_token_id", Uint32(special.sep)),
        ("tokenizer.ggml.unknown_token_id", Uint32(special.unk)),
        // Misspelt in the format itself.
        ("tokenizer.ggml.seperator_token_id", Uint32(special.sep)),
        ("tokenizer.ggml.padding_token_id", Uint32(special.pad)),
        ("tokenizer.ggml.mask_token_id", Uint32(special.mask)),
    ]
}
