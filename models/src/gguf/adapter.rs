//! Judges the header of an adapter (LoRA) before llama.cpp may see the file.
//!
//! As strict as the check of models where both have the same parts; whether the matrices fit those of a model, llama.cpp
//! says when it loads them. Start at [`check_adapter`].

use std::collections::BTreeSet;
use std::path::Path;

use super::check::Facts;
use super::error::GgufError;
use super::read::open_header;
use super::{ValueType, rules};

/// What the header of an adapter says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdapterSummary {
    /// Architecture of the models that it fits.
    pub architecture: String,
    /// Name written by its maker.
    pub name: Option<String>,
    /// Matrices of a model that it changes.
    pub changed_tensors: usize,
    /// Size of the file in bytes.
    pub file_bytes: u64,
}

/// Checks the header of the adapter at `path` and tells what it says. Blocks on disk reads.
///
/// # Errors
/// [`GgufError`] says in words what is wrong and what to do.
pub fn check_adapter(path: &Path) -> Result<AdapterSummary, GgufError> {
    let (_, file_bytes, header) = open_header(path)?;
    let facts = Facts { header: &header };
    if facts.text("general.type")?.as_deref() != Some("adapter")
        || facts.text("adapter.type")?.as_deref() != Some("lora")
    {
        return Err(GgufError::NotAModel {
            what: "it is no adapter (LoRA); models are imported with `satchel models import`",
        });
    }
    let architecture = facts
        .text("general.architecture")?
        .ok_or_else(|| GgufError::metadata("general.architecture", "is missing"))?;
    if !rules::SUPPORTED_ARCHITECTURES.contains(&architecture.as_str()) {
        return Err(GgufError::UnknownArchitecture { architecture });
    }
    // llama.cpp ends the process on another type.
    for (key, kind) in [
        ("adapter.lora.alpha", ValueType::Float32),
        ("adapter.alora.invocation_tokens", ValueType::Array),
    ] {
        let entry = header.metadata.get(key);
        if entry.is_some_and(|entry| entry.kind != kind) {
            return Err(GgufError::metadata(key, "has the wrong type"));
        }
    }
    facts.tensor_places(file_bytes)?;
    let mut halves = [BTreeSet::new(), BTreeSet::new()];
    for tensor in &header.tensors {
        let name = tensor.name.as_str();
        match (name.strip_suffix(".lora_a"), name.strip_suffix(".lora_b")) {
            (Some(name), _) => halves[0].insert(name),
            (_, Some(name)) => halves[1].insert(name),
            _ => return Err(GgufError::tensor(name, "is no part of an adapter")),
        };
    }
    let [a, b] = halves;
    if let Some(alone) = a.symmetric_difference(&b).next() {
        return Err(GgufError::tensor(
            *alone,
            "has one of its two matrices only",
        ));
    }
    if a.is_empty() {
        return Err(GgufError::NotAModel {
            what: "it is an adapter that changes nothing",
        });
    }
    Ok(AdapterSummary {
        architecture,
        name: facts.display_text("general.name")?,
        changed_tensors: a.len(),
        file_bytes,
    })
}
