//! Which workspace is open: switching, making, renaming and removing them.
//!
//! Start at [`workspace_ui`].

use eframe::egui::{self, Key, RichText};

use super::{Naming, Removal, Window, theme};
use crate::message::{Command, SyncCommand, WorkspaceCommand, WorkspaceSummary};
use crate::state::{Opening, Purpose};
use crate::units;

/// A button with the name of the open workspace, and a menu below it.
pub(super) fn workspace_ui(window: &mut Window, ui: &mut egui::Ui) {
    let name = window
        .state
        .status
        .as_ref()
        .map_or("Opening …", |status| status.name.as_str())
        .to_owned();
    let ready = matches!(window.state.opening, Opening::Done);
    let mut chosen = None;
    ui.add_enabled_ui(ready, |ui| {
        let button = egui::Button::new((name.as_str(), egui::Atom::grow()))
            .truncate()
            .min_size(egui::vec2(ui.available_width(), 0.0));
        let (response, _) = egui::containers::menu::MenuButton::from_button(button)
            .ui(ui, |ui| chosen = menu_ui(&window.state.workspaces, ui));
        response.on_hover_text("Workspace: documents and chats that belong together");
    });
    if let Some(choice) = chosen {
        carry_out(window, choice);
    }
}

/// What was chosen in the menu.
enum Choice {
    Switch(String),
    New,
    Rename(WorkspaceSummary),
    Remove(WorkspaceSummary),
}

fn menu_ui(workspaces: &[WorkspaceSummary], ui: &mut egui::Ui) -> Option<Choice> {
    let mut chosen = None;
    ui.set_min_width(220.0);
    for workspace in workspaces {
        let count = workspace
            .documents
            .map_or_else(|| "?".to_owned(), |count| count.to_string());
        let button = egui::Button::selectable(
            workspace.open_here,
            (
                workspace.name.as_str(),
                egui::Atom::grow(),
                theme::small(count),
            ),
        );
        if ui.add(button).clicked() && !workspace.open_here {
            chosen = Some(Choice::Switch(workspace.id.clone()));
            ui.close();
        }
    }
    ui.separator();
    if ui.button("New workspace …").clicked() {
        chosen = Some(Choice::New);
        ui.close();
    }
    if let Some(open) = workspaces.iter().find(|workspace| workspace.open_here)
        && ui.button("Rename this one …").clicked()
    {
        chosen = Some(Choice::Rename(open.clone()));
        ui.close();
    }
    for other in workspaces.iter().filter(|workspace| !workspace.open_here) {
        if ui.button(format!("Remove {} …", other.name)).clicked() {
            chosen = Some(Choice::Remove(other.clone()));
            ui.close();
        }
    }
    chosen
}

fn carry_out(window: &mut Window, choice: Choice) {
    match choice {
        Choice::Switch(workspace) => {
            let command = Command::Workspace(WorkspaceCommand::Switch { workspace });
            window.send(Purpose::Switch, "Opening the workspace", command);
        }
        Choice::New => {
            window.view.naming = Some(Naming::new("Name of the new workspace", "Make", "", None));
        }
        Choice::Rename(open) => {
            let naming = Naming::new("Name of the workspace", "Rename", &open.name, Some(open.id));
            window.view.naming = Some(naming);
        }
        Choice::Remove(other) => {
            let documents = units::count(other.documents.unwrap_or(0), "document");
            window.view.removing = Some(Removal {
                what: format!(
                    "the workspace “{}” with its {documents} and its chats (the files on disk stay)",
                    other.name
                ),
                command: Command::Workspace(WorkspaceCommand::Remove {
                    workspace: other.id,
                }),
                meaning: Removal::FOR_GOOD,
                closes_chat: false,
            });
        }
    }
}

/// Asks for a name: of a workspace, of a chat, or of a laptop.
pub(super) fn naming_ui(window: &mut Window, ui: &mut egui::Ui) {
    let Some(naming) = &mut window.view.naming else {
        return;
    };
    let mut decision = None;
    let modal = egui::Modal::new(egui::Id::unique("naming")).show(ui.ctx(), |ui| {
        ui.set_max_width(420.0);
        let label = ui.label(RichText::new(naming.question).strong());
        let field = ui
            .text_edit_singleline(&mut naming.name)
            .labelled_by(label.id);
        if std::mem::take(&mut naming.is_new) {
            field.request_focus();
        }
        let entered = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        ui.add_space(theme::GAP / 2.0);
        ui.horizontal(|ui| {
            let filled = !naming.name.trim().is_empty();
            let button = theme::primary(ui, naming.verb);
            if ui.add_enabled(filled, button).clicked() || (entered && filled) {
                decision = Some(true);
            }
            if ui.button("Cancel").clicked() {
                decision = Some(false);
            }
        });
    });
    if modal.should_close() && decision.is_none() {
        decision = Some(false);
    }
    if let Some(confirmed) = decision
        && let Some(naming) = window.view.naming.take()
        && confirmed
    {
        named(window, naming);
    }
}

fn named(window: &mut Window, naming: Naming) {
    let name = naming.name.trim().to_owned();
    if let Some(device) = naming.laptop {
        let command = Command::Sync(SyncCommand::RenameDevice { device, name });
        window.send(Purpose::Exchange, "Renaming the laptop", command);
        return;
    }
    let command = match (naming.chat, naming.workspace) {
        (Some(thread), _) => Command::RenameThread {
            thread,
            title: name,
        },
        (None, Some(workspace)) => Command::Workspace(WorkspaceCommand::Rename { workspace, name }),
        (None, None) => Command::Workspace(WorkspaceCommand::New { name }),
    };
    window.send(Purpose::Change, "Naming", command);
}
