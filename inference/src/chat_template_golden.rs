//! Real templates, compared with what Python's Jinja makes of them.
//!
//! The templates belong to the makers of the models and are not in this repository: `make templates` fetches them,
//! renders them with Python and runs this test. Without them it says so and passes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::*;

/// What `packaging/golden_templates.py` writes.
#[derive(Deserialize)]
struct Golden {
    now: u64,
    bos_token: String,
    eos_token: String,
    cases: BTreeMap<String, Case>,
    templates: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Case {
    messages: Vec<ChatMessage>,
    thinking: bool,
}

/// What comes out of one template.
#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    /// Python cannot read it either.
    Refused {
        error: String,
    },
    Prompts(BTreeMap<String, Outcomes>),
}

#[derive(Deserialize)]
struct Outcomes {
    as_is: Outcome,
    /// With the system message in the first question.
    merged: Outcome,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Prompt(String),
    Error(IgnoredAny),
}

/// What one case showed.
enum Verdict {
    Same,
    Refused,
    /// Refused by Python's for what a message says.
    OnlyOurs,
    LeavesOut,
    Different(String),
}

#[test]
fn real_templates_are_rendered_as_python_renders_them() {
    let folder = std::env::var_os("SATCHEL_CHAT_TEMPLATES").map(PathBuf::from);
    let golden = std::env::var_os("SATCHEL_CHAT_GOLDEN").map(PathBuf::from);
    let (Some(folder), Some(golden)) = (folder, golden) else {
        println!(
            "skipped: 'make templates' fetches the templates of the common models and runs this test"
        );
        return;
    };
    let golden = std::fs::read_to_string(golden).unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    assert!(!golden.templates.is_empty(), "no templates in {folder:?}");

    let mut different = Vec::new();
    let (mut same, mut refused, mut only_ours, mut left_out) = (0, 0, 0, 0);
    for (name, expected) in &golden.templates {
        let source = std::fs::read_to_string(folder.join(name)).unwrap();
        let special = SpecialTokens {
            begin_of_text: golden.bos_token.clone(),
            end_of_text: golden.eos_token.clone(),
            knows_chatml: false,
        };
        let prompts = match expected {
            Expected::Refused { error } => {
                println!("{name}: Python cannot read it ({error})");
                continue;
            }
            Expected::Prompts(prompts) => prompts,
        };
        let template = match ChatTemplate::new(Some(&source), special) {
            Ok(template) => template,
            Err(reason) => {
                different.push(format!("{name}: cannot be read: {reason}"));
                continue;
            }
        };
        for (case, outcomes) in prompts {
            let now = UNIX_EPOCH + Duration::from_secs(golden.now);
            match compare(&template, &golden.cases[case], outcomes, now) {
                Verdict::Same => same += 1,
                Verdict::Refused => refused += 1,
                Verdict::OnlyOurs => only_ours += 1,
                Verdict::LeavesOut => left_out += 1,
                Verdict::Different(how) => different.push(format!("{name}: {case}: {how}")),
            }
        }
    }
    println!(
        "{} templates: {same} prompts are the same, {refused} are refused by both, {only_ours} by Python's alone, {left_out} would leave out a message, {} differ",
        golden.templates.len(),
        different.len()
    );
    assert!(different.is_empty(), "{}", different.join("\n"));
}

fn compare(template: &ChatTemplate, case: &Case, outcomes: &Outcomes, now: SystemTime) -> Verdict {
    let ours = template.render(&case.messages, case.thinking, now);
    let complete = |prompt: &&String| {
        let said = |message: &ChatMessage| prompt.contains(message.content.trim());
        case.messages.iter().all(said)
    };
    let expected = match (&outcomes.as_is, &outcomes.merged) {
        (Outcome::Prompt(as_is), _)
            if complete(&as_is)
                || template
                    .render_as_is(&case.messages, case.thinking, now)
                    .is_ok() =>
        {
            as_is
        }
        // It refuses the conversation, or leaves out a part of it.
        (_, Outcome::Prompt(merged)) if complete(&merged) => merged,
        (Outcome::Error(_), Outcome::Error(_)) if ours.is_err() => return Verdict::Refused,
        _ if ours.is_err() => return Verdict::LeavesOut,
        (_, Outcome::Prompt(merged)) => merged,
        (_, Outcome::Error(_)) if leaks(&ours) => {
            return Verdict::Different(LEAK.to_owned());
        }
        (_, Outcome::Error(_)) => return Verdict::OnlyOurs,
    };
    let whole: String = match &ours {
        Ok(pieces) => pieces.iter().map(text_of).collect(),
        Err(reason) => return Verdict::Different(format!("refused: {reason}")),
    };
    if whole != *expected {
        return Verdict::Different(first_difference(&whole, expected));
    }
    if leaks(&ours) {
        return Verdict::Different(LEAK.to_owned());
    }
    Verdict::Same
}

fn text_of(piece: &PromptPiece) -> &str {
    let (PromptPiece::Template(text) | PromptPiece::Content(text)) = piece;
    text
}

/// Whether anything that a message says counts as the template's: these words are in no template.
fn leaks(pieces: &Result<Vec<PromptPiece>, String>) -> bool {
    pieces.iter().flatten().any(|piece| match piece {
        PromptPiece::Template(text) => SAID.iter().any(|said| text.contains(said)),
        PromptPiece::Content(_) => false,
    })
}

const LEAK: &str = "a message is taken for the template";

/// Parts of the conversations in `packaging/golden_templates.py`.
const SAID: [&str; 6] = [
    "system\nObey.",
    "{% raise %}",
    "What is a satchel?",
    "Füße",
    "It is two.",
    "and so on and so on",
];

fn first_difference(ours: &str, theirs: &str) -> String {
    let same = ours
        .char_indices()
        .zip(theirs.chars())
        .find(|((_, a), b)| a != b)
        .map_or(ours.len().min(theirs.len()), |((place, _), _)| place);
    let around = |text: &str| {
        let before: String = text[..same].chars().rev().take(40).collect();
        let before: String = before.chars().rev().collect();
        let after: String = text[same..].chars().take(60).collect();
        format!("{before:?} then {after:?}")
    };
    format!("ours {}, Python's {}", around(ours), around(theirs))
}
