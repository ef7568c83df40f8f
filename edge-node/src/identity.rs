//! The node's key: made once, kept in the data folder, named by its fingerprint.
//!
//! Never replaces a key that is there, damaged or not: devices know the node by it. The certificate is
//! made anew at each start, since devices pin the key inside it and nothing else.
//! Start at [`Identity::load_or_create`].

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use satchel_protocol::id::NodeFingerprint;

/// Name of the key's file in the data folder.
const KEY_FILE: &str = "node-key.pem";

/// Key and certificate of this node.
pub(crate) struct Identity {
    pub(crate) fingerprint: NodeFingerprint,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    /// With it a node that was started anew recognises connections of the time before, and tells their devices at
    /// once that they are over; otherwise those would wait for half a minute.
    pub(crate) restart_key: [u8; 32],
}

impl Identity {
    /// Reads the key of this data folder, or makes one in a folder that has no store yet.
    pub(crate) fn load_or_create(dir: &Path, store_exists: bool) -> Result<Self, IdentityError> {
        let path = dir.join(KEY_FILE);
        let pair = match std::fs::read_to_string(&path) {
            Ok(pem) => {
                KeyPair::from_pem(&pem).map_err(|source| IdentityError::Damaged { source, path })?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if store_exists {
                    return Err(IdentityError::Missing { path });
                }
                let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(IdentityError::Generate)?;
                keep_secret(&path, pair.serialize_pem().as_bytes())
                    .map_err(|source| IdentityError::Io { source, path })?;
                pair
            }
            Err(source) => return Err(IdentityError::Io { source, path }),
        };
        Self::from_pair(&pair)
    }

    fn from_pair(pair: &KeyPair) -> Result<Self, IdentityError> {
        // The name is never checked: devices pin the key. rcgen's validity (1975 to 4096) means that
        // a wrong clock locks nobody out.
        let params = CertificateParams::new(vec!["satchel-edge".to_owned()])
            .map_err(IdentityError::Generate)?;
        let certificate = params.self_signed(pair).map_err(IdentityError::Generate)?;
        Ok(Self {
            fingerprint: NodeFingerprint::of_public_key_info(&pair.subject_public_key_info()),
            certificate: certificate.der().clone(),
            restart_key: restart_key(pair),
            key: PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
        })
    }
}

fn restart_key(pair: &KeyPair) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &pair.serialize_der());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hmac::sign(&key, b"satchel-edge restart key 1").as_ref());
    bytes
}

/// Why a node has no usable key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The key file cannot be read or written.
    #[error("cannot read or write the node's key {}", path.display())]
    Io {
        /// Why.
        source: std::io::Error,
        /// Which file.
        path: PathBuf,
    },
    /// The key file is not a key.
    #[error("the node's key is damaged; devices know the node by it, so put it back from a backup: {}", path.display())]
    Damaged {
        /// Why.
        source: rcgen::Error,
        /// Which file.
        path: PathBuf,
    },
    /// There is a store but no key.
    #[error("the data folder holds fragments but not the node's key; devices know the node by it, so put it back from a backup, or start with an empty data folder: {}", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
    },
    /// A key or certificate could not be made.
    #[error("cannot make the node's key or certificate")]
    Generate(#[source] rcgen::Error),
}

/// Writes a file that only its owner reads, so that after a crash it is there whole or not at all.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the node's one durable write"
)]
fn keep_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("pem.part");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Makes the name of a new file survive a power cut.
pub(crate) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(dir) if cfg!(unix) => File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_the_same_and_is_secret() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(dir.path(), false).unwrap();
        let again = Identity::load_or_create(dir.path(), true).unwrap();
        assert_eq!(first.fingerprint, again.fingerprint);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = dir
                .path()
                .join(KEY_FILE)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_or_lost_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(KEY_FILE);
        assert!(matches!(
            Identity::load_or_create(dir.path(), true),
            Err(IdentityError::Missing { .. })
        ));
        assert!(!path.exists());
        keep_secret(&path, b"not a key").unwrap();
        assert!(matches!(
            Identity::load_or_create(dir.path(), false),
            Err(IdentityError::Damaged { .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"not a key");
    }
}
