//! Converts the real starter embedder and looks at the result.
//!
//! Needs the folder with its `model.safetensors` in `SATCHEL_TEST_EMBEDDER_DIR`; says so and passes without it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::PathBuf;

use satchel_models::catalog;
use satchel_models::convert::{Conversion, EmbedderQuantisation};
use satchel_models::gguf::{self, ModelKind, Pooling};
use satchel_models::store::ModelStore;

/// The folder of the starter embedder, or a message and nothing.
fn embedder_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("SATCHEL_TEST_EMBEDDER_DIR").map(PathBuf::from);
    if dir.is_none() {
        eprintln!(
            "skipped: set SATCHEL_TEST_EMBEDDER_DIR to the folder of all-MiniLM-L6-v2 (with model.safetensors)"
        );
    }
    dir
}

#[test]
fn the_starter_embedder_converts_to_the_known_file() {
    let Some(dir) = embedder_dir() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::open(folder.path()).unwrap();
    let mut last = 0.0;
    let model = store
        .import_dir(&dir, EmbedderQuantisation::F16, &mut |progress| {
            let share = progress.done_bytes as f64 / progress.total_bytes as f64;
            assert!(
                share >= last && share <= 1.0,
                "progress went from {last} to {share}"
            );
            last = share;
        })
        .unwrap();
    assert_eq!(last, 1.0);
    let known = catalog::find("all-minilm-l6-v2-f16").unwrap();
    assert_eq!(model.id, known.id);
    assert_eq!(model.parameters, known.parameters);
    assert_eq!(model.size_bytes, known.size_bytes);
    assert_eq!(model.sha256, known.sha256);
    assert_eq!(
        (model.kind, model.pooling, model.embedding_dim),
        (ModelKind::Embedder, Some(Pooling::Mean), Some(384))
    );
    assert_eq!(
        (model.context_len_tokens, model.max_input_tokens),
        (512, Some(256))
    );
    assert_eq!(model.license.as_deref(), Some("apache-2.0"));
    assert_eq!(store.verify(&model).unwrap().path(), model.path);

    let again = store
        .import_dir(&dir, EmbedderQuantisation::F16, &mut |_| {})
        .unwrap();
    assert_eq!(
        again, model,
        "the same folder gives the model that is installed already"
    );
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn q8_0_is_half_as_large_and_passes_the_check() {
    let Some(dir) = embedder_dir() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q8_0.gguf");
    let mut conversion = Conversion::open(&dir, EmbedderQuantisation::Q8_0).unwrap();
    assert!(conversion.facts().normalizes);
    let promised_bytes = conversion.output_bytes().unwrap();
    conversion
        .write(std::fs::File::create(&path).unwrap(), &mut |_, _| {})
        .unwrap();
    let summary = gguf::check(&path).unwrap();
    assert_eq!(summary.file_bytes, promised_bytes);
    assert_eq!(
        (
            summary.quantisation.as_str(),
            summary.tensor_count,
            summary.block_count
        ),
        ("Q8_0", 101, 6)
    );
    assert!(summary.file_bytes < 26_000_000);
    if let Some(keep) = std::env::var_os("SATCHEL_TEST_KEEP_DIR").map(PathBuf::from) {
        std::fs::copy(&path, keep.join("minilm-q8_0.gguf")).unwrap();
        let mut conversion = Conversion::open(&dir, EmbedderQuantisation::F16).unwrap();
        conversion
            .write(
                std::fs::File::create(keep.join("minilm-f16.gguf")).unwrap(),
                &mut |_, _| {},
            )
            .unwrap();
    }
}
