//! Carries out the commands about workspaces, with one of them open in this process or none.
//!
//! What writes into a workspace that another process has open is done by that process.
//! Start at [`carry_out`].

use std::fs;
use std::path::Path;
use std::sync::Arc;

use satchel_sync::WorkspaceId;
use satchel_sync::member::{DeviceKeys, Welcome};
use satchel_sync::share;
use satchel_sync::workspace::{OpenError, Workspace};

use super::names::{checked_name, refuse_taken};
use super::{Known, Workspaces, resolve};
use crate::backend::failure;
use crate::backend::jobs::Emitter;
use crate::backend::socket::Client;
use crate::message::{
    Command, Failure, FailureKind, Reply, WorkspaceCommand, WorkspaceReport, WorkspaceSummary,
};

/// Carries out a command. Needs no workspace to be open; asks for the key where there are workspaces.
///
/// # Errors
/// When the workspace cannot be found, is in use, or the name cannot be given.
pub async fn carry_out(
    workspaces: &Workspaces,
    command: WorkspaceCommand,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    let here = workspaces.clone();
    match command {
        WorkspaceCommand::List => blocking(emitter, move |_| here.list())
            .await
            .map(Reply::Workspaces),
        WorkspaceCommand::New { name } => {
            blocking(emitter, move |notices| here.create(&name, notices))
                .await
                .map(Reply::Workspace)
        }
        WorkspaceCommand::Rename { workspace, name } => rename(here, workspace, name, emitter)
            .await
            .map(Reply::Workspace),
        WorkspaceCommand::Switch { workspace } => {
            blocking(emitter, move |_| here.switch(&workspace))
                .await
                .map(Reply::Workspace)
        }
        WorkspaceCommand::Remove { workspace } => {
            blocking(emitter, move |notices| here.remove(&workspace, notices))
                .await
                .map(Reply::Done)
        }
    }
}

/// Runs `work` on the blocking pool and passes its words for the user on.
async fn blocking<T: Send + 'static>(
    emitter: &Emitter,
    work: impl FnOnce(&mut Vec<String>) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let working = tokio::task::spawn_blocking(move || {
        let mut notices = Vec::new();
        let result = work(&mut notices);
        (result, notices)
    });
    let (result, notices) = working.await.map_err(failure::of_panic)?;
    for notice in notices {
        emitter.notice(notice).await;
    }
    result
}

/// Renames here, or in the process that has the workspace open.
async fn rename(
    workspaces: Workspaces,
    wanted: String,
    name: String,
    emitter: &Emitter,
) -> Result<WorkspaceReport, Failure> {
    let (here, new_name) = (workspaces.clone(), name.clone());
    let renamed = blocking(emitter, move |notices| {
        here.rename(&wanted, &new_name, notices)
    });
    let id = match renamed.await? {
        Renamed::Here(report) => return Ok(report),
        Renamed::OpenElsewhere(id) => id,
    };
    let holder = Client::connect(&workspaces.dirs.socket(id)).await;
    let holder = holder.ok_or_else(|| {
        Failure::new(
            FailureKind::Locked,
            "the workspace is open in another Satchel, which does not answer",
        )
        .with_hint("Wait for it or close it, then rename again.")
    })?;
    let command = WorkspaceCommand::Rename {
        workspace: id.to_string(),
        name,
    };
    let events = holder.submit(Command::Workspace(command)).await?;
    let Reply::Workspace(there) = events.finish(|_| ()).await? else {
        return Err(
            Failure::general("the other Satchel process answered something else")
                .with_hint("It may be of another version: close it and try again."),
        );
    };
    // What is open here is not what is open there.
    blocking(emitter, move |_| workspaces.report(id, there.done)).await
}

enum Renamed {
    Here(WorkspaceReport),
    OpenElsewhere(WorkspaceId),
}

impl Workspaces {
    /// All of them, by name.
    pub(super) fn list(&self) -> Result<Vec<WorkspaceSummary>, Failure> {
        let current = self.current()?.map(|current| current.id);
        let known = self.known()?;
        let mut all: Vec<WorkspaceSummary> = known
            .iter()
            .map(|known| self.summary(known, current))
            .collect();
        all.sort_by_cached_key(|one| (one.name.to_lowercase(), one.id.clone()));
        Ok(all)
    }

    /// Makes one, which is current only where there was none.
    pub(super) fn create(
        &self,
        name: &str,
        notices: &mut Vec<String>,
    ) -> Result<WorkspaceReport, Failure> {
        let name = checked_name(name)?;
        let key = self.prepare(notices)?;
        let _changing = self.changing()?;
        refuse_taken(self.known()?.iter().map(Known::name), &name)?;
        let current = self.current()?;
        if let Some(current) = &current {
            // Without a note the first by id is the current one, and the new one could come before it.
            self.note(current.id)?;
        }
        let id = self.create_named(key, &name)?.id();
        if current.is_none() {
            self.note(id)?;
        }
        self.report(id, format!("Made the workspace “{name}”."))
    }

    /// Makes the workspace that another laptop has let this one into, and notes it as the current one.
    /// Returns words for the user besides.
    ///
    /// # Errors
    /// When it is here already, the key cannot be had, or the disk refuses.
    pub fn join(
        &self,
        device: &DeviceKeys,
        welcome: &Welcome,
    ) -> Result<(Arc<Workspace>, Vec<String>), Failure> {
        let mut notices = Vec::new();
        let key = self.prepare(&mut notices)?;
        let _changing = self.changing()?;
        let joined = share::join(&self.dirs.workspaces(), key, device, welcome)
            .map_err(|error| failure::of_share(&error))?;
        self.note(joined.id())?;
        Ok((joined, notices))
    }

    /// What became of a workspace that was joined.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn joined(&self, id: WorkspaceId, done: String) -> Result<WorkspaceReport, Failure> {
        self.report(id, done)
    }

    fn switch(&self, wanted: &str) -> Result<WorkspaceReport, Failure> {
        let known = self.known()?;
        let found = resolve(&known, Known::name_and_id, wanted)?;
        let _changing = self.changing()?;
        self.note(found.listing.id)?;
        let done = format!("“{}” is the current workspace now.", found.label());
        self.report(found.listing.id, done)
    }

    fn rename(
        &self,
        wanted: &str,
        name: &str,
        notices: &mut Vec<String>,
    ) -> Result<Renamed, Failure> {
        let name = checked_name(name)?;
        let known = self.known()?;
        let found = resolve(&known, Known::name_and_id, wanted)?;
        let id = found.listing.id;
        let _changing = self.changing()?;
        let known = self.known()?;
        let others = known.iter().filter(|other| other.listing.id != id);
        refuse_taken(others.map(Known::name), &name)?;
        match self.open.as_ref().filter(|open| open.id() == id) {
            Some(open) => open.rename(&name)?,
            None => {
                let opened = Workspace::open(&found.listing.path, self.existing_key()?);
                let (opened, report) = match opened {
                    Err(OpenError::Locked { .. }) => return Ok(Renamed::OpenElsewhere(id)),
                    opened => opened.map_err(|error| failure::of_open(&error))?,
                };
                notices.extend(report.words());
                let opened = Arc::new(opened);
                // What is written into a shared workspace is written as this laptop.
                share::open_engine(&opened, satchel_sync::net::driver::now())
                    .map_err(|error| Failure::general(failure::words(&error)))?;
                opened.rename(&name)?;
            }
        }
        let done = format!("“{}” is called “{name}” now.", found.label());
        self.report(id, done).map(Renamed::Here)
    }

    fn report(&self, id: WorkspaceId, done: String) -> Result<WorkspaceReport, Failure> {
        let current = self.current()?.map(|current| current.id);
        let known = self.known()?;
        let found = known.iter().find(|known| known.listing.id == id);
        let found = found.ok_or_else(|| {
            Failure::new(FailureKind::NotFound, "the workspace was removed meanwhile")
        })?;
        Ok(WorkspaceReport {
            done,
            workspace: self.summary(found, current),
        })
    }

    fn summary(&self, known: &Known, current: Option<WorkspaceId>) -> WorkspaceSummary {
        let id = known.listing.id;
        WorkspaceSummary {
            id: known.id.clone(),
            name: known.name().to_owned(),
            current: current == Some(id),
            open_here: self.is_open_here(id),
            documents: known.glance.as_ref().ok().map(|glance| glance.documents),
            size_bytes: bytes_below(&known.listing.path) + bytes_below(&self.dirs.index_of(id)),
            problem: known.glance.as_ref().err().cloned(),
        }
    }
}

/// Bytes of all files below a folder. What vanishes meanwhile counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => bytes_below(&entry.path()),
            Ok(facts) => facts.len(),
            Err(_) => 0,
        })
        .sum()
}
