//! The code that one laptop shows and the other one types: `7-anchor-river-stone`.
//!
//! Pure. Never takes a code without its number: a first word taken for the number would go to the edge in clear.
//! Start at [`PairingCode`].

use std::fmt;
use std::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::words::Word;
use crate::id::random;

/// Where two devices meet, and the secret that they share: a nameplate and three words.
///
/// Three of 2,048 words are 33 bits. The nameplate is no secret: the edge gives it out. A code serves one attempt,
/// so there is no `Clone`, and [`Joiner::start`](super::Joiner::start) and
/// [`Approver::start`](super::Approver::start) take it.
/// `Display` shows the words, because a person has to read them; `Debug` does not.
///
/// ```
/// use satchel_sync::pairing::PairingCode;
///
/// let code: PairingCode = " 7 ANCHOR river--ston ".parse()?;
/// assert_eq!(code.to_string(), "7-anchor-river-stone");
/// assert_eq!(code.nameplate(), 7);
/// # Ok::<(), satchel_sync::pairing::ParseCodeError>(())
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PairingCode {
    #[zeroize(skip)]
    nameplate: u32,
    words: [Word; 3],
}

impl PairingCode {
    /// Takes three random words for a nameplate that the edge gave us.
    #[must_use]
    pub fn random(nameplate: u32) -> Self {
        let bits = Zeroizing::new(random::<6>());
        let word = |i: usize| Word::of_bits(u16::from_le_bytes([bits[2 * i], bits[2 * i + 1]]));
        Self {
            nameplate,
            words: [word(0), word(1), word(2)],
        }
    }

    /// Where the two devices meet at the edge.
    #[must_use]
    pub fn nameplate(&self) -> u32 {
        self.nameplate
    }

    /// The one spelling of the code, which is the password of the handshake.
    pub(super) fn expose_secret(&self) -> Zeroizing<String> {
        Zeroizing::new(self.to_string())
    }
}

impl fmt::Display for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = &self.words;
        let nameplate = self.nameplate;
        write!(f, "{nameplate}-{}-{}-{}", a.text(), b.text(), c.text())
    }
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairingCode({}-…)", self.nameplate)
    }
}

impl FromStr for PairingCode {
    type Err = ParseCodeError;

    /// Reads what a person typed: upper or lower case, words apart by spaces or hyphens, each whole or by its first
    /// four letters.
    fn from_str(text: &str) -> Result<Self, ParseCodeError> {
        let text = text.trim_start_matches(is_between);
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, rest) = text.split_at(digits);
        if number.is_empty() {
            return Err(ParseCodeError::NoNameplate);
        }
        let nameplate = number
            .parse()
            .map_err(|_| ParseCodeError::NameplateTooLarge)?;
        let typed = || rest.split(is_between).filter(|word| !word.is_empty());
        let (mut words, 3) = (typed(), typed().count()) else {
            return Err(ParseCodeError::WordCount {
                found: typed().count(),
            });
        };
        let mut word = || {
            let typed = words.next().unwrap_or_default();
            Word::find(typed).map_err(|nearest| ParseCodeError::UnknownWord {
                typed: TypedWord::new(typed),
                nearest,
            })
        };
        Ok(Self {
            nameplate,
            words: [word()?, word()?, word()?],
        })
    }
}

/// What may stand between the parts of a code. Some keyboards turn two hyphens into a dash.
fn is_between(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '_' | ',' | '.')
}

/// What was typed is no code. Nothing was sent, and the code is still good.
///
/// `Debug` hides words, which are a secret even with a slip in them; `Display` is for the person who typed them.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseCodeError {
    /// The number is missing.
    #[error(
        "a code begins with a number, like 7-anchor-river-stone: type the number too, as the new laptop shows it"
    )]
    NoNameplate,
    /// The number is not one that an edge gives out.
    #[error("the number at the beginning is too large: compare it with the one on the new laptop")]
    NameplateTooLarge,
    /// Too few or too many words.
    #[error(
        "after its number a code has 3 words, here are {found}: type it as the new laptop shows it"
    )]
    WordCount {
        /// Words after the number.
        found: usize,
    },
    /// A word that no code has.
    #[error(
        "\"{typed}\" is not a word of a code{}",
        nearest.map_or_else(|| ": compare it with the new laptop".to_owned(), |word| format!(": did you mean \"{word}\"?"))
    )]
    UnknownWord {
        /// As it was typed.
        typed: TypedWord,
        /// A word that looks almost the same.
        nearest: Option<&'static str>,
    },
}

impl fmt::Debug for ParseCodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNameplate => f.write_str("NoNameplate"),
            Self::NameplateTooLarge => f.write_str("NameplateTooLarge"),
            Self::WordCount { found } => write!(f, "WordCount({found})"),
            Self::UnknownWord { .. } => f.write_str("UnknownWord(…)"),
        }
    }
}

/// A word that somebody typed, shortened so that it can be shown on a line.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct TypedWord(String);

impl TypedWord {
    fn new(typed: &str) -> Self {
        let shown = typed.chars().filter(|c| !c.is_control());
        Self(shown.take(MAX_SHOWN_CHARS).collect())
    }
}

impl fmt::Display for TypedWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TypedWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedWord(…)")
    }
}

/// Three times the longest word of the list.
const MAX_SHOWN_CHARS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    fn read(text: &str) -> String {
        match text.parse::<PairingCode>() {
            Ok(code) => code.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&read(text));
    }

    #[test]
    fn a_random_code_survives_its_text() {
        for nameplate in [0, 7, 4_294_967_295] {
            let code = PairingCode::random(nameplate);
            let again: PairingCode = code.to_string().parse().unwrap();
            assert_eq!(again.to_string(), code.to_string());
            assert_eq!(again.nameplate(), nameplate);
        }
        assert_ne!(
            PairingCode::random(1).to_string(),
            PairingCode::random(1).to_string()
        );
    }

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        for text in [
            "7-anchor-river-stone",
            "7 anchor river stone",
            "  7 - Anchor -- RIVER\t stone \n",
            "7-anch-rive-ston",
            "007-anchor-river-stone",
            "7anchor river stone",
            "7—anchor–river‐stone",
            "-7, anchor, river, stone.",
            "7\u{a0}anchor\u{a0}river\u{a0}stone",
        ] {
            assert_eq!(read(text), "7-anchor-river-stone", "{text:?}");
        }
    }

    #[test]
    fn what_is_no_code_is_refused_with_what_to_do() {
        check(
            "anchor-river-stone",
            expect![
                "a code begins with a number, like 7-anchor-river-stone: type the number too, as the new laptop shows it"
            ],
        );
        check(
            "  ",
            expect![
                "a code begins with a number, like 7-anchor-river-stone: type the number too, as the new laptop shows it"
            ],
        );
        check(
            "4294967296-anchor-river-stone",
            expect![
                "the number at the beginning is too large: compare it with the one on the new laptop"
            ],
        );
        check(
            "7-anchor-river",
            expect![
                "after its number a code has 3 words, here are 2: type it as the new laptop shows it"
            ],
        );
        check("7-anchor-river-stone-", expect!["7-anchor-river-stone"]);
        check(
            "7-anchor-river-stone-7",
            expect![
                "after its number a code has 3 words, here are 4: type it as the new laptop shows it"
            ],
        );
        check(
            "7",
            expect![
                "after its number a code has 3 words, here are 0: type it as the new laptop shows it"
            ],
        );
        check(
            "7-anchor-rivver-stone",
            expect![[r#""rivver" is not a word of a code: did you mean "river"?"#]],
        );
        check(
            "7-anchor-xylophone-stone",
            expect![[r#""xylophone" is not a word of a code: compare it with the new laptop"#]],
        );
        check(
            &format!("7-anchor-{}-stone", "q\u{7}".repeat(1000)),
            expect![[
                r#""qqqqqqqqqqqqqqqqqqqqqqqq" is not a word of a code: compare it with the new laptop"#
            ]],
        );
        // Three letters are too few to tell words apart.
        assert!("7-act-anc-stone".parse::<PairingCode>().is_err());
    }

    #[test]
    fn neither_code_nor_error_shows_words_where_logs_could_see_them() {
        let code: PairingCode = "7-anchor-river-stone".parse().unwrap();
        assert_eq!(format!("{code:?}"), "PairingCode(7-…)");
        let error = "7-anchr-river-stone".parse::<PairingCode>().unwrap_err();
        assert_eq!(format!("{error:?}"), "UnknownWord(…)");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            prop_assert!(!read(&text).is_empty());
        }

        #[test]
        fn any_parts_are_read_or_refused(text in "[0-9]{0,11}[ \\-—a-zA-Zé]{0,40}") {
            prop_assert!(!read(&text).is_empty());
        }
    }
}
