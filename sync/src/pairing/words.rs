//! Words of a code: numbers from 0 to 2047 that people can read aloud.
//!
//! The English list of BIP-39: the first four letters tell its words apart. Never knows what a word is for.
//! Start at [`Word`].

use bip39::Language;
use zeroize::{Zeroize, Zeroizing};

/// One word of the list, by its index.
#[derive(Clone, PartialEq, Eq, Zeroize)]
pub(super) struct Word(u16);

impl Word {
    /// Takes the low 11 bits: evenly random when `bits` are, because the list has 2¹¹ words.
    pub(super) fn of_bits(bits: u16) -> Self {
        Self(bits % LIST_WORDS)
    }

    pub(super) fn text(&self) -> &'static str {
        list()[usize::from(self.0)]
    }

    /// Finds a word from all of it or from its first four or more letters, in upper or lower case.
    ///
    /// The error is a word of the list that looks almost the same, if there is one.
    pub(super) fn find(typed: &str) -> Result<Self, Option<&'static str>> {
        let typed = Zeroizing::new(typed.to_ascii_lowercase());
        if let Some(index) = Language::English.find_word(&typed) {
            return Ok(Self(index));
        }
        if typed.len() >= PREFIX_LETTERS {
            let begins = |word: &Self| word.text().starts_with(&*typed);
            let mut found = (0..LIST_WORDS).map(Self).filter(begins);
            if let (Some(word), None) = (found.next(), found.next()) {
                return Ok(word);
            }
        }
        Err(nearest(&typed))
    }
}

/// The word with the fewest letters to change, add or drop; none when all are far away.
fn nearest(typed: &str) -> Option<&'static str> {
    let letters = typed.chars().count();
    if letters > MAX_LETTERS_TO_COMPARE {
        return None;
    }
    // In a short word two changes leave nothing of it.
    let most = if letters < 5 { 1 } else { 2 };
    list()
        .iter()
        .map(|word| (changes(typed, word), *word))
        .min()
        .filter(|(changes, _)| *changes <= most)
        .map(|(_, word)| word)
}

/// Levenshtein distance in letters.
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

fn list() -> &'static [&'static str; LIST_WORDS as usize] {
    Language::English.word_list()
}

const LIST_WORDS: u16 = 2048;

/// BIP-39: the first four letters of each word are its own.
const PREFIX_LETTERS: usize = 4;

/// The list's longest word has 8 letters; what is twice as long is no slip of the finger.
const MAX_LETTERS_TO_COMPARE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_by_all_of_it_and_by_its_first_four_letters() {
        for index in 0..LIST_WORDS {
            let word = Word(index);
            assert!(Word::find(word.text()) == Ok(word.clone()));
            assert!(Word::find(&word.text().to_uppercase()) == Ok(word.clone()));
            for end in PREFIX_LETTERS..word.text().len() {
                assert!(
                    Word::find(&word.text()[..end]) == Ok(word.clone()),
                    "{} by {end} letters",
                    word.text()
                );
            }
        }
    }

    #[test]
    fn a_slip_of_the_finger_gets_a_hint() {
        let hint = |typed| Word::find(typed).err().flatten();
        assert_eq!(hint("anchr"), Some("anchor"));
        assert_eq!(hint("rivver"), Some("river"));
        assert_eq!(hint("stonne"), Some("stone"));
        assert_eq!(hint("xylophone"), None);
        assert_eq!(hint(&"q".repeat(10_000)), None);
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("abc", "", 3),
            ("river", "rivr", 1),
        ] {
            assert_eq!(changes(from, to), expected, "{from} {to}");
        }
    }
}
