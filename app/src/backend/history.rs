//! Earlier versions of documents: listing, comparing and bringing them back.
//!
//! A version that is brought back is saved, indexed and embedded as an edit is. Start at [`carry_out`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use satchel_sync::workspace::{self, DocumentEntry, How, Mark, Version, VersionSize, Workspace};

use super::jobs::Emitter;
use super::{Shared, indexing, reference, shared_embeddings, sync};
use crate::message::{
    Authors, DifferenceHunk, DifferenceLine, DifferenceReport, Failure, FailureKind,
    HistoryCommand, HistoryReport, Reply, VersionKind, VersionSummary,
};

/// Carries out a command about versions.
///
/// # Errors
/// When the document or the version does not exist, or the disk refuses.
pub async fn carry_out(
    shared: &Arc<Shared>,
    command: HistoryCommand,
    emitter: &Emitter,
) -> Result<Reply, Failure> {
    match command {
        HistoryCommand::Versions { document, limit } => {
            list(shared, document, limit).await.map(Reply::History)
        }
        HistoryCommand::Difference { document, from, to } => difference(shared, document, from, to)
            .await
            .map(Reply::Difference),
        HistoryCommand::Restore { document, version } => {
            restore(shared, document, &version, emitter)
                .await
                .map(Reply::Done)
        }
    }
}

async fn list(
    shared: &Arc<Shared>,
    document: String,
    limit: usize,
) -> Result<HistoryReport, Failure> {
    let authors = sync::authors(shared);
    shared
        .with_workspace(move |workspace| {
            let entry = reference::resolve_document(workspace, &document)?;
            let all = workspace.history(entry.id)?;
            let first = match limit {
                0 => 0,
                limit => all.len().saturating_sub(limit),
            };
            let sizes = workspace.version_sizes(entry.id, &all, first..all.len())?;
            let versions = all[first..].iter().zip(&sizes).rev();
            Ok::<_, Failure>(HistoryReport {
                document: entry.id.to_string(),
                title: entry.title,
                total: all.len(),
                versions: versions
                    .map(|(version, size)| summary(version, size, &authors, all.len()))
                    .collect(),
            })
        })
        .await
}

async fn difference(
    shared: &Arc<Shared>,
    document: String,
    from: Option<String>,
    to: Option<String>,
) -> Result<DifferenceReport, Failure> {
    let authors = sync::authors(shared);
    shared
        .with_workspace(move |workspace| {
            let entry = reference::resolve_document(workspace, &document)?;
            let all = workspace.history(entry.id)?;
            let to = match to {
                Some(name) => find(&all, &name)?,
                None => all.last().ok_or_else(|| no_versions(&entry))?,
            };
            let from = match from {
                Some(name) => Some(find(&all, &name)?),
                None => to.from.first().and_then(|number| all.get(number - 1)),
            };
            report(workspace, entry, &all, from, to, &authors)
        })
        .await
}

fn report(
    workspace: &Workspace,
    entry: DocumentEntry,
    all: &[Version],
    from: Option<&Version>,
    to: &Version,
    authors: &Authors,
) -> Result<DifferenceReport, Failure> {
    let described = |version: &Version| -> Result<VersionSummary, Failure> {
        let at = version.number - 1;
        let sizes = workspace.version_sizes(entry.id, all, at..at + 1)?;
        Ok(summary(version, &sizes[0], authors, all.len()))
    };
    let old = match from {
        Some(from) => workspace.text_of(entry.id, &from.heads)?,
        None => String::new(),
    };
    let new = workspace.text_of(entry.id, &to.heads)?;
    let hunks: Vec<DifferenceHunk> = workspace::difference(&old, &new)
        .into_iter()
        .map(hunk)
        .collect();
    let count = |sign: char| {
        let lines = hunks.iter().flat_map(|hunk| &hunk.lines);
        lines.filter(|line| line.sign == sign).count()
    };
    Ok(DifferenceReport {
        added: count('+'),
        removed: count('-'),
        from: from.map(described).transpose()?,
        to: described(to)?,
        document: entry.id.to_string(),
        title: entry.title,
        hunks,
    })
}

fn hunk(hunk: workspace::Hunk) -> DifferenceHunk {
    // As other programs count: from 1, and the line before where a side has none.
    let first = |range: &std::ops::Range<usize>| range.start + usize::from(!range.is_empty());
    DifferenceHunk {
        from_line: first(&hunk.old),
        from_lines: hunk.old.len(),
        to_line: first(&hunk.new),
        to_lines: hunk.new.len(),
        lines: hunk
            .lines
            .into_iter()
            .map(|(mark, text)| DifferenceLine {
                sign: match mark {
                    Mark::Same => ' ',
                    Mark::Removed => '-',
                    Mark::Added => '+',
                },
                text,
            })
            .collect(),
    }
}

async fn restore(
    shared: &Arc<Shared>,
    document: String,
    version: &str,
    emitter: &Emitter,
) -> Result<String, Failure> {
    let name = version.to_owned();
    // Between the two writes the index lacks the new text.
    shared.index_is_current.store(false, Ordering::Release);
    let (title, number, count) = shared
        .with_workspace(move |workspace| {
            let entry = reference::resolve_document(workspace, &document)?;
            let all = workspace.history(entry.id)?;
            let version = find(&all, &name)?;
            let text = workspace.text_of(entry.id, &version.heads)?;
            if text == workspace.text(entry.id)? {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!(
                        "the text of “{}” is that of version {} already; nothing was changed",
                        entry.title, version.number
                    ),
                ));
            }
            workspace.restore(entry.id, version)?;
            let count = workspace.history(entry.id)?.len();
            Ok::<_, Failure>((entry.title, version.number, count))
        })
        .await?;
    indexing::catch_up(shared, emitter).await?;
    indexing::embed_pending(shared, emitter).await?;
    shared_embeddings::forget(shared).await?;
    Ok(format!(
        "Brought back version {number} of “{title}” as version {count}. Nothing is lost: what it said before is version {}. The file on disk stays as it is.",
        count - 1
    ))
}

/// The version that a user names: by its number, or by its lasting name.
fn find<'a>(all: &'a [Version], wanted: &str) -> Result<&'a Version, Failure> {
    let wanted = wanted.trim().trim_start_matches('#').to_lowercase();
    let by_id = all.iter().find(|version| version.id == wanted);
    let by_number = || {
        let number = wanted.parse::<usize>().ok()?;
        all.get(number.checked_sub(1)?)
    };
    by_id.or_else(by_number).ok_or_else(|| {
        Failure::new(
            FailureKind::NotFound,
            format!(
                "there is no version {wanted}: the document has {}",
                all.len()
            ),
        )
        .with_hint("`satchel documents history NAME` lists them.")
    })
}

fn no_versions(entry: &DocumentEntry) -> Failure {
    Failure::general(format!(
        "nothing is known of the history of “{}”",
        entry.title
    ))
}

fn summary(
    version: &Version,
    size: &VersionSize,
    authors: &Authors,
    last: usize,
) -> VersionSummary {
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    VersionSummary {
        number: version.number,
        id: version.id.clone(),
        how: match version.how {
            How::Written => VersionKind::Written,
            How::Joined => VersionKind::Joined,
            How::Together => VersionKind::Together,
        },
        authors: version
            .authors
            .iter()
            .map(|author| authors.of(*author))
            .collect(),
        since_ms: version.since_ms,
        at_ms: version.at_ms,
        from: version.from.clone(),
        text_bytes: size.text_bytes,
        change_bytes: signed(size.text_bytes) - signed(size.before_bytes),
        is_now: version.number == last,
    }
}
