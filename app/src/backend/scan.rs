//! Walks folders and says which files could be documents.
//!
//! Opens files only to look at the first bytes of those whose name says nothing. Never follows
//! symbolic links to folders, never leaves the folders it was given. Start at [`scan`].

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ignore::WalkBuilder;

/// One file found, with what tells whether it has changed since the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Time of last change, milliseconds since 1970 (UTC).
    pub mtime_ms: i64,
}

/// What a scan found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Files that could be documents, in order of their paths.
    pub files: Vec<FoundFile>,
    /// Files without a reader for their type, counted by extension (`.png`) or name.
    pub skipped: BTreeMap<String, usize>,
    /// Places that could not be looked at, with the reason.
    pub unreadable: Vec<(PathBuf, String)>,
    /// The folders among the given paths: documents below them that were not found are missing from disk.
    pub folders: Vec<PathBuf>,
}

/// Endings of formats that Satchel reads, beside everything that is text by its bytes.
const READABLE: [&str; 11] = [
    "pdf", "docx", "pptx", "xlsx", "html", "htm", "xhtml", "md", "markdown", "txt", "csv",
];

/// Endings that are text by their bytes but never a person's documents.
const NOISE: [&str; 8] = ["lock", "map", "min.js", "svg", "ics", "pem", "key", "crt"];

/// Walks `paths`: files given by name are always taken; folders are searched with the rules of
/// `.gitignore`, `.ignore` and `.satchelignore`, without hidden files.
///
/// `cancelled` is asked for every file. Blocks on the disk.
pub fn scan(paths: &[PathBuf], cancelled: &dyn Fn() -> bool, found: &mut dyn FnMut(usize)) -> Scan {
    let mut scan = Scan::default();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(facts) if facts.is_dir() => {
                scan.folders.push(path.clone());
                walk(path, &mut scan, cancelled, found);
            }
            Ok(facts) => scan.files.push(found_file(path, &facts)),
            Err(error) => scan.unreadable.push((path.clone(), words_of(&error))),
        }
    }
    scan.files.sort_by(|a, b| a.path.cmp(&b.path));
    scan.files.dedup_by(|a, b| a.path == b.path);
    scan
}

fn walk(
    folder: &Path,
    scan: &mut Scan,
    cancelled: &dyn Fn() -> bool,
    found: &mut dyn FnMut(usize),
) {
    let walk = WalkBuilder::new(folder)
        .follow_links(false)
        .require_git(false)
        .add_custom_ignore_filename(".satchelignore")
        .sort_by_file_name(std::ffi::OsStr::cmp)
        .build();
    for entry in walk {
        if cancelled() {
            return;
        }
        match entry {
            Ok(entry) => consider(entry.path(), scan),
            Err(error) => {
                let path = folder_of(&error).unwrap_or_else(|| folder.to_path_buf());
                scan.unreadable.push((path, error.to_string()));
            }
        }
        found(scan.files.len());
    }
}

fn consider(path: &Path, scan: &mut Scan) {
    // Metadata of what a link points to: a link to a document is a document, a link to a folder is
    // not walked, a broken one is left out.
    let Ok(facts) = std::fs::metadata(path) else {
        return;
    };
    if !facts.is_file() {
        return;
    }
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let readable = READABLE.contains(&ending)
        || (!NOISE
            .iter()
            .any(|noise| name.ends_with(&format!(".{noise}")))
            && looks_like_a_document(path));
    if readable {
        scan.files.push(found_file(path, &facts));
    } else {
        let what = if ending.is_empty() {
            name
        } else {
            format!(".{ending}")
        };
        *scan.skipped.entry(what).or_default() += 1;
    }
}

/// Whether the first bytes are those of a PDF or of text.
fn looks_like_a_document(path: &Path) -> bool {
    let mut head = Vec::new();
    let Ok(file) = std::fs::File::open(path) else {
        return true;
    };
    if file.take(1024).read_to_end(&mut head).is_err() {
        // The import will say why it cannot be read.
        return true;
    }
    if head.starts_with(b"%PDF-") {
        return true;
    }
    let text = match std::str::from_utf8(&head) {
        Ok(_) => true,
        // A character may be cut by the end of the sample.
        Err(error) => error.error_len().is_none(),
    };
    !head.is_empty() && text && !head.contains(&0)
}

fn found_file(path: &Path, facts: &Metadata) -> FoundFile {
    let mtime_ms = facts
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        });
    FoundFile {
        path: path.to_path_buf(),
        size_bytes: facts.len(),
        mtime_ms,
    }
}

fn words_of(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "there is no such file or folder; check the spelling".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "you may not read it; change its permissions".to_owned()
        }
        _ => error.to_string(),
    }
}

fn folder_of(error: &ignore::Error) -> Option<PathBuf> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path.clone()),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            folder_of(err)
        }
        ignore::Error::Partial(errors) => errors.iter().find_map(folder_of),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scan: &Scan, root: &Path) -> Vec<String> {
        scan.files
            .iter()
            .map(|f| f.path.strip_prefix(root).unwrap().display().to_string())
            .collect()
    }

    fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        dir
    }

    #[test]
    fn takes_documents_and_counts_what_it_leaves() {
        let dir = tree(&[
            ("a/notes.md", b"# hello"),
            ("a/photo.jpeg", b"\xff\xd8\xff\xe0\0\0"),
            ("a/.hidden.md", b"secret"),
            ("skipped/x.md", b"ignored"),
            (".satchelignore", b"skipped/\n"),
            ("scan.dat", b"%PDF-1.4 ..."),
            ("main.rs", b"fn main() {}"),
        ]);
        let scan = scan(&[dir.path().to_path_buf()], &|| false, &mut |_| ());
        assert_eq!(
            names(&scan, dir.path()),
            ["a/notes.md", "main.rs", "scan.dat"]
        );
        assert_eq!(scan.skipped.get(".jpeg"), Some(&1));
        assert_eq!(scan.folders, [dir.path()]);
    }

    #[test]
    fn a_missing_path_is_reported_and_the_others_go_on() {
        let dir = tree(&[("a.txt", b"text")]);
        let paths = [dir.path().join("nowhere"), dir.path().join("a.txt")];
        let scan = scan(&paths, &|| false, &mut |_| ());
        assert_eq!(scan.files.len(), 1);
        assert_eq!(scan.unreadable.len(), 1);
        assert!(
            scan.unreadable[0].1.contains("no such file"),
            "{:?}",
            scan.unreadable
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends() {
        let dir = tree(&[("a/one.txt", b"text")]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let scan = scan(&[dir.path().to_path_buf()], &|| false, &mut |_| ());
        assert_eq!(names(&scan, dir.path()), ["a/one.txt"]);
    }
}
