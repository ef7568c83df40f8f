//! What the engine says of itself, for the user: a word, a line, and everything.
//!
//! Pure. Start at [`of`].

use satchel_sync::engine::{EdgePhase, Status};
use satchel_sync::member::Role;
use satchel_sync::share::WorkspaceEngine;

use crate::message::{Failure, FailureKind, Missing, SyncReport, SyncState};

/// How a shared workspace stands.
#[must_use]
pub(super) fn of(engine: &WorkspaceEngine, offline: bool) -> SyncReport {
    let status = engine.status();
    let missing: Vec<Missing> = engine
        .missing_entries()
        .into_iter()
        .map(|(device, entries)| Missing { device, entries })
        .collect();
    let state = if offline {
        SyncState::Forbidden
    } else {
        state_of(&status)
    };
    let mut report = SyncReport {
        state,
        line: line(state, &status),
        status: Some(status),
        missing,
        connections: engine.connections().to_vec(),
        problem: None,
    };
    if is_connecting(&report) {
        report.line = connecting_line(&report);
    }
    report
}

/// Whether the last attempt to reach an edge failed, in this process or in one before.
#[must_use]
pub(super) fn last_attempt_failed(report: &SyncReport) -> bool {
    last_failure(report).is_some()
        && report
            .status
            .as_ref()
            .is_some_and(|status| !has_connection(status))
}

fn last_failure(report: &SyncReport) -> Option<&str> {
    let last = report.connections.last()?;
    (last.outcome != satchel_sync::engine::CONNECTED).then_some(last.outcome.as_str())
}

/// Whether an edge is connected and has let this laptop in.
#[must_use]
pub(super) fn has_connection(status: &Status) -> bool {
    let is_open = |phase| matches!(phase, EdgePhase::UpToDate | EdgePhase::CatchingUp);
    status.edges.iter().any(|edge| is_open(edge.phase))
}

fn is_connecting(report: &SyncReport) -> bool {
    let Some(status) = &report.status else {
        return false;
    };
    report.state == SyncState::Working && !has_connection(status)
}

fn connecting_line(report: &SyncReport) -> String {
    let unsent = report.status.as_ref().map_or(0, |status| status.unsent);
    let failure = last_failure(report)
        .map(|words| format!(". The last attempt failed: {words}"))
        .unwrap_or_default();
    format!("Connecting{}{failure}", unsent_words(unsent))
}

fn unsent_words(unsent: usize) -> String {
    match unsent {
        0 => String::new(),
        1 => ", 1 change to send".to_owned(),
        many => format!(", {many} changes to send"),
    }
}

/// Why a connected edge does not take all that is here, once everything that can be done is done.
#[must_use]
pub(super) fn blocked(status: &Status) -> Option<&str> {
    let waits =
        status.uploads > 0 || status.unsent > 0 || status.edges.iter().any(|edge| edge.lacks > 0);
    let is_done = status.downloads == 0 && status.edges.iter().all(|edge| edge.behind == 0);
    if !waits || !is_done {
        return None;
    }
    let live = |edge: &&satchel_sync::engine::EdgeStatus| edge.phase == EdgePhase::UpToDate;
    let mut edges = status.edges.iter().filter(live);
    edges.find_map(|edge| edge.reason.as_deref())
}

/// A workspace on this laptop alone.
#[must_use]
pub(super) fn not_shared() -> SyncReport {
    SyncReport {
        state: SyncState::NotShared,
        line: "On this laptop alone".to_owned(),
        status: None,
        missing: Vec::new(),
        connections: Vec::new(),
        problem: None,
    }
}

/// The engine could not go on; it is started anew by itself.
#[must_use]
pub(super) fn interrupted(status: Option<Status>, words: &str) -> SyncReport {
    SyncReport {
        state: SyncState::Stopped,
        line: format!("Interrupted: {words}"),
        status,
        missing: Vec::new(),
        connections: Vec::new(),
        problem: Some(words.to_owned()),
    }
}

/// Whether something written here could be sent if one waited for it.
#[must_use]
pub(super) fn needs_sending(status: &Status) -> bool {
    let may_come = |phase| !matches!(phase, EdgePhase::Offline | EdgePhase::Stopped);
    let reachable =
        status.edges.iter().any(|edge| may_come(edge.phase)) && blocked(status).is_none();
    let unsent = status.unsent > 0 || status.edges.iter().any(|edge| edge.lacks > 0);
    reachable && unsent && status.role.is_some_and(Role::may_write)
}

/// Whether this laptop was a member and is none any more.
#[must_use]
pub(super) fn was_removed(status: &Status) -> bool {
    let knows_itself = status.devices.iter().any(|device| device.is_this);
    status.role.is_none() && (knows_itself || !status.awaits_documents)
}

/// Whether nothing is left to send or to receive, as far as the edges say.
#[must_use]
pub(super) fn is_equal(status: &Status) -> bool {
    let may_write = status.role.is_some_and(Role::may_write);
    let sent = !may_write
        || (status.unsent == 0
            && status.uploads == 0
            && status.edges.iter().all(|edge| edge.lacks == 0));
    let up_to_date = |edge: &satchel_sync::engine::EdgeStatus| {
        edge.phase == EdgePhase::UpToDate && edge.behind == 0
    };
    sent && status.edges.iter().any(up_to_date)
        && !status.awaits_documents
        && status.downloads == 0
        && status.waiting == 0
}

fn state_of(status: &Status) -> SyncState {
    let any = |phase| status.edges.iter().any(|edge| edge.phase == phase);
    if was_removed(status) {
        SyncState::Removed
    } else if is_equal(status) {
        SyncState::Equal
    } else if blocked(status).is_some() {
        SyncState::Stopped
    } else if any(EdgePhase::UpToDate) || any(EdgePhase::CatchingUp) || any(EdgePhase::Connecting) {
        SyncState::Working
    } else if any(EdgePhase::Offline) {
        SyncState::Offline
    } else {
        SyncState::Stopped
    }
}

fn line(state: SyncState, status: &Status) -> String {
    let unsent = unsent_words(status.unsent);
    let reason = || {
        let reason = status.edges.iter().find_map(|edge| edge.reason.clone());
        reason.unwrap_or_else(|| "no edge node is connected".to_owned())
    };
    match state {
        SyncState::NotShared => "On this laptop alone".to_owned(),
        SyncState::Forbidden => format!("Offline by choice{unsent}"),
        SyncState::Offline => format!("Not connected{unsent}: {}", reason()),
        SyncState::Working if status.awaits_documents => {
            "Receiving the list of documents".to_owned()
        }
        SyncState::Working => format!("Sending and receiving{unsent}"),
        SyncState::Equal => "Everything is sent and received".to_owned(),
        SyncState::Removed => "This laptop was removed from the workspace".to_owned(),
        SyncState::Stopped => match blocked(status) {
            Some(reason) => format!("Not everything can be sent: {reason}"),
            None => format!("Stopped{unsent}: {}", reason()),
        },
    }
}

/// Why nothing can be asked of the engine now.
#[must_use]
pub(super) fn why_not_running(report: &SyncReport) -> Failure {
    match report.state {
        SyncState::NotShared => Failure::new(
            FailureKind::Usage,
            "this workspace is not shared with another laptop",
        )
        .with_hint("`satchel sync share LINK` shares it; `satchel devices pair LINK` joins one of another laptop."),
        SyncState::Forbidden => Failure::new(
            FailureKind::Offline,
            "connections are forbidden by the settings or by --offline",
        )
        .with_hint("`satchel settings offline false` allows them."),
        _ => {
            let words = report.problem.as_deref().unwrap_or("it has just ended");
            Failure::general(format!("the sync does not run: {words}"))
                .with_hint("It is tried again every half minute while Satchel runs; your documents are safe.")
        }
    }
}

/// What a laptop that was removed is told.
#[must_use]
pub(super) fn removed() -> Failure {
    Failure::general("this laptop was removed from the workspace: it sends and receives nothing any more")
        .with_hint("What is on it stays. An owner can let it in again: `satchel devices pair LINK` shows a code. To go on alone: `satchel sync leave`.")
}
