//! A block of memory to be read as fast as it can be: how fast a model writes follows from it.
//!
//! Only the reading is here, in a crate that is always compiled for speed; who times it, and with how many threads,
//! decides the caller. Start at [`Block::new`].

/// Memory that is really there, with something in it.
#[derive(Debug)]
pub struct Block(Vec<u64>);

impl Block {
    /// Takes so many bytes of memory; `None` where there are not so many.
    #[must_use]
    pub fn new(bytes: usize) -> Option<Self> {
        let len = bytes / size_of::<u64>();
        let mut words = Vec::new();
        words.try_reserve_exact(len).ok()?;
        // Zeros would be one page that is shown again and again.
        words.resize(len, 1);
        Some(Self(words))
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len() * size_of::<u64>()
    }

    /// Reads all of it; the result is good for nothing but that it cannot be had without reading.
    #[must_use]
    pub fn read(&self) -> u64 {
        // Sums side by side: one alone would wait for itself.
        const SUMS: usize = 16;
        let mut sums = [0_u64; SUMS];
        for words in self.0.chunks_exact(SUMS) {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum = sum.wrapping_add(*word);
            }
        }
        sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_is_read() {
        let block = Block::new(8 * 1024).unwrap();
        assert_eq!((block.bytes(), block.read()), (8192, 1024));
    }
}
