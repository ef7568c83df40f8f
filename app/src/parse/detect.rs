//! Decides what a file is: by its first bytes, and only then by its name.
//!
//! Pure and cheap: looks at signatures, parses nothing, so it is safe in any process. A wrongly
//! named file is read as what it is. Start at [`detect`].

use super::ParseError;
use super::signatures::{KnownBinary, known_format};

/// How a file is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Pdf,
    /// A ZIP container: an Office document or something that is not read; [`office`](super::office) looks inside.
    Zip,
    Html,
    Table,
    Markdown,
    Plain,
    /// Source code or another file of machine-readable lines, with its media type.
    Code(&'static str),
}

/// A format, and what to say when the name promised another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Detected {
    pub(crate) format: Format,
    pub(crate) note: Option<String>,
}

/// Recognises the format of `bytes`; `name` is the file's name, used where the bytes do not tell.
///
/// # Errors
/// [`ParseError::Empty`], [`ParseError::Unsupported`], [`ParseError::PasswordProtected`] and
/// [`ParseError::WrongType`], where the first bytes already show it.
pub(crate) fn detect(name: &str, bytes: &[u8]) -> Result<Detected, ParseError> {
    if bytes.is_empty() {
        return Err(ParseError::Empty);
    }
    let extension = extension(name);
    if is_pdf(bytes, extension == "pdf") {
        return Ok(found(Format::Pdf, "a PDF", &extension, &["pdf", "ai"]));
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return Ok(Detected {
            format: Format::Zip,
            note: None,
        });
    }
    if bytes.starts_with(&OLE_SIGNATURE) {
        return Err(old_office(bytes));
    }
    if let Some(known) = known_format(bytes) {
        return Err(refusal(known, &extension));
    }
    if is_html(bytes) && !is_code_name(name, bytes) {
        let named = ["html", "htm", "xhtml", "xht", "shtml"];
        return Ok(found(Format::Html, "a web page", &extension, &named));
    }
    let format = text_format(name, &extension, bytes);
    Ok(Detected {
        format,
        note: promised(&extension)
            .map(|promise| format!("its name says {promise}, but it holds plain text")),
    })
}

/// The part of a file name after the last dot, in lower case; empty where there is none.
pub(crate) fn extension(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension.to_ascii_lowercase(),
        _ => String::new(),
    }
}

fn found(format: Format, what: &str, extension: &str, expected: &[&str]) -> Detected {
    let unexpected = !extension.is_empty() && !expected.contains(&extension);
    Detected {
        format,
        note: unexpected.then(|| format!("its name ends in .{extension}, but it is {what}")),
    }
}

/// The signature stands first, or, as in files saved from mail, within the first KiB.
fn is_pdf(bytes: &[u8], named_pdf: bool) -> bool {
    const SIGNATURE: &[u8] = b"%PDF-";
    let head = &bytes[..bytes.len().min(1024)];
    let blank = head.iter().take_while(|b| b.is_ascii_whitespace()).count();
    head[blank..].starts_with(SIGNATURE)
        || named_pdf && head.windows(SIGNATURE.len()).any(|w| w == SIGNATURE)
}

/// The container of Office before 2007, and of every Office file with a password.
const OLE_SIGNATURE: [u8; 8] = [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// Names of streams in such a container tell what it is; they are stored as UTF-16.
fn old_office(bytes: &[u8]) -> ParseError {
    let holds = |stream: &str| {
        let name: Vec<u8> = stream.encode_utf16().flat_map(u16::to_le_bytes).collect();
        bytes.windows(name.len()).any(|window| window == name)
    };
    if holds("EncryptedPackage") {
        return ParseError::PasswordProtected;
    }
    let (media_type, hint) = if holds("WordDocument") {
        (
            "application/msword",
            "open it in a word processor and save it as .docx or PDF",
        )
    } else if holds("PowerPoint Document") {
        (
            "application/vnd.ms-powerpoint",
            "open it in its program and save it as .pptx or PDF",
        )
    } else if holds("Workbook") || holds("Book") {
        (
            "application/vnd.ms-excel",
            "open it in a spreadsheet program and save it as .xlsx or CSV",
        )
    } else {
        (
            "application/x-ole-storage",
            "open it in its own program and save it as .docx or PDF",
        )
    };
    unsupported(media_type, hint)
}

pub(crate) fn unsupported(media_type: &str, hint: &str) -> ParseError {
    ParseError::Unsupported {
        media_type: media_type.to_owned(),
        hint: hint.to_owned(),
    }
}

fn refusal(known: &KnownBinary, extension: &str) -> ParseError {
    match promised(extension) {
        Some(named) if named != known.kind() => ParseError::WrongType {
            named: named.to_owned(),
            looks_like: known.what.to_owned(),
        },
        _ => unsupported(known.media_type, known.hint),
    }
}

/// What an extension of a format with a signature promises.
fn promised(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "pdf" => "PDF",
        "docx" | "docm" | "doc" | "dotx" | "odt" | "rtf" => "a word processor document",
        "xlsx" | "xls" | "xlsm" | "ods" => "a spreadsheet",
        "pptx" | "ppt" | "odp" => "a presentation",
        "epub" => "an e-book",
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "tif" | "tiff" | "bmp" | "heic" => "a picture",
        "zip" | "gz" | "7z" | "rar" | "xz" | "tar" => "an archive",
        "mp3" | "wav" | "ogg" | "flac" | "mp4" | "mkv" | "mov" => "a recording",
        _ => return None,
    })
}

/// A page that says so at its start, whatever its name.
fn is_html(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    // A page saved as UTF-16 is recognised with its zero bytes left out.
    let mut text: String = head
        .iter()
        .filter(|byte| **byte != 0)
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect();
    loop {
        text = text
            .trim_start_matches(|c: char| c.is_whitespace() || !c.is_ascii())
            .to_owned();
        let skipped = if text.starts_with("<!--") {
            text.split_once("-->")
        } else if text.starts_with("<?xml") {
            text.split_once("?>")
        } else {
            None
        };
        match skipped {
            Some((_, rest)) => text = rest.to_owned(),
            None => break,
        }
    }
    text.starts_with("<!doctype html") || text.starts_with("<html")
}

fn is_code_name(name: &str, bytes: &[u8]) -> bool {
    matches!(
        text_format(name, &extension(name), bytes),
        Format::Code(_) | Format::Markdown
    )
}

fn text_format(name: &str, extension: &str, bytes: &[u8]) -> Format {
    match extension {
        "html" | "htm" | "xhtml" | "xht" | "shtml" => Format::Html,
        "csv" | "tsv" | "tab" => Format::Table,
        "md" | "markdown" | "mdown" | "mkd" | "mdx" | "qmd" | "rmd" => Format::Markdown,
        _ => source_code(name, extension, bytes).map_or(Format::Plain, Format::Code),
    }
}

/// Media type of a source file, by extension, well-known name, or `#!` line.
fn source_code(name: &str, extension: &str, bytes: &[u8]) -> Option<&'static str> {
    let by_extension = SOURCE_EXTENSIONS
        .iter()
        .find(|(_, extensions)| extensions.split(' ').any(|known| known == extension));
    if let (Some((media_type, _)), false) = (by_extension, extension.is_empty()) {
        return Some(media_type);
    }
    match name {
        "Makefile" | "GNUmakefile" | "Justfile" | "Dockerfile" | "Containerfile" | "Rakefile"
        | "Gemfile" | "CMakeLists.txt" | ".gitignore" | ".editorconfig" => {
            return Some("text/x-script");
        }
        _ => {}
    }
    let has_interpreter = extension.is_empty() && bytes.starts_with(b"#!");
    has_interpreter.then_some("text/x-script")
}

const SOURCE_EXTENSIONS: &[(&str, &str)] = &[
    ("text/x-rust", "rs"),
    ("text/x-python", "py pyi pyx"),
    ("text/javascript", "js mjs cjs jsx"),
    ("text/x-typescript", "ts tsx mts cts"),
    ("text/x-c", "c h"),
    ("text/x-c++", "cc cpp cxx hpp hh hxx ino cu cuh"),
    ("text/x-java", "java kt kts scala groovy gradle clj cljs"),
    ("text/x-csharp", "cs fs fsx vb"),
    ("text/x-go", "go"),
    ("text/x-swift", "swift m mm"),
    ("text/x-ruby", "rb"),
    ("text/x-php", "php"),
    ("text/x-perl", "pl pm"),
    ("text/x-lua", "lua"),
    ("text/x-r", "r"),
    ("text/x-julia", "jl"),
    ("text/x-haskell", "hs lhs elm purs ml mli"),
    ("text/x-erlang", "erl hrl ex exs"),
    ("text/x-lisp", "lisp el scm rkt"),
    ("text/x-zig", "zig nim d v sv vhd vhdl asm s"),
    ("text/x-fortran", "f f90 f95 for pas ada adb ads cob"),
    ("text/x-dart", "dart"),
    (
        "text/x-script",
        "sh bash zsh fish ps1 psm1 bat cmd awk sed tcl mk cmake nix tf hcl",
    ),
    ("text/x-sql", "sql"),
    ("text/css", "css scss sass less"),
    ("text/x-template", "vue svelte astro jinja j2 hbs ejs erb"),
    ("application/json", "json jsonl ndjson json5 geojson ipynb"),
    ("application/yaml", "yaml yml"),
    ("application/toml", "toml lock"),
    ("text/x-ini", "ini cfg conf properties env"),
    ("application/xml", "xml xsd xsl xslt svg rss atom plist"),
    ("text/x-diff", "diff patch"),
    ("text/x-schema", "proto graphql gql thrift"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str, bytes: &[u8]) -> Format {
        detect(name, bytes).unwrap().format
    }

    #[test]
    fn names_decide_between_kinds_of_text() {
        assert_eq!(format("a.md", b"# x"), Format::Markdown);
        assert_eq!(format("a.txt", b"# x"), Format::Plain);
        assert_eq!(format("notes", b"hello"), Format::Plain);
        assert_eq!(format("a.rs", b"fn main() {}"), Format::Code("text/x-rust"));
        assert_eq!(format("a.R", b"x <- 1"), Format::Code("text/x-r"));
        assert_eq!(
            format("run", b"#!/bin/sh\ntrue"),
            Format::Code("text/x-script")
        );
        assert_eq!(format("Makefile", b"all:"), Format::Code("text/x-script"));
        assert_eq!(format("a.tsv", b"a\tb"), Format::Table);
        assert_eq!(format("a.htm", b"<p>x"), Format::Html);
    }

    #[test]
    fn content_beats_a_wrong_name() {
        let detected = detect("report.txt", b"%PDF-1.7\n").unwrap();
        assert_eq!(detected.format, Format::Pdf);
        assert!(detected.note.unwrap().contains("it is a PDF"));
        assert_eq!(
            format("page.txt", b"\n<!-- saved -->\n<!DOCTYPE html><p>"),
            Format::Html
        );
        assert_eq!(format("sheet.xls", b"<html><table>"), Format::Html);
        let detected = detect("report.pdf", b"Just some words").unwrap();
        assert_eq!(detected.format, Format::Plain);
        assert!(detected.note.unwrap().contains("says PDF"));
    }

    #[test]
    fn a_text_about_pdf_is_no_pdf() {
        assert_eq!(
            format("notes.md", b"A file begins with %PDF-1.7."),
            Format::Markdown
        );
        assert_eq!(
            format("mail.pdf", b"X-Header: 1\r\n%PDF-1.7\n"),
            Format::Pdf
        );
    }

    #[test]
    fn code_that_begins_like_a_page_stays_code() {
        assert_eq!(
            format("a.php", b"<!DOCTYPE html><?php ?>"),
            Format::Code("text/x-php")
        );
    }

    #[test]
    fn unread_kinds_come_with_a_hint() {
        let error = detect("a.png", b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("image/png are not read: pictures"),
            "{error}"
        );
        let error = detect("a.pdf", b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the name says PDF, but the content is a PNG image: check where it came from"
        );
    }

    #[test]
    fn old_office_files_are_told_from_encrypted_new_ones() {
        let ole = |stream: &str| {
            let mut bytes = OLE_SIGNATURE.to_vec();
            bytes.extend([0; 600]);
            bytes.extend(stream.encode_utf16().flat_map(u16::to_le_bytes));
            bytes
        };
        assert_eq!(
            detect("a.docx", &ole("EncryptedPackage")).unwrap_err(),
            ParseError::PasswordProtected
        );
        let error = detect("a.doc", &ole("WordDocument"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("application/msword") && error.contains(".docx"),
            "{error}"
        );
    }

    #[test]
    fn a_text_may_begin_with_the_letters_of_a_signature() {
        assert_eq!(
            format("a.txt", b"ID3 tags are read by players."),
            Format::Plain
        );
        assert!(detect("a.mp3", b"ID3\x04\0\0").is_err());
        assert!(detect("a.txt", b"{\\rtf1 Hello}").is_err());
    }

    #[test]
    fn an_empty_file_is_named_as_such() {
        assert_eq!(detect("a.txt", b"").unwrap_err(), ParseError::Empty);
    }
}
