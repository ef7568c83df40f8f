//! Prints replies and events for people and, with `--json`, for programs.
//!
//! stdout carries data, stderr messages. A reader that goes away (`| head`) ends the program quietly.
//! Document text is printed as it is, except for control characters, which could drive the terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

mod history;
mod lists;
mod sync;

use super::args::Global;
use crate::message::{
    AnswerReport, Citation, Event, Failure, FileOutcome, ImportReport, Origin, Passage, Reply,
    SearchMode, SearchReport, WorkspaceSummary,
};

/// Failed files named one by one at the end of an import; the rest are counted.
const FAILURES_SHOWN: usize = 20;

/// How to print.
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    verbose: bool,
    colour: bool,
    /// The answer was streamed already.
    streamed: std::cell::Cell<bool>,
}

/// Whether an event says that a file is safe.
#[must_use]
pub(crate) fn is_saved(event: &Event) -> bool {
    matches!(event, Event::File(report) if matches!(report.outcome, FileOutcome::Added { .. } | FileOutcome::Updated { .. }))
}

impl Printer {
    /// As the options and the terminal ask for.
    #[must_use]
    pub(crate) fn new(global: &Global) -> Self {
        let no_color =
            global.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            colour: !no_color && !global.json && io::stdout().is_terminal(),
            streamed: std::cell::Cell::new(false),
        }
    }

    /// Progress lines are for people who watch.
    #[must_use]
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// A line of data.
    pub(crate) fn line(&self, text: &str) {
        write_out(&format!("{text}\n"));
    }

    /// A message on stderr.
    pub(crate) fn message(&self, text: &str) {
        if !self.quiet {
            eprintln!("{}", clean(text));
        }
    }

    /// Whether programs read along.
    #[must_use]
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A question on stderr, which is asked however quiet the rest is. The line stays open for the answer.
    pub(crate) fn question(&self, text: &str) {
        eprint!("{}", clean(text));
    }

    /// A failure on stderr.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            let error =
                serde_json::json!({ "error": failure, "exit_code": failure.kind.exit_code() });
            eprintln!("{error}");
            return;
        }
        eprintln!("satchel: {}", clean(&failure.message));
        if let Some(hint) = &failure.hint {
            eprintln!("  {}", clean(hint));
        }
    }

    /// An event on the way.
    pub(crate) fn event(&self, event: &Event) {
        match event {
            Event::Notice(text) => self.message(text),
            Event::File(report) => match &report.outcome {
                FileOutcome::Failed { reason } => {
                    self.message(&format!("✗ {}: {reason}", report.path.display()));
                }
                outcome if self.verbose => {
                    let notes = if report.notes.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", report.notes.join("; "))
                    };
                    self.message(&format!(
                        "{} {}{notes}",
                        word_of(outcome),
                        report.path.display()
                    ));
                }
                _ => {}
            },
            Event::Pairing(news) => self.pairing(news),
            Event::Passages(passages) if !self.json && !self.quiet => self.passages(passages),
            Event::Answer(piece) if !self.json => {
                self.streamed.set(true);
                write_out(&clean(piece));
            }
            _ => {}
        }
    }

    /// The end of a command.
    pub(crate) fn reply(&self, reply: &Reply) {
        if self.json {
            self.json_reply(reply);
            return;
        }
        match reply {
            Reply::Imported(report) => self.import(report),
            Reply::Hits(report) => self.hits(report),
            Reply::Answered(report) => self.answer(report),
            Reply::Completed(completion) => self.line(&clean(&completion.text)),
            Reply::Embedded(report) => self.message(&format!(
                "Embedded {} with {}.",
                crate::units::count(report.vectors.len(), "text"),
                report.model
            )),
            Reply::Documents(documents) => self.documents(documents),
            Reply::Passage(passage) => self.passage(passage),
            Reply::Document(document) => self.line(&clean(&document.text)),
            Reply::History(report) => self.history(report),
            Reply::Difference(report) => self.difference(report),
            Reply::Conflicts(report) => self.conflicts(report),
            Reply::Settings(report) => self.settings(report),
            Reply::Threads(threads) => self.threads(threads),
            Reply::Thread(thread) => self.thread(thread),
            Reply::Models(models) => self.models(models),
            Reply::Catalog(report) => self.catalog(report, None),
            Reply::Hub(report) => self.hub(report),
            Reply::Model(details) => self.model(details),
            Reply::Workspaces(workspaces) => self.workspaces(workspaces),
            Reply::Workspace(report) => self.message(&clean(&report.done)),
            Reply::Sync(report) => self.sync(report),
            Reply::Devices(devices) => self.devices(devices),
            Reply::McpServers(servers) => self.mcp_servers(servers),
            Reply::Doctor(findings) => self.findings(findings),
            Reply::Status(status) => self.status(status),
            Reply::Done(text) => self.message(text),
        }
    }

    fn json_reply(&self, reply: &Reply) {
        match reply {
            Reply::Imported(value) => write_json(value),
            Reply::Hits(value) => write_json(value),
            Reply::Answered(value) => write_json(value),
            Reply::Completed(value) => write_json(value),
            Reply::Embedded(value) => write_json(value),
            Reply::Documents(value) => write_json(value),
            Reply::Passage(value) => write_json(value),
            Reply::Document(value) => write_json(value),
            Reply::History(value) => write_json(value),
            Reply::Difference(value) => write_json(value),
            Reply::Conflicts(value) => write_json(value),
            Reply::Settings(value) => write_json(value),
            Reply::Threads(value) => write_json(value),
            Reply::Thread(value) => write_json(value),
            Reply::Models(value) => write_json(value),
            Reply::Catalog(value) => write_json(value),
            Reply::Hub(value) => write_json(value),
            Reply::Model(value) => write_json(value),
            Reply::Workspaces(value) => write_json(value),
            Reply::Workspace(value) => write_json(value),
            Reply::Sync(value) => write_json(value),
            Reply::Devices(value) => write_json(value),
            Reply::McpServers(value) => write_json(value),
            Reply::Doctor(value) => write_json(value),
            Reply::Status(value) => write_json(value),
            Reply::Done(text) => write_json(&serde_json::json!({ "done": text })),
        }
    }

    fn import(&self, report: &ImportReport) {
        self.message(&report.in_words());
        if report.missing > 0 {
            self.message(&format!(
                "{} documents are kept whose files are no longer on disk; `--prune` removes them.",
                report.missing
            ));
        }
        if report.failed.len() > FAILURES_SHOWN {
            self.message("`satchel status` lists the files that could not be read.");
        }
        if let Some(left_out) = report.left_out() {
            self.message(&left_out);
        }
        self.message(&report.coverage.in_stock());
    }

    fn hits(&self, report: &SearchReport) {
        if report.hits.is_empty() {
            self.message("Nothing found.");
        }
        for (index, hit) in report.hits.iter().enumerate() {
            let scores = self.scores(hit);
            self.line(&format!(
                "{}. {} {}",
                index + 1,
                self.bold(&clean(&hit.place())),
                self.dim(&format!("{} {scores}", hit.reference()))
            ));
            self.line(&indent(&snippet(&hit.quote, 320)));
        }
        let mode = match report.mode {
            SearchMode::Hybrid => "words and meaning",
            SearchMode::Lexical => "words",
            SearchMode::Vector => "meaning",
        };
        self.message(&format!(
            "{} ({mode}, {:.0} ms)",
            report.coverage.line(),
            report.took_ms
        ));
    }

    fn scores(&self, hit: &Citation) -> String {
        if !self.verbose {
            return String::new();
        }
        let number = |value: Option<f32>| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
        };
        format!(
            "relevance {:.4}, cosine {}, bm25 {}",
            hit.scores.relevance,
            number(hit.scores.cosine),
            number(hit.scores.bm25)
        )
    }

    fn passages(&self, passages: &[Citation]) {
        self.line(&self.bold("From your documents:"));
        for passage in passages.iter().take(3) {
            self.line(&format!(
                "  [{}] {}",
                passage.mark,
                self.dim(&clean(&passage.place()))
            ));
            self.line(&indent(&format!("“{}”", snippet(&passage.quote, 240))));
        }
        self.line("");
    }

    fn answer(&self, report: &AnswerReport) {
        if self.streamed.replace(false) {
            // The words are there; the marks that were set right since are in the sources.
            self.line("");
        } else {
            self.line(&clean(&report.answer));
        }
        if !report.citations.is_empty() {
            self.line("");
            if !report.refused {
                let stated = report
                    .citations
                    .iter()
                    .any(|c| c.origin != Origin::Retrieved);
                self.line(&self.bold(if stated {
                    "Sources:"
                } else {
                    "These passages were read for the answer:"
                }));
            }
        }
        for citation in &report.citations {
            let mark = bracketed(&citation.mark);
            self.line(&format!(
                "  {mark}{} {}",
                clean(&citation.place()),
                self.dim(&citation.reference())
            ));
            self.line(&indent(&format!(
                "“{}”",
                clean(&citation.quote.replace('\n', " "))
            )));
        }
        if !report.unsupported.is_empty() {
            self.line("");
            self.line(&self.bold("Careful: the passages do not bear this out:"));
            for sentence in &report.unsupported {
                self.line(&indent(&clean(sentence)));
            }
        }
        if report.ended == "length" {
            self.message("The answer was cut at its longest; ask for less at once, or raise `max_output_tokens`.");
        }
        match &report.on {
            Some(on) => self.message(&answered_on(on, report.model.as_deref())),
            None => self.message(&report.coverage.line()),
        }
        if self.verbose {
            self.usage(report);
        }
    }

    fn usage(&self, report: &AnswerReport) {
        let Some(usage) = report.usage else { return };
        let rate = |tokens: usize, ms: f64| {
            if ms > 0.0 {
                tokens as f64 * 1000.0 / ms
            } else {
                0.0
            }
        };
        self.message(&format!(
            "{}: {} tokens read at {:.0}/s ({} from memory), {} written at {:.0}/s; search {:.0} ms; chat {}.",
            report.model.as_deref().unwrap_or("no model"),
            usage.prompt_tokens,
            rate(usage.prompt_tokens - usage.cached_tokens.min(usage.prompt_tokens), usage.prompt_ms),
            usage.cached_tokens,
            usage.output_tokens,
            rate(usage.output_tokens, usage.output_ms),
            usage.retrieve_ms,
            &report.thread[..report.thread.len().min(12)],
        ));
    }

    fn passage(&self, passage: &Passage) {
        self.line(&self.bold(&clean(&passage.citation.place())));
        if let Some(path) = &passage.citation.path {
            self.line(&self.dim(&clean(path)));
        }
        self.line("");
        let highlighted = if self.colour {
            format!("\u{1b}[7m{}\u{1b}[27m", clean(&passage.citation.quote))
        } else if passage.before.is_empty() && passage.after.is_empty() {
            clean(&passage.citation.quote).into_owned()
        } else {
            format!(">>>{}<<<", clean(&passage.citation.quote))
        };
        self.line(&format!(
            "{}{highlighted}{}",
            clean(&passage.before),
            clean(&passage.after)
        ));
    }

    fn bold(&self, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[1m{text}\u{1b}[22m")
        } else {
            text.to_owned()
        }
    }

    /// Green for what came, red for what went; the sign before it says the same.
    fn signed(&self, sign: char, text: &str) -> String {
        let colour = match sign {
            '+' => 32,
            '-' => 31,
            _ => 0,
        };
        if self.colour && colour > 0 {
            format!("\u{1b}[{colour}m{sign}{text}\u{1b}[39m")
        } else {
            format!("{sign}{text}")
        }
    }

    fn dim(&self, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[2m{text}\u{1b}[22m")
        } else {
            text.to_owned()
        }
    }
}

fn answered_on(on: &str, model: Option<&str>) -> String {
    match model {
        Some(model) => format!("Answered on {on} by {model}."),
        None => format!("Looked up on {on}."),
    }
}

fn word_of(outcome: &FileOutcome) -> &'static str {
    match outcome {
        FileOutcome::Added { .. } => "+",
        FileOutcome::Updated { .. } => "~",
        FileOutcome::Unchanged => "=",
        FileOutcome::Duplicate { .. } => "same:",
        FileOutcome::Missing => "gone:",
        FileOutcome::Removed => "-",
        FileOutcome::Failed { .. } => "✗",
    }
}

/// Text without characters that drive a terminal.
fn clean(text: &str) -> Cow<'_, str> {
    let drives = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(drives) {
        Cow::Owned(text.replace(drives, " "))
    } else {
        Cow::Borrowed(text)
    }
}

/// The beginning of a text in one line.
fn snippet(text: &str, bytes: usize) -> String {
    let line = clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let cut = line.floor_char_boundary(bytes);
    if cut < line.len() {
        format!("{}…", &line[..cut])
    } else {
        line
    }
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        if !all.is_empty() {
            all.push('\n');
        }
        all.push_str("      ");
        all.push_str(line);
        all
    })
}

/// What to call a workspace in a sentence.
#[must_use]
pub(crate) fn workspace_label(workspace: &WorkspaceSummary) -> String {
    if workspace.name.is_empty() {
        format!("the workspace {}", &workspace.id[..12])
    } else {
        format!("“{}”", clean(&workspace.name))
    }
}

/// A mark as it stands in the text; nothing for a passage that has none.
fn bracketed(mark: &str) -> String {
    if mark.is_empty() {
        String::new()
    } else {
        format!("[{mark}] ")
    }
}

fn write_json(value: &(impl Serialize + ?Sized)) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => write_out(&format!("{text}\n")),
        Err(error) => eprintln!("satchel: the reply cannot be written as JSON: {error}"),
    }
}

/// Writes to stdout at once. Ends the program quietly when nobody reads any more.
fn write_out(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("satchel: cannot write to stdout: {error}");
            std::process::exit(1);
        }
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_documents_cannot_drive_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mred\u{7}\tb\n"), "a [31mred \tb\n");
    }

    #[test]
    fn snippets_are_cut_between_characters() {
        assert_eq!(snippet("ääää", 3), "ä…");
        assert_eq!(snippet(" one\n two ", 100), "one two");
    }
}
