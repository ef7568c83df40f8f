//! Loads llama.cpp's processor code: one of several builds of the same thing, the best this machine can run.
//!
//! llama.cpp on its own would look into the current folder and into `GGML_BACKEND_PATH` and run what it finds there.
//! Here libraries come from one place only, the folder `backends` beside the program, and without a usable one the worker
//! stops instead of letting llama.cpp search. Start at [`load`].

use std::ffi::CString;
use std::path::{Path, PathBuf};

use llama_cpp_2::llama_backend::{LlamaBackend, load_backends_from_path};

use crate::device::{self, DeviceKind};
use crate::llama_log::LlamaLog;

/// Forces one processor build by its name, such as `haswell`: for measuring one against the other. Without it the
/// program takes the build with the highest score of those this machine can run.
pub(crate) const CPU_VARIANT_ENV: &str = "SATCHEL_CPU_VARIANT";

/// llama.cpp, ready to load a model.
pub(crate) struct Backends {
    pub(crate) backend: LlamaBackend,
    /// Name of the processor build in use.
    pub(crate) variant: String,
}

/// Why there is no processor code. The words are for the user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    #[error("the folder of the program is not known ({0})")]
    Unlocated(#[source] std::io::Error),
    #[error("{FOREIGN_PATH_ENV} is set, which would load foreign code; unset it")]
    ForeignPath,
    #[error("the folder with the processor code is missing, reinstall Satchel: {0}")]
    Missing(PathBuf),
    #[error("the folder of the program has a name that is not Unicode: {0}")]
    NotUnicode(PathBuf),
    #[error("{CPU_VARIANT_ENV} names a build that is not there: {0}")]
    UnknownVariant(String),
    #[error("this processor cannot run the build {0}; unset {CPU_VARIANT_ENV}")]
    UnsuitableVariant(String),
    #[error("no build of the processor code runs on this machine, reinstall Satchel: {0}")]
    NothingRuns(PathBuf),
    #[error("llama.cpp does not start ({0})")]
    Init(#[from] llama_cpp_2::LlamaCppError),
}

/// The folder that processor code is loaded from: `backends` beside the running program.
pub(crate) fn backends_dir() -> Result<PathBuf, BackendError> {
    let program = std::env::current_exe().map_err(BackendError::Unlocated)?;
    // A program always has a folder; the fallback is a place that does not exist.
    Ok(program
        .parent()
        .unwrap_or(Path::new("/nowhere"))
        .join("backends"))
}

/// Loads the processor code, what drives GPUs where that is wanted, and starts llama.cpp.
///
/// Of the builds for processors the one in the environment, else `preferred`, else the one of the highest score.
pub(crate) fn load(
    dir: &Path,
    gpu: bool,
    preferred: Option<&str>,
    log: &LlamaLog,
) -> Result<Backends, BackendError> {
    if std::env::var_os(FOREIGN_PATH_ENV).is_some() {
        return Err(BackendError::ForeignPath);
    }
    if !dir.is_dir() {
        return Err(BackendError::Missing(dir.to_owned()));
    }
    if dir.to_str().is_none() {
        return Err(BackendError::NotUnicode(dir.to_owned()));
    }
    llama_cpp_2::send_logs_to_tracing(llama_cpp_2::LogOptions::default());
    match std::env::var(CPU_VARIANT_ENV) {
        Ok(name) if !name.is_empty() => load_variant(dir, &name)?,
        _ => {
            let is_loaded = preferred.is_some_and(|name| load_variant(dir, name).is_ok());
            if !is_loaded {
                load_backends_from_path(dir);
            }
        }
    }
    // Without a processor `LlamaBackend::init` would begin its own search.
    if !device::list()
        .iter()
        .any(|device| device.kind == DeviceKind::Cpu)
    {
        return Err(BackendError::NothingRuns(dir.to_owned()));
    }
    if gpu {
        load_gpu_code(&dir.join(GPU_FOLDER));
    }
    let variant = loaded_variant(log).unwrap_or_else(|| "unknown".to_owned());
    Ok(Backends {
        backend: LlamaBackend::init()?,
        variant,
    })
}

/// The builds for processors beside a program, by name, whether they run on this one or not.
#[must_use]
pub fn processor_builds(program: &Path) -> Vec<String> {
    let folder = program.with_file_name("backends");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let build = name.strip_prefix(FILE_PREFIX)?.strip_suffix(FILE_SUFFIX)?;
            Some(build.to_owned())
        })
        .collect();
    names.sort();
    names
}

fn load_variant(dir: &Path, name: &str) -> Result<(), BackendError> {
    let unknown = || BackendError::UnknownVariant(name.to_owned());
    // The name becomes part of a path.
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    {
        return Err(unknown());
    }
    let path = dir.join(format!("{FILE_PREFIX}{name}{FILE_SUFFIX}"));
    if !path.is_file() {
        return Err(unknown());
    }
    let path = path
        .to_str()
        .and_then(|path| CString::new(path).ok())
        .ok_or_else(unknown)?;
    if load_library(&path) {
        Ok(())
    } else {
        Err(BackendError::UnsuitableVariant(name.to_owned()))
    }
}

/// Loads what drives GPUs. A library whose driver is not on this machine does not load, which is no error: there is no
/// such GPU then. It lies in a folder of its own, so that a worker that does without never runs any of it.
fn load_gpu_code(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let text = path.to_str().filter(|path| path.ends_with(FILE_SUFFIX));
        if let Some(text) = text.and_then(|path| CString::new(path).ok())
            && !load_library(&text)
        {
            tracing::debug!(library = %path.display(), "code for GPUs does not load here");
        }
    }
}

/// Loads one library. False where it is damaged or not for this processor.
///
/// The safe wrapper can only load the best of a folder.
#[allow(unsafe_code)]
fn load_library(path: &CString) -> bool {
    // SAFETY: `path` is a C string that lives for the whole call, which copies it. The library is one of llama.cpp's own
    // beside this program; llama.cpp asks it for its score before it runs any of its code for newer processors.
    let registered = unsafe { llama_cpp_sys_2::ggml_backend_load(path.as_ptr()) };
    !registered.is_null()
}

/// Reads from the log which library was taken: llama.cpp reports it nowhere else.
fn loaded_variant(log: &LlamaLog) -> Option<String> {
    let line = log.last_line_with("loaded CPU backend from ")?;
    let file = line.rsplit(['/', '\\']).next()?;
    Some(
        file.strip_prefix(FILE_PREFIX)?
            .strip_suffix(FILE_SUFFIX)?
            .to_owned(),
    )
}

/// Beside the processor code; `build.rs` makes it.
const GPU_FOLDER: &str = "gpu";
const FOREIGN_PATH_ENV: &str = "GGML_BACKEND_PATH";
const FILE_PREFIX: &str = if cfg!(windows) {
    "ggml-cpu-"
} else {
    "libggml-cpu-"
};
/// llama.cpp names its modules `.so` on macOS too.
const FILE_SUFFIX: &str = if cfg!(windows) { ".dll" } else { ".so" };
