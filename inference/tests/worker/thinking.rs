//! A model that thinks before it answers: told apart, bounded, and made to answer.
//!
//! The model is the usual one with another template in its file: one that ends in the middle of a thought.

use std::fs;
use std::path::{Path, PathBuf};

use satchel_inference::{EngineHandle, GenerateRequest, Thinking, ThinkingSupport};
use tempfile::TempDir;

use crate::rig::{answer, ask, chat_spec, model, run, user, worker};

/// As ChatML, and the model is thinking already.
const THINKS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n<think>\n";

/// A copy of the model with this template. `None` where there is no model.
fn with_template(template: &str) -> Option<(TempDir, PathBuf)> {
    let original = model("SATCHEL_TEST_CHAT_MODEL", "smollm2")?;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("thinks.gguf");
    let mut bytes = fs::read(original).unwrap();
    replace_template(&mut bytes, template);
    fs::write(&copy, bytes).unwrap();
    Some((folder, copy))
}

/// Puts another template in the place of the one in a GGUF file. Its length stays: the rest is a comment.
fn replace_template(bytes: &mut [u8], template: &str) {
    let key = b"tokenizer.chat_template";
    let at = bytes
        .windows(key.len())
        .position(|window| window == key)
        .unwrap();
    // After the key: the type (4 bytes) and the length (8 bytes) of the text.
    let start = at + key.len() + 12;
    let len = u64::from_le_bytes(bytes[start - 8..start].try_into().unwrap()) as usize;
    let room = len - template.len() - "{##}".len();
    let padded = format!("{{#{}#}}{template}", "-".repeat(room));
    bytes[start..start + len].copy_from_slice(padded.as_bytes());
}

fn engine(path: &Path) -> EngineHandle {
    EngineHandle::new(worker(), chat_spec(path, 512))
}

pub(crate) fn thoughts_are_bounded_and_an_answer_follows() {
    let Some((_folder, path)) = with_template(THINKS) else {
        return;
    };
    run(async {
        let engine = engine(&path);
        assert_eq!(
            engine.info().await.unwrap().thinking,
            ThinkingSupport::Always
        );
        for (thinking, most) in [(Thinking::UpTo(3), 3), (Thinking::Off, 24)] {
            let request = GenerateRequest {
                thinking,
                ..ask(user("What is the capital of France?"), 24)
            };
            let said = answer(&engine, request).await.unwrap();
            assert!(!said.thoughts.is_empty() && !said.text.is_empty());
            // It may have thought enough before.
            assert!(
                (1..=most).contains(&said.usage.thought_tokens),
                "{:?}",
                said.usage
            );
            assert!(
                (1..=24).contains(&said.usage.output_tokens),
                "{:?}",
                said.usage
            );
            assert!(!said.text.contains("think>") && !said.thoughts.contains("think>"));
        }
        // The context holds what was written: the next question is answered as well.
        let said = answer(&engine, ask(user("And of Italy?"), 8))
            .await
            .unwrap();
        assert!(said.usage.cached_tokens > 0);
    });
}

pub(crate) fn a_model_that_does_not_think_answers_at_once() {
    let Some(path) = model("SATCHEL_TEST_CHAT_MODEL", "smollm2") else {
        return;
    };
    run(async {
        let engine = engine(&path);
        assert_eq!(engine.info().await.unwrap().thinking, ThinkingSupport::None);
        let request = GenerateRequest {
            thinking: Thinking::UpTo(50),
            ..ask(user("What is the capital of France?"), 12)
        };
        let said = answer(&engine, request).await.unwrap();
        assert_eq!((said.thoughts.as_str(), said.usage.thought_tokens), ("", 0));
        assert!(!said.text.is_empty());
    });
}
