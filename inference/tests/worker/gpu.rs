//! A model on a GPU: the same tokens as on the processor, in whole or in part, and the processor when it fails.
//!
//! Needs a device of Vulkan. A software one counts when `GGML_VK_VISIBLE_DEVICES` names it, which these tests do: what
//! such a device computes is right, and slow, so answers are short. Each test runs in a process with that variable.

use std::path::Path;
use std::process::Command;

use satchel_inference::{DeviceKind, EngineHandle, GpuLayers, ModelInfo, ModelSpec};

use crate::rig::{Answer, answer, ask, chat_spec, model, run, user, worker};

/// A software device writes less than one token in a second.
const TOKENS: u32 = 3;

/// Runs one of the helpers below where a software device counts as a GPU, and hands on what it says.
fn with_software_gpu(helper: &str) {
    if model("SATCHEL_TEST_CHAT_MODEL", "smollm2").is_none() {
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["helper", helper])
        .env("GGML_VK_VISIBLE_DEVICES", "0")
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn a_gpu_writes_what_the_processor_writes() {
    with_software_gpu("compare_gpu_and_processor");
}

pub(crate) fn a_lost_gpu_leaves_the_processor() {
    with_software_gpu("lose_the_gpu");
}

/// Nothing of a driver is in the process of a model that does not want it.
pub(crate) fn without_a_wish_for_a_gpu_no_driver_is_loaded() {
    with_software_gpu("look_for_the_driver");
}

fn engine(gpu_layers: GpuLayers) -> EngineHandle {
    let path = model("SATCHEL_TEST_CHAT_MODEL", "smollm2").unwrap();
    EngineHandle::new(
        worker(),
        ModelSpec {
            gpu_layers,
            ..chat_spec(&path, 256)
        },
    )
}

/// The name of the GPU, or a word that there is none.
async fn gpu() -> Option<String> {
    let devices = satchel_inference::devices(&worker()).await.unwrap();
    let gpu = devices
        .into_iter()
        .find(|device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu));
    if gpu.is_none() {
        let program = std::env::current_exe().unwrap();
        let library = program.with_file_name("backends/gpu/libggml-vulkan.so");
        let has_driver = Path::new("/usr/share/vulkan/icd.d/lvp_icd.x86_64.json").exists();
        assert!(
            !(library.exists() && has_driver),
            "there is a driver and {}, and no device",
            library.display()
        );
        println!(
            "skipped: this build has no Vulkan, or this machine no driver (mesa-vulkan-drivers)"
        );
    }
    gpu.map(|gpu| gpu.description)
}

async fn asked(engine: &EngineHandle) -> (ModelInfo, Answer) {
    let info = engine.info().await.unwrap();
    let question = ask(user("Hi"), TOKENS);
    (info, answer(engine, question).await.unwrap())
}

pub(crate) fn compare_gpu_and_processor() {
    run(async {
        let Some(name) = gpu().await else { return };
        let (on_processor, expected) = asked(&engine(GpuLayers::None)).await;
        assert_eq!(on_processor.gpu, None);
        for (wanted, all) in [(GpuLayers::Exactly(5), false), (GpuLayers::Fit, true)] {
            let (info, written) = asked(&engine(wanted)).await;
            let gpu = info.gpu.expect("the GPU is used");
            println!(
                "  {wanted:?}: {} of {} layers on {}",
                gpu.layers, gpu.of_layers, gpu.device
            );
            assert_eq!(gpu.device, name);
            assert_eq!(gpu.layers, if all { gpu.of_layers } else { 5 });
            assert_eq!(info.gpu_refused, None);
            assert_eq!(written.text, expected.text, "{wanted:?}");
        }
    });
}

pub(crate) fn lose_the_gpu() {
    run(async {
        if gpu().await.is_none() {
            return;
        }
        // More than there are is all of them.
        let engine = engine(GpuLayers::Exactly(999));
        let before = engine.info().await.unwrap();
        assert!(before.gpu.is_some_and(|gpu| gpu.layers == gpu.of_layers));
        let mut stream = engine.generate(ask(user("Hello"), 50)).await.unwrap();
        // What an exception of a driver does to the worker.
        Command::new("kill")
            .args(["-ABRT", &before.pid.to_string()])
            .status()
            .unwrap();
        let lost = loop {
            if let Err(error) = stream.next().await.unwrap() {
                break error.to_string();
            }
        };
        assert!(lost.contains("uses the processor instead of"), "{lost}");
        while engine.worker_pid().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let (after, written) = asked(&engine).await;
        assert!(!written.text.is_empty());
        assert_eq!(after.gpu, None);
        let why = after.gpu_refused.unwrap();
        assert!(why.contains("ended"), "{why}");
    });
}

pub(crate) fn look_for_the_driver() {
    run(async {
        if gpu().await.is_none() {
            return;
        }
        let maps = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let without = engine(GpuLayers::None);
        let pid = without.info().await.unwrap().pid;
        assert!(!maps(pid).contains("vulkan"));
        let with = engine(GpuLayers::Exactly(1));
        let pid = with.info().await.unwrap().pid;
        assert!(maps(pid).contains("libggml-vulkan.so"));
    });
}
