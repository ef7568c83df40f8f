//! Keys that are kept, changed, lost and damaged.

use std::fs;

use keyring_core::{CredentialStore, mock};
use tempfile::TempDir;

use super::*;

struct Rig {
    folder: TempDir,
    keyring: Arc<CredentialStore>,
}

impl Rig {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            keyring: mock::Store::new().unwrap(),
        }
    }

    fn open(&self) -> Result<KeyStore, KeyError> {
        KeyStore::open_with_keyring(&self.folder.path().join("keys"), self.keyring.clone())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("keys").join(KEY_FILE_NAME)
    }

    fn accounts_with_a_key(&self) -> usize {
        let store: &mock::Store = self.keyring.as_any().downcast_ref().unwrap();
        let mut creds = store.inner.lock().unwrap();
        creds
            .get_mut()
            .iter()
            .filter(|cred| cred.inner.lock().unwrap().get_mut().secret.is_some())
            .count()
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text)
}

#[test]
fn a_key_comes_back_however_it_is_kept() {
    for storage in [
        KeyStorage::Keyring,
        KeyStorage::PlainFile,
        KeyStorage::Passphrase(passphrase("correct horse")),
    ] {
        let rig = Rig::new();
        let store = rig.open().unwrap();
        assert_eq!(store.status().unwrap(), KeyStatus::Missing);
        assert!(matches!(store.unlock(None), Err(KeyError::Missing)));
        let key = store.create(storage).unwrap();
        let again = rig.open().unwrap();
        assert_eq!(again.status().unwrap(), store.status().unwrap());
        let unlocked = again.unlock(Some(&passphrase("correct horse"))).unwrap();
        assert_eq!(unlocked.expose_secret(), key.expose_secret());
    }
}

#[test]
fn a_second_key_is_never_made() {
    let rig = Rig::new();
    let store = rig.open().unwrap();
    let other = rig.open().unwrap();
    store.create(KeyStorage::PlainFile).unwrap();
    for store in [store, other] {
        assert!(matches!(
            store.create(KeyStorage::PlainFile),
            Err(KeyError::AlreadyExists)
        ));
    }
}

#[test]
fn a_wrong_or_missing_passphrase_says_so_and_changes_nothing() {
    let rig = Rig::new();
    let store = rig.open().unwrap();
    let key = store
        .create(KeyStorage::Passphrase(passphrase("right")))
        .unwrap();
    let before = fs::read(rig.file()).unwrap();
    assert!(matches!(
        store.unlock(None),
        Err(KeyError::PassphraseNeeded)
    ));
    assert!(matches!(
        store.unlock(Some(&passphrase("wrong"))),
        Err(KeyError::WrongPassphrase)
    ));
    let change = store.change(&DataKey::random(), KeyStorage::PlainFile);
    assert!(matches!(change, Err(KeyError::OtherKey { .. })));
    assert!(matches!(
        store.change(&key, KeyStorage::Passphrase(passphrase(""))),
        Err(KeyError::EmptyPassphrase)
    ));
    assert_eq!(fs::read(rig.file()).unwrap(), before);
    store.unlock(Some(&passphrase("right"))).unwrap();
}

#[test]
fn the_way_a_key_is_kept_can_change_and_the_key_stays() {
    let rig = Rig::new();
    let store = rig.open().unwrap();
    let key = store.create(KeyStorage::PlainFile).unwrap();
    store.change(&key, KeyStorage::Keyring).unwrap();
    assert_eq!(rig.accounts_with_a_key(), 1);
    store.change(&key, KeyStorage::Keyring).unwrap();
    assert_eq!(
        rig.accounts_with_a_key(),
        1,
        "the old entry is removed, the new one stays"
    );
    store
        .change(&key, KeyStorage::Passphrase(passphrase("one")))
        .unwrap();
    assert_eq!(rig.accounts_with_a_key(), 0);
    store
        .change(&key, KeyStorage::Passphrase(passphrase("two")))
        .unwrap();
    assert!(matches!(
        store.unlock(Some(&passphrase("one"))),
        Err(KeyError::WrongPassphrase)
    ));
    let unlocked = rig
        .open()
        .unwrap()
        .unlock(Some(&passphrase("two")))
        .unwrap();
    assert_eq!(unlocked.expose_secret(), key.expose_secret());
}

#[test]
fn a_keyring_that_lost_the_key_is_reported() {
    let rig = Rig::new();
    rig.open().unwrap().create(KeyStorage::Keyring).unwrap();
    let empty: Arc<CredentialStore> = mock::Store::new().unwrap();
    let store = KeyStore::open_with_keyring(&rig.folder.path().join("keys"), empty).unwrap();
    store.probe_keyring().unwrap();
    assert!(matches!(store.unlock(None), Err(KeyError::NotInKeyring)));
}

#[test]
fn another_key_in_its_place_is_recognised() {
    let rig = Rig::new();
    rig.open().unwrap().create(KeyStorage::PlainFile).unwrap();
    let other = Rig::new();
    let mut file = KeyFile::read(&rig.file()).unwrap().unwrap();
    file.kept = Kept::PlainFile {
        key: file::PlainKey(DataKey::random()),
    };
    other.open().unwrap();
    file.write(&other.file()).unwrap();
    assert!(matches!(
        other.open().unwrap().unlock(None),
        Err(KeyError::OtherKey { .. })
    ));
}

#[test]
fn a_damaged_key_file_is_refused_and_never_overwritten() {
    let rig = Rig::new();
    rig.open().unwrap().create(KeyStorage::PlainFile).unwrap();
    let whole = fs::read(rig.file()).unwrap();
    let mut broken: Vec<Vec<u8>> = (0..whole.len() - 1)
        .map(|end| whole[..end].to_vec())
        .collect();
    for byte in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1;
        broken.push(flipped);
    }
    for bytes in broken {
        fs::write(rig.file(), &bytes).unwrap();
        match rig.open() {
            Err(error @ KeyError::Damaged { .. }) => assert!(error.to_string().contains("backup")),
            Err(KeyError::NewerFormat { .. }) => {}
            // White space of the JSON may change without changing what it says.
            Ok(store) => {
                store.unlock(None).unwrap();
            }
            Err(other) => panic!("{other}"),
        }
        if let Ok(store) = rig.open() {
            assert!(matches!(
                store.create(KeyStorage::PlainFile),
                Err(KeyError::AlreadyExists)
            ));
        }
        assert_eq!(fs::read(rig.file()).unwrap(), bytes);
    }
}

#[cfg(unix)]
#[test]
fn key_files_are_closed_to_others_again() {
    use std::os::unix::fs::PermissionsExt;
    let rig = Rig::new();
    let store = rig.open().unwrap();
    store.create(KeyStorage::PlainFile).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = rig.folder.path().join("keys");
    assert_eq!((mode(&folder), mode(&rig.file())), (0o700, 0o600));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(rig.file(), fs::Permissions::from_mode(0o644)).unwrap();
    rig.open().unwrap().unlock(None).unwrap();
    assert_eq!((mode(&folder), mode(&rig.file())), (0o700, 0o600));
}

#[test]
fn secrets_are_shy() {
    let rig = Rig::new();
    let store = rig.open().unwrap();
    let key = store.create(KeyStorage::PlainFile).unwrap();
    let shown = format!("{key:?} {:?} {store:?}", passphrase("hidden words"));
    assert!(!shown.contains("hidden"));
    assert!(!shown.contains(&crate::id::to_hex(key.expose_secret())));
    assert!(shown.starts_with("DataKey(…)"), "{shown}");
}

/// The keyring of this machine, if it has one: the test must pass with and without.
#[test]
fn the_real_keyring_answers_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = KeyStore::open(folder.path()).unwrap();
    if let Err(error) = store.probe_keyring() {
        assert!(matches!(error, KeyError::KeyringUnavailable { .. }));
        assert!(error.to_string().contains("passphrase"), "{error}");
    }
}
