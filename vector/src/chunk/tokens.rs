//! Estimates how many tokens an embedder's WordPiece tokenizer makes of a text.
//!
//! Pure and cheap (one pass, no vocabulary), because every block of every import is measured and the
//! real tokenizer lives in another process. Never used where a limit must hold exactly: the engine
//! counts for itself and embeds a text that is still too long in windows.

/// Cost of one token in the unit of the sums here, so that sums of parts equal the whole.
pub(super) const CENTI: u64 = 100;

/// Returns an estimate of the number of WordPiece tokens in `text`, without the marks at both ends.
///
/// Costs per word were fitted to the vocabulary of all-MiniLM-L6-v2 (BERT, uncased) on abstracts,
/// reports, web pages, Markdown and source code.
///
/// Measured against the real tokenizer on chunks of at least 60 estimated tokens, real / estimate,
/// median (5 % .. 95 % of chunks): scientific abstracts 0.92 (0.85 .. 1.21), reports as text from PDF
/// 0.96 (0.86 .. 1.00), news in English 0.89 (0.86 .. 0.93), Rust source 0.99 (0.92 .. 1.07), Markdown
/// with much code 1.03 (0.92 .. 1.16), Chinese 0.98 (0.97 .. 1.00); German, Spanish and Portuguese
/// 1.30 to 1.36 (up to 1.42), for which the chunker makes shorter chunks.
pub fn estimate_tokens(text: &str) -> usize {
    usize::try_from(centitokens(text).div_ceil(CENTI)).unwrap_or(usize::MAX)
}

/// Like [`estimate_tokens`], in hundredths of a token. Additive over cuts between words.
pub(super) fn centitokens(text: &str) -> u64 {
    let mut sum = 0;
    let mut word = Word::default();
    for c in text.chars() {
        match class(c) {
            Class::Lower => word.push(c.is_ascii(), false),
            Class::Upper => word.push(c.is_ascii(), true),
            Class::Digit => word.push_digit(),
            Class::Space => sum += word.take(),
            Class::Alone(cost) => sum += word.take() + cost,
        }
    }
    sum + word.take()
}

/// Returns by how many percent of the estimate an English vocabulary counts a text: 100 or 135.
///
/// Words of other languages in Latin letters come to pieces in it (German, Spanish and Portuguese
/// pages: 1.30 to 1.35 times the estimate). Such texts give themselves away by accents: 6 to 20 of 100
/// words have one there, fewer than 1 in 1,000 in English. Looks at the first 64 KiB.
pub(super) fn language_percent(text: &str) -> u64 {
    let sample = &text[..text.floor_char_boundary(64 * 1024)];
    let (mut words, mut accented) = (0_usize, 0_usize);
    for word in sample
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
    {
        words += 1;
        accented += usize::from(
            word.chars()
                .any(|c| matches!(c, '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')),
        );
    }
    if accented * 100 > words * 2 { 135 } else { 100 }
}

/// Returns the cost of a character inside a word so long that it has to be cut, in hundredths of a token.
pub(super) fn char_centitokens(c: char) -> u64 {
    match class(c) {
        Class::Alone(cost) => cost,
        _ => CENTI,
    }
}

enum Class {
    Lower,
    Upper,
    Digit,
    Space,
    /// Tokens of its own, at this cost.
    Alone(u64),
}

fn class(c: char) -> Class {
    match c {
        'a'..='z' => Class::Lower,
        'A'..='Z' => Class::Upper,
        '0'..='9' => Class::Digit,
        _ if c.is_ascii() => {
            if c.is_ascii_graphic() {
                Class::Alone(CENTI)
            } else {
                Class::Space
            }
        }
        // Latin letters with accents: the tokenizer drops the accent.
        '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Class::Lower,
        // A Hangul syllable is taken apart into its two or three letters.
        '\u{ac00}'..='\u{d7a3}' => Class::Alone(250),
        _ if c.is_whitespace() => Class::Space,
        _ => Class::Alone(CENTI),
    }
}

/// The letters and digits since the last separator.
#[derive(Default)]
struct Word {
    chars: u64,
    uppers: u64,
    digits: u64,
    first_is_upper: bool,
    accented: bool,
}

impl Word {
    fn push(&mut self, ascii: bool, upper: bool) {
        self.first_is_upper |= upper && self.chars == 0;
        self.chars += 1;
        self.uppers += u64::from(upper);
        self.accented |= !ascii;
    }

    fn push_digit(&mut self) {
        self.chars += 1;
        self.digits += 1;
    }

    /// Ends the word and returns its cost.
    fn take(&mut self) -> u64 {
        let word = std::mem::take(self);
        let n = word.chars;
        if n == 0 {
            return 0;
        }
        if word.digits == n {
            return number_cost(n);
        }
        if word.digits > 0 {
            // Identifiers and hashes: hardly any piece is longer than two characters.
            return (70 * n).max(2 * CENTI);
        }
        let inner_uppers = word.uppers - u64::from(word.first_is_upper);
        if word.uppers == n {
            return capitals_cost(n);
        }
        if inner_uppers > 0 {
            return (36 * n).max(2 * CENTI);
        }
        let cost = plain_word_cost(n);
        if word.accented {
            cost.max(36 * n)
        } else {
            cost
        }
    }
}

/// Cost of a run of `n` digits: years and small numbers are one token, long ones two digits a token.
fn number_cost(n: u64) -> u64 {
    match n {
        1 | 2 => CENTI,
        3 => 145,
        _ => 60 * n,
    }
}

/// Cost of a word of `n` capitals: abbreviations are often spelt out.
fn capitals_cost(n: u64) -> u64 {
    match n {
        1 => CENTI,
        2 => 120,
        3..=6 => 170,
        _ => (26 * n).max(180),
    }
}

/// Cost of an ordinary word of `n` letters. Measured means on English prose, rounded up a little.
fn plain_word_cost(n: u64) -> u64 {
    match n {
        1 | 2 => 101,
        3 | 4 => 110,
        5..=8 => 128,
        9..=12 => 142,
        13..=15 => 200,
        _ => 30 * n,
    }
}

#[cfg(test)]
mod tests {
    use super::{centitokens, estimate_tokens};

    #[test]
    fn counts_by_kind_of_word() {
        assert_eq!(estimate_tokens(""), 0);
        assert_eq!(estimate_tokens(" \n\t"), 0);
        assert_eq!(estimate_tokens("the cat"), 3);
        assert_eq!(estimate_tokens("你好吗"), 3);
        assert_eq!(estimate_tokens("((("), 3);
        assert_eq!(estimate_tokens("2024"), 3);
        assert!(estimate_tokens("f3a9c1d07b22e8") >= 9);
    }

    #[test]
    fn the_parts_add_up_to_the_whole() {
        let whole = "Zwölf Boxkämpfer, 1999: getUserName() -> 결과 NASA";
        let parts: u64 = whole.split_inclusive(' ').map(centitokens).sum();
        assert_eq!(parts, centitokens(whole));
    }
}
