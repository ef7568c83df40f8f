//! What is shown instead of the workspace while it is locked or cannot be opened.
//!
//! Start at [`passphrase_ui`] and [`failure_ui`].

use eframe::egui::{self, Key, RichText};
use satchel_sync::keys::Passphrase;

use super::{Window, theme};
use crate::message::Failure;
use crate::state::{Opening, words};

/// Asks for the passphrase.
pub(super) fn passphrase_ui(window: &mut Window, ui: &mut egui::Ui) {
    let Some(prompt) = &mut window.view.passphrase else {
        return;
    };
    let mut answer = None;
    ui.vertical_centered(|ui| {
        ui.set_max_width(360.0);
        ui.add_space(ui.available_height() / 3.0);
        ui.label(RichText::new("Satchel").heading().strong());
        ui.add_space(theme::GAP);
        let label = ui.label(&prompt.words);
        let field = ui
            .add(
                egui::TextEdit::singleline(&mut prompt.typed)
                    .password(true)
                    .desired_width(f32::INFINITY),
            )
            .labelled_by(label.id);
        let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        if !entered {
            field.request_focus();
        }
        ui.add_space(theme::GAP / 2.0);
        if (ui.add(theme::primary(ui, "Unlock")).clicked() || entered) && !prompt.typed.is_empty() {
            answer = Some(Some(Passphrase::new(std::mem::take(&mut prompt.typed))));
        }
        if ui.button("Give up").clicked() {
            answer = Some(None);
        }
    });
    if let Some(answer) = answer
        && let Some(prompt) = window.view.passphrase.take()
    {
        // Nobody waits any more where opening was given up.
        drop(prompt.reply.send(answer));
    }
}

/// Says why the workspace cannot be opened, and offers to try again.
pub(super) fn failure_ui(window: &mut Window, ui: &mut egui::Ui, failure: &Failure) {
    ui.vertical_centered(|ui| {
        ui.set_max_width(520.0);
        ui.add_space(ui.available_height() / 4.0);
        ui.label(
            RichText::new("Your documents cannot be opened")
                .heading()
                .strong(),
        );
        ui.add_space(theme::GAP);
        ui.label(words(failure));
        ui.add_space(theme::GAP);
        if ui.add(theme::primary(ui, "Try again")).clicked() {
            window.state.opening = Opening::Running;
            window.link.retry();
        }
        if window.link.can_go_back() && ui.button("Back to the workspace before").clicked() {
            window.state.opening = Opening::Running;
            window.link.go_back();
        }
    });
}
