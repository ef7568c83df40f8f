//! Which hosts models were asked for, and when last: a file that anybody can read.
//!
//! `contacts.json` in the folder for state: `{"huggingface.co": 1795446000000}`, times in milliseconds since 1970. It is
//! no truth that anything depends on, so a damaged one is begun anew. Start at [`Contacts`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

const FILE: &str = "contacts.json";

/// The list, shared by all downloads of a process. Its calls block on the disk.
#[derive(Debug, Clone)]
pub struct Contacts {
    path: PathBuf,
    writing: Arc<Mutex<()>>,
}

impl Contacts {
    /// The list in the folder for state.
    #[must_use]
    pub fn new(state: &std::path::Path) -> Self {
        Self {
            path: state.join(FILE),
            writing: Arc::default(),
        }
    }

    /// Hosts with the time of the last contact, in milliseconds since 1970.
    #[must_use]
    pub fn list(&self) -> BTreeMap<String, i64> {
        let text = std::fs::read(&self.path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Notes that a host is being asked.
    pub fn note(&self, host: &str) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = self.list();
        hosts.insert(host.to_owned(), now_ms());
        let written = serde_json::to_vec_pretty(&hosts)
            .map_err(std::io::Error::other)
            .and_then(|text| {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                satchel_sync::durable::write(&self.path, &text)
            });
        if let Err(error) = written {
            tracing::warn!(%error, host, "a contacted host could not be noted");
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_listed_once_and_a_damaged_list_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let contacts = Contacts::new(&folder.path().join("state"));
        assert!(contacts.list().is_empty());
        for host in ["b.example", "a.example", "b.example"] {
            contacts.note(host);
        }
        let hosts: Vec<String> = contacts.list().into_keys().collect();
        assert_eq!(hosts, ["a.example", "b.example"]);
        std::fs::write(folder.path().join("state").join(FILE), "{").unwrap();
        contacts.note("c.example");
        assert_eq!(contacts.list().len(), 1);
    }
}
