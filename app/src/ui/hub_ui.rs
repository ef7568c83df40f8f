//! Models on Hugging Face beyond the catalogue: a search, what it found, and the files of one repository.
//!
//! Start at [`hub_ui`].

use eframe::egui::{self, RichText};

use super::{Window, fields, theme};
use crate::message::{Command, HubFile, HubReport};
use crate::state::Purpose;

/// What is typed.
#[derive(Default)]
pub(super) struct Draft {
    words: String,
}

enum Choice {
    Search(String),
    Download(String),
}

/// Draws the search with what it found. `ready`: nothing else is being fetched, and connections are allowed.
pub(super) fn hub_ui(window: &mut Window, ui: &mut egui::Ui, ready: bool) {
    let mut choice = None;
    let is_searching = window.state.is_busy(Purpose::Hub);
    ui.add_space(theme::GAP);
    ui.label(RichText::new("More on Hugging Face").strong());
    ui.horizontal(|ui| {
        let room = (ui.available_width() - 110.0).max(120.0);
        let words = &mut window.view.hub.words;
        let hint = "Search: words of a name, or OWNER/REPOSITORY for its files";
        let field = fields::line(ui, words, "Search Hugging Face", hint, room);
        let can = ready && !is_searching && !words.trim().is_empty();
        let entered = fields::entered(ui, &field) && can;
        let button = ui.add_enabled(can, egui::Button::new("Search"));
        if button.clicked() || entered {
            choice = Some(Choice::Search(words.trim().to_owned()));
        }
        if is_searching {
            ui.spinner();
        }
    });
    if let Some(report) = &window.state.hub {
        found_ui(ui, report, ready && !is_searching, &mut choice);
    }
    match choice {
        Some(Choice::Search(query)) => {
            window.send(Purpose::Hub, "Searching", Command::SearchHub { query });
        }
        Some(Choice::Download(model)) => window.download(model, false),
        None => {}
    }
}

fn found_ui(ui: &mut egui::Ui, report: &HubReport, ready: bool, choice: &mut Option<Choice>) {
    let is_one = report.repositories.len() == 1 && report.repositories[0].name == report.query;
    if report.repositories.is_empty() {
        ui.label("Nothing there has such a name and GGUF files.");
    } else if is_one && report.files.is_empty() {
        ui.label("There is no GGUF file in it.");
    }
    for found in &report.repositories {
        ui.horizontal(|ui| {
            ui.label(RichText::new(&found.name).strong());
            ui.label(theme::small(found.facts()));
            let button = egui::Button::new("Files").small();
            if !is_one && ui.add_enabled(ready, button).clicked() {
                *choice = Some(Choice::Search(found.name.clone()));
            }
        });
    }
    for file in &report.files {
        ui.push_id(&file.model, |ui| file_ui(ui, file, ready, choice));
    }
}

fn file_ui(ui: &mut egui::Ui, file: &HubFile, ready: bool, choice: &mut Option<Choice>) {
    ui.horizontal(|ui| {
        let button = egui::Button::new("Download").small();
        if ui.add_enabled(ready, button).clicked() {
            *choice = Some(Choice::Download(file.model.clone()));
        }
        ui.label(&file.file);
        ui.label(theme::small(file.facts()));
    });
}
