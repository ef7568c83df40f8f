//! Model files of several architectures that llama.cpp loads, with zeros for weights.
//!
//! Their sizes are those of small real models, so that what llama.cpp takes for them can be compared with what was
//! foretold; they say nothing sensible. Start at [`write`].

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use satchel_models::gguf::{GgufWriter, MetadataValue, TensorPlan, TensorType, WriteError};

/// The architectures that [`write`] knows, each of them special in its memory.
pub const ARCHITECTURES: &[&str] = &["llama", "qwen3", "gemma3", "phi3", "qwen3moe", "mamba"];

const LAYERS: u32 = 6;
const EMBD: u64 = 1024;
const FEED_FORWARD: u64 = 2816;
const HEADS: u32 = 16;
const KV_HEADS: u32 = 4;
const HEAD_LEN: u64 = 64;
const EXPERTS: u64 = 8;

/// Writes a model of `architecture` for contexts of up to 32,768 tokens.
///
/// # Panics
/// When it is not one of [`ARCHITECTURES`], or the disk is full.
pub fn write(path: &Path, architecture: &str) {
    assert!(
        ARCHITECTURES.contains(&architecture),
        "no {architecture} here"
    );
    try_to_write(path, architecture).expect("the disk has room");
}

fn try_to_write(path: &Path, architecture: &str) -> Result<(), WriteError> {
    let plan = tensors(architecture);
    let metadata = metadata(architecture);
    let metadata: Vec<(&str, MetadataValue)> = metadata
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    let file = BufWriter::new(File::create(path)?);
    let sizes: Vec<u64> = plan.iter().filter_map(TensorPlan::data_bytes).collect();
    let mut writer = GgufWriter::start(file, &metadata, plan)?;
    let zeros = vec![0; 1 << 20];
    for size in sizes {
        let mut left = size as usize;
        while left > 0 {
            let part = left.min(zeros.len());
            writer.write_data(&zeros[..part])?;
            left -= part;
        }
    }
    writer.finish()?;
    Ok(())
}

fn vocabulary_len(architecture: &str) -> u64 {
    match architecture {
        "gemma3" => 100_000,
        "qwen3" | "qwen3moe" => 60_000,
        _ => 32_000,
    }
}

fn metadata(architecture: &str) -> Vec<(String, MetadataValue)> {
    let text = |text: &str| MetadataValue::Text(text.to_owned());
    let number = MetadataValue::Uint32;
    let mut metadata = vec![
        ("general.architecture".to_owned(), text(architecture)),
        ("general.name".to_owned(), text("Toy")),
    ];
    let mut of = |name: &str, value| metadata.push((format!("{architecture}.{name}"), value));
    of("context_length", number(32_768));
    of("block_count", number(LAYERS));
    of("embedding_length", number(EMBD as u32));
    of("feed_forward_length", number(FEED_FORWARD as u32));
    of("attention.head_count", number(HEADS));
    of(
        "attention.layer_norm_rms_epsilon",
        MetadataValue::Float32(1e-5),
    );
    of("rope.dimension_count", number(HEAD_LEN as u32));
    match architecture {
        "mamba" => {
            of("ssm.conv_kernel", number(4));
            of("ssm.inner_size", number(2 * EMBD as u32));
            of("ssm.state_size", number(16));
            of("ssm.time_step_rank", number(64));
        }
        // Each head has keys of its own here.
        "phi3" => of("attention.head_count_kv", number(HEADS)),
        _ => {
            of("attention.head_count_kv", number(KV_HEADS));
            of("attention.key_length", number(HEAD_LEN as u32));
            of("attention.value_length", number(HEAD_LEN as u32));
        }
    }
    if architecture == "gemma3" {
        of("attention.sliding_window", number(512));
    }
    if architecture == "qwen3moe" {
        of("expert_count", number(EXPERTS as u32));
        of("expert_used_count", number(2));
        of(
            "expert_feed_forward_length",
            number(FEED_FORWARD as u32 / 4),
        );
    }
    let vocabulary_len = vocabulary_len(architecture);
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).to_vec();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![2, 3, 3];
    kinds.extend([6; 256]);
    while (tokens.len() as u64) < vocabulary_len {
        tokens.push(format!("▁word{}", tokens.len()));
        kinds.push(1);
    }
    metadata.extend([
        ("tokenizer.ggml.model".to_owned(), text("llama")),
        (
            "tokenizer.ggml.tokens".to_owned(),
            MetadataValue::Texts(tokens),
        ),
        (
            "tokenizer.ggml.token_type".to_owned(),
            MetadataValue::Int32s(kinds),
        ),
        ("tokenizer.ggml.bos_token_id".to_owned(), number(1)),
        ("tokenizer.ggml.eos_token_id".to_owned(), number(2)),
    ]);
    metadata
}

fn tensors(architecture: &str) -> Vec<TensorPlan> {
    let matrix = |name: &str, dimensions: &[u64]| TensorPlan {
        name: name.to_owned(),
        dimensions: dimensions.to_vec(),
        kind: TensorType::Q8_0,
    };
    let plain = |name: &str, dimensions: &[u64]| TensorPlan {
        name: name.to_owned(),
        dimensions: dimensions.to_vec(),
        kind: TensorType::F32,
    };
    let vocabulary_len = vocabulary_len(architecture);
    let mut plan = vec![matrix("token_embd.weight", &[EMBD, vocabulary_len])];
    let (q, kv) = (u64::from(HEADS) * HEAD_LEN, u64::from(KV_HEADS) * HEAD_LEN);
    let expert = FEED_FORWARD / 4;
    for layer in 0..LAYERS {
        let mut add = |mut tensor: TensorPlan| {
            tensor.name = format!("blk.{layer}.{}", tensor.name);
            plan.push(tensor);
        };
        add(plain("attn_norm.weight", &[EMBD]));
        if architecture == "mamba" {
            let inner = 2 * EMBD;
            add(matrix("ssm_in.weight", &[EMBD, 2 * inner]));
            add(plain("ssm_conv1d.weight", &[4, inner]));
            add(plain("ssm_conv1d.bias", &[inner]));
            add(matrix("ssm_x.weight", &[inner, 64 + 2 * 16]));
            add(matrix("ssm_dt.weight", &[64, inner]));
            add(plain("ssm_dt.bias", &[inner]));
            add(plain("ssm_a", &[16, inner]));
            add(plain("ssm_d", &[inner]));
            add(matrix("ssm_out.weight", &[inner, EMBD]));
            continue;
        }
        if architecture == "phi3" {
            add(matrix("attn_qkv.weight", &[EMBD, 3 * q]));
        } else {
            add(matrix("attn_q.weight", &[EMBD, q]));
            add(matrix("attn_k.weight", &[EMBD, kv]));
            add(matrix("attn_v.weight", &[EMBD, kv]));
        }
        add(matrix("attn_output.weight", &[q, EMBD]));
        add(plain("ffn_norm.weight", &[EMBD]));
        if matches!(architecture, "qwen3" | "qwen3moe" | "gemma3") {
            add(plain("attn_q_norm.weight", &[HEAD_LEN]));
            add(plain("attn_k_norm.weight", &[HEAD_LEN]));
        }
        if architecture == "gemma3" {
            add(plain("post_attention_norm.weight", &[EMBD]));
            add(plain("post_ffw_norm.weight", &[EMBD]));
        }
        match architecture {
            "qwen3moe" => {
                add(plain("ffn_gate_inp.weight", &[EMBD, EXPERTS]));
                add(matrix("ffn_gate_exps.weight", &[EMBD, expert, EXPERTS]));
                add(matrix("ffn_up_exps.weight", &[EMBD, expert, EXPERTS]));
                add(matrix("ffn_down_exps.weight", &[expert, EMBD, EXPERTS]));
            }
            "phi3" => {
                add(matrix("ffn_up.weight", &[EMBD, 2 * FEED_FORWARD]));
                add(matrix("ffn_down.weight", &[FEED_FORWARD, EMBD]));
            }
            _ => {
                add(matrix("ffn_gate.weight", &[EMBD, FEED_FORWARD]));
                add(matrix("ffn_up.weight", &[EMBD, FEED_FORWARD]));
                add(matrix("ffn_down.weight", &[FEED_FORWARD, EMBD]));
            }
        }
    }
    // At the end, as the last layers are: what the processor keeps is then one piece of the file, and llama.cpp, which
    // counts from its first to its last byte, counts nothing that is on the GPU.
    plan.push(plain("output_norm.weight", &[EMBD]));
    if matches!(architecture, "llama" | "phi3") {
        plan.push(matrix("output.weight", &[EMBD, vocabulary_len]));
    }
    plan
}
