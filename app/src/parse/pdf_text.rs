//! Repairs the text of a PDF page: headings, apostrophes, rules, and strings of the metadata.
//!
//! Pure string work, apart from the parser so that it can be tested without PDFs.
//! Start at [`with_headings`].

use std::collections::HashMap;

/// Longest line that can be a heading.
const HEADING_BYTES: usize = 200;

/// The lines of `text`, with those marked as headings that are headings in `markdown`.
///
/// A heading that was broken into two lines is joined. Lines of dashes or underscores are left out:
/// they are rules on the page, and would turn the line above them into a heading.
pub(crate) fn with_headings(text: &str, markdown: &str) -> String {
    let headings = headings_of(markdown);
    let lines: Vec<String> = text
        .lines()
        .map(|line| join_apostrophes(line.trim()))
        .filter(|line| !is_rule(line))
        .collect();
    let mut out = String::with_capacity(text.len() + 64);
    let mut index = 0;
    while index < lines.len() {
        let line = &lines[index];
        let both = lines.get(index + 1).map(|next| format!("{line} {next}"));
        if let Some(level) = level_of(&headings, line) {
            write_heading(&mut out, level, line);
        } else if let Some((level, both)) =
            both.and_then(|both| Some((level_of(&headings, &both)?, both)))
        {
            write_heading(&mut out, level, &both);
            index += 1;
        } else {
            // A line that begins like a heading or a table by chance must not become one.
            if line.starts_with('#') || line.starts_with('|') {
                out.push('\\');
            }
            out.push_str(line);
            out.push('\n');
        }
        index += 1;
    }
    out
}

fn write_heading(out: &mut String, level: usize, words: &str) {
    if !out.is_empty() && !out.ends_with("\n\n") {
        out.push('\n');
    }
    out.push_str(&"#".repeat(level));
    out.push(' ');
    out.push_str(words);
    out.push_str("\n\n");
}

/// Headings of a Markdown page, by what is left of them without blanks and marks.
fn headings_of(markdown: &str) -> HashMap<String, usize> {
    markdown
        .lines()
        .filter_map(|line| {
            let level = line.bytes().take_while(|byte| *byte == b'#').count();
            let words = squeeze(&line[level..]);
            let is_heading = (1..=6).contains(&level)
                && line.len() <= HEADING_BYTES
                && words.chars().any(char::is_alphabetic);
            is_heading.then_some((words, level))
        })
        .collect()
}

fn level_of(headings: &HashMap<String, usize>, line: &str) -> Option<usize> {
    if headings.is_empty() || line.is_empty() || line.len() > HEADING_BYTES {
        return None;
    }
    headings.get(&squeeze(line)).copied()
}

/// Letters and digits only: the two views of a page differ in blanks, emphasis and quotes.
fn squeeze(words: &str) -> String {
    words.chars().filter(|c| c.is_alphanumeric()).collect()
}

fn is_rule(line: &str) -> bool {
    line.len() >= 3
        && line
            .chars()
            .all(|c| matches!(c, '-' | '_' | '=' | '*' | ' ' | '—'))
}

/// "agency ’ s" becomes "agency’s": many producers draw the apostrophe apart from its word, and
/// neither a search nor a quotation would find the word then.
fn join_apostrophes(line: &str) -> String {
    const ENDINGS: [&str; 7] = ["s", "t", "re", "ve", "ll", "d", "m"];
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(" ’") {
        out.push_str(before);
        let follows_word = before.ends_with(char::is_alphanumeric);
        if !follows_word {
            out.push(' ');
        }
        out.push('’');
        let ending = after.strip_prefix(' ').filter(|words| {
            let word = words.split(|c: char| !c.is_alphanumeric()).next();
            follows_word && word.is_some_and(|word| ENDINGS.contains(&word))
        });
        rest = ending.unwrap_or(after);
    }
    out.push_str(rest);
    out
}

/// Decodes a text string of a PDF: UTF-16 or UTF-8 where it is marked so, else Latin letters.
pub(crate) fn decode_string(bytes: &[u8]) -> String {
    match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, mark_bytes)) => encoding
            .decode_without_bom_handling(&bytes[mark_bytes..])
            .0
            .into_owned(),
        // PDFDocEncoding has the same letters as windows-1252; they differ in rare marks.
        None => encoding_rs::WINDOWS_1252
            .decode_without_bom_handling(bytes)
            .0
            .into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_heading_only_where_both_views_agree() {
        let text = "Findings\nThe engine stopped.\nProbable\nCause of it\nThe fuel was low.\n";
        let markdown =
            "## **Findings**\n\nThe engine stopped.\n\n### Probable Cause of it\n\n# The fuel\n";
        assert_eq!(
            with_headings(text, markdown),
            "## Findings\n\nThe engine stopped.\n\n### Probable Cause of it\n\nThe fuel was low.\n"
        );
    }

    #[test]
    fn accidental_markup_is_kept_as_words() {
        assert_eq!(
            with_headings("#1 choice\n-----\n| a\n  b", ""),
            "\\#1 choice\n\\| a\nb\n"
        );
    }

    #[test]
    fn apostrophes_are_joined_to_their_words() {
        let check = |line: &str, expected: &str| assert_eq!(join_apostrophes(line), expected);
        check("the Department ’ s mission", "the Department’s mission");
        check("agencies ’ purchases don ’ t", "agencies’ purchases don’t");
        check("the Nation ’s duty", "the Nation’s duty");
        check("he said: ’ 90s", "he said: ’ 90s");
        check("plain", "plain");
    }

    #[test]
    fn metadata_strings_are_decoded() {
        assert_eq!(decode_string(b"\xFE\xFF\0B\0\xFC\0c\0h"), "Büch");
        assert_eq!(decode_string(b"B\xFCch"), "Büch");
        assert_eq!(decode_string("\u{FEFF}Büch".as_bytes()), "Büch");
    }
}
