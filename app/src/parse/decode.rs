//! Turns the bytes of a text file into a string: which encoding, and is it text at all.
//!
//! Pure. Byte order mark first, then UTF-8, then what the file itself declares, then UTF-16 without
//! a mark, then a guess from letter statistics. Start at [`decode`].

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::ParseError;

/// The text of a file as it stands, hidden characters included.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) text: String,
    /// Said to the user when the encoding was not plain UTF-8 or bytes could not be read.
    pub(crate) note: Option<String>,
}

/// Bytes looked at to guess an encoding: plenty for statistics, and quick.
const GUESS_BYTES: usize = 1 << 20;

/// Decodes `bytes`; `declared` is the encoding which the document names itself, if it does.
///
/// # Errors
/// [`ParseError::Binary`] when the bytes are not text in any encoding: NULs, or more than one
/// control character in fifty.
pub(crate) fn decode(
    bytes: &[u8],
    declared: Option<&'static Encoding>,
) -> Result<Decoded, ParseError> {
    let decoded = if let Some((encoding, mark_bytes)) = Encoding::for_bom(bytes) {
        decode_as(encoding, &bytes[mark_bytes..])
    } else if let Some(encoding) = utf_16_without_mark(bytes) {
        decode_as(encoding, bytes)
    } else if bytes.contains(&0) {
        return Err(ParseError::Binary);
    } else if let Ok(text) = std::str::from_utf8(bytes) {
        Decoded {
            text: text.to_owned(),
            note: None,
        }
    } else {
        decode_as(encoding_of_bytes(bytes, declared), bytes)
    };
    if is_mostly_control(&decoded.text) {
        return Err(ParseError::Binary);
    }
    Ok(decoded)
}

fn decode_as(encoding: &'static Encoding, bytes: &[u8]) -> Decoded {
    let (text, had_errors) = encoding.decode_without_bom_handling(bytes);
    let note = match (encoding == UTF_8, had_errors) {
        (true, false) => None,
        (true, true) => Some("some bytes were not valid UTF-8 and were replaced".to_owned()),
        (false, false) => Some(format!("read as {}", encoding.name())),
        (false, true) => Some(format!(
            "read as {}; some bytes were not valid and were replaced",
            encoding.name()
        )),
    };
    Decoded {
        text: text.into_owned(),
        note,
    }
}

/// The encoding of bytes that are neither marked nor valid UTF-8.
fn encoding_of_bytes(bytes: &[u8], declared: Option<&'static Encoding>) -> &'static Encoding {
    if is_utf_8_with_a_few_errors(bytes) {
        return UTF_8;
    }
    if let Some(encoding) = declared
        && encoding != UTF_8
        && encoding.is_ascii_compatible()
    {
        return encoding;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    let sample = &bytes[..bytes.len().min(GUESS_BYTES)];
    detector.feed(sample, sample.len() == bytes.len());
    detector.guess(None, Utf8Detection::Deny)
}

/// One bad byte in a long UTF-8 file must not turn every accent of it into rubbish.
fn is_utf_8_with_a_few_errors(bytes: &[u8]) -> bool {
    let mut good = 0_usize;
    let mut bad = 0_usize;
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    // Text in another encoding forms a valid sequence by chance only now and then.
    good >= 4 * bad.max(1)
}

/// Recognises UTF-16 by every second byte being zero, as it is for Latin letters.
fn utf_16_without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let sample = &bytes[..bytes.len().min(64 << 10) & !1];
    let units = sample.len() / 2;
    if units < 2 || !bytes.len().is_multiple_of(2) {
        return None;
    }
    let zeros = |offset: usize| {
        sample[offset..]
            .iter()
            .step_by(2)
            .filter(|b| **b == 0)
            .count()
    };
    let (high_first, low_first) = (zeros(0), zeros(1));
    let (encoding, zeros_high, zeros_low) = if low_first > high_first {
        (UTF_16LE, low_first, high_first)
    } else {
        (UTF_16BE, high_first, low_first)
    };
    if zeros_high * 10 < units * 6 || zeros_low * 100 > units {
        return None;
    }
    encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .map(|_| encoding)
}

/// Executables and images of few zero bytes decode to "text" full of control characters.
fn is_mostly_control(text: &str) -> bool {
    let sample = &text[..text.floor_char_boundary(GUESS_BYTES)];
    let control = sample
        .chars()
        .filter(|c| {
            c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{C}' | '\u{1B}' | '\u{85}')
                || *c == '\u{FFFD}'
        })
        .count();
    // One in fifty: random bytes read as windows-1252 give one in nine, broken logs far fewer.
    control * 50 > sample.chars().count() + 50
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        decode(bytes, None).unwrap().text
    }

    #[test]
    fn utf_8_with_and_without_mark() {
        assert_eq!(text_of("Grüße".as_bytes()), "Grüße");
        assert_eq!(text_of(b"\xEF\xBB\xBFabc"), "abc");
    }

    #[test]
    fn utf_16_with_and_without_mark() {
        let little: Vec<u8> = "Überblick über alles"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let big: Vec<u8> = "Überblick über alles"
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        assert_eq!(
            text_of(&[&[0xFF, 0xFE], little.as_slice()].concat()),
            "Überblick über alles"
        );
        assert_eq!(
            text_of(&[&[0xFE, 0xFF], big.as_slice()].concat()),
            "Überblick über alles"
        );
        assert_eq!(text_of(&little), "Überblick über alles");
        assert_eq!(text_of(&big), "Überblick über alles");
    }

    #[test]
    fn old_encodings_are_guessed_and_noted() {
        let (bytes, _, _) =
            encoding_rs::WINDOWS_1251.encode("Привет, это обычный русский текст о погоде");
        let decoded = decode(&bytes, None).unwrap();
        assert_eq!(decoded.text, "Привет, это обычный русский текст о погоде");
        assert_eq!(decoded.note.as_deref(), Some("read as windows-1251"));
        let (bytes, _, _) =
            encoding_rs::SHIFT_JIS.encode("これは日本語の文章です。東京は大きい町です。");
        assert_eq!(
            text_of(&bytes),
            "これは日本語の文章です。東京は大きい町です。"
        );
        assert_eq!(
            text_of(b"caf\xE9 cr\xE8me br\xFBl\xE9e"),
            "café crème brûlée"
        );
    }

    #[test]
    fn a_declared_encoding_wins_over_the_guess() {
        let (bytes, _, _) = encoding_rs::ISO_8859_2.encode("Łódź");
        assert_eq!(
            decode(&bytes, Some(encoding_rs::ISO_8859_2)).unwrap().text,
            "Łódź"
        );
    }

    #[test]
    fn one_bad_byte_does_not_spoil_a_utf_8_file() {
        let mut bytes = "Größe, Höhe, Änderung, Übung, Straße, Mühe, Köln, Düne"
            .as_bytes()
            .to_vec();
        bytes.push(0xFF);
        let decoded = decode(&bytes, None).unwrap();
        assert!(decoded.text.starts_with("Größe, Höhe"), "{}", decoded.text);
        assert!(decoded.note.unwrap().contains("replaced"));
    }

    #[test]
    fn binary_data_is_refused() {
        assert_eq!(decode(b"abc\0def", None).unwrap_err(), ParseError::Binary);
        // A fixed pseudo-random sequence without zero bytes.
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 24) as u8).max(1)
        })
        .take(4096)
        .collect();
        assert_eq!(decode(&noise, None).unwrap_err(), ParseError::Binary);
    }
}
