//! Models: which are installed, and which could be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::units::{self, size};

/// One installed model.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelSummary {
    /// Id.
    pub id: String,
    /// `chat`, `embedder` or `reranker`.
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

impl ModelSummary {
    /// The setting that makes it the one in use.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        match self.kind.as_str() {
            "chat" => "chat_model",
            "embedder" => "embedder",
            _ => "reranker",
        }
    }

    /// As [`CatalogSummary::purpose`].
    #[must_use]
    pub fn purpose(&self) -> &'static str {
        purpose(&self.kind)
    }
}

/// What a kind of model is for.
fn purpose(kind: &str) -> &'static str {
    match kind {
        "chat" => "answers questions",
        "embedder" => "finds by meaning",
        _ => "sorts what was found",
    }
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
    /// Id of the largest chat model that does well on it and can be downloaded.
    pub recommended: Option<String>,
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
    /// Tokens that it was trained to see at once.
    pub context_len_tokens: u32,
    /// Licence.
    pub license: String,
    /// SHA-256 of the file.
    pub sha256: String,
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
    /// How it would do on this machine.
    pub fit: FitReport,
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

/// How a model does on this machine, foretold from its header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitReport {
    /// In one word.
    pub verdict: Fit,
    /// Tokens of the window that suit the machine, or that the settings ask for.
    pub context_len_tokens: u32,
    /// Memory for weights, in bytes.
    pub weights_bytes: u64,
    /// Memory for what is kept of the window, in bytes.
    pub context_bytes: u64,
    /// Memory to compute in, in bytes.
    pub compute_bytes: u64,
    /// How much of the three together is on a GPU, in bytes.
    pub gpu_bytes: u64,
    /// Layers on a GPU, the output counted as one.
    pub gpu_layers: u32,
    /// Layers, counted so.
    pub of_layers: u32,
    /// Tokens written in a second, about; `None` where nothing is written, or it cannot be foretold.
    pub tokens_per_s: Option<f64>,
}

/// Whether a model suits this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// With room for everything else.
    Fits,
    /// There is room, and it writes slower than one reads.
    Slow,
    /// Only when little else runs.
    Tight,
    /// Not at all.
    TooLarge,
}

impl Fit {
    /// `fits`, `slow on this machine`, `needs most of the memory`, `too large for this machine`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Slow => "slow on this machine",
            Self::Tight => "needs most of the memory",
            Self::TooLarge => "too large for this machine",
        }
    }
}

impl FitReport {
    /// All the memory that it needs, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.weights_bytes + self.context_bytes + self.compute_bytes
    }

    /// `about 12 tokens/s`, `17 of 33 layers on the GPU`; `None` where neither can be said.
    #[must_use]
    pub fn speed(&self) -> Option<String> {
        match (self.tokens_per_s, self.gpu_layers) {
            (_, layers @ 1..) if layers == self.of_layers => Some("on the GPU".to_owned()),
            (_, layers @ 1..) => Some(format!("{layers} of {} layers on the GPU", self.of_layers)),
            (Some(speed), 0) if speed < 10.0 => Some(format!("about {speed:.1} tokens/s")),
            (Some(speed), 0) => Some(format!("about {speed:.0} tokens/s")),
            (None, 0) => None,
        }
    }

    /// `2.9 GiB of memory: 2.3 GiB of weights, 576.0 MiB for 4096 tokens, 80.9 MiB to compute in`.
    #[must_use]
    pub fn memory_words(&self) -> String {
        let kept = match self.context_bytes {
            0 => String::new(),
            bytes => format!("{} for {} tokens, ", size(bytes), self.context_len_tokens),
        };
        format!(
            "{} of memory: {} of weights, {kept}{} to compute in",
            size(self.memory_bytes()),
            size(self.weights_bytes),
            size(self.compute_bytes),
        )
    }
}

/// One model in all its particulars.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ModelDetails {
    /// Id of the installed model or in the catalogue; for another file its name.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// `chat`, `embedder` or `reranker`.
    pub kind: String,
    /// Architecture.
    pub architecture: String,
    /// Weights.
    pub parameters: u64,
    /// Quantisation.
    pub quantisation: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Tokens that it was trained to see at once.
    pub context_len_tokens: u32,
    /// Layers.
    pub layers: u32,
    /// Length of the vectors inside it, and of the embeddings that an embedder gives.
    pub embedding_dim: usize,
    /// Entries of the vocabulary.
    pub vocabulary_len: usize,
    /// Whether the file brings its own chat template; `None` where the file is not here.
    pub has_chat_template: Option<bool>,
    /// How an embedder makes one vector of a text.
    pub pooling: Option<String>,
    /// Licence from the file or catalogue.
    pub license: Option<String>,
    /// SHA-256 of the file, where it is known.
    pub sha256: Option<String>,
    /// Where it was or would be fetched from.
    pub source: Option<String>,
    /// The file, where it is here.
    pub path: Option<PathBuf>,
    /// How it does on this machine.
    pub fit: FitReport,
    /// Name of a chat model that would do well on this machine, where this one does not.
    pub better: Option<String>,
}

impl ModelDetails {
    /// What it is, as pairs of a word and what stands for it.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("Purpose", self.kind.clone()),
            ("Architecture", self.architecture.clone()),
            ("Weights", units::weights(self.parameters)),
            ("Quantisation", self.quantisation.clone()),
            ("File", size(self.size_bytes)),
            (
                "Trained window",
                format!("{} tokens", self.context_len_tokens),
            ),
            ("Layers", self.layers.to_string()),
            ("Vocabulary", format!("{} entries", self.vocabulary_len)),
        ];
        if let Some(pooling) = &self.pooling {
            let vectors = format!("{} numbers, {pooling} pooling", self.embedding_dim);
            facts.push(("Embeddings", vectors));
        }
        if let Some(has) = self.has_chat_template.filter(|_| self.kind == "chat") {
            let template = if has {
                "in the file"
            } else {
                "none in the file; ChatML is used"
            };
            facts.push(("Chat template", template.to_owned()));
        }
        let unknown = || "not named in the file".to_owned();
        facts.push(("Licence", self.license.clone().unwrap_or_else(unknown)));
        let others = [
            ("SHA-256", self.sha256.clone()),
            ("From", self.source.clone()),
            (
                "Path",
                self.path.as_ref().map(|path| path.display().to_string()),
            ),
        ];
        facts.extend(
            others
                .into_iter()
                .filter_map(|(word, what)| Some((word, what?))),
        );
        facts
    }

    /// How it does on this machine, in a sentence or two.
    #[must_use]
    pub fn judgement(&self) -> String {
        let speed = self
            .fit
            .speed()
            .map_or_else(String::new, |speed| format!(", {speed}"));
        let better = match &self.better {
            Some(better) => format!(" {better} would do better here."),
            None => String::new(),
        };
        format!(
            "{}{speed}. Needs {}.{better}",
            self.fit.verdict.words(),
            self.fit.memory_words()
        )
    }
}

impl CatalogSummary {
    /// `answers questions`, `finds by meaning`, `sorts what was found`.
    #[must_use]
    pub fn purpose(&self) -> &'static str {
        purpose(&self.kind)
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
