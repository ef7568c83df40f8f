//! Answers as bytes and back.
//!
//! One encoding per answer. Start at [`Answer::encode`] and [`Answer::decode`]; byte tables in
//! `PROTOCOL.md` § 4.

use super::fields::Fields;
use super::request_bytes::{put_record, read_record};
use super::{Access, Answer, DecodeError, ErrorAnswer, ErrorCode, Frame, FrameHeader, FrameType};
use crate::chain::Chain;
use crate::fragment::FragmentKind;
use crate::id::Offset;

impl Answer {
    /// The whole frame, header included.
    pub fn encode(&self) -> Vec<u8> {
        let frame = |body_len_bytes| Frame::new(self.frame_type(), body_len_bytes);
        match self {
            Self::HelloAck {
                version,
                max_fragment_bytes,
                mailbox_quota_bytes,
                time_ms,
            } => frame(22)
                .put(&version.to_be_bytes())
                .put(&max_fragment_bytes.to_be_bytes())
                .put(&mailbox_quota_bytes.to_be_bytes())
                .put(&time_ms.to_be_bytes()),
            Self::Opened {
                access,
                next,
                chain,
                ctl_next,
                used_bytes,
                quota_bytes,
            } => frame(61)
                .put(&[*access as u8])
                .put(&next.0.to_be_bytes())
                .put(&chain.0)
                .put(&ctl_next.to_be_bytes())
                .put(&used_bytes.to_be_bytes())
                .put(&quota_bytes.to_be_bytes()),
            Self::Ok | Self::RvWaiting => frame(0),
            Self::Ack { offset, chain } => frame(40).put(&offset.0.to_be_bytes()).put(&chain.0),
            Self::Entry {
                offset,
                superseded,
                fragment,
            } => frame(9 + fragment.len_bytes())
                .put(&offset.0.to_be_bytes())
                .put(&[u8::from(*superseded)])
                .put(fragment.as_bytes()),
            Self::End {
                next,
                log_end,
                chain,
                ctl_next,
                sessions,
            } => frame(54)
                .put(&next.0.to_be_bytes())
                .put(&log_end.0.to_be_bytes())
                .put(&chain.0)
                .put(&ctl_next.to_be_bytes())
                .put(&sessions.to_be_bytes()),
            Self::CtlAck { index } => frame(4).put(&index.to_be_bytes()),
            Self::CtlEntry {
                index,
                record,
                previous_epoch,
            } => put_record(
                frame(512 + record.len_bytes()).put(&index.to_be_bytes()),
                record,
                previous_epoch.as_ref(),
            ),
            Self::CtlEnd { next } => frame(4).put(&next.to_be_bytes()),
            Self::Blob { fragment } => frame(fragment.len_bytes()).put(fragment.as_bytes()),
            Self::HasBits { bits } => frame(bits.len()).put(bits),
            Self::RvPlace { nameplate, token } => {
                frame(20).put(&nameplate.to_be_bytes()).put(token)
            }
            Self::RvMessage { body } => frame(body.len()).put(body),
            Self::Error(ErrorAnswer {
                code,
                limit,
                retry_after_ms,
            }) => frame(13)
                .put(&[*code as u8])
                .put(&limit.to_be_bytes())
                .put(&retry_after_ms.to_be_bytes()),
        }
        .end()
    }

    /// Reads the body that follows `header`.
    ///
    /// # Errors
    /// [`DecodeError`] when a length, a field or the fragment is not allowed, or when `header` is
    /// the header of a request.
    pub fn decode(header: FrameHeader, body: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(header, body)?;
        let answer = match header.frame_type {
            FrameType::HelloAck => Self::HelloAck {
                version: fields.u16("version")?,
                max_fragment_bytes: fields.u32("max_fragment_bytes")?,
                mailbox_quota_bytes: fields.u64("mailbox_quota_bytes")?,
                time_ms: fields.u64("time_ms")?,
            },
            FrameType::Opened => Self::Opened {
                access: decode_access(&mut fields)?,
                next: Offset(fields.u64("next")?),
                chain: Chain(fields.array("chain")?),
                ctl_next: fields.u32("ctl_next")?,
                used_bytes: fields.u64("used_bytes")?,
                quota_bytes: fields.u64("quota_bytes")?,
            },
            FrameType::Ok => Self::Ok,
            FrameType::Ack => Self::Ack {
                offset: Offset(fields.u64("offset")?),
                chain: Chain(fields.array("chain")?),
            },
            FrameType::Entry => Self::Entry {
                offset: Offset(fields.u64("offset")?),
                superseded: fields.bool("superseded")?,
                fragment: fields.fragment(&[FragmentKind::Entry, FragmentKind::Pack])?,
            },
            FrameType::End => decode_end(&mut fields)?,
            FrameType::CtlAck => Self::CtlAck {
                index: fields.u32("index")?,
            },
            FrameType::CtlEntry => {
                let index = fields.u32("index")?;
                let (record, previous_epoch) = read_record(&mut fields)?;
                Self::CtlEntry {
                    index,
                    record,
                    previous_epoch,
                }
            }
            FrameType::CtlEnd => Self::CtlEnd {
                next: fields.u32("next")?,
            },
            FrameType::Blob => Self::Blob {
                fragment: fields.fragment(&[FragmentKind::BlobChunk])?,
            },
            FrameType::HasBits => Self::HasBits {
                bits: fields.rest().to_vec(),
            },
            FrameType::RvPlace => Self::RvPlace {
                nameplate: fields.u32("nameplate")?,
                token: fields.array("token")?,
            },
            FrameType::RvMessage => Self::RvMessage {
                body: fields.rest().to_vec(),
            },
            FrameType::RvWaiting => Self::RvWaiting,
            FrameType::Error => decode_error(&mut fields)?,
            frame_type => return Err(DecodeError::WrongDirection { frame_type }),
        };
        fields.end()?;
        Ok(answer)
    }
}

fn decode_access(fields: &mut Fields<'_>) -> Result<Access, DecodeError> {
    match fields.u8("access")? {
        0 => Ok(Access::Full),
        1 => Ok(Access::ControlOnly),
        _ => Err(fields.refuse("access")),
    }
}

fn decode_end(fields: &mut Fields<'_>) -> Result<Answer, DecodeError> {
    let next = Offset(fields.u64("next")?);
    let log_end = Offset(fields.u64("log_end")?);
    if log_end < next {
        return Err(fields.refuse("log_end"));
    }
    Ok(Answer::End {
        next,
        log_end,
        chain: Chain(fields.array("chain")?),
        ctl_next: fields.u32("ctl_next")?,
        sessions: fields.u16("sessions")?,
    })
}

fn decode_error(fields: &mut Fields<'_>) -> Result<Answer, DecodeError> {
    let number = fields.u8("code")?;
    let Some(code) = ErrorCode::ALL
        .into_iter()
        .find(|code| *code as u8 == number)
    else {
        return Err(fields.refuse("code"));
    };
    Ok(Answer::Error(ErrorAnswer {
        code,
        limit: fields.u64("limit")?,
        retry_after_ms: fields.u32("retry_after_ms")?,
    }))
}
