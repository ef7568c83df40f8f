//! Search as one types: passages by words and by meaning, without a chat model.
//!
//! Start at [`search_ui`].

use eframe::egui::{self, RichText, text::LayoutJob};

use super::chat_ui::{column, one_line};
use super::{Field, Window, fields, shell, theme};
use crate::message::{Citation, SearchMode};
use crate::state::Opening;

/// Draws the search.
pub(super) fn search_ui(window: &mut Window, ui: &mut egui::Ui) {
    ui.add_space(8.0);
    column(ui, |ui| query_ui(window, ui));
    let mut opened = None;
    egui::ScrollArea::vertical()
        .auto_shrink(false)
        .show(ui, |ui| {
            column(ui, |ui| opened = results_ui(window, ui));
        });
    if let Some(reference) = opened {
        window.read(&reference);
    }
}

fn query_ui(window: &mut Window, ui: &mut egui::Ui) {
    let ready = matches!(window.state.opening, Opening::Done);
    let query = &mut window.state.search.query;
    let hint = "Find passages by words and by meaning";
    let field = fields::line(ui, query, "Words to find", hint, fields::FULL);
    window.view.give_caret(Field::Search, &field);
    // What was typed before the workspace was open is searched for once it is.
    if ready && window.state.search.query.trim() != window.state.search.searched {
        window.search();
    }
    let line = match &window.state.search.report {
        Some(report) => {
            let mode = match report.mode {
                SearchMode::Hybrid => "words and meaning",
                SearchMode::Lexical => "words only",
                SearchMode::Vector => "meaning only",
            };
            format!(
                "{} passages, {mode}. {}",
                report.hits.len(),
                report.coverage.line()
            )
        }
        None => {
            "Type some words, or a question. “Quotation marks” find an exact phrase.".to_owned()
        }
    };
    let shown = ui.add(egui::Label::new(theme::small(line)).truncate());
    if let Some(report) = &window.state.search.report {
        shown.on_hover_text(format!("Found in {:.0} ms", report.took_ms));
    }
    ui.add_space(4.0);
}

/// Gives the reference of the hit that was clicked.
fn results_ui(window: &Window, ui: &mut egui::Ui) -> Option<String> {
    let search = &window.state.search;
    if let Some(failure) = &search.failure {
        shell::failure_ui(ui, failure);
    }
    let report = search.report.as_ref()?;
    if report.hits.is_empty() {
        ui.label("Nothing was found.");
    }
    let words: Vec<String> = search
        .searched
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 2)
        .map(str::to_lowercase)
        .collect();
    let mut opened = None;
    for (index, hit) in report.hits.iter().enumerate() {
        ui.push_id(("hit", index), |ui| {
            if hit_ui(hit, &words, ui) {
                opened = Some(hit.reference());
            }
        });
    }
    ui.add_space(theme::GAP);
    opened
}

fn hit_ui(hit: &Citation, words: &[String], ui: &mut egui::Ui) -> bool {
    let mut clicked = false;
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        clicked = ui
            .link(hit.place())
            .on_hover_text("Open this place in its document")
            .clicked();
        ui.add(egui::Label::new(snippet(ui, &hit.quote, words)).wrap());
    });
    clicked
}

/// The passage in one line, with the words that were searched for in the highlight's colours.
fn snippet(ui: &egui::Ui, quote: &str, words: &[String]) -> LayoutJob {
    let palette = theme::palette(ui);
    let mut job = LayoutJob::default();
    for (piece, found) in parts(&one_line(quote), words) {
        let mut text = RichText::new(piece);
        if found {
            text = text
                .color(palette.on_highlight)
                .background_color(palette.highlight);
        }
        text.append_to(
            &mut job,
            ui.style(),
            egui::FontSelection::Default,
            egui::Align::Center,
        );
    }
    job
}

/// The text cut at the borders of words; `true` where a word begins with one of `words`, or one of them with it.
fn parts(text: &str, words: &[String]) -> Vec<(String, bool)> {
    let mut parts: Vec<(String, bool)> = Vec::new();
    let mut push = |piece: &str, found: bool| match parts.last_mut() {
        Some((last, same)) if *same == found => last.push_str(piece),
        _ => parts.push((piece.to_owned(), found)),
    };
    let mut rest = text;
    while !rest.is_empty() {
        let in_word = rest.starts_with(char::is_alphanumeric);
        let end = rest
            .find(|c: char| c.is_alphanumeric() != in_word)
            .unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        push(piece, in_word && is_wanted(piece, words));
        rest = after;
    }
    parts
}

/// Forgives endings: the index finds "invoices" for "invoice", and they should look found.
fn is_wanted(word: &str, words: &[String]) -> bool {
    let word = word.to_lowercase();
    words.iter().any(|wanted| {
        let (short, long) = if word.len() < wanted.len() {
            (&word, wanted)
        } else {
            (wanted, &word)
        };
        short.chars().count() > 2
            && long.starts_with(short.as_str())
            && long.len() - short.len() < 4
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_words_are_marked_with_their_endings() {
        let words = ["invoice".to_owned(), "roof".to_owned()];
        let found: Vec<_> = parts("Two invoices for the Roof, proofs.", &words)
            .into_iter()
            .filter(|(_, found)| *found)
            .map(|(text, _)| text)
            .collect();
        assert_eq!(found, ["invoices", "Roof"]);
        let whole: String = parts("a b, c", &words).into_iter().map(|p| p.0).collect();
        assert_eq!(whole, "a b, c");
    }
}
