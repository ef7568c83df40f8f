//! Questions that another laptop answers: the choice of one, how far it is, and whether this one answers for others.
//!
//! Start at [`choice_ui`], [`asked_ui`] and [`lend_ui`].

use eframe::egui;

use super::{Purpose, Window, theme};
use crate::message::{AskedReport, AskedStage, Command};

const HERE: &str = "this laptop";

/// What was clicked under a question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nobody wants to know any more.
    Withdraw,
    /// To ask again.
    Again,
}

/// Which laptop answers the next question; nothing where there is no choice.
pub(super) fn choice_ui(window: &mut Window, ui: &mut egui::Ui) {
    let lenders = window.state.sync.lenders();
    if lenders.is_empty() {
        return;
    }
    let chosen = window.state.sync.lender();
    let name = chosen.map_or_else(|| HERE.to_owned(), |(_, name)| name);
    let wanted = &mut window.state.sync.answers_on;
    ui.horizontal(|ui| {
        ui.label(theme::small("Answer on"));
        let shown = egui::ComboBox::from_id_salt("answers on")
            .selected_text(theme::small(name))
            .show_ui(ui, |ui| {
                ui.selectable_value(wanted, None, HERE);
                for (id, name) in lenders {
                    ui.selectable_value(wanted, Some(id), name);
                }
            });
        shown
            .response
            .on_hover_text(
                "Another laptop answers where its user allows that in its settings. While it is away, the question waits.",
            )
            .accessible_name("Laptop that answers");
    });
}

/// How far another laptop is with a question.
pub(super) fn asked_ui(asked: &AskedReport, ui: &mut egui::Ui) -> Option<Wanted> {
    let line = asked.line()?;
    ui.horizontal_wrapped(|ui| {
        if asked.state == AskedStage::Failed {
            ui.colored_label(theme::palette(ui).warning, line);
        } else {
            ui.label(theme::small(line));
        }
        match asked.state {
            AskedStage::Waiting | AskedStage::Answering => ui
                .small_button("Withdraw")
                .on_hover_text("Take the question back")
                .clicked()
                .then_some(Wanted::Withdraw),
            AskedStage::Failed | AskedStage::Withdrawn => {
                let again = ui.small_button("Ask again").clicked();
                again.then_some(Wanted::Again)
            }
            AskedStage::Answered => None,
        }
    })
    .inner
}

/// Whether this laptop answers for the others. Gives what it is to be, where that was changed.
pub(super) fn lend_ui(lends: bool, ui: &mut egui::Ui) -> Option<bool> {
    let mut wanted = lends;
    let toggle = ui
        .checkbox(&mut wanted, "Answer questions of the other laptops here")
        .on_hover_text("With the chat model of this laptop, while this window is open and you ask nothing yourself.");
    toggle.changed().then_some(wanted)
}

impl Window {
    /// Takes back what the open chat asks of other laptops.
    pub(super) fn withdraw(&mut self) {
        if let Some(thread) = self.state.chat.thread.clone() {
            self.send(Purpose::Refresh, "", Command::Withdraw { thread });
        }
    }
}
