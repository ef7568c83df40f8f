//! Answers to the sample's questions by the real backend, and a verdict on each.
//!
//! Asking needs the models; judging is pure. Start at [`ask_all`] and [`Tally`].

use std::time::Instant;

use satchel_app::message::{Citation, Command, Event, Origin, Reply};

use super::sample::{Answerable, Questions};
use super::search::Indexed;
use super::wording::says;
use crate::in_process;

/// What the backend said to one question.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The documents do not hold it, said before or by the model.
    pub refused: bool,
    /// Its words.
    pub text: String,
    /// Passages shown before the answer; of a refusal, the nearest ones.
    pub shown: Vec<Cited>,
    /// Its citations.
    pub citations: Vec<Cited>,
    /// Seconds from the question to the model's first word; `None` where the model was not asked.
    pub first_word_s: Option<f64>,
    /// Seconds from the question to the end.
    pub all_s: f64,
}

/// A cited or shown place.
#[derive(Debug, Clone, Default)]
pub struct Cited {
    /// Path of the document, below `app/sample`.
    pub source: String,
    /// The exact words cited.
    pub quote: String,
    /// The passage around them.
    pub passage: String,
    /// The answer points to it, by a mark or by its words: it is not only one of the passages shown.
    pub by_answer: bool,
}

/// What is true of an answer to an answerable question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It says one of the accepted answers.
    pub right: bool,
    /// It points to at least one passage.
    pub cited: bool,
    /// A passage that it points to is from the right document and holds an accepted answer or the expected words.
    pub supported: bool,
    /// Words shown as a quote, pointed to or not, are from the right document and hold the same.
    pub quoted: bool,
    /// A passage of the right document was shown.
    pub right_source: bool,
    /// It was refused.
    pub refused: bool,
}

impl Verdict {
    /// Judges an answer.
    #[must_use]
    pub fn of(question: &Answerable, answer: &Answer) -> Self {
        let holds = |text: &str| {
            says(text, &question.quote) || question.answer.iter().any(|words| says(text, words))
        };
        let of_source = |cited: &&Cited| cited.source == question.source;
        let pointed_to = || answer.citations.iter().filter(|cited| cited.by_answer);
        Self {
            right: !answer.refused
                && question
                    .answer
                    .iter()
                    .any(|words| says(&answer.text, words)),
            cited: pointed_to().next().is_some(),
            supported: pointed_to()
                .filter(of_source)
                .any(|cited| holds(&cited.quote) || holds(&cited.passage)),
            quoted: answer
                .citations
                .iter()
                .filter(of_source)
                .any(|cited| holds(&cited.quote)),
            right_source: answer.shown.iter().any(|shown| of_source(&shown)),
            refused: answer.refused,
        }
    }
}

/// Counts over the sample's questions.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Verdicts on the answerable questions.
    pub verdicts: Vec<Verdict>,
    /// Of the unanswerable questions, which were refused.
    pub refused_rightly: Vec<bool>,
    /// Seconds to the first word, where the model was asked.
    pub first_word_s: Vec<f64>,
    /// Seconds to the end of the answer, where the model was asked.
    pub all_s: Vec<f64>,
}

impl Tally {
    /// How many answers to answerable questions are so.
    #[must_use]
    pub fn count(&self, is_so: impl Fn(&Verdict) -> bool) -> usize {
        self.verdicts
            .iter()
            .filter(|verdict| is_so(verdict))
            .count()
    }

    fn note_times(&mut self, answer: &Answer) {
        if let Some(first_word_s) = answer.first_word_s {
            self.first_word_s.push(first_word_s);
            self.all_s.push(answer.all_s);
        }
    }
}

/// Asks every question of the sample, each in a chat of its own, and says on stderr what came back.
///
/// # Panics
/// When a question fails, as it does without a chat model.
pub async fn ask_all(questions: &Questions, sample: &Indexed) -> Tally {
    let mut tally = Tally::default();
    let total = questions.answerable.len() + questions.unanswerable.len();
    for (number, question) in (1..).zip(&questions.answerable) {
        let answer = ask(sample, &question.question).await;
        let verdict = Verdict::of(question, &answer);
        report(
            number,
            total,
            &question.question,
            &answer,
            &words_of(verdict),
        );
        tally.note_times(&answer);
        tally.verdicts.push(verdict);
    }
    for (number, question) in (questions.answerable.len() + 1..).zip(&questions.unanswerable) {
        let answer = ask(sample, &question.question).await;
        let verdict = if answer.refused {
            "refused rightly"
        } else {
            "should have been refused"
        };
        report(number, total, &question.question, &answer, verdict);
        tally.note_times(&answer);
        tally.refused_rightly.push(answer.refused);
    }
    tally
}

async fn ask(sample: &Indexed, question: &str) -> Answer {
    let started = Instant::now();
    let mut answer = Answer::default();
    let command = Command::Ask {
        question: question.to_owned(),
        thread: None,
        on: None,
        no_wait: false,
        tools: false,
    };
    let reply = in_process::run(&sample.backend, command, |event| match event {
        Event::Passages(passages) => answer.shown = cited(sample, &passages),
        Event::Answer(_) => {
            answer
                .first_word_s
                .get_or_insert(started.elapsed().as_secs_f64());
        }
        _ => {}
    })
    .await;
    let Reply::Answered(report) = reply else {
        panic!("a question was not answered")
    };
    answer.all_s = started.elapsed().as_secs_f64();
    answer.refused = report.refused || says(&report.answer, "documents do not say");
    answer.citations = cited(sample, &report.citations);
    if answer.shown.is_empty() {
        answer.shown.clone_from(&answer.citations);
    }
    answer.text = report.answer;
    answer
}

fn cited(sample: &Indexed, citations: &[Citation]) -> Vec<Cited> {
    let cited = |citation: &Citation| Cited {
        source: sample.name_of(citation.path.as_deref()).unwrap_or_default(),
        quote: citation.quote.clone(),
        passage: citation.passage.clone(),
        by_answer: matches!(citation.origin, Origin::Model | Origin::Matched),
    };
    citations.iter().map(cited).collect()
}

fn words_of(verdict: Verdict) -> String {
    let said = [
        (verdict.refused, "refused wrongly"),
        (verdict.right, "right"),
        (!verdict.right && !verdict.refused, "not right"),
        (verdict.cited, "cited"),
        (verdict.supported, "supported"),
        (verdict.quoted, "quoted"),
        (!verdict.right_source, "from other sources"),
    ];
    let said: Vec<&str> = said
        .into_iter()
        .filter(|(is_so, _)| *is_so)
        .map(|(_, words)| words)
        .collect();
    said.join(", ")
}

fn report(number: usize, total: usize, question: &str, answer: &Answer, verdict: &str) {
    eprintln!(
        "{number} of {total}, {:.1} s: {verdict}\n    {question}\n    {}",
        answer.all_s,
        answer.text.replace('\n', " ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Answerable {
        Answerable {
            question: "How much notice?".to_owned(),
            source: "house/lease.md".to_owned(),
            quote: "three months' notice in writing".to_owned(),
            answer: vec!["three months".to_owned(), "3 months".to_owned()],
        }
    }

    fn place(source: &str, quote: &str, passage: &str, by_answer: bool) -> Cited {
        Cited {
            source: source.to_owned(),
            quote: quote.to_owned(),
            passage: passage.to_owned(),
            by_answer,
        }
    }

    fn answer(text: &str, citations: Vec<Cited>) -> Answer {
        Answer {
            text: text.to_owned(),
            shown: citations.clone(),
            citations,
            ..Answer::default()
        }
    }

    #[test]
    fn a_right_answer_with_its_passage_has_every_merit() {
        let passage = "Either side may end it by giving three months’ notice in writing.";
        let verdict = Verdict::of(
            &question(),
            &answer(
                "It is 3 Months.",
                vec![place("house/lease.md", passage, passage, true)],
            ),
        );
        let expected = Verdict {
            right: true,
            cited: true,
            supported: true,
            quoted: true,
            right_source: true,
            refused: false,
        };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn the_words_in_another_document_support_nothing() {
        let words = "three months' notice in writing";
        let verdict = Verdict::of(
            &question(),
            &answer(
                "Three months.",
                vec![place("work/terms.md", words, words, true)],
            ),
        );
        assert!(verdict.right && verdict.cited);
        assert!(!verdict.supported && !verdict.quoted && !verdict.right_source);
    }

    #[test]
    fn a_passage_shown_is_no_citation() {
        let verdict = Verdict::of(
            &question(),
            &answer(
                "One month.",
                vec![place("house/lease.md", "3 months", "", false)],
            ),
        );
        assert!(!verdict.right && !verdict.cited && !verdict.supported);
        assert!(verdict.quoted && verdict.right_source);
    }

    #[test]
    fn a_refusal_is_not_right_whatever_it_shows() {
        let mut refusal = answer("Your documents do not say. 3 months", Vec::new());
        refusal.refused = true;
        let verdict = Verdict::of(&question(), &refusal);
        assert!(verdict.refused && !verdict.right);
    }
}
