//! Whether a model fits a machine: the memory that it needs, what goes to a GPU, and how fast it will be.
//!
//! Computed from the header of a file alone, so also before a download, and before llama.cpp is started; a test holds
//! it against what llama.cpp then takes. Pure. Start at [`need`] and [`judge`].

use crate::gguf::ModelShape;

pub mod memory_speed;

/// How a model is going to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Tokens of the context.
    pub context_len_tokens: u32,
    /// Tokens that are read at once.
    pub batch_tokens: u32,
    /// Layers on a GPU, the output counted as one.
    pub gpu_layers: u32,
}

/// Memory that a model needs, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Need {
    /// On the processor's side.
    pub host: Part,
    /// On the GPU's.
    pub gpu: Part,
}

/// What one side needs, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Weights.
    pub weights_bytes: u64,
    /// What is kept of the tokens of the context.
    pub context_bytes: u64,
    /// Room to compute in.
    pub compute_bytes: u64,
}

impl Part {
    /// All of it.
    #[must_use]
    pub fn total_bytes(self) -> u64 {
        self.weights_bytes + self.context_bytes + self.compute_bytes
    }
}

impl Need {
    /// Both sides.
    #[must_use]
    pub fn total_bytes(self) -> u64 {
        self.host.total_bytes() + self.gpu.total_bytes()
    }
}

/// The memory that a model needs.
#[must_use]
pub fn need(shape: &ModelShape, wish: Wish) -> Need {
    let layers = shape.layers.len();
    let on_gpu = (wish.gpu_layers as usize).min(layers + 1);
    // The last layers go first, and the output before them.
    let first_on_gpu = (layers + 1 - on_gpu).min(layers);
    let cells = u64::from(wish.context_len_tokens).next_multiple_of(CONTEXT_STEP);
    let mut need = Need::default();
    for (index, layer) in shape.layers.iter().enumerate() {
        let side = if index >= first_on_gpu && on_gpu > 0 {
            &mut need.gpu
        } else {
            &mut need.host
        };
        side.weights_bytes += layer.weights_bytes;
        side.context_bytes += cells * layer.kept_per_token * KEPT_BYTES;
        side.context_bytes += layer.state_len * STATE_BYTES;
    }
    let compute = compute_bytes(shape, cells, wish.batch_tokens);
    need.host.weights_bytes += shape.input_bytes;
    if on_gpu > 0 {
        let copy = if shape.ties_output {
            shape.input_bytes
        } else {
            0
        };
        need.gpu.weights_bytes += shape.output_bytes + copy;
        need.gpu.compute_bytes = compute;
        // What is handed over between the two.
        need.host.compute_bytes = inputs_bytes(shape, cells, wish.batch_tokens);
    } else {
        need.host.weights_bytes += shape.output_bytes;
        need.host.compute_bytes = compute;
    }
    need
}

/// Room to compute a batch in: the scores of the whole vocabulary for each of its tokens beside what they are made
/// from, or the widest vectors inside a layer, whichever is more; and one row of scores that is handed out.
///
/// The counts of vectors are what llama.cpp's graphs were seen to need; `tests/tests/fit.rs` compares.
fn compute_bytes(shape: &ModelShape, cells: u64, batch_tokens: u32) -> u64 {
    let batch = u64::from(batch_tokens).min(cells);
    let scores = shape.vocabulary_len + 4 * shape.embedding_dim;
    let layer = 3 * shape.embedding_dim + 2 * shape.feed_forward_len;
    batch * NUMBER_BYTES * scores.max(layer)
        + shape.vocabulary_len * NUMBER_BYTES
        + inputs_bytes(shape, cells, batch_tokens)
}

/// The vectors of the tokens, and which tokens see which.
fn inputs_bytes(shape: &ModelShape, cells: u64, batch_tokens: u32) -> u64 {
    let batch = u64::from(batch_tokens).min(cells);
    let is_list = shape.layers.iter().any(|layer| layer.kept_per_token > 0);
    let seen = match (is_list, shape.has_window) {
        (false, _) => 0,
        (true, false) => cells,
        // Once for the layers that see all, once for those that see the last tokens.
        (true, true) => 2 * cells,
    };
    batch * (shape.embedding_dim * NUMBER_BYTES + seen * KEPT_BYTES)
}

/// What a machine has, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Machine {
    /// Memory of the processor; 0 where the system does not say, and then everything fits.
    pub memory_bytes: u64,
    /// What all cores together read of it in a second, where it was measured.
    pub read_bytes_per_s: Option<u64>,
    /// Cores that compute; 0 where that is not known.
    pub cores: u64,
    /// What models may take of its GPUs together; 0 without one.
    pub gpu_room_bytes: u64,
    /// The GPU has no memory of its own.
    pub gpu_shares_memory: bool,
}

/// How a model would do on a machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Advice {
    /// In one word.
    pub verdict: Verdict,
    /// Tokens of the context that suit the machine.
    pub context_len_tokens: u32,
    /// Layers that go to the GPU, the output counted as one.
    pub gpu_layers: u32,
    /// Layers in all, counted so.
    pub of_layers: u32,
    /// The memory that it then needs.
    pub need: Need,
    /// Tokens that it writes in a second, from the weights that are read for each and the speed of the memory; `None`
    /// where that was not measured, or a GPU writes, whose speed is not known beforehand.
    pub tokens_per_s: Option<f64>,
}

/// Whether a model suits a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// With room for everything else, and faster than one reads.
    Fits,
    /// It fits, and writes slower than one reads.
    Slow,
    /// Only when little else runs.
    Tight,
    /// Not at all.
    TooLarge,
}

/// Chooses context and layers for a model, and judges it.
///
/// `context` are the tokens that the user wants, `None` for what suits the machine; `most_context` those that the model
/// can see. The layers on a GPU are chosen again by llama.cpp when it loads the model, from what is free then.
#[must_use]
pub fn judge(
    shape: &ModelShape,
    machine: &Machine,
    context: Option<u32>,
    most_context: u32,
    batch_tokens: u32,
) -> Advice {
    let wish = |context_len_tokens: u32| {
        let wish = Wish {
            context_len_tokens: context_len_tokens.min(most_context),
            batch_tokens,
            gpu_layers: 0,
        };
        Wish {
            gpu_layers: layers_that_fit(shape, machine, wish),
            ..wish
        }
    };
    let room = |wish: Wish| room_for(need(shape, wish), machine);
    let wish = match context {
        Some(context) => wish(context),
        None => {
            let suits = |wish: &Wish| {
                let kept = need(shape, *wish);
                let kept = kept.host.context_bytes + kept.gpu.context_bytes;
                let is_modest = wish.context_len_tokens <= USUAL_CONTEXT
                    || machine.memory_bytes == 0
                    || kept <= machine.memory_bytes / MOST_CONTEXT_SHARE;
                is_modest && room(*wish) == Verdict::Fits
            };
            let mut wishes = CONTEXTS.iter().map(|tokens| wish(*tokens));
            wishes
                .find(suits)
                .unwrap_or_else(|| wish(CONTEXTS[CONTEXTS.len() - 1]))
        }
    };
    let tokens_per_s = machine
        .read_bytes_per_s
        .filter(|_| wish.gpu_layers == 0)
        .map(|speed| {
            let by_memory = speed as f64 * REACHED_SHARE;
            let by_cores = match machine.cores {
                0 => f64::INFINITY,
                cores => cores as f64 * CORE_BYTES_PER_S,
            };
            by_memory.min(by_cores) / shape.read_per_token_bytes().max(1) as f64
        });
    let verdict = match (room(wish), tokens_per_s) {
        (Verdict::Fits, Some(speed)) if speed < READING_SPEED => Verdict::Slow,
        (verdict, _) => verdict,
    };
    Advice {
        verdict,
        context_len_tokens: wish.context_len_tokens,
        gpu_layers: wish.gpu_layers,
        of_layers: shape.layers.len() as u32 + 1,
        need: need(shape, wish),
        tokens_per_s,
    }
}

/// As many layers as the GPU has room for.
fn layers_that_fit(shape: &ModelShape, machine: &Machine, wish: Wish) -> u32 {
    let fits = |gpu_layers: &u32| {
        let wish = Wish {
            gpu_layers: *gpu_layers,
            ..wish
        };
        need(shape, wish).gpu.total_bytes() <= machine.gpu_room_bytes
    };
    let all = shape.layers.len() as u32 + 1;
    (1..=all).rev().find(fits).unwrap_or(0)
}

fn room_for(need: Need, machine: &Machine) -> Verdict {
    let gpu = need.gpu.total_bytes();
    let shared = if machine.gpu_shares_memory { gpu } else { 0 };
    judge_memory(need.host.total_bytes() + shared, machine)
}

/// Memory that an embedder or reranker needs, whose weights take so many bytes: it computes in windows of 512 tokens,
/// which need a few vectors each and no scores of a vocabulary. From above.
#[must_use]
pub fn embedder_memory_bytes(weights_bytes: u64) -> u64 {
    weights_bytes + EMBEDDER_WORKING_BYTES
}

/// Whether a machine has so much memory to give.
#[must_use]
pub fn judge_memory(needed_bytes: u64, machine: &Machine) -> Verdict {
    if machine.memory_bytes == 0 {
        return Verdict::Fits;
    }
    let share = needed_bytes as f64 / machine.memory_bytes as f64;
    if share <= COMFORTABLE_SHARE {
        Verdict::Fits
    } else if share <= POSSIBLE_SHARE {
        Verdict::Tight
    } else {
        Verdict::TooLarge
    }
}

/// The part of the memory that a model may take before little else can run: the system and a browser want the rest.
pub const COMFORTABLE_SHARE: f64 = 0.6;
/// The part at which the machine begins to swap.
const POSSIBLE_SHARE: f64 = 0.9;
/// Room that embedders compute in.
const EMBEDDER_WORKING_BYTES: u64 = 100 << 20;
/// Lengths of a context to choose from. An answer uses passages, two turns and its own length: more than 4,096 tokens
/// serve only those who set larger budgets, fewer than 1,024 hold no passages.
const CONTEXTS: [u32; 4] = [8192, USUAL_CONTEXT, 2048, 1024];
/// The usual length of a context.
pub const USUAL_CONTEXT: u32 = 4096;
/// A context beyond the usual may take this part of the memory.
const MOST_CONTEXT_SHARE: u64 = 32;
/// The share of the memory's speed that writing reaches: 64 to 83 percent were measured, with Gemma 3 270M and
/// SmolLM2 135M on two cores.
const REACHED_SHARE: f64 = 0.65;
/// Weights that one core takes in each second while it writes, however fast the memory is: 3.9 GB/s were measured with
/// SmolLM2 135M (Q4_1) on two cores with AVX2 (`make bench BENCH=waiting`). Those with AVX-512 or AMX do more.
const CORE_BYTES_PER_S: f64 = 3.9e9;
/// Tokens that people read in a second: 238 words a minute (Brysbaert 2019) at 1.3 tokens each.
const READING_SPEED: f64 = 5.0;
/// llama.cpp makes contexts in steps of so many tokens (`GGML_PAD(n_ctx, 256)` in `llama-context.cpp`).
const CONTEXT_STEP: u64 = 256;
/// Keys and values are kept in 16 bits.
const KEPT_BYTES: u64 = 2;
/// The state of a recurrent layer is kept in 32 bits.
const STATE_BYTES: u64 = 4;
/// A number that is computed with.
const NUMBER_BYTES: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::find;

    const GIB: u64 = 1 << 30;

    fn shape(id: &str) -> ModelShape {
        find(id).unwrap().shape().unwrap()
    }

    fn laptop(memory_gib: u64) -> Machine {
        Machine {
            memory_bytes: memory_gib * GIB,
            // Two channels of DDR4-3200 reach some 40 of their 51 GB a second.
            read_bytes_per_s: Some(40_000_000_000),
            cores: 8,
            ..Machine::default()
        }
    }

    fn advice(id: &str, machine: Machine) -> Advice {
        judge(&shape(id), &machine, None, 32_768, 128)
    }

    #[test]
    fn every_layer_is_on_one_side_and_a_tied_table_on_both() {
        let shape = shape("qwen3-4b-q4_k_m");
        let on = |gpu_layers| {
            let wish = Wish {
                context_len_tokens: 4096,
                batch_tokens: 128,
                gpu_layers,
            };
            need(&shape, wish)
        };
        assert_eq!(on(0).gpu, Part::default());
        assert_eq!(on(0).host.weights_bytes, shape.weights_bytes());
        for gpu_layers in [1, 7, 36] {
            let (need, none) = (on(gpu_layers), on(0));
            let weights = need.host.weights_bytes + need.gpu.weights_bytes;
            assert_eq!(weights, shape.weights_bytes() + shape.input_bytes);
            let context = need.host.context_bytes + need.gpu.context_bytes;
            assert_eq!(context, none.host.context_bytes);
        }
        let all = on(37);
        assert_eq!(all.host.weights_bytes, shape.input_bytes);
        assert_eq!(all.host.context_bytes, 0);
        assert_eq!(on(1000), all);
        assert_eq!(on(1).gpu.context_bytes, 0, "the output comes first");
    }

    #[test]
    fn memory_grows_with_the_context() {
        let shape = shape("qwen3-4b-q4_k_m");
        let with = |context_len_tokens| {
            let wish = Wish {
                context_len_tokens,
                batch_tokens: 128,
                gpu_layers: 0,
            };
            need(&shape, wish).total_bytes()
        };
        let (kept, seen) = (147_456, 128 * 2);
        assert_eq!(with(8192) - with(4096), 4096 * (kept + seen));
        assert_eq!(with(1), with(256), "contexts come in steps");
        let alone = with(1) - 256 * (kept + seen);
        assert!(alone > shape.weights_bytes() && alone < shape.weights_bytes() + (100 << 20));
    }

    #[test]
    fn what_suits_a_laptop_is_said() {
        for (id, gib, verdict) in [
            ("qwen3-1.7b-q4_k_m", 8, Verdict::Fits),
            ("qwen3-4b-q4_k_m", 8, Verdict::Fits),
            ("qwen3-4b-q4_k_m", 4, Verdict::Tight),
            ("qwen3-8b-q4_k_m", 4, Verdict::TooLarge),
            ("qwen3-8b-q4_k_m", 16, Verdict::Fits),
            ("gpt-oss-20b-mxfp4", 16, Verdict::Tight),
            ("gpt-oss-20b-mxfp4", 32, Verdict::Fits),
        ] {
            let advice = advice(id, laptop(gib));
            assert_eq!(advice.verdict, verdict, "{id} with {gib} GiB: {advice:?}");
        }
        let slow = Machine {
            read_bytes_per_s: Some(10_000_000_000),
            ..laptop(16)
        };
        assert_eq!(advice("qwen3-8b-q4_k_m", slow).verdict, Verdict::Slow);
        // With few cores it is they that set the pace.
        let two_cores = Machine {
            cores: 2,
            ..laptop(16)
        };
        let speed = |machine| advice("smollm2-135m-instruct-q4_1", machine).tokens_per_s;
        assert!((70.0..90.0).contains(&speed(two_cores).unwrap()));
        assert!(speed(laptop(16)).unwrap() > 200.0);
        // Few of its experts work for a token.
        assert!(
            advice("gpt-oss-20b-mxfp4", laptop(32))
                .tokens_per_s
                .unwrap()
                > 8.0
        );
    }

    #[test]
    fn the_context_follows_the_memory_and_the_user_has_the_last_word() {
        let context = |gib| advice("smollm2-1.7b-instruct-q4_k_m", laptop(gib)).context_len_tokens;
        assert_eq!((context(32), context(8), context(2)), (4096, 4096, 1024));
        assert_eq!(
            advice("qwen3-1.7b-q4_k_m", laptop(64)).context_len_tokens,
            8192
        );
        let shape = shape("qwen3-1.7b-q4_k_m");
        let wanted = |context| judge(&shape, &laptop(6), Some(context), 32_768, 128);
        assert_eq!(wanted(32_768).context_len_tokens, 32_768);
        assert_eq!(
            wanted(100_000).context_len_tokens,
            32_768,
            "no more than the model has"
        );
        assert_eq!(wanted(32_768).verdict, Verdict::Tight);
    }

    #[test]
    fn a_gpu_takes_what_it_has_room_for() {
        let with = |gpu_gib: u64| {
            let machine = Machine {
                gpu_room_bytes: gpu_gib * GIB,
                ..laptop(16)
            };
            advice("qwen3-8b-q4_k_m", machine)
        };
        assert_eq!(with(0).gpu_layers, 0);
        let (some, all) = (with(3), with(11));
        assert!((5..36).contains(&some.gpu_layers), "{some:?}");
        assert!(some.need.gpu.total_bytes() <= 3 * GIB);
        assert_eq!((all.gpu_layers, all.of_layers), (37, 37));
        assert_eq!(all.tokens_per_s, None);
        // What has no memory of its own takes the processor's.
        let shared = Machine {
            gpu_room_bytes: 12 * GIB,
            gpu_shares_memory: true,
            ..laptop(5)
        };
        assert_eq!(advice("qwen3-8b-q4_k_m", shared).verdict, Verdict::TooLarge);
    }

    #[test]
    fn without_knowledge_of_the_machine_nothing_is_refused() {
        let advice = advice("gpt-oss-20b-mxfp4", Machine::default());
        assert_eq!(advice.verdict, Verdict::Fits);
        assert_eq!(advice.tokens_per_s, None);
    }
}
