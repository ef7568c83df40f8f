//! Gives other devices what was written here.
//!
//! What they wrote is taken in by `arrivals`. Start at [`WorkspaceDocuments`].

use std::sync::{Arc, PoisonError};

use automerge::{Automerge, ChangeHash};

use super::documents::parse_heads;
use super::error::SaveError;
use super::journal::{self, Place};
use super::{Workspace, chat_place, document_place};
use crate::document::{LoadError, unpack};
use crate::engine::parts::changes_after;
use crate::engine::{Arrival, Documents, DocumentsError, Incoming, Outcome, Outgoing};
use crate::entry::{DocKey, DocKind};
use crate::id::{DocumentId, ThreadId};

/// A workspace as the sync sees it.
#[derive(Debug)]
pub struct WorkspaceDocuments(Arc<Workspace>);

impl WorkspaceDocuments {
    pub(crate) fn new(workspace: Arc<Workspace>) -> Self {
        Self(workspace)
    }

    pub(super) fn workspace(&self) -> &Workspace {
        &self.0
    }
}

impl From<SaveError> for DocumentsError {
    fn from(error: SaveError) -> Self {
        Self(Box::new(error))
    }
}

impl Documents for WorkspaceDocuments {
    fn take_changed(&mut self) -> Vec<(DocKey, Option<Vec<ChangeHash>>)> {
        let changed = self.0.dirty.take();
        changed.into_iter().map(|key| (key, None)).collect()
    }

    fn all(&mut self) -> Vec<(DocKey, Option<Vec<ChangeHash>>)> {
        let index = self.0.index();
        let mut all = vec![(DocKey::INDEX, Some(index.heads().to_vec()))];
        let contents = index.contents();
        all.extend(contents.documents.values().map(|document| {
            let heads = parse_heads(&document.heads);
            (DocKey::document(document.entry.id), Some(heads))
        }));
        all.extend(contents.threads.keys().map(|id| (DocKey::chat(*id), None)));
        all
    }

    fn since(
        &mut self,
        key: DocKey,
        heads: &[ChangeHash],
    ) -> Result<Option<Outgoing>, DocumentsError> {
        let device = self.0.device();
        let outgoing = |doc: &Automerge| changes_after(doc, heads, device);
        Ok(self.0.with_automerge(key, outgoing)?.flatten())
    }

    fn snapshot(&mut self, key: DocKey) -> Result<Option<Outgoing>, DocumentsError> {
        if let Some(stored) = self.0.stored_snapshot(key)? {
            return Ok(Some(stored));
        }
        let whole = |doc: &Automerge| Outgoing {
            heads: doc.get_heads(),
            bytes: doc.save(),
            all_ours: false,
        };
        Ok(self.0.with_automerge(key, whole)?)
    }

    fn prepare_pack(&mut self) -> Result<Vec<DocKey>, DocumentsError> {
        let is_changed = self.0.index().list_texts(&self.0.keys)?;
        Ok(is_changed.then_some(DocKey::INDEX).into_iter().collect())
    }

    fn apply(&mut self, parts: Vec<Incoming>) -> Result<(Vec<Outcome>, Arrival), DocumentsError> {
        Ok(self.0.take_in(&parts)?)
    }

    fn lacks(
        &mut self,
        key: DocKey,
        heads: &[ChangeHash],
        wanted: &[ChangeHash],
    ) -> Result<bool, DocumentsError> {
        let lacks = |doc: &Automerge| {
            let later = doc.get_changes_meta(heads);
            later.iter().any(|change| wanted.contains(&change.hash))
        };
        Ok(self.0.with_automerge(key, lacks)?.unwrap_or(false))
    }
}

impl Workspace {
    pub(super) fn place_of(&self, key: DocKey) -> Place {
        match key.kind {
            DocKind::Index => super::index_place(&self.dir),
            DocKind::Document => document_place(&self.dir, DocumentId(key.id)),
            DocKind::Chat => chat_place(&self.dir, ThreadId(key.id)),
        }
    }

    /// Hands the Automerge document to `work`; `None` where there is none.
    fn with_automerge<T>(
        &self,
        key: DocKey,
        work: impl FnOnce(&Automerge) -> T,
    ) -> Result<Option<T>, SaveError> {
        if key.kind == DocKind::Index {
            return self.index().automerge(&self.keys).map(work).map(Some);
        }
        let place = self.place_of(key);
        let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        if !place.path.exists() {
            return Ok(None);
        }
        match journal::read(&self.keys, &place)? {
            Ok(loaded) => Ok(Some(work(&loaded.doc))),
            Err(_) => Err(SaveError::Damaged { path: place.path }),
        }
    }

    /// A document that lies in its file as one snapshot, without loading it.
    fn stored_snapshot(&self, key: DocKey) -> Result<Option<Outgoing>, SaveError> {
        let place = self.place_of(key);
        let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let Ok(scan) = journal::scan(&self.keys, &place)? else {
            return Ok(None);
        };
        let [only] = scan.frames.as_slice() else {
            return Ok(None);
        };
        Ok(unpack(only)
            .filter(|_| scan.damage.is_none())
            .map(|part| Outgoing {
                bytes: part.automerge_bytes().to_vec(),
                heads: part.heads,
                all_ours: false,
            }))
    }
}

impl From<LoadError> for DocumentsError {
    fn from(error: LoadError) -> Self {
        Self(Box::new(error))
    }
}
