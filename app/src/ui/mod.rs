//! The window: draws the state, sends commands, repaints only when something happened.
//!
//! Holds no lock, reads no file and waits for nothing; a backend that takes long leaves it usable. What it can
//! do, a command can do. Start at [`run`] and [`Window`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use eframe::egui;
use satchel_sync::keys::Passphrase;
use tokio::runtime::Runtime;

mod asked_ui;
mod catalog_ui;
mod chat_ui;
mod conflicts_ui;
mod document_ui;
mod fields;
mod frame_work;
mod history_ui;
mod hub_ui;
mod library_ui;
mod link;
mod markdown;
mod mcp_ui;
mod model_ui;
mod moved;
mod pairing_ui;
mod pieces;
mod sampling_ui;
mod search_ui;
mod settings_ui;
mod shell;
mod sync_ui;
mod text_view;
mod theme;
mod unlock_ui;
mod workspace_ui;

use crate::backend::connect::Connection;
use crate::backend::unlock::Unlock;
use crate::backend::workspaces::WorkspaceChoice;
use crate::config::{DataDirs, Settings};
use crate::message::{Command, Failure, FailureKind, SyncCommand};
use crate::state::saved::AppState;
use crate::state::{JobId, Opening, Purpose, SessionState, Wish};
pub use frame_work::FrameWork;
use link::{Link, News, Pick, Picked, Place};

/// Time spent on news in one frame; the rest waits for the next, so that a flood cannot stop the drawing.
const NEWS_BUDGET: Duration = Duration::from_millis(4);

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
    let started = Instant::now();
    // A workspace that is named may need the passphrase to be found: the window asks for it.
    let open_elsewhere = runtime.block_on(Connection::is_open_elsewhere(&dirs, &unlock, &which));
    if open_elsewhere.or_else(|failure| match failure.kind {
        FailureKind::Locked => Ok(false),
        _ => Err(failure),
    })? {
        return Err(Failure::new(
            FailureKind::Locked,
            "Satchel is open already for these documents",
        )
        .with_hint("Use the open window, or wait for the command that is running."));
    }
    let place = Place {
        dirs,
        settings,
        unlock,
        which,
    };
    let handle = runtime.handle().clone();
    let options = eframe::NativeOptions {
        viewport: egui::ViewportBuilder::default()
            .with_title("Satchel")
            .with_app_id("satchel")
            .with_inner_size([1180.0, 780.0])
            .with_min_inner_size([560.0, 420.0]),
        ..eframe::NativeOptions::default()
    };
    let left = Arc::new(std::sync::Mutex::new(None));
    let leaving = Arc::clone(&left);
    let shown = eframe::run_native(
        "satchel",
        options,
        Box::new(move |creation| {
            let mut window = Window::new(&creation.egui_ctx, handle, place);
            window.adapter = adapter(creation);
            window.started = Some(started);
            window.leaving = Some(leaving);
            Ok(Box::new(window))
        }),
    );
    let connection = left.lock().ok().and_then(|mut left| left.take());
    if let Some(connection) = connection {
        runtime.block_on(link::close(connection));
    }
    shown.map_err(|error| {
        Failure::general(format!("the window cannot be opened: {error}"))
            .with_hint("Without a display use the command line: `satchel try`, `satchel chat`.")
    })
}

/// What draws the window, in words.
fn adapter(creation: &eframe::CreationContext<'_>) -> Option<String> {
    let info = creation.wgpu_render_state.as_ref()?.adapter.get_info();
    Some(format!(
        "{} ({}, {:?})",
        info.name, info.backend, info.device_type
    ))
}

/// The screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Screen {
    /// Ask and read answers.
    #[default]
    Chat,
    /// Find passages.
    Search,
    /// Documents in the workspace.
    Library,
    /// Models, index and devices.
    Models,
    /// The other laptops of the workspace.
    Sync,
    /// Settings.
    Settings,
}

/// The window's memory: state to draw, fields being typed into, and the way to the backend.
pub struct Window {
    state: SessionState,
    saved: AppState,
    view: View,
    link: Link,
    adapter: Option<String>,
    work: FrameWork,
    started: Option<Instant>,
    leaving: Option<Arc<std::sync::Mutex<Option<Arc<Connection>>>>>,
}

/// What only concerns the drawing: fields being typed into, what is open, what is laid out.
#[derive(Default)]
struct View {
    screen: Screen,
    question: String,
    path: String,
    model_path: String,
    chat: chat_ui::ChatView,
    document: document_ui::DocumentView,
    /// The field that gets the caret in the next frame.
    focus: Option<Field>,
    passphrase: Option<Prompt>,
    settings: settings_ui::Draft,
    mcp: mcp_ui::Draft,
    sync: sync_ui::Draft,
    catalog: catalog_ui::Draft,
    hub: hub_ui::Draft,
    /// What is about to be removed, until it is confirmed.
    removing: Option<Removal>,
    /// The version that is about to be brought back, until it is confirmed.
    restoring: Option<history_ui::Restoring>,
    /// What is about to get a name.
    naming: Option<Naming>,
}

/// Fields that can be given the caret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Question,
    Search,
    Path,
}

/// A passphrase that is asked for.
struct Prompt {
    words: String,
    typed: String,
    reply: Sender<Option<Passphrase>>,
}

/// A name that is asked for: of a chat, of a workspace, or of a new workspace where neither is named here.
struct Naming {
    question: &'static str,
    /// On the button.
    verb: &'static str,
    name: String,
    chat: Option<String>,
    workspace: Option<String>,
    laptop: Option<String>,
    is_new: bool,
}

impl Naming {
    fn new(
        question: &'static str,
        verb: &'static str,
        name: &str,
        workspace: Option<String>,
    ) -> Self {
        Self {
            question,
            verb,
            name: name.to_owned(),
            chat: None,
            workspace,
            laptop: None,
            is_new: true,
        }
    }

    fn of_chat(thread: &str, title: &str) -> Self {
        Self {
            chat: Some(thread.to_owned()),
            ..Self::new("Title of the chat", "Rename", title, None)
        }
    }

    fn of_laptop(id: String, label: &str) -> Self {
        Self {
            laptop: Some(id),
            ..Self::new("Name of the laptop", "Rename", label, None)
        }
    }
}

/// Something that is about to be removed.
struct Removal {
    /// What, for the question.
    what: String,
    /// What it means.
    meaning: &'static str,
    command: Command,
    /// The open chat goes with it.
    closes_chat: bool,
}

impl Removal {
    /// The meaning of most.
    const FOR_GOOD: &'static str = "This cannot be undone.";
}

impl Window {
    /// A window on the documents in `dirs`, which are opened in the background.
    #[must_use]
    pub fn open(
        context: &egui::Context,
        runtime: tokio::runtime::Handle,
        dirs: DataDirs,
        settings: Settings,
        unlock: Unlock,
    ) -> Self {
        Self::new(
            context,
            runtime,
            Place {
                dirs,
                settings,
                unlock,
                which: WorkspaceChoice::Current,
            },
        )
    }

    fn new(context: &egui::Context, runtime: tokio::runtime::Handle, place: Place) -> Self {
        // Read before the first frame: a window that changes its colours after opening flickers.
        let saved = AppState::load(&AppState::file(&place.dirs.state));
        theme::install(context);
        theme::apply(context, &saved);
        Self {
            state: SessionState::default(),
            saved,
            view: View {
                focus: Some(Field::Question),
                ..View::default()
            },
            link: Link::open(place, runtime, context.clone()),
            adapter: None,
            work: FrameWork::default(),
            started: None,
            leaving: None,
        }
    }

    /// Whether nothing is going on: no command on its way that ends by itself, and the workspace is open.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state.opening, Opening::Done) && !self.state.is_working()
    }

    /// What the last frames cost.
    pub fn frame_work(&mut self) -> &mut FrameWork {
        &mut self.work
    }

    fn send(&mut self, purpose: Purpose, title: &str, command: Command) {
        let job = self.state.begin(purpose, title);
        self.link.send(job, command);
    }

    fn wish(&mut self, wishes: Vec<Wish>) {
        for wish in wishes {
            self.send(wish.purpose, "", wish.command);
        }
    }

    fn ask(&mut self, question: &str) {
        if let Some((job, command)) = self.state.ask(question) {
            self.view.question.clear();
            self.view.chat.follow();
            self.view.screen = Screen::Chat;
            self.link.send(job, command);
        }
    }

    fn search(&mut self) {
        let (replaced, started) = self.state.search();
        if let Some(replaced) = replaced {
            self.link.drop_job(replaced);
        }
        if let Some((job, command)) = started {
            self.link.send(job, command);
        }
    }

    fn read(&mut self, reference: &str) {
        let (job, command) = self.state.read(reference);
        self.link.send(job, command);
    }

    fn import(&mut self, paths: Vec<PathBuf>) {
        let title = match paths.as_slice() {
            [one] => format!("Importing {}", one.display()),
            several => format!("Importing {} files and folders", several.len()),
        };
        self.import_as(&title, paths);
    }

    fn import_as(&mut self, title: &str, paths: Vec<PathBuf>) {
        let command = Command::Import {
            paths,
            prune: false,
            skip_embeddings: false,
        };
        self.send(Purpose::Import, title, command);
    }

    /// Imports what was typed: `~` is the home folder, and quotation marks around it are left off.
    fn import_typed(&mut self) {
        let typed = std::mem::take(&mut self.view.path);
        if let Some(path) = typed_path(&typed) {
            self.import(vec![path]);
        }
    }

    fn import_model(&mut self, path: PathBuf) {
        let command = Command::ImportModel {
            path,
            quantisation: "q8_0".to_owned(),
        };
        self.send(Purpose::Model, "Preparing the model", command);
    }

    fn change_setting(&mut self, name: &str, value: String) {
        self.change_settings(vec![(name.to_owned(), value)]);
    }

    fn change_settings(&mut self, changes: Vec<(String, String)>) {
        let command = Command::ChangeSettings { changes };
        self.send(Purpose::Change, "Changing settings", command);
    }

    fn stop(&mut self, job: JobId) {
        self.link.stop(job);
    }

    fn new_chat(&mut self) {
        if let Some(running) = self.state.chat.running() {
            // Its answer is kept as far as it has come; the next question need not wait behind it.
            self.stop(running);
        }
        self.state.chat = Default::default();
        self.view.chat = Default::default();
        self.view.screen = Screen::Chat;
        self.view.focus = Some(Field::Question);
    }

    fn show(&mut self, screen: Screen) {
        self.view.screen = screen;
        if screen == Screen::Sync && matches!(self.state.opening, Opening::Done) {
            let command = Command::Sync(SyncCommand::Conflicts);
            self.send(Purpose::Refresh, "", command);
        }
        if screen == Screen::Models && matches!(self.state.opening, Opening::Done) {
            self.send(Purpose::Refresh, "", Command::Catalog);
        }
        self.view.focus = match screen {
            Screen::Chat => Some(Field::Question),
            Screen::Search => Some(Field::Search),
            Screen::Library => Some(Field::Path),
            _ => None,
        };
    }

    fn take_in(&mut self, news: News) {
        match news {
            News::Opened(Ok(connection)) => {
                for notice in connection.opening_notices() {
                    self.state.say(notice.clone(), false);
                }
                self.link.opened(connection);
                let wishes = self.state.opened();
                self.wish(wishes);
            }
            News::Opened(Err(failure)) => self.state.opening = Opening::Failed(failure),
            News::Passphrase { prompt, reply } => {
                self.view.passphrase = Some(Prompt {
                    words: prompt,
                    typed: String::new(),
                    reply,
                });
            }
            News::Event(job, event) => {
                let wishes = self.state.apply(job, event);
                self.wish(wishes);
                if self.state.wants_reopening() {
                    self.reopen();
                }
            }
            News::Picked(opened, picked) => {
                if self.link.is_of_this(opened) {
                    self.take_picked(picked);
                }
            }
        }
    }

    /// Leaves the open workspace for the one that is current now.
    fn reopen(&mut self) {
        let was_busy = self.state.shown_jobs().next().is_some();
        let settings = self.state.settings.take().map(|report| report.settings);
        let left = self.state.status.take().map(|status| status.workspace);
        self.state = self.state.emptied();
        if was_busy {
            self.state.say(
                "The work in the other workspace was stopped; what was saved is safe. Start it again there to go on.",
                false,
            );
        }
        self.view = View {
            screen: self.view.screen,
            ..View::default()
        };
        self.link.reopen(settings, left);
    }

    fn take_picked(&mut self, picked: Picked) {
        match picked {
            Picked::Paths(paths) => self.import(paths),
            Picked::Model(path) => self.import_model(path),
            Picked::Adapter(path) => {
                self.change_setting("lora", sampling_ui::quoted(&path.to_string_lossy()));
            }
            Picked::NoDialog => self.state.say(
                "This desktop shows no file dialog (it needs xdg-desktop-portal). Type or paste a path, or drop files here.",
                false,
            ),
        }
    }

    fn pick(&mut self, what: Pick) {
        self.link.pick(what);
    }
}

/// A path as people type or paste it; relative ones are taken from the home folder.
fn typed_path(typed: &str) -> Option<PathBuf> {
    let typed = typed.trim().trim_matches(['"', '\'']);
    let typed = typed.strip_prefix("file://").unwrap_or(typed);
    if typed.is_empty() {
        return None;
    }
    let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_path_buf());
    let below_home = typed.strip_prefix("~/").or((typed == "~").then_some(""));
    Some(match (home, below_home) {
        (Some(home), Some(rest)) => home.join(rest),
        (Some(home), None) => home.join(typed),
        (None, _) => PathBuf::from(typed),
    })
}

impl eframe::App for Window {
    fn logic(&mut self, context: &egui::Context, _frame: &mut eframe::Frame) {
        self.work.begin();
        let deadline = Instant::now() + NEWS_BUDGET;
        while let Some(news) = self.link.next() {
            self.take_in(news);
            if Instant::now() > deadline {
                context.request_repaint();
                break;
            }
        }
        let dropped: Vec<PathBuf> = context.input(|input| {
            let files = &input.raw.dropped_files;
            files.iter().map(|file| file.path().to_path_buf()).collect()
        });
        if !dropped.is_empty() && matches!(self.state.opening, Opening::Done) {
            self.show(Screen::Library);
            self.import(dropped);
        }
        self.work.end_logic();
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.work.begin();
        shell::shell_ui(self, ui);
        self.work.end_frame();
        // Nothing here opens an address; should a part of the window ever ask for it, it is not done.
        ui.ctx().output_mut(|output| {
            output
                .commands
                .retain(|command| !matches!(command, egui::OutputCommand::OpenUrl(_)));
        });
        if let Some(started) = self.started.take() {
            tracing::info!(
                elapsed_ms = started.elapsed().as_millis() as u64,
                "the window takes input"
            );
        }
    }

    fn on_exit(&mut self) {
        let connection = self.link.close();
        if let Some(leaving) = &self.leaving
            && let Ok(mut place) = leaving.lock()
        {
            *place = connection;
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // A thread may be waiting for the passphrase.
        if let Some(prompt) = self.view.passphrase.take() {
            drop(prompt.reply.send(None));
        }
        drop(self.link.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_as_people_type_them() {
        let home = directories::BaseDirs::new()
            .unwrap()
            .home_dir()
            .to_path_buf();
        assert_eq!(typed_path("  "), None);
        assert_eq!(
            typed_path("\"/tmp/my papers\""),
            Some("/tmp/my papers".into())
        );
        assert_eq!(typed_path("~/papers"), Some(home.join("papers")));
        assert_eq!(typed_path("~"), Some(home.join("")));
        assert_eq!(typed_path("papers"), Some(home.join("papers")));
        assert_eq!(typed_path("file:///tmp/a"), Some("/tmp/a".into()));
    }
}
