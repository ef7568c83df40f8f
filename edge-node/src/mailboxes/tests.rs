//! Every request against mailboxes in memory: who may, what is kept, what is refused.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use satchel_protocol::capability;
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::{Aead, EncryptedFragment, FragmentHeader, FragmentKind};
use satchel_protocol::frame::{
    Access, Answer, CapRotation, Capabilities, ErrorAnswer, ErrorCode, PolicyRotation, Request,
    Role,
};
use satchel_protocol::id::{FragmentId, MailboxId, Offset, OffsetRange};

use super::{Mailboxes, SessionAccess};
use crate::config::{Config, CreationMode, Limits};
use crate::store::{Rules, Store};

mod rendezvous;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const START_MS: u64 = 1_700_000_000_000;
const BINDING: [u8; 32] = [9; 32];

struct Key(Ed25519KeyPair);

impl Key {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().unwrap()
    }
}

/// One mailbox, its keys by epoch, and a node in memory.
struct Rig {
    node: Mailboxes,
    now_ms: u64,
    mailbox: MailboxId,
}

impl Rig {
    fn new() -> Self {
        Self::with(&Limits::default())
    }

    fn with(limits: &Limits) -> Self {
        let rig = Self {
            node: Mailboxes::in_memory(limits).unwrap(),
            now_ms: START_MS,
            mailbox: MailboxId::of_policy_key(&Key::new(1).public()),
        };
        let mut session = rig.session();
        assert_eq!(rig.ask(&mut session, create(1)), [Answer::Ok]);
        rig
    }

    fn session(&self) -> SessionAccess {
        self.node.session([127, 0, 0, 1].into())
    }

    fn ask(&self, session: &mut SessionAccess, request: Request) -> Vec<Answer> {
        self.node
            .handle(session, &|_| BINDING, request, self.now_ms)
    }

    fn one(&self, session: &mut SessionAccess, request: Request) -> Answer {
        let mut answers = self.ask(session, request);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    fn open(&self, session: &mut SessionAccess, role: Role, cap_epoch: u32) -> Answer {
        let key = match role {
            Role::Reader => reader(cap_epoch),
            Role::Writer => writer(cap_epoch),
            Role::Policy => Key::new(1),
        };
        self.open_by(session, role, cap_epoch, &key)
    }

    fn open_by(
        &self,
        session: &mut SessionAccess,
        role: Role,
        cap_epoch: u32,
        key: &Key,
    ) -> Answer {
        let message = capability::open_message(&BINDING, self.mailbox, role, cap_epoch);
        let request = Request::Open {
            mailbox: self.mailbox,
            role,
            cap_epoch,
            signature: key.sign(&message),
        };
        self.one(session, request)
    }

    fn opened(&self, role: Role, cap_epoch: u32) -> SessionAccess {
        let mut session = self.session();
        let answer = self.open(&mut session, role, cap_epoch);
        assert!(matches!(answer, Answer::Opened { .. }), "{answer:?}");
        session
    }

    fn append(&self, session: &mut SessionAccess, number: u8) -> Answer {
        let fragment = fragment(FragmentKind::Entry, number, 100);
        self.one(
            session,
            Request::Append {
                mailbox: self.mailbox,
                fragment,
            },
        )
    }

    fn pack(&self, session: &mut SessionAccess, number: u8, from: u64, to: u64) -> Answer {
        let range = OffsetRange {
            from: Offset(from),
            to: Offset(to),
        };
        let request = Request::Pack {
            mailbox: self.mailbox,
            supersedes: vec![range],
            fragment: fragment(FragmentKind::Pack, number, 100),
        };
        self.one(session, request)
    }

    /// Offsets of what a read shows, and its end.
    fn read(&self, session: &mut SessionAccess, from: u64, compact: bool) -> (Vec<u64>, Answer) {
        let request = Request::Read {
            mailbox: self.mailbox,
            from: Offset(from),
            max_entries: 100,
            compact,
        };
        let mut answers = self.ask(session, request);
        let end = answers.pop().unwrap();
        let offsets = answers.iter().map(|answer| match answer {
            Answer::Entry { offset, .. } => offset.0,
            other => panic!("{other:?}"),
        });
        (offsets.collect(), end)
    }

    fn ctl(
        &self,
        session: &mut SessionAccess,
        expect_index: u32,
        rotation: Option<CapRotation>,
        policy: Option<PolicyRotation>,
    ) -> Answer {
        let request = Request::CtlAppend {
            mailbox: self.mailbox,
            expect_index,
            record: fragment(FragmentKind::Control, expect_index as u8, 50),
            previous_epoch: Some(fragment(FragmentKind::Control, 200, 40)),
            rotation,
            policy,
        };
        self.one(session, request)
    }

    fn rotation(&self, policy: &Key, cap_epoch: u32) -> Option<CapRotation> {
        let capabilities = capabilities(cap_epoch);
        let message = capability::capabilities_message(self.mailbox, &capabilities);
        Some(CapRotation {
            capabilities,
            signature: policy.sign(&message),
        })
    }

    fn policy(&self, old: &Key, counter: u32, new: &Key) -> Option<PolicyRotation> {
        let message = capability::policy_message(self.mailbox, counter, &new.public());
        Some(PolicyRotation {
            counter,
            new_key: new.public(),
            signature: old.sign(&message),
        })
    }
}

fn reader(cap_epoch: u32) -> Key {
    Key::new(100 + cap_epoch as u8)
}

fn writer(cap_epoch: u32) -> Key {
    Key::new(150 + cap_epoch as u8)
}

fn capabilities(cap_epoch: u32) -> Capabilities {
    Capabilities {
        cap_epoch,
        reader_key: reader(cap_epoch).public(),
        writer_key: writer(cap_epoch).public(),
    }
}

fn create(policy_seed: u8) -> Request {
    let policy = Key::new(policy_seed);
    let mailbox = MailboxId::of_policy_key(&policy.public());
    let message = capability::create_message(&BINDING, mailbox, &capabilities(1), b"");
    Request::Create {
        policy_key: policy.public(),
        capabilities: capabilities(1),
        token: Vec::new(),
        signature: policy.sign(&message),
    }
}

fn fragment(kind: FragmentKind, number: u8, len: usize) -> EncryptedFragment {
    let header = FragmentHeader {
        aead: Aead::Aes256GcmSiv,
        kind,
        epoch_id: [0; 12],
        salt: [number; 24],
        commit: [0; 32],
    };
    EncryptedFragment::new(header, &vec![number; len]).unwrap()
}

fn code(answer: &Answer) -> Option<ErrorCode> {
    match answer {
        Answer::Error(ErrorAnswer { code, .. }) => Some(*code),
        _ => None,
    }
}

fn denied() -> Answer {
    super::refusal(ErrorCode::Denied, 0)
}

#[test]
fn nothing_works_before_a_mailbox_is_opened_and_all_refusals_look_alike() {
    let rig = Rig::new();
    let mut session = rig.session();
    let mailbox = rig.mailbox;
    assert_eq!(rig.append(&mut session, 1), denied());
    assert_eq!(rig.read(&mut session, 0, false).1, denied());
    assert_eq!(rig.ctl(&mut session, 0, None, None), denied());
    let wrong = rig.open_by(&mut session, Role::Reader, 1, &Key::new(77));
    let unknown = Request::Open {
        mailbox: MailboxId([3; 16]),
        role: Role::Reader,
        cap_epoch: 1,
        signature: [0; 64],
    };
    let no_epoch = rig.open(&mut session, Role::Reader, 5);
    let unknown = rig.one(&mut session, unknown);
    assert_eq!([wrong, unknown, no_epoch], [denied(), denied(), denied()]);
    let other_connection = {
        let message = capability::open_message(&[1; 32], mailbox, Role::Reader, 1);
        let signature = reader(1).sign(&message);
        let request = Request::Open {
            mailbox,
            role: Role::Reader,
            cap_epoch: 1,
            signature,
        };
        rig.one(&mut session, request)
    };
    assert_eq!(other_connection, denied(), "a copied signature");
}

#[test]
fn each_role_may_what_it_should() {
    let rig = Rig::new();
    let mut reader = rig.opened(Role::Reader, 1);
    let mut writer = rig.opened(Role::Writer, 1);
    let mut owner = rig.opened(Role::Policy, 0);
    assert_eq!(rig.append(&mut reader, 1), denied());
    assert!(matches!(
        rig.append(&mut writer, 1),
        Answer::Ack {
            offset: Offset(0),
            ..
        }
    ));
    assert_eq!(rig.read(&mut reader, 0, false).0, [0]);
    assert_eq!(rig.ctl(&mut reader, 0, None, None), denied());
    assert_eq!(
        rig.ctl(&mut owner, 0, None, None),
        Answer::CtlAck { index: 0 }
    );
    let end = rig.read(&mut reader, 0, false).1;
    assert!(
        matches!(
            end,
            Answer::End {
                sessions: 3,
                ctl_next: 1,
                ..
            }
        ),
        "{end:?}"
    );
}

#[test]
fn a_mailbox_is_made_once_and_again_by_the_same_key_alone() {
    let rig = Rig::new();
    let mut session = rig.session();
    assert_eq!(rig.one(&mut session, create(1)), Answer::Ok);
    let Request::Create {
        policy_key,
        capabilities,
        token,
        ..
    } = create(1)
    else {
        unreachable!()
    };
    let forged = Request::Create {
        policy_key,
        capabilities,
        token,
        signature: [1; 64],
    };
    assert_eq!(rig.one(&mut session, forged), denied());
}

#[test]
fn an_append_repeated_keeps_its_place_and_the_chain_can_be_computed() {
    let rig = Rig::new();
    let mut writer = rig.opened(Role::Writer, 1);
    let first = rig.append(&mut writer, 1);
    rig.append(&mut writer, 2);
    assert_eq!(rig.append(&mut writer, 1), first);
    let request = Request::Follow {
        mailbox: rig.mailbox,
        from: Offset(0),
        compact: false,
    };
    let mut answers = rig.ask(&mut writer, request);
    let Some(Answer::End {
        chain,
        next,
        log_end,
        ..
    }) = answers.pop()
    else {
        panic!("no end")
    };
    assert_eq!((next, log_end), (Offset(2), Offset(2)));
    let computed = answers.iter().fold(Chain::START, |chain, answer| {
        let Answer::Entry {
            offset, fragment, ..
        } = answer
        else {
            panic!("{answer:?}")
        };
        chain.after(*offset, fragment.len_bytes(), fragment.id())
    });
    assert_eq!(computed, chain);
    let request = Request::Read {
        mailbox: rig.mailbox,
        from: Offset(2),
        max_entries: 0,
        compact: true,
    };
    let end = rig.one(&mut writer, request);
    assert!(matches!(end, Answer::End { chain: found, .. } if found == chain));
    let behind = rig.read(&mut writer, 9, false).1;
    assert_eq!(code(&behind), Some(ErrorCode::BehindEnd));
}

#[test]
fn a_rotation_cuts_live_sessions_and_leaves_old_readers_the_control_log() {
    let rig = Rig::new();
    let mut old_reader = rig.opened(Role::Reader, 1);
    let mut old_writer = rig.opened(Role::Writer, 1);
    let mut owner = rig.opened(Role::Policy, 0);
    rig.append(&mut old_writer, 1);
    let forged = rig.rotation(&Key::new(66), 2);
    assert_eq!(rig.ctl(&mut old_writer, 0, forged, None), denied());
    let rotation = rig.rotation(&Key::new(1), 2);
    assert_eq!(
        rig.ctl(&mut owner, 0, rotation, None),
        Answer::CtlAck { index: 0 }
    );
    assert_eq!(rig.append(&mut old_writer, 2), denied());
    assert_eq!(rig.read(&mut old_reader, 0, false).1, denied());
    let read_ctl = |session: &mut SessionAccess| {
        let request = Request::CtlRead {
            mailbox: rig.mailbox,
            from: 0,
        };
        rig.ask(session, request)
    };
    assert!(matches!(
        read_ctl(&mut old_reader)[..],
        [
            Answer::CtlEntry {
                index: 0,
                previous_epoch: Some(_),
                ..
            },
            Answer::CtlEnd { next: 1 }
        ]
    ));
    // Coming back later with the old key.
    let mut late = rig.session();
    let answer = rig.open(&mut late, Role::Reader, 1);
    assert!(
        matches!(
            answer,
            Answer::Opened {
                access: Access::ControlOnly,
                next: Offset(0),
                ctl_next: 1,
                used_bytes: 0,
                ..
            }
        ),
        "{answer:?}"
    );
    assert_eq!(read_ctl(&mut late).len(), 2);
    assert_eq!(rig.read(&mut late, 0, false).1, denied());
    assert_eq!(rig.open(&mut late, Role::Writer, 1), denied());
    assert!(matches!(
        rig.open(&mut late, Role::Reader, 2),
        Answer::Opened {
            access: Access::Full,
            ..
        }
    ));
    assert_eq!(rig.read(&mut late, 0, false).0, [0]);
    // Not back to the old keys, however well signed.
    let back = rig.rotation(&Key::new(1), 2);
    assert_eq!(
        code(&rig.ctl(&mut owner, 1, back, None)),
        Some(ErrorCode::Conflict)
    );
}

#[test]
fn the_control_log_is_compare_and_set() {
    let rig = Rig::new();
    let mut a = rig.opened(Role::Writer, 1);
    let mut b = rig.opened(Role::Policy, 0);
    assert_eq!(rig.ctl(&mut a, 0, None, None), Answer::CtlAck { index: 0 });
    assert_eq!(
        rig.ctl(&mut a, 0, None, None),
        Answer::CtlAck { index: 0 },
        "repeated after a lost answer"
    );
    let other = Request::CtlAppend {
        mailbox: rig.mailbox,
        expect_index: 0,
        record: fragment(FragmentKind::Control, 99, 50),
        previous_epoch: None,
        rotation: rig.rotation(&Key::new(1), 2),
        policy: None,
    };
    let answer = rig.one(&mut b, other);
    assert_eq!(answer, super::refusal(ErrorCode::Conflict, 1));
    assert!(
        matches!(rig.append(&mut a, 1), Answer::Ack { .. }),
        "the rotation of the loser is not in force"
    );
}

#[test]
fn the_policy_key_passes_on_and_the_old_one_is_worth_nothing() {
    let rig = Rig::new();
    let (old, new) = (Key::new(1), Key::new(2));
    let mut owner = rig.opened(Role::Policy, 0);
    let skipped = rig.policy(&old, 2, &new);
    assert_eq!(
        code(&rig.ctl(&mut owner, 0, None, skipped)),
        Some(ErrorCode::Conflict)
    );
    let by_nobody = rig.policy(&new, 1, &new);
    assert_eq!(rig.ctl(&mut owner, 0, None, by_nobody), denied());
    // Both in one record: the new key signs the capabilities.
    let (policy, rotation) = (rig.policy(&old, 1, &new), rig.rotation(&new, 2));
    assert_eq!(
        rig.ctl(&mut owner, 0, rotation, policy),
        Answer::CtlAck { index: 0 }
    );
    assert_eq!(rig.ctl(&mut owner, 1, None, None), denied());
    let mut session = rig.session();
    assert_eq!(rig.open_by(&mut session, Role::Policy, 0, &old), denied());
    assert!(matches!(
        rig.open_by(&mut session, Role::Policy, 0, &new),
        Answer::Opened { .. }
    ));
    let message = capability::drop_message(&BINDING, rig.mailbox);
    let drop_by = |key: &Key| Request::Drop {
        mailbox: rig.mailbox,
        signature: key.sign(&message),
    };
    assert_eq!(rig.one(&mut session, drop_by(&old)), denied());
    assert_eq!(rig.one(&mut session, drop_by(&new)), Answer::Ok);
    assert_eq!(rig.ctl(&mut session, 1, None, None), denied());
}

#[test]
fn superseded_entries_are_hidden_then_deleted_after_the_grace_period() {
    let mut rig = Rig::new();
    let mut writer = rig.opened(Role::Writer, 1);
    for number in 0..4 {
        rig.append(&mut writer, number);
    }
    assert_eq!(
        code(&rig.pack(&mut writer, 50, 0, 9)),
        Some(ErrorCode::BehindEnd)
    );
    let ack = rig.pack(&mut writer, 50, 0, 3);
    assert_eq!(rig.pack(&mut writer, 50, 0, 3), ack, "repeated");
    let chain = |rig: &Rig, writer: &mut SessionAccess| match rig.read(writer, 0, false).1 {
        Answer::End { chain, .. } => chain,
        other => panic!("{other:?}"),
    };
    let before = chain(&rig, &mut writer);
    assert_eq!(rig.read(&mut writer, 0, true).0, [3, 4]);
    assert_eq!(rig.read(&mut writer, 0, false).0, [0, 1, 2, 3, 4]);
    rig.now_ms += 29 * DAY_MS;
    assert_eq!(rig.node.gc(rig.now_ms, false).unwrap().entries, 0);
    rig.now_ms += 2 * DAY_MS;
    let counted = rig.node.gc(rig.now_ms, true).unwrap();
    assert_eq!((counted.entries, counted.bytes), (3, 3 * 171));
    assert_eq!(rig.node.gc(rig.now_ms, false).unwrap(), counted);
    assert_eq!(rig.read(&mut writer, 0, false).0, [3, 4]);
    assert_eq!(
        chain(&rig, &mut writer),
        before,
        "the chain outlives the bytes"
    );
    assert!(
        matches!(
            rig.append(&mut writer, 1),
            Answer::Ack {
                offset: Offset(5),
                ..
            }
        ),
        "who needs it sends it again"
    );
    // A clock that was set back deletes nothing.
    rig.pack(&mut writer, 51, 3, 4);
    assert_eq!(rig.node.gc(START_MS, false).unwrap().entries, 0);
}

#[test]
fn blobs_are_found_by_content_and_forgotten_after_the_grace_period() {
    let mut rig = Rig::new();
    let mut writer = rig.opened(Role::Writer, 1);
    let mailbox = rig.mailbox;
    let blob = fragment(FragmentKind::BlobChunk, 1, 5000);
    let id = blob.id();
    let put = Request::BlobPut {
        mailbox,
        fragment: blob.clone(),
    };
    let get = Request::BlobGet {
        mailbox,
        fragment_id: id,
    };
    let forget = Request::BlobForget {
        mailbox,
        ids: vec![id, FragmentId([0; 32])],
    };
    assert_eq!(
        code(&rig.one(&mut writer, get.clone())),
        Some(ErrorCode::Gone)
    );
    assert_eq!(rig.one(&mut writer, put.clone()), Answer::Ok);
    rig.append(&mut writer, 7);
    let entry = fragment(FragmentKind::Entry, 7, 100).id();
    let mut ids = vec![FragmentId([0; 32]); 10];
    (ids[0], ids[9]) = (id, entry);
    let has = Request::Has { mailbox, ids };
    assert_eq!(
        rig.one(&mut writer, has.clone()),
        Answer::HasBits { bits: vec![1, 2] }
    );
    assert_eq!(
        rig.one(&mut writer, get.clone()),
        Answer::Blob { fragment: blob }
    );
    rig.one(&mut writer, forget.clone());
    assert_eq!(
        rig.one(&mut writer, has.clone()),
        Answer::HasBits { bits: vec![0, 2] }
    );
    rig.one(&mut writer, put);
    rig.now_ms += 31 * DAY_MS;
    assert_eq!(
        rig.node.gc(rig.now_ms, false).unwrap().blobs,
        0,
        "put again"
    );
    rig.one(&mut writer, forget);
    rig.now_ms += 31 * DAY_MS;
    assert_eq!(rig.node.gc(rig.now_ms, false).unwrap().blobs, 1);
    assert_eq!(code(&rig.one(&mut writer, get)), Some(ErrorCode::Gone));
}

#[test]
fn a_full_mailbox_refuses_more_and_can_still_remove_a_device() {
    let limits = Limits {
        max_fragment_bytes: 1000,
        mailbox_quota_bytes: 1200,
        ..Limits::default()
    };
    let rig = Rig::with(&limits);
    let mut writer = rig.opened(Role::Writer, 1);
    for number in 0..3 {
        assert!(matches!(
            rig.append(&mut writer, number),
            Answer::Ack { .. }
        ));
    }
    let full = super::refusal(ErrorCode::Quota, 1200);
    assert_eq!(rig.append(&mut writer, 3), full);
    let long = Request::Append {
        mailbox: rig.mailbox,
        fragment: fragment(FragmentKind::Entry, 9, 2000),
    };
    assert_eq!(code(&rig.one(&mut writer, long)), Some(ErrorCode::TooBig));
    let rotation = rig.rotation(&Key::new(1), 2);
    assert_eq!(
        rig.ctl(&mut writer, 0, rotation, None),
        Answer::CtlAck { index: 0 }
    );
}

#[test]
fn a_mailbox_that_nobody_opens_is_deleted_and_one_in_use_stays() {
    let mut rig = Rig::new();
    rig.append(&mut rig.opened(Role::Writer, 1), 1);
    rig.now_ms += 399 * DAY_MS;
    drop(rig.opened(Role::Reader, 1));
    rig.now_ms += 399 * DAY_MS;
    assert_eq!(rig.node.gc(rig.now_ms, false).unwrap().mailboxes, 0);
    rig.now_ms += 2 * DAY_MS;
    assert_eq!(rig.node.gc(rig.now_ms, false).unwrap().mailboxes, 1);
    let mut session = rig.session();
    assert_eq!(rig.open(&mut session, Role::Reader, 1), denied());
    assert_eq!(rig.node.stats().unwrap().live_entries, 0);
}

#[test]
fn an_audit_tells_sizes_and_times_and_nothing_else() {
    let rig = Rig::new();
    let mut writer = rig.opened(Role::Writer, 1);
    rig.append(&mut writer, 1);
    rig.ctl(&mut writer, 0, None, None);
    let text = rig.node.audit(rig.mailbox).unwrap().unwrap().to_string();
    for part in ["entry at 0 171 bytes", "control 0", "writer key"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(rig.node.audit(MailboxId([0; 16])).unwrap().is_none());
}

#[test]
fn one_connection_opens_a_bounded_number_of_mailboxes() {
    let rig = Rig::new();
    let mut session = rig.session();
    let mut last = Answer::Ok;
    for seed in 1..=65 {
        assert_eq!(rig.one(&mut session, create(seed)), Answer::Ok);
        let mailbox = MailboxId::of_policy_key(&Key::new(seed).public());
        let message = capability::open_message(&BINDING, mailbox, Role::Policy, 0);
        let open = Request::Open {
            mailbox,
            role: Role::Policy,
            cap_epoch: 0,
            signature: Key::new(seed).sign(&message),
        };
        last = rig.one(&mut session, open);
    }
    assert_eq!(last, super::refusal(ErrorCode::TooMany, 64));
}
