//! Reads PDF: the words of each page in reading order, line by line, with headings marked.
//!
//! Two views of the same page are combined, because each is good at one thing (measured on the 14
//! reports of the test data against poppler, share of words in common): the plain text has the right
//! words and lines (0.998), the Markdown knows headings but breaks words at line ends and turns
//! running text into tables (0.994). So the words are the plain text's, and a line becomes a heading
//! where the Markdown has a heading of exactly that line. Pictures are not read. Start at [`extract`].

use std::panic::{AssertUnwindSafe, catch_unwind};

use pdf_oxide::PdfDocument;
use pdf_oxide::converters::ConversionOptions;

use super::clean::{FormFeed, clean};
use super::{Extracted, ParseError, TextKind, limits, notes, pdf_text, title};

/// The text of a PDF, pages ended by U+000C; `page_done` is called after each page with text.
///
/// A page that cannot be read is empty in the result, and a note names it.
pub(crate) fn extract(
    name: &str,
    bytes: Vec<u8>,
    page_done: &mut dyn FnMut(),
) -> Result<Extracted, ParseError> {
    let document = PdfDocument::from_bytes(bytes).map_err(refused_by_parser)?;
    if !document.is_authenticated() {
        return Err(ParseError::PasswordProtected);
    }
    let found_pages = document.page_count().map_err(refused_by_parser)?;
    let pages = Pages::read(&document, found_pages.min(limits::PAGES), page_done)?;
    if pages.text.trim().is_empty() {
        return Err(pages.why_empty(found_pages));
    }
    let cleaned = clean(&pages.text, FormFeed::PageBreak);
    let info_title = info_string(&document, "Title");
    let heading = title::first_heading(first_page(&cleaned.text));
    let notes = [
        notes::left_out("pages", limits::PAGES, found_pages),
        notes::empty_pages(pages.empty, found_pages),
        notes::failed_pages(&pages.failed),
        notes::invisible(cleaned.invisible),
    ];
    Ok(Extracted {
        title: title::choose(name, [info_title.as_deref(), heading.as_deref()]),
        kind: TextKind::Markdown,
        media_type: "application/pdf".to_owned(),
        paged: true,
        pages: u32::try_from(found_pages).ok(),
        notes: notes.into_iter().flatten().collect(),
        text: cleaned.text,
    })
}

/// After this many failures and no text at all, the rest of the pages is not tried: a broken file
/// may claim a million of them.
const FAILED_PAGES: usize = 32;

/// The pages read so far.
#[derive(Default)]
struct Pages {
    text: String,
    /// Pages that were read and hold no text.
    empty: usize,
    /// Numbers, from 1, of pages that could not be read.
    failed: Vec<usize>,
    first_error: Option<String>,
}

impl Pages {
    fn read(
        document: &PdfDocument,
        count: usize,
        page_done: &mut dyn FnMut(),
    ) -> Result<Self, ParseError> {
        let mut pages = Self::default();
        for index in 0..count {
            if index > 0 {
                pages.text.push('\u{C}');
            }
            match page_text(document, index) {
                Ok(text) if text.trim().is_empty() => pages.empty += 1,
                Ok(text) => {
                    pages.text.push_str(&text);
                    page_done();
                }
                Err(detail) => {
                    pages.failed.push(index + 1);
                    pages.first_error.get_or_insert(detail);
                    if pages.text.trim().is_empty() && pages.failed.len() >= FAILED_PAGES {
                        break;
                    }
                }
            }
            if pages.text.len() > limits::TEXT_BYTES {
                return Err(ParseError::text_too_large());
            }
        }
        Ok(pages)
    }

    fn why_empty(self, found_pages: usize) -> ParseError {
        match self.first_error {
            Some(detail) => ParseError::damaged(detail),
            None if found_pages == 0 => ParseError::damaged("it has no pages"),
            None => ParseError::NoText {
                hint: "its pages are probably scanned; run text recognition on it (for example \
                       ocrmypdf) and import the result"
                    .to_owned(),
            },
        }
    }
}

/// The text of one page; a panic of the parser on one page leaves the others readable.
fn page_text(document: &PdfDocument, index: usize) -> Result<String, String> {
    let read = || -> Result<String, pdf_oxide::Error> {
        let options = ConversionOptions {
            extract_tables: false,
            expand_ligatures: true,
            ..ConversionOptions::default()
        };
        let text = document.extract_text_with_options(index, &options)?;
        if text.trim().is_empty() {
            return Ok(text);
        }
        // Headings are an extra: a page without them is still a page.
        let markdown = document.to_markdown(index, &options).unwrap_or_default();
        Ok(pdf_text::with_headings(&text, &markdown))
    };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("a page makes the parser fail".to_owned()),
    }
}

/// An entry of the document information dictionary, which the library reads only in part.
fn info_string(document: &PdfDocument, key: &str) -> Option<String> {
    let info = document
        .resolve_object(document.trailer().as_dict()?.get("Info")?)
        .ok()?;
    let value = document.resolve_object(info.as_dict()?.get(key)?).ok()?;
    Some(pdf_text::decode_string(value.as_string()?))
}

fn first_page(text: &str) -> &str {
    text.split('\u{C}')
        .find(|page| !page.trim().is_empty())
        .unwrap_or_default()
}

fn refused_by_parser(error: pdf_oxide::Error) -> ParseError {
    match error {
        pdf_oxide::Error::EncryptedPdf => ParseError::PasswordProtected,
        other => ParseError::damaged(other.to_string()),
    }
}
