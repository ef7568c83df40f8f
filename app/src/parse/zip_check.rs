//! Proves a ZIP container harmless before an Office parser inflates it.
//!
//! Inflates every entry once into nothing, counting; believes no size that the file states. In XML
//! parts it refuses entity declarations and deep nesting. Nothing is unpacked, so names do not
//! matter. Start at [`check`].

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::{ParseError, limits};

/// What a container holds, after all of it was inflated once within the limits.
#[derive(Debug)]
pub(crate) struct Checked {
    /// Names of all entries.
    names: Vec<String>,
    /// The entry `mimetype` of an EPUB or OpenDocument file; empty where there is none.
    pub(crate) stated_type: String,
}

impl Checked {
    /// Whether an entry has this name or, for a name that ends in `/`, lies below it.
    pub(crate) fn holds(&self, wanted: &str) -> bool {
        self.names.iter().any(|name| {
            name.eq_ignore_ascii_case(wanted) || wanted.ends_with('/') && name.starts_with(wanted)
        })
    }
}

/// Checks all entries of a ZIP container.
///
/// # Errors
/// [`ParseError::Damaged`] for a container that breaks a limit of [`limits`], overlaps itself, is
/// cut or fails its checksums; [`ParseError::PasswordProtected`] for encrypted entries.
pub(crate) fn check(bytes: &[u8]) -> Result<Checked, ParseError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
    if archive.len() > limits::ZIP_ENTRIES {
        return Err(ParseError::damaged("it has more entries than any document"));
    }
    if archive.has_overlapping_files().map_err(damaged)? {
        return Err(ParseError::damaged("its entries overlap"));
    }
    let mut checked = Checked {
        names: Vec::with_capacity(archive.len()),
        stated_type: String::new(),
    };
    let mut budget = limits::ZIP_INFLATED_BYTES;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        if entry.encrypted() {
            return Err(ParseError::PasswordProtected);
        }
        let name = entry.name().map_err(damaged)?.into_owned();
        let deflated_bytes = entry.compressed_size();
        let mut xml = is_xml(&name).then(XmlCheck::default);
        let mut seen = Vec::new();
        let wants_text = name == "mimetype";
        let inflated_bytes = inflate(&mut entry, budget, deflated_bytes, |piece| {
            if wants_text && seen.len() < 256 {
                seen.extend_from_slice(piece);
            }
            xml.as_mut().map_or(Ok(()), |xml| xml.feed(piece))
        })?;
        budget -= inflated_bytes;
        if wants_text {
            seen.truncate(256);
            checked.stated_type = String::from_utf8_lossy(&seen).trim().to_owned();
        }
        checked.names.push(name);
    }
    Ok(checked)
}

/// Reads an entry to its end in small pieces and returns its size.
fn inflate(
    entry: &mut impl Read,
    budget: u64,
    deflated_bytes: u64,
    mut piece_read: impl FnMut(&[u8]) -> Result<(), ParseError>,
) -> Result<u64, ParseError> {
    let mut buffer = vec![0; 64 << 10];
    let mut inflated_bytes = 0;
    loop {
        let length = entry
            .read(&mut buffer)
            .map_err(|error| ParseError::damaged(error.to_string()))?;
        if length == 0 {
            return Ok(inflated_bytes);
        }
        inflated_bytes += length as u64;
        let is_bomb = inflated_bytes > limits::ZIP_RATIO_FLOOR_BYTES
            && inflated_bytes / limits::ZIP_RATIO > deflated_bytes;
        if is_bomb || inflated_bytes > budget {
            return Err(ParseError::damaged(
                "it inflates to far more than its size, like a trap for readers",
            ));
        }
        piece_read(&buffer[..length])?;
    }
}

fn damaged(error: zip::result::ZipError) -> ParseError {
    ParseError::damaged(error.to_string())
}

fn is_xml(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with(".xml") || lower.ends_with(".rels")
}

/// Follows the tags of an XML part byte by byte, without building anything.
#[derive(Default)]
struct XmlCheck {
    state: XmlState,
    depth: usize,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum XmlState {
    #[default]
    Text,
    /// Just after `<`.
    TagStart,
    /// Inside `<…`; remembers whether the last byte was `/`.
    StartTag {
        slash: bool,
    },
    /// Inside a quoted attribute value.
    Value {
        quote: u8,
    },
    EndTag,
    /// Inside `<?…`.
    Instruction,
    /// Just after `<!`.
    Declaration,
    /// Inside `<!-…` or `<![CDATA[…`; remembers how many bytes of its end were seen.
    Comment {
        ending: u8,
    },
    CData {
        ending: u8,
    },
}

impl XmlCheck {
    fn feed(&mut self, piece: &[u8]) -> Result<(), ParseError> {
        // Zero bytes are skipped, so that a part in UTF-16 is judged as well.
        for byte in piece.iter().copied().filter(|byte| *byte != 0) {
            self.state = self.next(byte)?;
        }
        Ok(())
    }

    fn next(&mut self, byte: u8) -> Result<XmlState, ParseError> {
        use XmlState as S;
        Ok(match (self.state, byte) {
            (S::Text, b'<') => S::TagStart,
            (S::Text, _) => S::Text,
            (S::TagStart, b'/') => S::EndTag,
            (S::TagStart, b'?') => S::Instruction,
            (S::TagStart, b'!') => S::Declaration,
            (S::TagStart | S::StartTag { .. }, b'>') => self.opened(byte)?,
            (S::TagStart, _) => S::StartTag { slash: false },
            (S::StartTag { .. }, b'"' | b'\'') => S::Value { quote: byte },
            (S::StartTag { .. }, _) => S::StartTag {
                slash: byte == b'/',
            },
            (S::Value { quote }, byte) if byte == quote => S::StartTag { slash: false },
            (S::Value { quote }, _) => S::Value { quote },
            (S::EndTag, b'>') => {
                self.depth = self.depth.saturating_sub(1);
                S::Text
            }
            (S::Instruction, b'>') => S::Text,
            (S::Declaration, b'-') => S::Comment { ending: 0 },
            (S::Declaration, b'[') => S::CData { ending: 0 },
            (S::Declaration, _) => {
                // `<!DOCTYPE` or `<!ENTITY`: no Office program writes one, every XML bomb needs one.
                return Err(ParseError::damaged("it declares XML entities"));
            }
            (S::Comment { ending: 2 }, b'>') | (S::CData { ending: 2 }, b'>') => S::Text,
            (S::Comment { ending }, b'-') => S::Comment {
                ending: (ending + 1).min(2),
            },
            (S::Comment { .. }, _) => S::Comment { ending: 0 },
            (S::CData { ending }, b']') => S::CData {
                ending: (ending + 1).min(2),
            },
            (S::CData { .. }, _) => S::CData { ending: 0 },
            (state @ (S::EndTag | S::Instruction), _) => state,
        })
    }

    fn opened(&mut self, _end: u8) -> Result<XmlState, ParseError> {
        if self.state != (XmlState::StartTag { slash: true }) {
            self.depth += 1;
        }
        if self.depth > limits::XML_DEPTH {
            return Err(ParseError::damaged("its XML is nested too deeply"));
        }
        Ok(XmlState::Text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;

    use super::*;

    /// A ZIP file with these entries.
    pub(crate) fn zip_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in entries {
            writer
                .start_file(*name, SimpleFileOptions::default())
                .unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn detail_of(bytes: &[u8]) -> String {
        match check(bytes).unwrap_err() {
            ParseError::Damaged { detail } => detail,
            other => panic!("{other}"),
        }
    }

    fn check_xml(xml: &str) -> Result<Checked, ParseError> {
        check(&zip_of(&[("a.xml", xml.as_bytes())]))
    }

    #[test]
    fn an_ordinary_container_passes() {
        let xml =
            "<?xml version=\"1.0\"?><a><!-- <!DOCTYPE --><b x='<>/'/><![CDATA[<!ENTITY]]>t</a>";
        let checked = check(&zip_of(&[
            ("mimetype", b"application/epub+zip"),
            ("word/document.xml", xml.as_bytes()),
        ]))
        .unwrap();
        assert!(
            checked.holds("word/") && checked.holds("word/document.xml") && !checked.holds("ppt/")
        );
        assert_eq!(checked.stated_type, "application/epub+zip");
    }

    #[test]
    fn a_bomb_is_refused_by_what_it_inflates_to() {
        let bomb = zip_of(&[("word/document.xml", &vec![b' '; 8 << 20])]);
        assert!(bomb.len() < 20_000, "a bomb of {} bytes", bomb.len());
        assert!(detail_of(&bomb).contains("inflates"));
    }

    #[test]
    fn entities_are_refused_in_any_width() {
        let xml = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>";
        assert!(matches!(check_xml(xml), Err(ParseError::Damaged { .. })));
        let wide: Vec<u8> = xml.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(detail_of(&zip_of(&[("a.rels", &wide)])).contains("entities"));
    }

    #[test]
    fn deep_xml_is_refused_and_long_xml_is_not() {
        let deep = "<a>".repeat(100_000);
        assert!(matches!(check_xml(&deep), Err(ParseError::Damaged { .. })));
        let long = format!("<a>{}</a>", "<b x='1/'/><c>t</c>".repeat(1000));
        assert!(check_xml(&long).is_ok());
    }

    #[test]
    fn too_many_entries_and_cut_files_are_refused() {
        let names: Vec<String> = (0..=limits::ZIP_ENTRIES)
            .map(|index| format!("{index}"))
            .collect();
        let entries: Vec<(&str, &[u8])> =
            names.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert!(detail_of(&zip_of(&entries)).contains("entries"));
        let whole = zip_of(&[("a.xml", b"<a>hello</a>")]);
        for cut in 0..whole.len() {
            assert!(check(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
