//! Colours, sizes and spacing of the window: the only place that names them.
//!
//! Paper and leather: warm greys, one accent. Start at [`apply`].

use eframe::egui::{self, Color32, CornerRadius, Stroke, Theme, Visuals};

use crate::state::saved::{AppState, Theme as Wanted};

/// Space between groups, in points.
pub(super) const GAP: f32 = 12.0;
/// Widest column of text that reads well, in points: some 85 characters.
pub(super) const COLUMN: f32 = 720.0;
/// Width of the navigation on the left, in points.
pub(super) const NAVIGATION: f32 = 216.0;
/// Below this width of the window the open document takes the place of the screen beside it, in points.
pub(super) const NARROW: f32 = 980.0;
/// Height of a row in a list, in points.
pub(super) const ROW: f32 = 30.0;

/// Colours that egui's own visuals have no field for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette {
    /// What can be clicked, and what is chosen.
    pub(super) accent: Color32,
    /// Text on the accent.
    pub(super) on_accent: Color32,
    /// Ground of a question, a card.
    pub(super) card: Color32,
    /// Line around a card.
    pub(super) line: Color32,
    /// Ground of quoted words.
    pub(super) highlight: Color32,
    /// Text on the highlight.
    pub(super) on_highlight: Color32,
    /// As it should be.
    pub(super) good: Color32,
    /// Works, but look.
    pub(super) warning: Color32,
    /// Does not work.
    pub(super) problem: Color32,
}

const LIGHT: Palette = Palette {
    accent: Color32::from_rgb(0x9A, 0x4F, 0x1B),
    on_accent: Color32::WHITE,
    card: Color32::from_rgb(0xF4, 0xF0, 0xE8),
    line: Color32::from_rgb(0xDD, 0xD6, 0xC9),
    highlight: Color32::from_rgb(0xFF, 0xE7, 0x9C),
    on_highlight: Color32::from_rgb(0x2A, 0x24, 0x1C),
    good: Color32::from_rgb(0x2E, 0x7D, 0x4F),
    warning: Color32::from_rgb(0x9A, 0x67, 0x00),
    problem: Color32::from_rgb(0xB3, 0x26, 0x1E),
};

const DARK: Palette = Palette {
    accent: Color32::from_rgb(0xE0, 0x9A, 0x5B),
    on_accent: Color32::from_rgb(0x22, 0x18, 0x10),
    card: Color32::from_rgb(0x2B, 0x29, 0x26),
    line: Color32::from_rgb(0x40, 0x3C, 0x37),
    highlight: Color32::from_rgb(0x6B, 0x55, 0x1C),
    on_highlight: Color32::from_rgb(0xFF, 0xF4, 0xD6),
    good: Color32::from_rgb(0x6F, 0xC2, 0x8E),
    warning: Color32::from_rgb(0xE0, 0xB0, 0x4A),
    problem: Color32::from_rgb(0xF2, 0x8B, 0x82),
};

/// The colours in force.
pub(super) fn palette(ui: &egui::Ui) -> Palette {
    if ui.visuals().dark_mode { DARK } else { LIGHT }
}

/// Sets colours and sizes, once at the start.
pub(super) fn install(context: &egui::Context) {
    context.set_visuals_of(Theme::Light, visuals(Visuals::light(), LIGHT, false));
    context.set_visuals_of(Theme::Dark, visuals(Visuals::dark(), DARK, true));
    context.all_styles_mut(|style| {
        style.spacing.item_spacing = egui::vec2(8.0, 6.0);
        style.spacing.button_padding = egui::vec2(10.0, 5.0);
        style.spacing.interact_size.y = 26.0;
        style.spacing.tooltip_width = 480.0;
        style.interaction.selectable_labels = true;
        // Links of documents are drawn as words; nothing of the window's own leads outside.
        style.url_in_tooltip = true;
        for (text, size) in [
            (egui::TextStyle::Body, 15.0),
            (egui::TextStyle::Button, 14.5),
            (egui::TextStyle::Heading, 21.0),
            (egui::TextStyle::Small, 12.5),
        ] {
            style
                .text_styles
                .insert(text, egui::FontId::proportional(size));
        }
        style
            .text_styles
            .insert(egui::TextStyle::Monospace, egui::FontId::monospace(13.5));
    });
}

/// Takes over what the user chose.
pub(super) fn apply(context: &egui::Context, state: &AppState) {
    context.set_theme(match state.theme {
        Wanted::System => egui::ThemePreference::System,
        Wanted::Light => egui::ThemePreference::Light,
        Wanted::Dark => egui::ThemePreference::Dark,
    });
    context.set_zoom_factor(state.zoom);
}

fn visuals(mut visuals: Visuals, palette: Palette, dark: bool) -> Visuals {
    let grey = |light: u8, dark_value: u8| {
        let value = if dark { dark_value } else { light };
        // A little more red than blue: paper, not screen.
        Color32::from_rgb(
            value,
            value.saturating_sub(1),
            value.saturating_sub(if dark { 3 } else { 5 }),
        )
    };
    let text = if dark {
        Color32::from_rgb(0xE6, 0xE1, 0xD9)
    } else {
        Color32::from_rgb(0x2A, 0x26, 0x21)
    };
    visuals.panel_fill = grey(0xFD, 0x1F);
    visuals.window_fill = grey(0xFD, 0x26);
    visuals.faint_bg_color = grey(0xF6, 0x26);
    visuals.extreme_bg_color = grey(0xFF, 0x18);
    visuals.code_bg_color = grey(0xF0, 0x2B);
    visuals.weak_text_color = Some(if dark {
        Color32::from_rgb(0xA3, 0x9C, 0x92)
    } else {
        Color32::from_rgb(0x6B, 0x65, 0x5C)
    });
    visuals.hyperlink_color = palette.accent;
    visuals.warn_fg_color = palette.warning;
    visuals.error_fg_color = palette.problem;
    visuals.selection.bg_fill = if dark {
        Color32::from_rgb(0x5A, 0x41, 0x2A)
    } else {
        Color32::from_rgb(0xF3, 0xDC, 0xC6)
    };
    visuals.selection.stroke = Stroke::new(1.0, palette.accent);
    let radius = CornerRadius::same(6);
    for (widget, fill) in [
        (&mut visuals.widgets.noninteractive, grey(0xFD, 0x1F)),
        (&mut visuals.widgets.inactive, grey(0xEE, 0x33)),
        (&mut visuals.widgets.hovered, grey(0xE4, 0x3F)),
        (&mut visuals.widgets.active, grey(0xD9, 0x4B)),
        (&mut visuals.widgets.open, grey(0xE8, 0x3A)),
    ] {
        widget.corner_radius = radius;
        widget.bg_fill = fill;
        widget.weak_bg_fill = fill;
        widget.fg_stroke = Stroke::new(1.0, text);
        widget.expansion = 0.0;
    }
    visuals.widgets.noninteractive.bg_stroke = Stroke::new(1.0, palette.line);
    visuals.widgets.inactive.bg_stroke = Stroke::NONE;
    visuals.widgets.hovered.bg_stroke = Stroke::new(1.0, palette.line);
    visuals.widgets.active.bg_stroke = Stroke::new(1.0, palette.accent);
    visuals.window_corner_radius = CornerRadius::same(10);
    visuals.menu_corner_radius = CornerRadius::same(8);
    visuals
}

/// A button for the one thing that a screen is for.
pub(super) fn primary<'a>(ui: &egui::Ui, text: &str) -> egui::Button<'a> {
    let palette = palette(ui);
    egui::Button::new(egui::RichText::new(text).color(palette.on_accent)).fill(palette.accent)
}

/// Less important text.
pub(super) fn small(text: impl Into<String>) -> egui::RichText {
    egui::RichText::new(text).small().weak()
}

/// A box around things that belong together.
pub(super) fn card(ui: &egui::Ui) -> egui::Frame {
    let palette = palette(ui);
    egui::Frame::new()
        .fill(palette.card)
        .stroke(Stroke::new(1.0, palette.line))
        .corner_radius(8)
        .inner_margin(egui::Margin::symmetric(12, 9))
}
