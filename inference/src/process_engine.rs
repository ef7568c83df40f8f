//! A model in a worker process: starts the worker when it is needed, and hands work over in pieces that fit.
//!
//! Start at [`ProcessEngine::connection`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use crate::connection::{Connection, Reply, Request};
use crate::error::EngineError;
use crate::handle::{TokenStream, WorkerCommand};
use crate::protocol::{FromWorker, ToWorker};
use crate::request::{
    ChatMessage, Embeddings, GenerateRequest, GpuLayers, KnownConversation, ModelInfo, ModelSpec,
};

/// A model in a worker, started when it is needed.
pub(crate) struct ProcessEngine {
    worker: WorkerCommand,
    spec: ModelSpec,
    connection: Mutex<Option<Arc<Connection>>>,
    /// A worker died with this model on a GPU: its driver is not tried again until the model is chosen anew.
    gpu_failed: AtomicBool,
}

impl ProcessEngine {
    /// Starts nothing.
    pub(crate) fn new(worker: WorkerCommand, spec: ModelSpec) -> Self {
        Self {
            worker,
            spec,
            connection: Mutex::default(),
            gpu_failed: AtomicBool::new(false),
        }
    }

    pub(crate) async fn info(&self) -> Result<ModelInfo, EngineError> {
        let mut info = self.connection().await?.info().clone();
        if self.gpu_failed.load(Ordering::Relaxed) {
            info.gpu_refused = Some("the worker ended while the model ran on it".to_owned());
        }
        Ok(info)
    }

    pub(crate) async fn unload(&self) {
        let connection = self.connection.lock().await.take();
        if let Some(connection) = connection {
            connection.end().await;
        }
    }

    pub(crate) fn worker_pid(&self) -> Option<u32> {
        // While a worker is being started the lock is taken, and there is no loaded worker to name.
        let connection = self.connection.try_lock().ok()?;
        connection
            .as_ref()
            .filter(|connection| !connection.is_closed())
            .map(|open| open.info().pid)
    }

    /// The connection to a worker that holds the model already.
    async fn open_connection(&self) -> Option<Arc<Connection>> {
        let slot = self.connection.lock().await;
        slot.as_ref()
            .filter(|connection| !connection.is_closed())
            .map(Arc::clone)
    }

    /// The connection to a worker that holds the model, a fresh one if need be.
    ///
    /// The lock is held while a worker starts: whoever comes meanwhile waits for the same one.
    async fn connection(&self) -> Result<Arc<Connection>, EngineError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        if let Some(died) = slot.take()
            && died.info().gpu.is_some()
        {
            self.gpu_failed.store(true, Ordering::Relaxed);
        }
        let connection = Arc::new(self.start().await?);
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Starts a worker; on the processor alone where one has died on a GPU, or dies while it loads the model there.
    async fn start(&self) -> Result<Connection, EngineError> {
        let on_processor = ModelSpec {
            gpu_layers: GpuLayers::None,
            ..self.spec.clone()
        };
        if self.spec.gpu_layers.wants_gpu() && !self.gpu_failed.load(Ordering::Relaxed) {
            match Connection::open(&self.worker, &self.spec).await {
                Err(EngineError::WorkerDied { how, .. }) => {
                    tracing::warn!(how, "a model could not be loaded with a GPU");
                    self.gpu_failed.store(true, Ordering::Relaxed);
                }
                opened => return opened,
            }
        }
        Connection::open(&self.worker, &on_processor).await
    }

    pub(crate) async fn generate(
        &self,
        request: GenerateRequest,
    ) -> Result<TokenStream, EngineError> {
        let connection = self.connection().await?;
        let mut request = connection.send(|id| ToWorker::Generate { id, request })?;
        match request.reply().await? {
            FromWorker::Accepted { .. } => Ok(TokenStream::of(request)),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn count_prompt_tokens(
        &self,
        messages: Vec<ChatMessage>,
    ) -> Result<usize, EngineError> {
        let connection = self.connection().await?;
        let counts =
            counts(connection.send(|id| ToWorker::CountPromptTokens { id, messages })?).await?;
        counts
            .first()
            .copied()
            .ok_or_else(|| EngineError::Protocol {
                reason: "an empty count".into(),
            })
    }

    pub(crate) async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, EngineError> {
        // Similar lengths together: texts of one batch are then computed in parallel without waiting for a long one.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(texts[index].len()));
        let mut texts: Vec<Option<String>> = texts.into_iter().map(Some).collect();
        let mut embeddings = Embeddings {
            vectors: vec![Vec::new(); texts.len()],
            tokens: 0,
            windows_split: 0,
        };
        let sizes = order
            .iter()
            .map(|&index| texts[index].as_ref().map_or(0, String::len));
        let batches = batch_ends(sizes, EMBED_BATCH_TEXTS, EMBED_BATCH_BYTES);
        let mut begin = 0;
        for end in batches {
            let batch = &order[begin..end];
            let texts = batch
                .iter()
                .filter_map(|&index| texts[index].take())
                .collect();
            let connection = self.connection().await?;
            match connection
                .send(|id| ToWorker::Embed { id, texts })?
                .reply()
                .await?
            {
                FromWorker::Embedded {
                    vectors,
                    tokens,
                    windows_split,
                    ..
                } if vectors.len() == batch.len() => {
                    embeddings.tokens += tokens;
                    embeddings.windows_split += windows_split;
                    for (&index, vector) in batch.iter().zip(vectors) {
                        embeddings.vectors[index] = vector;
                    }
                }
                other => return Err(unexpected(&other)),
            }
            begin = end;
        }
        Ok(embeddings)
    }

    pub(crate) async fn rerank(
        &self,
        query: &str,
        passages: Vec<String>,
    ) -> Result<Vec<f32>, EngineError> {
        let mut all = Vec::with_capacity(passages.len());
        let sizes = passages.iter().map(String::len);
        let ends = batch_ends(sizes, EMBED_BATCH_TEXTS, EMBED_BATCH_BYTES);
        let mut rest = passages.into_iter();
        for end in ends {
            let passages: Vec<String> = rest.by_ref().take(end - all.len()).collect();
            let (query, wanted) = (query.to_owned(), passages.len());
            let connection = self.connection().await?;
            let mut request = connection.send(|id| ToWorker::Rerank {
                id,
                query,
                passages,
            })?;
            match request.reply().await? {
                FromWorker::Scored { scores, .. } if scores.len() == wanted => all.extend(scores),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(all)
    }

    pub(crate) async fn count_tokens(&self, texts: Vec<String>) -> Result<Vec<usize>, EngineError> {
        let mut all = Vec::with_capacity(texts.len());
        let ends = batch_ends(texts.iter().map(String::len), usize::MAX, COUNT_BATCH_BYTES);
        let mut rest = texts.into_iter();
        for end in ends {
            let texts: Vec<String> = rest.by_ref().take(end - all.len()).collect();
            let wanted = texts.len();
            let connection = self.connection().await?;
            let counts = counts(connection.send(|id| ToWorker::CountTokens { id, texts })?).await?;
            if counts.len() != wanted {
                return Err(EngineError::Protocol {
                    reason: "a wrong number of counts".into(),
                });
            }
            all.extend(counts);
        }
        Ok(all)
    }

    /// Starts no worker: without one nothing is known.
    pub(crate) async fn put_away(
        &self,
        messages: Vec<ChatMessage>,
    ) -> Result<Option<KnownConversation>, EngineError> {
        let Some(connection) = self.open_connection().await else {
            return Ok(None);
        };
        let mut request = connection.send(|id| ToWorker::PutAway { id, messages })?;
        let mut state = Vec::new();
        loop {
            match request.reply().await? {
                FromWorker::Piece { mut bytes, .. } => state.append(&mut bytes),
                FromWorker::PutAway { tokens, .. } => {
                    let known = KnownConversation { tokens, state };
                    return Ok((!known.tokens.is_empty()).then_some(known));
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    pub(crate) async fn take_up(&self, known: KnownConversation) -> Result<bool, EngineError> {
        let KnownConversation { tokens, state } = known;
        let connection = self.connection().await?;
        let mut request = connection.send_with(&state, |id| ToWorker::TakeUp { id, tokens })?;
        match request.reply().await? {
            FromWorker::TakenUp { is_usable, .. } => Ok(is_usable),
            other => Err(unexpected(&other)),
        }
    }
}

async fn counts(mut request: Request) -> Result<Vec<usize>, EngineError> {
    match request.reply().await? {
        FromWorker::Counted { counts, .. } => Ok(counts),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn unexpected(reply: &Reply) -> EngineError {
    let reason = match reply {
        FromWorker::Accepted { .. } => "an unexpected acceptance",
        FromWorker::Event { .. } => "an unexpected event",
        FromWorker::Embedded { .. } => "a wrong number of vectors",
        FromWorker::Scored { .. } => "a wrong number of scores",
        FromWorker::Counted { .. } => "an unexpected count",
        _ => "an unexpected message",
    };
    EngineError::Protocol {
        reason: reason.into(),
    }
}

/// Where batches end when at most so many things of at most so many bytes go together; one thing always fits.
fn batch_ends(
    sizes: impl Iterator<Item = usize>,
    max_count: usize,
    max_bytes: usize,
) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut count, mut bytes, mut position) = (0, 0, 0);
    for size in sizes {
        if count > 0 && (count >= max_count || bytes + size > max_bytes) {
            ends.push(position);
            (count, bytes) = (0, 0);
        }
        (count, bytes, position) = (count + 1, bytes + size, position + 1);
    }
    if count > 0 {
        ends.push(position);
    }
    ends
}

/// Texts per batch sent to an embedder. A batch of 32 passages takes about 2 s on two older cores, which is the longest
/// that a query asked meanwhile waits, and long enough that the pipe costs nothing.
const EMBED_BATCH_TEXTS: usize = 32;
/// Bytes of text per batch: 32 passages of about 1 kB.
const EMBED_BATCH_BYTES: usize = 32 * 1024;
/// Bytes of text counted at once; far below [`MAX_FRAME_BYTES`](crate::MAX_FRAME_BYTES) even when every byte is escaped.
const COUNT_BATCH_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_end_at_the_first_bound_and_cover_everything() {
        let ends = |sizes: &[usize], count, bytes| batch_ends(sizes.iter().copied(), count, bytes);
        assert_eq!(ends(&[], 2, 10), [0usize; 0]);
        assert_eq!(ends(&[1, 1, 1], 2, 10), [2, 3]);
        assert_eq!(ends(&[6, 5, 5], 9, 10), [1, 3]);
        assert_eq!(ends(&[50, 1, 50], 9, 10), [1, 2, 3]);
        assert_eq!(ends(&[0, 0], 9, 0), [2]);
    }
}
