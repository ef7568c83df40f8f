//! What faces of Satchel (window, command line) and the backend say to each other.
//!
//! Plain data in the user's words, serialisable because a command may come from another process
//! through the socket. Never holds a lock, a handle or a key. Start at [`Command`] and [`Event`].

use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod changed;
mod chat;
mod completion;
mod failure;
mod history;
mod hub;
mod import;
mod mcp;
mod models;
mod sync;
mod workspace;

pub use changed::Changed;
pub use chat::{
    AskedReport, AskedStage, BranchSummary, MessageReport, StoredCitation, ThreadReport,
    ThreadSummary,
};
pub use completion::{
    Completion, CompletionMessage, CompletionRequest, CompletionRole, EmbeddingReport,
};
pub use failure::{Failure, FailureKind};
pub use history::{
    Author, Authors, BranchEnd, ChatBranches, ConflictReport, DifferenceHunk, DifferenceLine,
    DifferenceReport, HistoryCommand, HistoryReport, Meeting, MeetingSide, NameChoice, NameValue,
    VersionKind, VersionSummary,
};
pub use hub::{HubFile, HubReport, HubRepository};
pub use import::{FileOutcome, FileReport, ImportReport};
pub use mcp::{McpCommand, McpServerReport, McpToolReport, ToolRequest};
pub use models::{
    CatalogReport, CatalogSummary, Fit, FitReport, ModelDetails, ModelSummary, UnfinishedDownload,
};
pub use sync::{
    Connection, DeviceStatus, EdgePhase, EdgeStatus, Missing, PairingEvent, Picture, Role,
    SyncCommand, SyncReport, SyncState, Warning,
};
pub use workspace::{WorkspaceCommand, WorkspaceReport, WorkspaceSummary};

use crate::config::Settings;
use crate::units;

/// A wish of the user. Each is answered by a stream of [`Event`]s that ends with
/// [`Event::Reply`] or [`Event::Failed`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// Bring files and folders into the workspace and index them.
    Import {
        /// Absolute paths of files or folders.
        paths: Vec<PathBuf>,
        /// Remove documents whose file under one of these paths is no longer on disk.
        prune: bool,
        /// Return when the text can be searched, leaving embeddings to [`Command::Index`].
        skip_embeddings: bool,
    },
    /// Bring the index up to date with the documents: missing chunks, missing embeddings.
    Index,
    /// Find passages.
    Search {
        /// The user's words, taken literally: no syntax can make it fail.
        query: String,
        /// Hits at most.
        limit: usize,
        /// Which halves of the search to use.
        mode: SearchMode,
        /// Both halves may take a moment longer: a reranker, where one is installed, puts the hits into order.
        #[serde(default)]
        thorough: bool,
    },
    /// Answer a question from the documents.
    Ask {
        /// The question.
        question: String,
        /// The chat it belongs to; `None` starts a new one.
        thread: Option<String>,
        /// The laptop that is to answer, named as in [`SyncCommand`]; `None` for this one. Cancelled, the question is
        /// withdrawn.
        #[serde(default)]
        on: Option<String>,
        /// Leave the question for that laptop, answered by [`Reply::Thread`] at once; the answer comes into the chat.
        #[serde(default)]
        no_wait: bool,
        /// The model may look further before it answers here: search again, read on, list, calculate, count days. The
        /// setting of this name allows it for every question.
        #[serde(default)]
        tools: bool,
    },
    /// Take back the questions of a chat that other laptops have not answered yet. Answered by [`Reply::Thread`].
    Withdraw {
        /// As for [`Command::Thread`].
        thread: String,
    },
    /// Answer a question from the documents as [`Command::Ask`] does, and keep nothing of it: no chat is made.
    Consult {
        /// The question.
        question: String,
        /// Earlier questions with their answers, oldest first.
        history: Vec<(String, String)>,
    },
    /// Let the chat model go on with a conversation, without the documents.
    Complete(CompletionRequest),
    /// Embed texts with the embedder in use.
    Embed {
        /// The texts.
        texts: Vec<String>,
    },
    /// List the documents of the workspace.
    Documents,
    /// Remove documents with their originals and index entries.
    RemoveDocuments {
        /// Document ids, or their first digits where they are unique, or source paths.
        documents: Vec<String>,
    },
    /// Show a passage within its document.
    Show {
        /// `<document>` or `<document>:<start>-<end>` as printed by search and citations.
        reference: String,
    },
    /// The whole text of a document, with the place that is meant.
    Read {
        /// As for [`Command::Show`].
        reference: String,
    },
    /// Earlier versions of a document: list, compare, bring back.
    History(HistoryCommand),
    /// Import the documents that come with the program.
    ImportSample,
    /// List the chats.
    Threads,
    /// Show one chat.
    Thread {
        /// Id, or its first digits where they are unique.
        thread: String,
        /// Which branch, counted from the newest one, which is 1 and the default.
        branch: Option<usize>,
    },
    /// Give a chat another title.
    RenameThread {
        /// As for [`Command::Thread`].
        thread: String,
        /// The new title, 1 to 200 characters.
        title: String,
    },
    /// Remove a chat for good.
    RemoveThread {
        /// As for [`Command::Thread`].
        thread: String,
    },
    /// The settings in force.
    Settings,
    /// Change settings, in the file and in this process.
    ChangeSettings {
        /// Names of fields of [`Settings`] with their new values as the file would have them
        /// (`"0.2"`, `"true"`, `"\"name\""`); an empty value takes the default.
        changes: Vec<(String, String)>,
    },
    /// List the installed models.
    Models,
    /// Import a GGUF file, a split one by any part or its folder, or a folder with an embedder in safetensors.
    ImportModel {
        /// Absolute path.
        path: PathBuf,
        /// Weights of a converted embedder: `q8_0` or `f16`.
        quantisation: String,
    },
    /// List the models that are known, and downloads that were not finished.
    Catalog,
    /// Look for models on Hugging Face, or on the mirror of the settings: words of a name, or `owner/repository` for the
    /// files in it. The only command about models that asks the network without fetching anything.
    SearchHub {
        /// What is looked for.
        query: String,
    },
    /// Fetch a model from the network and install it; goes on with what has come. Cancelling pauses it.
    DownloadModel {
        /// Id in the catalogue, `OWNER/REPOSITORY/FILE.gguf` on Hugging Face, or an address.
        model: String,
        /// The user has read and accepted its licence; needed where that asks something of its users.
        accepts_licence: bool,
    },
    /// Throw away what has come of a download.
    DiscardDownload {
        /// As for [`Command::DownloadModel`].
        model: String,
    },
    /// Everything about one model, and how it does on this machine.
    ShowModel {
        /// Id of an installed model or in the catalogue, or the absolute path of a GGUF file.
        model: String,
    },
    /// Try which build of llama.cpp is the fastest on this processor, and compute with it from then on.
    MeasureProcessor,
    /// Remove an installed model.
    RemoveModel {
        /// Model id as listed.
        model: String,
    },
    /// List, make, rename, remove workspaces, or switch between them.
    Workspace(WorkspaceCommand),
    /// Share the open workspace with other laptops, or join one.
    Sync(SyncCommand),
    /// The MCP servers whose tools the chat model may use, and whether it may.
    Mcp(McpCommand),
    /// Check everything Satchel depends on.
    Doctor,
    /// How much is imported, indexed and embedded.
    Status,
}

/// Which halves of the search to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum SearchMode {
    /// Words and meaning together.
    #[default]
    Hybrid,
    /// Words only (BM25).
    Lexical,
    /// Meaning only (embeddings).
    Vector,
}

/// News about a command that is being carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// Work is going on.
    Progress(Progress),
    /// One file of an import is done.
    File(FileReport),
    /// Something the user should know that does not end the command.
    Notice(String),
    /// The passages an answer will be based on, before the model has said a word.
    Passages(Vec<Citation>),
    /// The next piece of what the model thinks before it answers; shown on request, and not kept.
    Thought(String),
    /// The next piece of the answer.
    Answer(String),
    /// News of [`SyncCommand::BeginPairing`] and [`SyncCommand::ApprovePairing`].
    Pairing(PairingEvent),
    /// The model wants to call a tool of an MCP server, of [`Command::Ask`] with tools.
    Tool(ToolRequest),
    /// How the workspace stands with the other laptops, of [`SyncCommand::Watch`] and [`SyncCommand::Now`].
    Sync(Box<SyncReport>),
    /// Something arrived from other laptops, of [`SyncCommand::Watch`]: lists of documents or chats that are shown
    /// should be fetched anew.
    Arrived {
        /// Documents that are new, changed or removed.
        documents: usize,
        /// Chats that are new, changed or removed.
        chats: usize,
    },
    /// Another program changed something through this process, of [`SyncCommand::Watch`].
    Changed(Changed),
    /// The command ended well.
    Reply(Box<Reply>),
    /// The command ended badly.
    Failed(Failure),
}

/// How far a piece of work is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Units done.
    pub done: u64,
    /// Units in all, as far as known.
    pub total: u64,
    /// Time left at the present rate, in milliseconds, once there is a rate.
    pub eta_ms: Option<u64>,
}

/// The kinds of long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Looking through folders; counts files.
    Scanning,
    /// Reading, saving and making text searchable; counts files.
    Reading,
    /// Computing embeddings; counts passages.
    Embedding,
    /// Rebuilding the index from the stored documents; counts documents.
    Rebuilding,
    /// Loading a model; counts models.
    Loading,
    /// The model reads the prompt; counts tokens.
    Prompt,
    /// The model thinks before it answers; counts tokens, of those that it may take.
    Thinking,
    /// Copying or converting a model file; counts bytes.
    Model,
    /// Fetching a model file from the network; counts bytes.
    Download,
    /// Receiving what other laptops have; counts entries.
    Receiving,
    /// Trying a model with each build for processors; counts runs.
    Measuring,
}

impl Stage {
    /// The stage in words, for a progress bar.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Scanning => "Looking through folders",
            Self::Reading => "Reading files",
            Self::Embedding => "Embedding passages",
            Self::Rebuilding => "Rebuilding the index",
            Self::Loading => "Loading the model",
            Self::Prompt => "Reading the passages",
            Self::Thinking => "Thinking",
            Self::Model => "Preparing the model file",
            Self::Download => "Downloading the model",
            Self::Receiving => "Receiving from the other laptops",
            Self::Measuring => "Measuring the processor",
        }
    }
}

/// How much of the workspace a search can see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Documents in the workspace.
    pub documents: usize,
    /// Documents whose words can be searched.
    pub indexed: usize,
    /// Passages (chunks) in the index.
    pub passages: usize,
    /// Passages whose meaning can be searched.
    pub embedded: usize,
    /// Files that could not be read at the last import of their path.
    pub failed: usize,
}

impl Coverage {
    /// One line for under an answer, for example
    /// `Searched 41 of 43 documents; 120 of 900 passages still wait for embeddings; 2 files could not be read.`
    #[must_use]
    pub fn line(&self) -> String {
        format!("Searched {} of {} documents", self.indexed, self.documents) + &self.exceptions()
    }

    /// As [`Self::line`], where nothing has been searched yet: `43 documents; …`.
    #[must_use]
    pub fn in_stock(&self) -> String {
        let waiting = self.documents - self.indexed.min(self.documents);
        let waiting = if waiting > 0 {
            format!(", {waiting} of them not searchable yet")
        } else {
            String::new()
        };
        units::count(self.documents, "document") + &waiting + &self.exceptions()
    }

    fn exceptions(&self) -> String {
        let mut line = String::new();
        if self.embedded < self.passages {
            line += &format!(
                "; {} of {} passages are found by words only (no embedding yet)",
                self.passages - self.embedded,
                self.passages
            );
        }
        if self.failed > 0 {
            line += &format!(
                "; {} files could not be read (see `satchel status`)",
                self.failed
            );
        }
        line + "."
    }
}

/// The good ends of commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    /// Of [`Command::Import`] and [`Command::Index`].
    Imported(ImportReport),
    /// Of [`Command::Search`].
    Hits(SearchReport),
    /// Of [`Command::Ask`] and [`Command::Consult`].
    Answered(AnswerReport),
    /// Of [`Command::Complete`].
    Completed(Completion),
    /// Of [`Command::Embed`].
    Embedded(EmbeddingReport),
    /// Of [`Command::Documents`].
    Documents(Vec<DocumentSummary>),
    /// Of [`Command::Show`].
    Passage(Passage),
    /// Of [`Command::Read`].
    Document(DocumentText),
    /// Of [`HistoryCommand::Versions`].
    History(HistoryReport),
    /// Of [`HistoryCommand::Difference`].
    Difference(DifferenceReport),
    /// Of [`SyncCommand::Conflicts`].
    Conflicts(ConflictReport),
    /// Of [`Command::Settings`] and [`Command::ChangeSettings`].
    Settings(SettingsReport),
    /// Of [`Command::Threads`].
    Threads(Vec<ThreadSummary>),
    /// Of [`Command::Thread`] and others about what is in one.
    Thread(ThreadReport),
    /// Of [`Command::Models`].
    Models(Vec<ModelSummary>),
    /// Of [`Command::Catalog`].
    Catalog(CatalogReport),
    /// Of [`Command::SearchHub`].
    Hub(HubReport),
    /// Of [`Command::ShowModel`].
    Model(Box<ModelDetails>),
    /// Of [`WorkspaceCommand::List`], by name.
    Workspaces(Vec<WorkspaceSummary>),
    /// Of the other commands about workspaces.
    Workspace(WorkspaceReport),
    /// Of [`SyncCommand::Status`] and others.
    Sync(Box<SyncReport>),
    /// Of [`SyncCommand::Devices`] and what changes them, this laptop first.
    Devices(Vec<DeviceStatus>),
    /// Of [`McpCommand::List`] and what changes the list.
    McpServers(Vec<McpServerReport>),
    /// Of [`Command::Doctor`].
    Doctor(Vec<Finding>),
    /// Of [`Command::Status`].
    Status(StatusReport),
    /// Of commands that have nothing to tell but that they succeeded.
    Done(String),
}

/// Found passages, best first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SearchReport {
    /// The mode that was used: falls back to `lexical` where nothing can embed the query.
    pub mode: SearchMode,
    /// The hits.
    pub hits: Vec<Citation>,
    /// How much was searched.
    pub coverage: Coverage,
    /// Time from query to hits, in milliseconds.
    pub took_ms: f64,
}

/// A place in a document with its exact words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// The mark in the answer's text, for example `S1`; empty for search hits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
    /// Document id.
    pub document: String,
    /// Document title.
    pub title: String,
    /// Source file, where there is one.
    pub path: Option<String>,
    /// Page in the original, counted from 1, where the original has pages.
    pub page: Option<u32>,
    /// Headings above the passage, outermost first.
    pub heading_path: Vec<String>,
    /// UTF-8 byte range of `quote` in the document's text.
    pub range: Range<usize>,
    /// The exact words.
    pub quote: String,
    /// The passage (chunk) around the quote, for context.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub passage: String,
    /// How it came to be cited.
    pub origin: Origin,
    /// Scores of the search.
    pub scores: Scores,
}

impl Citation {
    /// What `satchel show` takes to open this place: `<document>:<start>-<end>`, the id shortened to 12 digits.
    #[must_use]
    pub fn reference(&self) -> String {
        let id = self.document.get(..12).unwrap_or(&self.document);
        format!("{id}:{}-{}", self.range.start, self.range.end)
    }

    /// `report.pdf, page 3` or `notes.md › Diet › Allergies`.
    #[must_use]
    pub fn place(&self) -> String {
        let name = self
            .path
            .as_deref()
            .and_then(|path| path.rsplit('/').next())
            .unwrap_or(&self.title);
        let mut place = name.to_owned();
        if let Some(page) = self.page {
            place += &format!(", page {page}");
        }
        for heading in &self.heading_path {
            if heading != name {
                place += " › ";
                place += heading;
            }
        }
        place
    }
}

/// Who says that a citation belongs to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The model wrote its mark.
    Model,
    /// The model wrote none there; the words of its sentence were matched to the passage.
    Matched,
    /// Neither: it is one of the passages the answer was given.
    Retrieved,
    /// It is a search hit.
    Search,
}

/// Scores of a search hit; larger is better in each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Fused relevance, the order of the hits.
    pub relevance: f32,
    /// Cosine similarity in [-1, 1], where an embedding was compared.
    pub cosine: Option<f32>,
    /// BM25 of the words, where they were found.
    pub bm25: Option<f32>,
}

/// An answer with what it is based on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AnswerReport {
    /// The chat that holds it; empty where none does.
    pub thread: String,
    /// The question as asked.
    pub question: String,
    /// What was searched for; differs from the question in a follow-up.
    pub searched_for: String,
    /// The answer, or the refusal in words.
    pub answer: String,
    /// The documents do not hold it: nothing was generated.
    pub refused: bool,
    /// Cited passages; for a refusal the nearest ones.
    pub citations: Vec<Citation>,
    /// Sentences of the answer whose words or numbers are in none of the passages.
    #[serde(default)]
    pub unsupported: Vec<String>,
    /// The model's name; `None` where no model was used.
    pub model: Option<String>,
    /// Why the answer ended: `end`, `stop_word`, `length`, `stopped`, `none`.
    pub ended: String,
    /// How much was searched; on this laptop, also where another one answered.
    pub coverage: Coverage,
    /// Tokens and times, where a model was used here.
    pub usage: Option<Usage>,
    /// What the laptop is called that answered; `None` where it was this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// What the model looked up before it answered, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// Something that the model looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// `search`, `read`, `list`, `calculate` or `date`.
    pub tool: String,
    /// What was done, for the user: `Searched for “lease”: 2 passages more.`
    pub words: String,
}

/// Cost of an answer.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of them, tokens that were still in the model's memory from the turn before.
    pub cached_tokens: usize,
    /// Tokens written.
    pub output_tokens: usize,
    /// Time of retrieval in milliseconds.
    pub retrieve_ms: f64,
    /// Time to read the prompt in milliseconds.
    pub prompt_ms: f64,
    /// Time to write in milliseconds.
    pub output_ms: f64,
}

/// One document in a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentSummary {
    /// Id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Source file.
    pub path: Option<String>,
    /// The source file is another laptop's: the same path here is another file, or none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
    /// Media type of the original.
    pub media_type: String,
    /// Bytes of text.
    pub text_bytes: u64,
    /// Bytes of the original.
    pub original_bytes: u64,
    /// Time of import, milliseconds since 1970 (UTC).
    pub imported_at_ms: i64,
    /// Whether its words can be searched.
    pub indexed: bool,
    /// Remarks from reading it.
    pub note: Option<String>,
}

/// A passage with its surroundings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Passage {
    /// The place and its words.
    pub citation: Citation,
    /// Text before the passage, from a line start.
    pub before: String,
    /// Text after it, to a line end.
    pub after: String,
}

/// The whole text of a document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DocumentText {
    /// The document.
    pub document: DocumentSummary,
    /// The text; form feeds (U+000C) in it are borders of pages where the original has pages.
    pub text: String,
    /// The text is Markdown; else it is shown as it is.
    pub is_markdown: bool,
    /// UTF-8 byte range of the place that was asked for.
    pub place: Option<Range<usize>>,
    /// Page of that place, counted from 1, where the original has pages.
    pub page: Option<u32>,
}

/// The settings and where they are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SettingsReport {
    /// What is in force.
    pub settings: Settings,
    /// The file.
    pub file: PathBuf,
}

/// One line of `satchel doctor`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How it stands.
    pub level: Level,
    /// In words.
    pub text: String,
    /// What to do about it, where something can be done.
    pub hint: Option<String>,
}

/// How serious a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Works, but the user should know.
    Warning,
    /// Something does not work.
    Problem,
}

/// Of [`Command::Status`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusReport {
    /// Workspace id.
    pub workspace: String,
    /// Workspace name.
    pub name: String,
    /// What is searchable.
    pub coverage: Coverage,
    /// Files that could not be read at the last import of their path.
    pub failures: Vec<FileReport>,
    /// Chat model in use.
    pub chat_model: Option<String>,
    /// Embedder in use.
    pub embedder: Option<String>,
}
