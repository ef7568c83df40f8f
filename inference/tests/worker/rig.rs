//! What the tests are built from: a worker command, models, questions, answers.

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use satchel_inference::{
    AnswerForm, ChatMessage, ChatRole, EngineError, EngineHandle, GenerateRequest, GpuLayers,
    ModelSpec, Role, Sampling, StopReason, StreamEvent, Thinking, TokenUsage, WorkerCommand,
};

pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(180), test)
            .await
            .expect("the test hangs")
    })
}

pub(crate) fn worker() -> WorkerCommand {
    WorkerCommand {
        program: std::env::current_exe().unwrap(),
        args: vec![OsString::from("worker")],
    }
}

pub(crate) fn chat_spec(path: &Path, context_len_tokens: u32) -> ModelSpec {
    ModelSpec {
        path: path.to_owned(),
        role: Role::Chat { context_len_tokens },
        threads: None,
        gpu_layers: GpuLayers::None,
        adapter: None,
        bert: None,
    }
}

pub(crate) fn embedder_spec(path: &Path) -> ModelSpec {
    ModelSpec {
        path: path.to_owned(),
        role: Role::Embedder,
        threads: None,
        gpu_layers: GpuLayers::None,
        adapter: None,
        bert: None,
    }
}

pub(crate) fn chat_engine(context_len_tokens: u32) -> Option<EngineHandle> {
    let path = model("SATCHEL_TEST_CHAT_MODEL", "smollm2")?;
    Some(EngineHandle::new(
        worker(),
        chat_spec(&path, context_len_tokens),
    ))
}

pub(crate) fn embedder_engine() -> Option<EngineHandle> {
    let path = model("SATCHEL_TEST_EMBEDDER", "minilm")?;
    Some(EngineHandle::new(worker(), embedder_spec(&path)))
}

/// The model named by `variable`, or a file of the user's models whose name contains `word`.
pub(crate) fn model(variable: &str, word: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        assert!(path.is_file(), "{variable} does not name a file");
        return Some(path);
    }
    let data = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share")))?;
    let found = gguf_files(&data.join("satchel/models"), 3)
        .into_iter()
        .find(|path| {
            path.to_string_lossy()
                .to_lowercase()
                .replace(['-', '_'], "")
                .contains(word)
        });
    if found.is_none() {
        println!(
            "skipped: no model ({word}); set {variable} to a GGUF file, or run `make run` once"
        );
    }
    found
}

pub(crate) fn gguf_files(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        if path.is_dir() && depth > 0 {
            files.extend(gguf_files(&path, depth - 1));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "gguf")
        {
            files.push(path);
        }
    }
    files.sort();
    files
}

pub(crate) fn user(text: &str) -> Vec<ChatMessage> {
    vec![ChatMessage::new(ChatRole::User, text)]
}

pub(crate) fn ask(messages: Vec<ChatMessage>, max_output_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        messages,
        sampling: Sampling::greedy(),
        max_output_tokens,
        thinking: Thinking::Off,
        stop: Vec::new(),
        form: AnswerForm::Free,
    }
}

pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) thoughts: String,
    pub(crate) reason: StopReason,
    pub(crate) usage: TokenUsage,
}

pub(crate) async fn answer(
    engine: &EngineHandle,
    request: GenerateRequest,
) -> Result<Answer, EngineError> {
    let mut stream = engine.generate(request).await?;
    let (mut text, mut thoughts) = (String::new(), String::new());
    while let Some(event) = stream.next().await {
        match event? {
            StreamEvent::Prompt {
                done_tokens,
                total_tokens,
                cached_tokens,
            } => {
                assert!(cached_tokens <= done_tokens && done_tokens <= total_tokens);
            }
            StreamEvent::Thought(more) => thoughts += &more,
            StreamEvent::Text(more) => text += &more,
            StreamEvent::Finished { reason, usage } => {
                assert!(
                    stream.next().await.is_none(),
                    "something follows the last event"
                );
                return Ok(Answer {
                    text,
                    thoughts,
                    reason,
                    usage,
                });
            }
        }
    }
    panic!("the stream ended without its last event");
}

pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// A text of about `words` words that a model reads without surprise.
pub(crate) fn prose(words: usize) -> String {
    let sentence = "The old bridge over the river was closed for repairs in spring and opened again in autumn. ";
    sentence.split_inclusive(' ').cycle().take(words).collect()
}
