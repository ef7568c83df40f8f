//! Two laptops become a pair: the code, the four pictures, and the answer.
//!
//! Start at [`joining_ui`] on the new laptop and [`letting_in_ui`] on the other one.

use eframe::egui::{self, RichText};

use super::sync_ui::{Draft, Wanted, problem_ui, sentence, wide_card};
use super::{fields, theme};
use crate::message::{Picture, Role};
use crate::state::sync::{Joining, LettingIn};

/// How far this laptop is with becoming a member.
pub(super) fn joining_ui(joining: &Joining, ui: &mut egui::Ui) -> Option<Wanted> {
    let mut wanted = None;
    wide_card(ui, |ui| {
        match (&joining.code, &joining.pictures, &joining.joined) {
            (_, _, Some(name)) => {
                ui.label(RichText::new(format!("Joined “{name}”")).strong());
                waiting_line(ui, "Documents arrive …");
                let share = joining.progress.as_ref().map_or(0.0, |progress| {
                    progress.done as f32 / progress.total.max(1) as f32
                });
                ui.add(egui::ProgressBar::new(share).desired_width(320.0))
                    .accessible_name("Documents arrive");
            }
            (_, Some(pictures), None) => {
                ui.label(
                    RichText::new("Does the other laptop show the same four pictures?").strong(),
                );
                pictures_ui(pictures, ui);
                sentence(
                    ui,
                    "In the same order. If they differ, somebody interferes: cancel here and refuse there.",
                );
                waiting_line(ui, "Waiting for the approval on the other laptop …");
            }
            (Some(code), None, None) => {
                ui.label(RichText::new("Type this code on the other laptop").strong());
                ui.add_space(4.0);
                ui.label(RichText::new(code).monospace().size(26.0).strong());
                ui.add_space(4.0);
                sentence(
                    ui,
                    "There: Laptops & sync, “Add a laptop”. It is good for one try within ten minutes.",
                );
                waiting_line(ui, "Waiting for the other laptop …");
            }
            (None, None, None) => waiting_line(ui, "Asking the edge node for a code …"),
        }
        ui.add_space(4.0);
        let (label, help) = if joining.joined.is_some() {
            (
                "Open it now",
                "What has not come yet comes while it is open",
            )
        } else {
            ("Cancel", "Nothing is changed")
        };
        if ui.button(label).on_hover_text(help).clicked() {
            wanted = Some(Wanted::StopJoining);
        }
    });
    wanted
}

fn waiting_line(ui: &mut egui::Ui, text: &str) {
    ui.horizontal(|ui| {
        ui.spinner();
        sentence(ui, text);
    });
}

/// Four pictures with their names below them; the names alone where no font of this desktop has the pictures.
fn pictures_ui(pictures: &[Picture], ui: &mut egui::Ui) {
    let font = egui::FontId::proportional(36.0);
    let drawable = ui.fonts_mut(|fonts| {
        let has = |picture: &Picture| fonts.has_glyphs(&font, &picture.symbol);
        pictures.iter().all(has)
    });
    ui.add_space(4.0);
    ui.horizontal_wrapped(|ui| {
        for (index, picture) in pictures.iter().enumerate() {
            if drawable {
                let tile = egui::vec2(104.0, 66.0);
                let down = egui::Layout::top_down(egui::Align::Center);
                ui.allocate_ui_with_layout(tile, down, |ui| {
                    ui.set_min_width(tile.x);
                    ui.label(RichText::new(&picture.symbol).font(font.clone()));
                    ui.label(&picture.name);
                });
            } else {
                if index > 0 {
                    ui.label(theme::small("then"));
                }
                ui.label(RichText::new(&picture.name).size(22.0).strong());
            }
        }
    });
    ui.add_space(4.0);
}

/// The code of another laptop, then who it is.
pub(super) fn letting_in_ui(
    draft: &mut Draft,
    letting_in: Option<&LettingIn>,
    failure: Option<&str>,
    ui: &mut egui::Ui,
) -> Option<Wanted> {
    let mut wanted = None;
    wide_card(ui, |ui| {
        ui.label(RichText::new("Add a laptop").strong());
        match letting_in {
            None => {
                sentence(
                    ui,
                    "On the new one: Laptops & sync, “Show a code”, with the same edge node.",
                );
                ui.horizontal_wrapped(|ui| {
                    let hint = "4-anchor-river-stone";
                    let field = fields::line(ui, &mut draft.code, "Code shown there", hint, 240.0);
                    let entered = fields::entered(ui, &field);
                    role_ui("Role of the new laptop", "new", &mut draft.role, ui);
                    let filled = !draft.code.trim().is_empty();
                    let button = theme::primary(ui, "Add");
                    if ui.add_enabled(filled, button).clicked() || (entered && filled) {
                        wanted = Some(Wanted::LetIn);
                    }
                });
                ui.label(theme::small(may(draft.role)));
                problem_ui(ui, failure);
            }
            Some(LettingIn {
                request: Some(request),
                is_answered,
                ..
            }) => {
                sentence(
                    ui,
                    format!(
                        "“{}” of {} wants to become a member. Does it show these four pictures, in this order?",
                        request.label, request.user
                    ),
                );
                pictures_ui(&request.pictures, ui);
                ui.horizontal(|ui| {
                    ui.add_enabled_ui(!is_answered, |ui| {
                        let button = theme::primary(ui, "They match: add");
                        if ui.add(button).clicked() {
                            wanted = Some(Wanted::Answer(true));
                        }
                        if ui.button("Refuse").clicked() {
                            wanted = Some(Wanted::Answer(false));
                        }
                    });
                    if *is_answered {
                        ui.spinner();
                    }
                });
            }
            Some(_) => {
                waiting_line(ui, "Looking for the laptop that shows this code …");
                if ui.button("Cancel").clicked() {
                    wanted = Some(Wanted::StopLettingIn);
                }
            }
        }
    });
    wanted
}

/// What a laptop may do, in a word.
pub(super) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Writer => "writer",
        Role::Reader => "reader",
    }
}

fn may(role: Role) -> &'static str {
    match role {
        Role::Owner => "An owner reads, writes, and says who is a member.",
        Role::Writer => "A writer reads and changes documents and chats.",
        Role::Reader => "A reader reads; what it writes reaches nobody.",
    }
}

/// A choice of what a laptop may do. Gives whether another one was chosen.
pub(super) fn role_ui(name: &str, id: &str, role: &mut Role, ui: &mut egui::Ui) -> bool {
    let before = *role;
    let shown = egui::ComboBox::from_id_salt(("role", id))
        .width(86.0)
        .selected_text(role_word(*role))
        .show_ui(ui, |ui| {
            for one in [Role::Owner, Role::Writer, Role::Reader] {
                ui.selectable_value(role, one, role_word(one))
                    .on_hover_text(may(one));
            }
        });
    shown
        .response
        .on_hover_text("What this laptop may do")
        .accessible_name(name);
    *role != before
}
