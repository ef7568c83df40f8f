//! Lists and overviews on the terminal: documents, chats, models, workspaces, findings, settings, paths.
//!
//! Start at the method of what is printed; [`Printer::reply`] chooses it.

use super::{Printer, clean, indent, write_json};
use crate::config::DataDirs;
use crate::message::{
    AskedReport, CatalogReport, CatalogSummary, DocumentSummary, FileOutcome, Finding, HubReport,
    Level, McpServerReport, ModelDetails, ModelSummary, SettingsReport, StatusReport, ThreadReport,
    ThreadSummary, WorkspaceSummary,
};
use crate::units::{size, time};

impl Printer {
    pub(super) fn documents(&self, documents: &[DocumentSummary]) {
        for document in documents {
            let indexed = if document.indexed {
                ""
            } else {
                "  (not indexed yet)"
            };
            self.line(&format!(
                "{}  {:>9}  {}{indexed}",
                &document.id[..12],
                size(document.original_bytes.max(document.text_bytes)),
                clean(document.path.as_deref().unwrap_or(&document.title)),
            ));
        }
        if documents.is_empty() {
            self.message("There are no documents yet. Import some with `satchel import FOLDER`.");
        }
    }

    pub(super) fn settings(&self, report: &SettingsReport) {
        match toml::to_string_pretty(&report.settings) {
            Ok(text) => self.line(text.trim_end()),
            Err(error) => self.message(&format!("the settings cannot be written out: {error}")),
        }
        self.message(&format!("From {}", report.file.display()));
    }

    pub(super) fn mcp_servers(&self, servers: &[McpServerReport]) {
        if servers.is_empty() {
            self.message(
                "There are no MCP servers. `satchel mcp-servers add NAME -- COMMAND` sets one up.",
            );
        }
        for server in servers {
            self.line(&format!("{}  {}", server.name, clean(&server.command)));
            if !server.variables.is_empty() {
                self.line(&format!("  is given {}", server.variables.join(", ")));
            }
            for tool in server.tools.iter().flatten() {
                let about = clean(&tool.description);
                self.line(&format!("  {}.{}  {about}", server.name, tool.name));
            }
            if server.tools.as_ref().is_some_and(Vec::is_empty) {
                self.message("  It offers no tools that can be used.");
            }
            for reason in &server.left_out {
                self.message(&format!("  left out: {reason}"));
            }
        }
    }

    pub(super) fn threads(&self, threads: &[ThreadSummary]) {
        for thread in threads {
            self.line(&format!("{}  {}", &thread.id[..12], clean(&thread.title)));
        }
        if threads.is_empty() {
            self.message("There are no chats yet. `satchel chat` starts one.");
        }
    }

    pub(super) fn thread(&self, report: &ThreadReport) {
        for message in &report.messages {
            let who = if message.role == "user" {
                "You"
            } else {
                "Satchel"
            };
            let on = match &message.on {
                Some(on) => format!(" on {}", clean(on)),
                None if report.branches.len() > 1 => format!(" ({})", clean(message.author.name())),
                None => String::new(),
            };
            self.line(&format!(
                "{} {}",
                self.bold(&format!("{who}{on}:")),
                clean(&message.text)
            ));
            for citation in &message.citations {
                let changed = if citation.changed {
                    " (changed since)"
                } else {
                    ""
                };
                let reference = citation.reference.as_deref().unwrap_or("gone");
                let mark = super::bracketed(&citation.mark);
                self.line(&format!(
                    "  {mark}{} {}{changed}",
                    clean(&citation.place),
                    self.dim(reference)
                ));
            }
            if let Some(asked) = &message.asked {
                self.asked(asked);
            }
            self.line("");
        }
        self.branches(report);
        let mut asked = report
            .messages
            .iter()
            .filter_map(|message| message.asked.as_ref());
        if asked.any(AskedReport::is_open) {
            let chat = &report.thread.id[..12];
            self.message(&format!(
                "`satchel chat --show {chat}` shows the answer when it has come; `satchel chat --withdraw {chat}` takes the question back."
            ));
        }
    }

    /// How far another laptop is with a question, and what it has written.
    fn asked(&self, asked: &AskedReport) {
        if let Some(line) = asked.line() {
            self.line(&indent(&self.dim(&clean(&line))));
        }
        if !asked.draft.is_empty() {
            self.line(&indent(&clean(&asked.draft)));
        }
    }

    /// The other branches of a chat, and how to see them.
    fn branches(&self, report: &ThreadReport) {
        let count = report.branches.len();
        if count < 2 {
            return;
        }
        self.message(&format!(
            "This is branch {} of {count}: the chat went on from one message in several ways.",
            report.branch
        ));
        for (index, branch) in report.branches.iter().enumerate() {
            let shown = if index + 1 == report.branch { "*" } else { " " };
            self.message(&format!(
                "{shown} --branch {}  {}  {}, {} messages: {}",
                index + 1,
                time(branch.at_ms),
                branch.author.name(),
                branch.messages,
                super::snippet(&branch.question, 60),
            ));
        }
    }

    pub(super) fn models(&self, models: &[ModelSummary]) {
        for model in models {
            let used = if model.in_use { "*" } else { " " };
            self.line(&format!(
                "{used} {:<40} {:<9} {:<8} {:>9}  {} tokens{}",
                model.id,
                model.kind,
                model.quantisation,
                size(model.size_bytes),
                model.context_len_tokens,
                model
                    .license
                    .as_deref()
                    .map_or_else(String::new, |license| format!("  {license}")),
            ));
        }
        if models.is_empty() {
            self.message("No model is installed. `satchel models catalog` lists some that can be downloaded; `satchel models import FILE.gguf` takes yours.");
        } else {
            self.message("* in use");
        }
    }

    pub(super) fn workspaces(&self, workspaces: &[WorkspaceSummary]) {
        for workspace in workspaces {
            let current = if workspace.current { "*" } else { " " };
            let documents = workspace
                .documents
                .map_or_else(|| "?".to_owned(), |count| count.to_string());
            self.line(&format!(
                "{current} {}  {documents:>7} documents  {:>9}  {}",
                &workspace.id[..12],
                size(workspace.size_bytes),
                self.bold(&clean(&workspace.name)),
            ));
            if let Some(problem) = &workspace.problem {
                self.line(&indent(problem));
            }
        }
        if workspaces.is_empty() {
            self.message("There is no workspace yet. The first import makes one, `satchel workspace new NAME` another.");
        } else {
            self.message("* current");
        }
    }

    pub(super) fn findings(&self, findings: &[Finding]) {
        for finding in findings {
            let sign = match finding.level {
                Level::Good => "✓",
                Level::Warning => "!",
                Level::Problem => "✗",
            };
            self.line(&format!("{sign} {:<12} {}", finding.subject, finding.text));
            if let Some(hint) = &finding.hint {
                self.line(&format!("  {:<12} {hint}", ""));
            }
        }
    }

    pub(super) fn status(&self, status: &StatusReport) {
        self.line(&format!(
            "{} ({})",
            self.bold(&clean(&status.name)),
            &status.workspace[..12]
        ));
        self.line(&status.coverage.in_stock());
        self.line(&format!(
            "Chat model: {}",
            status.chat_model.as_deref().unwrap_or("none")
        ));
        self.line(&format!(
            "Embedder:   {}",
            status.embedder.as_deref().unwrap_or("none")
        ));
        for failure in &status.failures {
            if let FileOutcome::Failed { reason } = &failure.outcome {
                let line = format!("✗ {}: {reason}", failure.path.display());
                self.line(&clean(&line));
            }
        }
    }

    /// Where `satchel serve` listens, and where its token lies. Never the token.
    pub(crate) fn serving(&self, address: std::net::SocketAddr, token_file: &std::path::Path) {
        let url = format!("http://{address}/v1");
        if self.json {
            let serving = serde_json::json!({ "url": url, "token_file": token_file });
            self.line(&serving.to_string());
            return;
        }
        let file = token_file.display();
        self.line(&format!("Listening at {url} (token in {file})"));
    }

    /// Where everything lies.
    pub(crate) fn paths(&self, dirs: &DataDirs) {
        if self.json {
            write_json(dirs);
            return;
        }
        for (what, path) in [
            ("Settings", &dirs.config_file),
            ("Documents, chats, key", &dirs.data),
            ("Models", &dirs.models),
            ("Index (rebuilt when deleted)", &dirs.index),
            ("State", &dirs.state),
            ("Sockets of open workspaces", &dirs.sockets),
        ] {
            self.line(&format!("{what:<29} {}", path.display()));
        }
    }

    /// Models worth having, those that contain `filter` in any of their words.
    pub(crate) fn catalog(&self, report: &CatalogReport, filter: Option<&str>) {
        let filter = filter.unwrap_or_default().to_lowercase();
        let is_wanted = |model: &&CatalogSummary| {
            let CatalogSummary {
                id,
                name,
                publisher,
                kind,
                license,
                ..
            } = model;
            [id, name, publisher, kind, license]
                .iter()
                .any(|word| word.to_lowercase().contains(&filter))
        };
        let models: Vec<&CatalogSummary> = report.models.iter().filter(is_wanted).collect();
        if self.json {
            let others = &report.others;
            write_json(&serde_json::json!({
                "models": models, "others": others, "memory_bytes": report.memory_bytes,
                "recommended": report.recommended,
            }));
            return;
        }
        for model in &models {
            self.line(&format!(
                "{:<34} {:<9} {:<7} {:>9}  needs {:>8}  {:<11} {}",
                model.id,
                model.kind,
                model.quantisation,
                size(model.size_bytes),
                size(model.fit.memory_bytes()),
                model.license,
                self.state_of(model, report),
            ));
        }
        for other in &report.others {
            self.line(&format!(
                "{} of {} downloaded: {}",
                size(other.done_bytes),
                size(other.total_bytes),
                other.url
            ));
        }
        if models.is_empty() {
            self.message("No model of the catalogue contains that.");
        }
        self.message(&format!(
            "This machine has {} of memory. `satchel models show ID` tells more of one, `satchel models download ID` fetches it.",
            size(report.memory_bytes)
        ));
    }

    /// How far a model is, else how it would do.
    fn state_of(&self, model: &CatalogSummary, report: &CatalogReport) -> String {
        let mut state = model
            .progress()
            .unwrap_or_else(|| model.fit.verdict.words().to_owned());
        if let Some(speed) = model.fit.speed() {
            state += &format!(", {speed}");
        }
        if report.recommended.as_ref() == Some(&model.id) {
            state += &self.bold("  ← suits this machine best");
        }
        state
    }

    /// What was found on Hugging Face.
    pub(super) fn hub(&self, report: &HubReport) {
        if report.files.is_empty() {
            for found in &report.repositories {
                self.line(&format!(
                    "{:<58} {}",
                    clean(&found.name),
                    clean(&found.facts())
                ));
            }
        }
        for file in &report.files {
            self.line(&format!("{:<72} {}", clean(&file.model), file.facts()));
        }
        let next = if !report.files.is_empty() {
            "`satchel models download OWNER/REPOSITORY/FILE.gguf` fetches one."
        } else if report.repositories.is_empty() {
            "Nothing there has such a name and GGUF files."
        } else if report
            .repositories
            .iter()
            .any(|found| found.name == report.query)
        {
            "There is no GGUF file in it."
        } else {
            "`satchel models search OWNER/REPOSITORY` lists the files of one."
        };
        self.message(next);
    }

    /// One model in all its particulars.
    pub(super) fn model(&self, details: &ModelDetails) {
        self.line(&self.bold(&clean(&details.name)));
        for (word, what) in details.facts() {
            self.line(&format!("{word:<15} {}", clean(&what)));
        }
        self.line(&format!("{:<15} {}", "This machine", details.judgement()));
    }
}
