//! What was changed on two laptops at once: who, when, and the way to look at it.
//!
//! Start at [`conflicts_ui`].

use eframe::egui::{self, RichText};

use super::sync_ui::{sentence, wide_card};
use super::theme;
use crate::message::{Author, ConflictReport, Meeting, NameChoice};
use crate::units::{time, time_or_unknown};

/// Draws what met. Gives the document whose versions are wanted.
pub(super) fn conflicts_ui(report: Option<&ConflictReport>, ui: &mut egui::Ui) -> Option<String> {
    let Some(report) = report else {
        ui.label(theme::small("Looking …"));
        return None;
    };
    if report.is_empty() {
        ui.label(theme::small(format!(
            "Nothing since {}.",
            time(report.since_ms)
        )));
    } else {
        ui.label(theme::small(format!(
            "Since {}. Everything was kept, and joined.",
            time(report.since_ms)
        )));
    }
    let mut wanted = None;
    for (index, met) in report.documents.iter().enumerate() {
        ui.push_id(("met", index), |ui| {
            if meeting_ui(met, ui) {
                wanted = Some(met.document.clone());
            }
        });
    }
    for choice in &report.names {
        name_ui(choice, ui);
    }
    for chat in &report.chats {
        wide_card(ui, |ui| {
            let count = chat.branches.len();
            ui.label(RichText::new(format!("Chat “{}”", chat.title)).strong());
            sentence(
                ui,
                format!("It went on in {count} ways; the newest one is shown."),
            );
            for end in &chat.branches {
                let words = format!("{} · {}", end.author.name(), time(end.at_ms));
                ui.label(theme::small(words));
            }
            let command = format!("satchel chat --show {} --branch 2", &chat.chat[..12]);
            ui.label(theme::small(command));
        });
    }
    if report.unreadable > 0 {
        sentence(
            ui,
            format!(
                "{} documents or chats could not be looked at.",
                report.unreadable
            ),
        );
    }
    wanted
}

fn meeting_ui(met: &Meeting, ui: &mut egui::Ui) -> bool {
    wide_card(ui, |ui| {
        ui.label(RichText::new(&met.title).strong());
        for side in &met.sides {
            ui.label(theme::small(format!(
                "version {} · {} · {}",
                side.version,
                Author::names(&side.authors),
                time_or_unknown(side.at_ms)
            )));
        }
        let palette = theme::palette(ui);
        let (words, colour) = if met.same_lines {
            (
                "They changed the same lines: read what became of them.",
                palette.warning,
            )
        } else {
            ("They changed different lines.", palette.good)
        };
        sentence(ui, RichText::new(words).color(colour));
        ui.button("Show its versions")
            .accessible_name(format!("Show the versions of {}", met.title))
            .clicked()
    })
}

fn name_ui(choice: &NameChoice, ui: &mut egui::Ui) {
    wide_card(ui, |ui| {
        ui.label(RichText::new(format!("Name of a {}", choice.what)).strong());
        for value in &choice.values {
            let in_force = if value.in_force { " · in force" } else { "" };
            sentence(
                ui,
                format!(
                    "“{}” · {} · {}{in_force}",
                    value.value,
                    value.author.name(),
                    time_or_unknown(value.at_ms)
                ),
            );
        }
    });
}
