//! Encodes 32-bit numbers in the formats of GGUF.
//!
//! Pure. Refuses what the format cannot hold: a weight that is not a number, infinite, or too large for 16 bits.
//! Q8_0 follows `quantize_row_q8_0_ref` of llama.cpp bit by bit.

use half::f16;

use super::error::ConvertError;
use crate::gguf::TensorType;

/// Numbers in one block of Q8_0.
pub(super) const Q8_0_BLOCK_LEN: usize = 32;

/// Encodes in one number format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoder {
    kind: TensorType,
}

impl Encoder {
    /// An encoder for F32, F16 or Q8_0, the formats that a plan of this conversion can hold.
    pub(super) fn new(kind: TensorType) -> Self {
        Self { kind }
    }

    /// Encodes a piece of the tensor `name`; for Q8_0 its length must be a multiple of 32.
    pub(super) fn encode(self, name: &str, numbers: &[f32]) -> Result<Vec<u8>, ConvertError> {
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(ConvertError::bad_weights(
                name,
                "holds a weight that is not a finite number",
            ));
        }
        let encoded = match self.kind {
            TensorType::F16 => encode_f16(numbers),
            TensorType::Q8_0 => encode_q8_0(numbers),
            _ => Some(
                numbers
                    .iter()
                    .flat_map(|number| number.to_le_bytes())
                    .collect(),
            ),
        };
        encoded
            .ok_or_else(|| ConvertError::bad_weights(name, "holds a weight too large for 16 bits"))
    }
}

/// `None` when a number becomes infinite.
fn encode_f16(numbers: &[f32]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(numbers.len() * 2);
    for number in numbers {
        let half = f16::from_f32(*number);
        if half.is_infinite() {
            return None;
        }
        bytes.extend(half.to_le_bytes());
    }
    Some(bytes)
}

/// Blocks of a 16-bit scale and 32 signed bytes; `None` when a scale becomes infinite.
fn encode_q8_0(numbers: &[f32]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(numbers.len() / Q8_0_BLOCK_LEN * 34);
    for block in numbers.as_chunks::<Q8_0_BLOCK_LEN>().0 {
        let largest = block
            .iter()
            .fold(0.0_f32, |largest, number| largest.max(number.abs()));
        let scale = largest / 127.0;
        // The inverse of nothing, or of next to nothing, is infinite: such a block is all zeros.
        let inverse = Some(1.0 / scale)
            .filter(|inverse| inverse.is_finite())
            .unwrap_or(0.0);
        let half = f16::from_f32(scale);
        if half.is_infinite() {
            return None;
        }
        bytes.extend(half.to_le_bytes());
        bytes.extend(
            block
                .iter()
                .map(|number| (number * inverse).round() as i8 as u8),
        );
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_q8_0(bytes: &[u8]) -> Vec<f32> {
        let decode = |block: &[u8]| {
            let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
            block[2..]
                .iter()
                .map(|byte| f32::from(*byte as i8) * scale)
                .collect::<Vec<_>>()
        };
        bytes.chunks(34).flat_map(decode).collect()
    }

    #[test]
    fn q8_0_is_right_to_half_a_step() {
        let numbers: Vec<f32> = (0..64)
            .map(|i| ((i * 37 % 64) as f32 - 31.5) / 7.0)
            .collect();
        let bytes = encode_q8_0(&numbers).unwrap();
        assert_eq!(bytes.len(), 68);
        let step = 31.5 / 7.0 / 127.0;
        for (number, decoded) in numbers.iter().zip(decode_q8_0(&bytes)) {
            // Half a step of rounding, and the scale itself is rounded to 11 bits.
            assert!(
                (number - decoded).abs() <= step * 0.5 + number.abs() / 2048.0,
                "{number} became {decoded}"
            );
        }
    }

    #[test]
    fn a_frozen_block_has_these_bytes() {
        let mut numbers = [0.0_f32; 32];
        numbers[..4].copy_from_slice(&[127.0, -127.0, 0.5, 63.4]);
        let bytes = encode_q8_0(&numbers).unwrap();
        // Scale 1.0 as a 16-bit number, then 127, -127, 1 (halves round away from zero), 63.
        assert_eq!(bytes[..6], [0x00, 0x3c, 127, 129, 1, 63]);
        assert!(bytes[6..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn zeros_stay_zeros() {
        assert_eq!(encode_q8_0(&[0.0; 32]).unwrap(), [0; 34]);
        assert_eq!(
            encode_q8_0(&[f32::MIN_POSITIVE / 1024.0; 32]).unwrap(),
            [0; 34]
        );
    }

    #[test]
    fn what_16_bits_cannot_hold_is_refused() {
        for kind in [TensorType::F16, TensorType::Q8_0, TensorType::F32] {
            for bad in [f32::NAN, f32::INFINITY] {
                let mut numbers = [1.0; 32];
                numbers[7] = bad;
                assert!(
                    Encoder::new(kind).encode("t", &numbers).is_err(),
                    "{kind:?} {bad}"
                );
            }
        }
        assert!(
            Encoder::new(TensorType::F16)
                .encode("t", &[70_000.0])
                .is_err()
        );
        assert!(
            Encoder::new(TensorType::Q8_0)
                .encode("t", &[1e7; 32])
                .is_err()
        );
    }
}
