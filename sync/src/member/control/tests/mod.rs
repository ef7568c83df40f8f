//! The rig of the control log's tests: devices and the list of records that a home edge keeps.

use satchel_protocol::fragment::FragmentKind;

use super::record::{Body, Record};
use super::*;
use crate::member::{DeviceKeys, EpochSecrets, Keyring, PolicyKey, previous};
use crate::sealing::{self, Padding};

mod forged;
mod life;
mod refused;

const WORKSPACE: WorkspaceId = WorkspaceId([1; 16]);

/// One device with everything it knows.
struct Device {
    keys: DeviceKeys,
    log: ControlLog,
    keyring: Keyring,
    policy: Option<PolicyKey>,
}

/// A workspace whose home edge is a list of records; every device reads it when told to.
struct World {
    records: Vec<ControlRecord>,
    owner: Device,
    now_ms: i64,
}

fn begin() -> World {
    let keys = DeviceKeys::random();
    let (log, keyring, policy, draft) =
        ControlLog::begin(WORKSPACE, &keys, "Åsa", "Desk", 1000).unwrap();
    let owner = Device {
        keys,
        log,
        keyring,
        policy: Some(policy),
    };
    World {
        records: vec![(0, draft.record, None)],
        owner,
        now_ms: 1000,
    }
}

impl Device {
    fn id(&self) -> DeviceId {
        self.keys.id()
    }

    fn propose(&self, op: Op) -> Result<ControlDraft, ControlError> {
        let policy = self.policy.as_ref();
        self.log
            .propose(op, &self.keys, &self.keyring, policy, 2000)
    }

    fn accept(&mut self, record: &ControlRecord) -> Result<Accepted, ControlError> {
        let (index, sealed, previous) = record;
        let accepted = self.log.accept(
            *index,
            sealed,
            previous.as_ref(),
            &self.keys,
            &mut self.keyring,
        )?;
        if let Some(policy) = &accepted.policy {
            self.policy = Some(policy.duplicate());
        }
        Ok(accepted)
    }

    fn catch_up(&mut self, world: &World) -> Result<(), ControlError> {
        for record in &world.records[self.log.index() as usize..] {
            self.accept(record)?;
        }
        Ok(())
    }

    fn knows_epoch_of(&self, other: &Self) -> bool {
        let newest = other.keyring.newest().unwrap();
        self.keyring.of(newest.id()).is_some()
    }
}

impl World {
    /// The owner does something.
    fn does(&mut self, op: Op) -> Result<Accepted, ControlError> {
        let record = published(self.owner.propose(op)?);
        let accepted = self.owner.accept(&record)?;
        self.records.push(record);
        self.now_ms += 1;
        Ok(accepted)
    }

    /// Takes in a device as pairing does: it is given the newest epoch and the place of the log.
    fn adds(&mut self, role: Role) -> Device {
        let keys = DeviceKeys::random();
        self.does(add(&keys, role)).unwrap();
        let newest = self.owner.keyring.newest().unwrap();
        let writer = newest
            .expose_writer_secret()
            .copied()
            .filter(|_| role.may_write());
        let mut keyring = Keyring::new();
        keyring.insert(EpochSecrets::new(
            newest.id(),
            *newest.expose_secret(),
            writer,
        ));
        let mut log = ControlLog::joining(WORKSPACE, self.owner.log.genesis_hash());
        log.accept_all(&self.records, &keys, &mut keyring).unwrap();
        assert_eq!(log.head(), self.owner.log.head());
        let policy = self
            .owner
            .policy
            .as_ref()
            .filter(|_| role == Role::Owner)
            .map(PolicyKey::duplicate);
        Device {
            keys,
            log,
            keyring,
            policy,
        }
    }
}

fn add(keys: &DeviceKeys, role: Role) -> Op {
    Op::AddDevice {
        public: keys.public(),
        user: "Bo".to_owned(),
        label: "Laptop".to_owned(),
        role,
    }
}

fn remove(device: &Device) -> Op {
    Op::RemoveDevice {
        device: device.id(),
        last_accepted: 7,
    }
}

fn set(device: &Device, role: Role) -> Op {
    Op::SetRole {
        device: device.id(),
        role,
    }
}

fn rename(device: &Device, label: &str) -> Op {
    Op::Rename {
        device: device.id(),
        label: label.to_owned(),
    }
}

const ROTATE: Op = Op::Rotate {
    reason: RotateReason::Asked,
};

fn published(draft: ControlDraft) -> ControlRecord {
    (draft.index, draft.record, draft.previous_epoch)
}

/// Seals a record that nobody would write through `propose`.
fn seal_bytes(device: &Device, bytes: &[u8]) -> ControlRecord {
    let secrets = device.keyring.newest().unwrap();
    let padding = Padding::Multiple(1024);
    let record = sealing::seal(secrets, WORKSPACE, FragmentKind::Control, bytes, padding).unwrap();
    (device.log.index(), record, None)
}

fn forge(device: &Device, op: Op) -> ControlRecord {
    let record = Record {
        index: device.log.index(),
        previous: device.log.head(),
        author: device.id(),
        created_ms: 3000,
        body: Body { op, epoch: None },
    };
    seal_bytes(device, &record.sign(&device.keys, WORKSPACE))
}
