//! The WordPiece vocabulary, in the form that llama.cpp expects.
//!
//! WordPiece marks the *continuation* of a word (`##ing`); llama.cpp looks for the *beginning* of a word, which
//! it marks with U+2581 ("phantom space"). So `##ing` becomes `ing` and `run` becomes `▁run`.
//!
//! llama.cpp lower-cases the text, strips accents and splits at Chinese characters and punctuation by itself,
//! as the uncased BERT tokenizer does; a tokenizer with other settings is refused.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::config::{read_json, read_small};
use super::error::ConvertError;

/// Marks the beginning of a word.
const WORD_START: char = '\u{2581}';
/// Token types of llama.cpp.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
/// The largest WordPiece vocabularies take about 1 MiB.
const MAX_VOCABULARY_BYTES: u64 = 32 << 20;

/// The vocabulary as it goes into the GGUF file.
#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) tokens: Vec<String>,
    pub(super) token_types: Vec<i32>,
    pub(super) special: SpecialTokens,
}

/// Ids of the special tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SpecialTokens {
    pub(super) pad: u32,
    pub(super) unk: u32,
    pub(super) cls: u32,
    pub(super) sep: u32,
    pub(super) mask: u32,
}

/// The settings of the tokenizer that change its tokens.
#[derive(Debug, Deserialize)]
struct TokenizerConfig {
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
    do_basic_tokenize: Option<bool>,
}

impl Vocabulary {
    /// Reads `vocab.txt` and `tokenizer_config.json` of a model with `expected_len` token vectors.
    pub(super) fn read(dir: &Path, expected_len: u32) -> Result<Self, ConvertError> {
        let bytes = read_small(dir, "vocab.txt", MAX_VOCABULARY_BYTES)?.ok_or_else(|| ConvertError::MissingFile {
            file: "vocab.txt".to_owned(),
            hint: "only models with a WordPiece vocabulary can be converted; look for a GGUF file of this model",
        })?;
        let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        check_tokenizer_settings(dir, &text)?;
        Self::parse(&text, expected_len)
    }

    fn parse(text: &str, expected_len: u32) -> Result<Self, ConvertError> {
        let words: Vec<&str> = text.lines().collect();
        if words.len() != expected_len as usize {
            return Err(bad(format!(
                "it has {} lines, the model has {expected_len} token vectors",
                words.len()
            )));
        }
        let mut ids: HashMap<String, u32> = HashMap::new();
        let mut tokens = Vec::new();
        for (id, word) in (0_u32..).zip(&words) {
            let token = phantom_space(word);
            if token.is_empty() {
                return Err(bad(format!("line {} is empty", id + 1)));
            }
            // llama.cpp ends the process on two equal tokens.
            if let Some(earlier) = ids.insert(token.clone(), id) {
                return Err(bad(format!(
                    "lines {} and {} give the same token",
                    earlier + 1,
                    id + 1
                )));
            }
            tokens.push(token);
        }
        let token_types = words
            .iter()
            .map(|word| if is_special(word) { CONTROL } else { NORMAL })
            .collect();
        let special = SpecialTokens::find(&ids)?;
        Ok(Self {
            tokens,
            token_types,
            special,
        })
    }
}

impl SpecialTokens {
    fn find(ids: &HashMap<String, u32>) -> Result<Self, ConvertError> {
        let id = |name: &str| {
            ids.get(name)
                .copied()
                .ok_or_else(|| bad(format!("the token {name} is missing")))
        };
        Ok(Self {
            pad: id("[PAD]")?,
            unk: id("[UNK]")?,
            cls: id("[CLS]")?,
            sep: id("[SEP]")?,
            mask: id("[MASK]")?,
        })
    }
}

fn check_tokenizer_settings(dir: &Path, vocabulary: &str) -> Result<(), ConvertError> {
    const SUPPORTED: &str = "the uncased BERT tokenizer";
    let config: Option<TokenizerConfig> = read_json(dir, "tokenizer_config.json")?;
    let Some(config) = config else {
        // Without the file the vocabulary must speak for itself: an uncased one has no capital letters.
        let cased = vocabulary
            .lines()
            .any(|word| !is_special(word) && word.chars().any(|c| c.is_ascii_uppercase()));
        return if cased {
            Err(ConvertError::unsupported(
                "the vocabulary",
                "cased",
                SUPPORTED,
            ))
        } else {
            Ok(())
        };
    };
    let settings = [
        ("do_lower_case", config.do_lower_case, true),
        ("strip_accents", config.strip_accents, true),
        (
            "tokenize_chinese_chars",
            config.tokenize_chinese_chars,
            true,
        ),
        ("do_basic_tokenize", config.do_basic_tokenize, true),
    ];
    for (name, value, proven) in settings {
        if value.is_some_and(|value| value != proven) {
            return Err(ConvertError::unsupported(
                "the tokenizer",
                format!("{name} = {}", !proven),
                SUPPORTED,
            ));
        }
    }
    Ok(())
}

fn phantom_space(word: &str) -> String {
    if is_special(word) {
        word.to_owned()
    } else if let Some(continuation) = word.strip_prefix("##") {
        continuation.to_owned()
    } else if word.is_empty() {
        String::new()
    } else {
        format!("{WORD_START}{word}")
    }
}

fn is_special(word: &str) -> bool {
    word.len() > 1 && word.starts_with('[') && word.ends_with(']')
}

fn bad(problem: impl Into<String>) -> ConvertError {
    ConvertError::BadVocabulary {
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nrun\n##ning\n!\n[\n";

    #[test]
    fn words_get_a_phantom_space_and_continuations_lose_their_mark() {
        let vocabulary = Vocabulary::parse(SMALL, 9).unwrap();
        assert_eq!(
            vocabulary.tokens[5..],
            ["\u{2581}run", "ning", "\u{2581}!", "\u{2581}["]
        );
        assert_eq!(vocabulary.token_types, [3, 3, 3, 3, 3, 1, 1, 1, 1]);
        assert_eq!(
            vocabulary.special,
            SpecialTokens {
                pad: 0,
                unk: 1,
                cls: 2,
                sep: 3,
                mask: 4
            }
        );
    }

    #[test]
    fn a_vocabulary_of_another_length_is_refused() {
        assert!(matches!(
            Vocabulary::parse(SMALL, 10),
            Err(ConvertError::BadVocabulary { .. })
        ));
    }

    #[test]
    fn equal_and_empty_tokens_and_missing_special_tokens_are_refused() {
        for text in [
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\na\n",
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n\na\n",
            "a\nb\nc\nd\ne\nf\ng\n",
        ] {
            assert!(
                matches!(
                    Vocabulary::parse(text, 7),
                    Err(ConvertError::BadVocabulary { .. })
                ),
                "{text:?}"
            );
        }
    }
}
