//! Where a mailbox stands: ends of its logs, keys in force, times. And what a connection may do by them.
//!
//! Pure. Start at [`Head`] and [`Head::level_of`].

use satchel_protocol::chain::Chain;
use satchel_protocol::frame::Capabilities;
use satchel_protocol::id::Offset;

use super::error::Fault;

/// One row of `heads`; 180 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) next: Offset,
    pub(crate) chain: Chain,
    pub(crate) used_bytes: u64,
    pub(crate) ctl_next: u32,
    pub(crate) policy_key: [u8; 32],
    pub(crate) policy_counter: u32,
    pub(crate) capabilities: Capabilities,
    pub(crate) created_ms: u64,
    pub(crate) opened_ms: u64,
}

/// What one may do. Each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Read the control log.
    ControlOnly,
    /// Read everything.
    Reader,
    /// Append.
    Writer,
    /// Holds the policy key.
    Policy,
}

/// What a connection has proved about a mailbox, and under which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) level: Level,
    pub(crate) cap_epoch: u32,
    pub(crate) policy_counter: u32,
    /// Tells a mailbox from one of the same id that was dropped before.
    pub(crate) created_ms: u64,
}

impl Head {
    pub(super) fn new(policy_key: [u8; 32], capabilities: Capabilities, now_ms: u64) -> Self {
        Self {
            next: Offset(0),
            chain: Chain::START,
            used_bytes: 0,
            ctl_next: 0,
            policy_key,
            policy_counter: 0,
            capabilities,
            created_ms: now_ms,
            opened_ms: now_ms,
        }
    }

    /// What a grant is worth now: keys may have been rotated since.
    pub(crate) fn level_of(&self, grant: &Grant) -> Option<Level> {
        if grant.created_ms != self.created_ms {
            return None;
        }
        match grant.level {
            Level::Policy if grant.policy_counter == self.policy_counter => Some(Level::Policy),
            Level::Policy => None,
            level if grant.cap_epoch == self.capabilities.cap_epoch => Some(level),
            _ => Some(Level::ControlOnly),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [
            self.next.0.to_be_bytes().as_slice(),
            &self.chain.0,
            &self.used_bytes.to_be_bytes(),
            &self.ctl_next.to_be_bytes(),
            &self.policy_key,
            &self.policy_counter.to_be_bytes(),
            &self.capabilities.cap_epoch.to_be_bytes(),
            &self.capabilities.reader_key,
            &self.capabilities.writer_key,
            &self.created_ms.to_be_bytes(),
            &self.opened_ms.to_be_bytes(),
        ]
        .concat()
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Fault> {
        let mut fields = Columns(row);
        let head = Self {
            next: Offset(fields.u64()?),
            chain: Chain(fields.array()?),
            used_bytes: fields.u64()?,
            ctl_next: fields.u32()?,
            policy_key: fields.array()?,
            policy_counter: fields.u32()?,
            capabilities: Capabilities {
                cap_epoch: fields.u32()?,
                reader_key: fields.array()?,
                writer_key: fields.array()?,
            },
            created_ms: fields.u64()?,
            opened_ms: fields.u64()?,
        };
        Ok(head)
    }
}

/// Reads the columns of a row one after the other.
pub(super) struct Columns<'a>(pub(super) &'a [u8]);

impl<'a> Columns<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some((head, rest)) = self.0.split_first_chunk() else {
            return Err(Fault::Row("a row is too short"));
        };
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
