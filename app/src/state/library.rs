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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
