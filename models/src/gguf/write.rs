//! Writes GGUF files: the header at once, then one tensor after another, so a model never has to be in memory.
//!
//! Never seeks and never goes back: any [`Write`] will do, also one that computes a hash.
//! Start at [`GgufWriter::start`].

use std::io::{self, Write};

use super::tensor_type::TensorType;
use super::{DEFAULT_ALIGNMENT_BYTES, MAGIC, ValueType, padded};

/// A metadata value that this writer can write.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MetadataValue {
    /// Unsigned 32-bit number.
    Uint32(u32),
    /// 32-bit floating-point number.
    Float32(f32),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(String),
    /// List of texts.
    Texts(Vec<String>),
    /// List of signed 32-bit numbers.
    Int32s(Vec<i32>),
}

/// A tensor that is going to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorPlan {
    /// Name in the file.
    pub name: String,
    /// Fastest dimension first, as GGUF has it: a matrix of `rows` × `columns` is `[columns, rows]`.
    pub dimensions: Vec<u64>,
    /// Number format.
    pub kind: TensorType,
}

impl TensorPlan {
    /// Bytes of the tensor's data without padding; `None` when the format does not fit the dimensions.
    #[must_use]
    pub fn data_bytes(&self) -> Option<u64> {
        let row_len = *self.dimensions.first()?;
        if !row_len.is_multiple_of(self.kind.block_len()) {
            return None;
        }
        let elements = self
            .dimensions
            .iter()
            .try_fold(1_u64, |product, dimension| product.checked_mul(*dimension))?;
        self.kind.bytes_for(elements)
    }
}

/// Why writing failed. The output is unusable afterwards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The output could not be written, for example because the disk is full.
    #[error("cannot write the model file; check the free space on the disk")]
    Io(#[from] io::Error),
    /// A planned tensor has impossible dimensions.
    #[error("the tensor {name} cannot be written in its number format")]
    BadTensor {
        /// Its name.
        name: String,
    },
    /// The data that came is not what was planned.
    #[error("{given_bytes} bytes were given for the tensor {name}, {planned_bytes} were planned")]
    WrongLength {
        /// Its name.
        name: String,
        /// Bytes given.
        given_bytes: u64,
        /// Bytes planned.
        planned_bytes: u64,
    },
}

/// A GGUF file whose header is written and whose tensors follow.
///
/// # Examples
/// ```
/// use satchel_models::gguf::{GgufWriter, MetadataValue, TensorPlan, TensorType};
/// let metadata = [("general.architecture", MetadataValue::Text("bert".into()))];
/// let plan = vec![TensorPlan { name: "a".into(), dimensions: vec![2], kind: TensorType::F32 }];
/// let mut writer = GgufWriter::start(Vec::new(), &metadata, plan)?;
/// writer.write_data(&1.0_f32.to_le_bytes())?;
/// writer.write_data(&2.0_f32.to_le_bytes())?;
/// let file = writer.finish()?;
/// assert_eq!(&file[..4], b"GGUF");
/// # Ok::<(), satchel_models::gguf::WriteError>(())
/// ```
#[derive(Debug)]
pub struct GgufWriter<W> {
    output: W,
    plan: Vec<TensorPlan>,
    /// Index of the tensor that is being written.
    current: usize,
    /// Bytes of it that are written.
    written_bytes: u64,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the header: metadata in the given order, then the description of every tensor.
    ///
    /// # Errors
    /// [`WriteError::BadTensor`] before anything is written, [`WriteError::Io`] when the output fails.
    pub fn start(
        mut output: W,
        metadata: &[(&str, MetadataValue)],
        plan: Vec<TensorPlan>,
    ) -> Result<Self, WriteError> {
        output.write_all(&header_bytes(metadata, &plan)?)?;
        Ok(Self {
            output,
            plan,
            current: 0,
            written_bytes: 0,
        })
    }

    /// Writes the next part of the current tensor's data; a tensor may come in any number of parts, but a
    /// part must not reach into the next tensor.
    ///
    /// # Errors
    /// [`WriteError::WrongLength`] when more came than was planned, [`WriteError::Io`] when the output fails.
    pub fn write_data(&mut self, data: &[u8]) -> Result<(), WriteError> {
        let planned_bytes = self.current_bytes();
        let given_bytes = self.written_bytes + data.len() as u64;
        if given_bytes > planned_bytes {
            return Err(WriteError::WrongLength {
                name: self.current_name(),
                given_bytes,
                planned_bytes,
            });
        }
        self.output.write_all(data)?;
        self.written_bytes = given_bytes;
        if given_bytes == planned_bytes {
            self.output.write_all(&padding(planned_bytes))?;
            self.current += 1;
            self.written_bytes = 0;
        }
        Ok(())
    }

    /// Ends the file and gives the output back, flushed.
    ///
    /// # Errors
    /// [`WriteError::WrongLength`] when a tensor is not complete, [`WriteError::Io`] when the output fails.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if self.current < self.plan.len() {
            return Err(WriteError::WrongLength {
                name: self.current_name(),
                given_bytes: self.written_bytes,
                planned_bytes: self.current_bytes(),
            });
        }
        self.output.flush()?;
        Ok(self.output)
    }

    fn current_bytes(&self) -> u64 {
        self.plan
            .get(self.current)
            .and_then(TensorPlan::data_bytes)
            .unwrap_or(0)
    }

    fn current_name(&self) -> String {
        self.plan
            .get(self.current)
            .map_or_else(|| "after the last".to_owned(), |plan| plan.name.clone())
    }
}

/// Size of the file that [`GgufWriter`] makes of these parts.
pub(crate) fn file_bytes(
    metadata: &[(&str, MetadataValue)],
    plan: &[TensorPlan],
) -> Result<u64, WriteError> {
    let header = header_bytes(metadata, plan)?.len() as u64;
    plan.iter().try_fold(header, end_after)
}

/// Everything before the tensor data, padded.
fn header_bytes(
    metadata: &[(&str, MetadataValue)],
    plan: &[TensorPlan],
) -> Result<Vec<u8>, WriteError> {
    const VERSION: u32 = 3;
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((plan.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        push_text(&mut bytes, key);
        push_value(&mut bytes, value);
    }
    let mut offset = 0;
    for tensor in plan {
        push_text(&mut bytes, &tensor.name);
        bytes.extend((tensor.dimensions.len() as u32).to_le_bytes());
        for dimension in &tensor.dimensions {
            bytes.extend(dimension.to_le_bytes());
        }
        bytes.extend(tensor.kind.number().to_le_bytes());
        bytes.extend(u64::to_le_bytes(offset));
        offset = end_after(offset, tensor)?;
    }
    let gap = padding(bytes.len() as u64);
    bytes.extend(gap);
    Ok(bytes)
}

/// Where the data of a tensor that starts at `offset` ends, padding included.
fn end_after(offset: u64, tensor: &TensorPlan) -> Result<u64, WriteError> {
    tensor
        .data_bytes()
        .and_then(|bytes| padded(bytes, DEFAULT_ALIGNMENT_BYTES))
        .and_then(|bytes| offset.checked_add(bytes))
        .ok_or_else(|| WriteError::BadTensor {
            name: tensor.name.clone(),
        })
}

fn padding(written_bytes: u64) -> Vec<u8> {
    let rest = written_bytes % DEFAULT_ALIGNMENT_BYTES;
    vec![
        0;
        if rest == 0 {
            0
        } else {
            (DEFAULT_ALIGNMENT_BYTES - rest) as usize
        }
    ]
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn push_value(bytes: &mut Vec<u8>, value: &MetadataValue) {
    let push_kind =
        |bytes: &mut Vec<u8>, kind: ValueType| bytes.extend((kind as u32).to_le_bytes());
    match value {
        MetadataValue::Uint32(number) => {
            push_kind(bytes, ValueType::Uint32);
            bytes.extend(number.to_le_bytes());
        }
        MetadataValue::Float32(number) => {
            push_kind(bytes, ValueType::Float32);
            bytes.extend(number.to_le_bytes());
        }
        MetadataValue::Bool(truth) => {
            push_kind(bytes, ValueType::Bool);
            bytes.push(u8::from(*truth));
        }
        MetadataValue::Text(text) => {
            push_kind(bytes, ValueType::String);
            push_text(bytes, text);
        }
        MetadataValue::Texts(texts) => {
            push_kind(bytes, ValueType::Array);
            push_kind(bytes, ValueType::String);
            bytes.extend((texts.len() as u64).to_le_bytes());
            for text in texts {
                push_text(bytes, text);
            }
        }
        MetadataValue::Int32s(numbers) => {
            push_kind(bytes, ValueType::Array);
            push_kind(bytes, ValueType::Int32);
            bytes.extend((numbers.len() as u64).to_le_bytes());
            for number in numbers {
                bytes.extend(number.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_tensor(kind: TensorType, len: u64) -> Vec<TensorPlan> {
        vec![TensorPlan {
            name: "t".into(),
            dimensions: vec![len],
            kind,
        }]
    }

    #[test]
    fn a_file_has_the_promised_size() {
        let metadata = [("general.name", MetadataValue::Text("x".into()))];
        let plan = one_tensor(TensorType::F16, 3);
        let promised = file_bytes(&metadata, &plan).unwrap();
        let mut writer = GgufWriter::start(Vec::new(), &metadata, plan).unwrap();
        writer.write_data(&[1; 6]).unwrap();
        assert_eq!(writer.finish().unwrap().len() as u64, promised);
    }

    #[test]
    fn too_much_and_too_little_data_are_noticed() {
        let mut writer =
            GgufWriter::start(Vec::new(), &[], one_tensor(TensorType::F32, 2)).unwrap();
        writer.write_data(&[0; 4]).unwrap();
        assert!(matches!(
            writer.write_data(&[0; 5]),
            Err(WriteError::WrongLength { given_bytes: 9, .. })
        ));
        assert!(matches!(
            writer.finish(),
            Err(WriteError::WrongLength {
                given_bytes: 4,
                planned_bytes: 8,
                ..
            })
        ));
    }

    #[test]
    fn a_row_that_is_no_whole_block_cannot_be_planned() {
        let plan = vec![TensorPlan {
            name: "t".into(),
            dimensions: vec![16, 2],
            kind: TensorType::Q8_0,
        }];
        assert!(matches!(
            GgufWriter::start(Vec::new(), &[], plan),
            Err(WriteError::BadTensor { .. })
        ));
    }
}
