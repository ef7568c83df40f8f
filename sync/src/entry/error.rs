//! Why an entry cannot be written or read.

use super::part::{MAX_PART_BYTES, MAX_PARTS_BYTES};
use crate::bytes::Malformed;
use crate::id::DeviceId;
use crate::sealing::MAX_INNER_BYTES;

/// An entry cannot be written, or one that arrived is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Not laid out as it should be.
    #[error("an entry of another device is malformed")]
    Malformed,
    /// Laid out in a way that this program does not know.
    #[error("an entry was made by a newer Satchel: update Satchel")]
    Newer,
    /// A list has too many items.
    #[error("an entry names {found} {what}, at most {max} are allowed: split it")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be there.
        max: usize,
    },
    /// A piece of a document is too long for an entry.
    #[error(
        "a part of {found_bytes} bytes is too long, at most {MAX_PART_BYTES} are allowed: send it as blobs"
    )]
    PartTooLong {
        /// How long it is.
        found_bytes: u64,
    },
    /// All pieces together are too long for an entry.
    #[error(
        "the parts of an entry have {found_bytes} bytes, at most {MAX_PARTS_BYTES} are allowed: split it"
    )]
    PartsTooLong {
        /// How long they are.
        found_bytes: u64,
    },
    /// A compressed piece is not what it says.
    #[error("a compressed part of an entry is damaged, or longer than it says")]
    Compressed,
    /// The entry does not fit a fragment.
    #[error(
        "an entry of {found_bytes} bytes does not fit a fragment of {MAX_INNER_BYTES}: split it"
    )]
    TooLong {
        /// How long it is.
        found_bytes: usize,
    },
    /// Sequence numbers begin with 1, and only the first entry follows none.
    #[error("an entry has a sequence number that does not fit what it follows")]
    Sequence,
    /// Our keys are those of another device than the entry names.
    #[error("an entry of device {} cannot be signed with the keys of another", .device.short())]
    OtherDevice {
        /// The device that the entry names.
        device: DeviceId,
    },
    /// The signature is not of this device, for this workspace, epoch and kind.
    #[error("an entry is not signed by device {}", .device.short())]
    Signature {
        /// The device that the entry names.
        device: DeviceId,
    },
}

impl From<Malformed> for EntryError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
