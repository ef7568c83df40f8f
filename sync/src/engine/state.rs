//! What the engine remembers: read from its rows at the start, changed together with them.
//!
//! Nothing here decides anything. Start at [`State`].

use std::collections::BTreeMap;

use automerge::ChangeHash;
use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::id::{FragmentId, MailboxId, NodeFingerprint, Offset};
use satchel_protocol::link::NodeLink;
use serde::{Deserialize, Serialize};

use super::attach::AttachError;
use super::documents::DocumentsError;
use super::rows::{self, EdgeRow, Item, Own, Peer, Wait};
use super::status::Warning;
use super::store::{Key, Row, StoreError, Table};
use crate::entry::DocKey;
use crate::id::{DeviceId, WorkspaceId, from_hex, to_hex};
use crate::member::{ControlLog, DeviceKeys, EpochSecrets, Keyring, PolicyKey};

/// Warnings that are kept; older ones have been seen or do not matter any more.
const MAX_WARNINGS: usize = 50;
/// Connections in the ledger.
const MAX_CONNECTIONS: usize = 500;

/// Why the engine cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// What it remembers cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that belongs to a document cannot be stored.
    #[error(transparent)]
    Attachment(AttachError),
    /// The documents cannot be read or written.
    #[error(transparent)]
    Documents(#[from] DocumentsError),
    /// A row is missing or not understood.
    #[error(
        "what syncing remembers is incomplete ({0}); remove this laptop on another one and pair it anew"
    )]
    Rows(&'static str),
}

/// What is fixed when a workspace is shared, or joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founding {
    /// Which workspace.
    pub workspace: WorkspaceId,
    /// Its mailbox, in hexadecimal digits.
    pub mailbox: String,
    /// The public policy key that the mailbox is named after, in hexadecimal digits.
    pub policy_public: String,
    /// Hash of the first record of the control log, in hexadecimal digits.
    pub genesis: String,
    /// Edges until the control log names others.
    pub edges: Vec<String>,
    /// Whether somebody else founded it.
    pub joined: bool,
    /// What the operator of an edge gave to those who may make mailboxes; empty where none is needed.
    #[serde(default)]
    pub invitation: String,
    /// The user of this device has chosen `edges`, whatever the control log names.
    #[serde(default)]
    pub moved: bool,
}

pub(super) struct State {
    pub(super) founding: Founding,
    pub(super) mailbox: MailboxId,
    pub(super) device: DeviceKeys,
    pub(super) keyring: Keyring,
    pub(super) policy: Option<PolicyKey>,
    pub(super) policy_counter: u32,
    pub(super) control: ControlLog,
    /// The records of the control log, for an edge that lacks some, and which epoch each made.
    pub(super) records: Vec<(ControlRow, Option<u32>)>,
    pub(super) own: Own,
    pub(super) awaits_index: bool,
    pub(super) removed: bool,
    /// Entries of this device are on an edge that it does not know of.
    pub(super) copied: bool,
    pub(super) shared: BTreeMap<DocKey, Vec<ChangeHash>>,
    pub(super) fragments: BTreeMap<FragmentId, EncryptedFragment>,
    pub(super) items: BTreeMap<FragmentId, Item>,
    pub(super) peers: BTreeMap<DeviceId, Peer>,
    pub(super) waiting: BTreeMap<FragmentId, Waiting>,
    /// How much that is.
    pub(super) waiting_bytes: usize,
    pub(super) edge_rows: BTreeMap<NodeFingerprint, EdgeRow>,
    pub(super) ledger: Vec<rows::Connection>,
    pub(super) warnings: Vec<Warning>,
    /// Long documents that are still to be fetched, as they were written.
    pub(super) bodies: Option<Vec<u8>>,
}

const FOUNDING: &str = "founding";
const DEVICE: &str = "device";
const KEYRING: &str = "keyring";
const POLICY: &str = "policy";
const POLICY_COUNTER: &str = "policy counter";
const OWN: &str = "own";
const AWAITS_INDEX: &str = "awaits index";
const REMOVED: &str = "removed";
const COPIED: &str = "copied";
const WARNINGS: &str = "warnings";
const LEDGER: &str = "ledger";

/// The rows of a workspace that has just been shared or joined.
#[must_use]
pub fn first_rows(
    founding: &Founding,
    device: &DeviceKeys,
    keyring: &Keyring,
    policy: Option<&PolicyKey>,
    awaits_index: bool,
) -> Vec<Row> {
    let mut rows = vec![
        rows::put(Table::Own, FOUNDING, founding),
        (
            Key::new(Table::Own, DEVICE),
            Some(device.to_secret_bytes().to_vec()),
        ),
        keyring_row(keyring),
        rows::put(Table::Own, AWAITS_INDEX, &awaits_index),
    ];
    rows.extend(policy.map(policy_row));
    rows
}

/// The row of one record of the control log.
#[must_use]
pub fn control_row(
    index: u32,
    record: &EncryptedFragment,
    previous_epoch: Option<&EncryptedFragment>,
) -> Row {
    let mut bytes = (record.len_bytes() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(record.as_bytes());
    if let Some(previous) = previous_epoch {
        bytes.extend_from_slice(previous.as_bytes());
    }
    (Key::new(Table::Control, index.to_be_bytes()), Some(bytes))
}

pub(super) fn keyring_row(keyring: &Keyring) -> Row {
    (
        Key::new(Table::Own, KEYRING),
        Some(keyring.to_secret_bytes().to_vec()),
    )
}

pub(super) fn policy_row(policy: &PolicyKey) -> Row {
    (
        Key::new(Table::Own, POLICY),
        Some(policy.to_secret_bytes().to_vec()),
    )
}

/// An entry that cannot be used now.
#[derive(Clone)]
pub(super) struct Waiting {
    pub(super) why: Wait,
    /// Where it was read.
    pub(super) place: Place,
    pub(super) fragment: EncryptedFragment,
}

/// An edge, and where in its log.
pub(super) type Place = (NodeFingerprint, Offset);

impl Waiting {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.why.number()];
        bytes.extend_from_slice(&self.place.0.0);
        bytes.extend_from_slice(&self.place.1.0.to_be_bytes());
        bytes.extend_from_slice(self.fragment.as_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (why, rest) = bytes.split_first()?;
        let (edge, rest) = rest.split_first_chunk::<32>()?;
        let (offset, fragment) = rest.split_first_chunk::<8>()?;
        let offset = Offset(u64::from_be_bytes(*offset));
        Some(Self {
            why: Wait::from_number(*why)?,
            place: (NodeFingerprint(*edge), offset),
            fragment: EncryptedFragment::from_bytes(fragment.to_vec()).ok()?,
        })
    }
}

pub(super) type ControlRow = (u32, EncryptedFragment, Option<EncryptedFragment>);

fn parse_control(id: &[u8], bytes: &[u8]) -> Option<ControlRow> {
    let index = u32::from_be_bytes(id.try_into().ok()?);
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (record, previous) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    let record = EncryptedFragment::from_bytes(record.to_vec()).ok()?;
    let previous = match previous {
        [] => None,
        bytes => Some(EncryptedFragment::from_bytes(bytes.to_vec()).ok()?),
    };
    Some((index, record, previous))
}

impl State {
    pub(super) fn load(all: Vec<(Key, Vec<u8>)>) -> Result<Self, EngineError> {
        let mut own = BTreeMap::new();
        let mut control = Vec::new();
        let (mut shared, mut fragments, mut items) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut waiting: BTreeMap<FragmentId, Waiting> = BTreeMap::new();
        let (mut peers, mut edge_rows) = (BTreeMap::new(), BTreeMap::new());
        let wrong = || EngineError::Rows("an entry");
        for (Key { table, id }, value) in all {
            match table {
                Table::Own => {
                    own.insert(id, value);
                }
                Table::Control => control.push(parse_control(&id, &value).ok_or_else(wrong)?),
                Table::Shared => {
                    let key = rows::key_of(&id).ok_or_else(wrong)?;
                    shared.insert(key, rows::heads_of(&value));
                }
                Table::Fragment => {
                    let fragment = EncryptedFragment::from_bytes(value).map_err(|_| wrong())?;
                    fragments.insert(fragment.id(), fragment);
                }
                Table::Item => {
                    let id = id.try_into().map(FragmentId).map_err(|_| wrong())?;
                    items.insert(id, rows::parse(&value).ok_or_else(wrong)?);
                }
                Table::Peer => {
                    let id = id.try_into().map(DeviceId).map_err(|_| wrong())?;
                    peers.insert(id, rows::parse(&value).ok_or_else(wrong)?);
                }
                Table::Waiting => {
                    let waits = Waiting::parse(&value).ok_or_else(wrong)?;
                    waiting.insert(waits.fragment.id(), waits);
                }
                Table::Edge => {
                    let id = id.try_into().map(NodeFingerprint).map_err(|_| wrong())?;
                    edge_rows.insert(id, rows::parse(&value).ok_or_else(wrong)?);
                }
            }
        }
        let text = |name: &str| own.get(name.as_bytes());
        let founding: Founding = text(FOUNDING)
            .and_then(|bytes| rows::parse(bytes))
            .ok_or(EngineError::Rows("its beginning"))?;
        let device = text(DEVICE)
            .and_then(|bytes| DeviceKeys::from_secret_bytes(bytes))
            .ok_or(EngineError::Rows("this laptop's keys"))?;
        let mut keyring = text(KEYRING)
            .and_then(|bytes| Keyring::from_secret_bytes(bytes))
            .filter(|keyring| !keyring.is_empty())
            .ok_or(EngineError::Rows("the keys"))?;
        let policy = text(POLICY).and_then(|bytes| PolicyKey::from_secret_bytes(bytes));
        let number = |name: &str| text(name).and_then(|bytes| rows::parse::<u32>(bytes));
        let flag = |name: &str| text(name).and_then(|bytes| rows::parse::<bool>(bytes));
        let genesis = from_hex(&founding.genesis).map_err(|_| wrong())?;
        let mut log = ControlLog::joining(founding.workspace, genesis);
        // A device that has just joined has no record yet, and so no way back from the newest keys.
        let accepted = if control.is_empty() {
            Vec::new()
        } else {
            log.accept_all(&control, &device, &mut keyring)
                .map_err(|_| EngineError::Rows("the list of members"))?
        };
        let mut epoch = 0;
        let made = accepted.iter().map(|accepted| {
            epoch += u32::from(accepted.new_epoch);
            accepted.new_epoch.then_some(epoch)
        });
        let records = control.into_iter().zip(made).collect();
        Ok(Self {
            mailbox: founding
                .mailbox
                .parse()
                .map_err(|_| EngineError::Rows("the mailbox"))?,
            policy_counter: number(POLICY_COUNTER).unwrap_or(0),
            own: text(OWN)
                .and_then(|bytes| rows::parse(bytes))
                .unwrap_or_default(),
            awaits_index: flag(AWAITS_INDEX).unwrap_or(false),
            removed: flag(REMOVED).unwrap_or(false),
            copied: flag(COPIED).unwrap_or(false),
            warnings: text(WARNINGS)
                .and_then(|bytes| rows::parse(bytes))
                .unwrap_or_default(),
            bodies: text(super::attach::BODIES).cloned(),
            ledger: text(LEDGER)
                .and_then(|bytes| rows::parse(bytes))
                .unwrap_or_default(),
            founding,
            device,
            keyring,
            policy,
            control: log,
            records,
            shared,
            fragments,
            items,
            peers,
            waiting_bytes: waiting
                .values()
                .map(|waiting| waiting.fragment.len_bytes())
                .sum(),
            waiting,
            edge_rows,
        })
    }

    /// The keys that are in force.
    pub(super) fn newest(&self) -> &EpochSecrets {
        self.keyring
            .newest()
            .expect("a keyring without keys is refused when the rows are read")
    }

    /// The edges that the members agreed on.
    pub(super) fn links(&self) -> Vec<NodeLink> {
        let agreed = self.control.edges();
        let links = if agreed.is_empty() || self.founding.moved {
            &self.founding.edges[..]
        } else {
            agreed
        };
        links.iter().filter_map(|link| link.parse().ok()).collect()
    }

    pub(super) fn set_shared(&mut self, key: DocKey, heads: Vec<ChangeHash>, rows: &mut Vec<Row>) {
        rows.push(rows::heads_row(key, &heads));
        if heads.is_empty() {
            self.shared.remove(&key);
        } else {
            self.shared.insert(key, heads);
        }
    }

    pub(super) fn set_item(&mut self, id: FragmentId, item: Item, rows: &mut Vec<Row>) {
        rows.push(rows::put(Table::Item, id.0, &item));
        self.items.insert(id, item);
    }

    pub(super) fn drop_item(&mut self, id: FragmentId, rows: &mut Vec<Row>) {
        if self.items.remove(&id).is_some() {
            rows.push(rows::gone(Table::Item, id.0));
        }
        self.drop_fragment(id, rows);
    }

    pub(super) fn keep_fragment(&mut self, fragment: EncryptedFragment, rows: &mut Vec<Row>) {
        let id = fragment.id();
        let bytes = fragment.as_bytes().to_vec();
        rows.push((Key::new(Table::Fragment, id.0), Some(bytes)));
        self.fragments.insert(id, fragment);
    }

    pub(super) fn drop_fragment(&mut self, id: FragmentId, rows: &mut Vec<Row>) {
        if self.fragments.remove(&id).is_some() {
            rows.push(rows::gone(Table::Fragment, id.0));
        }
    }

    pub(super) fn set_peer(&mut self, device: DeviceId, peer: Peer, rows: &mut Vec<Row>) {
        rows.push(rows::put(Table::Peer, device.0, &peer));
        self.peers.insert(device, peer);
    }

    pub(super) fn set_own(&mut self, own: Own, rows: &mut Vec<Row>) {
        rows.push(rows::put(Table::Own, OWN, &own));
        self.own = own;
    }

    pub(super) fn wait(&mut self, waiting: Waiting, rows: &mut Vec<Row>) {
        let id = waiting.fragment.id();
        let known = self.waiting.get(&id);
        if known.is_some_and(|known| known.why == waiting.why && known.place == waiting.place) {
            return;
        }
        rows.push((Key::new(Table::Waiting, id.0), Some(waiting.to_bytes())));
        self.waiting_bytes += waiting.fragment.len_bytes();
        if let Some(before) = self.waiting.insert(id, waiting) {
            self.waiting_bytes -= before.fragment.len_bytes();
        }
    }

    pub(super) fn stop_waiting(&mut self, id: FragmentId, rows: &mut Vec<Row>) {
        if let Some(waiting) = self.waiting.remove(&id) {
            self.waiting_bytes -= waiting.fragment.len_bytes();
            rows.push(rows::gone(Table::Waiting, id.0));
        }
    }

    pub(super) fn edge_row(&self, edge: &NodeFingerprint) -> EdgeRow {
        self.edge_rows.get(edge).cloned().unwrap_or_default()
    }

    pub(super) fn set_edge(&mut self, edge: NodeFingerprint, row: EdgeRow, rows: &mut Vec<Row>) {
        rows.push(rows::put(Table::Edge, edge.0, &row));
        self.edge_rows.insert(edge, row);
    }

    pub(super) fn index_has_come(&mut self, rows: &mut Vec<Row>) {
        self.awaits_index = false;
        rows.push(rows::put(Table::Own, AWAITS_INDEX, &false));
    }

    pub(super) fn set_policy(&mut self, counter: u32, policy: PolicyKey, rows: &mut Vec<Row>) {
        rows.push(policy_row(&policy));
        rows.push(rows::put(Table::Own, POLICY_COUNTER, &counter));
        self.policy = Some(policy);
        self.policy_counter = counter;
    }

    pub(super) fn be_removed(&mut self, rows: &mut Vec<Row>) {
        self.removed = true;
        rows.push(rows::put(Table::Own, REMOVED, &true));
    }

    pub(super) fn be_copied(&mut self, rows: &mut Vec<Row>) {
        self.copied = true;
        rows.push(rows::put(Table::Own, COPIED, &true));
    }

    pub(super) fn meet_at(&mut self, link: &NodeLink, rows: &mut Vec<Row>) {
        self.founding.edges = vec![link.to_string()];
        self.founding.moved = true;
        rows.push(rows::put(Table::Own, FOUNDING, &self.founding));
    }

    /// Notes something for the user, once.
    pub(super) fn warn(&mut self, at_ms: i64, words: String, rows: &mut Vec<Row>) {
        if self.warnings.iter().any(|warning| warning.words == words) {
            return;
        }
        self.warnings.push(Warning { at_ms, words });
        let extra = self.warnings.len().saturating_sub(MAX_WARNINGS);
        self.warnings.drain(..extra);
        rows.push(rows::put(Table::Own, WARNINGS, &self.warnings));
    }

    /// Takes back what is no longer so.
    pub(super) fn unwarn(&mut self, is_past: impl Fn(&str) -> bool, rows: &mut Vec<Row>) {
        let before = self.warnings.len();
        self.warnings.retain(|warning| !is_past(&warning.words));
        if self.warnings.len() < before {
            rows.push(rows::put(Table::Own, WARNINGS, &self.warnings));
        }
    }

    pub(super) fn forget_warnings(&mut self, rows: &mut Vec<Row>) {
        self.warnings.clear();
        rows.push(rows::put(Table::Own, WARNINGS, &self.warnings));
    }

    pub(super) fn record_connection(&mut self, connection: rows::Connection, rows: &mut Vec<Row>) {
        self.ledger.push(connection);
        let extra = self.ledger.len().saturating_sub(MAX_CONNECTIONS);
        self.ledger.drain(..extra);
        rows.push(rows::put(Table::Own, LEDGER, &self.ledger));
    }

    /// The hash of this device's last entry.
    pub(super) fn own_hash(&self) -> [u8; 32] {
        rows::hash_of(&self.own.hash)
    }

    pub(super) fn next_own(&self, hash: [u8; 32]) -> Own {
        Own {
            sequence: self.own.sequence + 1,
            hash: to_hex(&hash),
            ..self.own.clone()
        }
    }
}
