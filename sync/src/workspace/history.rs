//! Earlier versions of a document: which there are, what they said, how they differ, and bringing one back.
//!
//! Bringing back is an edit like any other: nothing of the history is lost. Start at [`Workspace::history`].

mod versions;

use std::collections::HashMap;
use std::ops::Range;

use automerge::ChangeHash;

use super::Workspace;
use super::entry::{DocumentEntry, NewDocument};
use super::error::SaveError;
use crate::author::device_of;
use crate::diff::{self, Edit};
use crate::document::{SAVED, TextDocument};
use crate::id::DocumentId;
use versions::Step;
pub(super) use versions::meetings;
pub use versions::{How, Meeting, Side, Version};

/// Lines shown before and after a difference.
const CONTEXT_LINES: usize = 3;

/// How long a version is, and how long what it was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionSize {
    /// Length of the version before in UTF-8 bytes; 0 for the first one. For a join, the first one that it joins.
    pub before_bytes: u64,
    /// Length of its text.
    pub text_bytes: u64,
}

/// A place where two texts differ, with some equal lines around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// Lines of the old text, counted from 0.
    pub old: Range<usize>,
    /// Lines of the new text, counted from 0.
    pub new: Range<usize>,
    /// The lines, without their ends.
    pub lines: Vec<(Mark, String)>,
}

/// What a line of a [`Hunk`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// In both texts.
    Same,
    /// In the old text only.
    Removed,
    /// In the new text only.
    Added,
}

impl Workspace {
    /// The versions of a document, oldest first.
    ///
    /// What somebody typed in one sitting is one version; each state that was saved is one; where versions of two
    /// devices met, their join is one. The last one is the present text. Takes time in proportion to the number of
    /// changes, and does not read any text: 10,000 changes take 70 ms.
    ///
    /// # Errors
    /// As [`Workspace::text`].
    pub fn history(&self, document: DocumentId) -> Result<Vec<Version>, SaveError> {
        self.with_document(document, |stored| Ok(versions_of(stored)))
    }

    /// The text of a version, given by its heads.
    ///
    /// # Errors
    /// As [`Workspace::text`].
    pub fn text_of(&self, document: DocumentId, heads: &[ChangeHash]) -> Result<String, SaveError> {
        self.with_document(document, |stored| Ok(text_at(stored, heads)?))
    }

    /// How long some versions are. `all` are those of [`Workspace::history`].
    ///
    /// Each takes the time of writing out its text.
    ///
    /// # Errors
    /// As [`Workspace::text`].
    pub fn version_sizes(
        &self,
        document: DocumentId,
        all: &[Version],
        wanted: Range<usize>,
    ) -> Result<Vec<VersionSize>, SaveError> {
        self.with_document(document, |stored| {
            let mut known: HashMap<usize, u64> = HashMap::new();
            let mut length = |version: &Version| -> Result<u64, automerge::AutomergeError> {
                if let Some(bytes) = known.get(&version.number) {
                    return Ok(*bytes);
                }
                let bytes = text_at(stored, &version.heads)?.len() as u64;
                known.insert(version.number, bytes);
                Ok(bytes)
            };
            let mut sizes = Vec::with_capacity(wanted.len());
            for version in &all[wanted] {
                let before = version.from.first().and_then(|from| all.get(from - 1));
                sizes.push(VersionSize {
                    before_bytes: before.map_or(Ok(0), &mut length)?,
                    text_bytes: length(version)?,
                });
            }
            Ok(sizes)
        })
    }

    /// Makes a version the present text again, as a new version: nothing is lost.
    ///
    /// The file that the document came from stays as it is, and is not read again before it changes.
    ///
    /// # Errors
    /// As [`Workspace::put`].
    pub fn restore(
        &self,
        document: DocumentId,
        version: &Version,
    ) -> Result<DocumentEntry, SaveError> {
        let text = self.text_of(document, &version.heads)?;
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

/// The versions of a loaded document.
pub(super) fn versions_of(document: &TextDocument) -> Vec<Version> {
    let changes = document.automerge().get_changes_meta(&[]);
    let steps: Vec<Step> = changes
        .into_iter()
        .map(|change| Step {
            hash: change.hash,
            deps: change.deps,
            author: device_of(&change.actor),
            at_s: change.timestamp,
            saved: change.message.as_deref() == Some(SAVED),
        })
        .collect();
    versions::versions(&steps)
}

/// The text at some heads; nothing at none.
pub(super) fn text_at(
    document: &TextDocument,
    heads: &[ChangeHash],
) -> Result<String, automerge::AutomergeError> {
    if heads.is_empty() {
        return Ok(String::new());
    }
    document.text_at(heads)
}

/// Where two texts differ, in whole lines.
#[must_use]
pub fn difference(old: &str, new: &str) -> Vec<Hunk> {
    let (old, new) = (lines(old), lines(new));
    let edits = diff::line_edits(&old, &new);
    let mut hunks: Vec<Hunk> = Vec::new();
    let near = |a: &Edit, b: &Edit| b.old.start - a.old.end <= 2 * CONTEXT_LINES;
    for group in edits.chunk_by(near) {
        hunks.push(hunk(&old, &new, group));
    }
    hunks
}

/// A text that ends without a line end has a last line as well; one that ends with it has none after it.
fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn hunk(old: &[&str], new: &[&str], edits: &[Edit]) -> Hunk {
    let (first, last) = (&edits[0], &edits[edits.len() - 1]);
    let before = first.old.start.min(CONTEXT_LINES);
    let after = (old.len() - last.old.end).min(CONTEXT_LINES);
    let mut shown = Vec::new();
    let mut add = |mark: Mark, from: &[&str]| {
        shown.extend(from.iter().map(|line| (mark, (*line).to_owned())));
    };
    let mut at = first.old.start - before;
    for edit in edits {
        add(Mark::Same, &old[at..edit.old.start]);
        add(Mark::Removed, &old[edit.old.clone()]);
        add(Mark::Added, &new[edit.new.clone()]);
        at = edit.old.end;
    }
    add(Mark::Same, &old[at..last.old.end + after]);
    Hunk {
        old: first.old.start - before..last.old.end + after,
        new: first.new.start - before..last.new.end + after,
        lines: shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> Vec<String> {
        let mut all = Vec::new();
        for hunk in difference(old, new) {
            all.push(format!("{:?} {:?}", hunk.old, hunk.new));
            all.extend(hunk.lines.into_iter().map(|(mark, line)| {
                let sign = match mark {
                    Mark::Same => ' ',
                    Mark::Removed => '-',
                    Mark::Added => '+',
                };
                format!("{sign}{line}")
            }));
        }
        all
    }

    #[test]
    fn a_difference_shows_what_went_what_came_and_a_few_lines_around() {
        let old: String = (1..=20).map(|line| format!("{line}\n")).collect();
        let new = old.replace("\n9\n", "\nnine\n").replace("20\n", "20\n21");
        assert_eq!(
            shown(&old, &new),
            [
                "5..12 5..12",
                " 6",
                " 7",
                " 8",
                "-9",
                "+nine",
                " 10",
                " 11",
                " 12",
                "17..20 17..21",
                " 18",
                " 19",
                " 20",
                "+21",
            ]
        );
        assert!(shown(&old, &old).is_empty());
        assert_eq!(shown("", "a\n"), ["0..0 0..1", "+a"]);
    }
}
