//! Vectors: length, meaning, order, long texts, and equality with an independent implementation.

use std::path::Path;
use std::time::Duration;

use satchel_inference::{EngineError, EngineHandle, LoadError};

use crate::rig::*;

pub(crate) fn a_chat_model_does_not_embed() {
    let Some(path) = model("SATCHEL_TEST_CHAT_MODEL", "smollm2") else {
        return;
    };
    run(async {
        let engine = EngineHandle::new(worker(), chat_spec(&path, 512));
        let error = engine.embed(vec!["text".into()]).await.unwrap_err();
        assert!(matches!(error, EngineError::WrongRole { .. }), "{error}");
        let error = EngineHandle::new(worker(), embedder_spec(&path))
            .info()
            .await
            .unwrap_err();
        assert!(
            matches!(error, EngineError::Load(LoadError::WrongKind { .. })),
            "{error}"
        );
    });
}

pub(crate) fn an_embedder_does_not_write() {
    let Some(path) = model("SATCHEL_TEST_EMBEDDER", "minilm") else {
        return;
    };
    run(async {
        let engine = EngineHandle::new(worker(), embedder_spec(&path));
        let error = engine.generate(ask(user("Hello"), 5)).await.unwrap_err();
        assert!(matches!(error, EngineError::WrongRole { .. }), "{error}");
        let error = engine.count_prompt_tokens(user("Hello")).await.unwrap_err();
        assert!(matches!(error, EngineError::WrongRole { .. }), "{error}");
        let error = EngineHandle::new(worker(), chat_spec(&path, 512))
            .info()
            .await
            .unwrap_err();
        assert!(
            matches!(error, EngineError::Load(LoadError::WrongKind { .. })),
            "{error}"
        );
    });
}

pub(crate) fn vectors_have_length_one_and_meaning() {
    let Some(engine) = embedder_engine() else {
        return;
    };
    run(async {
        let info = engine.info().await.unwrap();
        let texts = [
            "A cat sleeps on the sofa.",
            "The kitten is napping on the couch.",
            "Interest rates rose again.",
            "",
        ];
        let embeddings = engine
            .embed(texts.map(str::to_owned).to_vec())
            .await
            .unwrap();
        assert_eq!(embeddings.vectors.len(), 4);
        for vector in &embeddings.vectors {
            assert_eq!(vector.len(), info.embedding_dim);
            assert!((cosine(vector, vector) - 1.0).abs() < 1e-3);
        }
        let v = &embeddings.vectors;
        assert!(cosine(&v[0], &v[1]) > cosine(&v[0], &v[2]) + 0.3);
        assert_eq!(embeddings.windows_split, 0);
        assert!(embeddings.tokens > 20);
        assert_eq!(engine.embed(Vec::new()).await.unwrap().vectors.len(), 0);
    });
}

pub(crate) fn a_long_text_is_embedded_to_its_end() {
    let Some(engine) = embedder_engine() else {
        return;
    };
    run(async {
        let window = engine.info().await.unwrap().context_len_tokens;
        let filler = prose(2 * window as usize);
        let ends = [
            "The recipe needs flour, eggs and butter.",
            "The engine lost oil pressure in flight.",
        ];
        let mut texts: Vec<String> = ends
            .iter()
            .map(|end| format!("{filler} {}", format!("{end} ").repeat(20)))
            .collect();
        texts.extend(ends.map(str::to_owned));
        let embeddings = engine.embed(texts).await.unwrap();
        let v = &embeddings.vectors;
        assert_eq!(embeddings.windows_split, 2);
        assert!((cosine(&v[0], &v[0]) - 1.0).abs() < 1e-3);
        assert!(cosine(&v[0], &v[1]) < 0.999, "the ends made no difference");
        // Each is nearer to its own end than the other one is.
        assert!(
            cosine(&v[0], &v[2]) > cosine(&v[1], &v[2]),
            "the end of a long text is not in its vector"
        );
        assert!(
            cosine(&v[1], &v[3]) > cosine(&v[0], &v[3]),
            "the end of a long text is not in its vector"
        );
    });
}

pub(crate) fn many_texts_keep_their_order() {
    let Some(engine) = embedder_engine() else {
        return;
    };
    run(async {
        let texts: Vec<String> = (0..90)
            .map(|i| format!("Note {i}: {}", prose((i * 37) % 60)))
            .collect();
        let together = engine.embed(texts.clone()).await.unwrap();
        for index in [0, 1, 31, 32, 63, 89] {
            let alone = engine.embed(vec![texts[index].clone()]).await.unwrap();
            let same = cosine(&alone.vectors[0], &together.vectors[index]);
            assert!(same > 0.9999, "row {index}: {same}");
        }
        // A question asked while many texts are embedded does not wait for all of them.
        let long: Vec<String> = (0..160).map(|i| format!("{i} {}", prose(180))).collect();
        let bulk = tokio::spawn({
            let engine = engine.clone();
            async move { engine.embed(long).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        engine.embed(vec!["a short question".into()]).await.unwrap();
        assert!(!bulk.is_finished(), "the question waited for everything");
        bulk.abort();
    });
}

/// Vectors that another implementation computed; made and described in `models/tests/fixtures`.
pub(crate) fn vectors_equal_the_independent_ones() {
    let Some(engine) = embedder_engine() else {
        return;
    };
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures/minilm_vectors.json");
    let Ok(fixture) = std::fs::read(&path) else {
        println!("skipped: no fixture");
        return;
    };
    let fixture: Fixture = serde_json::from_slice(&fixture).unwrap();
    assert!(fixture.texts.len() >= 50);
    let vectors = run(engine.embed(fixture.texts)).unwrap().vectors;
    let worst = vectors
        .iter()
        .zip(&fixture.vectors)
        .map(|(a, b)| cosine(a, b))
        .fold(1.0, f32::min);
    println!("  lowest cosine {worst:.6}");
    // Weights of 8 bits lose a little; of 16 bits next to nothing.
    let path = model("SATCHEL_TEST_EMBEDDER", "minilm").unwrap();
    let wanted = if path.to_string_lossy().to_lowercase().contains("q8") {
        0.99
    } else {
        0.999
    };
    assert!(worst >= wanted, "{worst}");
}

#[derive(serde::Deserialize)]
struct Fixture {
    texts: Vec<String>,
    vectors: Vec<Vec<f32>>,
}
