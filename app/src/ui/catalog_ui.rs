//! Models that could be had: what they need, under which licence, and the button that fetches one.
//!
//! Start at [`catalog_ui`].

use eframe::egui::{self, RichText};

use super::{Removal, Window, fields, theme};
use crate::message::{CatalogSummary, Command, Fit};
use crate::state::{Opening, Purpose};
use crate::units::size;

/// What is typed and asked in the catalogue.
#[derive(Default)]
pub(super) struct Draft {
    filter: String,
    address: String,
    /// Whose licence is shown, to be accepted or not.
    accepting: Option<String>,
}

/// What was clicked.
enum Choice {
    Download(String),
    Accepted(String),
    Licence(Option<String>),
    Discard(String, String),
}

/// Draws the catalogue.
pub(super) fn catalog_ui(window: &mut Window, ui: &mut egui::Ui) {
    let Some(report) = &window.state.catalog else {
        ui.label("Opening …");
        return;
    };
    let is_offline = window
        .state
        .settings
        .as_ref()
        .is_some_and(|report| report.settings.offline);
    ui.label(theme::small(format!(
        "Downloaded when you ask for it, and from nowhere else than the place that is named. This machine has {} of memory.",
        size(report.memory_bytes)
    )));
    if is_offline {
        ui.label("Downloads are off: Settings, “Stay offline whatever comes”.");
    }
    let ready = matches!(window.state.opening, Opening::Done) && !is_offline;
    let mut choice = None;
    let draft = &mut window.view.catalog;
    let hint = "Name, maker, licence or purpose";
    fields::line(ui, &mut draft.filter, "Filter models", hint, 260.0);
    let filter = draft.filter.trim().to_lowercase();
    let shown = report.models.iter().filter(|model| {
        let is_offered = !model.installed && model.source.is_some();
        is_offered && contains(model, &filter)
    });
    let mut count = 0;
    for model in shown {
        count += 1;
        ui.push_id(&model.id, |ui| {
            theme::card(ui).show(ui, |ui| {
                ui.set_width(ui.available_width());
                let asked = draft.accepting.as_ref() == Some(&model.id);
                model_ui(ui, model, ready, asked, &mut choice);
            });
        });
    }
    if count == 0 {
        ui.label("No model of the catalogue contains that, or those that do are installed.");
    }
    for other in &report.others {
        ui.horizontal(|ui| {
            let come = format!("{} of {}", size(other.done_bytes), size(other.total_bytes));
            ui.label(theme::small(format!("{come} of {}", other.url)));
            if ready && ui.small_button("Continue").clicked() {
                choice = Some(Choice::Download(other.url.clone()));
            }
            if ui.small_button("Discard").clicked() {
                choice = Some(Choice::Discard(other.url.clone(), other.url.clone()));
            }
        });
    }
    address_ui(draft, ui, ready, &mut choice);
    match choice {
        Some(Choice::Download(model)) => window.download(model, false),
        Some(Choice::Accepted(model)) => {
            window.view.catalog.accepting = None;
            window.download(model, true);
        }
        Some(Choice::Licence(model)) => window.view.catalog.accepting = model,
        Some(Choice::Discard(model, name)) => {
            window.view.removing = Some(Removal {
                what: format!("what has come of {name}"),
                command: Command::DiscardDownload { model },
                meaning: Removal::FOR_GOOD,
                closes_chat: false,
            });
        }
        None => {}
    }
}

fn contains(model: &CatalogSummary, filter: &str) -> bool {
    let words = [
        &model.name,
        &model.publisher,
        &model.license,
        &model.kind,
        &model.id,
    ];
    words
        .iter()
        .any(|word| word.to_lowercase().contains(filter))
}

fn model_ui(
    ui: &mut egui::Ui,
    model: &CatalogSummary,
    ready: bool,
    asked: bool,
    choice: &mut Option<Choice>,
) {
    let palette = theme::palette(ui);
    ui.horizontal(|ui| {
        ui.label(RichText::new(&model.name).strong());
        let colour = match model.fit {
            Fit::Fits => palette.good,
            Fit::Tight => palette.warning,
            Fit::TooLarge => palette.problem,
        };
        ui.label(RichText::new(model.fit_words()).small().color(colour));
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            let begun = model.fetched_bytes.is_some();
            let verb = if begun { "Continue" } else { "Download" };
            let button = ui.add_enabled(ready && !asked, egui::Button::new(verb).small());
            let button = button.accessible_name(format!("{verb} {}", model.name));
            if button.clicked() {
                *choice = Some(if model.is_free() {
                    Choice::Download(model.id.clone())
                } else {
                    Choice::Licence(Some(model.id.clone()))
                });
            }
            if begun {
                let discard = ui.small_button("Discard");
                let discard = discard.accessible_name(format!("Discard {}", model.name));
                if discard.clicked() {
                    let (id, name) = (model.id.clone(), model.name.clone());
                    *choice = Some(Choice::Discard(id, name));
                }
            }
        });
    });
    ui.add(egui::Label::new(theme::small(facts(model))).wrap());
    if let Some(note) = &model.note {
        ui.add(egui::Label::new(theme::small(note)).wrap());
    }
    if asked {
        ui.label(format!(
            "{} is under the licence “{}”, which asks something of its users. Read it there before you accept:",
            model.name, model.license
        ));
        ui.label(theme::small(model.page.clone().unwrap_or_default()));
        ui.horizontal(|ui| {
            if ui.button("Accept and download").clicked() {
                *choice = Some(Choice::Accepted(model.id.clone()));
            }
            if ui.button("Not now").clicked() {
                *choice = Some(Choice::Licence(None));
            }
        });
    }
}

fn facts(model: &CatalogSummary) -> String {
    let purpose = match model.kind.as_str() {
        "chat" => "answers questions",
        "embedder" => "finds by meaning",
        _ => "sorts what was found",
    };
    let come = model
        .progress()
        .map_or_else(String::new, |words| format!(" · {words}"));
    format!(
        "{purpose} · {} · {} · {} · needs about {} of memory · {}{come}",
        model.publisher,
        model.quantisation,
        size(model.size_bytes),
        size(model.memory_bytes),
        model.license,
    )
}

fn address_ui(draft: &mut Draft, ui: &mut egui::Ui, ready: bool, choice: &mut Option<Choice>) {
    ui.horizontal(|ui| {
        let room = (ui.available_width() - 110.0).max(120.0);
        let hint = "OWNER/REPOSITORY/FILE.gguf on Hugging Face, or an address";
        let address = &mut draft.address;
        let field = fields::line(ui, address, "Model to download", hint, room);
        let can = ready && !address.trim().is_empty();
        let entered = fields::entered(ui, &field) && can;
        let button = ui.add_enabled(can, egui::Button::new("Download"));
        if button.clicked() || entered {
            *choice = Some(Choice::Download(std::mem::take(address)));
        }
    });
}

impl Window {
    fn download(&mut self, model: String, accepts_licence: bool) {
        let command = Command::DownloadModel {
            model,
            accepts_licence,
        };
        self.send(Purpose::Download, "Asking for the model", command);
    }
}
