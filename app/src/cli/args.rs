//! The command line's grammar. Only clap definitions.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::message::{Role, SearchMode};

/// Ask your own documents. Everything stays on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "satchel",
    version,
    about = "Ask your own documents. Everything stays on this machine.",
    after_help = "Examples:\n  \
        satchel import ~/Documents/contracts\n  \
        satchel ask \"When does the lease end?\"\n  \
        satchel search --limit 5 --json \"notice period\"\n  \
        satchel show 3fa94c01be77:1204-1310\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 offline, 5 locked, 6 no space, 130 stopped by Ctrl-C.\n\
        Data goes to stdout, messages to stderr. Without a command, the window opens."
)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do; without it the window opens.
    #[command(subcommand)]
    pub command: Option<CliCommand>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Keep all data below this folder instead of the usual places
    #[arg(long, global = true, env = "SATCHEL_HOME", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Use this workspace instead of the current one: its name, its id, or the first digits of it
    #[arg(
        long,
        global = true,
        env = "SATCHEL_WORKSPACE",
        value_name = "WORKSPACE"
    )]
    pub workspace: Option<String>,
    /// Print JSON on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Never open a network connection
    #[arg(long, global = true)]
    pub offline: bool,
    /// Say less: only errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// No colours (also NO_COLOR)
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Open the window
    Open,
    /// Import files and folders, and keep them up to date when run again
    #[command(
        after_help = "Reads Markdown, text, HTML, PDF, DOCX, PPTX, XLSX, CSV and source code. Folders are searched with the rules of\n\
        .gitignore, .ignore and .satchelignore. Run it again to bring in changes: unchanged files are not read."
    )]
    Import {
        /// Files or folders
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Remove documents whose file below these folders is gone
        #[arg(long)]
        prune: bool,
        /// Return when words can be found; `satchel index` embeds later
        #[arg(long)]
        no_embeddings: bool,
    },
    /// Bring the index up to date with the documents
    Index,
    /// Ask a question; the answer cites the passages it is based on
    Ask {
        /// The question; `-` reads it from stdin
        #[arg(required = true)]
        question: Vec<String>,
        /// Go on with this chat
        #[arg(long, value_name = "CHAT")]
        chat: Option<String>,
        /// Let another laptop of this workspace answer: what it is called, its id, or the first digits of it
        #[arg(long, value_name = "DEVICE")]
        on: Option<String>,
        /// Leave the question for that laptop; `satchel chat --show CHAT` shows the answer when it has come
        #[arg(long, requires = "on")]
        no_wait: bool,
        /// Let the model look further before it answers: search again, read on, list, calculate, count days
        #[arg(long, conflicts_with = "on")]
        tools: bool,
    },
    /// Ask one question after the other
    Chat {
        /// Go on with this chat
        chat: Option<String>,
        /// List the chats
        #[arg(long, conflicts_with_all = ["chat", "show"])]
        list: bool,
        /// Print a chat
        #[arg(long, value_name = "CHAT", conflicts_with = "chat")]
        show: Option<String>,
        /// Print this branch of it: 1 is the newest one. Two laptops that go on from one message make two branches
        #[arg(long, value_name = "N", requires = "show")]
        branch: Option<usize>,
        /// Remove a chat for good
        #[arg(long, value_name = "CHAT", conflicts_with_all = ["chat", "list", "show"])]
        remove: Option<String>,
        /// Take back the questions of a chat that another laptop has not answered yet
        #[arg(long, value_name = "CHAT", conflicts_with_all = ["chat", "list", "show", "remove"])]
        withdraw: Option<String>,
        /// Give CHAT another title
        #[arg(long, value_name = "TITLE", requires = "chat")]
        rename: Option<String>,
    },
    /// Find passages by words and by meaning
    Search {
        /// What to look for
        #[arg(required = true)]
        query: Vec<String>,
        /// Hits at most
        #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// What to compare
        #[arg(long, value_enum, default_value_t = Mode::Hybrid)]
        mode: Mode,
    },
    /// List or remove documents; list, compare and bring back earlier versions
    #[command(
        after_help = "A NAME is an id, the first digits of one, a path, or a title that only one document has.\n\
        A VERSION is a number, or the eight digits beside it, which stay when older versions arrive from another laptop."
    )]
    Documents {
        /// What to do with them; without it they are listed
        #[command(subcommand)]
        action: Option<DocumentsAction>,
    },
    /// Show a passage in its document
    Show {
        /// `DOCUMENT:START-END` as printed by search and citations, or a document id or path
        reference: String,
        /// The whole text instead of the surroundings
        #[arg(long)]
        whole: bool,
    },
    /// List, import or remove models
    Models {
        /// What to do with them; without it they are listed
        #[command(subcommand)]
        action: Option<ModelsAction>,
    },
    /// List, make, rename and remove workspaces, and switch between them
    #[command(
        after_help = "A workspace holds documents and chats of its own: what is in one is never found in another.\n\
        A NAME is a name, an id, or the first digits of one."
    )]
    Workspace {
        /// What to do with them; without it they are listed
        #[command(subcommand)]
        action: Option<WorkspaceAction>,
    },
    /// Keep this workspace equal on several laptops
    #[command(
        after_help = "An edge node, which you or somebody you choose runs (`satchel-edge run`), passes encrypted changes on; it can\n\
        read none of them. On the first laptop: satchel sync share LINK. On the next one: satchel devices pair LINK."
    )]
    Sync {
        /// What to do; without it the status is printed
        #[command(subcommand)]
        action: Option<SyncAction>,
    },
    /// The laptops of this workspace: let one in, list, rename or remove them
    #[command(
        after_help = "A DEVICE is what a laptop is called, its id, or the first digits of it."
    )]
    Devices {
        /// What to do with them; without it they are listed
        #[command(subcommand)]
        action: Option<DevicesAction>,
    },
    /// Let programs on this machine ask, as they would ask OpenAI's API
    #[command(
        after_help = "Routes: /v1/models, /v1/chat/completions, /v1/embeddings. The model `workspace` answers from the documents, with\n\
        citations; the id of the chat model in use lets that model answer by itself. Listens at 127.0.0.1 only, and every\n\
        request needs the token as `Authorization: Bearer TOKEN` (clients call it the API key). Ctrl-C ends it."
    )]
    Serve {
        /// Port; 0 takes any that is free, and the one taken is printed
        #[arg(long, default_value_t = 11435)]
        port: u16,
        /// File with the token instead of the usual one; made when it is missing
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Let web pages of this origin ask, for example http://localhost:3000; can be given more than once
        #[arg(long, value_name = "ORIGIN")]
        allow_origin: Vec<String>,
    },
    /// Let a program with a model of its own read the documents, as an MCP server on stdin and stdout
    #[command(
        after_help = "Enter `satchel mcp` as the command of an MCP server in that program, which then starts it. Its tools only read:\n\
        search, read_passage, list_documents and ask. What they give goes to that program, and to whatever model it uses:\n\
        that may be one on the network."
    )]
    Mcp,
    /// Let the chat model use tools of other programs: list, add, remove MCP servers, see what one offers
    #[command(
        name = "mcp-servers",
        after_help = "The model can use them where it may look further (`satchel ask --tools`, `satchel settings tools true`). Each call is\n\
        shown with all that the server would be given, and made only when you allow it, so only where you can be asked: in the\n\
        window, and at a terminal. A server is a program with your own rights: it may read files and use the network, which\n\
        Satchel cannot prevent. With `offline`, none is started.\n\n\
        Example: satchel mcp-servers add time -- uvx mcp-server-time"
    )]
    McpServers {
        /// What to do with them; without it they are listed
        #[command(subcommand)]
        action: Option<McpServersAction>,
    },
    /// Say what is imported and searchable, and which files could not be read
    Status,
    /// Check everything Satchel depends on
    Doctor,
    /// Print the settings, or change one
    #[command(
        after_help = "Values are written as in the file: satchel settings temperature 0.2, satchel settings chat_model '\"ID\"'.\n\
        A name without a value takes the default back."
    )]
    Settings {
        /// Name of a setting
        setting: Option<String>,
        /// Its new value
        value: Option<String>,
    },
    /// Print where everything lies
    Paths,
    /// Protect or move the key of your documents
    Key {
        /// What to do with it
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Try Satchel on a few sample documents
    Try,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Workers of this program
    #[command(hide = true)]
    Worker {
        /// Which one
        #[arg(value_enum)]
        kind: WorkerKind,
        /// Build for processors to prefer
        #[arg(long)]
        build: Option<String>,
    },
}

/// What to do with documents.
#[derive(Debug, Subcommand)]
pub(crate) enum DocumentsAction {
    /// List them
    List,
    /// List the versions of a document, with author and time, newest first
    History {
        /// Which document
        name: String,
        /// Versions at most; 0 lists all
        #[arg(long, short = 'n', default_value_t = 30)]
        limit: usize,
    },
    /// Show how two versions of a document differ
    Diff {
        /// Which document
        name: String,
        /// The older version; the one before, if left out
        #[arg(long, value_name = "VERSION")]
        from: Option<String>,
        /// The newer version; the present one, if left out
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
    },
    /// Bring a version back, as a new version: nothing is lost. The file on disk stays as it is
    Restore {
        /// Which document
        name: String,
        /// Which version
        version: String,
    },
    /// Remove documents from the workspace; the files they came from stay
    Remove {
        /// Ids, first digits of ids, or paths
        #[arg(required = true)]
        documents: Vec<String>,
    },
}

/// What to do with MCP servers.
#[derive(Debug, Subcommand)]
pub(crate) enum McpServersAction {
    /// List them
    List,
    /// Start one, and say which tools it offers
    Tools {
        /// What it is called
        name: String,
    },
    /// Set one up, in place of one of the same name; it is started when it is needed
    Add {
        /// What to call it: small letters, digits, - and _
        name: String,
        /// A variable that it is given; without a value, the one that it has here. Kept in the settings file
        #[arg(long, value_name = "NAME[=VALUE]")]
        env: Vec<String>,
        /// Its program and arguments, after `--`
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Take one out of the settings
    Remove {
        /// What it is called
        name: String,
    },
}

/// What to do with models.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsAction {
    /// List the installed ones
    List,
    /// List models worth having, with size, memory and whether this machine has it
    Catalog {
        /// Only those whose id, name, maker, kind or licence contains this
        filter: Option<String>,
    },
    /// Look for models on Hugging Face beyond the catalogue: by words of their name; OWNER/REPOSITORY lists the files of one
    Search {
        /// Words of a name, or OWNER/REPOSITORY
        #[arg(required = true)]
        query: Vec<String>,
    },
    /// Show one in all its particulars: what it is, the memory that it needs, how it does on this machine
    #[command(
        after_help = "A MODEL is an installed one, an id of `satchel models catalog`, or a GGUF file."
    )]
    Show {
        /// Which
        model: String,
    },
    /// Download one and install it; run it again to go on after an interruption
    #[command(
        after_help = "A MODEL is an id of `satchel models catalog`, OWNER/REPOSITORY/FILE.gguf on Hugging Face, or an address.\n\
        Ctrl-C pauses: what has come is kept. A mirror, a proxy and a limit are settings (model_mirror, proxy,\n\
        download_kib_per_s)."
    )]
    Download {
        /// Which one
        model: String,
        /// You have read its licence and agree
        #[arg(long)]
        accept_licence: bool,
    },
    /// Try which of llama.cpp's builds is the fastest on this processor, with the chat model
    #[command(
        after_help = "It is done once by itself, when a model rests for a minute while a window is open."
    )]
    Calibrate,
    /// Throw away what has come of a download
    Discard {
        /// Which one, as for download
        model: String,
    },
    /// Import a GGUF file (of a split model any part, or their folder), or convert an embedder in safetensors
    Import {
        /// File or folder
        path: PathBuf,
        /// Weights of a converted embedder
        #[arg(long, default_value = "q8_0", value_parser = ["q8_0", "f16"])]
        quantisation: String,
    },
    /// Remove one
    Remove {
        /// Its id as listed
        model: String,
    },
}

/// What to do with workspaces.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkspaceAction {
    /// List them
    List,
    /// Make one; `switch` makes it the current one
    New {
        /// Its name
        name: String,
    },
    /// Make another one the current one, for all commands and windows from now on
    Switch {
        /// Which one
        name: String,
    },
    /// Give one another name
    Rename {
        /// Which one
        name: String,
        /// What to call it
        new_name: String,
    },
    /// Remove one with its documents and chats, for good; the files they came from stay
    Remove {
        /// Which one
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List the members of this workspace: their laptops, and what these may do
    Members,
    /// Say what a laptop may do
    Role {
        /// Which one: what it is called, its id, or the first digits of it
        device: String,
        /// What it may do
        #[arg(value_enum)]
        role: RoleName,
    },
}

/// What to do with other laptops.
#[derive(Debug, Subcommand)]
pub(crate) enum SyncAction {
    /// Make the workspace one that other laptops can join
    Share {
        /// The link that the edge node printed when it was started
        link: String,
        /// What this laptop is called; the name of the machine, if left out
        #[arg(long, value_name = "NAME")]
        label: Option<String>,
        /// Who uses it; the name of the account, if left out
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// What the operator of the edge node gave you, if it asks for that
        #[arg(long, value_name = "TOKEN")]
        invitation: Option<String>,
    },
    /// Say how it stands: laptops, connections, what waits
    Status,
    /// Send and receive everything now, or say why not
    Now {
        /// Seconds to try
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
        timeout: u32,
    },
    /// Stay connected until Ctrl-C, and print changes of the status
    Run,
    /// Print every connection that was made or tried
    Ledger,
    /// Meet the other laptops at another edge node, or at one that has a new key; each laptop has to be told
    MeetAt {
        /// The link that the edge node printed when it was started
        link: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Stop sharing the workspace on this laptop; its documents stay
    Leave {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What to do with the laptops of a workspace.
#[derive(Debug, Subcommand)]
pub(crate) enum DevicesAction {
    /// List them
    List,
    /// On a new laptop: show a code, and join the workspace of the laptop that types it
    Pair {
        /// The link of the edge node, the same as on the other laptop
        link: String,
        /// What this laptop is called; the name of the machine, if left out
        #[arg(long, value_name = "NAME")]
        label: Option<String>,
        /// Who uses it; the name of the account, if left out
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Let the laptop in that shows this code
    Approve {
        /// What the new laptop shows
        code: String,
        /// What it may do
        #[arg(long, value_enum, default_value_t = RoleName::Writer)]
        role: RoleName,
        /// Do not ask; nobody compares the pictures
        #[arg(long)]
        yes: bool,
    },
    /// Call one something else
    Rename {
        /// Which one
        device: String,
        /// What to call it
        name: String,
    },
    /// Remove one: it gets nothing more; what it has, it keeps
    Remove {
        /// Which one
        device: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What a laptop may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleName {
    /// Reads, writes, and says who is a member
    Owner,
    /// Reads and writes documents and chats
    Writer,
    /// Reads
    Reader,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Owner => Self::Owner,
            RoleName::Writer => Self::Writer,
            RoleName::Reader => Self::Reader,
        }
    }
}

/// What to do with the key.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Say where it is kept
    Status,
    /// Lock it by a passphrase (asked for, or in the file that SATCHEL_NEW_PASSPHRASE_FILE names)
    Passphrase,
    /// Keep it in the keyring of the desktop session
    Keyring,
    /// Keep it in a plain file that only you can read
    File,
}

/// Kinds of workers.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WorkerKind {
    /// Runs one model.
    Inference,
    /// Reads documents.
    Parse,
}

/// What a search compares.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Mode {
    /// Words and meaning
    Hybrid,
    /// Words
    Lexical,
    /// Meaning
    Vector,
}

impl From<Mode> for SearchMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Hybrid => Self::Hybrid,
            Mode::Lexical => Self::Lexical,
            Mode::Vector => Self::Vector,
        }
    }
}
