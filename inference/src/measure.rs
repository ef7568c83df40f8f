//! The measurements behind the defaults: how threads, packing and chunks change the speed.
//!
//! They take minutes and mean nothing beside other work, so without `SATCHEL_MEASURE` they say that they were
//! skipped. To repeat them: `SATCHEL_MEASURE=1 SATCHEL_TEST_CHAT_MODEL=… SATCHEL_TEST_EMBEDDER=… cargo test
//! -p satchel-inference --lib -- --nocapture --test-threads=1 measure`

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;

use crate::backends::{self, Backends};
use crate::embed::Embedder;
use crate::embed_plan::Plan;
use crate::llama_log::LlamaLog;

fn model_from(variable: &str, llama: &Backends) -> LlamaModel {
    let path = std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("set {variable} to a GGUF file"));
    LlamaModel::load_from_file(&llama.backend, path, &LlamaModelParams::default()).unwrap()
}

fn llama() -> Backends {
    backends::load(
        &backends::backends_dir().unwrap(),
        false,
        None,
        &LlamaLog::default(),
    )
    .unwrap()
}

/// Lets another program's work be felt: one core is busy while `action` runs.
fn beside_a_busy_core<T>(busy: bool, action: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(!busy);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let result = action();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Whether measuring was asked for; says so where it was not.
fn asked_for() -> bool {
    let asked = std::env::var_os("SATCHEL_MEASURE").is_some();
    if !asked {
        eprintln!("skipped: set SATCHEL_MEASURE to measure");
    }
    asked
}

#[test]
fn measure_reading_and_writing() {
    if !asked_for() {
        return;
    }
    let llama = llama();
    let model = model_from("SATCHEL_TEST_CHAT_MODEL", &llama);
    println!("variant {}", llama.variant);
    println!("busy  threads  chunk  read 512 (tokens/s)  write 64 (tokens/s)");
    for (busy, threads, chunk) in [
        (false, 2, 512),
        (false, 2, 128),
        (false, 1, 128),
        (true, 2, 128),
        (true, 1, 128),
        (false, 2, 512),
        (false, 2, 128),
        (false, 1, 128),
        (true, 2, 128),
        (true, 1, 128),
    ] {
        let (read, write) =
            beside_a_busy_core(busy, || read_and_write(&llama, &model, threads, chunk));
        println!("{busy:5} {threads:8} {chunk:6} {read:20.1} {write:20.1}");
    }
}

fn read_and_write(llama: &Backends, model: &LlamaModel, threads: i32, chunk: u32) -> (f64, f64) {
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(1024))
        .with_n_batch(chunk)
        .with_n_ubatch(chunk)
        .with_n_threads(threads)
        .with_n_threads_batch(threads);
    let mut context = model.new_context(&llama.backend, params).unwrap();
    let mut batch = LlamaBatch::new(chunk as usize, 1);
    let mut position = 0;
    let mut decode = |count: usize| {
        batch.clear();
        for index in 0..count {
            batch
                .add(
                    LlamaToken(1000 + position),
                    position,
                    &[0],
                    index + 1 == count,
                )
                .unwrap();
            position += 1;
        }
        context.decode(&mut batch).unwrap();
    };
    decode(8);
    let begin = Instant::now();
    for _ in 0..512 / chunk {
        decode(chunk as usize);
    }
    let read = 512.0 / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    for _ in 0..64 {
        decode(1);
    }
    (read, 64.0 / begin.elapsed().as_secs_f64())
}

#[test]
fn measure_embedding() {
    if !asked_for() {
        return;
    }
    let llama = llama();
    let model = model_from("SATCHEL_TEST_EMBEDDER", &llama);
    println!("variant {}", llama.variant);
    println!("busy  lanes  threads  texts  tokens  flash  long (tokens/s)  short (tokens/s)");
    let plans = [
        Plan::for_threads(2, false),
        plan(2, 1, 1, true),
        plan(2, 1, 1, false),
        plan(2, 1, 4, true),
        plan(1, 2, 1, true),
        plan(1, 2, 8, true),
        plan(1, 1, 1, true),
    ];
    for plan in plans.into_iter().chain(plans) {
        for busy in [false, true] {
            let mut embedder =
                Embedder::new(&llama.backend, &model, plan, None, &LlamaLog::default()).unwrap();
            let (long, short) = beside_a_busy_core(busy, || {
                (
                    tokens_per_second(&mut embedder, 48, 190),
                    tokens_per_second(&mut embedder, 256, 16),
                )
            });
            let Plan {
                lanes,
                threads_per_lane,
                pack_windows,
                pack_tokens,
                flash_attention,
            } = plan;
            println!(
                "{busy:5} {lanes:6} {threads_per_lane:8} {pack_windows:6} {pack_tokens:7} \
                 {flash_attention:6} {long:16.0} {short:17.0}"
            );
        }
    }
}

/// Windows go together whatever their length.
fn plan(lanes: u32, threads_per_lane: u32, pack_windows: usize, flash_attention: bool) -> Plan {
    Plan {
        lanes,
        threads_per_lane,
        pack_windows,
        pack_tokens: 512 * pack_windows,
        flash_attention,
    }
}

/// Speed over texts of about `words` words, of somewhat different lengths.
fn tokens_per_second(embedder: &mut Embedder<'_>, texts: usize, words: usize) -> f64 {
    let sentence =
        "The old bridge over the river was closed for repairs in spring and opened in autumn. ";
    let texts: Vec<String> = (0..texts)
        .map(|index| {
            sentence
                .split_inclusive(' ')
                .cycle()
                .take(words - words * (index % 8) / 16)
                .collect()
        })
        .collect();
    let never = AtomicBool::new(false);
    embedder.run(&texts[..4], &never).unwrap();
    let begin = Instant::now();
    let output = embedder.run(&texts, &never).unwrap();
    output.tokens as f64 / begin.elapsed().as_secs_f64()
}
