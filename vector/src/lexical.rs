//! From what a person types to a full-text query, and how text is taken apart for the index.
//!
//! Pure. Whatever is typed is a query: there is no syntax to get wrong. Text in quotation marks is a
//! phrase that has to occur.

use lancedb::index::scalar::{
    BooleanQuery, FtsIndexBuilder, FtsQuery, MatchQuery, Occur, PhraseQuery,
};

use crate::schema::chunk_column::SEARCH_TEXT;

/// Most words of a question that are looked up: a pasted page is no better a query than its start.
const MAX_WORDS: usize = 64;

/// Most phrases that are looked up.
const MAX_PHRASES: usize = 4;

/// Words that say nothing about what is asked, in questions in English.
///
/// They are indexed, so that a phrase may hold them, but not looked up while other words remain:
/// almost every chunk has them, which costs most of the time of a search and ranks by noise.
const STOP_WORDS: [&str; 52] = [
    "a", "about", "an", "and", "any", "are", "as", "at", "be", "been", "by", "can", "did", "do",
    "does", "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its",
    "me", "my", "of", "on", "or", "our", "that", "the", "their", "them", "there", "these", "they",
    "this", "to", "was", "were", "what", "when", "where", "which", "who", "why", "with",
];

/// Quotation marks, opening and closing alike.
const MARKS: [char; 6] = ['"', '“', '”', '„', '«', '»'];

/// How texts become words in the index.
///
/// ICU word boundaries, split again at everything that is neither letter nor digit, so that languages
/// without spaces have words too; lower case; accents folded, since people leave them out when they
/// search. English stems, for "flows" to find "flow": other languages lose little, since question and
/// text are treated alike. No stop words (the filter for this tokenizer drops those of all languages,
/// "war" and "die" among them). Positions for phrases. Words of up to 64 characters, for hashes.
pub(crate) fn text_index() -> FtsIndexBuilder {
    FtsIndexBuilder::default()
        .base_tokenizer("icu/split".to_owned())
        .lower_case(true)
        .ascii_folding(true)
        .stem(true)
        .remove_stop_words(false)
        .max_token_length(Some(64))
        .with_position(true)
}

/// A question taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// All words that are looked up, those of phrases too.
    words: Vec<String>,
    /// Texts in quotation marks of two words and more.
    phrases: Vec<String>,
}

impl Terms {
    /// Takes a question apart. Nothing in it is an error.
    pub(crate) fn parse(question: &str) -> Self {
        let mut terms = Self::default();
        let mut parts = question.split(MARKS).enumerate().peekable();
        while let Some((i, part)) = parts.next() {
            let words: Vec<&str> = words(part).collect();
            // Parts at odd places stand between marks. An unclosed mark opens nothing.
            let quoted = i % 2 == 1 && parts.peek().is_some();
            if quoted
                && words.len() > 1
                && terms.phrases.len() < MAX_PHRASES
                && words.len() <= MAX_WORDS
            {
                terms.phrases.push(words.join(" "));
            }
            let room = MAX_WORDS - terms.words.len();
            terms
                .words
                .extend(words.into_iter().take(room).map(str::to_owned));
        }
        let telling: Vec<String> = terms
            .words
            .iter()
            .filter(|word| !is_stop_word(word))
            .cloned()
            .collect();
        if !telling.is_empty() {
            terms.words = telling;
        }
        terms
    }

    /// The query: every phrase must occur, and any of the words counts. `None` without a word.
    pub(crate) fn query(&self) -> Option<FtsQuery> {
        let any = self.any_word()?;
        if self.phrases.is_empty() {
            return Some(any);
        }
        let phrases = self.phrases.iter().map(|phrase| {
            let phrase = PhraseQuery::new(phrase.clone()).with_column(Some(SEARCH_TEXT.to_owned()));
            (Occur::Must, FtsQuery::Phrase(phrase))
        });
        Some(FtsQuery::Boolean(BooleanQuery::new(
            phrases.chain([(Occur::Should, any)]),
        )))
    }

    /// The query without phrases, for when no text holds them.
    pub(crate) fn query_without_phrases(&self) -> Option<FtsQuery> {
        if self.phrases.is_empty() {
            None
        } else {
            self.any_word()
        }
    }

    fn any_word(&self) -> Option<FtsQuery> {
        if self.words.is_empty() {
            return None;
        }
        let mut words = self.words.join(" ");
        for word in self.words.iter().filter(|word| word.ends_with('e')) {
            words.push(' ');
            words.push_str(&unstemmed(word));
        }
        let query = MatchQuery::new(words).with_column(Some(SEARCH_TEXT.to_owned()));
        Some(FtsQuery::Match(query))
    }
}

/// Runs of letters and digits. The index takes each apart as it does texts.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// A spelling of a word in `e` that the stemmer leaves alone.
///
/// Lance takes off endings before it folds accents, and an accent keeps the English stemmer from
/// seeing the ending: "Fläche" is indexed as "flache", while "flache" is looked up as "flach". An
/// accent on the last letter brings the two together; no English word is indexed that way.
fn unstemmed(word: &str) -> String {
    let stem = word.strip_suffix('e').unwrap_or(word);
    format!("{stem}é")
}

fn is_stop_word(word: &str) -> bool {
    STOP_WORDS
        .iter()
        .any(|stop| stop.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::{MAX_WORDS, Terms};

    fn check(question: &str, expected: &Expect) {
        let terms = Terms::parse(question);
        expected.assert_eq(&format!("{:?} {:?}", terms.words, terms.phrases));
    }

    #[test]
    fn questions_become_words_and_phrases() {
        check(
            "What is the lift-to-drag ratio?",
            &expect![[r#"["lift", "drag", "ratio"] []"#]],
        );
        check("to be or not to be", &expect![[r#"["not"] []"#]]);
        check("what is the", &expect![[r#"["what", "is", "the"] []"#]]);
        check(
            "\"state of the art\" in flow",
            &expect![[r#"["state", "art", "flow"] ["state of the art"]"#]],
        );
        check(
            "„große Fläche“ oder nicht",
            &expect![[r#"["große", "Fläche", "oder", "nicht"] ["große Fläche"]"#]],
        );
        check(
            "an unclosed \"mark here",
            &expect![[r#"["unclosed", "mark", "here"] []"#]],
        );
        check("\"word\"", &expect![[r#"["word"] []"#]]);
        check(
            "AND OR ( ) * ~ ^ : \\ +x -y",
            &expect![[r#"["x", "y"] []"#]],
        );
        check("?!", &expect!["[] []"]);
    }

    #[test]
    fn a_pasted_page_is_cut() {
        assert_eq!(
            Terms::parse(&"wort ".repeat(100_000)).words.len(),
            MAX_WORDS
        );
    }

    proptest! {
        #[test]
        fn any_question_will_do(question in "\\PC{0,80}") {
            let terms = Terms::parse(&question);
            prop_assert_eq!(terms.query().is_some(), question.chars().any(char::is_alphanumeric));
        }
    }
}
