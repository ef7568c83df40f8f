//! Cuts a toy model into parts as `llama-gguf-split` does; tests change one part before it is written.

use std::fs;
use std::path::{Path, PathBuf};

use satchel_models::gguf::{MetadataValue, TensorPlan, TensorType};

use super::Toy;

/// Alignment of files that do not name one.
const DEFAULT_ALIGNMENT: usize = 32;

/// A tensor with its data.
pub(crate) type Tensor = (TensorPlan, Vec<u8>);

/// One part of a split model.
#[derive(Clone)]
pub(crate) struct PartToy {
    pub(crate) metadata: RawMetadata,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) alignment: usize,
}

/// Metadata as it stands in a file.
#[derive(Clone, Default)]
pub(crate) struct RawMetadata {
    pub(crate) count: u64,
    pub(crate) bytes: Vec<u8>,
}

impl RawMetadata {
    /// Adds an entry whose value stands in the file as `value`.
    pub(crate) fn push(&mut self, key: &str, kind: u32, value: &[u8]) {
        push_text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend(value);
        self.count += 1;
    }

    /// Replaces the value of an entry by one of the same length.
    pub(crate) fn overwrite(&mut self, key: &str, value: &[u8]) {
        let at = find(&self.bytes, key.as_bytes()) + key.len() + 4;
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }
}

impl PartToy {
    /// The whole of a model: no part yet.
    pub(crate) fn whole(toy: &Toy, alignment: usize) -> Self {
        let alignment_value = MetadataValue::Uint32(alignment as u32);
        let toy = toy.clone().set("general.alignment", alignment_value);
        let file = toy.bytes();
        let mut first_info = Vec::new();
        push_text(&mut first_info, &toy.plan[0].name);
        let metadata = RawMetadata {
            count: toy.metadata.len() as u64,
            bytes: file[24..find(&file, &first_info)].to_vec(),
        };
        // No two tensors look alike.
        let data = |seed: usize, plan: &TensorPlan| -> Vec<u8> {
            let len = plan.data_bytes().unwrap() as usize;
            (0..len).map(|n| (n * 31 + seed * 97 + 1) as u8).collect()
        };
        let tensors = toy.plan.iter().enumerate();
        Self {
            metadata,
            tensors: tensors
                .map(|(seed, plan)| (plan.clone(), data(seed, plan)))
                .collect(),
            alignment,
        }
    }

    /// Cuts it; each part gets so many tensors.
    pub(crate) fn split(&self, tensors: &[usize]) -> Vec<Self> {
        let mut rest = self.tensors.as_slice();
        let parts = tensors.iter().enumerate().map(|(number, len)| {
            let (taken, left) = rest.split_at(*len);
            rest = left;
            // Only the first has more than the numbers of the splitting.
            let (mut metadata, alignment) = match number {
                0 => (self.metadata.clone(), self.alignment),
                _ => (RawMetadata::default(), DEFAULT_ALIGNMENT),
            };
            let u16_bytes = |number: usize| (number as u16).to_le_bytes();
            let tensor_count = self.tensors.len() as i32;
            metadata.push("split.no", 2, &u16_bytes(number));
            metadata.push("split.tensors.count", 5, &tensor_count.to_le_bytes());
            metadata.push("split.count", 2, &u16_bytes(tensors.len()));
            Self {
                metadata,
                tensors: taken.to_vec(),
                alignment,
            }
        });
        parts.collect()
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.metadata.count.to_le_bytes());
        bytes.extend(&self.metadata.bytes);
        let mut offset = 0_u64;
        for (plan, data) in &self.tensors {
            push_text(&mut bytes, &plan.name);
            bytes.extend((plan.dimensions.len() as u32).to_le_bytes());
            for dimension in &plan.dimensions {
                bytes.extend(dimension.to_le_bytes());
            }
            bytes.extend(plan.kind.number().to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset += data.len().next_multiple_of(self.alignment) as u64;
        }
        pad(&mut bytes, self.alignment);
        for (_, data) in &self.tensors {
            bytes.extend(data);
            pad(&mut bytes, self.alignment);
        }
        bytes
    }
}

/// A toy model with six tensors, some of which need padding.
pub(crate) fn toy_of_six_tensors() -> Toy {
    let mut toy = Toy::chat();
    for (name, dimensions, kind) in [
        ("rope_freqs.weight", vec![3], TensorType::F32),
        ("blk.0.attn_k.weight", vec![64, 64], TensorType::F16),
        ("blk.0.attn_norm.weight", vec![5], TensorType::F32),
    ] {
        toy.plan.push(TensorPlan {
            name: name.into(),
            dimensions,
            kind,
        });
    }
    toy
}

/// File name of a part, counted from 1.
pub(crate) fn part_name(name: &str, number: usize, count: usize) -> String {
    format!("{name}-{number:05}-of-{count:05}.gguf")
}

/// Writes all parts into a folder and gives their paths.
pub(crate) fn write_parts(dir: &Path, name: &str, parts: &[PartToy]) -> Vec<PathBuf> {
    fs::create_dir_all(dir).unwrap();
    let paths = parts.iter().enumerate().map(|(index, part)| {
        let path = dir.join(part_name(name, index + 1, parts.len()));
        fs::write(&path, part.bytes()).unwrap();
        path
    });
    paths.collect()
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    let mut windows = bytes.windows(wanted.len());
    windows.position(|window| window == wanted).unwrap()
}
