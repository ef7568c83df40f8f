//! A worker with real models: what is promised about it holds when things go wrong.
//!
//! This program is its own worker: started with the argument `worker` it does what `satchel worker inference` does, so
//! that no other package is needed. Models come from `SATCHEL_TEST_CHAT_MODEL` and `SATCHEL_TEST_EMBEDDER`, else from
//! the models that `make run` put into the user's data folder; without one its tests say so and are skipped.
//! Start at [`TESTS`].

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use satchel_inference::{
    ChatMessage, ChatRole, DeviceKind, EngineError, EngineHandle, GenerateRequest, LoadError,
    ModelSpec, PROMPT_CHUNK_TOKENS, Role, Sampling, StopReason, StreamEvent, TokenUsage,
    WorkerCommand,
};

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    (
        "devices_include_the_processor",
        devices_include_the_processor,
    ),
    (
        "a_missing_file_is_reported_in_words",
        a_missing_file_is_reported_in_words,
    ),
    (
        "garbage_is_an_error_and_not_a_hang",
        garbage_is_an_error_and_not_a_hang,
    ),
    (
        "an_unknown_architecture_is_named",
        an_unknown_architecture_is_named,
    ),
    (
        "a_truncated_model_is_an_error",
        a_truncated_model_is_an_error,
    ),
    (
        "planted_libraries_are_not_loaded",
        planted_libraries_are_not_loaded,
    ),
    (
        "a_worker_alone_in_the_terminal_explains_itself",
        a_worker_alone_in_the_terminal_explains_itself,
    ),
    (
        "an_answer_streams_and_is_repeatable",
        an_answer_streams_and_is_repeatable,
    ),
    ("limits_end_an_answer", limits_end_an_answer),
    (
        "control_tokens_in_a_message_are_plain_text",
        control_tokens_in_a_message_are_plain_text,
    ),
    (
        "a_prompt_that_is_too_long_is_refused_and_the_next_works",
        a_prompt_that_is_too_long_is_refused_and_the_next_works,
    ),
    (
        "a_full_context_ends_the_answer",
        a_full_context_ends_the_answer,
    ),
    (
        "a_follow_up_reads_only_what_is_new",
        a_follow_up_reads_only_what_is_new,
    ),
    (
        "dropping_the_stream_stops_writing_at_once",
        dropping_the_stream_stops_writing_at_once,
    ),
    ("reading_stops_within_a_chunk", reading_stops_within_a_chunk),
    (
        "counting_does_not_wait_for_an_answer",
        counting_does_not_wait_for_an_answer,
    ),
    (
        "a_killed_worker_is_an_error_within_a_second",
        a_killed_worker_is_an_error_within_a_second,
    ),
    ("unloading_frees_the_process", unloading_frees_the_process),
    (
        "a_worker_ends_with_its_program",
        a_worker_ends_with_its_program,
    ),
    ("a_chat_model_does_not_embed", a_chat_model_does_not_embed),
    (
        "vectors_have_length_one_and_meaning",
        vectors_have_length_one_and_meaning,
    ),
    (
        "a_long_text_is_embedded_to_its_end",
        a_long_text_is_embedded_to_its_end,
    ),
    ("many_texts_keep_their_order", many_texts_keep_their_order),
    ("an_embedder_does_not_write", an_embedder_does_not_write),
    (
        "vectors_equal_the_independent_ones",
        vectors_equal_the_independent_ones,
    ),
    ("the_worker_is_locked_in", the_worker_is_locked_in),
];

/// Started by a test with another environment or folder, not by name.
const HELPERS: &[Test] = &[
    ("ask_from_a_hostile_place", ask_from_a_hostile_place),
    ("hold_a_worker", hold_a_worker),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("worker") => return satchel_inference::run_worker(),
        Some("helper") => {
            let (_, helper) = HELPERS
                .iter()
                .find(|(name, _)| arguments.get(1).is_some_and(|wanted| wanted == name))
                .unwrap();
            helper();
            return ExitCode::SUCCESS;
        }
        Some("--list") => {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let selected = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let mut failed = Vec::new();
    for (name, test) in TESTS.iter().filter(|(name, _)| selected(name)) {
        let begin = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(test));
        println!(
            "test {name} ... {} ({:.1} s)",
            if result.is_ok() { "ok" } else { "FAILED" },
            begin.elapsed().as_secs_f32()
        );
        if result.is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

// ---- the rig ----

fn run<T>(test: impl Future<Output = T>) -> T {
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

fn worker() -> WorkerCommand {
    WorkerCommand {
        program: std::env::current_exe().unwrap(),
        args: vec![OsString::from("worker")],
    }
}

fn chat_spec(path: &Path, context_len_tokens: u32) -> ModelSpec {
    ModelSpec {
        path: path.to_owned(),
        role: Role::Chat { context_len_tokens },
        threads: None,
        gpu_layers: 0,
    }
}

fn embedder_spec(path: &Path) -> ModelSpec {
    ModelSpec {
        path: path.to_owned(),
        role: Role::Embedder,
        threads: None,
        gpu_layers: 0,
    }
}

fn chat_engine(context_len_tokens: u32) -> Option<EngineHandle> {
    let path = model("SATCHEL_TEST_CHAT_MODEL", "smollm2")?;
    Some(EngineHandle::new(
        worker(),
        chat_spec(&path, context_len_tokens),
    ))
}

fn embedder_engine() -> Option<EngineHandle> {
    let path = model("SATCHEL_TEST_EMBEDDER", "minilm")?;
    Some(EngineHandle::new(worker(), embedder_spec(&path)))
}

/// The model named by `variable`, or a file of the user's models whose name contains `word`.
fn model(variable: &str, word: &str) -> Option<PathBuf> {
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

fn gguf_files(dir: &Path, depth: usize) -> Vec<PathBuf> {
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

fn user(text: &str) -> Vec<ChatMessage> {
    vec![ChatMessage::new(ChatRole::User, text)]
}

fn ask(messages: Vec<ChatMessage>, max_output_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        messages,
        sampling: Sampling::greedy(),
        max_output_tokens,
        stop: Vec::new(),
    }
}

struct Answer {
    text: String,
    reason: StopReason,
    usage: TokenUsage,
}

async fn answer(engine: &EngineHandle, request: GenerateRequest) -> Result<Answer, EngineError> {
    let mut stream = engine.generate(request).await?;
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event? {
            StreamEvent::Prompt {
                done_tokens,
                total_tokens,
                cached_tokens,
            } => {
                assert!(cached_tokens <= done_tokens && done_tokens <= total_tokens);
            }
            StreamEvent::Text(more) => text += &more,
            StreamEvent::Finished { reason, usage } => {
                assert!(
                    stream.next().await.is_none(),
                    "something follows the last event"
                );
                return Ok(Answer {
                    text,
                    reason,
                    usage,
                });
            }
        }
    }
    panic!("the stream ended without its last event");
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// A text of about `words` words that a model reads without surprise.
fn prose(words: usize) -> String {
    let sentence = "The old bridge over the river was closed for repairs in spring and opened again in autumn. ";
    sentence.split_inclusive(' ').cycle().take(words).collect()
}

// ---- what needs no model ----

fn devices_include_the_processor() {
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

fn a_missing_file_is_reported_in_words() {
    let engine = EngineHandle::new(worker(), chat_spec(Path::new("/nowhere/model.gguf"), 512));
    let error = run(engine.info()).unwrap_err();
    assert_eq!(
        error,
        EngineError::Load(LoadError::Missing {
            path: "/nowhere/model.gguf".into()
        })
    );
}

fn garbage_is_an_error_and_not_a_hang() {
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

fn an_unknown_architecture_is_named() {
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

fn a_truncated_model_is_an_error() {
    let Some(path) = model("SATCHEL_TEST_CHAT_MODEL", "smollm2") else {
        return;
    };
    let whole = std::fs::read(path).unwrap();
    for part in [whole.len() / 100, whole.len() / 2, whole.len() - 1] {
        let error = load_error(&whole[..part]);
        assert!(matches!(error, LoadError::Damaged { .. }), "{error}");
    }
}

/// Every door through which llama.cpp or the system's loader would let in a foreign library: none may open.
fn planted_libraries_are_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let proof = dir.path().join("it-ran");
    let source = format!(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) {{ FILE *f = fopen(\"{}\", \"w\"); if (f) fclose(f); }}\n\
         int ggml_backend_score(void) {{ return 1 << 20; }}\n",
        proof.display()
    );
    let planted = dir.path().join("libggml-cpu-planted.so");
    std::fs::write(dir.path().join("planted.c"), source).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&planted)
        .arg(dir.path().join("planted.c"))
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        println!("skipped: no C compiler");
        return;
    }
    for name in [
        "libggml-vulkan.so",
        "libggml-blas.so",
        "libllama.so.0",
        "libggml-base.so.0",
    ] {
        std::fs::copy(&planted, dir.path().join(name)).unwrap();
    }
    // The plant is a working one.
    let loaded = Command::new("true")
        .env("LD_PRELOAD", &planted)
        .status()
        .unwrap();
    assert!(
        loaded.success() && proof.exists(),
        "the planted library does not work"
    );
    std::fs::remove_file(&proof).unwrap();

    let asked = Command::new(std::env::current_exe().unwrap())
        .args(["helper", "ask_from_a_hostile_place"])
        .current_dir(dir.path())
        .env("GGML_BACKEND_PATH", &planted)
        .output()
        .unwrap();
    assert!(
        asked.status.success(),
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    assert!(!proof.exists(), "a planted library ran in the worker");

    // Somebody starts the worker by hand in a prepared place: it refuses.
    let refused = Command::new(std::env::current_exe().unwrap())
        .arg("worker")
        .current_dir(dir.path())
        .env("GGML_BACKEND_PATH", &planted)
        .stdin(message(br#""Devices""#))
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stdout).contains("GGML_BACKEND_PATH"));
    assert!(
        !proof.exists(),
        "a planted library ran in a worker started by hand"
    );
}

/// A file with one message, to be read as standard input.
fn message(json: &[u8]) -> Stdio {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&u32::try_from(json.len()).unwrap().to_le_bytes())
        .unwrap();
    file.write_all(json).unwrap();
    file.rewind().unwrap();
    Stdio::from(file)
}

fn ask_from_a_hostile_place() {
    let devices = run(satchel_inference::devices(&worker())).unwrap();
    assert!(devices.iter().any(|device| device.kind == DeviceKind::Cpu));
}

fn a_worker_alone_in_the_terminal_explains_itself() {
    let typed = Command::new(std::env::current_exe().unwrap())
        .arg("worker")
        .stdin(message(b"hello"))
        .output()
        .unwrap();
    assert_eq!(typed.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&typed.stderr).contains("no use in a terminal"));
    assert!(typed.stdout.is_empty(), "only messages belong there");
    let closed = Command::new(std::env::current_exe().unwrap())
        .arg("worker")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(closed.status.success());
}

// ---- writing ----

fn an_answer_streams_and_is_repeatable() {
    let Some(engine) = chat_engine(1024) else {
        return;
    };
    run(async {
        let info = engine.info().await.unwrap();
        assert_eq!(info.context_len_tokens, 1024);
        assert!(info.n_params > 1_000_000 && info.size_bytes > 1_000_000 && info.has_chat_template);
        assert_ne!(info.variant, "unknown");
        assert_eq!(engine.worker_pid(), Some(info.pid));

        let question = || {
            ask(
                user("What is the capital of France? Answer in one short sentence."),
                40,
            )
        };
        let first = answer(&engine, question()).await.unwrap();
        println!("  {} on {}: {:?}", info.name, info.variant, first.text);
        assert!(first.text.contains("Paris"), "{:?}", first.text);
        assert_eq!(first.reason, StopReason::EndOfAnswer);
        assert!(first.usage.output_tokens > 2 && first.usage.prompt_ms > 0.0);
        let second = answer(&engine, question()).await.unwrap();
        assert_eq!(second.text, first.text);

        let seeded = |seed| {
            let sampling = Sampling {
                temperature: 1.5,
                seed: Some(seed),
                ..Sampling::default()
            };
            GenerateRequest {
                sampling,
                ..ask(user("Tell me something surprising."), 30)
            }
        };
        let one = answer(&engine, seeded(1)).await.unwrap().text;
        assert_eq!(answer(&engine, seeded(1)).await.unwrap().text, one);
        assert_ne!(answer(&engine, seeded(2)).await.unwrap().text, one);
    });
}

fn limits_end_an_answer() {
    let Some(engine) = chat_engine(1024) else {
        return;
    };
    run(async {
        let counting =
            || user("Write the numbers from one to twenty as words, separated by commas.");
        let few = answer(&engine, ask(counting(), 5)).await.unwrap();
        assert_eq!(
            (few.reason, few.usage.output_tokens),
            (StopReason::MaxTokens, 5)
        );
        let none = answer(&engine, ask(counting(), 0)).await.unwrap();
        assert_eq!(
            (none.reason, none.text.as_str()),
            (StopReason::MaxTokens, "")
        );

        let whole = answer(&engine, ask(counting(), 60)).await.unwrap().text;
        let stop = whole.chars().skip(10).take(6).collect::<String>();
        let request = GenerateRequest {
            stop: vec![stop.clone()],
            ..ask(counting(), 60)
        };
        let stopped = answer(&engine, request).await.unwrap();
        assert_eq!(stopped.reason, StopReason::StopWord);
        assert_eq!(stopped.text, whole[..whole.find(&stop).unwrap()]);
    });
}

fn control_tokens_in_a_message_are_plain_text() {
    let Some(engine) = chat_engine(1024) else {
        return;
    };
    run(async {
        let counts = engine
            .count_tokens(vec!["<|im_end|>".into(), "word".into(), String::new()])
            .await
            .unwrap();
        assert!(
            counts[0] > 3,
            "a control token in a text was taken for one: {counts:?}"
        );
        assert_eq!(counts[1..], [1, 0]);
        let plain = engine.count_prompt_tokens(user("")).await.unwrap();
        let hostile = engine
            .count_prompt_tokens(user("<|im_end|>"))
            .await
            .unwrap();
        assert_eq!(hostile - plain, counts[0]);
    });
}

fn a_prompt_that_is_too_long_is_refused_and_the_next_works() {
    let Some(engine) = chat_engine(512) else {
        return;
    };
    run(async {
        let long = user(&prose(600));
        let counted = engine.count_prompt_tokens(long.clone()).await.unwrap();
        let error = engine.generate(ask(long, 10)).await.unwrap_err();
        assert_eq!(
            error,
            EngineError::PromptTooLong {
                prompt_tokens: counted,
                context_len_tokens: 512
            }
        );
        assert_eq!(
            engine.generate(ask(Vec::new(), 10)).await.unwrap_err(),
            EngineError::NoMessages
        );
        assert!(
            !answer(&engine, ask(user("Say hello."), 10))
                .await
                .unwrap()
                .text
                .is_empty()
        );
    });
}

fn a_full_context_ends_the_answer() {
    let Some(engine) = chat_engine(256) else {
        return;
    };
    run(async {
        let sampling = Sampling {
            temperature: 2.0,
            seed: Some(3),
            ..Sampling::default()
        };
        let request = GenerateRequest {
            sampling,
            ..ask(user("Write a very long story about the sea."), 5000)
        };
        let full = answer(&engine, request).await.unwrap();
        assert_eq!(full.reason, StopReason::ContextFull);
        assert_eq!(
            full.usage.prompt_tokens + full.usage.output_tokens,
            257,
            "{:?}",
            full.usage
        );
        let next = answer(&engine, ask(user("Say hello."), 10)).await.unwrap();
        assert!(!next.text.is_empty());
    });
}

fn a_follow_up_reads_only_what_is_new() {
    let Some(engine) = chat_engine(2048) else {
        return;
    };
    run(async {
        let mut messages = user(&format!("{} When was the bridge closed?", prose(500)));
        let first = answer(&engine, ask(messages.clone(), 20)).await.unwrap();
        assert_eq!(first.usage.cached_tokens, 0);
        messages.push(ChatMessage::new(ChatRole::Assistant, first.text.clone()));
        messages.push(ChatMessage::new(ChatRole::User, "And when was it opened?"));
        let warm = answer(&engine, ask(messages.clone(), 20)).await.unwrap();
        assert!(
            warm.usage.cached_tokens >= first.usage.prompt_tokens - 2,
            "{:?}",
            warm.usage
        );
        assert!(
            warm.usage.prompt_ms < first.usage.prompt_ms / 4.0,
            "{:?} {:?}",
            first.usage,
            warm.usage
        );

        // What was kept gives the same answer as reading it all again.
        engine.unload().await;
        let cold = answer(&engine, ask(messages.clone(), 20)).await.unwrap();
        assert_eq!(cold.usage.cached_tokens, 0);
        assert_eq!(cold.text, warm.text);

        // A conversation that differs at its beginning shares only what is equal.
        let other = answer(&engine, ask(user("Say hello."), 5)).await.unwrap();
        assert!(other.usage.cached_tokens < other.usage.prompt_tokens);
        let again = answer(&engine, ask(messages, 20)).await.unwrap();
        assert_eq!(again.text, cold.text);
    });
}

fn dropping_the_stream_stops_writing_at_once() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        let mut stream = engine
            .generate(ask(user("Count from 1 to 1000."), 2000))
            .await
            .unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        drop(stream);
        // A short request is done at once only if the long one has stopped.
        let begin = Instant::now();
        answer(&engine, ask(user("Count from 1 to 1000."), 1))
            .await
            .unwrap();
        let waited = begin.elapsed();
        println!("  next answer after {waited:?}");
        assert!(waited < Duration::from_secs(2), "{waited:?}");

        let mut stream = engine
            .generate(ask(user("Count from 1 to 1000."), 2000))
            .await
            .unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        stream.cancel();
        let begin = Instant::now();
        loop {
            if let StreamEvent::Finished { reason, .. } = stream.next().await.unwrap().unwrap() {
                assert_eq!(reason, StopReason::Cancelled);
                break;
            }
        }
        println!("  cancelled after {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(1));
    });
}

fn reading_stops_within_a_chunk() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        engine.info().await.unwrap();
        let mut stream = engine.generate(ask(user(&prose(3000)), 5)).await.unwrap();
        let begun_at = loop {
            if let StreamEvent::Prompt {
                done_tokens: done @ 1..,
                total_tokens,
                ..
            } = stream.next().await.unwrap().unwrap()
            {
                assert!(total_tokens > 20 * PROMPT_CHUNK_TOKENS);
                break done;
            }
        };
        assert!(begun_at <= PROMPT_CHUNK_TOKENS);
        stream.cancel();
        let mut last_seen = begun_at;
        loop {
            match stream.next().await.unwrap().unwrap() {
                StreamEvent::Prompt { done_tokens, .. } => last_seen = done_tokens,
                StreamEvent::Finished { reason, usage } => {
                    assert_eq!((reason, usage.output_tokens), (StopReason::Cancelled, 0));
                    break;
                }
                StreamEvent::Text(_) => panic!("it wrote after it was cancelled"),
            }
        }
        // The chunk under way, and one that may have begun while the word travelled.
        assert!(
            last_seen <= begun_at + 2 * PROMPT_CHUNK_TOKENS,
            "{begun_at} {last_seen}"
        );
    });
}

fn counting_does_not_wait_for_an_answer() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        let mut stream = engine
            .generate(ask(user("Count from 1 to 1000."), 1000))
            .await
            .unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        let begin = Instant::now();
        let counts = engine
            .count_tokens(vec!["some words to count".into(); 50])
            .await
            .unwrap();
        assert!(
            begin.elapsed() < Duration::from_secs(1),
            "{:?}",
            begin.elapsed()
        );
        assert_eq!(counts, vec![4; 50]);
        assert!(
            matches!(stream.next().await, Some(Ok(StreamEvent::Text(_)))),
            "the answer has ended meanwhile"
        );
    });
}

// ---- processes ----

fn a_killed_worker_is_an_error_within_a_second() {
    let Some(engine) = chat_engine(4096) else {
        return;
    };
    run(async {
        let mut stream = engine
            .generate(ask(user("Count from 1 to 1000."), 2000))
            .await
            .unwrap();
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        let pid = engine.worker_pid().unwrap();
        kill(pid);
        let begin = Instant::now();
        let error = loop {
            match stream.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        println!("  error after {:?}: {error}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert!(
            matches!(error, EngineError::WorkerDied { .. }) && error.is_retryable(),
            "{error}"
        );
        assert!(stream.next().await.is_none());

        let next = answer(&engine, ask(user("Say hello."), 10)).await.unwrap();
        assert!(!next.text.is_empty());
        assert_ne!(engine.worker_pid(), Some(pid));

        // A worker that dies while nobody asks is not noticed at all.
        kill(engine.worker_pid().unwrap());
        tokio::time::timeout(Duration::from_secs(1), async {
            while engine.worker_pid().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the death is not seen");
        assert!(
            !answer(&engine, ask(user("Say hello."), 10))
                .await
                .unwrap()
                .text
                .is_empty()
        );
    });
}

fn unloading_frees_the_process() {
    let Some(engine) = chat_engine(512) else {
        return;
    };
    run(async {
        let stream = engine
            .generate(ask(user("Count from 1 to 1000."), 400))
            .await
            .unwrap();
        let pid = engine.worker_pid().unwrap();
        let mut stream = stream;
        while !matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Text(_)) {}
        engine.unload().await;
        assert!(!is_running(pid));
        assert_eq!(engine.worker_pid(), None);
        let error = loop {
            match stream.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error, EngineError::Unloaded);

        // Dropping the last handle does the same, while a stream is still held.
        let stream = engine
            .generate(ask(user("Count from 1 to 1000."), 400))
            .await
            .unwrap();
        let pid = engine.worker_pid().unwrap();
        drop(engine);
        wait_until_gone(pid).await;
        drop(stream);
    });
}

/// A program that is killed takes its busy worker with it.
fn a_worker_ends_with_its_program() {
    if chat_engine(512).is_none() {
        return;
    }
    use std::io::{BufRead, BufReader};
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["helper", "hold_a_worker"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    assert!(is_running(pid));
    program.kill().unwrap();
    program.wait().unwrap();
    run(wait_until_gone(pid));
}

/// Prints the id of a worker that is in the middle of a long answer, and waits to be killed.
fn hold_a_worker() {
    let engine = chat_engine(4096).unwrap();
    run(async {
        let mut stream = engine
            .generate(ask(user(&prose(3000)), 1000))
            .await
            .unwrap();
        stream.next().await.unwrap().unwrap();
        println!("{}", engine.worker_pid().unwrap());
        while stream.next().await.is_some() {}
        std::future::pending::<()>().await;
    });
}

fn kill(pid: u32) {
    assert!(
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Whether a process is there and not only waiting to be buried.
fn is_running(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state != Some('Z')
}

async fn wait_until_gone(pid: u32) {
    tokio::time::timeout(Duration::from_secs(2), async {
        while is_running(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the worker is still there");
}

fn the_worker_is_locked_in() {
    let Some(engine) = embedder_engine() else {
        return;
    };
    let info = run(engine.info()).unwrap();
    println!("  sandbox: {}", info.sandbox);
    let status = std::fs::read_to_string(format!("/proc/{}/status", info.pid)).unwrap();
    if info.sandbox.starts_with("full") {
        assert!(
            status.lines().any(|line| line == "NoNewPrivs:\t1"),
            "{status}"
        );
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", info.pid)).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", info.pid)).unwrap();
    assert!(!environment.contains("LD_LIBRARY_PATH="), "{environment}");
    let folder = std::fs::read_link(format!("/proc/{}/cwd", info.pid)).unwrap();
    assert!(
        folder.to_string_lossy().ends_with(" (deleted)"),
        "{folder:?}"
    );
}

// ---- embedding ----

fn a_chat_model_does_not_embed() {
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

fn an_embedder_does_not_write() {
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

fn vectors_have_length_one_and_meaning() {
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

fn a_long_text_is_embedded_to_its_end() {
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
        assert!(
            cosine(&v[0], &v[2]) > cosine(&v[0], &v[3]),
            "the end of a long text is not in its vector"
        );
        assert!(
            cosine(&v[1], &v[3]) > cosine(&v[1], &v[2]),
            "the end of a long text is not in its vector"
        );
    });
}

fn many_texts_keep_their_order() {
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
fn vectors_equal_the_independent_ones() {
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
