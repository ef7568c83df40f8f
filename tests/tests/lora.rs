//! Adapters (LoRA) over the starter chat model, through the real llama.cpp.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs::File;
use std::path::{Path, PathBuf};

use satchel_app::backend::model_host::worker_command;
use satchel_inference::{
    Adapter, AnswerForm, ChatMessage, ChatRole, EngineError, EngineHandle, GenerateRequest,
    GpuLayers, LoadError, ModelSpec, Role, Sampling, StreamEvent, Thinking,
};
use satchel_models::gguf::{
    GgufError, GgufWriter, MetadataValue, TensorPlan, TensorType, check_adapter,
};
use satchel_tests::{Laptop, satchel_bin, starter_chat_model};

/// Length of the vectors of the starter model, and its layers.
const WIDTH: u64 = 576;
const LAYERS: usize = 30;
const RANK: u64 = 4;

/// An adapter that changes the output of every attention; how much, `strength` says.
fn write_adapter(path: &Path, architecture: &str, width: u64, strength: f32) {
    let text = |text: &str| MetadataValue::Text(text.to_owned());
    let metadata = [
        ("general.type", text("adapter")),
        ("general.architecture", text(architecture)),
        ("general.name", text("Toy adapter")),
        ("adapter.type", text("lora")),
        ("adapter.lora.alpha", MetadataValue::Float32(RANK as f32)),
    ];
    let mut plan = Vec::new();
    for layer in 0..LAYERS {
        for (half, dimensions) in [("a", [width, RANK]), ("b", [RANK, width])] {
            plan.push(TensorPlan {
                name: format!("blk.{layer}.attn_output.weight.lora_{half}"),
                dimensions: dimensions.to_vec(),
                kind: TensorType::F32,
            });
        }
    }
    let mut writer = GgufWriter::start(File::create(path).unwrap(), &metadata, plan).unwrap();
    let mut state = 7_u32;
    for half in 0..2 * LAYERS {
        let scale = if half % 2 == 0 { 1.0 } else { strength };
        let values = (0..width * RANK).flat_map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            (value * scale).to_le_bytes()
        });
        writer.write_data(&values.collect::<Vec<u8>>()).unwrap();
    }
    writer.finish().unwrap();
}

fn answer(adapter: Option<(&Path, f32)>) -> Result<String, EngineError> {
    let spec = ModelSpec {
        path: starter_chat_model(),
        role: Role::Chat {
            context_len_tokens: 512,
        },
        threads: None,
        gpu_layers: GpuLayers::None,
        adapter: adapter.map(|(path, scale)| Adapter {
            path: path.to_owned(),
            scale,
        }),
        bert: None,
    };
    let engine = EngineHandle::new(worker_command(&satchel_bin(), "inference"), spec);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let request = GenerateRequest {
            messages: vec![ChatMessage::new(ChatRole::User, "Name three colours.")],
            sampling: Sampling::greedy(),
            max_output_tokens: 24,
            thinking: Thinking::Off,
            stop: Vec::new(),
            form: AnswerForm::Free,
        };
        let mut stream = engine.generate(request).await?;
        let mut text = String::new();
        while let Some(event) = stream.next().await {
            if let StreamEvent::Text(piece) = event? {
                text += &piece;
            }
        }
        engine.unload().await;
        Ok(text)
    })
}

#[test]
fn an_adapter_changes_what_is_written_as_strongly_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let (none, strong) = (file("none.gguf"), file("strong.gguf"));
    write_adapter(&none, "llama", WIDTH, 0.0);
    write_adapter(&strong, "llama", WIDTH, 0.5);
    assert_eq!(check_adapter(&strong).unwrap().changed_tensors, LAYERS);
    let plain = answer(None).unwrap();
    assert!(!plain.is_empty());
    assert_eq!(answer(Some((&none, 1.0))).unwrap(), plain);
    assert_eq!(answer(Some((&strong, 0.0))).unwrap(), plain);
    assert_ne!(answer(Some((&strong, 1.0))).unwrap(), plain);
}

#[test]
fn an_adapter_of_another_model_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.gguf");
    write_adapter(&other, "llama", 640, 0.5);
    let error = answer(Some((&other, 1.0))).unwrap_err();
    let is_adapter = matches!(&error, EngineError::Load(LoadError::Adapter { .. }));
    assert!(is_adapter, "{error}");

    let laptop = Laptop::with_starter_models();
    let gemma = laptop.home().join("gemma.gguf");
    write_adapter(&gemma, "gemma3", WIDTH, 0.5);
    laptop.write("papers/a.md", "The ferry sails at nine.");
    laptop.run(["import", "papers"]).expect_success();
    let set = |path: &Path| {
        let value = format!("\"{}\"", path.display());
        laptop.run(["settings", "lora", &value]).expect_success();
        let said = laptop.run(["ask", "When does the ferry sail?"]);
        assert_eq!(said.code.map(|code| code == 0), Some(false), "{said:?}");
        said.stderr
    };
    let said = set(&gemma);
    assert!(
        said.contains("gemma3") && said.contains("satchel settings lora"),
        "{said}"
    );
    assert!(set(&laptop.home().join("nowhere.gguf")).contains("nowhere.gguf"));
    assert!(set(&starter_chat_model()).contains("no adapter"));
    laptop.run(["settings", "lora"]).expect_success();
    laptop
        .run(["ask", "When does the ferry sail?"])
        .expect_success();
}

/// No byte of an adapter's header makes the check fall over, and what it lets through does not take the worker down.
#[test]
fn damaged_adapters_are_refused_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good.gguf");
    write_adapter(&good, "llama", WIDTH, 0.1);
    let bytes = std::fs::read(&good).unwrap();
    let bad = folder.path().join("bad.gguf");
    let mut let_through = 0;
    for mutant in 0..200_usize {
        let mut changed = bytes.clone();
        match mutant % 3 {
            0 => changed.truncate(mutant * 40),
            1 => changed[mutant * 7 % 3000] ^= 1 << (mutant % 8),
            _ => changed[mutant * 13 % 6000] = 0xFF,
        }
        std::fs::write(&bad, &changed).unwrap();
        match check_adapter(&bad) {
            Ok(_) if let_through < 8 => {
                let_through += 1;
                match answer(Some((&bad, 1.0))) {
                    Ok(_) | Err(EngineError::Load(LoadError::Adapter { .. })) => {}
                    Err(error) => panic!("mutant {mutant}: {error}"),
                }
            }
            Ok(_) => {}
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(matches!(
        check_adapter(&starter_chat_model()),
        Err(GgufError::NotAModel { .. })
    ));
}
