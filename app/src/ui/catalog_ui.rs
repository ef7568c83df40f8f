//! Models that could be had: what they need, under which licence, and the button that fetches one.
//!
//! Start at [`catalog_ui`].

use eframe::egui::{self, RichText};

use super::hub_ui::hub_ui;
use super::{Removal, Window, fields, theme};
use crate::message::{CatalogSummary, Command, Fit, FitReport, ModelDetails};
use crate::state::{Opening, Purpose, SessionState};
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
    Details(String),
}

/// Draws the catalogue.
pub(super) fn catalog_ui(window: &mut Window, ui: &mut egui::Ui) {
    let Some(report) = &window.state.catalog else {
        ui.label("Looking at this machine …");
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
    // One at a time: two would only share the line.
    let is_busy = window.state.is_busy(Purpose::Download);
    let ready = matches!(window.state.opening, Opening::Done) && !is_offline && !is_busy;
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
                let recommended = report.recommended.as_ref() == Some(&model.id);
                model_ui(ui, model, ready, (asked, recommended), &mut choice);
                if let Some(details) = shown_details(&window.state, &model.id) {
                    details_ui(ui, details);
                }
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
    hub_ui(window, ui, ready);
    address_ui(&mut window.view.catalog, ui, ready, &mut choice);
    match choice {
        Some(Choice::Download(model)) => window.download(model, false),
        Some(Choice::Accepted(model)) => {
            window.view.catalog.accepting = None;
            window.download(model, true);
        }
        Some(Choice::Licence(model)) => window.view.catalog.accepting = model,
        Some(Choice::Details(model)) => window.toggle_details(model),
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
    (asked, recommended): (bool, bool),
    choice: &mut Option<Choice>,
) {
    let palette = theme::palette(ui);
    ui.horizontal(|ui| {
        ui.label(RichText::new(&model.name).strong());
        ui.label(verdict(&model.fit, &palette));
        if recommended {
            let words = RichText::new("suits this machine best").small().strong();
            ui.label(words.color(palette.good));
        }
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
            let details = ui.small_button("Details");
            let details = details.accessible_name(format!("Details of {}", model.name));
            if details.clicked() {
                *choice = Some(Choice::Details(model.id.clone()));
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

/// Whether a model suits this machine, and how fast it is about to be.
pub(super) fn verdict(fit: &FitReport, palette: &theme::Palette) -> RichText {
    let colour = match fit.verdict {
        Fit::Fits => palette.good,
        Fit::Slow | Fit::Tight => palette.warning,
        Fit::TooLarge => palette.problem,
    };
    let speed = fit
        .speed()
        .map_or_else(String::new, |speed| format!(", {speed}"));
    RichText::new(format!("{}{speed}", fit.verdict.words()))
        .small()
        .color(colour)
}

/// The particulars of a model, where they are wanted.
pub(super) fn shown_details<'s>(state: &'s SessionState, id: &str) -> Option<&'s ModelDetails> {
    state.model_shown.as_ref().filter(|shown| shown.id == id)
}

/// The particulars of a model.
pub(super) fn details_ui(ui: &mut egui::Ui, details: &ModelDetails) {
    ui.add_space(theme::GAP / 2.0);
    let judgement = format!("On this machine: {}", details.judgement());
    ui.add(egui::Label::new(theme::small(judgement)).wrap());
    egui::Grid::new("details")
        .num_columns(2)
        .spacing([theme::GAP, 2.0])
        .min_row_height(0.0)
        .show(ui, |ui| {
            for (word, what) in details.facts() {
                ui.label(theme::small(word));
                ui.add(egui::Label::new(RichText::new(what).small()).wrap());
                ui.end_row();
            }
        });
}

fn facts(model: &CatalogSummary) -> String {
    let come = model
        .progress()
        .map_or_else(String::new, |words| format!(" · {words}"));
    format!(
        "{} · {} · {} · {} · needs {} of memory · {}{come}",
        model.purpose(),
        model.publisher,
        model.quantisation,
        size(model.size_bytes),
        size(model.fit.memory_bytes()),
        model.license,
    )
}

fn address_ui(draft: &mut Draft, ui: &mut egui::Ui, ready: bool, choice: &mut Option<Choice>) {
    ui.horizontal(|ui| {
        let room = (ui.available_width() - 110.0).max(120.0);
        let hint = "Download: OWNER/REPOSITORY/FILE.gguf, or an address";
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
    /// Shows the particulars of a model, or hides them.
    pub(super) fn toggle_details(&mut self, model: String) {
        if self
            .state
            .model_shown
            .take_if(|shown| shown.id == model)
            .is_none()
        {
            let command = Command::ShowModel { model };
            self.send(Purpose::Refresh, "", command);
        }
    }

    pub(super) fn download(&mut self, model: String, accepts_licence: bool) {
        let command = Command::DownloadModel {
            model,
            accepts_licence,
        };
        self.send(Purpose::Download, "Asking for the model", command);
    }
}
