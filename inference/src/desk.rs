//! Where requests arrive in the worker: a thread that reads them, and one that answers what needs no computing.
//!
//! Counting tokens and laying out prompts read only the vocabulary, so they do not wait for an answer that is being
//! written. The rest goes into a queue for the computing thread. Start at [`start`].

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::output::{Output, end_process};
use crate::prompt::{Prompts, count_tokens};
use crate::protocol::{FromWorker, RequestError, ToWorker};
use crate::request::{ChatMessage, GenerateRequest, Role, Thinking};
use crate::thoughts::Manner;
use crate::{engine, frame, sampler};

/// Work for the computing thread.
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) cancelled: Cancellation,
    pub(crate) work: Work,
}

pub(crate) enum Work {
    Generate {
        prompt: Vec<LlamaToken>,
        manner: Manner,
        grammar: Option<String>,
        request: GenerateRequest,
    },
    Embed {
        texts: Vec<String>,
    },
    Rerank {
        query: String,
        passages: Vec<String>,
    },
    PutAway {
        conversation: Vec<LlamaToken>,
    },
    TakeUp {
        tokens: Vec<LlamaToken>,
        state: Vec<u8>,
    },
}

/// Starts the thread that reads requests and the one that prepares them. Their work comes out of the returned queue,
/// which is unbounded because every waiting caller of the program has one request in it at most.
pub(crate) fn start(
    model: &Arc<LlamaModel>,
    role: Role,
    context_len_tokens: u32,
    output: &Output,
) -> Receiver<Job> {
    let (requests, incoming) = mpsc::channel();
    let (jobs, queue) = mpsc::channel();
    let cancellations = Cancellations::default();
    let prompts = matches!(role, Role::Chat { .. }).then(|| {
        let template = engine::chat_template(model);
        Prompts::new(
            Arc::clone(model),
            template.as_deref(),
            context_len_tokens as usize,
        )
    });
    let mut desk = Desk {
        model: Arc::clone(model),
        prompts,
        output: output.clone(),
        jobs,
        pieces: HashMap::new(),
    };
    let reader_cancellations = cancellations.clone();
    spawn("reading", move || {
        read_requests(&mut io::stdin().lock(), &requests, &reader_cancellations);
    });
    spawn("preparing", move || {
        for request in incoming {
            desk.handle(request, &cancellations);
        }
    });
    queue
}

/// Starts a thread of the worker.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        // Without them the worker could not hear its program. It ends, which the program reports and may try again.
        .expect("the system gives a thread");
}

/// Passes requests on, and takes in cancellations at once. Ends the process with the pipe.
fn read_requests(
    input: &mut impl Read,
    requests: &Sender<ToWorker>,
    cancellations: &Cancellations,
) {
    loop {
        match frame::read(input) {
            Ok(Some(ToWorker::Cancel { id })) => cancellations.cancel(id),
            Ok(Some(request)) => {
                if let ToWorker::Generate { id, .. }
                | ToWorker::Embed { id, .. }
                | ToWorker::Rerank { id, .. }
                | ToWorker::PutAway { id, .. }
                | ToWorker::TakeUp { id, .. } = request
                {
                    cancellations.expect(id);
                }
                if requests.send(request).is_err() {
                    end_process();
                }
            }
            // The program is gone, or speaks another language: nobody will ever read an answer.
            Ok(None) | Err(_) => end_process(),
        }
    }
}

/// Answers what needs no computing and prepares the rest.
struct Desk {
    model: Arc<LlamaModel>,
    prompts: Option<Prompts>,
    output: Output,
    jobs: Sender<Job>,
    /// States that are on their way, by request.
    pieces: HashMap<u64, Vec<u8>>,
}

impl Desk {
    fn handle(&mut self, request: ToWorker, cancellations: &Cancellations) {
        match request {
            ToWorker::CountTokens { id, texts } => {
                self.output.send(&FromWorker::Counted {
                    id,
                    counts: count_tokens(&self.model, &texts),
                });
            }
            ToWorker::CountPromptTokens { id, messages } => match self.tokens_of(&messages) {
                Ok(tokens) => self.output.send(&FromWorker::Counted {
                    id,
                    counts: vec![tokens.len()],
                }),
                Err(error) => self.output.send(&FromWorker::Failed { id, error }),
            },
            ToWorker::Generate { id, request } => match self.prepare(request) {
                Ok(work) => {
                    self.output.send(&FromWorker::Accepted { id });
                    self.queue(id, work, cancellations);
                }
                Err(error) => {
                    cancellations.of(id).done();
                    self.output.send(&FromWorker::Failed { id, error });
                }
            },
            ToWorker::Embed { id, texts } => self.queue(id, Work::Embed { texts }, cancellations),
            ToWorker::Rerank {
                id,
                query,
                passages,
            } => self.queue(id, Work::Rerank { query, passages }, cancellations),
            ToWorker::PutAway { id, messages } => match self.tokens_of(&messages) {
                Ok(conversation) => {
                    self.queue(id, Work::PutAway { conversation }, cancellations);
                }
                Err(error) => {
                    cancellations.of(id).done();
                    self.output.send(&FromWorker::Failed { id, error });
                }
            },
            ToWorker::Piece { id, mut bytes } => {
                self.pieces.entry(id).or_default().append(&mut bytes);
            }
            ToWorker::TakeUp { id, tokens } => {
                let tokens = tokens.into_iter().map(LlamaToken).collect();
                let state = self.pieces.remove(&id).unwrap_or_default();
                self.queue(id, Work::TakeUp { tokens, state }, cancellations);
            }
            // Taken in by the reader, or sent once at the beginning.
            ToWorker::Cancel { .. } | ToWorker::Load(_) | ToWorker::Devices => {}
        }
    }

    fn prepare(&self, mut request: GenerateRequest) -> Result<Work, RequestError> {
        let prompts = self.prompts()?;
        let (prompt, manner) = prompts.fitting_tokens(&request.messages, request.thinking)?;
        let grammar = sampler::grammar_of(&self.model, &request.form)?;
        request.stop.extend_from_slice(prompts.implied_stop());
        // They are in the prompt now.
        request.messages.clear();
        Ok(Work::Generate {
            prompt,
            manner,
            grammar,
            request,
        })
    }

    fn tokens_of(&self, messages: &[ChatMessage]) -> Result<Vec<LlamaToken>, RequestError> {
        let (tokens, _) = self.prompts()?.tokens(messages, Thinking::Off)?;
        Ok(tokens)
    }

    fn prompts(&self) -> Result<&Prompts, RequestError> {
        self.prompts.as_ref().ok_or(RequestError::NotAChatModel)
    }

    fn queue(&self, id: u64, work: Work, cancellations: &Cancellations) {
        // Fails only when the main thread is gone, and the process with it.
        self.jobs
            .send(Job {
                id,
                cancelled: cancellations.of(id),
                work,
            })
            .ok();
    }
}

/// Which requests are to stop.
#[derive(Clone, Default)]
struct Cancellations {
    flags: Arc<Mutex<HashMap<u64, Arc<AtomicBool>>>>,
}

/// The flag of one request.
pub(crate) struct Cancellation {
    id: u64,
    pub(crate) flag: Arc<AtomicBool>,
    all: Cancellations,
}

impl Cancellations {
    fn with<T>(&self, action: impl FnOnce(&mut HashMap<u64, Arc<AtomicBool>>) -> T) -> T {
        action(&mut self.flags.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn expect(&self, id: u64) {
        self.with(|flags| flags.insert(id, Arc::default()));
    }

    fn cancel(&self, id: u64) {
        if let Some(flag) = self.with(|flags| flags.get(&id).cloned()) {
            flag.store(true, Ordering::Relaxed);
        }
    }

    fn of(&self, id: u64) -> Cancellation {
        let flag = self.with(|flags| flags.entry(id).or_default().clone());
        Cancellation {
            id,
            flag,
            all: self.clone(),
        }
    }
}

impl Cancellation {
    pub(crate) fn done(&self) {
        self.all.with(|flags| flags.remove(&self.id));
    }
}
