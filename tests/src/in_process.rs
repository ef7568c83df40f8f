//! A backend inside the measuring process: real index, real models of the user, a data folder of its own.
//!
//! Never asks for anything: the key is a plain file in that folder. Of the user's settings only the choice of models
//! counts, so that two machines measure the same. Start at [`open`].

use std::path::Path;
use std::sync::Arc;

use satchel_app::backend::Backend;
use satchel_app::backend::unlock::{NewKey, Unlock};
use satchel_app::backend::workspaces::WorkspaceChoice;
use satchel_app::config::{DataDirs, Settings};
use satchel_app::message::{Command, Event, Reply};

use crate::{models_dir, satchel_bin};

/// Opens a backend whose data lies in `data`, which may be empty. Must be called within the runtime.
///
/// # Panics
/// When the program is not built, or the folder or the settings file cannot be used.
pub async fn open(data: &Path) -> Backend {
    let (mut dirs, unlock) = place(data);
    dirs.models = models_dir();
    Backend::open(dirs, settings(), unlock, &WorkspaceChoice::Current)
        .await
        .expect("a backend")
}

/// The folders below `data`, with the built program for its workers, and a key that nobody is asked for.
#[must_use]
pub fn place(data: &Path) -> (DataDirs, Unlock) {
    let mut dirs = DataDirs::find(Some(data));
    dirs.program = satchel_bin();
    (dirs, Unlock::new(Arc::new(|_| None), NewKey::PlainFile))
}

fn settings() -> Settings {
    let of_user = Settings::load(&DataDirs::find(None).config_file).expect("readable settings");
    Settings {
        chat_model: of_user.chat_model,
        embedder: of_user.embedder,
        ..Settings::default()
    }
}

/// Carries out a command; every event but the last goes to `each`.
///
/// # Panics
/// With the failure, when the command does not succeed.
pub async fn run(backend: &Backend, command: Command, each: impl FnMut(Event)) -> Reply {
    let said = format!("{command:?}");
    backend
        .submit(command)
        .finish(each)
        .await
        .unwrap_or_else(|failure| panic!("{said} failed: {failure}"))
}

/// The command that imports a folder.
#[must_use]
pub fn import_of(folder: &Path, skip_embeddings: bool) -> Command {
    Command::Import {
        paths: vec![folder.to_path_buf()],
        prune: false,
        skip_embeddings,
    }
}
