//! Codec promises over random input: what is written is read back, one encoding per value, and no
//! bytes whatever make a decoder panic.

#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{
    Access, Answer, CapRotation, Capabilities, DecodeError, Direction, ErrorAnswer, ErrorCode,
    FrameHeader, FrameType, PolicyRotation, Request, Role,
};
use satchel_protocol::id::{FragmentId, MailboxId, Offset, OffsetRange};
use satchel_protocol::limits::MAX_READ_ENTRIES;

fn fragments(kind: FragmentKind) -> impl Strategy<Value = EncryptedFragment> {
    let aead = prop_oneof![Just(Aead::Aes256GcmSiv), Just(Aead::ChaCha20Poly1305)];
    let (epoch_id, salt, commit) = (any::<[u8; 12]>(), any::<[u8; 24]>(), any::<[u8; 32]>());
    (aead, epoch_id, salt, commit, vec(any::<u8>(), 16..600)).prop_map(
        move |(aead, epoch_id, salt, commit, segments)| {
            let header = FragmentHeader {
                aead,
                kind,
                epoch_id,
                salt,
                commit,
            };
            EncryptedFragment::new(header, &segments).unwrap()
        },
    )
}

fn control() -> impl Strategy<Value = EncryptedFragment> {
    fragments(FragmentKind::Control)
}

fn mailboxes() -> impl Strategy<Value = MailboxId> {
    any::<[u8; 16]>().prop_map(MailboxId)
}

fn signatures() -> impl Strategy<Value = [u8; 64]> {
    vec(any::<u8>(), 64).prop_map(|bytes| bytes.try_into().unwrap())
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    (any::<u32>(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(
        |(cap_epoch, reader_key, writer_key)| Capabilities {
            cap_epoch,
            reader_key,
            writer_key,
        },
    )
}

fn rotations() -> impl Strategy<Value = CapRotation> {
    (capabilities(), signatures()).prop_map(|(capabilities, signature)| CapRotation {
        capabilities,
        signature,
    })
}

fn policies() -> impl Strategy<Value = PolicyRotation> {
    (any::<u32>(), any::<[u8; 32]>(), signatures()).prop_map(|(counter, new_key, signature)| {
        PolicyRotation {
            counter,
            new_key,
            signature,
        }
    })
}

fn ids() -> impl Strategy<Value = Vec<FragmentId>> {
    vec(any::<[u8; 32]>().prop_map(FragmentId), 1..20)
}

/// Rising, disjoint, not empty.
fn ranges() -> impl Strategy<Value = Vec<OffsetRange>> {
    vec((0u64..50, 1u64..50), 0..20).prop_map(|steps| {
        let mut end = 0;
        let range = |(gap, len): (u64, u64)| {
            let from = end + gap;
            end = from + len;
            OffsetRange {
                from: Offset(from),
                to: Offset(end),
            }
        };
        steps.into_iter().map(range).collect()
    })
}

fn session_requests() -> impl Strategy<Value = Request> {
    let roles = prop_oneof![Just(Role::Reader), Just(Role::Writer), Just(Role::Policy)];
    let create = (
        any::<[u8; 32]>(),
        capabilities(),
        vec(any::<u8>(), 0..=64),
        signatures(),
    );
    prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Request::Hello {
            min_version: a.min(b),
            max_version: a.max(b)
        }),
        create.prop_map(|(policy_key, capabilities, token, signature)| {
            Request::Create {
                policy_key,
                capabilities,
                token,
                signature,
            }
        }),
        (mailboxes(), roles, any::<u32>(), signatures()).prop_map(
            |(mailbox, role, cap_epoch, signature)| Request::Open {
                mailbox,
                role,
                cap_epoch,
                signature
            }
        ),
        (mailboxes(), signatures())
            .prop_map(|(mailbox, signature)| Request::Drop { mailbox, signature }),
        Just(Request::RvAllocate),
        any::<u32>().prop_map(|nameplate| Request::RvClaim { nameplate }),
        (any::<u32>(), any::<[u8; 16]>(), vec(any::<u8>(), 1..300)).prop_map(
            |(nameplate, token, body)| Request::RvPost {
                nameplate,
                token,
                body
            }
        ),
        (any::<u32>(), any::<[u8; 16]>(), any::<u8>()).prop_map(|(nameplate, token, index)| {
            Request::RvNext {
                nameplate,
                token,
                index,
            }
        }),
        (any::<u32>(), any::<[u8; 16]>())
            .prop_map(|(nameplate, token)| Request::RvBurn { nameplate, token }),
    ]
}

fn log_requests() -> impl Strategy<Value = Request> {
    let ctl_append = (
        (mailboxes(), any::<u32>(), control()),
        proptest::option::of(control()),
        proptest::option::of(rotations()),
        proptest::option::of(policies()),
    );
    prop_oneof![
        (mailboxes(), fragments(FragmentKind::Entry))
            .prop_map(|(mailbox, fragment)| Request::Append { mailbox, fragment }),
        (mailboxes(), ranges(), fragments(FragmentKind::Pack)).prop_map(
            |(mailbox, supersedes, fragment)| Request::Pack {
                mailbox,
                supersedes,
                fragment
            }
        ),
        (
            mailboxes(),
            any::<u64>(),
            0..=MAX_READ_ENTRIES,
            any::<bool>()
        )
            .prop_map(|(mailbox, from, max_entries, compact)| Request::Read {
                mailbox,
                from: Offset(from),
                max_entries,
                compact
            }),
        (mailboxes(), any::<u64>(), any::<bool>()).prop_map(|(mailbox, from, compact)| {
            Request::Follow {
                mailbox,
                from: Offset(from),
                compact,
            }
        }),
        ctl_append.prop_map(
            |((mailbox, expect_index, record), previous_epoch, rotation, policy)| {
                Request::CtlAppend {
                    mailbox,
                    expect_index,
                    record,
                    previous_epoch,
                    rotation,
                    policy,
                }
            }
        ),
        (mailboxes(), any::<u32>()).prop_map(|(mailbox, from)| Request::CtlRead { mailbox, from }),
        (mailboxes(), fragments(FragmentKind::BlobChunk))
            .prop_map(|(mailbox, fragment)| Request::BlobPut { mailbox, fragment }),
        (mailboxes(), any::<[u8; 32]>()).prop_map(|(mailbox, id)| Request::BlobGet {
            mailbox,
            fragment_id: FragmentId(id)
        }),
        (mailboxes(), ids()).prop_map(|(mailbox, ids)| Request::Has { mailbox, ids }),
        (mailboxes(), ids()).prop_map(|(mailbox, ids)| Request::BlobForget { mailbox, ids }),
    ]
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![session_requests(), log_requests()]
}

fn answers() -> impl Strategy<Value = Answer> {
    let chain = || any::<[u8; 32]>().prop_map(Chain);
    let entries = prop_oneof![
        fragments(FragmentKind::Entry),
        fragments(FragmentKind::Pack)
    ];
    let access = prop_oneof![Just(Access::Full), Just(Access::ControlOnly)];
    let numbers = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u16>());
    prop_oneof![
        numbers.prop_map(|(quota, time_ms, max, version)| Answer::HelloAck {
            version,
            max_fragment_bytes: max,
            mailbox_quota_bytes: quota,
            time_ms,
        }),
        (access, chain(), numbers, any::<u64>()).prop_map(
            |(access, chain, (next, used_bytes, ctl_next, _), quota_bytes)| Answer::Opened {
                access,
                next: Offset(next),
                chain,
                ctl_next,
                used_bytes,
                quota_bytes,
            }
        ),
        Just(Answer::Ok),
        (any::<u64>(), chain()).prop_map(|(offset, chain)| Answer::Ack {
            offset: Offset(offset),
            chain
        }),
        (any::<u64>(), any::<bool>(), entries).prop_map(|(offset, superseded, fragment)| {
            Answer::Entry {
                offset: Offset(offset),
                superseded,
                fragment,
            }
        }),
        (numbers, chain()).prop_map(|((a, b, ctl_next, sessions), chain)| Answer::End {
            next: Offset(a.min(b)),
            log_end: Offset(a.max(b)),
            chain,
            ctl_next,
            sessions,
        }),
        any::<u32>().prop_map(|index| Answer::CtlAck { index }),
        (any::<u32>(), control(), proptest::option::of(control())).prop_map(
            |(index, record, previous_epoch)| Answer::CtlEntry {
                index,
                record,
                previous_epoch
            }
        ),
        any::<u32>().prop_map(|next| Answer::CtlEnd { next }),
        fragments(FragmentKind::BlobChunk).prop_map(|fragment| Answer::Blob { fragment }),
        vec(any::<u8>(), 1..=128).prop_map(|bits| Answer::HasBits { bits }),
        (any::<u32>(), any::<[u8; 16]>())
            .prop_map(|(nameplate, token)| Answer::RvPlace { nameplate, token }),
        vec(any::<u8>(), 1..300).prop_map(|body| Answer::RvMessage { body }),
        Just(Answer::RvWaiting),
        (0..ErrorCode::ALL.len(), any::<u64>(), any::<u32>()).prop_map(
            |(index, limit, retry_after_ms)| {
                Answer::Error(ErrorAnswer {
                    code: ErrorCode::ALL[index],
                    limit,
                    retry_after_ms,
                })
            }
        ),
    ]
}

/// A frame as a reader takes it: header first, then a body of just the declared length.
fn read_request(bytes: &[u8]) -> Option<Result<Request, DecodeError>> {
    let (head, rest) = bytes.split_first_chunk()?;
    let header = match FrameHeader::decode(*head, Direction::ToNode) {
        Ok(header) => header,
        Err(error) => return Some(Err(error)),
    };
    (rest.len() == header.body_len_bytes).then(|| Request::decode(header, rest))
}

fn read_answer(bytes: &[u8]) -> Option<Result<Answer, DecodeError>> {
    let (head, rest) = bytes.split_first_chunk()?;
    let header = match FrameHeader::decode(*head, Direction::ToDevice) {
        Ok(header) => header,
        Err(error) => return Some(Err(error)),
    };
    (rest.len() == header.body_len_bytes).then(|| Answer::decode(header, rest))
}

proptest! {
    #[test]
    fn a_request_reads_back_as_it_was_written(request in requests()) {
        prop_assert_eq!(read_request(&request.encode()), Some(Ok(request)));
    }

    #[test]
    fn an_answer_reads_back_as_it_was_written(answer in answers()) {
        prop_assert_eq!(read_answer(&answer.encode()), Some(Ok(answer)));
    }

    /// Whatever decodes encodes to the same bytes: no two byte strings mean the same frame.
    #[test]
    fn one_encoding_per_value(mut bytes in requests().prop_map(|r| r.encode()), index in any::<prop::sample::Index>(), flip in 1u8..) {
        let at = index.index(bytes.len());
        bytes[at] ^= flip;
        if let Some(Ok(request)) = read_request(&bytes) {
            prop_assert_eq!(request.encode(), bytes);
        }
    }

    #[test]
    fn one_encoding_per_answer(mut bytes in answers().prop_map(|a| a.encode()), index in any::<prop::sample::Index>(), flip in 1u8..) {
        let at = index.index(bytes.len());
        bytes[at] ^= flip;
        if let Some(Ok(answer)) = read_answer(&bytes) {
            prop_assert_eq!(answer.encode(), bytes);
        }
    }

    /// The decoders are called directly with every type and any body, also ones that a reader would
    /// never let through.
    #[test]
    fn no_bytes_make_a_decoder_panic(head in any::<[u8; 5]>(), body in vec(any::<u8>(), 0..200), which in 0..FrameType::ALL.len()) {
        for direction in [Direction::ToNode, Direction::ToDevice] {
            if let Ok(header) = FrameHeader::decode(head, direction) {
                prop_assert!(Request::decode(header, &body).is_err() || body.len() == header.body_len_bytes);
            }
        }
        let header = FrameHeader { frame_type: FrameType::ALL[which], body_len_bytes: body.len() };
        let request = Request::decode(header, &body);
        let answer = Answer::decode(header, &body);
        prop_assert!(request.is_err() || answer.is_err(), "one frame in both directions");
        prop_assert!(EncryptedFragment::from_bytes(body.clone()).is_err() || body.len() >= 87);
    }

    /// A frame cut anywhere is never taken for a whole one.
    #[test]
    fn a_cut_frame_is_never_accepted(bytes in requests().prop_map(|r| r.encode()), index in any::<prop::sample::Index>()) {
        let cut = &bytes[..index.index(bytes.len())];
        prop_assert!(!matches!(read_request(cut), Some(Ok(_))));
    }
}
