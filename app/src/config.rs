//! Settings and folders: every default with its reason.
//!
//! Reads one TOML file and the environment, and writes that file when asked to; never creates workspaces or keys.
//! Start at [`DataDirs::find`] and [`Settings::load`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use satchel_sync::WorkspaceId;
use serde::{Deserialize, Serialize};

mod mcp_server;

pub use mcp_server::McpServer;

/// Where everything lives. `satchel paths` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DataDirs {
    /// `config.toml`.
    pub config_file: PathBuf,
    /// Workspaces and keys: the only folder that must be backed up.
    pub data: PathBuf,
    /// Model files.
    pub models: PathBuf,
    /// The index: rebuilt from the workspaces when deleted.
    pub index: PathBuf,
    /// Logs and the state of the window.
    pub state: PathBuf,
    /// Sockets of the processes that have a workspace open: see [`DataDirs::socket`].
    pub sockets: PathBuf,
    /// The `satchel` program, started again for its workers. A test that holds the backend itself names it here.
    #[serde(skip)]
    pub program: PathBuf,
}

impl DataDirs {
    /// The folders for a user, or all of them below `root` where one is given
    /// (`--data-dir` or `SATCHEL_HOME`).
    ///
    /// `SATCHEL_MODELS_DIR` moves the models alone: they are large and can be shared.
    #[must_use]
    pub fn find(root: Option<&Path>) -> Self {
        let mut dirs = match root {
            Some(root) => {
                Self::below(&std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf()))
            }
            None => Self::of_user(),
        };
        if let Some(models) = std::env::var_os("SATCHEL_MODELS_DIR").filter(|dir| !dir.is_empty()) {
            dirs.models = PathBuf::from(models);
        }
        dirs
    }

    fn below(root: &Path) -> Self {
        Self {
            config_file: root.join("config.toml"),
            data: root.to_path_buf(),
            models: root.join("models"),
            index: root.join("index"),
            state: root.join("state"),
            sockets: sockets_folder(root),
            program: this_program(),
        }
    }

    fn of_user() -> Self {
        let Some(user) = directories::ProjectDirs::from("", "", "satchel") else {
            // No home folder: a service account. Everything stays below the current folder.
            return Self::below(Path::new("satchel-data"));
        };
        let data = user.data_dir().to_path_buf();
        Self {
            config_file: user.config_dir().join("config.toml"),
            models: data.join("models"),
            index: user.cache_dir().join("index"),
            state: user
                .state_dir()
                .unwrap_or(user.data_local_dir())
                .to_path_buf(),
            sockets: sockets_folder(&data),
            program: this_program(),
            data,
        }
    }

    /// The folder of all workspaces.
    #[must_use]
    pub fn workspaces(&self) -> PathBuf {
        self.data.join("workspaces")
    }

    /// The file that names the current workspace: the one that is opened where no other is asked for.
    #[must_use]
    pub fn current_workspace_file(&self) -> PathBuf {
        self.data.join("current-workspace")
    }

    /// The folder of what the chat model knew of a workspace's chats, sealed: read again when deleted.
    ///
    /// Its name begins as the index's does: whoever removes the one removes the other.
    #[must_use]
    pub fn known_chats_of(&self, workspace: WorkspaceId) -> PathBuf {
        self.index.join(format!("{workspace}.known"))
    }

    /// The folder of a workspace's index.
    #[must_use]
    pub fn index_of(&self, workspace: WorkspaceId) -> PathBuf {
        self.index.join(workspace.to_string())
    }

    /// The socket through which a second process reaches the one that has this workspace open.
    ///
    /// A socket's path may be 107 bytes long at most, so its name is short: a hash of the data folder and of the
    /// workspace, since a copied data folder holds the same workspaces.
    #[must_use]
    pub fn socket(&self, workspace: WorkspaceId) -> PathBuf {
        let mut tag = blake3::Hasher::new();
        tag.update(workspace.as_bytes());
        tag.update(self.data.as_os_str().as_encoded_bytes());
        let tag = tag.finalize().to_hex();
        self.sockets.join(format!("{}.sock", &tag[..16]))
    }
}

/// The running program. Its path cannot be had only where `/proc` is missing; the name on `PATH` is then the
/// best guess, and a wrong one gives an error that names it.
fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("satchel"))
}

/// Sockets lie in the runtime folder, which is the user's alone and empty after a restart; where there is none,
/// beside the data.
fn sockets_folder(data: &Path) -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    runtime.map_or_else(|| data.join("run"), |dir| dir.join("satchel"))
}

/// The settings file. Every field has a default; unknown fields are refused with their name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Id of the chat model. Default: the first chat model installed.
    pub chat_model: Option<String>,
    /// Id of the embedder. Default: the first embedder installed.
    pub embedder: Option<String>,
    /// Id of the reranker. Default: the first reranker installed; without one, passages keep the order of the search.
    pub reranker: Option<String>,
    /// The chat model's window in tokens.
    ///
    /// Default: 4096, where passages, history and answer fit; more where its memory costs little, less where memory is
    /// short. Larger windows cost memory in proportion.
    pub context_len_tokens: Option<u32>,
    /// Tokens of passages put before the model.
    ///
    /// Default 1100: about six passages. A small model on two cores reads some 300 tokens a second,
    /// so this bounds the wait for the first word at about four seconds.
    pub passage_budget_tokens: usize,
    /// How the chat model is asked: `one_passage` gives it the best passage and a short request, `many_passages` all that
    /// fit, under marks that it cites.
    ///
    /// Default `auto`: one for models below a billion parameters, which lose their way in more; many for others.
    pub prompt_style: PromptStyle,
    /// Tokens the model may write at most. Default 400: a long paragraph.
    pub max_output_tokens: u32,
    /// Randomness of the answer; 0 always takes the likeliest word.
    ///
    /// Default 0.1: answers from documents should repeat them, not be inventive.
    pub temperature: f32,
    /// Only the k likeliest words are considered; 0 considers all. Default 40.
    pub top_k: Option<u32>,
    /// Only the likeliest words that reach this probability together; 1 switches it off. Default 0.95.
    pub top_p: Option<f32>,
    /// Only words at least this fraction as likely as the likeliest; 0 switches it off. Default 0.05.
    pub min_p: Option<f32>,
    /// Divides the score of words that the answer already used; 1 switches it off. Default: 1.1, and 1 for small models,
    /// which answer by copying.
    pub repeat_penalty: Option<f32>,
    /// Makes answers repeatable. Default: another one each time.
    pub seed: Option<u32>,
    /// An answer ends before any of these texts. Default: none.
    pub stop: Vec<String>,
    /// Whether a model that can think before it answers does so. Default false: with the passages before it, it takes
    /// minutes more on a laptop and answers seldom better.
    pub thinking: bool,
    /// Whether this laptop answers the questions that other laptops of its shared workspaces leave for it
    /// (`satchel ask --on`), while its window or `satchel sync run` is open. Default false: a model takes the whole
    /// machine while it writes, so its user says that others may have it.
    pub lend_model: bool,
    /// Whether the model may look further before it answers: search again, read on, list documents, calculate, count days.
    /// It only reads. Default false: each of up to four steps takes some seconds on a laptop, and small models choose
    /// badly.
    pub tools: bool,
    /// Threads of llama.cpp. Default: chosen from the processor.
    pub threads: Option<u32>,
    /// Layers of the chat model on a GPU. Default: as many as fit, where there is one; 0 uses the processor alone.
    ///
    /// The embedder stays on the processor.
    pub gpu_layers: Option<u32>,
    /// Whole path of an adapter (LoRA, a GGUF file) that is laid over the chat model. Default: none.
    pub lora: Option<PathBuf>,
    /// How strongly the adapter counts. Default 1: as it was trained.
    pub lora_scale: Option<f32>,
    /// No connection to any network, whatever else is set. Default false: only the edge nodes of shared workspaces are
    /// connected to, and what a model is downloaded from when somebody asks for it.
    pub offline: bool,
    /// Address from which models are downloaded in place of `https://huggingface.co`: a mirror with the same paths.
    pub model_mirror: Option<String>,
    /// `http://host:port` or `socks5://host:port` for downloads. Default: what the environment says (`HTTPS_PROXY`).
    pub proxy: Option<String>,
    /// KiB per second that a download may take. Default: what there is.
    pub download_kib_per_s: Option<u64>,
    /// Seconds after the last question until the memory of models is given back; 0 keeps them. The next question loads
    /// them again. Default: 300 on machines with 8 GiB of memory or less, 0 on others.
    pub unload_after_s: Option<u64>,
    /// Worker processes that read documents. Default: one per two processors, at least one, at most four; one on machines
    /// with 8 GiB of memory or less.
    pub parse_workers: Option<usize>,
    /// MCP servers whose tools the chat model may use where `tools` is on: a table `[mcp_servers.NAME]` for each, with
    /// `command`, `args` and `env` (`satchel mcp-servers add`). Each call is shown first and made only when the user allows
    /// it.
    ///
    /// Default: none. A server is a program of its own, with the rights of the user: it may read files and use the network,
    /// which Satchel cannot prevent. With `offline`, none is started.
    pub mcp_servers: BTreeMap<String, McpServer>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            chat_model: None,
            embedder: None,
            reranker: None,
            context_len_tokens: None,
            passage_budget_tokens: 1100,
            prompt_style: PromptStyle::Auto,
            max_output_tokens: 400,
            temperature: 0.1,
            top_k: None,
            top_p: None,
            min_p: None,
            repeat_penalty: None,
            seed: None,
            stop: Vec::new(),
            thinking: false,
            tools: false,
            lend_model: false,
            threads: None,
            gpu_layers: None,
            lora: None,
            lora_scale: None,
            offline: false,
            model_mirror: None,
            proxy: None,
            download_kib_per_s: None,
            unload_after_s: None,
            parse_workers: None,
            mcp_servers: BTreeMap::new(),
        }
    }
}

/// How the chat model is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStyle {
    /// As suits its size.
    #[default]
    Auto,
    /// The best passage alone.
    OnePassage,
    /// Passages under marks.
    ManyPassages,
}

/// Each text is looked for in each piece of an answer.
const MOST_STOP_TEXTS: usize = 16;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file is there and cannot be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written; the settings are as they were.
    #[error("cannot write the settings file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the settings file {} has a mistake; correct it or move it away: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// The file cannot be changed because it is not TOML.
    #[error("the settings file {} has a mistake; correct it or move it away: {source}", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml_edit::TomlError>,
    },
    /// A setting cannot have this value; nothing was changed.
    #[error("{name} cannot be {value}: {reason}")]
    Value {
        /// The setting.
        name: String,
        /// What it should have become.
        value: String,
        /// Why not.
        reason: String,
    },
}

impl Settings {
    /// Reads the file; one that does not exist gives the defaults.
    ///
    /// # Errors
    /// When it exists and cannot be read or understood.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|source| SettingsError::Syntax {
                path: path.to_path_buf(),
                source: Box::new(source),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(SettingsError::Io {
                path: path.to_path_buf(),
                source,
            }),
        }
        .and_then(Self::in_range)
    }

    /// Writes changes to the file, keeping its comments and order, and gives the settings it then holds.
    ///
    /// Each change is the name of a field and its value as TOML; an empty value removes the line, so that the
    /// default holds again.
    ///
    /// # Errors
    /// When a name or value is not possible, or the file cannot be read or written; then nothing was changed.
    pub fn change_file(path: &Path, changes: &[(String, String)]) -> Result<Self, SettingsError> {
        let mut document = Self::read_file(path)?;
        for (name, value) in changes {
            let impossible = |reason: String| SettingsError::Value {
                name: name.clone(),
                value: value.clone(),
                reason,
            };
            if !is_setting(name) {
                return Err(impossible("there is no such setting".to_owned()));
            }
            if value.is_empty() {
                remove(&mut document, name);
                continue;
            }
            let mut parsed: toml_edit::Value = value
                .parse()
                .map_err(|_| impossible("text needs quotation marks around it".to_owned()))?;
            // A comment behind the old value is about the setting, and stays.
            if let Some(old) = document.get(name).and_then(toml_edit::Item::as_value) {
                *parsed.decor_mut() = old.decor().clone();
            }
            document[name] = toml_edit::value(parsed);
            // One after the other, so that the message names the one that is wrong.
            toml::from_str::<Self>(&document.to_string())
                .map_err(|error| impossible(error.message().to_owned()))?
                .in_range()?;
        }
        Self::write_file(path, &document)
    }

    /// Changes the file by `edit`, keeping its comments and order, and gives the settings it then holds.
    fn edit_file(
        path: &Path,
        edit: impl FnOnce(&mut toml_edit::DocumentMut),
    ) -> Result<Self, SettingsError> {
        let mut document = Self::read_file(path)?;
        edit(&mut document);
        Self::write_file(path, &document)
    }

    fn read_file(path: &Path) -> Result<toml_edit::DocumentMut, SettingsError> {
        let present = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => {
                return Err(SettingsError::Io {
                    path: path.to_path_buf(),
                    source,
                });
            }
        };
        present.parse().map_err(|source| SettingsError::Edit {
            path: path.to_path_buf(),
            source: Box::new(source),
        })
    }

    fn write_file(path: &Path, document: &toml_edit::DocumentMut) -> Result<Self, SettingsError> {
        let text = document.to_string();
        let settings: Self = toml::from_str(&text).map_err(|source| SettingsError::Syntax {
            path: path.to_path_buf(),
            source: Box::new(source),
        })?;
        let settings = settings.in_range()?;
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .and_then(|()| satchel_sync::durable::write(path, text.as_bytes()))
            .map_err(|source| SettingsError::Write {
                path: path.to_path_buf(),
                source,
            })?;
        Ok(settings)
    }

    /// Refuses values that no model or machine can work with.
    fn in_range(self) -> Result<Self, SettingsError> {
        let wrong = |name: &str, value: String, reason: &str| SettingsError::Value {
            name: name.to_owned(),
            value,
            reason: reason.to_owned(),
        };
        if let Some(tokens) = self.context_len_tokens
            && !(512..=1 << 20).contains(&tokens)
        {
            let value = tokens.to_string();
            return Err(wrong("context_len_tokens", value, "take 512 to 1048576"));
        }
        if !(50..=100_000).contains(&self.passage_budget_tokens) {
            let value = self.passage_budget_tokens.to_string();
            return Err(wrong("passage_budget_tokens", value, "take 50 to 100000"));
        }
        if !(16..=100_000).contains(&self.max_output_tokens) {
            let value = self.max_output_tokens.to_string();
            return Err(wrong("max_output_tokens", value, "take 16 to 100000"));
        }
        if !(0.0..=2.0).contains(&self.temperature) {
            let value = self.temperature.to_string();
            return Err(wrong("temperature", value, "take 0.0 to 2.0"));
        }
        for (name, value, range) in [
            ("top_p", self.top_p, 0.0..=1.0),
            ("min_p", self.min_p, 0.0..=1.0),
            ("repeat_penalty", self.repeat_penalty, 0.5..=2.0),
            ("lora_scale", self.lora_scale, -2.0..=2.0),
        ] {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                let words = format!("take {:.1} to {:.1}", range.start(), range.end());
                return Err(wrong(name, value.to_string(), &words));
            }
        }
        if let Some(path) = self.lora.as_ref().filter(|path| !path.is_absolute()) {
            let value = path.display().to_string();
            return Err(wrong("lora", value, "give the whole path, from / on"));
        }
        if self.stop.len() > MOST_STOP_TEXTS {
            let value = format!("{} texts", self.stop.len());
            return Err(wrong("stop", value, "take 16 at most"));
        }
        mcp_server::in_range(&self.mcp_servers)?;
        Ok(self)
    }
}

/// Whether a field of [`Settings`] has this name: the reader refuses a value of the wrong type in other words
/// than a name that it does not know.
fn is_setting(name: &str) -> bool {
    let known = toml::from_str::<Settings>(&format!("{name:?} = []"));
    known
        .err()
        .is_none_or(|error| !error.message().contains("unknown field"))
}

/// Removes a setting. Comments above it stay, above what follows: they may be about more than this one.
fn remove(document: &mut toml_edit::DocumentMut, name: &str) {
    let above = document.key(name).and_then(|key| {
        let above = key.leaf_decor().prefix()?.as_str()?;
        (!above.trim().is_empty()).then(|| above.to_owned())
    });
    let mut following = document.iter().skip_while(|(key, _)| *key != name).skip(1);
    let next = following.next().map(|(key, _)| key.to_owned());
    drop(following);
    document.remove(name);
    let Some(above) = above else {
        return;
    };
    match next.and_then(|next| document.key_mut(&next)) {
        Some(mut key) => {
            let own = key.leaf_decor().prefix().and_then(|own| own.as_str());
            let both = above + own.unwrap_or_default();
            key.leaf_decor_mut().set_prefix(both);
        }
        None => {
            let both = above + document.trailing().as_str().unwrap_or_default();
            document.set_trailing(both);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused_by_name() {
        let error = toml::from_str::<Settings>("contxt_len_tokens = 5").unwrap_err();
        assert!(error.to_string().contains("contxt_len_tokens"), "{error}");
    }

    #[test]
    fn a_change_keeps_comments_and_refuses_what_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/config.toml");
        let change = |name: &str, value: &str| {
            Settings::change_file(&file, &[(name.to_owned(), value.to_owned())])
        };
        assert_eq!(change("temperature", "0.5").unwrap().temperature, 0.5);
        let text = std::fs::read_to_string(&file).unwrap();
        let text = format!("# mine\n{} # calm\n", text.trim_end());
        satchel_sync::durable::write(&file, text.as_bytes()).unwrap();
        let changed = change("chat_model", "\"gemma\"").unwrap();
        assert_eq!(changed.chat_model.as_deref(), Some("gemma"));
        for (name, value) in [
            ("temperature", "7.5"),
            ("temperatur", "0.1"),
            ("temperatur", ""),
            ("threads", "\"many\""),
            ("chat_model", "no quotes"),
        ] {
            let error = change(name, value).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        change("chat_model", "").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# mine\ntemperature = 0.5 # calm\n");
        change("temperature", "0.6").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# mine\ntemperature = 0.6 # calm\n");
        change("temperature", "0.5").unwrap();
        assert_eq!(Settings::load(&file).unwrap().temperature, 0.5);
        // The comment above is about the file, or at least nobody said that it may go.
        change("top_k", "20").unwrap();
        change("temperature", "").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# mine\ntop_k = 20\n");
        change("top_k", "").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# mine\n");
        change("seed", "7").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("# mine\n") && text.contains("seed = 7\n"),
            "{text}"
        );
    }

    #[test]
    fn a_data_dir_holds_everything_but_the_sockets() {
        let dirs = DataDirs::below(Path::new("/tmp/box"));
        for path in [
            &dirs.config_file,
            &dirs.data,
            &dirs.models,
            &dirs.index,
            &dirs.state,
        ] {
            assert!(path.starts_with("/tmp/box"), "{}", path.display());
        }
        let socket = dirs.socket(WorkspaceId([1; 16]));
        assert!(socket.as_os_str().len() < 107 || !socket.starts_with("/run"));
    }

    #[test]
    fn each_workspace_of_each_data_folder_has_its_own_socket() {
        let [here, there] = ["/tmp/box", "/tmp/copy"].map(|dir| DataDirs::below(Path::new(dir)));
        let [one, other] = [WorkspaceId([1; 16]), WorkspaceId([2; 16])];
        assert_ne!(here.socket(one), here.socket(other));
        assert_ne!(here.socket(one).file_name(), there.socket(one).file_name());
        assert_eq!(here.socket(one), here.socket(one));
    }
}
