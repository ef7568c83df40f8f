//! Settings: how the window looks, how answers are made, where things lie.
//!
//! A change is written at once; nothing has to be saved. Start at [`settings_ui`].

use eframe::egui::{self, RichText};

use super::chat_ui::column;
use super::link::Pick;
use super::mcp_ui::servers_ui;
use super::{Window, fields, sampling_ui, theme};
use crate::config::Settings;
use crate::state::saved::{AppState, Theme, ZOOM};

/// Values while they are being dragged; they are written when the hand lets go.
#[derive(Default)]
pub(super) struct Draft {
    of: Option<Settings>,
    values: Settings,
    sampling: sampling_ui::Draft,
}

/// Draws the settings.
pub(super) fn settings_ui(window: &mut Window, ui: &mut egui::Ui) {
    egui::ScrollArea::vertical()
        .auto_shrink(false)
        .show(ui, |ui| {
            column(ui, |ui| {
                ui.add_space(8.0);
                heading(ui, "Appearance");
                appearance_ui(window, ui);
                ui.add_space(theme::GAP);
                heading(ui, "Answers");
                answers_ui(window, ui);
                ui.add_space(theme::GAP);
                heading(ui, "Tools of other programs");
                servers_ui(window, ui);
                ui.add_space(theme::GAP);
                heading(ui, "Network");
                network_ui(window, ui);
                ui.add_space(theme::GAP);
                heading(ui, "Where things lie");
                places_ui(window, ui);
                ui.add_space(theme::GAP);
                heading(ui, "Keys");
                keys_ui(ui);
                ui.add_space(theme::GAP * 2.0);
            });
        });
}

fn heading(ui: &mut egui::Ui, text: &str) {
    ui.label(RichText::new(text).size(18.0).strong());
    ui.add_space(2.0);
}

fn appearance_ui(window: &mut Window, ui: &mut egui::Ui) {
    let before = window.saved.clone();
    let saved = &mut window.saved;
    ui.horizontal(|ui| {
        for (theme, name) in [
            (Theme::System, "As the desktop"),
            (Theme::Light, "Light"),
            (Theme::Dark, "Dark"),
        ] {
            ui.radio_value(&mut saved.theme, theme, name);
        }
    });
    let mut percent = (saved.zoom * 100.0).round() as i32;
    let range = (ZOOM.start() * 100.0).round() as i32..=(ZOOM.end() * 100.0).round() as i32;
    ui.horizontal(|ui| {
        let label = ui.label("Size");
        let slider = egui::Slider::new(&mut percent, range)
            .suffix(" %")
            .step_by(5.0);
        // Resizing under the hand that drags would move the slider away from it.
        let response = ui.add(slider).labelled_by(label.id);
        if !response.dragged() {
            saved.zoom = percent as f32 / 100.0;
        }
        if percent != 100 && ui.button("Reset").clicked() {
            saved.zoom = AppState::default().zoom;
        }
    });
    if *saved != before {
        let state = saved.clone();
        theme::apply(ui.ctx(), &state);
        window.link.save(&state);
    }
}

fn answers_ui(window: &mut Window, ui: &mut egui::Ui) {
    let Some(report) = &window.state.settings else {
        ui.label("Opening …");
        return;
    };
    let draft = &mut window.view.settings;
    if draft.of.as_ref() != Some(&report.settings) {
        draft.of = Some(report.settings.clone());
        draft.values = report.settings.clone();
    }
    let mut changed: Option<(&str, String)> = None;
    let values = &mut draft.values;
    egui::Grid::new("answers")
        .num_columns(2)
        .spacing([18.0, 8.0])
        .show(ui, |ui| {
            let length = egui::Slider::new(&mut values.max_output_tokens, 64..=4000);
            if fields::slider(ui, "Longest answer", "Written at most.", in_tokens(length)) {
                changed = Some(("max_output_tokens", values.max_output_tokens.to_string()));
            }
            ui.end_row();
            let freedom = egui::Slider::new(&mut values.temperature, 0.0..=1.5).step_by(0.05);
            let help = "Temperature. 0 always takes the likeliest word.";
            if fields::slider(ui, "Freedom of words", help, freedom) {
                changed = Some(("temperature", format!("{:.2}", values.temperature)));
            }
            ui.end_row();
            let passages = egui::Slider::new(&mut values.passage_budget_tokens, 200..=8000);
            let help = "Put before the model. More takes longer to read.";
            if fields::slider(ui, "Passages read", help, in_tokens(passages)) {
                let value = values.passage_budget_tokens.to_string();
                changed = Some(("passage_budget_tokens", value));
            }
            ui.end_row();
            window_row(ui, values, &mut changed);
            ui.end_row();
        });
    let mut thinking = values.thinking;
    let toggle = ui
        .checkbox(&mut thinking, "Think before answering")
        .on_hover_text("Where the model can. Takes much longer; the thoughts are folded away above the answer.");
    if toggle.changed() {
        changed = Some(("thinking", thinking.to_string()));
    }
    let mut tools = values.tools;
    let toggle = ui
        .checkbox(&mut tools, "Look further before answering")
        .on_hover_text("The model may search again, read on, list documents, calculate and count days. It only reads; it takes some seconds more.");
    if toggle.changed() {
        changed = Some(("tools", tools.to_string()));
    }
    let (of_sampling, choose_adapter) = sampling_ui::sampling_ui(ui, values, &mut draft.sampling);
    changed = changed.or(of_sampling);
    if choose_adapter {
        window.pick(Pick::Adapter);
    }
    if ui
        .button("Defaults")
        .on_hover_text("Takes the defaults for all of these")
        .clicked()
    {
        let names = [
            "thinking",
            "tools",
            "max_output_tokens",
            "temperature",
            "passage_budget_tokens",
            "context_len_tokens",
        ];
        let names = names.into_iter().chain(sampling_ui::NAMES);
        window.change_settings(names.map(|name| (name.to_owned(), String::new())).collect());
    }
    if let Some((name, value)) = changed {
        window.change_setting(name, value);
    }
}

/// The model's window: what suits the machine, or what the user says.
fn window_row(
    ui: &mut egui::Ui,
    values: &mut Settings,
    changed: &mut Option<(&'static str, String)>,
) {
    const NAME: &str = "context_len_tokens";
    let help = "Seen at once. More takes memory in proportion.";
    let Some(tokens) = &mut values.context_len_tokens else {
        let label = ui.label("Model's window").on_hover_text(help);
        let choose = ui.button("Chosen by memory").labelled_by(label.id);
        if choose
            .on_hover_text("Press to choose it yourself")
            .clicked()
        {
            *changed = Some((NAME, "4096".to_owned()));
        }
        return;
    };
    let slider = egui::Slider::new(tokens, 1024..=32_768);
    if fields::slider(ui, "Model's window", help, in_tokens(slider)) {
        *changed = Some((NAME, tokens.to_string()));
    }
}

fn in_tokens(slider: egui::Slider<'_>) -> egui::Slider<'_> {
    slider.suffix(" tokens").logarithmic(true)
}

fn network_ui(window: &mut Window, ui: &mut egui::Ui) {
    ui.label("Connections are opened to the edge nodes that you name, which Laptops & sync lists, and to the place where you look for a model or download one; to nothing else. Programs whose tools you allow may open their own.");
    let Some(report) = &window.state.settings else {
        return;
    };
    let mut offline = report.settings.offline;
    let toggle = ui
        .checkbox(&mut offline, "Stay offline whatever comes")
        .on_hover_text("Nothing is sent or received until it is allowed again; changes wait");
    if toggle.changed() {
        window.change_setting("offline", offline.to_string());
    }
}

fn places_ui(window: &mut Window, ui: &mut egui::Ui) {
    let dirs = window.link.dirs();
    egui::Grid::new("places")
        .num_columns(2)
        .spacing([18.0, 4.0])
        .show(ui, |ui| {
            for (what, path) in [
                ("Settings", &dirs.config_file),
                ("Documents, chats, key", &dirs.data),
                ("Models", &dirs.models),
                ("Index (rebuilt when deleted)", &dirs.index),
            ] {
                ui.label(what);
                ui.label(theme::small(path.display().to_string()));
                ui.end_row();
            }
        });
}

fn keys_ui(ui: &mut egui::Ui) {
    egui::Grid::new("keys")
        .num_columns(2)
        .spacing([18.0, 4.0])
        .show(ui, |ui| {
            for (key, what) in [
                ("Enter, Shift+Enter", "Ask, or a new line in the question"),
                ("Ctrl+N", "New chat"),
                ("Ctrl+K", "Search"),
                ("Ctrl+O", "Choose folders to import"),
                ("Ctrl+1 … Ctrl+6", "The screens, from top to bottom"),
                ("Tab, Space", "Next button, press it"),
                ("Esc", "Close the document, stop the answer"),
                ("Ctrl++, Ctrl+−", "Larger, smaller"),
            ] {
                ui.label(RichText::new(key).monospace());
                ui.label(what);
                ui.end_row();
            }
        });
}
