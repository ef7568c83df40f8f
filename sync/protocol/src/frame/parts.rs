//! Parts that requests are made of: roles, capabilities, rotations.
//!
//! Layouts only; what is signed is in [`crate::capability`]. Byte tables in `PROTOCOL.md` § 4.

use super::fields::Fields;
use super::{DecodeError, Frame};

/// As what a device opens a mailbox. Each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Reads log, control log and blobs.
    Reader = 0,
    /// And appends.
    Writer = 1,
    /// Holds the policy key: an owner.
    Policy = 2,
}

impl Role {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        match fields.u8("role")? {
            0 => Ok(Self::Reader),
            1 => Ok(Self::Writer),
            2 => Ok(Self::Policy),
            _ => Err(fields.refuse("role")),
        }
    }
}

/// The public keys by which a node knows readers and writers. 68 bytes: cap_epoch 4 ‖ reader_key 32 ‖
/// writer_key 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Rises with every rotation.
    pub cap_epoch: u32,
    /// Ed25519 key of readers.
    pub reader_key: [u8; 32],
    /// Ed25519 key of writers.
    pub writer_key: [u8; 32],
}

impl Capabilities {
    pub(super) const BYTES: usize = 4 + 32 + 32;

    pub(super) fn write(&self, frame: Frame) -> Frame {
        frame
            .put(&self.cap_epoch.to_be_bytes())
            .put(&self.reader_key)
            .put(&self.writer_key)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            cap_epoch: fields.u32("cap_epoch")?,
            reader_key: fields.array("reader_key")?,
            writer_key: fields.array("writer_key")?,
        })
    }
}

/// New capabilities. From then on the old ones read the control log and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapRotation {
    /// What is in force from now on; its `cap_epoch` must rise.
    pub capabilities: Capabilities,
    /// By the policy key that is in force after a [`PolicyRotation`] in the same request, over
    /// [`capabilities_message`](crate::capability::capabilities_message).
    pub signature: [u8; 64],
}

impl CapRotation {
    pub(super) const BYTES: usize = Capabilities::BYTES + 64;

    pub(super) fn write(&self, frame: Frame) -> Frame {
        self.capabilities.write(frame).put(&self.signature)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            capabilities: Capabilities::read(fields)?,
            signature: fields.array("signature")?,
        })
    }
}

/// A new policy key. The mailbox keeps its id, which is the hash of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyRotation {
    /// One more than the counter in force; 0 is the key of Create.
    pub counter: u32,
    /// Ed25519 key in force from now on.
    pub new_key: [u8; 32],
    /// By the old policy key, over [`policy_message`](crate::capability::policy_message).
    pub signature: [u8; 64],
}

impl PolicyRotation {
    pub(super) const BYTES: usize = 4 + 32 + 64;

    pub(super) fn write(&self, frame: Frame) -> Frame {
        frame
            .put(&self.counter.to_be_bytes())
            .put(&self.new_key)
            .put(&self.signature)
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            counter: fields.u32("counter")?,
            new_key: fields.array("new_key")?,
            signature: fields.array("signature")?,
        })
    }
}
