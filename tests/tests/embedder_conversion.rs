//! A converted embedder, run by llama.cpp or onnxruntime, gives the vectors that an independent implementation gives.
//!
//! The independent vectors are a fixture with its recipe: `models/tests/fixtures/minilm_vectors.py`. Needs the
//! folder with the embedder's own files in `SATCHEL_TEST_EMBEDDER_DIR`, which `make test` obtains; says so and
//! passes without it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::slice::from_ref;

use satchel_app::backend::embedding_engine::EmbeddingEngine;
use satchel_inference::{BertModel, EngineHandle, ModelSpec, Role, WorkerCommand};
use satchel_models::{EmbedderQuantisation, InstalledModel, ModelStore};
use satchel_tests::{repository, satchel_bin};

struct Fixture {
    texts: Vec<String>,
    json: serde_json::Value,
}

impl Fixture {
    fn read() -> Self {
        let path = repository::root().join("models/tests/fixtures/minilm_vectors.json");
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let texts = json["texts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect();
        Self { texts, json }
    }

    fn vectors(&self, name: &str) -> Vec<Vec<f32>> {
        serde_json::from_value(self.json[name].clone()).unwrap()
    }
}

fn source() -> Option<PathBuf> {
    let folder = std::env::var_os("SATCHEL_TEST_EMBEDDER_DIR").map(PathBuf::from);
    if folder.is_none() {
        eprintln!(
            "skipped: set SATCHEL_TEST_EMBEDDER_DIR to the folder of all-MiniLM-L6-v2, as make test does"
        );
    }
    folder
}

/// The embeddings of the texts by llama.cpp, with the embedder converted from `folder`.
fn embed(folder: &Path, quantisation: EmbedderQuantisation, texts: &[String]) -> Vec<Vec<f32>> {
    let store = tempfile::tempdir().unwrap();
    let model = converted(store.path(), folder, quantisation);
    embed_with(&model, None, texts)
}

/// As [`embed`], by onnxruntime.
fn embed_by_onnxruntime(
    folder: &Path,
    quantisation: EmbedderQuantisation,
    texts: &[String],
) -> Vec<Vec<f32>> {
    let store = tempfile::tempdir().unwrap();
    let model = converted(store.path(), folder, quantisation);
    let engine = EmbeddingEngine::new(&satchel_bin());
    let bert = engine.bert_of(&model).unwrap();
    assert!(bert.is_some(), "the embedder is not known as BERT");
    embed_with(&model, bert, texts)
}

fn converted(store: &Path, folder: &Path, quantisation: EmbedderQuantisation) -> InstalledModel {
    ModelStore::open(store)
        .unwrap()
        .import_dir(folder, quantisation, &mut |_| ())
        .unwrap()
}

fn embed_with(model: &InstalledModel, bert: Option<BertModel>, texts: &[String]) -> Vec<Vec<f32>> {
    let worker = WorkerCommand {
        program: satchel_bin(),
        args: vec!["worker".into(), "inference".into()],
    };
    let spec = ModelSpec {
        path: model.path.clone(),
        role: Role::Embedder,
        threads: None,
        gpu_layers: satchel_inference::GpuLayers::None,
        adapter: None,
        bert,
    };
    let engine = EngineHandle::new(worker, spec);
    let runtime = satchel_app::backend::runtime::build().unwrap();
    runtime.block_on(async {
        let vectors = engine.embed(texts.to_vec()).await.unwrap().vectors;
        engine.unload().await;
        vectors
    })
}

fn lowest_cosine(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f32 {
    assert!(ours.len() >= theirs.len() && !theirs.is_empty());
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    ours.iter()
        .zip(theirs)
        .map(|(ours, theirs)| cosine(ours, theirs))
        .fold(1.0, f32::min)
}

/// A copy of the embedder's folder that pools in another way.
fn with_pooling(folder: &Path, pooling: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "vocab.txt", "config.json"] {
        std::os::unix::fs::symlink(
            folder.join(name).canonicalize().unwrap(),
            copy.path().join(name),
        )
        .unwrap();
    }
    let text = std::fs::read_to_string(folder.join("1_Pooling/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (name, value) in config.as_object_mut().unwrap() {
        if name.starts_with("pooling_mode_") {
            *value = (name == &format!("pooling_mode_{pooling}")).into();
        }
    }
    config[format!("pooling_mode_{pooling}")] = true.into();
    std::fs::create_dir(copy.path().join("1_Pooling")).unwrap();
    std::fs::write(
        copy.path().join("1_Pooling/config.json"),
        config.to_string(),
    )
    .unwrap();
    copy
}

#[test]
fn sixteen_bits_keep_the_vectors() {
    let Some(folder) = source() else { return };
    let fixture = Fixture::read();
    let lowest = lowest_cosine(
        &embed(&folder, EmbedderQuantisation::F16, &fixture.texts),
        &fixture.vectors("vectors"),
    );
    eprintln!("f16: lowest cosine {lowest}");
    assert!(lowest >= 0.999, "{lowest}");
}

#[test]
fn eight_bits_stay_near() {
    let Some(folder) = source() else { return };
    let fixture = Fixture::read();
    let lowest = lowest_cosine(
        &embed(&folder, EmbedderQuantisation::Q8_0, &fixture.texts),
        &fixture.vectors("vectors"),
    );
    eprintln!("q8_0: lowest cosine {lowest}");
    assert!(lowest >= 0.995, "{lowest}");
}

#[test]
fn onnxruntime_stays_near_with_any_weights_and_pooling() {
    let Some(folder) = source() else { return };
    if !satchel_inference::has_onnxruntime(&satchel_bin()) {
        eprintln!("skipped: built without onnxruntime, which `make test` fetches");
        return;
    }
    let fixture = Fixture::read();
    let wanted = fixture.vectors("vectors");
    for quantisation in [EmbedderQuantisation::F16, EmbedderQuantisation::Q8_0] {
        let ours = embed_by_onnxruntime(&folder, quantisation, &fixture.texts);
        let lowest = lowest_cosine(&ours, &wanted);
        let mean = ours
            .iter()
            .zip(&wanted)
            .map(|(ours, theirs)| lowest_cosine(from_ref(ours), from_ref(theirs)))
            .sum::<f32>()
            / wanted.len() as f32;
        eprintln!("onnxruntime, {quantisation:?}: lowest cosine {lowest}, mean {mean}");
        assert!(lowest >= 0.95 && mean >= 0.985, "{lowest}, {mean}");
    }
    for (pooling, vectors) in [("cls_token", "cls_vectors"), ("lasttoken", "last_vectors")] {
        let theirs = fixture.vectors(vectors);
        let folder = with_pooling(&folder, pooling);
        let texts = &fixture.texts[..theirs.len()];
        let ours = embed_by_onnxruntime(folder.path(), EmbedderQuantisation::F16, texts);
        let lowest = lowest_cosine(&ours, &theirs);
        eprintln!("onnxruntime, {pooling}: lowest cosine {lowest}");
        assert!(lowest >= 0.95, "{pooling}: {lowest}");
    }
}

#[test]
fn embeddings_of_two_engines_have_two_names() {
    let Some(folder) = source() else { return };
    let store = tempfile::tempdir().unwrap();
    let model = converted(store.path(), &folder, EmbedderQuantisation::Q8_0);
    let elsewhere = store.path().join("satchel");
    let llama = EmbeddingEngine::new(&elsewhere)
        .embedding_id(&model)
        .unwrap();
    assert!(model.sha256.starts_with(&llama), "{llama}");
    // Whether it can be used is seen by the file alone.
    let place = store.path().join("backends/onnx");
    std::fs::create_dir_all(&place).unwrap();
    for name in ["libonnxruntime.so", "libonnxruntime.dylib"] {
        std::fs::write(place.join(name), b"").unwrap();
    }
    let engine = EmbeddingEngine::new(&elsewhere);
    assert_eq!(
        engine.embedding_id(&model).unwrap(),
        format!("{llama}-ort7")
    );
}

#[test]
fn the_rarer_poolings_are_right_too() {
    let Some(folder) = source() else { return };
    let fixture = Fixture::read();
    for (pooling, vectors) in [("cls_token", "cls_vectors"), ("lasttoken", "last_vectors")] {
        let theirs = fixture.vectors(vectors);
        let folder = with_pooling(&folder, pooling);
        let ours = embed(
            folder.path(),
            EmbedderQuantisation::F16,
            &fixture.texts[..theirs.len()],
        );
        let lowest = lowest_cosine(&ours, &theirs);
        eprintln!("{pooling}: lowest cosine {lowest}");
        assert!(lowest >= 0.999, "{pooling}: {lowest}");
    }
}
