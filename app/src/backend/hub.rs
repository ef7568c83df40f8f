//! Looks for models on Hugging Face, or on the mirror of the settings.
//!
//! Asks when somebody searches, and fetches nothing. Start at [`search`].

use std::sync::Arc;

use satchel_models::fetch::hub;

use super::downloads::{self, HUB, Teller};
use super::fitting;
use super::jobs::Emitter;
use super::model_host::ModelHost;
use crate::message::{Failure, FailureKind, HubFile, HubReport, HubRepository};

/// Longest words that are sent, in bytes: names of models are shorter.
const MOST_QUERY_BYTES: usize = 200;

/// The repositories whose names hold these words; the files of one that is named whole.
///
/// # Errors
/// When nothing is asked for, connections are forbidden, or the host cannot be asked or has no such repository.
pub async fn search(
    host: &Arc<ModelHost>,
    query: &str,
    emitter: &Emitter,
) -> Result<HubReport, Failure> {
    let query = query.trim().trim_start_matches("hf:");
    if query.is_empty() || query.len() > MOST_QUERY_BYTES {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("type 1 to {MOST_QUERY_BYTES} letters of a model's name, or OWNER/REPOSITORY"),
        ));
    }
    let settings = host.settings();
    let options = downloads::options(&settings)?;
    let base = settings.model_mirror.as_deref().unwrap_or(HUB).to_owned();
    let teller = Teller::new(emitter, host.contacts().clone());
    let asking = async {
        if hub::is_repository(query) {
            let (found, files) = hub::files(&base, query, &options, &teller).await?;
            Ok((vec![found], files))
        } else {
            let found = hub::search(&base, query, &options, &teller).await?;
            Ok((found, Vec::new()))
        }
    };
    let (found, files) = tokio::select! {
        asked = asking => asked.map_err(downloads::of_fetch)?,
        () = emitter.cancelled() => return Err(Failure::new(FailureKind::Cancelled, "Stopped.")),
    };
    let machine = host.machine().await;
    let files = files.into_iter().map(|file| HubFile {
        model: format!("{query}/{}", file.file),
        fit: file
            .size_bytes
            .map(|bytes| fitting::by_size(&machine, bytes)),
        size_bytes: file.size_bytes,
        parts: file.parts,
        file: file.file,
    });
    Ok(HubReport {
        query: query.to_owned(),
        host: base,
        files: files.collect(),
        repositories: found
            .into_iter()
            .map(|model| HubRepository {
                name: model.repository,
                downloads: model.downloads,
                license: model.license,
                is_gated: model.is_gated,
            })
            .collect(),
    })
}
