//! Files that may be lost, sealed like all others: what can be made again from the documents, at some cost.
//!
//! Lies wherever the caller wants it, in practice beside the index; never synced. Start at [`Workspace::write_cache`].

use std::path::Path;

use super::Workspace;
use super::error::SaveError;
use crate::durable;
use crate::log::{FileName, LogFile, MAX_LOG_BYTES};
use crate::seal::FileKind;

/// Longest part that is sealed as one, in bytes.
const PART_BYTES: usize = 4 << 20;
/// Longest content of a cache file, in bytes: what is read at once, less room for seals and lengths.
pub const MAX_CACHE_BYTES: usize = (MAX_LOG_BYTES - (1 << 20)) as usize;

impl Workspace {
    /// Writes a cache file that belongs to `id`, replacing what was there. `head` and `body` come back as they are.
    ///
    /// Blocks: seals and writes at some hundred MiB/s.
    ///
    /// # Errors
    /// [`SaveError::NoSpace`] and whatever else the file system says, also where both together are longer than
    /// [`MAX_CACHE_BYTES`]; the file is then as before.
    pub fn write_cache(
        &self,
        path: &Path,
        id: [u8; 16],
        head: &[u8],
        body: &[u8],
    ) -> Result<(), SaveError> {
        let bytes = (head.len() + body.len()) as u64;
        let failed = |error| SaveError::io(path, bytes, error);
        if head.len() + body.len() > MAX_CACHE_BYTES || head.len() > PART_BYTES {
            return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
        }
        // The length tells a file that lost its end.
        let mut first = (body.len() as u64).to_le_bytes().to_vec();
        first.extend_from_slice(head);
        let frames: Vec<&[u8]> = std::iter::once(first.as_slice())
            .chain(body.chunks(PART_BYTES))
            .collect();
        let sealed = LogFile::new(self.keys(), FileName::new(FileKind::Cache, id)).encode(&frames);
        if let Some(folder) = path.parent() {
            durable::create_folder(folder).map_err(failed)?;
        }
        durable::write(path, &sealed).map_err(failed)
    }

    /// Reads the head and the body of a cache file of `id`. `None` where there is none, or any bit of it differs.
    ///
    /// Blocks as [`write_cache`](Self::write_cache) does.
    #[must_use]
    pub fn read_cache(&self, path: &Path, id: [u8; 16]) -> Option<(Vec<u8>, Vec<u8>)> {
        let file = LogFile::new(self.keys(), FileName::new(FileKind::Cache, id));
        let scan = file.read(path).ok()?;
        let (first, parts) = scan.frames.split_first()?;
        let (length, head) = first.split_first_chunk()?;
        let body = parts.concat();
        let is_whole =
            scan.damage.is_none() && usize::try_from(u64::from_le_bytes(*length)) == Ok(body.len());
        is_whole.then(|| (head.to_vec(), body))
    }
}
