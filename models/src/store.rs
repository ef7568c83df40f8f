//! The installed models: one folder for each, with the checked file and a record of what it is.
//!
//! ```text
//! models/
//!   smollm2-135m-instruct-q4_1/
//!     model.gguf     the model
//!     model.toml     format version, hash, size, what the model is (see `record.rs`)
//!   .importing-…/    an import under way; removed at the next start when its program is gone
//!   .lock            held for the moment in which a model is added or removed
//! ```
//!
//! A model becomes visible by one rename of its finished folder, so an import that is interrupted at any point
//! leaves nothing behind. Never loads a model and never uses the network.
//! Start at [`ModelStore::open`]; importing is in `import.rs` and `adopt.rs`, checking before use in `verify.rs`.

mod adopt;
mod errors;
mod folder;
mod import;
mod incoming;
mod record;
mod staging;
mod verify;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use errors::{ImportError, StoreError, VerifyError};
pub(crate) use import::hex;
pub use import::{Progress, Stage};
pub use verify::VerifiedModel;

use crate::gguf::{ModelKind, Pooling};
use record::ModelRecord;
use staging::{StagingDir, lock_store, remove_leftovers};

/// File name of the model in its folder.
const MODEL_FILE: &str = "model.gguf";

/// The folder of installed models. Cheap to clone; holds no file open.
///
/// Several programs may use the same folder at once: imports do not see each other, and the last step of each
/// is one rename. All functions block on the disk: call them from `spawn_blocking`.
#[derive(Debug, Clone)]
pub struct ModelStore {
    dir: PathBuf,
}

/// A model in the store.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct InstalledModel {
    /// Name of its folder, made from the model's name and quantisation; unique in the store.
    pub id: String,
    /// What the model is for.
    pub kind: ModelKind,
    /// The GGUF file.
    pub path: PathBuf,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the file, 64 lower-case hex digits.
    pub sha256: String,
    /// SHA-256 of the `model.safetensors` that it was converted from; `None` for a file that was imported as it is.
    pub source_sha256: Option<String>,
    /// Where it was fetched from; `None` for a file that the user brought.
    pub source_url: Option<String>,
    /// Name for people.
    pub name: String,
    /// Architecture as llama.cpp names it.
    pub architecture: String,
    /// Usual name of the quantisation, such as `Q4_K_M`.
    pub quantisation: String,
    /// Number of weights.
    pub parameters: u64,
    /// Tokens that the model was trained to see at once.
    pub context_len_tokens: u32,
    /// Longest text, in tokens, that the maker of an embedder recommends, where that is known.
    pub max_input_tokens: Option<u32>,
    /// Length of the vectors that an embedder gives; `None` for other kinds.
    pub embedding_dim: Option<usize>,
    /// How an embedder makes one vector from the vectors of its tokens.
    pub pooling: Option<Pooling>,
    /// Whether the file brings its own chat template.
    pub has_chat_template: bool,
    /// Licence, where the model says it.
    pub license: Option<String>,
    /// When the model was imported, in milliseconds since 1970.
    pub imported_at_ms: i64,
}

/// A folder in the store that is not a usable model.
#[derive(Debug)]
#[non_exhaustive]
pub struct BrokenModel {
    /// Name of the folder.
    pub id: String,
    /// What is wrong.
    pub problem: StoreError,
}

impl ModelStore {
    /// Opens the store, creates its folder if needed, and removes what interrupted imports left.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the folder cannot be created or read.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(dir).map_err(|source| StoreError::io(dir, source))?;
        remove_leftovers(dir).map_err(|source| StoreError::io(dir, source))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The folder of the store.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The installed models, sorted by id. Folders that are not usable are left out and logged; see
    /// [`ModelStore::broken`].
    ///
    /// # Errors
    /// [`StoreError::Io`] when the store cannot be read.
    pub fn list(&self) -> Result<Vec<InstalledModel>, StoreError> {
        let (models, broken) = self.scan()?;
        for model in broken {
            tracing::warn!(model = %model.id, problem = %model.problem, "a model folder is not usable");
        }
        Ok(models)
    }

    /// The folders that are not usable models, with the reason.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the store cannot be read.
    pub fn broken(&self) -> Result<Vec<BrokenModel>, StoreError> {
        Ok(self.scan()?.1)
    }

    /// The installed model with this id, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the store cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<InstalledModel>, StoreError> {
        Ok(self.scan()?.0.into_iter().find(|model| model.id == id))
    }

    /// The installed model with this SHA-256 (lower-case hex), if there is one.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the store cannot be read.
    pub fn find_by_sha256(&self, sha256: &str) -> Result<Option<InstalledModel>, StoreError> {
        Ok(self
            .scan()?
            .0
            .into_iter()
            .find(|model| model.sha256 == sha256))
    }

    /// Removes a model, also a broken one, and its files.
    ///
    /// On Unix a program that has the model loaded keeps working until it ends.
    ///
    /// # Errors
    /// [`StoreError::NotInstalled`] when there is no such model, [`StoreError::Io`] when it cannot be removed.
    pub fn remove(&self, id: &str) -> Result<(), StoreError> {
        let _lock = lock_store(&self.dir).map_err(|source| StoreError::io(&self.dir, source))?;
        self.remove_unlocked(id)
    }

    /// [`ModelStore::remove`] for callers that hold the lock.
    fn remove_unlocked(&self, id: &str) -> Result<(), StoreError> {
        let (models, broken) = self.scan()?;
        let mut known = models
            .iter()
            .map(|model| &model.id)
            .chain(broken.iter().map(|model| &model.id));
        // Only names that the scan has found: an id can never lead out of the store.
        if !known.any(|known| known == id) {
            return Err(StoreError::NotInstalled { id: id.to_owned() });
        }
        let failed = |source| StoreError::io(&self.dir.join(id), source);
        // Out of sight by one rename; the slow part then cannot leave half a model behind.
        let staging = StagingDir::create(&self.dir).map_err(failed)?;
        crate::durable::rename(&self.dir.join(id), &staging.path().join("removed"))
            .map_err(failed)?;
        crate::durable::sync_dir(&self.dir).map_err(failed)?;
        staging.discard().map_err(failed)
    }

    fn scan(&self) -> Result<(Vec<InstalledModel>, Vec<BrokenModel>), StoreError> {
        let failed = |source: io::Error| StoreError::io(&self.dir, source);
        let mut models = Vec::new();
        let mut broken = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(id) = entry.file_name().into_string() else {
                continue;
            };
            if id.starts_with('.') || !entry.file_type().map_err(failed)?.is_dir() {
                continue;
            }
            match self.read_model(&id) {
                Ok(model) => models.push(model),
                Err(problem) => broken.push(BrokenModel { id, problem }),
            }
        }
        models.sort_by(|a, b| a.id.cmp(&b.id));
        broken.sort_by(|a, b| a.id.cmp(&b.id));
        Ok((models, broken))
    }

    fn read_model(&self, id: &str) -> Result<InstalledModel, StoreError> {
        let dir = self.dir.join(id);
        let path = dir.join(MODEL_FILE);
        let record = ModelRecord::read(&dir)?;
        if !path.is_file() {
            return Err(StoreError::io(&path, io::ErrorKind::NotFound.into()));
        }
        Ok(record.into_model(id, path))
    }
}
