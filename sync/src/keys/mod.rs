//! The data key: where it is kept between starts, and how it is brought back.
//!
//! One key of 32 random bytes encrypts everything that is stored. It lies in the keyring of the operating system,
//! or in a file wrapped by a passphrase, or (when the user chose neither) in a plain file that only this user
//! may read. The key itself is never logged, never shown and never changed: [`KeyStore::change`] only
//! changes how it is kept. Blocking: a passphrase takes about 0.2 s, a locked keyring asks the user.
//! Start at [`KeyStore`].

mod file;
mod keyring;
mod passphrase;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use keyring_core::CredentialStore;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::durable;
use crate::id::random;
use file::{Kept, KeyFile};

/// Name of the key file inside the folder of a [`KeyStore`].
pub const KEY_FILE_NAME: &str = "data-key.json";

/// The key that everything stored is encrypted with. 32 random bytes, wiped from memory when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// Makes a new key from the operating system's random source.
    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    /// Takes over a key that was kept elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key itself. Whoever calls this takes care that it is not copied further.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8; 32] {
        &self.0
    }

    /// Sixteen hexadecimal digits that recognise the key without helping to find it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let hash = blake3::derive_key("Satchel 2026-11 fingerprint of a data key", &self.0);
        crate::id::to_hex(&hash[..8])
    }

    fn try_from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// What the user types to unlock. Wiped from memory when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Passphrase(String);

impl Passphrase {
    /// Takes a passphrase as it was typed; nothing is trimmed or changed.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The passphrase itself.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// How the data key is kept at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// There is no data key yet: see [`KeyStore::create`].
    Missing,
    /// In the keyring of the operating system.
    Keyring,
    /// In a file, wrapped by a passphrase.
    Passphrase,
    /// In a plain file that only this user may read.
    PlainFile,
}

/// How the data key is to be kept.
#[derive(Debug)]
pub enum KeyStorage {
    /// In the keyring of the operating system. The best choice on a desktop.
    Keyring,
    /// In a file, wrapped by this passphrase. If it is forgotten, nobody can open the data again.
    Passphrase(Passphrase),
    /// In a plain file of mode 0600. Protects against nothing but other users of the machine.
    PlainFile,
}

/// Why the data key cannot be had or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no key yet.
    #[error("there is no data key yet; create one first")]
    Missing,
    /// There is a key already, and a new one would make all data unreadable.
    #[error("there is a data key already; it was left as it is")]
    AlreadyExists,
    /// The key is wrapped and no passphrase was given.
    #[error("the data is locked: give the passphrase")]
    PassphraseNeeded,
    /// The passphrase is another one.
    #[error("wrong passphrase; nothing was changed, try again")]
    WrongPassphrase,
    /// A passphrase without a character protects nothing.
    #[error("the passphrase is empty; choose one of several words")]
    EmptyPassphrase,
    /// The keyring of the operating system cannot be reached.
    #[error(
        "the keyring of the operating system cannot be used ({reason}); start or unlock it and try again, or keep the key behind a passphrase"
    )]
    KeyringUnavailable {
        /// What the keyring said.
        reason: String,
    },
    /// The keyring works but the key is not in it.
    #[error(
        "the data key is not in the keyring of the operating system; restore the keyring (or log in as the user who created the data), the data cannot be opened without it"
    )]
    NotInKeyring,
    /// The key that was found is not the one that the data was made with.
    #[error(
        "the key that was found is not the one recorded in the key file; restore the right keyring or key file from a backup, nothing was changed ({path})"
    )]
    OtherKey {
        /// The key file.
        path: PathBuf,
    },
    /// The key file cannot be understood. It is never overwritten.
    #[error(
        "the key file is damaged ({reason}); it was left alone, put it back from a backup, without it the data cannot be opened ({path})"
    )]
    Damaged {
        /// What does not fit.
        reason: String,
        /// The key file.
        path: PathBuf,
    },
    /// A newer Satchel wrote the key file.
    #[error("a newer Satchel wrote the key file (format {found}); update Satchel ({path})")]
    NewerFormat {
        /// Its format version.
        found: u32,
        /// The key file.
        path: PathBuf,
    },
    /// The machine has too little memory to work on the passphrase.
    #[error(
        "unlocking with a passphrase needs {needed_bytes} bytes of memory that are not free; close other programs and try again"
    )]
    NotEnoughMemory {
        /// How many bytes are needed.
        needed_bytes: u64,
    },
    /// The file system refused.
    #[error("cannot read or write the key file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

/// The folder `<data>/keys` and what it says about the data key.
#[derive(Debug)]
pub struct KeyStore {
    folder: PathBuf,
    kept: Mutex<Option<KeyFile>>,
    keyring: KeyringSource,
}

#[derive(Clone)]
enum KeyringSource {
    Platform,
    Given(Arc<CredentialStore>),
}

impl fmt::Debug for KeyringSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Platform => "Platform",
            Self::Given(_) => "Given",
        })
    }
}

impl KeyStore {
    /// Opens the folder, creating it (mode 0700) where it is missing.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] or [`KeyError::NewerFormat`] when there is a key file that cannot be used,
    /// [`KeyError::Io`] when it cannot be read. Never replaces an existing file.
    ///
    /// # Examples
    /// ```
    /// use satchel_sync::keys::{KeyStatus, KeyStorage, KeyStore, Passphrase};
    /// # let folder = tempfile::tempdir()?;
    /// let store = KeyStore::open(&folder.path().join("keys"))?;
    /// let key = store.create(KeyStorage::Passphrase(Passphrase::new("four words are good")))?;
    /// assert_eq!(store.status()?, KeyStatus::Passphrase);
    /// assert!(store.unlock(Some(&Passphrase::new("a guess"))).is_err());
    /// let again = store.unlock(Some(&Passphrase::new("four words are good")))?;
    /// assert_eq!(again.fingerprint(), key.fingerprint());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        Self::open_with(folder, KeyringSource::Platform)
    }

    /// Opens the folder with a keyring of the caller's choice, for tests and for systems with their own.
    ///
    /// # Errors
    /// As [`KeyStore::open`].
    pub fn open_with_keyring(
        folder: &Path,
        keyring: Arc<CredentialStore>,
    ) -> Result<Self, KeyError> {
        Self::open_with(folder, KeyringSource::Given(keyring))
    }

    fn open_with(folder: &Path, keyring: KeyringSource) -> Result<Self, KeyError> {
        durable::create_folder(folder).map_err(|source| KeyError::Io {
            path: folder.to_owned(),
            source,
        })?;
        file::protect_folder(folder).map_err(|source| KeyError::Io {
            path: folder.to_owned(),
            source,
        })?;
        let kept = KeyFile::read(&folder.join(KEY_FILE_NAME))?;
        Ok(Self {
            folder: folder.to_owned(),
            kept: Mutex::new(kept),
            keyring,
        })
    }

    /// How the data key is kept. Reads the key file again, so it sees what another process changed.
    ///
    /// # Errors
    /// As [`KeyStore::open`].
    pub fn status(&self) -> Result<KeyStatus, KeyError> {
        let mut kept = self.kept();
        *kept = KeyFile::read(&self.path())?;
        Ok(match kept.as_ref().map(|file| &file.kept) {
            None => KeyStatus::Missing,
            Some(Kept::Keyring { .. }) => KeyStatus::Keyring,
            Some(Kept::Passphrase { .. }) => KeyStatus::Passphrase,
            Some(Kept::PlainFile { .. }) => KeyStatus::PlainFile,
        })
    }

    /// Whether the keyring of the operating system answers, found out by a read that changes nothing.
    ///
    /// On servers and in containers there is usually none; that is normal.
    ///
    /// # Errors
    /// [`KeyError::KeyringUnavailable`] with the reason.
    pub fn probe_keyring(&self) -> Result<(), KeyError> {
        keyring::probe(&self.keyring)
    }

    /// Brings the data key back.
    ///
    /// The passphrase is used only when the key is wrapped by one. Takes about 0.2 s then.
    ///
    /// # Errors
    /// See [`KeyError`]; nothing is changed on any of them.
    pub fn unlock(&self, passphrase: Option<&Passphrase>) -> Result<DataKey, KeyError> {
        let kept = self.kept();
        self.unlock_file(kept.as_ref().ok_or(KeyError::Missing)?, passphrase)
    }

    /// Makes the data key of this folder and keeps it.
    ///
    /// # Errors
    /// [`KeyError::AlreadyExists`] when there is one; otherwise see [`KeyError`]. No key exists after an error.
    pub fn create(&self, storage: KeyStorage) -> Result<DataKey, KeyError> {
        let mut kept = self.kept();
        let path = self.path();
        if kept.is_some() || path.exists() {
            return Err(KeyError::AlreadyExists);
        }
        let key = DataKey::random();
        *kept = Some(self.keep(&key, storage)?);
        Ok(key)
    }

    /// Keeps the same data key in another way; data stays readable throughout.
    ///
    /// `key` is what [`KeyStore::unlock`] gave. The new way is durable and has been read back before the
    /// old one is given up, so a crash at any moment leaves one of the two.
    ///
    /// # Errors
    /// [`KeyError::OtherKey`] when `key` is not the one kept here; otherwise see [`KeyError`]. The key is then
    /// kept as before.
    pub fn change(&self, key: &DataKey, storage: KeyStorage) -> Result<(), KeyError> {
        let mut kept = self.kept();
        let old = kept.as_ref().ok_or(KeyError::Missing)?;
        if key.fingerprint() != old.fingerprint {
            return Err(KeyError::OtherKey { path: self.path() });
        }
        let new = self.keep(key, storage)?;
        self.forget(old, &new);
        *kept = Some(new);
        Ok(())
    }

    fn unlock_file(
        &self,
        file: &KeyFile,
        passphrase: Option<&Passphrase>,
    ) -> Result<DataKey, KeyError> {
        let path = self.path();
        let key = match &file.kept {
            Kept::PlainFile { key } => {
                file::protect_file(&path).map_err(|source| KeyError::Io {
                    path: path.clone(),
                    source,
                })?;
                key.0.duplicate()
            }
            Kept::Keyring { account } => keyring::read(&self.keyring, account)?,
            Kept::Passphrase { wrapped } => {
                let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
                wrapped.unwrap(passphrase, &file.fingerprint)?
            }
        };
        if key.fingerprint() != file.fingerprint {
            return Err(KeyError::OtherKey { path });
        }
        Ok(key)
    }

    /// Keeps `key`, reads it back and makes the key file point to it.
    fn keep(&self, key: &DataKey, storage: KeyStorage) -> Result<KeyFile, KeyError> {
        let fingerprint = key.fingerprint();
        let kept = match &storage {
            KeyStorage::PlainFile => Kept::PlainFile {
                key: file::PlainKey(key.duplicate()),
            },
            KeyStorage::Passphrase(passphrase) => Kept::Passphrase {
                wrapped: passphrase::Wrapped::wrap(key, passphrase, &fingerprint)?,
            },
            KeyStorage::Keyring => Kept::Keyring {
                account: keyring::write(&self.keyring, key)?,
            },
        };
        let new = KeyFile { fingerprint, kept };
        let passphrase = match &storage {
            KeyStorage::Passphrase(passphrase) => Some(passphrase),
            _ => None,
        };
        if !matches!(new.kept, Kept::PlainFile { .. }) {
            self.unlock_file(&new, passphrase)?;
        }
        new.write(&self.path())?;
        Ok(new)
    }

    /// Removes the old way's entry in the keyring, now that nothing points to it.
    fn forget(&self, old: &KeyFile, new: &KeyFile) {
        let Kept::Keyring { account: old } = &old.kept else {
            return;
        };
        if let Kept::Keyring { account: new } = &new.kept
            && new == old
        {
            return;
        }
        if let Err(error) = keyring::delete(&self.keyring, old) {
            tracing::warn!(%error, "the old entry is still in the keyring of the operating system");
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(KEY_FILE_NAME)
    }

    fn kept(&self) -> MutexGuard<'_, Option<KeyFile>> {
        // The value is replaced as a whole, so a panic elsewhere cannot leave it half changed.
        self.kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
