//! `model.toml`: the record beside an installed model.
//!
//! Written once at the import, and again only when a full check found the same content under a new time stamp.
//! Fields may be added under the same version when old programs can ignore them; anything else raises
//! [`RECORD_VERSION`].

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::InstalledModel;
use super::errors::StoreError;
use crate::gguf::{ModelKind, Pooling};

/// File name of the record in a model's folder.
const RECORD_FILE: &str = "model.toml";
/// Version of the record's format.
const RECORD_VERSION: i64 = 1;

/// The content of `model.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ModelRecord {
    pub(super) format_version: i64,
    pub(super) name: String,
    pub(super) kind: ModelKind,
    pub(super) architecture: String,
    pub(super) quantisation: String,
    pub(super) parameters: u64,
    pub(super) context_len_tokens: u32,
    pub(super) max_input_tokens: Option<u32>,
    pub(super) embedding_dim: Option<usize>,
    pub(super) pooling: Option<Pooling>,
    pub(super) has_chat_template: bool,
    pub(super) license: Option<String>,
    pub(super) imported_at_ms: i64,
    pub(super) file: FileRecord,
    pub(super) source: SourceRecord,
}

/// The model file as it was when its hash was computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FileRecord {
    pub(super) sha256: String,
    pub(super) size_bytes: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub(super) modified_ns: i64,
}

/// Where the model came from. The name of the file or folder only: full paths are nobody's business.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SourceRecord {
    pub(super) kind: SourceKind,
    pub(super) name: String,
    /// Where it was fetched from; `None` for a file of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// SHA-256 of the weights that were converted; `None` for a file that was copied, whose own hash says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) weights_sha256: Option<String>,
}

/// What was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SourceKind {
    /// A GGUF file as it was, or the parts of one, joined.
    File,
    /// A folder with safetensors, converted.
    Folder,
}

impl ModelRecord {
    /// Version for new records.
    pub(super) const VERSION: i64 = RECORD_VERSION;

    /// Reads the record in a model's folder.
    pub(super) fn read(dir: &Path) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Version {
            format_version: i64,
        }
        let path = dir.join(RECORD_FILE);
        let text = fs::read_to_string(&path).map_err(|source| StoreError::io(&path, source))?;
        let Version { format_version } = toml::from_str(&text).map_err(StoreError::BadRecord)?;
        if format_version > RECORD_VERSION {
            return Err(StoreError::NewerRecord {
                version: format_version,
            });
        }
        toml::from_str(&text).map_err(StoreError::BadRecord)
    }

    /// Writes the record into a model's folder; it survives a power cut.
    pub(super) fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(RECORD_FILE);
        let failed = |source| StoreError::io(&path, source);
        let text = toml::to_string(self).map_err(|error| failed(std::io::Error::other(error)))?;
        crate::durable::write(&path, text.as_bytes()).map_err(failed)
    }

    /// The record as others see it.
    pub(super) fn into_model(self, id: &str, path: PathBuf) -> InstalledModel {
        InstalledModel {
            id: id.to_owned(),
            kind: self.kind,
            path,
            size_bytes: self.file.size_bytes,
            sha256: self.file.sha256,
            source_sha256: self.source.weights_sha256,
            source_url: self.source.url,
            name: self.name,
            architecture: self.architecture,
            quantisation: self.quantisation,
            parameters: self.parameters,
            context_len_tokens: self.context_len_tokens,
            max_input_tokens: self.max_input_tokens,
            embedding_dim: self.embedding_dim,
            pooling: self.pooling,
            has_chat_template: self.has_chat_template,
            license: self.license,
            imported_at_ms: self.imported_at_ms,
        }
    }
}

/// Time of the last change of a file in nanoseconds since 1970; 0 where the system does not know it.
pub(super) fn modified_ns(metadata: &fs::Metadata) -> i64 {
    metadata.modified().map_or(0, |time| {
        i64::try_from(since_1970(time).as_nanos()).unwrap_or(0)
    })
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    i64::try_from(since_1970(SystemTime::now()).as_millis()).unwrap_or(0)
}

fn since_1970(time: SystemTime) -> std::time::Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
