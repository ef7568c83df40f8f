//! Reads Word documents (DOCX) into Markdown, and refuses the other kinds of ZIP file with a hint.
//!
//! The container is proven harmless first ([`zip_check`]). Pictures are left out,
//! tracked changes are taken as accepted. Start at [`extract`].

use undoc::render::{RenderOptions, TableFallback, to_markdown};

use super::clean::{FormFeed, clean};
use super::detect::unsupported;
use super::zip_check::{self, Checked};
use super::{Extracted, ParseError, TextKind, limits, markdown, notes, title};

/// Media type of a DOCX.
const MEDIA_TYPE: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

/// The text of a DOCX as Markdown.
pub(crate) fn extract(name: &str, bytes: &[u8]) -> Result<Extracted, ParseError> {
    let container = zip_check::check(bytes)?;
    if !container.holds("word/document.xml") && !container.holds("word/") {
        return Err(refusal(&container));
    }
    let document = undoc::parse_bytes(bytes).map_err(refused_by_parser)?;
    let options = RenderOptions {
        include_images: false,
        escape_special_chars: false,
        max_heading_level: 6,
        table_fallback: TableFallback::Markdown,
        ..RenderOptions::default()
    };
    let rendered = to_markdown(&document, &options).map_err(refused_by_parser)?;
    let cleaned = clean(&markdown::tidy(&rendered), FormFeed::Whitespace);
    if cleaned.text.trim().is_empty() {
        return Err(ParseError::NoText {
            hint: "it may hold pictures only; export it as PDF after text recognition".to_owned(),
        });
    }
    if cleaned.text.len() > limits::TEXT_BYTES {
        return Err(ParseError::text_too_large());
    }
    let own_title = document.metadata.title.as_deref();
    let heading = title::first_heading(&cleaned.text);
    let is_named_docx = matches!(
        super::detect::extension(name).as_str(),
        "docx" | "docm" | "dotx" | ""
    );
    let wrong_name =
        (!is_named_docx).then(|| "its name says otherwise, but it is a DOCX".to_owned());
    Ok(Extracted {
        title: title::choose(name, [own_title, heading.as_deref()]),
        kind: TextKind::Markdown,
        media_type: MEDIA_TYPE.to_owned(),
        paged: false,
        pages: None,
        notes: wrong_name
            .into_iter()
            .chain(notes::invisible(cleaned.invisible))
            .collect(),
        text: cleaned.text,
    })
}

fn refused_by_parser(error: undoc::Error) -> ParseError {
    match error.kind() {
        undoc::ErrorKind::Encrypted => ParseError::PasswordProtected,
        _ => ParseError::damaged(error.to_string()),
    }
}

/// Words for the kinds of ZIP file that are not read.
fn refusal(container: &Checked) -> ParseError {
    let stated = container.stated_type.as_str();
    if container.holds("ppt/") {
        unsupported(
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            "presentations are not read yet; export it as PDF",
        )
    } else if container.holds("xl/") {
        unsupported(
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "spreadsheets are not read yet; save the sheet as CSV",
        )
    } else if stated == "application/epub+zip" || container.holds("META-INF/container.xml") {
        unsupported(
            "application/epub+zip",
            "e-books are not read yet; convert it to HTML or PDF",
        )
    } else if stated.starts_with("application/vnd.oasis.opendocument") {
        unsupported(
            "application/vnd.oasis.opendocument",
            "open it in its own program and save it as .docx, CSV or PDF",
        )
    } else {
        unsupported("application/zip", "unpack it and import the folder")
    }
}

#[cfg(test)]
mod tests {
    use super::super::zip_check::tests::zip_of;
    use super::*;

    const TYPES: &[u8] = br#"<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"#;
    const RELATIONS: &[u8] = br#"<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>"#;
    const STYLES: &[u8] = br#"<?xml version="1.0"?><w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/><w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style></w:styles>"#;
    const DOCUMENT_RELATIONS: &[u8] = br#"<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#;

    /// A small but complete DOCX around the given body.
    fn docx(body: &str) -> Vec<u8> {
        let document = format!(
            "<?xml version=\"1.0\"?><w:document xmlns:w=\"http://schemas.openxmlformats.org/\
             wordprocessingml/2006/main\"><w:body>{body}</w:body></w:document>"
        );
        zip_of(&[
            ("[Content_Types].xml", TYPES),
            ("_rels/.rels", RELATIONS),
            ("word/document.xml", document.as_bytes()),
            ("word/styles.xml", STYLES),
            ("word/_rels/document.xml.rels", DOCUMENT_RELATIONS),
        ])
    }

    fn paragraph(words: &str) -> String {
        format!("<w:p><w:r><w:t xml:space=\"preserve\">{words}</w:t></w:r></w:p>")
    }

    #[test]
    fn headings_paragraphs_and_tables_become_markdown() {
        let body = format!(
            "<w:p><w:pPr><w:pStyle w:val=\"Heading1\"/></w:pPr><w:r><w:t>Lease</w:t></w:r></w:p>{}\
             <w:tbl><w:tr><w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr><w:tr><w:tc>{}</w:tc><w:tc>{}</w:tc></w:tr></w:tbl>",
            paragraph("The rent of flat_2 is due [monthly]."),
            paragraph("month"),
            paragraph("rent"),
            paragraph("May"),
            paragraph("700"),
        );
        let out = extract("contract.docx", &docx(&body)).unwrap();
        assert_eq!(out.title, "Lease");
        for part in [
            "# Lease",
            "The rent of flat_2 is due [monthly].",
            "| May | 700 |",
        ] {
            assert!(out.text.contains(part), "{part} in {}", out.text);
        }
        assert!(out.notes.is_empty(), "{:?}", out.notes);
    }

    #[test]
    fn a_wrongly_named_docx_is_read_with_a_note() {
        let out = extract("contract.txt", &docx(&paragraph("Hello there"))).unwrap();
        assert_eq!(out.text.trim(), "Hello there");
        assert_eq!(out.notes.len(), 1);
    }

    #[test]
    fn other_containers_are_refused_with_a_hint() {
        for (entry, word) in [
            ("ppt/presentation.xml", "presentations"),
            ("xl/workbook.xml", "CSV"),
            ("META-INF/container.xml", "e-books"),
            ("photo.jpg", "unpack"),
        ] {
            let error = extract("a.zip", &zip_of(&[(entry, b"<a/>")]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(word), "{entry}: {error}");
        }
    }

    #[test]
    fn a_document_cut_anywhere_is_an_error_and_no_panic() {
        let whole = docx(&paragraph("Hello there"));
        for cut in (0..whole.len()).step_by(7) {
            assert!(extract("a.docx", &whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_document_without_words_holds_no_text() {
        let error = extract("a.docx", &docx("<w:p/>")).unwrap_err();
        assert!(matches!(error, ParseError::NoText { .. }), "{error}");
    }
}
