//! Why a record of the control log is refused.

use crate::bytes::Malformed;
use crate::id::DeviceId;
use crate::member::{MAX_EDGE_LINK_BYTES, MAX_EDGES, MAX_MEMBERS, MAX_NAME_BYTES, Role};
use crate::member::{WalkBackError, WrapError};
use crate::sealing::OpenError;

/// A record cannot be written, or one that was received is not valid. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Records are accepted in order, each once.
    #[error(
        "expected record {expected} of the members' list, found {found}: ask the edge from {expected} on"
    )]
    WrongIndex {
        /// Which record is next.
        expected: u32,
        /// Which one came.
        found: u32,
    },
    /// The record follows another one than ours: there are two histories.
    #[error(
        "the members' list that arrived follows another history than ours: compare both devices"
    )]
    OtherHistory,
    /// The first record is not the one that the workspace began with.
    #[error("the members' list that arrived belongs to another workspace")]
    OtherGenesis,
    /// We do not have the keys of the epoch.
    #[error(
        "the keys of epoch {epoch} are not on this device: it was removed, or has to be paired again"
    )]
    EpochUnknown {
        /// The epoch's number.
        epoch: u32,
    },
    /// The record does not open.
    #[error("a record of the members' list does not open")]
    Sealed(#[from] OpenError),
    /// The record was not signed by the device that it names.
    #[error("a record of the members' list is not signed by device {}", .author.short())]
    Signature {
        /// Whom the record names.
        author: DeviceId,
    },
    /// The record is not laid out as it should be.
    #[error("a record of the members' list is malformed")]
    Malformed,
    /// The record is laid out in a way that this program does not know.
    #[error("a record of the members' list was made by a newer Satchel: update Satchel")]
    Newer,
    /// The device is not a member, or no longer.
    #[error("device {} is not a member of this workspace", .device.short())]
    NotMember {
        /// The device.
        device: DeviceId,
    },
    /// Only owners may do that.
    #[error("a {role} may not change who is a member: ask an owner")]
    NotAllowed {
        /// The role of the author.
        role: Role,
    },
    /// Without an owner nobody could change anything any more.
    #[error("this is the last owner: make another device an owner first")]
    LastOwner,
    /// Whoever makes an epoch knows its secrets, so nobody can take them from themselves.
    #[error(
        "a device cannot remove itself or lower its own role: do it on another device of an owner"
    )]
    Yourself,
    /// The device was a member before. A device that comes back makes new keys.
    #[error("device {} is or was a member already: pair it again with new keys", .device.short())]
    AlreadyMember {
        /// The device.
        device: DeviceId,
    },
    /// There would be nothing to do.
    #[error("the device is a {role} already")]
    SameRole {
        /// Its role.
        role: Role,
    },
    /// A log begins once.
    #[error("the members' list has begun already")]
    SecondGenesis,
    /// A name cannot be shown.
    #[error("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters: choose another one")]
    BadName,
    /// The links to edges are too many or too long.
    #[error(
        "a workspace names at most {MAX_EDGES} edges by links of at most {MAX_EDGE_LINK_BYTES} bytes"
    )]
    BadEdges,
    /// Every change of epoch names all members.
    #[error("a workspace has at most {MAX_MEMBERS} devices: remove one first")]
    TooManyMembers,
    /// Secrets cannot be sealed to a device, or those sealed to us do not open.
    #[error(transparent)]
    Wrap(#[from] WrapError),
    /// An owner's record needs the key that only owners have.
    #[error(
        "this needs the owners' policy key, which is not on this device: do it on another device of an owner"
    )]
    PolicyKeyNeeded,
    /// The record gives its new epoch to others than the members, or to us another one than announced.
    #[error(
        "a record of the members' list hands out keys wrongly: remove the device that wrote it"
    )]
    WrongKeys,
    /// The secrets of the epoch before are missing, superfluous, or others.
    #[error(
        "what leads back to older keys does not fit the members' list: ask another edge or device"
    )]
    PreviousEpoch,
    /// Older epochs cannot be learnt.
    #[error(transparent)]
    WalkBack(#[from] WalkBackError),
    /// There are too many changes in one record.
    #[error("the record is too long for a fragment")]
    TooLong,
}

impl From<Malformed> for ControlError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
