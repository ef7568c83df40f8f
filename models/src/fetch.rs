//! Brings a model file from the network into the store, and goes on where it stopped.
//!
//! A file comes in parts over several connections; each part is on the disk, and noted there, before it counts. So
//! neither a lost network nor a killed program begins anew: the same call goes on. Dropping the future pauses.
//! What the host has must be what the caller expects (length, SHA-256); a file that changes meanwhile is begun anew.
//! Start at [`fetch`]; [`ModelStore::adopt`](crate::ModelStore::adopt) makes an installed model of what came. Of a split
//! model, [`parts_of`], [`fetch_all`] and [`ModelStore::adopt_all`](crate::ModelStore::adopt_all) do the same.
//!
//! Needs a tokio runtime; the rest of this crate blocks.

pub mod hub;

mod error;
mod http;
mod limit;
mod part;
mod ranges;
mod split;
mod transfer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use tokio::time::Instant;

pub use error::FetchError;
use http::{Found, Http, Miss, host_of};
use limit::Limit;
use part::{Part, State, Whole};
pub(crate) use split::file_name_of;
pub use split::{fetch_all, parts_of};
use transfer::{Stop, Transfer, off_thread};

use crate::durable;

/// Left free on the disk after a download, so that documents can still be saved.
const RESERVE_BYTES: u64 = 256 << 20;
/// Versions of a file, or expired addresses, that are gone along with while nothing of it comes.
const MAX_IDLE_ROUNDS: u32 = 3;
/// Wait before a host that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Bytes after which the beginning of a file is first looked at.
const FIRST_LOOK_BYTES: usize = 512 << 10;

/// A file to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its address. `http://` is for a mirror in the own network: then only [`Source::sha256`] proves anything.
    pub url: String,
    /// Its length in bytes, where it is known exactly.
    pub size_bytes: Option<u64>,
    /// Its SHA-256 in lower-case hex, where it is known. Else the one that Hugging Face names counts.
    pub sha256: Option<String>,
}

/// How to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Parts that are fetched at once. Four: what a host far away needs to fill a line that it would fill near by.
    pub connections: usize,
    /// Bytes per second over all connections; `None` takes what there is.
    pub limit_bytes_per_s: Option<u64>,
    /// `http://host:port` or `socks5://…`; `None` takes what the environment says (`HTTPS_PROXY`).
    pub proxy: Option<String>,
    /// How long a connection may say nothing before another is made.
    pub stall: Duration,
    /// How long nothing may come at all before it is given up; what has come stays.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 4,
            limit_bytes_per_s: None,
            proxy: None,
            stall: Duration::from_secs(20),
            patience: Duration::from_secs(300),
        }
    }
}

/// How far a download has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Bytes on the disk.
    pub done_bytes: u64,
    /// Bytes of the file.
    pub total_bytes: u64,
    /// Why nothing comes at the moment, in words for the user.
    pub waits_because: Option<String>,
}

/// Who wants to know how a download goes. A function of [`Progress`] is one.
pub trait Observer: Send + Sync {
    /// More has come, or nothing comes for a reason.
    fn progress(&self, progress: Progress);

    /// A host is about to be asked, for the first time in this download.
    fn contacted(&self, host: &str) {
        let _ = host;
    }
}

impl<F: Fn(Progress) + Send + Sync> Observer for F {
    fn progress(&self, progress: Progress) {
        self(progress);
    }
}

/// A file that has come and is what it should be. Dropped, it stays on the disk and the next [`fetch`] finds it.
#[derive(Debug)]
pub struct Fetched {
    whole: Whole,
    /// SHA-256 of the content, in lower-case hex.
    pub sha256: String,
    /// Where it came from.
    pub url: String,
    /// Every host that was asked.
    pub hosts: Vec<String>,
}

impl Fetched {
    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.whole.path()
    }

    /// Removes the file, where it has not been moved, and what was noted of it.
    pub(crate) fn clear(self) -> std::io::Result<()> {
        self.whole.clear()
    }
}

/// A download that was not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The address.
    pub url: String,
    /// Bytes on the disk.
    pub done_bytes: u64,
    /// Bytes of the file.
    pub total_bytes: u64,
}

/// The downloads in the folder of a store that were not finished. Blocks on the disk.
///
/// # Errors
/// When the folder cannot be read.
pub fn unfinished(store: &Path) -> std::io::Result<Vec<Unfinished>> {
    let states = part::unfinished(store)?.into_iter();
    let mut all: Vec<Unfinished> = states
        .map(|state| Unfinished {
            done_bytes: state.done_bytes(),
            total_bytes: state.size_bytes,
            url: state.url,
        })
        .collect();
    all.sort_by(|one, other| one.url.cmp(&other.url));
    Ok(all)
}

/// Throws away what has come of a file; says whether there was anything. Blocks on the disk.
///
/// # Errors
/// When it is being fetched, or cannot be removed.
pub fn discard(store: &Path, url: &str) -> std::io::Result<bool> {
    part::discard(&part::dir_of(store, url))
}

/// Fetches a file into the folder of a store, or goes on with it. Dropping the future pauses it.
///
/// `observer` hears of each MiB, of what nothing comes for, and of each host before it is asked.
///
/// # Errors
/// [`FetchError`]. What has come stays for the next time, unless its content is wrong.
pub async fn fetch(
    store: &Path,
    source: &Source,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Fetched, FetchError> {
    let url = address(source)?;
    let host = host_of(&url);
    let (http, limit) = (
        Http::new(options, observer)?,
        Limit::new(options.limit_bytes_per_s),
    );
    let mut idle_rounds = 0;
    loop {
        let found = find(&http, &url, source, store, options, observer).await?;
        let part = open(store, source, &found).await?;
        let before = part.done().len();
        let transfer = Transfer::new(&http, &found, options, &limit, observer, part);
        let ended = transfer.run().await;
        let part = transfer.into_part();
        match ended {
            Ok(hash) => {
                let actual_sha256 = crate::store::hex(&hash);
                if let Some(expected_sha256) = part.state().sha256.clone()
                    && expected_sha256 != actual_sha256
                {
                    off_thread(move || part.throw_away())
                        .await
                        .map_err(FetchError::Write)?;
                    return Err(FetchError::OtherContent {
                        host,
                        expected_sha256,
                        actual_sha256,
                    });
                }
                return Ok(Fetched {
                    whole: off_thread(move || part.finish())
                        .await
                        .map_err(FetchError::Write)?,
                    sha256: actual_sha256,
                    url: source.url.clone(),
                    hosts: http.hosts(),
                });
            }
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Stale) => {
                let has_come = found.has_ranges && part.done().len() > before;
                idle_rounds = if has_come { 0 } else { idle_rounds + 1 };
                if idle_rounds < MAX_IDLE_ROUNDS {
                    continue;
                }
                return Err(if found.has_ranges {
                    FetchError::KeepsChanging { host }
                } else {
                    FetchError::Unreachable {
                        host,
                        reason: "it gives the file as a whole only, and the connection ended early each time".to_owned(),
                        kept_bytes: 0,
                    }
                });
            }
        }
    }
}

/// Shows the beginning of a file to `judge` before all of it is fetched.
///
/// `judge` gets what has come and the length of the file, each time that the beginning is twice as long, until it gives
/// a value or `most` bytes have come. `None` where it gave none, and where asking would not spare anything: a part of
/// the file has come already, it is hardly longer than `most`, its host gives no parts, or does not answer now, which
/// [`fetch`](fetch()) has more patience for.
///
/// # Errors
/// [`FetchError`], where asking again would not help.
pub async fn begin<T>(
    store: &Path,
    source: &Source,
    options: &Options,
    observer: &dyn Observer,
    most: u64,
    judge: impl Fn(&[u8], u64) -> Option<T>,
) -> Result<Option<T>, FetchError> {
    let url = address(source)?;
    let dir = store.to_owned();
    let begun = off_thread(move || part::unfinished(&dir)).await;
    let begun = begun.unwrap_or_default();
    if begun.iter().any(|known| known.url == source.url) {
        return Ok(None);
    }
    let http = Http::new(options, observer)?;
    let found = match http.find(&url, source).await {
        Ok(found) if found.has_ranges && found.size_bytes > 2 * most => found,
        Err(Miss::Never(error)) => return Err(error),
        _ => return Ok(None),
    };
    let Ok(mut response) = http.part(&found, 0..most).await else {
        return Ok(None);
    };
    let limit = Limit::new(options.limit_bytes_per_s);
    let (mut bytes, mut wanted) = (Vec::new(), FIRST_LOOK_BYTES);
    while let Ok(Some(piece)) = response.chunk().await {
        limit.take(piece.len() as u64).await;
        bytes.extend_from_slice(&piece);
        if bytes.len() >= wanted || bytes.len() as u64 >= most {
            wanted = 2 * bytes.len();
            let judged = judge(&bytes, found.size_bytes);
            if judged.is_some() {
                return Ok(judged);
            }
        }
    }
    Ok(None)
}

fn address(source: &Source) -> Result<Url, FetchError> {
    let url = Url::parse(&source.url).ok();
    let url = url.filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
    url.ok_or_else(|| FetchError::Address {
        url: source.url.clone(),
    })
}

/// Asks for the file until the host answers.
async fn find(
    http: &Http<'_>,
    url: &Url,
    source: &Source,
    store: &Path,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Found, FetchError> {
    let begun = Instant::now();
    loop {
        let reason = match http.find(url, source).await {
            Ok(found) => return Ok(found),
            Err(Miss::Never(error)) => return Err(error),
            Err(Miss::Now(reason)) => reason,
            Err(Miss::Stale) => "it has no first byte".to_owned(),
        };
        let dir = store.to_owned();
        let known = off_thread(move || part::unfinished(&dir)).await;
        let known = known.unwrap_or_default();
        let known = known.iter().find(|known| known.url == source.url);
        let done_bytes = known.map_or(0, State::done_bytes);
        if begun.elapsed() >= options.patience {
            return Err(FetchError::Unreachable {
                host: host_of(url),
                reason,
                kept_bytes: done_bytes,
            });
        }
        observer.progress(Progress {
            done_bytes,
            total_bytes: known.map_or(source.size_bytes.unwrap_or(0), |known| known.size_bytes),
            waits_because: Some(reason),
        });
        tokio::time::sleep(ASK_AGAIN.min(options.patience)).await;
    }
}

/// Opens what has come of this version of the file, and checks that the rest has room.
async fn open(store: &Path, source: &Source, found: &Found) -> Result<Part, FetchError> {
    let sha256 = source.sha256.clone().or_else(|| found.sha256.clone());
    let validator = found.validator.clone();
    let state = State::new(source.url.clone(), found.size_bytes, validator, sha256);
    let (dir, can_go_on): (PathBuf, bool) = (store.to_owned(), found.has_ranges);
    let opened = off_thread(move || {
        let part = Part::open(&dir, state, can_go_on)?;
        Ok((part, durable::free_bytes(&dir)?))
    });
    let (part, free_bytes) = opened.await.map_err(FetchError::Write)?;
    let part = part.ok_or(FetchError::Busy)?;
    let missing_bytes = found.size_bytes - part.done().len();
    let needed_bytes = missing_bytes.saturating_add(RESERVE_BYTES);
    if missing_bytes > 0 && needed_bytes > free_bytes {
        return Err(FetchError::NoSpace {
            needed_bytes,
            free_bytes,
        });
    }
    Ok(part)
}
