//! The settings in force, which a command may change while Satchel runs.
//!
//! The file is the truth: a change is written there first. Start at [`Preferences::current`] and [`change`].

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::{Shared, failure, warm};
use crate::config::Settings;
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

    /// What is in force, and the file it comes from.
    #[must_use]
    pub fn report(&self) -> SettingsReport {
        SettingsReport {
            settings: (*self.current()).clone(),
            file: self.file.clone(),
        }
    }

    fn change(&self, changes: &[(String, String)]) -> Result<Arc<Settings>, Failure> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut settings =
            Settings::change_file(&self.file, changes).map_err(failure::of_settings)?;
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
    let after = tokio::task::spawn_blocking(move || writer.change(&changes))
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
