//! Prompt and generation speed beside llama-bench, and embedding speed per CPU variant.
//!
//! `make bench BENCH=inference`. Runs of both programs take turns, so that a change of the machine's pace hits
//! both; each value is one whole run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use satchel_inference::{
    ChatMessage, ChatRole, EngineHandle, GenerateRequest, ModelSpec, Role, Sampling, StreamEvent,
    Thinking, WorkerCommand,
};
use satchel_tests::bench::{Row, invented_text, print};
use satchel_tests::{models_dir, satchel_bin};

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
    let peer = peer();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (mut prompt, mut output, mut prompt_ratio, mut output_ratio) =
        (vec![], vec![], vec![], vec![]);
    // The first run of each loads the model and is not counted.
    for run in 0..=RUNS {
        let (ours_prompt, ours_output) = generate_once(&engine, run as u64).await;
        let theirs = peer
            .as_deref()
            .and_then(|peer| llama_bench(peer, model, threads));
        if run == 0 {
            continue;
        }
        prompt.push(ours_prompt);
        output.push(ours_output);
        if let Some((their_prompt, their_output)) = theirs {
            prompt_ratio.push(ours_prompt / their_prompt);
            output_ratio.push(ours_output / their_output);
        }
    }
    let mut rows = vec![
        Row::new("prompt [tokens/s]", prompt),
        Row::new("generation [tokens/s]", output),
    ];
    if prompt_ratio.is_empty() {
        println!("llama-bench is not there: no ratios (packaging/bench-peers.sh says why)");
    } else {
        rows.push(Row::new("prompt / llama-bench", prompt_ratio).at_least(0.97));
        rows.push(Row::new("generation / llama-bench", output_ratio).at_least(0.97));
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
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let Some(peer) = peer().filter(|_| threads > 1) else {
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
        let fixed = llama_bench(&peer, model, threads);
        let fewer = llama_bench(&peer, model, threads - 1);
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

fn peer() -> Option<PathBuf> {
    let script = satchel_tests::repository::root().join("packaging/bench-peers.sh");
    let target = satchel_bin().ancestors().nth(2)?.to_path_buf();
    let built = Command::new(script)
        .arg(target)
        .stderr(std::process::Stdio::inherit())
        .output()
        .ok()?;
    let path = PathBuf::from(String::from_utf8_lossy(&built.stdout).trim());
    (built.status.success() && path.is_file()).then_some(path)
}

fn llama_bench(peer: &Path, model: &Path, threads: usize) -> Option<(f64, f64)> {
    let rate = |what: &[&str]| {
        let run = Command::new(peer)
            .args([
                "-m",
                model.to_str()?,
                "-r",
                "1",
                "-o",
                "json",
                "-t",
                &threads.to_string(),
            ])
            .args(what)
            .current_dir(peer.parent()?)
            .output()
            .ok()?;
        let rows: serde_json::Value = serde_json::from_slice(&run.stdout).ok()?;
        rows[0]["avg_ts"].as_f64()
    };
    Some((
        rate(&["-p", "512", "-n", "0"])?,
        rate(&["-p", "0", "-n", "128", "-d", "512"])?,
    ))
}

async fn embedding(model: &Path) {
    // Abstract-like texts of some 200 tokens.
    let texts: Vec<String> = (0..64)
        .map(|seed| invented_text(70_000 + seed, 110))
        .collect();
    let mut rows = Vec::new();
    for variant in variants() {
        let command = worker_with_variant(&variant);
        let spec = ModelSpec {
            path: model.to_path_buf(),
            role: Role::Embedder,
            threads: None,
            gpu_layers: satchel_inference::GpuLayers::None,
            adapter: None,
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
    let folder = satchel_bin().with_file_name("backends");
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            Some(
                entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("libggml-cpu-")?
                    .strip_suffix(".so")?
                    .to_owned(),
            )
        })
        .filter(|name| {
            [
                "x64",
                "sse42",
                "haswell",
                "skylakex",
                "icelake",
                "zen4",
                "alderlake",
            ]
            .contains(&name.as_str())
        })
        .collect();
    names.sort();
    names
}
