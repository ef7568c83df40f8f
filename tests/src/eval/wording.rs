//! Whether a text says some words, as a reader would judge: letters count, their case and line breaks do not.
//!
//! Pure; knows no synonyms. Start at [`says`].

/// Whether `text` holds `words` as whole words: "3 months" is not in "13 months", nor "1,200" in "1,200.50".
///
/// Upper and lower case, kinds and amounts of white space, and straight and curly quotation marks are the same.
/// Nothing is held by no text.
#[must_use]
pub fn says(text: &str, words: &str) -> bool {
    let (text, words) = (plain(text), plain(words));
    !words.is_empty()
        && text
            .match_indices(&words)
            .any(|(at, _)| is_whole(&text[..at], &words, &text[at + words.len()..]))
}

/// The text in the one form in which it is compared.
fn plain(text: &str) -> String {
    let same = |c: char| match c {
        '’' | '‘' => '\'',
        '“' | '”' => '"',
        c => c,
    };
    let text: String = text.chars().map(same).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

fn is_whole(before: &str, words: &str, after: &str) -> bool {
    let begins_anew =
        !words.starts_with(char::is_alphanumeric) || !before.ends_with(char::is_alphanumeric);
    let ends_here =
        !words.ends_with(char::is_alphanumeric) || !after.starts_with(char::is_alphanumeric);
    begins_anew
        && ends_here
        && !(ends_in_open_number(before) && words.starts_with(is_digit))
        && !(words.ends_with(is_digit) && goes_on_as_number(after))
}

/// `…1,` and its like, before more digits.
fn ends_in_open_number(text: &str) -> bool {
    let rest = text.strip_suffix(is_separator);
    rest.is_some_and(|rest| rest.ends_with(is_digit))
}

/// `.50` and its like, after digits.
fn goes_on_as_number(text: &str) -> bool {
    let rest = text.strip_prefix(is_separator);
    rest.is_some_and(|rest| rest.starts_with(is_digit))
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_separator(c: char) -> bool {
    matches!(c, '.' | ',' | ':')
}

#[cfg(test)]
mod tests {
    use super::says;

    #[test]
    fn words_are_found_whatever_their_case_spaces_and_quotation_marks() {
        assert!(says(
            "Give THREE\n  months’ notice.",
            "three months' notice"
        ));
        assert!(says("It costs 1,200.", "1,200"));
        assert!(says("at 7:30, always", "7:30"));
        assert!(says("£40", "40"));
    }

    #[test]
    fn parts_of_words_and_numbers_are_not() {
        for (text, words) in [
            ("13 months", "3 months"),
            ("3 monthsandmore", "3 months"),
            ("1,200.50", "1,200"),
            ("41,200", "1,200"),
            ("4,200", "200"),
            ("17:30", "30"),
            ("anything", ""),
        ] {
            assert!(!says(text, words), "{text}: {words}");
        }
    }
}
