//! What can go wrong in a download, in words for the user.

use std::io;

/// Why a file was not fetched. What has come is kept unless the words say otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The address is none that can be fetched.
    #[error("{url} is no address of a file: it must begin with https:// or http://")]
    Address {
        /// What was given.
        url: String,
    },
    /// The proxy is none.
    #[error("{proxy} is no address of a proxy: {reason}")]
    Proxy {
        /// What was given.
        proxy: String,
        /// Why.
        reason: String,
    },
    /// Nobody answered for a long time.
    #[error(
        "{host} cannot be reached ({reason}); {kept_bytes} bytes are kept, and the same download goes on from there"
    )]
    Unreachable {
        /// Which host.
        host: String,
        /// The last failure.
        reason: String,
        /// What is on the disk.
        kept_bytes: u64,
    },
    /// A question to the host has no answer that can be used.
    #[error("{host} gives no answer to that ({reason}); try again later")]
    NoAnswer {
        /// Which host.
        host: String,
        /// Why.
        reason: String,
    },
    /// The host has no such file.
    #[error("{host} has no such file: it may have been renamed or withdrawn")]
    NotThere {
        /// Which host.
        host: String,
    },
    /// The host wants to know who asks.
    #[error(
        "{host} gives this file only to those who have accepted its terms there: fetch it with a browser and import the file"
    )]
    Forbidden {
        /// Which host.
        host: String,
    },
    /// The host answered with something else.
    #[error("{host} answered with {status} instead of the file")]
    Status {
        /// Which host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// An encrypted address led to a plain one, or in a circle.
    #[error("{host} sends the download to a place where it must not go: {to}")]
    Redirect {
        /// Which host.
        host: String,
        /// Where it pointed.
        to: String,
    },
    /// The host did not say how long the file is, or something impossible.
    #[error("{host} does not say how long the file is")]
    NoLength {
        /// Which host.
        host: String,
    },
    /// The host has a file of another length.
    #[error(
        "{host} has a file of {actual_bytes} bytes instead of {expected_bytes}: it is not the one that is meant"
    )]
    OtherLength {
        /// Which host.
        host: String,
        /// What it should have.
        expected_bytes: u64,
        /// What it has.
        actual_bytes: u64,
    },
    /// The file was another one each time.
    #[error("the file on {host} keeps changing while it is fetched; try again later")]
    KeepsChanging {
        /// Which host.
        host: String,
    },
    /// The content is not what it should be. It was thrown away.
    #[error(
        "what {host} sent is not the file that is meant (its SHA-256 is {actual_sha256} instead of {expected_sha256}); it was thrown away"
    )]
    OtherContent {
        /// Which host.
        host: String,
        /// What it should be.
        expected_sha256: String,
        /// What it is.
        actual_sha256: String,
    },
    /// The disk has not enough room.
    #[error(
        "the download needs {needed_bytes} bytes more on the disk and {free_bytes} are free; make room and try again"
    )]
    NoSpace {
        /// Bytes that are still needed, a reserve included.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// Another program is fetching the same file.
    #[error("this file is being fetched by another program already")]
    Busy,
    /// The disk refused.
    #[error("cannot write the download ({0})")]
    Write(#[source] io::Error),
}
