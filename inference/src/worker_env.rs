//! The surroundings a worker is started in: an empty folder and a few variables.
//!
//! llama.cpp loads libraries from its current folder and from `GGML_BACKEND_PATH`, and the system's loader from
//! `LD_LIBRARY_PATH` and `LD_PRELOAD`; none of these reach the worker. Nothing here starts a process.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Every variable a worker gets.
pub(crate) fn worker_env() -> impl Iterator<Item = (OsString, OsString)> {
    let kept = KEPT_ENV
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let set = SET_ENV
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    kept.chain(set)
}

/// A new folder that only this user can enter. Removed, when still empty, by dropping it.
pub(crate) struct EmptyDir {
    path: PathBuf,
    created: bool,
}

impl EmptyDir {
    /// Makes the folder, or takes the root of the file system where that is impossible: nobody can put files there who
    /// could not replace the program itself.
    pub(crate) fn create() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..ATTEMPTS {
            let name = format!(
                "satchel-worker-{}-{}",
                std::process::id(),
                NEXT.fetch_add(1, Ordering::Relaxed)
            );
            let path = std::env::temp_dir().join(name);
            // Fails where the name is taken, so a folder prepared by somebody else is never used.
            if private_dir_builder().create(&path).is_ok() {
                return Self {
                    path,
                    created: true,
                };
            }
        }
        Self {
            path: PathBuf::from("/"),
            created: false,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for EmptyDir {
    fn drop(&mut self) {
        if self.created {
            // A folder that stays behind is empty and harms nobody.
            std::fs::remove_dir(&self.path).ok();
        }
    }
}

fn private_dir_builder() -> DirBuilder {
    #[cfg_attr(not(unix), allow(unused_mut))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

const ATTEMPTS: u32 = 16;

/// Passed on: choices of the user, and what drivers need to find themselves.
const KEPT_ENV: [&str; 8] = [
    crate::backends::CPU_VARIANT_ENV,
    "CUDA_VISIBLE_DEVICES",
    "GGML_VK_VISIBLE_DEVICES",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
    "XDG_RUNTIME_DIR",
    "SystemRoot",
    "windir",
];

/// Set: on an abort llama.cpp would start a debugger to print a trace, which takes seconds.
const SET_ENV: [(&str, &str); 1] = [("GGML_NO_BACKTRACE", "1")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_loaders_are_not_passed_on() {
        for name in [
            "GGML_BACKEND_PATH",
            "LD_LIBRARY_PATH",
            "LD_PRELOAD",
            "LD_AUDIT",
            "DYLD_INSERT_LIBRARIES",
            "PATH",
        ] {
            assert!(!KEPT_ENV.contains(&name), "{name}");
            assert!(worker_env().all(|(kept, _)| kept != name), "{name}");
        }
    }

    #[test]
    fn the_folder_is_new_empty_private_and_goes_away() {
        let (first, second) = (EmptyDir::create(), EmptyDir::create());
        assert_ne!(first.path(), second.path());
        assert_eq!(std::fs::read_dir(first.path()).unwrap().count(), 0);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                std::fs::metadata(first.path())
                    .unwrap()
                    .permissions()
                    .mode()
                    & 0o777,
                0o700
            );
        }
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists());
    }
}
