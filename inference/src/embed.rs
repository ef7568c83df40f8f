//! Turns texts into vectors.
//!
//! A text longer than the window is cut into windows of equal length whose vectors are averaged, weighted by length, so
//! that its end counts as much as its beginning. Start at [`Embedder::run`]; how the work is laid out, and the
//! numbers behind it, are at [`Plan`].

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::embed_plan::Plan;
use crate::engine::new_context;
use crate::error::LoadError;
use crate::llama_log::LlamaLog;
use crate::onnx::{self, Bert};
use crate::protocol::RequestError;

/// The longest piece of text that is embedded in one go, in tokens, where the model itself allows more.
///
/// The time for attention grows with the square of the length, and passages made for search are shorter than this.
pub const MAX_EMBED_WINDOW_TOKENS: u32 = 512;

/// An embedding model with its contexts.
pub(crate) struct Embedder<'m> {
    model: &'m LlamaModel,
    lanes: Vec<Lane<'m>>,
    window: Window,
    plan: Plan,
    /// What onnxruntime computes in place of llama.cpp.
    bert: Option<Bert>,
}

/// What came out.
pub(crate) struct Output {
    /// One row per text.
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) tokens: usize,
    pub(crate) windows_split: usize,
}

/// A window that waits to be computed.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Which text it belongs to.
    pub(crate) text: usize,
    pub(crate) tokens: Vec<LlamaToken>,
}

impl<'m> Embedder<'m> {
    /// Makes the contexts, one after the other: llama.cpp does not allow two at a time.
    pub(crate) fn new(
        backend: &LlamaBackend,
        model: &'m LlamaModel,
        plan: Plan,
        bert: Option<Bert>,
        log: &LlamaLog,
    ) -> Result<Self, LoadError> {
        let window = Window::of(model);
        let lanes = (0..plan.lanes)
            .map(|_| match &bert {
                Some(bert) => bert.lane().map(Lane::Onnx),
                None => {
                    LlamaLane::new(backend, model, plan, window.len_tokens, log).map(Lane::Llama)
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            model,
            lanes,
            window,
            plan,
            bert,
        })
    }

    /// Longest text, in tokens, that is embedded without being cut into windows.
    pub(crate) fn window_len_tokens(&self) -> u32 {
        u32::try_from(self.window.len_tokens).unwrap_or(MAX_EMBED_WINDOW_TOKENS)
    }

    /// Embeds texts; rows come in their order, each of length 1.
    pub(crate) fn run(
        &mut self,
        texts: &[String],
        cancelled: &AtomicBool,
    ) -> Result<Output, RequestError> {
        let mut pieces = Vec::new();
        let mut windows_split = 0;
        for (text, content) in texts.iter().enumerate() {
            let tokens = self
                .model
                .vocab()
                .tokenize(content.as_bytes(), false, false);
            let windows = self.window.split(&tokens);
            windows_split += usize::from(windows.len() > 1);
            pieces.extend(windows.into_iter().map(|tokens| Piece { text, tokens }));
        }
        let tokens = pieces.iter().map(|piece| piece.tokens.len()).sum();
        // The longest first: what is left for the end is short, and the lanes finish together.
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.tokens.len()));
        let vectors = average(texts.len(), &pieces, &self.compute(&pieces, cancelled)?)?;
        Ok(Output {
            vectors,
            tokens,
            windows_split,
        })
    }

    /// What the model gives for all pieces, in their order: vectors that are not normalised, or scores.
    pub(crate) fn compute(
        &mut self,
        pieces: &[Piece],
        cancelled: &AtomicBool,
    ) -> Result<Vec<Vec<f32>>, RequestError> {
        let steps = self.plan.steps(pieces);
        let next = AtomicUsize::new(0);
        let bert = self.bert.as_ref();
        let work = |lane: &mut Lane<'_>| -> Result<Vec<DoneStep>, RequestError> {
            let mut done = Vec::new();
            loop {
                let position = next.fetch_add(1, Ordering::Relaxed);
                let Some(step) = steps.get(position) else {
                    return Ok(done);
                };
                if cancelled.load(Ordering::Relaxed) {
                    return Err(RequestError::Cancelled);
                }
                let vectors = match (&mut *lane, bert) {
                    (Lane::Onnx(lane), Some(bert)) => lane.compute(bert, step)?,
                    (Lane::Llama(lane), _) => lane.compute(step)?,
                    (Lane::Onnx(_), None) => return Err(RequestError::NotAnEmbedder),
                };
                done.push((position, vectors));
            }
        };
        let mut done = Vec::with_capacity(steps.len());
        // A single text, such as a question, is not worth starting threads for.
        let useful_lanes = self.lanes.len().min(steps.len());
        match &mut self.lanes[..useful_lanes] {
            [lane] => done = work(lane)?,
            lanes => {
                for result in side_by_side(lanes, &work) {
                    done.extend(result?);
                }
            }
        }
        done.sort_unstable_by_key(|(position, _)| *position);
        Ok(done.into_iter().flat_map(|(_, vectors)| vectors).collect())
    }
}

/// Where a step stands among all, and its vectors.
type DoneStep = (usize, Vec<Vec<f32>>);

/// Lets every lane work in a thread of its own until there is nothing left.
fn side_by_side<T: Send>(
    lanes: &mut [Lane<'_>],
    work: &(impl Fn(&mut Lane<'_>) -> Result<T, RequestError> + Sync),
) -> Vec<Result<T, RequestError>> {
    // llama.cpp's messages are caught per thread.
    let log = tracing::dispatcher::get_default(Clone::clone);
    std::thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .iter_mut()
            .map(|lane| scope.spawn(|| tracing::dispatcher::with_default(&log, || work(lane))))
            .collect();
        let failed = |_| {
            Err(RequestError::Compute {
                reason: "a thread of the embedder failed".into(),
            })
        };
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(failed))
            .collect()
    })
}

/// Computes beside others.
enum Lane<'m> {
    Llama(LlamaLane<'m>),
    Onnx(onnx::Lane),
}

/// One context and what it needs to compute.
struct LlamaLane<'m> {
    context: LlamaContext<'m>,
    batch: LlamaBatch<'static>,
}

impl<'m> LlamaLane<'m> {
    fn new(
        backend: &LlamaBackend,
        model: &'m LlamaModel,
        plan: Plan,
        window_len_tokens: usize,
        log: &LlamaLog,
    ) -> Result<Self, LoadError> {
        let step_tokens = plan.step_tokens(window_len_tokens);
        let step = u32::try_from(step_tokens).unwrap_or(MAX_EMBED_WINDOW_TOKENS);
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(step))
            // A text is seen as a whole, in both directions, so it must fit into one step of the computation.
            .with_n_batch(step)
            .with_n_ubatch(step)
            .with_n_seq_max(u32::try_from(plan.pack_windows).unwrap_or(1))
            .with_kv_unified(true)
            .with_embeddings(true)
            .with_flash_attention_policy(if plan.flash_attention {
                llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_AUTO
            } else {
                llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED
            })
            .with_n_threads(plan.threads_per_lane.cast_signed())
            .with_n_threads_batch(plan.threads_per_lane.cast_signed());
        let context = new_context(backend, model, params, log)?;
        Ok(Self {
            context,
            batch: LlamaBatch::new(step_tokens, 1),
        })
    }

    /// The vectors of some windows, computed in one step.
    fn compute(&mut self, pieces: &[Piece]) -> Result<Vec<Vec<f32>>, RequestError> {
        self.batch.clear();
        for (sequence, piece) in (0..).zip(pieces) {
            for (position, &token) in (0..).zip(&piece.tokens) {
                self.batch
                    .add(token, position, &[sequence], true)
                    .map_err(compute_error)?;
            }
        }
        // Embedders made of chat models keep what they read.
        self.context.clear_kv_cache();
        self.context
            .decode(&mut self.batch)
            .map_err(compute_error)?;
        let vector = |(sequence, _)| {
            self.context
                .embeddings_seq_ith(sequence)
                .map(<[f32]>::to_vec)
        };
        (0..)
            .zip(pieces)
            .map(vector)
            .collect::<Result<_, _>>()
            .map_err(compute_error)
    }
}

/// How a text becomes windows of tokens.
#[derive(Debug)]
struct Window {
    /// Tokens of a window, those that the model adds included.
    len_tokens: usize,
    /// Put before every window, such as `[CLS]`.
    before: Vec<LlamaToken>,
    /// Put after every window, such as `[SEP]`.
    after: Vec<LlamaToken>,
}

impl Window {
    fn of(model: &LlamaModel) -> Self {
        let len_tokens = model
            .n_ctx_train()
            .clamp(MIN_WINDOW_TOKENS, MAX_EMBED_WINDOW_TOKENS) as usize;
        // What is added is seen by what an added word looks like.
        let bare = model.vocab().tokenize(PROBE, false, false);
        let dressed = model.vocab().tokenize(PROBE, true, false);
        let (before, after) = match find(&dressed, &bare) {
            Some(position) => (
                dressed[..position].to_vec(),
                dressed[position + bare.len()..].to_vec(),
            ),
            None => (Vec::new(), Vec::new()),
        };
        Self {
            len_tokens,
            before,
            after,
        }
    }

    /// Cuts tokens into as few windows as possible, all about equally long. No token gives one window without content.
    fn split(&self, tokens: &[LlamaToken]) -> Vec<Vec<LlamaToken>> {
        let room = self
            .len_tokens
            .saturating_sub(self.before.len() + self.after.len())
            .max(1);
        let count = tokens.len().div_ceil(room).max(1);
        let len = tokens.len().div_ceil(count).max(1);
        let dress = |window: &[LlamaToken]| [&self.before, window, &self.after].concat();
        if tokens.is_empty() {
            return vec![dress(&[])];
        }
        tokens.chunks(len).map(dress).collect()
    }
}

fn find(all: &[LlamaToken], part: &[LlamaToken]) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    all.windows(part.len()).position(|window| window == part)
}

/// Joins the vectors of each text's windows, weighted by their length, and brings every row to length 1.
fn average(
    text_count: usize,
    pieces: &[Piece],
    vectors: &[Vec<f32>],
) -> Result<Vec<Vec<f32>>, RequestError> {
    let mut rows: Vec<Vec<f32>> = vec![Vec::new(); text_count];
    for (piece, vector) in pieces.iter().zip(vectors) {
        let weight = piece.tokens.len() as f32 / length(vector)?;
        let row = &mut rows[piece.text];
        row.resize(vector.len(), 0.0);
        for (sum, value) in row.iter_mut().zip(vector) {
            *sum += value * weight;
        }
    }
    for row in &mut rows {
        let length = length(row)?;
        row.iter_mut().for_each(|value| *value /= length);
    }
    Ok(rows)
}

/// Length of a vector that has a direction.
fn length(vector: &[f32]) -> Result<f32, RequestError> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length.is_finite() && length > f32::EPSILON {
        Ok(length)
    } else {
        Err(RequestError::ZeroVector)
    }
}

fn compute_error(error: impl std::fmt::Display) -> RequestError {
    RequestError::Compute {
        reason: error.to_string(),
    }
}

const PROBE: &[u8] = b"a";
/// Room for what a model adds and something between.
const MIN_WINDOW_TOKENS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(range: std::ops::Range<i32>) -> Vec<LlamaToken> {
        range.map(LlamaToken).collect()
    }

    fn window(len_tokens: usize) -> Window {
        Window {
            len_tokens,
            before: tokens(101..102),
            after: tokens(102..103),
        }
    }

    fn piece(text: usize, len: i32) -> Piece {
        Piece {
            text,
            tokens: tokens(0..len),
        }
    }

    #[test]
    fn a_text_that_fits_is_one_window() {
        assert_eq!(
            window(8).split(&tokens(0..6)),
            [[101, 0, 1, 2, 3, 4, 5, 102].map(LlamaToken)]
        );
        assert_eq!(window(8).split(&[]), [[101, 102].map(LlamaToken)]);
    }

    #[test]
    fn a_longer_text_becomes_equal_windows_and_loses_nothing() {
        for len in 1..100 {
            let windows = window(8).split(&tokens(0..len));
            let lengths: Vec<usize> = windows.iter().map(Vec::len).collect();
            assert!(
                lengths.iter().all(|&length| (3..=8).contains(&length)),
                "{len}: {lengths:?}"
            );
            assert_eq!(windows.len(), (len as usize).div_ceil(6), "{len}");
            let inside: Vec<LlamaToken> = windows
                .iter()
                .flat_map(|window| window[1..window.len() - 1].to_vec())
                .collect();
            assert_eq!(inside, tokens(0..len), "{len}");
        }
    }

    #[test]
    fn rows_are_averaged_by_length_and_normalised() {
        let pieces = [piece(1, 3), piece(0, 2), piece(1, 1)];
        let rows = average(
            2,
            &pieces,
            &[vec![2.0, 0.0], vec![3.0, 4.0], vec![0.0, 5.0]],
        )
        .unwrap();
        assert_eq!(rows[0], [0.6, 0.8]);
        let length = 10f32.sqrt();
        assert!(
            (rows[1][0] - 3.0 / length).abs() < 1e-6 && (rows[1][1] - 1.0 / length).abs() < 1e-6
        );
    }

    #[test]
    fn a_vector_without_direction_is_an_error() {
        for bad in [
            vec![0.0, 0.0],
            vec![f32::NAN, 1.0],
            vec![f32::INFINITY, 0.0],
        ] {
            assert_eq!(
                average(1, &[piece(0, 1)], &[bad]),
                Err(RequestError::ZeroVector)
            );
        }
        let opposite = [vec![1.0, 0.0], vec![-1.0, 0.0]];
        assert_eq!(
            average(1, &[piece(0, 1), piece(0, 1)], &opposite),
            Err(RequestError::ZeroVector)
        );
    }

    #[test]
    fn what_a_model_adds_is_found_around_the_probe() {
        assert_eq!(find(&tokens(0..5), &tokens(2..4)), Some(2));
        assert_eq!(find(&tokens(0..5), &tokens(4..6)), None);
        assert_eq!(find(&tokens(0..5), &[]), None);
    }
}
