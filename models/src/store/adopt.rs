//! Makes an installed model of what was fetched.
//!
//! A whole file is moved, the parts of a split model are joined. Nothing of a download is left when it is installed, or
//! when it cannot be; where only the disk failed, it stays for the next time. Start at [`ModelStore::adopt_all`].

use std::fs;
use std::path::{Path, PathBuf};

use super::errors::ImportError;
use super::import::{Progress, source};
use super::incoming::Incoming;
use super::record::SourceKind;
use super::staging::StagingDir;
use super::{InstalledModel, MODEL_FILE, ModelStore};
use crate::durable;
use crate::fetch::{Fetched, file_name_of};
use crate::gguf::{self, GgufError, PartName, SplitError};

impl ModelStore {
    /// Installs a file that was fetched; nothing of the download is left then.
    ///
    /// # Errors
    /// [`ImportError`]. A file that is no usable model is thrown away; otherwise it stays, and the next
    /// [`fetch`](crate::fetch::fetch) gives it at once.
    pub fn adopt(&self, fetched: Fetched) -> Result<InstalledModel, ImportError> {
        let summary = match gguf::check(fetched.path()) {
            Ok(summary) => summary,
            Err(error) => {
                let error = error.into();
                if is_about_the_files(&error) {
                    clear(fetched);
                }
                return Err(error);
            }
        };
        let staging = StagingDir::create(&self.dir).map_err(ImportError::Write)?;
        // A second name, so that a crash before the end loses nothing of the download.
        let staged = staging.path().join(MODEL_FILE);
        fs::hard_link(fetched.path(), &staged)
            .or_else(|_| durable::rename(fetched.path(), &staged))
            .map_err(ImportError::Write)?;
        let mut source = source(
            SourceKind::File,
            Path::new(file_name_of(&fetched.url)),
            None,
        );
        source.url = Some(fetched.url.clone());
        let model = self.install(&staging, &summary, None, fetched.sha256.clone(), source)?;
        clear(fetched);
        Ok(model)
    }

    /// Installs what was fetched as the files of one model; nothing of the download is left then.
    ///
    /// One file is installed as by [`ModelStore::adopt`]. The parts of a split model are joined into a new file, which
    /// takes as much room again for a while; `progress` is called about once for each MiB then.
    ///
    /// # Errors
    /// [`ImportError`]. Files that make no usable model are thrown away; otherwise they stay, and the next
    /// [`fetch_all`](crate::fetch::fetch_all) gives them at once.
    pub fn adopt_all(
        &self,
        mut files: Vec<Fetched>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<InstalledModel, ImportError> {
        if files.len() == 1
            && let Some(file) = files.pop()
        {
            return self.adopt(file);
        }
        let joined = self.join_fetched(&files, progress);
        if joined.as_ref().map_or_else(is_about_the_files, |_| true) {
            files.into_iter().for_each(clear);
        }
        joined
    }

    fn join_fetched(
        &self,
        files: &[Fetched],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<InstalledModel, ImportError> {
        let url = files.first().map(|file| file.url.clone());
        let name = url.as_deref().map_or("", file_name_of);
        let name = PartName::parse(name).ok_or_else(|| SplitError::Name { name: name.into() })?;
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path().to_owned()).collect();
        self.copy_in(&Incoming::of_parts(&name, &paths)?, url, progress)
    }
}

/// Whether other files are needed: reading these once more would help nobody.
fn is_about_the_files(error: &ImportError) -> bool {
    match error {
        ImportError::Gguf(error) | ImportError::Split(SplitError::Part { source: error, .. }) => {
            !matches!(error, GgufError::Io(_))
        }
        ImportError::Split(_) => true,
        _ => false,
    }
}

/// Removes what is left of a download.
fn clear(fetched: Fetched) {
    if let Err(error) = fetched.clear() {
        tracing::warn!(%error, "what is left of a download could not be removed");
    }
}
