//! Toy models for the tests: small, valid GGUF files, and a small BERT as sentence-transformers saves it.
#![allow(dead_code)] // every test file uses a part

pub(crate) mod host;
pub(crate) mod split;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use satchel_models::gguf::{GgufWriter, MetadataValue, TensorPlan, TensorType};

/// Width of the toy chat model.
pub(crate) const WIDTH: u32 = 64;
/// Plain words in its vocabulary, after the 256 byte tokens.
const WORDS: u32 = 44;

/// The parts of a toy GGUF file; tests change one of them and write it.
#[derive(Clone)]
pub(crate) struct Toy {
    pub(crate) metadata: Vec<(&'static str, MetadataValue)>,
    pub(crate) plan: Vec<TensorPlan>,
}

impl Toy {
    /// A llama with one layer, 300 tokens, and random weights: valid for the check, useless for talking.
    pub(crate) fn chat() -> Self {
        let tokens = (0..256)
            .map(|byte| format!("<0x{byte:02X}>"))
            .chain((0..WORDS).map(|n| format!("word{n}")));
        let token_types = (0..256).map(|_| 6).chain((0..WORDS).map(|_| 1));
        let tokens: Vec<String> = tokens.collect();
        let vocabulary_len = tokens.len() as u64;
        let width = u64::from(WIDTH);
        let metadata = vec![
            ("general.architecture", MetadataValue::Text("llama".into())),
            ("general.name", MetadataValue::Text("Toy Model".into())),
            ("general.license", MetadataValue::Text("mit".into())),
            ("general.file_type", MetadataValue::Uint32(7)),
            ("general.alignment", MetadataValue::Uint32(32)),
            ("llama.block_count", MetadataValue::Uint32(1)),
            ("llama.context_length", MetadataValue::Uint32(128)),
            ("llama.embedding_length", MetadataValue::Uint32(WIDTH)),
            ("llama.attention.head_count", MetadataValue::Uint32(4)),
            (
                "llama.attention.layer_norm_rms_epsilon",
                MetadataValue::Float32(1e-5),
            ),
            ("tokenizer.ggml.model", MetadataValue::Text("llama".into())),
            ("tokenizer.ggml.tokens", MetadataValue::Texts(tokens)),
            (
                "tokenizer.ggml.token_type",
                MetadataValue::Int32s(token_types.collect()),
            ),
            ("tokenizer.ggml.bos_token_id", MetadataValue::Uint32(1)),
            ("tokenizer.ggml.add_bos_token", MetadataValue::Bool(true)),
            (
                "tokenizer.chat_template",
                MetadataValue::Text("{{ messages }}".into()),
            ),
        ];
        let tensor = |name: &str, dimensions: &[u64], kind| TensorPlan {
            name: name.into(),
            dimensions: dimensions.to_vec(),
            kind,
        };
        let plan = vec![
            tensor(
                "token_embd.weight",
                &[width, vocabulary_len],
                TensorType::Q8_0,
            ),
            tensor("output_norm.weight", &[width], TensorType::F32),
            tensor("blk.0.attn_q.weight", &[width, width], TensorType::F16),
        ];
        Self { metadata, plan }
    }

    /// Replaces the value of an entry, or adds it.
    pub(crate) fn set(mut self, key: &'static str, value: MetadataValue) -> Self {
        match self.metadata.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key, value)),
        }
        self
    }

    /// Removes an entry.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.metadata.retain(|(name, _)| *name != key);
        self
    }

    /// The file's bytes, with weights that count up.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut writer = GgufWriter::start(Vec::new(), &self.metadata, self.plan.clone()).unwrap();
        for tensor in &self.plan {
            let data: Vec<u8> = (0..tensor.data_bytes().unwrap()).map(|n| n as u8).collect();
            writer.write_data(&data).unwrap();
        }
        writer.finish().unwrap()
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) {
        fs::write(path, self.bytes()).unwrap();
    }
}

/// A tensor of the toy BERT: shape and values.
pub(crate) type ToyTensor = (Vec<usize>, Vec<f32>);

/// A BERT with one layer of width 48, as sentence-transformers saves it; tests change one part and save it.
#[derive(Clone)]
pub(crate) struct ToyBert {
    pub(crate) config: serde_json::Value,
    pub(crate) pooling: serde_json::Value,
    pub(crate) modules: serde_json::Value,
    pub(crate) vocabulary: String,
    pub(crate) tensors: BTreeMap<String, ToyTensor>,
}

impl ToyBert {
    pub(crate) fn new() -> Self {
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nbag\n##s\ncarry\n!\n".to_owned();
        let config = serde_json::json!({
            "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu",
            "position_embedding_type": "absolute", "hidden_size": 48, "intermediate_size": 64,
            "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 16,
            "type_vocab_size": 2, "vocab_size": 10, "layer_norm_eps": 1e-12,
        });
        let modules = serde_json::json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ]);
        let mut tensors = BTreeMap::new();
        let mut add = |name: &str, shape: &[usize]| {
            let len: usize = shape.iter().product();
            let values = (0..len)
                .map(|n| ((n * 7919 + name.len()) % 1000) as f32 / 1000.0 - 0.5)
                .collect();
            tensors.insert(name.to_owned(), (shape.to_vec(), values));
        };
        add("embeddings.word_embeddings.weight", &[10, 48]);
        add("embeddings.position_embeddings.weight", &[16, 48]);
        add("embeddings.token_type_embeddings.weight", &[2, 48]);
        for part in ["weight", "bias"] {
            add(&format!("embeddings.LayerNorm.{part}"), &[48]);
            add(
                &format!("encoder.layer.0.attention.output.LayerNorm.{part}"),
                &[48],
            );
            add(&format!("encoder.layer.0.output.LayerNorm.{part}"), &[48]);
        }
        let linear = [
            ("attention.self.query", 48, 48),
            ("attention.self.key", 48, 48),
            ("attention.self.value", 48, 48),
            ("attention.output.dense", 48, 48),
            ("intermediate.dense", 64, 48),
            ("output.dense", 48, 64),
        ];
        for (name, rows, columns) in linear {
            add(&format!("encoder.layer.0.{name}.weight"), &[rows, columns]);
            add(&format!("encoder.layer.0.{name}.bias"), &[rows]);
        }
        add("pooler.dense.weight", &[48, 48]);
        let pooling = serde_json::json!({"word_embedding_dimension": 48, "pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false});
        Self {
            config,
            pooling,
            modules,
            vocabulary,
            tensors,
        }
    }

    /// Writes the folder with weights in 32 bits.
    pub(crate) fn save(&self, dir: &Path) {
        self.save_as(dir, Dtype::F32, &|value| value.to_le_bytes().to_vec());
    }

    /// Writes the folder with weights in another format.
    pub(crate) fn save_as(&self, dir: &Path, format: Dtype, encode: &dyn Fn(f32) -> Vec<u8>) {
        fs::create_dir_all(dir.join("1_Pooling")).unwrap();
        fs::write(dir.join("config.json"), self.config.to_string()).unwrap();
        fs::write(dir.join("modules.json"), self.modules.to_string()).unwrap();
        fs::write(dir.join("1_Pooling/config.json"), self.pooling.to_string()).unwrap();
        fs::write(dir.join("vocab.txt"), &self.vocabulary).unwrap();
        let encoded: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, values))| {
                (
                    name,
                    shape,
                    values.iter().flat_map(|value| encode(*value)).collect(),
                )
            })
            .collect();
        let views = encoded.iter().map(|(name, shape, bytes)| {
            (
                (*name).clone(),
                TensorView::new(format, (*shape).clone(), bytes).unwrap(),
            )
        });
        fs::write(
            dir.join("model.safetensors"),
            safetensors::serialize(views, None).unwrap(),
        )
        .unwrap();
    }
}

/// A small random generator (SplitMix64), so that every failure can be repeated from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The seed from `SATCHEL_TEST_SEED`, else a new one; printed in any case.
    pub(crate) fn from_environment() -> Self {
        let given = std::env::var("SATCHEL_TEST_SEED")
            .ok()
            .map(|text| text.parse().expect("a whole number"));
        let now = || {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_nanos() as u64
        };
        let seed = given.unwrap_or_else(now);
        eprintln!("seed: SATCHEL_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
