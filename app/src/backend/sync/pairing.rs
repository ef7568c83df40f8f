//! Two laptops become a pair: the new one shows a code, the other one types it, both show the same pictures.
//!
//! Start at [`begin`] on the new laptop and [`approve`] on the other one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use satchel_sync::DeviceId;
use satchel_sync::engine::{Change, EdgePhase};
use satchel_sync::member::{DeviceInfo, DeviceKeys};
use satchel_sync::net::pair::{PairError, PairKnown, PairNew};
use satchel_sync::pairing::{Emoji, PairingCode};
use satchel_sync::share;

use super::{SyncHost, names, parse_link, report};
use crate::backend::jobs::{Emitter, Meter};
use crate::backend::preferences::Preferences;
use crate::backend::workspaces::Workspaces;
use crate::backend::{Shared, failure};
use crate::message::{Event, Failure, FailureKind, PairingEvent, Picture, Reply, Role, Stage};
use crate::units;

/// How long the first documents of a joined workspace are waited for; the rest comes whenever it is open.
const RECEIVE_WAIT: Duration = Duration::from_secs(60);
/// With the list of documents there, how long the documents themselves are.
const SETTLE_WAIT: Duration = Duration::from_secs(10);

/// Shows a code, waits for the approval, makes the workspace and receives its list of documents.
///
/// # Errors
/// When the edge cannot be reached, the code is wrong, or the other laptop refuses: nothing was changed then.
pub async fn begin(
    workspaces: &Workspaces,
    offline: bool,
    link: &str,
    user: Option<String>,
    label: Option<String>,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    let link = parse_link(link)?;
    if offline {
        return Err(forbidden());
    }
    let (user, label) = names(user, label);
    let keys = DeviceKeys::random();
    let info = DeviceInfo::new(&keys, &user, &label)
        .map_err(|error| Failure::new(FailureKind::Usage, failure::words(&error)))?;
    let meeting = async {
        let pair = PairNew::begin(&link)
            .await
            .map_err(|error| failure::of_pairing(&error))?;
        let code = pair.code().to_owned();
        emitter
            .send(Event::Pairing(PairingEvent::Code { code }))
            .await;
        let met = pair.meet(&info, emitter.cancelled()).await;
        let waiting = met
            .map_err(|error| failure::of_pairing(&error))?
            .ok_or_else(stopped)?;
        let pictures = pictures(waiting.check());
        emitter
            .send(Event::Pairing(PairingEvent::Check { pictures }))
            .await;
        let welcomed = waiting.welcome(emitter.cancelled()).await;
        welcomed
            .map_err(|error| failure::of_pairing(&error))?
            .ok_or_else(stopped)
    };
    let (welcome, joining) = meeting.await?;
    // From here on nothing is given up: the other laptop has let this one in.
    let here = workspaces.clone();
    let writing = tokio::task::spawn_blocking(move || here.join(&keys, &welcome));
    let written = writing.await.map_err(failure::of_panic);
    let (workspace, notices) = match written.and_then(|written| written) {
        Ok(written) => written,
        Err(failure) => {
            joining.failed().await;
            return Err(failure);
        }
    };
    if let Err(error) = joining.joined().await {
        emitter
            .notice(format!(
                "The other laptop could not be told that this one has joined ({}); if it takes that back, pair anew.",
                failure::words(&error)
            ))
            .await;
    }
    for notice in notices {
        emitter.notice(notice).await;
    }
    let here = workspaces.clone();
    let id = workspace.id();
    let joined = move |done: String| {
        let here = here.clone();
        async move {
            let reporting = tokio::task::spawn_blocking(move || here.joined(id, done));
            reporting.await.map_err(failure::of_panic)?
        }
    };
    let done = format!("Joined “{}”.", workspace.name());
    let event = PairingEvent::Joined {
        workspace: Box::new(joined(done).await?),
    };
    emitter.send(Event::Pairing(event)).await;
    let settings = Arc::new(Preferences::new(
        crate::config::Settings::default(),
        std::path::PathBuf::new(),
    ));
    let done = receive(workspace, settings, emitter).await;
    Ok(Reply::Workspace(joined(done).await?))
}

/// Receives what a joined workspace holds, as far as it comes soon. Returns what came of it in words.
async fn receive(
    workspace: Arc<satchel_sync::Workspace>,
    settings: Arc<Preferences>,
    emitter: &Emitter,
) -> String {
    let opening = {
        let workspace = Arc::clone(&workspace);
        tokio::task::spawn_blocking(move || SyncHost::open(workspace, settings))
    };
    let name = workspace.name();
    let Ok((host, engine)) = opening.await else {
        return format!("Joined “{name}”. Its documents come when it is opened.");
    };
    host.start(engine);
    let mut meter = Meter::new(emitter, Stage::Receiving, 1);
    let until = Instant::now() + RECEIVE_WAIT;
    let mut settled_until = None;
    while Instant::now() < until && !emitter.is_cancelled() {
        let now = host.fresh().await;
        let Some(status) = now.status else { break };
        let behind: u64 = status.edges.iter().map(|edge| edge.behind).sum();
        let entries: u64 = status.devices.iter().map(|device| device.entries).sum();
        meter.at(entries, (entries + behind).max(1));
        if report::is_equal(&status) || report::was_removed(&status) {
            break;
        }
        if !status.awaits_documents {
            let settled = *settled_until.get_or_insert_with(|| Instant::now() + SETTLE_WAIT);
            // Files follow whenever it is open; texts are what is waited for.
            let has_texts = status
                .edges
                .iter()
                .any(|edge| edge.phase == EdgePhase::UpToDate && edge.behind == 0);
            if has_texts || Instant::now() >= settled {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let awaits = host
        .fresh()
        .await
        .status
        .is_none_or(|status| status.awaits_documents);
    host.close().await;
    let name = workspace.name();
    if awaits {
        format!(
            "Joined “{name}”. Its documents have not come yet: they come when it is opened, or with `satchel sync now`."
        )
    } else {
        let documents = units::count(workspace.document_count(), "document");
        format!("Joined “{name}” with {documents}. It is the current workspace now.")
    }
}

/// Lets the laptop that shows a code into the open workspace.
///
/// # Errors
/// When the code is wrong, the user refuses, or this laptop may not do it.
pub(super) async fn approve(
    shared: &Arc<Shared>,
    code: &str,
    role: Role,
    confirmed: bool,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    let code: PairingCode = code.parse().map_err(|error| {
        Failure::new(FailureKind::Usage, failure::words(&error))
            .with_hint("It is a number and three words, as the new laptop shows them.")
    })?;
    let link = home(shared).await?;
    let meeting = PairKnown::begin(&link, code);
    let pair = tokio::select! {
        pair = meeting => pair.map_err(|error| failure::of_pairing(&error))?,
        () = emitter.cancelled() => return Err(stopped()),
    };
    let info = pair.info().clone();
    let request = satchel_sync::ThreadId::random().to_string();
    let answer = shared.sync.ask_user(&request);
    let event = PairingEvent::Request {
        request: request.clone(),
        user: info.user.clone(),
        label: info.label.clone(),
        pictures: pictures(pair.check()),
    };
    emitter.send(Event::Pairing(event)).await;
    let accepted = confirmed
        || tokio::select! {
            answer = answer => answer.unwrap_or(false),
            () = emitter.cancelled() => false,
        };
    shared.sync.forget_request(&request);
    if !accepted {
        pair.refuse()
            .await
            .map_err(|error| failure::of_pairing(&error))?;
        if emitter.is_cancelled() {
            return Err(stopped());
        }
        return Err(Failure::general(
            "the new laptop was refused: nothing was changed",
        ));
    }
    let change = Change::Add {
        public: info.public,
        user: info.user.clone(),
        label: info.label.clone(),
        role,
    };
    if let Err(failure) = shared.sync.change(change).await {
        // The other laptop need not wait; why is said here.
        pair.refuse().await.ok();
        return Err(failure);
    }
    let name = shared.workspace.name();
    let welcome = shared
        .sync
        .with_engine(move |engine| {
            engine.flush_soon();
            (
                engine.welcome(role, name),
                vec![satchel_sync::engine::Event::Tick],
            )
        })
        .await?;
    match pair.welcome(&welcome).await {
        Ok(()) => super::devices::list(shared).await,
        Err(error) => Err(take_back(shared, info.public.id(), &error).await),
    }
}

/// Of a laptop that was let in and did not come: it does not stay a member.
async fn take_back(shared: &Arc<Shared>, device: DeviceId, error: &PairError) -> Failure {
    let why = failure::words(error);
    match shared.sync.change(Change::Remove(device)).await {
        Ok(_) => Failure::general(format!("{why}: it was taken out of the workspace again"))
            .with_hint("Begin again with a new code; what the new laptop says tells more."),
        Err(failure) => Failure::general(format!(
            "{why}, and could not be taken out of the workspace again: {failure}"
        ))
        .with_hint("`satchel devices list` says whether it is still there; `satchel devices remove` takes it out."),
    }
}

/// The edge node where a new laptop finds the workspace.
async fn home(shared: &Arc<Shared>) -> Result<share::NodeLink, Failure> {
    let now = shared.sync.fresh().await;
    if matches!(now.state, crate::message::SyncState::Forbidden) {
        return Err(forbidden());
    }
    let Some(status) = &now.status else {
        return Err(report::why_not_running(&now));
    };
    if report::was_removed(status) {
        return Err(report::removed());
    }
    if status.role != Some(Role::Owner) {
        return Err(Failure::new(
            FailureKind::Usage,
            "only a laptop that is an owner of this workspace can let another one in",
        )
        .with_hint("`satchel workspace members` says who is one."));
    }
    let link = status.edges.first().map(|edge| edge.link.as_str());
    parse_link(link.unwrap_or_default())
}

fn pictures(emoji: [Emoji; 4]) -> Vec<Picture> {
    let picture = |emoji: Emoji| Picture {
        symbol: emoji.symbol.to_owned(),
        name: emoji.name.to_owned(),
    };
    emoji.map(picture).into()
}

fn forbidden() -> Failure {
    Failure::new(
        FailureKind::Offline,
        "connections are forbidden by the settings or by --offline",
    )
    .with_hint("`satchel settings offline false` allows them.")
}

fn stopped() -> Failure {
    Failure::new(FailureKind::Cancelled, "Stopped. Nothing was changed.")
}
