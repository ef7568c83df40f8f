//! Words of a question or sentence that carry meaning, and how far two texts share them.
//!
//! Pure and small: English stop words, no language model. Used to judge whether passages can hold an
//! answer and to match sentences to passages. Start at [`content_words`] and [`coverage`].

use std::collections::HashSet;
use std::ops::Range;

/// English words that say nothing about a subject. Other languages simply keep theirs, which makes the
/// judgements below stricter, never wrong.
const STOP_WORDS: &str = " a about after all also am an and answer any are as at be because been before being between both but by \
    can could did do does doing during each few for from further had has have having he her here hers him his how i if in \
    into is it its itself just may me might more most must my no nor not now of off on once only or other our out over own please same shall she \
    should so some such tell than that the their theirs them then there these they this those through to too under until up \
    us very was we were what when where which while who whom whose why will with would you your yours much many ";

/// The distinct words of `text` that carry meaning, lower-cased and cut to their stem.
#[must_use]
pub fn content_words(text: &str) -> HashSet<String> {
    words(text)
        .filter(|word| !is_stop_word(word))
        .map(|word| stem(&word))
        .collect()
}

/// Numbers that are written as words where people write and as digits where models do. "One" is left out: it
/// mostly counts nothing.
const NUMBER_WORDS: [&str; 11] = [
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
];

/// The digits of a number word.
fn digits(word: &str) -> Option<String> {
    let place = NUMBER_WORDS.iter().position(|known| *known == word)?;
    Some((place + 2).to_string())
}

/// The numbers in `text`, without separators of thousands: `3,227.88` and `3227.88` are the same, and so are
/// `three` and `3`.
#[must_use]
pub fn numbers(text: &str) -> HashSet<String> {
    text.split(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ',' | ':')))
        .map(|number| number.trim_matches(['.', ',', ':']).replace(',', ""))
        .filter(|number| !number.is_empty())
        .chain(words(text).filter_map(|word| digits(&word)))
        .collect()
}

/// The part of `wanted` that occurs in `text`, in [0, 1]; 0 when nothing is wanted.
#[must_use]
pub fn coverage(wanted: &HashSet<String>, text: &str) -> f32 {
    if wanted.is_empty() {
        return 0.0;
    }
    let there: HashSet<String> = stems(text).collect();
    wanted.iter().filter(|word| there.contains(*word)).count() as f32 / wanted.len() as f32
}

/// The byte ranges of the sentences of `text`, without the white space around them.
///
/// A sentence ends at `.`, `!`, `?`, `。` and their like followed by white space or the end, at a line break
/// that ends a list item or paragraph, and never inside a number or a short abbreviation.
#[must_use]
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut previous = ' ';
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let after = at + character.len_utf8();
        let next = characters.peek().map(|(_, next)| *next);
        let ends = match character {
            // A heading stands for itself; so does each item and row.
            '\n' if text[start..at].trim_start().starts_with('#') => true,
            '\n' => next.is_none_or(|next| {
                next == '\n' || matches!(next, '-' | '*' | '|' | '#' | '>') || next.is_ascii_digit()
            }),
            '。' | '！' | '？' => true,
            '.' => next.is_none_or(char::is_whitespace) && !ends_in_abbreviation(&text[start..at]),
            '!' | '?' => next.is_none_or(char::is_whitespace),
            '"' | '”' | ')' => {
                matches!(previous, '.' | '!' | '?') && next.is_none_or(char::is_whitespace)
            }
            _ => false,
        };
        if ends {
            push_trimmed(&mut ranges, text, start..after);
            start = after;
        }
        previous = character;
    }
    push_trimmed(&mut ranges, text, start..text.len());
    ranges
}

/// What a word counts that the title and headings hold too: every sentence below them shares it, so it
/// tells them apart badly.
const TOPIC_WEIGHT: f32 = 0.25;

/// The sentence of `passage` that shares most with `wanted`, widened to at least 40 characters; the whole
/// passage where it has no sentences.
///
/// `topic` is the title and the headings above the passage. A heading is never the answer itself, so one is
/// chosen only where there is nothing else.
#[must_use]
pub fn best_sentence(passage: &str, topic: &str, wanted: &HashSet<String>) -> Range<usize> {
    let all = sentences(passage);
    let is_heading = |range: &Range<usize>| passage[range.clone()].starts_with('#');
    let mut topic: HashSet<String> = stems(topic).collect();
    for heading in all.iter().filter(|range| is_heading(range)) {
        topic.extend(stems(&passage[heading.clone()]));
    }
    let score = |range: &Range<usize>| shared(wanted, &topic, &passage[range.clone()]);
    let best = all.iter().enumerate().max_by(|(i, a), (j, b)| {
        // The earlier one wins a tie.
        is_heading(b)
            .cmp(&is_heading(a))
            .then(score(a).total_cmp(&score(b)))
            .then(j.cmp(i))
    });
    let Some((mut index, range)) = best else {
        return 0..passage.len();
    };
    let mut range = range.clone();
    while range.len() < 40 && index + 1 < all.len() {
        index += 1;
        range.end = all[index].end;
    }
    range
}

/// Weight of the words shared, with a small preference for short sentences.
fn shared(wanted: &HashSet<String>, topic: &HashSet<String>, sentence: &str) -> f32 {
    let there: HashSet<String> = stems(sentence).collect();
    let weight = |word: &String| {
        if topic.contains(word) {
            TOPIC_WEIGHT
        } else {
            1.0
        }
    };
    let common: f32 = there.intersection(wanted).map(weight).sum();
    common / (there.len() as f32 + 8.0).sqrt()
}

fn stems(text: &str) -> impl Iterator<Item = String> + '_ {
    words(text).map(|word| stem(&word))
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

fn is_stop_word(word: &str) -> bool {
    STOP_WORDS.contains(&format!(" {word} "))
}

/// Cuts the commonest English endings; numbers and short words stay, number words become digits.
fn stem(word: &str) -> String {
    if let Some(digits) = digits(word) {
        return digits;
    }
    if word.len() < 5 || !word.is_ascii() || word.bytes().any(|b| b.is_ascii_digit()) {
        return word
            .strip_suffix('s')
            .filter(|rest| rest.len() > 2 && !rest.ends_with('s'))
            .unwrap_or(word)
            .to_owned();
    }
    for ending in ["ingly", "edly", "ing", "ies", "ied", "ed", "es", "ly", "s"] {
        if let Some(rest) = word.strip_suffix(ending).filter(|rest| rest.len() >= 3) {
            return rest.strip_suffix('e').unwrap_or(rest).to_owned();
        }
    }
    word.strip_suffix('e').unwrap_or(word).to_owned()
}

fn ends_in_abbreviation(before: &str) -> bool {
    let word = before
        .rsplit(|c: char| c.is_whitespace() || c == '(')
        .next()
        .unwrap_or("");
    let single = word.chars().count() == 1 && word.chars().all(char::is_uppercase);
    let inner_dot = word.contains('.') && word.len() <= 5;
    let known = matches!(
        word.to_lowercase().as_str(),
        "mr" | "mrs"
            | "ms"
            | "dr"
            | "prof"
            | "no"
            | "vs"
            | "fig"
            | "st"
            | "approx"
            | "est"
            | "inc"
            | "ltd"
            | "jr"
    );
    // The number of an item of a list stands with its item.
    let item = before.trim();
    let numbered = !item.is_empty() && item.len() <= 3 && item.bytes().all(|b| b.is_ascii_digit());
    single || inner_dot || known || numbered
}

fn push_trimmed(ranges: &mut Vec<Range<usize>>, text: &str, range: Range<usize>) {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    let end = start + piece.trim().len();
    if start < end {
        ranges.push(start..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn sentences_keep_numbers_and_abbreviations_whole() {
        assert_eq!(
            split(
                "Dr. Smith paid 3.5 million. The U.S. office (est. 1990) closed! Why?  \n\nNext."
            ),
            [
                "Dr. Smith paid 3.5 million.",
                "The U.S. office (est. 1990) closed!",
                "Why?",
                "Next."
            ]
        );
        assert_eq!(
            split("- one\n- two\nmore of two"),
            ["- one", "- two\nmore of two"]
        );
        assert_eq!(
            split("1. Almonds\n2. Hazelnuts"),
            ["1. Almonds", "2. Hazelnuts"]
        );
        assert!(split("   ").is_empty());
    }

    #[test]
    fn coverage_forgives_endings() {
        let wanted = content_words("Which invoices were paid in 2021?");
        assert_eq!(coverage(&wanted, "The invoice of 2021 has been paid."), 1.0);
        assert_eq!(coverage(&wanted, "Nothing about it."), 0.0);
        assert_eq!(coverage(&HashSet::new(), "text"), 0.0);
    }

    #[test]
    fn numbers_are_the_same_in_words_and_digits() {
        let wanted = content_words("The answer is: 3 months.");
        assert_eq!(coverage(&wanted, "three months' notice"), 1.0);
        assert_eq!(numbers("three of 3,000"), numbers("3 of 3000"));
        assert!(numbers("no one knows").is_empty());
    }

    #[test]
    fn the_best_sentence_is_exact_text() {
        let passage = "The house was built in 1931. The roof was renewed in 2004 by a firm from Kiel. It has a garden.";
        let range = best_sentence(passage, "", &content_words("When was the roof renewed?"));
        assert_eq!(
            &passage[range],
            "The roof was renewed in 2004 by a firm from Kiel."
        );
    }
    /// The heading "Ending the lease" and the sentence below it, which repeats its words, were quoted instead
    /// of the sentence that answers.
    #[test]
    fn words_of_the_headings_weigh_less_and_headings_are_no_sentences() {
        let passage = "## Ending the lease\n\nThe lease runs without an end date.\nEither side may end it by giving \
            three months' notice in writing.\nKeys are handed over on the last day before noon.";
        let wanted = content_words("How much notice must be given to end the lease of the house?");
        let range = best_sentence(passage, "Lease of 14 Harbour Row", &wanted);
        assert!(
            passage[range.clone()].contains("three months' notice"),
            "{}",
            &passage[range]
        );
        let only = "# Notice";
        assert_eq!(best_sentence(only, "", &wanted), 0..only.len());
    }
}
