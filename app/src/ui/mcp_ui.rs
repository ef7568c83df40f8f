//! Tools of other programs: whether one may be called, and the MCP servers that are set up.
//!
//! Start at [`call_ui`] and [`servers_ui`].

use eframe::egui::{self, RichText};

use super::{Purpose, Window, theme};
use crate::config::McpServer;
use crate::message::{Command, McpCommand, ToolRequest};

/// Tallest view of what would be handed over; the rest is scrolled.
const ARGUMENTS_HEIGHT: f32 = 220.0;

/// A server that is being entered.
#[derive(Default)]
pub(super) struct Draft {
    name: String,
    command: String,
    /// It was sent; what was typed stays until it is among the settings.
    is_sent: bool,
}

/// Asks whether a tool may be called. Gives the answer.
pub(super) fn call_ui(request: &ToolRequest, ui: &mut egui::Ui) -> Option<bool> {
    let mut answer = None;
    theme::card(ui).show(ui, |ui| {
        ui.set_width(ui.available_width());
        let ToolRequest {
            server,
            tool,
            arguments,
            ..
        } = request;
        ui.label(RichText::new(format!("Call {tool} of {server}?")).strong());
        ui.label(format!(
            "The model wants to use the MCP server {server}, which is another program. It would be given all of this, and nothing else:"
        ));
        egui::ScrollArea::vertical()
            .id_salt("arguments")
            .max_height(ARGUMENTS_HEIGHT)
            .show(ui, |ui| {
                ui.add(egui::Label::new(RichText::new(arguments).monospace()).wrap());
            });
        ui.horizontal(|ui| {
            if ui.button("Do not call it").clicked() {
                answer = Some(false);
            }
            if ui.button("Allow, this once").clicked() {
                answer = Some(true);
            }
        });
    });
    answer
}

/// The servers that are set up.
pub(super) fn servers_ui(window: &mut Window, ui: &mut egui::Ui) {
    ui.label(
        "The chat model may use tools of these programs where it may look further. You see and allow each call. \
         They run with your own rights: they may read files and use the network.",
    );
    let Some(report) = &window.state.settings else {
        return;
    };
    let mut command = None;
    for (name, server) in &report.settings.mcp_servers {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(name).strong());
            ui.label(theme::small(server.line()));
            let remove = ui.small_button("Remove");
            if remove
                .on_hover_text(format!("Take {name} out of the settings"))
                .clicked()
            {
                command = Some(McpCommand::Remove { name: name.clone() });
            }
        });
    }
    let draft = &mut window.view.mcp;
    if draft.is_sent && report.settings.mcp_servers.contains_key(draft.name.trim()) {
        *draft = Draft::default();
    }
    ui.horizontal_wrapped(|ui| {
        let name = ui.add(
            egui::TextEdit::singleline(&mut draft.name)
                .hint_text("Name")
                .desired_width(110.0),
        );
        name.accessible_name("Name of the MCP server");
        let line = ui.add(
            egui::TextEdit::singleline(&mut draft.command)
                .hint_text("Command with its arguments")
                .desired_width(300.0),
        );
        line.accessible_name("Command of the MCP server");
        let mut words = draft.command.split_whitespace().map(str::to_owned);
        let possible = !draft.name.trim().is_empty() && !draft.command.trim().is_empty();
        if ui
            .add_enabled(possible, egui::Button::new("Add"))
            .on_hover_text("Arguments with spaces and variables: satchel mcp-servers add")
            .clicked()
        {
            command = Some(McpCommand::Add {
                name: draft.name.trim().to_owned(),
                server: McpServer {
                    command: words.next().unwrap_or_default(),
                    args: words.collect(),
                    env: std::collections::BTreeMap::new(),
                },
            });
            draft.is_sent = true;
        }
    });
    if let Some(command) = command {
        window.send(Purpose::Change, "Changing settings", Command::Mcp(command));
    }
}

impl Window {
    /// Says whether the call that waits may be made.
    pub(super) fn answer_call(&mut self, allow: bool) {
        if let Some(request) = self.state.chat.take_call() {
            self.send(Purpose::Refresh, "", request.answered(allow));
        }
    }
}
