//! Prompt and generation speed beside llama-bench and node-llama-cpp. Embedding has a bench of its own.
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
    let Some(chat) = chat_model() else {
        println!("skipped: the starter models are not installed (make run installs them)");
        return;
    };
    let runtime = satchel_app::backend::runtime::build().expect("threads");
    runtime.block_on(async {
        generation(&chat).await;
        beside_a_busy_core(&chat).await;
    });
}

fn chat_model() -> Option<PathBuf> {
    let store = satchel_models::store::ModelStore::open(&models_dir()).ok()?;
    let mut installed = store.list().ok()?.into_iter();
    let chat = installed.find(|model| model.kind == satchel_models::ModelKind::Chat)?;
    Some(chat.path)
}

fn worker() -> WorkerCommand {
    WorkerCommand {
        program: satchel_bin(),
        args: vec!["worker".into(), "inference".into()],
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
