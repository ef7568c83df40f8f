//! What people wait for: a model to load, a worker to come back, the first word of a follow-up, of a chat that one goes
//! back to, of one that goes on after a restart, and how near the foretold speed is.
//!
//! `make bench BENCH=waiting`. Each ratio compares two times of one run, on the same machine and model.

use std::path::{Path, PathBuf};
use std::time::Instant;

use satchel_app::backend::model_host::worker_command;
use satchel_inference::{
    AnswerForm, ChatMessage, ChatRole, EngineHandle, GenerateRequest, GpuLayers, KnownConversation,
    ModelSpec, Role, Sampling, StreamEvent, Thinking,
};
use satchel_models::fit;
use satchel_sync::Workspace;
use satchel_sync::keys::DataKey;
use satchel_tests::bench::{Row, invented_text, print};
use satchel_tests::{models_dir, satchel_bin};

/// Tokens of the conversation that is gone on with.
const CONTEXT_TOKENS: usize = 1500;
const RUNS: usize = 5;

fn main() {
    let Some(model) = chat_model() else {
        println!("skipped: the starter models are not installed (make run installs them)");
        return;
    };
    let runtime = satchel_app::backend::runtime::build().expect("threads");
    runtime.block_on(async {
        loading(&model).await;
        first_words(&model).await;
        after_a_restart(&model).await;
        foretold(&model).await;
    });
}

fn chat_model() -> Option<PathBuf> {
    let store = satchel_models::store::ModelStore::open(&models_dir()).ok()?;
    let mut installed = store.list().ok()?.into_iter();
    let chat = installed.find(|model| model.kind == satchel_models::ModelKind::Chat);
    chat.map(|model| model.path)
}

fn engine(path: &Path) -> EngineHandle {
    EngineHandle::new(
        worker_command(&satchel_bin(), "inference"),
        ModelSpec {
            path: path.to_path_buf(),
            role: Role::Chat {
                context_len_tokens: 4096,
            },
            threads: None,
            gpu_layers: GpuLayers::None,
            adapter: None,
            bert: None,
        },
    )
}

/// A worker that starts, and one that comes back after it was killed.
async fn loading(model: &Path) {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let engine = engine(model);
        let begun = Instant::now();
        engine.info().await.expect("the model loads");
        let started_ms = begun.elapsed().as_secs_f64() * 1000.0;
        let pid = engine.worker_pid().expect("it runs").cast_signed();
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        while engine.worker_pid().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let begun = Instant::now();
        engine.info().await.expect("the model loads again");
        // The first run reads the file from the disk.
        if run > 0 {
            first.push(started_ms);
            again.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
        engine.unload().await;
    }
    print(
        "a model of 94 MiB in a worker of its own",
        &[
            Row::new("start to ready [ms]", first).at_most(300.0),
            Row::new("killed to ready again [ms]", again).at_most(500.0),
        ],
    );
}

/// The first word of a conversation that is new, that goes on, and that one goes back to.
async fn first_words(model: &Path) {
    let engine = engine(model);
    let (mut cold, mut warm, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS as u64 {
        let mut one = conversation(&engine, 2 * run).await;
        let other = conversation(&engine, 2 * run + 1).await;
        let new = first_word_ms(&engine, &one).await;
        go_on(&mut one);
        let follow_up = first_word_ms(&engine, &one).await;
        first_word_ms(&engine, &other).await;
        go_on(&mut one);
        let returned = first_word_ms(&engine, &one).await;
        if run > 0 {
            cold.push(new);
            warm.push(new / follow_up);
            back.push(new / returned);
        }
    }
    print(
        &format!("first word over {CONTEXT_TOKENS} tokens"),
        &[
            Row::new("of a new conversation [ms]", cold),
            Row::new("new / follow-up", warm).at_least(15.0),
            Row::new("new / follow-up after another conversation", back).at_least(8.0),
        ],
    );
    engine.unload().await;
}

/// The first word of a conversation that was kept on the disk: unsealed, given to a worker that has just loaded the model,
/// and gone on with.
async fn after_a_restart(model: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = DataKey::from_bytes([7; 32]);
    let dir = folder.path().join("0123456789abcdef0123456789abcdef");
    let workspace = Workspace::create(&dir, &key, "Bench").expect("a workspace");
    let path = folder.path().join("kept");
    let (mut keep_ms, mut mib, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS as u64 {
        let first = engine(model);
        let mut one = conversation(&first, 100 + run).await;
        let new = first_word_ms(&first, &one).await;
        let begun = Instant::now();
        let known = first.put_away(one.clone()).await.expect("kept");
        let known = known.expect("much is known");
        let head = serde_json::to_vec(&known.tokens).expect("numbers");
        let sealed = workspace.write_cache(&path, [1; 16], &head, &known.state);
        sealed.expect("written");
        let kept = begun.elapsed().as_secs_f64() * 1000.0;
        let bytes = known.state.len();
        first.unload().await;

        let second = engine(model);
        second.info().await.expect("the model loads");
        go_on(&mut one);
        let begun = Instant::now();
        let (head, state) = workspace.read_cache(&path, [1; 16]).expect("read");
        let tokens = serde_json::from_slice(&head).expect("numbers");
        let known = KnownConversation { tokens, state };
        assert!(second.take_up(known).await.expect("taken up"));
        write(&second, one, 1).await;
        let again = begun.elapsed().as_secs_f64() * 1000.0;
        second.unload().await;
        if run > 0 {
            keep_ms.push(kept);
            mib.push(bytes as f64 / f64::from(1 << 20));
            ratio.push(new / again);
        }
    }
    print(
        "a conversation kept on the disk, sealed",
        &[
            Row::new("its length [MiB]", mib),
            Row::new("to keep it [ms]", keep_ms),
            Row::new("new / follow-up after a restart", ratio).at_least(8.0),
        ],
    );
}

async fn conversation(engine: &EngineHandle, seed: u64) -> Vec<ChatMessage> {
    let mut words = CONTEXT_TOKENS;
    loop {
        let messages = vec![ChatMessage::new(ChatRole::User, invented_text(seed, words))];
        let counted = engine.count_prompt_tokens(messages.clone()).await;
        let tokens = counted.expect("counted");
        if tokens <= CONTEXT_TOKENS {
            return messages;
        }
        words -= (tokens - CONTEXT_TOKENS).div_ceil(2).max(1);
    }
}

fn go_on(conversation: &mut Vec<ChatMessage>) {
    conversation.push(ChatMessage::new(ChatRole::Assistant, "Yes."));
    conversation.push(ChatMessage::new(ChatRole::User, "And then?"));
}

async fn first_word_ms(engine: &EngineHandle, conversation: &[ChatMessage]) -> f64 {
    let begun = Instant::now();
    let (_, first_ms) = write(engine, conversation.to_vec(), 1).await;
    first_ms.unwrap_or_else(|| begun.elapsed().as_secs_f64() * 1000.0)
}

/// Tokens per second of the answer, and the time to its first piece.
async fn write(
    engine: &EngineHandle,
    messages: Vec<ChatMessage>,
    tokens: u32,
) -> (f64, Option<f64>) {
    let begun = Instant::now();
    let request = GenerateRequest {
        messages,
        sampling: Sampling::greedy(),
        max_output_tokens: tokens,
        thinking: Thinking::Off,
        stop: Vec::new(),
        form: AnswerForm::Free,
    };
    let mut stream = engine.generate(request).await.expect("generation starts");
    let mut first_ms = None;
    loop {
        match stream.next().await {
            Some(Ok(StreamEvent::Finished { usage, .. })) => {
                let speed = usage.output_tokens as f64 * 1000.0 / usage.output_ms;
                return (speed, first_ms);
            }
            Some(Ok(StreamEvent::Text(_))) => {
                first_ms.get_or_insert_with(|| begun.elapsed().as_secs_f64() * 1000.0);
            }
            Some(Ok(_)) => {}
            other => panic!("the generation broke off: {other:?}"),
        }
    }
}

/// What the header and the speed of the memory promise, beside what comes.
async fn foretold(model: &Path) {
    let summary = satchel_models::gguf::check(model).expect("a model");
    let engine = engine(model);
    let mut ratio = Vec::new();
    for run in 0..=RUNS {
        let machine = satchel_app::backend::hardware::machine(&satchel_bin()).await;
        let advice = fit::judge(&summary.shape, &machine, Some(4096), 8192, 128);
        let told = advice.tokens_per_s.expect("the memory was measured");
        let question = ChatMessage::new(ChatRole::User, "Tell a long story about the sea.");
        let (speed, _) = write(&engine, vec![question], 96).await;
        if run > 0 {
            ratio.push(speed / told);
        }
    }
    print(
        "speed of writing",
        &[Row::new("measured / foretold", ratio)],
    );
    engine.unload().await;
}
