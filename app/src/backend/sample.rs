//! The sample: a few invented papers that come with the program, to try it on.
//!
//! Never mixes with a user's own documents by itself: it is imported only when asked for. Start at [`import`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::jobs::Emitter;
use super::{Shared, failure, ingest};
use crate::message::{DocumentSummary, Failure, ImportReport};

/// What to ask first: each is answered by one passage of the sample.
pub const QUESTIONS: [&str; 3] = [
    "How much notice must be given to end the lease of the house?",
    "Which nuts must Tom avoid?",
    "What did the roof repair cost?",
];

/// The folder they are written to, below the data folder.
const FOLDER: &str = "sample";

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../sample/", $name)).as_slice())),+]
    };
}

/// The files by their path below the sample's folder; everything in them is invented.
pub const FILES: &[(&str, &[u8])] = files![
    "car/logbook.csv",
    "club/rowing-rules.docx",
    "family/great-aunt-elvira.md",
    "health/allergy-letter.html",
    "health/knee-letter.docx",
    "house/lease.md",
    "house/roof-repair.txt",
    "kitchen/rye-bread.md",
    "money/home-insurance.pdf",
    "money/steuerbescheid-2023.pdf",
    "pets/vet-visit.txt",
    "school/newsletter.html",
    "tech/home-network.md",
    "travel/cabin-booking.html",
    "travel/madeira.md",
    "work/employment-contract.docx",
    "work/expenses.csv",
    "work/minutes-2025-03.md",
    "work/nitrate-protocol.md",
    "work/river-probe-datasheet.pdf",
    "work/river-readings.csv",
];

/// Whether documents of the sample are among these.
#[must_use]
pub fn is_among(documents: &[DocumentSummary]) -> bool {
    let one_of_them = Path::new(FOLDER).join(FILES[0].0);
    documents
        .iter()
        .filter_map(|document| document.path.as_deref())
        .any(|path| Path::new(path).ends_with(&one_of_them))
}

/// Writes the sample into the data folder and imports it.
///
/// # Errors
/// When it cannot be written or imported.
pub async fn import(shared: &Arc<Shared>, emitter: &Emitter) -> Result<ImportReport, Failure> {
    let folder = shared.dirs.data.join(FOLDER);
    let written = tokio::task::spawn_blocking(move || write(&folder))
        .await
        .unwrap_or_else(|panic| Err(failure::of_panic(panic)))?;
    let wanted = ingest::Import {
        paths: vec![written],
        prune: false,
        skip_embeddings: false,
    };
    ingest::import(shared, emitter, wanted).await
}

/// A file that is there already may have been edited by the user, and stays.
fn write(folder: &Path) -> Result<PathBuf, Failure> {
    for (name, content) in FILES {
        let path = folder.join(name);
        if path.exists() {
            continue;
        }
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| satchel_sync::durable::write(&path, content))
            .map_err(|error| {
                Failure::general(format!(
                    "cannot write the sample to {}: {error}",
                    path.display()
                ))
            })?;
    }
    std::fs::canonicalize(folder)
        .map_err(|error| Failure::general(format!("cannot find {}: {error}", folder.display())))
}
