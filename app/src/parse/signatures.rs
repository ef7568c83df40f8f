//! The first bytes of files that are not read, and what to say about them.
//!
//! Pure data and one look-up. Start at [`known_format`].

/// A kind of file that is recognised in order to be refused with good words.
pub(crate) struct KnownBinary {
    signature: &'static [u8],
    /// Where in the file the signature stands.
    offset: usize,
    /// Media type of such a file.
    pub(crate) media_type: &'static str,
    /// What it is, with its article.
    pub(crate) what: &'static str,
    /// What to do instead of importing it.
    pub(crate) hint: &'static str,
}

impl KnownBinary {
    const fn new(
        signature: &'static [u8],
        offset: usize,
        media_type: &'static str,
        what: &'static str,
        hint: &'static str,
    ) -> Self {
        Self {
            signature,
            offset,
            media_type,
            what,
            hint,
        }
    }

    /// The kind of file in the words that [`detect`](super::detect) uses for what a name promises.
    pub(crate) fn kind(&self) -> &'static str {
        match self.hint {
            PICTURE => "a picture",
            ARCHIVE => "an archive",
            SOUND => "a recording",
            _ if self.media_type == "application/rtf" => "a word processor document",
            _ => self.what,
        }
    }

    fn matches(&self, bytes: &[u8]) -> bool {
        bytes
            .get(self.offset..)
            .is_some_and(|rest| rest.starts_with(self.signature))
    }
}

const PICTURE: &str = "pictures are not read yet; run text recognition and import its result";
const ARCHIVE: &str = "unpack it and import the folder";
const SOUND: &str = "sound and film are not read; import a transcript";

/// Formats that are told by their first bytes although those are letters.
const WRITTEN_IN_TEXT: &[&[u8]] = &[b"{\\rtf", b"%!PS"];

/// A letter about ID3 tags begins like an MP3 file: short signatures count only before binary data.
pub(crate) fn known_format(bytes: &[u8]) -> Option<&'static KnownBinary> {
    let known = KNOWN_BINARIES.iter().find(|known| known.matches(bytes))?;
    let head = &bytes[..bytes.len().min(1024)];
    let is_binary = head
        .iter()
        .any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31));
    (is_binary || WRITTEN_IN_TEXT.contains(&known.signature)).then_some(known)
}

const KNOWN_BINARIES: &[KnownBinary] = &[
    KnownBinary::new(b"\x89PNG\r\n\x1A\n", 0, "image/png", "a PNG image", PICTURE),
    KnownBinary::new(b"\xFF\xD8\xFF", 0, "image/jpeg", "a JPEG image", PICTURE),
    KnownBinary::new(b"GIF87a", 0, "image/gif", "a GIF image", PICTURE),
    KnownBinary::new(b"GIF89a", 0, "image/gif", "a GIF image", PICTURE),
    KnownBinary::new(b"II*\0", 0, "image/tiff", "a TIFF image", PICTURE),
    KnownBinary::new(b"MM\0*", 0, "image/tiff", "a TIFF image", PICTURE),
    KnownBinary::new(b"WEBP", 8, "image/webp", "a WebP image", PICTURE),
    KnownBinary::new(b"ftypavif", 4, "image/avif", "an AVIF image", PICTURE),
    KnownBinary::new(b"ftypheic", 4, "image/heic", "an HEIC image", PICTURE),
    KnownBinary::new(
        b"\x1F\x8B",
        0,
        "application/gzip",
        "a gzip archive",
        ARCHIVE,
    ),
    KnownBinary::new(
        b"7z\xBC\xAF\x27\x1C",
        0,
        "application/x-7z-compressed",
        "a 7z archive",
        ARCHIVE,
    ),
    KnownBinary::new(
        b"Rar!\x1A\x07",
        0,
        "application/vnd.rar",
        "a RAR archive",
        ARCHIVE,
    ),
    KnownBinary::new(
        b"\xFD7zXZ\0",
        0,
        "application/x-xz",
        "an XZ archive",
        ARCHIVE,
    ),
    KnownBinary::new(
        b"\x28\xB5\x2F\xFD",
        0,
        "application/zstd",
        "a Zstandard archive",
        ARCHIVE,
    ),
    KnownBinary::new(b"BZh", 0, "application/x-bzip2", "a bzip2 archive", ARCHIVE),
    KnownBinary::new(b"ustar", 257, "application/x-tar", "a tar archive", ARCHIVE),
    KnownBinary::new(b"ID3", 0, "audio/mpeg", "an MP3 recording", SOUND),
    KnownBinary::new(b"OggS", 0, "application/ogg", "an Ogg recording", SOUND),
    KnownBinary::new(b"fLaC", 0, "audio/flac", "a FLAC recording", SOUND),
    KnownBinary::new(b"WAVE", 8, "audio/wav", "a WAV recording", SOUND),
    KnownBinary::new(b"ftyp", 4, "video/mp4", "an MP4 film", SOUND),
    KnownBinary::new(
        b"\x1A\x45\xDF\xA3",
        0,
        "video/x-matroska",
        "a Matroska film",
        SOUND,
    ),
    KnownBinary::new(
        b"{\\rtf",
        0,
        "application/rtf",
        "an RTF document",
        "open it in a word processor and save it as .docx or PDF",
    ),
    KnownBinary::new(
        b"GGUF",
        0,
        "application/x-gguf",
        "a model file",
        "use `satchel models import` for models",
    ),
    KnownBinary::new(
        b"SQLite format 3\0",
        0,
        "application/vnd.sqlite3",
        "an SQLite database",
        "export its tables as CSV",
    ),
    KnownBinary::new(
        b"\x7FELF",
        0,
        "application/x-executable",
        "a program",
        "programs hold no text to ask about",
    ),
    KnownBinary::new(
        b"%!PS",
        0,
        "application/postscript",
        "a PostScript file",
        "convert it to PDF, for example with ps2pdf",
    ),
];
