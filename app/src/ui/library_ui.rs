//! The documents: bringing them in, what became of each file, opening and removing them.
//!
//! Start at [`library_ui`].

use eframe::egui::{self, RichText};

use super::{Field, Pick, Removal, Window, fields, theme};
use crate::message::{Command, DocumentSummary, FileOutcome};
use crate::state::{Opening, Purpose};
use crate::units::{self, size};

/// Files that could not be read, shown before the list; the rest are counted.
const FAILURES_SHOWN: usize = 5;

/// Draws the documents.
pub(super) fn library_ui(window: &mut Window, ui: &mut egui::Ui) {
    ui.add_space(8.0);
    ui.label(RichText::new("Documents").heading().strong());
    ui.label(theme::small(
        "Markdown, text, HTML, PDF, DOCX, PPTX, XLSX, CSV and source code. The files stay where they are; Satchel keeps an encrypted copy.",
    ));
    ui.add_space(theme::GAP / 2.0);
    ui.add_enabled_ui(matches!(window.state.opening, Opening::Done), |ui| {
        import_ui(window, ui);
    });
    failures_ui(window, ui);
    ui.add_space(theme::GAP / 2.0);
    list_ui(window, ui);
}

fn import_ui(window: &mut Window, ui: &mut egui::Ui) {
    let mut wanted = false;
    ui.horizontal(|ui| {
        let room = (ui.available_width() - 90.0).max(120.0);
        let hint = "Path of a folder or file, or drop it here";
        let field = fields::line(ui, &mut window.view.path, "Path to import", hint, room);
        window.view.give_caret(Field::Path, &field);
        let entered = fields::entered(ui, &field);
        let filled = !window.view.path.trim().is_empty();
        let clicked = ui
            .add_enabled(filled, theme::primary(ui, "Import"))
            .clicked();
        wanted = filled && (clicked || entered);
    });
    if wanted {
        window.import_typed();
    }
    ui.horizontal_wrapped(|ui| {
        if ui
            .button("Choose folders …")
            .on_hover_text("Ctrl+O")
            .clicked()
        {
            window.pick(Pick::Folder);
        }
        if ui.button("Choose files …").clicked() {
            window.pick(Pick::Files);
        }
        let has_documents = !window.state.library.documents.is_empty();
        if has_documents
            && ui
                .button("Look for changes")
                .on_hover_text("Reads again what has changed on disk since the last import")
                .clicked()
        {
            refresh(window);
        }
        if !has_documents && ui.button("Try the sample").clicked() {
            window.send(
                Purpose::Import,
                "Importing the sample",
                Command::ImportSample,
            );
        }
        if waits_for_embeddings(window)
            && ui
                .button("Finish indexing")
                .on_hover_text("Some passages can be found by words only until they are embedded")
                .clicked()
        {
            window.send(Purpose::Import, "Embedding passages", Command::Index);
        }
    });
}

fn waits_for_embeddings(window: &Window) -> bool {
    let status = window.state.status.as_ref();
    !window.state.is_busy(Purpose::Import)
        && status.is_some_and(|status| {
            let coverage = &status.coverage;
            status.embedder.is_some()
                && (coverage.embedded < coverage.passages || coverage.indexed < coverage.documents)
        })
}

/// Imports every known file again: unchanged ones cost a look at their time. Never the folders around them,
/// which may hold what nobody chose.
fn refresh(window: &mut Window) {
    let documents = &window.state.library.documents;
    let paths = documents
        .iter()
        // The same path here is another file than the one of the other laptop.
        .filter(|document| !document.elsewhere)
        .filter_map(|document| document.path.as_deref().map(std::path::PathBuf::from))
        .collect();
    window.import_as("Looking for changes", paths);
}

fn failures_ui(window: &Window, ui: &mut egui::Ui) {
    let state = &window.state;
    // While an import runs its own list grows; before and after, the workspace remembers.
    let kept = state.status.as_ref().map(|status| &status.failures);
    let failures = match kept {
        Some(kept) if !state.is_busy(Purpose::Import) => kept,
        _ => &state.library.failed,
    };
    if failures.is_empty() {
        return;
    }
    ui.add_space(theme::GAP / 2.0);
    let colour = theme::palette(ui).problem;
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.label(
            RichText::new(format!("{} files could not be read", failures.len()))
                .strong()
                .color(colour),
        );
        egui::ScrollArea::vertical()
            .id_salt("failures")
            .max_height(FAILURES_SHOWN as f32 * 22.0)
            .show_rows(ui, 20.0, failures.len(), |ui, rows| {
                for report in &failures[rows] {
                    if let FileOutcome::Failed { reason } = &report.outcome {
                        let name = report.path.file_name().unwrap_or(report.path.as_os_str());
                        ui.add(
                            egui::Label::new(format!("{}: {reason}", name.to_string_lossy()))
                                .truncate(),
                        )
                        .on_hover_text(format!("{}\n{reason}", report.path.display()));
                    }
                }
            });
    });
}

fn list_ui(window: &mut Window, ui: &mut egui::Ui) {
    let library = &mut window.state.library;
    let count = library.documents.len();
    if count == 0 {
        return;
    }
    let mut shown = Vec::new();
    ui.horizontal(|ui| {
        let hint = "Filter by title or path";
        fields::line(ui, &mut library.filter, "Filter documents", hint, 260.0);
        shown = library.shown();
        ui.label(theme::small(if shown.len() == count {
            units::count(count, "document")
        } else {
            format!("{} of {count} documents", shown.len())
        }));
    });
    let mut opened = None;
    let mut removed = None;
    egui::ScrollArea::vertical()
        .id_salt("documents")
        .auto_shrink(false)
        .show_rows(ui, theme::ROW, shown.len(), |ui, rows| {
            for index in &shown[rows] {
                let document = &window.state.library.documents[*index];
                ui.push_id(&document.id, |ui| match row_ui(document, ui) {
                    Some(Row::Open) => opened = Some(document.id.clone()),
                    Some(Row::Remove) => removed = Some(removal(document)),
                    None => {}
                });
            }
        });
    if let Some(document) = opened {
        window.read(&document);
    }
    if removed.is_some() {
        window.view.removing = removed;
    }
}

enum Row {
    Open,
    Remove,
}

fn removal(document: &DocumentSummary) -> Removal {
    Removal {
        what: format!("“{}” from Satchel (the file on disk stays)", document.title),
        command: Command::RemoveDocuments {
            documents: vec![document.id.clone()],
        },
        meaning: Removal::FOR_GOOD,
        closes_chat: false,
    }
}

fn row_ui(document: &DocumentSummary, ui: &mut egui::Ui) -> Option<Row> {
    let mut clicked = None;
    ui.allocate_ui_with_layout(
        egui::vec2(
            ui.available_width(),
            theme::ROW - ui.spacing().item_spacing.y,
        ),
        egui::Layout::right_to_left(egui::Align::Center),
        |ui| {
            if ui
                .small_button("Remove")
                .on_hover_text("Remove it from Satchel; the file on disk stays")
                .clicked()
            {
                clicked = Some(Row::Remove);
            }
            let palette = theme::palette(ui);
            let (state, colour) = if document.indexed {
                ("searchable", palette.good)
            } else {
                ("waiting", palette.warning)
            };
            ui.add_sized(
                [86.0, 18.0],
                egui::Label::new(RichText::new(state).small().color(colour)),
            );
            ui.add_sized(
                [70.0, 18.0],
                egui::Label::new(theme::small(size(
                    document.original_bytes.max(document.text_bytes),
                ))),
            );
            ui.add_sized([52.0, 18.0], egui::Label::new(theme::small(kind(document))));
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                let link = egui::Button::new(&document.title).frame(false).truncate();
                let response = ui.add(link);
                let response = match (&document.path, &document.note) {
                    (Some(path), Some(note)) => response.on_hover_text(format!("{path}\n{note}")),
                    (Some(path), None) => response.on_hover_text(path),
                    (None, Some(note)) => response.on_hover_text(note),
                    (None, None) => response,
                };
                if response.clicked() {
                    clicked = Some(Row::Open);
                }
                if document.note.is_some() {
                    ui.label(RichText::new("note").small().color(palette.warning));
                }
            });
        },
    );
    clicked
}

/// The ending of the file, or of its media type.
fn kind(document: &DocumentSummary) -> String {
    let path = document.path.as_deref().map(std::path::Path::new);
    path.and_then(|path| path.extension())
        .map(|ending| ending.to_string_lossy().to_uppercase())
        .unwrap_or_else(|| {
            document
                .media_type
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_uppercase()
        })
}
