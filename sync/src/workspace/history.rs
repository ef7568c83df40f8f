//! Earlier versions of a document: which there are, what they said, and bringing one back.
//!
//! Bringing back is an edit like any other: nothing of the history is lost. Start at [`Workspace::history`].

use automerge::ChangeHash;

use super::Workspace;
use super::entry::{DocumentEntry, NewDocument};
use super::error::SaveError;
use crate::author::device_of;
use crate::document::TextDocument;
use crate::id::{DeviceId, DocumentId};

/// Edits of one device that follow each other within so many seconds are one version.
const ONE_SITTING_S: i64 = 10 * 60;

/// A document as it was at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Names it: hashes of the changes that led to it.
    pub heads: Vec<ChangeHash>,
    /// The device that made it; `None` for what was written before the workspace was shared.
    pub author: Option<DeviceId>,
    /// When, in milliseconds since 1970 by that device's clock; `None` where it was not noted.
    pub at_ms: Option<i64>,
    /// Length of its text in UTF-8 bytes.
    pub text_bytes: u64,
}

impl Workspace {
    /// The versions of a document, oldest first. Edits in one sitting of one device are one version.
    ///
    /// Takes time in proportion to the history.
    ///
    /// # Errors
    /// As [`Workspace::text`].
    pub fn history(&self, document: DocumentId) -> Result<Vec<Version>, SaveError> {
        self.with_document(document, |stored| Ok(versions(stored)?))
    }

    /// The text of a version.
    ///
    /// # Errors
    /// As [`Workspace::text`].
    pub fn text_of(&self, document: DocumentId, version: &Version) -> Result<String, SaveError> {
        self.with_document(document, |stored| Ok(stored.text_at(&version.heads)?))
    }

    /// Makes a version the present text again.
    ///
    /// # Errors
    /// As [`Workspace::put`].
    pub fn restore(
        &self,
        document: DocumentId,
        version: &Version,
    ) -> Result<DocumentEntry, SaveError> {
        let text = self.text_of(document, version)?;
        let entry = self
            .entry(document)
            .ok_or(SaveError::UnknownDocument { document })?;
        let new = NewDocument {
            existing: Some(document),
            title: entry.title,
            kind: entry.kind,
            media_type: entry.media_type,
            path: entry.path,
            paged: entry.paged,
            source_mtime_ms: entry.source_mtime_ms,
            original: None,
            text,
            note: entry.note,
        };
        let mut saved = self.put(vec![new])?;
        saved.pop().ok_or(SaveError::UnknownDocument { document })
    }
}

/// What a change says of itself.
struct Step {
    hash: ChangeHash,
    deps: Vec<ChangeHash>,
    author: Option<DeviceId>,
    at_s: i64,
}

fn versions(document: &TextDocument) -> Result<Vec<Version>, automerge::AutomergeError> {
    let changes = document.automerge().get_changes_meta(&[]);
    let steps = changes.iter().map(|change| Step {
        hash: change.hash,
        deps: change.deps.clone(),
        author: device_of(&change.actor),
        at_s: change.timestamp,
    });
    let mut versions: Vec<Version> = Vec::new();
    let mut heads: Vec<ChangeHash> = Vec::new();
    for step in steps {
        heads.retain(|head| !step.deps.contains(head));
        heads.push(step.hash);
        heads.sort_unstable();
        let at_ms = (step.at_s > 0).then_some(step.at_s * 1000);
        let same_sitting = versions.last().is_some_and(|last| {
            let near = match (last.at_ms, at_ms) {
                (Some(last), Some(now)) => (now - last).abs() <= ONE_SITTING_S * 1000,
                // A record beside the text that was noted without a time.
                (_, None) => true,
                (None, Some(_)) => false,
            };
            last.author == step.author && near
        });
        let at_ms = at_ms.or_else(|| versions.last().and_then(|last| last.at_ms));
        let version = Version {
            heads: heads.clone(),
            author: step.author,
            at_ms,
            text_bytes: 0,
        };
        match versions.last_mut() {
            Some(last) if same_sitting => *last = version,
            _ => versions.push(version),
        }
    }
    for version in &mut versions {
        version.text_bytes = document.text_at(&version.heads)?.len() as u64;
    }
    versions.dedup_by(|later, earlier| later.heads == earlier.heads);
    Ok(versions)
}
