//! Where a passphrase comes from: a file named in the environment, or a person at the terminal.
//!
//! Never from an argument: arguments can be read by every user of the machine.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use satchel_sync::keys::Passphrase;

use crate::backend::unlock::AskPassphrase;

/// The variable that names a file with the passphrase.
pub(crate) const FILE_VARIABLE: &str = "SATCHEL_PASSPHRASE_FILE";
/// The variable that names a file with a new passphrase.
pub(crate) const NEW_FILE_VARIABLE: &str = "SATCHEL_NEW_PASSPHRASE_FILE";

/// Asks the file where one is named, else the terminal.
#[must_use]
pub(crate) fn asker() -> AskPassphrase {
    let file = file_asker();
    Arc::new(move |words| {
        if std::env::var_os(FILE_VARIABLE).is_some() {
            file(words)
        } else {
            from_terminal(words)
        }
    })
}

/// Asks the file alone, once: a wrong passphrase in it stays wrong.
#[must_use]
pub(crate) fn file_asker() -> AskPassphrase {
    let was_asked = AtomicBool::new(false);
    Arc::new(move |_| {
        if was_asked.swap(true, Ordering::Relaxed) {
            None
        } else {
            from_file(FILE_VARIABLE)
        }
    })
}

/// A new passphrase: from its file, or typed twice.
#[must_use]
pub(crate) fn new_passphrase() -> Option<Passphrase> {
    if std::env::var_os(NEW_FILE_VARIABLE).is_some() {
        let passphrase = from_file(NEW_FILE_VARIABLE);
        if passphrase
            .as_ref()
            .is_some_and(|p| p.expose_secret().is_empty())
        {
            eprintln!("An empty passphrase protects nothing: write one into the file.");
            return None;
        }
        return passphrase;
    }
    loop {
        let first = from_terminal_text("New passphrase")?;
        if first.is_empty() {
            eprintln!("An empty passphrase protects nothing.");
            continue;
        }
        if first == from_terminal_text("The same again")? {
            return Some(Passphrase::new(first));
        }
        eprintln!("The two differ. Once more.");
    }
}

fn from_file(variable: &str) -> Option<Passphrase> {
    let path = std::env::var_os(variable)?;
    match std::fs::read_to_string(&path) {
        // The line's end is the editor's, not the user's.
        Ok(text) => Some(Passphrase::new(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        )),
        Err(error) => {
            eprintln!(
                "satchel: cannot read the passphrase file {}: {error}",
                path.display()
            );
            None
        }
    }
}

fn from_terminal(words: &str) -> Option<Passphrase> {
    from_terminal_text(words).map(Passphrase::new)
}

fn from_terminal_text(words: &str) -> Option<String> {
    if !std::io::stdin().is_terminal() {
        return None;
    }
    rpassword::prompt_password(format!("{words}: ")).ok()
}
