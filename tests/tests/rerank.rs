//! A reranker decides the order of what was found, through the real llama.cpp.
//!
//! The model is made by hand, so that what it must say is known: its one layer averages over all tokens, and its head
//! measures how much of that is the word "zebra".

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs::File;
use std::path::Path;

use satchel_models::gguf::{GgufWriter, MetadataValue, TensorPlan, TensorType};
use satchel_tests::Laptop;

const WIDTH: usize = 64;
const TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁zebra"];

/// Two directions at a right angle, each with mean 0 and length 8, so that normalising leaves them.
fn direction(is_zebra: bool) -> Vec<f32> {
    let sign = |at: usize| {
        let positive = if is_zebra {
            at < WIDTH / 2
        } else {
            at.is_multiple_of(2)
        };
        if positive { 1.0 } else { -1.0 }
    };
    (0..WIDTH).map(sign).collect()
}

fn zebra_reranker(path: &Path) {
    let number = MetadataValue::Uint32;
    let text = |text: &str| MetadataValue::Text(text.to_owned());
    let metadata = [
        ("general.architecture", text("bert")),
        ("general.name", text("Zebra Reranker")),
        ("bert.context_length", number(512)),
        ("bert.block_count", number(1)),
        ("bert.embedding_length", number(WIDTH as u32)),
        ("bert.feed_forward_length", number(WIDTH as u32)),
        ("bert.attention.head_count", number(1)),
        (
            "bert.attention.layer_norm_epsilon",
            MetadataValue::Float32(1e-12),
        ),
        ("bert.attention.causal", MetadataValue::Bool(false)),
        ("bert.pooling_type", number(4)),
        ("tokenizer.ggml.model", text("bert")),
        ("tokenizer.ggml.pre", text("bert-bge")),
        ("tokenizer.ggml.token_type_count", number(2)),
        (
            "tokenizer.ggml.tokens",
            MetadataValue::Texts(TOKENS.map(str::to_owned).to_vec()),
        ),
        (
            "tokenizer.ggml.token_type",
            MetadataValue::Int32s(vec![3, 2, 3, 3, 1]),
        ),
        ("tokenizer.ggml.padding_token_id", number(0)),
        ("tokenizer.ggml.unknown_token_id", number(1)),
        ("tokenizer.ggml.bos_token_id", number(2)),
        ("tokenizer.ggml.cls_token_id", number(2)),
        ("tokenizer.ggml.eos_token_id", number(3)),
        ("tokenizer.ggml.seperator_token_id", number(3)),
        ("tokenizer.ggml.mask_token_id", number(0)),
    ];
    let (zero, one) = (vec![0.0; WIDTH], vec![1.0; WIDTH]);
    let nothing = vec![0.0; WIDTH * WIDTH];
    let mut same = nothing.clone();
    (0..WIDTH).for_each(|at| same[at * (WIDTH + 1)] = 1.0);
    let vectors = (0..TOKENS.len()).flat_map(|token| direction(token == 4));
    let mut measure = nothing.clone();
    for (weight, sign) in measure.iter_mut().zip(direction(true)) {
        *weight = sign / WIDTH as f32;
    }
    let mut first = zero.clone();
    first[0] = 1.0;
    let square = [WIDTH as u64, WIDTH as u64];
    let mut tensors: Vec<(&str, Vec<u64>, Vec<f32>)> = vec![
        (
            "token_embd.weight",
            vec![WIDTH as u64, TOKENS.len() as u64],
            vectors.collect(),
        ),
        (
            "token_types.weight",
            vec![WIDTH as u64, 2],
            vec![0.0; 2 * WIDTH],
        ),
        (
            "position_embd.weight",
            vec![WIDTH as u64, 512],
            vec![0.0; 512 * WIDTH],
        ),
        ("cls.weight", square.to_vec(), measure),
        ("cls.output.weight", vec![WIDTH as u64, 1], first),
        ("cls.output.bias", vec![1], vec![0.0]),
    ];
    for (name, matrix) in [
        ("blk.0.attn_q.weight", &nothing),
        ("blk.0.attn_k.weight", &nothing),
        ("blk.0.attn_v.weight", &same),
        ("blk.0.attn_output.weight", &same),
        ("blk.0.ffn_up.weight", &nothing),
        ("blk.0.ffn_down.weight", &nothing),
    ] {
        tensors.push((name, square.to_vec(), matrix.clone()));
    }
    for (name, vector) in [
        ("token_embd_norm.weight", &one),
        ("token_embd_norm.bias", &zero),
        ("cls.bias", &zero),
        ("blk.0.attn_q.bias", &zero),
        ("blk.0.attn_k.bias", &zero),
        ("blk.0.attn_v.bias", &zero),
        ("blk.0.attn_output.bias", &zero),
        ("blk.0.attn_output_norm.weight", &one),
        ("blk.0.attn_output_norm.bias", &zero),
        ("blk.0.ffn_up.bias", &zero),
        ("blk.0.ffn_down.bias", &zero),
        ("blk.0.layer_output_norm.weight", &one),
        ("blk.0.layer_output_norm.bias", &zero),
    ] {
        tensors.push((name, vec![WIDTH as u64], vector.clone()));
    }
    let plan = tensors.iter().map(|(name, dimensions, _)| TensorPlan {
        name: (*name).to_owned(),
        dimensions: dimensions.clone(),
        kind: TensorType::F32,
    });
    let file = File::create(path).unwrap();
    let mut writer = GgufWriter::start(file, &metadata, plan.collect()).unwrap();
    for (_, _, values) in &tensors {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        writer.write_data(&bytes).unwrap();
    }
    writer.finish().unwrap();
}

fn order(laptop: &Laptop, query: &str) -> Vec<String> {
    let found = laptop
        .run(["search", "--json", query])
        .expect_success()
        .json();
    let hits = found["hits"].as_array().unwrap().iter();
    let name = |hit: &serde_json::Value| {
        let path = hit["path"].as_str().unwrap();
        path.rsplit('/').next().unwrap().to_owned()
    };
    hits.map(name).collect()
}

#[test]
fn a_reranker_decides_the_order() {
    let laptop = Laptop::new();
    laptop.write(
        "papers/noon.md",
        "The ship sails at noon, and the ship sails at night.",
    );
    laptop.write(
        "papers/one.md",
        "The ship carried one zebra among many other animals of the south.",
    );
    laptop.write(
        "papers/herd.md",
        "A ship, zebra after zebra, zebra upon zebra.",
    );
    laptop.run(["import", "papers"]).expect_success();
    let by_words = order(&laptop, "ship sails");
    assert_eq!(by_words[0], "noon.md", "{by_words:?}");

    let file = laptop.home().join("zebra.gguf");
    zebra_reranker(&file);
    laptop
        .run(["models", "import", "zebra.gguf"])
        .expect_success();
    let models = laptop
        .run(["models", "list", "--json"])
        .expect_success()
        .json();
    let (id, kind) = (models[0]["id"].as_str().unwrap(), &models[0]["kind"]);
    assert_eq!(
        (kind.as_str(), &models[0]["in_use"]),
        (Some("reranker"), &true.into())
    );
    assert_eq!(
        order(&laptop, "ship sails"),
        ["herd.md", "one.md", "noon.md"]
    );
    let found = laptop.run(["search", "--json", "--limit", "1", "ship sails"]);
    let found = found.expect_success().json();
    assert_eq!(found["hits"].as_array().unwrap().len(), 1, "{found}");

    // Search by words alone is search by words alone.
    let lexical = laptop.first_hit("lexical", "ship sails");
    assert!(lexical["path"].as_str().unwrap().ends_with("noon.md"));

    // Broken, it stops no search, and is told of.
    let path = models[0]["path"].as_str().unwrap();
    let whole = std::fs::read(path).unwrap();
    std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(order(&laptop, "ship sails"), by_words);
    let told = laptop.run(["search", "ship sails"]).expect_success();
    assert!(told.stderr.contains("not of the reranker"), "{told:?}");

    laptop.run(["models", "remove", id]).expect_success();
    assert_eq!(order(&laptop, "ship sails"), by_words);
}
