//! Judges the header of a GGUF file before llama.cpp may see the file.
//!
//! Each rule stands for a way in which llama.cpp ends the process or reads outside its memory. The rules are
//! at least as strict as the loader of llama.cpp (`gguf.cpp`, `llama-vocab.cpp`, `llama-model.cpp`).
//! Never proves that the weights make sense: that, and everything else, is why llama.cpp runs in a worker
//! process. Start at [`check()`].

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::error::{GgufError, printable};
use super::read::{
    Entry, Header, MAX_TENSORS, TensorInfo, Value, bounded, open_header, read_header,
};
use super::rules::{
    ARCHITECTURE_NUMBERS, EMBEDDER_ARCHITECTURES, SUPPORTED_ARCHITECTURES, TOKENIZER_TYPES,
};
use super::shape::{self, Attention};
use super::split::MAX_PARTS;
use super::summary::{GgufSummary, ModelKind, Pooling, quantisation_name};
use super::{DEFAULT_ALIGNMENT_BYTES, ValueType, padded};

/// The token type of a token that stands for one byte.
const BYTE_TOKEN_TYPE: i32 = 6;

/// Checks the header of the GGUF file at `path` and tells what it says.
///
/// Reads the header only (a few MiB at most for real models), so it takes milliseconds whatever the size of
/// the model. Blocks on disk reads.
///
/// # Errors
/// [`GgufError`] says in words what is wrong and what to do; the file is not changed.
///
/// # Examples
/// ```
/// # use satchel_models::gguf::{check, GgufError};
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("page.gguf");
/// std::fs::write(&path, "<!DOCTYPE html>")?;
/// assert!(matches!(check(&path), Err(GgufError::NotGguf { .. })));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn check(path: &Path) -> Result<GgufSummary, GgufError> {
    let (_, file_bytes, header) = open_header(path)?;
    check_header(&header, file_bytes)
}

/// [`check()`] on anything that can be read, which has `file_bytes` bytes in all; for tests and fuzzing.
///
/// # Errors
/// As [`check()`].
pub fn check_reader(input: impl Read, file_bytes: u64) -> Result<GgufSummary, GgufError> {
    check_header(&read_header(input, file_bytes)?, file_bytes)
}

pub(super) fn check_header(header: &Header, file_bytes: u64) -> Result<GgufSummary, GgufError> {
    let facts = Facts { header };
    let part = facts.split_part()?;
    // Only the first part of a split model says what the model is; that one is judged as far as it goes.
    if let Some(part) = part.filter(|part| part.number > 1) {
        return Err(part.refusal());
    }
    let architecture = facts.architecture()?;
    facts.check_is_whole_model()?;
    facts.check_architecture_numbers(&architecture)?;
    let vocabulary_len = facts.check_tokenizer()?;
    facts.tensor_places(file_bytes)?;
    if let Some(part) = part {
        return Err(part.refusal());
    }
    facts.check_token_embeddings(&architecture, vocabulary_len)?;
    facts.summary(architecture, vocabulary_len, file_bytes)
}

/// What a part of a split model says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct SplitPart {
    /// Its number, from 1.
    pub(super) number: u32,
    /// How many parts there are, at least 2.
    pub(super) count: u32,
    /// Tensors in all parts together.
    pub(super) tensor_count: Option<u64>,
}

impl SplitPart {
    fn refusal(self) -> GgufError {
        let Self { number, count, .. } = self;
        GgufError::SplitPart { number, count }
    }
}

/// The rules, each over one part of the header.
pub(super) struct Facts<'a> {
    pub(super) header: &'a Header,
}

impl Facts<'_> {
    fn architecture(&self) -> Result<String, GgufError> {
        let architecture = self
            .text("general.architecture")?
            .ok_or_else(|| GgufError::metadata("general.architecture", "is missing"))?;
        if SUPPORTED_ARCHITECTURES.contains(&architecture.as_str()) {
            Ok(architecture)
        } else if matches!(architecture.as_str(), "clip" | "mmproj") {
            Err(GgufError::NotAModel {
                what: "it is the image part of another model; choose that model's main file",
            })
        } else {
            Err(GgufError::UnknownArchitecture { architecture })
        }
    }

    fn check_is_whole_model(&self) -> Result<(), GgufError> {
        match self.text("general.type")?.as_deref() {
            Some("adapter") => Err(GgufError::NotAModel {
                what: "it is an adapter (LoRA); choose a whole model",
            }),
            Some("mmproj") => Err(GgufError::NotAModel {
                what: "it is the image part of another model; choose that model's main file",
            }),
            Some("imatrix") => Err(GgufError::NotAModel {
                what: "it is an importance matrix; choose the model itself",
            }),
            _ => Ok(()),
        }
    }

    /// Which part of a split model this file is; `None` for a whole one.
    pub(super) fn split_part(&self) -> Result<Option<SplitPart>, GgufError> {
        let count = match self.number("split.count")? {
            None | Some(0 | 1) => return Ok(None),
            Some(count) => bounded(count, u64::from(MAX_PARTS), "the number of parts")?,
        };
        let number = self
            .number("split.no")?
            .filter(|number| *number < count)
            .ok_or_else(|| {
                GgufError::metadata("split.no", "is missing or not below split.count")
            })?;
        let tensor_count = self
            .number("split.tensors.count")?
            .map(|count| bounded(count, MAX_TENSORS, "the number of tensors in all parts"))
            .transpose()?;
        Ok(Some(SplitPart {
            number: as_u32(number + 1),
            count: as_u32(count),
            tensor_count,
        }))
    }

    fn check_architecture_numbers(&self, architecture: &str) -> Result<(), GgufError> {
        for &(name, least, most, required) in ARCHITECTURE_NUMBERS {
            let key = format!("{architecture}.{name}");
            // Some architectures give one number for each layer; llama.cpp checks those lists itself.
            if !required && self.is_list(&key) {
                continue;
            }
            match self.number(&key)? {
                None if required => return Err(GgufError::metadata(key, "is missing")),
                None => {}
                Some(value) if value < least => {
                    return Err(GgufError::metadata(key, "is too small"));
                }
                Some(value) if value > most => {
                    return Err(GgufError::metadata(key, "is larger than in any real model"));
                }
                Some(_) => {}
            }
        }
        let experts = self.number_unless_list(&format!("{architecture}.expert_count"))?;
        let used_key = format!("{architecture}.expert_used_count");
        match (
            experts.unwrap_or(0),
            self.number_unless_list(&used_key)?.unwrap_or(0),
        ) {
            (0, 0) => Ok(()),
            (_, 0) if self.is_list(&used_key) => Ok(()),
            (experts, used) if used >= 1 && used <= experts => Ok(()),
            _ => Err(GgufError::metadata(
                used_key,
                "does not go with the number of experts",
            )),
        }
    }

    /// Checks the tokenizer and gives the length of the vocabulary.
    fn check_tokenizer(&self) -> Result<usize, GgufError> {
        for &(key, list, allowed) in TOKENIZER_TYPES {
            let Some(entry) = self.header.metadata.get(key) else {
                continue;
            };
            let kind = match entry.value {
                Value::Array { element, .. } if list => element,
                _ if !list => entry.kind,
                _ => return Err(GgufError::metadata(key, "must be a list")),
            };
            if !allowed.contains(&kind) {
                return Err(GgufError::metadata(key, "has the wrong type"));
            }
        }
        self.check_tokenizer_numbers()?;

        let model = self
            .text("tokenizer.ggml.model")?
            .ok_or_else(|| GgufError::metadata("tokenizer.ggml.model", "is missing"))?;
        let tokens = self
            .header
            .tokens
            .as_ref()
            .filter(|tokens| !tokens.is_byte.is_empty())
            .ok_or_else(|| GgufError::metadata("tokenizer.ggml.tokens", "is missing or empty"))?;
        if tokens.has_duplicates {
            return Err(GgufError::metadata(
                "tokenizer.ggml.tokens",
                "has the same token twice",
            ));
        }
        let vocabulary_len = tokens.is_byte.len();
        for key in ["tokenizer.ggml.scores", "tokenizer.ggml.token_type"] {
            if self
                .list_len(key)
                .is_some_and(|len| len != vocabulary_len as u64)
            {
                return Err(GgufError::metadata(key, "is not as long as the vocabulary"));
            }
        }
        if let Some(types) = &self.header.token_types {
            let lying = types
                .iter()
                .zip(&tokens.is_byte)
                .any(|(kind, is_byte)| *kind == BYTE_TOKEN_TYPE && !is_byte);
            if lying {
                return Err(GgufError::metadata(
                    "tokenizer.ggml.tokens",
                    "has a byte token that is not written as <0x41>",
                ));
            }
        }
        self.check_special_tokens(&model, vocabulary_len)?;
        Ok(vocabulary_len)
    }

    /// Ids and counts of the tokenizer are unsigned, switches are Booleans.
    fn check_tokenizer_numbers(&self) -> Result<(), GgufError> {
        for (key, entry) in self.header.metadata.range("tokenizer.ggml.".to_owned()..) {
            let Some(name) = key.strip_prefix("tokenizer.ggml.") else {
                break;
            };
            if name.ends_with("_token_id")
                && !matches!(entry.kind, ValueType::Uint32 | ValueType::Int32)
            {
                return Err(GgufError::metadata(key, "must be a 32-bit number"));
            }
            let switch = name.starts_with("add_") || name == "remove_extra_whitespaces";
            if switch && entry.kind != ValueType::Bool {
                return Err(GgufError::metadata(key, "must be true or false"));
            }
        }
        Ok(())
    }

    /// A WordPiece tokenizer ends the process at the first text when it has no start or separator token.
    fn check_special_tokens(
        &self,
        tokenizer_model: &str,
        vocabulary_len: usize,
    ) -> Result<(), GgufError> {
        if tokenizer_model != "bert" {
            return Ok(());
        }
        for (key, default) in [
            ("tokenizer.ggml.bos_token_id", 101),
            ("tokenizer.ggml.seperator_token_id", 102),
        ] {
            let id = self.number(key)?.unwrap_or(default);
            if id >= vocabulary_len as u64 {
                return Err(GgufError::metadata(key, "is not in the vocabulary"));
            }
        }
        Ok(())
    }

    /// Where the data of each tensor is in the file. Each must start where the one before it ended, padded, and the
    /// last one must end inside the file.
    pub(super) fn tensor_places(&self, file_bytes: u64) -> Result<Vec<Range<u64>>, GgufError> {
        let alignment = self.alignment()?;
        let too_large =
            |tensor: &TensorInfo| GgufError::tensor(&tensor.name, "is larger than any file");
        let data_start = padded(self.header.header_bytes, alignment).ok_or(GgufError::CutOff {
            promised_bytes: u64::MAX,
            file_bytes,
        })?;
        let mut next_offset = 0_u64;
        let mut end_of_data = data_start;
        let mut places = Vec::new();
        for tensor in &self.header.tensors {
            if tensor.offset != next_offset {
                return Err(GgufError::tensor(
                    &tensor.name,
                    "does not start where the one before it ends",
                ));
            }
            let bytes = tensor_bytes(tensor)?;
            let start = data_start.checked_add(tensor.offset);
            let place = start
                .and_then(|start| Some(start..start.checked_add(bytes)?))
                .ok_or_else(|| too_large(tensor))?;
            end_of_data = place.end;
            places.push(place);
            next_offset = padded(bytes, alignment)
                .and_then(|step| tensor.offset.checked_add(step))
                .ok_or_else(|| too_large(tensor))?;
        }
        if end_of_data > file_bytes {
            return Err(GgufError::CutOff {
                promised_bytes: end_of_data,
                file_bytes,
            });
        }
        Ok(places)
    }

    pub(super) fn alignment(&self) -> Result<u64, GgufError> {
        const KEY: &str = "general.alignment";
        const MAX_ALIGNMENT_BYTES: u64 = 4096;
        let Some(entry) = self.header.metadata.get(KEY) else {
            return Ok(DEFAULT_ALIGNMENT_BYTES);
        };
        match (entry.kind, &entry.value) {
            (ValueType::Uint32, Value::Unsigned(value))
                if value.is_power_of_two() && *value <= MAX_ALIGNMENT_BYTES =>
            {
                Ok(*value)
            }
            _ => Err(GgufError::metadata(KEY, "is not a power of two up to 4096")),
        }
    }

    /// The table of token vectors must be as wide as the model and as long as the vocabulary.
    fn check_token_embeddings(
        &self,
        architecture: &str,
        vocabulary_len: usize,
    ) -> Result<(), GgufError> {
        const NAME: &str = "token_embd.weight";
        let tensor = self
            .header
            .tensors
            .iter()
            .find(|tensor| tensor.name == NAME)
            .ok_or_else(|| {
                GgufError::tensor(NAME, "is missing; the file may hold only a vocabulary")
            })?;
        let width = self.number(&format!("{architecture}.embedding_length"))?;
        if tensor.dimensions != [width.unwrap_or(0), vocabulary_len as u64, 1, 1] {
            return Err(GgufError::tensor(
                NAME,
                "does not go with the size of the vocabulary and of the model",
            ));
        }
        Ok(())
    }

    fn summary(
        &self,
        architecture: String,
        vocabulary_len: usize,
        file_bytes: u64,
    ) -> Result<GgufSummary, GgufError> {
        let of_architecture = |name: &str| {
            self.number(&format!("{architecture}.{name}"))
                .map(|n| n.unwrap_or(0))
        };
        let pooling = self
            .number(&format!("{architecture}.pooling_type"))?
            .and_then(Pooling::from_number);
        let parameters = self.header.tensors.iter().map(elements).sum();
        let block_count = as_u32(of_architecture("block_count")?);
        let attention = self.attention(&architecture)?;
        Ok(GgufSummary {
            shape: shape::of(self.header, block_count, &attention),
            kind: kind(&architecture, pooling),
            name: self.display_text("general.name")?,
            parameters,
            quantisation: self.quantisation()?,
            context_len_tokens: as_u32(of_architecture("context_length")?),
            embedding_dim: as_u32(of_architecture("embedding_length")?) as usize,
            block_count,
            vocabulary_len,
            has_chat_template: self.header.metadata.contains_key("tokenizer.chat_template"),
            pooling,
            license: self.display_text("general.license")?,
            tensor_count: self.header.tensors.len(),
            file_bytes,
            architecture,
        })
    }

    /// The numbers of the attention; a list of one for each layer counts as unknown, as the tensors tell it then.
    fn attention(&self, architecture: &str) -> Result<Attention, GgufError> {
        let number = |name: &str| self.number_unless_list(&format!("{architecture}.{name}"));
        let heads = number("attention.head_count")?.unwrap_or(0);
        let width = number("embedding_length")?.unwrap_or(0);
        let head_len = width.checked_div(heads).unwrap_or(0);
        Ok(Attention {
            heads,
            kv_heads: number("attention.head_count_kv")?.unwrap_or(heads),
            key_len: number("attention.key_length")?.unwrap_or(head_len),
            value_len: number("attention.value_length")?.unwrap_or(head_len),
            is_latent: number("attention.key_length_mla")?.is_some(),
            sharing_layers: number("attention.shared_kv_layers")?.unwrap_or(0),
            has_window: number("attention.sliding_window")?.is_some_and(|tokens| tokens > 0),
            state_len: number("ssm.state_size")?.unwrap_or(0),
            inner_len: number("ssm.inner_size")?.unwrap_or(0),
            experts: (
                number("expert_used_count")?.unwrap_or(0),
                number("expert_count")?.unwrap_or(0),
            ),
        })
    }

    /// From `general.file_type`, else the format that holds the most weights.
    fn quantisation(&self) -> Result<String, GgufError> {
        if let Some(name) = self
            .number("general.file_type")?
            .and_then(quantisation_name)
        {
            return Ok(name.to_owned());
        }
        let mut weights: Vec<(&str, u64)> = Vec::new();
        for tensor in &self.header.tensors {
            match weights
                .iter_mut()
                .find(|(name, _)| *name == tensor.kind.name())
            {
                Some((_, sum)) => *sum += elements(tensor),
                None => weights.push((tensor.kind.name(), elements(tensor))),
            }
        }
        Ok(weights
            .iter()
            .max_by_key(|(_, sum)| *sum)
            .map_or("unknown", |(name, _)| name)
            .to_owned())
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.header.metadata.get(key)
    }

    fn is_list(&self, key: &str) -> bool {
        self.list_len(key).is_some()
    }

    fn list_len(&self, key: &str) -> Option<u64> {
        match self.entry(key)?.value {
            Value::Array { len, .. } => Some(len),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, GgufError> {
        match self.entry(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Unsigned(value)) => Ok(Some(*value)),
            Some(Value::Signed(value)) => u64::try_from(*value)
                .map(Some)
                .map_err(|_| GgufError::metadata(key, "is negative")),
            Some(_) => Err(GgufError::metadata(key, "must be a number")),
        }
    }

    fn number_unless_list(&self, key: &str) -> Result<Option<u64>, GgufError> {
        if self.is_list(key) {
            Ok(None)
        } else {
            self.number(key)
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<String>, GgufError> {
        match self.entry(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Text { start, len_bytes }) if *len_bytes <= 1024 => {
                Ok(Some(printable(start)))
            }
            Some(Value::Text { .. }) => Err(GgufError::metadata(key, "is far too long")),
            Some(_) => Err(GgufError::metadata(key, "must be a text")),
        }
    }

    /// A text that only people read; too long or empty is no error.
    pub(super) fn display_text(&self, key: &str) -> Result<Option<String>, GgufError> {
        match self.entry(key).map(|entry| &entry.value) {
            Some(Value::Text { start, .. }) => {
                Ok(Some(printable(start)).filter(|text| !text.is_empty()))
            }
            Some(_) => Err(GgufError::metadata(key, "must be a text")),
            None => Ok(None),
        }
    }
}

/// Bytes of a tensor, or why its dimensions cannot be true.
pub(super) fn tensor_bytes(tensor: &TensorInfo) -> Result<u64, GgufError> {
    if !tensor.dimensions[0].is_multiple_of(tensor.kind.block_len()) {
        return Err(GgufError::tensor(
            &tensor.name,
            "has rows that do not fill whole blocks of its number format",
        ));
    }
    tensor
        .dimensions
        .iter()
        .try_fold(1_u64, |product, dimension| product.checked_mul(*dimension))
        .filter(|elements| *elements <= i64::MAX as u64)
        .and_then(|elements| tensor.kind.bytes_for(elements))
        .ok_or_else(|| GgufError::tensor(&tensor.name, "is larger than any file"))
}

/// Elements of a tensor whose product is known not to overflow.
fn elements(tensor: &TensorInfo) -> u64 {
    tensor.dimensions.iter().product()
}

fn kind(architecture: &str, pooling: Option<Pooling>) -> ModelKind {
    match pooling {
        Some(Pooling::Rank) => ModelKind::Reranker,
        Some(Pooling::Mean | Pooling::Cls | Pooling::Last) => ModelKind::Embedder,
        _ if EMBEDDER_ARCHITECTURES.contains(&architecture) => ModelKind::Embedder,
        _ => ModelKind::Chat,
    }
}

/// For numbers that a rule has already bounded below 2^32.
fn as_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pooling_decides_the_kind_of_a_chat_architecture() {
        assert_eq!(kind("qwen3", Some(Pooling::Last)), ModelKind::Embedder);
        assert_eq!(kind("qwen3", None), ModelKind::Chat);
        assert_eq!(kind("bert", None), ModelKind::Embedder);
        assert_eq!(kind("bert", Some(Pooling::Rank)), ModelKind::Reranker);
    }
}
