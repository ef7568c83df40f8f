//! Opens the workspace of a data folder: finds or makes its key, takes its lock, repairs what a crash left.
//!
//! Never writes a key anywhere but through `satchel_sync::keys`. Start at [`open_workspace`].

use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use satchel_sync::keys::{DataKey, KeyError, KeyStatus, KeyStorage, KeyStore, Passphrase};
use satchel_sync::workspace::{self, Workspace};

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

/// How to come by the key.
#[derive(Clone)]
pub struct Unlock {
    /// Asks for a passphrase.
    pub ask: AskPassphrase,
    /// Where a key goes that has to be made.
    pub new_key: NewKey,
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unlock")
            .field("new_key", &self.new_key)
            .finish_non_exhaustive()
    }
}

/// Opens the workspace, making key and workspace at the first start. Blocking.
///
/// Returns words for the user besides.
///
/// # Errors
/// When the key cannot be had or the workspace not be opened.
pub fn open_workspace(
    dirs: &DataDirs,
    unlock: Unlock,
) -> Result<(Workspace, Vec<String>), Failure> {
    private_folder(&dirs.data)?;
    private_folder(&dirs.index)?;
    let mut notices = Vec::new();
    let store = KeyStore::open(&dirs.data.join("keys")).map_err(failure::of_key)?;
    let key = match store.status().map_err(failure::of_key)? {
        KeyStatus::Missing => make_key(dirs, &store, &unlock, &mut notices)?,
        KeyStatus::Passphrase => ask_until_right(&store, &unlock)?,
        KeyStatus::Keyring | KeyStatus::PlainFile => store.unlock(None).map_err(failure::of_key)?,
    };
    let workspaces = dirs.data.join("workspaces");
    private_folder(&workspaces)?;
    let found = workspace::list(&workspaces).map_err(|error| failure::of_open(&error))?;
    let opened = match found.first() {
        Some(found) => {
            let (opened, report) =
                Workspace::open(&found.path, &key).map_err(|error| failure::of_open(&error))?;
            notices.extend(report.words());
            opened
        }
        None => Workspace::create_in(&workspaces, &key, "My papers")
            .map_err(|error| failure::of_open(&error))?,
    };
    Ok((opened, notices))
}

fn make_key(
    dirs: &DataDirs,
    store: &KeyStore,
    unlock: &Unlock,
    notices: &mut Vec<String>,
) -> Result<DataKey, Failure> {
    // A workspace without its key cannot be opened by a new one: making one would only hide the loss.
    let orphaned = std::fs::read_dir(dirs.data.join("workspaces"))
        .is_ok_and(|mut entries| entries.next().is_some());
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
                last = Some(failure::of_key(KeyError::WrongPassphrase))
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

/// Makes a folder that only the user can enter.
fn private_folder(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| {
            Failure::general(format!(
                "cannot make the folder {}: {error}",
                path.display()
            ))
            .with_hint("Check its permissions, or name another one with --data-dir.")
        })
}
