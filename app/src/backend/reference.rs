//! How users name documents and places in them: `<document>`, `<document>:<start>-<end>`, or a source path.
//!
//! Start at [`parse`] and [`resolve_document`].

use std::ops::Range;

use satchel_sync::DocumentId;
use satchel_sync::workspace::{DocumentEntry, Workspace};

use crate::message::{Failure, FailureKind};

/// A document, and perhaps a byte range of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Id, the first digits of one, or a path.
    pub document: String,
    /// UTF-8 byte range.
    pub range: Option<Range<usize>>,
}

/// Takes a reference apart. What does not end in a range is a document as a whole.
#[must_use]
pub fn parse(text: &str) -> Reference {
    let range = text.rsplit_once(':').and_then(|(document, range)| {
        let (start, end) = range.split_once('-')?;
        let range = start.parse().ok()?..end.parse().ok()?;
        Some(Reference {
            document: document.to_owned(),
            range: Some(range),
        })
    });
    range.unwrap_or_else(|| Reference {
        document: text.to_owned(),
        range: None,
    })
}

/// Finds the document that a user names.
///
/// # Errors
/// When none or several fit.
pub fn resolve_document(workspace: &Workspace, name: &str) -> Result<DocumentEntry, Failure> {
    let documents = workspace.documents();
    let absolute = std::path::absolute(name)
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let by_path = |entry: &&DocumentEntry| {
        entry
            .path
            .as_deref()
            .is_some_and(|path| path == name || path == absolute)
    };
    if let Some(entry) = documents.iter().find(by_path) {
        return Ok(entry.clone());
    }
    let fitting: Vec<&DocumentEntry> = documents
        .iter()
        .filter(|entry| name.len() >= 4 && entry.id.to_string().starts_with(name))
        .collect();
    let by_name: Vec<&DocumentEntry> = documents
        .iter()
        .filter(|entry| fitting.is_empty() && is_called(entry, name))
        .collect();
    match [fitting, by_name].concat().as_slice() {
        [one] => Ok((*one).clone()),
        [_, ..] if name.chars().any(|c| !c.is_ascii_hexdigit()) => Err(Failure::new(
            FailureKind::Usage,
            format!("several documents are called {name}"),
        )
        .with_hint("`satchel documents` lists ids and paths.")),
        [] => Err(Failure::new(
            FailureKind::NotFound,
            format!("there is no document {name}"),
        )
        .with_hint("`satchel documents` lists ids and paths.")),
        _ => Err(Failure::new(
            FailureKind::Usage,
            format!("{name} is the beginning of several document ids"),
        )
        .with_hint("Give more digits.")),
    }
}

/// Whether a document has this title, or its file this name: the path of another laptop is none here.
fn is_called(entry: &DocumentEntry, name: &str) -> bool {
    let file = entry
        .path
        .as_deref()
        .and_then(|path| path.rsplit('/').next());
    !name.is_empty() && (entry.title == name || file == Some(name))
}

/// An id from its 32 digits.
#[must_use]
pub fn document_id(hex: &str) -> Option<DocumentId> {
    hex.parse().ok()
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_document_with_or_without_a_range() {
        assert_eq!(
            parse("0a1b:5-17"),
            Reference {
                document: "0a1b".into(),
                range: Some(5..17)
            }
        );
        assert_eq!(
            parse("0a1b"),
            Reference {
                document: "0a1b".into(),
                range: None
            }
        );
        assert_eq!(parse("C:/x:y.txt").document, "C:/x:y.txt");
    }
}
