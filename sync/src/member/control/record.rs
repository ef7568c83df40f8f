//! One record of the control log as signed bytes.
//!
//! Pure. What a record may say is judged in `rules`; here is how it is written. Start at [`Record::sign`] and
//! [`SignedRecord::read`]. Layout: `sync/SEALING.md` § 7.

use super::{ControlError, Op};
use crate::bytes::{Malformed, Reader, Writer};
use crate::id::{DeviceId, WorkspaceId};
use crate::member::epoch::EpochChecks;
use crate::member::{DeviceKeys, DevicePublic, MAX_MEMBERS, Wrap};

/// First byte of what a control fragment holds: 2 and 3 are the secrets of previous epochs.
const RECORD: u8 = 1;
const VERSION: u8 = 1;
const SIGNATURE_BYTES: usize = 64;

/// A change, who made it and after what.
pub(super) struct Record {
    pub(super) index: u32,
    pub(super) previous: [u8; 32],
    pub(super) author: DeviceId,
    pub(super) created_ms: i64,
    pub(super) body: Body,
}

/// What a record says.
pub(super) struct Body {
    pub(super) op: Op,
    pub(super) epoch: Option<EpochPart>,
}

/// The epoch that a record makes.
pub(super) struct EpochPart {
    pub(super) checks: EpochChecks,
    pub(super) policy: Option<PolicyPublic>,
    pub(super) wraps: Vec<Wrap>,
}

/// Which policy key edges are to obey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PolicyPublic {
    pub(super) counter: u32,
    pub(super) public: [u8; 32],
}

impl Record {
    /// The record's bytes with the author's signature.
    pub(super) fn sign(&self, keys: &DeviceKeys, workspace: WorkspaceId) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .u8(RECORD)
            .u8(VERSION)
            .u32(self.index)
            .array(&self.previous)
            .array(&self.author.0)
            .i64(self.created_ms);
        self.body.write(&mut writer);
        let signature = keys.sign(&digest(workspace, writer.as_slice()));
        writer.array(&signature);
        writer.into_vec()
    }
}

impl Body {
    fn write(&self, writer: &mut Writer) {
        self.op.write(writer);
        let Some(epoch) = &self.epoch else {
            writer.u8(0);
            return;
        };
        writer.u8(1).array(&epoch.checks.epoch);
        writer.array(&epoch.checks.writer.unwrap_or_default());
        match &epoch.policy {
            Some(policy) => writer.u8(1).u32(policy.counter).array(&policy.public),
            None => writer.u8(0),
        };
        // At most MAX_MEMBERS: `rules` has checked.
        writer.u16(epoch.wraps.len() as u16);
        for wrap in &epoch.wraps {
            wrap.write(writer);
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, ControlError> {
        let mut reader = Reader::new(bytes);
        let op = Op::read(&mut reader)?;
        let epoch = if reader.flag()? {
            Some(EpochPart::read(&mut reader)?)
        } else {
            None
        };
        reader.end()?;
        Ok(Self { op, epoch })
    }
}

impl EpochPart {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let checks = EpochChecks {
            epoch: reader.array()?,
            writer: Some(reader.array()?),
        };
        let policy = if reader.flag()? {
            Some(PolicyPublic {
                counter: reader.u32()?,
                public: reader.array()?,
            })
        } else {
            None
        };
        Ok(Self {
            checks,
            policy,
            wraps: reader.list16(MAX_MEMBERS, Wrap::read)?,
        })
    }
}

/// A record as it was received: who signed it is checked before what it says is looked at.
pub(super) struct SignedRecord<'a> {
    pub(super) index: u32,
    pub(super) previous: [u8; 32],
    pub(super) author: DeviceId,
    pub(super) created_ms: i64,
    body: &'a [u8],
    signed: &'a [u8],
    signature: [u8; 64],
}

impl<'a> SignedRecord<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ControlError> {
        let (signed, signature) = bytes
            .split_last_chunk::<SIGNATURE_BYTES>()
            .ok_or(Malformed::TooShort)?;
        let mut reader = Reader::new(signed);
        if reader.u8()? != RECORD {
            return Err(ControlError::Malformed);
        }
        if reader.u8()? != VERSION {
            return Err(ControlError::Newer);
        }
        Ok(Self {
            index: reader.u32()?,
            previous: reader.array()?,
            author: DeviceId(reader.array()?),
            created_ms: reader.i64()?,
            body: reader.rest(),
            signed,
            signature: *signature,
        })
    }

    /// Whether this device signed the record, for this workspace.
    pub(super) fn is_by(&self, author: &DevicePublic, workspace: WorkspaceId) -> bool {
        author.id() == self.author
            && author.verify(&digest(workspace, self.signed), &self.signature)
    }

    pub(super) fn body(&self) -> Result<Body, ControlError> {
        Body::read(self.body)
    }
}

/// Names a record: BLAKE3 of all its bytes, the signature included.
pub(super) fn hash_of(record: &[u8]) -> [u8; 32] {
    *blake3::hash(record).as_bytes()
}

/// What the author signs. Do not change: records on edges depend on every byte.
fn digest(workspace: WorkspaceId, signed: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"wsync control 1");
    hasher.update(&workspace.0);
    hasher.update(signed);
    *hasher.finalize().as_bytes()
}
