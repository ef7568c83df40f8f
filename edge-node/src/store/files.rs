//! Long fragments as files named by their content: `blobs/<first two digits>/<64 hex digits>`.
//!
//! A file is whole or not there: temporary name, fsync, rename, fsync of the folder. A crash between the
//! rename and the commit that names it leaves an orphan, which gc removes. Start at [`Files`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use satchel_protocol::fragment::EncryptedFragment;
use satchel_protocol::id::FragmentId;

use super::error::Fault;

/// Longest fragment kept in the store itself. redb rewrites and splits pages around its values, so long
/// ones are cheaper as files.
const MAX_INLINE_BYTES: usize = 16 * 1024;

/// The folder of files; none where everything stays in memory.
pub(super) struct Files {
    dir: Option<PathBuf>,
}

impl Files {
    pub(super) fn in_folder(dir: &Path) -> Self {
        Self {
            dir: Some(dir.to_owned()),
        }
    }

    pub(super) fn none() -> Self {
        Self { dir: None }
    }

    pub(super) fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Whether a fragment of this length belongs into a file.
    pub(super) fn take(&self, len_bytes: usize) -> bool {
        self.dir.is_some() && len_bytes > MAX_INLINE_BYTES
    }

    /// Writes a fragment, durably, unless its file is there already.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the durable write itself"
    )]
    pub(super) fn write(&self, id: FragmentId, fragment: &EncryptedFragment) -> Result<(), Fault> {
        let Some(path) = self.path(id) else {
            return Err(Fault::Row("a file where there are none"));
        };
        if self.is_there(id, fragment.len_bytes()) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        self.make_folder(folder)?;
        let temporary = path.with_extension("part");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(fragment.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        Ok(sync_folder(folder)?)
    }

    /// Whether a file of this length is there. Looks at no content.
    pub(super) fn is_there(&self, id: FragmentId, len_bytes: usize) -> bool {
        self.path(id)
            .and_then(|path| path.metadata().ok())
            .is_some_and(|found| found.len() == len_bytes as u64)
    }

    /// Reads a fragment; `None` when its file is lost or is not what was written. A damaged file is put
    /// aside, so that a device which sends the fragment again mends it.
    #[allow(
        clippy::disallowed_methods,
        reason = "losing this rename changes nothing"
    )]
    pub(super) fn read(&self, id: FragmentId) -> Result<Option<EncryptedFragment>, Fault> {
        let Some(path) = self.path(id) else {
            return Ok(None);
        };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match EncryptedFragment::from_bytes(bytes) {
            Ok(fragment) if fragment.id() == id => Ok(Some(fragment)),
            _ => {
                // Fails only where it is already gone.
                std::fs::rename(&path, path.with_extension("damaged")).ok();
                Ok(None)
            }
        }
    }

    /// Removes the file of a fragment which no row names any more. One that stays is an orphan for gc.
    pub(super) fn remove(&self, id: FragmentId) {
        if let Some(path) = self.path(id)
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot remove a file"
            );
        }
    }

    /// All files, with the id of those that have one for a name.
    pub(super) fn list(&self) -> Result<Vec<(PathBuf, Option<FragmentId>)>, Fault> {
        let mut found = Vec::new();
        let Some(dir) = &self.dir else {
            return Ok(found);
        };
        let folders = match std::fs::read_dir(dir.join("blobs")) {
            Ok(folders) => folders,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(error.into()),
        };
        for folder in folders {
            for file in std::fs::read_dir(folder?.path())? {
                let path = file?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                let id = name.and_then(|name| name.parse().ok());
                found.push((path, id));
            }
        }
        Ok(found)
    }

    fn path(&self, id: FragmentId) -> Option<PathBuf> {
        let name = id.to_string();
        let dir = self.dir.as_ref()?;
        Some(dir.join("blobs").join(&name[..2]).join(name))
    }

    fn make_folder(&self, folder: &Path) -> Result<(), Fault> {
        if folder.is_dir() {
            return Ok(());
        }
        let blobs = folder.parent().unwrap_or(folder);
        if !blobs.is_dir() {
            std::fs::create_dir_all(blobs)?;
            crate::identity::sync_parent(blobs)?;
        }
        std::fs::create_dir(folder)?;
        Ok(sync_folder(blobs)?)
    }
}

/// Makes names in a folder survive a power cut.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
