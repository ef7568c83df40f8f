//! Which engine computes the embedder, and what the embeddings that come of it are called.
//!
//! onnxruntime where it lies beside the program and the embedder is one of the BERT kind, llama.cpp otherwise. The two give
//! other embeddings of one text, so their names differ, and an index holds those of one. Start at
//! [`EmbeddingEngine::bert_of`] and [`EmbeddingEngine::embedding_id`].

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use satchel_inference::{BertModel, BertPooling, TensorBytes, WeightType, has_onnxruntime};
use satchel_models::gguf::{self, BertFile, TensorType};
use satchel_models::{InstalledModel, Instructions, Pooling};

use super::failure;
use crate::message::Failure;

/// Stands in the name of embeddings that onnxruntime made with weights of 7 bits and a sign.
const ONNXRUNTIME_TAG: &str = "ort7";

/// Knows which embedders are computed by onnxruntime.
#[derive(Debug)]
pub struct EmbeddingEngine {
    program: PathBuf,
    /// The embedder that was looked at last: its hash, and what it is.
    known: Mutex<Option<(String, Option<BertModel>)>>,
}

impl EmbeddingEngine {
    /// For workers of this program.
    #[must_use]
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_path_buf(),
            known: Mutex::default(),
        }
    }

    /// How onnxruntime computes an embedder; `None` where llama.cpp does. Reads the header of its file the first time.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn bert_of(&self, embedder: &InstalledModel) -> Result<Option<BertModel>, Failure> {
        if embedder.architecture != "bert" || !has_onnxruntime(&self.program) {
            return Ok(None);
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((hash, bert)) = &*known
            && *hash == embedder.sha256
        {
            return Ok(bert.clone());
        }
        let file = gguf::bert(&embedder.path)
            .map_err(|error| failure::of_model_file(&embedder.path, &error))?;
        let bert = file.and_then(|file| of_file(&file));
        *known = Some((embedder.sha256.clone(), bert.clone()));
        Ok(bert)
    }

    /// The name of an embedder's embeddings: of the exact weights, of the engine, and of what is put before a text.
    ///
    /// # Errors
    /// As for [`Self::bert_of`].
    pub fn embedding_id(&self, embedder: &InstalledModel) -> Result<String, Failure> {
        let mut id: String = embedder.sha256.chars().take(16).collect();
        if self.bert_of(embedder)?.is_some() {
            id = format!("{id}-{ONNXRUNTIME_TAG}");
        }
        if let Some(tag) = Instructions::of(embedder).tag() {
            id = format!("{id}-{tag}");
        }
        Ok(id)
    }
}

fn of_file(file: &BertFile) -> Option<BertModel> {
    let pooling = match file.pooling {
        Pooling::Mean => BertPooling::Mean,
        Pooling::Cls => BertPooling::First,
        Pooling::Last => BertPooling::Last,
        _ => return None,
    };
    let tensors = file.tensors.iter().map(|(name, place)| {
        let kind = match place.kind {
            TensorType::F32 => WeightType::F32,
            TensorType::F16 => WeightType::F16,
            TensorType::Q8_0 => WeightType::Q8_0,
            _ => return None,
        };
        let bytes = TensorBytes {
            start: place.bytes.start,
            len: place.bytes.end - place.bytes.start,
            kind,
        };
        Some((name.clone(), bytes))
    });
    Some(BertModel {
        width: file.width,
        heads: file.heads,
        layers: file.layers,
        epsilon: file.epsilon,
        pooling,
        tensors: tensors.collect::<Option<_>>()?,
    })
}
