//! What a parse worker gives up before it sees the first file: files, network, memory, privileges.
//!
//! A parser needs bytes in and text out, so it keeps its three pipes and nothing else. Irreversible
//! for the process. Start at [`enter`].

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::limits;

/// How tightly a worker has locked itself in, for `satchel doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// No file, no network, no signals to other processes: enforced by the kernel.
    Full,
    /// The kernel is older and enforces a part; limits on open files and memory hold.
    Partial,
    /// The kernel knows no Landlock; only limits on open files and memory hold.
    LimitsOnly,
}

/// Locks the calling thread and all threads it starts later into the sandbox.
///
/// Call it before any other thread is started. Returns what could be enforced; a system without
/// Landlock is not an error, since the limits still hold.
pub(crate) fn enter() -> Sandbox {
    // Order matters: the size of the program is read from /proc, which Landlock closes.
    limit_memory();
    let sandbox = deny_files_and_network();
    // With no number left for a new file, no file, socket or pipe can be opened. This also covers
    // the sockets that Landlock does not know, such as UDP.
    limit(Resource::Nofile, 0);
    limit(Resource::Fsize, 0);
    // A core dump would write the document to disk.
    limit(Resource::Core, 0);
    sandbox
}

/// A limit that cannot be lowered leaves the worker as it was: the parent still limits its time.
fn limit(resource: Resource, value: u64) {
    let limit = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    if let Err(error) = setrlimit(resource, limit) {
        tracing::debug!(?resource, %error, "a parse worker could not lower a limit");
    }
}

/// Only Linux tells the size of the program; other systems do not enforce this limit anyway.
fn limit_memory() {
    let Some(mapped_bytes) = super::process::own_mapped_bytes() else {
        return;
    };
    let stack_bytes = limits::WORKER_STACK_BYTES as u64;
    limit(
        Resource::As,
        mapped_bytes + stack_bytes + limits::WORKER_MEMORY_BYTES,
    );
}

#[cfg(target_os = "linux")]
fn deny_files_and_network() -> Sandbox {
    use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
    // Rules of the newest kernel that was tested; an older one enforces what it knows.
    let newest = ABI::V6;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(newest)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(newest)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    match status.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => Sandbox::Full,
        Ok(RulesetStatus::PartiallyEnforced) => Sandbox::Partial,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Sandbox::LimitsOnly,
    }
}

#[cfg(not(target_os = "linux"))]
fn deny_files_and_network() -> Sandbox {
    Sandbox::LimitsOnly
}
