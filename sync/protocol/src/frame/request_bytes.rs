//! Requests as bytes and back.
//!
//! One encoding per request; what breaks a bound is refused when it is read. Start at
//! [`Request::encode`] and [`Request::decode`]; byte tables in `PROTOCOL.md` § 4.

use super::fields::Fields;
use super::{
    CapRotation, Capabilities, DecodeError, Frame, FrameHeader, FrameType, PolicyRotation, Request,
    Role,
};
use crate::fragment::{EncryptedFragment, FragmentKind};
use crate::id::{FragmentId, MailboxId, Offset, OffsetRange};
use crate::limits::{
    MAX_CTL_RECORD_BYTES, MAX_PREVIOUS_EPOCH_BYTES, MAX_READ_ENTRIES, MAX_SUPERSEDED_RANGES,
    MAX_TOKEN_BYTES,
};

/// Which optional parts a control append carries.
const HAS_PREVIOUS_EPOCH: u8 = 1;
const HAS_ROTATION: u8 = 2;
const HAS_POLICY: u8 = 4;

impl Request {
    /// The whole frame, header included.
    ///
    /// A request that breaks its own bounds (`max_entries` of 5,000) encodes and is refused by the node.
    pub fn encode(&self) -> Vec<u8> {
        let frame = |body_len_bytes| Frame::new(self.frame_type(), body_len_bytes);
        match self {
            Self::Hello {
                min_version,
                max_version,
            } => frame(4)
                .put(&min_version.to_be_bytes())
                .put(&max_version.to_be_bytes()),
            Self::Create {
                policy_key,
                capabilities,
                token,
                signature,
            } => capabilities
                .write(frame(165 + token.len()).put(policy_key))
                .put(signature)
                .put(&[u8::try_from(token.len()).unwrap_or(u8::MAX)])
                .put(token),
            Self::Open {
                mailbox,
                role,
                cap_epoch,
                signature,
            } => frame(85)
                .put(&mailbox.0)
                .put(&[*role as u8])
                .put(&cap_epoch.to_be_bytes())
                .put(signature),
            Self::Append { mailbox, fragment } | Self::BlobPut { mailbox, fragment } => {
                frame(16 + fragment.len_bytes())
                    .put(&mailbox.0)
                    .put(fragment.as_bytes())
            }
            Self::Pack {
                mailbox,
                supersedes,
                fragment,
            } => encode_pack(
                frame(18 + 16 * supersedes.len() + fragment.len_bytes()),
                *mailbox,
                supersedes,
                fragment,
            ),
            Self::Read {
                mailbox,
                from,
                max_entries,
                compact,
            } => frame(29)
                .put(&mailbox.0)
                .put(&from.0.to_be_bytes())
                .put(&max_entries.to_be_bytes())
                .put(&[u8::from(*compact)]),
            Self::Follow {
                mailbox,
                from,
                compact,
            } => frame(25)
                .put(&mailbox.0)
                .put(&from.0.to_be_bytes())
                .put(&[u8::from(*compact)]),
            Self::CtlAppend { record, .. } => {
                self.encode_ctl_append(frame(512 + record.len_bytes()))
            }
            Self::CtlRead { mailbox, from } => frame(20).put(&mailbox.0).put(&from.to_be_bytes()),
            Self::BlobGet {
                mailbox,
                fragment_id,
            } => frame(48).put(&mailbox.0).put(&fragment_id.0),
            Self::Has { mailbox, ids } | Self::BlobForget { mailbox, ids } => ids
                .iter()
                .fold(frame(16 + 32 * ids.len()).put(&mailbox.0), |frame, id| {
                    frame.put(&id.0)
                }),
            Self::RvAllocate => frame(0),
            Self::RvClaim { nameplate } => frame(4).put(&nameplate.to_be_bytes()),
            Self::RvPost {
                nameplate,
                token,
                body,
            } => frame(20 + body.len())
                .put(&nameplate.to_be_bytes())
                .put(token)
                .put(body),
            Self::RvNext {
                nameplate,
                token,
                index,
            } => frame(21)
                .put(&nameplate.to_be_bytes())
                .put(token)
                .put(&[*index]),
            Self::RvBurn { nameplate, token } => frame(20).put(&nameplate.to_be_bytes()).put(token),
            Self::Drop { mailbox, signature } => frame(80).put(&mailbox.0).put(signature),
        }
        .end()
    }

    fn encode_ctl_append(&self, frame: Frame) -> Frame {
        let Self::CtlAppend {
            mailbox,
            expect_index,
            record,
            previous_epoch,
            rotation,
            policy,
        } = self
        else {
            unreachable!("called for control appends alone");
        };
        let parts = [
            (previous_epoch.is_some(), HAS_PREVIOUS_EPOCH),
            (rotation.is_some(), HAS_ROTATION),
            (policy.is_some(), HAS_POLICY),
        ];
        let flags = parts.iter().fold(0, |flags, (is_there, flag)| {
            flags | if *is_there { *flag } else { 0 }
        });
        let mut frame = frame
            .put(&mailbox.0)
            .put(&expect_index.to_be_bytes())
            .put(&[flags]);
        if let Some(policy) = policy {
            frame = policy.write(frame);
        }
        if let Some(rotation) = rotation {
            frame = rotation.write(frame);
        }
        put_record(frame, record, previous_epoch.as_ref())
    }

    /// Reads the body that follows `header`.
    ///
    /// # Errors
    /// [`DecodeError`] when a length, a field or the fragment is not allowed, or when `header` is
    /// the header of an answer.
    pub fn decode(header: FrameHeader, body: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(header, body)?;
        let request = match header.frame_type {
            FrameType::Hello => decode_hello(&mut fields)?,
            FrameType::Create => decode_create(&mut fields)?,
            FrameType::Open => Self::Open {
                mailbox: mailbox(&mut fields)?,
                role: Role::read(&mut fields)?,
                cap_epoch: fields.u32("cap_epoch")?,
                signature: fields.array("signature")?,
            },
            FrameType::Append => Self::Append {
                mailbox: mailbox(&mut fields)?,
                fragment: fields.fragment(&[FragmentKind::Entry])?,
            },
            FrameType::Pack => decode_pack(&mut fields)?,
            FrameType::Read => decode_read(&mut fields)?,
            FrameType::Follow => Self::Follow {
                mailbox: mailbox(&mut fields)?,
                from: Offset(fields.u64("from")?),
                compact: fields.bool("compact")?,
            },
            FrameType::CtlAppend => decode_ctl_append(&mut fields)?,
            FrameType::CtlRead => Self::CtlRead {
                mailbox: mailbox(&mut fields)?,
                from: fields.u32("from")?,
            },
            FrameType::BlobPut => Self::BlobPut {
                mailbox: mailbox(&mut fields)?,
                fragment: fields.fragment(&[FragmentKind::BlobChunk])?,
            },
            FrameType::BlobGet => Self::BlobGet {
                mailbox: mailbox(&mut fields)?,
                fragment_id: FragmentId(fields.array("fragment_id")?),
            },
            FrameType::Has => Self::Has {
                mailbox: mailbox(&mut fields)?,
                ids: ids(&mut fields)?,
            },
            FrameType::BlobForget => Self::BlobForget {
                mailbox: mailbox(&mut fields)?,
                ids: ids(&mut fields)?,
            },
            FrameType::RvAllocate => Self::RvAllocate,
            FrameType::RvClaim => Self::RvClaim {
                nameplate: fields.u32("nameplate")?,
            },
            FrameType::RvPost => Self::RvPost {
                nameplate: fields.u32("nameplate")?,
                token: fields.array("token")?,
                body: fields.rest().to_vec(),
            },
            FrameType::RvNext => Self::RvNext {
                nameplate: fields.u32("nameplate")?,
                token: fields.array("token")?,
                index: fields.u8("index")?,
            },
            FrameType::RvBurn => Self::RvBurn {
                nameplate: fields.u32("nameplate")?,
                token: fields.array("token")?,
            },
            FrameType::Drop => Self::Drop {
                mailbox: mailbox(&mut fields)?,
                signature: fields.array("signature")?,
            },
            frame_type => return Err(DecodeError::WrongDirection { frame_type }),
        };
        fields.end()?;
        Ok(request)
    }
}

/// record_len 4 ‖ record ‖ previous epoch up to the end: also the tail of a control entry.
pub(super) fn put_record(
    frame: Frame,
    record: &EncryptedFragment,
    previous_epoch: Option<&EncryptedFragment>,
) -> Frame {
    // Bounded by MAX_FRAGMENT_BYTES (1 MiB − 4 KiB), so it fits 32 bits.
    let record_len = record.len_bytes() as u32;
    frame
        .put(&record_len.to_be_bytes())
        .put(record.as_bytes())
        .put(previous_epoch.map_or(&[], EncryptedFragment::as_bytes))
}

/// Reads what [`put_record`] wrote; `previous_epoch` is what is left, if something is.
pub(super) fn read_record(
    fields: &mut Fields<'_>,
) -> Result<(EncryptedFragment, Option<EncryptedFragment>), DecodeError> {
    let record_len = fields.u32("record_len")? as usize;
    if record_len > MAX_CTL_RECORD_BYTES {
        return Err(fields.refuse("record_len"));
    }
    let record = fields.sized_fragment(record_len, "record_len", FragmentKind::Control)?;
    let left = fields.left_bytes();
    if left == 0 {
        return Ok((record, None));
    }
    if left > MAX_PREVIOUS_EPOCH_BYTES {
        return Err(fields.refuse("previous_epoch"));
    }
    let previous_epoch = fields.fragment(&[FragmentKind::Control])?;
    Ok((record, Some(previous_epoch)))
}

fn encode_pack(
    frame: Frame,
    mailbox: MailboxId,
    supersedes: &[OffsetRange],
    fragment: &EncryptedFragment,
) -> Frame {
    let count = u16::try_from(supersedes.len()).unwrap_or(u16::MAX);
    let frame = frame.put(&mailbox.0).put(&count.to_be_bytes());
    supersedes
        .iter()
        .fold(frame, |frame, range| {
            frame
                .put(&range.from.0.to_be_bytes())
                .put(&range.to.0.to_be_bytes())
        })
        .put(fragment.as_bytes())
}

fn mailbox(fields: &mut Fields<'_>) -> Result<MailboxId, DecodeError> {
    fields.array("mailbox").map(MailboxId)
}

fn ids(fields: &mut Fields<'_>) -> Result<Vec<FragmentId>, DecodeError> {
    if !fields.left_bytes().is_multiple_of(32) {
        return Err(fields.refuse("ids"));
    }
    let mut ids = Vec::with_capacity(fields.left_bytes() / 32);
    while fields.left_bytes() > 0 {
        ids.push(FragmentId(fields.array("ids")?));
    }
    Ok(ids)
}

fn decode_hello(fields: &mut Fields<'_>) -> Result<Request, DecodeError> {
    let min_version = fields.u16("min_version")?;
    let max_version = fields.u16("max_version")?;
    if max_version < min_version {
        return Err(fields.refuse("max_version"));
    }
    Ok(Request::Hello {
        min_version,
        max_version,
    })
}

fn decode_create(fields: &mut Fields<'_>) -> Result<Request, DecodeError> {
    let policy_key = fields.array("policy_key")?;
    let capabilities = Capabilities::read(fields)?;
    let signature = fields.array("signature")?;
    let token_len = usize::from(fields.u8("token_len")?);
    if token_len > MAX_TOKEN_BYTES || token_len != fields.left_bytes() {
        return Err(fields.refuse("token_len"));
    }
    Ok(Request::Create {
        policy_key,
        capabilities,
        token: fields.rest().to_vec(),
        signature,
    })
}

fn decode_pack(fields: &mut Fields<'_>) -> Result<Request, DecodeError> {
    let mailbox = mailbox(fields)?;
    let count = usize::from(fields.u16("count")?);
    if count > MAX_SUPERSEDED_RANGES {
        return Err(fields.refuse("count"));
    }
    let mut supersedes = Vec::with_capacity(count);
    let mut free_from = Offset(0);
    for _ in 0..count {
        let from = Offset(fields.u64("supersedes")?);
        let to = Offset(fields.u64("supersedes")?);
        if from < free_from || to <= from {
            return Err(fields.refuse("supersedes"));
        }
        free_from = to;
        supersedes.push(OffsetRange { from, to });
    }
    Ok(Request::Pack {
        mailbox,
        supersedes,
        fragment: fields.fragment(&[FragmentKind::Pack])?,
    })
}

fn decode_read(fields: &mut Fields<'_>) -> Result<Request, DecodeError> {
    let mailbox = mailbox(fields)?;
    let from = Offset(fields.u64("from")?);
    let max_entries = fields.u32("max_entries")?;
    if max_entries > MAX_READ_ENTRIES {
        return Err(fields.refuse("max_entries"));
    }
    Ok(Request::Read {
        mailbox,
        from,
        max_entries,
        compact: fields.bool("compact")?,
    })
}

fn decode_ctl_append(fields: &mut Fields<'_>) -> Result<Request, DecodeError> {
    let mailbox = mailbox(fields)?;
    let expect_index = fields.u32("expect_index")?;
    let flags = fields.u8("flags")?;
    if flags & !(HAS_PREVIOUS_EPOCH | HAS_ROTATION | HAS_POLICY) != 0 {
        return Err(fields.refuse("flags"));
    }
    let policy = match flags & HAS_POLICY {
        0 => None,
        _ => Some(PolicyRotation::read(fields)?),
    };
    let rotation = match flags & HAS_ROTATION {
        0 => None,
        _ => Some(CapRotation::read(fields)?),
    };
    let (record, previous_epoch) = read_record(fields)?;
    if previous_epoch.is_some() != (flags & HAS_PREVIOUS_EPOCH != 0) {
        return Err(fields.refuse("flags"));
    }
    Ok(Request::CtlAppend {
        mailbox,
        expect_index,
        record,
        previous_epoch,
        rotation,
        policy,
    })
}
