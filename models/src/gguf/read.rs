//! Reads the header of a GGUF file under strict bounds.
//!
//! Never allocates for a number that the file only claims: every length is compared with the bytes that are
//! left in the file first, and what is not needed later is skipped, not kept. Never reads tensor data.
//! Start at [`read_header`]. Whether the values make sense is judged in `check.rs`.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use super::error::GgufError;
use super::tensor_type::TensorType;
use super::{MAGIC, ValueType};

/// Metadata entries. Real models have 20 to 60.
const MAX_METADATA: u64 = 4096;
/// Tensors. The largest mixture-of-experts models have about 2,000.
pub(super) const MAX_TENSORS: u64 = 16_384;
/// Bytes of a key.
const MAX_KEY_BYTES: u64 = 256;
/// Bytes of a string. Chat templates, the longest real ones, take some 20 KiB.
const MAX_STRING_BYTES: u64 = 4 << 20;
/// Elements of an array. The largest vocabularies have 262,144 tokens and about twice as many merges.
const MAX_ARRAY_LEN: u64 = 2_000_000;
/// Bytes of a tensor's name; llama.cpp keeps 64 with the final zero.
const MAX_TENSOR_NAME_BYTES: u64 = 63;
/// Dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;
/// Bytes of the whole header. Gemma's 262,144 tokens with scores and merges take about 16 MiB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// Bytes of a string that are kept; longer ones are only measured.
const KEPT_STRING_BYTES: usize = 1024;

/// A metadata value, as much of it as the check needs.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool,
    Text { start: String, len_bytes: u64 },
    Array { element: ValueType, len: u64 },
}

/// A metadata entry: the type that stood in the file and the value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) kind: ValueType,
    pub(super) value: Value,
    /// Where it stands in the file, its key included.
    pub(super) byte_range: Range<u64>,
}

/// What the check must know about `tokenizer.ggml.tokens`.
#[derive(Debug, Default)]
pub(super) struct TokenList {
    /// For each token whether it has the form `<0x41>`.
    pub(super) is_byte: Vec<bool>,
    /// Two tokens with the same text; llama.cpp ends the process on them.
    pub(super) has_duplicates: bool,
}

/// A tensor as the header describes it.
#[derive(Debug)]
pub(super) struct TensorInfo {
    pub(super) name: String,
    /// Fastest dimension first; absent dimensions are 1.
    pub(super) dimensions: [u64; MAX_DIMENSIONS as usize],
    pub(super) kind: TensorType,
    /// From the start of the data section.
    pub(super) offset: u64,
    /// Where this description stands in the file; its last 8 bytes are the offset.
    pub(super) byte_range: Range<u64>,
}

/// The parsed header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, Entry>,
    pub(super) tokens: Option<TokenList>,
    pub(super) token_types: Option<Vec<i32>>,
    pub(super) tensors: Vec<TensorInfo>,
    /// Bytes up to the end of the tensor infos, before the padding.
    pub(super) header_bytes: u64,
}

/// Opens a GGUF file and parses its header; gives the file's length too. The file is positioned anywhere afterwards.
///
/// # Errors
/// As [`read_header`], and where there is no file.
pub(super) fn open_header(path: &Path) -> Result<(File, u64, Header), GgufError> {
    // Asked before opening: opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(GgufError::NotAFile);
    }
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let header = read_header(&file, file_bytes)?;
    Ok((file, file_bytes, header))
}

/// Parses the header of a GGUF file of `file_bytes` bytes.
///
/// # Errors
/// Every way in which the bytes can be wrong, see [`GgufError`].
pub(super) fn read_header(input: impl Read, file_bytes: u64) -> Result<Header, GgufError> {
    let mut reader = HeaderReader {
        input: BufReader::with_capacity(1 << 16, input),
        position: 0,
        file_bytes,
    };
    reader.magic_and_version()?;
    let tensor_count = bounded(reader.u64()?, MAX_TENSORS, "the number of tensors")?;
    let metadata_count = bounded(
        reader.u64()?,
        MAX_METADATA,
        "the number of metadata entries",
    )?;

    let mut header = Header {
        metadata: BTreeMap::new(),
        tokens: None,
        token_types: None,
        tensors: Vec::new(),
        header_bytes: 0,
    };
    for _ in 0..metadata_count {
        reader.metadata_entry(&mut header)?;
    }
    let mut names = HashSet::new();
    for _ in 0..tensor_count {
        let tensor = reader.tensor_info()?;
        if !names.insert(tensor.name.clone()) {
            return Err(GgufError::tensor(tensor.name, "is there twice"));
        }
        header.tensors.push(tensor);
    }
    header.header_bytes = reader.position;
    Ok(header)
}

/// Reads numbers and strings and knows how many bytes are left.
struct HeaderReader<R> {
    input: BufReader<R>,
    position: u64,
    file_bytes: u64,
}

impl<R: Read> HeaderReader<R> {
    fn magic_and_version(&mut self) -> Result<(), GgufError> {
        if self.file_bytes == 0 {
            return Err(GgufError::Empty);
        }
        let mut magic = [0; 4];
        let seen = usize::try_from(self.file_bytes)
            .unwrap_or(usize::MAX)
            .min(magic.len());
        self.fill(&mut magic[..seen])?;
        if magic[..seen] != MAGIC[..seen] {
            return Err(GgufError::NotGguf {
                hint: what_it_may_be(&magic),
            });
        }
        self.demand((magic.len() - seen) as u64)?;
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::UnsupportedVersion { version });
        }
        Ok(())
    }

    fn metadata_entry(&mut self, header: &mut Header) -> Result<(), GgufError> {
        let start = self.position;
        let key = self.key()?;
        let kind = self.value_type(&key)?;
        let value = match (kind, key.as_str()) {
            (ValueType::Array, "tokenizer.ggml.tokens") => {
                let (element, len) = self.array_start(&key)?;
                if element == ValueType::String {
                    header.tokens = Some(self.token_list(len)?);
                } else {
                    return Err(GgufError::metadata(key, "must be a list of strings"));
                }
                Value::Array { element, len }
            }
            (ValueType::Array, "tokenizer.ggml.token_type") => {
                let (element, len) = self.array_start(&key)?;
                if element == ValueType::Int32 {
                    header.token_types = Some(self.int32_list(len)?);
                } else {
                    return Err(GgufError::metadata(
                        key,
                        "must be a list of 32-bit integers",
                    ));
                }
                Value::Array { element, len }
            }
            (ValueType::Array, _) => {
                let (element, len) = self.array_start(&key)?;
                self.skip_array(element, len)?;
                Value::Array { element, len }
            }
            _ => self.scalar(kind)?,
        };
        let entry = Entry {
            kind,
            value,
            byte_range: start..self.position,
        };
        if header.metadata.insert(key.clone(), entry).is_some() {
            return Err(GgufError::metadata(key, "is there twice"));
        }
        Ok(())
    }

    fn key(&mut self) -> Result<String, GgufError> {
        let len = bounded(self.u64()?, MAX_KEY_BYTES, "the length of a metadata key")?;
        let bytes = self.bytes(len)?;
        let plain = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
        match String::from_utf8(bytes) {
            Ok(key) if plain => Ok(key),
            Ok(key) => Err(GgufError::metadata(
                key,
                "has a name that is empty or not plain ASCII",
            )),
            Err(_) => Err(GgufError::metadata(
                "?",
                "has a name that is not plain ASCII",
            )),
        }
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType, GgufError> {
        let number = self.u32()?;
        ValueType::from_number(number)
            .ok_or_else(|| GgufError::metadata(key, "has an unknown value type"))
    }

    fn scalar(&mut self, kind: ValueType) -> Result<Value, GgufError> {
        Ok(match kind {
            ValueType::Uint8 => Value::Unsigned(u64::from(self.array::<1>()?[0])),
            ValueType::Uint16 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            ValueType::Uint32 => Value::Unsigned(u64::from(self.u32()?)),
            ValueType::Uint64 => Value::Unsigned(self.u64()?),
            ValueType::Int8 => Value::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            ValueType::Int16 => Value::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            ValueType::Int32 => Value::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            ValueType::Int64 => Value::Signed(i64::from_le_bytes(self.array()?)),
            ValueType::Float32 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            ValueType::Float64 => Value::Float(f64::from_le_bytes(self.array()?)),
            ValueType::Bool => self.skip(1).map(|()| Value::Bool)?,
            ValueType::String => self.text()?,
            ValueType::Array => return Err(GgufError::metadata("?", "is a list of lists")),
        })
    }

    fn text(&mut self) -> Result<Value, GgufError> {
        let len_bytes = self.string_len()?;
        let kept = len_bytes.min(KEPT_STRING_BYTES as u64);
        let start = String::from_utf8_lossy(&self.bytes(kept)?).into_owned();
        self.skip(len_bytes - kept)?;
        Ok(Value::Text { start, len_bytes })
    }

    fn string_len(&mut self) -> Result<u64, GgufError> {
        let len = bounded(self.u64()?, MAX_STRING_BYTES, "the length of a string")?;
        self.demand(len)?;
        Ok(len)
    }

    fn array_start(&mut self, key: &str) -> Result<(ValueType, u64), GgufError> {
        let element = self.value_type(key)?;
        if element == ValueType::Array {
            return Err(GgufError::metadata(key, "is a list of lists"));
        }
        let len = bounded(self.u64()?, MAX_ARRAY_LEN, "the length of a list")?;
        // Cannot overflow: at most 2,000,000 × 8.
        self.demand(len * element.min_bytes())?;
        Ok((element, len))
    }

    fn skip_array(&mut self, element: ValueType, len: u64) -> Result<(), GgufError> {
        if element != ValueType::String {
            return self.skip(len * element.min_bytes());
        }
        for _ in 0..len {
            let len_bytes = self.string_len()?;
            self.skip(len_bytes)?;
        }
        Ok(())
    }

    fn token_list(&mut self, len: u64) -> Result<TokenList, GgufError> {
        let mut list = TokenList::default();
        let mut seen: HashSet<Box<[u8]>> = HashSet::new();
        for index in 0..len {
            let len_bytes = self.string_len()?;
            let mut token = self.bytes(len_bytes)?;
            if token.is_empty() {
                // llama.cpp gives empty tokens this name, and it may then meet a real token of that name.
                token = format!("[EMPTY_{index}]").into_bytes();
            }
            list.is_byte.push(is_byte_token(&token));
            list.has_duplicates |= !seen.insert(token.into_boxed_slice());
        }
        Ok(list)
    }

    fn int32_list(&mut self, len: u64) -> Result<Vec<i32>, GgufError> {
        let mut values = Vec::new();
        for _ in 0..len {
            values.push(i32::from_le_bytes(self.array()?));
        }
        Ok(values)
    }

    fn tensor_info(&mut self) -> Result<TensorInfo, GgufError> {
        let start = self.position;
        let len = bounded(
            self.u64()?,
            MAX_TENSOR_NAME_BYTES,
            "the length of a tensor's name",
        )?;
        let name = String::from_utf8(self.bytes(len)?)
            .map_err(|_| GgufError::tensor("?", "has a name that is not UTF-8"))?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(GgufError::tensor(
                name,
                "has a name that is empty or not printable",
            ));
        }
        let count = self.u32()?;
        if count == 0 || count > MAX_DIMENSIONS {
            return Err(GgufError::tensor(name, "does not have 1 to 4 dimensions"));
        }
        let mut dimensions = [1; MAX_DIMENSIONS as usize];
        for dimension in dimensions.iter_mut().take(count as usize) {
            *dimension = self.u64()?;
            if *dimension == 0 || *dimension > i64::MAX as u64 {
                return Err(GgufError::tensor(name, "has an impossible dimension"));
            }
        }
        let kind = TensorType::from_number(self.u32()?)
            .ok_or_else(|| GgufError::tensor(&name, "has an unknown number format"))?;
        let offset = self.u64()?;
        Ok(TensorInfo {
            name,
            dimensions,
            kind,
            offset,
            byte_range: start..self.position,
        })
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads `len` bytes; the caller has compared `len` with its own bound.
    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, GgufError> {
        self.demand(len)?;
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| self.too_long(len))?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, len: u64) -> Result<(), GgufError> {
        self.demand(len)?;
        let mut left = len;
        while left > 0 {
            let buffered = self.input.fill_buf()?.len() as u64;
            if buffered == 0 {
                return Err(GgufError::CutOff {
                    promised_bytes: self.position + left,
                    file_bytes: self.position,
                });
            }
            let step = buffered.min(left);
            self.input.consume(step as usize);
            self.position += step;
            left -= step;
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), GgufError> {
        self.demand(bytes.len() as u64)?;
        self.input.read_exact(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Fails unless `len` more bytes are in the file and within the bound of the header.
    fn demand(&self, len: u64) -> Result<(), GgufError> {
        let end = self.position.saturating_add(len);
        if end > self.file_bytes {
            return Err(GgufError::CutOff {
                promised_bytes: end,
                file_bytes: self.file_bytes,
            });
        }
        bounded(end, MAX_HEADER_BYTES, "the length of the header in bytes").map(|_| ())
    }

    fn too_long(&self, len: u64) -> GgufError {
        GgufError::OutOfBounds {
            what: "the length of a string",
            value: len,
            max: MAX_STRING_BYTES,
        }
    }
}

pub(super) fn bounded(value: u64, max: u64, what: &'static str) -> Result<u64, GgufError> {
    if value > max {
        Err(GgufError::OutOfBounds { what, value, max })
    } else {
        Ok(value)
    }
}

/// Whether a token stands for one byte, written as `<0x0A>`.
fn is_byte_token(token: &[u8]) -> bool {
    let upper_hex = |byte: &u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(byte);
    matches!(token, [b'<', b'0', b'x', high, low, b'>'] if upper_hex(high) && upper_hex(low))
}

/// What a file with this beginning usually is.
fn what_it_may_be(start: &[u8; 4]) -> &'static str {
    match start {
        b"FUGG" => {
            "it is a GGUF file in big-endian byte order, which cannot be read here; get the usual file of this model"
        }
        b"ggml" | b"lmgg" | b"ggjt" | b"tjgg" | b"ggla" | b"algg" => {
            "it is in the older GGML format; get the GGUF file of this model"
        }
        b"vers" => "it is only a pointer left by Git LFS; download the model file itself",
        b"<!DO" | b"<!do" | b"<htm" | b"<HTM" => {
            "it is a web page, probably an error or login page; download the model file itself"
        }
        [b'P', b'K', 3, 4] => {
            "it is a ZIP archive or a PyTorch file; unpack it, or get the GGUF file of this model"
        }
        [_, _, 0, 0] => {
            "if it is a .safetensors file of an embedder, give its folder instead; otherwise get the GGUF file of this model"
        }
        _ => "its first bytes are not \"GGUF\"; download it again, or choose a .gguf file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_tokens_have_two_upper_case_hex_digits() {
        assert!(is_byte_token(b"<0x0A>"));
        for token in [
            b"<0x-1>".as_slice(),
            b"<0x0a>",
            b"<0x0>",
            b"<0x000>",
            b"0x0A",
            b"",
        ] {
            assert!(!is_byte_token(token), "{token:?}");
        }
    }
}
