//! The worker: a process that holds one model and does what it is told through its standard input.
//!
//! Three threads: the main thread computes, one reads requests (and ends the process at once when the program is gone,
//! even in the middle of a computation), one lays out prompts and counts tokens while the model computes. Nothing but
//! messages reaches standard output. Start at [`run_worker`]; the other two threads are in [`desk`].

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::model::LlamaModel;

use crate::backends::{self, BackendError, Backends};
use crate::desk::{self, Job, Work};
use crate::embed::Embedder;
use crate::embed_plan::Plan;
use crate::engine::LoadedAdapter;
use crate::error::LoadError;
use crate::generate::{Generator, Task};
use crate::gpu::{self, Placement};
use crate::llama_log::LlamaLog;
use crate::onnx::{self, Bert};
use crate::output::Output;
use crate::protocol::{FromWorker, RequestError, ToWorker};
use crate::request::{ModelInfo, ModelSpec, Role, StreamEvent, Thinking};
use crate::rerank::Reranker;
use crate::sandbox::{self, Needs};
use crate::{device, engine, frame, stdio, threads};

/// The body of `satchel worker inference`. Returns when there is nothing to do or nothing can be done.
///
/// Call it before any thread is started: the worker locks itself in, and threads that exist already would stay outside.
/// It reads and writes the process's standard input and output and must be its only user.
///
/// Of the builds for processors it takes `preferred_build`, and the one that llama.cpp thinks best where that is not there
/// or cannot run here.
#[must_use]
pub fn run_worker(preferred_build: Option<&str>) -> ExitCode {
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
    let output = Output::new(pipe);
    tracing::subscriber::with_default(log.clone(), || match first {
        ToWorker::Devices => tell_devices(&output, &log),
        ToWorker::Load(spec) => serve(&spec, preferred_build, &output, &log),
        _ => {
            eprintln!("the first message must name a model");
            ExitCode::from(EXIT_USAGE)
        }
    })
}

fn tell_devices(output: &Output, log: &LlamaLog) -> ExitCode {
    match start_llama(&[], true, None, log) {
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
fn serve(spec: &ModelSpec, build: Option<&str>, output: &Output, log: &LlamaLog) -> ExitCode {
    let gpu = spec.gpu_layers.wants_gpu();
    let files = [
        Some(&spec.path),
        spec.adapter.as_ref().map(|adapter| &adapter.path),
    ];
    let files: Vec<&Path> = files.into_iter().flatten().map(PathBuf::as_path).collect();
    let started = match start_llama(&files, gpu, build, log) {
        Ok(started) => started,
        Err(error) => return output.unusable(&error),
    };
    output.send(&FromWorker::Ready {
        devices: device::list(),
    });
    let placement = gpu::place(spec, engine::params_of(spec));
    let on_gpu = placement.on_gpu;
    let held = hold(&started, spec, &placement, output, log);
    let held = match held {
        // Its driver may refuse what should have fitted.
        Err(error) if on_gpu => {
            let refused = format!("it could not be loaded there ({error})");
            drop(placement);
            hold(
                &started,
                spec,
                &Placement::processor(Some(refused)),
                output,
                log,
            )
        }
        held => held,
    };
    held.unwrap_or_else(|error| output.load_failed(error))
}

/// Loads the model and works with it. On an error nothing was said about the model.
fn hold(
    (llama, sandbox): &(Backends, String),
    spec: &ModelSpec,
    placement: &Placement,
    output: &Output,
    log: &LlamaLog,
) -> Result<ExitCode, LoadError> {
    log.forget_memory();
    let (model, adapter) = engine::load(&llama.backend, spec, placement, log)?;
    let model = Arc::new(model);
    let threads = threads::choose(spec.threads);
    let on_gpu = placement.on_gpu;
    let adapter = adapter.as_ref();
    let mut hands = Hands::new(&llama.backend, &model, adapter, spec, on_gpu, threads, log)?;
    let context_len_tokens = hands.context_len_tokens();
    let info = engine::describe(&model, context_len_tokens, threads);
    output.send(&FromWorker::Loaded(ModelInfo {
        gpu: placement.gpu_use(&model),
        gpu_refused: placement.refused.clone(),
        memory: log.memory_use(),
        variant: match spec.bert {
            Some(_) => onnx::NAME.to_owned(),
            None => llama.variant.clone(),
        },
        sandbox: sandbox.clone(),
        ..info
    }));

    let jobs = desk::start(&model, spec.role, context_len_tokens, output);
    for job in jobs {
        hands.perform(job, output);
    }
    Ok(ExitCode::SUCCESS)
}

fn start_llama(
    files: &[&Path],
    gpu: bool,
    build: Option<&str>,
    log: &LlamaLog,
) -> Result<(Backends, String), BackendError> {
    let backends_dir = backends::backends_dir()?;
    // The folder may be reached through a link, and the lock is on what it leads to.
    let backends_dir = std::fs::canonicalize(&backends_dir).unwrap_or(backends_dir);
    let needs = Needs {
        program_dir: backends_dir.parent().unwrap_or(&backends_dir),
        files,
        gpu,
    };
    let sandbox = sandbox::lock_in(&needs);
    Ok((backends::load(&backends_dir, gpu, build, log)?, sandbox))
}

/// What a model can do in its role.
enum Hands<'m> {
    Chat {
        generator: Box<Generator<'m>>,
        context_len_tokens: u32,
    },
    Embedder(Embedder<'m>),
    Reranker(Reranker<'m>),
}

impl<'m> Hands<'m> {
    fn new(
        backend: &'m LlamaBackend,
        model: &'m LlamaModel,
        adapter: Option<&'m LoadedAdapter>,
        spec: &ModelSpec,
        on_gpu: bool,
        threads: u32,
        log: &LlamaLog,
    ) -> Result<Self, LoadError> {
        match spec.role {
            Role::Chat { context_len_tokens } => {
                let chunk_tokens = engine::chunk_tokens_of(&spec.path);
                let context_len_tokens = engine::chat_context_len(model, context_len_tokens);
                let log = log.clone();
                let maker = Box::new(move |threads| {
                    engine::chat_context(
                        backend,
                        model,
                        context_len_tokens,
                        chunk_tokens,
                        on_gpu,
                        threads,
                        adapter,
                        &log,
                    )
                });
                let length = context_len_tokens as usize;
                let generator =
                    Generator::new(model, maker, length, chunk_tokens, threads, on_gpu)?;
                let generator = Box::new(generator);
                Ok(Self::Chat {
                    generator,
                    context_len_tokens,
                })
            }
            Role::Embedder => {
                let plan = Plan::for_threads(threads, on_gpu);
                let bert = spec.bert.as_ref().map(|bert| Bert::new(&spec.path, bert));
                let embedder = Embedder::new(backend, model, plan, bert.transpose()?, log)?;
                Ok(Self::Embedder(embedder))
            }
            Role::Reranker => {
                let plan = Plan::for_threads(threads, on_gpu);
                Ok(Self::Reranker(Reranker::new(backend, model, plan, log)?))
            }
        }
    }

    fn context_len_tokens(&self) -> u32 {
        match self {
            Self::Chat {
                context_len_tokens, ..
            } => *context_len_tokens,
            Self::Embedder(embedder) => embedder.window_len_tokens(),
            Self::Reranker(reranker) => reranker.window_len_tokens(),
        }
    }

    fn perform(&mut self, job: Job, output: &Output) {
        let Job {
            id,
            cancelled,
            work,
        } = job;
        let result = match (self, work) {
            (
                Self::Chat { generator, .. },
                Work::Generate {
                    prompt,
                    manner,
                    grammar,
                    request,
                },
            ) => {
                let task = Task {
                    prompt: &prompt,
                    manner,
                    most_thought_tokens: match request.thinking {
                        Thinking::Off => request.max_output_tokens,
                        Thinking::UpTo(tokens) => tokens,
                    } as usize,
                    sampling: request.sampling,
                    grammar: grammar.as_deref(),
                    max_output_tokens: request.max_output_tokens as usize,
                    stop: &request.stop,
                    cancelled: &cancelled.flag,
                };
                generator.run(&task, &mut |event: StreamEvent| {
                    output.send(&FromWorker::Event { id, event });
                })
            }
            (Self::Embedder(embedder), Work::Embed { texts }) => {
                embedder.run(&texts, &cancelled.flag).map(|embedded| {
                    output.send(&FromWorker::Embedded {
                        id,
                        vectors: embedded.vectors,
                        tokens: embedded.tokens,
                        windows_split: embedded.windows_split,
                    });
                })
            }
            (Self::Reranker(reranker), Work::Rerank { query, passages }) => reranker
                .run(&query, &passages, &cancelled.flag)
                .map(|scores| output.send(&FromWorker::Scored { id, scores })),
            (Self::Chat { generator, .. }, Work::PutAway { conversation }) => generator
                .put_away(&conversation, &mut |bytes| {
                    let bytes = bytes.to_vec();
                    output.send(&FromWorker::Piece { id, bytes });
                })
                .map(|tokens| {
                    let tokens = tokens.iter().map(|token| token.0).collect();
                    output.send(&FromWorker::PutAway { id, tokens });
                }),
            (Self::Chat { generator, .. }, Work::TakeUp { tokens, state }) => {
                let is_usable = generator.take_up(tokens, state);
                output.send(&FromWorker::TakenUp { id, is_usable });
                Ok(())
            }
            (_, Work::Embed { .. }) => Err(RequestError::NotAnEmbedder),
            (_, Work::Generate { .. } | Work::PutAway { .. } | Work::TakeUp { .. }) => {
                Err(RequestError::NotAChatModel)
            }
            (_, Work::Rerank { .. }) => Err(RequestError::NotAReranker),
        };
        if let Err(error) = result {
            output.send(&FromWorker::Failed { id, error });
        }
        cancelled.done();
    }
}

/// The worker was started in a way it cannot be used.
const EXIT_USAGE: u8 = 2;
