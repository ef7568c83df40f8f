//! The chat: questions, answers as they are written, and the passages they are based on.
//!
//! Start at [`chat_ui`].

use eframe::egui::{self, Key, Modifiers, RichText};

use super::asked_ui::{Wanted, asked_ui, choice_ui};
use super::markdown;
use super::mcp_ui::call_ui;
use super::text_view::{Form, TextView};
use super::{Field, Pick, Screen, Window, shell, theme};
use crate::backend::sample;
use crate::message::Command;
use crate::state::chat::{Source, Turn, TurnStage};
use crate::state::{JobId, Opening, Purpose, words};
use crate::units;

/// What is laid out of the open chat.
#[derive(Default)]
pub(super) struct ChatView {
    turns: Vec<TurnView>,
    /// The next frame moves to the newest answer.
    follow: bool,
}

/// A laid out answer, and which state of it.
struct TurnView {
    edition: u64,
    text: TextView,
}

impl ChatView {
    /// Moves to the newest answer.
    pub(super) fn follow(&mut self) {
        self.follow = true;
    }

    fn text_of(&mut self, index: usize, turn: &Turn) -> &mut TextView {
        while self.turns.len() <= index {
            self.turns.push(TurnView {
                edition: 0,
                text: TextView::new(Form::Markdown, true),
            });
        }
        let view = &mut self.turns[index];
        if view.edition != turn.edition {
            view.edition = turn.edition;
            view.text = TextView::new(Form::Markdown, true);
        }
        view.text.grow(&turn.answer);
        &mut view.text
    }
}

/// What was clicked in the chat.
enum Click {
    Open(String),
    Ask(String),
    Withdraw,
    Call(bool),
}

/// Draws the chat.
pub(super) fn chat_ui(window: &mut Window, ui: &mut egui::Ui) {
    egui::Panel::bottom("question")
        .show_separator_line(false)
        .frame(egui::Frame::new().inner_margin(egui::Margin::symmetric(0, 8)))
        .show(ui, |ui| column(ui, |ui| question_ui(window, ui)));
    let running = window.state.chat.running();
    let mut clicked = None;
    let follow = std::mem::take(&mut window.view.chat.follow);
    egui::ScrollArea::vertical()
        .auto_shrink(false)
        .stick_to_bottom(running.is_some())
        .show(ui, |ui| {
            column(ui, |ui| {
                if let Some(failure) = &window.state.chat.failure {
                    shell::failure_ui(ui, failure);
                }
                if window.state.chat.loading.is_some() {
                    ui.spinner();
                } else if window.state.chat.turns.is_empty() {
                    empty_ui(window, ui);
                }
                for index in 0..window.state.chat.turns.len() {
                    clicked = turn_ui(window, ui, index).or(clicked.take());
                }
                if follow {
                    ui.scroll_to_cursor(Some(egui::Align::BOTTOM));
                }
            });
        });
    match clicked {
        Some(Click::Open(reference)) => window.read(&reference),
        Some(Click::Ask(question)) => window.ask(&question),
        Some(Click::Withdraw) => window.withdraw(),
        Some(Click::Call(allow)) => window.answer_call(allow),
        None => {}
    }
}

/// A column of readable width in the middle.
pub(super) fn column<R>(ui: &mut egui::Ui, content: impl FnOnce(&mut egui::Ui) -> R) -> R {
    let room = ui.available_width();
    let width = room.min(theme::COLUMN);
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        ui.add_space((room - width) / 2.0);
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            ui.set_width(width);
            content(ui)
        })
        .inner
    })
    .inner
}

fn question_ui(window: &mut Window, ui: &mut egui::Ui) {
    let running = window.state.chat.running();
    let ready = matches!(window.state.opening, Opening::Done);
    let id = egui::Id::unique("question");
    // Enter sends; Shift+Enter is a new line. Taken before the field sees it.
    let entered = ui.memory(|memory| memory.has_focus(id))
        && ui.input_mut(|input| {
            !input.modifiers.shift && input.consume_key(Modifiers::NONE, Key::Enter)
        });
    choice_ui(window, ui);
    let rows = window.view.question.lines().count().clamp(1, 8);
    ui.horizontal(|ui| {
        let room = (ui.available_width() - 84.0).max(120.0);
        let field = egui::TextEdit::multiline(&mut window.view.question)
            .id(id)
            .hint_text("Ask your documents")
            .desired_rows(rows)
            .desired_width(room)
            .margin(egui::Margin::symmetric(12, 9));
        let field = ui.add(field);
        let field = field.accessible_name("Question");
        window.view.give_caret(Field::Question, &field);
        let sent = match running {
            Some(job) => {
                if ui
                    .add_sized([72.0, 36.0], egui::Button::new("Stop"))
                    .on_hover_text("Esc")
                    .clicked()
                {
                    window.stop(job);
                }
                false
            }
            None => {
                let possible = ready
                    && window.state.chat.takes_questions()
                    && !window.view.question.trim().is_empty();
                let button = theme::primary(ui, "Ask").min_size(egui::vec2(72.0, 36.0));
                let clicked = ui
                    .add_enabled(possible, button)
                    .on_hover_text("Enter")
                    .clicked();
                (clicked || entered) && possible
            }
        };
        if sent {
            let question = window.view.question.clone();
            window.ask(&question);
            window.view.focus = Some(Field::Question);
        }
    });
}

/// Before the first question: what can be done here.
fn empty_ui(window: &mut Window, ui: &mut egui::Ui) {
    let Some(status) = &window.state.status else {
        return;
    };
    let count = status.coverage.documents;
    let no_model = status.chat_model.is_none();
    ui.add_space(ui.available_height() * 0.18);
    ui.label(RichText::new("Ask your own documents").size(26.0).strong());
    ui.add_space(4.0);
    ui.label(RichText::new("The answer cites the exact words, and one click opens them. Nothing leaves this machine.").weak());
    ui.add_space(theme::GAP);
    if count == 0 {
        no_documents_ui(window, ui);
    } else {
        let (documents, are) = (
            units::count(count, "document"),
            if count == 1 { "is" } else { "are" },
        );
        ui.label(format!("{documents} {are} here."));
        questions_ui(window, ui);
    }
    if no_model {
        ui.add_space(theme::GAP);
        ui.label("No chat model is installed yet: search works, answers need one.");
        if ui.button("Install a model").clicked() {
            window.show(Screen::Models);
        }
    }
}

fn no_documents_ui(window: &mut Window, ui: &mut egui::Ui) {
    if window.state.is_busy(Purpose::Import) {
        ui.label("Your documents are being read. They can be searched as they come in.");
        return;
    }
    ui.label("There are no documents yet.");
    ui.add_space(theme::GAP / 2.0);
    ui.horizontal(|ui| {
        if ui.add(theme::primary(ui, "Add a folder …")).clicked() {
            window.show(Screen::Library);
            window.pick(Pick::Folder);
        }
        if ui
            .button("Try the sample")
            .on_hover_text("Imports 21 invented papers: a lease, a recipe, letters, tables")
            .clicked()
        {
            window.send(
                Purpose::Import,
                "Importing the sample",
                Command::ImportSample,
            );
        }
    });
    ui.add_space(4.0);
    ui.label(theme::small(
        "You can also drop files and folders on this window.",
    ));
}

/// Questions to begin with, where the sample is in the workspace.
fn questions_ui(window: &mut Window, ui: &mut egui::Ui) {
    if !sample::is_among(&window.state.library.documents) {
        return;
    }
    ui.add_space(theme::GAP / 2.0);
    ui.label(theme::small("For example:"));
    let mut chosen = None;
    for question in sample::QUESTIONS {
        if ui.button(question).clicked() {
            chosen = Some(question);
        }
    }
    if let Some(question) = chosen {
        window.ask(question);
    }
}

fn turn_ui(window: &mut Window, ui: &mut egui::Ui, index: usize) -> Option<Click> {
    let turn = &window.state.chat.turns[index];
    let text = window.view.chat.text_of(index, turn);
    let mut clicked = None;
    ui.push_id(("turn", index), |ui| {
        ui.add_space(theme::GAP);
        theme::card(ui).show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.label(RichText::new(&turn.question).strong());
        });
        ui.add_space(theme::GAP / 2.0);
        if let Some(searched) = &turn.searched_for {
            ui.label(theme::small(format!("Searched for: {searched}")));
        }
        for step in &turn.steps {
            ui.label(theme::small(step));
        }
        if !turn.thoughts.is_empty() {
            egui::CollapsingHeader::new(RichText::new("Thoughts").small().weak())
                .id_salt("thoughts")
                .show(ui, |ui| ui.label(theme::small(turn.thoughts.trim())));
        }
        if !turn.answer.is_empty()
            && let Some(mark) = text.show(ui, &turn.answer)
        {
            clicked = turn
                .sources
                .iter()
                .find(|source| source.mark == mark)
                .and_then(|source| source.reference.clone())
                .map(Click::Open);
        }
        unsupported_ui(turn, ui);
        clicked = match &turn.wants_to_call {
            Some(request) => call_ui(request, ui).map(Click::Call),
            None => stage_ui(turn, ui, progress(&window.state.jobs, &turn.stage)),
        }
        .or(clicked.take());
        clicked = sources_ui(turn, ui).or(clicked.take());
        footer_ui(turn, ui);
    });
    clicked
}

fn progress<'a>(
    jobs: &'a std::collections::BTreeMap<JobId, crate::state::Job>,
    stage: &TurnStage,
) -> Option<&'a crate::message::Progress> {
    match stage {
        TurnStage::Reading(job) | TurnStage::Writing(job) => jobs.get(job)?.progress.as_ref(),
        _ => None,
    }
}

fn stage_ui(
    turn: &Turn,
    ui: &mut egui::Ui,
    progress: Option<&crate::message::Progress>,
) -> Option<Click> {
    match &turn.stage {
        TurnStage::Reading(_) => {
            ui.horizontal(|ui| {
                ui.spinner();
                ui.label(match progress {
                    Some(step) if step.total > 1 => {
                        format!(
                            "{} ({} of {} tokens)",
                            step.stage.label(),
                            step.done,
                            step.total
                        )
                    }
                    Some(step) => step.stage.label().to_owned(),
                    None => "Looking for passages".to_owned(),
                });
            });
        }
        TurnStage::Writing(_) => {
            ui.spinner();
        }
        TurnStage::Stopped => {
            ui.label(theme::small("Stopped."));
        }
        TurnStage::Cut => {
            ui.label(theme::small(
                "The answer reached its longest. Ask for less at once, or allow longer answers in the settings.",
            ));
        }
        TurnStage::Failed(failure) => {
            shell::failure_ui(ui, failure);
            if ui.button("Ask again").clicked() {
                return Some(Click::Ask(turn.question.clone()));
            }
        }
        TurnStage::Elsewhere(asked) => {
            return asked_ui(asked, ui).map(|wanted| match wanted {
                Wanted::Withdraw => Click::Withdraw,
                Wanted::Again => Click::Ask(turn.question.clone()),
            });
        }
        TurnStage::Done | TurnStage::Refused => {}
    }
    None
}

fn unsupported_ui(turn: &Turn, ui: &mut egui::Ui) {
    if turn.unsupported.is_empty() {
        return;
    }
    let colour = theme::palette(ui).warning;
    ui.add_space(4.0);
    ui.label(
        RichText::new("Careful: the passages do not bear this out")
            .strong()
            .color(colour),
    );
    for sentence in &turn.unsupported {
        ui.horizontal_top(|ui| {
            ui.label("–");
            ui.add(egui::Label::new(RichText::new(sentence).italics()).wrap());
        });
    }
}

fn sources_ui(turn: &Turn, ui: &mut egui::Ui) -> Option<Click> {
    if turn.sources.is_empty() {
        return None;
    }
    ui.add_space(6.0);
    let title = match turn.stage {
        TurnStage::Reading(_) | TurnStage::Writing(_) => "From your documents",
        TurnStage::Refused => "Nearest passages",
        _ => "Sources",
    };
    ui.label(theme::small(title));
    let mut clicked = None;
    for (index, source) in turn.sources.iter().enumerate() {
        ui.push_id(("source", index), |ui| {
            clicked = source_ui(source, ui).or(clicked.take());
        });
    }
    clicked
}

/// A passage as a card: where it stands, its words, and a button that opens it.
fn source_ui(source: &Source, ui: &mut egui::Ui) -> Option<Click> {
    let mut clicked = None;
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal(|ui| {
            if !source.mark.is_empty() {
                let colour = theme::palette(ui).accent;
                ui.label(RichText::new(&source.mark).small().strong().color(colour));
            }
            let open = match &source.reference {
                Some(reference) => ui
                    .link(&source.place)
                    .on_hover_text("Open this place in its document")
                    .clicked()
                    .then(|| Click::Open(reference.clone())),
                None => {
                    ui.label(RichText::new(&source.place).weak());
                    None
                }
            };
            clicked = open;
            if source.changed {
                let colour = theme::palette(ui).warning;
                ui.label(RichText::new("changed since").small().color(colour));
            }
        });
        ui.add(egui::Label::new(format!("“{}”", one_line(&source.quote))).wrap());
    });
    clicked
}

/// A quote without the marks and line breaks of its source, cut where it gets long.
pub(super) fn one_line(quote: &str) -> String {
    const MOST: usize = 420;
    let line = markdown::line(quote);
    let cut = line.floor_char_boundary(MOST);
    if cut < line.len() {
        format!("{} …", &line[..cut])
    } else {
        line
    }
}

fn footer_ui(turn: &Turn, ui: &mut egui::Ui) {
    let mut parts = Vec::new();
    if let Some((model, usage)) = &turn.model {
        parts.push(match usage {
            Some(usage) => format!(
                "{model}, {:.1} s",
                (usage.retrieve_ms + usage.prompt_ms + usage.output_ms) / 1000.0
            ),
            None => model.clone(),
        });
    }
    parts.extend(turn.coverage.clone());
    parts.extend(turn.on.iter().map(|on| format!("Answered on {on}")));
    let over = !matches!(
        turn.stage,
        TurnStage::Reading(_) | TurnStage::Writing(_) | TurnStage::Elsewhere(_)
    );
    if !over || turn.answer.is_empty() {
        return;
    }
    ui.horizontal(|ui| {
        if ui
            .small_button("Copy")
            .on_hover_text("Copy the answer with its sources")
            .clicked()
        {
            ui.ctx().copy_text(as_markdown(turn));
        }
        ui.add(egui::Label::new(theme::small(parts.join(" · "))).truncate());
    });
}

/// Question, answer and sources as Markdown.
fn as_markdown(turn: &Turn) -> String {
    let mut text = format!("**{}**\n\n{}\n", turn.question, turn.answer);
    if !turn.sources.is_empty() {
        text += "\n";
    }
    for source in &turn.sources {
        let mark = if source.mark.is_empty() {
            String::new()
        } else {
            format!("[{}] ", source.mark)
        };
        text += &format!("- {mark}{}: “{}”\n", source.place, one_line(&source.quote));
    }
    if let TurnStage::Failed(failure) = &turn.stage {
        text += &format!("\n{}\n", words(failure));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_one_line_and_cut_between_characters() {
        assert_eq!(one_line("a\n  b"), "a b");
        let long = one_line(&"ä".repeat(1000));
        assert!(long.ends_with(" …") && long.len() < 430);
    }
}
