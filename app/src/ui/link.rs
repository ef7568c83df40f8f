//! The way from the window to the backend: commands go out, news come in. Never blocks.
//!
//! The only part of the window that touches the runtime. Start at [`Link::send`] and [`Link::next`].

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use eframe::egui;
use tokio::task::AbortHandle;

use crate::backend::connect::Connection;
use crate::backend::jobs::Stopper;
use crate::backend::unlock::{AskPassphrase, Unlock};
use crate::config::{DataDirs, Settings};
use crate::message::{Command, Event, Failure};
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
    /// A command can be stopped from now on.
    Started(JobId, Stopper),
    /// What the user chose in a file dialog.
    Picked(Picked),
}

/// How a file dialog ended.
pub(super) enum Picked {
    /// With files or folders.
    Paths(Vec<PathBuf>),
    /// With a model file.
    Model(PathBuf),
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
}

/// What has to be known to open a workspace.
#[derive(Clone)]
pub(super) struct Place {
    /// Folders.
    pub(super) dirs: DataDirs,
    /// Settings as read at the start.
    pub(super) settings: Settings,
    /// Where a new key goes, and who knows the passphrase before the user is asked.
    pub(super) unlock: Unlock,
}

/// The way to the backend.
pub(super) struct Link {
    place: Place,
    runtime: tokio::runtime::Handle,
    context: egui::Context,
    sender: Sender<News>,
    news: Receiver<News>,
    connection: Option<Arc<Connection>>,
    running: HashMap<JobId, (AbortHandle, Option<Stopper>)>,
}

impl Link {
    /// Starts to open the workspace.
    pub(super) fn open(
        place: Place,
        runtime: tokio::runtime::Handle,
        context: egui::Context,
    ) -> Self {
        let (sender, news) = channel();
        let link = Self {
            place,
            runtime,
            context,
            sender,
            news,
            connection: None,
            running: HashMap::new(),
        };
        link.connect();
        link
    }

    fn connect(&self) {
        let (sender, context) = (self.sender.clone(), self.context.clone());
        let place = self.place.clone();
        let unlock = Unlock {
            ask: self.asker(),
            new_key: place.unlock.new_key,
        };
        self.runtime.spawn(async move {
            let opened = Connection::open(place.dirs, place.settings, unlock).await;
            tell(&sender, &context, News::Opened(opened.map(Arc::new)));
        });
    }

    /// Asks for the passphrase in the window; called on a thread that may wait.
    fn asker(&self) -> AskPassphrase {
        let (sender, context) = (self.sender.clone(), self.context.clone());
        let known = Arc::clone(&self.place.unlock.ask);
        Arc::new(move |prompt| {
            if let Some(passphrase) = known(prompt) {
                return Some(passphrase);
            }
            let (reply, answer) = channel();
            let prompt = prompt.to_owned();
            tell(&sender, &context, News::Passphrase { prompt, reply });
            answer.recv().ok().flatten()
        })
    }

    /// Takes over the open workspace.
    pub(super) fn opened(&mut self, connection: Arc<Connection>) {
        self.connection = Some(connection);
    }

    /// Tries to open the workspace again.
    pub(super) fn retry(&self) {
        self.connect();
    }

    /// The folders in use.
    pub(super) fn dirs(&self) -> &DataDirs {
        &self.place.dirs
    }

    /// What happened next, if anything did.
    pub(super) fn next(&mut self) -> Option<News> {
        let news = self.news.try_recv().ok()?;
        match &news {
            News::Event(job, Event::Reply(_) | Event::Failed(_)) => {
                self.running.remove(job);
            }
            News::Started(job, stopper) => {
                if let Some((_, known)) = self.running.get_mut(job) {
                    *known = Some(stopper.clone());
                }
            }
            _ => {}
        }
        Some(news)
    }

    /// Sends a command. Before the workspace is open it goes nowhere, and the window offers none.
    pub(super) fn send(&mut self, job: JobId, command: Command) {
        let Some(connection) = self.connection.clone() else {
            return;
        };
        let (sender, context) = (self.sender.clone(), self.context.clone());
        let task = self.runtime.spawn(async move {
            match connection.submit(command).await {
                Ok(mut events) => {
                    tell(&sender, &context, News::Started(job, events.stopper()));
                    while let Some(event) = events.next().await {
                        let flows = matches!(
                            event,
                            Event::Answer(_) | Event::Progress(_) | Event::File(_)
                        );
                        // The window is gone when nobody receives.
                        drop(sender.send(News::Event(job, event)));
                        if flows {
                            context.request_repaint_after(STREAM_FRAME);
                        } else {
                            context.request_repaint();
                        }
                    }
                }
                Err(failure) => {
                    tell(&sender, &context, News::Event(job, Event::Failed(failure)));
                }
            }
        });
        self.running.insert(job, (task.abort_handle(), None));
    }

    /// Ends a command early; how far it came is still told.
    pub(super) fn stop(&mut self, job: JobId) {
        if let Some((_, Some(stopper))) = self.running.get(&job) {
            stopper.stop();
        }
    }

    /// Ends a command whose result nobody wants any more.
    pub(super) fn drop_job(&mut self, job: JobId) {
        if let Some((task, _)) = self.running.remove(&job) {
            task.abort();
        }
    }

    /// Shows the desktop's own file dialog.
    pub(super) fn pick(&self, what: Pick) {
        let (sender, context) = (self.sender.clone(), self.context.clone());
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
                Pick::Model => dialog
                    .add_filter("Model (GGUF)", &["gguf"])
                    .pick_file()
                    .await
                    .map(|file| Picked::Model(file.path().to_path_buf())),
            };
            // Nobody cancels a dialog this fast: the desktop has none to show.
            let unseen = started.elapsed() < Duration::from_millis(250);
            match picked {
                Some(picked) => tell(&sender, &context, News::Picked(picked)),
                None if unseen => tell(&sender, &context, News::Picked(Picked::NoDialog)),
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
        for (_, (task, _)) in self.running.drain() {
            task.abort();
        }
        self.connection.take()
    }
}

fn tell(sender: &Sender<News>, context: &egui::Context, news: News) {
    // The window is gone when nobody receives.
    drop(sender.send(news));
    context.request_repaint();
}
