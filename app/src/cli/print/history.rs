//! What is printed about earlier versions, and about what two laptops changed at once.
//!
//! Start at the method of what is printed; [`Printer::reply`] chooses it.

use super::{Printer, clean, write_json};
use crate::message::{
    Author, ConflictReport, DifferenceReport, HistoryReport, Meeting, NameChoice, SyncReport,
    VersionSummary,
};
use crate::units::{size, time, time_or_unknown};

impl Printer {
    pub(super) fn history(&self, report: &HistoryReport) {
        self.line(&self.bold(&clean(&report.title)));
        for version in &report.versions {
            let now = if version.is_now { "  (now)" } else { "" };
            self.line(&format!(
                "{:>5}  {}  {:<16}  {:>9}  {:>9}  {}{now}",
                version.number,
                self.dim(&version.id),
                time_or_unknown(version.at_ms),
                size(version.text_bytes),
                version.change(),
                clean(&version.who()),
            ));
        }
        let left_out = report.total - report.versions.len();
        if left_out > 0 {
            self.message(&format!(
                "{left_out} older versions are not shown; `--limit 0` lists all."
            ));
        }
    }

    pub(super) fn difference(&self, report: &DifferenceReport) {
        let name = |version: &VersionSummary| {
            format!(
                "version {} ({}, {})",
                version.number,
                clean(&version.who()),
                time_or_unknown(version.at_ms)
            )
        };
        let from = report.from.as_ref().map_or("nothing".to_owned(), name);
        self.line(&self.bold(&clean(&report.title)));
        self.line(&self.signed('-', &format!("-- {from}")));
        self.line(&self.signed('+', &format!("++ {}", name(&report.to))));
        for hunk in &report.hunks {
            self.line(&self.dim(&hunk.heading()));
            for line in &hunk.lines {
                self.line(&self.signed(line.sign, &clean(&line.text)));
            }
        }
        self.message(&match (report.added, report.removed) {
            (0, 0) => "Their texts are equal.".to_owned(),
            (added, removed) => {
                let lines = if added == 1 { "line" } else { "lines" };
                format!("{added} {lines} came, {removed} went.")
            }
        });
    }

    /// How the sync stands, with what was changed on two laptops at once.
    pub(crate) fn sync_status(&self, report: &SyncReport, conflicts: &ConflictReport) {
        if !self.json {
            self.sync(report);
            if report.status.is_some() {
                self.conflicts(conflicts);
            }
            return;
        }
        match serde_json::to_value(report) {
            Ok(serde_json::Value::Object(mut fields)) => {
                fields.insert("conflicts".to_owned(), serde_json::json!(conflicts));
                write_json(&fields);
            }
            _ => write_json(report),
        }
    }

    pub(super) fn conflicts(&self, report: &ConflictReport) {
        self.line("");
        if report.is_empty() {
            self.line(&format!(
                "Nothing was changed on two laptops at once since {}.",
                time(report.since_ms)
            ));
        } else {
            self.line(&self.bold(&format!(
                "Changed on two laptops at once since {}; everything was kept:",
                time(report.since_ms)
            )));
        }
        for met in &report.documents {
            self.meeting(met);
        }
        for choice in &report.names {
            self.name_choice(choice);
        }
        for chat in &report.chats {
            let ends: Vec<String> = chat
                .branches
                .iter()
                .map(|end| format!("{} {}", clean(end.author.name()), time(end.at_ms)))
                .collect();
            self.line(&format!(
                "  chat “{}”: {} branches ({})",
                clean(&chat.title),
                chat.branches.len(),
                ends.join("; ")
            ));
            self.line(&format!(
                "    satchel chat --show {} --branch 2",
                &chat.chat[..12]
            ));
        }
        if report.unreadable > 0 {
            self.line(&format!(
                "  {} documents or chats could not be looked at; see `satchel doctor`",
                report.unreadable
            ));
        }
    }

    fn meeting(&self, met: &Meeting) {
        let lines = if met.same_lines {
            "the same lines: read what became of them"
        } else {
            "different lines"
        };
        self.line(&format!("  “{}”: {lines}", clean(&met.title)));
        for side in &met.sides {
            self.line(&format!(
                "    version {:<4} {}  {}",
                side.version,
                time_or_unknown(side.at_ms),
                clean(&Author::names(&side.authors)),
            ));
        }
        self.line(&format!("    version {:<4} both joined", met.joined));
        let id = &met.document[..12];
        let base = met.base.map_or_else(String::new, |base| {
            let side = met.sides.last().map_or(met.joined, |side| side.version);
            format!("satchel documents diff {id} --from {base} --to {side}; ")
        });
        self.line(&self.dim(&format!("    {base}satchel documents restore {id} VERSION")));
    }

    fn name_choice(&self, choice: &NameChoice) {
        self.line(&format!("  name of a {}:", choice.what));
        for value in &choice.values {
            let in_force = if value.in_force { ", in force" } else { "" };
            self.line(&format!(
                "    “{}”  {} {}{in_force}",
                clean(&value.value),
                clean(value.author.name()),
                time_or_unknown(value.at_ms),
            ));
        }
    }
}
