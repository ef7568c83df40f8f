//! Looking for models: what is asked, what is made of the answers, and hosts that answer nonsense.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::sync::{Arc, Mutex};

use common::host::{Fault, Host};
use satchel_models::fetch::hub::{HubFile, files, search};
use satchel_models::fetch::{FetchError, Observer, Options, Progress};

const FOUND: &str = r#"[
    {"id": "Qwen/Qwen3-4B-GGUF", "downloads": 120000, "likes": 3, "tags": ["gguf", "license:apache-2.0"]},
    {"id": "google/gemma-3-4b-it-qat-q4_0-gguf", "downloads": 90000, "gated": "manual", "tags": ["license:gemma"]},
    {"id": "../../etc/passwd", "downloads": 1},
    {"id": "nobody/unnamed"}
]"#;
const FILES: &str = r#"{"id": "Qwen/Qwen3-4B-GGUF", "downloads": 120000, "tags": ["license:apache-2.0"], "siblings": [
    {"rfilename": "README.md", "size": 900},
    {"rfilename": "qwen3-4b-q8_0.gguf", "size": 4280404704, "lfs": {"sha256": "00", "size": 4280404704}},
    {"rfilename": "f16/qwen3-4b-f16-00002-of-00002.gguf", "size": 3000000000},
    {"rfilename": "f16/qwen3-4b-f16-00001-of-00002.gguf", "size": 5000000000},
    {"rfilename": "f16/qwen3-4b-f16.gguf", "size": 8000000000},
    {"rfilename": "old/QWEN.GGUF"}
]}"#;

/// Hears which hosts are asked.
#[derive(Default)]
struct Hosts(Mutex<Vec<String>>);

impl Observer for Hosts {
    fn progress(&self, _: Progress) {}

    fn contacted(&self, host: &str) {
        self.0.lock().unwrap().push(host.to_owned());
    }
}

async fn hub() -> Host {
    let host = Host::new(FOUND.into()).await;
    host.judge(|request, file| {
        let body = match request.target.as_str() {
            target if target.starts_with("/mirror/api/models?") => FOUND,
            "/mirror/api/models/Qwen/Qwen3-4B-GGUF?blobs=true" => FILES,
            _ => {
                return Fault {
                    status: Some(404),
                    ..Fault::default()
                };
            }
        };
        file.body = Arc::new(body.into());
        Fault::default()
    });
    host
}

fn base(host: &Host) -> String {
    format!("http://{}/mirror/", host.address())
}

#[tokio::test]
async fn words_find_repositories_and_a_repository_its_files() {
    let host = hub().await;
    let hosts = Hosts::default();
    let options = Options::default();
    let found = search(&base(&host), "qwen 3 & co", &options, &hosts)
        .await
        .unwrap();
    let names: Vec<&str> = found
        .iter()
        .map(|model| model.repository.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "Qwen/Qwen3-4B-GGUF",
            "google/gemma-3-4b-it-qat-q4_0-gguf",
            "nobody/unnamed"
        ]
    );
    assert_eq!(found[0].license.as_deref(), Some("apache-2.0"));
    assert!(!found[0].is_gated && found[1].is_gated && !found[2].is_gated);
    let asked = &host.requests()[0].target;
    assert!(
        asked.contains("search=qwen+3+%26+co") && asked.contains("filter=gguf"),
        "{asked}"
    );
    assert_eq!(host.requests()[0].range, None);

    let (about, listed) = files(&base(&host), "Qwen/Qwen3-4B-GGUF", &options, &hosts)
        .await
        .unwrap();
    assert_eq!(about.downloads, 120_000);
    let file = |file: &str, size_bytes, parts| HubFile {
        file: file.to_owned(),
        size_bytes,
        parts,
    };
    assert_eq!(
        listed,
        [
            file("f16/qwen3-4b-f16.gguf", Some(8_000_000_000), 1),
            file(
                "f16/qwen3-4b-f16-00001-of-00002.gguf",
                Some(8_000_000_000),
                2
            ),
            file("old/QWEN.GGUF", None, 1),
            file("qwen3-4b-q8_0.gguf", Some(4_280_404_704), 1),
        ]
    );
    assert_eq!(hosts.0.lock().unwrap().len(), 2, "each time the one host");
}

#[tokio::test]
async fn what_is_not_there_or_not_understood_is_told() {
    let host = hub().await;
    let (base, options, hosts) = (base(&host), Options::default(), Hosts::default());
    let missing = files(&base, "nobody/nothing", &options, &hosts)
        .await
        .unwrap_err();
    assert!(matches!(missing, FetchError::NotThere { .. }), "{missing}");
    let strange = files(&base, "../settings", &options, &hosts)
        .await
        .unwrap_err();
    assert!(matches!(strange, FetchError::Address { .. }), "{strange}");
    let nowhere = search("not an address", "qwen", &options, &hosts)
        .await
        .unwrap_err();
    assert!(matches!(nowhere, FetchError::Address { .. }), "{nowhere}");

    for nonsense in ["", "<html>", "{}", "[{\"id\": 5}]"] {
        let host = Host::new(nonsense.into()).await;
        let base = format!("http://{}", host.address());
        let error = search(&base, "qwen", &options, &hosts).await.unwrap_err();
        assert!(
            matches!(error, FetchError::NoAnswer { .. }),
            "{nonsense}: {error}"
        );
    }
    let endless = Host::new(vec![b' '; 9 << 20]).await;
    let base = format!("http://{}", endless.address());
    let error = search(&base, "qwen", &options, &hosts).await.unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
    endless.judge(|_, _| Fault {
        cut_after: Some(10),
        ..Fault::default()
    });
    let error = search(&base, "qwen", &options, &hosts).await.unwrap_err();
    assert!(matches!(error, FetchError::NoAnswer { .. }), "{error}");
}
