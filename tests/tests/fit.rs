//! The memory that is foretold from a file's header is the memory that llama.cpp then takes.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use satchel_inference::{
    DeviceKind, EngineHandle, GpuLayers, MemoryUse, ModelSpec, Role, WorkerCommand,
    prompt_chunk_tokens,
};
use satchel_models::fit::{Need, Wish, need};
use satchel_tests::{satchel_bin, starter_chat_model, toy_models};

fn foretold(model: &Path, context_len_tokens: u32, gpu_layers: u32) -> Need {
    let summary = satchel_models::gguf::check(model).unwrap();
    let wish = Wish {
        context_len_tokens,
        batch_tokens: prompt_chunk_tokens(summary.file_bytes) as u32,
        gpu_layers,
    };
    need(&summary.shape, wish)
}

/// A worker to which the software device of Vulkan counts as a GPU.
fn worker() -> WorkerCommand {
    let satchel = satchel_bin().into_os_string();
    let args = ["GGML_VK_VISIBLE_DEVICES=0".into(), satchel];
    let args = args
        .into_iter()
        .chain(["worker", "inference"].map(Into::into));
    WorkerCommand {
        program: "/usr/bin/env".into(),
        args: args.collect(),
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

fn taken(model: &Path, context_len_tokens: u32, gpu_layers: u32) -> MemoryUse {
    let spec = ModelSpec {
        path: model.to_owned(),
        role: Role::Chat { context_len_tokens },
        threads: Some(1),
        gpu_layers: GpuLayers::Exactly(gpu_layers),
        adapter: None,
        bert: None,
    };
    let engine = EngineHandle::new(worker(), spec);
    run(async {
        let info = engine.info().await.unwrap();
        assert_eq!(info.gpu.is_some(), gpu_layers > 0);
        engine.unload().await;
        info.memory
    })
}

/// Within `percent`; says both where it is not.
fn assert_near(what: &str, foretold: u64, taken: u64, percent: f64) {
    let off = (foretold as f64 / taken.max(1) as f64 - 1.0) * 100.0;
    let mib = |bytes: u64| bytes as f64 / 1048576.0;
    println!(
        "{what}: {:.1} MiB foretold, {:.1} taken, {off:+.1} %",
        mib(foretold),
        mib(taken)
    );
    assert!(off.abs() <= percent, "{what} is {off:+.1} % off");
}

fn compare(name: &str, model: &Path, context_len_tokens: u32, gpu_layers: u32) {
    let told = foretold(model, context_len_tokens, gpu_layers);
    let taken = taken(model, context_len_tokens, gpu_layers);
    println!("{name}, {context_len_tokens} tokens, {gpu_layers} on the GPU: {told:?} {taken:?}");
    let total = taken.weights_bytes + taken.context_bytes + taken.compute_bytes;
    assert_near(&format!("{name}: all"), told.total_bytes(), total, 2.0);
    let context = told.host.context_bytes + told.gpu.context_bytes;
    assert_near(
        &format!("{name}: context"),
        context + 1,
        taken.context_bytes + 1,
        0.5,
    );
}

#[test]
fn the_starter_model_takes_what_was_foretold() {
    let model = starter_chat_model();
    for context_len_tokens in [512, 4096, 8192] {
        compare("starter", &model, context_len_tokens, 0);
    }
}

#[test]
fn models_of_every_kind_take_what_was_foretold() {
    let folder = tempfile::tempdir().unwrap();
    for architecture in toy_models::ARCHITECTURES {
        let model = folder.path().join(format!("{architecture}.gguf"));
        toy_models::write(&model, architecture);
        for context_len_tokens in [1000, 4096, 16_384] {
            compare(architecture, &model, context_len_tokens, 0);
        }
        std::fs::remove_file(&model).unwrap();
    }
}

/// A part of a model on a GPU, and all of it.
#[test]
fn a_gpu_takes_what_was_foretold() {
    let devices = run(satchel_inference::devices(&worker())).unwrap();
    if devices.iter().all(|device| device.kind == DeviceKind::Cpu) {
        println!("skipped: this machine has no device of Vulkan, not even a software one");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for architecture in ["llama", "qwen3"] {
        let model = folder.path().join(format!("{architecture}.gguf"));
        toy_models::write(&model, architecture);
        for gpu_layers in [1, 3, 7] {
            compare(architecture, &model, 4096, gpu_layers);
        }
    }
}
