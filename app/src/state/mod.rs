//! What the window shows, and how events change it.
//!
//! Pure: no drawing, no work, no clock. Kept apart from the drawing so that a journey can be tested without a
//! window. Every command has a job; its events are applied to the part of the state that it belongs to, and
//! what has to be asked next comes back as wishes. Start at [`SessionState::apply`].

use std::collections::BTreeMap;

pub mod chat;
pub mod library;
pub mod reader;
pub mod saved;
pub mod sync;

use crate::message::{
    CatalogReport, Changed, Command, Event, Failure, FailureKind, Finding, HubReport, ModelDetails,
    ModelSummary, Progress, Reply, SearchMode, SearchReport, SettingsReport, Stage, StatusReport,
    SyncCommand, ThreadSummary, WorkspaceCommand, WorkspaceSummary,
};
use chat::Chat;
use library::Library;
pub use reader::{Past, Reader};
use sync::Sync;

/// One command that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// What a command is for: decides where its events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Files are brought in, or the index is brought up to date.
    Import,
    /// A question is answered.
    Ask,
    /// Passages are found.
    Search,
    /// A document is opened.
    Read,
    /// The open document is read again: another laptop has changed it.
    Reread,
    /// Versions of the open document are listed or compared.
    Past,
    /// A version is brought back.
    Restore,
    /// A chat is opened.
    Thread,
    /// A model file is imported or removed.
    Model,
    /// A model is fetched from the network.
    Download,
    /// Models are looked for in the network.
    Hub,
    /// Something is changed: settings, a chat's title, documents removed.
    Change,
    /// Another workspace is made the current one, to be opened next.
    Switch,
    /// A list is brought up to date; nobody waits for it.
    Refresh,
    /// Everything is checked.
    Check,
    /// News of the other laptops, as long as the workspace is open.
    Watch,
    /// The workspace is shared.
    Share,
    /// This laptop becomes a member of another workspace.
    Join,
    /// Another laptop is let in.
    LetIn,
    /// Everything is sent and received.
    Exchange,
}

impl Purpose {
    /// Long work that the user started.
    #[must_use]
    pub fn is_shown(self) -> bool {
        matches!(
            self,
            Self::Import | Self::Model | Self::Download | Self::Check
        )
    }

    /// Work that ends early when it is asked to: a model file is copied or converted in one piece.
    #[must_use]
    pub fn can_stop(self) -> bool {
        self != Self::Model
    }
}

/// A command on its way.
#[derive(Debug)]
pub struct Job {
    /// What for.
    pub purpose: Purpose,
    /// In words, for the list of running work.
    pub title: String,
    /// How far it is.
    pub progress: Option<Progress>,
}

/// A command to send next.
#[derive(Debug)]
pub struct Wish {
    /// What for.
    pub purpose: Purpose,
    /// The command.
    pub command: Command,
}

impl Wish {
    fn refresh(command: Command) -> Self {
        Self {
            purpose: Purpose::Refresh,
            command,
        }
    }
}

/// How far the workspace is open.
#[derive(Debug, Default)]
pub enum Opening {
    /// Being opened: everything can be looked at, nothing sent.
    #[default]
    Running,
    /// Commands are taken.
    Done,
    /// It cannot be opened.
    Failed(Failure),
}

/// A message to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What happened and what to do.
    pub text: String,
    /// It went wrong.
    pub is_problem: bool,
}

/// The search: what is typed, and what was found for it.
#[derive(Debug, Default)]
pub struct Search {
    /// What is typed.
    pub query: String,
    /// What the hits below were found for.
    pub searched: String,
    /// The hits.
    pub report: Option<SearchReport>,
    /// Why it failed.
    pub failure: Option<Failure>,
    running: Option<JobId>,
}

/// What is shown while the window is open; nothing of it is saved.
#[derive(Debug, Default)]
pub struct SessionState {
    /// How far the workspace is open.
    pub opening: Opening,
    /// What is in the workspace, once known.
    pub status: Option<StatusReport>,
    /// Commands on their way.
    pub jobs: BTreeMap<JobId, Job>,
    /// Messages not dismissed yet, oldest first.
    pub notices: Vec<Notice>,
    /// The open chat.
    pub chat: Chat,
    /// All chats, newest first.
    pub threads: Vec<ThreadSummary>,
    /// The search.
    pub search: Search,
    /// The documents.
    pub library: Library,
    /// The other laptops.
    pub sync: Sync,
    /// The open document.
    pub reader: Option<Reader>,
    /// The installed models.
    pub models: Vec<ModelSummary>,
    /// Models that could be installed, once known.
    pub catalog: Option<CatalogReport>,
    /// What was found on Hugging Face.
    pub hub: Option<HubReport>,
    /// The model whose particulars are shown.
    pub model_shown: Option<ModelDetails>,
    /// What the last check found.
    pub findings: Vec<Finding>,
    /// The settings, once known.
    pub settings: Option<SettingsReport>,
    /// All workspaces, by name.
    pub workspaces: Vec<WorkspaceSummary>,
    /// Another workspace is current now than the open one.
    reopens: bool,
    last_job: u64,
    visits: u64,
}

/// Notices kept; older ones give way.
const NOTICES_KEPT: usize = 6;
/// Hits shown for a search.
const SEARCH_LIMIT: usize = 30;

impl SessionState {
    /// Notes that a command has been sent, and names the job.
    pub fn begin(&mut self, purpose: Purpose, title: impl Into<String>) -> JobId {
        self.last_job += 1;
        let id = JobId(self.last_job);
        self.jobs.insert(
            id,
            Job {
                purpose,
                title: title.into(),
                progress: None,
            },
        );
        id
    }

    /// The workspace is open: what to ask first.
    pub fn opened(&mut self) -> Vec<Wish> {
        self.opening = Opening::Done;
        [
            Command::Status,
            Command::Documents,
            Command::Threads,
            Command::Models,
            Command::Settings,
            Command::Workspace(WorkspaceCommand::List),
        ]
        .map(Wish::refresh)
        .into_iter()
        .chain([Wish {
            purpose: Purpose::Watch,
            command: Command::Sync(SyncCommand::Watch),
        }])
        .collect()
    }

    /// Whether the current workspace is to be opened instead of this one; says so once.
    pub fn wants_reopening(&mut self) -> bool {
        std::mem::take(&mut self.reopens)
    }

    /// A state for another workspace: nothing of this one, but its jobs are not taken for new ones.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self {
            notices: self.notices.clone(),
            last_job: self.last_job,
            visits: self.visits,
            ..Self::default()
        }
    }

    /// The jobs that the user should see, and may stop.
    pub fn shown_jobs(&self) -> impl Iterator<Item = (JobId, &Job)> {
        let shown = self.jobs.iter().filter(|(_, job)| job.purpose.is_shown());
        shown.map(|(id, job)| (*id, job))
    }

    /// Whether any command is on its way that comes to an end by itself.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.jobs.values().any(|job| job.purpose != Purpose::Watch)
    }

    /// Whether a command of this kind is on its way.
    #[must_use]
    pub fn is_busy(&self, purpose: Purpose) -> bool {
        self.jobs.values().any(|job| job.purpose == purpose)
    }

    /// Asks in the open chat. `None` where there is nothing to ask, or an answer is being written, or the chat is
    /// being read.
    pub fn ask(&mut self, question: &str) -> Option<(JobId, Command)> {
        let question = question.trim();
        if question.is_empty() || !self.chat.takes_questions() {
            return None;
        }
        let job = self.begin(Purpose::Ask, "Answering");
        self.chat.begin(job, question);
        let on = self.sync.lender().map(|(id, _)| id);
        let command = Command::Ask {
            question: question.to_owned(),
            thread: self.chat.thread.clone(),
            // The chat shows what becomes of it, and the window may be closed meanwhile.
            no_wait: on.is_some(),
            tools: false,
            on,
        };
        Some((job, command))
    }

    /// Searches for what is typed. Returns the search that this one takes the place of, too.
    pub fn search(&mut self) -> (Option<JobId>, Option<(JobId, Command)>) {
        let query = self.search.query.trim().to_owned();
        let replaced = self.search.running.take();
        if let Some(replaced) = replaced {
            self.jobs.remove(&replaced);
        }
        self.search.failure = None;
        if query.is_empty() {
            self.search.report = None;
            self.search.searched.clear();
            return (replaced, None);
        }
        let job = self.begin(Purpose::Search, "Searching");
        self.search.running = Some(job);
        self.search.searched.clone_from(&query);
        let command = Command::Search {
            query,
            limit: SEARCH_LIMIT,
            mode: SearchMode::Hybrid,
            // One types on.
            thorough: false,
        };
        (replaced, Some((job, command)))
    }

    /// Opens a chat.
    pub fn open_thread(&mut self, thread: &ThreadSummary) -> (JobId, Command) {
        let job = self.begin(Purpose::Thread, "Opening the chat");
        self.chat = Chat::opening(job, thread);
        let thread = thread.id.clone();
        let branch = None;
        (job, Command::Thread { thread, branch })
    }

    /// Takes in an event of a job; an event of a job that was replaced changes nothing.
    pub fn apply(&mut self, id: JobId, event: Event) -> Vec<Wish> {
        let Some(job) = self.jobs.get_mut(&id) else {
            return Vec::new();
        };
        let purpose = job.purpose;
        match event {
            Event::Progress(progress) => {
                self.sync.progress(id, &progress);
                let before = job.progress.replace(progress.clone());
                // From here on the words of everything that was read can be searched.
                let embedding_begins = purpose == Purpose::Import
                    && progress.stage == Stage::Embedding
                    && before.is_none_or(|before| before.stage != Stage::Embedding);
                if embedding_begins {
                    return vec![
                        Wish::refresh(Command::Documents),
                        Wish::refresh(Command::Status),
                    ];
                }
                Vec::new()
            }
            Event::Passages(passages) => {
                self.chat.passages(id, passages);
                Vec::new()
            }
            Event::Thought(piece) => {
                self.chat.thought(id, &piece);
                Vec::new()
            }
            Event::Answer(piece) => {
                self.chat.piece(id, &piece);
                Vec::new()
            }
            Event::Tool(request) => self.chat.asks_for(id, request),
            Event::Notice(text) => {
                // Said at every keystroke it would be noise; the status shows it.
                if purpose != Purpose::Search {
                    self.say(text, false);
                }
                Vec::new()
            }
            Event::File(report) => {
                self.library.file(report);
                Vec::new()
            }
            Event::Pairing(event) => {
                self.sync.pairing(id, event);
                Vec::new()
            }
            Event::Sync(report) => {
                self.sync.report = Some(*report);
                Vec::new()
            }
            Event::Arrived { documents, chats } => self.follow(sync::arrived(documents, chats)),
            Event::Changed(changed) => self.follow(changed),
            Event::Reply(reply) => {
                self.jobs.remove(&id);
                self.finish(id, purpose, *reply)
            }
            Event::Failed(failure) => {
                self.jobs.remove(&id);
                self.fail(id, purpose, failure)
            }
        }
    }

    /// Fetches anew what is shown and is different now.
    fn follow(&mut self, changed: Changed) -> Vec<Wish> {
        let mut wishes = sync::wishes(changed, self.chat.thread.as_ref());
        if changed.documents {
            wishes.extend(self.reread());
        }
        wishes
    }

    fn finish(&mut self, id: JobId, purpose: Purpose, reply: Reply) -> Vec<Wish> {
        match reply {
            Reply::Status(status) => self.status = Some(status),
            Reply::Documents(documents) => self.library.documents = documents,
            Reply::Threads(threads) => {
                self.threads = threads;
                self.chat.retitle(&self.threads);
            }
            Reply::Models(models) => self.models = models,
            Reply::Catalog(report) => self.catalog = Some(report),
            Reply::Hub(report) => self.hub = Some(report),
            Reply::Model(details) => self.model_shown = Some(*details),
            Reply::Workspaces(workspaces) => self.workspaces = workspaces,
            Reply::Workspace(report) => {
                self.reopens = matches!(purpose, Purpose::Switch | Purpose::Join);
                if purpose != Purpose::Switch {
                    self.say(report.done, false);
                }
                return vec![
                    Wish::refresh(Command::Workspace(WorkspaceCommand::List)),
                    Wish::refresh(Command::Status),
                ];
            }
            Reply::Doctor(findings) => self.findings = findings,
            Reply::Settings(report) => {
                self.settings = Some(report);
                if purpose == Purpose::Change {
                    // The model in use may be another one.
                    return vec![
                        Wish::refresh(Command::Models),
                        Wish::refresh(Command::Status),
                    ];
                }
            }
            Reply::Answered(report) => {
                if let Some(status) = &mut self.status {
                    status.coverage = report.coverage.clone();
                }
                self.chat.answered(id, report);
                return vec![Wish::refresh(Command::Threads)];
            }
            Reply::Thread(report) if purpose == Purpose::Refresh => self.chat.refreshed(report),
            Reply::Thread(report) if purpose == Purpose::Ask => {
                self.chat.left(id, report);
                return vec![Wish::refresh(Command::Threads)];
            }
            Reply::Thread(report) => self.chat.opened(id, report),
            Reply::Hits(report) => {
                if self.search.running == Some(id) {
                    self.search.running = None;
                    self.search.report = Some(report);
                }
            }
            Reply::Document(document) => return self.opened_document(id, purpose, document),
            Reply::History(report) => return self.listed_versions(report),
            Reply::Difference(report) => self.compared(report),
            Reply::Conflicts(report) => self.sync.conflicts = Some(report),
            Reply::Imported(report) => {
                let problem = !report.failed.is_empty();
                let left_out = report
                    .left_out()
                    .map_or_else(String::new, |words| format!(" {words}"));
                self.say(report.in_words() + &left_out, problem);
                self.library.imported(report);
                return vec![
                    Wish::refresh(Command::Documents),
                    Wish::refresh(Command::Status),
                ];
            }
            Reply::Done(text) => {
                if purpose != Purpose::Refresh {
                    self.say(text, false);
                }
                let mut wishes: Vec<Wish> = [
                    Command::Documents,
                    Command::Status,
                    Command::Threads,
                    Command::Models,
                    Command::Catalog,
                    Command::Workspace(WorkspaceCommand::List),
                ]
                .map(Wish::refresh)
                .into();
                if purpose == Purpose::Restore {
                    wishes.extend(self.reread());
                }
                return wishes;
            }
            Reply::Sync(report) => {
                if purpose == Purpose::Share {
                    self.sync.failure = None;
                }
                self.sync.report = Some(*report);
            }
            Reply::Devices(devices) => {
                self.sync.devices(devices);
                if let Some(label) = self.sync.let_in(id) {
                    self.say(
                        format!("“{label}” was added. It receives everything now."),
                        false,
                    );
                }
            }
            // The window asks for none of these.
            Reply::Passage(_) | Reply::Completed(_) | Reply::Embedded(_) => {}
            Reply::McpServers(_) => return vec![Wish::refresh(Command::Settings)],
        }
        Vec::new()
    }

    fn fail(&mut self, id: JobId, purpose: Purpose, failure: Failure) -> Vec<Wish> {
        match purpose {
            Purpose::Ask => {
                self.chat.failed(id, failure);
                // What was said up to there may have been kept.
                return vec![Wish::refresh(Command::Threads)];
            }
            Purpose::Search if self.search.running == Some(id) => {
                self.search.running = None;
                self.search.failure = Some(failure);
            }
            Purpose::Search => {}
            Purpose::Share | Purpose::Join | Purpose::LetIn => self.sync.failed(id, &failure),
            Purpose::Watch | Purpose::Exchange if failure.kind == FailureKind::Cancelled => {}
            Purpose::Thread => self.chat.failed(id, failure),
            Purpose::Read | Purpose::Reread | Purpose::Past => {
                self.document_failed(id, purpose, failure);
            }
            Purpose::Import => {
                self.say_failure(&failure);
                return vec![
                    Wish::refresh(Command::Documents),
                    Wish::refresh(Command::Status),
                ];
            }
            Purpose::Download => {
                self.say_failure(&failure);
                return vec![Wish::refresh(Command::Catalog)];
            }
            _ => self.say_failure(&failure),
        }
        Vec::new()
    }

    /// Shows a failure as a notice.
    pub fn say_failure(&mut self, failure: &Failure) {
        self.say(words(failure), true);
    }

    /// Shows a message until it is dismissed. The same message twice in a row is one.
    pub fn say(&mut self, text: impl Into<String>, is_problem: bool) {
        let notice = Notice {
            text: text.into(),
            is_problem,
        };
        if self.notices.last() != Some(&notice) {
            self.notices.push(notice);
        }
        let over = self.notices.len().saturating_sub(NOTICES_KEPT);
        self.notices.drain(..over);
    }
}

/// A failure with what to do about it.
#[must_use]
pub fn words(failure: &Failure) -> String {
    let mut text = failure.message.clone();
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    // Messages of the libraries begin in lower case, as errors do; here one stands for itself.
    if let Some(first) = text.chars().next() {
        text.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
    }
    if let Some(hint) = &failure.hint {
        text.push(' ');
        text.push_str(hint);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Coverage, FailureKind, WorkspaceReport};

    fn hits(count: usize) -> Event {
        Event::Reply(Box::new(Reply::Hits(SearchReport {
            mode: SearchMode::Hybrid,
            hits: Vec::new(),
            coverage: Coverage {
                documents: count,
                ..Coverage::default()
            },
            took_ms: 1.0,
        })))
    }

    #[test]
    fn only_the_last_search_is_shown() {
        let mut state = SessionState::default();
        state.search.query = "lea".into();
        let (_, Some((first, _))) = state.search() else {
            panic!("no search")
        };
        state.search.query = "lease".into();
        let (replaced, Some((second, _))) = state.search() else {
            panic!("no search")
        };
        assert_eq!(replaced, Some(first));
        state.apply(second, hits(2));
        state.apply(first, hits(1));
        assert_eq!(state.search.report.as_ref().unwrap().coverage.documents, 2);
        state.search.query.clear();
        let (_, none) = state.search();
        assert!(none.is_none() && state.search.report.is_none());
    }

    #[test]
    fn an_import_asks_for_what_it_changed() {
        let mut state = SessionState::default();
        let job = state.begin(Purpose::Import, "Importing");
        assert_eq!(state.shown_jobs().count(), 1);
        let wishes = state.apply(
            job,
            Event::Reply(Box::new(Reply::Imported(Default::default()))),
        );
        assert_eq!(wishes.len(), 2);
        assert_eq!(state.shown_jobs().count(), 0);
    }

    #[test]
    fn a_document_that_cannot_be_read_says_so_in_its_place() {
        let mut state = SessionState::default();
        let (job, _) = state.read("abc:1-2");
        state.apply(
            job,
            Event::Failed(Failure::new(
                FailureKind::NotFound,
                "there is no document abc",
            )),
        );
        let reader = state.reader.unwrap();
        assert!(reader.failure.is_some());
        assert!(state.notices.is_empty());
    }

    #[test]
    fn a_switch_opens_the_other_workspace_and_forgets_this_one() {
        let mut state = SessionState::default();
        state.search.query = "lease".into();
        let job = state.begin(Purpose::Switch, "Opening");
        let report = WorkspaceReport {
            done: "Switched.".into(),
            workspace: WorkspaceSummary {
                id: "1".into(),
                name: "Taxes".into(),
                current: true,
                open_here: false,
                documents: Some(0),
                size_bytes: 0,
                problem: None,
            },
        };
        state.apply(job, Event::Reply(Box::new(Reply::Workspace(report))));
        assert!(state.wants_reopening() && !state.wants_reopening());
        let mut other = state.emptied();
        assert!(other.search.query.is_empty());
        assert!(
            other.begin(Purpose::Refresh, "") > job,
            "no job of the other is taken for one of this"
        );
    }

    #[test]
    fn notices_are_not_repeated_and_old_ones_go() {
        let mut state = SessionState::default();
        state.say("twice", false);
        state.say("twice", false);
        assert_eq!(state.notices.len(), 1);
        for i in 0..80 {
            state.say(i.to_string(), false);
        }
        assert_eq!(state.notices.len(), NOTICES_KEPT);
        assert_eq!(state.notices.last().unwrap().text, "79");
    }

    #[test]
    fn failures_are_sentences() {
        let failure = Failure::general("the disk is full").with_hint("Free some space.");
        assert_eq!(words(&failure), "The disk is full. Free some space.");
    }
}
