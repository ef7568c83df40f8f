//! Sharing a workspace with other devices: founding it, joining it, and opening its sync.
//!
//! No network: it only writes what the engine begins with. Blocking. Start at [`found`].

use std::path::Path;
use std::sync::Arc;

pub use satchel_protocol::link::NodeLink;

use crate::engine::{Engine, EngineError, Founding, Now, StoreError, SyncStore};
use crate::engine::{control_row, first_rows};
use crate::id::to_hex;
use crate::keys::DataKey;
use crate::member::{ControlError, ControlLog, DeviceKeys, Keyring, Welcome};
use crate::sync_file::SyncFile;
use crate::workspace::{OpenError, SaveError, Workspace, WorkspaceDocuments};

/// The engine of a workspace on the disk.
pub type WorkspaceEngine = Engine<WorkspaceDocuments, SyncFile>;

/// Why a workspace cannot be shared or joined. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// It is shared.
    #[error("this workspace is shared already")]
    Already,
    /// It is on this laptop.
    #[error(
        "this workspace is on this laptop already: remove it here first if you want to join it anew"
    )]
    Here,
    /// A name cannot be used.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The workspace cannot be made or opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The workspace cannot be changed.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// What syncing remembers cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a workspace is shared.
///
/// # Errors
/// When what syncing remembers cannot be read.
pub fn is_shared(workspace: &Arc<Workspace>) -> Result<bool, StoreError> {
    Ok(SyncFile::exists(workspace) && !SyncFile::open(Arc::clone(workspace))?.load()?.is_empty())
}

/// Makes a workspace one that other devices can join, by way of an edge.
///
/// `user` and `label` are what the other members see. `invitation` is what the operator of the edge gave, if anything.
///
/// # Errors
/// See [`ShareError`].
pub fn found(
    workspace: &Arc<Workspace>,
    link: &NodeLink,
    invitation: &str,
    user: &str,
    label: &str,
    now_ms: i64,
) -> Result<(), ShareError> {
    if is_shared(workspace)? {
        return Err(ShareError::Already);
    }
    let device = DeviceKeys::random();
    let (control, keyring, policy, draft) =
        ControlLog::begin(workspace.id(), &device, user, label, now_ms)?;
    workspace.prepare_sharing(device.id())?;
    let founding = Founding {
        workspace: workspace.id(),
        mailbox: policy.mailbox().to_string(),
        policy_public: to_hex(&policy.public()),
        genesis: to_hex(&control.genesis_hash()),
        edges: vec![link.to_string()],
        joined: false,
        invitation: invitation.to_owned(),
    };
    let mut rows = first_rows(&founding, &device, &keyring, Some(&policy), false);
    rows.push(control_row(0, &draft.record, draft.previous_epoch.as_ref()));
    SyncFile::open(Arc::clone(workspace))?.commit(rows)?;
    Ok(())
}

/// Makes the workspace that a welcome is for, in the folder of all workspaces. Its documents come when its engine runs.
///
/// # Errors
/// See [`ShareError`].
pub fn join(
    workspaces: &Path,
    data_key: &DataKey,
    device: &DeviceKeys,
    welcome: &Welcome,
) -> Result<Arc<Workspace>, ShareError> {
    let dir = workspaces.join(welcome.workspace.to_string());
    let workspace = match Workspace::create(&dir, data_key, &welcome.name) {
        Ok(workspace) => Arc::new(workspace),
        // Left by a joining that was interrupted before it was remembered.
        Err(OpenError::AlreadyExists { .. }) => {
            let (workspace, _) = Workspace::open(&dir, data_key)?;
            let workspace = Arc::new(workspace);
            if workspace.document_count() > 0 || is_shared(&workspace)? {
                return Err(ShareError::Here);
            }
            workspace
        }
        Err(error) => return Err(error.into()),
    };
    let founding = Founding {
        workspace: welcome.workspace,
        mailbox: welcome.mailbox.to_string(),
        policy_public: to_hex(&welcome.policy_public),
        genesis: to_hex(&welcome.genesis_hash),
        edges: welcome.edges.clone(),
        joined: true,
        invitation: String::new(),
    };
    let mut keyring = Keyring::new();
    keyring.insert(welcome.secrets.duplicate());
    let rows = first_rows(&founding, device, &keyring, welcome.policy.as_ref(), true);
    SyncFile::open(Arc::clone(&workspace))?.commit(rows)?;
    Ok(workspace)
}

/// Opens the engine of a shared workspace; `None` where it is not shared.
///
/// # Errors
/// When what syncing remembers cannot be read or is not understood.
pub fn open_engine(
    workspace: &Arc<Workspace>,
    now: Now,
) -> Result<Option<WorkspaceEngine>, EngineError> {
    if !SyncFile::exists(workspace) {
        return Ok(None);
    }
    let mut file = SyncFile::open(Arc::clone(workspace))?;
    if file.load()?.is_empty() {
        return Ok(None);
    }
    let documents = WorkspaceDocuments::new(Arc::clone(workspace));
    let engine = Engine::open(documents, file, now)?;
    workspace.become_device(engine.device());
    workspace.await_index(engine.awaits_documents());
    Ok(Some(engine))
}
