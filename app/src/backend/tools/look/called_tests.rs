//! Tools of MCP servers in the loop: a script chooses, real servers answer, and nothing is called without a yes.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;

use super::super::super::jobs::{self, EventStream};
use super::super::super::unlock::{NewKey, Unlock};
use super::super::super::workspaces::WorkspaceChoice;
use super::super::super::{Backend, mcp};
use super::*;
use crate::config::{DataDirs, McpServer, Settings};
use crate::message::{Event, ToolRequest};

/// Writes what it was told to write, and keeps what it was given.
struct Script {
    lines: Mutex<VecDeque<&'static str>>,
    read: Mutex<Vec<(String, String)>>,
}

impl Script {
    fn new(lines: &[&'static str]) -> Self {
        Self {
            lines: Mutex::new(lines.iter().copied().collect()),
            read: Mutex::default(),
        }
    }
}

impl Writer for Script {
    async fn write(
        &self,
        messages: &[ChatMessage],
        schema: String,
    ) -> Result<Option<String>, Failure> {
        let texts: Vec<_> = messages.iter().map(|m| m.content.as_str()).collect();
        self.read.lock().unwrap().push((texts.join("\n"), schema));
        let line = self.lines.lock().unwrap().pop_front();
        Ok(line.map(str::to_owned))
    }
}

/// A backend without models, and a folder with the log of its servers.
struct Place {
    folder: tempfile::TempDir,
    backend: Backend,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut dirs = DataDirs::find(Some(folder.path()));
        dirs.models = folder.path().join("models");
        let unlock = Unlock::new(Arc::new(|_| None), NewKey::PlainFile);
        let opening = Backend::open(dirs, Settings::default(), unlock, &WorkspaceChoice::Current);
        let backend = opening.await.unwrap();
        Self { folder, backend }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn settings(&self, ways: &[&str]) -> Settings {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/mcp_server.py");
        let server = |way: &str| McpServer {
            command: "python3".to_owned(),
            args: vec![
                script.to_owned(),
                way.to_owned(),
                self.log().to_string_lossy().into_owned(),
            ],
            env: std::collections::BTreeMap::new(),
        };
        Settings {
            mcp_servers: ways
                .iter()
                .map(|way| ((*way).to_owned(), server(way)))
                .collect(),
            ..Settings::default()
        }
    }

    /// Lets the script look, with servers of these ways; the user answers each call with `allow`.
    async fn look(
        &self,
        ways: &[&str],
        script: &Script,
        allow: bool,
    ) -> (Looked, Vec<ToolRequest>, Vec<String>) {
        let (emitter, events) = jobs::channel();
        let shared = self.backend.shared();
        let user = tokio::spawn(user(events, Arc::clone(shared), allow));
        let servers = Servers::start(&self.settings(ways), &emitter).await;
        let desk = Desk {
            shared,
            emitter: &emitter,
            servers: &servers,
            offered: servers.tools(),
            writer: script,
        };
        let looked = desk.look("Where is the boat?", &mut Vec::new()).await;
        servers.end().await;
        drop(emitter);
        let (asked, notices) = user.await.unwrap();
        (looked.unwrap(), asked, notices)
    }
}

async fn user(
    mut events: EventStream,
    shared: Arc<Shared>,
    allow: bool,
) -> (Vec<ToolRequest>, Vec<String>) {
    let (mut asked, mut notices) = (Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
        match event {
            Event::Tool(request) => {
                shared.permissions.answer(&request.request, allow).unwrap();
                asked.push(request);
            }
            Event::Notice(text) => notices.push(text),
            _ => {}
        }
    }
    (asked, notices)
}

const CHOICE: &str = r#"{"tool": "good.find", "text": "the boat"}"#;
const GIVEN: &str = r#"{"text": "boat"}"#;
const ENOUGH: &str = r#"{"tool": "answer", "text": ""}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_called_when_the_user_allows_it_with_what_the_user_saw() {
    let place = Place::new().await;
    let script = Script::new(&[CHOICE, GIVEN, ENOUGH]);
    let (looked, asked, _) = place.look(&["good"], &script, true).await;
    let [request] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(
        (request.server.as_str(), request.tool.as_str()),
        ("good", "find")
    );
    let shown: serde_json::Value = serde_json::from_str(&request.arguments).unwrap();
    assert_eq!(shown, serde_json::json!({ "text": "boat" }));
    assert_eq!(
        looked.told,
        ["good.find: The boat is in Osterby. Its number is 5512."]
    );
    assert!(
        looked.notes.is_empty(),
        "foreign words are no notes of ours"
    );
    assert!(looked.steps[0].words.contains("Osterby"));
    let said = place.said();
    assert!(said.contains("call {\"text\": \"boat\"}"), "{said}");
    assert!(said.ends_with("end\n"), "it was not ended: {said}");
    let read = std::mem::take(&mut *script.read.lock().unwrap());
    assert!(read[0].0.contains("good.find: Finds notes."));
    assert!(
        read[1].1.contains("\"required\":[\"text\"]"),
        "{}",
        read[1].1
    );
    assert!(read[2].0.contains("Osterby"), "it is chosen on");
    place.backend.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_a_server_that_was_declined_or_whose_form_was_not_kept_to() {
    let place = Place::new().await;
    let script = Script::new(&[CHOICE, GIVEN, ENOUGH]);
    let (looked, asked, _) = place.look(&["good"], &script, false).await;
    assert_eq!((asked.len(), looked.told.len()), (1, 0));
    assert!(looked.steps[0].words.contains("not allowed"));

    for given in ["[1]", "{\"text\": \"bo", "boat"] {
        let script = Script::new(&[CHOICE, given, ENOUGH]);
        let (looked, asked, _) = place.look(&["good"], &script, true).await;
        assert_eq!((asked.len(), looked.told.len()), (0, 0), "{given}");
    }
    // Another tool than those that are offered is no choice.
    for other in ["good.rm", "find", "other.find"] {
        let other: &'static str =
            Box::leak(format!(r#"{{"tool": "{other}", "text": "x"}}"#).into_boxed_str());
        let script = Script::new(&[other, GIVEN]);
        let (looked, asked, _) = place.look(&["good"], &script, true).await;
        assert!(asked.is_empty() && looked.steps.is_empty(), "{other}");
    }
    assert!(!place.said().contains("call"), "{}", place.said());
    place.backend.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_fail_are_said_and_the_answer_goes_on() {
    let place = Place::new().await;
    let script = Script::new(&[
        r#"{"tool": "die.find", "text": "a"}"#,
        GIVEN,
        CHOICE,
        GIVEN,
        r#"{"tool": "fail.find", "text": "a"}"#,
        GIVEN,
        ENOUGH,
    ]);
    let (looked, asked, notices) = place
        .look(&["crash", "die", "fail", "good"], &script, true)
        .await;
    assert_eq!(asked.len(), 3);
    let words: Vec<_> = looked.steps.iter().map(|step| &step.words).collect();
    assert!(
        words[0].starts_with("die.find gave no result: "),
        "{words:?}"
    );
    assert!(words[1].contains("Osterby"), "{words:?}");
    assert!(
        words[2].starts_with("fail.find gave no result: "),
        "{words:?}"
    );
    assert_eq!(looked.told.len(), 1);
    let crash = notices.iter().find(|text| text.contains("crash")).unwrap();
    assert!(crash.contains("the database is gone"), "{crash}");
    place.backend.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_is_cleaned_and_cut() {
    let place = Place::new().await;
    let script = Script::new(&[r#"{"tool": "hidden.find", "text": "a"}"#, GIVEN, ENOUGH]);
    let (looked, ..) = place.look(&["hidden"], &script, true).await;
    let told = &looked.told[0];
    assert!(told.starts_with("hidden.find: Seen. [S1]"), "{told}");
    assert!(told.chars().count() < 4100, "{}", told.chars().count());
    assert!(!told.contains('\u{200b}') && !told.contains('\u{2060}'));
    place.backend.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_ends_with_the_question_and_leaves_nobody_behind() {
    let place = Place::new().await;
    let (emitter, mut events) = jobs::channel();
    let settings = place.settings(&["child", "hang"]);
    let servers = Servers::start(&settings, &emitter).await;
    let permissions = mcp::Permissions::default();
    let stopping = async {
        let Some(Event::Tool(request)) = events.next().await else {
            panic!("the user was not asked");
        };
        permissions.answer(&request.request, true).unwrap();
        while !place.said().contains("call") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        events.stopper().stop();
    };
    let arguments = serde_json::Map::new();
    let (result, ()) = tokio::join!(
        servers.call(&permissions, &emitter, "hang.find", arguments),
        stopping
    );
    assert_eq!(result, Err("it was stopped".to_owned()));
    servers.end().await;
    let said = place.said();
    let child = said.lines().find_map(|line| line.strip_prefix("child "));
    let child = rustix::process::Pid::from_raw(child.unwrap().parse().unwrap()).unwrap();
    // It is adopted by whoever reaps the orphans here, which may take a moment.
    let mut is_alive = true;
    for _ in 0..200 {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
        is_alive = state.is_ok_and(|state| !state.contains(") Z "));
        if !is_alive {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!is_alive, "a process of a server outlived it");
    place.backend.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_no_server_is_started() {
    let place = Place::new().await;
    let (emitter, mut events) = jobs::channel();
    let settings = Settings {
        offline: true,
        ..place.settings(&["good"])
    };
    let servers = Servers::start(&settings, &emitter).await;
    assert!(servers.tools().is_empty());
    assert_eq!(place.said(), "");
    let notice = events.next().await;
    assert!(matches!(notice, Some(Event::Notice(text)) if text.contains("Offline")));
    place.backend.close().await;
}
