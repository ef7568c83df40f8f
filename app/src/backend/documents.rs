//! Lists, shows and removes documents.
//!
//! Start at [`list`], [`show`], [`read`] and [`remove`].

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use satchel_models::ModelKind;
use satchel_sync::DocumentId;
use satchel_sync::workspace::{DocumentEntry, TextKind};
use satchel_vector::SourceId;

use super::{Shared, indexing, reference, shared_embeddings, warm};
use crate::message::{
    Citation, DocumentSummary, DocumentText, Failure, FailureKind, FileOutcome, FileReport, Origin,
    Passage, Scores, StatusReport,
};
use crate::units;

/// Text shown before and after a passage, in bytes.
const CONTEXT_BYTES: usize = 600;
/// Text shown of a document named without a range.
const OPENING_BYTES: usize = 4000;

/// Every document, by path and title.
///
/// # Errors
/// When the index cannot be read.
pub async fn list(shared: &Arc<Shared>) -> Result<Vec<DocumentSummary>, Failure> {
    let indexed = shared
        .index
        .source_versions()
        .await
        .map_err(Failure::from)?;
    let mut documents: Vec<DocumentSummary> = shared
        .workspace
        .documents()
        .into_iter()
        .map(|entry| summary(shared, entry, &indexed))
        .collect();
    documents.sort_by(|a, b| (&a.path, &a.title).cmp(&(&b.path, &b.title)));
    Ok(documents)
}

fn summary(
    shared: &Shared,
    entry: DocumentEntry,
    indexed: &HashMap<SourceId, String>,
) -> DocumentSummary {
    let elsewhere = entry.path.is_some() && shared.workspace.local_path(&entry).is_none();
    DocumentSummary {
        indexed: indexed.get(&indexing::source_of(&entry)) == Some(&entry.version),
        id: entry.id.to_string(),
        title: entry.title,
        elsewhere,
        path: entry.path,
        media_type: entry.media_type,
        text_bytes: entry.text_bytes,
        original_bytes: entry.original_bytes,
        imported_at_ms: entry.imported_at_ms,
        note: entry.note,
    }
}

/// Removes documents with their originals and index entries.
///
/// # Errors
/// When one of them cannot be found; then none is removed.
pub async fn remove(shared: &Arc<Shared>, names: Vec<String>) -> Result<String, Failure> {
    let ids = shared
        .with_workspace(move |workspace| {
            let resolve =
                |name: &String| reference::resolve_document(workspace, name).map(|entry| entry.id);
            names
                .iter()
                .map(resolve)
                .collect::<Result<Vec<_>, Failure>>()
        })
        .await?;
    let count = ids.len();
    remove_ids(shared, ids).await?;
    Ok(format!("Removed {}.", units::count(count, "document")))
}

/// As [`remove`], by id.
///
/// # Errors
/// When the workspace or the index cannot be written.
pub async fn remove_ids(shared: &Arc<Shared>, ids: Vec<DocumentId>) -> Result<(), Failure> {
    let sources: Vec<SourceId> = ids.iter().map(|id| SourceId(*id.as_bytes())).collect();
    shared
        .with_workspace(move |workspace| workspace.remove(&ids))
        .await?;
    {
        let _writer = shared.index_writer.lock().await;
        let deleted = shared.index.delete_sources(&sources).await;
        deleted.map_err(Failure::from)?;
    }
    warm::forget_all(shared).await;
    shared_embeddings::forget(shared).await
}

/// A passage with its surroundings, from the document as it is now.
///
/// # Errors
/// When the document or the place does not exist.
pub async fn show(shared: &Arc<Shared>, text: &str) -> Result<Passage, Failure> {
    let wanted = reference::parse(text);
    let (entry, text) = shared
        .with_workspace(move |workspace| {
            let entry = reference::resolve_document(workspace, &wanted.document)?;
            let text = workspace.text(entry.id)?;
            Ok::<_, Failure>(((entry, wanted.range), text))
        })
        .await?;
    let (entry, range) = entry;
    let range = match range {
        Some(range) => checked(&text, range)?,
        None => 0..floor(&text, OPENING_BYTES),
    };
    let before = text[start_of_context(&text, range.start)..range.start].replace('\u{c}', "\n");
    let after = text[range.end..end_of_context(&text, range.end)].replace('\u{c}', "\n");
    Ok(Passage {
        citation: cited_place(&entry, &text, range),
        before,
        after,
    })
}

/// A place in a document, as a citation that nobody has made.
pub(super) fn cited_place(entry: &DocumentEntry, text: &str, range: Range<usize>) -> Citation {
    Citation {
        mark: String::new(),
        document: entry.id.to_string(),
        title: entry.title.clone(),
        path: entry.path.clone(),
        page: entry.paged.then(|| page_of(text, range.start)),
        heading_path: heading_path(entry, text, range.start),
        quote: text[range.clone()].to_owned(),
        range,
        passage: String::new(),
        origin: Origin::Search,
        scores: Scores::default(),
    }
}

/// The whole text of a document, with the place that is meant.
///
/// # Errors
/// When the document or the place does not exist.
pub async fn read(shared: &Arc<Shared>, text: &str) -> Result<DocumentText, Failure> {
    let wanted = reference::parse(text);
    let (entry, place, text) = shared
        .with_workspace(move |workspace| {
            let entry = reference::resolve_document(workspace, &wanted.document)?;
            let text = workspace.text(entry.id)?;
            let place = wanted
                .range
                .map(|range| checked(&text, range))
                .transpose()?;
            Ok::<_, Failure>((entry, place, text))
        })
        .await?;
    let indexed = shared
        .index
        .source_versions()
        .await
        .map_err(Failure::from)?;
    let page = place
        .as_ref()
        .filter(|_| entry.paged)
        .map(|place| page_of(&text, place.start));
    Ok(DocumentText {
        is_markdown: entry.kind == TextKind::Markdown,
        document: summary(shared, entry, &indexed),
        text,
        place,
        page,
    })
}

fn page_of(text: &str, at: usize) -> u32 {
    1 + text[..at].matches('\u{c}').count() as u32
}

/// What is in the workspace and how much of it can be searched.
///
/// # Errors
/// When the index or the models folder cannot be read.
pub async fn status(shared: &Arc<Shared>) -> Result<StatusReport, Failure> {
    shared.models.announce_embedder(&shared.index).await?;
    let coverage = indexing::coverage(shared).await?;
    let name_of = |kind| {
        shared
            .models
            .chosen(kind)
            .ok()
            .flatten()
            .map(|model| model.id)
    };
    let workspace = &shared.workspace;
    Ok(StatusReport {
        workspace: workspace.id().to_string(),
        name: workspace.name(),
        coverage,
        failures: workspace
            .import_failures()
            .into_iter()
            .map(|failure| FileReport {
                path: PathBuf::from(failure.path),
                outcome: FileOutcome::Failed {
                    reason: failure.reason,
                },
                notes: Vec::new(),
            })
            .collect(),
        chat_model: name_of(ModelKind::Chat),
        embedder: name_of(ModelKind::Embedder),
    })
}

fn checked(text: &str, range: Range<usize>) -> Result<Range<usize>, Failure> {
    if range.start <= range.end && range.end <= text.len() {
        return Ok(floor(text, range.start)..text.ceil_char_boundary(range.end));
    }
    Err(Failure::new(
        FailureKind::NotFound,
        format!(
            "the document has {} bytes of text; there is no place {}-{}",
            text.len(),
            range.start,
            range.end
        ),
    )
    .with_hint("It may have changed since; search again."))
}

/// The headings above a place in a Markdown text.
fn heading_path(entry: &DocumentEntry, text: &str, at: usize) -> Vec<String> {
    let chunks = indexing::chunked(entry, text).chunks;
    let chunk = chunks
        .into_iter()
        .rev()
        .find(|chunk| chunk.range.start <= at);
    chunk.map(|chunk| chunk.heading_path).unwrap_or_default()
}

fn start_of_context(text: &str, at: usize) -> usize {
    let earliest = floor(text, at.saturating_sub(CONTEXT_BYTES));
    if earliest == 0 {
        return 0;
    }
    text[earliest..at]
        .find('\n')
        .map_or(earliest, |line| earliest + line + 1)
}

fn end_of_context(text: &str, at: usize) -> usize {
    let latest = floor(text, at + CONTEXT_BYTES);
    if latest == text.len() {
        return latest;
    }
    text[at..latest]
        .rfind('\n')
        .map_or(latest, |line| at + line)
}

/// The largest character boundary not after `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_starts_and_ends_at_lines() {
        let text = format!(
            "{}\nshort line\nHERE\nnext\n{}",
            "x".repeat(700),
            "y".repeat(700)
        );
        let at = text.find("HERE").unwrap();
        assert_eq!(&text[start_of_context(&text, at)..at], "short line\n");
        assert_eq!(&text[at + 4..end_of_context(&text, at + 4)], "\nnext");
    }

    #[test]
    fn a_range_outside_the_text_is_refused_and_one_inside_a_character_is_widened() {
        assert!(checked("abc", 2..9).is_err());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = checked("abc", 2..1);
        assert!(reversed.is_err());
        assert_eq!(checked("aöb", 2..4).unwrap(), 1..4);
        assert_eq!(checked("aöb", 1..2).unwrap(), 1..3);
    }
}
