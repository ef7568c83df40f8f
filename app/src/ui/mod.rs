//! The window: draws the state, sends commands, repaints only when something happened.
//!
//! Holds no lock and waits for nothing; a backend that takes long leaves it usable. A first, small window:
//! import by path, ask, search, cited passages. Start at [`run`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use eframe::egui;
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

mod shell;
mod theme;

use crate::backend::connect::Connection;
use crate::backend::unlock::Unlock;
use crate::backend::workspaces::WorkspaceChoice;
use crate::config::{DataDirs, Settings};
use crate::message::{Command, Event, Failure, FailureKind, SearchMode};
use crate::state::SessionState;

/// Opens the window and returns when it is closed.
///
/// # Errors
/// When no display can be reached, or another process has the workspace open.
pub fn run(
    runtime: &Runtime,
    dirs: DataDirs,
    settings: Settings,
    unlock: Unlock,
    which: WorkspaceChoice,
) -> Result<(), Failure> {
    let connection = runtime.block_on(Connection::open(dirs, settings, unlock, which))?;
    if matches!(connection, Connection::There(_)) {
        return Err(Failure::new(
            FailureKind::Locked,
            "Satchel is open already for these documents",
        )
        .with_hint("Use the open window, or wait for the command that is running."));
    }
    let connection = Arc::new(connection);
    let opened = Arc::clone(&connection);
    let handle = runtime.handle().clone();
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("Satchel")
            .with_app_id("satchel")
            .with_inner_size([1080.0, 720.0])
            .with_min_inner_size([480.0, 360.0]),
        ..eframe::NativeOptions::default()
    };
    let shown = eframe::run_native(
        "satchel",
        options,
        Box::new(move |creation| {
            theme::apply(&creation.egui_ctx);
            Ok(Box::new(Window::new(
                opened,
                handle,
                creation.egui_ctx.clone(),
            )))
        }),
    );
    if let Ok(connection) = Arc::try_unwrap(connection) {
        runtime.block_on(connection.close());
    }
    shown.map_err(|error| {
        Failure::general(format!("the window cannot be opened: {error}"))
            .with_hint("Without a display use the command line: `satchel try`, `satchel chat`.")
    })
}

/// The window's memory: state to draw, fields being typed into, and the way to the backend.
struct Window {
    state: SessionState,
    input: Input,
    link: Link,
}

/// Fields being typed into.
struct Input {
    question: String,
    path: String,
    /// Not drawn yet: the first frame puts the caret into the question.
    is_new: bool,
}

/// The way to the backend; never blocks.
struct Link {
    connection: Arc<Connection>,
    runtime: tokio::runtime::Handle,
    context: egui::Context,
    sender: Sender<Event>,
    events: Receiver<Event>,
    running: Option<AbortHandle>,
}

impl Window {
    fn new(
        connection: Arc<Connection>,
        runtime: tokio::runtime::Handle,
        context: egui::Context,
    ) -> Self {
        let (sender, events) = channel();
        let mut state = SessionState::default();
        for notice in connection.opening_notices() {
            state.say(notice.clone());
        }
        let link = Link {
            connection,
            runtime,
            context,
            sender,
            events,
            running: None,
        };
        let mut window = Self {
            state,
            input: Input {
                question: String::new(),
                path: String::new(),
                is_new: true,
            },
            link,
        };
        window.send("Looking at the workspace", Command::Status);
        window
    }

    /// Sends a command; a running one is cancelled, as its stream is dropped.
    fn send(&mut self, what: &str, command: Command) {
        self.state.begin(what);
        self.link.submit(command);
    }

    fn ask(&mut self) {
        let question = self.input.question.trim().to_owned();
        if !question.is_empty() {
            self.state.question.clone_from(&question);
            self.state.answer.clear();
            self.state.citations.clear();
            self.state.unsupported.clear();
            let thread = self.state.thread.clone();
            self.send("Answering", Command::Ask { question, thread });
        }
    }

    fn search(&mut self) {
        let query = self.input.question.trim().to_owned();
        if !query.is_empty() {
            self.state.question.clone_from(&query);
            self.send(
                "Searching",
                Command::Search {
                    query,
                    limit: 20,
                    mode: SearchMode::Hybrid,
                },
            );
        }
    }

    fn import(&mut self, paths: Vec<PathBuf>) {
        self.send(
            "Importing",
            Command::Import {
                paths,
                prune: false,
                skip_embeddings: false,
            },
        );
    }

    fn stop(&mut self) {
        self.link.cancel();
        self.state.busy = None;
        self.state.say("Stopped.");
    }
}

impl Link {
    fn submit(&mut self, command: Command) {
        self.cancel();
        let (connection, sender, context) = (
            Arc::clone(&self.connection),
            self.sender.clone(),
            self.context.clone(),
        );
        let task = self.runtime.spawn(async move {
            match connection.submit(command).await {
                Ok(mut events) => {
                    while let Some(event) = events.next().await {
                        // The window is gone when nobody receives.
                        drop(sender.send(event));
                        context.request_repaint();
                    }
                }
                Err(failure) => {
                    drop(sender.send(Event::Failed(failure)));
                    context.request_repaint();
                }
            }
        });
        self.running = Some(task.abort_handle());
    }

    fn cancel(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        // What the cancelled command still said belongs to nobody.
        while self.events.try_recv().is_ok() {}
    }
}

impl eframe::App for Window {
    fn logic(&mut self, context: &egui::Context, _frame: &mut eframe::Frame) {
        while let Ok(event) = self.link.events.try_recv() {
            if self.state.apply(event) {
                self.link.running = None;
            }
        }
        let dropped: Vec<PathBuf> = context.input(|input| {
            input
                .raw
                .dropped_files
                .iter()
                .map(|file| file.path().to_path_buf())
                .collect()
        });
        if !dropped.is_empty() {
            self.import(dropped);
        }
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        shell::shell_ui(self, ui);
    }
}
