//! Where the weights of an embedder of the BERT kind lie in its file, for whoever computes it without llama.cpp.
//!
//! Reads the header alone. Start at [`bert`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::check::{Facts, check_header};
use super::error::GgufError;
use super::read::{Value, open_header};
use super::summary::{ModelKind, Pooling};
use super::tensor_type::TensorType;

/// An embedder of the BERT kind: its numbers, and where its weights lie.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BertFile {
    /// Length of the vectors between layers.
    pub width: usize,
    /// Length of the vectors within the second half of a layer.
    pub inner: usize,
    /// Heads of the attention; `width` is a multiple.
    pub heads: usize,
    /// Number of layers.
    pub layers: usize,
    /// Tokens of the vocabulary.
    pub vocabulary_len: usize,
    /// Longest text, in tokens.
    pub positions: usize,
    /// Added to the variance in normalisations.
    pub epsilon: f32,
    /// How one vector is made of those of the tokens.
    pub pooling: Pooling,
    /// All tensors, by name.
    pub tensors: BTreeMap<String, TensorPlace>,
}

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorPlace {
    /// Bytes of the file.
    pub bytes: Range<u64>,
    /// `F32`, `F16` or `Q8_0`.
    pub kind: TensorType,
    /// Number of elements.
    pub elements: u64,
}

/// Tells where the weights of the embedder at `path` lie. Blocks on disk reads.
///
/// `None` where it is of another kind, its weights are of another type than F32, F16 and Q8_0, or a part is missing or has
/// another shape than BERT's: then llama.cpp alone knows how to compute it.
///
/// # Errors
/// As [`check()`](super::check()).
pub fn bert(path: &Path) -> Result<Option<BertFile>, GgufError> {
    let (_, file_bytes, header) = open_header(path)?;
    let summary = check_header(&header, file_bytes)?;
    if summary.architecture != "bert" || summary.kind != ModelKind::Embedder {
        return Ok(None);
    }
    let facts = Facts { header: &header };
    let number = |name: &str| -> Result<usize, GgufError> {
        let number = facts.number(&format!("bert.{name}"))?.unwrap_or(0);
        Ok(usize::try_from(number).unwrap_or(0))
    };
    let epsilon = facts.entry("bert.attention.layer_norm_epsilon");
    let (Some(&Value::Float(epsilon)), Some(pooling)) =
        (epsilon.map(|entry| &entry.value), summary.pooling)
    else {
        return Ok(None);
    };
    let places = facts.tensor_places(file_bytes)?;
    let tensors = header.tensors.iter().zip(places);
    let tensors: BTreeMap<_, _> = tensors
        .map(|(tensor, bytes)| {
            let elements = tensor.dimensions.iter().product();
            let kind = tensor.kind;
            let place = TensorPlace {
                bytes,
                kind,
                elements,
            };
            (tensor.name.clone(), place)
        })
        .collect();
    let file = BertFile {
        width: summary.embedding_dim,
        inner: number("feed_forward_length")?,
        heads: number("attention.head_count")?,
        layers: summary.block_count as usize,
        vocabulary_len: summary.vocabulary_len,
        positions: summary.context_len_tokens as usize,
        epsilon: epsilon as f32,
        pooling,
        tensors,
    };
    Ok(file.is_plain().then_some(file))
}

impl BertFile {
    /// Whether it has every part of BERT in its usual shape, and no other.
    fn is_plain(&self) -> bool {
        let known = [TensorType::F32, TensorType::F16, TensorType::Q8_0];
        let mut expected = vec![
            (
                "token_embd.weight".to_owned(),
                self.vocabulary_len * self.width,
            ),
            (
                "position_embd.weight".to_owned(),
                self.positions * self.width,
            ),
            ("token_embd_norm.weight".to_owned(), self.width),
            ("token_embd_norm.bias".to_owned(), self.width),
        ];
        for layer in 0..self.layers {
            for (part, inputs, outputs) in [
                ("attn_q", self.width, self.width),
                ("attn_k", self.width, self.width),
                ("attn_v", self.width, self.width),
                ("attn_output", self.width, self.width),
                ("ffn_up", self.width, self.inner),
                ("ffn_down", self.inner, self.width),
            ] {
                expected.push((format!("blk.{layer}.{part}.weight"), inputs * outputs));
                expected.push((format!("blk.{layer}.{part}.bias"), outputs));
            }
            for part in ["attn_output_norm", "layer_output_norm"] {
                expected.push((format!("blk.{layer}.{part}.weight"), self.width));
                expected.push((format!("blk.{layer}.{part}.bias"), self.width));
            }
        }
        let types = self.tensors.get("token_types.weight");
        let has_types = types.is_some_and(|types| {
            types.elements == self.width as u64 || types.elements == 2 * self.width as u64
        });
        let has = |(name, elements): &(String, usize)| {
            let tensor = self.tensors.get(name);
            tensor.is_some_and(|tensor| tensor.elements == *elements as u64)
        };
        self.heads > 0
            && self.width.is_multiple_of(self.heads)
            && has_types
            && self.tensors.len() == expected.len() + 1
            && expected.iter().all(has)
            && self
                .tensors
                .values()
                .all(|tensor| known.contains(&tensor.kind))
    }
}
