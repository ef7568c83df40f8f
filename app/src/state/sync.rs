//! What the window knows of the other laptops, and how far sharing, joining and letting in are.
//!
//! Pure: no drawing, no work, no clock. Start at [`Sync`].

use super::{JobId, Purpose, SessionState, Wish, words};
use crate::message::{
    Changed, Command, ConflictReport, DeviceStatus, EdgePhase, Failure, FailureKind, PairingEvent,
    Picture, Progress, Role, SyncCommand, SyncReport, SyncState, WorkspaceCommand,
};

use crate::units::count;

/// The other laptops, as far as they are known.
#[derive(Debug, Default)]
pub struct Sync {
    /// How the open workspace stands, once known.
    pub report: Option<SyncReport>,
    /// This laptop becomes a member of another workspace.
    pub joining: Option<Joining>,
    /// Another laptop is let into the open workspace.
    pub letting_in: Option<LettingIn>,
    /// Why the workspace could not be shared, or none could be joined.
    pub failure: Option<String>,
    /// Why the other laptop was not let in.
    pub not_let_in: Option<String>,
    /// What was changed on two laptops at once, once known.
    pub conflicts: Option<ConflictReport>,
    /// Id of the laptop that is to answer; `None` for this one.
    pub answers_on: Option<String>,
}

/// How far this laptop is with becoming a member.
#[derive(Debug)]
pub struct Joining {
    /// The command that does it.
    pub job: JobId,
    /// What the other laptop has to be told.
    pub code: Option<String>,
    /// What both laptops show.
    pub pictures: Option<Vec<Picture>>,
    /// The name of the joined workspace.
    pub joined: Option<String>,
    /// How much of it has come.
    pub progress: Option<Progress>,
}

/// How far letting in another laptop is.
#[derive(Debug)]
pub struct LettingIn {
    /// The command that does it.
    pub job: JobId,
    /// Who asks, once it is known.
    pub request: Option<Request>,
    /// The user has said yes or no.
    pub is_answered: bool,
}

/// Somebody who wants to become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// For the answer.
    pub id: String,
    /// Whose laptop, by its own word.
    pub user: String,
    /// What it is called, by its own word.
    pub label: String,
    /// What both laptops show.
    pub pictures: Vec<Picture>,
}

impl Sync {
    /// Whether other laptops can have the open workspace.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.report
            .as_ref()
            .is_some_and(|report| report.state != SyncState::NotShared)
    }

    /// Whether another laptop is a member.
    #[must_use]
    pub fn has_others(&self) -> bool {
        let status = self
            .report
            .iter()
            .filter_map(|report| report.status.as_ref());
        let mut devices = status.flat_map(|status| &status.devices);
        devices.any(|device| !device.is_this && device.removed_ms.is_none())
    }

    /// Ids and names of the other laptops that could answer a question.
    #[must_use]
    pub fn lenders(&self) -> Vec<(String, String)> {
        let status = self
            .report
            .as_ref()
            .and_then(|report| report.status.as_ref());
        let Some(status) = status.filter(|status| status.role.is_some_and(Role::may_write)) else {
            return Vec::new();
        };
        let can_answer = |device: &&DeviceStatus| {
            !device.is_this && device.removed_ms.is_none() && device.role.may_write()
        };
        let others = status.devices.iter().filter(can_answer);
        others
            .map(|device| (device.id.to_string(), device.label.clone()))
            .collect()
    }

    /// Id and name of the laptop that is to answer, as long as it can; `None` for this one.
    #[must_use]
    pub fn lender(&self) -> Option<(String, String)> {
        let chosen = self.answers_on.as_ref()?;
        self.lenders().into_iter().find(|(id, _)| id == chosen)
    }

    pub(super) fn begin_joining(&mut self, job: JobId) {
        self.failure = None;
        self.joining = Some(Joining {
            job,
            code: None,
            pictures: None,
            joined: None,
            progress: None,
        });
    }

    pub(super) fn begin_letting_in(&mut self, job: JobId) {
        self.not_let_in = None;
        self.letting_in = Some(LettingIn {
            job,
            request: None,
            is_answered: false,
        });
    }

    pub(super) fn pairing(&mut self, id: JobId, event: PairingEvent) {
        let joining = self.joining.as_mut().filter(|joining| joining.job == id);
        let letting_in = self.letting_in.as_mut().filter(|one| one.job == id);
        match (event, joining, letting_in) {
            (PairingEvent::Code { code }, Some(joining), _) => joining.code = Some(code),
            (PairingEvent::Check { pictures }, Some(joining), _) => {
                joining.pictures = Some(pictures);
            }
            (PairingEvent::Joined { workspace }, Some(joining), _) => {
                joining.joined = Some(workspace.workspace.name);
            }
            (
                PairingEvent::Request {
                    request,
                    user,
                    label,
                    pictures,
                },
                _,
                Some(letting_in),
            ) => {
                letting_in.request = Some(Request {
                    id: request,
                    user,
                    label,
                    pictures,
                });
            }
            _ => {}
        }
    }

    pub(super) fn progress(&mut self, id: JobId, progress: &Progress) {
        if let Some(joining) = &mut self.joining
            && joining.job == id
        {
            joining.progress = Some(progress.clone());
        }
    }

    pub(super) fn devices(&mut self, devices: Vec<DeviceStatus>) {
        if let Some(status) = self
            .report
            .as_mut()
            .and_then(|report| report.status.as_mut())
        {
            status.devices = devices;
        }
    }

    /// A laptop was let in: its label, if this command did it.
    pub(super) fn let_in(&mut self, id: JobId) -> Option<String> {
        let done = self.letting_in.take_if(|letting_in| letting_in.job == id)?;
        Some(
            done.request
                .map_or_else(String::new, |request| request.label),
        )
    }

    /// What a command failed with, in the place where it was begun.
    pub(super) fn failed(&mut self, id: JobId, failure: &Failure) {
        let text = (failure.kind != FailureKind::Cancelled).then(|| words(failure));
        if self.letting_in.take_if(|one| one.job == id).is_some() {
            self.not_let_in = text;
        } else {
            self.joining.take_if(|joining| joining.job == id);
            self.failure = text;
        }
    }
}

impl SessionState {
    /// Becomes a member of a workspace of another laptop; `link` is that of an edge node.
    pub fn join(
        &mut self,
        link: &str,
        user: Option<String>,
        label: Option<String>,
    ) -> (JobId, Command) {
        let job = self.begin(Purpose::Join, "Joining a workspace");
        self.sync.begin_joining(job);
        let link = link.trim().to_owned();
        (
            job,
            Command::Sync(SyncCommand::BeginPairing { link, user, label }),
        )
    }

    /// Lets in the laptop that shows this code.
    pub fn let_in(&mut self, code: &str, role: Role) -> (JobId, Command) {
        let job = self.begin(Purpose::LetIn, "Adding a laptop");
        self.sync.begin_letting_in(job);
        let command = SyncCommand::ApprovePairing {
            code: code.trim().to_owned(),
            role,
            confirmed: false,
        };
        (job, Command::Sync(command))
    }

    /// Says whether the laptop that asks is welcome. `None` where none asks.
    pub fn answer_request(&mut self, accept: bool) -> Option<Command> {
        let letting_in = self.sync.letting_in.as_mut()?;
        let request = letting_in.request.as_ref()?.id.clone();
        letting_in.is_answered = true;
        Some(Command::Sync(SyncCommand::ConfirmPairing {
            request,
            accept,
        }))
    }
}

/// What arrived from other laptops, as lists that are different now.
pub(super) fn arrived(documents: usize, chats: usize) -> Changed {
    Changed {
        documents: documents > 0,
        index: documents > 0,
        chats: chats > 0,
        ..Changed::default()
    }
}

/// What fetches the lists anew that are different now.
pub(super) fn wishes(changed: Changed, open_chat: Option<&String>) -> Vec<Wish> {
    let mut commands = Vec::new();
    let mut fetch = |is_needed: bool, command: Command| {
        if is_needed {
            commands.push(command);
        }
    };
    fetch(changed.documents, Command::Documents);
    // The model in use may be another one.
    let is_model = changed.models || changed.settings;
    fetch(changed.index || is_model, Command::Status);
    // It says how many documents each has.
    fetch(
        changed.workspaces || changed.documents,
        Command::Workspace(WorkspaceCommand::List),
    );
    fetch(changed.chats, Command::Threads);
    if let Some(thread) = open_chat.cloned() {
        let branch = None;
        fetch(changed.chats, Command::Thread { thread, branch });
    }
    fetch(is_model, Command::Models);
    fetch(changed.models, Command::Catalog);
    fetch(changed.settings, Command::Settings);
    fetch(
        changed.documents || changed.chats,
        Command::Sync(SyncCommand::Conflicts),
    );
    commands.into_iter().map(Wish::refresh).collect()
}

/// How the open workspace stands, in one line that never says more than is known: `3 laptops · travel last heard
/// 3 h ago · everything sent`. `ago` puts a time into words.
#[must_use]
pub fn summary(report: &SyncReport, ago: impl Fn(i64) -> String) -> String {
    let Some(status) = &report.status else {
        return report.line.clone();
    };
    let members = status
        .devices
        .iter()
        .filter(|device| device.removed_ms.is_none());
    let others = || members.clone().filter(|device| !device.is_this);
    let mut parts = vec![count(members.clone().count(), "laptop")];
    match others().max_by_key(|device| device.last_heard_ms) {
        None => parts.push("no other one yet".to_owned()),
        Some(last) => parts.push(match last.last_heard_ms {
            Some(at) => format!("{} last heard {}", last.label, ago(at)),
            None => format!("nothing heard from {} yet", last.label),
        }),
    }
    parts.push(sent(report));
    if status.awaits_documents {
        parts.push("the list of documents has not come yet".to_owned());
    } else {
        let behind: u64 = status.edges.iter().map(|edge| edge.behind).sum();
        if behind > 0 {
            parts.push(format!("{} to read", count(behind as usize, "change")));
        }
    }
    parts.join(" · ")
}

/// What has left this laptop.
fn sent(report: &SyncReport) -> String {
    let waiting = waiting_changes(report);
    let uploads = report.status.as_ref().map_or(0, |status| status.uploads);
    let reads_only = report
        .status
        .as_ref()
        .is_some_and(|status| status.role.is_none_or(|role| !role.may_write()));
    match (waiting, uploads) {
        _ if reads_only => "this laptop only reads".to_owned(),
        (0, 0) => "everything sent".to_owned(),
        (0, files) => format!("{} to send", count(files, "file")),
        (changes, _) => format!("{} to send", count(changes, "change")),
    }
}

/// Changes of this laptop that no edge node has, or that the best edge node lacks.
fn waiting_changes(report: &SyncReport) -> usize {
    report.status.as_ref().map_or(0, |status| {
        let lacks = status.edges.iter().map(|edge| edge.lacks).min();
        status.unsent.max(lacks.unwrap_or(0))
    })
}

/// A few words for the bar below; `None` for a workspace that is not shared.
#[must_use]
pub fn short(report: &SyncReport, ago: impl Fn(i64) -> String) -> Option<String> {
    let waiting = waiting_changes(report);
    let wait = match waiting {
        0 => String::new(),
        1 => ": 1 change waits".to_owned(),
        many => format!(": {many} changes wait"),
    };
    let contact = || {
        let edges = report.status.iter().flat_map(|status| &status.edges);
        edges.filter_map(|edge| edge.last_contact_ms).max()
    };
    Some(match report.state {
        SyncState::NotShared => return None,
        SyncState::Equal => {
            contact().map_or("Synced".to_owned(), |at| format!("Synced {}", ago(at)))
        }
        SyncState::Working => format!("Syncing …{}", wait.trim_start_matches(':')),
        SyncState::Offline if waiting == 0 => contact().map_or("Offline".to_owned(), |at| {
            format!("Offline, synced {}", ago(at))
        }),
        SyncState::Offline => format!("Offline{wait}"),
        SyncState::Forbidden => format!("Offline by choice{wait}"),
        SyncState::Removed => "Removed: nothing is synced".to_owned(),
        SyncState::Stopped => format!("Sync stopped{wait}"),
    })
}

/// How the connection to an edge node stands, in words.
#[must_use]
pub fn phase(phase: EdgePhase) -> &'static str {
    match phase {
        EdgePhase::Offline => "not connected",
        EdgePhase::Connecting => "connecting",
        EdgePhase::CatchingUp => "reading what is new",
        EdgePhase::UpToDate => "connected, nothing new there",
        EdgePhase::Stopped => "given up",
    }
}

/// How long ago something was, at `now_ms`: `just now`, `2 min ago`, `3 h ago`, `5 days ago`.
#[must_use]
pub fn ago(at_ms: i64, now_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(at_ms) / 1000;
    match seconds {
        // Clocks of laptops differ.
        ..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use satchel_sync::DeviceId;
    use satchel_sync::engine::Status;

    use super::*;
    use crate::message::{EdgeStatus, Event};

    fn device(first: u8, label: &str, heard: Option<i64>) -> DeviceStatus {
        DeviceStatus {
            id: DeviceId([first; 16]),
            user: "Ada".to_owned(),
            label: label.to_owned(),
            role: Role::Writer,
            is_this: first == 1,
            removed_ms: None,
            entries: 0,
            last_written_ms: None,
            last_heard_ms: heard,
        }
    }

    fn report(state: SyncState, unsent: usize, devices: Vec<DeviceStatus>) -> SyncReport {
        SyncReport {
            state,
            line: String::new(),
            status: Some(Status {
                device: DeviceId([1; 16]),
                role: Some(Role::Owner),
                devices,
                edges: vec![EdgeStatus {
                    link: "satchel-edge:x".to_owned(),
                    phase: EdgePhase::UpToDate,
                    reason: None,
                    last_contact_ms: Some(0),
                    lacks: 0,
                    behind: 0,
                    used_bytes: 0,
                    quota_bytes: 0,
                    sessions: 1,
                }],
                unsent,
                waiting: 0,
                quarantined: 0,
                uploads: 0,
                downloads: 0,
                awaits_documents: false,
                warnings: Vec::new(),
            }),
            missing: Vec::new(),
            connections: Vec::new(),
            problem: None,
        }
    }

    #[test]
    fn times_are_words() {
        assert_eq!(ago(90_000, 0), "just now");
        assert_eq!(ago(0, 59_000), "just now");
        assert_eq!(ago(0, 125_000), "2 min ago");
        assert_eq!(ago(0, 3 * 3_600_000), "3 h ago");
        assert_eq!(ago(0, 5 * 86_400_000), "5 days ago");
    }

    #[test]
    fn the_summary_says_who_was_heard_last_and_what_is_not_sent() {
        let now = |at| ago(at, 3 * 3_600_000);
        let three = vec![
            device(1, "desk", None),
            device(2, "travel", Some(0)),
            device(3, "attic", None),
        ];
        assert_eq!(
            summary(&report(SyncState::Equal, 0, three.clone()), now),
            "3 laptops · travel last heard 3 h ago · everything sent"
        );
        assert_eq!(
            summary(
                &report(SyncState::Offline, 2, vec![device(1, "desk", None)]),
                now
            ),
            "1 laptop · no other one yet · 2 changes to send"
        );
        let offline = report(SyncState::Offline, 3, three.clone());
        assert_eq!(short(&offline, now).unwrap(), "Offline: 3 changes wait");
        let equal = report(SyncState::Equal, 0, three);
        assert_eq!(short(&equal, now).unwrap(), "Synced 3 h ago");
    }

    #[test]
    fn what_arrives_is_listed_anew_and_the_watch_goes_on() {
        let mut state = SessionState::default();
        let watch = state.begin(Purpose::Watch, "");
        let arrived = Event::Arrived {
            documents: 2,
            chats: 0,
        };
        assert_eq!(state.apply(watch, arrived).len(), 4);
        let arrived = Event::Arrived {
            documents: 0,
            chats: 1,
        };
        assert_eq!(state.apply(watch, arrived).len(), 2);
        let changed = Command::ImportSample.changes();
        assert_eq!(state.apply(watch, Event::Changed(changed)).len(), 4);
        let changed = Command::ChangeSettings { changes: vec![] }.changes();
        assert_eq!(state.apply(watch, Event::Changed(changed)).len(), 3);
        assert!(!state.is_working(), "a watch is no work");
        assert!(state.jobs.contains_key(&watch));
    }

    #[test]
    fn a_joining_that_was_cancelled_leaves_no_complaint() {
        let mut state = SessionState::default();
        let job = state.begin(Purpose::Join, "");
        state.sync.begin_joining(job);
        let code = "4-anchor-river-stone".to_owned();
        state.apply(job, Event::Pairing(PairingEvent::Code { code }));
        assert!(state.sync.joining.as_ref().unwrap().code.is_some());
        let stopped = Failure::new(FailureKind::Cancelled, "Stopped.");
        state.apply(job, Event::Failed(stopped));
        assert!(state.sync.joining.is_none() && state.sync.failure.is_none());
        let job = state.begin(Purpose::Join, "");
        state.sync.begin_joining(job);
        state.apply(job, Event::Failed(Failure::general("no edge node answers")));
        assert_eq!(state.sync.failure.as_deref(), Some("No edge node answers."));
    }
}
