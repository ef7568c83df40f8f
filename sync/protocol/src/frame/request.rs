//! What a device asks of a node.
//!
//! Never sent by a node. Start at [`Request`]; byte tables in `PROTOCOL.md` § 4.

use super::fields::Fields;
use super::{DecodeError, FrameHeader, FrameType, begin};
use crate::fragment::EncryptedFragment;
use crate::id::{MailboxId, Offset};
use crate::limits::MAX_READ_ENTRIES;

/// One request. A stream carries exactly one, and its sending side ends right behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The versions that the device speaks. Must be answered before anything else is asked.
    Hello {
        /// Oldest version.
        min_version: u16,
        /// Newest version; never below `min_version`.
        max_version: u16,
    },
    /// Store this fragment at the end of the mailbox's log.
    ///
    /// A fragment which is already there keeps its offset: repeating an append whose answer was lost
    /// is safe.
    Append {
        /// Which log.
        mailbox: MailboxId,
        /// What to store.
        fragment: EncryptedFragment,
    },
    /// Send fragments from an offset on.
    Read {
        /// Which log.
        mailbox: MailboxId,
        /// First offset wanted.
        from: Offset,
        /// At most so many; 1 to [`MAX_READ_ENTRIES`].
        max_entries: u32,
    },
}

impl Request {
    /// The whole frame, header included.
    ///
    /// A request that breaks its own bounds (`max_entries` of 0) encodes and is refused by the node.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello {
                min_version,
                max_version,
            } => {
                let mut bytes = begin(FrameType::Hello, 4);
                bytes.extend_from_slice(&min_version.to_be_bytes());
                bytes.extend_from_slice(&max_version.to_be_bytes());
                bytes
            }
            Self::Append { mailbox, fragment } => {
                let mut bytes = begin(FrameType::Append, 16 + fragment.len_bytes());
                bytes.extend_from_slice(&mailbox.0);
                bytes.extend_from_slice(fragment.as_bytes());
                bytes
            }
            Self::Read {
                mailbox,
                from,
                max_entries,
            } => {
                let mut bytes = begin(FrameType::Read, 28);
                bytes.extend_from_slice(&mailbox.0);
                bytes.extend_from_slice(&from.0.to_be_bytes());
                bytes.extend_from_slice(&max_entries.to_be_bytes());
                bytes
            }
        }
    }

    /// Reads the body that follows `header`.
    ///
    /// # Errors
    /// [`DecodeError`] when a length, a field or the fragment is not allowed, or when `header` is
    /// the header of an answer.
    pub fn decode(header: FrameHeader, body: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(header, body)?;
        match header.frame_type {
            FrameType::Hello => {
                let min_version = fields.u16("min_version")?;
                let max_version = fields.u16("max_version")?;
                if max_version < min_version {
                    return Err(fields.refuse("max_version"));
                }
                Ok(Self::Hello {
                    min_version,
                    max_version,
                })
            }
            FrameType::Append => {
                let mailbox = MailboxId(fields.array("mailbox")?);
                let fragment = EncryptedFragment::from_bytes(fields.rest().to_vec())?;
                Ok(Self::Append { mailbox, fragment })
            }
            FrameType::Read => {
                let mailbox = MailboxId(fields.array("mailbox")?);
                let from = Offset(fields.u64("from")?);
                let max_entries = fields.u32("max_entries")?;
                if !(1..=MAX_READ_ENTRIES).contains(&max_entries) {
                    return Err(fields.refuse("max_entries"));
                }
                Ok(Self::Read {
                    mailbox,
                    from,
                    max_entries,
                })
            }
            frame_type => Err(DecodeError::WrongDirection { frame_type }),
        }
    }
}
