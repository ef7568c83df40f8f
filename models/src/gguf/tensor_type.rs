//! The number formats that tensors of a GGUF file may have, with their block sizes.
//!
//! A table only. Numbers and sizes follow `ggml_type` and `ggml-common.h` of llama.cpp; removed types are
//! missing on purpose, so a file that uses one is refused.

/// Number format of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorType {
    number: u32,
    name: &'static str,
    block_len: u64,
    block_bytes: u64,
}

impl TensorType {
    /// 32-bit floating point.
    pub const F32: Self = Self::row(0, "F32", 1, 4);
    /// 16-bit floating point.
    pub const F16: Self = Self::row(1, "F16", 1, 2);
    /// Blocks of 32 signed bytes with one 16-bit scale.
    pub const Q8_0: Self = Self::row(8, "Q8_0", 32, 34);

    const fn row(number: u32, name: &'static str, block_len: u64, block_bytes: u64) -> Self {
        Self {
            number,
            name,
            block_len,
            block_bytes,
        }
    }

    /// The type with this number, if llama.cpp still knows it.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        KNOWN.iter().copied().find(|kind| kind.number == number)
    }

    /// The number that stands in the file.
    #[must_use]
    pub fn number(self) -> u32 {
        self.number
    }

    /// The usual name, such as `Q4_K`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Elements in one block; the length of a row must be a multiple of it.
    #[must_use]
    pub fn block_len(self) -> u64 {
        self.block_len
    }

    /// Bytes that `elements` take, or `None` when they do not fill whole blocks or the product overflows.
    #[must_use]
    pub fn bytes_for(self, elements: u64) -> Option<u64> {
        if !elements.is_multiple_of(self.block_len) {
            return None;
        }
        (elements / self.block_len).checked_mul(self.block_bytes)
    }
}

const KNOWN: &[TensorType] = &[
    TensorType::F32,
    TensorType::F16,
    TensorType::row(2, "Q4_0", 32, 18),
    TensorType::row(3, "Q4_1", 32, 20),
    TensorType::row(6, "Q5_0", 32, 22),
    TensorType::row(7, "Q5_1", 32, 24),
    TensorType::Q8_0,
    TensorType::row(10, "Q2_K", 256, 84),
    TensorType::row(11, "Q3_K", 256, 110),
    TensorType::row(12, "Q4_K", 256, 144),
    TensorType::row(13, "Q5_K", 256, 176),
    TensorType::row(14, "Q6_K", 256, 210),
    TensorType::row(16, "IQ2_XXS", 256, 66),
    TensorType::row(17, "IQ2_XS", 256, 74),
    TensorType::row(18, "IQ3_XXS", 256, 98),
    TensorType::row(19, "IQ1_S", 256, 50),
    TensorType::row(20, "IQ4_NL", 32, 18),
    TensorType::row(21, "IQ3_S", 256, 110),
    TensorType::row(22, "IQ2_S", 256, 82),
    TensorType::row(23, "IQ4_XS", 256, 136),
    TensorType::row(24, "I8", 1, 1),
    TensorType::row(25, "I16", 1, 2),
    TensorType::row(26, "I32", 1, 4),
    TensorType::row(27, "I64", 1, 8),
    TensorType::row(28, "F64", 1, 8),
    TensorType::row(29, "IQ1_M", 256, 56),
    TensorType::row(30, "BF16", 1, 2),
    TensorType::row(34, "TQ1_0", 256, 54),
    TensorType::row(35, "TQ2_0", 256, 66),
    TensorType::row(39, "MXFP4", 32, 17),
    TensorType::row(40, "NVFP4", 64, 36),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_llama_cpp() {
        assert_eq!(TensorType::Q8_0.bytes_for(64), Some(68));
        assert_eq!(
            TensorType::from_number(12).unwrap().bytes_for(512),
            Some(288)
        );
        assert_eq!(TensorType::from_number(3).unwrap().bytes_for(64), Some(40));
    }

    #[test]
    fn part_of_a_block_and_overflow_are_refused() {
        assert_eq!(TensorType::Q8_0.bytes_for(33), None);
        assert_eq!(TensorType::F32.bytes_for(u64::MAX / 2), None);
    }

    #[test]
    fn removed_and_invented_types_are_unknown() {
        for number in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
            assert_eq!(TensorType::from_number(number), None, "type {number}");
        }
    }
}
