//! The one screen of the first window: import above, question and passages in the middle, state below.

use std::path::PathBuf;

use eframe::egui;

use super::{Window, theme};
use crate::message::{Citation, Origin};

/// Draws the window and turns clicks and keys into commands.
pub(super) fn shell_ui(window: &mut Window, ui: &mut egui::Ui) {
    egui::Panel::bottom("state").show(ui, |ui| state_ui(window, ui));
    egui::Panel::top("import").show(ui, |ui| import_ui(window, ui));
    egui::CentralPanel::default().show(ui, |ui| {
        ui.set_max_width(theme::COLUMN.min(ui.available_width()));
        question_ui(window, ui);
        ui.add_space(theme::GAP);
        egui::ScrollArea::vertical()
            .auto_shrink(false)
            .show(ui, |ui| answer_ui(window, ui));
    });
}

fn import_ui(window: &mut Window, ui: &mut egui::Ui) {
    ui.add_space(theme::GAP / 2.0);
    ui.horizontal(|ui| {
        ui.heading("Satchel");
        ui.add_space(theme::GAP);
        let width = (ui.available_width() - 90.0).max(80.0);
        let field = egui::TextEdit::singleline(&mut window.input.path)
            .hint_text("Folder or file to import, or drop it here")
            .desired_width(width);
        let entered =
            ui.add(field).lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
        if (ui.button("Import").clicked() || entered) && !window.input.path.trim().is_empty() {
            let path = PathBuf::from(window.input.path.trim());
            window.input.path.clear();
            window.import(vec![path]);
        }
    });
    ui.add_space(theme::GAP / 2.0);
}

fn question_ui(window: &mut Window, ui: &mut egui::Ui) {
    ui.add_space(theme::GAP);
    let field = egui::TextEdit::singleline(&mut window.input.question)
        .hint_text("Ask your documents")
        .desired_width(f32::INFINITY)
        .margin(egui::Margin::symmetric(10, 8));
    let field = ui.add(field);
    if std::mem::take(&mut window.input.is_new) {
        field.request_focus();
    }
    let entered = field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
    ui.horizontal(|ui| {
        if ui.button("Ask").clicked() || entered {
            window.ask();
        }
        if ui.button("Search").clicked() {
            window.search();
        }
        if window.state.busy.is_some() && ui.button("Stop").clicked() {
            window.stop();
        }
    });
}

fn answer_ui(window: &Window, ui: &mut egui::Ui) {
    let state = &window.state;
    let empty = state
        .status
        .as_ref()
        .is_some_and(|status| status.coverage.documents == 0);
    if empty && state.question.is_empty() {
        ui.label("There are no documents yet. Import a folder, then ask.");
    }
    if !state.question.is_empty() {
        ui.label(egui::RichText::new(&state.question).strong());
    }
    if !state.answer.is_empty() {
        ui.add_space(theme::GAP / 2.0);
        // Plain text: nothing that a model writes is interpreted.
        ui.label(&state.answer);
    }
    if !state.unsupported.is_empty() {
        ui.add_space(theme::GAP / 2.0);
        ui.label(egui::RichText::new("Careful: the passages do not bear this out:").strong());
        for sentence in &state.unsupported {
            ui.label(sentence);
        }
    }
    for (index, citation) in state.citations.iter().enumerate() {
        ui.add_space(theme::GAP);
        citation_ui(index, citation, ui);
    }
}

fn citation_ui(index: usize, citation: &Citation, ui: &mut egui::Ui) {
    egui::Frame::group(ui.style()).show(ui, |ui| {
        ui.set_width(ui.available_width());
        let mark = if citation.mark.is_empty() {
            format!("{}", index + 1)
        } else {
            citation.mark.clone()
        };
        ui.horizontal_wrapped(|ui| {
            ui.label(egui::RichText::new(mark).strong());
            ui.label(egui::RichText::new(citation.place()).weak());
        });
        let quoted = citation.origin != Origin::Search;
        let text = if quoted {
            format!("“{}”", citation.quote)
        } else {
            citation.quote.clone()
        };
        ui.label(text);
    });
}

fn state_ui(window: &Window, ui: &mut egui::Ui) {
    ui.add_space(theme::GAP / 3.0);
    if let Some((what, progress)) = &window.state.busy {
        ui.horizontal(|ui| match progress {
            Some(step) if step.total > 0 => {
                ui.label(step.stage.label());
                let part = step.done as f32 / step.total as f32;
                ui.add(
                    egui::ProgressBar::new(part)
                        .desired_width(220.0)
                        .text(format!("{} of {}", step.done, step.total)),
                );
            }
            _ => {
                ui.label(format!("{what} …"));
            }
        });
    }
    if let Some(last) = window.state.messages.last() {
        ui.label(last);
    }
    let line = window.state.status.as_ref().map_or_else(
        || "Opening …".to_owned(),
        |status| status.coverage.in_stock(),
    );
    ui.label(egui::RichText::new(line).weak().small());
    ui.add_space(theme::GAP / 3.0);
}
