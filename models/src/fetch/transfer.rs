//! Brings the missing parts of one version of a file: several connections, hashing and noting beside them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::FetchError;
use super::http::{Found, Http, Miss, host_of, words_of};
use super::limit::Limit;
use super::part::{Part, hash_on};
use super::ranges::Ranges;
use super::{Observer, Options, Progress};

/// What one request asks for: long enough that asking costs nothing beside it, short enough that a connection that
/// breaks or is slow loses little.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Written to the disk at a time.
const WRITE_BYTES: usize = 1 << 20;
/// How often what has come is noted: what a crash can take.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// First wait after a failure; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Why a transfer ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file has changed, or is elsewhere now: ask for it again.
    Stale,
    /// Nothing more can be done.
    Failed(FetchError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(FetchError::Write(error))
    }
}

/// One version of a file on its way.
pub(super) struct Transfer<'a> {
    http: &'a Http<'a>,
    found: &'a Found,
    options: &'a Options,
    limit: &'a Limit,
    observer: &'a dyn Observer,
    moving: Mutex<Moving>,
    /// More of the file is there.
    news: Notify,
}

/// What changes while it runs.
struct Moving {
    part: Part,
    in_flight: Vec<Range<u64>>,
    heard_at: Instant,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        http: &'a Http<'a>,
        found: &'a Found,
        options: &'a Options,
        limit: &'a Limit,
        observer: &'a dyn Observer,
        part: Part,
    ) -> Self {
        Self {
            http,
            found,
            options,
            limit,
            observer,
            moving: Mutex::new(Moving {
                part,
                in_flight: Vec::new(),
                heard_at: Instant::now(),
            }),
            news: Notify::new(),
        }
    }

    /// Brings everything that is missing, and gives the SHA-256 of the whole.
    pub(super) async fn run(&self) -> Result<[u8; 32], Stop> {
        let connections = if self.found.has_ranges {
            self.options.connections.max(1)
        } else {
            1
        };
        let bring = async {
            let workers = (0..connections).map(|_| self.work());
            let ((), hash) =
                tokio::try_join!(async { try_join_all(workers).await.map(drop) }, self.hash())?;
            Ok::<_, Stop>(hash)
        };
        let ended = tokio::select! {
            ended = bring => ended,
            failed = self.keep_noting() => failed.map(|never| match never {}),
        };
        self.note().await?;
        ended
    }

    /// The part, when nothing runs any more.
    pub(super) fn into_part(self) -> Part {
        let moving = self.moving.into_inner();
        moving.unwrap_or_else(PoisonError::into_inner).part
    }

    fn moving(&self) -> MutexGuard<'_, Moving> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches segment after segment.
    async fn work(&self) -> Result<(), Stop> {
        let mut wait = FIRST_WAIT;
        while let Some(segment) = self.take_segment() {
            let mut at = segment.start;
            let ended = self.fetch(&segment, &mut at).await;
            self.moving().in_flight.retain(|other| *other != segment);
            match ended {
                Ok(()) => wait = FIRST_WAIT,
                Err(Miss::Stale) => return Err(Stop::Stale),
                // What a signed address led to expires.
                Err(Miss::Never(FetchError::Forbidden { .. } | FetchError::NotThere { .. })) => {
                    return Err(Stop::Stale);
                }
                Err(Miss::Never(error)) => return Err(Stop::Failed(error)),
                // It can be had from its beginning only.
                Err(Miss::Now(_)) if !self.found.has_ranges && at > 0 => return Err(Stop::Stale),
                Err(Miss::Now(reason)) => {
                    if at > segment.start {
                        wait = FIRST_WAIT;
                    }
                    self.failed(reason)?;
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
        Ok(())
    }

    /// The first range that is neither there nor on its way.
    fn take_segment(&self) -> Option<Range<u64>> {
        let mut moving = self.moving();
        let mut taken: Ranges = moving.part.done().clone();
        for range in &moving.in_flight {
            taken.insert(range.clone());
        }
        let longest = if self.found.has_ranges {
            SEGMENT_BYTES
        } else {
            u64::MAX
        };
        let segment = taken.first_gap(self.found.size_bytes, longest)?;
        moving.in_flight.push(segment.clone());
        Some(segment)
    }

    /// Gives up when nothing has come for a long time; else says why nothing comes.
    fn failed(&self, reason: String) -> Result<(), Stop> {
        let (heard_at, done_bytes) = {
            let moving = self.moving();
            (moving.heard_at, moving.part.done().len())
        };
        if heard_at.elapsed() >= self.options.patience {
            return Err(Stop::Failed(FetchError::Unreachable {
                host: host_of(&self.found.url),
                reason,
                kept_bytes: done_bytes,
            }));
        }
        self.observer.progress(Progress {
            done_bytes,
            total_bytes: self.found.size_bytes,
            waits_because: Some(reason),
        });
        Ok(())
    }

    /// Fetches one range; `at` says how far it came.
    async fn fetch(&self, segment: &Range<u64>, at: &mut u64) -> Result<(), Miss> {
        let mut response = self.http.part(self.found, segment.clone()).await?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        while *at + (buffer.len() as u64) < segment.end {
            let ended = match response.chunk().await {
                Ok(Some(bytes)) => {
                    let wanted = segment.end - *at - buffer.len() as u64;
                    let len = bytes
                        .len()
                        .min(usize::try_from(wanted).unwrap_or(usize::MAX));
                    buffer.extend_from_slice(&bytes[..len]);
                    self.limit.take(len as u64).await;
                    None
                }
                Ok(None) => Some("the connection ended early".to_owned()),
                Err(error) => Some(words_of(&error)),
            };
            let is_all = *at + buffer.len() as u64 == segment.end;
            if buffer.len() >= WRITE_BYTES || is_all || ended.is_some() {
                self.write(&mut buffer, at).await?;
            }
            if let Some(reason) = ended {
                return Err(Miss::Now(reason));
            }
        }
        Ok(())
    }

    async fn write(&self, buffer: &mut Vec<u8>, at: &mut u64) -> Result<(), Miss> {
        if buffer.is_empty() {
            return Ok(());
        }
        let refused = |error| Miss::Never(FetchError::Write(error));
        let file = self.moving().part.file().map_err(refused)?;
        let (bytes, start) = (std::mem::take(buffer), *at);
        let (mut bytes, len) = off_thread(move || {
            use std::os::unix::fs::FileExt;
            file.write_all_at(&bytes, start)?;
            let len = bytes.len() as u64;
            Ok((bytes, len))
        })
        .await
        .map_err(refused)?;
        bytes.clear();
        *buffer = bytes;
        *at += len;
        let done_bytes = {
            let mut moving = self.moving();
            moving.part.wrote(start..*at);
            moving.heard_at = Instant::now();
            moving.part.done().len()
        };
        self.observer.progress(Progress {
            done_bytes,
            total_bytes: self.found.size_bytes,
            waits_because: None,
        });
        self.news.notify_one();
        Ok(())
    }

    /// Hashes what is there without a gap, until that is everything.
    async fn hash(&self) -> Result<[u8; 32], Stop> {
        let mut file: File = self.moving().part.file()?;
        let (mut hash, mut at) = (Sha256::new(), 0);
        while at < self.found.size_bytes {
            let there = self.moving().part.done().prefix();
            if there <= at {
                self.news.notified().await;
                continue;
            }
            (hash, file, at) = off_thread(move || {
                let at = hash_on(&mut hash, &file, at, there)?;
                Ok((hash, file, at))
            })
            .await?;
        }
        Ok(hash.finalize().into())
    }

    async fn keep_noting(&self) -> Result<std::convert::Infallible, Stop> {
        let mut noted = 0;
        loop {
            tokio::time::sleep(NOTE_EVERY).await;
            let done = self.moving().part.done().len();
            if done != noted {
                self.note().await?;
                noted = done;
            }
        }
    }

    async fn note(&self) -> Result<(), Stop> {
        let note = self.moving().part.to_note()?;
        Ok(off_thread(move || note.write()).await?)
    }
}

/// Does work that waits for the disk.
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}
