//! The child side: a process that turns bytes into text, one file at a time, and can do nothing else.
//!
//! Opens no file and no connection: its input and output are the two pipes of [`frame`](super::frame).
//! Writes no log, for a parser's message may quote the document. Start at [`run_worker`].

use std::borrow::Cow;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::frame::{Reply, Request, read_frame, write_message};
use super::{Extracted, ParseError, extract, limits, sandbox};

/// A file to read.
struct Job {
    name: String,
    bytes: Vec<u8>,
}

/// Body of `satchel worker parse`: serves files from standard input until it is closed.
///
/// Call it first in `main`, before any thread is started and before a log is set up: the sandbox
/// covers only threads that start later, and standard output belongs to the frames.
/// Ends at once when the parent goes away, even in the middle of a file.
pub fn run_worker() -> ExitCode {
    // A panic message may quote the document, so it is not written anywhere.
    std::panic::set_hook(Box::new(|_| {}));
    let sandbox_state = sandbox::enter();
    match serve(sandbox_state) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(sandbox: sandbox::Sandbox) -> io::Result<()> {
    let mut input = io::stdin().lock();
    write_message(&mut io::stdout().lock(), &Reply::Ready { sandbox })?;
    let (jobs, inbox) = sync_channel(1);
    thread::Builder::new()
        .name("parse".to_owned())
        .stack_size(limits::WORKER_STACK_BYTES)
        .spawn(move || work(&inbox))?;
    // This thread only reads, so it sees the parent's end of the pipe close while a file is being
    // parsed; returning then ends the process with whatever the parser is doing.
    while let Some(job) = read_job(&mut input)? {
        if hand_over(&jobs, job).is_err() {
            break;
        }
    }
    Ok(())
}

fn read_job(input: &mut impl io::Read) -> io::Result<Option<Job>> {
    let Some(header) = read_frame(input)? else {
        return Ok(None);
    };
    let Request { name } = serde_json::from_slice(&header)?;
    let bytes = read_frame(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(Some(Job { name, bytes }))
}

fn hand_over(jobs: &SyncSender<Job>, job: Job) -> io::Result<()> {
    jobs.send(job).map_err(|_| io::ErrorKind::BrokenPipe.into())
}

fn work(inbox: &Receiver<Job>) {
    for job in inbox {
        let outcome = parse(job);
        if write_message(&mut io::stdout().lock(), &Reply::Done { outcome }).is_err() {
            // Nobody is listening any more.
            return;
        }
    }
}

/// A parser's panic is that file's failure. The parent replaces the worker afterwards.
fn parse(job: Job) -> Result<Extracted, ParseError> {
    let Job { name, bytes } = job;
    let mut page_done = || {
        // A broken pipe shows itself when the result is written.
        drop(write_message(&mut io::stdout().lock(), &Reply::Page));
    };
    catch_unwind(AssertUnwindSafe(|| {
        extract(&name, Cow::Owned(bytes), &mut page_done)
    }))
    .unwrap_or(Err(ParseError::Crashed))
}
