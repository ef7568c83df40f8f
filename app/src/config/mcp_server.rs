//! The MCP servers that the user has set up: programs whose tools the chat model may use, call by call.
//!
//! Reads and writes their tables in the settings file; starts nothing. Start at [`McpServer`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Settings, SettingsError};

/// Servers at most: each is a process, and its tools are choices that a model has to read.
const MOST_SERVERS: usize = 8;
/// Longest name of one, in characters: it stands before each of its tools.
const MOST_NAME_CHARS: usize = 32;
/// The table in the settings file.
const TABLE: &str = "mcp_servers";

/// How a server is started: a program that speaks MCP on its stdin and stdout.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpServer {
    /// The program: its whole path, or a name that is looked for on `PATH`.
    pub command: String,
    /// Its arguments. Default: none.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables for its environment, which else has only what every program needs. Default: none.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Variables may hold passwords: their names alone.
impl fmt::Debug for McpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpServer")
            .field("command", &self.command)
            .field("args", &self.args)
            .field("env", &self.env.keys())
            .finish()
    }
}

impl McpServer {
    /// The command line, for people.
    #[must_use]
    pub fn line(&self) -> String {
        let words = std::iter::once(&self.command).chain(&self.args);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Why it cannot be used under this name, if it cannot.
    fn problem(&self, name: &str) -> Option<&'static str> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let is_path = self.command.contains('/');
        if name.is_empty() || name.len() > MOST_NAME_CHARS || !name.chars().all(fits) {
            Some("a name has 1 to 32 small letters, digits, - and _")
        } else if self.command.trim().is_empty() {
            Some("it needs a command")
        } else if is_path && !Path::new(&self.command).is_absolute() {
            Some("give the whole path of the command, from / on, or a name on PATH")
        } else {
            None
        }
    }
}

/// Refuses servers that could not be started or told apart.
pub(super) fn in_range(servers: &BTreeMap<String, McpServer>) -> Result<(), SettingsError> {
    let wrong = |value: &str, reason: &str| SettingsError::Value {
        name: TABLE.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    };
    if servers.len() > MOST_SERVERS {
        let value = format!("{} servers", servers.len());
        return Err(wrong(&value, "take 8 at most"));
    }
    for (name, server) in servers {
        if let Some(reason) = server.problem(name) {
            return Err(wrong(name, reason));
        }
    }
    Ok(())
}

impl Settings {
    /// Writes a server into the file, in place of one of the same name, and gives the settings it then holds.
    ///
    /// # Errors
    /// As for [`Settings::change_file`].
    pub fn add_mcp_server(
        path: &Path,
        name: &str,
        server: &McpServer,
    ) -> Result<Self, SettingsError> {
        Self::edit_file(path, |document| {
            let mut table = toml_edit::Table::new();
            table["command"] = toml_edit::value(&server.command);
            if !server.args.is_empty() {
                table["args"] = toml_edit::value(server.args.iter().collect::<toml_edit::Array>());
            }
            if !server.env.is_empty() {
                let env: toml_edit::InlineTable = server.env.iter().collect();
                table["env"] = toml_edit::value(env);
            }
            let mut all = toml_edit::Table::new();
            all.set_implicit(true);
            let all = document.entry(TABLE).or_insert(toml_edit::Item::Table(all));
            if let Some(all) = all.as_table_like_mut() {
                all.insert(name, toml_edit::Item::Table(table));
            }
        })
    }

    /// Takes a server out of the file, and gives the settings it then holds.
    ///
    /// # Errors
    /// As for [`Settings::change_file`].
    pub fn remove_mcp_server(path: &Path, name: &str) -> Result<Self, SettingsError> {
        Self::edit_file(path, |document| {
            if let Some(all) = document
                .get_mut(TABLE)
                .and_then(toml_edit::Item::as_table_like_mut)
            {
                all.remove(name);
                if all.is_empty() {
                    super::remove(document, TABLE);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_come_and_go_and_the_rest_of_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        satchel_sync::durable::write(&file, b"# mine\ntemperature = 0.5 # calm\n").unwrap();
        let notes = McpServer {
            command: "/usr/bin/notes".to_owned(),
            args: vec!["--read \"only\"".to_owned()],
            env: [("KEY".to_owned(), "a'b".to_owned())].into(),
        };
        let settings = Settings::add_mcp_server(&file, "notes", &notes).unwrap();
        assert_eq!(settings.mcp_servers["notes"], notes);
        let plain = McpServer {
            args: Vec::new(),
            env: BTreeMap::new(),
            ..notes.clone()
        };
        Settings::add_mcp_server(&file, "plain", &plain).unwrap();
        let settings = Settings::load(&file).unwrap();
        assert_eq!(settings.mcp_servers.len(), 2);
        assert_eq!(settings.temperature, 0.5);
        let written = toml::to_string_pretty(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&written).unwrap(), settings);
        assert!(!format!("{settings:?}").contains("a'b"));

        Settings::remove_mcp_server(&file, "notes").unwrap();
        Settings::remove_mcp_server(&file, "plain").unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# mine\ntemperature = 0.5 # calm\n");
    }

    #[test]
    fn what_could_not_be_started_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        let server = |command: &str| McpServer {
            command: command.to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
        };
        for (name, command) in [
            ("Notes.2", "notes"),
            ("", "notes"),
            ("notes", " "),
            ("notes", "bin/notes"),
        ] {
            let error = Settings::add_mcp_server(&file, name, &server(command)).unwrap_err();
            assert!(error.to_string().contains("mcp_servers"), "{error}");
        }
        for number in 0..8 {
            Settings::add_mcp_server(&file, &format!("s{number}"), &server("notes")).unwrap();
        }
        assert!(Settings::add_mcp_server(&file, "s8", &server("notes")).is_err());
        assert_eq!(Settings::load(&file).unwrap().mcp_servers.len(), 8);
        let unknown = "[mcp_servers.a]\ncommand = \"a\"\nshell = true\n";
        assert!(toml::from_str::<Settings>(unknown).is_err());
    }
}
