//! What the rest of the program holds: a model that writes or embeds, somewhere behind a handle.
//!
//! The handle never runs llama.cpp itself. It starts a worker process when the first request comes, hands requests over,
//! and starts a fresh worker when the old one died. It starts no threads; the tasks that read and write the pipes belong
//! to the connection and end with it. Start at [`EngineHandle::new`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use crate::connection::{Connection, Request};
use crate::device::Device;
use crate::error::EngineError;
use crate::process_engine::{ProcessEngine, unexpected};
use crate::protocol::FromWorker;
use crate::request::{
    ChatMessage, Embeddings, GenerateRequest, KnownConversation, ModelInfo, ModelSpec, StreamEvent,
};

/// How a worker is started: a program whose `main` calls [`run_worker`](crate::run_worker).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program. The libraries of llama.cpp and the folder `backends` lie beside it.
    pub program: PathBuf,
    /// Its arguments, such as `worker inference`.
    pub args: Vec<OsString>,
}

/// One model, loaded on first use in a process of its own.
///
/// Clones share the worker. Dropping the last one ends it, and streams that are still open end with
/// [`EngineError::Unloaded`]. All methods can be called from many tasks at once: generations and embeddings are done one
/// after the other, counting tokens does not wait for them.
///
/// # Examples
/// ```no_run
/// # use satchel_inference::*;
/// # async fn example() -> Result<(), EngineError> {
/// let worker = WorkerCommand { program: "/usr/lib/satchel/satchel".into(), args: vec!["worker".into(), "inference".into()] };
/// let spec = ModelSpec { path: "/models/chat.gguf".into(), role: Role::Chat { context_len_tokens: 4096 }, threads: None, gpu_layers: GpuLayers::Fit, adapter: None, bert: None };
/// let engine = EngineHandle::new(worker, spec);
/// let mut answer = engine
///     .generate(GenerateRequest {
///         messages: vec![ChatMessage::new(ChatRole::User, "What is in the bag?")],
///         sampling: Sampling::default(),
///         max_output_tokens: 256,
///         thinking: satchel_inference::Thinking::Off,
///         stop: Vec::new(),
///         form: satchel_inference::AnswerForm::Free,
///     })
///     .await?;
/// while let Some(event) = answer.next().await {
///     if let StreamEvent::Text(text) = event? {
///         print!("{text}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EngineHandle {
    engine: Arc<ProcessEngine>,
}

impl EngineHandle {
    /// Makes a handle. Starts nothing.
    #[must_use]
    pub fn new(worker: WorkerCommand, spec: ModelSpec) -> Self {
        Self {
            engine: Arc::new(ProcessEngine::new(worker, spec)),
        }
    }

    /// Tells what the model is; loads it when it is not loaded.
    ///
    /// Loading takes from a tenth of a second to minutes, with the size of the model. Dropping the future while it loads
    /// gives up; the next call begins again.
    ///
    /// # Errors
    /// Every way in which a worker can fail to start or a model to load.
    pub async fn info(&self) -> Result<ModelInfo, EngineError> {
        self.engine.info().await
    }

    /// Begins an answer.
    ///
    /// Returns as soon as the prompt is laid out and fits; the answer comes through the stream. It waits for answers
    /// asked for earlier. Dropping the stream stops the model within one token, or after the chunk of
    /// [`prompt_chunk_tokens`](crate::prompt_chunk_tokens) that it reads.
    ///
    /// # Errors
    /// [`EngineError::PromptTooLong`] and [`EngineError::Template`] before anything is read; those of
    /// [`info`](Self::info); [`EngineError::WrongRole`] when the model is an embedder.
    pub async fn generate(&self, request: GenerateRequest) -> Result<TokenStream, EngineError> {
        self.engine.generate(request).await
    }

    /// Turns texts into vectors of length 1, in the order of the texts.
    ///
    /// A text longer than the model's window ([`ModelInfo::context_len_tokens`]) is embedded in windows of equal length
    /// whose vectors are averaged by length: nothing is cut off. Texts go to the worker in small batches of similar
    /// length, so a short query asked meanwhile waits for one batch only. Dropping the future stops after the batch.
    ///
    /// # Errors
    /// Those of [`info`](Self::info); [`EngineError::WrongRole`] when the model writes answers;
    /// [`EngineError::RequestTooLarge`] for a text of some megabytes.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, EngineError> {
        self.engine.embed(texts).await
    }

    /// Scores how well each passage answers a question: larger is better, comparable for one model only.
    ///
    /// Question and passage are read together and cut to the model's window ([`ModelInfo::context_len_tokens`]).
    /// Passages go to the worker in small batches. Dropping the future stops after the batch.
    ///
    /// # Errors
    /// Those of [`info`](Self::info); [`EngineError::WrongRole`] when the model is no reranker.
    pub async fn rerank(
        &self,
        query: &str,
        passages: Vec<String>,
    ) -> Result<Vec<f32>, EngineError> {
        self.engine.rerank(query, passages).await
    }

    /// Counts the tokens of each text, without those that a template or the model adds.
    ///
    /// # Errors
    /// Those of [`info`](Self::info); [`EngineError::RequestTooLarge`] for a text of some megabytes.
    pub async fn count_tokens(&self, texts: Vec<String>) -> Result<Vec<usize>, EngineError> {
        self.engine.count_tokens(texts).await
    }

    /// Counts the tokens of a whole prompt, template included: what [`generate`](Self::generate) will compare with the
    /// length of the context.
    ///
    /// # Errors
    /// Those of [`info`](Self::info), [`EngineError::Template`], [`EngineError::NoMessages`],
    /// [`EngineError::WrongRole`] when the model is an embedder.
    pub async fn count_prompt_tokens(
        &self,
        messages: Vec<ChatMessage>,
    ) -> Result<usize, EngineError> {
        self.engine.count_prompt_tokens(messages).await
    }

    /// Gives what the model knows of this conversation and of nothing else, to be kept. `None` where it knows little of it, where that is longer
    /// than is worth keeping (512 MiB), and where no worker is running.
    ///
    /// Waits for requests that were made earlier. Copies some hundred MiB at the speed of a pipe, about 1 GiB/s.
    ///
    /// # Errors
    /// [`EngineError::Template`], [`EngineError::WrongRole`]; [`EngineError::WorkerDied`].
    pub async fn put_away(
        &self,
        messages: Vec<ChatMessage>,
    ) -> Result<Option<KnownConversation>, EngineError> {
        self.engine.put_away(messages).await
    }

    /// Gives back what [`put_away`](Self::put_away) gave, so that a prompt which begins like it need not read that again.
    /// False where there is no room for it.
    ///
    /// Only for the same model with the same adapter, and the same [`STATE_VERSION`](crate::STATE_VERSION): the bytes are
    /// llama.cpp's own, and the caller keeps them from being changed.
    ///
    /// # Errors
    /// Those of [`info`](Self::info).
    pub async fn take_up(&self, known: KnownConversation) -> Result<bool, EngineError> {
        self.engine.take_up(known).await
    }

    /// Ends the worker and frees its memory. Running requests fail with [`EngineError::Unloaded`]; the next one loads the
    /// model again. Does nothing when nothing is loaded.
    pub async fn unload(&self) {
        self.engine.unload().await;
    }

    /// Process id of the worker, while one is running and loaded.
    #[must_use]
    pub fn worker_pid(&self) -> Option<u32> {
        self.engine.worker_pid()
    }
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineHandle")
            .field("worker_pid", &self.worker_pid())
            .finish_non_exhaustive()
    }
}

/// An answer while it is being written. Dropping it stops the model.
pub struct TokenStream {
    request: Request,
}

impl TokenStream {
    /// The answer to a request that the worker accepted.
    pub(crate) fn of(request: Request) -> Self {
        Self { request }
    }

    /// Waits for the next event. `None` after [`StreamEvent::Finished`] or an error.
    ///
    /// Cancel-safe: an event is never lost.
    ///
    /// # Errors
    /// [`EngineError::WorkerDied`] when the worker ends in the middle, [`EngineError::Compute`] when the model fails,
    /// [`EngineError::Unloaded`] when it is unloaded.
    pub async fn next(&mut self) -> Option<Result<StreamEvent, EngineError>> {
        match self.request.next().await? {
            Ok(FromWorker::Event { event, .. }) => Some(Ok(event)),
            Ok(other) => Some(Err(unexpected(&other))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Asks the model to stop. The stream still ends with [`StreamEvent::Finished`], with
    /// [`StopReason::Cancelled`](crate::StopReason::Cancelled) unless the answer was complete.
    pub fn cancel(&self) {
        self.request.cancel();
    }
}

impl std::fmt::Debug for TokenStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenStream").finish_non_exhaustive()
    }
}

/// Lists the devices that models can run on. Starts a worker for it and ends it.
///
/// # Errors
/// [`EngineError::Start`], [`EngineError::StartTimeout`], [`EngineError::Worker`] when there is no usable processor code,
/// [`EngineError::WorkerDied`] when a driver takes the worker down.
pub async fn devices(worker: &WorkerCommand) -> Result<Vec<Device>, EngineError> {
    Connection::list_devices(worker).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_can_be_shared_between_tasks() {
        fn shared<T: Send + Sync + Clone + 'static>() {}
        fn sent<T: Send + 'static>() {}
        shared::<EngineHandle>();
        sent::<TokenStream>();
    }

    #[test]
    fn a_program_that_is_not_there_gives_an_error_in_words() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let worker = WorkerCommand { program: "/nowhere/satchel".into(), args: Vec::new() };
            let spec = ModelSpec {
                path: "/nowhere/model.gguf".into(),
                role: crate::Role::Embedder,
                threads: None,
                gpu_layers: crate::GpuLayers::None,
            adapter: None,
 bert: None,
            };
            let engine = EngineHandle::new(worker, spec);
            let error = engine.embed(vec!["text".into()]).await.unwrap_err();
            assert!(matches!(&error, EngineError::Start { program, .. } if program == "/nowhere/satchel"), "{error}");
            assert_eq!(engine.worker_pid(), None);
        });
    }
}
