//! Documents of a simulated device: Automerge in memory; what was written survives a crash.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ChangeHash, ROOT, ReadDoc};
use satchel_protocol::id::FragmentId;
use satchel_sync::engine::parts::{changes_after, merge_part};
use satchel_sync::engine::{
    Arrival, AttachError, Attachments, Documents, DocumentsError, Incoming, Outcome, Outgoing,
};
use satchel_sync::entry::{DocKey, Encoding};
use satchel_sync::{ContentHash, DeviceId};

/// Everything that a device keeps; shared by the engine and the test.
#[derive(Default)]
pub struct Disk {
    pub docs: BTreeMap<DocKey, Automerge>,
    dirty: BTreeSet<DocKey>,
    device: Option<DeviceId>,
    processes: u64,
    /// The next so many writes succeed; then one fails.
    pub fail_after: Option<u32>,
    pub awaits_index: bool,
}

#[derive(Clone, Default)]
pub struct SimDocuments(pub Rc<RefCell<Disk>>);

impl SimDocuments {
    /// As a process that has just been started.
    pub fn start(&self, device: DeviceId) {
        let mut disk = self.0.borrow_mut();
        disk.device = Some(device);
        disk.processes += 1;
        disk.dirty.clear();
    }

    fn actor(disk: &Disk) -> ActorId {
        let device = disk.device.expect("started");
        ActorId::from([&device.0[..], &disk.processes.to_be_bytes()].concat())
    }

    /// Writes a word into a document, as a person on this device does.
    pub fn write(&self, key: DocKey, word: &str) {
        let mut disk = self.0.borrow_mut();
        let actor = Self::actor(&disk);
        let doc = disk.docs.entry(key).or_default();
        doc.set_actor(actor);
        doc.transact::<_, _, automerge::AutomergeError>(|tx| tx.put(ROOT, word, true))
            .map_err(|failure| failure.error)
            .unwrap();
        disk.dirty.insert(key);
    }

    pub fn words(&self, key: DocKey) -> BTreeSet<String> {
        let disk = self.0.borrow();
        let words = disk.docs.get(&key).map(|doc| doc.keys(ROOT).collect());
        words.unwrap_or_default()
    }

    pub fn heads(&self) -> BTreeMap<DocKey, Vec<ChangeHash>> {
        let disk = self.0.borrow();
        let docs = disk.docs.iter();
        docs.map(|(key, doc)| (*key, doc.get_heads())).collect()
    }
}

impl Documents for SimDocuments {
    fn take_changed(&mut self) -> Vec<(DocKey, Option<Vec<ChangeHash>>)> {
        let dirty = std::mem::take(&mut self.0.borrow_mut().dirty);
        dirty.into_iter().map(|key| (key, None)).collect()
    }

    fn all(&mut self) -> Vec<(DocKey, Option<Vec<ChangeHash>>)> {
        let heads = self.heads().into_iter();
        heads.map(|(key, heads)| (key, Some(heads))).collect()
    }

    fn since(
        &mut self,
        key: DocKey,
        heads: &[ChangeHash],
    ) -> Result<Option<Outgoing>, DocumentsError> {
        let disk = self.0.borrow();
        let doc = disk.docs.get(&key);
        Ok(doc.and_then(|doc| changes_after(doc, heads, disk.device)))
    }

    fn snapshot(&mut self, key: DocKey) -> Result<Option<Outgoing>, DocumentsError> {
        let disk = self.0.borrow();
        Ok(disk.docs.get(&key).map(|doc| Outgoing {
            heads: doc.get_heads(),
            bytes: doc.save(),
            all_ours: false,
        }))
    }

    fn apply(&mut self, parts: Vec<Incoming>) -> Result<(Vec<Outcome>, Arrival), DocumentsError> {
        let mut disk = self.0.borrow_mut();
        if let Some(left) = disk.fail_after.as_mut() {
            if *left == 0 {
                return Err(DocumentsError("the disk is full".into()));
            }
            *left -= 1;
        }
        let mut outcomes = Vec::new();
        for part in parts {
            let fresh =
                disk.awaits_index && part.key == DocKey::INDEX && part.encoding == Encoding::Save;
            if fresh {
                disk.docs.remove(&part.key);
            }
            let mut doc = disk.docs.remove(&part.key).unwrap_or_default();
            let outcome = merge_part(&mut doc, &part);
            if !doc.get_heads().is_empty() {
                disk.docs.insert(part.key, doc);
            }
            outcomes.push(outcome);
        }
        Ok((outcomes, Arrival::default()))
    }

    fn lacks(
        &mut self,
        key: DocKey,
        heads: &[ChangeHash],
        wanted: &[ChangeHash],
    ) -> Result<bool, DocumentsError> {
        let disk = self.0.borrow();
        Ok(disk.docs.get(&key).is_some_and(|doc| {
            let later = doc.get_changes_meta(heads);
            later.iter().any(|change| wanted.contains(&change.hash))
        }))
    }
}

impl Attachments for SimDocuments {
    fn to_upload(&mut self) -> Vec<ContentHash> {
        Vec::new()
    }

    fn to_download(&mut self) -> Vec<(ContentHash, Vec<FragmentId>)> {
        Vec::new()
    }

    fn read(&mut self, _: &ContentHash) -> Result<Option<Vec<u8>>, AttachError> {
        Ok(None)
    }

    fn record(&mut self, _: ContentHash, _: &[FragmentId]) -> Result<(), AttachError> {
        Ok(())
    }

    fn store(&mut self, _: ContentHash, _: Vec<u8>) -> Result<(), AttachError> {
        Ok(())
    }

    fn index_has_come(&mut self) {
        self.0.borrow_mut().awaits_index = false;
    }
}
