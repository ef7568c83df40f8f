//! The settings of the model: `config.json` and the small files beside it.
//!
//! Judges every setting that changes the vectors. A setting that is unknown here and harmless is ignored; one
//! that is known to matter and differs from what was proven is refused.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ConvertError;
use crate::gguf::printable;

/// File name of the main settings.
pub(crate) const FILE: &str = "config.json";
/// Settings files of real models take a few KiB.
const MAX_SETTINGS_BYTES: u64 = 4 << 20;

/// The settings that the conversion uses.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct BertConfig {
    #[serde(default)]
    architectures: Vec<String>,
    model_type: String,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
    #[serde(default, rename = "_name_or_path")]
    origin: Option<String>,
    pub(super) hidden_size: u32,
    pub(super) intermediate_size: u32,
    pub(super) num_hidden_layers: u32,
    pub(super) num_attention_heads: u32,
    pub(super) max_position_embeddings: u32,
    pub(super) type_vocab_size: u32,
    pub(super) vocab_size: u32,
    pub(super) layer_norm_eps: f64,
}

impl BertConfig {
    /// Reads and judges `config.json`.
    pub(super) fn read(dir: &Path) -> Result<Self, ConvertError> {
        let config: Self = read_json(dir, FILE)?.ok_or_else(|| ConvertError::MissingFile {
            file: FILE.to_owned(),
            hint: "give the folder that holds the model's own files",
        })?;
        config.check_kind()?;
        config.check_numbers()?;
        Ok(config)
    }

    fn check_kind(&self) -> Result<(), ConvertError> {
        const ARCHITECTURES: &str = "the class BertModel or BertForMaskedLM";
        if self.model_type != "bert" {
            return Err(ConvertError::unsupported(
                "the model type",
                &self.model_type,
                "\"bert\"",
            ));
        }
        match self.architectures.as_slice() {
            [one] if one == "BertModel" || one == "BertForMaskedLM" => {}
            [] => {
                return Err(ConvertError::unsupported(
                    "the architecture",
                    "not given",
                    ARCHITECTURES,
                ));
            }
            several => {
                return Err(ConvertError::unsupported(
                    "the architecture",
                    several.join(", "),
                    ARCHITECTURES,
                ));
            }
        }
        if self.hidden_act != "gelu" {
            return Err(ConvertError::unsupported(
                "the activation",
                &self.hidden_act,
                "\"gelu\"",
            ));
        }
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => {}
            Some(other) => {
                return Err(ConvertError::unsupported(
                    "the position encoding",
                    other,
                    "\"absolute\"",
                ));
            }
        }
        if self.is_decoder || self.add_cross_attention {
            return Err(ConvertError::unsupported(
                "the direction",
                "decoder",
                "a plain encoder",
            ));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), ConvertError> {
        // Upper bounds are far above the largest BERT (1,024 × 24) and keep every product small.
        let bounds = [
            ("hidden_size", self.hidden_size, 8192),
            ("intermediate_size", self.intermediate_size, 65_536),
            ("num_hidden_layers", self.num_hidden_layers, 128),
            ("num_attention_heads", self.num_attention_heads, 128),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                65_536,
            ),
            ("type_vocab_size", self.type_vocab_size, 16),
            ("vocab_size", self.vocab_size, 1_000_000),
        ];
        for (what, value, most) in bounds {
            if value == 0 || value > most {
                return Err(ConvertError::BadNumber {
                    what,
                    value: u64::from(value),
                });
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let value = u64::from(self.num_attention_heads);
            return Err(ConvertError::BadNumber {
                what: "num_attention_heads",
                value,
            });
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            let found = self.layer_norm_eps.to_string();
            return Err(ConvertError::unsupported(
                "layer_norm_eps",
                found,
                "a small positive number",
            ));
        }
        Ok(())
    }
}

/// The longest input that `sentence_bert_config.json` names.
pub(super) fn max_input_tokens(dir: &Path) -> Result<Option<u32>, ConvertError> {
    #[derive(Deserialize)]
    struct SentenceConfig {
        max_seq_length: Option<u32>,
    }
    let config: Option<SentenceConfig> = read_json(dir, "sentence_bert_config.json")?;
    Ok(config.and_then(|config| config.max_seq_length))
}

/// The model's name: the heading of its `README.md`, else the folder's name, else where it was made from.
pub(super) fn display_name(dir: &Path, config: &BertConfig) -> String {
    // Names that model downloads give to folders and that say nothing.
    const GENERIC: &[&str] = &[
        "model",
        "models",
        "main",
        "onnx",
        "snapshots",
        "0_Transformer",
    ];
    let readme = readme(dir);
    let from_readme = readme
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .map(last_segment);
    let folder = dir
        .file_name()
        .and_then(|name| name.to_str())
        .map(str::to_owned);
    let from_folder = folder.filter(|name| !GENERIC.contains(&name.as_str()) && !is_commit(name));
    let from_config = config.origin.as_deref().map(last_segment);
    from_readme
        .chain(from_folder)
        .chain(from_config)
        .find(|name| is_model_name(name))
        .unwrap_or_else(|| "embedder".to_owned())
}

/// The licence in the front matter of `README.md`.
pub(super) fn readme_license(dir: &Path) -> Option<String> {
    let readme = readme(dir);
    let front_matter = readme.strip_prefix("---")?.split("\n---").next()?;
    let license = front_matter
        .lines()
        .find_map(|line| line.strip_prefix("license:"))?;
    Some(printable(license.trim().trim_matches(['"', '\'']))).filter(|license| !license.is_empty())
}

/// Reads a settings file; `None` when it is not there.
pub(super) fn read_json<T: DeserializeOwned>(
    dir: &Path,
    file: &str,
) -> Result<Option<T>, ConvertError> {
    let Some(text) = read_small(dir, file, MAX_SETTINGS_BYTES)? else {
        return Ok(None);
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|source| ConvertError::Json {
            file: file.to_owned(),
            source,
        })
}

/// Reads a whole file of at most `max_bytes`; `None` when it is not there.
pub(super) fn read_small(
    dir: &Path,
    file: &str,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, ConvertError> {
    let failed = |source| ConvertError::Read {
        file: file.to_owned(),
        source,
    };
    let path = dir.join(file);
    let file_bytes = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(failed(std::io::Error::other("it is not a file"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if file_bytes > max_bytes {
        return Err(ConvertError::TooLarge {
            file: file.to_owned(),
            file_bytes,
            max_bytes,
        });
    }
    fs::read(&path).map(Some).map_err(failed)
}

/// The text of `README.md`; empty when it cannot be had, since nothing depends on it but words.
fn readme(dir: &Path) -> String {
    let bytes = read_small(dir, "README.md", MAX_SETTINGS_BYTES)
        .ok()
        .flatten()
        .unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_segment(path: &str) -> String {
    path.trim()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Headings such as "Usage of this model" are no names.
fn is_model_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (2..=96).contains(&name.len())
        && name.chars().all(allowed)
        && name.chars().any(char::is_alphabetic)
}

/// Model caches name folders after commits.
fn is_commit(name: &str) -> bool {
    name.len() == 40 && name.chars().all(|c| c.is_ascii_hexdigit())
}
