//! The tables behind the check: which architectures are allowed, and what their entries must look like.
//!
//! Data only; `check.rs` applies it.

use super::ValueType;

/// Architectures that may be loaded: text models and embedders that llama.cpp 2026-11 runs from one file.
///
/// Left out on purpose: image, speech and diffusion models, encoder-decoders, adapters and drafts.
pub const SUPPORTED_ARCHITECTURES: &[&str] = &[
    "apertus",
    "arcee",
    "bert",
    "bitnet",
    "bloom",
    "chatglm",
    "cohere2",
    "command-r",
    "dbrx",
    "deepseek",
    "deepseek2",
    "ernie4_5",
    "ernie4_5-moe",
    "eurobert",
    "exaone",
    "exaone4",
    "falcon",
    "falcon-h1",
    "gemma",
    "gemma-embedding",
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "glm4",
    "glm4moe",
    "gpt-oss",
    "gpt2",
    "gptneox",
    "granite",
    "granitehybrid",
    "granitemoe",
    "hunyuan-dense",
    "hunyuan-moe",
    "internlm2",
    "jamba",
    "jina-bert-v2",
    "jina-bert-v3",
    "lfm2",
    "lfm2moe",
    "llama",
    "llama-embed",
    "llama4",
    "mamba",
    "mamba2",
    "minicpm",
    "minicpm3",
    "mistral3",
    "mistral4",
    "modern-bert",
    "mpt",
    "nemotron",
    "nemotron_h",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "olmo",
    "olmo2",
    "olmoe",
    "orion",
    "phi2",
    "phi3",
    "phimoe",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen35",
    "qwen35moe",
    "qwen3moe",
    "qwen3next",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder",
    "starcoder2",
    "xverse",
];

/// Architectures that only ever give vectors.
pub(super) const EMBEDDER_ARCHITECTURES: &[&str] = &[
    "bert",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "llama-embed",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
];

/// Numbers of an architecture that llama.cpp asserts on, as (key, least, most, must it be there).
///
/// `block_count` and the expert numbers are `LLAMA_MAX_LAYERS` and `LLAMA_MAX_EXPERTS`; the others are far
/// above any real model.
pub(super) const ARCHITECTURE_NUMBERS: &[(&str, u64, u64, bool)] = &[
    ("block_count", 1, 512, true),
    ("context_length", 1, 1 << 28, true),
    ("embedding_length", 1, 1 << 17, true),
    ("attention.head_count", 0, 4096, false),
    ("attention.head_count_kv", 0, 4096, false),
    ("attention.key_length", 1, 1 << 16, false),
    ("attention.value_length", 1, 1 << 16, false),
    ("feed_forward_length", 0, 1 << 20, false),
    ("expert_count", 0, 1024, false),
    ("expert_used_count", 0, 1024, false),
    ("nextn_predict_layers", 0, 512, false),
    ("rope.dimension_count", 0, 1 << 16, false),
    ("pooling_type", 0, 4, false),
];

/// Types that entries of the tokenizer must have where they are present; `true` marks a list.
pub(super) const TOKENIZER_TYPES: &[(&str, bool, &[ValueType])] = &[
    ("tokenizer.ggml.model", false, &[ValueType::String]),
    ("tokenizer.ggml.pre", false, &[ValueType::String]),
    ("tokenizer.ggml.tokens", true, &[ValueType::String]),
    ("tokenizer.ggml.token_type", true, &[ValueType::Int32]),
    (
        "tokenizer.ggml.scores",
        true,
        &[ValueType::Float32, ValueType::Int32],
    ),
    ("tokenizer.ggml.merges", true, &[ValueType::String]),
    (
        "tokenizer.ggml.precompiled_charsmap",
        true,
        &[ValueType::Uint8, ValueType::Int8],
    ),
    ("tokenizer.ggml.suppress_tokens", true, &[ValueType::Int32]),
    (
        "tokenizer.ggml.token_type_count",
        false,
        &[ValueType::Uint32],
    ),
    ("tokenizer.chat_template", false, &[ValueType::String]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_list_is_sorted_and_holds_every_embedder() {
        assert!(SUPPORTED_ARCHITECTURES.is_sorted());
        for architecture in EMBEDDER_ARCHITECTURES {
            assert!(
                SUPPORTED_ARCHITECTURES.contains(architecture),
                "{architecture}"
            );
        }
    }
}
