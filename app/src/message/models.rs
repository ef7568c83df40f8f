//! Models: which are installed, and which could be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::units::size;

/// One installed model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelSummary {
    /// Id.
    pub id: String,
    /// `chat` or `embedder`.
    pub kind: String,
    /// Name from the file.
    pub name: String,
    /// Architecture from the file.
    pub architecture: String,
    /// Quantisation.
    pub quantisation: String,
    /// Context window in tokens.
    pub context_len_tokens: u32,
    /// File size.
    pub size_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// SHA-256 of what it was made from, where Satchel converted it.
    pub source_sha256: Option<String>,
    /// Licence from the file or catalogue.
    pub license: Option<String>,
    /// It is the one in use for its kind.
    pub in_use: bool,
    /// The file, in the models folder.
    pub path: PathBuf,
}

/// Models that are known, and downloads that were not finished.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CatalogReport {
    /// The catalogue: starters first, then by kind and size.
    pub models: Vec<CatalogSummary>,
    /// Files that are not in the catalogue and have come in part.
    pub others: Vec<UnfinishedDownload>,
    /// Memory of this machine, in bytes.
    pub memory_bytes: u64,
}

/// One known model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CatalogSummary {
    /// Id.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Who made it.
    pub publisher: String,
    /// `chat`, `embedder` or `reranker`.
    pub kind: String,
    /// Quantisation.
    pub quantisation: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Whether that is exact, or a few percent off.
    pub size_is_exact: bool,
    /// Tokens that it was trained to see at once.
    pub context_len_tokens: u32,
    /// Memory that it needs with a window of 4,096 tokens, roughly, in bytes.
    pub memory_bytes: u64,
    /// Licence.
    pub license: String,
    /// SHA-256 of the file, where it is known beforehand.
    pub sha256: Option<String>,
    /// What to know before choosing it.
    pub note: Option<String>,
    /// It is installed.
    pub installed: bool,
    /// Where it is fetched from; `None` where it has to be fetched by hand.
    pub source: Option<String>,
    /// The page that tells about it, with its licence.
    pub page: Option<String>,
    /// What has come of it, where a download was not finished, in bytes.
    pub fetched_bytes: Option<u64>,
    /// Whether this machine has the memory for it.
    pub fit: Fit,
}

/// A download that was not finished, of a file that is not in the catalogue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UnfinishedDownload {
    /// Its address.
    pub url: String,
    /// What has come, in bytes.
    pub done_bytes: u64,
    /// Its length.
    pub total_bytes: u64,
}

/// Whether a machine has the memory for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// With room for everything else.
    Fits,
    /// Only when little else runs.
    Tight,
    /// Not at all.
    TooLarge,
}

impl CatalogSummary {
    /// `fits`, `needs most of the memory`, `too large for this machine`.
    #[must_use]
    pub fn fit_words(&self) -> &'static str {
        match self.fit {
            Fit::Fits => "fits",
            Fit::Tight => "needs most of the memory",
            Fit::TooLarge => "too large for this machine",
        }
    }

    /// `installed`, `43 % downloaded`; `None` where nothing of it is here.
    #[must_use]
    pub fn progress(&self) -> Option<String> {
        let fetched = self.fetched_bytes.filter(|_| !self.installed);
        match (self.installed, fetched) {
            (true, _) => Some("installed".to_owned()),
            (_, Some(done)) => Some(format!(
                "{} of {} downloaded",
                size(done),
                size(self.size_bytes)
            )),
            _ => None,
        }
    }

    /// Whether its licence is one of those that ask nothing of a user.
    #[must_use]
    pub fn is_free(&self) -> bool {
        ["Apache-2.0", "MIT"].contains(&self.license.as_str())
    }
}
