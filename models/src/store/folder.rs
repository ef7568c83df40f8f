//! Which model a folder holds, as its file names say.
//!
//! Reads no file; whether it is a model is judged by who imports it. Start at [`look_into`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::errors::ImportError;
use crate::convert::{config, weights};
use crate::gguf::PartName;

/// What is imported from a folder.
pub(super) enum FolderContent {
    /// An embedder in safetensors, to be converted.
    Embedder,
    /// The one GGUF file, or a part of the one split model.
    Gguf(PathBuf),
}

/// Tells what to import from a folder. Folders in it are not looked into.
///
/// Safetensors count more than GGUF files beside them, which are often other forms of the same embedder.
///
/// # Errors
/// When the folder has no model, or several, or cannot be read.
pub(super) fn look_into(dir: &Path) -> Result<FolderContent, ImportError> {
    if dir.join(weights::FILE).exists() {
        return Ok(FolderContent::Embedder);
    }
    let names = gguf_files(dir).map_err(|source| ImportError::Read {
        source,
        path: dir.to_owned(),
    })?;
    // All parts of a split model count as one.
    let mut models = BTreeMap::new();
    for name in names {
        let model = PartName::parse(&name)
            .map_or_else(|| (name.clone(), 0), |part| (part.whole(), part.count));
        models.entry(model).or_insert(name);
    }
    let names: Vec<String> = models.into_values().collect();
    match names.as_slice() {
        // The conversion says what else of the embedder is missing.
        [] if dir.join(config::FILE).exists() => Ok(FolderContent::Embedder),
        [] => Err(ImportError::NoModelInFolder),
        [name] => Ok(FolderContent::Gguf(dir.join(name))),
        _ => Err(ImportError::SeveralModelsInFolder { names }),
    }
}

/// Names of the GGUF files, sorted.
fn gguf_files(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        // Hidden ones are what other systems keep beside the files, such as `._model.gguf`.
        let is_gguf = name.to_ascii_lowercase().ends_with(".gguf") && !name.starts_with('.');
        if is_gguf && dir.join(&name).is_file() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
