//! Catches what llama.cpp says, for error messages and to learn which processor code it took.
//!
//! llama.cpp's wrapper turns its log into tracing events; [`LlamaLog`] is the subscriber that a worker sets on its engine
//! thread. Nothing is printed except errors, to standard error, of which the program keeps the last lines in memory. llama.cpp logs sizes, keys and paths of models, never what is read or written.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::request::MemoryUse;

/// The last lines of llama.cpp's log. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct LlamaLog {
    lines: Arc<Mutex<VecDeque<Line>>>,
    memory: Arc<Mutex<MemoryUse>>,
}

#[derive(Debug, Clone)]
struct Line {
    level: Level,
    text: String,
}

impl LlamaLog {
    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// The first error since [`clear`](Self::clear) that says something, without the name of the C++ function.
    ///
    /// The first, because llama.cpp reports the cause first and then what did not work because of it; its general
    /// "failed to load model" says nothing by itself.
    pub(crate) fn first_error(&self) -> Option<String> {
        let lines = self.lock();
        let mut errors = lines
            .iter()
            .filter(|line| line.level == Level::ERROR)
            .map(|line| without_origin(&line.text));
        errors
            .find(|text| !text.is_empty() && !text.starts_with("failed to load model"))
            .map(str::to_owned)
    }

    /// The last line that contains `pattern`.
    pub(crate) fn last_line_with(&self, pattern: &str) -> Option<String> {
        self.lock()
            .iter()
            .rev()
            .find(|line| line.text.contains(pattern))
            .map(|line| line.text.clone())
    }

    /// Begins to count memory anew.
    pub(crate) fn forget_memory(&self) {
        *self.memory() = MemoryUse::default();
    }

    /// The buffers that were made since [`forget_memory`](Self::forget_memory), of all devices.
    pub(crate) fn memory_use(&self) -> MemoryUse {
        *self.memory()
    }

    fn add(&self, level: Level, text: &str) {
        if level == Level::ERROR {
            eprintln!("{text}");
        }
        if let Some((kind, bytes)) = buffer(text) {
            let mut memory = self.memory();
            match kind {
                "model" => memory.weights_bytes += bytes,
                "KV" | "RS" | "state" => memory.context_bytes += bytes,
                _ => memory.compute_bytes += bytes,
            }
        }
        let mut lines = self.lock();
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(Line {
            level,
            text: text.to_owned(),
        });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, MemoryUse> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a buffer is for and its size in bytes, from a line such as
/// `load_tensors:   CPU_Mapped model buffer size =    93.71 MiB`: llama.cpp reports it nowhere else.
fn buffer(line: &str) -> Option<(&str, u64)> {
    let (before, size) = line.split_once(" buffer size =")?;
    let kind = before.rsplit(' ').next()?;
    let mib: f64 = size.trim().strip_suffix("MiB")?.trim().parse().ok()?;
    Some((kind, (mib * 1024.0 * 1024.0).round() as u64))
}

/// Cuts `llama_model_load: ` off the front: the name of a C++ function helps no user.
fn without_origin(text: &str) -> &str {
    let mut text = text.trim();
    while let Some((origin, rest)) = text.split_once(": ") {
        let is_name = !origin.is_empty()
            && origin
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
        if !is_name || !origin.contains('_') {
            break;
        }
        text = rest.trim_start();
    }
    text
}

impl Subscriber for LlamaLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == LLAMA_TARGET && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        for line in message.0.lines() {
            self.add(*event.metadata().level(), line);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.push_str(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing into a String cannot fail.
            write!(self.0, "{value:?}").ok();
        }
    }
}

/// The target under which the wrapper reports llama.cpp's lines.
const LLAMA_TARGET: &str = "llama-cpp-2";
/// Loading a model writes some hundred lines; the interesting ones come last.
const KEPT_LINES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_found_before_its_consequences() {
        let log = LlamaLog::default();
        log.add(Level::INFO, "llama_model_loader: loaded meta data");
        log.add(
            Level::ERROR,
            "llama_model_load: error loading model: unknown model architecture: 'x'",
        );
        log.add(
            Level::ERROR,
            "llama_model_load_from_file_impl: failed to load model",
        );
        assert_eq!(
            log.first_error().unwrap(),
            "error loading model: unknown model architecture: 'x'"
        );
        assert!(
            log.last_line_with("meta data")
                .unwrap()
                .starts_with("llama_model_loader")
        );
        log.clear();
        assert_eq!(log.first_error(), None);
    }

    #[test]
    fn memory_is_read_from_the_lines_about_buffers() {
        let log = LlamaLog::default();
        for line in [
            "load_tensors:   CPU_Mapped model buffer size =    93.50 MiB",
            "llama_kv_cache:        CPU KV buffer size =    90.00 MiB",
            "llama_context:        CPU  output buffer size =     0.25 MiB",
            "sched_reserve:        CPU compute buffer size =    25.25 MiB",
            "a buffer size = that is none",
        ] {
            log.add(Level::INFO, line);
        }
        let mib = 1024 * 1024;
        let expected = MemoryUse {
            weights_bytes: 93 * mib + mib / 2,
            context_bytes: 90 * mib,
            compute_bytes: 25 * mib + mib / 2,
        };
        assert_eq!(log.memory_use(), expected);
        log.forget_memory();
        assert_eq!(log.memory_use(), MemoryUse::default());
    }

    #[test]
    fn names_of_functions_are_cut_off_and_sentences_are_not() {
        assert_eq!(
            without_origin("gguf_init_from_file_impl: bad: worse"),
            "bad: worse"
        );
        assert_eq!(without_origin("ggml::a_b: bad"), "bad");
        assert_eq!(
            without_origin("error loading model: bad"),
            "error loading model: bad"
        );
    }

    #[test]
    fn events_of_others_are_not_kept() {
        let log = LlamaLog::default();
        tracing::subscriber::with_default(log.clone(), || {
            tracing::error!(target: "llama-cpp-2", "ours");
            tracing::error!("not ours");
            tracing::debug!(target: "llama-cpp-2", "too quiet");
        });
        assert_eq!(log.lock().len(), 1);
        assert_eq!(log.first_error().unwrap(), "ours");
    }
}
