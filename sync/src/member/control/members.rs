//! The devices that are or were members, with the role each had at any time.
//!
//! Pure. Start at [`Member`].

use std::collections::BTreeMap;

use super::Op;
use crate::id::DeviceId;
use crate::member::{DevicePublic, Role};

/// A device that is or was a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in records.
    pub device: DeviceId,
    /// Its keys.
    pub public: DevicePublic,
    /// Who uses it.
    pub user: String,
    /// What it is called.
    pub label: String,
    /// What it may do, or might when it was removed.
    pub role: Role,
    /// When it was added, by the clock of the device that did it.
    pub added_ms: i64,
    /// Which device added it; itself for the first one.
    pub added_by: DeviceId,
    /// How its membership ended.
    pub removed: Option<Removal>,
}

/// How a membership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removal {
    /// Which device removed it.
    pub by: DeviceId,
    /// When, by the clock of that device.
    pub at_ms: i64,
    /// Sequence number of its last entry that counts.
    pub last_accepted: u64,
    /// Which record removed it.
    pub at_index: u32,
}

/// Where a record stands and who wrote it.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) index: u32,
    pub(super) author: DeviceId,
    pub(super) created_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<DeviceId, Life>);

#[derive(Debug)]
struct Life {
    member: Member,
    /// The role from each record on that changed it; `None` from the removal on.
    roles: Vec<(u32, Option<Role>)>,
}

impl Members {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.0.values().map(|life| &life.member)
    }

    /// Members whose membership has not ended, by device id.
    pub(super) fn in_force(&self) -> impl Iterator<Item = &Member> {
        self.iter().filter(|member| member.removed.is_none())
    }

    pub(super) fn find(&self, device: &DeviceId) -> Option<&Member> {
        self.0.get(device).map(|life| &life.member)
    }

    pub(super) fn find_in_force(&self, device: &DeviceId) -> Option<&Member> {
        self.find(device).filter(|member| member.removed.is_none())
    }

    /// What the device might do after the record with this index.
    pub(super) fn role_after(&self, device: &DeviceId, index: u32) -> Option<Role> {
        let roles = &self.0.get(device)?.roles;
        let later = roles.partition_point(|(at, _)| *at <= index);
        roles[..later].last()?.1
    }

    /// Who gets the secrets of the epoch that `op` makes, by device id.
    pub(super) fn remaining_after(&self, op: &Op) -> Vec<(DevicePublic, Role)> {
        self.in_force()
            .filter_map(|member| match op {
                Op::RemoveDevice { device, .. } if *device == member.device => None,
                Op::SetRole { device, role } if *device == member.device => {
                    Some((member.public, *role))
                }
                _ => Some((member.public, member.role)),
            })
            .collect()
    }

    /// Does what an accepted record says.
    pub(super) fn apply(&mut self, op: &Op, at: At) {
        match op {
            Op::Genesis { owner, user, label } => self.add(*owner, user, label, Role::Owner, at),
            Op::AddDevice {
                public,
                user,
                label,
                role,
            } => {
                self.add(*public, user, label, *role, at);
            }
            Op::RemoveDevice {
                device,
                last_accepted,
            } => self.change(device, |life| {
                life.roles.push((at.index, None));
                life.member.removed = Some(Removal {
                    by: at.author,
                    at_ms: at.created_ms,
                    last_accepted: *last_accepted,
                    at_index: at.index,
                });
            }),
            Op::SetRole { device, role } => self.change(device, |life| {
                life.roles.push((at.index, Some(*role)));
                life.member.role = *role;
            }),
            Op::Rename { device, label } => self.change(device, |life| {
                life.member.label.clone_from(label);
            }),
            Op::Edges { .. } | Op::Rotate { .. } => {}
        }
    }

    fn add(&mut self, public: DevicePublic, user: &str, label: &str, role: Role, at: At) {
        let member = Member {
            device: public.id(),
            public,
            user: user.to_owned(),
            label: label.to_owned(),
            role,
            added_ms: at.created_ms,
            added_by: at.author,
            removed: None,
        };
        let roles = vec![(at.index, Some(role))];
        self.0.insert(member.device, Life { member, roles });
    }

    fn change(&mut self, device: &DeviceId, change: impl FnOnce(&mut Life)) {
        // `rules` has checked that the device is a member.
        if let Some(life) = self.0.get_mut(device) {
            change(life);
        }
    }
}
