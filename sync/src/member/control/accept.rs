//! Checks records that arrive and takes over what they say.
//!
//! Everything is checked before anything changes. Start at [`ControlLog::accept`].

use satchel_protocol::fragment::{EncryptedFragment, FragmentKind};
use zeroize::Zeroizing;

use super::record::{self, Body, EpochPart, SignedRecord};
use super::rules::{self, Rotation};
use super::{ControlError, ControlLog, NewCurrent, Op, members};
use crate::id::DeviceId;
use crate::member::{DeviceKeys, EpochId, EpochSecrets, Keyring, PolicyKey, previous};
use crate::sealing;

/// A record as an edge keeps it: its index, the sealed record, the sealed secrets of the epoch before.
pub type ControlRecord = (u32, EncryptedFragment, Option<EncryptedFragment>);

/// A record that was valid and is part of the log now.
#[derive(Debug)]
pub struct Accepted {
    /// What it did.
    pub op: Op,
    /// Which device wrote it.
    pub author: DeviceId,
    /// When, by the clock of that device.
    pub created_ms: i64,
    /// Whether it made a new epoch.
    pub new_epoch: bool,
    /// The policy key in force after this record, when it was wrapped for us as an owner. It may be the one we
    /// had; of several records the last one counts.
    pub policy: Option<PolicyKey>,
    /// Whether it ended our own membership: nothing after it can be read.
    pub we_were_removed: bool,
}

/// What we learn from a record that makes an epoch.
#[derive(Default)]
struct Learnt {
    secrets: Option<EpochSecrets>,
    previous: Option<EpochSecrets>,
    policy: Option<PolicyKey>,
}

impl ControlLog {
    /// Takes the next record.
    ///
    /// The keyring learns the new epoch when the record makes one and gives it to us.
    ///
    /// # Errors
    /// [`ControlError`] when anything about the record is wrong; log and keyring stay as they were.
    pub fn accept(
        &mut self,
        index: u32,
        record: &EncryptedFragment,
        previous_epoch: Option<&EncryptedFragment>,
        me: &DeviceKeys,
        keyring: &mut Keyring,
    ) -> Result<Accepted, ControlError> {
        if index != self.next {
            return Err(ControlError::WrongIndex {
                expected: self.next,
                found: index,
            });
        }
        let bytes = self.open_record(record, keyring)?;
        let hash = record::hash_of(&bytes);
        let signed = SignedRecord::read(&bytes)?;
        if signed.previous != self.head || signed.index != index {
            return Err(ControlError::OtherHistory);
        }
        let (body, learnt) = if index == 0 {
            (
                self.check_genesis(&signed, &hash, keyring)?,
                Learnt::default(),
            )
        } else {
            self.check_later(&signed, &hash, previous_epoch, me, keyring)?
        };
        if body.epoch.is_none() || index == 0 {
            check(previous_epoch.is_none(), ControlError::PreviousEpoch)?;
        }

        let at = members::At {
            index,
            author: signed.author,
            created_ms: signed.created_ms,
        };
        let new_epoch = body.epoch.is_some();
        let new = body.epoch.map(|part| NewCurrent {
            checks: part.checks,
            policy: part.policy,
        });
        self.append(hash, &body.op, at, new);
        learnt
            .previous
            .into_iter()
            .for_each(|secrets| keyring.insert(secrets));
        learnt
            .secrets
            .into_iter()
            .for_each(|secrets| keyring.insert(secrets));
        let we_were_removed =
            matches!(body.op, Op::RemoveDevice { device, .. } if device == me.id());
        Ok(Accepted {
            op: body.op,
            author: at.author,
            created_ms: at.created_ms,
            new_epoch,
            policy: learnt.policy,
            we_were_removed,
        })
    }

    /// Takes all these records, in order, after learning older epochs from the newest one that is known.
    ///
    /// So a device that was just welcomed, and knows one epoch, reads the log from its beginning.
    ///
    /// # Errors
    /// [`ControlError`] at the first record that is wrong; those before it are part of the log.
    pub fn accept_all(
        &mut self,
        records: &[ControlRecord],
        me: &DeviceKeys,
        keyring: &mut Keyring,
    ) -> Result<Vec<Accepted>, ControlError> {
        let links = records
            .iter()
            .filter_map(|(_, _, previous)| previous.as_ref());
        keyring.walk_back(self.workspace, links)?;
        let accept = |(index, record, previous): &ControlRecord| {
            self.accept(*index, record, previous.as_ref(), me, keyring)
        };
        records.iter().map(accept).collect()
    }

    /// Opens a record under the epoch in force; the first one under the epoch that it makes itself.
    fn open_record(
        &self,
        record: &EncryptedFragment,
        keyring: &Keyring,
    ) -> Result<Zeroizing<Vec<u8>>, ControlError> {
        let named = EpochId::from_bytes(&record.header().epoch_id);
        let epoch = self.current.map_or(named, |current| current.epoch);
        let secrets = keyring.of(epoch).ok_or(ControlError::EpochUnknown {
            epoch: epoch.number,
        })?;
        let bytes = sealing::open(secrets, self.workspace, FragmentKind::Control, record)?;
        Ok(Zeroizing::new(bytes))
    }

    fn check_genesis(
        &self,
        signed: &SignedRecord<'_>,
        hash: &[u8; 32],
        keyring: &Keyring,
    ) -> Result<Body, ControlError> {
        check(*hash == self.genesis_hash, ControlError::OtherGenesis)?;
        let body = signed.body()?;
        let Op::Genesis { owner, user, label } = &body.op else {
            return Err(ControlError::OtherGenesis);
        };
        let author = signed.author;
        check(
            signed.is_by(owner, self.workspace),
            ControlError::Signature { author },
        )?;
        rules::check_names(&[user, label])?;
        let part = body.epoch.as_ref().ok_or(ControlError::WrongKeys)?;
        let begins_policy = part.policy.is_some_and(|policy| policy.counter == 0);
        check(
            begins_policy && part.wraps.is_empty(),
            ControlError::WrongKeys,
        )?;
        let secrets = keyring.of(EpochId::made_by(0, hash));
        let fit = secrets.is_some_and(|secrets| secrets.checks().fit(&part.checks));
        check(fit, ControlError::WrongKeys)?;
        Ok(body)
    }

    fn check_later(
        &self,
        signed: &SignedRecord<'_>,
        hash: &[u8; 32],
        previous_epoch: Option<&EncryptedFragment>,
        me: &DeviceKeys,
        keyring: &Keyring,
    ) -> Result<(Body, Learnt), ControlError> {
        let author = signed.author;
        let member = self
            .members
            .find_in_force(&author)
            .ok_or(ControlError::NotMember { device: author })?;
        let is_by_author = signed.is_by(&member.public, self.workspace);
        check(is_by_author, ControlError::Signature { author })?;
        let body = signed.body()?;
        let rotation = rules::check(&self.members, &author, &body.op)?;
        let learnt = match (&body.epoch, rotation) {
            (None, Rotation::None) => Learnt::default(),
            (Some(part), Rotation::Epoch | Rotation::EpochAndPolicy) => {
                self.check_handed_out(part, rotation, &body.op)?;
                let sealed = previous_epoch.ok_or(ControlError::PreviousEpoch)?;
                self.learn(part, hash, sealed, me, keyring)?
            }
            _ => return Err(ControlError::WrongKeys),
        };
        Ok((body, learnt))
    }

    /// Whether exactly the remaining members get the epoch, each as much as its role may know.
    fn check_handed_out(
        &self,
        part: &EpochPart,
        rotation: Rotation,
        op: &Op,
    ) -> Result<(), ControlError> {
        let remaining = self.members.remaining_after(op);
        let wanted = remaining.iter().map(|(device, role)| (device.id(), *role));
        let given = part.wraps.iter().map(|wrap| (wrap.device(), wrap.role()));
        check(wanted.eq(given), ControlError::WrongKeys)?;
        let policy = self.in_force()?.policy;
        let fits = match part.policy {
            None => rotation == Rotation::Epoch,
            Some(new) => {
                rotation == Rotation::EpochAndPolicy
                    && policy.counter.checked_add(1) == Some(new.counter)
                    && new.public != policy.public
            }
        };
        check(fits, ControlError::WrongKeys)
    }

    /// What the record tells us: the new epoch from our wrap, the older one's secrets as far as we lack them.
    fn learn(
        &self,
        part: &EpochPart,
        hash: &[u8; 32],
        sealed_previous: &EncryptedFragment,
        me: &DeviceKeys,
        keyring: &Keyring,
    ) -> Result<Learnt, ControlError> {
        let current = self.in_force()?;
        let number = current
            .epoch
            .number
            .checked_add(1)
            .ok_or(ControlError::Malformed)?;
        let epoch = EpochId::made_by(number, hash);
        let wrap = part.wraps.iter().find(|wrap| wrap.device() == me.id());
        let (secrets, policy) = match wrap {
            Some(wrap) => {
                let (secrets, policy) = wrap.open(me, self.workspace, epoch)?;
                (Some(secrets), policy)
            }
            None => (keyring.of(epoch).map(EpochSecrets::duplicate), None),
        };
        let Some(secrets) = secrets else {
            return Ok(Learnt::default());
        };
        check(secrets.checks().fit(&part.checks), ControlError::WrongKeys)?;
        let in_force = part.policy.unwrap_or(current.policy);
        let policy_fits = policy
            .as_ref()
            .is_none_or(|key| key.public() == in_force.public);
        check(policy_fits, ControlError::WrongKeys)?;
        let previous = previous::open(&secrets, self.workspace, sealed_previous)
            .map_err(|_| ControlError::PreviousEpoch)?;
        let leads_back = previous.id() == current.epoch && previous.checks().fit(&current.checks);
        check(leads_back, ControlError::PreviousEpoch)?;
        Ok(Learnt {
            secrets: Some(secrets),
            previous: Some(previous),
            policy,
        })
    }
}

fn check(holds: bool, otherwise: ControlError) -> Result<(), ControlError> {
    if holds { Ok(()) } else { Err(otherwise) }
}
