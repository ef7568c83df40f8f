//! The open document, with the cited place highlighted.
//!
//! Shows the text that Satchel read, never the file itself. Start at [`document_ui`].

use eframe::egui::{self, RichText};

use super::text_view::{Form, TextView};
use super::{Window, history_ui, shell, theme};
use crate::state::Reader;

/// What is laid out of the open document, and of which one.
#[derive(Default)]
pub(super) struct DocumentView {
    shown: Option<(u64, String)>,
    text: Option<TextView>,
}

impl DocumentView {
    /// Lays out what was opened last; goes to its place once.
    fn follow(&mut self, reader: &Reader) {
        let Some(document) = &reader.document else {
            return;
        };
        let id = &document.document.id;
        if self
            .shown
            .as_ref()
            .is_some_and(|(visit, shown)| *visit == reader.visit && shown == id)
        {
            return;
        }
        let mut text = TextView::new(
            if document.is_markdown {
                Form::Markdown
            } else {
                Form::Plain
            },
            false,
        );
        text.grow(&document.text);
        if let Some(place) = &document.place {
            text.go_to(place.clone());
        }
        self.text = Some(text);
        self.shown = Some((reader.visit, id.clone()));
    }

    /// Takes in a text that has arrived in place of the one that is laid out.
    fn replace(&mut self, before: &str, reader: &Reader) {
        if let (Some(text), Some(document)) = (&mut self.text, &reader.document) {
            text.replace(before, &document.text);
        }
    }
}

/// Draws the open document.
pub(super) fn document_ui(window: &mut Window, ui: &mut egui::Ui) {
    let Some(reader) = &mut window.state.reader else {
        return;
    };
    if let Some(before) = reader.before.take() {
        window.view.document.replace(&before, reader);
    }
    if reader.is_settled() {
        window.view.document.follow(reader);
    }
    let (mut close, mut toggle) = (false, false);
    ui.add_space(6.0);
    ui.horizontal_top(|ui| {
        close = ui.button("Close").on_hover_text("Esc").clicked();
        if let Some(document) = &reader.document {
            toggle = ui
                .add(egui::Button::selectable(reader.past.is_some(), "History"))
                .on_hover_text("Earlier versions, who wrote them and when")
                .clicked();
            ui.vertical(|ui| {
                ui.add(
                    egui::Label::new(RichText::new(&document.document.title).strong()).truncate(),
                );
                let page = document
                    .page
                    .map_or_else(String::new, |page| format!("page {page} · "));
                let path = document.document.path.as_deref().unwrap_or("no file");
                ui.add(egui::Label::new(theme::small(format!("{page}{path}"))).truncate())
                    .on_hover_text(path);
            });
        } else if reader.failure.is_none() {
            ui.label("Opening …");
        }
    });
    ui.separator();
    if let Some(failure) = &reader.failure {
        shell::failure_ui(ui, failure);
    }
    let wanted = reader.past.as_ref().and_then(|past| {
        let wanted = history_ui::history_ui(past, ui);
        ui.separator();
        wanted
    });
    let is_comparing = reader
        .past
        .as_ref()
        .is_some_and(|past| past.chosen.is_some());
    if !is_comparing
        && let (Some(document), Some(text)) = (&reader.document, &mut window.view.document.text)
    {
        let changed_visit = window.view.document.shown.as_ref().map(|(visit, _)| *visit);
        egui::ScrollArea::vertical()
            .id_salt(("document", &document.document.id, changed_visit))
            .auto_shrink(false)
            .show(ui, |ui| {
                ui.set_max_width(ui.available_width().min(theme::COLUMN));
                if document.text.trim().is_empty() {
                    ui.label("There is no text in this document.");
                }
                text.show(ui, &document.text);
                ui.add_space(theme::GAP * 2.0);
            });
    }
    if toggle {
        let wishes = window.state.toggle_past();
        window.wish(wishes);
    }
    if let Some(wanted) = wanted {
        history_ui::carry_out(window, wanted);
    }
    if close {
        window.state.reader = None;
        window.view.document = DocumentView::default();
    }
}
