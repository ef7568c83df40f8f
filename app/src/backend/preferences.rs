//! The settings in force, which a command may change while Satchel runs.
//!
//! The file is the truth: a change is written there first. Start at [`Preferences::current`] and [`change`].

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{Shared, failure, warm};
use crate::config::{Settings, SettingsError};
use crate::message::{Failure, SettingsReport};

/// Settings that can be read and replaced from any thread.
#[derive(Debug)]
pub struct Preferences {
    current: RwLock<Arc<Settings>>,
    /// Held while the file is read, changed and written: two changes at once would lose one.
    changing: Mutex<()>,
    file: PathBuf,
    /// A process that started offline stays so: going online deserves a fresh start.
    stays_offline: bool,
}

impl Preferences {
    /// Starts with `settings`, which were read from `file`.
    #[must_use]
    pub fn new(settings: Settings, file: PathBuf) -> Self {
        Self {
            stays_offline: settings.offline,
            current: RwLock::new(Arc::new(settings)),
            changing: Mutex::new(()),
            file,
        }
    }

    /// What is in force now.
    #[must_use]
    pub fn current(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is in force, and the file it comes from. Variables of MCP servers may be passwords: the file alone has them.
    #[must_use]
    pub fn report(&self) -> SettingsReport {
        let mut settings = (*self.current()).clone();
        for server in settings.mcp_servers.values_mut() {
            for value in server.env.values_mut() {
                "…".clone_into(value);
            }
        }
        SettingsReport {
            settings,
            file: self.file.clone(),
        }
    }

    /// Changes the file by `edit`, which gives the settings that it then holds; they are in force from then on.
    ///
    /// # Errors
    /// Those of `edit`; then nothing was changed.
    pub async fn edit(
        self: &Arc<Self>,
        edit: impl FnOnce(&Path) -> Result<Settings, SettingsError> + Send + 'static,
    ) -> Result<(), Failure> {
        let writer = Arc::clone(self);
        tokio::task::spawn_blocking(move || writer.replace(edit).map(drop))
            .await
            .unwrap_or_else(|panic| Err(failure::of_panic(panic)))
    }

    fn replace(
        &self,
        edit: impl FnOnce(&Path) -> Result<Settings, SettingsError>,
    ) -> Result<Arc<Settings>, Failure> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut settings = edit(&self.file).map_err(failure::of_settings)?;
        settings.offline |= self.stays_offline;
        let settings = Arc::new(settings);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&settings);
        Ok(settings)
    }
}

/// Changes settings in the file and in this process.
///
/// Models that run with other settings are ended; they start again with the new ones when needed.
///
/// # Errors
/// When a value is not possible or the file cannot be written; then nothing was changed.
pub async fn change(
    shared: &Arc<Shared>,
    changes: Vec<(String, String)>,
) -> Result<SettingsReport, Failure> {
    let before = shared.settings.current();
    let writer = Arc::clone(&shared.settings);
    let after = tokio::task::spawn_blocking(move || {
        writer.replace(|file| Settings::change_file(file, &changes))
    })
    .await
    .unwrap_or_else(|panic| Err(failure::of_panic(panic)))?;
    let of_models = |settings: &Settings| {
        (
            settings.chat_model.clone(),
            settings.embedder.clone(),
            settings.reranker.clone(),
            settings.context_len_tokens,
            settings.threads,
            settings.gpu_layers,
            settings.lora.clone(),
            settings.lora_scale,
        )
    };
    if of_models(&before) != of_models(&after) {
        warm::put_away(shared).await;
        shared.models.unload().await;
        // Another embedder has other embeddings; the next search or import finds out which are missing.
        shared.index_is_current.store(false, Ordering::Release);
    }
    if before.lend_model != after.lend_model {
        shared.lending.stir();
    }
    if before.offline != after.offline {
        shared.sync.settings_changed();
    }
    Ok(shared.settings.report())
}
