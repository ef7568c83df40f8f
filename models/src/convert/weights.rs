//! Reads tensors from `model.safetensors` piece by piece.
//!
//! The header is checked against the size of the file first; a tensor is never in memory as a whole.
//! Start at [`Weights::open`].

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::error::ConvertError;

pub(crate) const FILE: &str = "model.safetensors";
/// The header of a BERT takes about 30 KiB.
const MAX_HEADER_BYTES: u64 = 8 << 20;
/// Elements in one piece: 1 MiB of 32-bit numbers, and a multiple of every block length.
const PIECE_ELEMENTS: usize = 1 << 18;

/// Takes the numbers of a piece and the bytes that they took in the file.
type UsePiece<'a> = dyn FnMut(&[f32], u64) -> Result<(), ConvertError> + 'a;

/// An open safetensors file.
#[derive(Debug)]
pub(super) struct Weights {
    file: File,
    metadata: Metadata,
    /// Where the data section starts.
    data_start: u64,
}

impl Weights {
    /// Opens `model.safetensors` in `dir` and checks its header.
    pub(super) fn open(dir: &Path) -> Result<Self, ConvertError> {
        let path = dir.join(FILE);
        if !path.is_file() {
            let sharded = dir.join("model.safetensors.index.json").is_file();
            let hint = if sharded {
                "the weights are split over several files, which is not supported"
            } else {
                "only weights in safetensors form can be converted, not pytorch_model.bin"
            };
            return Err(ConvertError::MissingFile {
                file: FILE.to_owned(),
                hint,
            });
        }
        let mut file = File::open(&path).map_err(read_error)?;
        let file_bytes = file.metadata().map_err(read_error)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| bad_file("is empty or cut off"))?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes + 8 > file_bytes {
            return Err(bad_file("has a damaged header, or is cut off"));
        }
        let mut header = vec![0; header_bytes as usize];
        file.read_exact(&mut header).map_err(read_error)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|source| ConvertError::Json {
                file: FILE.to_owned(),
                source,
            })?;
        let data_start = header_bytes + 8;
        let promised = (metadata.data_len() as u64).saturating_add(data_start);
        if promised != file_bytes {
            return Err(bad_file(&format!(
                "should have {promised} bytes and has {file_bytes}"
            )));
        }
        Ok(Self {
            file,
            metadata,
            data_start,
        })
    }

    /// Names of all tensors in the order of their data.
    pub(super) fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Shape and number format of a tensor.
    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Bytes of a tensor in the file; 0 when it is not there.
    pub(super) fn tensor_bytes(&self, name: &str) -> u64 {
        self.info(name)
            .map_or(0, |info| (info.data_offsets.1 - info.data_offsets.0) as u64)
    }

    /// Calls `use_piece` with every piece of a tensor as 32-bit numbers.
    ///
    /// Every piece but the last has the same length, a multiple of 256 elements.
    pub(super) fn for_each_piece(
        &mut self,
        name: &str,
        use_piece: &mut UsePiece<'_>,
    ) -> Result<(), ConvertError> {
        let info = self
            .info(name)
            .ok_or_else(|| ConvertError::bad_weights(name, "is missing"))?
            .clone();
        let element_bytes =
            element_bytes(info.dtype).ok_or_else(|| unsupported_format(name, info.dtype))?;
        let start = self.data_start + info.data_offsets.0 as u64;
        self.file.seek(SeekFrom::Start(start)).map_err(read_error)?;
        let mut left_bytes = info.data_offsets.1 - info.data_offsets.0;
        let mut raw = vec![0; left_bytes.min(PIECE_ELEMENTS * element_bytes)];
        let mut numbers = Vec::with_capacity(raw.len() / element_bytes);
        while left_bytes > 0 {
            let piece = &mut raw[..left_bytes.min(PIECE_ELEMENTS * element_bytes)];
            self.file.read_exact(piece).map_err(read_error)?;
            decode(info.dtype, piece, &mut numbers);
            use_piece(&numbers, piece.len() as u64)?;
            left_bytes -= piece.len();
        }
        Ok(())
    }
}

/// Bytes of one number in the formats that are read; other formats are refused.
fn element_bytes(format: Dtype) -> Option<usize> {
    match format {
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

/// Fails when the numbers of a tensor are in a format that is not read here.
pub(super) fn check_format(name: &str, info: &TensorInfo) -> Result<(), ConvertError> {
    element_bytes(info.dtype)
        .map(|_| ())
        .ok_or_else(|| unsupported_format(name, info.dtype))
}

fn decode(format: Dtype, bytes: &[u8], numbers: &mut Vec<f32>) {
    numbers.clear();
    match format {
        Dtype::F16 => numbers.extend(pairs(bytes).map(|pair| f16::from_le_bytes(pair).to_f32())),
        Dtype::BF16 => numbers.extend(pairs(bytes).map(|pair| bf16::from_le_bytes(pair).to_f32())),
        _ => numbers.extend(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|four| f32::from_le_bytes(*four)),
        ),
    }
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    bytes.as_chunks::<2>().0.iter().copied()
}

fn unsupported_format(name: &str, format: Dtype) -> ConvertError {
    ConvertError::bad_weights(
        name,
        format!("has the number format {format:?}, which is not F32, F16 or BF16"),
    )
}

fn read_error(source: std::io::Error) -> ConvertError {
    ConvertError::Read {
        file: FILE.to_owned(),
        source,
    }
}

fn bad_file(problem: &str) -> ConvertError {
    ConvertError::bad_weights("the file", problem)
}
