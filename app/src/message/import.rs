//! What an import says of each file, and of all of them.
//!
//! Plain data, as in the rest of [`message`](super). Start at [`ImportReport`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Coverage;

/// What became of one file of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// What happened.
    pub outcome: FileOutcome,
    /// Remarks about a file that went in, for example pages without text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The ends that a file of an import can come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum FileOutcome {
    /// New in the workspace.
    Added {
        /// Its document.
        document: String,
    },
    /// It was there; its text has changed.
    Updated {
        /// Its document.
        document: String,
    },
    /// It was there and is the same.
    Unchanged,
    /// Another file with the same bytes is in the workspace already.
    Duplicate {
        /// The path of that other file, or its title.
        of: String,
    },
    /// It was in the workspace and is no longer on disk; the document is kept.
    Missing,
    /// It was in the workspace, is no longer on disk, and was removed as asked.
    Removed,
    /// It could not be read. Nothing of it was stored.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
}

/// Counts over an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// New documents.
    pub added: usize,
    /// Documents with changed text.
    pub updated: usize,
    /// Files that had not changed.
    pub unchanged: usize,
    /// Files whose bytes are in the workspace already.
    pub duplicates: usize,
    /// Documents whose file is gone, kept.
    pub missing: usize,
    /// Documents removed by `--prune`.
    pub removed: usize,
    /// Files that could not be read, with the reason.
    pub failed: Vec<FileReport>,
    /// Files that the folder scan left out because Satchel has no reader for their type, by extension.
    pub skipped: Vec<(String, usize)>,
    /// Passages embedded in this run.
    pub embedded: usize,
    /// The user stopped it; what was saved before is safe.
    pub cancelled: bool,
    /// State after the import.
    pub coverage: Coverage,
}

impl ImportReport {
    /// What was done, in a sentence: `2 added, 1 could not be read.`
    #[must_use]
    pub fn in_words(&self) -> String {
        let counts = [
            (self.added, "added"),
            (self.updated, "updated"),
            (self.unchanged, "unchanged"),
            (self.duplicates, "with the same content as another"),
            (self.removed, "removed"),
            (self.failed.len(), "could not be read"),
            (self.embedded, "passages embedded"),
        ];
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let done = if parts.is_empty() {
            "Nothing new was found".to_owned()
        } else {
            parts.join(", ")
        };
        if self.cancelled {
            format!("Stopped; what was saved is safe: {done}.")
        } else {
            format!("{done}.")
        }
    }

    /// What a folder held that Satchel has no reader for; `None` where there was nothing of it.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let kinds: Vec<String> = self
            .skipped
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        (!kinds.is_empty()).then(|| format!("Left out, no reader for them: {}.", kinds.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_is_told_in_a_sentence() {
        let report = ImportReport {
            added: 2,
            unchanged: 1,
            skipped: vec![("epub".into(), 3)],
            ..ImportReport::default()
        };
        assert_eq!(report.in_words(), "2 added, 1 unchanged.");
        assert_eq!(
            report.left_out().unwrap(),
            "Left out, no reader for them: 3 epub."
        );
        let nothing = ImportReport::default();
        assert_eq!(nothing.in_words(), "Nothing new was found.");
        assert_eq!(nothing.left_out(), None);
    }
}
