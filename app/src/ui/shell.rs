//! The frame of the window: navigation on the left, a screen in the middle, the open document on the right,
//! running work and messages below.
//!
//! Decides only what is shown where. Start at [`shell_ui`].

use eframe::egui::{self, Key, KeyboardShortcut, Modifiers, RichText};

use super::{
    Field, Naming, Pick, Removal, Screen, Window, chat_ui, document_ui, history_ui, library_ui,
    model_ui, search_ui, settings_ui, sync_ui, theme, unlock_ui, workspace_ui,
};
use crate::message::{Command, Progress, Stage};
use crate::state::saved::ZOOM;
use crate::state::{JobId, Opening, Purpose, words};
use crate::units::size;

/// The screens with their names and shortcuts.
const SCREENS: [(Screen, &str, Key); 6] = [
    (Screen::Chat, "Chat", Key::Num1),
    (Screen::Search, "Search", Key::Num2),
    (Screen::Library, "Documents", Key::Num3),
    (Screen::Models, "Models & devices", Key::Num4),
    (Screen::Sync, "Laptops & sync", Key::Num5),
    (Screen::Settings, "Settings", Key::Num6),
];

/// Draws the window and turns clicks and keys into commands.
pub(super) fn shell_ui(window: &mut Window, ui: &mut egui::Ui) {
    if window.view.passphrase.is_some() {
        egui::CentralPanel::default().show(ui, |ui| unlock_ui::passphrase_ui(window, ui));
        return;
    }
    if let Opening::Failed(failure) = &window.state.opening {
        let failure = failure.clone();
        egui::CentralPanel::default().show(ui, |ui| unlock_ui::failure_ui(window, ui, &failure));
        return;
    }
    keys(window, ui);
    remember_zoom(window, ui);
    egui::Panel::bottom("work")
        .show_separator_line(true)
        .show(ui, |ui| work_ui(window, ui));
    egui::Panel::left("navigation")
        .resizable(false)
        .exact_size(theme::NAVIGATION)
        .frame(
            egui::Frame::side_top_panel(ui.style())
                .fill(theme::palette(ui).card)
                .inner_margin(egui::Margin::same(10)),
        )
        .show(ui, |ui| navigation_ui(window, ui));
    let narrow = ui.ctx().content_rect().width() < theme::NARROW;
    if window.state.reader.is_some() {
        if narrow {
            egui::CentralPanel::default().show(ui, |ui| document_ui::document_ui(window, ui));
            removal_ui(window, ui);
            return;
        }
        egui::Panel::right("document")
            .resizable(true)
            .default_size(430.0)
            .size_range(300.0..=900.0)
            .show(ui, |ui| document_ui::document_ui(window, ui));
    }
    egui::CentralPanel::default().show(ui, |ui| match window.view.screen {
        Screen::Chat => chat_ui::chat_ui(window, ui),
        Screen::Search => search_ui::search_ui(window, ui),
        Screen::Library => library_ui::library_ui(window, ui),
        Screen::Models => model_ui::model_ui(window, ui),
        Screen::Sync => sync_ui::sync_ui(window, ui),
        Screen::Settings => settings_ui::settings_ui(window, ui),
    });
    removal_ui(window, ui);
}

fn keys(window: &mut Window, ui: &mut egui::Ui) {
    let pressed = |ui: &mut egui::Ui, modifiers, key| {
        ui.input_mut(|input| input.consume_shortcut(&KeyboardShortcut::new(modifiers, key)))
    };
    for (screen, _, key) in SCREENS {
        if pressed(ui, Modifiers::COMMAND, key) {
            window.show(screen);
        }
    }
    if pressed(ui, Modifiers::COMMAND, Key::N) {
        window.new_chat();
    }
    if pressed(ui, Modifiers::COMMAND, Key::K) || pressed(ui, Modifiers::COMMAND, Key::F) {
        window.show(Screen::Search);
    }
    if pressed(ui, Modifiers::COMMAND, Key::O) {
        window.show(Screen::Library);
        window.pick(Pick::Folder);
    }
    if ui.input(|input| input.key_pressed(Key::Escape)) {
        escape(window);
    }
}

/// The keys for larger and smaller are egui's own; what they chose is kept.
fn remember_zoom(window: &mut Window, ui: &egui::Ui) {
    let zoom = ui.ctx().zoom_factor();
    if (zoom - window.saved.zoom).abs() > 0.001 && ZOOM.contains(&zoom) {
        window.saved.zoom = zoom;
        window.link.save(&window.saved);
    }
}

/// One step back: what is asked, then the open document, then the answer that is being written.
fn escape(window: &mut Window) {
    let asked = window.view.removing.take().is_some()
        || window.view.naming.take().is_some()
        || window.view.restoring.take().is_some();
    if asked {
        return;
    }
    if window.state.reader.take().is_some() {
        window.view.document = Default::default();
    } else if let Some(job) = window.state.chat.running() {
        window.stop(job);
    }
}

fn navigation_ui(window: &mut Window, ui: &mut egui::Ui) {
    ui.label(RichText::new("Satchel").heading().strong());
    workspace_ui::workspace_ui(window, ui);
    ui.add_space(theme::GAP / 2.0);
    let width = ui.available_width();
    let new = theme::primary(ui, "New chat").min_size(egui::vec2(width, 0.0));
    if ui.add(new).on_hover_text("Ctrl+N").clicked() {
        window.new_chat();
    }
    ui.add_space(theme::GAP / 2.0);
    for (index, (screen, name, _)) in SCREENS.into_iter().enumerate() {
        let chosen = window.view.screen == screen;
        if entry(ui, chosen, name)
            .on_hover_text(format!("Ctrl+{}", index + 1))
            .clicked()
        {
            window.show(screen);
        }
    }
    ui.add_space(theme::GAP);
    if !window.state.threads.is_empty() {
        ui.label(theme::small("Chats"));
    }
    egui::ScrollArea::vertical()
        .auto_shrink(false)
        .show(ui, |ui| threads_ui(window, ui));
}

fn entry(ui: &mut egui::Ui, chosen: bool, text: &str) -> egui::Response {
    // What grows after the text keeps it to the left.
    let button = egui::Button::selectable(chosen, (text, egui::Atom::grow()))
        .truncate()
        .min_size(egui::vec2(ui.available_width(), 26.0));
    ui.add(button)
}

/// The chats, newest first; only the visible ones are drawn.
fn threads_ui(window: &mut Window, ui: &mut egui::Ui) {
    let mut open = None;
    let mut remove = None;
    for (index, thread) in window.state.threads.iter().enumerate() {
        let place = egui::Rect::from_min_size(ui.cursor().min, egui::vec2(10.0, 26.0));
        if !ui.is_rect_visible(place) {
            ui.allocate_space(egui::vec2(10.0, 26.0));
            continue;
        }
        let chosen = window.state.chat.thread.as_ref() == Some(&thread.id);
        let response = entry(ui, chosen, &thread.title);
        if response.clicked() {
            open = Some(index);
        }
        response.context_menu(|ui| {
            if ui.button("Rename …").clicked() {
                window.view.naming = Some(Naming::of_chat(&thread.id, &thread.title));
                ui.close();
            }
            if ui.button("Remove …").clicked() {
                remove = Some(Removal {
                    what: format!("the chat “{}”", thread.title),
                    command: Command::RemoveThread {
                        thread: thread.id.clone(),
                    },
                    meaning: Removal::FOR_GOOD,
                    closes_chat: chosen,
                });
                ui.close();
            }
        });
    }
    if let Some(index) = open {
        let thread = window.state.threads[index].clone();
        if let Some(running) = window.state.chat.running() {
            // Its answer is kept as far as it has come.
            window.stop(running);
        }
        let (job, command) = window.state.open_thread(&thread);
        window.link.send(job, command);
        window.view.chat = Default::default();
        window.view.screen = Screen::Chat;
        window.view.focus = Some(Field::Question);
    }
    if remove.is_some() {
        window.view.removing = remove;
    }
}

/// Running work and messages.
fn work_ui(window: &mut Window, ui: &mut egui::Ui) {
    ui.add_space(4.0);
    notices_ui(window, ui);
    let mut stop: Option<JobId> = None;
    for (id, job) in window.state.shown_jobs() {
        ui.horizontal(|ui| {
            ui.spinner();
            if job.purpose.can_stop() && ui.button("Stop").clicked() {
                stop = Some(id);
            }
            match &job.progress {
                Some(step) if step.total > 0 => {
                    ui.add(
                        egui::ProgressBar::new(step.done as f32 / step.total as f32)
                            .desired_width(180.0)
                            .text(counted(step)),
                    );
                    let left = step.eta_ms.map_or_else(String::new, time_left);
                    ui.add(egui::Label::new(format!("{}{left}", step.stage.label())).truncate());
                }
                _ => {
                    ui.add(egui::Label::new(&job.title).truncate());
                }
            }
        });
    }
    if let Some(job) = stop {
        window.stop(job);
    }
    let line = window.state.status.as_ref().map_or_else(
        || "Opening the workspace …".to_owned(),
        |status| status.coverage.in_stock(),
    );
    ui.allocate_ui_with_layout(
        egui::vec2(
            ui.available_width(),
            ui.text_style_height(&egui::TextStyle::Small),
        ),
        egui::Layout::right_to_left(egui::Align::Center),
        |ui| {
            if let Some(report) = &window.state.sync.report
                && sync_ui::line_ui(report, ui)
            {
                window.show(Screen::Sync);
            }
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                ui.add(egui::Label::new(theme::small(line)).truncate());
            });
        },
    );
    ui.add_space(3.0);
}

fn notices_ui(window: &mut Window, ui: &mut egui::Ui) {
    let mut dismissed = None;
    for (index, notice) in window.state.notices.iter().enumerate() {
        let palette = theme::palette(ui);
        let colour = if notice.is_problem {
            palette.problem
        } else {
            palette.accent
        };
        ui.horizontal_top(|ui| {
            let (bar, _) = ui.allocate_exact_size(egui::vec2(4.0, 18.0), egui::Sense::hover());
            ui.painter().rect_filled(bar, 2.0, colour);
            ui.scope(|ui| {
                ui.set_max_width(ui.available_width() - 90.0);
                ui.add(egui::Label::new(&notice.text).wrap());
            });
            if ui
                .small_button("Dismiss")
                .on_hover_text("Hide this message")
                .clicked()
            {
                dismissed = Some(index);
            }
        });
    }
    if let Some(index) = dismissed {
        window.state.notices.remove(index);
    }
}

/// How much is done, in the unit of its stage.
fn counted(step: &Progress) -> String {
    match step.stage {
        Stage::Model | Stage::Download => format!("{} of {}", size(step.done), size(step.total)),
        _ => format!("{} of {}", step.done, step.total),
    }
}

fn time_left(ms: u64) -> String {
    match ms / 1000 {
        0..=1 => String::new(),
        seconds @ 2..=90 => format!(", {seconds} s left"),
        seconds => format!(", {} min left", seconds.div_ceil(60)),
    }
}

/// Asks before something is removed, and for a new title.
fn removal_ui(window: &mut Window, ui: &mut egui::Ui) {
    if let Some(removal) = &window.view.removing {
        let (what, meaning) = (removal.what.clone(), removal.meaning);
        let mut decision = None;
        let modal = egui::Modal::new(egui::Id::unique("remove")).show(ui.ctx(), |ui| {
            ui.set_max_width(420.0);
            ui.label(RichText::new(format!("Remove {what}?")).strong());
            ui.label(meaning);
            ui.add_space(theme::GAP / 2.0);
            ui.horizontal(|ui| {
                if ui.add(theme::primary(ui, "Remove")).clicked() {
                    decision = Some(true);
                }
                if ui.button("Keep").clicked() {
                    decision = Some(false);
                }
            });
        });
        if modal.should_close() {
            decision = Some(false);
        }
        if let Some(confirmed) = decision
            && let Some(removal) = window.view.removing.take()
            && confirmed
        {
            if removal.closes_chat {
                window.new_chat();
            }
            window.send(Purpose::Change, "Removing", removal.command);
        }
    }
    history_ui::restoring_ui(window, ui);
    workspace_ui::naming_ui(window, ui);
}

/// A failure in the place of what it kept from being shown.
pub(super) fn failure_ui(ui: &mut egui::Ui, failure: &crate::message::Failure) {
    let colour = theme::palette(ui).problem;
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal_top(|ui| {
            ui.label(RichText::new("!").strong().color(colour));
            ui.add(egui::Label::new(words(failure)).wrap());
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_rounded_to_what_matters() {
        assert_eq!(time_left(900), "");
        assert_eq!(time_left(42_000), ", 42 s left");
        assert_eq!(time_left(100_000), ", 2 min left");
    }
}
