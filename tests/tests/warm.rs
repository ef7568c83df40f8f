//! Nothing is read twice: a follow-up question costs its own words, also after a restart; and what is kept for that goes
//! with the words that it was made from.
//!
//! Needs the starter models, which `make test` installs. The starter is asked as larger models are: with many passages.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use satchel_app::backend::Backend;
use satchel_app::message::{AnswerReport, Command, Event, Reply, SyncCommand};
use satchel_tests::in_process::{import_of, open, run};

const QUESTION: &str = "When was the lighthouse of Osterby built?";
const FOLLOW_UP: &str = "What did the lighthouse of Osterby cost?";

/// A person's folder, and the data of Satchel beside it.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    async fn new() -> (Self, Backend) {
        let folder = tempfile::tempdir().unwrap();
        let desk = Self { folder };
        std::fs::create_dir_all(desk.papers()).unwrap();
        desk.write("lighthouse.md", &lighthouse("1887"));
        desk.write(
            "harbour.md",
            "# The harbour\n\nThe harbour of Osterby has room for forty ships of ninety feet.\n",
        );
        let backend = desk.open().await;
        run(&backend, import_of(&desk.papers(), false), |_| {}).await;
        (desk, backend)
    }

    async fn open(&self) -> Backend {
        let backend = open(&self.folder.path().join("data")).await;
        let style = ("prompt_style", "\"many_passages\"");
        let greedy = ("temperature", "0.0");
        let short = ("max_output_tokens", "24");
        let changes =
            [style, greedy, short].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let changes = changes.to_vec();
        run(&backend, Command::ChangeSettings { changes }, |_| {}).await;
        backend
    }

    fn papers(&self) -> PathBuf {
        self.folder.path().join("papers")
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.papers().join(name), text).unwrap();
    }

    /// The files in which chats are kept warm.
    fn kept(&self) -> Vec<PathBuf> {
        let index = self.folder.path().join("data/index");
        let folders = std::fs::read_dir(index).unwrap().flatten();
        let known = folders.filter(|entry| entry.file_name().to_string_lossy().ends_with(".known"));
        known
            .flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten())
            .map(|entry| entry.path())
            .collect()
    }
}

/// A document whose sections are some 600 tokens together.
fn lighthouse(year: &str) -> String {
    let mut text = format!(
        "# The lighthouse of Osterby\n\nThe lighthouse of Osterby was built in {year}. It cost 41,200 crowns.\n\n## Keepers\n\n"
    );
    for year in 1890..1910 {
        text += &format!(
            "In {year} the keeper of the lighthouse wrote down {} storms and {} ships in distress off Osterby.\n\n",
            year % 7 + 3,
            year % 5
        );
    }
    text
}

async fn ask(backend: &Backend, chat: Option<&str>, question: &str) -> AnswerReport {
    ask_and_see(backend, chat, question).await.0
}

/// The answer, and the passages that were found for the question.
async fn ask_and_see(
    backend: &Backend,
    chat: Option<&str>,
    question: &str,
) -> (AnswerReport, String) {
    let command = Command::Ask {
        question: question.to_owned(),
        thread: chat.map(str::to_owned),
        on: None,
        no_wait: false,
        tools: false,
    };
    let mut seen = String::new();
    let see = |event| {
        if let Event::Passages(passages) = event {
            seen.extend(passages.iter().map(|shown| shown.passage.as_str()));
        }
    };
    match run(backend, command, see).await {
        Reply::Answered(report) => (report, seen),
        other => panic!("no answer: {other:?}"),
    }
}

fn read_again(report: &AnswerReport) -> usize {
    let usage = report.usage.expect("a model answered");
    usage.prompt_tokens - usage.cached_tokens
}

fn holds(path: &Path, words: &str) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes
        .windows(words.len())
        .any(|window| window == words.as_bytes())
}

/// One after the other: each has models of its own, and several on few cores take many times as long.
fn test(test: impl Future<Output = ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    satchel_app::backend::runtime::build()
        .unwrap()
        .block_on(test);
}

#[test]
fn a_follow_up_reads_its_own_words_also_after_a_restart() {
    test(async {
        let (desk, backend) = Desk::new().await;
        let first = ask(&backend, None, QUESTION).await;
        let chat = first.thread.clone();
        assert!(read_again(&first) > 300, "{:?}", first.usage);
        assert!(!first.citations.is_empty());

        let warm = ask(&backend, Some(&chat), FOLLOW_UP).await;
        let usage = warm.usage.unwrap();
        assert!(usage.prompt_tokens > first.usage.unwrap().prompt_tokens);
        assert!(read_again(&warm) < 150, "{usage:?}");
        assert!(desk.kept().is_empty(), "nothing is written while one asks");
        backend.close().await;

        let kept = desk.kept();
        assert_eq!(kept.len(), 1);
        assert!(!holds(&kept[0], "lighthouse"));

        let backend = desk.open().await;
        let again = ask(&backend, Some(&chat), "And how many storms came in 1899?").await;
        assert!(again.usage.unwrap().prompt_tokens > usage.prompt_tokens);
        assert!(read_again(&again) < 150, "{:?}", again.usage);
        backend.close().await;

        // What was damaged is read again, and nothing else happens.
        let mut bytes = std::fs::read(&kept[0]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&kept[0], bytes).unwrap();
        let backend = desk.open().await;
        let cold = ask(&backend, Some(&chat), FOLLOW_UP).await;
        assert_eq!(cold.usage.unwrap().cached_tokens, 0);
        assert!(!cold.answer.is_empty());
        backend.close().await;
    });
}

/// The memory goes back while a window is open, too, which watches the other laptops all the time.
#[test]
fn idle_models_are_unloaded_and_come_back_warm() {
    test(async {
        let (_desk, backend) = Desk::new().await;
        let watching = backend.submit(Command::Sync(SyncCommand::Watch));
        let changes = vec![("unload_after_s".to_owned(), "1".to_owned())];
        run(&backend, Command::ChangeSettings { changes }, |_| {}).await;
        let first = ask(&backend, None, QUESTION).await;
        let models = &backend.shared().models;
        let pid = models.running_chat().await.unwrap().engine.worker_pid();
        let begun = Instant::now();
        while models.running_chat().await.is_some() {
            // Above: it is looked every 30 s until the setting is seen.
            assert!(begun.elapsed() < Duration::from_secs(60), "still loaded");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let again = ask(&backend, Some(&first.thread), FOLLOW_UP).await;
        assert!(read_again(&again) < 150, "{:?}", again.usage);
        let other = models
            .running_chat()
            .await
            .map(|chat| chat.engine.worker_pid());
        assert_ne!(other, Some(pid), "another worker answered");
        drop(watching);
        backend.close().await;
    });
}

#[test]
fn a_changed_document_is_read_as_it_is_now() {
    test(async {
        let (desk, backend) = Desk::new().await;
        let first = ask(&backend, None, QUESTION).await;
        let chat = first.thread.clone();
        backend.close().await;

        desk.write("lighthouse.md", &lighthouse("1904"));
        let backend = desk.open().await;
        run(&backend, import_of(&desk.papers(), false), |_| {}).await;
        let (again, seen) = ask_and_see(&backend, Some(&chat), QUESTION).await;
        let known = first.usage.unwrap().prompt_tokens;
        assert!(read_again(&again) > known / 2, "{:?}", again.usage);
        assert!(seen.contains("1904") && !seen.contains("1887"), "{seen}");
        backend.close().await;
    });
}

#[test]
fn what_is_removed_takes_what_was_known_of_it_along() {
    test(async {
        let (desk, backend) = Desk::new().await;
        let first = ask(&backend, None, QUESTION).await;
        let other = ask(
            &backend,
            None,
            "How many ships have room in the harbour of Osterby?",
        )
        .await;
        backend.close().await;
        assert_eq!(desk.kept().len(), 2);

        let backend = desk.open().await;
        let removal = Command::RemoveThread {
            thread: other.thread,
        };
        run(&backend, removal, |_| {}).await;
        assert_eq!(desk.kept().len(), 1);

        ask(&backend, Some(&first.thread), FOLLOW_UP).await;
        let documents = vec![desk.papers().join("lighthouse.md").display().to_string()];
        run(&backend, Command::RemoveDocuments { documents }, |_| {}).await;
        assert_eq!(desk.kept().len(), 0);
        backend.close().await;
        assert_eq!(desk.kept().len(), 0, "nor is it written afterwards");
    });
}
