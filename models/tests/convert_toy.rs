//! Converting embedders: a small good one in every variant, and everything that must be refused, with its reason.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::fs;
use std::path::Path;

use common::ToyBert;
use half::{bf16, f16};
use safetensors::tensor::Dtype;
use satchel_models::convert::{Conversion, ConvertError, EmbedderQuantisation};
use satchel_models::gguf::{self, ModelKind, Pooling};
use serde_json::json;

fn convert(dir: &Path, quantisation: EmbedderQuantisation) -> Result<Vec<u8>, ConvertError> {
    Conversion::open(dir, quantisation)?.write(Vec::new(), &mut |_, _| {})
}

/// Saves a changed toy and gives the reason of its refusal.
fn refusal(change: &dyn Fn(&mut ToyBert)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = ToyBert::new();
    change(&mut toy);
    toy.save(folder.path());
    convert(folder.path(), EmbedderQuantisation::F16)
        .expect_err("this folder must be refused")
        .to_string()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

#[test]
fn the_places_of_a_plain_embedders_weights_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("my-embedder");
    let toy = ToyBert::new();
    toy.save(&dir);
    let bytes = convert(&dir, EmbedderQuantisation::F16).unwrap();
    let path = folder.path().join("toy.gguf");
    fs::write(&path, &bytes).unwrap();
    let bert = gguf::bert(&path).unwrap().expect("a plain BERT");
    assert_eq!(
        (bert.width, bert.positions, bert.vocabulary_len),
        (48, 16, 10)
    );
    assert_eq!((bert.layers, bert.pooling), (1, Pooling::Mean));
    assert!((bert.epsilon - 1e-12).abs() < 1e-15, "{}", bert.epsilon);
    let place = &bert.tensors["position_embd.weight"];
    let at = usize::try_from(place.bytes.start).unwrap()..usize::try_from(place.bytes.end).unwrap();
    let positions = &toy.tensors["embeddings.position_embeddings.weight"].1;
    let singles: Vec<u8> = positions
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_eq!(bytes[at], singles);

    // What has other parts is for llama.cpp.
    let name = b"blk.0.attn_q.weight";
    let at = bytes
        .windows(name.len())
        .position(|part| part == name)
        .unwrap();
    let mut other = bytes.clone();
    other[at + 11] = b'z';
    fs::write(&path, &other).unwrap();
    assert_eq!(gguf::bert(&path).unwrap(), None);
    fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
    assert!(gguf::bert(&path).is_err(), "it is cut off");
}

#[test]
fn a_small_embedder_converts_and_passes_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("my-embedder");
    let toy = ToyBert::new();
    toy.save(&dir);
    let bytes = convert(&dir, EmbedderQuantisation::F16).unwrap();
    let summary = gguf::check_reader(bytes.as_slice(), bytes.len() as u64).unwrap();
    assert_eq!(
        (summary.architecture.as_str(), summary.kind),
        ("bert", ModelKind::Embedder)
    );
    assert_eq!(summary.name.as_deref(), Some("my-embedder"));
    assert_eq!(
        (
            summary.context_len_tokens,
            summary.embedding_dim,
            summary.vocabulary_len
        ),
        (16, 48, 10)
    );
    // 3 tables, 2 norms of the table, 6 layers with bias, 2 norms with bias; the pooler is left out.
    assert_eq!(summary.tensor_count, 3 + 2 + 12 + 4);
    let words = &toy.tensors["embeddings.word_embeddings.weight"].1;
    let halves: Vec<u8> = words
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes())
        .collect();
    assert!(
        contains(&bytes, &halves),
        "the table of words is there in 16 bits"
    );
    let positions = &toy.tensors["embeddings.position_embeddings.weight"].1;
    let singles: Vec<u8> = positions
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert!(
        contains(&bytes, &singles),
        "the table of positions is there in 32 bits"
    );
}

#[test]
fn q8_0_leaves_rows_that_fill_no_blocks_in_16_bits() {
    let folder = tempfile::tempdir().unwrap();
    let toy = ToyBert::new();
    toy.save(folder.path());
    let bytes = convert(folder.path(), EmbedderQuantisation::Q8_0).unwrap();
    // Rows of 48 stay in 16 bits; ffn_down has rows of 64 and becomes Q8_0.
    let words = &toy.tensors["embeddings.word_embeddings.weight"].1;
    let halves: Vec<u8> = words
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes())
        .collect();
    assert!(contains(&bytes, &halves));
    let down = &toy.tensors["encoder.layer.0.output.dense.weight"].1;
    let largest = down[..32]
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let mut block = f16::from_f32(largest / 127.0).to_le_bytes().to_vec();
    block.extend(
        down[..32]
            .iter()
            .map(|value| (value * (1.0 / (largest / 127.0))).round() as i8 as u8),
    );
    assert!(contains(&bytes, &block));
    assert!(gguf::check_reader(bytes.as_slice(), bytes.len() as u64).is_ok());
}

#[test]
fn the_pooling_is_read_from_its_file() {
    let cases = [
        ("pooling_mode_mean_tokens", Pooling::Mean),
        ("pooling_mode_cls_token", Pooling::Cls),
        ("pooling_mode_lasttoken", Pooling::Last),
    ];
    for (mode, pooling) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut toy = ToyBert::new();
        toy.pooling = json!({"word_embedding_dimension": 48, mode: true, "pooling_mode_max_tokens": false, "include_prompt": true});
        toy.save(folder.path());
        let bytes = convert(folder.path(), EmbedderQuantisation::F16).unwrap();
        let summary = gguf::check_reader(bytes.as_slice(), bytes.len() as u64).unwrap();
        assert_eq!(summary.pooling, Some(pooling));
    }
}

#[test]
fn half_precision_weights_and_the_bert_prefix_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = ToyBert::new();
    toy.config["architectures"] = json!(["BertForMaskedLM"]);
    toy.tensors = toy
        .tensors
        .into_iter()
        .map(|(name, tensor)| (format!("bert.{name}"), tensor))
        .collect();
    toy.tensors
        .insert("cls.predictions.bias".into(), (vec![10], vec![0.0; 10]));
    toy.save_as(folder.path(), Dtype::F16, &|value| {
        f16::from_f32(value).to_le_bytes().to_vec()
    });
    let from_f16 = convert(folder.path(), EmbedderQuantisation::F16).unwrap();
    toy.save_as(folder.path(), Dtype::F32, &|value| {
        f16::from_f32(value).to_f32().to_le_bytes().to_vec()
    });
    assert!(from_f16 == convert(folder.path(), EmbedderQuantisation::F16).unwrap());
    toy.save_as(folder.path(), Dtype::BF16, &|value| {
        bf16::from_f32(value).to_le_bytes().to_vec()
    });
    let from_bf16 = convert(folder.path(), EmbedderQuantisation::F16).unwrap();
    toy.save_as(folder.path(), Dtype::F32, &|value| {
        bf16::from_f32(value).to_f32().to_le_bytes().to_vec()
    });
    assert!(from_bf16 == convert(folder.path(), EmbedderQuantisation::F16).unwrap());
}

#[test]
fn normalising_is_noticed_and_names_come_from_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = ToyBert::new();
    toy.save(folder.path());
    fs::write(
        folder.path().join("README.md"),
        "---\nlanguage: en\nlicense: mit\n---\n# Usage notes\n# org/my-name-v2\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("sentence_bert_config.json"),
        r#"{"max_seq_length": 12}"#,
    )
    .unwrap();
    let conversion = Conversion::open(folder.path(), EmbedderQuantisation::F16).unwrap();
    let facts = conversion.facts();
    assert_eq!(
        (facts.name.as_str(), facts.license.as_deref()),
        ("my-name-v2", Some("mit"))
    );
    assert_eq!((facts.normalizes, facts.max_input_tokens), (true, Some(12)));
    toy.modules.as_array_mut().unwrap().pop();
    toy.save(folder.path());
    assert!(
        !Conversion::open(folder.path(), EmbedderQuantisation::F16)
            .unwrap()
            .facts()
            .normalizes
    );
}

#[test]
fn unproven_settings_are_refused_with_the_reason() {
    type Change = Box<dyn Fn(&mut ToyBert)>;
    let set = |key: &'static str, value: serde_json::Value| -> Change {
        Box::new(move |toy: &mut ToyBert| toy.config[key] = value.clone())
    };
    let pool = |value: serde_json::Value| -> Change {
        Box::new(move |toy: &mut ToyBert| toy.pooling = value.clone())
    };
    let cases: Vec<(Change, &str)> = vec![
        (
            set("architectures", json!(["BertForSequenceClassification"])),
            "the architecture is \"BertForSequenceClassification\"",
        ),
        (set("architectures", json!([])), "the architecture"),
        (
            set("model_type", json!("roberta")),
            "the model type is \"roberta\"",
        ),
        (
            set("hidden_act", json!("relu")),
            "the activation is \"relu\"",
        ),
        (set("hidden_act", json!("gelu_new")), "the activation"),
        (
            set("position_embedding_type", json!("relative_key")),
            "the position encoding",
        ),
        (set("is_decoder", json!(true)), "decoder"),
        (set("num_attention_heads", json!(5)), "num_attention_heads"),
        (set("hidden_size", json!(0)), "hidden_size as 0"),
        (
            set("num_hidden_layers", json!(100_000)),
            "num_hidden_layers",
        ),
        (
            set("hidden_size", json!("wide")),
            "config.json cannot be understood",
        ),
        (
            pool(json!({"pooling_mode_max_tokens": true})),
            "the pooling is \"pooling_mode_max_tokens\"",
        ),
        (
            pool(json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true})),
            "the pooling",
        ),
        (
            pool(json!({"pooling_mode_weightedmean_tokens": true})),
            "the pooling",
        ),
        (
            pool(json!({"word_embedding_dimension": 48})),
            "the pooling is \"not given\"",
        ),
        (
            pool(json!({"word_embedding_dimension": 64, "pooling_mode_mean_tokens": true})),
            "word_embedding_dimension as 64",
        ),
        (
            Box::new(|toy| toy.modules[2]["type"] = json!("sentence_transformers.models.Dense")),
            "a step in modules.json",
        ),
        (
            Box::new(|toy| toy.modules[1]["path"] = json!("../../outside")),
            "a step in modules.json",
        ),
        (
            Box::new(|toy| toy.vocabulary = toy.vocabulary.replace("bag", "Bag")),
            "the vocabulary is \"cased\"",
        ),
        (
            Box::new(|toy| toy.vocabulary.push_str("more\n")),
            "11 lines",
        ),
        (
            Box::new(|toy| toy.vocabulary = toy.vocabulary.replace("[MASK]", "mask")),
            "[MASK] is missing",
        ),
    ];
    for (change, expected) in cases {
        let message = refusal(&*change);
        assert!(
            message.contains(expected),
            "expected {expected:?} in {message:?}"
        );
    }
}

#[test]
fn tokenizers_with_other_settings_are_refused() {
    for (settings, good) in [
        (
            r#"{"do_lower_case": true, "strip_accents": null, "tokenize_chinese_chars": true}"#,
            true,
        ),
        (r#"{"do_lower_case": false}"#, false),
        (r#"{"do_lower_case": true, "strip_accents": false}"#, false),
        (r#"{"tokenize_chinese_chars": false}"#, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        ToyBert::new().save(folder.path());
        fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
        assert_eq!(
            convert(folder.path(), EmbedderQuantisation::F16).is_ok(),
            good,
            "{settings}"
        );
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    const QUERY: &str = "encoder.layer.0.attention.self.query.weight";
    type Change = Box<dyn Fn(&mut ToyBert)>;
    let cases: Vec<(Change, &str)> = vec![
        (
            Box::new(|toy| drop(toy.tensors.remove(QUERY))),
            "query.weight is missing",
        ),
        (
            Box::new(|toy| toy.tensors.get_mut(QUERY).unwrap().0 = vec![24, 96]),
            "has the shape [24, 96]",
        ),
        (
            Box::new(|toy| toy.tensors.get_mut(QUERY).unwrap().1[1000] = f32::NAN),
            "not a finite number",
        ),
        (
            Box::new(|toy| toy.tensors.get_mut(QUERY).unwrap().1[7] = f32::INFINITY),
            "not a finite number",
        ),
        (
            Box::new(|toy| toy.tensors.get_mut(QUERY).unwrap().1[7] = 1e6),
            "too large for 16 bits",
        ),
        (
            Box::new(|toy| {
                toy.tensors.insert(
                    "encoder.layer.0.adapter.weight".into(),
                    (vec![1], vec![0.0]),
                );
            }),
            "is not part of a plain BERT",
        ),
    ];
    for (change, expected) in cases {
        let message = refusal(&*change);
        assert!(
            message.contains(expected),
            "expected {expected:?} in {message:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    ToyBert::new().save_as(folder.path(), Dtype::F64, &|value| {
        f64::from(value).to_le_bytes().to_vec()
    });
    let message = convert(folder.path(), EmbedderQuantisation::F16)
        .unwrap_err()
        .to_string();
    assert!(message.contains("F64"), "{message}");
}

#[test]
fn missing_and_damaged_files_are_named() {
    for file in [
        "config.json",
        "vocab.txt",
        "model.safetensors",
        "1_Pooling/config.json",
    ] {
        let folder = tempfile::tempdir().unwrap();
        ToyBert::new().save(folder.path());
        fs::remove_file(folder.path().join(file)).unwrap();
        let message = convert(folder.path(), EmbedderQuantisation::F16)
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with(&format!("{file} is missing")),
            "{message}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    ToyBert::new().save(folder.path());
    let weights = fs::read(folder.path().join("model.safetensors")).unwrap();
    for len in (0..weights.len()).step_by(weights.len() / 50) {
        fs::write(folder.path().join("model.safetensors"), &weights[..len]).unwrap();
        assert!(
            convert(folder.path(), EmbedderQuantisation::F16).is_err(),
            "accepted {len} of {} bytes",
            weights.len()
        );
    }
    fs::write(
        folder.path().join("model.safetensors"),
        u64::MAX.to_le_bytes(),
    )
    .unwrap();
    assert!(convert(folder.path(), EmbedderQuantisation::F16).is_err());
    fs::write(folder.path().join("vocab.txt"), [0xff, 0xfe, b'a']).unwrap();
    assert!(
        convert(folder.path(), EmbedderQuantisation::F16)
            .unwrap_err()
            .to_string()
            .contains("UTF-8")
    );
}
