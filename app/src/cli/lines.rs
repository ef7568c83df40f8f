//! Lines that a person types.
//!
//! Reading stdin cannot be given up half-way, so there is one reader for the program: who stops waiting for a line leaves
//! it to the next one who waits. Start at [`next`].

use std::io::BufRead;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// The line that is being read.
static READING: Mutex<Option<JoinHandle<Option<String>>>> = Mutex::const_new(None);

/// The next line without its end; `None` at the end of the input. May be dropped: no line is lost.
pub(crate) async fn next() -> Option<String> {
    let mut reading = READING.lock().await;
    let handle = reading.get_or_insert_with(|| tokio::task::spawn_blocking(read));
    let line = handle.await;
    *reading = None;
    line.ok().flatten()
}

fn read() -> Option<String> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end_matches(['\n', '\r']).to_owned()),
    }
}
