//! Removes what a reader cannot see: control, zero-width, direction and tag characters.
//!
//! Hidden characters carry instructions to models which nobody notices, and break search for the
//! words they sit in. Pure; never changes a visible character. Start at [`clean`].

/// Text without hidden characters, and how many of them there were.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) text: String,
    /// Characters removed that can hide something. Soft hyphens and a byte order mark at the start
    /// are removed too but not counted: ordinary programs write them.
    pub(crate) invisible: usize,
}

/// What a form feed means in the text at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormFeed {
    /// The end of a page, kept.
    PageBreak,
    /// A leftover of printing, turned into a line break.
    Whitespace,
}

/// Returns `text` with `\n` line ends and without anything invisible.
///
/// Zero-width joiners and non-joiners stay where the script or an emoji needs them (Persian,
/// Devanagari, a family emoji), and one variation selector may follow a character.
pub(crate) fn clean(text: &str, form_feed: FormFeed) -> Cleaned {
    let mut out = String::with_capacity(text.len());
    let mut invisible = 0;
    let mut rest = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut previous = '\n';
    while let Some(current) = rest.chars().next() {
        let plain = plain_prefix(rest);
        if plain > 0 {
            out.push_str(&rest[..plain]);
            previous = char::from(rest.as_bytes()[plain - 1]);
            rest = &rest[plain..];
            continue;
        }
        rest = &rest[current.len_utf8()..];
        match judge(current, previous, rest) {
            Verdict::Keep => {
                out.push(current);
                previous = current;
            }
            Verdict::LineBreak => {
                rest = if current == '\r' {
                    rest.strip_prefix('\n').unwrap_or(rest)
                } else {
                    rest
                };
                out.push('\n');
                previous = '\n';
            }
            Verdict::FormFeed => {
                let kept = match form_feed {
                    FormFeed::PageBreak => '\u{C}',
                    FormFeed::Whitespace => '\n',
                };
                out.push(kept);
                previous = kept;
            }
            Verdict::Escape => rest = after_escape_sequence(rest),
            Verdict::Drop => {}
            Verdict::DropAndCount => invisible += 1,
        }
    }
    Cleaned {
        text: out,
        invisible,
    }
}

enum Verdict {
    Keep,
    LineBreak,
    FormFeed,
    /// The start of a terminal's colour command, as in saved logs.
    Escape,
    Drop,
    DropAndCount,
}

fn judge(current: char, previous: char, rest: &str) -> Verdict {
    match current {
        '\n' | '\t' => Verdict::Keep,
        '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => Verdict::LineBreak,
        '\u{C}' => Verdict::FormFeed,
        '\u{1B}' => Verdict::Escape,
        '\u{0}'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{AD}' => Verdict::Drop,
        // Zero-width non-joiner and joiner.
        '\u{200C}' if shapes_letters(previous) => Verdict::Keep,
        '\u{200D}' if shapes_letters(previous) || joins_emoji(previous, rest) => Verdict::Keep,
        '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' if !is_selector(previous) => {
            Verdict::Keep
        }
        '\u{180E}' // Mongolian vowel separator
        | '\u{200B}'..='\u{200F}' // zero-width space and joiners, left-to-right and right-to-left marks
        | '\u{202A}'..='\u{202E}' // direction embeddings and overrides
        | '\u{2060}'..='\u{206F}' // word joiner, invisible operators, direction isolates
        | '\u{FE00}'..='\u{FE0F}' // a second variation selector: only ever used to hide data
        | '\u{E0100}'..='\u{E01EF}'
        | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFB}' // interlinear annotation
        | '\u{FFFE}' | '\u{FFFF}'
        | '\u{E0000}'..='\u{E007F}' // tags: a whole hidden alphabet
            => Verdict::DropAndCount,
        _ => Verdict::Keep,
    }
}

/// Length of the leading run of printable ASCII, tabs and line feeds: the common case, taken whole.
fn plain_prefix(text: &str) -> usize {
    text.bytes()
        .position(|byte| !matches!(byte, b' '..=b'~' | b'\n' | b'\t'))
        .unwrap_or(text.len())
}

/// What follows `ESC [ parameters letter`; for any other escape only the escape itself is dropped.
fn after_escape_sequence(rest: &str) -> &str {
    let Some(parameters) = rest.strip_prefix('[') else {
        return rest;
    };
    let end = parameters
        .bytes()
        .take(32)
        .position(|byte| matches!(byte, b'@'..=b'~'));
    match end {
        Some(end)
            if parameters[..end]
                .bytes()
                .all(|byte| matches!(byte, b' '..=b'?')) =>
        {
            &parameters[end + 1..]
        }
        _ => rest,
    }
}

/// Scripts in which a joiner or non-joiner changes the shape of its neighbours.
fn shapes_letters(character: char) -> bool {
    matches!(character,
        '\u{600}'..='\u{8FF}' // Arabic, Syriac, N'Ko and their supplements
        | '\u{900}'..='\u{DFF}' // the Indic scripts
        | '\u{F00}'..='\u{109F}' // Tibetan, Myanmar
        | '\u{1780}'..='\u{18AF}' // Khmer, Mongolian
        | '\u{1A20}'..='\u{1CFF}' // Tai Tham, Balinese, Sundanese, Batak, Lepcha, Vedic
        | '\u{A840}'..='\u{A8FF}' | '\u{A980}'..='\u{A9FF}' | '\u{AA60}'..='\u{AA7F}'
        | '\u{FB50}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}'
        | '\u{11000}'..='\u{11FFF}')
}

fn joins_emoji(previous: char, rest: &str) -> bool {
    let pictograph = |c: char| {
        matches!(c, '\u{2190}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}') || c == '\u{FE0F}'
    };
    pictograph(previous) && rest.chars().next().is_some_and(pictograph)
}

fn is_selector(character: char) -> bool {
    matches!(character, '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' | '\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str, invisible: usize) {
        let cleaned = clean(input, FormFeed::Whitespace);
        assert_eq!(cleaned.text, expected, "input {input:?}");
        assert_eq!(cleaned.invisible, invisible, "input {input:?}");
    }

    #[test]
    fn line_ends_become_line_feeds() {
        check("a\r\nb\rc\u{2028}d\u{85}e\u{C}f\n", "a\nb\nc\nd\ne\nf\n", 0);
    }

    #[test]
    fn a_page_break_stays_where_pages_exist() {
        assert_eq!(clean("a\u{C}b", FormFeed::PageBreak).text, "a\u{C}b");
    }

    #[test]
    fn hidden_characters_go_and_are_counted() {
        check(
            "\u{FEFF}pay\u{200B}ment \u{202E}abc\u{202C}",
            "payment abc",
            3,
        );
        let hidden: String = "ignore"
            .bytes()
            .map(|b| char::from_u32(0xE0000 + u32::from(b)).unwrap())
            .collect();
        check(&format!("Hello{hidden}!"), "Hello!", 6);
        check("👍\u{FE0F}\u{E0101}\u{E0102}", "👍\u{FE0F}", 2);
    }

    #[test]
    fn soft_hyphens_go_uncounted() {
        check("co\u{AD}operation", "cooperation", 0);
    }

    #[test]
    fn joiners_stay_where_writing_needs_them() {
        check("می\u{200C}خواهم", "می\u{200C}خواهم", 0);
        check("क्\u{200D}ष", "क्\u{200D}ष", 0);
        check("👩\u{200D}👧", "👩\u{200D}👧", 0);
        check("plain\u{200D}text\u{200C}", "plaintext", 2);
    }

    #[test]
    fn controls_and_terminal_colours_go() {
        check("\u{1B}[1;31merror\u{1B}[0m\u{7}: \u{9B}x", "error: x", 0);
        check("a\u{1B}b", "ab", 0);
    }

    #[test]
    fn ordinary_text_of_any_script_is_untouched() {
        for text in [
            "Grüße, 東京, Привет, שלום, ไทย, 한국어",
            "x = a\u{A0}· b ≠ c",
            "e\u{301}",
        ] {
            check(text, text, 0);
        }
    }
}
