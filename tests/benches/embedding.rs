//! Embedding speed beside onnxruntime as people use it from Python, and of llama.cpp's builds for processors.
//!
//! `make bench BENCH=embedding`. Runs of both programs take turns; each value is one whole run.

use std::path::PathBuf;

use satchel_app::backend::embedding_engine::EmbeddingEngine;
use satchel_inference::{BertModel, EngineHandle, GpuLayers, ModelSpec, Role, WorkerCommand};
use satchel_models::{InstalledModel, ModelKind, ModelStore};
use satchel_tests::bench::{Row, invented_text, print};
use satchel_tests::{models_dir, peers, satchel_bin};

const RUNS: usize = 5;

fn main() {
    let store = ModelStore::open(&models_dir()).expect("the folder of models");
    let installed = store.list().expect("readable models");
    let embedder = installed
        .iter()
        .find(|model| model.kind == ModelKind::Embedder);
    let Some(embedder) = embedder else {
        println!("skipped: the starter models are not installed (make run installs them)");
        return;
    };
    let runtime = satchel_app::backend::runtime::build().expect("threads");
    runtime.block_on(async {
        beside_onnxruntime(embedder).await;
        by_llama_cpp(embedder).await;
    });
}

fn worker() -> WorkerCommand {
    WorkerCommand {
        program: satchel_bin(),
        args: vec!["worker".into(), "inference".into()],
    }
}

fn spec(model: &InstalledModel, bert: Option<BertModel>) -> ModelSpec {
    ModelSpec {
        path: model.path.clone(),
        role: Role::Embedder,
        threads: None,
        gpu_layers: GpuLayers::None,
        adapter: None,
        bert,
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The worker takes its variant from the environment, which `env` sets for it alone.
fn worker_with_variant(variant: &str) -> WorkerCommand {
    let WorkerCommand { program, args } = worker();
    let mut all = vec![
        format!("SATCHEL_CPU_VARIANT={variant}").into(),
        program.into_os_string(),
    ];
    all.extend(args);
    WorkerCommand {
        program: PathBuf::from("/usr/bin/env"),
        args: all,
    }
}

/// Beside onnxruntime, which gets the texts as tokens; ours are counted from the words on, through the worker.
async fn beside_onnxruntime(model: &InstalledModel) {
    let Some(folder) = std::env::var_os("SATCHEL_BENCH_EMBEDDER_DIR").map(PathBuf::from) else {
        println!("embedding beside onnxruntime: `make bench` says where its weights are");
        return;
    };
    let Some(python) = peers::onnxruntime() else {
        return;
    };
    let texts = abstracts();
    let bert = EmbeddingEngine::new(&satchel_bin())
        .bert_of(model)
        .expect("a readable embedder");
    if bert.is_none() {
        println!("embedding beside onnxruntime: built without it");
        return;
    }
    let engine = EngineHandle::new(worker(), spec(model, bert));
    embed_once(&engine, &texts).await;
    let (mut ours, mut to_f32, mut to_int8) = (vec![], vec![], vec![]);
    let (mut our_cosine, mut their_cosine) = (vec![], vec![]);
    for _ in 0..RUNS {
        let (tokens, seconds) = embed_once(&engine, &texts).await;
        let Some(theirs) = peers::run_onnxruntime(&python, &folder, threads(), &texts) else {
            println!("onnxruntime failed: not measured");
            return;
        };
        ours.push(tokens / seconds);
        to_f32.push(tokens / seconds / theirs.f32);
        to_int8.push(tokens / seconds / theirs.int8);
        let vectors = engine.embed(texts.clone()).await.expect("embedded").vectors;
        our_cosine.push(mean_cosine(&vectors, &theirs.f32_vectors));
        their_cosine.push(mean_cosine(&theirs.int8_vectors, &theirs.f32_vectors));
    }
    engine.unload().await;
    print(
        "Embedding beside onnxruntime, all-MiniLM-L6-v2, the same texts",
        &[
            Row::new("through the worker [tokens/s]", ours),
            Row::new("to onnxruntime f32", to_f32).at_least(1.8),
            Row::new("to onnxruntime int8", to_int8).at_least(1.0),
            Row::new("mean cosine to f32, ours", our_cosine),
            Row::new("mean cosine to f32, onnxruntime int8", their_cosine),
        ],
    );
}

fn mean_cosine(some: &[Vec<f32>], others: &[Vec<f32>]) -> f64 {
    let pairs = some.iter().zip(others);
    let sum: f32 = pairs
        .map(|(one, other)| one.iter().zip(other).map(|(x, y)| x * y).sum::<f32>())
        .sum();
    f64::from(sum) / some.len() as f64
}

/// Texts of some 200 tokens, as abstracts are.
fn abstracts() -> Vec<String> {
    (0..64)
        .map(|seed| invented_text(70_000 + seed, 110))
        .collect()
}

async fn by_llama_cpp(model: &InstalledModel) {
    let texts = abstracts();
    let mut rows = Vec::new();
    for variant in variants() {
        let command = worker_with_variant(&variant);
        let engine = EngineHandle::new(command, spec(model, None));
        // The first run loads the model; the second says how many texts take some two seconds, for a variant
        // without vector instructions is twenty times slower than the best.
        if engine.embed(texts[..1].to_vec()).await.is_err() {
            rows.push(Row::new(
                format!("{variant}: not for this processor"),
                vec![0.0],
            ));
            continue;
        }
        let (_, seconds) = embed_once(&engine, &texts[..2]).await;
        let count = ((4.0 / seconds) as usize).clamp(2, texts.len());
        let mut rates = Vec::new();
        for _ in 0..3 {
            let (tokens, seconds) = embed_once(&engine, &texts[..count]).await;
            rates.push(tokens / seconds);
        }
        rows.push(Row::new(format!("{variant} [tokens/s]"), rates));
        engine.unload().await;
    }
    let median = |name: &str| {
        rows.iter()
            .find(|row| row.what.starts_with(name))
            .map(Row::median)
    };
    let ratio = [median("zen4 ["), median("icelake [")]
        .into_iter()
        .flatten()
        .next()
        .zip(median("haswell ["));
    if let Some((wide, narrow)) = ratio {
        rows.push(Row::new("AVX-512 with VNNI / haswell", vec![wide / narrow]));
    }
    print(
        "Embedding by llama.cpp, all-MiniLM-L6-v2, texts of some 200 tokens",
        &rows,
    );
}

/// Tokens embedded, and the seconds that took.
async fn embed_once(engine: &EngineHandle, texts: &[String]) -> (f64, f64) {
    let started = std::time::Instant::now();
    let embedded = engine.embed(texts.to_vec()).await.expect("embedded");
    (embedded.tokens as f64, started.elapsed().as_secs_f64())
}

fn variants() -> Vec<String> {
    const COMPARED: [&str; 7] = [
        "x64",
        "sse42",
        "haswell",
        "skylakex",
        "icelake",
        "zen4",
        "alderlake",
    ];
    let mut names = satchel_inference::processor_builds(&satchel_bin());
    names.retain(|name| COMPARED.contains(&name.as_str()));
    names
}
