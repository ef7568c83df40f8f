//! A disk that is soon full, for tests that may mount one.
//!
//! Unmounts only what it mounted. Start at [`SmallDisk::over`].

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory, laid over a folder.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Lays it over an empty folder. `None`, and a line that says so, where this user may not mount.
    #[must_use]
    pub fn over(folder: &Path, mebibytes: u32) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o"])
            .arg(format!("size={mebibytes}m,mode=700"))
            .arg("tmpfs")
            .arg(folder)
            .output();
        match mounted {
            Ok(said) if said.status.success() => Some(Self {
                folder: folder.to_owned(),
            }),
            _ => {
                eprintln!("skipped: a small disk cannot be mounted here (that needs root)");
                None
            }
        }
    }

    /// Takes all the room that is left.
    ///
    /// # Panics
    /// When it cannot be written at all.
    pub fn fill(&self) {
        let mut filler = std::fs::File::create(self.filler()).expect("the disk is writable");
        // Ends with the error that it is made for.
        while filler.write_all(&[7; 4096]).is_ok() {}
    }

    /// Gives it back.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was killed may still be going.
        Command::new("umount")
            .arg("-l")
            .arg(&self.folder)
            .status()
            .ok();
    }
}
