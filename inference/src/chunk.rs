//! How many tokens of a prompt are read at once.
//!
//! More at once is less work for each, and a longer wait until a cancelled request stops reading; it also takes memory,
//! for the scores of a whole vocabulary per token. Measured with SmolLM2-135M Q4_1 on two cores of an AMD EPYC
//! (`llama-bench -p 512`, means of six runs in turn): 312 tokens per second in chunks of 128, 329 of 256, 319 of 512.
//! The number depends on the file alone, never on how fast the last chunk was: other chunks round differently, and a
//! seeded answer would come out differently each time. Pure. Start at [`prompt_chunk_tokens`].

/// Tokens that a chat model whose file has so many bytes reads at once.
///
/// A model of a billion weights reads 100 tokens a second or more on a laptop, so that a chunk of 256 takes two seconds
/// at most; for larger ones it is halved, since nobody likes to wait longer for a *Stop*.
#[must_use]
pub fn prompt_chunk_tokens(file_bytes: u64) -> usize {
    if file_bytes < LARGE_BYTES { 256 } else { 128 }
}

/// A model of a billion weights with its output, at 4 to 8 bits each.
const LARGE_BYTES: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_models_stop_reading_as_soon_as_small_ones() {
        assert_eq!(prompt_chunk_tokens(98 << 20), 256);
        assert_eq!(prompt_chunk_tokens(4 << 30), 128);
    }
}
