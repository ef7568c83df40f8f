//! Proves that an installed model is still the file that was checked at its import.
//!
//! Cheap at every start: size and time of the last change are compared with the record. Only when they differ
//! is the whole file hashed again. An attacker who can set a file's time can also replace the program; the
//! check is against accidents, and [`ModelStore::verify_fully`] is there for doubt.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::errors::VerifyError;
use super::import::hex;
use super::record::{ModelRecord, modified_ns};
use super::{InstalledModel, ModelStore};

/// A model whose file is what was imported and checked. The only way to get one is [`ModelStore::verify`] or
/// [`ModelStore::verify_fully`], so a function that takes it cannot be given an unchecked file.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedModel {
    model: InstalledModel,
}

impl VerifiedModel {
    /// The GGUF file to load.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.model.path
    }

    /// What the model is.
    #[must_use]
    pub fn model(&self) -> &InstalledModel {
        &self.model
    }
}

impl ModelStore {
    /// Checks that the model's file is unchanged: by size and time when they are as recorded (microseconds), else
    /// by its SHA-256 (about a second for each GB).
    ///
    /// # Errors
    /// [`VerifyError`]: the model must not be loaded; import it again.
    pub fn verify(&self, model: &InstalledModel) -> Result<VerifiedModel, VerifyError> {
        let record = self.record_of(model)?;
        let file = file_metadata(&model.path)?;
        let unchanged =
            file.len() == record.file.size_bytes && modified_ns(&file) == record.file.modified_ns;
        if unchanged && record.file.sha256 == model.sha256 {
            return Ok(VerifiedModel {
                model: model.clone(),
            });
        }
        self.verify_fully(model, &mut |_| {})
    }

    /// Checks the model's file by its SHA-256 in any case. `progress` gets the bytes hashed so far.
    ///
    /// # Errors
    /// [`VerifyError`]: the model must not be loaded; import it again.
    pub fn verify_fully(
        &self,
        model: &InstalledModel,
        progress: &mut dyn FnMut(u64),
    ) -> Result<VerifiedModel, VerifyError> {
        let mut record = self.record_of(model)?;
        let file = file_metadata(&model.path)?;
        if file.len() != record.file.size_bytes {
            return Err(VerifyError::SizeChanged {
                recorded_bytes: record.file.size_bytes,
                actual_bytes: file.len(),
            });
        }
        let actual_sha256 =
            hash_file(&model.path, progress).map_err(|source| io_error(&model.path, source))?;
        if actual_sha256 != record.file.sha256 || actual_sha256 != model.sha256 {
            return Err(VerifyError::ContentChanged {
                recorded_sha256: record.file.sha256,
                actual_sha256,
            });
        }
        if modified_ns(&file) != record.file.modified_ns {
            // The same content under another time, as after a restored backup: cheap again from now on. A store
            // that cannot be written only stays slow.
            record.file.modified_ns = modified_ns(&file);
            if let Err(error) = record.write(&self.dir.join(&model.id)) {
                tracing::warn!(model = %model.id, %error, "cannot record that the model was checked");
            }
        }
        Ok(VerifiedModel {
            model: model.clone(),
        })
    }

    fn record_of(&self, model: &InstalledModel) -> Result<ModelRecord, VerifyError> {
        Ok(ModelRecord::read(&self.dir.join(&model.id))?)
    }
}

/// SHA-256 of a whole file in lower-case hex. `progress` gets the bytes hashed so far.
pub(super) fn hash_file(path: &Path, progress: &mut dyn FnMut(u64)) -> io::Result<String> {
    hash_reader(File::open(path)?, progress)
}

/// SHA-256 of all that can be read, as [`hash_file`].
pub(super) fn hash_reader(
    mut input: impl Read,
    progress: &mut dyn FnMut(u64),
) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done_bytes = 0;
    loop {
        let len = input.read(&mut buffer)?;
        if len == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&buffer[..len]);
        done_bytes += len as u64;
        progress(done_bytes);
    }
}

fn file_metadata(path: &Path) -> Result<fs::Metadata, VerifyError> {
    fs::metadata(path).map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> VerifyError {
    VerifyError::Io {
        source,
        path: path.to_owned(),
    }
}
