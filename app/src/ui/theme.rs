//! Sizes and spacing of the window: the only place that names them.

use eframe::egui;

/// Space between groups, in points.
pub(super) const GAP: f32 = 12.0;

/// Widest column of text that reads well, in points.
pub(super) const COLUMN: f32 = 760.0;

/// Follows the system's light or dark theme and sets comfortable text sizes.
pub(super) fn apply(context: &egui::Context) {
    context.set_theme(egui::ThemePreference::System);
    context.all_styles_mut(|style| {
        style.spacing.item_spacing = egui::vec2(8.0, 6.0);
        style.spacing.button_padding = egui::vec2(10.0, 5.0);
        for (text, size) in [
            (egui::TextStyle::Body, 15.0),
            (egui::TextStyle::Button, 15.0),
            (egui::TextStyle::Heading, 21.0),
            (egui::TextStyle::Small, 12.0),
        ] {
            style
                .text_styles
                .insert(text, egui::FontId::proportional(size));
        }
    });
}
