//! Sharing a workspace with other devices: founding it, joining it, and opening its sync.
//!
//! No network: it only writes what the engine begins with. Blocking. Start at [`found`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use satchel_protocol::link::NodeLink;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::engine::{Engine, EngineError, Founding, Now, StoreError, SyncStore};
use crate::engine::{control_row, first_rows};
use crate::id::to_hex;
use crate::keys::DataKey;
use crate::member::{ControlError, ControlLog, DeviceKeys, Keyring, Welcome};
use crate::sync_file::{self, SyncFile};
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

/// Remembers, apart from what syncing remembers, that a workspace is shared: where the one is gone, the other says that
/// something is missing. Otherwise it would look like a workspace that never was shared, and be shared a second time.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// Hash of the first record of the control log, in hexadecimal digits: which sharing it is.
    genesis: String,
    /// This device, in hexadecimal digits.
    device: String,
}

impl Mark {
    const FILE: &'static str = "shared.json";

    fn path(workspace: &Workspace) -> PathBuf {
        workspace.dir().join(Self::FILE)
    }

    /// `None` where there is none; a damaged one says as much as an intact one, but for the details.
    fn read(workspace: &Workspace) -> Option<Self> {
        let bytes = std::fs::read(Self::path(workspace)).ok()?;
        let unknown = || Self {
            genesis: String::new(),
            device: String::new(),
        };
        Some(serde_json::from_slice(&bytes).unwrap_or_else(|_| unknown()))
    }

    fn write(&self, workspace: &Workspace) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(self).expect("a mark is plain data");
        durable::write(&Self::path(workspace), &bytes).map_err(|error| StoreError(Box::new(error)))
    }
}

/// Lays aside what syncing remembers, and that the workspace was shared. Its documents stay as they are.
///
/// # Errors
/// When the disk refuses.
pub fn leave(workspace: &Workspace) -> Result<(), StoreError> {
    lay_aside(workspace)?;
    let mark = Mark::path(workspace);
    match std::fs::remove_file(&mark) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError(Box::new(error)))
        }
        _ => durable::sync_folder(workspace.dir()).map_err(|error| StoreError(Box::new(error))),
    }
}

fn lay_aside(workspace: &Workspace) -> Result<(), StoreError> {
    let path = sync_file::path_of(workspace.dir());
    if path.exists() {
        durable::rename_folder(&path, &path.with_extension("redb.old"))
            .map_err(|error| StoreError(Box::new(error)))?;
    }
    Ok(())
}

/// Whether this laptop was a member by that sharing and takes no part any more: what syncing remembers is gone or
/// damaged, or it was removed. Then it may be paired anew, with its documents in place.
fn may_join_anew(workspace: &Arc<Workspace>, genesis: &str) -> Result<bool, ShareError> {
    let was_of_this = Mark::read(workspace)
        .is_some_and(|mark| mark.genesis == genesis || mark.genesis.is_empty());
    if !was_of_this {
        return Ok(false);
    }
    // Only looked at, so the time does not matter.
    let now = Now {
        monotonic_ms: 1,
        wall_ms: 0,
    };
    match open_engine(workspace, now) {
        Ok(engine) => Ok(engine.is_none_or(|engine| engine.stands_still())),
        Err(EngineError::Rows(_)) => Ok(true),
        Err(EngineError::Store(error)) if sync_file::is_damaged(&error) => Ok(true),
        Err(EngineError::Store(error)) => Err(error.into()),
        Err(_) => Ok(false),
    }
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
    if Mark::read(workspace).is_some() || is_shared(workspace)? {
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
        moved: false,
    };
    let mut rows = first_rows(&founding, &device, &keyring, Some(&policy), false);
    rows.push(control_row(0, &draft.record, draft.previous_epoch.as_ref()));
    SyncFile::open(Arc::clone(workspace))?.commit(rows)?;
    let mark = Mark {
        genesis: founding.genesis,
        device: device.id().to_string(),
    };
    Ok(mark.write(workspace)?)
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
            let open = || Ok::<_, OpenError>(Arc::new(Workspace::open(&dir, data_key)?.0));
            let workspace = open()?;
            let genesis = to_hex(&welcome.genesis_hash);
            if may_join_anew(&workspace, &genesis)? {
                lay_aside(&workspace)?;
            } else if workspace.document_count() > 0 {
                return Err(ShareError::Here);
            } else {
                match is_shared(&workspace) {
                    Ok(false) => {}
                    Ok(true) => return Err(ShareError::Here),
                    // Half made by a joining that was interrupted.
                    Err(error) if sync_file::is_damaged(&error) => lay_aside(&workspace)?,
                    Err(error) => return Err(error.into()),
                }
            }
            // As another device than before.
            drop(workspace);
            open()?
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
        moved: false,
    };
    let mut keyring = Keyring::new();
    keyring.insert(welcome.secrets.duplicate());
    let rows = first_rows(&founding, device, &keyring, welcome.policy.as_ref(), true);
    SyncFile::open(Arc::clone(&workspace))?.commit(rows)?;
    let mark = Mark {
        genesis: founding.genesis,
        device: device.id().to_string(),
    };
    mark.write(&workspace)?;
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
    let mark = Mark::read(workspace);
    let lost = || {
        let path = sync_file::path_of(workspace.dir());
        Err(EngineError::Store(sync_file::damaged(&path)))
    };
    if !SyncFile::exists(workspace) {
        return mark.map_or(Ok(None), |_| lost());
    }
    let mut file = SyncFile::open(Arc::clone(workspace))?;
    if file.load()?.is_empty() {
        return mark.map_or(Ok(None), |_| lost());
    }
    let documents = WorkspaceDocuments::new(Arc::clone(workspace));
    let engine = Engine::open(documents, file, now)?;
    if mark.is_none() {
        let mark = Mark {
            genesis: engine.founding().genesis.clone(),
            device: engine.device().to_string(),
        };
        mark.write(workspace)?;
    }
    workspace.become_device(engine.device());
    workspace.await_index(engine.awaits_documents());
    Ok(Some(engine))
}
