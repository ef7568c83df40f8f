//! The settings of a node: one TOML file, every field with its meaning, unit and reason.
//!
//! Never reads the environment and starts nothing. Start at [`Config`]; `edge.example.toml` shows all
//! fields, and a test reads it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use satchel_protocol::limits::{MAX_FRAGMENT_BYTES, MIN_FRAGMENT_BYTES};
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
    /// Allows a `listen` address that other machines can reach. Default false.
    ///
    /// Version 0 of the protocol has no access control: everyone who can reach the port can fill the
    /// disk up to its reserve, and everyone who knows a mailbox id can read its ciphertext.
    pub trusted_network: bool,
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
            trusted_network: false,
            log: LogConfig::default(),
            limits: Limits::default(),
        }
    }
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
    /// Bytes that one mailbox may hold, 128 per fragment for its rows included. Default 1 GiB.
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
    /// [`ConfigError::OpenNetwork`] or [`ConfigError::Value`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.listen.ip().is_loopback() && !self.trusted_network {
            return Err(ConfigError::OpenNetwork {
                listen: self.listen,
            });
        }
        let limits = &self.limits;
        let fragment_bytes = u64::from(limits.max_fragment_bytes);
        let rules = [
            (
                (MIN_FRAGMENT_BYTES as u64..=MAX_FRAGMENT_BYTES as u64).contains(&fragment_bytes),
                "limits.max_fragment_bytes must lie between 87 and 1044480",
            ),
            (
                limits.mailbox_quota_bytes >= fragment_bytes + crate::storage::ROW_BYTES,
                "limits.mailbox_quota_bytes must hold at least one fragment of max_fragment_bytes and 128 bytes",
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
    /// Other machines could reach the node, and nobody said that they may.
    #[error(
        "other machines can reach {listen}, and this version of the protocol has no access control: listen on 127.0.0.1 or [::1], or, if you trust everyone on that network, set trusted_network = true (or --trusted-network)"
    )]
    OpenNetwork {
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
    fn the_example_file_shows_every_field_at_its_default() {
        let text = include_str!("../edge.example.toml");
        let config = Config::parse(text).unwrap();
        config.check().unwrap();
        let expected = Config {
            data_dir: Some("/var/lib/satchel-edge".into()),
            ..Config::default()
        };
        assert_eq!(config, expected);
        for field in [
            "listen",
            "data_dir",
            "trusted_network",
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
    fn an_open_address_needs_a_word_of_trust() {
        let open = Config {
            listen: "0.0.0.0:4747".parse().unwrap(),
            ..Config::default()
        };
        assert!(matches!(open.check(), Err(ConfigError::OpenNetwork { .. })));
        assert!(
            Config {
                trusted_network: true,
                ..open
            }
            .check()
            .is_ok()
        );
        let local6 = Config {
            listen: "[::1]:0".parse().unwrap(),
            ..Config::default()
        };
        assert!(local6.check().is_ok());
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
