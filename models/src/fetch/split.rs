//! The files of a split model, fetched one after another.
//!
//! Each is a download of its own, which goes on where it stopped. Start at [`parts_of`] and [`fetch_all`].

use std::path::Path;

use super::error::FetchError;
use super::http::Http;
use super::transfer::off_thread;
use super::{
    Fetched, Observer, Options, Progress, RESERVE_BYTES, Source, address, fetch, find, unfinished,
};
use crate::durable;
use crate::gguf::PartName;

/// All files of the model to which this one belongs, as its name says: the parts of a split model
/// (`NAME-00001-of-00003.gguf`) from the first, else the file itself.
#[must_use]
pub fn parts_of(source: &Source) -> Vec<Source> {
    let (folder, name, rest) = cut(&source.url);
    let Some(part) = PartName::parse(name) else {
        return vec![source.clone()];
    };
    let parts = part.all().map(|other| {
        if other == part {
            return source.clone();
        }
        Source {
            url: format!("{folder}{}{rest}", other.file_name()),
            size_bytes: None,
            sha256: None,
        }
    });
    parts.collect()
}

/// Fetches files one after another, each as [`fetch`](fetch()) does; progress counts over all of them.
///
/// Of more than one file, it is asked first how long each is, and whether the disk has room for all of them and for the
/// file that they make. Dropping the future pauses.
///
/// # Errors
/// [`FetchError`]. What has come stays for the next time, unless its content is wrong.
pub async fn fetch_all(
    store: &Path,
    sources: &[Source],
    options: &Options,
    observer: &dyn Observer,
) -> Result<Vec<Fetched>, FetchError> {
    if let [source] = sources {
        return Ok(vec![fetch(store, source, options, observer).await?]);
    }
    let mut sizes_bytes = Vec::new();
    for source in sources {
        let http = Http::new(options, observer)?;
        let url = address(source)?;
        let found = find(&http, &url, source, store, options, observer).await?;
        sizes_bytes.push(found.size_bytes);
    }
    let total_bytes = sizes_bytes
        .iter()
        .fold(0_u64, |sum, size| sum.saturating_add(*size));
    require_space(store, sources, total_bytes).await?;
    let (mut all, mut before_bytes) = (Vec::new(), 0_u64);
    for (source, size_bytes) in sources.iter().zip(sizes_bytes) {
        let observer = OfAll {
            observer,
            before_bytes,
            total_bytes,
        };
        all.push(fetch(store, source, options, &observer).await?);
        before_bytes = before_bytes.saturating_add(size_bytes);
    }
    Ok(all)
}

/// Room for what is missing of the files, and for the file that they make.
async fn require_space(
    store: &Path,
    sources: &[Source],
    total_bytes: u64,
) -> Result<(), FetchError> {
    let dir = store.to_owned();
    let known = off_thread(move || Ok((unfinished(&dir)?, durable::free_bytes(&dir)?)));
    let (unfinished, free_bytes) = known.await.map_err(FetchError::Write)?;
    let is_wanted = |url: &str| sources.iter().any(|source| source.url == url);
    let done_bytes: u64 = unfinished
        .iter()
        .filter(|known| is_wanted(&known.url))
        .map(|known| known.done_bytes)
        .sum();
    let needed_bytes = total_bytes
        .saturating_mul(2)
        .saturating_sub(done_bytes)
        .saturating_add(RESERVE_BYTES);
    if needed_bytes > free_bytes {
        return Err(FetchError::NoSpace {
            needed_bytes,
            free_bytes,
        });
    }
    Ok(())
}

/// Tells of one file as a part of all.
struct OfAll<'a> {
    observer: &'a dyn Observer,
    /// Bytes of the files before this one.
    before_bytes: u64,
    total_bytes: u64,
}

impl Observer for OfAll<'_> {
    fn progress(&self, progress: Progress) {
        self.observer.progress(Progress {
            done_bytes: self.before_bytes.saturating_add(progress.done_bytes),
            total_bytes: self.total_bytes,
            ..progress
        });
    }

    fn contacted(&self, host: &str) {
        self.observer.contacted(host);
    }
}

/// Name of the file at an address: its last part, without what follows a question mark.
pub(crate) fn file_name_of(url: &str) -> &str {
    cut(url).1
}

/// What is before the name of the file, the name, and what follows it.
fn cut(url: &str) -> (&str, &str, &str) {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let start = url[..end].rfind('/').map_or(0, |at| at + 1);
    (&url[..start], &url[start..end], &url[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_all_parts() {
        let source = |url: &str, size_bytes| Source {
            url: url.to_owned(),
            size_bytes,
            sha256: None,
        };
        assert_eq!(
            parts_of(&source("https://h/r/m-00002-of-00002.gguf?x=a/b", Some(7))),
            [
                source("https://h/r/m-00001-of-00002.gguf?x=a/b", None),
                source("https://h/r/m-00002-of-00002.gguf?x=a/b", Some(7)),
            ]
        );
        let whole = source("https://h/r/m.gguf", Some(7));
        assert_eq!(parts_of(&whole), [whole]);
    }
}
