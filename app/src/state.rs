//! What the window shows, and how events change it.
//!
//! Pure: no drawing, no work. Kept apart from the drawing so that a journey can be tested without a window.
//! Start at [`SessionState::apply`].

use crate::message::{Citation, Coverage, Event, Failure, Progress, Reply, StatusReport};

/// What is shown while the window is open; nothing of it is saved.
#[derive(Debug, Default)]
pub struct SessionState {
    /// What is in the workspace, once known.
    pub status: Option<StatusReport>,
    /// The command being carried out, in words, and how far it is.
    pub busy: Option<(String, Option<Progress>)>,
    /// The question that was asked last.
    pub question: String,
    /// The answer as far as it has come.
    pub answer: String,
    /// Sentences of the answer that no passage bears out.
    pub unsupported: Vec<String>,
    /// Passages of the answer, or hits of the search.
    pub citations: Vec<Citation>,
    /// What the user should know, newest last.
    pub messages: Vec<String>,
    /// The chat that goes on.
    pub thread: Option<String>,
}

/// Messages kept; older ones are of no use to anybody.
const MESSAGES_KEPT: usize = 50;

impl SessionState {
    /// Notes that a command has been sent.
    pub fn begin(&mut self, what: impl Into<String>) {
        self.busy = Some((what.into(), None));
    }

    /// Takes in an event. Returns whether the command has ended.
    pub fn apply(&mut self, event: Event) -> bool {
        match event {
            Event::Progress(progress) => {
                if let Some((_, shown)) = &mut self.busy {
                    *shown = Some(progress);
                }
                false
            }
            Event::Passages(passages) => {
                self.citations = passages;
                false
            }
            Event::Answer(piece) => {
                self.answer += &piece;
                false
            }
            Event::Notice(text) => {
                self.say(text);
                false
            }
            Event::File(report) => {
                if let crate::message::FileOutcome::Failed { reason } = report.outcome {
                    self.say(format!("{}: {reason}", report.path.display()));
                }
                false
            }
            Event::Reply(reply) => {
                self.busy = None;
                self.finish(*reply);
                true
            }
            Event::Failed(failure) => {
                self.busy = None;
                self.fail(&failure);
                true
            }
        }
    }

    fn finish(&mut self, reply: Reply) {
        match reply {
            Reply::Status(status) => self.status = Some(status),
            Reply::Answered(report) => {
                self.answer = report.answer;
                self.citations = report.citations;
                self.unsupported = report.unsupported;
                self.thread = Some(report.thread);
                self.cover(report.coverage);
            }
            Reply::Hits(report) => {
                self.answer.clear();
                self.unsupported.clear();
                self.citations = report.hits;
                self.cover(report.coverage);
            }
            Reply::Imported(report) => {
                self.say(format!(
                    "{} added, {} updated, {} unchanged, {} could not be read.",
                    report.added,
                    report.updated,
                    report.unchanged,
                    report.failed.len()
                ));
                self.cover(report.coverage);
            }
            _ => {}
        }
    }

    fn cover(&mut self, coverage: Coverage) {
        if let Some(status) = &mut self.status {
            status.coverage = coverage;
        }
    }

    fn fail(&mut self, failure: &Failure) {
        let hint = failure
            .hint
            .as_deref()
            .map_or_else(String::new, |hint| format!(" {hint}"));
        self.say(format!("{}{hint}", failure.message));
    }

    /// Adds a message.
    pub fn say(&mut self, text: impl Into<String>) {
        self.messages.push(text.into());
        let over = self.messages.len().saturating_sub(MESSAGES_KEPT);
        self.messages.drain(..over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::FailureKind;

    #[test]
    fn an_answer_grows_and_a_failure_leaves_it_standing() {
        let mut state = SessionState::default();
        state.begin("Answering");
        assert!(!state.apply(Event::Answer("It is ".into())));
        assert!(!state.apply(Event::Answer("blue.".into())));
        assert!(state.apply(Event::Failed(
            Failure::new(FailureKind::General, "worker died").with_hint("Ask again.")
        )));
        assert_eq!(state.answer, "It is blue.");
        assert_eq!(state.messages, ["worker died Ask again."]);
        assert!(state.busy.is_none());
    }

    #[test]
    fn old_messages_go() {
        let mut state = SessionState::default();
        for i in 0..80 {
            state.say(i.to_string());
        }
        assert_eq!(state.messages.len(), MESSAGES_KEPT);
        assert_eq!(state.messages.last().unwrap(), "79");
    }
}
