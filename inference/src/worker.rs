//! The worker: a process that holds one model and does what it is told through its standard input.
//!
//! Three threads: the main thread computes, one reads requests (and ends the process at once when the program is gone,
//! even in the middle of a computation), one lays out prompts and counts tokens while the model computes. Nothing but
//! messages reaches standard output. Start at [`run_worker`].

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::backends::{self, BackendError, Backends};
use crate::embed::{Embedder, Plan};
use crate::error::LoadError;
use crate::generate::{Generator, Task};
use crate::llama_log::LlamaLog;
use crate::prompt::{Prompts, count_tokens};
use crate::protocol::{FromWorker, RequestError, ToWorker};
use crate::request::{GenerateRequest, ModelInfo, ModelSpec, Role, StreamEvent};
use crate::sandbox::{self, Needs};
use crate::{device, engine, frame, stdio, threads};

/// The body of `satchel worker inference`. Returns when there is nothing to do or nothing can be done.
///
/// Call it before any thread is started: the worker locks itself in, and threads that exist already would stay outside.
/// It reads and writes the process's standard input and output and must be its only user.
#[must_use]
pub fn run_worker() -> ExitCode {
    let Ok(pipe) = stdio::take_output() else {
        eprintln!("the standard output cannot be used");
        return ExitCode::FAILURE;
    };
    let first = match frame::read(&mut io::stdin().lock()) {
        Ok(Some(first)) => first,
        Ok(None) => return ExitCode::SUCCESS,
        Err(_) => {
            eprintln!("this command is started by Satchel itself and has no use in a terminal");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let log = LlamaLog::default();
    let output = Output {
        pipe: Arc::new(Mutex::new(pipe)),
    };
    tracing::subscriber::with_default(log.clone(), || match first {
        ToWorker::Devices => tell_devices(&output, &log),
        ToWorker::Load(spec) => serve(&spec, &output, &log),
        _ => {
            eprintln!("the first message must name a model");
            ExitCode::from(EXIT_USAGE)
        }
    })
}

fn tell_devices(output: &Output, log: &LlamaLog) -> ExitCode {
    match start_llama(None, true, log) {
        Ok(_) => {
            output.send(&FromWorker::Ready {
                devices: device::list(),
            });
            ExitCode::SUCCESS
        }
        Err(error) => output.unusable(&error),
    }
}

/// Holds the model of `spec` until the program closes the pipe.
fn serve(spec: &ModelSpec, output: &Output, log: &LlamaLog) -> ExitCode {
    let (llama, sandbox) = match start_llama(Some(&spec.path), spec.gpu_layers > 0, log) {
        Ok(started) => started,
        Err(error) => return output.unusable(&error),
    };
    output.send(&FromWorker::Ready {
        devices: device::list(),
    });
    let model = match engine::load(&llama.backend, spec, log) {
        Ok(model) => Arc::new(model),
        Err(error) => return output.load_failed(error),
    };
    let threads = threads::choose(spec.threads);
    let mut hands = match Hands::new(&llama.backend, &model, spec, threads, log) {
        Ok(hands) => hands,
        Err(error) => return output.load_failed(error),
    };
    let context_len_tokens = hands.context_len_tokens();
    let info = engine::describe(&model, context_len_tokens, threads);
    output.send(&FromWorker::Loaded(ModelInfo {
        variant: llama.variant,
        sandbox,
        ..info
    }));

    let jobs = start_desk(&model, spec.role, context_len_tokens, output);
    for job in jobs {
        hands.perform(&job, output);
        job.cancelled.done();
    }
    ExitCode::SUCCESS
}

fn start_llama(
    model: Option<&Path>,
    gpu: bool,
    log: &LlamaLog,
) -> Result<(Backends, String), BackendError> {
    let backends_dir = backends::backends_dir()?;
    // The folder may be reached through a link, and the lock is on what it leads to.
    let backends_dir = std::fs::canonicalize(&backends_dir).unwrap_or(backends_dir);
    let needs = Needs {
        program_dir: backends_dir.parent().unwrap_or(&backends_dir),
        model,
        gpu,
    };
    let sandbox = sandbox::lock_in(&needs);
    Ok((backends::load(&backends_dir, log)?, sandbox))
}

/// What a model can do in its role.
enum Hands<'m> {
    Chat {
        generator: Box<Generator<'m>>,
        context_len_tokens: u32,
    },
    Embedder(Embedder<'m>),
}

impl<'m> Hands<'m> {
    fn new(
        backend: &'m LlamaBackend,
        model: &'m LlamaModel,
        spec: &ModelSpec,
        threads: u32,
        log: &LlamaLog,
    ) -> Result<Self, LoadError> {
        match spec.role {
            Role::Chat { context_len_tokens } => {
                let context_len_tokens = engine::chat_context_len(model, context_len_tokens);
                let log = log.clone();
                let maker = Box::new(move |threads_for_writing| {
                    engine::chat_context(
                        backend,
                        model,
                        context_len_tokens,
                        threads,
                        threads_for_writing,
                        &log,
                    )
                });
                let length = context_len_tokens as usize;
                let generator = Generator::new(model, maker, length, threads, spec.gpu_layers > 0)?;
                let generator = Box::new(generator);
                Ok(Self::Chat {
                    generator,
                    context_len_tokens,
                })
            }
            Role::Embedder => {
                let plan = Plan::for_threads(threads, spec.gpu_layers > 0);
                Ok(Self::Embedder(Embedder::new(backend, model, plan, log)?))
            }
        }
    }

    fn context_len_tokens(&self) -> u32 {
        match self {
            Self::Chat {
                context_len_tokens, ..
            } => *context_len_tokens,
            Self::Embedder(embedder) => embedder.window_len_tokens(),
        }
    }

    fn perform(&mut self, job: &Job, output: &Output) {
        let id = job.id;
        let result = match (self, &job.work) {
            (Self::Chat { generator, .. }, Work::Generate { prompt, request }) => {
                let task = Task {
                    prompt,
                    sampling: request.sampling,
                    max_output_tokens: request.max_output_tokens as usize,
                    stop: &request.stop,
                    cancelled: &job.cancelled.flag,
                };
                generator.run(&task, &mut |event: StreamEvent| {
                    output.send(&FromWorker::Event { id, event });
                })
            }
            (Self::Embedder(embedder), Work::Embed { texts }) => {
                embedder.run(texts, &job.cancelled.flag).map(|embedded| {
                    output.send(&FromWorker::Embedded {
                        id,
                        vectors: embedded.vectors,
                        tokens: embedded.tokens,
                        windows_split: embedded.windows_split,
                    });
                })
            }
            (Self::Chat { .. }, Work::Embed { .. }) => Err(RequestError::NotAnEmbedder),
            (Self::Embedder(_), Work::Generate { .. }) => Err(RequestError::NotAChatModel),
        };
        if let Err(error) = result {
            output.send(&FromWorker::Failed { id, error });
        }
    }
}

/// Work for the computing thread.
struct Job {
    id: u64,
    cancelled: Cancellation,
    work: Work,
}

enum Work {
    Generate {
        prompt: Vec<LlamaToken>,
        request: GenerateRequest,
    },
    Embed {
        texts: Vec<String>,
    },
}

/// Starts the thread that reads requests and the one that prepares them. Their work comes out of the returned queue,
/// which is unbounded because every waiting caller of the program has one request in it at most.
fn start_desk(
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
    let desk = Desk {
        model: Arc::clone(model),
        prompts,
        output: output.clone(),
        jobs,
    };
    let reader_cancellations = cancellations.clone();
    thread::spawn(move || read_requests(&mut io::stdin().lock(), &requests, &reader_cancellations));
    thread::spawn(move || {
        for request in incoming {
            desk.handle(request, &cancellations);
        }
    });
    queue
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
                if let ToWorker::Generate { id, .. } | ToWorker::Embed { id, .. } = request {
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
}

impl Desk {
    fn handle(&self, request: ToWorker, cancellations: &Cancellations) {
        match request {
            ToWorker::CountTokens { id, texts } => {
                self.output.send(&FromWorker::Counted {
                    id,
                    counts: count_tokens(&self.model, &texts),
                });
            }
            ToWorker::CountPromptTokens { id, messages } => {
                match self.prompts().and_then(|prompts| prompts.tokens(&messages)) {
                    Ok(tokens) => self.output.send(&FromWorker::Counted {
                        id,
                        counts: vec![tokens.len()],
                    }),
                    Err(error) => self.output.send(&FromWorker::Failed { id, error }),
                }
            }
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
            // Taken in by the reader, or sent once at the beginning.
            ToWorker::Cancel { .. } | ToWorker::Load(_) | ToWorker::Devices => {}
        }
    }

    fn prepare(&self, mut request: GenerateRequest) -> Result<Work, RequestError> {
        let prompts = self.prompts()?;
        let prompt = prompts.fitting_tokens(&request.messages)?;
        request.stop.extend_from_slice(prompts.implied_stop());
        // They are in the prompt now.
        request.messages.clear();
        Ok(Work::Generate { prompt, request })
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
struct Cancellation {
    id: u64,
    flag: Arc<AtomicBool>,
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
    fn done(&self) {
        self.all.with(|flags| flags.remove(&self.id));
    }
}

/// Where messages to the program go. Clones share the pipe.
#[derive(Clone)]
struct Output {
    pipe: Arc<Mutex<File>>,
}

impl Output {
    /// Sends a message. Without a program to read it the process ends.
    fn send(&self, message: &FromWorker) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match frame::write(&mut *pipe, message) {
            // What was asked for is larger than a message can be; the one who asked must know.
            Err(frame::FrameError::TooLarge { bytes }) => match message.request_id() {
                Some(id) => frame::write(
                    &mut *pipe,
                    &FromWorker::Failed {
                        id,
                        error: RequestError::TooLarge { bytes },
                    },
                ),
                None => Ok(()),
            },
            result => result,
        };
        if result.is_err() {
            end_process();
        }
    }

    fn unusable(&self, error: &BackendError) -> ExitCode {
        self.send(&FromWorker::Unusable {
            reason: error.to_string(),
        });
        ExitCode::FAILURE
    }

    fn load_failed(&self, error: LoadError) -> ExitCode {
        self.send(&FromWorker::LoadFailed(error));
        ExitCode::FAILURE
    }
}

/// Ends the process from any thread, at once.
///
/// Not by `exit`: that would run the destructors of C++ libraries under the thread that computes.
fn end_process() -> ! {
    #[cfg(unix)]
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
    std::process::abort()
}

/// The worker was started in a way it cannot be used.
const EXIT_USAGE: u8 = 2;
