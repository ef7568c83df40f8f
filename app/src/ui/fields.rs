//! Fields that several screens share: one line of text with a name, and a value on a slider.
//!
//! Start at [`line`] and [`slider`].

use eframe::egui::{self, Key};

use super::{Field, View};

/// Width that takes all the room there is.
pub(super) const FULL: f32 = f32::INFINITY;

/// A line of text with the name that people and screen readers know it by.
pub(super) fn line(
    ui: &mut egui::Ui,
    text: &mut String,
    name: &str,
    hint: &'static str,
    width: f32,
) -> egui::Response {
    let field = egui::TextEdit::singleline(text)
        .hint_text(hint)
        .desired_width(width);
    ui.add(field).accessible_name(name)
}

/// Whether Enter was pressed in a line of text.
pub(super) fn entered(ui: &egui::Ui, line: &egui::Response) -> bool {
    line.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter))
}

/// A value with its name before it. Gives whether one has been chosen: a drag has ended, or a number was typed.
pub(super) fn slider(ui: &mut egui::Ui, name: &str, help: &str, slider: egui::Slider<'_>) -> bool {
    let label = ui.label(name).on_hover_text(help);
    // What the file holds beyond the slider's ends stays until a hand moves it.
    let slider = slider.clamping(egui::SliderClamping::Edits);
    let response = ui.add(slider).labelled_by(label.id);
    response.drag_stopped() || (response.changed() && !response.dragged())
}

impl View {
    /// Gives the caret to a field that was asked for it.
    pub(super) fn give_caret(&mut self, field: Field, response: &egui::Response) {
        if self.focus.take_if(|wanted| *wanted == field).is_some() {
            response.request_focus();
        }
    }
}
