//! What can be found on Hugging Face beyond the catalogue.

use serde::{Deserialize, Serialize};

use super::Fit;
use crate::units::size;

/// What a search found: repositories, or the files of one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HubReport {
    /// What was asked for.
    pub query: String,
    /// Where it was asked.
    pub host: String,
    /// The repositories, those downloaded most first; the one whose files are listed.
    pub repositories: Vec<HubRepository>,
    /// The GGUF files, where one repository was asked for.
    pub files: Vec<HubFile>,
}

/// A repository with GGUF files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HubRepository {
    /// `owner/repository`; searching for it lists its files.
    pub name: String,
    /// Downloads of the last month.
    pub downloads: u64,
    /// Licence, as its owner named it.
    pub license: Option<String>,
    /// It cannot be fetched without an account there.
    pub is_gated: bool,
}

/// A GGUF file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HubFile {
    /// What `satchel models download` takes: `owner/repository/file.gguf`.
    pub model: String,
    /// Path in the repository.
    pub file: String,
    /// Its length, of all parts together, where the hub says it.
    pub size_bytes: Option<u64>,
    /// How many files it is split into; 1 where it is whole.
    pub parts: usize,
    /// How it would do here by its length alone; what its header says is looked at before it is downloaded.
    pub fit: Option<Fit>,
}

impl HubFile {
    /// `7.5 GiB in 2 parts, fits`.
    #[must_use]
    pub fn facts(&self) -> String {
        let mut facts = self
            .size_bytes
            .map_or_else(|| "size not named".to_owned(), size);
        if self.parts > 1 {
            facts += &format!(" in {} parts", self.parts);
        }
        if let Some(fit) = self.fit {
            facts += &format!(", {}", fit.words());
        }
        facts
    }
}

impl HubRepository {
    /// `120000 downloads, apache-2.0`.
    #[must_use]
    pub fn facts(&self) -> String {
        let license = self.license.as_deref().unwrap_or("licence not named");
        let gated = if self.is_gated {
            ", needs an account there"
        } else {
            ""
        };
        format!("{} downloads, {license}{gated}", self.downloads)
    }
}
