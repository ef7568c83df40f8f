//! How the work of embedding is spread over contexts, threads and steps, with the measurements behind it.
//!
//! Pure: decides, computes nothing.

use crate::embed::Piece;

/// How the work is laid out.
///
/// Lanes of onnxruntime follow the same plan: each computes with the thread that calls it, one text after the other.
///
/// Measured with llama.cpp, with all-MiniLM-L6-v2 on two cores of an AMD EPYC (AVX2, variant `haswell`) by `measure_embedding` in
/// `measure.rs`, in tokens per second. "Long" are texts of 100 to 190 words, "short" of 8 to 16; "busy" means that another
/// program keeps one core busy. "Together" are texts computed in one step:
///
/// | weights | contexts × threads | together | flash attention | long | short | busy, long | busy, short |
/// |---|---|---|---|---|---|---|---|
/// | f16 | 2 × 1 | up to 8, up to 96 tokens | on | **4,470** | **4,641** | 2,952 | 2,657 |
/// | f16 | 2 × 1 | 1 | on | 4,486 | 4,073 | 2,953 | 2,726 |
/// | f16 | 2 × 1 | 1 | off | 4,269 | 4,027 | 2,774 | 2,653 |
/// | f16 | 2 × 1 | 4 | on | 3,923 | 4,640 | 2,653 | 2,860 |
/// | f16 | 1 × 2 | 1 | on | 4,232 | 3,536 | 1,644 | 971 |
/// | f16 | 1 × 2 | 8 | on | 3,291 | 4,459 | 1,846 | 1,645 |
/// | q8_0 | 2 × 1 | up to 8, up to 96 tokens | on | 4,375 | 4,505 | 2,644 | 2,745 |
/// | q8_0 | 1 × 2 | 1 | on | 3,966 | 3,887 | 1,334 | 1,015 |
///
/// So: one context with one thread per core, because the threads of one context wait for the slowest after every step of
/// the computation, and half of the speed is lost as soon as one core is shared; long texts alone, because texts in one
/// step pay for attention across all of them; short texts together; flash attention on. Weights of 8 bits are no faster
/// than those of 16 here (they are where the processor multiplies bytes, AVX-512 VNNI).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Contexts that work side by side.
    pub(crate) lanes: u32,
    /// Threads of each context.
    pub(crate) threads_per_lane: u32,
    /// Windows computed together in one step of a context, at most.
    pub(crate) pack_windows: usize,
    /// Tokens of windows computed together, at most. A longer window goes alone.
    pub(crate) pack_tokens: usize,
    /// Whether attention is computed in one fused step.
    pub(crate) flash_attention: bool,
}

impl Plan {
    /// The fastest layout for this many threads.
    pub(crate) fn for_threads(threads: u32, gpu: bool) -> Self {
        if gpu {
            // One queue to one device, which wants large steps. Not measured.
            return Self {
                lanes: 1,
                threads_per_lane: threads,
                pack_windows: 16,
                pack_tokens: 4096,
                flash_attention: true,
            };
        }
        Self {
            lanes: threads,
            threads_per_lane: 1,
            pack_windows: 8,
            pack_tokens: 96,
            flash_attention: true,
        }
    }

    /// Cuts pieces, which are sorted by length, into steps.
    pub(crate) fn steps<'p>(&self, pieces: &'p [Piece]) -> Vec<&'p [Piece]> {
        let mut steps = Vec::new();
        let mut rest = pieces;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |piece: &&Piece| {
                tokens += piece.tokens.len();
                tokens <= self.pack_tokens
            };
            let together = rest
                .iter()
                .take(self.pack_windows)
                .take_while(fits)
                .count()
                .max(1);
            let (step, later) = rest.split_at(together);
            steps.push(step);
            rest = later;
        }
        steps
    }

    /// Tokens that a context must be able to compute in one step.
    pub(crate) fn step_tokens(&self, window_len_tokens: usize) -> usize {
        if self.pack_windows > 1 {
            window_len_tokens.max(self.pack_tokens)
        } else {
            window_len_tokens
        }
    }
}

#[cfg(test)]
mod tests {
    use llama_cpp_2::token::LlamaToken;

    use super::*;

    fn piece(len: i32) -> Piece {
        Piece {
            text: 0,
            tokens: (0..len).map(LlamaToken).collect(),
        }
    }

    #[test]
    fn short_windows_share_a_step_and_long_ones_do_not() {
        let plan = Plan {
            lanes: 1,
            threads_per_lane: 1,
            pack_windows: 3,
            pack_tokens: 10,
            flash_attention: true,
        };
        let pieces: Vec<Piece> = [50, 10, 6, 4, 4, 2, 1, 1, 1].map(piece).into();
        let lengths: Vec<usize> = plan
            .steps(&pieces)
            .into_iter()
            .map(<[Piece]>::len)
            .collect();
        assert_eq!(lengths, [1, 1, 2, 3, 2]);
        assert!(plan.steps(&[]).is_empty());
        assert_eq!(plan.step_tokens(512), 512);
    }
}
