//! Reads plain text, Markdown and source code: the text of the file is the text of the document.
//!
//! Pure, linear in the size, no parser. Start at [`extract`].

use super::clean::{FormFeed, clean};
use super::decode::decode;
use super::detect::Format;
use super::{Extracted, ParseError, TextKind, limits, notes, title};

/// The text of a file that is text already; `format` says which kind.
pub(crate) fn extract(name: &str, bytes: &[u8], format: Format) -> Result<Extracted, ParseError> {
    let decoded = decode(bytes, None)?;
    let cleaned = clean(&decoded.text, FormFeed::Whitespace);
    if cleaned.text.trim().is_empty() {
        return Err(ParseError::NoText {
            hint: "it holds blanks only".to_owned(),
        });
    }
    if cleaned.text.len() > limits::TEXT_BYTES {
        return Err(ParseError::text_too_large());
    }
    let (kind, media_type, title) = match format {
        Format::Markdown => {
            let own = title::of_markdown(&cleaned.text);
            let title = own.unwrap_or_else(|| title::from_name(name));
            (TextKind::Markdown, "text/markdown", title)
        }
        // The extension of a source file is part of what it is called.
        Format::Code(media_type) => (TextKind::Code, media_type, name.to_owned()),
        _ => (TextKind::Plain, "text/plain", title::from_name(name)),
    };
    Ok(Extracted {
        title,
        kind,
        media_type: media_type.to_owned(),
        paged: false,
        pages: None,
        notes: decoded
            .note
            .into_iter()
            .chain(notes::invisible(cleaned.invisible))
            .collect(),
        text: cleaned.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_keeps_its_text_and_takes_its_title_from_the_heading() {
        let out = extract(
            "a.md",
            b"# Garden\r\n\r\nPlant *beans*.\r\n",
            Format::Markdown,
        )
        .unwrap();
        assert_eq!(out.text, "# Garden\n\nPlant *beans*.\n");
        assert_eq!(
            (out.title.as_str(), out.kind),
            ("Garden", TextKind::Markdown)
        );
        assert!(out.notes.is_empty());
    }

    #[test]
    fn hidden_characters_are_reported() {
        let out = extract("a.txt", "a\u{200B}b\u{200B}c".as_bytes(), Format::Plain).unwrap();
        assert_eq!(out.text, "abc");
        assert_eq!(out.notes, ["removed 2 invisible characters"]);
    }

    #[test]
    fn code_is_called_by_its_file_name() {
        let out = extract("main.rs", b"fn main() {}", Format::Code("text/x-rust")).unwrap();
        assert_eq!(
            (out.title.as_str(), out.media_type.as_str()),
            ("main.rs", "text/x-rust")
        );
    }

    #[test]
    fn blanks_are_no_text() {
        let error = extract("a.txt", b" \n\t", Format::Plain).unwrap_err();
        assert!(matches!(error, ParseError::NoText { .. }));
    }
}
