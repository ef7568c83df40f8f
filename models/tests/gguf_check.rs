//! The check of GGUF files: what it says about good ones, and in which words it refuses each kind of bad one.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::fs;

use common::{Toy, WIDTH};
use satchel_models::gguf::{
    GgufError, GgufSummary, MetadataValue, ModelKind, Pooling, TensorType, check,
};

fn check_bytes(bytes: &[u8]) -> Result<GgufSummary, GgufError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    check(&path)
}

fn refusal(bytes: &[u8]) -> String {
    check_bytes(bytes)
        .expect_err("this file must be refused")
        .to_string()
}

#[test]
fn a_good_file_is_summarised() {
    let toy = Toy::chat();
    let summary = check_bytes(&toy.bytes()).unwrap();
    assert_eq!(
        (summary.architecture.as_str(), summary.kind),
        ("llama", ModelKind::Chat)
    );
    assert_eq!(
        (summary.name.as_deref(), summary.license.as_deref()),
        (Some("Toy Model"), Some("mit"))
    );
    assert_eq!(
        (
            summary.context_len_tokens,
            summary.embedding_dim,
            summary.block_count
        ),
        (128, 64, 1)
    );
    assert_eq!((summary.vocabulary_len, summary.tensor_count), (300, 3));
    assert_eq!(summary.parameters, 64 * 300 + 64 + 64 * 64);
    assert_eq!(
        (
            summary.quantisation.as_str(),
            summary.has_chat_template,
            summary.pooling
        ),
        ("Q8_0", true, None)
    );
    assert_eq!(summary.file_bytes, toy.bytes().len() as u64);
}

#[test]
fn pooling_and_missing_facts_are_told() {
    let toy = Toy::chat()
        .set("llama.pooling_type", MetadataValue::Uint32(3))
        .without("general.file_type")
        .without("general.name")
        .without("tokenizer.chat_template");
    let summary = check_bytes(&toy.bytes()).unwrap();
    assert_eq!(
        (summary.kind, summary.pooling),
        (ModelKind::Embedder, Some(Pooling::Last))
    );
    assert_eq!((summary.name, summary.has_chat_template), (None, false));
    assert_eq!(summary.quantisation, "Q8_0", "the format of most weights");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = Toy::chat().bytes();
    let mut in_words = 0;
    for len in (0..bytes.len())
        .step_by(97)
        .chain(0..64)
        .chain([bytes.len() - 1])
    {
        match check_bytes(&bytes[..len]) {
            Err(GgufError::Empty) => assert_eq!(len, 0),
            Err(GgufError::CutOff {
                promised_bytes,
                file_bytes,
            }) => {
                assert_eq!(file_bytes, len as u64);
                assert!(promised_bytes > file_bytes && promised_bytes <= bytes.len() as u64);
                in_words += 1;
            }
            // The last tensor is padded; only real data is demanded.
            other => panic!("{len} of {} bytes gave {other:?}", bytes.len()),
        }
    }
    assert!(in_words > 200);
    let message = refusal(&bytes[..bytes.len() - 1]);
    let whole = bytes.len();
    assert_eq!(
        message,
        format!(
            "this file is cut off: the header promises at least {whole} bytes, the file has {}; download it again",
            whole - 1
        )
    );
}

#[test]
fn files_of_other_kinds_are_named() {
    assert_eq!(refusal(b""), "this file is empty; download it again");
    assert!(refusal(b"<!DOCTYPE html><html>").contains("web page"));
    assert!(refusal(b"version https://git-lfs.github.com/spec/v1").contains("Git LFS"));
    assert!(refusal(b"PK\x03\x04....").contains("ZIP"));
    assert!(refusal(b"just a text file").contains("not a GGUF model"));
    assert!(refusal(b"FUGG\0\0\0\0").contains("big-endian"));
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(check(folder.path()), Err(GgufError::NotAFile)));
    assert!(matches!(
        check(&folder.path().join("nothing")),
        Err(GgufError::Io(_))
    ));
}

#[test]
fn a_pipe_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(matches!(check(&path), Err(GgufError::NotAFile)));
}

#[test]
fn other_versions_are_refused() {
    for version in [0_u32, 1, 4, 0x0300_0000] {
        let mut bytes = Toy::chat().bytes();
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        assert!(
            matches!(check_bytes(&bytes), Err(GgufError::UnsupportedVersion { version: v }) if v == version)
        );
    }
}

#[test]
fn files_that_are_no_whole_language_model_are_refused() {
    let text = |text: &str| MetadataValue::Text(text.into());
    let unknown = Toy::chat().set("general.architecture", text("warp-drive"));
    assert!(refusal(&unknown.bytes()).contains("\"warp-drive\" are not supported"));
    assert!(
        refusal(
            &Toy::chat()
                .set("general.architecture", text("clip"))
                .bytes()
        )
        .contains("image part")
    );
    assert!(refusal(&Toy::chat().set("general.type", text("adapter")).bytes()).contains("LoRA"));
}

#[test]
fn a_part_of_a_split_model_says_which_it_is() {
    let part = |number| {
        Toy::chat()
            .set("split.count", MetadataValue::Uint32(3))
            .set("split.no", MetadataValue::Uint32(number))
    };
    assert!(refusal(&part(0).bytes()).contains("part 1 of 3 of a split model"));
    // Only the first part says what the model is.
    let later = part(1).without("general.architecture").bytes();
    assert!(refusal(&later).contains("part 2 of 3 of a split model"));
    assert!(refusal(&part(3).bytes()).contains("split.no"));
    let many = part(0).set("split.count", MetadataValue::Uint32(60_000));
    assert!(refusal(&many.bytes()).contains("number of parts"));
    let whole = part(0).set("split.count", MetadataValue::Uint32(1));
    assert!(check_bytes(&whole.bytes()).is_ok());
}

#[test]
fn lies_in_the_metadata_are_refused() {
    use MetadataValue::{Bool, Int32s, Text, Texts, Uint32};
    let tokens = |count: usize| Texts((0..count).map(|n| format!("token{n}")).collect());
    let lies: Vec<(&'static str, MetadataValue)> = vec![
        ("general.architecture", Uint32(1)),
        ("general.name", Uint32(1)),
        ("general.alignment", Uint32(0)),
        ("general.alignment", Uint32(24)),
        ("general.alignment", Uint32(8192)),
        ("general.alignment", Text("32".into())),
        ("llama.block_count", Uint32(0)),
        ("llama.block_count", Uint32(513)),
        ("llama.block_count", Int32s(vec![1])),
        ("llama.context_length", Uint32(0)),
        ("llama.embedding_length", Uint32(WIDTH * 2)),
        ("llama.attention.head_count", Uint32(u32::MAX)),
        ("llama.expert_used_count", Uint32(2)),
        ("llama.pooling_type", Uint32(9)),
        ("tokenizer.ggml.model", Bool(true)),
        ("tokenizer.ggml.tokens", Text("a".into())),
        ("tokenizer.ggml.tokens", Int32s(vec![1; 300])),
        ("tokenizer.ggml.tokens", Texts(vec![])),
        ("tokenizer.ggml.tokens", Texts(vec!["same".into(); 300])),
        ("tokenizer.ggml.tokens", tokens(299)),
        // 256 tokens claim to be bytes and are not written as such.
        ("tokenizer.ggml.tokens", tokens(300)),
        ("tokenizer.ggml.token_type", Int32s(vec![1; 299])),
        ("tokenizer.ggml.token_type", Texts(vec!["1".into(); 300])),
        ("tokenizer.ggml.scores", Int32s(vec![0; 10])),
        ("tokenizer.ggml.merges", Int32s(vec![0; 10])),
        (
            "tokenizer.ggml.precompiled_charsmap",
            Texts(vec!["a".into()]),
        ),
        ("tokenizer.ggml.bos_token_id", Text("1".into())),
        ("tokenizer.ggml.add_bos_token", Uint32(1)),
        ("tokenizer.chat_template", Int32s(vec![1])),
    ];
    for (key, value) in lies {
        let shown = format!("{key} = {value:?}");
        let result = check_bytes(&Toy::chat().set(key, value).bytes());
        assert!(
            result.is_err(),
            "accepted {}",
            &shown[..shown.len().min(100)]
        );
    }
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
    ] {
        assert!(
            check_bytes(&Toy::chat().without(key).bytes()).is_err(),
            "accepted a file without {key}"
        );
    }
}

#[test]
fn byte_tokens_with_a_sign_are_refused() {
    let mut toy = Toy::chat();
    let (_, MetadataValue::Texts(tokens)) = toy
        .metadata
        .iter_mut()
        .find(|(key, _)| *key == "tokenizer.ggml.tokens")
        .unwrap()
    else {
        panic!("tokens are texts")
    };
    tokens[17] = "<0x-1>".into();
    assert!(refusal(&toy.bytes()).contains("byte token"));
}

#[test]
fn an_empty_token_that_collides_with_a_real_one_is_refused() {
    let mut toy = Toy::chat();
    let (_, MetadataValue::Texts(tokens)) = toy
        .metadata
        .iter_mut()
        .find(|(key, _)| *key == "tokenizer.ggml.tokens")
        .unwrap()
    else {
        panic!("tokens are texts")
    };
    tokens[260] = String::new();
    assert!(check_bytes(&toy.bytes()).is_ok());
    let (_, MetadataValue::Texts(tokens)) = toy
        .metadata
        .iter_mut()
        .find(|(key, _)| *key == "tokenizer.ggml.tokens")
        .unwrap()
    else {
        panic!("tokens are texts")
    };
    tokens[261] = "[EMPTY_260]".into();
    assert!(refusal(&toy.bytes()).contains("same token twice"));
}

#[test]
fn a_wordpiece_tokenizer_without_its_special_tokens_is_refused() {
    let toy = Toy::chat().set("tokenizer.ggml.model", MetadataValue::Text("bert".into()));
    assert!(check_bytes(&toy.bytes()).is_ok());
    let lying = toy.set(
        "tokenizer.ggml.seperator_token_id",
        MetadataValue::Uint32(300),
    );
    assert!(refusal(&lying.bytes()).contains("seperator_token_id"));
}

#[test]
fn lies_about_tensors_are_refused() {
    let toy = Toy::chat();
    let with = |change: &dyn Fn(&mut Toy)| {
        let mut toy = toy.clone();
        change(&mut toy);
        check_bytes(&toy.bytes())
    };
    assert!(with(&|toy| toy.plan[0].name = "token_embedding.weight".into()).is_err());
    assert!(with(&|toy| toy.plan[0].dimensions[1] = 301).is_err());
    let turned = |toy: &mut Toy| {
        toy.plan[0].kind = TensorType::F16;
        toy.plan[0].dimensions.reverse();
    };
    assert!(with(&turned).is_err());
    assert!(with(&|toy| toy.plan[1].name = toy.plan[2].name.clone()).is_err());
    assert!(with(&|toy| toy.plan[1].name = "x".repeat(64)).is_err());
    assert!(with(&|toy| toy.plan[1].dimensions = vec![1, 1, 1, 1, 64]).is_err());
    assert!(
        with(&|toy| toy.plan[2].kind = TensorType::F32).is_ok(),
        "another format is no lie when the data goes with it"
    );
    assert!(with(&|toy| toy.plan.clear()).is_err());
}

#[test]
fn a_file_of_terabytes_is_judged_without_reading_it() {
    // Dimensions of a tensor with 2^62 elements, and one whose product wraps to a small number.
    for (rows, columns) in [(1_u64 << 31, 1_u64 << 31), (1 << 33, 1 << 33)] {
        let mut bytes = Toy::chat().bytes();
        let name = b"blk.0.attn_q.weight";
        let at = bytes
            .windows(name.len())
            .position(|window| window == name)
            .unwrap()
            + name.len()
            + 4;
        bytes[at..at + 8].copy_from_slice(&columns.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&rows.to_le_bytes());
        assert!(check_bytes(&bytes).is_err(), "{rows} × {columns}");
    }
}

/// Real files that another helper or a person has at hand; the starter chat model for example.
#[test]
fn real_files_pass() {
    let Some(paths) = std::env::var_os("SATCHEL_TEST_GGUF_FILES") else {
        eprintln!(
            "skipped: set SATCHEL_TEST_GGUF_FILES to the paths of good GGUF files, separated by colons"
        );
        return;
    };
    for path in std::env::split_paths(&paths) {
        let started = std::time::Instant::now();
        let summary = check(&path).unwrap();
        eprintln!("{:?} in {:?}", summary, started.elapsed());
    }
}
