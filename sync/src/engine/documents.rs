//! What the sync needs of documents, whatever keeps them: a workspace on the disk, or memory in a simulation.
//!
//! Knows no network and no keys. Whoever implements it makes a change durable before it is reported.
//! Start at [`Documents`].

use automerge::ChangeHash;

use crate::entry::{DocKey, Encoding};
use crate::id::DeviceId;

/// Changes of one document that are to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The heads that the document has after them.
    pub heads: Vec<ChangeHash>,
    /// Automerge chunks.
    pub bytes: Vec<u8>,
    /// Whether each of them was made by this device; other ones can be sent as a whole document only.
    pub all_ours: bool,
}

/// A part of an entry that another device has sent.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Which document.
    pub key: DocKey,
    /// What the bytes are.
    pub encoding: Encoding,
    /// The heads that its sender had after them.
    pub heads: Vec<ChangeHash>,
    /// Automerge chunks; nobody has looked at them yet.
    pub bytes: Vec<u8>,
    /// Whose changes all of them must be; `None` where a member vouches for others' changes as well.
    pub author: Option<DeviceId>,
    /// Whether it came in chunks, and may be longer than an entry.
    pub long: bool,
}

/// What became of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable. `current` are the heads that the document has now.
    Applied {
        /// The document's heads.
        current: Vec<ChangeHash>,
    },
    /// Changes that it builds on have not arrived; nothing was done.
    Missing,
    /// The document was removed here, so that nobody needs the part.
    Removed,
    /// It is unusable, and nothing was done. The words are for the user.
    Refused(String),
}

/// What changed here because of parts that arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrival {
    /// Documents whose text or entry is new.
    pub documents: Vec<crate::id::DocumentId>,
    /// Documents that another device removed.
    pub removed: Vec<crate::id::DocumentId>,
    /// Chats with new messages or another title.
    pub threads: Vec<crate::id::ThreadId>,
    /// Documents that another device removed and that are kept, because it did not know the latest edits.
    pub kept: Vec<crate::id::DocumentId>,
}

impl Arrival {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why documents could not be read or saved; the words are for the user.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DocumentsError(pub Box<dyn std::error::Error + Send + Sync>);

/// The documents of one workspace on one device.
pub trait Documents {
    /// What may have changed since the last call, with its heads where they are known without reading it.
    fn take_changed(&mut self) -> Vec<(DocKey, Option<Vec<ChangeHash>>)>;

    /// Everything that there is, as [`Documents::take_changed`].
    fn all(&mut self) -> Vec<(DocKey, Option<Vec<ChangeHash>>)>;

    /// The changes after `heads`; `None` where there are none or the document is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    fn since(
        &mut self,
        key: DocKey,
        heads: &[ChangeHash],
    ) -> Result<Option<Outgoing>, DocumentsError>;

    /// The whole document; `None` where it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    fn snapshot(&mut self, key: DocKey) -> Result<Option<Outgoing>, DocumentsError>;

    /// Called before documents are packed: makes true, for laptops that will start from the packs, what is not worth
    /// a change each time. Gives what changed by it.
    ///
    /// # Errors
    /// When the disk refuses.
    fn prepare_pack(&mut self) -> Result<Vec<DocKey>, DocumentsError> {
        Ok(Vec::new())
    }

    /// Takes in parts, all of them durably or (on an error) as if it had not been called.
    ///
    /// # Errors
    /// When the disk refuses. What is wrong with a part is said in its outcome.
    fn apply(&mut self, parts: Vec<Incoming>) -> Result<(Vec<Outcome>, Arrival), DocumentsError>;

    /// Whether a document as of `heads` lacks some of the changes `wanted`, as far as this device knows them.
    ///
    /// # Errors
    /// When it cannot be read.
    fn lacks(
        &mut self,
        key: DocKey,
        heads: &[ChangeHash],
        wanted: &[ChangeHash],
    ) -> Result<bool, DocumentsError>;
}
