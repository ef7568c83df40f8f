//! Reads Word documents, presentations and spreadsheets (DOCX, PPTX, XLSX) into Markdown, and refuses the other kinds of
//! ZIP file with a hint.
//!
//! The container is proven harmless first ([`zip_check`]). Pictures are left out, tracked changes are taken as accepted,
//! of a formula the value that was saved with it is kept, and hidden sheets, rows and slides are read like others.
//! Start at [`extract`].

use undoc::Block;
use undoc::render::{RenderOptions, TableFallback, to_markdown};

use super::clean::{FormFeed, clean};
use super::detect::unsupported;
use super::zip_check::{self, Checked};
use super::{Extracted, ParseError, TextKind, limits, markdown, notes, table, title};

/// A kind of Office document that is read.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    /// Where its parts lie in the container.
    folder: &'static str,
    name: &'static str,
    extensions: &'static [&'static str],
    media_type: &'static str,
}

const WORD: Kind = Kind {
    folder: "word/",
    name: "a DOCX",
    extensions: &["docx", "docm", "dotx", ""],
    media_type: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
};
const SLIDES: Kind = Kind {
    folder: "ppt/",
    name: "a PPTX",
    extensions: &["pptx", "pptm", "ppsx", "potx", ""],
    media_type: "application/vnd.openxmlformats-officedocument.presentationml.presentation",
};
const SHEETS: Kind = Kind {
    folder: "xl/",
    name: "an XLSX",
    extensions: &["xlsx", "xlsm", "xltx", ""],
    media_type: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
};

/// The text of an Office document as Markdown.
pub(crate) fn extract(name: &str, bytes: &[u8]) -> Result<Extracted, ParseError> {
    let container = zip_check::check(bytes)?;
    let kind = [WORD, SLIDES, SHEETS]
        .into_iter()
        .find(|kind| container.holds(kind.folder))
        .ok_or_else(|| refusal(&container))?;
    let document = undoc::parse_bytes(bytes).map_err(refused_by_parser)?;
    let mut notes = Vec::new();
    let rendered = if kind == SHEETS {
        sheets(&document, &mut notes)?
    } else {
        let options = RenderOptions {
            include_images: false,
            escape_special_chars: false,
            max_heading_level: 6,
            table_fallback: TableFallback::Markdown,
            ..RenderOptions::default()
        };
        let rendered = to_markdown(&document, &options).map_err(refused_by_parser)?;
        markdown::tidy(&if kind == SLIDES {
            numbered(&rendered)
        } else {
            rendered
        })
    };
    let cleaned = clean(&rendered, FormFeed::Whitespace);
    if cleaned.text.trim().is_empty() {
        return Err(ParseError::NoText {
            hint: "it may hold pictures only; export it as PDF after text recognition".to_owned(),
        });
    }
    if cleaned.text.len() > limits::TEXT_BYTES {
        return Err(ParseError::text_too_large());
    }
    let own_title = document.metadata.title.as_deref();
    // The first heading of the others names a slide or a sheet.
    let heading = (kind == WORD)
        .then(|| title::first_heading(&cleaned.text))
        .flatten();
    let is_named_so = kind
        .extensions
        .contains(&super::detect::extension(name).as_str());
    let wrong_name =
        (!is_named_so).then(|| format!("its name says otherwise, but it is {}", kind.name));
    Ok(Extracted {
        title: title::choose(name, [own_title, heading.as_deref()]),
        kind: TextKind::Markdown,
        media_type: kind.media_type.to_owned(),
        paged: false,
        pages: None,
        notes: wrong_name
            .into_iter()
            .chain(notes)
            .chain(notes::invisible(cleaned.invisible))
            .collect(),
        text: cleaned.text,
    })
}

/// Slides whose number and title stand in one heading: `## Slide 2: Costs`.
fn numbered(rendered: &str) -> String {
    let mut out = String::with_capacity(rendered.len());
    let mut slide: Option<&str> = None;
    for line in rendered.lines() {
        if let Some(heading) = slide {
            if line.trim().is_empty() {
                continue;
            }
            let (title, rest) = match line.strip_prefix("# ") {
                Some(title) => (format!(": {title}"), None),
                None => (String::new(), Some(line)),
            };
            out += &format!("{heading}{title}\n\n{}\n", rest.unwrap_or_default());
            slide = None;
        } else if is_slide(line) {
            slide = Some(line);
        } else {
            out += line;
            out.push('\n');
        }
    }
    out
}

fn is_slide(line: &str) -> bool {
    let number = line.strip_prefix("## Slide ");
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Each sheet with cells as a table under its name.
fn sheets(document: &undoc::Document, notes: &mut Vec<String>) -> Result<String, ParseError> {
    let mut out = String::new();
    for sheet in &document.sections {
        let tables = sheet.content.iter().filter_map(|block| match block {
            Block::Table(table) => Some(table),
            _ => None,
        });
        let rows: Vec<Vec<String>> = tables
            .flat_map(|table| &table.rows)
            .map(|row| row.cells.iter().flat_map(cells).collect())
            .filter(|row: &Vec<String>| row.iter().any(|cell| !cell.trim().is_empty()))
            .collect();
        if rows.is_empty() {
            continue;
        }
        let name = sheet.name.as_deref().unwrap_or("Sheet");
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        out += &format!("## {name}\n\n");
        out += &table::of_rows(&without_empty_columns(rows), notes)?;
        out.push('\n');
        if out.len() > limits::TEXT_BYTES {
            return Err(ParseError::text_too_large());
        }
    }
    Ok(out)
}

/// A sheet often begins somewhere in its middle, and has columns left free between others.
fn without_empty_columns(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut is_used = vec![false; rows.iter().map(Vec::len).max().unwrap_or(0)];
    for row in &rows {
        for (used, cell) in is_used.iter_mut().zip(row) {
            *used |= !cell.trim().is_empty();
        }
    }
    let kept = |row: Vec<String>| {
        let cells = row.into_iter().zip(&is_used);
        cells
            .filter(|(_, used)| **used)
            .map(|(cell, _)| cell)
            .collect()
    };
    rows.into_iter().map(kept).collect()
}

/// The text of a cell, and empty ones for those that it covers beside it.
fn cells(cell: &undoc::Cell) -> impl Iterator<Item = String> {
    let covered = (cell.col_span as usize).clamp(1, limits::TABLE_COLUMNS) - 1;
    std::iter::once(cell.plain_text()).chain(std::iter::repeat_n(String::new(), covered))
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
    if stated == "application/epub+zip" || container.holds("META-INF/container.xml") {
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
            ("META-INF/container.xml", "e-books"),
            ("photo.jpg", "unpack"),
        ] {
            let error = extract("a.zip", &zip_of(&[(entry, b"<a/>")]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(word), "{entry}: {error}");
        }
    }

    const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

    /// Relations of a part: an id, the last word of the type, and the target of each.
    fn relations(all: &[(&str, &str, &str)]) -> String {
        let one = |(id, kind, target): &(&str, &str, &str)| {
            format!("<Relationship Id=\"{id}\" Type=\"{OFFICE}/{kind}\" Target=\"{target}\"/>")
        };
        let all: String = all.iter().map(one).collect();
        format!(
            "<?xml version=\"1.0\"?><Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">{all}</Relationships>"
        )
    }

    fn container(main: (&str, &str), parts: &[(&str, String)]) -> Vec<u8> {
        let types = format!(
            "<?xml version=\"1.0\"?><Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"><Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/><Default Extension=\"xml\" ContentType=\"application/xml\"/><Override PartName=\"/{}\" ContentType=\"{}\"/></Types>",
            main.0, main.1
        );
        let top = relations(&[("r1", "officeDocument", main.0)]);
        let mut all = vec![
            ("[Content_Types].xml", types.as_bytes()),
            ("_rels/.rels", top.as_bytes()),
        ];
        all.extend(parts.iter().map(|(name, text)| (*name, text.as_bytes())));
        zip_of(&all)
    }

    /// A workbook with these sheets: each a name and the XML of its rows.
    fn xlsx(sheets: &[(&str, &str)]) -> Vec<u8> {
        const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
        let files: Vec<String> = (1..=sheets.len())
            .map(|number| format!("worksheets/sheet{number}.xml"))
            .collect();
        let ids: Vec<String> = (1..=sheets.len())
            .map(|number| format!("r{number}"))
            .collect();
        let listed: String = sheets
            .iter()
            .zip(&ids)
            .enumerate()
            .map(|(index, ((name, _), id))| {
                format!(
                    "<sheet name=\"{name}\" sheetId=\"{}\" r:id=\"{id}\"/>",
                    index + 1
                )
            })
            .collect();
        let related: Vec<_> = ids
            .iter()
            .zip(&files)
            .map(|(id, file)| (id.as_str(), "worksheet", file.as_str()))
            .chain([("rs", "styles", "styles.xml")])
            .collect();
        let mut parts = vec![
            (
                "xl/workbook.xml".to_owned(),
                format!(
                    "<?xml version=\"1.0\"?><workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><sheets>{listed}</sheets></workbook>"
                ),
            ),
            ("xl/_rels/workbook.xml.rels".to_owned(), relations(&related)),
            (
                "xl/styles.xml".to_owned(),
                format!(
                    "<?xml version=\"1.0\"?><styleSheet xmlns=\"{MAIN}\"><cellXfs count=\"2\"><xf numFmtId=\"0\"/><xf numFmtId=\"14\" applyNumberFormat=\"1\"/></cellXfs></styleSheet>"
                ),
            ),
        ];
        for ((_, rows), file) in sheets.iter().zip(&files) {
            let sheet = format!(
                "<?xml version=\"1.0\"?><worksheet xmlns=\"{MAIN}\"><sheetData>{rows}</sheetData></worksheet>"
            );
            parts.push((format!("xl/{file}"), sheet));
        }
        let parts: Vec<(&str, String)> = parts
            .iter()
            .map(|(name, text)| (name.as_str(), text.clone()))
            .collect();
        let kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml";
        container(("xl/workbook.xml", kind), &parts)
    }

    fn words(place: &str, words: &str) -> String {
        format!("<c r=\"{place}\" t=\"inlineStr\"><is><t>{words}</t></is></c>")
    }

    /// A presentation of one slide with a title, a text and notes.
    fn pptx(heading: &str, text: &str, notes: &str) -> Vec<u8> {
        const NAMES: &str = "xmlns:a=\"http://schemas.openxmlformats.org/drawingml/2006/main\" xmlns:p=\"http://schemas.openxmlformats.org/presentationml/2006/main\" xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"";
        let shape = |kind: &str, text: &str| {
            format!(
                "<p:sp><p:nvSpPr><p:cNvPr id=\"2\" name=\"x\"/><p:cNvSpPr/><p:nvPr><p:ph type=\"{kind}\"/></p:nvPr></p:nvSpPr><p:spPr/><p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"
            )
        };
        let slide = format!(
            "<?xml version=\"1.0\"?><p:sld {NAMES}><p:cSld><p:spTree>{}{}</p:spTree></p:cSld></p:sld>",
            shape("title", heading),
            shape("body", text)
        );
        let spoken = format!(
            "<?xml version=\"1.0\"?><p:notes {NAMES}><p:cSld><p:spTree>{}</p:spTree></p:cSld></p:notes>",
            shape("body", notes)
        );
        let list = format!(
            "<?xml version=\"1.0\"?><p:presentation {NAMES}><p:sldIdLst><p:sldId id=\"256\" r:id=\"r1\"/></p:sldIdLst></p:presentation>"
        );
        let kind =
            "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml";
        let parts = [
            ("ppt/presentation.xml", list),
            (
                "ppt/_rels/presentation.xml.rels",
                relations(&[("r1", "slide", "slides/slide1.xml")]),
            ),
            ("ppt/slides/slide1.xml", slide),
            (
                "ppt/slides/_rels/slide1.xml.rels",
                relations(&[("r1", "notesSlide", "../notesSlides/notesSlide1.xml")]),
            ),
            ("ppt/notesSlides/notesSlide1.xml", spoken),
        ];
        container(("ppt/presentation.xml", kind), &parts)
    }

    #[test]
    fn sheets_become_tables_under_their_names() {
        let rows = format!(
            "<row r=\"1\">{}{}{}</row><row r=\"2\">{}<c r=\"B2\" s=\"1\"><v>46082</v></c><c r=\"C2\"><f>400+12</f><v>412.5</v></c></row>\
             <row r=\"4\">{}<c r=\"C4\" t=\"b\"><v>1</v></c></row>",
            words("A1", "Item"),
            words("B1", "Due"),
            words("C1", "Amount"),
            words("A2", "Rent | flat_2"),
            words("A4", "Paid"),
        );
        let other = format!("<row r=\"70\">{}</row>", words("BD70", "boat"));
        let book = xlsx(&[("Budget 2026", &rows), ("Empty", ""), ("Harbour", &other)]);
        let out = extract("budget.xlsx", &book).unwrap();
        assert_eq!(
            out.text,
            "## Budget 2026\n\n| Item | Due | Amount |\n| --- | --- | --- |\n| Rent \\| flat_2 | 2026-03-01 | 412.5 |\n\
             | Paid |  | TRUE |\n\n## Harbour\n\n| boat |\n| --- |\n\n"
        );
        assert_eq!((out.title.as_str(), out.notes.len()), ("budget", 0));
        assert!(out.media_type.ends_with("spreadsheetml.sheet"));
        let error = extract("a.xlsx", &xlsx(&[("Empty", "")])).unwrap_err();
        assert!(matches!(error, ParseError::NoText { .. }), "{error}");
    }

    #[test]
    fn what_a_sheet_has_beyond_the_limits_is_said() {
        let wide: String = (0..300)
            .map(|column| {
                let letters = [(column / 26) as u8, (column % 26) as u8];
                let [first, second] = letters.map(|letter| char::from(b'A' + letter));
                words(&format!("{first}{second}1"), "x")
            })
            .collect();
        let out = extract(
            "a.xlsx",
            &xlsx(&[("Wide", &format!("<row r=\"1\">{wide}</row>"))]),
        )
        .unwrap();
        assert!(out.notes[0].contains("columns"), "{:?}", out.notes);
    }

    #[test]
    fn slides_have_number_title_text_and_notes() {
        let out = extract(
            "talk.pptx",
            &pptx("Harbour plan", "The pier is old.", "Say it slowly."),
        )
        .unwrap();
        assert!(
            out.text.starts_with("## Slide 1: Harbour plan\n"),
            "{}",
            out.text
        );
        for part in ["The pier is old.", "Say it slowly."] {
            assert!(out.text.contains(part), "{part} in {}", out.text);
        }
        assert_eq!((out.title.as_str(), out.notes.len()), ("talk", 0));
        let wrongly = extract("talk.docx", &pptx("A", "b", "c")).unwrap();
        assert!(wrongly.notes[0].contains("PPTX"), "{:?}", wrongly.notes);
    }

    #[test]
    fn a_document_cut_anywhere_is_an_error_and_no_panic() {
        let sheet = format!("<row r=\"1\">{}</row>", words("A1", "boat"));
        for whole in [
            docx(&paragraph("Hello there")),
            xlsx(&[("Boats", &sheet)]),
            pptx("A", "b", "c"),
        ] {
            for cut in (0..whole.len()).step_by(7) {
                assert!(extract("a.docx", &whole[..cut]).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn parts_that_were_changed_never_panic() {
        let sheet = format!(
            "<row r=\"1\">{}<c r=\"B1\" s=\"1\"><v>46082</v></c></row>",
            words("A1", "boat")
        );
        let mut number = 7_u64;
        let mut below = |bound: usize| {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (number >> 33) as usize % bound
        };
        for _ in 0..200 {
            // The XML is changed before it is packed, or the checksum would refuse it.
            let mut rows = sheet.clone().into_bytes();
            for _ in 0..=below(4) {
                let at = below(rows.len());
                rows[at] = b" <>/&\"=9aZ\0;-"[below(13)];
            }
            let rows = String::from_utf8_lossy(&rows).into_owned();
            drop(extract("a.xlsx", &xlsx(&[("Boats", &rows)])));
            let text = rows.replace("<row", "<a:p").replace("</row", "</a:p");
            drop(extract("a.pptx", &pptx("A", &text, &rows)));
        }
    }

    #[test]
    fn a_document_without_words_holds_no_text() {
        let error = extract("a.docx", &docx("<w:p/>")).unwrap_err();
        assert!(matches!(error, ParseError::NoText { .. }), "{error}");
    }
}
