//! What a device tells the others in one fragment: pieces of documents, and how much it has seen.
//!
//! Signed by the device, then sealed: an edge sees neither author nor documents. Pure.
//! Start at [`Inner`]. Layout: `sync/SEALING.md` § 2.

mod codec;
mod error;
mod part;

use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::FragmentKind;
use satchel_protocol::id::{FragmentId, NodeFingerprint, Offset};

pub use codec::SignedParts;
pub use error::EntryError;
pub use part::{
    DocKey, DocKind, Encoding, MAX_BLOBS, MAX_HEADS, MAX_PART_BYTES, MAX_PARTS_BYTES, Part,
    PartBody,
};

use crate::id::{DeviceId, WorkspaceId};
use crate::member::{DeviceKeys, EpochId};

/// Most devices that one entry says something about, in each of its two lists.
pub const MAX_SEEN: usize = 1024;

/// Most edges that one entry says something about.
pub const MAX_OBSERVED: usize = 16;

/// Most fragments that one pack supersedes. 16,384 × 32 = 512 KiB, half a fragment.
pub const MAX_SUPERSEDES: usize = 16_384;

/// Most pieces of documents in one entry.
pub const MAX_PARTS: usize = 4096;

/// One message of a device to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inner {
    /// Which device speaks.
    pub device: DeviceId,
    /// 1 for its first entry, one more for each later one.
    pub sequence: u64,
    /// [`inner_hash`] of its entry before; zeros in the first.
    pub previous: [u8; 32],
    /// Newest control record that it knew.
    pub control_head: [u8; 32],
    /// When, by its clock.
    pub created_ms: i64,
    /// Entries of other devices that it has seen since its entry before.
    pub seen: Vec<Seen>,
    /// How far it has read at edges since its entry before.
    pub observed: Vec<Observation>,
    /// What a pack holds of each device's entries.
    pub covers: Vec<Seen>,
    /// Fragments that a pack makes superfluous.
    pub supersedes: Vec<FragmentId>,
    /// Pieces of documents.
    pub parts: Vec<Part>,
}

/// The newest entry of a device that somebody has, and thereby all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Whose entry.
    pub device: DeviceId,
    /// Its sequence number.
    pub sequence: u64,
    /// Its [`inner_hash`].
    pub hash: [u8; 32],
}

/// Where an edge's log stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Observation {
    /// Which edge.
    pub edge: NodeFingerprint,
    /// The place up to which the log was read.
    pub offset: Offset,
    /// Its chain value there.
    pub chain: Chain,
}

impl Inner {
    /// The entry as bytes with the device's signature, for [`seal`](crate::sealing::seal) in the same epoch and
    /// kind.
    ///
    /// # Errors
    /// [`EntryError`] when a list or part is too long, or `keys` are not those of the device.
    pub fn encode_signed(
        &self,
        keys: &DeviceKeys,
        workspace: WorkspaceId,
        epoch: EpochId,
        kind: FragmentKind,
    ) -> Result<Vec<u8>, EntryError> {
        codec::encode(
            self,
            keys,
            &Context {
                workspace,
                epoch,
                kind,
            },
        )
    }

    /// Reads an entry. Who wrote it is not proven until [`SignedParts::verify`] says so.
    ///
    /// # Errors
    /// [`EntryError`] when the bytes are malformed, or parts would grow beyond their declared and limited length.
    pub fn decode(bytes: &[u8]) -> Result<(Self, SignedParts<'_>), EntryError> {
        codec::decode(bytes)
    }
}

/// Names an entry: BLAKE3 of all its bytes as [`Inner::encode_signed`] made them.
#[must_use]
pub fn inner_hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// What a signature is bound to besides the bytes.
struct Context {
    workspace: WorkspaceId,
    epoch: EpochId,
    kind: FragmentKind,
}

impl Context {
    /// What the device signs. Do not change: entries on edges depend on every byte.
    fn digest(&self, signed: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"wsync inner 1");
        hasher.update(&self.workspace.0);
        hasher.update(&self.epoch.to_bytes());
        hasher.update(&[self.kind as u8]);
        hasher.update(signed);
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests;
