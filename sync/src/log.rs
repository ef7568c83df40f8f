//! Append-only files of sealed frames: how documents, chats and the index lie on the disk.
//!
//! Reading never changes a file and never panics, whatever its bytes; what is not intact is reported as
//! [`Damage`], never returned as data. Knows nothing about what the frames mean.
//! Byte tables: [`Header`] and `LogFile::encode_frame`. Start at [`LogFile`].

mod append;
mod header;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::durable;
use crate::seal::{Aad, FileKind, NONCE_BYTES, SEAL_OVERHEAD_BYTES, Sealer, WorkspaceKeys};
pub use append::Appender;
pub use header::Header;

/// First bytes of every file that this crate writes for a workspace.
pub const MAGIC: [u8; 8] = *b"SATCHLOG";
/// Version of the layout below. A file with a higher one is refused, never changed.
pub const FORMAT_VERSION: u16 = 1;
/// Length of the header at the start of the file, in bytes.
pub const HEADER_BYTES: usize = 64;
/// Length of what stands before the ciphertext of a frame: length, check, nonce.
const FRAME_HEAD_BYTES: usize = 8;
/// Longest plaintext of one frame, in bytes.
///
/// 128 MiB holds the largest text that is imported (64 MiB) even where compression makes it longer.
pub const MAX_FRAME_BYTES: usize = 128 << 20;
/// Longest file that is read at once, in bytes: 4 of the longest frames, so that opening a file never
/// asks for more than 1 GiB (the file and its plaintext). Larger ones are refused before reading.
pub const MAX_LOG_BYTES: u64 = 4 * MAX_FRAME_BYTES as u64;

/// Which file of which workspace. Sealed into every frame, so that files cannot be swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileName {
    /// What the file is for.
    pub kind: FileKind,
    /// Id inside the workspace, zero-padded.
    pub id: [u8; 32],
}

impl FileName {
    /// Names a file by an id of 16 bytes.
    #[must_use]
    pub fn new(kind: FileKind, id: [u8; 16]) -> Self {
        let mut padded = [0; 32];
        padded[..16].copy_from_slice(&id);
        Self { kind, id: padded }
    }
}

/// Why a file cannot be read at all, and nothing about it may be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file system refused.
    #[error("cannot read the file {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// Another data key made the file.
    #[error("the data key does not fit: the file was made with another key ({path})")]
    WrongKey {
        /// Which file.
        path: PathBuf,
    },
    /// A newer Satchel made the file.
    #[error(
        "a newer Satchel wrote this file (format {found}, this one knows {FORMAT_VERSION}); update Satchel ({path})"
    )]
    NewerFormat {
        /// Which file.
        path: PathBuf,
        /// Its format version.
        found: u16,
    },
    /// The file is longer than anything Satchel writes.
    #[error(
        "the file has {bytes} bytes, Satchel writes at most {MAX_LOG_BYTES}; it was left alone ({path})"
    )]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its length in bytes.
        bytes: u64,
    },
}

/// What kind of damage a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The last write was cut off by a crash or a power cut: it had not been reported as saved.
    TornTail,
    /// Bytes inside the file have changed, or the file is not the one that belongs here.
    Changed,
    /// The file is empty or its first bytes are gone, so nothing of it can be read.
    NoHeader,
    /// The file should be there and is not.
    Missing,
    /// An older state of the file than the index knows.
    RolledBack,
}

/// A file that was not intact: what was dropped and where the rest has been kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: DamageKind,
    /// How many frames before the damage could be used.
    pub intact_frames: usize,
    /// How many bytes could not be used.
    pub dropped_bytes: u64,
    /// Where those bytes (or the whole file, when the damage is inside it) were kept, once repaired.
    pub kept_as: Option<PathBuf>,
}

/// The contents of a file as far as it is intact.
#[derive(Debug)]
pub struct Scan {
    /// The plaintext of each intact frame, in order.
    pub frames: Vec<Vec<u8>>,
    header: Option<Header>,
    good_bytes: u64,
    /// What was wrong, if anything.
    pub damage: Option<Damage>,
}

/// One file, its keys and its name.
#[derive(Debug, Clone, Copy)]
pub struct LogFile<'a> {
    keys: &'a WorkspaceKeys,
    name: FileName,
}

impl<'a> LogFile<'a> {
    /// Describes a file; touches nothing.
    #[must_use]
    pub fn new(keys: &'a WorkspaceKeys, name: FileName) -> Self {
        Self { keys, name }
    }

    /// The bytes of a new file with these frames. Write them with [`durable::write`].
    #[must_use]
    pub fn encode(&self, frames: &[&[u8]]) -> Vec<u8> {
        let header = Header::new(self.keys, self.name.kind);
        let mut bytes = header.0.to_vec();
        for frame in frames {
            self.encode_frame(&header, bytes.len() as u64, frame, &mut bytes);
        }
        bytes
    }

    /// Appends one frame to `out`.
    ///
    /// | bytes | content |
    /// |---|---|
    /// | 0..4 | length `n` of the plaintext, u32 little-endian |
    /// | 4..8 | first 4 bytes of BLAKE3 of incarnation, offset (u64 little-endian) and length: tells a torn write from changed bytes |
    /// | 8..20 | nonce |
    /// | 20..20+n | ciphertext |
    /// | 20+n..36+n | tag |
    fn encode_frame(&self, header: &Header, offset_bytes: u64, frame: &[u8], out: &mut Vec<u8>) {
        assert!(
            frame.len() <= MAX_FRAME_BYTES,
            "callers check the length before sealing"
        );
        let plaintext_bytes = frame.len() as u32;
        out.extend_from_slice(&plaintext_bytes.to_le_bytes());
        out.extend_from_slice(&frame_check(header, offset_bytes, plaintext_bytes));
        let aad = self.aad(header, offset_bytes, plaintext_bytes);
        self.sealer().seal(&aad, frame, out);
    }

    /// Reads a whole file.
    ///
    /// A file that does not exist gives no frames and damage of kind [`DamageKind::Missing`].
    ///
    /// # Errors
    /// [`LogError`] for what is no damage and must not be repaired: a wrong key, a newer format, a disk
    /// that cannot be read.
    pub fn read(&self, path: &Path) -> Result<Scan, LogError> {
        let io_error = |source| LogError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Scan::broken(path, DamageKind::Missing, 0));
            }
            Err(source) => return Err(io_error(source)),
        };
        let bytes = file.metadata().map_err(io_error)?.len();
        if bytes > MAX_LOG_BYTES {
            return Err(LogError::TooLarge {
                path: path.to_owned(),
                bytes,
            });
        }
        let mut contents = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        file.read_to_end(&mut contents).map_err(io_error)?;
        self.scan(path, &contents)
    }

    /// Reads the bytes of a file; `path` is used in messages only.
    ///
    /// # Errors
    /// As [`LogFile::read`].
    pub fn scan(&self, path: &Path, bytes: &[u8]) -> Result<Scan, LogError> {
        let Some(header) = Header::parse(bytes) else {
            return Ok(Scan::broken(path, DamageKind::NoHeader, bytes.len() as u64));
        };
        if header.version() > FORMAT_VERSION {
            return Err(LogError::NewerFormat {
                path: path.to_owned(),
                found: header.version(),
            });
        }
        let ours = header.workspace() == self.keys.workspace()
            && FileKind::from_number(header.0[11]) == Some(self.name.kind);
        if ours && !header.made_by(self.sealer()) {
            return Err(LogError::WrongKey {
                path: path.to_owned(),
            });
        }
        if !ours {
            return Ok(Scan::broken(path, DamageKind::Changed, bytes.len() as u64));
        }
        Ok(self.scan_frames(path, header, bytes))
    }

    fn scan_frames(&self, path: &Path, header: Header, bytes: &[u8]) -> Scan {
        let mut scan = Scan {
            frames: Vec::new(),
            header: Some(header),
            good_bytes: HEADER_BYTES as u64,
            damage: None,
        };
        let mut rest = &bytes[HEADER_BYTES..];
        while !rest.is_empty() {
            match self.open_frame(&header, scan.good_bytes, rest) {
                Ok((frame, used)) => {
                    scan.frames.push(frame);
                    scan.good_bytes += used as u64;
                    rest = &rest[used..];
                }
                Err(kind) => {
                    scan.damage = Some(Damage {
                        path: path.to_owned(),
                        kind,
                        intact_frames: scan.frames.len(),
                        dropped_bytes: rest.len() as u64,
                        kept_as: None,
                    });
                    break;
                }
            }
        }
        scan
    }

    /// Opens the frame at the start of `rest`; returns it and how many bytes it took.
    fn open_frame(
        &self,
        header: &Header,
        offset_bytes: u64,
        rest: &[u8],
    ) -> Result<(Vec<u8>, usize), DamageKind> {
        let zeros = rest.iter().all(|byte| *byte == 0);
        if zeros || rest.len() < FRAME_HEAD_BYTES {
            // A file system may have made the file longer before the crash without filling it.
            return Err(DamageKind::TornTail);
        }
        let plaintext_bytes = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        if rest[4..8] != frame_check(header, offset_bytes, plaintext_bytes) {
            return Err(DamageKind::Changed);
        }
        let used = FRAME_HEAD_BYTES + SEAL_OVERHEAD_BYTES + plaintext_bytes as usize;
        let Some(sealed) = rest.get(FRAME_HEAD_BYTES..used) else {
            return Err(DamageKind::TornTail);
        };
        let aad = self.aad(header, offset_bytes, plaintext_bytes);
        match self.sealer().open(&aad, sealed) {
            Ok(frame) => Ok((frame, used)),
            // Blocks of the last write may reach the disk in any order, so a last frame with wrong bytes
            // that end in zeros is a torn one.
            Err(_) if rest.len() == used && sealed.ends_with(&[0; NONCE_BYTES]) => {
                Err(DamageKind::TornTail)
            }
            Err(_) => Err(DamageKind::Changed),
        }
    }

    /// Makes a damaged file usable again, keeping everything that is dropped.
    ///
    /// A torn tail is copied to `<file>.damaged` and cut off; a file changed inside is copied there whole, then
    /// cut to its intact beginning; one without a header is moved there. Does nothing to an intact file.
    ///
    /// # Errors
    /// Whatever the file system says. The file is cut only after the copy is durable.
    pub fn repair(&self, path: &Path, scan: &mut Scan) -> io::Result<()> {
        let Some(damage) = &mut scan.damage else {
            return Ok(());
        };
        if matches!(damage.kind, DamageKind::Missing | DamageKind::RolledBack)
            || damage.kept_as.is_some()
        {
            return Ok(());
        }
        let kept_as = free_name(path);
        let bytes = fs::read(path)?;
        let kept: &[u8] = match damage.kind {
            DamageKind::TornTail => bytes.get(scan.good_bytes as usize..).unwrap_or(&bytes),
            _ => &bytes,
        };
        durable::write(&kept_as, kept)?;
        if scan.header.is_some() {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(scan.good_bytes)?;
            file.sync_all()?;
        } else {
            fs::remove_file(path)?;
            durable::sync_folder(path.parent().unwrap_or(Path::new("")))?;
        }
        damage.kept_as = Some(kept_as);
        Ok(())
    }

    fn sealer(&self) -> &'a Sealer {
        self.keys.sealer(self.name.kind)
    }

    fn aad<'b>(&'b self, header: &'b Header, offset_bytes: u64, plaintext_bytes: u32) -> Aad<'b> {
        Aad {
            header: &header.0,
            file: &self.name.id,
            offset_bytes,
            plaintext_bytes,
        }
    }
}

impl Scan {
    fn broken(path: &Path, kind: DamageKind, dropped_bytes: u64) -> Self {
        Self {
            frames: Vec::new(),
            header: None,
            good_bytes: 0,
            damage: Some(Damage {
                path: path.to_owned(),
                kind,
                intact_frames: 0,
                dropped_bytes,
                kept_as: None,
            }),
        }
    }

    /// How many bytes of the file are intact, header included.
    #[must_use]
    pub fn good_bytes(&self) -> u64 {
        self.good_bytes
    }
}

fn frame_check(header: &Header, offset_bytes: u64, plaintext_bytes: u32) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header.0[32..48]);
    hasher.update(&offset_bytes.to_le_bytes());
    hasher.update(&plaintext_bytes.to_le_bytes());
    let hash = hasher.finalize();
    let mut check = [0; 4];
    check.copy_from_slice(&hash.as_bytes()[..4]);
    check
}

/// `<file>.damaged`, or with a number where that exists: older damage is never overwritten.
pub(crate) fn free_name(path: &Path) -> PathBuf {
    let named = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(".damaged");
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    (1..u32::MAX)
        .map(named)
        .find(|path| !path.exists())
        .expect("a folder never holds four thousand million damaged copies")
}

#[cfg(test)]
mod tests;
