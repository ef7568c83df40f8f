//! What the rows of the sync hold, as plain data, and how it is written.
//!
//! JSON for what is small and may grow fields; fragments as they are. Pure. Start at [`Item`].

use std::collections::{BTreeMap, BTreeSet};

use automerge::ChangeHash;
use satchel_protocol::chain::Chain;
use satchel_protocol::id::{NodeFingerprint, Offset};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::store::{Key, Row, Table};
use crate::entry::{DocKey, DocKind, Encoding};
use crate::id::{DeviceId, from_hex, to_hex};

/// What this device has sent last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) sequence: u64,
    /// Hash of the last entry, hexadecimal.
    pub(super) hash: String,
    /// Devices whose entries an edge lost, so that documents are sent whole instead: nobody need wait for them.
    #[serde(default)]
    pub(super) made_good: BTreeSet<DeviceId>,
}

/// How far a device's entries have been taken in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Peer {
    pub(super) sequence: u64,
    pub(super) hash: String,
    /// When its last entry was made, by its own clock.
    pub(super) created_ms: i64,
    /// When that arrived here, by ours.
    pub(super) arrived_ms: i64,
}

/// An entry or pack that is in the mailbox and not superseded yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Item {
    pub(super) pack: bool,
    pub(super) device: DeviceId,
    pub(super) sequence: u64,
    pub(super) hash: String,
    pub(super) bytes: u64,
    pub(super) parts: Vec<PartNote>,
    /// Where it lies, by edge; an edge that is not here lacks it.
    pub(super) offsets: BTreeMap<EdgeKey, u64>,
    /// Edges that had it and have it no more.
    #[serde(default)]
    pub(super) lost: BTreeSet<EdgeKey>,
    /// What this pack stands for, as offsets from (inclusive) and to (exclusive), by edge.
    #[serde(default)]
    pub(super) ranges: BTreeMap<EdgeKey, Vec<(u64, u64)>>,
}

/// Names an edge in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EdgeKey(pub(super) NodeFingerprint);

impl Serialize for EdgeKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for EdgeKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// What an item brought for one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartNote {
    /// Kind and id, in hexadecimal digits.
    pub(super) key: String,
    pub(super) heads: Vec<String>,
    pub(super) whole: bool,
    pub(super) bytes: u64,
}

/// What is known of an edge.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct EdgeRow {
    /// The next offset to read.
    pub(super) next: u64,
    /// The chain value before it.
    pub(super) chain: String,
    /// Whether our mailbox is there.
    pub(super) has_mailbox: bool,
    pub(super) last_contact_ms: i64,
    pub(super) used_bytes: u64,
    pub(super) quota_bytes: u64,
}

/// Why an entry waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Wait {
    /// Something before it has not arrived.
    Gap = 1,
    /// It was sealed with keys that are not known yet.
    Keys = 2,
    /// It names a state of the membership that is not known.
    Membership = 3,
    /// A device wrote it after it had been removed.
    Late = 4,
}

impl Wait {
    const ALL: [Self; 4] = [Self::Gap, Self::Keys, Self::Membership, Self::Late];

    pub(super) fn number(self) -> u8 {
        self as u8
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|wait| *wait as u8 == number)
    }
}

/// How a connection went that was made.
pub const CONNECTED: &str = "connected";

/// One connection, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// When it was begun, in milliseconds since 1970 by this device's clock.
    pub at_ms: i64,
    /// To where.
    pub address: String,
    /// How it went, in words.
    pub outcome: String,
}

pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("rows are plain data")
}

pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

pub(super) fn put(table: Table, id: impl AsRef<[u8]>, value: &impl Serialize) -> Row {
    (Key::new(table, id), Some(json(value)))
}

pub(super) fn gone(table: Table, id: impl AsRef<[u8]>) -> Row {
    (Key::new(table, id), None)
}

pub(super) fn key_bytes(key: DocKey) -> [u8; 17] {
    let mut bytes = [0; 17];
    bytes[0] = key.kind as u8;
    bytes[1..].copy_from_slice(&key.id);
    bytes
}

pub(super) fn key_of(bytes: &[u8]) -> Option<DocKey> {
    let (kind, id) = bytes.split_first()?;
    Some(DocKey {
        kind: DocKind::from_number(*kind)?,
        id: id.try_into().ok()?,
    })
}

pub(super) fn heads_row(key: DocKey, heads: &[ChangeHash]) -> Row {
    let bytes: Vec<u8> = heads.iter().flat_map(|head| head.0).collect();
    (
        Key::new(Table::Shared, key_bytes(key)),
        (!heads.is_empty()).then_some(bytes),
    )
}

pub(super) fn heads_of(bytes: &[u8]) -> Vec<ChangeHash> {
    let hashes = bytes.chunks_exact(32);
    hashes
        .filter_map(|hash| Some(ChangeHash(hash.try_into().ok()?)))
        .collect()
}

impl PartNote {
    pub(super) fn new(key: DocKey, encoding: Encoding, heads: &[[u8; 32]], bytes: usize) -> Self {
        Self {
            key: to_hex(&key_bytes(key)),
            heads: heads.iter().map(|head| to_hex(head)).collect(),
            whole: encoding == Encoding::Save,
            bytes: bytes as u64,
        }
    }

    pub(super) fn doc(&self) -> Option<DocKey> {
        key_of(&from_hex::<17>(&self.key).ok()?)
    }

    pub(super) fn heads(&self) -> Vec<ChangeHash> {
        let heads = self.heads.iter();
        heads
            .filter_map(|head| from_hex(head).ok().map(ChangeHash))
            .collect()
    }
}

impl Item {
    pub(super) fn set_offset(&mut self, edge: NodeFingerprint, offset: Offset) {
        self.offsets.insert(EdgeKey(edge), offset.0);
        self.lost.remove(&EdgeKey(edge));
    }

    pub(super) fn offset(&self, edge: &NodeFingerprint) -> Option<Offset> {
        self.offsets.get(&EdgeKey(*edge)).copied().map(Offset)
    }
}

impl EdgeRow {
    pub(super) fn chain(&self) -> Chain {
        from_hex(&self.chain).map_or(Chain::START, Chain)
    }

    pub(super) fn set_chain(&mut self, chain: Chain) {
        self.chain = to_hex(&chain.0);
    }
}

pub(super) fn hash_of(text: &str) -> [u8; 32] {
    from_hex(text).unwrap_or([0; 32])
}
