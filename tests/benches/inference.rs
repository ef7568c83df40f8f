//! Prompt and generation speed beside llama-bench and node-llama-cpp, embedding speed per CPU variant and beside
//! onnxruntime.
//!
//! `make bench BENCH=inference`. Runs of both programs take turns, so that a change of the machine's pace hits
//! both; each value is one whole run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use satchel_inference::{
    ChatMessage, ChatRole, EngineHandle, GenerateRequest, ModelSpec, Role, Sampling, StreamEvent,
    Thinking, WorkerCommand,
};
use satchel_tests::bench::{Row, invented_text, print};
use satchel_tests::{models_dir, peers, satchel_bin};

/// As `llama-bench -p 512` and `llama-bench -n 128 -d 512`: the answer follows the prompt.
const PROMPT_TOKENS: usize = 512;
const OUTPUT_TOKENS: u32 = 128;
const RUNS: usize = 5;

fn main() {
    let Some((chat, embedder)) = models() else {
        println!("skipped: the starter models are not installed (make run installs them)");
        return;
    };
    let runtime = satchel_app::backend::runtime::build().expect("threads");
    runtime.block_on(async {
        generation(&chat).await;
        beside_a_busy_core(&chat).await;
        embedding(&embedder).await;
        embedding_beside_onnxruntime(&embedder).await;
    });
}

fn models() -> Option<(PathBuf, PathBuf)> {
    let store = satchel_models::store::ModelStore::open(&models_dir()).ok()?;
    let installed = store.list().ok()?;
    let of = |kind| {
        installed
            .iter()
            .find(|model| model.kind == kind)
            .map(|model| model.path.clone())
    };
    Some((
        of(satchel_models::ModelKind::Chat)?,
        of(satchel_models::ModelKind::Embedder)?,
    ))
}

fn worker() -> WorkerCommand {
    WorkerCommand {
        program: satchel_bin(),
        args: vec!["worker".into(), "inference".into()],
    }
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

fn engine(path: &Path, role: Role) -> EngineHandle {
    EngineHandle::new(
        worker(),
        ModelSpec {
            path: path.to_path_buf(),
            role,
            threads: None,
            gpu_layers: satchel_inference::GpuLayers::None,
            adapter: None,
            bert: None,
        },
    )
}

async fn generation(model: &Path) {
    let engine = engine(
        model,
        Role::Chat {
            context_len_tokens: 2048,
        },
    );
    let info = engine.info().await.expect("the model loads");
    let (bench, node) = (peers::llama_bench(&satchel_bin()), peers::node_llama_cpp());
    let threads = threads();
    let (mut prompt, mut output) = (vec![], vec![]);
    let mut ratios: [Vec<f64>; 4] = Default::default();
    // The first run of each loads the model and is not counted.
    for run in 0..=RUNS {
        let (ours_prompt, ours_output) = generate_once(&engine, run as u64).await;
        let bench = bench
            .as_deref()
            .and_then(|peer| peers::run_llama_bench(peer, model, threads));
        let node = node
            .as_deref()
            .and_then(|peer| peers::run_node_llama_cpp(peer, model, threads));
        if run == 0 {
            continue;
        }
        prompt.push(ours_prompt);
        output.push(ours_output);
        if let Some((their_prompt, their_output)) = bench {
            ratios[0].push(ours_prompt / their_prompt);
            ratios[1].push(ours_output / their_output);
        }
        if let Some((their_prompt, their_output)) = node {
            ratios[2].push(ours_prompt / their_prompt);
            ratios[3].push(ours_output / their_output);
        }
    }
    let mut rows = vec![
        Row::new("prompt [tokens/s]", prompt),
        Row::new("generation [tokens/s]", output),
    ];
    let goals = [
        ("prompt / llama-bench", 0.97),
        ("generation / llama-bench", 0.97),
        ("prompt / node-llama-cpp, prebuilt", 1.0),
        ("generation / node-llama-cpp, prebuilt", 1.0),
    ];
    for ((what, least), ratios) in goals.into_iter().zip(ratios) {
        if !ratios.is_empty() {
            rows.push(Row::new(what, ratios).at_least(least));
        }
    }
    print(
        &format!(
            "{}, variant {}, through the worker's stream",
            info.name, info.variant
        ),
        &rows,
    );
    engine.unload().await;
}

/// Writing while something else keeps one core busy, as an import or another program does.
async fn beside_a_busy_core(model: &Path) {
    let threads = threads();
    let Some(peer) = peers::llama_bench(&satchel_bin()).filter(|_| threads > 1) else {
        println!("writing beside a busy core: not measured (one core, or no llama-bench)");
        return;
    };
    let role = Role::Chat {
        context_len_tokens: 2048,
    };
    let engine = engine(model, role);
    engine.info().await.expect("the model loads");
    let busy = BusyCore::start();
    let (mut output, mut to_fixed, mut to_better) = (vec![], vec![], vec![]);
    for run in 0..=RUNS {
        let (_, ours) = generate_once(&engine, 1000 + run as u64).await;
        let fixed = peers::run_llama_bench(&peer, model, threads);
        let fewer = peers::run_llama_bench(&peer, model, threads - 1);
        if let (Some((_, fixed)), Some((_, fewer)), 1..) = (fixed, fewer, run) {
            output.push(ours);
            to_fixed.push(ours / fixed);
            to_better.push(ours / fixed.max(fewer));
        }
    }
    drop(busy);
    print(
        "Writing while one core is busy",
        &[
            Row::new("generation [tokens/s]", output),
            Row::new("to llama-bench with all threads", to_fixed).at_least(1.7),
            Row::new("to the better of all and one less", to_better).at_least(0.95),
        ],
    );
    engine.unload().await;
}

/// A thread that computes without pause, until it is dropped.
struct BusyCore {
    stop: Arc<AtomicBool>,
}

impl BusyCore {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let spin = move || {
            while !told.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let thread = std::thread::Builder::new().name("busy".to_owned());
        thread.spawn(spin).expect("a thread");
        Self { stop }
    }
}

impl Drop for BusyCore {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Tokens per second of prompt and output. Every run has a text of its own, so that nothing is reused.
async fn generate_once(engine: &EngineHandle, seed: u64) -> (f64, f64) {
    let mut words = PROMPT_TOKENS;
    let request = loop {
        let content = format!(
            "Continue this story for many pages: {}",
            invented_text(seed, words)
        );
        let messages = vec![ChatMessage {
            role: ChatRole::User,
            content,
        }];
        let tokens = engine
            .count_prompt_tokens(messages.clone())
            .await
            .expect("counted");
        if tokens <= PROMPT_TOKENS {
            break GenerateRequest {
                messages,
                // As an answer is sampled; choosing a token is part of what a person waits for.
                sampling: Sampling {
                    temperature: 0.1,
                    seed: Some(7),
                    ..Sampling::default()
                },
                max_output_tokens: OUTPUT_TOKENS,
                thinking: Thinking::Off,
                stop: Vec::new(),
                form: satchel_inference::AnswerForm::Free,
            };
        }
        words -= (tokens - PROMPT_TOKENS).div_ceil(2).max(1);
    };
    let mut stream = engine.generate(request).await.expect("generation starts");
    loop {
        match stream.next().await {
            Some(Ok(StreamEvent::Finished { usage, .. })) => {
                let fresh = usage.prompt_tokens - usage.cached_tokens;
                return (
                    fresh as f64 * 1000.0 / usage.prompt_ms,
                    usage.output_tokens as f64 * 1000.0 / usage.output_ms,
                );
            }
            Some(Ok(_)) => {}
            other => panic!("the generation broke off: {other:?}"),
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Beside onnxruntime, which gets the texts as tokens; ours are counted from the words on, through the worker.
async fn embedding_beside_onnxruntime(model: &Path) {
    let Some(folder) = std::env::var_os("SATCHEL_BENCH_EMBEDDER_DIR").map(PathBuf::from) else {
        println!("embedding beside onnxruntime: `make bench` says where its weights are");
        return;
    };
    let Some(python) = peers::onnxruntime() else {
        return;
    };
    let texts = abstracts();
    let engine = engine(model, Role::Embedder);
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

async fn embedding(model: &Path) {
    let texts = abstracts();
    let mut rows = Vec::new();
    for variant in variants() {
        let command = worker_with_variant(&variant);
        let spec = ModelSpec {
            path: model.to_path_buf(),
            role: Role::Embedder,
            threads: None,
            gpu_layers: satchel_inference::GpuLayers::None,
            adapter: None,
            bert: None,
        };
        let engine = EngineHandle::new(command, spec);
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
        rows.push(Row::new("AVX-512 with VNNI / haswell", vec![wide / narrow]).at_least(3.0));
    }
    print(
        "Embedding, all-MiniLM-L6-v2, texts of some 200 tokens",
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
