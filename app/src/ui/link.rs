//! The way from the window to the backend: commands go out, news come in. Never blocks.
//!
//! The only part of the window that touches the runtime. Start at [`Link::send`] and [`Link::next`].

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use eframe::egui;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::backend::connect::Connection;
use crate::backend::jobs;
use crate::backend::unlock::{AskPassphrase, Unlock};
use crate::backend::workspaces::WorkspaceChoice;
use crate::config::{DataDirs, Settings};
use crate::message::{Command, Event, Failure, FailureKind};
use crate::state::JobId;
use crate::state::saved::AppState;
use satchel_sync::keys::Passphrase;

/// Frames per second while text streams or a file counter runs: smooth to read, and cheap beside a model that
/// needs the processor.
const STREAM_FRAME: Duration = Duration::from_millis(33);

/// What the window is told.
pub(super) enum News {
    /// The workspace is open, or cannot be opened.
    Opened(Result<Arc<Connection>, Failure>),
    /// The key is behind a passphrase; the answer goes into `reply`.
    Passphrase {
        /// What for, in words.
        prompt: String,
        /// `None` gives up.
        reply: Sender<Option<Passphrase>>,
    },
    /// Of a command.
    Event(JobId, Event),
    /// What the user chose in a file dialog, and for which of the workspaces opened.
    Picked(u64, Picked),
}

/// How a file dialog ended.
pub(super) enum Picked {
    /// With files or folders.
    Paths(Vec<PathBuf>),
    /// With a model file.
    Model(PathBuf),
    /// With an adapter for the chat model.
    Adapter(PathBuf),
    /// None could be shown.
    NoDialog,
}

/// What a file dialog is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// A folder to import.
    Folder,
    /// Files to import.
    Files,
    /// A model file.
    Model,
    /// An adapter for the chat model.
    Adapter,
}

/// What has to be known to open a workspace.
#[derive(Clone)]
pub(super) struct Place {
    /// Folders.
    pub(super) dirs: DataDirs,
    /// Settings as read at the start.
    pub(super) settings: Settings,
    /// Who knows the key before the user is asked.
    pub(super) unlock: Unlock,
    /// The workspace to begin with.
    pub(super) which: WorkspaceChoice,
}

/// A command on its way.
struct Running {
    task: AbortHandle,
    /// Asks it to end early.
    stop: Arc<Notify>,
}

/// The way to the backend.
pub(super) struct Link {
    place: Place,
    /// Comes by the key; remembers it for the next workspace.
    unlock: Unlock,
    runtime: tokio::runtime::Handle,
    context: egui::Context,
    sender: Sender<News>,
    news: Receiver<News>,
    connection: Option<Arc<Connection>>,
    running: HashMap<JobId, Running>,
    /// The workspace that was open before this one.
    left: Option<String>,
    /// Counts the workspaces opened: what was picked for one is not taken for the next.
    opened: u64,
}

impl Link {
    /// Starts to open the workspace.
    pub(super) fn open(
        place: Place,
        runtime: tokio::runtime::Handle,
        context: egui::Context,
    ) -> Self {
        let (sender, news) = channel();
        let unlock = place.unlock.clone().or_ask(asker(&sender, &context));
        let link = Self {
            place,
            unlock,
            runtime,
            context,
            sender,
            news,
            connection: None,
            running: HashMap::new(),
            left: None,
            opened: 0,
        };
        link.connect(None, link.place.which.clone());
        link
    }

    /// Opens a workspace after the one that is open has been closed.
    fn connect(&self, open: Option<Arc<Connection>>, which: WorkspaceChoice) {
        let (sender, context) = (self.sender.clone(), self.context.clone());
        let (place, unlock) = (self.place.clone(), self.unlock.clone());
        self.runtime.spawn(async move {
            if let Some(open) = open {
                close(open).await;
            }
            let opened = Connection::open(place.dirs, place.settings, unlock, which).await;
            tell(&sender, &context, News::Opened(opened.map(Arc::new)));
        });
    }

    /// Leaves the open workspace for the one that is current now; `settings` are those in force.
    pub(super) fn reopen(&mut self, settings: Option<Settings>, left: Option<String>) {
        if let Some(settings) = settings {
            self.place.settings = settings;
        }
        self.left = left;
        self.place.which = WorkspaceChoice::Current;
        let open = self.close();
        self.connect(open, WorkspaceChoice::Current);
    }

    /// Takes over the open workspace.
    pub(super) fn opened(&mut self, connection: Arc<Connection>) {
        self.connection = Some(connection);
        self.opened += 1;
    }

    /// Tries to open the workspace again.
    pub(super) fn retry(&self) {
        self.connect(None, self.place.which.clone());
    }

    /// Whether there is a workspace to go back to.
    pub(super) fn can_go_back(&self) -> bool {
        self.left.is_some()
    }

    /// Opens the workspace that was left for one that cannot be opened.
    pub(super) fn go_back(&mut self) {
        if let Some(left) = self.left.take() {
            self.connect(None, WorkspaceChoice::Named(left));
        }
    }

    /// The folders in use.
    pub(super) fn dirs(&self) -> &DataDirs {
        &self.place.dirs
    }

    /// What happened next, if anything did.
    pub(super) fn next(&mut self) -> Option<News> {
        let news = self.news.try_recv().ok()?;
        if let News::Event(job, Event::Reply(_) | Event::Failed(_)) = &news {
            self.running.remove(job);
        }
        Some(news)
    }

    /// Sends a command. Its events end with a reply or a failure, whatever happens to the work.
    pub(super) fn send(&mut self, job: JobId, command: Command) {
        let (sender, context) = (self.sender.clone(), self.context.clone());
        let Some(connection) = self.connection.clone() else {
            let failure = Failure::new(FailureKind::Locked, "the workspace is not open yet")
                .with_hint("Try again in a moment.");
            tell(&sender, &context, News::Event(job, Event::Failed(failure)));
            return;
        };
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = self.runtime.spawn(async move {
            let mut events = match connection.submit(command).await {
                Ok(events) => events,
                Err(failure) => {
                    tell(&sender, &context, News::Event(job, Event::Failed(failure)));
                    return;
                }
            };
            let stopper = events.stopper();
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = stopped.notified() => {
                        stopper.stop();
                        continue;
                    }
                };
                let event = event.unwrap_or_else(|| Event::Failed(jobs::ended_early()));
                let is_last = matches!(event, Event::Reply(_) | Event::Failed(_));
                let flows = matches!(
                    event,
                    Event::Answer(_) | Event::Thought(_) | Event::Progress(_) | Event::File(_)
                );
                // The window is gone when nobody receives.
                drop(sender.send(News::Event(job, event)));
                if flows {
                    context.request_repaint_after(STREAM_FRAME);
                } else {
                    context.request_repaint();
                }
                if is_last {
                    return;
                }
            }
        });
        let task = task.abort_handle();
        self.running.insert(job, Running { task, stop });
    }

    /// Ends a command early; how far it came is still told.
    pub(super) fn stop(&mut self, job: JobId) {
        if let Some(running) = self.running.get(&job) {
            running.stop.notify_one();
        }
    }

    /// Ends a command whose result nobody wants any more.
    pub(super) fn drop_job(&mut self, job: JobId) {
        if let Some(running) = self.running.remove(&job) {
            running.task.abort();
        }
    }

    /// Whether a dialog was opened in the workspace that is open now.
    pub(super) fn is_of_this(&self, opened: u64) -> bool {
        self.opened == opened
    }

    /// Shows the desktop's own file dialog.
    pub(super) fn pick(&self, what: Pick) {
        let (sender, context) = (self.sender.clone(), self.context.clone());
        let opened = self.opened;
        self.runtime.spawn(async move {
            let started = std::time::Instant::now();
            let dialog = rfd::AsyncFileDialog::new();
            let paths = |files: Vec<rfd::FileHandle>| {
                files
                    .into_iter()
                    .map(|file| file.path().to_path_buf())
                    .collect::<Vec<_>>()
            };
            let picked = match what {
                Pick::Folder => dialog.pick_folders().await.map(paths).map(Picked::Paths),
                Pick::Files => dialog.pick_files().await.map(paths).map(Picked::Paths),
                Pick::Model | Pick::Adapter => {
                    let picked = if what == Pick::Model {
                        Picked::Model
                    } else {
                        Picked::Adapter
                    };
                    dialog
                        .add_filter("Model (GGUF)", &["gguf"])
                        .pick_file()
                        .await
                        .map(|file| picked(file.path().to_path_buf()))
                }
            };
            // Nobody cancels a dialog this fast: the desktop has none to show.
            let unseen = started.elapsed() < Duration::from_millis(250);
            match picked {
                Some(picked) => tell(&sender, &context, News::Picked(opened, picked)),
                None if unseen => tell(&sender, &context, News::Picked(opened, Picked::NoDialog)),
                None => {}
            }
        });
    }

    /// Writes down what the window remembers.
    pub(super) fn save(&self, state: &AppState) {
        let (state, file) = (state.clone(), AppState::file(&self.place.dirs.state));
        self.runtime.spawn_blocking(move || {
            if let Err(error) = state.save(&file) {
                tracing::warn!(%error, "the window's preferences are not kept");
            }
        });
    }

    /// Ends what runs and gives the workspace back, to be closed.
    pub(super) fn close(&mut self) -> Option<Arc<Connection>> {
        for (_, running) in self.running.drain() {
            running.task.abort();
        }
        self.connection.take()
    }
}

/// Asks for the passphrase in the window; called on a thread that may wait.
fn asker(sender: &Sender<News>, context: &egui::Context) -> AskPassphrase {
    let (sender, context) = (sender.clone(), context.clone());
    Arc::new(move |prompt| {
        let (reply, answer) = channel();
        let prompt = prompt.to_owned();
        tell(&sender, &context, News::Passphrase { prompt, reply });
        answer.recv().ok().flatten()
    })
}

/// Closes a workspace once its last command has let go of it.
pub(super) async fn close(mut open: Arc<Connection>) {
    // Commands were cancelled just now; they let go at their next step. A workspace that is held longer is left
    // to its holder: opening it again says that it is in use.
    for _ in 0..250 {
        match Arc::try_unwrap(open) {
            Ok(connection) => return connection.close().await,
            Err(held) => open = held,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tell(sender: &Sender<News>, context: &egui::Context, news: News) {
    // The window is gone when nobody receives.
    drop(sender.send(news));
    context.request_repaint();
}
