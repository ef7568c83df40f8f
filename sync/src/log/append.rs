//! Adds frames to the end of a file, each durable before it is reported unless the caller says otherwise.
//!
//! Never touches what is in the file already. Start at [`Appender`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::{FileName, HEADER_BYTES, Header, LogFile, Scan};
use crate::seal::WorkspaceKeys;

/// The end of an intact file, ready to take frames.
#[derive(Debug)]
pub struct Appender {
    file: File,
    header: Header,
    name: FileName,
    len_bytes: u64,
}

impl Appender {
    /// Opens a file that was read (and repaired where needed) for appending.
    ///
    /// # Errors
    /// Whatever the file system says, and [`io::ErrorKind::InvalidData`] when the file was changed meanwhile
    /// or has damage that was not repaired.
    pub fn open(path: &Path, name: FileName, scan: &Scan) -> io::Result<Self> {
        let changed = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the file changed while it was open",
            )
        };
        let header = scan.header.ok_or_else(changed)?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.len() != scan.good_bytes {
            return Err(changed());
        }
        Ok(Self {
            file,
            header,
            name,
            len_bytes: scan.good_bytes,
        })
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Appends one frame and returns when the disk has it.
    ///
    /// # Errors
    /// Whatever the file system says. The file is then cut back to what it was; where even that fails, the
    /// next reader finds and drops a torn tail.
    pub fn append(&mut self, keys: &WorkspaceKeys, frame: &[u8]) -> io::Result<()> {
        self.append_with(keys, frame, File::sync_data)
    }

    /// Appends one frame and returns when the system has it: it survives the end of this process, but a power cut
    /// only after [`Appender::sync`].
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub fn append_unsynced(&mut self, keys: &WorkspaceKeys, frame: &[u8]) -> io::Result<()> {
        self.append_with(keys, frame, |_| Ok(()))
    }

    /// Returns when the disk has all frames.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether the file at `path` is still the one that is open here, and ends where this appends.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn is_at_end_of(&self, path: &Path) -> io::Result<bool> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if file.metadata()?.len() != self.len_bytes {
            return Ok(false);
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact(&mut bytes)?;
        Ok(Header::parse(&bytes) == Some(self.header))
    }

    fn append_with(
        &mut self,
        keys: &WorkspaceKeys,
        frame: &[u8],
        settle: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let log = LogFile::new(keys, self.name);
        let mut bytes = Vec::new();
        log.encode_frame(&self.header, self.len_bytes, frame, &mut bytes);
        let written = self.write_at_end(&bytes).and_then(|()| settle(&self.file));
        if written.is_err() {
            drop(self.cut_back());
        } else {
            self.len_bytes += bytes.len() as u64;
        }
        written
    }

    /// Takes back the frames after `len_bytes`, for a batch that failed elsewhere.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn cut_to(&mut self, len_bytes: u64) -> io::Result<()> {
        self.len_bytes = self.len_bytes.min(len_bytes);
        self.cut_back()
    }

    fn write_at_end(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len_bytes))?;
        self.file.write_all(bytes)
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.len_bytes)?;
        self.file.sync_data()
    }
}
