//! Locks the worker in before it touches a model file.
//!
//! A model file comes from the internet and is read by C++ code, so the worker gives up what it does not need: it may
//! read the model and the system's libraries, write nothing, and open no TCP connection (Linux, Landlock). The program
//! works the same where the kernel cannot do that; `doctor` shows which it was. Start at [`lock_in`].

use std::path::Path;

/// What the worker still needs.
pub(crate) struct Needs<'a> {
    /// Folder of the program, with the libraries of llama.cpp.
    pub(crate) program_dir: &'a Path,
    /// The model and what is laid over it; files beside them can be further parts.
    pub(crate) files: &'a [&'a Path],
    /// Whether drivers of a GPU must work.
    pub(crate) gpu: bool,
}

/// Gives up everything else, for this thread and every thread it starts. Says in words how far that went.
#[cfg(target_os = "linux")]
pub(crate) fn lock_in(needs: &Needs<'_>) -> String {
    no_core_dumps();
    match restrict(needs) {
        Ok(words) => words.to_owned(),
        Err(error) => format!("none ({error})"),
    }
}

/// Other systems have no such door yet.
#[cfg(not(target_os = "linux"))]
pub(crate) fn lock_in(_: &Needs<'_>) -> String {
    "none (this system is not supported yet)".to_owned()
}

/// A crash must not leave documents and questions in a file.
#[cfg(target_os = "linux")]
fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Lowering one's own limit is always allowed.
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .ok();
}

#[cfg(target_os = "linux")]
fn restrict(needs: &Needs<'_>) -> Result<&'static str, landlock::RulesetError> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
        path_beneath_rules,
    };
    // The newest rights that are asked for; an older kernel enforces those it knows.
    let abi = ABI::V5;
    // A link to a model leads to the folder that must be opened.
    let files = needs.files.iter();
    let files: Vec<_> = files
        .filter_map(|file| std::fs::canonicalize(file).ok())
        .collect();
    let dirs = files.iter().filter_map(|file| file.parent());
    let readable = SYSTEM_DIRS
        .iter()
        .map(Path::new)
        .chain([needs.program_dir])
        .chain(dirs);
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules(
            needs.gpu.then_some(GPU_DIRS).into_iter().flatten(),
            AccessFs::from_all(abi),
        ))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "full (writes nothing, no TCP)",
        RulesetStatus::PartiallyEnforced => "partial (older kernel)",
        RulesetStatus::NotEnforced => "none (the kernel has no Landlock)",
    })
}

/// Libraries, the list of processors and memory, and what drivers read about themselves.
#[cfg(target_os = "linux")]
const SYSTEM_DIRS: [&str; 9] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc",
    "/proc",
    "/sys",
    "/nix/store",
    "/run/opengl-driver",
    "/opt",
];

/// Where drivers of GPUs have their devices and exchange memory.
#[cfg(target_os = "linux")]
const GPU_DIRS: [&str; 1] = ["/dev"];
