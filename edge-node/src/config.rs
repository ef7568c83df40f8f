//! The settings of a node: one TOML file, every field with its meaning, unit and reason.
//!
//! Never reads the environment and starts nothing. Start at [`Config`]; `edge.example.toml` shows all
//! fields, and a test reads it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use satchel_protocol::limits::{MAX_FRAGMENT_BYTES, MAX_TOKEN_BYTES, MIN_FRAGMENT_BYTES};
use serde::Deserialize;

/// Where the node listens when nothing else is said: this machine only.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4747);

/// All settings. A missing field has its default; an unknown one is an error.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// UDP address and port. Default `127.0.0.1:4747`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Folder of the node's key and its store. Default: the user's data folder, `satchel-edge`.
    pub data_dir: Option<PathBuf>,
    /// Who may make mailboxes. Default: everyone who reaches a loopback `listen`; for any other address
    /// it must be set, since whoever makes mailboxes fills the disk.
    pub creation: Option<CreationMode>,
    /// Invitations for `creation = "token"`: 16 to 64 bytes each. One may be given to many people.
    pub tokens: Vec<String>,
    /// How long things are kept that nobody needs.
    pub keep: KeepConfig,
    /// Health and metrics for a monitor on this machine.
    pub http: HttpConfig,
    /// What goes to the log, and how.
    pub log: LogConfig,
    /// What one device, one address and one mailbox may use.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN,
            data_dir: None,
            creation: None,
            tokens: Vec::new(),
            keep: KeepConfig::default(),
            http: HttpConfig::default(),
            log: LogConfig::default(),
            limits: Limits::default(),
        }
    }
}

/// Who may make mailboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CreationMode {
    /// Everyone who can reach the port.
    Open,
    /// Who brings one of the `tokens`.
    Token,
}

/// [`CreationMode`] with what it needs.
#[derive(Clone)]
pub(crate) enum Creation {
    Open,
    Token(Vec<String>),
}

impl Creation {
    /// Whether this invitation is one. Takes as long for a wrong one as for the right one.
    pub(crate) fn admits(&self, token: &[u8]) -> bool {
        match self {
            Self::Open => true,
            Self::Token(tokens) => tokens.iter().fold(false, |found, known| {
                let is_equal = verify_slices_are_equal(known.as_bytes(), token).is_ok();
                found | is_equal
            }),
        }
    }
}

/// How long things are kept that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepConfig {
    /// Days that a superseded entry or a forgotten blob is kept. Default 30: a laptop on holiday must
    /// still be able to check what a pack replaced.
    pub grace_days: u32,
    /// Days after which a mailbox that nobody opened is deleted. Default 400.
    pub unopened_days: u32,
}

impl Default for KeepConfig {
    fn default() -> Self {
        Self {
            grace_days: 30,
            unopened_days: 400,
        }
    }
}

/// Health and metrics over HTTP, for this machine alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// TCP address on loopback for `/healthz`, `/readyz` and `/metrics`. Default: none.
    pub listen: Option<SocketAddr>,
}

/// Logging. Addresses of devices are never logged, mailbox ids only by their first 8 digits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// One JSON object per line instead of text. Default false.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`. Default `info`.
    pub level: LogLevel,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What stops the node.
    Error,
    /// And what the operator should look at.
    Warn,
    /// And start, stop, totals.
    #[default]
    Info,
    /// And one line per refused request.
    Debug,
    /// And one line per request.
    Trace,
}

/// Bounds that the operator chooses. Those of the protocol itself are in `satchel_protocol::limits`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes that one mailbox may hold, 192 per fragment for its rows included. Default 1 GiB.
    pub mailbox_quota_bytes: u64,
    /// Longest fragment taken. Default and maximum 1,044,480 (1 MiB − 4 KiB).
    pub max_fragment_bytes: u32,
    /// Connections at a time. Default 10,000: at 37 to 48 KiB each about 0.5 GB.
    pub max_connections: usize,
    /// Connections at a time from one IPv4 address or one IPv6 /56. Default 32.
    pub max_connections_per_ip: u32,
    /// Handshakes per second from one address, twice that in a burst. Default 10.
    pub handshakes_per_ip_per_s: u32,
    /// Requests per second on one connection. Default 20.
    pub requests_per_s: u32,
    /// Requests that a connection may save up. Default 100.
    pub request_burst: u32,
    /// Bytes of fragments per second on one connection, both directions together. Default 4 MiB.
    pub bytes_per_s: u32,
    /// Nameplates alive at a time, for pairings. Default 1,000: at 20 KiB each at most 20 MB.
    pub nameplates: usize,
    /// Nameplates per minute for one IPv4 address or IPv6 /56: so many are given out, and so many
    /// numbers that nobody gave out may be asked for. Default 10.
    pub nameplates_per_ip_per_min: u32,
    /// Below so many free bytes on the disk nothing new is stored; reading goes on. Default 512 MiB.
    pub disk_reserve_bytes: u64,
    /// The same as a part of the whole disk, in percent; the larger of the two holds. Default 5.
    pub disk_reserve_percent: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox_quota_bytes: 1024 * 1024 * 1024,
            max_fragment_bytes: MAX_FRAGMENT_BYTES as u32,
            max_connections: 10_000,
            max_connections_per_ip: 32,
            handshakes_per_ip_per_s: 10,
            requests_per_s: 20,
            request_burst: 100,
            bytes_per_s: 4 * 1024 * 1024,
            nameplates: 1000,
            nameplates_per_ip_per_min: 10,
            disk_reserve_bytes: 512 * 1024 * 1024,
            disk_reserve_percent: 5,
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing is started or created.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            source,
            path: path.to_owned(),
        })?;
        Self::parse(&text).map_err(|source| ConfigError::Syntax {
            source: Box::new(source),
            path: path.to_owned(),
        })
    }

    /// Reads settings from TOML text, without [`Config::check`].
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Refuses values that cannot work or are not safe.
    ///
    /// # Errors
    /// [`ConfigError`]: what is not chosen, or which value is out of bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.listen.ip().is_loopback() && self.creation.is_none() {
            return Err(ConfigError::CreationNotChosen {
                listen: self.listen,
            });
        }
        if let Some(listen) = self.http.listen
            && !listen.ip().is_loopback()
        {
            return Err(ConfigError::HttpNotLocal { listen });
        }
        let needs_token = self.creation == Some(CreationMode::Token);
        let limits = &self.limits;
        let fragment_bytes = u64::from(limits.max_fragment_bytes);
        let rules = [
            (
                (MIN_FRAGMENT_BYTES as u64..=MAX_FRAGMENT_BYTES as u64).contains(&fragment_bytes),
                "limits.max_fragment_bytes must lie between 87 and 1044480",
            ),
            (
                limits.mailbox_quota_bytes >= fragment_bytes + crate::store::ROW_BYTES,
                "limits.mailbox_quota_bytes must hold at least one fragment of max_fragment_bytes and 192 bytes",
            ),
            (
                !needs_token || !self.tokens.is_empty(),
                "creation = \"token\" needs at least one of tokens",
            ),
            (
                needs_token || self.tokens.is_empty(),
                "tokens are asked for with creation = \"token\" alone: set it, or remove tokens",
            ),
            (
                self.tokens
                    .iter()
                    .all(|token| (16..=MAX_TOKEN_BYTES).contains(&token.len())),
                "each of tokens must have 16 to 64 bytes",
            ),
            (
                self.keep.grace_days > 0,
                "keep.grace_days must be at least 1",
            ),
            (
                self.keep.unopened_days > self.keep.grace_days,
                "keep.unopened_days must be more than keep.grace_days",
            ),
            (
                limits.max_connections > 0,
                "limits.max_connections must be at least 1",
            ),
            (
                limits.max_connections_per_ip > 0,
                "limits.max_connections_per_ip must be at least 1",
            ),
            (
                limits.handshakes_per_ip_per_s > 0,
                "limits.handshakes_per_ip_per_s must be at least 1",
            ),
            (
                limits.requests_per_s > 0,
                "limits.requests_per_s must be at least 1",
            ),
            (
                limits.request_burst > 0,
                "limits.request_burst must be at least 1",
            ),
            (
                limits.bytes_per_s >= 1024,
                "limits.bytes_per_s must be at least 1024",
            ),
            (
                limits.disk_reserve_percent < 100,
                "limits.disk_reserve_percent must be below 100",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ConfigError::Value { rule }),
            None => Ok(()),
        }
    }

    /// Who may make mailboxes, with the default of the address in place of what is not set.
    pub(crate) fn resolved_creation(&self) -> Creation {
        match self.creation {
            Some(CreationMode::Token) => Creation::Token(self.tokens.clone()),
            Some(CreationMode::Open) | None => Creation::Open,
        }
    }

    /// The folder for key and store: the one set, or the user's data folder.
    ///
    /// # Errors
    /// [`ConfigError::NoDataDir`] where neither is known.
    pub fn resolved_data_dir(&self) -> Result<PathBuf, ConfigError> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        directories::ProjectDirs::from("", "", "satchel-edge")
            .map(|dirs| dirs.data_dir().to_owned())
            .ok_or(ConfigError::NoDataDir)
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// Why.
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// The file is not valid.
    #[error("the configuration file is not valid: {}", path.display())]
    Syntax {
        /// Line, column and reason.
        source: Box<toml::de::Error>,
        /// Which file.
        path: PathBuf,
    },
    /// Other machines could reach the node, and nobody said who may make mailboxes.
    #[error(
        "other machines can reach {listen}: say who may make mailboxes there, with creation = \"token\" and tokens = [\"...\"] in the configuration file, or creation = \"open\" (or --creation open) for everyone"
    )]
    CreationNotChosen {
        /// The address.
        listen: SocketAddr,
    },
    /// Metrics are for this machine alone.
    #[error(
        "health and metrics are for this machine alone: use a loopback address such as 127.0.0.1:9747 instead of {listen}"
    )]
    HttpNotLocal {
        /// The address.
        listen: SocketAddr,
    },
    /// A value out of bounds.
    #[error("{rule}")]
    Value {
        /// What must hold.
        rule: &'static str,
    },
    /// No home folder is known.
    #[error("no home folder is known: say where to keep data with data_dir (or --data-dir)")]
    NoDataDir,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_shows_every_field_at_its_default_or_as_a_server_sets_it() {
        let text = include_str!("../edge.example.toml");
        let config = Config::parse(text).unwrap();
        config.check().unwrap();
        let expected = Config {
            data_dir: Some("/var/lib/satchel-edge".into()),
            creation: Some(CreationMode::Open),
            http: HttpConfig {
                listen: Some("127.0.0.1:9747".parse().unwrap()),
            },
            ..Config::default()
        };
        assert_eq!(config, expected);
        for field in [
            "listen",
            "data_dir",
            "creation",
            "tokens",
            "grace_days",
            "unopened_days",
            "nameplates",
            "nameplates_per_ip_per_min",
            "json",
            "level",
            "mailbox_quota_bytes",
            "max_fragment_bytes",
            "max_connections",
            "max_connections_per_ip",
            "handshakes_per_ip_per_s",
            "requests_per_s",
            "request_burst",
            "bytes_per_s",
            "disk_reserve_bytes",
            "disk_reserve_percent",
        ] {
            assert!(
                text.lines()
                    .any(|line| line.starts_with(&format!("{field} ="))),
                "{field} is not shown"
            );
        }
    }

    #[test]
    fn an_open_address_needs_a_choice_who_may_make_mailboxes() {
        let open = Config {
            listen: "0.0.0.0:4747".parse().unwrap(),
            ..Config::default()
        };
        assert!(matches!(
            open.check(),
            Err(ConfigError::CreationNotChosen { .. })
        ));
        let chosen = Config {
            creation: Some(CreationMode::Open),
            ..open
        };
        assert!(chosen.check().is_ok());
        let local6 = Config {
            listen: "[::1]:0".parse().unwrap(),
            ..Config::default()
        };
        assert!(local6.check().is_ok());
    }

    #[test]
    fn tokens_admit_who_brings_one() {
        let text = "creation = \"token\"\ntokens = [\"0123456789abcdef\", \"fedcba9876543210\"]";
        let config = Config::parse(text).unwrap();
        config.check().unwrap();
        let creation = config.resolved_creation();
        assert!(creation.admits(b"fedcba9876543210"));
        assert!(!creation.admits(b"fedcba9876543211"));
        assert!(!creation.admits(b""));
        for wrong in [
            "creation = \"token\"",
            "tokens = [\"0123456789abcdef\"]",
            "creation = \"token\"\ntokens = [\"short\"]",
        ] {
            assert!(Config::parse(wrong).unwrap().check().is_err(), "{wrong}");
        }
    }

    #[test]
    fn metrics_stay_on_this_machine() {
        let config = Config::parse("[http]\nlisten = \"0.0.0.0:80\"").unwrap();
        assert!(matches!(
            config.check(),
            Err(ConfigError::HttpNotLocal { .. })
        ));
    }

    #[test]
    fn misspelt_fields_and_impossible_values_are_named() {
        let error = Config::parse("[limits]\nmax_conections = 3\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("max_conections"), "{error}");
        let mut config = Config::default();
        config.limits.max_fragment_bytes = 2 * 1024 * 1024;
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("max_fragment_bytes")
        );
        config.limits = Limits {
            mailbox_quota_bytes: 1000,
            ..Limits::default()
        };
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("mailbox_quota_bytes")
        );
    }
}
