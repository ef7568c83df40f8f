//! Models, index, devices and memory: what is there, what is in use, and what is wrong.
//!
//! Start at [`model_ui`].

use eframe::egui::{self, RichText};

use super::catalog_ui::{catalog_ui, details_ui, shown_details};
use super::chat_ui::column;
use super::{Pick, Removal, Window, fields, theme, typed_path};
use crate::message::{Command, Level, ModelSummary};
use crate::state::{Opening, Purpose};

/// Draws models and devices.
pub(super) fn model_ui(window: &mut Window, ui: &mut egui::Ui) {
    egui::ScrollArea::vertical()
        .auto_shrink(false)
        .show(ui, |ui| {
            column(ui, |ui| {
                ui.add_space(8.0);
                ui.label(RichText::new("Models").heading().strong());
                models_ui(window, ui);
                ui.add_space(theme::GAP);
                ui.add_enabled_ui(matches!(window.state.opening, Opening::Done), |ui| {
                    import_ui(window, ui);
                });
                ui.add_space(theme::GAP * 1.5);
                ui.label(RichText::new("Get a model").heading().strong());
                catalog_ui(window, ui);
                ui.add_space(theme::GAP * 1.5);
                ui.label(RichText::new("This machine").heading().strong());
                machine_ui(window, ui);
                ui.add_space(theme::GAP * 2.0);
            });
        });
}

fn models_ui(window: &mut Window, ui: &mut egui::Ui) {
    if window.state.models.is_empty() {
        ui.label("No model is installed. Words can be searched without one; meaning needs an embedder, answers need a chat model.");
        ui.label(theme::small(
            "One can be downloaded below, and any GGUF file can be imported. `make run` installs two small ones.",
        ));
    }
    let mut used = None;
    let mut removed = None;
    let mut detailed = None;
    for model in &window.state.models {
        ui.push_id(&model.id, |ui| {
            theme::card(ui).show(ui, |ui| {
                ui.set_width(ui.available_width());
                ui.horizontal(|ui| {
                    ui.label(RichText::new(&model.name).strong());
                    if model.in_use {
                        let colour = theme::palette(ui).good;
                        ui.label(RichText::new("in use").small().color(colour));
                    }
                    ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                        if ui.small_button("Remove").clicked() {
                            removed = Some(removal(model));
                        }
                        if !model.in_use && ui.small_button("Use").clicked() {
                            used = Some((model.setting(), model.id.clone()));
                        }
                        let details = ui.small_button("Details");
                        let details = details.accessible_name(format!("Details of {}", model.name));
                        if details.clicked() {
                            detailed = Some(model.id.clone());
                        }
                    });
                });
                ui.label(theme::small(facts(model)));
                if let Some(details) = shown_details(&window.state, &model.id) {
                    details_ui(ui, details);
                }
            });
        });
    }
    if let Some((setting, id)) = used {
        // A TOML string; ids are file names without quotation marks.
        window.change_setting(setting, format!("\"{id}\""));
    }
    if let Some(model) = detailed {
        window.toggle_details(model);
    }
    if removed.is_some() {
        window.view.removing = removed;
    }
}

fn facts(model: &ModelSummary) -> String {
    let licence = model.license.as_deref().unwrap_or("licence unknown");
    format!(
        "{} · {} · {} · {:.0} MiB · window of {} tokens · {licence}",
        model.purpose(),
        model.architecture,
        model.quantisation,
        model.size_bytes as f64 / 1_048_576.0,
        model.context_len_tokens,
    )
}

fn removal(model: &ModelSummary) -> Removal {
    Removal {
        what: format!("the model {}", model.name),
        command: Command::RemoveModel {
            model: model.id.clone(),
        },
        meaning: Removal::FOR_GOOD,
        closes_chat: false,
    }
}

fn import_ui(window: &mut Window, ui: &mut egui::Ui) {
    let mut wanted = false;
    ui.horizontal(|ui| {
        let room = (ui.available_width() - 190.0).max(120.0);
        let hint = "A GGUF file, or the folder of an embedder";
        let path = &mut window.view.model_path;
        let field = fields::line(ui, path, "Model to import", hint, room);
        let entered = fields::entered(ui, &field);
        let filled = !window.view.model_path.trim().is_empty();
        wanted = ui
            .add_enabled(filled, egui::Button::new("Import"))
            .clicked()
            || (entered && filled);
        if ui.button("Choose …").clicked() {
            window.pick(Pick::Model);
        }
    });
    if wanted && let Some(path) = typed_path(&std::mem::take(&mut window.view.model_path)) {
        window.import_model(path);
    }
}

fn machine_ui(window: &mut Window, ui: &mut egui::Ui) {
    let drawn = window
        .adapter
        .clone()
        .unwrap_or_else(|| "unknown".to_owned());
    finding_ui(
        ui,
        Level::Good,
        "Window",
        &format!("drawn by {drawn}"),
        None,
    );
    for finding in &window.state.findings {
        finding_ui(
            ui,
            finding.level,
            &finding.subject,
            &finding.text,
            finding.hint.as_deref(),
        );
    }
    ui.add_space(theme::GAP / 2.0);
    let checking = window.state.is_busy(Purpose::Check);
    let ready = matches!(window.state.opening, Opening::Done) && !checking;
    let label = if window.state.findings.is_empty() {
        "Check everything"
    } else {
        "Check again"
    };
    if ui
        .add_enabled(ready, egui::Button::new(label))
        .on_hover_text("Looks at models, devices, memory, key, disk and index. Loads the models: takes some seconds.")
        .clicked()
    {
        window.send(Purpose::Check, "Checking everything", Command::Doctor);
    }
}

fn finding_ui(ui: &mut egui::Ui, level: Level, subject: &str, text: &str, hint: Option<&str>) {
    let palette = theme::palette(ui);
    let (word, colour) = match level {
        Level::Good => ("good", palette.good),
        Level::Warning => ("look", palette.warning),
        Level::Problem => ("wrong", palette.problem),
    };
    ui.horizontal_top(|ui| {
        // A word and a colour: neither a font without the sign nor an eye without the colour misses it.
        ui.add_sized(
            [44.0, 20.0],
            egui::Label::new(RichText::new(word).small().strong().color(colour)),
        );
        ui.vertical(|ui| {
            ui.add(egui::Label::new(RichText::new(format!("{subject}: {text}"))).wrap());
            if let Some(hint) = hint {
                ui.add(egui::Label::new(theme::small(hint)).wrap());
            }
        });
    });
}
