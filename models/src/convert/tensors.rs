//! Which tensors a BERT has, how they are called in GGUF, and which number format each gets.
//!
//! A tensor that is missing, has another shape, or is not known stops the conversion: it would be another
//! model than the settings say.

use std::collections::HashMap;

use super::config::BertConfig;
use super::error::ConvertError;
use super::numbers::Q8_0_BLOCK_LEN;
use super::weights::{Weights, check_format};
use super::{ConvertedTensor, EmbedderQuantisation};
use crate::gguf::{TensorPlan, TensorType};

/// What a tensor of the source becomes.
struct Expected {
    /// Name in the GGUF file.
    name: String,
    /// Slowest dimension first, as safetensors has it.
    shape: Vec<usize>,
    /// Tables of positions and token types stay exact: they are tiny, and llama.cpp adds rows of them.
    stays_f32: bool,
}

/// Plans every tensor in the order of the source file.
pub(super) fn plan(
    config: &BertConfig,
    weights: &Weights,
    quantisation: EmbedderQuantisation,
) -> Result<Vec<ConvertedTensor>, ConvertError> {
    let mut expected = expected_tensors(config);
    let mut tensors = Vec::new();
    for source_name in weights.names() {
        let bare_name = source_name.strip_prefix("bert.").unwrap_or(&source_name);
        if is_unused(bare_name) {
            continue;
        }
        let Some(target) = expected.remove(bare_name) else {
            return Err(ConvertError::bad_weights(
                &source_name,
                "is not part of a plain BERT, or is there twice",
            ));
        };
        let Some(info) = weights.info(&source_name) else {
            return Err(ConvertError::bad_weights(&source_name, "is missing"));
        };
        check_format(&source_name, info)?;
        if info.shape != target.shape {
            let problem = format!(
                "has the shape {:?}, config.json asks for {:?}",
                info.shape, target.shape
            );
            return Err(ConvertError::bad_weights(&source_name, problem));
        }
        tensors.push(ConvertedTensor {
            plan: target.into_plan(quantisation),
            source_name,
        });
    }
    match expected.keys().min() {
        Some(missing) => Err(ConvertError::bad_weights(missing, "is missing")),
        None => Ok(tensors),
    }
}

impl Expected {
    fn into_plan(self, quantisation: EmbedderQuantisation) -> TensorPlan {
        let row_len = self.shape.last().copied().unwrap_or(1);
        let kind = if self.shape.len() < 2 || self.stays_f32 {
            TensorType::F32
        } else if quantisation == EmbedderQuantisation::Q8_0
            && !row_len.is_multiple_of(Q8_0_BLOCK_LEN)
        {
            TensorType::F16
        } else {
            quantisation.tensor_type()
        };
        let dimensions = self
            .shape
            .iter()
            .rev()
            .map(|dimension| *dimension as u64)
            .collect();
        TensorPlan {
            name: self.name,
            dimensions,
            kind,
        }
    }
}

/// The pooler and the language-model head do not take part in an embedding, and positions are counted anew.
fn is_unused(name: &str) -> bool {
    name.starts_with("pooler.")
        || name.starts_with("cls.")
        || matches!(
            name,
            "embeddings.position_ids" | "embeddings.token_type_ids"
        )
}

fn expected_tensors(config: &BertConfig) -> HashMap<String, Expected> {
    let hidden = config.hidden_size as usize;
    let inner = config.intermediate_size as usize;
    let mut expected = HashMap::new();
    let mut add = |source: String, name: String, shape: Vec<usize>| {
        let stays_f32 = name == "position_embd.weight" || name == "token_types.weight";
        expected.insert(
            source,
            Expected {
                name,
                shape,
                stays_f32,
            },
        );
    };
    let tables = [
        ("word_embeddings", "token_embd", config.vocab_size),
        (
            "position_embeddings",
            "position_embd",
            config.max_position_embeddings,
        ),
        (
            "token_type_embeddings",
            "token_types",
            config.type_vocab_size,
        ),
    ];
    for (source, name, rows) in tables {
        add(
            format!("embeddings.{source}.weight"),
            format!("{name}.weight"),
            vec![rows as usize, hidden],
        );
    }
    for part in ["weight", "bias"] {
        add(
            format!("embeddings.LayerNorm.{part}"),
            format!("token_embd_norm.{part}"),
            vec![hidden],
        );
    }
    let linear = [
        ("attention.self.query", "attn_q", hidden, hidden),
        ("attention.self.key", "attn_k", hidden, hidden),
        ("attention.self.value", "attn_v", hidden, hidden),
        ("attention.output.dense", "attn_output", hidden, hidden),
        ("intermediate.dense", "ffn_up", inner, hidden),
        ("output.dense", "ffn_down", hidden, inner),
    ];
    let norms = [
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("output.LayerNorm", "layer_output_norm"),
    ];
    for layer in 0..config.num_hidden_layers {
        for (source, name, rows, columns) in linear {
            let source = format!("encoder.layer.{layer}.{source}");
            add(
                format!("{source}.weight"),
                format!("blk.{layer}.{name}.weight"),
                vec![rows, columns],
            );
            add(
                format!("{source}.bias"),
                format!("blk.{layer}.{name}.bias"),
                vec![rows],
            );
        }
        for (source, name) in norms {
            for part in ["weight", "bias"] {
                add(
                    format!("encoder.layer.{layer}.{source}.{part}"),
                    format!("blk.{layer}.{name}.{part}"),
                    vec![hidden],
                );
            }
        }
    }
    expected
}
