//! An evaluation as Markdown, for people and for `tests/EVALUATION.md`.
//!
//! Pure. Start at [`Report`].

use std::fmt::{self, Display, Formatter};

use super::answers::{Tally, Verdict};
use super::metrics::Scores;
use super::provenance::Provenance;
use crate::bench::quantile;

/// All that an evaluation measured.
#[derive(Debug)]
pub struct Report {
    /// What it was made with.
    pub provenance: Provenance,
    /// Scores of searches.
    pub searches: Vec<SearchRow>,
    /// Questions refused.
    pub refusals: Vec<RefusalRow>,
    /// Answers on the sample; `None` without a chat model.
    pub answers: Option<Tally>,
    /// What was not measured, and why.
    pub left_out: Vec<String>,
}

/// Scores of one kind of search on one collection.
#[derive(Debug)]
pub struct SearchRow {
    /// Name of the collection.
    pub collection: &'static str,
    /// Questions asked.
    pub n_questions: usize,
    /// How was searched.
    pub search: &'static str,
    /// Mean scores.
    pub scores: Scores,
}

/// Questions refused before anything is generated, on one collection.
#[derive(Debug)]
pub struct RefusalRow {
    /// Name of the collection.
    pub collection: &'static str,
    /// Of its own questions: refused wrongly, and in all.
    pub own: (usize, usize),
    /// Of questions that belong to other collections: refused rightly, and in all.
    pub foreign: (usize, usize),
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.write_provenance(f)?;
        self.write_searches(f)?;
        self.write_refusals(f)?;
        self.answers
            .as_ref()
            .map_or(Ok(()), |tally| write_answers(f, tally))
    }
}

impl Report {
    fn write_provenance(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let made = &self.provenance;
        let or_none = |model: &Option<String>| model.clone().unwrap_or_else(|| "none".to_owned());
        writeln!(f, "| made with | |\n|---|---|")?;
        writeln!(f, "| date | {} |", made.date)?;
        writeln!(f, "| commit | {} |", made.commit)?;
        writeln!(f, "| chat model | {} |", or_none(&made.chat_model))?;
        writeln!(f, "| embedder | {} |", or_none(&made.embedder))?;
        writeln!(f, "| machine | {} |", made.machine)?;
        let left_out = if self.left_out.is_empty() {
            "nothing".to_owned()
        } else {
            self.left_out.join("; ")
        };
        writeln!(f, "| not measured | {left_out} |")
    }

    fn write_searches(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| search | questions | how | nDCG@10 | Recall@100 | MRR@100 | right in the top 5 |"
        )?;
        writeln!(f, "|---|--:|---|--:|--:|--:|--:|")?;
        for row in &self.searches {
            let s = &row.scores;
            writeln!(
                f,
                "| {} | {} | {} | {:.3} | {:.3} | {:.3} | {:.1} % |",
                row.collection,
                row.n_questions,
                row.search,
                s.ndcg_at_10,
                s.recall_at_100,
                s.reciprocal_rank,
                s.success_at_5 * 100.0
            )?;
        }
        Ok(())
    }

    fn write_refusals(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| refusal before anything is generated | own questions, wrongly | foreign questions, rightly |"
        )?;
        writeln!(f, "|---|--:|--:|")?;
        for row in &self.refusals {
            let (own, foreign) = (of(row.own), of(row.foreign));
            writeln!(f, "| {} | {own} | {foreign} |", row.collection)?;
        }
        Ok(())
    }
}

fn write_answers(f: &mut Formatter<'_>, tally: &Tally) -> fmt::Result {
    let all = tally.verdicts.len();
    let of_all = |is_so: fn(&Verdict) -> bool| (tally.count(is_so), all);
    let answered = tally.count(|v| !v.refused);
    let cited = tally.count(|v| v.cited);
    let refused_rightly = tally.refused_rightly.iter().filter(|is_so| **is_so).count();
    writeln!(f, "\n| answers on the sample | |\n|---|--:|")?;
    let rows = [
        ("right: says an accepted answer", of_all(|v| v.right)),
        (
            "a passage shown is of the right source",
            of_all(|v| v.right_source),
        ),
        (
            "words quoted, of that source, hold the answer",
            of_all(|v| v.quoted),
        ),
        (
            "cited, of those answered",
            (tally.count(|v| v.cited && !v.refused), answered),
        ),
        (
            "a citation supports, of those cited",
            (tally.count(|v| v.supported), cited),
        ),
        ("refused wrongly", of_all(|v| v.refused)),
        (
            "refused rightly, of the unanswerable",
            (refused_rightly, tally.refused_rightly.len()),
        ),
    ];
    for (what, counts) in rows {
        writeln!(f, "| {what} | {} |", of(counts))?;
    }
    for (what, seconds) in [
        ("seconds to the first word, median", &tally.first_word_s),
        ("seconds to the end, median", &tally.all_s),
    ] {
        if !seconds.is_empty() {
            writeln!(f, "| {what} | {:.1} |", quantile(seconds, 0.5))?;
        }
    }
    Ok(())
}

/// `27 of 30 (90 %)`, or a dash where nothing was asked.
fn of((part, whole): (usize, usize)) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let percent = 100.0 * part as f64 / whole as f64;
    format!("{part} of {whole} ({percent:.0} %)")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_report_is_markdown_tables() {
        let verdict = Verdict {
            right: true,
            cited: true,
            ..Verdict::default()
        };
        let report = Report {
            provenance: Provenance {
                date: "2026-01-02 03:04 UTC".to_owned(),
                commit: "abc1234-dirty".to_owned(),
                chat_model: None,
                embedder: Some("E, Q8_0, SHA-256 0123456789ab".to_owned()),
                machine: "P, 2 cores".to_owned(),
            },
            searches: vec![SearchRow {
                collection: "sample",
                n_questions: 30,
                search: "hybrid",
                scores: Scores {
                    ndcg_at_10: 0.5,
                    recall_at_100: 1.0,
                    reciprocal_rank: 0.25,
                    success_at_5: 0.9,
                },
            }],
            refusals: vec![RefusalRow {
                collection: "sample",
                own: (1, 30),
                foreign: (9, 10),
            }],
            answers: Some(Tally {
                verdicts: vec![verdict, Verdict::default()],
                refused_rightly: vec![true, false],
                first_word_s: vec![1.0, 3.0, 2.0],
                all_s: Vec::new(),
            }),
            left_out: vec!["CISI (not on this machine)".to_owned()],
        };
        expect![[r"
            | made with | |
            |---|---|
            | date | 2026-01-02 03:04 UTC |
            | commit | abc1234-dirty |
            | chat model | none |
            | embedder | E, Q8_0, SHA-256 0123456789ab |
            | machine | P, 2 cores |
            | not measured | CISI (not on this machine) |

            | search | questions | how | nDCG@10 | Recall@100 | MRR@100 | right in the top 5 |
            |---|--:|---|--:|--:|--:|--:|
            | sample | 30 | hybrid | 0.500 | 1.000 | 0.250 | 90.0 % |

            | refusal before anything is generated | own questions, wrongly | foreign questions, rightly |
            |---|--:|--:|
            | sample | 1 of 30 (3 %) | 9 of 10 (90 %) |

            | answers on the sample | |
            |---|--:|
            | right: says an accepted answer | 1 of 2 (50 %) |
            | a passage shown is of the right source | 0 of 2 (0 %) |
            | words quoted, of that source, hold the answer | 0 of 2 (0 %) |
            | cited, of those answered | 1 of 2 (50 %) |
            | a citation supports, of those cited | 0 of 1 (0 %) |
            | refused wrongly | 0 of 2 (0 %) |
            | refused rightly, of the unanswerable | 1 of 2 (50 %) |
            | seconds to the first word, median | 2.0 |
        "]]
        .assert_eq(&report.to_string());
    }
}
