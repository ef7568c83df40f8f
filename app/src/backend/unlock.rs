//! Comes by the key of a data folder: finds it, makes it, or asks for its passphrase.
//!
//! Never writes a key anywhere but through `satchel_sync::keys`. Start at [`Unlock::key`].

use std::fmt;
use std::sync::{Arc, OnceLock};

use satchel_sync::keys::{DataKey, KeyError, KeyStatus, KeyStorage, KeyStore, Passphrase};

use super::failure;
use crate::config::DataDirs;
use crate::message::{Failure, FailureKind};

/// Where a new key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewKey {
    /// The OS keyring where one answers, else a plain key file, with a warning.
    #[default]
    Automatic,
    /// A key file wrapped by the passphrase that [`Unlock::ask`] gives.
    Passphrase,
    /// The OS keyring or nothing.
    Keyring,
    /// A plain key file of mode 0600.
    PlainFile,
}

/// Asks the user for a passphrase; the argument says what for. `None` when nobody can be asked.
pub type AskPassphrase = Arc<dyn Fn(&str) -> Option<Passphrase> + Send + Sync>;

/// How to come by the key of one data folder. Cloning shares what was found.
#[derive(Clone)]
pub struct Unlock {
    ask: AskPassphrase,
    new_key: NewKey,
    /// The key serves every workspace of the data folder, so a passphrase is asked for once per process.
    found: Arc<OnceLock<DataKey>>,
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unlock")
            .field("new_key", &self.new_key)
            .finish_non_exhaustive()
    }
}

impl Unlock {
    /// Asks with `ask` where a passphrase is needed, and keeps a key that has to be made as `new_key` says.
    #[must_use]
    pub fn new(ask: AskPassphrase, new_key: NewKey) -> Self {
        Self {
            ask,
            new_key,
            found: Arc::new(OnceLock::new()),
        }
    }

    /// The same, but asks `other` where the first one has no answer.
    #[must_use]
    pub fn or_ask(self, other: AskPassphrase) -> Self {
        let first = self.ask;
        Self {
            ask: Arc::new(move |words| first(words).or_else(|| other(words))),
            ..self
        }
    }

    /// The key, made where there is none yet. Blocking, the first time for as long as the user types.
    ///
    /// Words for the user go to `notices`.
    ///
    /// # Errors
    /// When the key cannot be had ([`FailureKind::Locked`]).
    pub fn key(&self, dirs: &DataDirs, notices: &mut Vec<String>) -> Result<&DataKey, Failure> {
        if let Some(key) = self.found.get() {
            return Ok(key);
        }
        let store = KeyStore::open(&dirs.data.join("keys")).map_err(failure::of_key)?;
        let key = match store.status().map_err(failure::of_key)? {
            KeyStatus::Missing => make_key(dirs, &store, self, notices)?,
            KeyStatus::Passphrase => ask_until_right(&store, self)?,
            KeyStatus::Keyring | KeyStatus::PlainFile => {
                store.unlock(None).map_err(failure::of_key)?
            }
        };
        Ok(self.found.get_or_init(|| key))
    }
}

fn make_key(
    dirs: &DataDirs,
    store: &KeyStore,
    unlock: &Unlock,
    notices: &mut Vec<String>,
) -> Result<DataKey, Failure> {
    // A workspace without its key cannot be opened by a new one: making one would only hide the loss.
    let orphaned =
        std::fs::read_dir(dirs.workspaces()).is_ok_and(|mut entries| entries.next().is_some());
    if orphaned {
        return Err(Failure::new(
            FailureKind::Locked,
            format!("there are documents in {}, and their key is missing from {}", dirs.data.display(), dirs.data.join("keys").display()),
        )
        .with_hint("Put the `keys` folder back from a backup, or log in to the keyring that holds the key."));
    }
    let storage = match unlock.new_key {
        NewKey::PlainFile => KeyStorage::PlainFile,
        NewKey::Keyring => KeyStorage::Keyring,
        NewKey::Passphrase => KeyStorage::Passphrase(
            (unlock.ask)("Choose a passphrase for your documents").ok_or_else(passphrase_needed)?,
        ),
        NewKey::Automatic => {
            return match store.create(KeyStorage::Keyring) {
                Ok(key) => Ok(key),
                Err(KeyError::KeyringUnavailable { .. }) => {
                    notices.push(format!(
                        "No keyring answers here, so the key of your documents lies in a plain file in {}. \
                         Whoever can read that file can read your documents: protect it with `satchel key passphrase`.",
                        dirs.data.join("keys").display()
                    ));
                    store.create(KeyStorage::PlainFile).map_err(failure::of_key)
                }
                Err(error) => Err(failure::of_key(error)),
            };
        }
    };
    store.create(storage).map_err(failure::of_key)
}

fn ask_until_right(store: &KeyStore, unlock: &Unlock) -> Result<DataKey, Failure> {
    // Three tries at a terminal, as login does; a file gives the same answer each time and is asked once.
    let mut last = None;
    for attempt in 0..3 {
        let words = if attempt == 0 {
            "Passphrase of your documents"
        } else {
            "That is not it. Passphrase"
        };
        let Some(passphrase) = (unlock.ask)(words) else {
            break;
        };
        match store.unlock(Some(&passphrase)) {
            Err(KeyError::WrongPassphrase) => {
                last = Some(failure::of_key(KeyError::WrongPassphrase));
            }
            other => return other.map_err(failure::of_key),
        }
    }
    Err(last.unwrap_or_else(passphrase_needed))
}

fn passphrase_needed() -> Failure {
    Failure::new(
        FailureKind::Locked,
        "the documents are locked by a passphrase, and nobody can be asked for it here",
    )
    .with_hint("Put it into a file and name that in SATCHEL_PASSPHRASE_FILE, or run in a terminal.")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_passphrase_is_asked_for_once_per_process() {
        let folder = tempfile::tempdir().unwrap();
        let dirs = DataDirs::find(Some(folder.path()));
        let asked = Arc::new(AtomicUsize::new(0));
        let new_process = || {
            let asked = Arc::clone(&asked);
            let ask: AskPassphrase = Arc::new(move |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                Some(Passphrase::new("four words are good"))
            });
            Unlock::new(ask, NewKey::Passphrase)
        };
        let mut fingerprints = Vec::new();
        for _ in 0..2 {
            let unlock = new_process();
            for unlock in [unlock.clone(), unlock] {
                let key = unlock.key(&dirs, &mut Vec::new()).unwrap();
                fingerprints.push(key.fingerprint());
            }
        }
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), 1);
        assert_eq!(
            asked.load(Ordering::Relaxed),
            2,
            "once to make it, once to unlock"
        );
    }
}
