//! The program's only tokio runtime.
//!
//! Libraries offer `async fn` or blocking calls and never build one of their own.

use tokio::runtime::{Builder, Runtime};

/// Builds the runtime on which a backend lives.
///
/// Two worker threads: they only wait for workers, files and sockets. Heavy work runs in processes
/// of its own or on the blocking pool.
///
/// # Errors
/// When the system gives no threads.
pub fn build() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("satchel")
        .enable_all()
        .build()
}
