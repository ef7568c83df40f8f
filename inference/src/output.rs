//! The way out of the worker: messages to the program, and the end of the process.

use std::fs::File;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backends::BackendError;
use crate::error::LoadError;
use crate::frame;
use crate::protocol::{FromWorker, RequestError};

/// Where messages to the program go. Clones share the pipe.
#[derive(Clone)]
pub(crate) struct Output {
    pipe: Arc<Mutex<File>>,
}

impl Output {
    /// Takes the pipe to the program.
    pub(crate) fn new(pipe: File) -> Self {
        Self {
            pipe: Arc::new(Mutex::new(pipe)),
        }
    }

    /// Sends a message. Without a program to read it the process ends.
    pub(crate) fn send(&self, message: &FromWorker) {
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

    pub(crate) fn unusable(&self, error: &BackendError) -> ExitCode {
        self.send(&FromWorker::Unusable {
            reason: error.to_string(),
        });
        ExitCode::FAILURE
    }

    pub(crate) fn load_failed(&self, error: LoadError) -> ExitCode {
        self.send(&FromWorker::LoadFailed(error));
        ExitCode::FAILURE
    }
}

/// Ends the process from any thread, at once.
///
/// Not by `exit`: that would run the destructors of C++ libraries under the thread that computes.
pub(crate) fn end_process() -> ! {
    #[cfg(unix)]
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
    std::process::abort()
}
