//! The settings that few people need: how words are chosen, where an answer ends, an adapter over the model.
//!
//! What has no value of its own says what holds instead, and takes one when pressed; *Defaults* gives all of them up
//! again. Start at [`sampling_ui`].

use std::path::Path;

use eframe::egui;

use super::{fields, typed_path};
use crate::config::{PromptStyle, Settings};

/// A setting and its new value, as the file has it; an empty one takes the default.
pub(super) type Change = (&'static str, String);

/// Names of all settings here.
pub(super) const NAMES: [&str; 9] = [
    "prompt_style",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "seed",
    "stop",
    "lora",
    "lora_scale",
];

/// What is being typed; it is written when the line is left.
#[derive(Default)]
pub(super) struct Draft {
    of: Option<(Vec<String>, String)>,
    stop: String,
    adapter: String,
}

impl Draft {
    fn follow(&mut self, values: &Settings) {
        let of = (values.stop.clone(), adapter_of(values));
        if self.of.as_ref() != Some(&of) {
            self.stop = of.0.join("\n");
            self.adapter.clone_from(&of.1);
            self.of = Some(of);
        }
    }
}

fn adapter_of(values: &Settings) -> String {
    let path = values.lora.as_deref().unwrap_or(Path::new(""));
    path.display().to_string()
}

/// Draws them, folded away. Gives the one that was changed, and whether a file is to be chosen for the adapter.
pub(super) fn sampling_ui(
    ui: &mut egui::Ui,
    values: &mut Settings,
    draft: &mut Draft,
) -> (Option<Change>, bool) {
    draft.follow(values);
    let (mut change, mut choose) = (None, false);
    egui::CollapsingHeader::new("How words are chosen, and more").show(ui, |ui| {
        egui::Grid::new("sampling")
            .num_columns(2)
            .spacing([18.0, 8.0])
            .show(ui, |ui| {
                style_row(ui, values.prompt_style, &mut change);
                for mut number in numbers(values) {
                    number_row(ui, &mut number, &mut change);
                }
                stop_row(ui, draft, values, &mut change);
                adapter_rows(ui, draft, values, &mut change, &mut choose);
            });
    });
    (change, choose)
}

/// A number that may be left to its default.
struct Number<'a> {
    name: &'static str,
    label: &'static str,
    help: &'static str,
    /// What holds while nobody has chosen.
    default: &'static str,
    /// Where choosing begins.
    begin: f64,
    range: std::ops::RangeInclusive<f64>,
    decimals: usize,
    value: Value<'a>,
}

enum Value<'a> {
    Whole(&'a mut Option<u32>),
    Part(&'a mut Option<f32>),
}

impl Value<'_> {
    fn is_chosen(&self) -> bool {
        match self {
            Self::Whole(value) => value.is_some(),
            Self::Part(value) => value.is_some(),
        }
    }

    fn slider(&mut self, range: std::ops::RangeInclusive<f64>) -> Option<egui::Slider<'_>> {
        let (from, to) = range.into_inner();
        match self {
            Self::Whole(value) => {
                let value = value.as_mut()?;
                Some(egui::Slider::new(value, from as u32..=to as u32))
            }
            Self::Part(value) => {
                let value = value.as_mut()?;
                Some(egui::Slider::new(value, from as f32..=to as f32))
            }
        }
    }

    fn text(&self, decimals: usize) -> String {
        match self {
            Self::Whole(Some(value)) => value.to_string(),
            Self::Part(Some(value)) => format!("{value:.decimals$}"),
            _ => String::new(),
        }
    }
}

fn numbers(values: &mut Settings) -> [Number<'_>; 5] {
    let number = |name, label, help, default, begin, range, decimals, value| Number {
        name,
        label,
        help,
        default,
        begin,
        range,
        decimals,
        value,
    };
    let whole = Value::Whole;
    let part = Value::Part;
    [
        number(
            "top_k",
            "Words considered",
            "Only so many of the likeliest (top-k). 0 considers all.",
            "40",
            40.0,
            0.0..=200.0,
            0,
            whole(&mut values.top_k),
        ),
        number(
            "top_p",
            "Likely enough together",
            "Only the likeliest words that reach this probability together (top-p). 1 switches it off.",
            "0.95",
            0.95,
            0.0..=1.0,
            2,
            part(&mut values.top_p),
        ),
        number(
            "min_p",
            "Likely enough alone",
            "Only words at least this fraction as likely as the likeliest (min-p). 0 switches it off.",
            "0.05",
            0.05,
            0.0..=1.0,
            2,
            part(&mut values.min_p),
        ),
        number(
            "repeat_penalty",
            "Against repetition",
            "Divides the score of words that the answer already used. 1 switches it off.",
            "by the model",
            1.1,
            1.0..=2.0,
            2,
            part(&mut values.repeat_penalty),
        ),
        number(
            "seed",
            "Seed",
            "The same one gives the same answer to the same question.",
            "another one each time",
            7.0,
            0.0..=9999.0,
            0,
            whole(&mut values.seed),
        ),
    ]
}

fn number_row(ui: &mut egui::Ui, number: &mut Number<'_>, change: &mut Option<Change>) {
    let (name, label, help) = (number.name, number.label, number.help);
    if !number.value.is_chosen() {
        let words = format!("Default: {}", number.default);
        if unset(ui, label, help, &words) {
            let begin = format!("{:.*}", number.decimals, number.begin);
            *change = Some((name, begin));
        }
        ui.end_row();
        return;
    }
    let mut is_changed = false;
    if let Some(slider) = number.value.slider(number.range.clone()) {
        is_changed = fields::slider(ui, label, help, slider);
    }
    if is_changed {
        *change = Some((name, number.value.text(number.decimals)));
    }
    ui.end_row();
}

/// A row of something that nobody has chosen. Gives whether it is to be chosen.
fn unset(ui: &mut egui::Ui, label: &str, help: &str, words: &str) -> bool {
    let label = ui.label(label).on_hover_text(help);
    let button = ui.button(words).labelled_by(label.id);
    button
        .on_hover_text("Press to choose it yourself")
        .clicked()
}

fn style_row(ui: &mut egui::Ui, style: PromptStyle, change: &mut Option<Change>) {
    ui.label("Passages shown to the model").on_hover_text(
        "Small models lose their way in many passages; others answer better from them.",
    );
    ui.horizontal(|ui| {
        for (of, name, words) in [
            (PromptStyle::Auto, "", "As suits it"),
            (PromptStyle::OnePassage, "one_passage", "The best one"),
            (PromptStyle::ManyPassages, "many_passages", "All that fit"),
        ] {
            if ui.radio(style == of, words).clicked() && style != of {
                *change = Some(("prompt_style", quoted(name)));
            }
        }
    });
    ui.end_row();
}

fn stop_row(ui: &mut egui::Ui, draft: &mut Draft, values: &Settings, change: &mut Option<Change>) {
    let help = "An answer ends before any of these texts, one in a line.";
    ui.label("Stop before").on_hover_text(help);
    let field = egui::TextEdit::multiline(&mut draft.stop)
        .desired_rows(2)
        .hint_text("None");
    let field = ui.add(field).accessible_name("Texts to stop before");
    if field.lost_focus() {
        let texts = draft.stop.lines().filter(|line| !line.is_empty());
        let texts: Vec<&str> = texts.collect();
        if texts != values.stop {
            let value = match texts.as_slice() {
                [] => String::new(),
                texts => format!(
                    "[{}]",
                    texts
                        .iter()
                        .map(|text| quoted(text))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            };
            *change = Some(("stop", value));
        }
    }
    ui.end_row();
}

fn adapter_rows(
    ui: &mut egui::Ui,
    draft: &mut Draft,
    values: &mut Settings,
    change: &mut Option<Change>,
    choose: &mut bool,
) {
    let help = "A GGUF file that is laid over the chat model, made for models of its kind.";
    ui.label("Adapter (LoRA)").on_hover_text(help);
    ui.horizontal(|ui| {
        let line = fields::line(
            ui,
            &mut draft.adapter,
            "Path of the adapter",
            "None",
            PATH_WIDTH,
        );
        let path = typed_path(&draft.adapter);
        if line.lost_focus() && path != values.lora {
            let path = path.map_or_else(String::new, |path| path.display().to_string());
            *change = Some(("lora", quoted(&path)));
        }
        *choose |= ui.button("Choose …").clicked();
        if values.lora.is_some() && ui.button("Remove").clicked() {
            *change = Some(("lora", String::new()));
        }
    });
    ui.end_row();
    if values.lora.is_some() {
        let mut scale = values.lora_scale.unwrap_or(1.0);
        let slider = egui::Slider::new(&mut scale, 0.0..=2.0).step_by(0.05);
        let help = "1 is as it was trained, 0 is without it.";
        if fields::slider(ui, "Strength of the adapter", help, slider) {
            *change = Some(("lora_scale", format!("{scale:.2}")));
        }
        values.lora_scale = Some(scale);
        ui.end_row();
    }
}

/// A path is longer, and can be read in full when the caret is in it.
const PATH_WIDTH: f32 = 260.0;

/// A text as the settings file has it; nothing for no text.
pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_as_the_file_has_them() {
        assert_eq!(quoted(""), "");
        for text in ["a", "with \"quotes\" and \\", "two\nlines", "'"] {
            let line = format!("x = {}", quoted(text));
            let read: toml::Table = toml::from_str(&line).unwrap();
            assert_eq!(read["x"].as_str(), Some(text));
        }
    }
}
