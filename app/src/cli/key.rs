//! `satchel key`: where the key of the documents is kept.

use satchel_sync::keys::{KeyError, KeyStatus, KeyStorage, KeyStore};

use super::args::KeyAction;
use super::passphrase;
use super::print::Printer;
use crate::backend::failure;
use crate::config::DataDirs;
use crate::message::{Failure, FailureKind};

/// Carries out `satchel key …`.
///
/// # Errors
/// When there is no key yet, it cannot be had, or the new place refuses it; the old place keeps it then.
pub(crate) fn run(action: &KeyAction, dirs: &DataDirs, printer: &Printer) -> Result<(), Failure> {
    let store = KeyStore::open(&dirs.data.join("keys")).map_err(failure::of_key)?;
    let status = store.status().map_err(failure::of_key)?;
    let target = match action {
        KeyAction::Status => {
            printer.line(words(&status));
            return Ok(());
        }
        KeyAction::Passphrase => None,
        KeyAction::Keyring => Some(KeyStorage::Keyring),
        KeyAction::File => Some(KeyStorage::PlainFile),
    };
    let key = match status {
        KeyStatus::Missing => {
            return Err(Failure::new(FailureKind::NotFound, "there is no key yet")
                .with_hint("It is made with the first import."));
        }
        KeyStatus::Passphrase => {
            let ask = passphrase::asker();
            let given = ask("Passphrase of your documents")
                .ok_or_else(|| failure::of_key(KeyError::PassphraseNeeded))?;
            store.unlock(Some(&given)).map_err(failure::of_key)?
        }
        _ => store.unlock(None).map_err(failure::of_key)?,
    };
    let target = match target {
        Some(target) => target,
        None => KeyStorage::Passphrase(
            passphrase::new_passphrase()
                .ok_or_else(|| failure::of_key(KeyError::PassphraseNeeded))?,
        ),
    };
    store.change(&key, target).map_err(failure::of_key)?;
    let status = store.status().map_err(failure::of_key)?;
    printer.line(words(&status));
    Ok(())
}

fn words(status: &KeyStatus) -> &'static str {
    match status {
        KeyStatus::Missing => "There is no key yet; the first import makes one.",
        KeyStatus::Keyring => "The key is in the keyring of your desktop session.",
        KeyStatus::Passphrase => "The key is in a file locked by your passphrase.",
        KeyStatus::PlainFile => "The key is in a plain file that only you can read.",
    }
}
