//! Reads tensors of a GGUF file as numbers of 32 bits.
//!
//! Only where its caller says that they lie, and in three formats. Start at [`Weights::new`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::request::{TensorBytes, WeightType};

/// The tensors of a file.
pub(super) struct Weights {
    path: PathBuf,
    tensors: BTreeMap<String, TensorBytes>,
}

impl Weights {
    pub(super) fn new(path: &Path, tensors: &BTreeMap<String, TensorBytes>) -> Self {
        Self {
            path: path.to_owned(),
            tensors: tensors.clone(),
        }
    }

    /// All numbers of a tensor.
    pub(super) fn read(&self, name: &str) -> Result<Vec<f32>, String> {
        let (bytes, kind) = self.bytes(name)?;
        let mut numbers = Vec::new();
        decode(&bytes, kind, &mut numbers);
        Ok(numbers)
    }

    /// A tensor whose rows are read one by one: as short as it is in the file.
    pub(super) fn table(&self, name: &str, width: usize) -> Result<Table, String> {
        let (bytes, kind) = self.bytes(name)?;
        let (elements, block_bytes) = kind.block();
        if !width.is_multiple_of(elements) {
            return Err(format!("the rows of {name} are no whole blocks"));
        }
        Ok(Table {
            bytes,
            kind,
            row_bytes: width / elements * block_bytes,
        })
    }

    fn bytes(&self, name: &str) -> Result<(Vec<u8>, WeightType), String> {
        let missing = || format!("it has no tensor {name}");
        let place = self.tensors.get(name).ok_or_else(missing)?;
        let read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(place.start))?;
            let mut bytes = Vec::new();
            file.take(place.len).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes)
        };
        let bytes = read().map_err(|error| error.to_string())?;
        if bytes.len() as u64 == place.len {
            Ok((bytes, place.kind))
        } else {
            Err(format!("the file ends within {name}"))
        }
    }
}

/// The rows of a tensor.
pub(super) struct Table {
    bytes: Vec<u8>,
    kind: WeightType,
    row_bytes: usize,
}

impl Table {
    /// Puts a row behind what is there; `None` where there is no such row.
    pub(super) fn add_row(&self, row: usize, to: &mut Vec<f32>) -> Option<()> {
        let start = row.checked_mul(self.row_bytes)?;
        let bytes = self.bytes.get(start..start.checked_add(self.row_bytes)?)?;
        decode(bytes, self.kind, to);
        Some(())
    }
}

impl WeightType {
    /// Elements and bytes of a block.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 => (1, 2),
            Self::Q8_0 => (32, 34),
        }
    }
}

fn decode(bytes: &[u8], kind: WeightType, to: &mut Vec<f32>) {
    let (_, block_bytes) = kind.block();
    for block in bytes.chunks_exact(block_bytes) {
        match (kind, block) {
            (WeightType::F32, &[a, b, c, d]) => to.push(f32::from_le_bytes([a, b, c, d])),
            (WeightType::F16, &[a, b]) => to.push(half(a, b)),
            (WeightType::Q8_0, &[a, b, ref values @ ..]) => {
                let scale = half(a, b);
                to.extend(
                    values
                        .iter()
                        .map(|value| f32::from(value.cast_signed()) * scale),
                );
            }
            _ => {}
        }
    }
}

fn half(low: u8, high: u8) -> f32 {
    half::f16::from_le_bytes([low, high]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats_give_their_numbers() {
        let numbers = |bytes: &[u8], kind| {
            let mut numbers = Vec::new();
            decode(bytes, kind, &mut numbers);
            numbers
        };
        let floats = [1.5f32, -2.0].map(f32::to_le_bytes).concat();
        assert_eq!(numbers(&floats, WeightType::F32), [1.5, -2.0]);
        let halves = [0.5f32, -3.0].map(|x| half::f16::from_f32(x).to_le_bytes());
        assert_eq!(numbers(&halves.concat(), WeightType::F16), [0.5, -3.0]);
        let mut block = half::f16::from_f32(0.25).to_le_bytes().to_vec();
        block.extend((0..32).map(|n: i8| (n - 16).cast_unsigned()));
        let decoded = numbers(&block, WeightType::Q8_0);
        assert_eq!((decoded.len(), decoded[0], decoded[17]), (32, -4.0, 0.25));

        let table = Table {
            bytes: floats,
            kind: WeightType::F32,
            row_bytes: 4,
        };
        let mut row = Vec::new();
        assert_eq!(table.add_row(1, &mut row), Some(()));
        assert_eq!(table.add_row(2, &mut row), None);
        assert_eq!(table.add_row(usize::MAX, &mut row), None);
        assert_eq!(row, [-2.0]);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let place = TensorBytes {
            start: 4,
            len: 8,
            kind: WeightType::F32,
        };
        let tensors = [("a".to_owned(), place)].into();
        let weights = Weights::new(file.path(), &tensors);
        assert!(weights.read("a").unwrap_err().contains("ends within a"));
        assert!(weights.read("b").unwrap_err().contains("no tensor b"));
    }
}
