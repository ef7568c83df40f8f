//! What sentence-transformers does after the model itself: pooling and normalising.
//!
//! Reads `modules.json` and the pooling's own `config.json`. A step that is not known here would change the
//! vectors, so it is refused.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::config::read_json;
use super::error::ConvertError;
use crate::gguf::Pooling;

/// What happens to the vectors of the tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Modules {
    pub(super) pooling: Pooling,
    pub(super) normalizes: bool,
}

/// One step in `modules.json`.
#[derive(Debug, Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    class: String,
}

/// Reads the steps after the model, whose vectors have `hidden_size` numbers.
pub(super) fn read(dir: &Path, hidden_size: u32) -> Result<Modules, ConvertError> {
    let modules: Option<Vec<Module>> = read_json(dir, "modules.json")?;
    let mut pooling_dir = "1_Pooling".to_owned();
    let mut normalizes = false;
    for (index, module) in modules.iter().flatten().enumerate() {
        match (index, module.class.rsplit('.').next().unwrap_or_default()) {
            (0, "Transformer") if module.path.is_empty() => {}
            (1, "Pooling") if is_plain_name(&module.path) => pooling_dir.clone_from(&module.path),
            (2, "Normalize") => normalizes = true,
            _ => {
                return Err(ConvertError::unsupported(
                    "a step in modules.json",
                    &module.class,
                    "Transformer, Pooling and Normalize in this order",
                ));
            }
        }
    }
    let pooling = read_pooling(dir, &pooling_dir, hidden_size)?;
    Ok(Modules {
        pooling,
        normalizes,
    })
}

fn read_pooling(dir: &Path, pooling_dir: &str, hidden_size: u32) -> Result<Pooling, ConvertError> {
    const SUPPORTED: &str = "one of mean, first-token (cls) and last-token pooling";
    let file = format!("{pooling_dir}/config.json");
    let settings: BTreeMap<String, Value> = read_json(dir, &file)?.ok_or(ConvertError::MissingFile {
        file,
        hint: "it says how the vectors of the tokens become one, which must not be guessed; take the folder of a sentence-transformers model",
    })?;
    let dimension = settings
        .get("word_embedding_dimension")
        .and_then(Value::as_u64);
    if dimension.is_some_and(|dimension| dimension != u64::from(hidden_size)) {
        return Err(ConvertError::BadNumber {
            what: "word_embedding_dimension",
            value: dimension.unwrap_or(0),
        });
    }
    let chosen: Vec<&str> = settings
        .iter()
        .filter(|(key, value)| key.starts_with("pooling_mode_") && value.as_bool() != Some(false))
        .map(|(key, _)| key.as_str())
        .collect();
    match chosen.as_slice() {
        ["pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["pooling_mode_cls_token"] => Ok(Pooling::Cls),
        ["pooling_mode_lasttoken"] => Ok(Pooling::Last),
        [] => Err(ConvertError::unsupported(
            "the pooling",
            "not given",
            SUPPORTED,
        )),
        several => Err(ConvertError::unsupported(
            "the pooling",
            several.join(", "),
            SUPPORTED,
        )),
    }
}

/// A folder name that cannot lead out of the model's folder.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\'])
}
