//! Keeps the worker's standard output for messages.
//!
//! C++ libraries and drivers print where they like. The pipe to the program gets a number of its own, and what is printed
//! to standard output goes to standard error from then on.

use std::fs::File;
use std::io;

/// Takes the pipe behind standard output away from everybody else in this process.
#[cfg(unix)]
#[allow(unsafe_code)]
pub(crate) fn take_output() -> io::Result<File> {
    use std::mem::ManuallyDrop;
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};

    let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // SAFETY: descriptor 1 is open (it was cloned a line above) and stays open: `ManuallyDrop` never closes it, and
    // `dup2` replaces what is behind the number in one step.
    let mut standard_output = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(1) });
    rustix::io::dup2(io::stderr().as_fd(), &mut standard_output)?;
    Ok(pipe)
}

/// Takes the pipe behind standard output. Others in this process can still print to it.
#[cfg(windows)]
pub(crate) fn take_output() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
}
