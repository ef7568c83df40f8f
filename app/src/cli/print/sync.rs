//! What is printed about other laptops: how it stands, who is a member, connections, and a pairing on its way.
//!
//! Start at the method of what is printed; [`Printer::reply`] chooses it.

use super::{Printer, clean, write_json};
use crate::message::{
    Connection, DeviceStatus, EdgePhase, EdgeStatus, PairingEvent, Picture, SyncReport, SyncState,
};
use crate::units::{size, time};

impl Printer {
    pub(super) fn sync(&self, report: &SyncReport) {
        self.line(&self.bold(&clean(&report.line)));
        let Some(status) = &report.status else {
            if report.state == SyncState::NotShared {
                self.message("`satchel sync share LINK` shares it with another laptop.");
            }
            return;
        };
        self.line("");
        for device in &status.devices {
            self.device(device);
        }
        for edge in &status.edges {
            self.edge(edge);
        }
        let waits = [
            (status.unsent, "documents or chats wait to be sent"),
            (status.uploads, "files wait to be sent"),
            (status.downloads, "files are still to come"),
            (status.waiting, "entries have arrived and wait for others"),
            (
                status.quarantined,
                "entries of removed laptops were kept apart",
            ),
        ];
        for (number, words) in waits.into_iter().filter(|(number, _)| *number > 0) {
            self.line(&format!("  {number} {words}"));
        }
        for missing in &report.missing {
            let label = label_of(&status.devices, &missing.device.to_string());
            self.line(&format!(
                "  {} entries of {label} have not arrived",
                missing.entries
            ));
        }
        for warning in &status.warnings {
            self.line(&format!(
                "  ! {} ({})",
                clean(&warning.words),
                time(warning.at_ms)
            ));
        }
    }

    pub(super) fn devices(&self, devices: &[DeviceStatus]) {
        for device in devices {
            self.device(device);
        }
    }

    fn device(&self, device: &DeviceStatus) {
        let this = if device.is_this { ", this one" } else { "" };
        let standing = match device.removed_ms {
            Some(at_ms) => format!("removed {}", time(at_ms)),
            None => device.role.to_string(),
        };
        let heard = match device.last_heard_ms {
            Some(at_ms) if !device.is_this => format!(", last heard {}", time(at_ms)),
            _ => String::new(),
        };
        self.line(&format!(
            "{}  {} ({}), {standing}{this}, {} entries{heard}",
            self.dim(&device.id.to_string()[..12]),
            clean(&device.label),
            clean(&device.user),
            device.entries,
        ));
    }

    fn edge(&self, edge: &EdgeStatus) {
        let phase = match edge.phase {
            EdgePhase::Offline => "not connected",
            EdgePhase::Connecting => "connecting",
            EdgePhase::CatchingUp => "reading what is new",
            EdgePhase::UpToDate => "up to date",
            EdgePhase::Stopped => "stopped",
        };
        let reason = match &edge.reason {
            Some(reason) => format!(": {}", clean(reason)),
            None => String::new(),
        };
        let address = address(&edge.link);
        self.line(&format!("edge node {address}: {phase}{reason}"));
        let contact = edge
            .last_contact_ms
            .map_or_else(|| "never".to_owned(), time);
        let space = match edge.quota_bytes {
            0 => String::new(),
            quota => format!(", uses {} of {}", size(edge.used_bytes), size(quota)),
        };
        self.line(&format!(
            "  lacks {} entries, {} to read, last contact {contact}{space}",
            edge.lacks, edge.behind
        ));
    }

    /// Every connection that was made or tried.
    pub(crate) fn connections(&self, connections: &[Connection]) {
        if self.json {
            write_json(&connections);
            return;
        }
        for connection in connections {
            self.line(&format!(
                "{}  {}  {}",
                time(connection.at_ms),
                clean(&connection.address),
                clean(&connection.outcome)
            ));
        }
        if connections.is_empty() {
            self.message("No connection was made or tried.");
        }
    }

    pub(super) fn pairing(&self, news: &PairingEvent) {
        match news {
            PairingEvent::Code { code } => {
                if self.json {
                    write_json(&serde_json::json!({ "code": code }));
                    return;
                }
                self.line("");
                self.line(&format!("    {}", self.bold(code)));
                self.line("");
                self.message(
                    "Type this code on a laptop that has the workspace, within ten minutes:",
                );
                self.message(&format!("  satchel devices approve {code}"));
            }
            PairingEvent::Check { pictures } => {
                if self.json {
                    write_json(&serde_json::json!({ "pictures": pictures }));
                    return;
                }
                self.line(&row(pictures));
                self.message("The other laptop must show the same four. Waiting for its answer.");
            }
            PairingEvent::Request {
                user,
                label,
                pictures,
                ..
            } => {
                self.message(&format!(
                    "{} of {} wants to join.",
                    clean(label),
                    clean(user)
                ));
                self.message(&row(pictures));
            }
            PairingEvent::Joined { workspace } => self.message(&workspace.done),
        }
    }
}

fn row(pictures: &[Picture]) -> String {
    let shown: Vec<String> = pictures
        .iter()
        .map(|picture| format!("{} {}", picture.symbol, picture.name))
        .collect();
    format!("    {}", shown.join("   "))
}

fn label_of(devices: &[DeviceStatus], id: &str) -> String {
    devices
        .iter()
        .find(|device| device.id.to_string() == id)
        .map_or_else(
            || id[..12].to_owned(),
            |device| clean(&device.label).into_owned(),
        )
}

/// The part of a link that says where: the rest is for programs.
fn address(link: &str) -> &str {
    let link = link.strip_prefix("satchel-edge:").unwrap_or(link);
    link.trim_start_matches('/')
        .split('/')
        .next()
        .unwrap_or(link)
}
