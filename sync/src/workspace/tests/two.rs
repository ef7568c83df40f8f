//! Two workspaces that exchange whole documents, as the sync does, without a network between.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::engine::{Documents, Incoming, Outcome};
use crate::entry::Encoding;
use crate::id::DeviceId;
use crate::workspace::WorkspaceDocuments;

pub(in crate::workspace) const DESK: DeviceId = DeviceId([1; 16]);
pub(in crate::workspace) const TRAVEL: DeviceId = DeviceId([2; 16]);

pub(in crate::workspace) struct Two {
    _folder: TempDir,
    pub(in crate::workspace) desk: Arc<Workspace>,
    pub(in crate::workspace) travel: Arc<Workspace>,
}

impl Two {
    /// A workspace on two laptops, with what `begin` puts into it.
    pub(in crate::workspace) fn new(begin: impl FnOnce(&Workspace)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = DataKey::from_bytes([5; 32]);
        let id = "0123456789abcdef0123456789abcdef";
        let open = |name: &str| {
            let dir = folder.path().join(name).join(id);
            Workspace::create(&dir, &key, "Papers").unwrap()
        };
        let (desk, travel) = (open("desk"), open("travel"));
        desk.become_device(DESK);
        begin(&desk);
        travel.become_device(TRAVEL);
        travel.await_index(true);
        let two = Self {
            _folder: folder,
            desk: Arc::new(desk),
            travel: Arc::new(travel),
        };
        give(&two.desk, &two.travel);
        two
    }

    /// Both get what the other one has.
    pub(in crate::workspace) fn exchange(&self) {
        give(&self.desk, &self.travel);
        give(&self.travel, &self.desk);
        give(&self.desk, &self.travel);
    }
}

/// Sends everything.
pub(in crate::workspace) fn give(from: &Arc<Workspace>, to: &Arc<Workspace>) {
    let mut sender = WorkspaceDocuments::new(Arc::clone(from));
    let mut parts = Vec::new();
    for (key, _) in sender.all() {
        let whole = sender.snapshot(key).unwrap().unwrap();
        parts.push(Incoming {
            key,
            encoding: Encoding::Save,
            heads: whole.heads,
            bytes: whole.bytes,
            author: None,
            long: true,
        });
    }
    let (outcomes, _) = WorkspaceDocuments::new(Arc::clone(to))
        .apply(parts)
        .unwrap();
    let refused = |outcome: &Outcome| !matches!(outcome, Outcome::Applied { .. });
    assert!(!outcomes.iter().any(refused), "{outcomes:?}");
}

pub(in crate::workspace) fn edit(workspace: &Workspace, id: DocumentId, text: &str) {
    let title = workspace.entry(id).unwrap().title;
    let new = NewDocument {
        existing: Some(id),
        ..NewDocument::plain(title, text)
    };
    workspace.put(vec![new]).unwrap();
}
