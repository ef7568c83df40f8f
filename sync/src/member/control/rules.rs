//! Who may do what, and which changes make a new epoch.
//!
//! Pure. The same rules hold for a record that is being written and for one that arrives.
//! Start at [`check`].

use super::members::Members;
use super::{ControlError, Op};
use crate::id::DeviceId;
use crate::member::{
    DevicePublic, MAX_MEMBERS, Member, Role, WrapError, are_good_edges, is_good_name, wrap,
};

/// What a record makes besides its change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rotation {
    /// Nothing.
    None,
    /// A new epoch.
    Epoch,
    /// A new epoch and a new policy key: somebody who knew the old one left the owners.
    EpochAndPolicy,
}

/// Whether `author` may do this to these members, and what it makes.
///
/// # Errors
/// [`ControlError`] that says who has to do what instead.
pub(super) fn check(
    members: &Members,
    author: &DeviceId,
    op: &Op,
) -> Result<Rotation, ControlError> {
    let author = in_force(members, author)?;
    let renames_itself = matches!(op, Op::Rename { device, .. } if *device == author.device);
    if author.role != Role::Owner && !renames_itself {
        return Err(ControlError::NotAllowed { role: author.role });
    }
    match op {
        Op::Genesis { .. } => Err(ControlError::SecondGenesis),
        Op::AddDevice {
            public,
            user,
            label,
            ..
        } => {
            check_new(members, public)?;
            check_names(&[user, label])?;
            Ok(Rotation::None)
        }
        Op::RemoveDevice { device, .. } => {
            let member = in_force(members, device)?;
            check_leaves_owners(members, author, member)?;
            Ok(rotation_without(member))
        }
        Op::SetRole { device, role } => {
            let member = in_force(members, device)?;
            if member.role == *role {
                return Err(ControlError::SameRole { role: *role });
            }
            if !role.is_below(member.role) {
                return Ok(Rotation::Epoch);
            }
            check_leaves_owners(members, author, member)?;
            Ok(rotation_without(member))
        }
        Op::Rename { device, label } => {
            in_force(members, device)?;
            check_names(&[label])?;
            Ok(Rotation::None)
        }
        Op::Edges { links } if are_good_edges(links) => Ok(Rotation::None),
        Op::Edges { .. } => Err(ControlError::BadEdges),
        Op::Rotate { .. } => Ok(Rotation::Epoch),
    }
}

/// Names that can be shown.
pub(super) fn check_names(names: &[&str]) -> Result<(), ControlError> {
    if names.iter().all(|name| is_good_name(name)) {
        Ok(())
    } else {
        Err(ControlError::BadName)
    }
}

fn in_force<'a>(members: &'a Members, device: &DeviceId) -> Result<&'a Member, ControlError> {
    members
        .find_in_force(device)
        .ok_or(ControlError::NotMember { device: *device })
}

fn check_new(members: &Members, public: &DevicePublic) -> Result<(), ControlError> {
    let device = public.id();
    if members.find(&device).is_some() {
        return Err(ControlError::AlreadyMember { device });
    }
    if members.in_force().count() >= MAX_MEMBERS {
        return Err(ControlError::TooManyMembers);
    }
    if !wrap::is_usable(public) {
        return Err(WrapError::BadKey { device }.into());
    }
    Ok(())
}

/// Whether there is still an owner without `member`, and whether it is somebody else's doing.
fn check_leaves_owners(
    members: &Members,
    author: &Member,
    member: &Member,
) -> Result<(), ControlError> {
    let is_owner = |member: &&Member| member.role == Role::Owner;
    if member.role == Role::Owner && members.in_force().filter(is_owner).count() == 1 {
        return Err(ControlError::LastOwner);
    }
    if member.device == author.device {
        return Err(ControlError::Yourself);
    }
    Ok(())
}

fn rotation_without(member: &Member) -> Rotation {
    if member.role == Role::Owner {
        Rotation::EpochAndPolicy
    } else {
        Rotation::Epoch
    }
}
