//! Downloads over a network, and from hosts, that do everything wrong.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::Toy;
use common::host::{Fault, Host};
use satchel_models::ModelStore;
use satchel_models::fetch::{
    FetchError, Fetched, Options, Progress, Source, begin, discard, fetch, unfinished,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

fn content(mib: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let words = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    });
    words
        .take(mib * MIB / 4)
        .flat_map(u32::to_le_bytes)
        .collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn options() -> Options {
    Options {
        stall: Duration::from_millis(300),
        patience: Duration::from_secs(5),
        ..Options::default()
    }
}

fn source(host: &Host) -> Source {
    Source {
        url: host.url(),
        size_bytes: None,
        sha256: None,
    }
}

async fn fetch_into(store: &TempDir, source: &Source) -> Result<Fetched, FetchError> {
    fetch(store.path(), source, &options(), &|_: Progress| {}).await
}

fn check(fetched: &Fetched, body: &[u8]) {
    assert_eq!(fetched.sha256, sha256(body));
    assert!(fs::read(fetched.path()).unwrap() == body, "other bytes");
}

#[tokio::test]
async fn a_file_comes_in_parts_and_is_whole() {
    let body = content(40, 1);
    let host = Host::new(body.clone()).await;
    let store = tempfile::tempdir().unwrap();
    let most = AtomicU64::new(0);
    let progress = |progress: Progress| {
        assert_eq!(
            (progress.total_bytes, progress.waits_because),
            (body.len() as u64, None)
        );
        most.fetch_max(progress.done_bytes, Ordering::Relaxed);
    };
    let known = Source {
        size_bytes: Some(body.len() as u64),
        sha256: Some(sha256(&body)),
        ..source(&host)
    };
    let fetched = fetch(store.path(), &known, &options(), &progress)
        .await
        .unwrap();
    check(&fetched, &body);
    assert_eq!(most.into_inner(), body.len() as u64);
    assert_eq!(fetched.hosts, [host.address()]);
    // Its first byte, and three segments.
    assert_eq!(host.requests().len(), 4);
    assert_eq!(host.served_bytes(), body.len() as u64 + 1);
}

#[tokio::test]
async fn a_model_that_has_come_is_installed_and_nothing_else_is_left() {
    let body = Toy::chat().bytes();
    let host = Host::new(body.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let store = ModelStore::open(folder.path()).unwrap();
    let fetched = fetch(store.dir(), &source(&host), &options(), &|_: Progress| {})
        .await
        .unwrap();
    let model = store.adopt(fetched).unwrap();
    assert_eq!(
        (model.id.as_str(), model.sha256.clone()),
        ("toy-model-q8_0", sha256(&body))
    );
    store.verify(&model).unwrap();
    assert_eq!(unfinished(store.dir()).unwrap(), []);
    // Once more: it is there already.
    let again = fetch(store.dir(), &source(&host), &options(), &|_: Progress| {})
        .await
        .unwrap();
    assert_eq!(store.adopt(again).unwrap().id, model.id);
    assert_eq!(store.list().unwrap().len(), 1);
    // What is no model is not kept.
    host.change(|file| file.body = Arc::new(b"<html>sign in</html>".to_vec()));
    host.change(|file| file.etag = Some("\"two\"".to_owned()));
    let page = fetch(store.dir(), &source(&host), &options(), &|_: Progress| {})
        .await
        .unwrap();
    assert!(store.adopt(page).is_err());
    assert_eq!(unfinished(store.dir()).unwrap(), []);
}

#[tokio::test]
async fn cuts_and_stalls_cost_little() {
    let body = content(24, 2);
    let host = Host::new(body.clone()).await;
    host.judge(|request, _| match request.number {
        1..8 if request.number % 2 == 0 => Fault {
            stall_after: Some(2 * MIB),
            ..Fault::default()
        },
        1..8 => Fault {
            cut_after: Some(3 * MIB / 2),
            ..Fault::default()
        },
        8 => Fault {
            status: Some(503),
            ..Fault::default()
        },
        9 => Fault {
            status: Some(429),
            ..Fault::default()
        },
        _ => Fault::default(),
    });
    let store = tempfile::tempdir().unwrap();
    check(&fetch_into(&store, &source(&host)).await.unwrap(), &body);
    let again_bytes = host.served_bytes() - body.len() as u64;
    assert!(
        again_bytes < 2 * MIB as u64,
        "{again_bytes} bytes came twice"
    );
}

#[tokio::test]
async fn what_was_paused_goes_on() {
    let body = content(24, 3);
    let host = Host::new(body.clone()).await;
    let store = tempfile::tempdir().unwrap();
    let slow = Options {
        limit_bytes_per_s: Some(8 * MIB as u64),
        ..options()
    };
    let one = source(&host);
    let first = fetch(store.path(), &one, &slow, &|_: Progress| {});
    assert!(
        tokio::time::timeout(Duration::from_millis(1700), first)
            .await
            .is_err(),
        "paused"
    );
    let known = unfinished(store.path()).unwrap();
    let [known] = known.as_slice() else {
        panic!("{known:?}")
    };
    assert_eq!(
        (known.url.as_str(), known.total_bytes),
        (one.url.as_str(), body.len() as u64)
    );
    assert!(
        (4 * MIB as u64..20 * MIB as u64).contains(&known.done_bytes),
        "{known:?}"
    );
    let served = host.served_bytes();
    let lowest = AtomicU64::new(u64::MAX);
    let progress = |progress: Progress| {
        lowest.fetch_min(progress.done_bytes, Ordering::Relaxed);
    };
    let fetched = fetch(store.path(), &one, &options(), &progress)
        .await
        .unwrap();
    check(&fetched, &body);
    assert!(lowest.into_inner() > known.done_bytes);
    let rest = body.len() as u64 - known.done_bytes;
    assert_eq!(host.served_bytes() - served, rest + 1, "nothing came twice");
}

#[tokio::test]
async fn a_file_that_changes_is_begun_anew() {
    let (old, new) = (content(40, 4), content(40, 5));
    let host = Host::new(old).await;
    let replacement = Arc::new(new.clone());
    host.judge(move |request, file| {
        if request.number == 3 {
            (file.body, file.etag) = (Arc::clone(&replacement), Some("\"two\"".to_owned()));
        }
        Fault::default()
    });
    let store = tempfile::tempdir().unwrap();
    check(&fetch_into(&store, &source(&host)).await.unwrap(), &new);

    // Between two calls as well.
    let newest = content(40, 6);
    let host = Host::new(new).await;
    let slow = Options {
        limit_bytes_per_s: Some(10 * MIB as u64),
        ..options()
    };
    let one = source(&host);
    let first = fetch(store.path(), &one, &slow, &|_: Progress| {});
    assert!(
        tokio::time::timeout(Duration::from_millis(1500), first)
            .await
            .is_err()
    );
    host.change(|file| {
        (file.body, file.etag) = (Arc::new(newest.clone()), Some("\"three\"".to_owned()));
    });
    check(&fetch_into(&store, &one).await.unwrap(), &newest);
}

/// Where neither hash nor version is known, parts of two calls could be parts of two files.
#[tokio::test]
async fn parts_of_an_unknown_version_are_not_put_together() {
    let (old, new) = (content(24, 7), content(24, 8));
    let host = Host::new(old).await;
    host.change(|file| file.etag = None);
    let store = tempfile::tempdir().unwrap();
    let slow = Options {
        limit_bytes_per_s: Some(8 * MIB as u64),
        ..options()
    };
    let one = source(&host);
    let first = fetch(store.path(), &one, &slow, &|_: Progress| {});
    assert!(
        tokio::time::timeout(Duration::from_millis(1500), first)
            .await
            .is_err()
    );
    host.change(|file| file.body = Arc::new(new.clone()));
    check(&fetch_into(&store, &one).await.unwrap(), &new);
}

#[tokio::test]
async fn a_file_that_never_stays_the_same_is_given_up() {
    let host = Host::new(content(1, 9)).await;
    host.judge(|request, file| {
        file.etag = Some(format!("\"{}\"", request.number));
        Fault::default()
    });
    let store = tempfile::tempdir().unwrap();
    let error = fetch_into(&store, &source(&host)).await.unwrap_err();
    assert!(matches!(error, FetchError::KeepsChanging { .. }), "{error}");
}

#[tokio::test]
async fn wrong_bytes_are_thrown_away() {
    let body = content(2, 10);
    let host = Host::new(body.clone()).await;
    host.judge(|request, _| Fault {
        wrong_bytes: request.number == 1,
        ..Fault::default()
    });
    let store = tempfile::tempdir().unwrap();
    let known = Source {
        sha256: Some(sha256(&body)),
        ..source(&host)
    };
    let error = fetch_into(&store, &known).await.unwrap_err();
    assert!(matches!(error, FetchError::OtherContent { .. }), "{error}");
    assert_eq!(unfinished(store.path()).unwrap(), []);
    check(&fetch_into(&store, &known).await.unwrap(), &body);
}

/// As Hugging Face does: the address leads to a store, and says on the way what the content has.
#[tokio::test]
async fn the_hash_that_is_named_on_the_way_counts() {
    let body = content(2, 11);
    let host = Host::new(body.clone()).await;
    let to = format!("http://{}/store/abc?signature=1", host.address());
    host.judge(move |request, file| {
        file.etag = Some("\"of the store\"".to_owned());
        Fault {
            location: request.target.starts_with("/repo").then(|| to.clone()),
            ..Fault::default()
        }
    });
    host.change(|file| file.linked_sha256 = Some(sha256(&body)));
    let store = tempfile::tempdir().unwrap();
    check(&fetch_into(&store, &source(&host)).await.unwrap(), &body);
    let to_store = host
        .requests()
        .iter()
        .filter(|one| one.target.starts_with("/store"))
        .count();
    assert_eq!(
        (host.requests().len(), to_store),
        (3, 2),
        "only the first leads there"
    );

    host.change(|file| file.linked_sha256 = Some("0".repeat(64)));
    let error = fetch_into(&tempfile::tempdir().unwrap(), &source(&host))
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::OtherContent { .. }), "{error}");
}

/// A signed address expires in the middle: the first one is asked again, and what has come stays.
#[tokio::test]
async fn an_address_that_expires_is_asked_for_again() {
    let body = content(40, 12);
    let host = Host::new(body.clone()).await;
    let (address, given) = (host.address().to_owned(), AtomicUsize::new(0));
    host.judge(move |request, _| {
        if request.target.starts_with("/repo") {
            let number = given.fetch_add(1, Ordering::Relaxed);
            let location = Some(format!("http://{address}/store?signature={number}"));
            return Fault {
                location,
                ..Fault::default()
            };
        }
        let expires = request.target.ends_with("=0")
            && request
                .range
                .is_some_and(|(first, _)| first > 30 * MIB as u64);
        Fault {
            status: expires.then_some(403),
            ..Fault::default()
        }
    });
    let store = tempfile::tempdir().unwrap();
    let one_line = Options {
        connections: 1,
        ..options()
    };
    let fetched = fetch(store.path(), &source(&host), &one_line, &|_: Progress| {})
        .await
        .unwrap();
    check(&fetched, &body);
    assert_eq!(host.served_bytes(), body.len() as u64 + 2);
}

#[tokio::test]
async fn lies_about_the_length_are_noticed() {
    let body = content(2, 13);
    let host = Host::new(body.clone()).await;
    let store = tempfile::tempdir().unwrap();
    let other = Source {
        size_bytes: Some(7),
        ..source(&host)
    };
    let error = fetch_into(&store, &other).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::OtherLength {
                expected_bytes: 7,
                ..
            }
        ),
        "{error}"
    );
    // More than any disk has: nothing is begun.
    host.judge(|_, _| Fault {
        said_total: Some(1 << 60),
        ..Fault::default()
    });
    let error = fetch_into(&store, &source(&host)).await.unwrap_err();
    assert!(matches!(error, FetchError::NoSpace { .. }), "{error}");
    // A total that differs from request to request.
    host.judge(|request, _| Fault {
        said_total: (request.number % 2 == 1).then_some(3 * MIB as u64),
        ..Fault::default()
    });
    let error = fetch_into(&store, &source(&host)).await.unwrap_err();
    assert!(matches!(error, FetchError::KeepsChanging { .. }), "{error}");
    // A whole file that is shorter than it was said to be.
    let short = Host::new(body).await;
    short.change(|file| file.has_ranges = false);
    short.judge(|_, _| Fault {
        said_total: Some(4 * MIB as u64),
        ..Fault::default()
    });
    let error = fetch_into(&store, &source(&short)).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::KeepsChanging { .. } | FetchError::Unreachable { .. }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_can_be_judged_by_its_beginning() {
    let body = content(60, 21);
    let host = Host::new(body.clone()).await;
    let store = tempfile::tempdir().unwrap();
    let options = options();
    let begin = async |most: usize, enough: usize| {
        let judge = |bytes: &[u8], size_bytes: u64| {
            assert_eq!(size_bytes, body.len() as u64);
            assert!(body.starts_with(bytes), "other bytes");
            (bytes.len() >= enough).then_some(bytes.len())
        };
        let observer = |_: Progress| {};
        let source = source(&host);
        begin(
            store.path(),
            &source,
            &options,
            &observer,
            most as u64,
            judge,
        )
        .await
    };
    let seen = begin(29 * MIB, MIB).await.unwrap().unwrap();
    assert!((MIB..3 * MIB).contains(&seen), "{seen}");
    // What lies in the buffers of a connection was sent too.
    let sent = host.served_bytes();
    assert!(sent < 16 * MIB as u64, "{sent} bytes for one MiB");
    assert_eq!(
        begin(4 * MIB, 5 * MIB).await.unwrap(),
        None,
        "it is never enough"
    );
    // Nothing would be spared.
    let before = host.served_bytes();
    assert_eq!(begin(31 * MIB, 0).await.unwrap(), None);
    host.change(|file| file.has_ranges = false);
    assert_eq!(begin(4 * MIB, 0).await.unwrap(), None);
    assert!(host.served_bytes() < before + body.len() as u64 + 2);
    host.judge(|_, _| Fault {
        status: Some(404),
        ..Fault::default()
    });
    let error = begin(4 * MIB, 0).await.unwrap_err();
    assert!(matches!(error, FetchError::NotThere { .. }), "{error}");
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_host_without_ranges_gives_the_whole_file() {
    let body = content(20, 14);
    let host = Host::new(body.clone()).await;
    host.change(|file| file.has_ranges = false);
    host.judge(|request, _| Fault {
        cut_after: (request.number == 1).then_some(5 * MIB),
        ..Fault::default()
    });
    let store = tempfile::tempdir().unwrap();
    check(&fetch_into(&store, &source(&host)).await.unwrap(), &body);
    host.judge(|request, _| Fault {
        cut_after: (request.number % 2 == 1).then_some(5 * MIB),
        ..Fault::default()
    });
    let store = tempfile::tempdir().unwrap();
    let error = fetch_into(&store, &source(&host)).await.unwrap_err();
    assert!(error.to_string().contains("as a whole only"), "{error}");
}

#[tokio::test]
async fn who_does_not_answer_is_waited_for_and_then_named() {
    let body = content(20, 15);
    let host = Host::new(body.clone()).await;
    host.judge(|request, _| Fault {
        cut_after: (request.number > 0).then_some(0),
        ..Fault::default()
    });
    let store = tempfile::tempdir().unwrap();
    let short = Options {
        patience: Duration::from_millis(1500),
        ..options()
    };
    let waits = AtomicUsize::new(0);
    let progress = |progress: Progress| {
        waits.fetch_add(
            usize::from(progress.waits_because.is_some()),
            Ordering::Relaxed,
        );
    };
    let begun = Instant::now();
    let error = fetch(store.path(), &source(&host), &short, &progress)
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Unreachable { kept_bytes: 0, .. }),
        "{error}"
    );
    assert!(waits.into_inner() > 1 && begun.elapsed() > short.patience);
    // Nobody at all.
    let nobody = Source {
        url: "http://127.0.0.1:9/model.gguf".to_owned(),
        size_bytes: None,
        sha256: None,
    };
    let short = Options {
        patience: Duration::ZERO,
        ..options()
    };
    let error = fetch(store.path(), &nobody, &short, &|_: Progress| {})
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("127.0.0.1:9 cannot be reached"),
        "{error}"
    );
}

#[tokio::test]
async fn answers_that_are_no_file_are_told_apart() {
    let host = Host::new(content(1, 16)).await;
    let store = tempfile::tempdir().unwrap();
    for (status, words) in [
        (404, "no such file"),
        (403, "accepted its terms"),
        (418, "answered with 418"),
    ] {
        host.judge(move |_, _| Fault {
            status: Some(status),
            ..Fault::default()
        });
        let error = fetch_into(&store, &source(&host)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    for to in ["/repo/model.gguf", "ftp://example.org/x"] {
        host.judge(move |_, _| Fault {
            location: Some(to.to_owned()),
            ..Fault::default()
        });
        let error = fetch_into(&store, &source(&host)).await.unwrap_err();
        assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
    }
    for url in ["", "model.gguf", "file:///etc/passwd", "https://"] {
        let none = Source {
            url: url.to_owned(),
            size_bytes: None,
            sha256: None,
        };
        let error = fetch_into(&store, &none).await.unwrap_err();
        assert!(matches!(error, FetchError::Address { .. }), "{error}");
    }
}

#[tokio::test]
async fn one_program_fetches_a_file_at_a_time() {
    let host = Host::new(content(8, 17)).await;
    let store = tempfile::tempdir().unwrap();
    let slow = Options {
        limit_bytes_per_s: Some(4 * MIB as u64),
        ..options()
    };
    let one = source(&host);
    let first = fetch(store.path(), &one, &slow, &|_: Progress| {});
    let second = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let busy = fetch_into(&store, &one).await.unwrap_err();
        (busy, discard(store.path(), &one.url))
    };
    let begun = Instant::now();
    let (fetched, (busy, discarded)) = tokio::join!(first, second);
    assert!(matches!(busy, FetchError::Busy), "{busy}");
    assert!(discarded.is_err());
    drop(fetched.unwrap());
    // 8 MiB at 4 MiB/s.
    assert!(
        begun.elapsed() > Duration::from_millis(1700),
        "{:?}",
        begun.elapsed()
    );
    assert!(discard(store.path(), &one.url).unwrap());
    assert!(!discard(store.path(), &one.url).unwrap());
}

#[tokio::test]
async fn a_proxy_is_used_and_a_bad_one_named() {
    let body = content(1, 18);
    let host = Host::new(body.clone()).await;
    let store = tempfile::tempdir().unwrap();
    let through = Options {
        proxy: Some(format!("http://{}", host.address())),
        ..options()
    };
    let far = Source {
        url: "http://models.example/a.gguf".to_owned(),
        size_bytes: None,
        sha256: None,
    };
    check(
        &fetch(store.path(), &far, &through, &|_: Progress| {})
            .await
            .unwrap(),
        &body,
    );
    assert_eq!(host.requests()[0].target, far.url);
    let bad = Options {
        proxy: Some("not a proxy".to_owned()),
        ..options()
    };
    let error = fetch(store.path(), &far, &bad, &|_: Progress| {})
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Proxy { .. }), "{error}");
}

/// Whatever lies where the state should be, the file comes.
#[tokio::test]
async fn a_damaged_state_is_begun_anew() {
    let body = content(20, 19);
    let host = Host::new(body.clone()).await;
    let store = tempfile::tempdir().unwrap();
    let slow = Options {
        limit_bytes_per_s: Some(8 * MIB as u64),
        ..options()
    };
    let one = source(&host);
    let dir = || {
        let mut entries = fs::read_dir(store.path().join(".downloading")).unwrap();
        entries.next().unwrap().unwrap().path()
    };
    for damage in ["", "{}", "nonsense"] {
        let first = fetch(store.path(), &one, &slow, &|_: Progress| {});
        assert!(
            tokio::time::timeout(Duration::from_millis(1300), first)
                .await
                .is_err()
        );
        fs::write(dir().join("state.json"), damage).unwrap();
        assert_eq!(unfinished(store.path()).unwrap(), []);
    }
    // The part is shorter than the state says.
    let first = fetch(store.path(), &one, &slow, &|_: Progress| {});
    assert!(
        tokio::time::timeout(Duration::from_millis(1300), first)
            .await
            .is_err()
    );
    fs::File::options()
        .write(true)
        .open(dir().join("part"))
        .unwrap()
        .set_len(5)
        .unwrap();
    check(&fetch_into(&store, &one).await.unwrap(), &body);
}
