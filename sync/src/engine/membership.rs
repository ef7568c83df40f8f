//! The control log: taking in its records, and changing the membership.
//!
//! A change is in force when the home edge has put it at its place in the log; nothing is assumed before. So a change
//! needs a connection, and two owners who change something at once are put in order by the edge.
//! Start at [`Change`].

use std::collections::{BTreeMap, VecDeque};

use satchel_protocol::capability;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::frame::{CapRotation, ErrorAnswer, ErrorCode, PolicyRotation, Request};
use satchel_protocol::id::NodeFingerprint;

use super::documents::Documents;
use super::edge::{Asked, Phase, capabilities_of};
use super::rows::Wait;
use super::state::{EngineError, control_row, keyring_row};
use super::store::SyncStore;
use super::{Action, Attachments, Engine};
use crate::id::DeviceId;
use crate::member::{
    Accepted, ControlDraft, ControlError, DevicePublic, Op, PolicyKey, Role, Welcome,
};

/// A wish to change who is a member.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new device, which was met by pairing.
    Add {
        /// Its keys.
        public: DevicePublic,
        /// Whose it is.
        user: String,
        /// What it is called.
        label: String,
        /// What it may do.
        role: Role,
    },
    /// A device is a member no longer.
    Remove(DeviceId),
    /// A device may do more, or less.
    SetRole(DeviceId, Role),
    /// A device is called something else.
    Rename(DeviceId, String),
}

/// A change that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its place in the control log.
    pub index: u32,
}

/// Why the membership was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// No edge can be reached.
    #[error("members and devices can be changed only while an edge node is connected: {reason}")]
    Offline {
        /// Why not.
        reason: String,
    },
    /// This device may not do it, or it makes no sense.
    #[error(transparent)]
    NotAllowed(#[from] ControlError),
    /// The edge did not accept it.
    #[error("the edge node did not accept the change: {words}")]
    Refused {
        /// Its reason in our words.
        words: String,
    },
}

/// Records that are gathered before they are judged: a list of a thousand changes among a hundred devices is 11 MiB.
const MAX_GATHERED_BYTES: usize = 64 << 20;

type Gathered = (u32, EncryptedFragment, Option<EncryptedFragment>);

/// What is wished for, and what is on its way.
#[derive(Default)]
pub(super) struct Wishes {
    queue: VecDeque<(u64, Change)>,
    proposed: Option<(u64, Change, (NodeFingerprint, ControlDraft))>,
    /// With their length in bytes.
    records: BTreeMap<NodeFingerprint, (usize, Vec<Gathered>)>,
}

impl Wishes {
    /// What was on its way may have arrived or not: it is proposed again, and refused where it is in force already.
    pub(super) fn connection_lost(&mut self, edge: &NodeFingerprint) {
        self.records.remove(edge);
        if let Some((ticket, change, _)) = self.proposed.take_if(|(.., draft)| draft.0 == *edge) {
            self.queue.push_front((ticket, change));
        }
    }
}

impl<D: Documents + Attachments, S: SyncStore> Engine<D, S> {
    pub(super) fn handle_wish(&mut self, ticket: u64, change: Change) {
        self.changes.queue.push_back((ticket, change));
    }

    /// The first edge orders the control log.
    fn home(&self) -> Option<NodeFingerprint> {
        Some(self.state.links().first()?.fingerprint)
    }

    pub(super) fn propose_wishes(&mut self) {
        if self.changes.proposed.is_some() || self.changes.queue.is_empty() {
            return;
        }
        let home = self.home();
        let edge = home.and_then(|home| Some((home, self.edges.get(&home)?)));
        let (home, phase, reason) = match edge {
            Some((home, edge)) => (home, edge.phase, edge.reason.clone()),
            None => return self.refuse_wishes("there is no edge node"),
        };
        match phase {
            Phase::Live => {}
            Phase::Offline { retry_at_ms } if retry_at_ms > self.now.monotonic_ms => {
                return self.refuse_wishes(&reason.unwrap_or_default());
            }
            Phase::Stopped => return self.refuse_wishes(&reason.unwrap_or_default()),
            _ => return,
        }
        let Some((ticket, change)) = self.changes.queue.pop_front() else {
            return;
        };
        let proposed = self.state.control.propose(
            self.op_of(&change),
            &self.state.device,
            &self.state.keyring,
            self.state.policy.as_ref(),
            self.now.wall_ms,
        );
        match proposed {
            Ok(draft) => {
                let request = self.change_request(&draft);
                self.changes.proposed = Some((ticket, change, (home, draft)));
                self.ask(home, request, Asked::Change);
            }
            Err(error) => {
                let result = if self.is_in_force(&change) {
                    let index = self.state.control.index();
                    Ok(Changed { index })
                } else {
                    Err(error.into())
                };
                self.actions.push(Action::Changed { ticket, result });
            }
        }
    }

    fn refuse_wishes(&mut self, reason: &str) {
        for (ticket, _) in self.changes.queue.drain(..) {
            let result = Err(ChangeError::Offline {
                reason: reason.to_owned(),
            });
            self.actions.push(Action::Changed { ticket, result });
        }
    }

    fn op_of(&self, change: &Change) -> Op {
        match change.clone() {
            Change::Add {
                public,
                user,
                label,
                role,
            } => Op::AddDevice {
                public,
                user,
                label,
                role,
            },
            Change::Remove(device) => Op::RemoveDevice {
                device,
                last_accepted: self
                    .state
                    .peers
                    .get(&device)
                    .map_or(0, |peer| peer.sequence),
            },
            Change::SetRole(device, role) => Op::SetRole { device, role },
            Change::Rename(device, label) => Op::Rename { device, label },
        }
    }

    /// Whether a change was made after all, before its answer was lost.
    fn is_in_force(&self, change: &Change) -> bool {
        let member = |device: &DeviceId| self.state.control.member(device);
        match change {
            Change::Add { public, role, .. } => member(&public.id())
                .is_some_and(|member| member.removed.is_none() && member.role == *role),
            Change::Remove(device) => member(device).is_some_and(|member| member.removed.is_some()),
            Change::SetRole(device, role) => {
                member(device).is_some_and(|member| member.role == *role)
            }
            Change::Rename(device, label) => {
                member(device).is_some_and(|member| member.label == *label)
            }
        }
    }

    fn change_request(&self, draft: &ControlDraft) -> Request {
        let mailbox = self.state.mailbox;
        let (mut rotation, mut policy) = (None, None);
        if let (Some(new), Some(old)) = (&draft.rotation, &self.state.policy) {
            let signer = match &new.policy {
                Some((counter, key)) => {
                    let new_key = key.public();
                    let message = capability::policy_message(mailbox, *counter, &new_key);
                    policy = Some(PolicyRotation {
                        counter: *counter,
                        new_key,
                        signature: old.sign(&message),
                    });
                    key
                }
                None => old,
            };
            rotation = capabilities_of(&new.secrets, mailbox).map(|capabilities| {
                let message = capability::capabilities_message(mailbox, &capabilities);
                CapRotation {
                    signature: signer.sign(&message),
                    capabilities,
                }
            });
        }
        Request::CtlAppend {
            mailbox,
            expect_index: draft.index,
            record: draft.record.clone(),
            previous_epoch: draft.previous_epoch.clone(),
            rotation,
            policy,
        }
    }

    pub(super) fn handle_change_ack(
        &mut self,
        id: NodeFingerprint,
        index: u32,
    ) -> Result<(), EngineError> {
        let Some((ticket, change, (_, draft))) = self.changes.proposed.take() else {
            return Ok(());
        };
        if index < self.state.control.index() {
            // The log was read before this answer came, and the record was in it.
            if self.is_in_force(&change) {
                let result = Ok(Changed { index });
                self.actions.push(Action::Changed { ticket, result });
            } else {
                self.changes.queue.push_front((ticket, change));
            }
            return Ok(());
        }
        let record = (index, draft.record, draft.previous_epoch);
        let result = self
            .accept_records(id, &[record])?
            .map(|()| Changed { index })
            .map_err(ChangeError::NotAllowed);
        self.actions.push(Action::Changed { ticket, result });
        Ok(())
    }

    pub(super) fn handle_change_refused(
        &mut self,
        id: NodeFingerprint,
        error: &ErrorAnswer,
    ) -> Result<(), EngineError> {
        let Some((ticket, change, _)) = self.changes.proposed.take() else {
            return Ok(());
        };
        match error.code {
            // Somebody else was faster: read what they did, then propose anew.
            ErrorCode::Conflict => {
                self.changes.queue.push_front((ticket, change));
                self.read_control(id);
            }
            ErrorCode::Denied => {
                self.changes.queue.push_front((ticket, change));
                self.reopen(id);
            }
            _ => {
                let words = crate::net::RequestError::from_answer(*error, 0).to_string();
                let result = Err(ChangeError::Refused { words });
                self.actions.push(Action::Changed { ticket, result });
            }
        }
        Ok(())
    }

    /// Gives an edge the next record that it lacks: it is new, or has lost its data.
    pub(super) fn give_record(&mut self, id: NodeFingerprint, ctl_next: u32) {
        let Some(((index, record, previous), made)) =
            self.state.records.get(ctl_next as usize).cloned()
        else {
            self.follow(id);
            return;
        };
        let mailbox = self.state.mailbox;
        let epoch = made.filter(|epoch| *epoch > 0);
        let secrets = epoch.and_then(|epoch| {
            let mut all = self.state.keyring.iter();
            all.find(|secrets| secrets.id().number == epoch)
        });
        let rotation = secrets
            .zip(self.state.policy.as_ref())
            .and_then(|(secrets, policy)| {
                let capabilities = capabilities_of(secrets, mailbox)?;
                let message = capability::capabilities_message(mailbox, &capabilities);
                Some(CapRotation {
                    signature: policy.sign(&message),
                    capabilities,
                })
            });
        let request = Request::CtlAppend {
            mailbox,
            expect_index: index,
            record,
            previous_epoch: previous,
            rotation,
            policy: None,
        };
        self.ask(id, request, Asked::Give(index));
    }

    /// Keeps a record until the last one is there; says whether there was room for it.
    pub(super) fn gather_record(
        &mut self,
        id: NodeFingerprint,
        index: u32,
        record: EncryptedFragment,
        previous_epoch: Option<EncryptedFragment>,
    ) -> bool {
        let (bytes, records) = self.changes.records.entry(id).or_default();
        *bytes += record.len_bytes();
        records.push((index, record, previous_epoch));
        *bytes <= MAX_GATHERED_BYTES
    }

    pub(super) fn handle_control_end(&mut self, id: NodeFingerprint) -> Result<(), EngineError> {
        let (_, records) = self.changes.records.remove(&id).unwrap_or_default();
        let known = self.state.control.index();
        let records: Vec<Gathered> = records
            .into_iter()
            .filter(|(index, ..)| *index >= known)
            .collect();
        let found_some = !records.is_empty();
        if let Err(error) = self.accept_records(id, &records)? {
            let words = format!(
                "An edge node shows a list of members that does not fit ({error}). Nothing of it was accepted."
            );
            self.state
                .warn(self.now.wall_ms, words.clone(), &mut self.rows);
            self.actions.push(Action::Disconnect(id));
            self.handle_disconnected(id, words, true);
            return Ok(());
        }
        let newest = self.state.newest().id().number;
        if let Some(edge) = self.edges.get_mut(&id)
            && edge.phase == Phase::Opening
        {
            if edge.opened_epoch == Some(newest) {
                self.follow(id);
            } else if found_some {
                // So that it is opened anew, with the keys that were found.
                edge.phase = Phase::Connecting;
                self.reopen(id);
            } else {
                let words = "This laptop is no member of the workspace any more, or the edge node hides the newest list of members.";
                self.actions.push(Action::Disconnect(id));
                self.handle_disconnected(id, words.to_owned(), false);
            }
        }
        self.retry_waiting(id, &[Wait::Keys, Wait::Membership])
    }

    /// Takes in records, with the keys in them, and does what they ask of this device.
    fn accept_records(
        &mut self,
        id: NodeFingerprint,
        records: &[Gathered],
    ) -> Result<Result<(), ControlError>, EngineError> {
        let state = &mut self.state;
        let links = records
            .iter()
            .filter_map(|(_, _, previous)| previous.as_ref());
        let walked = state.keyring.walk_back(state.founding.workspace, links);
        let mut failure = walked.err().map(ControlError::from);
        let mut accepted: Vec<Accepted> = Vec::new();
        for (index, record, previous) in records {
            if failure.is_some() {
                break;
            }
            let taken = state.control.accept(
                *index,
                record,
                previous.as_ref(),
                &state.device,
                &mut state.keyring,
            );
            match taken {
                Ok(taken) => accepted.push(taken),
                Err(error) => failure = Some(error),
            }
        }
        // Those before a wrong one are in force.
        let records = &records[..accepted.len()];
        let mut epoch = self.state.newest().id().number;
        let made = accepted.iter().rev().map(|accepted| {
            let made = accepted.new_epoch.then_some(epoch);
            epoch = epoch.saturating_sub(u32::from(accepted.new_epoch));
            made
        });
        let made: Vec<Option<u32>> = made.collect();
        for (record, made) in records.iter().zip(made.into_iter().rev()) {
            self.rows
                .push(control_row(record.0, &record.1, record.2.as_ref()));
            self.state.records.push((record.clone(), made));
        }
        self.rows.push(keyring_row(&self.state.keyring));
        let mut new_epoch = false;
        for accepted in accepted {
            new_epoch |= accepted.new_epoch;
            if let Some(policy) = accepted.policy {
                let counter = self
                    .state
                    .control
                    .policy()
                    .map_or(0, |(counter, _)| counter);
                self.state.set_policy(counter, policy, &mut self.rows);
            }
            if accepted.we_were_removed {
                self.state.be_removed(&mut self.rows);
            }
        }
        self.commit()?;
        if self.state.removed {
            let words = "This laptop was removed from the workspace. What is on it stays; nothing new comes or goes.";
            self.state
                .warn(self.now.wall_ms, words.to_owned(), &mut self.rows);
            let ids: Vec<NodeFingerprint> = self.edges.keys().copied().collect();
            for id in ids {
                self.actions.push(Action::Disconnect(id));
                self.handle_disconnected(id, words.to_owned(), false);
            }
        } else if new_epoch
            && self
                .edges
                .get(&id)
                .is_some_and(|edge| edge.phase != Phase::Opening)
        {
            self.reopen(id);
        }
        self.follow_edges();
        self.actions.push(Action::StatusChanged);
        Ok(failure.map_or(Ok(()), Err))
    }

    /// What a new device needs to become a member, for a change that is in force.
    #[must_use]
    pub fn welcome(&self, role: Role, name: String) -> Welcome {
        Welcome {
            workspace: self.state.founding.workspace,
            name,
            genesis_hash: self.state.control.genesis_hash(),
            control_index: self.state.control.index().saturating_sub(1),
            control_head: self.state.control.head(),
            policy_public: crate::id::from_hex(&self.state.founding.policy_public)
                .unwrap_or([0; 32]),
            mailbox: self.state.mailbox,
            role,
            // The encoding leaves out what the role may not know.
            secrets: self.state.newest().duplicate(),
            policy: self.state.policy.as_ref().map(PolicyKey::duplicate),
            edges: self.state.links().iter().map(ToString::to_string).collect(),
        }
    }
}
