//! Turns the marks in a model's answer into citations that exist, and finds those the model forgot.
//!
//! Pure. A mark that names no passage is dropped; a sentence without a mark gets the passage whose words it
//! shares; an answer without any is given its passages as sources. Start at [`cite`].

use std::collections::HashSet;
use std::ops::Range;

use super::prompt::Passage;
use super::{retrieve, words};
use crate::message::{Citation, Origin};

/// Part of a sentence's words that a passage must hold to be taken as its source.
const MATCH_COVERAGE: f32 = 0.6;
/// A sentence with fewer words that mean something must find all of them in its source: some are hit by chance.
const MATCH_WORDS: usize = 3;
/// Passages shown as sources where nothing in the answer points to one.
const FALLBACK_SOURCES: usize = 3;

/// The answer with its marks set right, and what they stand for.
#[derive(Debug, Clone, PartialEq)]
pub struct Cited {
    /// The text; every mark in it has a citation.
    pub text: String,
    /// In the order of their first mark; each quote is exact text of its document.
    pub citations: Vec<Citation>,
    /// Sentences that say something, and that no passage bears out by its words and numbers.
    pub unsupported: Vec<String>,
}

/// Validates the marks of an answer and completes them.
#[must_use]
pub fn cite(answer: &str, question: &str, passages: &[Passage]) -> Cited {
    let answer = &marks_inside_sentences(answer);
    let mut cited: Vec<(usize, Origin, HashSet<String>)> = Vec::new();
    let mut unsupported = Vec::new();
    let mut text = String::with_capacity(answer.len());
    let mut at = 0;
    for range in words::sentences(answer) {
        text += &answer[at..range.start];
        at = range.end;
        let (sentence, marks) = split_marks(&answer[range], passages);
        let wanted = words::content_words(&sentence);
        let (marks, origin) = if !marks.is_empty() {
            (marks, Origin::Model)
        } else {
            (
                matching(&sentence, &wanted, passages).into_iter().collect(),
                Origin::Matched,
            )
        };
        let borne_out = passages
            .iter()
            .any(|passage| bears_out(passage, &sentence, &wanted));
        // A short item of a list is doubtful only where none of its words was read anywhere.
        let doubtful = match wanted.len() {
            0 => false,
            1..MATCH_WORDS => passages
                .iter()
                .all(|passage| words::coverage(&wanted, &passage.text) == 0.0),
            _ => !borne_out,
        };
        if doubtful {
            unsupported.push(sentence.trim().to_owned());
        }
        text += &with_marks(&sentence, &marks, passages);
        for index in marks {
            match cited.iter_mut().find(|(known, ..)| *known == index) {
                Some((_, _, all)) => all.extend(wanted.iter().cloned()),
                None => cited.push((index, origin, wanted.clone())),
            }
        }
    }
    text += &answer[at..];
    let asked = words::content_words(question);
    let citations = if cited.is_empty() {
        passages
            .iter()
            .take(FALLBACK_SOURCES)
            .map(|p| citation(p, Origin::Retrieved, &asked))
            .collect()
    } else {
        cited
            .into_iter()
            .map(|(index, origin, mut wanted)| {
                wanted.extend(asked.iter().cloned());
                citation(&passages[index], origin, &wanted)
            })
            .collect()
    };
    Cited {
        text: text.trim().to_owned(),
        citations,
        unsupported,
    }
}

/// The nearest passages as sources of a refusal.
#[must_use]
pub fn nearest(hits: &[satchel_vector::Hit], question: &str) -> Vec<Citation> {
    let asked = words::content_words(question);
    let passage = |hit: &satchel_vector::Hit| Passage {
        mark: String::new(),
        hit: hit.clone(),
        range: hit.range.clone(),
        text: hit.text.clone(),
    };
    hits.iter()
        .take(FALLBACK_SOURCES)
        .map(|hit| citation(&passage(hit), Origin::Retrieved, &asked))
        .collect()
}

/// A citation of the sentence in the passage's hit that carries most of the wanted words.
///
/// The quote is taken from the hit itself, one chunk of the document, so that its range is exact; the grown
/// passage around it is shown as context.
#[must_use]
pub fn citation(passage: &Passage, origin: Origin, wanted: &HashSet<String>) -> Citation {
    let topic = format!(
        "{} {}",
        passage.hit.title,
        passage.hit.heading_path.join(" ")
    );
    let quote: Range<usize> = words::best_sentence(&passage.hit.text, &topic, wanted);
    let mut citation = retrieve::citation(&passage.hit, origin);
    citation.mark.clone_from(&passage.mark);
    citation.passage = passage.hit.text.clone();
    citation.quote = passage.hit.text[quote.clone()].to_owned();
    citation.range = passage.hit.range.start + quote.start..passage.hit.range.start + quote.end;
    citation
}

/// Moves marks written after a full stop before it: `Blue. [S1] Next.` means `Blue [S1]. Next.`
fn marks_inside_sentences(answer: &str) -> String {
    let mut text = String::with_capacity(answer.len());
    for piece in answer.split_inclusive(']') {
        let open = piece.rfind('[').filter(|open| {
            let between = piece[..*open].trim_end().len()..*open;
            // Marks that begin a line belong to that line.
            marks_in(piece[open + 1..].trim_end_matches(']')).is_some()
                && !piece[between].contains('\n')
        });
        match open {
            Some(open) => {
                let before = piece[..open].trim_end();
                text += before;
                let stop = text
                    .trim_end()
                    .chars()
                    .next_back()
                    .filter(|c| matches!(c, '.' | '!' | '?'));
                if let Some(stop) = stop {
                    text.truncate(text.trim_end().len() - stop.len_utf8());
                }
                text += " ";
                text += &piece[open..];
                text.extend(stop);
            }
            None => text += piece,
        }
    }
    text
}

/// The marks between brackets, one or a list; `None` where something else is there.
fn marks_in(inner: &str) -> Option<Vec<&str>> {
    let named: Vec<&str> = inner
        .split([',', ';', ' '])
        .filter(|part| !part.is_empty())
        .collect();
    (!named.is_empty() && named.iter().all(|part| is_mark(part))).then_some(named)
}

/// Takes the marks out of a sentence; those that name a passage come back as indices, once each.
fn split_marks(sentence: &str, passages: &[Passage]) -> (String, Vec<usize>) {
    let mut rest = String::with_capacity(sentence.len());
    let mut marks = Vec::new();
    let mut from = 0;
    while let Some(open) = sentence[from..].find('[').map(|i| from + i) {
        let Some(close) = sentence[open..].find(']').map(|i| open + i) else {
            break;
        };
        if let Some(named) = marks_in(&sentence[open + 1..close]) {
            rest += sentence[from..open].trim_end();
            for part in named {
                let index = passages
                    .iter()
                    .position(|p| p.mark.eq_ignore_ascii_case(part));
                if let Some(index) = index.filter(|index| !marks.contains(index)) {
                    marks.push(index);
                }
            }
        } else {
            rest += &sentence[from..=close];
        }
        from = close + 1;
    }
    rest += &sentence[from..];
    (rest, marks)
}

fn is_mark(word: &str) -> bool {
    word.strip_prefix(['S', 's'])
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn matching(sentence: &str, wanted: &HashSet<String>, passages: &[Passage]) -> Option<usize> {
    if wanted.is_empty() {
        return None;
    }
    let bearing = passages
        .iter()
        .enumerate()
        .filter(|(_, passage)| bears_out(passage, sentence, wanted));
    let scored = bearing.map(|(index, passage)| (index, words::coverage(wanted, &passage.text)));
    // The first of equals: it was nearer to the question.
    scored
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
        .map(|(index, _)| index)
}

/// Whether a passage holds most of a sentence's words, and every number in it: a wrong number makes a wrong
/// sentence out of right words.
fn bears_out(passage: &Passage, sentence: &str, wanted: &HashSet<String>) -> bool {
    let least = if wanted.len() < MATCH_WORDS {
        1.0
    } else {
        MATCH_COVERAGE
    };
    words::coverage(wanted, &passage.text) >= least
        && words::numbers(sentence).is_subset(&words::numbers(&passage.text))
}

/// Puts marks before the full stop's end: `It is blue. [S1]` reads as the instruction asks.
fn with_marks(sentence: &str, marks: &[usize], passages: &[Passage]) -> String {
    let mut text = sentence.trim().to_owned();
    for index in marks {
        text += &format!(" [{}]", passages[*index].mark);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use satchel_vector::Hit;
    use satchel_vector::SourceId;

    fn passage(n: u8, text: &str) -> Passage {
        let hit = Hit {
            source: SourceId([n; 16]),
            chunk_index: 0,
            range: 100..100 + text.len(),
            heading_path: Vec::new(),
            page: Some(2),
            text: text.to_owned(),
            title: format!("doc {n}"),
            path: String::new(),
            relevance_score: 1.0,
            cosine: Some(0.5),
            bm25: None,
            lexical_rank: None,
            vector_rank: None,
        };
        Passage {
            mark: format!("S{n}"),
            range: hit.range.clone(),
            text: text.to_owned(),
            hit,
        }
    }

    fn two() -> Vec<Passage> {
        vec![
            passage(
                1,
                "The roof was renewed in 2004 by a firm from Kiel. It cost 12,000 euros.",
            ),
            passage(
                2,
                "The garden has three apple trees and a pear tree. They were planted in 1987.",
            ),
        ]
    }

    #[test]
    fn written_marks_are_kept_and_quote_exact_text() {
        let cited = cite(
            "A firm from Kiel renewed it in 2004 [S1].",
            "Who renewed the roof?",
            &two(),
        );
        assert_eq!(cited.citations.len(), 1);
        let citation = &cited.citations[0];
        assert_eq!(citation.origin, Origin::Model);
        assert_eq!(
            citation.quote,
            "The roof was renewed in 2004 by a firm from Kiel."
        );
        let passage = &two()[0];
        let inside = citation.range.start - 100..citation.range.end - 100;
        assert_eq!(&passage.hit.text[inside], citation.quote);
    }

    #[test]
    fn a_mark_after_the_full_stop_belongs_to_its_sentence() {
        let cited = cite(
            "It was renewed in 2004. [S1] Nothing is known of it.",
            "When?",
            &two(),
        );
        assert_eq!(
            cited.text,
            "It was renewed in 2004. [S1] Nothing is known of it."
        );
        assert_eq!(cited.citations.len(), 1);
    }

    #[test]
    fn a_list_of_marks_moves_too_and_one_that_begins_a_line_stays() {
        assert_eq!(
            marks_inside_sentences("Blue. [S1, S2] Next."),
            "Blue [S1, S2]. Next."
        );
        assert_eq!(
            marks_inside_sentences("Notice.\n[S2] The roof."),
            "Notice.\n[S2] The roof."
        );
    }

    #[test]
    fn a_mark_that_names_nothing_is_dropped() {
        let cited = cite(
            "It is blue [S9]. See [note] and [S1, S2].",
            "colour?",
            &two(),
        );
        assert!(!cited.text.contains("S9"), "{}", cited.text);
        assert!(cited.text.contains("[note]"), "{}", cited.text);
        assert_eq!(cited.citations.len(), 2);
    }

    #[test]
    fn a_forgotten_mark_is_found_by_words() {
        let cited = cite(
            "There are three apple trees in the garden.",
            "trees?",
            &two(),
        );
        assert_eq!(cited.citations[0].origin, Origin::Matched);
        assert_eq!(cited.citations[0].mark, "S2");
        assert!(cited.text.ends_with("[S2]"), "{}", cited.text);
    }

    #[test]
    fn an_answer_without_any_support_still_shows_its_sources() {
        let cited = cite("Elephants are grey.", "What colour are elephants?", &two());
        assert!(
            cited
                .citations
                .iter()
                .all(|c| c.origin == Origin::Retrieved)
        );
        assert_eq!(cited.citations.len(), 2);
        assert!(!cited.text.contains("[S"), "{}", cited.text);
    }

    #[test]
    fn a_sentence_with_another_number_is_not_borne_out() {
        let right = cite(
            "The firm from Kiel renewed the roof in 2004.",
            "When?",
            &two(),
        );
        assert_eq!(right.unsupported, Vec::<String>::new());
        let wrong = cite(
            "The firm from Kiel renewed the roof in 2014.",
            "When?",
            &two(),
        );
        assert_eq!(
            wrong.unsupported,
            ["The firm from Kiel renewed the roof in 2014."]
        );
        assert!(
            wrong
                .citations
                .iter()
                .all(|c| c.origin == Origin::Retrieved)
        );
    }
}
