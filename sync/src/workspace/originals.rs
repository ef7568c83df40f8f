//! Original files, kept whole, sealed, under a name that does not tell their content.
//!
//! A file is a log of frames: the first holds the length and the hash of the content, the others up to 4 MiB of
//! it each, so that a missing end is noticed. Never changed after it was written. Start at [`encode`].

use std::path::{Path, PathBuf};

use super::ORIGINALS;
use super::error::SaveError;
use crate::id::{ContentHash, to_hex};
use crate::log::{FileName, LogFile, MAX_LOG_BYTES};
use crate::seal::{FileKind, WorkspaceKeys};

/// Content of one frame, in bytes.
const PART_BYTES: usize = 4 << 20;
/// Longest original that is kept, in bytes: a file of the longest readable length, less room for its frames.
pub(super) const MAX_ORIGINAL_BYTES: u64 = MAX_LOG_BYTES - (1 << 20);

/// Ending of the names of originals.
pub(super) const SUFFIX: &str = ".sealed";

/// Where an original is kept.
pub(super) fn path(keys: &WorkspaceKeys, dir: &Path, content: &ContentHash) -> PathBuf {
    let name = to_hex(&keys.original_name(content));
    dir.join(ORIGINALS)
        .join(&name[..2])
        .join(format!("{name}{SUFFIX}"))
}

/// The bytes of the file for an original.
pub(super) fn encode(keys: &WorkspaceKeys, content: &ContentHash, bytes: &[u8]) -> Vec<u8> {
    let mut first = (bytes.len() as u64).to_le_bytes().to_vec();
    first.extend_from_slice(&content.0);
    let frames: Vec<&[u8]> = std::iter::once(first.as_slice())
        .chain(bytes.chunks(PART_BYTES))
        .collect();
    LogFile::new(keys, name(keys, content)).encode(&frames)
}

/// Reads an original and compares it with its hash.
///
/// # Errors
/// [`SaveError::Damaged`] when it is missing or differs in any bit. The file is left alone.
pub(super) fn read(
    keys: &WorkspaceKeys,
    dir: &Path,
    content: &ContentHash,
) -> Result<Vec<u8>, SaveError> {
    let path = path(keys, dir, content);
    let scan = LogFile::new(keys, name(keys, content)).read(&path)?;
    let bytes = match scan.frames.split_first() {
        Some((first, parts)) if scan.damage.is_none() && first.get(8..) == Some(&content.0[..]) => {
            parts.concat()
        }
        _ => return Err(SaveError::Damaged { path }),
    };
    if ContentHash::of(&bytes) != *content {
        return Err(SaveError::Damaged { path });
    }
    Ok(bytes)
}

fn name(keys: &WorkspaceKeys, content: &ContentHash) -> FileName {
    FileName {
        kind: FileKind::Original,
        id: keys.original_name(content),
    }
}
