//! Why a GGUF file was refused, in words for the person who brought it.
//!
//! Text from the file appears only after [`printable`] has cut and cleaned it.

/// Why a GGUF file was refused. Nothing was changed; only [`GgufError::Io`] can pass on a second try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file could not be opened or read.
    #[error("cannot read the model file; check that it exists and that you may read it")]
    Io(#[from] std::io::Error),
    /// A folder, pipe or device.
    #[error("this is not a file; give the path of a .gguf file")]
    NotAFile,
    /// No bytes at all.
    #[error("this file is empty; download it again")]
    Empty,
    /// The first bytes are not `GGUF`.
    #[error("this is not a GGUF model: {hint}")]
    NotGguf {
        /// What the file seems to be instead, and what to do.
        hint: &'static str,
    },
    /// A version that llama.cpp does not read, or the other byte order.
    #[error(
        "this GGUF file has version {version}, and versions 2 and 3 in little-endian byte order can be read; get a newer file of this model"
    )]
    UnsupportedVersion {
        /// Version number as read.
        version: u32,
    },
    /// The file ends before what its header promises.
    #[error(
        "this file is cut off: the header promises at least {promised_bytes} bytes, the file has {file_bytes}; download it again"
    )]
    CutOff {
        /// Bytes that the header speaks of; a lower bound where the header itself is cut off.
        promised_bytes: u64,
        /// Bytes that the file has.
        file_bytes: u64,
    },
    /// The architecture is not on the allow-list.
    #[error(
        "models of the architecture \"{architecture}\" are not supported; choose another model (see `satchel models list`)"
    )]
    UnknownArchitecture {
        /// Architecture as the file names it.
        architecture: String,
    },
    /// One of the files of a model that was split with `llama-gguf-split`.
    #[error(
        "this is part {number} of {count} of a split model; put all its parts into one folder and give that folder to `satchel models import`"
    )]
    SplitPart {
        /// Which part, from 1.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// A file that is not a whole language model: an adapter, a projector.
    #[error("this GGUF file is not a complete model: {what}")]
    NotAModel {
        /// What it is, and what to do.
        what: &'static str,
    },
    /// A number in the header is beyond what any real model has.
    #[error(
        "this file is damaged or was not made by an honest tool: {what} is {value}, at most {max} is allowed"
    )]
    OutOfBounds {
        /// The number's meaning.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The largest allowed value.
        max: u64,
    },
    /// An entry of the metadata is missing or wrong.
    #[error("this file is damaged or was not made by an honest tool: the entry {key} {problem}")]
    Metadata {
        /// Name of the entry.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A tensor is missing or wrong.
    #[error("this file is damaged or was not made by an honest tool: the tensor {name} {problem}")]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl GgufError {
    pub(super) fn metadata(key: impl AsRef<str>, problem: &'static str) -> Self {
        Self::Metadata {
            key: printable(key.as_ref()),
            problem,
        }
    }

    pub(super) fn tensor(name: impl AsRef<str>, problem: &'static str) -> Self {
        Self::Tensor {
            name: printable(name.as_ref()),
            problem,
        }
    }
}

/// At most 100 characters of `text` without control and direction characters, safe to show on a terminal.
pub(crate) fn printable(text: &str) -> String {
    const MAX_CHARS: usize = 100;
    let invisible = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars()
        .filter(|c| !invisible(*c))
        .take(MAX_CHARS)
        .collect::<String>()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mred\u{202e}\n"), "a[31mred");
        assert_eq!(printable(&"x".repeat(5000)).len(), 100);
    }
}
