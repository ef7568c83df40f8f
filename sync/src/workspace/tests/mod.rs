//! The rig of the workspace tests: a folder with one workspace and its key.

use tempfile::TempDir;

use super::*;

mod cache;
mod crash;
mod daily;
mod damage;
mod disk;
mod editor;
mod list;
mod removal;
pub(super) mod two;

struct Rig {
    folder: TempDir,
    key: DataKey,
}

impl Rig {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            key: DataKey::from_bytes([5; 32]),
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("0123456789abcdef0123456789abcdef")
    }

    fn create(&self) -> Workspace {
        Workspace::create(&self.dir(), &self.key, "My papers").unwrap()
    }

    fn open(&self) -> (Workspace, RecoveryReport) {
        Workspace::open(&self.dir(), &self.key).unwrap()
    }

    fn document_file(&self, id: DocumentId) -> PathBuf {
        document_place(&self.dir(), id).path
    }

    fn index_file(&self) -> PathBuf {
        index_place(&self.dir()).path
    }
}

fn imported(path: &str, text: &str) -> NewDocument {
    NewDocument {
        path: Some(path.to_owned()),
        source_mtime_ms: 7,
        original: Some(format!("original of {text}").into_bytes()),
        ..NewDocument::plain(path, text)
    }
}

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}
