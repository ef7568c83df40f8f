//! How large the parts of a model are: what its memory and its speed follow from.
//!
//! Taken from the tensors themselves wherever they tell it, because files of one architecture differ; from the
//! metadata only where several matrices are stored as one. Never judges; made by [`super::check()`] only.

use super::read::{Header, TensorInfo};
use crate::catalog::Layout;

/// The parts of a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ModelShape {
    /// The layers, in order.
    pub layers: Vec<LayerShape>,
    /// The table of token vectors, in bytes. Stays with the processor; of it one row is read for each token.
    pub input_bytes: u64,
    /// Everything outside the layers but that table: the output head and small vectors.
    pub output_bytes: u64,
    /// The head is the table of token vectors, which then is read whole for each token, and is stored twice where the
    /// head is on another device.
    pub ties_output: bool,
    /// Entries of the vocabulary.
    pub vocabulary_len: u64,
    /// Length of the vectors between layers.
    pub embedding_dim: u64,
    /// Length of the vectors inside a layer: the widest.
    pub feed_forward_len: u64,
    /// Of each layer's expert weights, how many of so many experts work for a token; (1, 1) without experts.
    pub experts: (u64, u64),
    /// Some layers see the last tokens only, as in Gemma 3.
    pub has_window: bool,
}

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LayerShape {
    /// Its weights in bytes.
    pub weights_bytes: u64,
    /// Of them, those of the experts, not all of which work for a token.
    pub expert_bytes: u64,
    /// Numbers kept for each token of the context: the length of key and value. 0 where it keeps none.
    pub kept_per_token: u64,
    /// Numbers of 32 bits kept whatever the length of the context: the state of a recurrent layer.
    pub state_len: u64,
}

impl ModelShape {
    /// A model whose layers are equal, in bytes: what is known of one whose file is not here.
    pub(crate) fn even(
        layout: Layout,
        layers_bytes: u64,
        kept_bytes_per_token: u64,
        input_bytes: u64,
        output_bytes: u64,
    ) -> Self {
        let count = u64::from(layout.layers).max(1);
        let weights_bytes = layers_bytes / count;
        let layer = LayerShape {
            weights_bytes,
            // Nearly all of a model with experts is experts.
            expert_bytes: layout.experts.map_or(0, |_| weights_bytes),
            kept_per_token: kept_bytes_per_token / count / 2,
            state_len: 0,
        };
        Self {
            layers: vec![layer; layout.layers as usize],
            input_bytes,
            output_bytes,
            ties_output: layout.ties_output,
            vocabulary_len: layout.vocabulary_len,
            embedding_dim: layout.embedding_len,
            feed_forward_len: 0,
            experts: layout.experts.unwrap_or((1, 1)),
            has_window: false,
        }
    }

    /// All weights in bytes.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        let layers = self.layers.iter().map(|layer| layer.weights_bytes);
        layers.fold(self.input_bytes + self.output_bytes, u64::saturating_add)
    }

    /// Weights that are read to write one token, in bytes: all but the unused experts, and of the table of tokens only
    /// what the head needs.
    #[must_use]
    pub fn read_per_token_bytes(&self) -> u64 {
        let (used, all) = self.experts;
        let layers = self.layers.iter().map(|layer| {
            let idle = layer.expert_bytes / all.max(1) * all.saturating_sub(used);
            layer.weights_bytes.saturating_sub(idle)
        });
        let table = if self.ties_output {
            self.input_bytes
        } else {
            0
        };
        layers.fold(self.output_bytes + table, u64::saturating_add)
    }
}

/// What the metadata say of a model's attention, where the tensors do not tell.
#[derive(Debug, Default)]
pub(super) struct Attention {
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    pub(super) key_len: u64,
    pub(super) value_len: u64,
    /// Keys and values are kept in one compressed vector.
    pub(super) is_latent: bool,
    /// Of the last layers so many use what an earlier one keeps.
    pub(super) sharing_layers: u64,
    pub(super) has_window: bool,
    pub(super) state_len: u64,
    pub(super) inner_len: u64,
    pub(super) experts: (u64, u64),
}

/// Sorts the tensors of a header whose sizes are known to be possible.
pub(super) fn of(header: &Header, block_count: u32, attention: &Attention) -> ModelShape {
    let keeping = u64::from(block_count).saturating_sub(attention.sharing_layers);
    let mut shape = ModelShape {
        layers: vec![LayerShape::default(); block_count as usize],
        ties_output: true,
        experts: match attention.experts {
            (0, _) | (_, 0) => (1, 1),
            experts => experts,
        },
        has_window: attention.has_window,
        ..ModelShape::default()
    };
    let mut kept = vec![Kept::default(); block_count as usize];
    for tensor in &header.tensors {
        let bytes = bytes(tensor);
        let place = layer_and_name(&tensor.name);
        let Some((index, name)) = place.filter(|(index, _)| *index < shape.layers.len()) else {
            match tensor.name.as_str() {
                "token_embd.weight" => {
                    shape.input_bytes = bytes;
                    shape.embedding_dim = tensor.dimensions[0];
                    shape.vocabulary_len = tensor.dimensions[1];
                }
                name => {
                    shape.ties_output &= name != "output.weight";
                    shape.output_bytes = shape.output_bytes.saturating_add(bytes);
                }
            }
            continue;
        };
        let layer = &mut shape.layers[index];
        layer.weights_bytes = layer.weights_bytes.saturating_add(bytes);
        if name.contains("_exps.") {
            layer.expert_bytes = layer.expert_bytes.saturating_add(bytes);
        }
        kept[index].note(name, tensor, attention);
        if matches!(name, "ffn_up.weight" | "ffn_up_exps.weight") {
            shape.feed_forward_len = shape.feed_forward_len.max(tensor.dimensions[1]);
        }
    }
    for (index, (layer, kept)) in shape.layers.iter_mut().zip(kept).enumerate() {
        if (index as u64) < keeping {
            layer.kept_per_token = kept.per_token();
        }
        layer.state_len = kept.state_len;
    }
    shape
}

/// What one layer keeps of the tokens that it has seen.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    key_len: u64,
    value_len: u64,
    has_keys_alone: bool,
    state_len: u64,
}

impl Kept {
    fn note(&mut self, name: &str, tensor: &TensorInfo, attention: &Attention) {
        let width = tensor.dimensions[1];
        match name {
            "attn_k.weight" => self.key_len = width,
            "attn_v.weight" => self.value_len = width,
            "attn_qkv.weight" if attention.kv_heads > 0 => {
                self.key_len = attention.kv_heads.saturating_mul(attention.key_len);
                self.value_len = attention.kv_heads.saturating_mul(attention.value_len);
            }
            "attn_kv_a_mqa.weight" if attention.is_latent => {
                self.key_len = width;
                self.has_keys_alone = true;
            }
            "attn_kv_a_mqa.weight" => {
                self.key_len = attention.heads.saturating_mul(attention.key_len);
                self.value_len = attention.heads.saturating_mul(attention.value_len);
            }
            "ssm_conv1d.weight" => {
                let window = tensor.dimensions[0].saturating_sub(1).saturating_mul(width);
                let state = attention.state_len.saturating_mul(attention.inner_len);
                self.state_len = window.saturating_add(state);
            }
            "shortconv.conv.weight" => {
                self.state_len = tensor.dimensions[0].saturating_sub(1).saturating_mul(width);
            }
            _ => {}
        }
    }

    fn per_token(self) -> u64 {
        // Where the file has no matrix for values, the keys serve as such.
        let value_len = match (self.has_keys_alone, self.value_len) {
            (true, _) => 0,
            (false, 0) => self.key_len,
            (false, value_len) => value_len,
        };
        self.key_len.saturating_add(value_len)
    }
}

/// `blk.7.attn_k.weight` is `attn_k.weight` of layer 7.
fn layer_and_name(name: &str) -> Option<(usize, &str)> {
    let (index, name) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((index.parse().ok()?, name))
}

/// Bytes of a tensor whose size the check has found possible.
fn bytes(tensor: &TensorInfo) -> u64 {
    let elements = tensor.dimensions.iter().product();
    tensor.kind.bytes_for(elements).unwrap_or(0)
}
