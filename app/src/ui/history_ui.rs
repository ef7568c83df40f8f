//! Earlier versions of the open document: who wrote them and when, how one differs from now, and bringing it back.
//!
//! What came and what went is told by a sign as well as by colour. Start at [`history_ui`].

use eframe::egui::{self, RichText};

use super::{Window, shell, theme};
use crate::message::{DifferenceLine, DifferenceReport, VersionSummary};
use crate::state::{Past, SessionState};
use crate::units::{time, time_or_unknown};

/// Height of the list of versions, in points.
const LIST_HEIGHT: f32 = 170.0;
/// Lines of a difference that are drawn; the rest are counted.
const LINES_SHOWN: usize = 400;
/// Bytes of a line that are drawn: a document may be one line.
const LINE_BYTES: usize = 2000;

/// A version that is about to be brought back.
pub(super) struct Restoring {
    document: String,
    version: VersionSummary,
}

/// What was clicked.
pub(super) enum Wanted {
    Choose(String),
    BringBack(String, VersionSummary),
}

/// Draws the versions. The text of the document is drawn below only while none is chosen.
pub(super) fn history_ui(past: &Past, ui: &mut egui::Ui) -> Option<Wanted> {
    let mut wanted = None;
    if let Some(failure) = &past.failure {
        shell::failure_ui(ui, failure);
    }
    let Some(report) = &past.report else {
        if past.failure.is_none() {
            ui.label("Looking for earlier versions …");
        }
        return None;
    };
    let older = report.total - report.versions.len();
    egui::ScrollArea::vertical()
        .id_salt(("versions", &report.document))
        .max_height(LIST_HEIGHT)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            for version in &report.versions {
                let chosen = past.chosen.as_ref() == Some(&version.id);
                if version_ui(version, chosen, ui).clicked() {
                    wanted = Some(Wanted::Choose(version.id.clone()));
                }
            }
            if older > 0 {
                ui.label(theme::small(format!("{older} older versions")));
            }
        });
    let chosen = past.chosen.as_ref();
    let version = chosen.and_then(|id| report.versions.iter().find(|one| &one.id == id));
    let Some(version) = version else {
        ui.label(theme::small("Choose one to see how it differs from now."));
        return wanted;
    };
    if version.is_now {
        ui.label("This is the present text.");
        return wanted;
    }
    ui.horizontal_wrapped(|ui| {
        let ready = past.difference.as_ref();
        let differs = ready.is_some_and(|report| !report.hunks.is_empty());
        let button = theme::primary(ui, "Bring back …");
        if ui
            .add_enabled(differs, button)
            .on_hover_text("Makes it the present text, as a new version")
            .clicked()
        {
            wanted = Some(Wanted::BringBack(report.document.clone(), version.clone()));
        }
        match ready {
            None => ui.label("Comparing …"),
            Some(_) if !differs => ui.label("Its text is the same as now."),
            Some(difference) => ui.label(theme::small(format!(
                "From version {} to now, lines: +{}, −{}",
                version.number, difference.added, difference.removed
            ))),
        };
    });
    if let Some(difference) = &past.difference {
        difference_ui(difference, ui);
    }
    wanted
}

fn version_ui(version: &VersionSummary, chosen: bool, ui: &mut egui::Ui) -> egui::Response {
    let now = if version.is_now { " · now" } else { "" };
    let words = format!(
        "{} · {} · {} · {}{now}",
        version.number,
        version.who(),
        time_or_unknown(version.at_ms),
        version.change(),
    );
    let button = egui::Button::selectable(chosen, (words, egui::Atom::grow()))
        .truncate()
        .min_size(egui::vec2(ui.available_width(), 24.0));
    let hint = match version.since_ms {
        Some(since) if version.since_ms != version.at_ms => format!("Begun {}", time(since)),
        _ => format!("Version {}", version.id),
    };
    ui.add(button).on_hover_text(hint)
}

fn difference_ui(difference: &DifferenceReport, ui: &mut egui::Ui) {
    ui.separator();
    let total: usize = difference.hunks.iter().map(|hunk| hunk.lines.len()).sum();
    egui::ScrollArea::vertical()
        .id_salt(("difference", &difference.document, &difference.to.id))
        .auto_shrink(false)
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 1.0;
            let mut left = LINES_SHOWN;
            for hunk in &difference.hunks {
                ui.add_space(4.0);
                ui.label(theme::small(format!("Line {}", hunk.to_line)));
                for line in hunk.lines.iter().take(left) {
                    line_ui(line, ui);
                }
                left = left.saturating_sub(hunk.lines.len());
                if left == 0 {
                    break;
                }
            }
            if total > LINES_SHOWN {
                let more = total - LINES_SHOWN;
                ui.label(theme::small(format!(
                    "{more} more lines: satchel documents diff {}",
                    &difference.document[..12]
                )));
            }
        });
}

fn line_ui(line: &DifferenceLine, ui: &mut egui::Ui) {
    let palette = theme::palette(ui);
    let cut = line.text.floor_char_boundary(LINE_BYTES);
    let more = if cut < line.text.len() { " …" } else { "" };
    // A form feed is the border of a page.
    let text = line.text[..cut].replace('\u{c}', " ");
    let text = RichText::new(format!("{} {text}{more}", line.sign)).monospace();
    let text = match line.sign {
        '+' => text.color(palette.good),
        '-' => text.color(palette.problem),
        _ => text.weak(),
    };
    ui.add(egui::Label::new(text).wrap());
}

/// Does what was clicked.
pub(super) fn carry_out(window: &mut Window, wanted: Wanted) {
    match wanted {
        Wanted::Choose(id) => {
            let wishes = window.state.choose_version(&id);
            window.wish(wishes);
        }
        Wanted::BringBack(document, version) => {
            window.view.restoring = Some(Restoring { document, version });
        }
    }
}

/// Asks before a version is brought back.
pub(super) fn restoring_ui(window: &mut Window, ui: &mut egui::Ui) {
    let Some(restoring) = &window.view.restoring else {
        return;
    };
    let version = &restoring.version;
    let question = format!(
        "Bring back version {} of {}, {}?",
        version.number,
        version.who(),
        time_or_unknown(version.at_ms)
    );
    let mut decision = None;
    let modal = egui::Modal::new(egui::Id::unique("restore")).show(ui.ctx(), |ui| {
        ui.set_max_width(420.0);
        ui.label(RichText::new(question).strong());
        ui.label("It becomes the present text, as a new version. Nothing is lost: the text as it is now stays in the list. The file on disk is not changed.");
        ui.add_space(theme::GAP / 2.0);
        ui.horizontal(|ui| {
            if ui.add(theme::primary(ui, "Bring back")).clicked() {
                decision = Some(true);
            }
            if ui.button("Keep the present text").clicked() {
                decision = Some(false);
            }
        });
    });
    if modal.should_close() {
        decision = Some(false);
    }
    if let Some(confirmed) = decision
        && let Some(restoring) = window.view.restoring.take()
        && confirmed
    {
        let wish = SessionState::restoring(&restoring.document, &restoring.version.id);
        window.wish(vec![wish]);
    }
}
