//! Asks Hugging Face, or a mirror that answers as it does, which GGUF models it has, and which files are in one of them.
//!
//! Fetches no model. What it says is for choosing; what a file is, only its bytes tell. Start at [`search`] and [`files`].
//! The interface: <https://huggingface.co/docs/hub/api>.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::Deserialize;

use super::http::{Http, Miss, host_of};
use super::{FetchError, Observer, Options};
use crate::gguf::PartName;

/// Models of a search, at most: what a person looks through.
const MOST_MODELS: usize = 30;
/// An answer of the hub, in bytes: a repository of a thousand files takes 300 KiB.
const MOST_ANSWER_BYTES: usize = 8 << 20;

/// A repository with GGUF files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// `owner/repository`.
    pub repository: String,
    /// How often it was downloaded in the last month.
    pub downloads: u64,
    /// Licence, as its owner named it.
    pub license: Option<String>,
    /// Its owner wants something of who downloads it: an account there, at least.
    pub is_gated: bool,
}

/// A GGUF file in a repository, or all parts of a split one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Path in the repository; of a split model, that of its first part.
    pub file: String,
    /// Length in bytes, of all parts together, where the hub says it.
    pub size_bytes: Option<u64>,
    /// Parts that are there; 1 for a file that is whole.
    pub parts: usize,
}

/// The models whose names hold all of these words, those downloaded most first.
///
/// # Errors
/// [`FetchError::Address`], [`FetchError::NoAnswer`], and those of a host that refuses.
pub async fn search(
    hub: &str,
    words: &str,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Vec<HubModel>, FetchError> {
    let mut url = address(hub, "api/models")?;
    url.query_pairs_mut()
        .append_pair("search", words)
        .append_pair("filter", "gguf")
        .append_pair("sort", "downloads")
        .append_pair("direction", "-1")
        .append_pair("limit", &MOST_MODELS.to_string());
    let models: Vec<Model> = ask(&url, options, observer).await?;
    let models = models.into_iter().take(MOST_MODELS);
    Ok(models
        .filter(|model| is_repository(&model.id))
        .map(|model| HubModel {
            license: model.license(),
            is_gated: model.is_gated(),
            downloads: model.downloads,
            repository: model.id,
        })
        .collect())
}

/// The GGUF files of a repository (`owner/repository`), by name.
///
/// # Errors
/// As for [`search`]; [`FetchError::NotThere`] where there is no such repository.
pub async fn files(
    hub: &str,
    repository: &str,
    options: &Options,
    observer: &dyn Observer,
) -> Result<(HubModel, Vec<HubFile>), FetchError> {
    if !is_repository(repository) {
        return Err(FetchError::Address {
            url: repository.to_owned(),
        });
    }
    let mut url = address(hub, &format!("api/models/{repository}"))?;
    url.query_pairs_mut().append_pair("blobs", "true");
    let model: Model = ask(&url, options, observer).await?;
    let mut files = BTreeMap::<(String, u32), HubFile>::new();
    for file in &model.siblings {
        let path = &file.rfilename;
        if !path.to_ascii_lowercase().ends_with(".gguf") {
            continue;
        }
        let (folder, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
        // A whole file of the same name is another one.
        let (whole, count) = PartName::parse(name)
            .map_or_else(|| (name.to_owned(), 1), |part| (part.whole(), part.count));
        let listed = files.entry((format!("{folder}{whole}"), count));
        let listed = listed.or_insert_with(|| HubFile {
            file: path.clone(),
            size_bytes: Some(0),
            parts: 0,
        });
        listed.parts += 1;
        listed.size_bytes = listed
            .size_bytes
            .zip(file.size)
            .map(|(sum, size)| sum.saturating_add(size));
        if *path < listed.file {
            listed.file.clone_from(path);
        }
    }
    let files = files.into_values().collect();
    let about = HubModel {
        license: model.license(),
        is_gated: model.is_gated(),
        downloads: model.downloads,
        repository: model.id,
    };
    Ok((about, files))
}

/// Whether a text has the form of `owner/repository`, and nothing that means something else in an address.
#[must_use]
pub fn is_repository(text: &str) -> bool {
    let is_name = |name: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !name.is_empty() && name.len() <= 96 && name.chars().all(is_plain) && !name.starts_with('.')
    };
    let parts: Vec<&str> = text.split('/').collect();
    matches!(parts[..], [owner, name] if is_name(owner) && is_name(name))
}

/// A model as the hub describes it. Fields that are not needed are passed over: it may say more from day to day.
#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(default)]
    downloads: u64,
    #[serde(default)]
    tags: Vec<String>,
    /// `false`, or who lets people in.
    #[serde(default)]
    gated: serde_json::Value,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
}

impl Model {
    fn license(&self) -> Option<String> {
        let tags = self.tags.iter();
        let mut named = tags.filter_map(|tag| tag.strip_prefix("license:"));
        named.next().map(str::to_owned)
    }

    fn is_gated(&self) -> bool {
        !matches!(
            self.gated,
            serde_json::Value::Null | serde_json::Value::Bool(false)
        )
    }
}

fn address(hub: &str, path: &str) -> Result<Url, FetchError> {
    let text = format!("{}/{path}", hub.trim_end_matches('/'));
    let url = Url::parse(&text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    url.ok_or(FetchError::Address { url: text })
}

async fn ask<T: serde::de::DeserializeOwned>(
    url: &Url,
    options: &Options,
    observer: &dyn Observer,
) -> Result<T, FetchError> {
    let http = Http::new(options, observer)?;
    let host = host_of(url);
    let no_answer = |reason: &str| FetchError::NoAnswer {
        host: host.clone(),
        reason: reason.to_owned(),
    };
    let nonsense = || no_answer("what it says is not understood");
    let bytes = match http.answer(url, MOST_ANSWER_BYTES).await {
        Ok(bytes) => bytes,
        Err(Miss::Never(error)) => return Err(error),
        Err(Miss::Now(reason)) => return Err(no_answer(&reason)),
        Err(Miss::Stale) => return Err(nonsense()),
    };
    serde_json::from_slice(&bytes).map_err(|_| nonsense())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_owner_and_a_name() {
        for good in ["Qwen/Qwen3-4B-GGUF", "a/b", "bartowski/gemma-3.1_it-GGUF"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in [
            "", "a", "/b", "a/", "a/b/c", "../b", "a/..", "a/b?c", "a b/c", "a/.git",
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
    }

    #[test]
    fn an_answer_may_say_more_and_less() {
        let said = r#"{"_id": "1", "id": "a/b", "gated": "auto", "tags": ["gguf", "license:mit"],
            "siblings": [{"rfilename": "x.gguf"}], "new": {"field": 1}}"#;
        let model: Model = serde_json::from_str(said).unwrap();
        assert_eq!(model.license().as_deref(), Some("mit"));
        assert!(model.is_gated());
        let model: Model = serde_json::from_str(r#"{"id": "a/b", "gated": false}"#).unwrap();
        assert!(!model.is_gated() && model.license().is_none() && model.siblings.is_empty());
    }
}
