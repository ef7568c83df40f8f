//! Errors of the libraries in the user's words, with an exit code and what to do.
//!
//! The one place where errors are translated; nothing is logged here.

use std::path::Path;

use satchel_inference::EngineError;
use satchel_models::gguf::GgufError;
use satchel_models::store::{ImportError, StoreError as ModelStoreError};
use satchel_sync::engine::ChangeError;
use satchel_sync::keys::KeyError;
use satchel_sync::net::pair::PairError;
use satchel_sync::share::ShareError;
use satchel_sync::workspace::{OpenError, SaveError};
use satchel_vector::{OpenReport, StoreError};

use crate::config::SettingsError;
use crate::message::{Failure, FailureKind};

impl From<SaveError> for Failure {
    fn from(error: SaveError) -> Self {
        match &error {
            SaveError::NoSpace { .. } => Self::new(FailureKind::NoSpace, words(&error)).with_hint(
                "Free some space and run the command again: what was reported as saved is safe.",
            ),
            SaveError::UnknownDocument { .. } | SaveError::UnknownThread { .. } => {
                Self::new(FailureKind::NotFound, words(&error))
            }
            _ => Self::general(words(&error)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if is_no_space(&error) {
            return Self::new(FailureKind::NoSpace, "the disk is full: the index cannot be written")
                .with_hint("Free some space and run the command again; your documents are safe, the index is rebuilt from them.");
        }
        match &error {
            StoreError::InUse { .. } => Self::new(FailureKind::Locked, words(&error)),
            StoreError::Damaged { .. } => Self::general(words(&error)).with_hint("Run the command again."),
            _ => Self::general(words(&error))
                .with_hint("The index is only a cache: delete its folder (`satchel paths` names it) and it is rebuilt."),
        }
    }
}

/// A failed start or death of a model worker, or what it said.
#[must_use]
pub fn of_engine(error: EngineError) -> Failure {
    let kind = match error {
        EngineError::PromptTooLong { .. } => FailureKind::Usage,
        _ => FailureKind::General,
    };
    Failure::new(kind, words(&error))
}

/// Settings that cannot be read or changed.
#[must_use]
pub fn of_settings(error: SettingsError) -> Failure {
    let kind = match error {
        SettingsError::Io { .. } | SettingsError::Write { .. } => FailureKind::General,
        _ => FailureKind::Usage,
    };
    Failure::new(kind, error.to_string())
}

/// A key that cannot be had.
#[must_use]
pub fn of_key(error: KeyError) -> Failure {
    let hint = match &error {
        KeyError::WrongPassphrase => Some(
            "Try again; capitals and spaces count. There is no way around it: without the passphrase the documents cannot be read.",
        ),
        KeyError::PassphraseNeeded => Some(
            "Put it into a file and name that in SATCHEL_PASSPHRASE_FILE, or run in a terminal.",
        ),
        KeyError::KeyringUnavailable { .. } => Some(
            "Log in to the desktop session whose keyring holds the key, or start the keyring service.",
        ),
        _ => None,
    };
    let failure = Failure::new(FailureKind::Locked, words(&error));
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

/// A workspace that cannot be opened.
#[must_use]
pub fn of_open(error: &OpenError) -> Failure {
    match error {
        // Without a hint: the caller tries to reach the process that holds it.
        OpenError::Locked { .. } => Failure::new(FailureKind::Locked, words(error)),
        OpenError::NoSpace { .. } => Failure::new(FailureKind::NoSpace, words(error)),
        _ => Failure::general(words(error)),
    }
}

/// A file of our own that cannot be written.
#[must_use]
pub fn of_write(path: &Path, error: &std::io::Error) -> Failure {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let (kind, hint) = if full {
        (FailureKind::NoSpace, "Free some space and try again.")
    } else {
        (FailureKind::General, "Check the permissions of its folder.")
    };
    let message = format!("cannot write {}: {error}", path.display());
    Failure::new(kind, message).with_hint(hint)
}

/// A workspace that cannot be shared or joined.
#[must_use]
pub fn of_share(error: &ShareError) -> Failure {
    let kind = match error {
        ShareError::Open(error @ OpenError::Locked { .. }) => {
            return of_open(error).with_hint("It is open on this laptop, in a window or by another command: close it there first.");
        }
        ShareError::Open(error) => return of_open(error),
        ShareError::Already | ShareError::Here | ShareError::Control(_) => FailureKind::Usage,
        _ if is_no_space(error) => FailureKind::NoSpace,
        _ => FailureKind::General,
    };
    Failure::new(kind, words(error))
}

/// A change of the members that was not made.
#[must_use]
pub fn of_change(error: &ChangeError) -> Failure {
    match error {
        ChangeError::Offline { .. } => Failure::new(FailureKind::Offline, words(error))
            .with_hint("`satchel sync status` says how the connection stands."),
        ChangeError::NotAllowed(_) => Failure::new(FailureKind::Usage, words(error)),
        _ => Failure::general(words(error)),
    }
}

/// Two laptops that did not become a pair.
#[must_use]
pub fn of_pairing(error: &PairError) -> Failure {
    match error {
        PairError::NotReached(_) => Failure::new(FailureKind::Offline, words(error)).with_hint(
            "Check the link, that the edge node runs, and that this network lets UDP pass.",
        ),
        PairError::NoSuchCode | PairError::Gone => {
            Failure::new(FailureKind::NotFound, words(error))
        }
        _ => Failure::general(words(error)),
    }
}

/// A mistake of ours that ended a piece of work.
#[must_use]
pub fn of_panic(panic: tokio::task::JoinError) -> Failure {
    Failure::general(format!("a part of Satchel crashed: {panic}"))
}

/// A models folder that cannot be used.
#[must_use]
pub fn of_model_store(error: ModelStoreError) -> Failure {
    Failure::general(words(&error))
}

/// A model file that cannot be taken in.
#[must_use]
pub fn of_model_import(path: &Path, error: &ImportError) -> Failure {
    let kind = match error {
        ImportError::NoSpace { .. } => FailureKind::NoSpace,
        ImportError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            FailureKind::NotFound
        }
        _ => FailureKind::General,
    };
    Failure::new(
        kind,
        format!("cannot import {}: {}", path.display(), words(error)),
    )
}

/// A file that is not a model that can be used.
#[must_use]
pub fn of_model_file(path: &Path, error: &GgufError) -> Failure {
    let kind = match error {
        GgufError::Io(source) if source.kind() == std::io::ErrorKind::NotFound => {
            FailureKind::NotFound
        }
        _ => FailureKind::General,
    };
    Failure::new(
        kind,
        format!("{} cannot be used: {}", path.display(), words(error)),
    )
}

/// What opening the index found, where the user should know.
#[must_use]
pub fn words_of_open_report(report: &OpenReport) -> Option<String> {
    report.damage.as_ref()?;
    let kept = report.set_aside.as_ref().map_or_else(String::new, |path| {
        format!(" The damaged one lies in {}.", path.display())
    });
    Some(format!(
        "The index was damaged. It is being rebuilt from your documents, which are unharmed.{kept}"
    ))
}

/// An error with its causes, in one line. Causes that the text repeats already are left out.
#[must_use]
pub fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text += ": ";
            text += &more;
        }
        cause = inner.source();
    }
    text
}

fn is_no_space(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        let io = inner.downcast_ref::<std::io::Error>();
        // Lance wraps the system's error in text.
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull)
            || inner.to_string().contains("No space left")
        {
            return true;
        }
        cause = inner.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot save: disk on fire")]
        struct Outer(#[source] std::io::Error);
        let same = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(words(&same), "cannot save: disk on fire");
        let more = Outer(std::io::Error::other("call the brigade"));
        assert_eq!(words(&more), "cannot save: disk on fire: call the brigade");
    }
}
