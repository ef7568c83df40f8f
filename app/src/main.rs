//! The `satchel` program: hands its arguments to the command line.
//!
//! Nothing is decided here. Start at `satchel_app::cli::run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    satchel_app::cli::run()
}
