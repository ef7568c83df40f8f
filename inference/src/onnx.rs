//! Embedders of the BERT kind on onnxruntime, with weights of 8 bits: three times as fast as llama.cpp on a processor.
//!
//! The model is the same GGUF file; llama.cpp still cuts texts into tokens. Each matrix is rounded to 8 bits with a scale
//! for each of its columns, which costs no measurable quality (`onnx/graph.rs`), and the vectors are others than
//! those of llama.cpp: one index holds those of one engine. The library comes from one place, `backends/onnx` beside the
//! program, and a worker that is told to use it and cannot says so instead of computing other vectors.
//! Start at [`Bert::new`] and [`Lane::compute`]; the network is in `onnx/graph.rs`.

use std::path::{Path, PathBuf};

use llama_cpp_2::token::LlamaToken;
use ort::session::Session;
use ort::value::TensorRef;

mod graph;
mod weights;

use crate::backends;
use crate::embed::Piece;
use crate::error::LoadError;
use crate::protocol::RequestError;
use crate::request::{BertModel, BertPooling};
use weights::{Table, Weights};

/// What it is called beside the builds of llama.cpp.
pub(crate) const NAME: &str = "onnxruntime";
/// Its place beside the program.
const LIBRARY: &str = if cfg!(target_os = "macos") {
    "onnx/libonnxruntime.dylib"
} else {
    "onnx/libonnxruntime.so"
};

/// Whether onnxruntime lies beside a program, so that [`crate::ModelSpec::bert`] can be used.
#[must_use]
pub fn has_onnxruntime(program: &Path) -> bool {
    program.with_file_name("backends").join(LIBRARY).is_file()
}

/// A model, of which lanes are made.
pub(crate) struct Bert {
    environment: ort::environment::Environment,
    weights: Weights,
    tokens: Table,
    /// The vector of each position, with that of the first type of token added.
    positions: Vec<f32>,
    model: BertModel,
}

impl Bert {
    /// Reads what all lanes need from the file at `path`.
    pub(crate) fn new(path: &Path, model: &BertModel) -> Result<Self, LoadError> {
        let library = library().map_err(failed)?;
        let environment = ort::init_from(&library)
            .map_err(|error| failed(format!("{}: {error}", library.display())))?
            .build()
            .map_err(failed)?;
        let weights = Weights::new(path, &model.tensors);
        let tokens = weights
            .table("token_embd.weight", model.width)
            .map_err(failed)?;
        let mut positions = weights.read("position_embd.weight").map_err(failed)?;
        let types = weights.read("token_types.weight").map_err(failed)?;
        for position in positions.chunks_exact_mut(model.width) {
            add(position, &types[..model.width]);
        }
        Ok(Self {
            environment,
            weights,
            tokens,
            positions,
            model: model.clone(),
        })
    }

    /// Something that computes with one thread: the one that calls it.
    pub(crate) fn lane(&self) -> Result<Lane, LoadError> {
        let session = graph::session(&self.environment, &self.weights, &self.model);
        Ok(Lane {
            session: session.map_err(failed)?,
            input: Vec::new(),
        })
    }
}

/// The network, ready to compute.
pub(crate) struct Lane {
    session: Session,
    input: Vec<f32>,
}

impl Lane {
    /// The vectors of some windows, one after the other: texts beside each other would be padded to one length.
    pub(crate) fn compute(
        &mut self,
        bert: &Bert,
        pieces: &[Piece],
    ) -> Result<Vec<Vec<f32>>, RequestError> {
        let vectors = pieces.iter().map(|piece| self.vector(bert, &piece.tokens));
        vectors.collect()
    }

    fn vector(&mut self, bert: &Bert, tokens: &[LlamaToken]) -> Result<Vec<f32>, RequestError> {
        let width = bert.model.width;
        let outside = || compute_error("a token is not in the vocabulary");
        self.input.clear();
        for (token, position) in tokens.iter().zip(bert.positions.chunks_exact(width)) {
            let start = self.input.len();
            let row = usize::try_from(token.0).map_err(|_| outside())?;
            bert.tokens
                .add_row(row, &mut self.input)
                .ok_or_else(outside)?;
            add(&mut self.input[start..], position);
        }
        let shape = [
            1,
            (self.input.len() / width).cast_signed() as i64,
            width.cast_signed() as i64,
        ];
        let input = TensorRef::from_array_view((shape, &self.input[..])).map_err(compute_error)?;
        let output = self
            .session
            .run(ort::inputs![input])
            .map_err(compute_error)?;
        let (_, states) = output[0]
            .try_extract_tensor::<f32>()
            .map_err(compute_error)?;
        let mut rows = states.chunks_exact(width);
        let pooled = match bert.model.pooling {
            BertPooling::Mean => {
                let mut sum = vec![0.0; width];
                rows.for_each(|row| add(&mut sum, row));
                Some(sum)
            }
            BertPooling::First => rows.next().map(<[f32]>::to_vec),
            BertPooling::Last => rows.next_back().map(<[f32]>::to_vec),
        };
        pooled.ok_or_else(|| compute_error("a text without tokens"))
    }
}

/// The library, the folder of which is the program's own.
fn library() -> Result<PathBuf, String> {
    let dir = backends::backends_dir().map_err(|error| error.to_string())?;
    let path = dir.join(LIBRARY);
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{} is missing", path.display()))
    }
}

fn add(to: &mut [f32], other: &[f32]) {
    for (sum, value) in to.iter_mut().zip(other) {
        *sum += value;
    }
}

fn failed(reason: impl std::fmt::Display) -> LoadError {
    LoadError::Onnxruntime {
        reason: reason.to_string(),
    }
}

fn compute_error(error: impl std::fmt::Display) -> RequestError {
    RequestError::Compute {
        reason: error.to_string(),
    }
}
