//! Laptops & sync: sharing the workspace, joining one of another laptop, who has it, and what waits.
//!
//! Only draws the report of the backend and sends commands. Start at [`sync_ui`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use eframe::egui::{self, RichText};

use super::asked_ui::lend_ui;
use super::chat_ui::column;
use super::conflicts_ui::conflicts_ui;
use super::pairing_ui::{joining_ui, letting_in_ui, role_ui, role_word};
use super::{Naming, Removal, Screen, Window, fields, theme};
use crate::message::{
    Command, DeviceStatus, EdgePhase, EdgeStatus, Role, SyncCommand, SyncReport, SyncState,
};
use crate::state::sync;
use crate::state::{Opening, Purpose, Reader};
use crate::units::{self, size};

/// Words like “2 min ago” are brought up to date this often, in a shared workspace.
const WORDS_AGE: Duration = Duration::from_secs(60);
/// Longest that “Sync now” tries, in milliseconds.
const EXCHANGE_MS: u64 = 60_000;
/// Connections shown; the backend keeps more.
const CONNECTIONS_SHOWN: usize = 50;

/// Fields being typed into.
pub(super) struct Draft {
    link: String,
    label: String,
    user: String,
    invitation: String,
    /// What the new laptop shows.
    pub(super) code: String,
    /// What it may do.
    pub(super) role: Role,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            link: String::new(),
            label: String::new(),
            user: String::new(),
            invitation: String::new(),
            code: String::new(),
            role: Role::Writer,
        }
    }
}

impl Draft {
    fn user(&self) -> Option<String> {
        given(&self.user)
    }

    fn label(&self) -> Option<String> {
        given(&self.label)
    }
}

fn given(text: &str) -> Option<String> {
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// What was clicked.
pub(super) enum Wanted {
    Share,
    Join,
    StopJoining,
    LetIn,
    StopLettingIn,
    Answer(bool),
    Rename(DeviceStatus),
    Remove(DeviceStatus),
    SetRole(DeviceStatus, Role),
    Exchange,
    ForgetWarnings,
    Lend(bool),
    Settings,
    /// Look at the versions of a document.
    Versions(String),
}

/// Draws the laptops of the workspace.
pub(super) fn sync_ui(window: &mut Window, ui: &mut egui::Ui) {
    let ready = matches!(window.state.opening, Opening::Done);
    let mut wanted = None;
    egui::ScrollArea::vertical()
        .auto_shrink(false)
        .show(ui, |ui| {
            column(ui, |ui| {
                ui.add_space(8.0);
                ui.label(RichText::new("Laptops & sync").heading().strong());
                ui.add_enabled_ui(ready, |ui| wanted = page_ui(window, ui));
                ui.add_space(theme::GAP * 2.0);
            });
        });
    if let Some(wanted) = wanted {
        carry_out(window, wanted);
    }
}

fn carry_out(window: &mut Window, wanted: Wanted) {
    let draft = &mut window.view.sync;
    match wanted {
        Wanted::Share => {
            let command = SyncCommand::Share {
                link: draft.link.trim().to_owned(),
                invitation: given(&draft.invitation),
                user: draft.user(),
                label: draft.label(),
            };
            window.state.sync.failure = None;
            window.send(Purpose::Share, "Sharing", Command::Sync(command));
        }
        Wanted::Join => {
            let (job, command) = window.state.join(&draft.link, draft.user(), draft.label());
            window.link.send(job, command);
        }
        Wanted::StopJoining => {
            if let Some(joining) = &window.state.sync.joining {
                window.stop(joining.job);
            }
        }
        Wanted::Lend(lends) => window.change_setting("lend_model", lends.to_string()),
        Wanted::LetIn => {
            let code = std::mem::take(&mut draft.code);
            let (job, command) = window.state.let_in(&code, draft.role);
            window.link.send(job, command);
        }
        Wanted::StopLettingIn => {
            if let Some(letting_in) = &window.state.sync.letting_in {
                window.stop(letting_in.job);
            }
        }
        Wanted::Answer(accept) => {
            if let Some(command) = window.state.answer_request(accept) {
                window.send(Purpose::Refresh, "", command);
            }
        }
        Wanted::Rename(device) => {
            let naming = Naming::of_laptop(device.id.to_string(), &device.label);
            window.view.naming = Some(naming);
        }
        Wanted::Remove(device) => {
            window.view.removing = Some(Removal {
                what: format!("the laptop “{}” of {}", device.label, device.user),
                meaning: "Everything up to now stays on that laptop; nothing new reaches it, and what it writes is not taken any more.",
                command: Command::Sync(SyncCommand::RemoveDevice {
                    device: device.id.to_string(),
                }),
                closes_chat: false,
            });
        }
        Wanted::SetRole(device, role) => {
            let device = device.id.to_string();
            let command = SyncCommand::SetRole { device, role };
            window.send(Purpose::Exchange, "", Command::Sync(command));
        }
        Wanted::Exchange => {
            let timeout_ms = EXCHANGE_MS;
            let command = Command::Sync(SyncCommand::Now { timeout_ms });
            window.send(Purpose::Exchange, "Sending and receiving", command);
        }
        Wanted::ForgetWarnings => {
            let command = Command::Sync(SyncCommand::ForgetWarnings);
            window.send(Purpose::Exchange, "", command);
        }
        Wanted::Settings => window.show(Screen::Settings),
        Wanted::Versions(document) => {
            window.read(&document);
            let hidden = |reader: &Reader| reader.past.is_none();
            if window.state.reader.as_ref().is_some_and(hidden) {
                let wishes = window.state.toggle_past();
                window.wish(wishes);
            }
        }
    }
}

fn page_ui(window: &mut Window, ui: &mut egui::Ui) -> Option<Wanted> {
    let sync = &window.state.sync;
    if let Some(joining) = &sync.joining {
        return joining_ui(joining, ui);
    }
    let draft = &mut window.view.sync;
    let Some(report) = &sync.report else {
        ui.label("Opening …");
        return None;
    };
    if sync.is_shared() {
        let busy = window.state.is_busy(Purpose::Exchange);
        let mut wanted = standing_ui(report, busy, ui);
        if let Some(status) = &report.status {
            let role = status.role;
            heading(ui, "Laptops");
            for device in &status.devices {
                let one = device_ui(device, role == Some(Role::Owner), !busy, ui);
                wanted = wanted.or(one);
            }
            if let Some(settings) = &window.state.settings
                && sync.has_others()
            {
                let one = lend_ui(settings.settings.lend_model, ui);
                wanted = wanted.or(one.map(Wanted::Lend));
            }
            if role == Some(Role::Owner) {
                ui.add_space(theme::GAP / 2.0);
                let letting_in = sync.letting_in.as_ref();
                let one = letting_in_ui(draft, letting_in, sync.not_let_in.as_deref(), ui);
                wanted = wanted.or(one);
            } else if role.is_some() {
                ui.label(theme::small(
                    "Only a laptop that is an owner can add, remove or rename others.",
                ));
            }
            heading(ui, "Edge node");
            for edge in &status.edges {
                edge_ui(edge, ui);
            }
            heading(ui, "What waits");
            waiting_ui(report, ui);
            heading(ui, "Changed on two laptops at once");
            let one = conflicts_ui(sync.conflicts.as_ref(), ui);
            wanted = wanted.or(one.map(Wanted::Versions));
            connections_ui(report, ui);
        }
        ui.add_space(theme::GAP / 2.0);
        egui::CollapsingHeader::new("Join another workspace")
            .id_salt("join")
            .show(ui, |ui| {
                place_ui(draft, ui);
                let one = join_ui(draft, sync.failure.as_deref(), ui);
                wanted = wanted.take().or(one);
            });
        wanted
    } else {
        let name = window.state.status.as_ref();
        let name = name.map_or("this workspace", |status| status.name.as_str());
        let sharing = window.state.is_busy(Purpose::Share);
        alone_ui(draft, name, sharing, sync.failure.as_deref(), ui)
    }
}

fn heading(ui: &mut egui::Ui, text: &str) {
    ui.add_space(theme::GAP);
    ui.label(RichText::new(text).size(18.0).strong());
    ui.add_space(2.0);
}

/// A card over the whole column.
pub(super) fn wide_card<R>(ui: &mut egui::Ui, content: impl FnOnce(&mut egui::Ui) -> R) -> R {
    theme::card(ui)
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            content(ui)
        })
        .inner
}

/// A sentence that goes over several lines where it has to.
pub(super) fn sentence(ui: &mut egui::Ui, text: impl Into<egui::WidgetText>) {
    ui.add(egui::Label::new(text).wrap());
}

/// What went wrong, if anything did.
pub(super) fn problem_ui(ui: &mut egui::Ui, text: Option<&str>) {
    if let Some(text) = text {
        let colour = theme::palette(ui).problem;
        sentence(ui, RichText::new(text).color(colour));
    }
}

// ---- A workspace on this laptop alone.

fn alone_ui(
    draft: &mut Draft,
    workspace: &str,
    sharing: bool,
    failure: Option<&str>,
    ui: &mut egui::Ui,
) -> Option<Wanted> {
    let mut wanted = None;
    sentence(
        ui,
        "This workspace is on this laptop alone. Shared, its documents and chats are kept equal on several laptops of yours; they meet at an edge node, which passes on sealed packets and cannot read them.",
    );
    ui.add_space(theme::GAP / 2.0);
    place_ui(draft, ui);
    problem_ui(ui, failure);
    ui.add_space(theme::GAP / 2.0);
    wide_card(ui, |ui| {
        ui.label(RichText::new(format!("Share “{workspace}”")).strong());
        sentence(
            ui,
            "For the first laptop. Others get it when you add them here by the code that they show.",
        );
        ui.horizontal_wrapped(|ui| {
            let ready = !sharing && !draft.link.trim().is_empty();
            if ui.add_enabled(ready, theme::primary(ui, "Share")).clicked() {
                wanted = Some(Wanted::Share);
            }
            let hint = "Invitation, if the operator gave one";
            let field = &mut draft.invitation;
            fields::line(ui, field, "Invitation", hint, 260.0);
            if sharing {
                ui.spinner();
            }
        });
    });
    ui.add_space(4.0);
    wanted.or(join_ui(draft, None, ui))
}

/// Which edge node, and who this laptop is to the others.
fn place_ui(draft: &mut Draft, ui: &mut egui::Ui) {
    egui::Grid::new("place")
        .num_columns(2)
        .spacing([18.0, 6.0])
        .show(ui, |ui| {
            for (name, hint, text) in [
                (
                    "Link of the edge node",
                    "satchel-edge:… as its operator gave it",
                    &mut draft.link,
                ),
                (
                    "Name of this laptop",
                    "Empty: the name of the machine",
                    &mut draft.label,
                ),
                (
                    "Your name",
                    "Empty: the name of your account",
                    &mut draft.user,
                ),
            ] {
                let label = ui.label(name);
                let field = egui::TextEdit::singleline(text)
                    .hint_text(hint)
                    .desired_width(ui.available_width());
                ui.add(field).labelled_by(label.id);
                ui.end_row();
            }
        });
}

fn join_ui(draft: &Draft, failure: Option<&str>, ui: &mut egui::Ui) -> Option<Wanted> {
    let mut wanted = None;
    wide_card(ui, |ui| {
        ui.label(RichText::new("Join from another laptop").strong());
        sentence(
            ui,
            "For the second laptop and all after it. Shows a code to type on a laptop that shares already; its workspace is put beside yours, which stay as they are.",
        );
        problem_ui(ui, failure);
        let ready = !draft.link.trim().is_empty();
        if ui
            .add_enabled(ready, egui::Button::new("Show a code"))
            .clicked()
        {
            wanted = Some(Wanted::Join);
        }
    });
    wanted
}

// ---- How it stands.

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// A time in words, which are brought up to date as long as they are shown.
fn ago(ui: &egui::Ui) -> impl Fn(i64) -> String + use<> {
    ui.ctx().request_repaint_after(WORDS_AGE);
    let now = now_ms();
    move |at| sync::ago(at, now)
}

/// A few words in the bar below. Gives whether they were clicked.
pub(super) fn line_ui(report: &SyncReport, ui: &mut egui::Ui) -> bool {
    if report.state == SyncState::NotShared {
        return false;
    }
    let Some(words) = sync::short(report, ago(ui)) else {
        return false;
    };
    let palette = theme::palette(ui);
    let text = match report.state {
        SyncState::Stopped | SyncState::Removed => theme::small(&words).color(palette.problem),
        SyncState::Offline => theme::small(&words).color(palette.warning),
        _ => theme::small(&words),
    };
    ui.spacing_mut().button_padding = egui::Vec2::ZERO;
    ui.spacing_mut().interact_size.y = 0.0;
    ui.add(egui::Button::new(text).frame(false))
        .on_hover_text(format!("{}. Click for the laptops.", report.line))
        .clicked()
}

fn standing_ui(report: &SyncReport, busy: bool, ui: &mut egui::Ui) -> Option<Wanted> {
    let mut wanted = None;
    wide_card(ui, |ui| {
        let ago = ago(ui);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Min), |ui| {
            let possible =
                !busy && !matches!(report.state, SyncState::Removed | SyncState::Forbidden);
            let button = egui::Button::new("Sync now");
            if ui
                .add_enabled(possible, button)
                .on_hover_text("Sends and receives everything now")
                .clicked()
            {
                wanted = Some(Wanted::Exchange);
            }
            ui.with_layout(egui::Layout::top_down(egui::Align::Min), |ui| {
                sentence(ui, RichText::new(sync::summary(report, &ago)).strong());
            });
        });
        let palette = theme::palette(ui);
        match report.state {
            SyncState::Equal | SyncState::NotShared => {
                ui.label(theme::small(&report.line));
            }
            SyncState::Working => {
                ui.label(theme::small(format!("{} …", report.line)));
            }
            SyncState::Forbidden => {
                sentence(
                    ui,
                    RichText::new(
                        "Connections are forbidden: changes wait here until they are allowed.",
                    )
                    .color(palette.warning),
                );
                if ui.button("Settings").clicked() {
                    wanted = Some(Wanted::Settings);
                }
            }
            SyncState::Offline => sentence(ui, RichText::new(&report.line).color(palette.warning)),
            SyncState::Removed => {
                problem_ui(
                    ui,
                    Some(
                        "This laptop was removed from the workspace. What is here stays; nothing new comes, and nothing is sent.",
                    ),
                );
            }
            SyncState::Stopped => problem_ui(ui, Some(&report.line)),
        }
    });
    let warnings = report.status.iter().flat_map(|status| &status.warnings);
    let warnings: Vec<_> = warnings.collect();
    if !warnings.is_empty() {
        ui.add_space(4.0);
        wide_card(ui, |ui| {
            let ago = ago(ui);
            let colour = theme::palette(ui).warning;
            for warning in &warnings {
                ui.horizontal_top(|ui| {
                    ui.label(RichText::new("!").strong().color(colour));
                    sentence(ui, format!("{} ({})", warning.words, ago(warning.at_ms)));
                });
            }
            if ui.button("Dismiss warnings").clicked() {
                wanted = Some(Wanted::ForgetWarnings);
            }
        });
    }
    wanted
}

fn device_ui(
    device: &DeviceStatus,
    is_owner: bool,
    is_free: bool,
    ui: &mut egui::Ui,
) -> Option<Wanted> {
    let mut wanted = None;
    let is_member = device.removed_ms.is_none();
    ui.push_id(device.id, |ui| {
        wide_card(ui, |ui| {
            ui.horizontal(|ui| {
                ui.set_min_height(ui.spacing().interact_size.y);
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    ui.add_enabled_ui(is_free, |ui| {
                        if is_member && is_owner {
                            if !device.is_this
                                && ui
                                    .button("Remove")
                                    .accessible_name(format!("Remove {}", device.label))
                                    .clicked()
                            {
                                wanted = Some(Wanted::Remove(device.clone()));
                            }
                            if ui
                                .button("Rename")
                                .accessible_name(format!("Rename {}", device.label))
                                .clicked()
                            {
                                wanted = Some(Wanted::Rename(device.clone()));
                            }
                            let mut role = device.role;
                            let name = format!("Role of {}", device.label);
                            if !device.is_this && role_ui(&name, "member", &mut role, ui) {
                                wanted = Some(Wanted::SetRole(device.clone(), role));
                            }
                        }
                    });
                    ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                        let name = RichText::new(&device.label);
                        let name = if is_member {
                            name.strong()
                        } else {
                            name.weak()
                        };
                        let tag = if device.is_this { 84.0 } else { 0.0 };
                        ui.scope(|ui| {
                            ui.set_max_width((ui.available_width() - tag).max(40.0));
                            ui.add(egui::Label::new(name).truncate());
                        });
                        if device.is_this {
                            let colour = theme::palette(ui).good;
                            ui.label(RichText::new("this laptop").small().color(colour));
                        }
                    });
                });
            });
            ui.label(theme::small(facts(device, ago(ui))));
        });
    });
    wanted
}

fn facts(device: &DeviceStatus, ago: impl Fn(i64) -> String) -> String {
    let written = units::count(
        usize::try_from(device.entries).unwrap_or(usize::MAX),
        "change",
    );
    let state = match (device.removed_ms, device.is_this, device.last_heard_ms) {
        (Some(at), _, _) => format!("removed {}; gets nothing new", ago(at)),
        (None, true, _) => format!("{written} written"),
        (None, false, Some(at)) => format!("last heard {} · {written}", ago(at)),
        (None, false, None) => "nothing heard yet".to_owned(),
    };
    format!("{} · {} · {state}", device.user, role_word(device.role))
}

fn edge_ui(edge: &EdgeStatus, ui: &mut egui::Ui) {
    ui.push_id(&edge.link, |ui| {
        wide_card(ui, |ui| {
            let palette = theme::palette(ui);
            let ago = ago(ui);
            ui.add(egui::Label::new(RichText::new(&edge.link).monospace().small()).truncate());
            let colour = match edge.phase {
                EdgePhase::UpToDate => palette.good,
                EdgePhase::Connecting | EdgePhase::CatchingUp | EdgePhase::Offline => {
                    palette.warning
                }
                EdgePhase::Stopped => palette.problem,
            };
            let mut words = sync::phase(edge.phase).to_owned();
            if let Some(reason) = &edge.reason {
                words += ": ";
                words += reason;
            }
            if edge.phase != EdgePhase::UpToDate
                && let Some(at) = edge.last_contact_ms
            {
                words += &format!(" (last answer {})", ago(at));
            }
            sentence(ui, RichText::new(words).color(colour));
            let mut facts = Vec::new();
            if edge.lacks > 0 {
                facts.push(format!(
                    "lacks {} of this laptop",
                    units::count(edge.lacks, "change")
                ));
            }
            if edge.behind > 0 {
                facts.push(format!(
                    "{} there not read yet",
                    units::count(edge.behind as usize, "change")
                ));
            }
            if edge.quota_bytes > 0 {
                let (used, quota) = (size(edge.used_bytes), size(edge.quota_bytes));
                facts.push(format!("{used} of {quota} used"));
            }
            if edge.sessions > 0 {
                facts.push(units::count(edge.sessions.into(), "open connection"));
            }
            if !facts.is_empty() {
                ui.label(theme::small(facts.join(" · ")));
            }
        });
    });
}

fn waiting_ui(report: &SyncReport, ui: &mut egui::Ui) {
    let Some(status) = &report.status else { return };
    let label_of = |id| {
        let device = status.devices.iter().find(|device| device.id == id);
        device.map_or("an unknown laptop", |device| device.label.as_str())
    };
    let mut lines: Vec<String> = [
        (
            status.unsent,
            "document or chat",
            "documents and chats",
            "with changes that no edge node has yet",
        ),
        (status.uploads, "file", "files", "to send"),
        (status.downloads, "file", "files", "to come"),
        (
            status.waiting,
            "change",
            "changes",
            "that came and wait for others before them",
        ),
        (
            status.quarantined,
            "change",
            "changes",
            "of removed laptops, kept apart",
        ),
    ]
    .into_iter()
    .filter(|(number, ..)| *number > 0)
    .map(|(number, one, many, what)| {
        format!("{number} {} {what}", if number == 1 { one } else { many })
    })
    .collect();
    for missing in &report.missing {
        let entries = usize::try_from(missing.entries).unwrap_or(usize::MAX);
        let changes = units::count(entries, "change");
        lines.push(format!(
            "{changes} of {} that others have and that did not come here",
            label_of(missing.device)
        ));
    }
    if status.awaits_documents {
        lines.push("The list of documents has not come yet".to_owned());
    }
    if lines.is_empty() {
        ui.label(theme::small("Nothing that this laptop knows of."));
    }
    for line in lines {
        sentence(ui, format!("· {line}"));
    }
}

fn connections_ui(report: &SyncReport, ui: &mut egui::Ui) {
    ui.add_space(theme::GAP);
    let all = &report.connections;
    egui::CollapsingHeader::new(format!("Connections made or tried ({})", all.len()))
        .id_salt("connections")
        .show(ui, |ui| {
            let ago = ago(ui);
            for connection in all.iter().rev().take(CONNECTIONS_SHOWN) {
                let words = format!(
                    "{} · {} · {}",
                    ago(connection.at_ms),
                    connection.address,
                    connection.outcome
                );
                ui.add(egui::Label::new(theme::small(words)).wrap());
            }
            if all.is_empty() {
                ui.label(theme::small("None yet."));
            }
        });
}
