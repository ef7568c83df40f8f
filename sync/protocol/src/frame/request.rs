//! What a device asks of a node.
//!
//! Never sent by a node. Start at [`Request`]; byte tables in `PROTOCOL.md` § 4.

use super::{CapRotation, Capabilities, FrameType, PolicyRotation, Role};
use crate::fragment::EncryptedFragment;
use crate::id::{FragmentId, MailboxId, Offset, OffsetRange};

/// One request. A stream carries exactly one, and its sending side ends right behind it.
///
/// A request that names a mailbox is denied unless this connection has opened it in a role that may.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "a few hundred bytes beside fragments of up to 1 MiB; boxes would be in everybody's way"
)]
pub enum Request {
    /// The versions that the device speaks. Must be answered before anything else is asked.
    Hello {
        /// Oldest version.
        min_version: u16,
        /// Newest version; never below `min_version`.
        max_version: u16,
    },
    /// Make a mailbox, whose id is [`MailboxId::of_policy_key`]. Made already by the same key: `Ok` too.
    Create {
        /// Ed25519 key that rules it.
        policy_key: [u8; 32],
        /// Who may read and write.
        capabilities: Capabilities,
        /// The operator's invitation where the node asks for one; at most 64 bytes.
        token: Vec<u8>,
        /// By the policy key, over [`create_message`](crate::capability::create_message).
        signature: [u8; 64],
    },
    /// Prove a role to a mailbox. It counts for this connection.
    Open {
        /// Which mailbox.
        mailbox: MailboxId,
        /// As what.
        role: Role,
        /// Which capabilities the key belongs to. Old ones of a reader open the control log alone.
        cap_epoch: u32,
        /// By the key of the role, over [`open_message`](crate::capability::open_message).
        signature: [u8; 64],
    },
    /// Store an entry at the end of the log.
    ///
    /// One which is already there keeps its offset: repeating an append whose answer was lost is safe.
    Append {
        /// Which mailbox; needs a writer.
        mailbox: MailboxId,
        /// Of the kind entry.
        fragment: EncryptedFragment,
    },
    /// Store a pack at the end of the log, and hide the entries that it replaces from compact reads.
    Pack {
        /// Which mailbox; needs a writer.
        mailbox: MailboxId,
        /// Rising and disjoint; at most 1,024. None may end behind the log.
        supersedes: Vec<OffsetRange>,
        /// Of the kind pack.
        fragment: EncryptedFragment,
    },
    /// Send entries from an offset on.
    Read {
        /// Which mailbox.
        mailbox: MailboxId,
        /// First offset wanted.
        from: Offset,
        /// At most so many; 0 to 4,096. 0 asks for the chain value before `from` alone.
        max_entries: u32,
        /// Without superseded entries.
        compact: bool,
    },
    /// As [`Request::Read`] without an end: all entries, an `End` each time there are no more, new ones
    /// as they are stored. Ends when the device stops the stream.
    Follow {
        /// Which mailbox.
        mailbox: MailboxId,
        /// First offset wanted.
        from: Offset,
        /// Without superseded entries.
        compact: bool,
    },
    /// Store a record of the control log if it gets this index, and with it new keys. All or nothing.
    CtlAppend {
        /// Which mailbox; needs a writer or the policy key.
        mailbox: MailboxId,
        /// The index that the record is to have.
        expect_index: u32,
        /// Of the kind control; at most 512 KiB.
        record: EncryptedFragment,
        /// The previous epoch's secret under the new one, of the kind control; at most 4 KiB.
        previous_epoch: Option<EncryptedFragment>,
        /// New capabilities.
        rotation: Option<CapRotation>,
        /// A new policy key.
        policy: Option<PolicyRotation>,
    },
    /// Send all records of the control log from an index on.
    CtlRead {
        /// Which mailbox.
        mailbox: MailboxId,
        /// First index wanted.
        from: u32,
    },
    /// Store a piece of a file, found again by its id. Putting one that was forgotten keeps it.
    BlobPut {
        /// Which mailbox; needs a writer.
        mailbox: MailboxId,
        /// Of the kind blob chunk.
        fragment: EncryptedFragment,
    },
    /// Send a piece of a file.
    BlobGet {
        /// Which mailbox.
        mailbox: MailboxId,
        /// Which piece.
        fragment_id: FragmentId,
    },
    /// Say which of these are stored to stay: entries that are not superseded, blobs not forgotten.
    Has {
        /// Which mailbox.
        mailbox: MailboxId,
        /// 1 to 1,024 ids.
        ids: Vec<FragmentId>,
    },
    /// Delete these blobs after the grace period, unless one is put again. Unknown ids are ignored.
    BlobForget {
        /// Which mailbox; needs a writer.
        mailbox: MailboxId,
        /// 1 to 1,024 ids.
        ids: Vec<FragmentId>,
    },
    /// Give me a nameplate.
    RvAllocate,
    /// Let me join the one who has this nameplate.
    RvClaim {
        /// Its number.
        nameplate: u32,
    },
    /// Leave a message for the other participant.
    RvPost {
        /// Which nameplate.
        nameplate: u32,
        /// What allocate or claim gave me.
        token: [u8; 16],
        /// 1 byte to 2 KiB.
        body: Vec<u8>,
    },
    /// Send the other participant's message of this index; wait up to 20 s for it.
    RvNext {
        /// Which nameplate.
        nameplate: u32,
        /// What allocate or claim gave me.
        token: [u8; 16],
        /// 0 for the first.
        index: u8,
    },
    /// End the nameplate: a pairing is one try.
    RvBurn {
        /// Which nameplate.
        nameplate: u32,
        /// What allocate or claim gave me.
        token: [u8; 16],
    },
    /// Delete the mailbox with all that it holds, at once.
    Drop {
        /// Which mailbox.
        mailbox: MailboxId,
        /// By the policy key, over [`drop_message`](crate::capability::drop_message).
        signature: [u8; 64],
    },
}

impl Request {
    /// The type of its frame.
    pub fn frame_type(&self) -> FrameType {
        match self {
            Self::Hello { .. } => FrameType::Hello,
            Self::Create { .. } => FrameType::Create,
            Self::Open { .. } => FrameType::Open,
            Self::Append { .. } => FrameType::Append,
            Self::Pack { .. } => FrameType::Pack,
            Self::Read { .. } => FrameType::Read,
            Self::Follow { .. } => FrameType::Follow,
            Self::CtlAppend { .. } => FrameType::CtlAppend,
            Self::CtlRead { .. } => FrameType::CtlRead,
            Self::BlobPut { .. } => FrameType::BlobPut,
            Self::BlobGet { .. } => FrameType::BlobGet,
            Self::Has { .. } => FrameType::Has,
            Self::BlobForget { .. } => FrameType::BlobForget,
            Self::RvAllocate => FrameType::RvAllocate,
            Self::RvClaim { .. } => FrameType::RvClaim,
            Self::RvPost { .. } => FrameType::RvPost,
            Self::RvNext { .. } => FrameType::RvNext,
            Self::RvBurn { .. } => FrameType::RvBurn,
            Self::Drop { .. } => FrameType::Drop,
        }
    }
}
