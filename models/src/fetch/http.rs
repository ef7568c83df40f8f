//! Requests for a file and for parts of it. Follows redirections itself, to know whom it talks to.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_RANGE,
    LAST_MODIFIED, LOCATION, RANGE,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy, Response, StatusCode, Url};

use super::error::FetchError;
use super::{Observer, Options, Source};

/// Redirections of one request; Hugging Face needs one or two.
const MAX_REDIRECTIONS: usize = 8;
/// Where Hugging Face says the SHA-256 of a file, on the answer that leads to its store.
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");

/// Why a request did not give what was asked for.
#[derive(Debug)]
pub(super) enum Miss {
    /// It may work in a moment: words for the user.
    Now(String),
    /// What is known of the file is not true any more.
    Stale,
    /// It will not work.
    Never(FetchError),
}

/// A file, as its host describes it.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Where its bytes lie, after all redirections. May expire.
    pub(super) url: Url,
    pub(super) size_bytes: u64,
    pub(super) validator: Option<String>,
    /// What the host says that the content has.
    pub(super) sha256: Option<String>,
    /// Whether parts of it can be asked for.
    pub(super) has_ranges: bool,
}

/// Asks hosts, and remembers which.
pub(super) struct Http<'a> {
    client: Client,
    observer: &'a dyn Observer,
    hosts: Mutex<BTreeSet<String>>,
}

impl<'a> Http<'a> {
    pub(super) fn new(options: &Options, observer: &'a dyn Observer) -> Result<Self, FetchError> {
        let mut builder = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(options.stall.min(Duration::from_secs(15)))
            .read_timeout(options.stall)
            .user_agent(concat!("Satchel/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &options.proxy {
            let refused = |error: reqwest::Error| FetchError::Proxy {
                proxy: proxy.clone(),
                reason: words_of(&error),
            };
            builder = builder.proxy(Proxy::all(proxy).map_err(refused)?);
        }
        let client = builder.build().map_err(|error| FetchError::Proxy {
            proxy: options.proxy.clone().unwrap_or_default(),
            reason: words_of(&error),
        })?;
        Ok(Self {
            client,
            observer,
            hosts: Mutex::default(),
        })
    }

    /// The hosts that were asked.
    pub(super) fn hosts(&self) -> Vec<String> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.iter().cloned().collect()
    }

    /// Asks what a host has at an address, by its first byte.
    pub(super) async fn find(&self, url: &Url, source: &Source) -> Result<Found, Miss> {
        let (response, linked) = self.get(url, Some(0..1), None).await?;
        let host = host_of(url);
        let has_ranges = response.status() == StatusCode::PARTIAL_CONTENT;
        let size_bytes = if has_ranges {
            total_of(response.headers())
        } else {
            number_in(response.headers(), &CONTENT_LENGTH)
        };
        let size_bytes = size_bytes.filter(|size| *size > 0);
        let size_bytes =
            size_bytes.ok_or_else(|| Miss::Never(FetchError::NoLength { host: host.clone() }))?;
        if let Some(expected_bytes) = source.size_bytes.filter(|size| *size != size_bytes) {
            return Err(Miss::Never(FetchError::OtherLength {
                host,
                expected_bytes,
                actual_bytes: size_bytes,
            }));
        }
        Ok(Found {
            size_bytes,
            validator: validator_of(response.headers()),
            sha256: linked,
            has_ranges,
            url: response.url().clone(),
        })
    }

    /// Asks for a part of a file that was found; the answer begins at the start of the range.
    pub(super) async fn part(&self, found: &Found, range: Range<u64>) -> Result<Response, Miss> {
        let validator = found.validator.as_deref();
        let (response, _) = self.get(&found.url, Some(range.clone()), validator).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let begins_there = start_of(response.headers()) == Some(range.start);
                let is_same = total_of(response.headers()) == Some(found.size_bytes)
                    && (validator.is_none() || validator_of(response.headers()) == found.validator);
                if begins_there && is_same {
                    Ok(response)
                } else {
                    Err(Miss::Stale)
                }
            }
            // The whole file: all right from the start, else it is another version of it.
            _ if range.start == 0 && !found.has_ranges => Ok(response),
            _ => Err(Miss::Stale),
        }
    }

    /// What a host says at an address, where that is short.
    pub(super) async fn answer(&self, url: &Url, most_bytes: usize) -> Result<Vec<u8>, Miss> {
        let (mut response, _) = self.get(url, None, None).await?;
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if bytes.len() + piece.len() <= most_bytes => {
                    bytes.extend_from_slice(&piece);
                }
                Ok(Some(_)) => return Err(Miss::Now("its answer is too long".to_owned())),
                Ok(None) => return Ok(bytes),
                Err(error) => return Err(Miss::Now(words_of(&error))),
            }
        }
    }

    /// The answer, and the SHA-256 that a host on the way said.
    async fn get(
        &self,
        url: &Url,
        range: Option<Range<u64>>,
        validator: Option<&str>,
    ) -> Result<(Response, Option<String>), Miss> {
        let mut at = url.clone();
        let mut sha256 = None;
        for _ in 0..MAX_REDIRECTIONS {
            let host = host_of(&at);
            let is_new = {
                let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
                hosts.insert(host.clone())
            };
            if is_new {
                self.observer.contacted(&host);
            }
            let mut request = self
                .client
                .get(at.clone())
                .header(ACCEPT_ENCODING, "identity");
            if let Some(range) = &range {
                request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
            }
            if let Some(validator) = validator {
                request = request.header(IF_RANGE, validator);
            }
            let response = request
                .send()
                .await
                .map_err(|error| Miss::Now(words_of(&error)))?;
            sha256 = sha256.or_else(|| sha256_in(response.headers()));
            let status = response.status();
            if !status.is_redirection() {
                return match status {
                    StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok((response, sha256)),
                    StatusCode::RANGE_NOT_SATISFIABLE => Err(Miss::Stale),
                    _ => Err(refused(host, status)),
                };
            }
            let to = response.headers().get(LOCATION);
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or_default();
            let next = at.join(to).ok().filter(|next| {
                next.scheme() == "https" || (next.scheme() == "http" && at.scheme() == "http")
            });
            at = next.ok_or_else(|| {
                Miss::Never(FetchError::Redirect {
                    host,
                    to: to.to_owned(),
                })
            })?;
        }
        Err(Miss::Never(FetchError::Redirect {
            host: host_of(url),
            to: at.to_string(),
        }))
    }
}

fn refused(host: String, status: StatusCode) -> Miss {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Miss::Never(FetchError::Forbidden { host })
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Miss::Never(FetchError::NotThere { host }),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Miss::Now(format!("{host} is busy"))
        }
        status if status.is_server_error() => {
            Miss::Now(format!("{host} answered with {}", status.as_u16()))
        }
        status => Miss::Never(FetchError::Status {
            host,
            status: status.as_u16(),
        }),
    }
}

/// The host of an address, with its port where that is not the usual one.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The innermost cause, which names what happened; the outer ones repeat the address.
pub(super) fn words_of(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What tells versions of a file apart: a strong `ETag`, else when it was changed last.
fn validator_of(headers: &HeaderMap) -> Option<String> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
    text(&ETAG)
        .filter(|tag| !tag.starts_with("W/"))
        .or_else(|| text(&LAST_MODIFIED))
}

fn sha256_in(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(LINKED_ETAG)?.to_str().ok()?;
    let tag = tag.trim_matches('"').to_ascii_lowercase();
    let is_sha256 = tag.len() == 64 && tag.chars().all(|c| c.is_ascii_hexdigit());
    is_sha256.then_some(tag)
}

fn number_in(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// `bytes 10-19/100` gives 100.
fn total_of(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.rsplit_once('/')?.1.trim().parse().ok()
}

/// `bytes 10-19/100` gives 10.
fn start_of(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let range = text.trim().strip_prefix("bytes")?.trim();
    range.split_once('-')?.0.trim().parse().ok()
}
