//! A store and a folder of downloads, for the tests of imports.

use std::fs;
use std::path::PathBuf;

use satchel_models::store::{InstalledModel, ModelStore};

use super::Toy;

/// A store and a folder of downloads.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: ModelStore,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ModelStore::open(&folder.path().join("data/models")).unwrap();
        Self { folder, store }
    }

    pub(crate) fn download(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn import_toy(&self) -> InstalledModel {
        let path = self.download("toy.gguf", &Toy::chat().bytes());
        self.store.import_file(&path, &mut |_| {}).unwrap()
    }

    /// Names in the store's folder, hidden ones without the lock.
    pub(crate) fn entries(&self) -> Vec<String> {
        let names = fs::read_dir(self.store.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }
}
