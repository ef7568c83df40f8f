//! The documents as the window lists them, and what the last import said about each file.
//!
//! Pure. Start at [`Library`].

use crate::message::{DocumentSummary, FileOutcome, FileReport, ImportReport};

/// The documents.
#[derive(Debug, Default)]
pub struct Library {
    /// Every document, by path and title.
    pub documents: Vec<DocumentSummary>,
    /// Files that could not be read at the import that runs or ran last.
    pub failed: Vec<FileReport>,
    /// What the last import left out, by kind.
    pub skipped: Vec<(String, usize)>,
    /// What the list is narrowed to.
    pub filter: String,
}

impl Library {
    /// The documents whose title or path holds every word of the filter.
    #[must_use]
    pub fn shown(&self) -> Vec<usize> {
        let words: Vec<String> = self
            .filter
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let fits = |document: &DocumentSummary| {
            let name = format!(
                "{} {}",
                document.title,
                document.path.as_deref().unwrap_or_default()
            )
            .to_lowercase();
            words.iter().all(|word| name.contains(word))
        };
        (0..self.documents.len())
            .filter(|index| words.is_empty() || fits(&self.documents[*index]))
            .collect()
    }

    pub(super) fn file(&mut self, report: FileReport) {
        self.failed.retain(|known| known.path != report.path);
        if matches!(report.outcome, FileOutcome::Failed { .. }) {
            self.failed.push(report);
        }
    }

    pub(super) fn imported(&mut self, report: ImportReport) {
        self.failed = report.failed;
        self.skipped = report.skipped;
    }
}

/// What an import did, in a sentence.
#[must_use]
pub fn summary(report: &ImportReport) -> String {
    let counts = [
        (report.added, "added"),
        (report.updated, "updated"),
        (report.unchanged, "unchanged"),
        (report.duplicates, "with the same content as another"),
        (report.removed, "removed"),
        (report.failed.len(), "could not be read"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let mut text = if parts.is_empty() {
        "Nothing new was found".to_owned()
    } else {
        parts.join(", ")
    };
    if report.cancelled {
        text = format!("Stopped; what was saved is safe: {text}");
    }
    if !report.skipped.is_empty() {
        let kinds: Vec<String> = report
            .skipped
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        text += &format!(". Left out, no reader for them: {}", kinds.join(", "));
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_is_told_in_a_sentence() {
        let report = ImportReport {
            added: 2,
            unchanged: 1,
            skipped: vec![("pptx".into(), 3)],
            ..ImportReport::default()
        };
        assert_eq!(
            summary(&report),
            "2 added, 1 unchanged. Left out, no reader for them: 3 pptx."
        );
        assert_eq!(summary(&ImportReport::default()), "Nothing new was found.");
    }

    #[test]
    fn a_file_that_was_mended_is_no_failure_any_more() {
        let mut library = Library::default();
        let report = |outcome| FileReport {
            path: "a.pdf".into(),
            outcome,
            notes: Vec::new(),
        };
        library.file(report(FileOutcome::Failed {
            reason: "damaged".into(),
        }));
        assert_eq!(library.failed.len(), 1);
        library.file(report(FileOutcome::Unchanged));
        assert!(library.failed.is_empty());
    }
}
