//! The rig of the measurements: interleaved runs, medians, a verdict against a goal.
//!
//! Prints for people; asserts nothing, because a shared machine is noisy. Ratios taken in one run carry over
//! to another machine, single times do not.

use std::time::Instant;

/// A row of a measurement's table.
#[derive(Debug)]
pub struct Row {
    /// What was measured, with its unit.
    pub what: String,
    /// The measured values, one per run.
    pub values: Vec<f64>,
    /// What must be reached, in words, with the check; `None` where it is only reported.
    pub goal: Option<(String, bool)>,
}

impl Row {
    /// A row that is only reported.
    pub fn new(what: impl Into<String>, values: Vec<f64>) -> Self {
        Self {
            what: what.into(),
            values,
            goal: None,
        }
    }

    /// A row whose median must be at least `least`.
    #[must_use]
    pub fn at_least(mut self, least: f64) -> Self {
        let reached = self.median() >= least;
        self.goal = Some((format!("≥ {least}"), reached));
        self
    }

    /// A row whose median must be at most `most`.
    #[must_use]
    pub fn at_most(mut self, most: f64) -> Self {
        let reached = self.median() <= most;
        self.goal = Some((format!("≤ {most}"), reached));
        self
    }

    /// The middle value.
    ///
    /// # Panics
    /// When there are no values.
    #[must_use]
    pub fn median(&self) -> f64 {
        quantile(&self.values, 0.5)
    }
}

/// The value below which the part `q` of the values lies.
///
/// # Panics
/// When there are no values.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// Prints a table: median, minimum, maximum, goal.
pub fn print(title: &str, rows: &[Row]) {
    println!("\n{title}");
    println!(
        "{:<58} {:>10} {:>10} {:>10}  goal",
        "", "median", "min", "max"
    );
    for row in rows {
        let goal = row
            .goal
            .as_ref()
            .map_or_else(String::new, |(goal, reached)| {
                format!("{goal} {}", if *reached { "reached" } else { "MISSED" })
            });
        println!(
            "{:<58} {:>10.3} {:>10.3} {:>10.3}  {goal}",
            row.what,
            row.median(),
            quantile(&row.values, 0.0),
            quantile(&row.values, 1.0)
        );
    }
}

/// Milliseconds that `work` takes.
pub fn time_ms<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed().as_secs_f64() * 1000.0)
}

/// A text of plain words that differs with `seed`, about `words` long: enough variety that no two passages
/// share their embedding or their words.
#[must_use]
pub fn invented_text(seed: u64, words: usize) -> String {
    const SYLLABLES: [&str; 24] = [
        "ka", "ro", "mi", "ten", "sol", "var", "ne", "li", "dor", "pa", "que", "sun", "wal", "bri",
        "ost", "ham", "ver", "gan", "tor", "fel", "ius", "ma", "zen", "cal",
    ];
    const COMMON: [&str; 24] = [
        "the", "contract", "payment", "of", "river", "and", "report", "was", "house", "signed",
        "in", "meeting", "to", "water", "tax", "is", "letter", "engine", "for", "patient", "with",
        "invoice", "city", "on",
    ];
    let mut state = seed
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .wrapping_add(0x1234_5678_9ABC_DEF1);
    let mut next = move |below: usize| {
        // xorshift64*: small, repeatable, good enough for filler text.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below
    };
    let mut text = String::new();
    for index in 0..words {
        if next(3) == 0 {
            for _ in 0..2 + next(3) {
                text += SYLLABLES[next(SYLLABLES.len())];
            }
        } else {
            text += COMMON[next(COMMON.len())];
        }
        text += match index % 90 {
            89 => ".\n\n",
            n if n % 14 == 13 => ". ",
            _ => " ",
        };
    }
    text
}
