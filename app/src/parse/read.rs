//! Opens a file that a user pointed at and reads it, whatever it turns out to be.
//!
//! Never waits for a pipe or a device, never reads more than the limit, never changes anything.
//! Start at [`read_file`].

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::OFlags;

use super::{ParseError, limits};

/// What the file system says about a file that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Bytes that were read.
    pub size_bytes: u64,
    /// Time of the last change, in milliseconds since 1970, taken before the first byte was read:
    /// a change during reading therefore shows as a newer time at the next look.
    pub mtime_ms: i64,
}

/// Reads a whole regular file; symbolic links are followed, since people keep their papers so.
///
/// Blocks: call it from `spawn_blocking`. Costs at most [`limits::INPUT_BYTES`] of memory.
///
/// # Errors
/// [`ParseError::NotRegularFile`] for folders, pipes, sockets and devices (also behind a link);
/// [`ParseError::TooLarge`] for a file beyond the limit, also one that grows past it while it is
/// read; [`ParseError::Empty`]; [`ParseError::Unreadable`] with the system's words for the rest.
pub fn read_file(path: &Path) -> Result<(Vec<u8>, FileFacts), ParseError> {
    // Asked before opening, because opening alone can have effects on a device.
    refuse_special(&std::fs::metadata(path).map_err(unreadable)?)?;
    // Without O_NONBLOCK, opening a pipe that took the file's place meanwhile would wait forever.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    refuse_special(&metadata)?;
    if metadata.len() > limits::INPUT_BYTES {
        return Err(too_large(metadata.len()));
    }
    let bytes = read_bounded(file, metadata.len())?;
    let facts = FileFacts {
        size_bytes: bytes.len() as u64,
        mtime_ms: mtime_ms(&metadata),
    };
    Ok((bytes, facts))
}

fn read_bounded(file: File, expected_bytes: u64) -> Result<Vec<u8>, ParseError> {
    let capacity = usize::try_from(expected_bytes).unwrap_or(0);
    let mut bytes = Vec::with_capacity(capacity);
    file.take(limits::INPUT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    match bytes.len() as u64 {
        0 => Err(ParseError::Empty),
        length if length > limits::INPUT_BYTES => Err(too_large(length)),
        _ => Ok(bytes),
    }
}

fn refuse_special(metadata: &Metadata) -> Result<(), ParseError> {
    let file_type = metadata.file_type();
    let found = if file_type.is_file() {
        return Ok(());
    } else if file_type.is_dir() {
        "a folder"
    } else if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(ParseError::NotRegularFile {
        found: found.to_owned(),
    })
}

fn mtime_ms(metadata: &Metadata) -> i64 {
    let Ok(modified) = metadata.modified() else {
        return 0;
    };
    match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

fn too_large(bytes: u64) -> ParseError {
    ParseError::TooLarge {
        bytes,
        limit: limits::INPUT_BYTES,
    }
}

fn unreadable(error: io::Error) -> ParseError {
    let words = match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "you have no permission to open it".to_owned(),
        _ => error.to_string(),
    };
    ParseError::Unreadable { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_link_to_it_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "words").unwrap();
        let link = folder.path().join("link.txt");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let (bytes, facts) = read_file(&link).unwrap();
        assert_eq!(bytes, b"words");
        assert_eq!(facts.size_bytes, 5);
        assert!(facts.mtime_ms > 1_600_000_000_000);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe.txt");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let zero = folder.path().join("zero.txt");
        std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
        for (path, found) in [
            (pipe.as_path(), "a named pipe"),
            (&zero, "a device"),
            (folder.path(), "a folder"),
        ] {
            let error = read_file(path).unwrap_err();
            assert_eq!(
                error,
                ParseError::NotRegularFile {
                    found: found.to_owned()
                }
            );
        }
    }

    #[test]
    fn missing_empty_and_looping_paths_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read_file(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("does not exist"), "{missing}");
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        assert_eq!(read_file(&empty).unwrap_err(), ParseError::Empty);
        let looping = folder.path().join("loop");
        std::os::unix::fs::symlink(&looping, &looping).unwrap();
        assert!(matches!(
            read_file(&looping).unwrap_err(),
            ParseError::Unreadable { .. }
        ));
    }

    #[test]
    fn a_huge_sparse_file_is_refused_without_reading_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse.txt");
        File::create(&path).unwrap().set_len(5 << 32).unwrap();
        assert_eq!(read_file(&path).unwrap_err(), too_large(5 << 32));
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grown.txt");
        File::create(&path)
            .unwrap()
            .set_len(limits::INPUT_BYTES + 10)
            .unwrap();
        // As if the file had been short when it was looked at.
        let error = read_bounded(File::open(&path).unwrap(), 10).unwrap_err();
        assert_eq!(error, too_large(limits::INPUT_BYTES + 1));
    }
}
