//! The keyring of the operating system: Secret Service on Linux, Keychain on macOS.
//!
//! Every call runs on a thread of its own with a time limit, for two reasons: a keyring that waits for a
//! dialog must not hang the program, and the D-Bus library must not meet an asynchronous runtime.
//! Never keeps a connection. Start at [`read`] and [`write()`].

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use keyring_core::{CredentialStore, Entry, Error};
use zeroize::Zeroizing;

use super::{DataKey, KeyError, KeyringSource};
use crate::id::{random, to_hex};

/// Name under which the entries appear in the user's keyring program.
const SERVICE: &str = "Satchel";
/// Account that is looked for, and never made, to find out whether there is a keyring.
const PROBE_ACCOUNT: &str = "probe";
/// A user may have to find and type the keyring's password.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// A keyring that takes longer than this to say "no such entry" is not running.
const PROBE_LIMIT: Duration = Duration::from_secs(5);

/// Asks for an entry that does not exist.
pub(super) fn probe(source: &KeyringSource) -> Result<(), KeyError> {
    on_its_thread(source, PROBE_LIMIT, |store| {
        match store.build(SERVICE, PROBE_ACCOUNT, None)?.get_secret() {
            Ok(_) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(error),
        }
    })
}

/// Reads the key of an account.
pub(super) fn read(source: &KeyringSource, account: &str) -> Result<DataKey, KeyError> {
    let account = account.to_owned();
    let secret = on_its_thread(source, ANSWER_LIMIT, move |store| {
        match store.build(SERVICE, &account, None)?.get_secret() {
            Ok(secret) => Ok(Some(Zeroizing::new(secret))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(error),
        }
    })?;
    let secret = secret.ok_or(KeyError::NotInKeyring)?;
    DataKey::try_from_slice(&secret).ok_or(KeyError::NotInKeyring)
}

/// Stores the key under a new account and returns its name.
///
/// A new name each time: an entry that something may still point to is never overwritten.
pub(super) fn write(source: &KeyringSource, key: &DataKey) -> Result<String, KeyError> {
    let account = format!("data key {}", to_hex(&random::<8>()));
    let name = account.clone();
    let secret = Zeroizing::new(key.expose_secret().to_vec());
    on_its_thread(source, ANSWER_LIMIT, move |store| {
        store.build(SERVICE, &name, None)?.set_secret(&secret)
    })?;
    Ok(account)
}

/// Removes an account.
pub(super) fn delete(source: &KeyringSource, account: &str) -> Result<(), KeyError> {
    let account = account.to_owned();
    on_its_thread(source, ANSWER_LIMIT, move |store| {
        let entry: Entry = store.build(SERVICE, &account, None)?;
        entry.delete_credential()
    })
}

fn on_its_thread<T: Send + 'static>(
    source: &KeyringSource,
    limit: Duration,
    work: impl FnOnce(&CredentialStore) -> Result<T, Error> + Send + 'static,
) -> Result<T, KeyError> {
    let source = source.clone();
    let (answer, answered) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("keyring".to_owned());
    let started = thread.spawn(move || {
        let result = source.connect().and_then(|store| work(&*store));
        // Nobody listens any more when the time limit has passed.
        drop(answer.send(result));
    });
    started.map_err(|error| unavailable(&error))?;
    match answered.recv_timeout(limit) {
        Ok(result) => result.map_err(|error| unavailable(&error)),
        Err(_) => Err(KeyError::KeyringUnavailable {
            reason: format!("no answer within {} s", limit.as_secs()),
        }),
    }
}

fn unavailable(error: &dyn std::error::Error) -> KeyError {
    KeyError::KeyringUnavailable {
        reason: error.to_string(),
    }
}

impl KeyringSource {
    fn connect(&self) -> Result<Arc<CredentialStore>, Error> {
        match self {
            Self::Platform => platform_store(),
            Self::Given(store) => Ok(store.clone()),
        }
    }
}

#[cfg(target_os = "linux")]
fn platform_store() -> Result<Arc<CredentialStore>, Error> {
    let store = zbus_secret_service_keyring_store::Store::new()?;
    Ok(store)
}

#[cfg(target_os = "macos")]
fn platform_store() -> Result<Arc<CredentialStore>, Error> {
    let store = apple_native_keyring_store::keychain::Store::new()?;
    Ok(store)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn platform_store() -> Result<Arc<CredentialStore>, Error> {
    Err(Error::NotSupportedByStore(
        "Satchel knows no keyring on this system".to_owned(),
    ))
}
