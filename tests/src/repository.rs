//! The repository's files and its crate graph, as the walls in `tests/tests/` read them.
//!
//! Reads only; never runs git, so an unpacked archive is checked like a clone.
//! Start at [`files`] and [`metadata`].

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cargo_metadata::{Metadata, MetadataCommand};

/// Top folder of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a folder of the repository")
}

/// One file of the repository.
#[derive(Debug, Clone)]
pub struct File {
    /// Relative to [`root`], with `/` on every system.
    pub path: String,
    /// Its text; `None` for a file that is not UTF-8.
    pub text: Option<String>,
}

impl File {
    /// Whether the name ends in `.rs`.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it is compiled into tests or benches alone, judged by its folder.
    ///
    /// Test modules inside `src` are told by [`crate::source::test_modules`].
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|folder| matches!(folder, "tests" | "benches" | "examples"))
    }

    /// Where it lies on this machine.
    #[must_use]
    pub fn full_path(&self) -> PathBuf {
        root().join(&self.path)
    }
}

/// Every file of the repository except build outputs, version control and editors' folders, sorted by path.
#[must_use]
pub fn files() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let mut found = Vec::new();
        collect(root(), &mut found);
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    })
}

/// The Rust files among [`files`].
pub fn rust_files() -> impl Iterator<Item = (&'static File, &'static str)> {
    files()
        .iter()
        .filter(|file| file.is_rust())
        .map(|file| (file, file.text.as_deref().expect("Rust source is UTF-8")))
}

fn collect(folder: &Path, found: &mut Vec<File>) {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    for entry in entries {
        let path = entry
            .expect("a folder of the repository is readable")
            .path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // In a second work tree it is a file that names a place on this machine.
        if name == ".git" {
            continue;
        }
        if path.is_dir() {
            if !is_foreign_folder(&name) {
                collect(&path, found);
            }
            continue;
        }
        let relative = path
            .strip_prefix(root())
            .expect("the walk starts at the root");
        let relative = relative
            .to_string_lossy()
            .replace(std::path::MAIN_SEPARATOR, "/");
        // A file can vanish meanwhile: an editor's temporary one.
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        found.push(File {
            path: relative,
            text: String::from_utf8(bytes).ok(),
        });
    }
}

/// Hidden folders belong to tools, except the two that are ours.
fn is_foreign_folder(name: &str) -> bool {
    let hidden = name.starts_with('.') && !matches!(name, ".ci" | ".cargo");
    hidden || matches!(name, "target" | "node_modules" | "__pycache__")
}

/// The crate graph of the committed `Cargo.lock`, for all systems.
///
/// # Panics
/// When `Cargo.lock` does not fit the manifests; cargo's message says so.
#[must_use]
pub fn metadata() -> &'static Metadata {
    static METADATA: OnceLock<Metadata> = OnceLock::new();
    METADATA.get_or_init(|| {
        let mut command = MetadataCommand::new();
        command
            .current_dir(root())
            .other_options(vec!["--locked".to_owned()]);
        command
            .exec()
            .unwrap_or_else(|error| panic!("cargo metadata --locked failed: {error}"))
    })
}
