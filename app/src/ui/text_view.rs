//! Draws a long text, Markdown or plain, with marks that can be clicked and a place that is highlighted.
//!
//! Only what is visible is laid out; what scrolled by is remembered by its height. Opens nothing: see
//! [`super::markdown`]. Start at [`TextView::show`].

use std::collections::HashMap;
use std::ops::Range;

use eframe::egui::{self, FontSelection, RichText, text::LayoutJob};

use super::markdown::{self, Block, BlockKind, Look, Span};
use super::moved::Moved;
use super::pieces::{self, Piece};
use super::theme::{self, Palette};

/// How a text is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Markdown.
    Markdown,
    /// Words as they stand.
    Plain,
}

/// Step of an indent, in points.
const INDENT: f32 = 18.0;
/// Frames for which the view keeps moving to a place: heights above it become known on the way.
const SETTLING_FRAMES: u8 = 4;

/// A text laid out in pieces. Kept from frame to frame.
#[derive(Debug)]
pub(super) struct TextView {
    form: Form,
    /// Marks of citations can be clicked.
    with_marks: bool,
    pieces: Vec<Laid>,
    len: usize,
    width: f32,
    goal: Option<Range<usize>>,
    settling: u8,
    /// How far the text was scrolled when it was drawn last, and the space between two pieces.
    top: f32,
    gap: f32,
    /// What is to stay where it is on the screen: where it begins in the text, and how far above it the view began.
    anchor: Option<(usize, f32)>,
}

#[derive(Debug)]
struct Laid {
    piece: Piece,
    blocks: Option<Vec<Block>>,
    /// Measured when it was drawn, guessed before, at the present width.
    height: Option<f32>,
}

impl TextView {
    /// A view of an empty text.
    pub(super) fn new(form: Form, with_marks: bool) -> Self {
        Self {
            form,
            with_marks,
            pieces: Vec::new(),
            len: 0,
            width: 0.0,
            goal: None,
            settling: 0,
            top: 0.0,
            gap: 0.0,
            anchor: None,
        }
    }

    /// Takes in that `text` is longer than it was: what stood there before is unchanged.
    pub(super) fn grow(&mut self, text: &str) {
        if text.len() == self.len {
            return;
        }
        let (start, in_fence) = match self.pieces.pop() {
            Some(last) => (last.piece.range.start, last.piece.in_fence),
            None => (0, false),
        };
        let in_fence = in_fence && self.form == Form::Markdown;
        self.pieces.extend(
            pieces::pieces(text, start, in_fence)
                .into_iter()
                .map(|piece| Laid {
                    piece,
                    blocks: None,
                    height: None,
                }),
        );
        self.len = text.len();
    }

    /// Takes in that another text stands here now. What stands in both keeps its height, and what is being read stays
    /// where it is on the screen.
    pub(super) fn replace(&mut self, old: &str, new: &str) {
        let moved = Moved::new(old, new);
        let anchor = self.anchor_now();
        let kept =
            anchor.map(|(piece, above)| (moved.place(piece.range.start), above, piece.in_fence));
        self.goal = self.goal.take().and_then(|goal| moved.range(&goal));
        self.settling = 0;
        let heights: HashMap<&str, f32> = self
            .pieces
            .iter()
            .filter_map(|laid| Some((&old[laid.piece.range.clone()], laid.height?)))
            .collect();
        // A piece begins where the one begins that is being read, so that nothing in it moves.
        let (start, in_fence) = kept.map_or((0, false), |(start, _, in_fence)| (start, in_fence));
        let mut pieces = pieces::pieces(&new[..start], 0, false);
        pieces.extend(pieces::pieces(new, start, in_fence));
        self.pieces = pieces
            .into_iter()
            .map(|piece| Laid {
                height: heights.get(&new[piece.range.clone()]).copied(),
                blocks: None,
                piece,
            })
            .collect();
        self.anchor = kept.map(|(start, above, _)| (start, above));
        self.len = new.len();
    }

    /// The piece at the upper edge of the view.
    fn anchor_now(&self) -> Option<(Piece, f32)> {
        let mut y = 0.0;
        for laid in &self.pieces {
            let below = y + laid.height? + self.gap;
            if below > self.top {
                return (self.top > 0.0).then(|| (laid.piece.clone(), self.top - y));
            }
            y = below;
        }
        None
    }

    /// Scrolls so that what was being read is where it was.
    fn hold(&mut self, ui: &mut egui::Ui, text: &str) {
        self.gap = ui.spacing().item_spacing.y;
        self.top = ui.clip_rect().top() - ui.cursor().top();
        let Some((at, above)) = self.anchor.take() else {
            return;
        };
        let mut y = 0.0;
        let width = self.width;
        for laid in &mut self.pieces {
            if laid.piece.range.end > at {
                break;
            }
            let range = laid.piece.range.clone();
            let guess = || estimated_height(&text[range], width);
            y += *laid.height.get_or_insert_with(guess) + self.gap;
        }
        let missing = y + above - self.top;
        if missing.abs() > 0.5 {
            let now = egui::style::ScrollAnimation::none();
            ui.scroll_with_delta_animation(egui::vec2(0.0, -missing), now);
            ui.ctx().request_repaint();
        }
    }

    /// Highlights a place and moves to it.
    pub(super) fn go_to(&mut self, place: Range<usize>) {
        self.goal = Some(place);
        self.settling = SETTLING_FRAMES;
    }

    /// Draws the text. Gives the mark that was clicked.
    pub(super) fn show(&mut self, ui: &mut egui::Ui, text: &str) -> Option<String> {
        let width = ui.available_width();
        if (width - self.width).abs() > 0.5 {
            self.width = width;
            for laid in &mut self.pieces {
                laid.height = None;
            }
        }
        self.hold(ui, text);
        let mut clicked = None;
        let target = self
            .goal
            .as_ref()
            .filter(|_| self.settling > 0)
            .map(|goal| goal.start);
        for index in 0..self.pieces.len() {
            let is_target = target.is_some_and(|at| self.pieces[index].piece.range.contains(&at));
            clicked = self.piece(ui, text, index, is_target).or(clicked);
        }
        if self.settling > 0 {
            self.settling -= 1;
            ui.ctx().request_repaint();
        }
        clicked
    }

    fn piece(
        &mut self,
        ui: &mut egui::Ui,
        text: &str,
        index: usize,
        is_target: bool,
    ) -> Option<String> {
        let laid = &mut self.pieces[index];
        let width = self.width;
        let height = *laid
            .height
            .get_or_insert_with(|| estimated_height(&text[laid.piece.range.clone()], width));
        let place = egui::Rect::from_min_size(ui.cursor().min, egui::vec2(width, height));
        if !is_target && !ui.is_rect_visible(place) {
            ui.allocate_space(place.size());
            return None;
        }
        let form = self.form;
        let with_marks = self.with_marks;
        let range = laid.piece.range.clone();
        let in_fence = laid.piece.in_fence;
        let blocks = laid.blocks.get_or_insert_with(|| match form {
            Form::Markdown if !in_fence => {
                markdown::parse(&text[range.clone()], range.start, with_marks)
            }
            _ => vec![markdown::plain(&text[range.clone()], range.start, in_fence)],
        });
        let goal = self.goal.clone();
        let mut painter = Painter {
            palette: theme::palette(ui),
            goal: goal.as_ref(),
            clicked: None,
            goal_rect: None,
        };
        let shown = ui.push_id(index, |ui| {
            ui.vertical(|ui| {
                ui.set_width(self.width);
                for (number, block) in blocks.iter().enumerate() {
                    ui.push_id(number, |ui| painter.block(ui, block));
                }
            })
        });
        laid.height = Some(shown.response.rect.height());
        if is_target {
            let rect = painter.goal_rect.unwrap_or(shown.response.rect);
            ui.scroll_to_rect(rect, Some(egui::Align::Center));
        }
        painter.clicked
    }
}

/// What a piece may measure before it has been laid out: as wide as its text at 7.5 points a character.
fn estimated_height(text: &str, width: f32) -> f32 {
    let per_line = (width / 7.5).max(10.0);
    let lines: f32 = text
        .split('\n')
        .map(|line| (line.len() as f32 / per_line).ceil().max(0.6))
        .sum();
    lines * 21.0
}

struct Painter<'a> {
    palette: Palette,
    goal: Option<&'a Range<usize>>,
    clicked: Option<String>,
    goal_rect: Option<egui::Rect>,
}

impl Painter<'_> {
    fn block(&mut self, ui: &mut egui::Ui, block: &Block) {
        let indent = f32::from(block.depth.saturating_sub(1)) * INDENT;
        if indent == 0.0 && block.marker.is_none() && !block.quoted && block.depth == 0 {
            self.content(ui, block);
            return;
        }
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 0.0;
            ui.add_space(indent);
            if block.quoted {
                let (rect, _) =
                    ui.allocate_exact_size(egui::vec2(12.0, 20.0), egui::Sense::hover());
                ui.painter().vline(
                    rect.left() + 3.0,
                    rect.y_range(),
                    egui::Stroke::new(2.0, self.palette.line),
                );
            }
            if block.depth > 0 {
                let marker = block.marker.as_deref().unwrap_or("");
                ui.add_sized(
                    [INDENT + 4.0, 20.0],
                    egui::Label::new(RichText::new(marker).weak()).selectable(false),
                );
            }
            ui.vertical(|ui| self.content(ui, block));
        });
    }

    fn content(&mut self, ui: &mut egui::Ui, block: &Block) {
        match &block.kind {
            BlockKind::Text { level, spans } => {
                if *level > 0 {
                    ui.add_space(6.0);
                }
                self.spans(ui, spans, *level);
                ui.add_space(if block.depth > 0 { 0.0 } else { 3.0 });
            }
            BlockKind::Code { spans } => {
                egui::Frame::new()
                    .fill(ui.visuals().code_bg_color)
                    .corner_radius(6)
                    .inner_margin(egui::Margin::symmetric(10, 8))
                    .show(ui, |ui| {
                        ui.set_width(ui.available_width());
                        self.spans(ui, spans, 0);
                    });
            }
            BlockKind::Table { rows } => self.table(ui, rows),
            BlockKind::Rule => {
                ui.separator();
            }
        }
    }

    fn table(&mut self, ui: &mut egui::Ui, rows: &[Vec<Vec<Span>>]) {
        egui::ScrollArea::horizontal().show(ui, |ui| {
            egui::Grid::new("table")
                .striped(true)
                .spacing([18.0, 5.0])
                .show(ui, |ui| {
                    for (index, row) in rows.iter().enumerate() {
                        for cell in row {
                            // The first row holds the titles.
                            let heading = if index == 0 { 6 } else { 0 };
                            ui.scope(|ui| {
                                ui.set_max_width(280.0);
                                self.spans(ui, cell, heading);
                            });
                        }
                        ui.end_row();
                    }
                });
        });
        ui.add_space(4.0);
    }

    fn spans(&mut self, ui: &mut egui::Ui, spans: &[Span], level: u8) {
        if spans.iter().any(|span| span.mark) {
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing.x = 0.0;
                for group in spans.chunk_by(|a, b| !a.mark && !b.mark) {
                    if group[0].mark {
                        self.mark(ui, &group[0].text);
                    } else {
                        self.label(ui, group, level);
                    }
                }
            });
        } else if !spans.is_empty() {
            self.label(ui, spans, level);
        }
    }

    fn mark(&mut self, ui: &mut egui::Ui, name: &str) {
        let text = RichText::new(name).small().color(self.palette.accent);
        let button = egui::Button::new(text)
            .small()
            .fill(self.palette.card)
            .corner_radius(8);
        ui.add_space(3.0);
        let response = ui
            .add(button)
            .on_hover_text("Open the cited passage in its document");
        if response.clicked() {
            self.clicked = Some(name.to_owned());
        }
        ui.add_space(1.0);
    }

    fn label(&mut self, ui: &mut egui::Ui, spans: &[Span], level: u8) {
        let mut job = LayoutJob::default();
        let mut has_goal = false;
        for span in spans {
            for (text, highlighted) in parted(span, self.goal) {
                has_goal |= highlighted;
                self.append(ui, &mut job, text, span.look, level, highlighted);
            }
        }
        let response = ui.add(egui::Label::new(job).wrap());
        if has_goal {
            let known = self.goal_rect.get_or_insert(response.rect);
            *known = known.union(response.rect);
        }
    }

    fn append(
        &self,
        ui: &egui::Ui,
        job: &mut LayoutJob,
        text: &str,
        look: Look,
        level: u8,
        highlighted: bool,
    ) {
        let mut rich = RichText::new(text);
        rich = match level {
            1 => rich.size(21.0).strong(),
            2 => rich.size(18.0).strong(),
            3..=5 => rich.size(16.0).strong(),
            6 => rich.strong(),
            _ => rich,
        };
        if look.strong {
            rich = rich.strong();
        }
        if look.emphasised {
            rich = rich.italics();
        }
        if look.code {
            rich = rich.monospace();
        }
        if look.struck {
            rich = rich.strikethrough();
        }
        if look.weak {
            rich = rich.weak();
        }
        if highlighted {
            rich = rich
                .color(self.palette.on_highlight)
                .background_color(self.palette.highlight);
        }
        rich.append_to(job, ui.style(), FontSelection::Default, egui::Align::Center);
    }
}

/// A span cut at the edges of the highlighted place.
fn parted<'a>(span: &'a Span, goal: Option<&Range<usize>>) -> Vec<(&'a str, bool)> {
    let source = &span.source;
    let Some(goal) = goal.filter(|goal| goal.start < source.end && source.start < goal.end) else {
        return vec![(&span.text, false)];
    };
    if source.len() != span.text.len() {
        // The text does not stand in the source as it is (an escape, an entity): all of it or nothing.
        return vec![(&span.text, true)];
    }
    let from = goal.start.saturating_sub(source.start);
    let to = goal.end.min(source.end) - source.start;
    let from = span.text.floor_char_boundary(from);
    let to = span.text.ceil_char_boundary(to);
    [
        (&span.text[..from], false),
        (&span.text[from..to], true),
        (&span.text[to..], false),
    ]
    .into_iter()
    .filter(|(text, _)| !text.is_empty())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_highlight_covers_exactly_its_place() {
        let span = Span {
            text: "before the words after".into(),
            source: 10..32,
            look: Look::default(),
            mark: false,
        };
        assert_eq!(
            parted(&span, Some(&(17..26))),
            [("before ", false), ("the words", true), (" after", false)]
        );
        assert_eq!(
            parted(&span, Some(&(0..12))),
            [("be", true), ("fore the words after", false)]
        );
        assert_eq!(
            parted(&span, Some(&(32..40))),
            [("before the words after", false)]
        );
        assert_eq!(parted(&span, None).len(), 1);
    }

    #[test]
    fn a_view_grows_with_its_text() {
        let mut view = TextView::new(Form::Markdown, false);
        let mut text = String::new();
        for _ in 0..50 {
            text += &format!("{}\n\n", "word ".repeat(150));
            view.grow(&text);
        }
        let mut whole = TextView::new(Form::Markdown, false);
        whole.grow(&text);
        let ranges = |view: &TextView| {
            view.pieces
                .iter()
                .map(|l| l.piece.range.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(ranges(&view), ranges(&whole));
    }

    /// Draws a frame of a view in a scroll area; gives the processor's time that it took.
    fn frame(context: &egui::Context, view: &mut TextView, text: &str) -> std::time::Duration {
        let input = egui::RawInput {
            screen_rect: Some(egui::Rect::from_min_size(
                egui::Pos2::ZERO,
                egui::vec2(800.0, 600.0),
            )),
            ..egui::RawInput::default()
        };
        let before = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        drop(context.run_ui(input, |ui| {
            view.grow(text);
            egui::ScrollArea::vertical().show(ui, |ui| view.show(ui, text));
        }));
        let after = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let ns = (after.tv_sec - before.tv_sec) * 1_000_000_000 + (after.tv_nsec - before.tv_nsec);
        std::time::Duration::from_nanos(ns.unsigned_abs())
    }

    /// The slowest of some frames after the first ones, which lay out fonts.
    fn slowest(view: &mut TextView, texts: impl Iterator<Item = String>) -> std::time::Duration {
        let context = egui::Context::default();
        let mut slowest = std::time::Duration::ZERO;
        for (index, text) in texts.enumerate() {
            let took = frame(&context, view, &text);
            if index > 2 {
                slowest = slowest.max(took);
            }
        }
        slowest
    }

    #[test]
    fn what_is_being_read_stays_where_it_is_when_the_text_is_replaced() {
        let context = egui::Context::default();
        let paragraphs = |from: usize| -> String {
            (from..400)
                .map(|n| format!("Paragraph {n} of the text.\n\n"))
                .collect()
        };
        let old = paragraphs(0);
        let new = format!("# New\n\n{}", paragraphs(0)).replace("Paragraph 300 of", "300 of");
        let mut view = TextView::new(Form::Markdown, false);
        view.grow(&old);
        view.go_to(old.find("Paragraph 200").unwrap()..old.find("Paragraph 201").unwrap());
        let draw = |view: &mut TextView, text: &str| {
            // Scrolling to a place takes its time.
            for _ in 0..120 {
                frame(&context, view, text);
            }
            let (piece, above) = view.anchor_now().unwrap();
            (text[piece.range].lines().next().unwrap().to_owned(), above)
        };
        let before = draw(&mut view, &old);
        view.replace(&old, &new);
        let after = draw(&mut view, &new);
        assert_eq!(before.0, after.0);
        assert!((before.1 - after.1).abs() < 1.0, "{before:?} {after:?}");
        assert!(before.0.as_str() > "Paragraph 1", "{before:?}");
        assert_eq!(
            view.goal.map(|goal| new[goal].starts_with("Paragraph 200")),
            Some(true)
        );
    }

    #[test]
    fn an_answer_of_ten_megabytes_leaves_the_window_alive() {
        let paragraph = format!(
            "Some **words** of an answer [S1] that will not end. {}\n\n",
            "and on ".repeat(90)
        );
        let whole = paragraph.repeat(10 * 1024 * 1024 / paragraph.len());
        let mut view = TextView::new(Form::Markdown, true);
        view.grow(&whole[..whole.floor_char_boundary(whole.len() - 100_000)]);
        let pieces = (0..20).map(|i| whole[..whole.len() - 100_000 + i * 5000].to_owned());
        let slowest = slowest(&mut view, pieces);
        // Ten times what it takes on the slowest machine tried: a frame that lays out everything takes minutes.
        assert!(slowest.as_millis() < 100, "{slowest:?}");
    }

    #[test]
    fn a_document_of_one_line_of_five_megabytes_is_drawn_in_parts() {
        let line = "word ".repeat(1024 * 1024);
        let mut view = TextView::new(Form::Plain, false);
        view.grow(&line);
        view.go_to(4_000_000..4_000_010);
        let slowest = slowest(&mut view, std::iter::repeat_n(line, 12));
        assert!(slowest.as_millis() < 100, "{slowest:?}");
        let laid_out = view
            .pieces
            .iter()
            .filter(|laid| laid.blocks.is_some())
            .count();
        assert!(
            (1..40).contains(&laid_out),
            "{laid_out} pieces were laid out"
        );
    }
}
