//! A small edge in memory: what `PROTOCOL.md` says of one, without sockets, and with the tricks of a malicious one.

use std::collections::{BTreeMap, BTreeSet};

use satchel_protocol::capability;
use satchel_protocol::chain::Chain;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{
    Access, Answer, Capabilities, ErrorAnswer, ErrorCode, Request, Role,
};
use satchel_protocol::id::{FragmentId, MailboxId, Offset};

#[derive(Clone, Default)]
pub struct Mailbox {
    policy: [u8; 32],
    capabilities: Vec<Capabilities>,
    pub log: Vec<(EncryptedFragment, bool)>,
    pub control: Vec<(EncryptedFragment, Option<EncryptedFragment>)>,
    pub blobs: BTreeMap<FragmentId, EncryptedFragment>,
}

impl Mailbox {
    pub fn chain(&self, end: usize) -> Chain {
        let entries = self.log[..end].iter().enumerate();
        entries.fold(Chain::START, |chain, (offset, (fragment, _))| {
            chain.after(Offset(offset as u64), fragment.len_bytes(), fragment.id())
        })
    }
}

#[derive(Clone, Default)]
pub struct SimEdge {
    pub mailboxes: BTreeMap<MailboxId, Mailbox>,
    /// Everything that any device ever sent, for the search for markers.
    pub received: Vec<Vec<u8>>,
}

/// What one connection has proven.
#[derive(Default)]
pub struct Session {
    pub binding: [u8; 32],
    pub open: BTreeMap<MailboxId, (Role, u32, Access)>,
}

fn refuse(code: ErrorCode) -> Vec<Answer> {
    vec![Answer::Error(ErrorAnswer {
        code,
        limit: 0,
        retry_after_ms: 0,
    })]
}

impl SimEdge {
    pub fn handle(&mut self, session: &mut Session, request: &Request) -> Vec<Answer> {
        match request {
            Request::Create {
                policy_key,
                capabilities,
                token,
                signature,
            } => {
                let id = MailboxId::of_policy_key(policy_key);
                let message = capability::create_message(&session.binding, id, capabilities, token);
                if !capability::verify(policy_key, &message, signature) {
                    return refuse(ErrorCode::Denied);
                }
                self.mailboxes.entry(id).or_insert_with(|| Mailbox {
                    policy: *policy_key,
                    capabilities: vec![*capabilities],
                    ..Mailbox::default()
                });
                vec![Answer::Ok]
            }
            Request::Open {
                mailbox,
                role,
                cap_epoch,
                signature,
            } => self.open(session, *mailbox, *role, *cap_epoch, signature),
            Request::Append { mailbox, fragment } => {
                self.write(session, *mailbox, fragment, &BTreeSet::new())
            }
            Request::Pack {
                mailbox,
                supersedes,
                fragment,
            } => {
                let offsets = supersedes
                    .iter()
                    .flat_map(|range| range.from.0..range.to.0)
                    .collect();
                self.write(session, *mailbox, fragment, &offsets)
            }
            Request::CtlRead { mailbox, from } => {
                let Some(open) = session.open.get(mailbox) else {
                    return refuse(ErrorCode::Denied);
                };
                let _ = open;
                let found = &self.mailboxes[mailbox];
                let mut answers: Vec<Answer> = found
                    .control
                    .iter()
                    .enumerate()
                    .skip(*from as usize)
                    .map(|(index, (record, previous))| Answer::CtlEntry {
                        index: index as u32,
                        record: record.clone(),
                        previous_epoch: previous.clone(),
                    })
                    .collect();
                answers.push(Answer::CtlEnd {
                    next: found.control.len() as u32,
                });
                answers
            }
            Request::CtlAppend {
                mailbox,
                expect_index,
                record,
                previous_epoch,
                rotation,
                policy,
            } => {
                if !self.may(session, *mailbox, true) {
                    return refuse(ErrorCode::Denied);
                }
                let found = self.mailboxes.get_mut(mailbox).expect("open");
                if *expect_index as usize != found.control.len() {
                    return refuse(ErrorCode::Conflict);
                }
                let mut key = found.policy;
                if let Some(policy) = policy {
                    let message =
                        capability::policy_message(*mailbox, policy.counter, &policy.new_key);
                    if !capability::verify(&key, &message, &policy.signature) {
                        return refuse(ErrorCode::Denied);
                    }
                    key = policy.new_key;
                }
                if let Some(rotation) = rotation {
                    let message =
                        capability::capabilities_message(*mailbox, &rotation.capabilities);
                    if !capability::verify(&key, &message, &rotation.signature) {
                        return refuse(ErrorCode::Denied);
                    }
                    found.capabilities.push(rotation.capabilities);
                }
                found.policy = key;
                self.received.push(record.as_bytes().to_vec());
                found.control.push((record.clone(), previous_epoch.clone()));
                vec![Answer::CtlAck {
                    index: *expect_index,
                }]
            }
            Request::Has { mailbox, ids } => {
                let Some(found) = self.mailboxes.get(mailbox) else {
                    return refuse(ErrorCode::Denied);
                };
                let known: BTreeSet<FragmentId> = found
                    .log
                    .iter()
                    .map(|(fragment, _)| fragment.id())
                    .collect();
                let mut bits = vec![0; ids.len().div_ceil(8)];
                for (number, id) in ids.iter().enumerate() {
                    if known.contains(id) || found.blobs.contains_key(id) {
                        bits[number / 8] |= 1 << (number % 8);
                    }
                }
                vec![Answer::HasBits { bits }]
            }
            _ => refuse(ErrorCode::Denied),
        }
    }

    /// What a stream that follows the log has to say from `next` on.
    pub fn follow(
        &self,
        session: &Session,
        mailbox: MailboxId,
        next: &mut u64,
        compact: bool,
        sessions: u16,
    ) -> Result<Vec<Answer>, Vec<Answer>> {
        if !self.may(session, mailbox, false) {
            return Err(refuse(ErrorCode::Denied));
        }
        let found = &self.mailboxes[&mailbox];
        let end = found.log.len() as u64;
        if *next > end {
            return Err(vec![Answer::Error(ErrorAnswer {
                code: ErrorCode::BehindEnd,
                limit: end,
                retry_after_ms: 0,
            })]);
        }
        let mut answers = Vec::new();
        for offset in *next..end {
            let (fragment, superseded) = &found.log[offset as usize];
            if !(compact && *superseded) {
                answers.push(Answer::Entry {
                    offset: Offset(offset),
                    superseded: *superseded,
                    fragment: fragment.clone(),
                });
            }
        }
        *next = end;
        answers.push(Answer::End {
            next: Offset(end),
            log_end: Offset(end),
            chain: found.chain(end as usize),
            ctl_next: found.control.len() as u32,
            sessions,
        });
        Ok(answers)
    }

    fn open(
        &self,
        session: &mut Session,
        id: MailboxId,
        role: Role,
        cap_epoch: u32,
        signature: &[u8; 64],
    ) -> Vec<Answer> {
        let Some(found) = self.mailboxes.get(&id) else {
            return refuse(ErrorCode::Denied);
        };
        let newest = found.capabilities.last().expect("made with one");
        let mut all = found.capabilities.iter();
        let Some(capabilities) = all.find(|known| known.cap_epoch == cap_epoch) else {
            return refuse(ErrorCode::Denied);
        };
        let key = match role {
            Role::Reader => capabilities.reader_key,
            Role::Writer => capabilities.writer_key,
            Role::Policy => found.policy,
        };
        let message = capability::open_message(&session.binding, id, role, cap_epoch);
        let old = capabilities.cap_epoch != newest.cap_epoch;
        if !capability::verify(&key, &message, signature) || (old && role != Role::Reader) {
            return refuse(ErrorCode::Denied);
        }
        let access = if old {
            Access::ControlOnly
        } else {
            Access::Full
        };
        session.open.insert(id, (role, cap_epoch, access));
        vec![Answer::Opened {
            access,
            next: Offset(found.log.len() as u64),
            chain: found.chain(found.log.len()),
            ctl_next: found.control.len() as u32,
            used_bytes: 0,
            quota_bytes: 1 << 30,
        }]
    }

    fn may(&self, session: &Session, id: MailboxId, write: bool) -> bool {
        let (Some((role, epoch, access)), Some(found)) =
            (session.open.get(&id), self.mailboxes.get(&id))
        else {
            return false;
        };
        let newest = found.capabilities.last().expect("made with one").cap_epoch;
        *access == Access::Full && *epoch == newest && (!write || *role != Role::Reader)
    }

    fn write(
        &mut self,
        session: &Session,
        id: MailboxId,
        fragment: &EncryptedFragment,
        superseded: &BTreeSet<u64>,
    ) -> Vec<Answer> {
        if !self.may(session, id, true) {
            return refuse(ErrorCode::Denied);
        }
        self.received.push(fragment.as_bytes().to_vec());
        let found = self.mailboxes.get_mut(&id).expect("open");
        let known = found
            .log
            .iter()
            .position(|(known, _)| known.id() == fragment.id());
        let offset = known.unwrap_or_else(|| {
            found.log.push((fragment.clone(), false));
            found.log.len() - 1
        });
        for gone in superseded {
            if let Some(entry) = found.log.get_mut(*gone as usize) {
                entry.1 = true;
            }
        }
        vec![Answer::Ack {
            offset: Offset(offset as u64),
            chain: found.chain(offset + 1),
        }]
    }
}
