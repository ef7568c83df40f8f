//! Devices, and files that are no models: each is an error in words, soon.

use std::path::Path;
use std::time::{Duration, Instant};

use satchel_inference::{DeviceKind, EngineError, EngineHandle, LoadError};

use crate::rig::*;

pub(crate) fn devices_include_the_processor() {
    let devices = run(satchel_inference::devices(&worker())).unwrap();
    let processor = devices
        .iter()
        .find(|device| device.kind == DeviceKind::Cpu)
        .expect("no processor");
    assert!(processor.memory_total_bytes > 0);
    assert!(!processor.description.is_empty());
}

fn load_error(content: &[u8]) -> LoadError {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, content).unwrap();
    let engine = EngineHandle::new(worker(), chat_spec(&path, 512));
    let begin = Instant::now();
    let error = run(engine.info()).unwrap_err();
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        begin.elapsed()
    );
    match error {
        EngineError::Load(error) => error,
        other => panic!("another error: {other}"),
    }
}

pub(crate) fn a_missing_file_is_reported_in_words() {
    let engine = EngineHandle::new(worker(), chat_spec(Path::new("/nowhere/model.gguf"), 512));
    let error = run(engine.info()).unwrap_err();
    assert_eq!(
        error,
        EngineError::Load(LoadError::Missing {
            path: "/nowhere/model.gguf".into()
        })
    );
}

pub(crate) fn garbage_is_an_error_and_not_a_hang() {
    for content in [
        &b""[..],
        b"GGU",
        b"GGUF",
        b"not a model at all",
        &[0xff; 4096],
    ] {
        let error = load_error(content);
        assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
    }
    // A header that promises more than there is.
    let mut liar = b"GGUF\x03\0\0\0".to_vec();
    liar.extend([0xff; 16]);
    let error = load_error(&liar);
    assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
}

/// The smallest file that llama.cpp reads as far as the architecture.
fn gguf_of(architecture: &str) -> Vec<u8> {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(0u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.extend(string("general.architecture"));
    file.extend(8u32.to_le_bytes());
    file.extend(string(architecture));
    file
}

pub(crate) fn an_unknown_architecture_is_named() {
    let error = load_error(&gguf_of("crystalball"));
    assert_eq!(
        error,
        LoadError::UnknownArchitecture {
            architecture: "crystalball".into()
        }
    );
    let error = load_error(&gguf_of("llama"));
    assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
}

pub(crate) fn a_truncated_model_is_an_error() {
    let Some(path) = model("SATCHEL_TEST_CHAT_MODEL", "smollm2") else {
        return;
    };
    let whole = std::fs::read(path).unwrap();
    for part in [whole.len() / 100, whole.len() / 2, whole.len() - 1] {
        let error = load_error(&whole[..part]);
        assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
    }
}
