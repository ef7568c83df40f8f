//! Turns files into text: Markdown, plain text, source code, tables, web pages, PDF, DOCX, PPTX and XLSX.
//!
//! Other people's files are hostile until read. Risky formats are parsed in worker processes that
//! can open no file and no connection, under limits of time and memory: the worst file costs one
//! error message. Never fetches anything, never logs text or names of documents.
//!
//! Start at [`read_file`] and [`ParsePool::parse`]. Map: `read` opens a file with care, `pool`
//! and `worker` are the two sides of the pipe described in `frame`, `sandbox` is what the worker
//! gives up, `detect` decides what a file is, one module for each format, [`limits`] every bound.

mod child;
pub(crate) mod clean;
mod decode;
mod detect;
mod error;
mod frame;
mod html;
mod html_prune;
pub mod limits;
mod markdown;
mod notes;
mod office;
mod pdf;
mod pdf_text;
mod pool;
mod process;
mod read;
mod sandbox;
mod signatures;
mod table;
mod text;
mod title;
mod worker;
mod zip_check;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use error::ParseError;
pub use pool::{ParsePool, WorkerProgram};
pub use read::{FileFacts, read_file};
pub use sandbox::Sandbox;
pub use worker::run_worker;

use detect::Format;

/// What the text of a document is written in; decides how it is cut into passages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextKind {
    /// Markdown: headings are `#` lines, tables are pipe tables.
    Markdown,
    /// Text without markup.
    Plain,
    /// Source code or other lines for machines.
    Code,
}

/// The text of one file and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// What to call the document: its own title, else its file name. One line, at most 201 characters.
    pub title: String,
    /// What the text is written in.
    pub kind: TextKind,
    /// What the file is, whatever its name: "application/pdf".
    pub media_type: String,
    /// Whether U+000C in the text ends a page.
    pub paged: bool,
    /// UTF-8 with `\n` line ends and no invisible characters; at most [`limits::TEXT_BYTES`].
    pub text: String,
    /// Pages of the original, where it has pages.
    pub pages: Option<u32>,
    /// Sentences for the user about what could not be taken over exactly; mostly empty.
    pub notes: Vec<String>,
}

/// Extracts the text of a file in this process, without the protection of a worker.
///
/// `name` is the file's name, used where its bytes do not tell its type, and for its title.
/// `page_done` is called after each page that held text.
/// Blocks for up to minutes and may panic or exhaust the stack on a hostile file: call it from a
/// worker only, except for formats for which [`needs_worker`] is false.
///
/// # Errors
/// See [`ParseError`].
fn extract(
    name: &str,
    bytes: Cow<'_, [u8]>,
    page_done: &mut dyn FnMut(),
) -> Result<Extracted, ParseError> {
    let detected = detect::detect(name, &bytes)?;
    let mut extracted = match detected.format {
        Format::Pdf => pdf::extract(name, bytes.into_owned(), page_done),
        Format::Zip => office::extract(name, &bytes),
        Format::Html => html::extract(name, &bytes),
        Format::Table => table::extract(name, &bytes),
        format @ (Format::Markdown | Format::Plain | Format::Code(_)) => {
            text::extract(name, &bytes, format)
        }
    }?;
    if let Some(note) = detected.note {
        extracted.notes.insert(0, note);
    }
    Ok(extracted)
}

/// Whether a file is to be read by a worker: everything but short text, see
/// [`limits::IN_PROCESS_TEXT_BYTES`]. A file that is refused at first sight needs none either.
fn needs_worker(name: &str, bytes: &[u8]) -> bool {
    match detect::detect(name, bytes) {
        Ok(detected) => {
            let is_text = matches!(
                detected.format,
                Format::Markdown | Format::Plain | Format::Code(_)
            );
            !is_text || bytes.len() > limits::IN_PROCESS_TEXT_BYTES
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed sequence of numbers below `bound`, so that a failure can be repeated.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) as usize % bound
        }
    }

    #[test]
    fn damaged_files_of_our_own_formats_never_panic() {
        let seeds: [(&str, &[u8]); 4] = [
            ("a.md", "---\ntitle: x\n---\n# Ä\u{200B} `b\\_c`\n\n| a |\n```\n".as_bytes()),
            ("a.csv", b"a,\"b|\"\n1,2,3\n\"x\ny\",;\n"),
            ("a.html", b"<html><!-- x --><p hidden>a<div style='display:none'>b</div><ul><li>c<table><tr><th>d<td>e</table><pre>`f`</pre><img alt='g h'>&lt;"),
            ("a.docx", b"PK\x03\x04\x14\0\0\0\x08\0PK\x01\x02PK\x05\x06\0\0\0\0"),
        ];
        let mut numbers = Numbers(7);
        for round in 0..400 {
            for (name, seed) in seeds {
                let mut bytes = seed.to_vec();
                for _ in 0..1 + round % 8 {
                    let at = numbers.below(bytes.len());
                    match numbers.below(3) {
                        0 => bytes[at] = numbers.below(256) as u8,
                        1 => bytes.truncate(at.max(1)),
                        _ => bytes.extend_from_within(at..),
                    }
                }
                // Only a panic is a failure.
                if let Ok(out) = extract(name, Cow::Borrowed(&bytes), &mut || {}) {
                    assert!(
                        !out.text.trim().is_empty() && !out.title.is_empty(),
                        "{bytes:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn only_short_text_is_read_in_this_process() {
        assert!(!needs_worker("a.md", b"# x"));
        assert!(!needs_worker("a.pdf", b""), "refused at first sight");
        assert!(needs_worker("a.txt", b"%PDF-1.7"), "the content decides");
        assert!(needs_worker("a.html", b"<p>x"));
        assert!(needs_worker(
            "a.txt",
            &vec![b'x'; limits::IN_PROCESS_TEXT_BYTES + 1]
        ));
    }
}
