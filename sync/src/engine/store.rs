//! What syncing remembers between starts: rows in one durable transaction at a time.
//!
//! Knows nothing about what a row means. Start at [`SyncStore`].

use std::collections::BTreeMap;

/// A kind of row. The numbers are stored: never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Single values by name: keys of this device, its own sequence.
    Own = 1,
    /// The control log, by index.
    Control = 2,
    /// The heads of each document that the other devices can have, by document.
    Shared = 3,
    /// Fragments that some edge still lacks, by fragment.
    Fragment = 4,
    /// What is known of the entries in the mailbox, by fragment.
    Item = 5,
    /// How far each device's entries have been taken in, by device.
    Peer = 6,
    /// Entries that cannot be used now, by fragment.
    Waiting = 7,
    /// What is known of each edge, by fingerprint.
    Edge = 8,
}

impl Table {
    const ALL: [Self; 8] = [
        Self::Own,
        Self::Control,
        Self::Shared,
        Self::Fragment,
        Self::Item,
        Self::Peer,
        Self::Waiting,
        Self::Edge,
    ];

    /// The table with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == number)
    }
}

/// Names a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub table: Table,
    /// Which one of the kind.
    pub id: Vec<u8>,
}

impl Key {
    /// Names a row.
    #[must_use]
    pub fn new(table: Table, id: impl AsRef<[u8]>) -> Self {
        Self {
            table,
            id: id.as_ref().to_vec(),
        }
    }
}

/// A row's new value, or its end.
pub type Row = (Key, Option<Vec<u8>>);

/// Why rows could not be read or written; the words are for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub Box<dyn std::error::Error + Send + Sync>);

/// Keeps rows.
pub trait SyncStore {
    /// Every row, in order.
    ///
    /// # Errors
    /// When they cannot be read.
    fn load(&mut self) -> Result<Vec<(Key, Vec<u8>)>, StoreError>;

    /// Writes rows; when it returns `Ok`, all of them are durable, and on an error none is.
    ///
    /// # Errors
    /// When the disk refuses.
    fn commit(&mut self, rows: Vec<Row>) -> Result<(), StoreError>;
}

/// Rows in memory, for simulations: what was committed survives, nothing else does.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    /// The committed rows.
    pub rows: BTreeMap<Key, Vec<u8>>,
}

impl SyncStore for MemoryStore {
    fn load(&mut self) -> Result<Vec<(Key, Vec<u8>)>, StoreError> {
        Ok(self.rows.clone().into_iter().collect())
    }

    fn commit(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        for (key, value) in rows {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        Ok(())
    }
}
