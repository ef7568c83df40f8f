//! Files named by their content, as the sync sees them: which are to go, which are to come.
//!
//! Originals of documents, and what the app derives from texts (embeddings). The index says in which fragments of the
//! edge each lies. Start at [`Workspace::put_derived`].

use std::collections::BTreeSet;
use std::sync::PoisonError;

use satchel_protocol::id::FragmentId;

use super::Workspace;
use super::contents::Change;
use super::error::SaveError;
use super::exchange::WorkspaceDocuments;
use super::originals;
use crate::durable;
use crate::engine::{AttachError, Attachments};
use crate::id::{ContentHash, from_hex, to_hex};

impl From<SaveError> for AttachError {
    fn from(error: SaveError) -> Self {
        Self(Box::new(error))
    }
}

impl Workspace {
    /// Keeps something that was computed from a text, for the other devices of a shared workspace.
    ///
    /// `key` says what it was computed from and how; equal keys mean equal contents. Does nothing in a workspace
    /// that is not shared, or where it is there already.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub fn put_derived(&self, key: &str, bytes: &[u8]) -> Result<(), SaveError> {
        if self.device().is_none() || self.index().contents().derived.contains_key(key) {
            return Ok(());
        }
        let content = ContentHash::of(bytes);
        self.write_file(&content, bytes)?;
        self.index().change(
            &self.keys,
            vec![Change::Derived {
                key: key.to_owned(),
                content: Some(content),
            }],
        )
    }

    /// What another device, or this one, computed under a key; `None` where there is nothing or it has not come yet.
    ///
    /// # Errors
    /// [`SaveError::Damaged`] when a bit of it differs; otherwise see [`SaveError`].
    pub fn derived(&self, key: &str) -> Result<Option<Vec<u8>>, SaveError> {
        let content = self.index().contents().derived.get(key).copied();
        match content {
            Some(content) if self.has_file(&content) => self.read_file(&content).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether something was computed under a key, here or elsewhere.
    #[must_use]
    pub fn is_derived(&self, key: &str) -> bool {
        self.index().contents().derived.contains_key(key)
    }

    /// Forgets what was computed under keys that do not matter any more.
    ///
    /// # Errors
    /// See [`SaveError`].
    pub fn forget_derived(&self, is_needed: impl Fn(&str) -> bool) -> Result<(), SaveError> {
        let gone: Vec<(String, ContentHash)> = {
            let index = self.index();
            let derived = index.contents().derived.iter();
            derived
                .filter(|(key, _)| !is_needed(key))
                .map(|(key, content)| (key.clone(), *content))
                .collect()
        };
        let forget = |(key, _): &(String, ContentHash)| Change::Derived {
            key: key.clone(),
            content: None,
        };
        self.index()
            .change(&self.keys, gone.iter().map(forget).collect())?;
        self.remove_unneeded(gone.into_iter().map(|(_, content)| content).collect());
        Ok(())
    }

    fn has_file(&self, content: &ContentHash) -> bool {
        originals::path(&self.keys, &self.dir, content).exists()
    }

    fn read_file(&self, content: &ContentHash) -> Result<Vec<u8>, SaveError> {
        let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        originals::read(&self.keys, &self.dir, content)
    }

    fn write_file(&self, content: &ContentHash, bytes: &[u8]) -> Result<(), SaveError> {
        let path = originals::path(&self.keys, &self.dir, content);
        let sealed = originals::encode(&self.keys, content, bytes);
        let failed = |error| SaveError::io(&path, sealed.len() as u64, error);
        if let Some(folder) = path.parent() {
            durable::create_folder(folder).map_err(failed)?;
        }
        durable::write(&path, &sealed).map_err(failed)
    }
}

impl Attachments for WorkspaceDocuments {
    fn to_upload(&mut self) -> Vec<ContentHash> {
        let workspace = self.workspace();
        let index = workspace.index();
        let contents = index.contents();
        let named: BTreeSet<ContentHash> = contents.files().collect();
        let unsent = named
            .into_iter()
            .filter(|file| !contents.blobs.contains_key(file));
        unsent.filter(|file| workspace.has_file(file)).collect()
    }

    fn to_download(&mut self) -> Vec<(ContentHash, Vec<FragmentId>)> {
        let workspace = self.workspace();
        let index = workspace.index();
        let contents = index.contents();
        // Embeddings first: they are small, and searching by meaning waits for them.
        let mut named: Vec<ContentHash> = contents.derived.values().copied().collect();
        named.extend(contents.by_original.keys());
        let missing = named.into_iter().filter(|file| !workspace.has_file(file));
        missing
            .filter_map(|file| Some((file, fragments_of(contents.blobs.get(&file)?))))
            .collect()
    }

    fn read(&mut self, file: &ContentHash) -> Result<Option<Vec<u8>>, AttachError> {
        let workspace = self.workspace();
        if !workspace.has_file(file) {
            return Ok(None);
        }
        Ok(workspace.read_file(file).map(Some)?)
    }

    fn record(&mut self, file: ContentHash, fragments: &[FragmentId]) -> Result<(), AttachError> {
        let fragments: String = fragments.iter().map(|id| to_hex(&id.0)).collect();
        let change = Change::Blobs { file, fragments };
        let workspace = self.workspace();
        Ok(workspace.index().change(&workspace.keys, vec![change])?)
    }

    fn store(&mut self, file: ContentHash, bytes: Vec<u8>) -> Result<(), AttachError> {
        Ok(self.workspace().write_file(&file, &bytes)?)
    }

    fn index_has_come(&mut self) {
        self.workspace().await_index(false);
    }
}

fn fragments_of(text: &str) -> Vec<FragmentId> {
    let digits = text.as_bytes().chunks(64);
    let ids = digits.filter_map(|digits| std::str::from_utf8(digits).ok());
    ids.filter_map(|digits| from_hex(digits).ok().map(FragmentId))
        .collect()
}
