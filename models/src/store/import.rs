//! Brings a model into the store: a GGUF file by copying, the parts of a split one by joining them, the folder of an
//! embedder by converting.
//!
//! Everything happens in a temporary folder of the store; the check is made on the copy, so the file that was
//! checked is the file that stays. Memory: a few MiB beside the header, whatever the size of the model.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::errors::ImportError;
use super::folder::{FolderContent, look_into};
use super::incoming::Incoming;
use super::record::{FileRecord, ModelRecord, SourceKind, SourceRecord, modified_ns, now_ms};
use super::staging::{StagingDir, lock_store};
use super::verify::{hash_file, hash_reader};
use super::{InstalledModel, MODEL_FILE, ModelStore};
use crate::convert::weights::FILE as WEIGHTS_FILE;
use crate::convert::{Conversion, ConvertError, EmbedderFacts, EmbedderQuantisation};
use crate::durable;
use crate::gguf::{self, GgufSummary, ModelKind, WriteError};

/// Left free on the disk after an import, so that documents can still be saved.
const RESERVE_BYTES: u64 = 64 << 20;
/// Bytes copied at a time: large enough that the disk and not the system call sets the pace.
const COPY_BYTES: usize = 1 << 20;

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes done in this stage.
    pub done_bytes: u64,
    /// Bytes of this stage in all.
    pub total_bytes: u64,
}

/// A stage of an import, in the order in which they come; not every import has each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The file is compared with an installed model of the same size.
    Comparing,
    /// The file is copied into the store.
    Copying,
    /// The folder is converted into the store.
    Converting,
}

impl ModelStore {
    /// Imports a GGUF file: checks it, copies it into the store, and records its SHA-256.
    ///
    /// Of a model that was split with `llama-gguf-split`, `path` is any part; the others must lie beside it. They are
    /// joined while they are copied, so that one ordinary file is installed.
    ///
    /// A file whose content is installed already gives the installed model, and repairs it when its file was
    /// damaged. `progress` is called about once for each MiB. The file itself is never changed.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is installed then, and the temporary copy is removed.
    pub fn import_file(
        &self,
        path: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<InstalledModel, ImportError> {
        // Refuses a bad file before gigabytes of it are copied.
        let incoming = Incoming::open(path)?;
        self.copy_in(&incoming, None, progress)
    }

    /// Copies what was found to be a model, unless it is installed already.
    pub(super) fn copy_in(
        &self,
        incoming: &Incoming<'_>,
        url: Option<String>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<InstalledModel, ImportError> {
        if let Some(installed) = self.find_same_content(incoming, progress)? {
            return Ok(installed);
        }
        self.require_space(incoming.summary.file_bytes)?;
        let staging = StagingDir::create(&self.dir).map_err(ImportError::Write)?;
        let copy = staging.path().join(MODEL_FILE);
        let sha256 = copy_and_hash(incoming, &copy, progress)?;
        let summary = gguf::check(&copy)?;
        let mut source = source(SourceKind::File, Path::new(&incoming.file_name()), None);
        source.url = url;
        self.install(&staging, &summary, None, sha256, source)
    }

    /// Imports the model in a folder: its one GGUF file or all parts of one, as [`ModelStore::import_file`] does, or a
    /// BERT-type embedder as sentence-transformers saves it, which is converted to GGUF with this `quantisation`.
    ///
    /// Which embedders are accepted says the module [`crate::convert`]. The same folder and quantisation give the same
    /// file and so the model that is installed already. The folder itself is never changed.
    ///
    /// # Errors
    /// [`ImportError`]; nothing is installed then, and the temporary file is removed.
    pub fn import_dir(
        &self,
        dir: &Path,
        quantisation: EmbedderQuantisation,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<InstalledModel, ImportError> {
        match look_into(dir)? {
            FolderContent::Gguf(path) => self.import_file(&path, progress),
            FolderContent::Embedder => self.import_embedder(dir, quantisation, progress),
        }
    }

    fn import_embedder(
        &self,
        dir: &Path,
        quantisation: EmbedderQuantisation,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<InstalledModel, ImportError> {
        let mut conversion = Conversion::open(dir, quantisation)?;
        self.require_space(conversion.output_bytes()?)?;
        let staging = StagingDir::create(&self.dir).map_err(ImportError::Write)?;
        let target = staging.path().join(MODEL_FILE);
        let file = File::create_new(&target).map_err(ImportError::Write)?;
        let output = HashingWriter {
            inner: BufWriter::with_capacity(COPY_BYTES, file),
            hash: Sha256::new(),
        };
        let written = conversion
            .write(output, &mut |done_bytes, total_bytes| {
                progress(Progress {
                    stage: Stage::Converting,
                    done_bytes,
                    total_bytes,
                });
            })
            .map_err(conversion_error)?;
        let file = written
            .inner
            .into_inner()
            .map_err(|error| ImportError::Write(error.into_error()))?;
        file.sync_all().map_err(ImportError::Write)?;
        let sha256 = hex(&written.hash.finalize());
        let weights = dir.join(WEIGHTS_FILE);
        let weights_sha256 =
            hash_file(&weights, &mut |_| ()).map_err(|source| ImportError::Read {
                source,
                path: weights,
            })?;
        let summary = gguf::check(&target)?;
        self.install(
            &staging,
            &summary,
            Some(conversion.facts()),
            sha256,
            source(SourceKind::Folder, dir, Some(weights_sha256)),
        )
    }

    /// Writes the record and makes the staged folder visible under a free id.
    pub(super) fn install(
        &self,
        staging: &StagingDir,
        summary: &GgufSummary,
        facts: Option<&EmbedderFacts>,
        sha256: String,
        source: SourceRecord,
    ) -> Result<InstalledModel, ImportError> {
        let _lock = lock_store(&self.dir).map_err(ImportError::Write)?;
        if let Some(installed) = self.intact_or_removed(&sha256)? {
            return Ok(installed);
        }
        let staged = staging.path();
        let file = fs::metadata(staged.join(MODEL_FILE)).map_err(ImportError::Write)?;
        let fallback_name = source.name.trim_end_matches(".gguf").to_owned();
        let record = ModelRecord {
            format_version: ModelRecord::VERSION,
            name: summary.name.clone().unwrap_or(fallback_name),
            kind: summary.kind,
            architecture: summary.architecture.clone(),
            quantisation: summary.quantisation.clone(),
            parameters: summary.parameters,
            context_len_tokens: summary.context_len_tokens,
            max_input_tokens: facts.and_then(|facts| facts.max_input_tokens),
            embedding_dim: Some(summary.embedding_dim)
                .filter(|_| summary.kind == ModelKind::Embedder),
            pooling: summary.pooling,
            has_chat_template: summary.has_chat_template,
            license: facts
                .and_then(|facts| facts.license.clone())
                .or_else(|| summary.license.clone()),
            imported_at_ms: now_ms(),
            file: FileRecord {
                sha256,
                size_bytes: file.len(),
                modified_ns: modified_ns(&file),
            },
            source,
        };
        record.write(&staged)?;
        durable::sync_dir(&staged).map_err(ImportError::Write)?;
        let id = self.publish(&staged, &slug(&record.name, &record.quantisation))?;
        let path = self.dir.join(&id).join(MODEL_FILE);
        tracing::info!(model = %id, "model installed");
        Ok(record.into_model(&id, path))
    }

    /// Renames the staged folder to the first free name: `base`, `base-2`, `base-3`, … Needs the lock.
    fn publish(&self, staged: &Path, base: &str) -> Result<String, ImportError> {
        for number in 1_u32.. {
            let id = if number == 1 {
                base.to_owned()
            } else {
                format!("{base}-{number}")
            };
            let target = self.dir.join(&id);
            if target.symlink_metadata().is_ok() {
                continue;
            }
            durable::rename(staged, &target).map_err(ImportError::Write)?;
            return Ok(id);
        }
        Err(ImportError::Write(io::ErrorKind::AlreadyExists.into()))
    }

    /// The installed model with the same content; hashes what comes only when the size fits one.
    fn find_same_content(
        &self,
        incoming: &Incoming<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<InstalledModel>, ImportError> {
        let file_bytes = incoming.summary.file_bytes;
        if !self
            .list()?
            .iter()
            .any(|model| model.size_bytes == file_bytes)
        {
            return Ok(None);
        }
        let mut report = |done_bytes| {
            progress(Progress {
                stage: Stage::Comparing,
                done_bytes,
                total_bytes: file_bytes,
            });
        };
        let sha256 = incoming
            .reader()
            .and_then(|input| hash_reader(input, &mut report))
            .map_err(|source| incoming.read_error(source))?;
        match self.find_by_sha256(&sha256)? {
            Some(model) if same_file(incoming.path, &model.path) => Ok(Some(model)),
            Some(model) if self.verify(&model).is_ok() => Ok(Some(model)),
            _ => Ok(None),
        }
    }

    /// The installed model with this hash if its file is intact; a damaged one is removed to make way. Needs the
    /// lock.
    fn intact_or_removed(&self, sha256: &str) -> Result<Option<InstalledModel>, ImportError> {
        let Some(installed) = self.find_by_sha256(sha256)? else {
            return Ok(None);
        };
        if self.verify(&installed).is_ok() {
            return Ok(Some(installed));
        }
        self.remove_unlocked(&installed.id)?;
        Ok(None)
    }

    fn require_space(&self, model_bytes: u64) -> Result<(), ImportError> {
        let free_bytes = durable::free_bytes(&self.dir).map_err(ImportError::Write)?;
        let needed_bytes = model_bytes.saturating_add(RESERVE_BYTES);
        if needed_bytes > free_bytes {
            Err(ImportError::NoSpace {
                needed_bytes,
                free_bytes,
            })
        } else {
            Ok(())
        }
    }
}

/// Copies a file of exactly the expected length, makes the copy last, and gives its SHA-256.
fn copy_and_hash(
    from: &Incoming<'_>,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<String, ImportError> {
    let read_error = |source| from.read_error(source);
    let file_bytes = from.summary.file_bytes;
    let mut input = from.reader().map_err(read_error)?;
    let mut output = File::create_new(to).map_err(ImportError::Write)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; COPY_BYTES];
    let mut done_bytes = 0;
    loop {
        let len = input.read(&mut buffer).map_err(read_error)?;
        if len == 0 {
            break;
        }
        done_bytes += len as u64;
        if done_bytes > file_bytes {
            return Err(ImportError::Changed);
        }
        hash.update(&buffer[..len]);
        output
            .write_all(&buffer[..len])
            .map_err(ImportError::Write)?;
        progress(Progress {
            stage: Stage::Copying,
            done_bytes,
            total_bytes: file_bytes,
        });
    }
    if done_bytes != file_bytes {
        return Err(ImportError::Changed);
    }
    output.sync_all().map_err(ImportError::Write)?;
    Ok(hex(&hash.finalize()))
}

/// A store that cannot be written, for example because the disk filled up, is not the model's fault.
fn conversion_error(error: ConvertError) -> ImportError {
    match error {
        ConvertError::Write(WriteError::Io(source)) => ImportError::Write(source),
        other => other.into(),
    }
}

/// Writes and hashes at once.
struct HashingWriter<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn source(
    kind: SourceKind,
    path: &Path,
    weights_sha256: Option<String>,
) -> SourceRecord {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    SourceRecord {
        kind,
        name,
        url: None,
        weights_sha256,
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A folder name that can be read and typed: `SmolLM2 135M Instruct` and `Q4_1` give
/// `smollm2-135m-instruct-q4_1`.
fn slug(name: &str, quantisation: &str) -> String {
    const MAX_NAME_LEN: usize = 60;
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') && !slug.is_empty() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(MAX_NAME_LEN);
    let slug = slug.trim_end_matches(['-', '.', '_']);
    let slug = if slug.is_empty() { "model" } else { slug };
    let quantisation = quantisation.to_lowercase();
    if slug.ends_with(&quantisation) {
        slug.to_owned()
    } else {
        format!("{slug}-{quantisation}")
    }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn ids_can_be_read_and_typed() {
        assert_eq!(
            slug("SmolLM2 135M Instruct", "Q4_1"),
            "smollm2-135m-instruct-q4_1"
        );
        assert_eq!(slug("all-MiniLM-L6-v2", "F16"), "all-minilm-l6-v2-f16");
        assert_eq!(slug("Qwen3-0.6B-Q4_K_M", "Q4_K_M"), "qwen3-0.6b-q4_k_m");
    }

    #[test]
    fn an_id_never_leads_out_of_the_store() {
        for name in [
            "../../etc",
            "..",
            ".hidden",
            "/",
            "",
            "模型",
            "a/b\\c",
            &"x".repeat(500),
        ] {
            let id = slug(name, "F16");
            assert!(
                !id.starts_with('.') && !id.contains(['/', '\\']) && id.len() < 80,
                "{name:?} gave {id:?}"
            );
        }
    }
}
