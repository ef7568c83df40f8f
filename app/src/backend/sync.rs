//! Keeps the open workspace equal with other laptops, and carries out the commands about it.
//!
//! Nothing else in the backend waits for it: without a connection, everything works as before. Start at
//! [`host::SyncHost`], which runs the engine, and at [`carry_out`].

mod arrivals;
mod conflicts;
mod devices;
pub mod host;
mod now;
mod pairing;
mod report;

use std::sync::Arc;
use std::time::Duration;

pub use arrivals::{Follower, start as follow_arrivals};
pub use devices::lender;
pub use host::SyncHost;
pub use pairing::begin;
use satchel_sync::share::{self, NodeLink};

use super::jobs::Emitter;
use super::{Shared, failure};
use crate::message::{
    Authors, Changed, Command, Event, Failure, FailureKind, Reply, Role, SyncCommand, SyncState,
};

/// How often at most a watcher hears of a change.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Carries out a command about other laptops.
///
/// # Errors
/// When the workspace is not shared or shared already, the edge node cannot be reached or refuses, or the disk does.
pub async fn carry_out(
    shared: &Arc<Shared>,
    command: SyncCommand,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    let report = || async { Ok(Reply::Sync(Box::new(shared.sync.fresh().await))) };
    match command {
        SyncCommand::Status => report().await,
        SyncCommand::Conflicts => conflicts::report(shared).await.map(Reply::Conflicts),
        SyncCommand::Watch => watch(shared, emitter).await,
        SyncCommand::Share {
            link,
            invitation,
            user,
            label,
        } => {
            found(shared, &link, invitation, user, label).await?;
            report().await
        }
        SyncCommand::BeginPairing { link, user, label } => {
            let offline = shared.settings.current().offline;
            begin(&shared.workspaces, offline, &link, user, label, emitter).await
        }
        SyncCommand::ApprovePairing {
            code,
            role,
            confirmed,
        } => pairing::approve(shared, &code, role, confirmed, emitter).await,
        SyncCommand::ConfirmPairing { request, accept } => {
            shared.sync.answer_request(&request, accept)?;
            Ok(Reply::Done(String::new()))
        }
        SyncCommand::Devices => devices::list(shared).await,
        SyncCommand::RenameDevice { device, name } => devices::rename(shared, &device, name).await,
        SyncCommand::RemoveDevice { device } => devices::remove(shared, &device).await,
        SyncCommand::SetRole { device, role } => devices::set_role(shared, &device, role).await,
        SyncCommand::Now { timeout_ms } => {
            now::exchange(shared, Duration::from_millis(timeout_ms), emitter).await
        }
        SyncCommand::MeetAt { link } => {
            let link = parse_link(&link)?;
            let moved = shared.sync.with_engine(move |engine| {
                (
                    engine.meet_at(&link),
                    vec![satchel_sync::engine::Event::Tick],
                )
            });
            moved
                .await?
                .map_err(|error| Failure::general(failure::words(&error)))?;
            report().await
        }
        SyncCommand::Leave => {
            shared.sync.leave().await?;
            report().await
        }
        SyncCommand::ForgetWarnings => {
            let forgotten = shared
                .sync
                .with_engine(|engine| (engine.forget_warnings(), Vec::new()));
            forgotten
                .await?
                .map_err(|error| Failure::general(failure::words(&error)))?;
            report().await
        }
    }
}

/// Whether this laptop may only read: nobody else would ever see what it writes.
pub fn is_reader(shared: &Shared) -> bool {
    let reports = shared.sync.reports();
    let report = reports.borrow();
    let status = report.status.as_ref();
    status.and_then(|status| status.role) == Some(Role::Reader)
}

/// Refuses to change documents where this laptop may only read them: nobody else would ever see the change.
///
/// # Errors
/// Of a reader that wants to write.
pub fn check_may_write(shared: &Shared, command: &Command) -> Result<(), Failure> {
    if command.changes().documents && is_reader(shared) {
        return Err(Failure::new(
            FailureKind::Usage,
            "this laptop is a reader of this workspace: it cannot add, change or remove documents",
        )
        .with_hint("An owner can make it a writer: `satchel workspace role DEVICE writer`. Or import into a workspace of your own."));
    }
    Ok(())
}

/// The laptops, to say who wrote something.
pub fn authors(shared: &Shared) -> Authors {
    let reports = shared.sync.reports();
    let report = reports.borrow();
    Authors {
        devices: report
            .status
            .as_ref()
            .map_or_else(Vec::new, |status| status.devices.clone()),
        alone: shared.workspace.device().is_none(),
    }
}

async fn found(
    shared: &Arc<Shared>,
    link: &str,
    invitation: Option<String>,
    user: Option<String>,
    label: Option<String>,
) -> Result<(), Failure> {
    let link = parse_link(link)?;
    if shared.sync.reports().borrow().state != SyncState::NotShared {
        return Err(failure::of_share(&share::ShareError::Already));
    }
    let (user, label) = names(user, label);
    let workspace = Arc::clone(&shared.workspace);
    let founding = tokio::task::spawn_blocking(move || {
        let invitation = invitation.unwrap_or_default();
        share::found(
            &workspace,
            &link,
            invitation.trim(),
            &user,
            &label,
            satchel_sync::net::driver::now().wall_ms,
        )
    });
    founding
        .await
        .map_err(failure::of_panic)?
        .map_err(|error| failure::of_share(&error))?;
    shared.sync.begin().await;
    Ok(())
}

/// Reports every change until nobody listens.
async fn watch(shared: &Arc<Shared>, emitter: &Emitter) -> Result<Reply, Failure> {
    let _watching = shared.sync.watching();
    shared.lending.stir();
    let mut reports = shared.sync.reports();
    let mut arrivals = shared.sync.arrivals();
    let mut beside = shared.beside.listen();
    loop {
        let report = reports.borrow_and_update().clone();
        emitter.send(Event::Sync(Box::new(report))).await;
        tokio::time::sleep(WATCH_EVERY).await;
        tokio::select! {
            changed = reports.changed() => if changed.is_err() { break },
            arrival = arrivals.recv() => {
                let (documents, chats) = match arrival {
                    Ok(arrival) => arrival.counts(),
                    // So many that some were passed over: lists are fetched anew in any case.
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => (1, 1),
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
                };
                emitter.send(Event::Arrived { documents, chats }).await;
            }
            changed = beside.recv() => {
                let changed = changed.unwrap_or(Changed {
                    documents: true,
                    index: true,
                    chats: true,
                    workspaces: true,
                    models: true,
                    settings: true,
                });
                emitter.send(Event::Changed(changed)).await;
            }
            () = emitter.cancelled() => break,
        }
    }
    Err(Failure::new(FailureKind::Cancelled, "Stopped."))
}

fn parse_link(text: &str) -> Result<NodeLink, Failure> {
    text.trim().parse().map_err(|error| {
        Failure::new(
            FailureKind::Usage,
            format!(
                "this is no link of an edge node: {}",
                failure::words(&error)
            ),
        )
        .with_hint(
            "It begins with satchel-edge: and is printed when the edge node starts; copy it whole.",
        )
    })
}

/// Who the others see: the account and the machine, where nothing else is said.
fn names(user: Option<String>, label: Option<String>) -> (String, String) {
    let given = |name: Option<String>| {
        name.map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
    };
    let account = || {
        ["USER", "LOGNAME"]
            .iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|name| !name.is_empty())
            .unwrap_or_else(|| "me".to_owned())
    };
    let machine = || sysinfo::System::host_name().unwrap_or_else(|_| "laptop".to_owned());
    (
        given(user).unwrap_or_else(account),
        given(label).unwrap_or_else(machine),
    )
}
