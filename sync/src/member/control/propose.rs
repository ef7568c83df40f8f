//! Begins a log and writes records. A draft counts once it has been accepted, here as everywhere.
//!
//! Start at [`ControlLog::begin`] and [`ControlLog::propose`].

use satchel_protocol::fragment::{EncryptedFragment, FragmentKind};

use super::record::{self, Body, EpochPart, PolicyPublic, Record};
use super::rules::{self, Rotation};
use super::{ControlError, ControlLog, Current, NewCurrent, Op, members};
use crate::id::WorkspaceId;
use crate::member::{DeviceKeys, EpochId, EpochSecrets, Keyring, PolicyKey, Wrap, previous};
use crate::sealing::{self, Padding};

/// Sizes of records tell an edge whether one device was renamed or a thousand got new keys, not more.
const PADDING: Padding = Padding::Multiple(1024);

/// A record that was written and not yet accepted by the home edge.
#[derive(Debug)]
pub struct ControlDraft {
    /// The place in the log that it is for.
    pub index: u32,
    /// The sealed record.
    pub record: EncryptedFragment,
    /// The secrets of the epoch before, sealed under the new one, when the record makes one.
    pub previous_epoch: Option<EncryptedFragment>,
    /// What the edges have to be told when the record makes an epoch.
    pub rotation: Option<NewEpoch>,
}

/// The secrets that a draft makes. They count once the draft is accepted.
#[derive(Debug)]
pub struct NewEpoch {
    /// The new epoch's.
    pub secrets: EpochSecrets,
    /// The new policy key and its counter, when an owner left the owners.
    pub policy: Option<(u32, PolicyKey)>,
}

impl ControlLog {
    /// Begins the log of a workspace: this device is its first owner.
    ///
    /// The log has accepted the draft already; it is returned to be stored and sent.
    ///
    /// # Errors
    /// [`ControlError::BadName`] for a name that cannot be shown.
    pub fn begin(
        workspace: WorkspaceId,
        owner: &DeviceKeys,
        user: &str,
        label: &str,
        now_ms: i64,
    ) -> Result<(Self, Keyring, PolicyKey, ControlDraft), ControlError> {
        let first = EpochId {
            number: 0,
            record: [0; 8],
        };
        let secrets = EpochSecrets::random(first);
        Self::begin_with(
            workspace,
            owner,
            (user, label),
            now_ms,
            &secrets,
            PolicyKey::random(),
        )
    }

    pub(in crate::member) fn begin_with(
        workspace: WorkspaceId,
        owner: &DeviceKeys,
        (user, label): (&str, &str),
        now_ms: i64,
        secrets: &EpochSecrets,
        policy: PolicyKey,
    ) -> Result<(Self, Keyring, PolicyKey, ControlDraft), ControlError> {
        let op = Op::Genesis {
            owner: owner.public(),
            user: user.to_owned(),
            label: label.to_owned(),
        };
        rules::check_names(&[user, label])?;
        let public = PolicyPublic {
            counter: 0,
            public: policy.public(),
        };
        let checks = secrets.checks();
        let record = Record {
            index: 0,
            previous: [0; 32],
            author: owner.id(),
            created_ms: now_ms,
            body: Body {
                op,
                epoch: Some(EpochPart {
                    checks,
                    policy: Some(public),
                    wraps: Vec::new(),
                }),
            },
        };
        let bytes = record.sign(owner, workspace);
        let hash = record::hash_of(&bytes);
        let secrets = secrets.named(EpochId::made_by(0, &hash));
        let sealed = seal(&secrets, workspace, &bytes)?;

        let mut log = Self::joining(workspace, hash);
        let at = members::At {
            index: 0,
            author: owner.id(),
            created_ms: now_ms,
        };
        let new = NewCurrent {
            checks,
            policy: Some(public),
        };
        log.append(hash, &record.body.op, at, Some(new));
        let mut keyring = Keyring::new();
        keyring.insert(secrets);
        let draft = ControlDraft {
            index: 0,
            record: sealed,
            previous_epoch: None,
            rotation: None,
        };
        Ok((log, keyring, policy, draft))
    }

    /// Writes the next record. The log stays as it is until the record is accepted.
    ///
    /// `policy` is the policy key in force; records that make an epoch need it.
    ///
    /// # Errors
    /// [`ControlError`] when the author may not do this, or lacks a key that it takes.
    pub fn propose(
        &self,
        op: Op,
        author: &DeviceKeys,
        keyring: &Keyring,
        policy: Option<&PolicyKey>,
        now_ms: i64,
    ) -> Result<ControlDraft, ControlError> {
        let rotation = rules::check(&self.members, &author.id(), &op)?;
        let current = self.in_force()?;
        let secrets = keyring
            .of(current.epoch)
            .ok_or(ControlError::EpochUnknown {
                epoch: current.epoch.number,
            })?;
        let new = self.new_epoch(rotation, &op, policy, &current)?;
        let (epoch, new) = new.map_or((None, None), |(part, new)| (Some(part), Some(new)));
        let record = Record {
            index: self.next,
            previous: self.head,
            author: author.id(),
            created_ms: now_ms,
            body: Body { op, epoch },
        };
        let bytes = record.sign(author, self.workspace);
        let rotation = new.map(|new| NewEpoch {
            secrets: new.secrets.named(EpochId::made_by(
                new.secrets.id().number,
                &record::hash_of(&bytes),
            )),
            policy: new.policy,
        });
        let previous = |new: &NewEpoch| previous::seal(&new.secrets, secrets, self.workspace);
        Ok(ControlDraft {
            index: self.next,
            record: seal(secrets, self.workspace, &bytes)?,
            previous_epoch: rotation.as_ref().map(previous),
            rotation,
        })
    }

    pub(super) fn in_force(&self) -> Result<Current, ControlError> {
        self.current.ok_or(ControlError::WrongIndex {
            expected: 0,
            found: self.next,
        })
    }

    /// The secrets of the epoch that a record makes, and what it says about them.
    fn new_epoch(
        &self,
        rotation: Rotation,
        op: &Op,
        policy: Option<&PolicyKey>,
        current: &Current,
    ) -> Result<Option<(EpochPart, NewEpoch)>, ControlError> {
        if rotation == Rotation::None {
            return Ok(None);
        }
        let in_force = policy
            .filter(|policy| policy.public() == current.policy.public)
            .ok_or(ControlError::PolicyKeyNeeded)?;
        let new_policy = (rotation == Rotation::EpochAndPolicy)
            .then(|| (current.policy.counter + 1, PolicyKey::random()));
        let policy = new_policy.as_ref().map_or(in_force, |(_, policy)| policy);
        let secrets = EpochSecrets::random(EpochId {
            number: current.epoch.number + 1,
            record: [0; 8],
        });
        let wrap =
            |(device, role)| Wrap::seal(&device, role, self.workspace, &secrets, Some(policy));
        let wraps = self.members.remaining_after(op).into_iter().map(wrap);
        let part = EpochPart {
            checks: secrets.checks(),
            wraps: wraps.collect::<Result<_, _>>()?,
            policy: new_policy.as_ref().map(|(counter, policy)| PolicyPublic {
                counter: *counter,
                public: policy.public(),
            }),
        };
        Ok(Some((
            part,
            NewEpoch {
                secrets,
                policy: new_policy,
            },
        )))
    }
}

fn seal(
    secrets: &EpochSecrets,
    workspace: WorkspaceId,
    record: &[u8],
) -> Result<EncryptedFragment, ControlError> {
    sealing::seal(secrets, workspace, FragmentKind::Control, record, PADDING)
        .map_err(|_| ControlError::TooLong)
}
