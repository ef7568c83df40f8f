//! The secret that lets a program use `satchel serve`.
//!
//! Made once, from the randomness of the operating system, and kept in a file that only its owner reads. Never
//! printed, never logged, and compared in constant time. Start at [`Token::load_or_create`].

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use satchel_sync::durable;

use crate::message::{Failure, FailureKind};

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// A token that a user writes into the file must not be shorter: 32 characters are past guessing.
const MIN_CHARACTERS: usize = 32;

/// Longest file that is read.
const MAX_FILE_BYTES: u64 = 4096;

/// What a program has to show. Only its hash is kept in memory.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads the token from its file, or makes both where there is none yet.
    ///
    /// # Errors
    /// When the file can be read by others, holds no token, or cannot be read or written.
    pub fn load_or_create(path: &Path) -> Result<Self, Failure> {
        match File::open(path) {
            Ok(file) => Self::read(path, &file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(|error| unusable(path, &error))?;
                // Another process may have been first: what lies there counts.
                let file = File::open(path).map_err(|error| unusable(path, &error))?;
                Self::read(path, &file)
            }
            Err(error) => Err(unusable(path, &error)),
        }
    }

    /// Whether this is the token. Takes as long for a wrong one as for the right one: hashes are compared, and
    /// [`blake3::Hash`] compares in constant time.
    #[must_use]
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0 == blake3::hash(given)
    }

    fn read(path: &Path, mut file: &File) -> Result<Self, Failure> {
        let of_file = |error: io::Error| unusable(path, &error);
        // Of the file that is open, not of what the path may mean a moment later.
        let facts = file.metadata().map_err(of_file)?;
        if !facts.is_file() {
            return Err(wrong(path, "is not a file", "Name a file."));
        }
        if facts.permissions().mode() & 0o077 != 0 {
            return Err(wrong(
                path,
                "can be read by other users of this machine, so it is no secret",
                "Delete it: a new token is made at the next start. Or, if nobody has read it: `chmod 600` it.",
            ));
        }
        let mut text = String::new();
        (&mut file)
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .map_err(of_file)?;
        let token = text.trim();
        if token.len() < MIN_CHARACTERS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                path,
                "holds no token: 32 or more letters, digits or signs are expected in it",
                "Delete it: a new token is made at the next start.",
            ));
        }
        Ok(Self(blake3::hash(token.as_bytes())))
    }
}

/// Makes a token and its file, complete from the first moment. A file that is there is left as it is.
fn create(path: &Path) -> io::Result<()> {
    let mut bytes = [0u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut line = bytes.iter().fold(String::new(), |mut hex, byte| {
        hex += &format!("{byte:02x}");
        hex
    });
    line.push('\n');
    let folder = path.parent().unwrap_or(Path::new(""));
    if !folder.as_os_str().is_empty() {
        durable::create_folder(folder)?;
    }
    // Two processes may start at once, so each writes a file of its own, and only one gets the name.
    let mut own = path.as_os_str().to_owned();
    own.push(format!(".{}", std::process::id()));
    let own = Path::new(&own);
    durable::write(own, line.as_bytes())?;
    let named = fs::hard_link(own, path);
    fs::remove_file(own)?;
    match named {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => durable::sync_folder(folder),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    let message = format!("the token file {} cannot be used: {error}", path.display());
    Failure::new(FailureKind::Usage, message).with_hint(
        "Check the permissions of the file and of its folder, or name another with `--token-file`.",
    )
}

fn wrong(path: &Path, what: &str, hint: &str) -> Failure {
    let message = format!("the token file {} {what}", path.display());
    Failure::new(FailureKind::Usage, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_belongs_to_its_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/serve.token");
        let token = Token::load_or_create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 2 * TOKEN_BYTES);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(token.matches(text.trim().as_bytes()));
        assert!(!token.matches(&text.as_bytes()[1..]));
        assert!(!token.matches(b""));
        // The second start finds the same one, and nothing else was left in the folder.
        let again = Token::load_or_create(&path).unwrap();
        assert!(again.matches(text.trim().as_bytes()));
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "only the token"
        );
        let other = folder.path().join("other.token");
        Token::load_or_create(&other).unwrap();
        assert_ne!(fs::read_to_string(other).unwrap(), text);
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.token");
        Token::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let failure = Token::load_or_create(&path).unwrap_err();
        assert!(failure.message.contains("other users"), "{failure}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        durable::write(&path, b"short\n").unwrap();
        let failure = Token::load_or_create(&path).unwrap_err();
        assert!(failure.message.contains("holds no token"), "{failure}");
    }
}
