//! Two workspaces on the disk and a real edge node, over real QUIC on 127.0.0.1.
//!
//! Start at [`Laptop`], the rig.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use satchel_edge_node::Server;
use satchel_edge_node::config::Config;
use satchel_protocol::link::NodeLink;
use satchel_sync::chat::{Message, Role as Speaker};
use satchel_sync::engine::{Action, Change, Event, Status};
use satchel_sync::keys::DataKey;
use satchel_sync::member::{DeviceKeys, Role, Welcome};
use satchel_sync::net::driver;
use satchel_sync::share;
use satchel_sync::workspace::{NewDocument, Workspace};
use tokio::sync::{Notify, mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(20);

/// A workspace with its sync running.
struct Laptop {
    workspace: Arc<Workspace>,
    status: Arc<Mutex<Option<Status>>>,
    results: Arc<Mutex<Vec<(u64, bool)>>>,
    work: mpsc::Sender<driver::Work>,
    stop: Arc<Notify>,
    ended: tokio::task::JoinHandle<()>,
}

impl Laptop {
    fn start(workspace: Arc<Workspace>) -> Self {
        let engine = share::open_engine(&workspace, driver::now())
            .unwrap()
            .unwrap();
        let wake = Arc::new(Notify::new());
        let waker = Arc::clone(&wake);
        workspace.wake_with(Some(Arc::new(move || waker.notify_one())));
        let status = Arc::new(Mutex::new(None));
        let results = Arc::new(Mutex::new(Vec::new()));
        let (work, mut wanted) = mpsc::channel(8);
        let stop = Arc::new(Notify::new());
        let (seen, told, stopped) = (Arc::clone(&status), Arc::clone(&results), Arc::clone(&stop));
        let ended = tokio::spawn(async move {
            let report = move |engine: &share::WorkspaceEngine, actions: Vec<Action>| {
                *seen.lock().unwrap() = Some(engine.status());
                for action in actions {
                    if let Action::Changed { ticket, result } = action {
                        told.lock().unwrap().push((ticket, result.is_ok()));
                    }
                }
            };
            driver::run(engine, &wake, &stopped, &mut wanted, report)
                .await
                .unwrap();
        });
        Self {
            workspace,
            status,
            results,
            work,
            stop,
            ended,
        }
    }

    /// Ends its sync; the workspace stays open.
    async fn stop(self) -> Arc<Workspace> {
        self.stop.notify_one();
        self.ended.await.unwrap();
        self.workspace
    }

    async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.status.lock().unwrap().clone();
            if status.as_ref().is_some_and(&holds) {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "waited in vain for {what}: {status:#?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn wait(&self, what: &str, holds: impl Fn(&Workspace) -> bool) {
        let started = Instant::now();
        while !holds(&self.workspace) {
            let status = self.status.lock().unwrap().clone();
            assert!(
                started.elapsed() < PATIENCE,
                "waited in vain for {what}: {status:#?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn flush(&self) {
        let flush: driver::Work = Box::new(|engine| {
            engine.flush_soon();
            Vec::new()
        });
        self.work.send(flush).await.ok();
    }

    async fn change(&self, ticket: u64, change: Change) {
        let event = Event::Change { ticket, change };
        self.work.send(Box::new(|_| vec![event])).await.ok();
        let started = Instant::now();
        loop {
            let found = self
                .results
                .lock()
                .unwrap()
                .iter()
                .find(|(id, _)| *id == ticket)
                .copied();
            if let Some((_, ok)) = found {
                assert!(ok, "the change was refused");
                return;
            }
            assert!(started.elapsed() < PATIENCE, "a change was never answered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn welcome(&self) -> Welcome {
        let (sender, receiver) = oneshot::channel();
        let ask: driver::Work = Box::new(move |engine| {
            sender
                .send(engine.welcome(Role::Owner, "Papers".into()))
                .ok();
            Vec::new()
        });
        self.work.send(ask).await.ok();
        receiver.await.unwrap()
    }
}

/// A node that stops with the test.
fn node(dir: &Path) -> NodeLink {
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: Some(dir.to_owned()),
        ..Config::default()
    };
    let server = Server::bind(&config).unwrap();
    let link = NodeLink {
        address: server.local_addr().to_string(),
        fingerprint: server.fingerprint(),
    };
    tokio::spawn(server.serve(std::future::pending()));
    link
}

struct Rig {
    dir: tempfile::TempDir,
    first: Laptop,
    second: Laptop,
}

/// Two laptops with one shared workspace; the first began it with a document and a chat.
async fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let link = node(&dir.path().join("edge"));
    let key = DataKey::random();
    let first = Workspace::create_in(&dir.path().join("a"), &key, "Papers").unwrap();
    let original = NewDocument {
        original: Some(vec![7; 2_000_000]),
        path: Some("/papers/ferry.txt".into()),
        ..NewDocument::plain("Ferry", "The ferry leaves at seven.\nBring a coat.\n")
    };
    let long = NewDocument::plain("Long", words(300_000));
    first.put(vec![original, long]).unwrap();
    let thread = first.create_thread("Trips").unwrap();
    first
        .append_message(thread, None, Message::new(Speaker::User, "When?", 1))
        .unwrap();
    let first = Arc::new(first);
    share::found(&first, &link, "", "Ada", "Desk", 0).unwrap();
    let first = Laptop::start(first);
    first
        .until("everything to be sent", |status| {
            status.unsent == 0 && status.uploads == 0 && status.edges[0].lacks == 0
        })
        .await;
    let device = DeviceKeys::random();
    let change = Change::Add {
        public: device.public(),
        user: "Ada".into(),
        label: "Bag".into(),
        role: Role::Owner,
    };
    first.change(1, change).await;
    let welcome = first.welcome().await;
    let key = DataKey::random();
    let second = share::join(&dir.path().join("b"), &key, &device, &welcome).unwrap();
    let second = Laptop::start(second);
    Rig { dir, first, second }
}

/// Text that does not compress to nothing.
fn words(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut text = String::new();
    while text.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        text += &format!("{:x} ", state >> 20);
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_chats_and_originals_reach_the_second_laptop() {
    let Rig {
        dir: _dir,
        first,
        second,
    } = rig().await;
    // Too long for an entry: it goes in chunks.
    first
        .workspace
        .put(vec![NewDocument::plain("Tome", words(4_000_000))])
        .unwrap();
    first.flush().await;
    second
        .wait("the documents", |workspace| workspace.document_count() == 3)
        .await;
    for entry in first.workspace.documents() {
        let text = first.workspace.text(entry.id).unwrap();
        second
            .wait("the text", |workspace| {
                workspace.text(entry.id).is_ok_and(|there| there == text)
            })
            .await;
        assert_eq!(
            second.workspace.text(entry.id).unwrap(),
            first.workspace.text(entry.id).unwrap()
        );
        second
            .wait("the original", |workspace| {
                workspace
                    .original(entry.id)
                    .is_ok_and(|bytes| bytes.is_some() == entry.original.is_some())
            })
            .await;
        assert_eq!(
            second.workspace.original(entry.id).unwrap(),
            first.workspace.original(entry.id).unwrap()
        );
    }
    let thread = first.workspace.threads()[0].id;
    second
        .wait("the chat", |workspace| workspace.thread(thread).is_ok())
        .await;
    assert_eq!(
        second.workspace.thread(thread).unwrap(),
        first.workspace.thread(thread).unwrap()
    );
    assert_eq!(second.workspace.name(), "Papers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_made_offline_on_both_laptops_merge() {
    let Rig {
        dir: _dir,
        first,
        second,
    } = rig().await;
    second
        .wait("the documents", |workspace| workspace.document_count() == 2)
        .await;
    let ferry = first
        .workspace
        .documents()
        .into_iter()
        .find(|entry| entry.title == "Ferry")
        .unwrap();
    let thread = first.workspace.threads()[0].id;
    second
        .wait("the text", |workspace| workspace.text(ferry.id).is_ok())
        .await;
    second
        .wait("the chat", |workspace| workspace.thread(thread).is_ok())
        .await;
    let (first, second) = (first.stop().await, second.stop().await);
    let edit = |workspace: &Workspace, text: &str| {
        let new = NewDocument {
            existing: Some(ferry.id),
            ..NewDocument::plain("Ferry", text)
        };
        workspace.put(vec![new]).unwrap();
    };
    edit(&first, "The ferry leaves at eight.\nBring a coat.\n");
    edit(&second, "The ferry leaves at seven.\nBring a warm coat.\n");
    let question = first.thread(thread).unwrap().messages[0].id;
    for (workspace, words) in [(&first, "At eight."), (&second, "At seven.")] {
        let answer = Message::new(Speaker::Assistant, words, 2);
        workspace
            .append_message(thread, Some(question), answer)
            .unwrap();
    }
    let (first, second) = (Laptop::start(first), Laptop::start(second));
    first.flush().await;
    second.flush().await;
    let merged = "The ferry leaves at eight.\nBring a warm coat.\n";
    for laptop in [&first, &second] {
        laptop
            .wait("both edits", |workspace| {
                workspace.text(ferry.id).is_ok_and(|text| text == merged)
            })
            .await;
        laptop
            .wait("both answers", |workspace| {
                workspace
                    .thread(thread)
                    .is_ok_and(|thread| thread.children(Some(question)).len() == 2)
            })
            .await;
        laptop
            .wait("the entry", |workspace| {
                workspace
                    .entry(ferry.id)
                    .is_some_and(|entry| entry.text_bytes == merged.len() as u64)
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_laptop_gets_nothing_new_and_removals_travel() {
    let Rig {
        dir: _dir,
        first,
        second,
    } = rig().await;
    second
        .wait("the documents", |workspace| workspace.document_count() == 2)
        .await;
    let long = first
        .workspace
        .documents()
        .into_iter()
        .find(|entry| entry.title == "Long")
        .unwrap();
    second
        .wait("the text", |workspace| workspace.text(long.id).is_ok())
        .await;
    first.workspace.remove(&[long.id]).unwrap();
    second
        .wait("the removal", |workspace| workspace.document_count() == 1)
        .await;
    assert!(second.workspace.text(long.id).is_err());
    let device = second.workspace.device().unwrap();
    first.change(2, Change::Remove(device)).await;
    second
        .until("the removal to be told", |status| status.role.is_none())
        .await;
    let new = NewDocument::plain("Secret", "Only for the first laptop.");
    first.workspace.put(vec![new]).unwrap();
    first.flush().await;
    first
        .until("the new one to be sent", |status| {
            status.unsent == 0 && status.edges[0].lacks == 0
        })
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(second.workspace.document_count(), 1);
}

/// Files that are written while the laptops are connected go at once, and what was computed from a text goes with it:
/// it tells much of what the text says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_derived_from_a_text_goes_from_both_laptops() {
    let Rig { dir, first, second } = rig().await;
    let files = |workspace: &Workspace| {
        let mut count = 0;
        for folder in std::fs::read_dir(workspace.dir().join("originals")).unwrap() {
            count += std::fs::read_dir(folder.unwrap().path()).unwrap().count();
        }
        count
    };
    first.workspace.put_derived("v1/e", &[3; 5000]).unwrap();
    first.workspace.put_derived("v2/e", &[4; 5000]).unwrap();
    first.flush().await;
    second
        .wait("what was derived", |workspace| {
            let has = |key| workspace.derived(key).is_ok_and(|bytes| bytes.is_some());
            has("v1/e") && has("v2/e") && files(workspace) == 3
        })
        .await;
    first
        .workspace
        .forget_derived(|key| key.starts_with("v2/"))
        .unwrap();
    first.flush().await;
    assert_eq!(files(&first.workspace), 2);
    second
        .wait("the end of one", |workspace| {
            !workspace.is_derived("v1/e") && files(workspace) == 2
        })
        .await;
    assert_eq!(
        second.workspace.derived("v2/e").unwrap().unwrap(),
        [4; 5000]
    );
    drop(dir);
}
