//! The open chat as the window shows it: questions, answers as they come, and their sources.
//!
//! Pure. Start at [`Chat::begin`].

use super::{JobId, Wish};
use crate::message::{
    AnswerReport, AskedReport, Citation, Failure, MessageReport, StoredCitation, ThreadReport,
    ThreadSummary, ToolRequest, Usage,
};

/// The open chat.
#[derive(Debug, Default)]
pub struct Chat {
    /// Its id; `None` until the first answer has been kept.
    pub thread: Option<String>,
    /// Its title; empty for a new one.
    pub title: String,
    /// Questions with their answers, oldest first.
    pub turns: Vec<Turn>,
    /// It is being read.
    pub loading: Option<JobId>,
    /// Why it cannot be shown.
    pub failure: Option<Failure>,
}

/// A question and what came of it.
#[derive(Debug)]
pub struct Turn {
    /// As asked.
    pub question: String,
    /// The answer as far as it has come; Markdown.
    pub answer: String,
    /// What the model thought before, as far as it has come; not kept with the chat.
    pub thoughts: String,
    /// Grows when `answer` was replaced; what is added at its end leaves it.
    pub edition: u64,
    /// Where it comes from.
    pub sources: Vec<Source>,
    /// Sentences that no passage bears out.
    pub unsupported: Vec<String>,
    /// How far it is.
    pub stage: TurnStage,
    /// What was searched for, where that differs from the question.
    pub searched_for: Option<String>,
    /// What the model looked up before it answered, in words.
    pub steps: Vec<String>,
    /// How much was searched.
    pub coverage: Option<String>,
    /// Model and times, where one was used.
    pub model: Option<(String, Option<Usage>)>,
    /// What the laptop is called that answered, where another one was asked.
    pub on: Option<String>,
    /// A call of another program that waits for the user's word.
    pub wants_to_call: Option<ToolRequest>,
}

/// How far an answer is.
#[derive(Debug, PartialEq)]
pub enum TurnStage {
    /// Passages are looked for, or read by the model.
    Reading(JobId),
    /// The model writes.
    Writing(JobId),
    /// It is complete.
    Done,
    /// The user stopped it.
    Stopped,
    /// It reached its longest.
    Cut,
    /// The documents do not hold it.
    Refused,
    /// It failed.
    Failed(Failure),
    /// Another laptop was asked, and has not answered.
    Elsewhere(AskedReport),
}

/// A passage that an answer is based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The mark in the answer, for example `S1`; empty where there is none.
    pub mark: String,
    /// Document, page, headings.
    pub place: String,
    /// What opens it; `None` when the document is gone.
    pub reference: Option<String>,
    /// The exact words.
    pub quote: String,
    /// The text there has changed since.
    pub changed: bool,
}

impl From<&Citation> for Source {
    fn from(citation: &Citation) -> Self {
        Self {
            mark: citation.mark.clone(),
            place: citation.place(),
            reference: Some(citation.reference()),
            quote: citation.quote.clone(),
            changed: false,
        }
    }
}

impl From<&StoredCitation> for Source {
    fn from(citation: &StoredCitation) -> Self {
        Self {
            mark: citation.mark.clone(),
            place: citation.place.clone(),
            reference: citation.reference.clone(),
            quote: citation.quote.clone(),
            changed: citation.changed,
        }
    }
}

impl Turn {
    fn new(question: &str, stage: TurnStage) -> Self {
        Self {
            question: question.to_owned(),
            answer: String::new(),
            thoughts: String::new(),
            edition: 0,
            sources: Vec::new(),
            unsupported: Vec::new(),
            stage,
            searched_for: None,
            steps: Vec::new(),
            coverage: None,
            model: None,
            on: None,
            wants_to_call: None,
        }
    }

    /// A kept question.
    fn kept(message: MessageReport) -> Self {
        let asked = message.asked.filter(|asked| asked.line().is_some());
        let mut turn = Self::new(&message.text, TurnStage::Done);
        if let Some(asked) = asked {
            turn.answer.clone_from(&asked.draft);
            turn.stage = TurnStage::Elsewhere(asked);
        }
        turn
    }

    /// Its kept answer.
    fn answer_with(&mut self, message: MessageReport) {
        self.set_answer(message.text);
        self.sources = message.citations.iter().map(Source::from).collect();
        self.unsupported = message.unsupported;
        self.on = message.on;
        self.stage = TurnStage::Done;
    }

    /// Takes over what is kept; what is equal stays as it is shown.
    fn follow(&mut self, kept: Self) {
        let was_elsewhere = matches!(self.stage, TurnStage::Elsewhere(_));
        if was_elsewhere || matches!(kept.stage, TurnStage::Elsewhere(_)) {
            self.stage = kept.stage;
        }
        if self.answer == kept.answer {
            return;
        }
        if kept.answer.starts_with(&self.answer) {
            self.answer = kept.answer;
        } else {
            self.set_answer(kept.answer);
        }
        self.sources = kept.sources;
        self.unsupported = kept.unsupported;
        self.on = kept.on;
    }

    fn set_answer(&mut self, text: String) {
        self.answer = text;
        self.edition += 1;
    }

    fn job(&self) -> Option<JobId> {
        match self.stage {
            TurnStage::Reading(job) | TurnStage::Writing(job) => Some(job),
            _ => None,
        }
    }
}

impl Chat {
    pub(super) fn opening(job: JobId, thread: &ThreadSummary) -> Self {
        Self {
            thread: Some(thread.id.clone()),
            title: thread.title.clone(),
            loading: Some(job),
            ..Self::default()
        }
    }

    /// The job of the answer that is being made.
    #[must_use]
    pub fn running(&self) -> Option<JobId> {
        self.turns.last().and_then(Turn::job)
    }

    /// Whether a question can be asked now.
    #[must_use]
    pub fn takes_questions(&self) -> bool {
        self.running().is_none() && self.loading.is_none()
    }

    pub(super) fn begin(&mut self, job: JobId, question: &str) {
        self.failure = None;
        self.turns
            .push(Turn::new(question, TurnStage::Reading(job)));
    }

    /// The last turn, if it belongs to this job: the chat may have been changed meanwhile.
    fn turn_of(&mut self, job: JobId) -> Option<&mut Turn> {
        self.turns.last_mut().filter(|turn| turn.job() == Some(job))
    }

    pub(super) fn passages(&mut self, job: JobId, passages: Vec<Citation>) {
        if let Some(turn) = self.turn_of(job) {
            turn.sources = passages.iter().map(Source::from).collect();
        }
    }

    pub(super) fn thought(&mut self, job: JobId, piece: &str) {
        if let Some(turn) = self.turn_of(job) {
            turn.thoughts.push_str(piece);
        }
    }

    /// Where the question was left meanwhile, the call is declined.
    pub(super) fn asks_for(&mut self, job: JobId, request: ToolRequest) -> Vec<Wish> {
        match self.turn_of(job) {
            Some(turn) => {
                turn.wants_to_call = Some(request);
                Vec::new()
            }
            None => vec![Wish::refresh(request.answered(false))],
        }
    }

    /// Takes the call that waits for the user's word: it has been said.
    pub fn take_call(&mut self) -> Option<ToolRequest> {
        self.turns.last_mut()?.wants_to_call.take()
    }

    pub(super) fn piece(&mut self, job: JobId, piece: &str) {
        if let Some(turn) = self.turn_of(job) {
            turn.stage = TurnStage::Writing(job);
            turn.answer.push_str(piece);
        }
    }

    pub(super) fn answered(&mut self, job: JobId, report: AnswerReport) {
        let Some(turn) = self.turn_of(job) else {
            return;
        };
        turn.wants_to_call = None;
        turn.stage = match (report.refused, report.ended.as_str()) {
            (true, _) => TurnStage::Refused,
            (_, "stopped") => TurnStage::Stopped,
            (_, "length") => TurnStage::Cut,
            _ => TurnStage::Done,
        };
        turn.searched_for = (report.searched_for != report.question).then_some(report.searched_for);
        turn.steps = report.steps.into_iter().map(|step| step.words).collect();
        turn.sources = report.citations.iter().map(Source::from).collect();
        turn.unsupported = report.unsupported;
        turn.coverage = Some(report.coverage.line());
        turn.model = report.model.map(|model| (model, report.usage));
        turn.set_answer(report.answer);
        self.thread = Some(report.thread);
    }

    pub(super) fn failed(&mut self, job: JobId, failure: Failure) {
        if self.loading == Some(job) {
            self.loading = None;
            self.failure = Some(failure);
        } else if let Some(turn) = self.turn_of(job) {
            turn.wants_to_call = None;
            turn.stage = TurnStage::Failed(failure);
        }
    }

    pub(super) fn opened(&mut self, job: JobId, report: ThreadReport) {
        if self.loading != Some(job) {
            return;
        }
        self.loading = None;
        self.title = report.thread.title;
        self.turns = turns(report.messages);
    }

    /// The question of a job is left for another laptop.
    pub(super) fn left(&mut self, job: JobId, report: ThreadReport) {
        let Some(turn) = self.turn_of(job) else {
            return;
        };
        turn.stage = TurnStage::Done;
        self.thread = Some(report.thread.id.clone());
        self.refreshed(report);
    }

    /// Takes in what another laptop has changed; what is equal stays as it is shown.
    pub(super) fn refreshed(&mut self, report: ThreadReport) {
        let failed = |turn: &Turn| matches!(turn.stage, TurnStage::Failed(_));
        // A question that failed here is not kept: it stays, to be asked again.
        let stays = !self.takes_questions() || self.turns.last().is_some_and(failed);
        if self.thread.as_ref() != Some(&report.thread.id) || stays {
            return;
        }
        self.title = report.thread.title;
        let kept = turns(report.messages);
        self.turns.truncate(kept.len());
        for (index, kept) in kept.into_iter().enumerate() {
            match self.turns.get_mut(index) {
                Some(turn) if turn.question == kept.question => turn.follow(kept),
                Some(turn) => {
                    let edition = turn.edition + 1;
                    *turn = Turn { edition, ..kept };
                }
                None => self.turns.push(kept),
            }
        }
    }

    /// Takes the title over from the list of chats.
    pub(super) fn retitle(&mut self, threads: &[ThreadSummary]) {
        let own = threads
            .iter()
            .find(|entry| self.thread.as_ref() == Some(&entry.id));
        if let Some(own) = own {
            self.title.clone_from(&own.title);
        }
    }
}

/// Questions and answers as a chat keeps them.
fn turns(messages: Vec<MessageReport>) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for message in messages {
        if message.role == "user" {
            turns.push(Turn::kept(message));
        } else if let Some(turn) = turns.last_mut() {
            turn.answer_with(message);
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{AskedStage, Command, Event, FailureKind, McpCommand, Reply};
    use crate::state::{JobId, SessionState};

    #[test]
    fn an_answer_grows_and_a_failure_leaves_it_standing() {
        let mut state = SessionState::default();
        let (job, _) = state.ask(" What colour? ").unwrap();
        assert!(state.ask("another").is_none(), "one answer at a time");
        state.apply(job, Event::Thought("Hm. ".into()));
        state.apply(job, Event::Thought("The sky.".into()));
        state.apply(job, Event::Answer("It is ".into()));
        state.apply(job, Event::Answer("blue.".into()));
        let failure = Failure::new(FailureKind::General, "worker died").with_hint("Ask again.");
        state.apply(job, Event::Failed(failure.clone()));
        let turn = &state.chat.turns[0];
        assert_eq!(turn.question, "What colour?");
        assert_eq!(turn.answer, "It is blue.");
        assert_eq!(turn.thoughts, "Hm. The sky.");
        assert_eq!(turn.stage, TurnStage::Failed(failure));
        assert!(state.ask("another").is_some());
    }

    #[test]
    fn an_answer_for_a_chat_that_was_left_is_not_shown_in_another() {
        let mut state = SessionState::default();
        let (job, _) = state.ask("What colour?").unwrap();
        state.chat = Chat::default();
        state.apply(job, Event::Answer("blue".into()));
        assert!(state.chat.turns.is_empty());
        assert_eq!(state.chat.running(), None);
    }

    #[test]
    fn a_call_waits_for_the_users_word_and_is_declined_where_the_chat_was_left() {
        let mut state = SessionState::default();
        let request = |number: &str| {
            Event::Tool(ToolRequest {
                request: number.into(),
                server: "notes".into(),
                tool: "find".into(),
                arguments: "{}".into(),
            })
        };
        let (job, _) = state.ask("What colour?").unwrap();
        assert!(state.apply(job, request("1")).is_empty());
        assert_eq!(state.chat.take_call().unwrap().request, "1");
        assert_eq!(state.chat.take_call(), None, "it is answered once");

        assert!(state.apply(job, request("2")).is_empty());
        state.apply(job, Event::Failed(Failure::general("worker died")));
        assert_eq!(state.chat.take_call(), None, "nobody waits for it");

        let (job, _) = state.ask("What colour?").unwrap();
        state.chat = Chat::default();
        let wishes = state.apply(job, request("3"));
        let declined = McpCommand::Answer {
            request: "3".into(),
            allow: false,
        };
        assert!(
            matches!(&wishes[..], [Wish { command: Command::Mcp(command), .. }] if *command == declined)
        );
    }

    #[test]
    fn a_chat_takes_no_question_while_it_is_read() {
        let mut state = SessionState::default();
        let summary = ThreadSummary {
            id: "1".into(),
            title: "Colours".into(),
            updated_at_ms: 0,
        };
        let (job, _) = state.open_thread(&summary);
        assert!(state.ask("What colour?").is_none());
        state.chat.opened(
            job,
            ThreadReport {
                thread: summary,
                messages: Vec::new(),
                branch: 1,
                branches: Vec::new(),
            },
        );
        assert!(state.ask("What colour?").is_some());
    }

    fn kept_message(role: &str, text: &str) -> MessageReport {
        MessageReport {
            role: role.into(),
            text: text.into(),
            citations: Vec::new(),
            unsupported: Vec::new(),
            author: crate::message::Authors::default().of(None),
            asked: None,
            on: None,
        }
    }

    #[test]
    fn a_kept_chat_becomes_turns() {
        let message = kept_message;
        let summary = ThreadSummary {
            id: "1".into(),
            title: "Colours".into(),
            updated_at_ms: 0,
        };
        let mut chat = Chat::opening(JobId(1), &summary);
        chat.opened(
            JobId(1),
            ThreadReport {
                thread: summary,
                messages: vec![
                    message("user", "a?"),
                    message("assistant", "b"),
                    message("user", "c?"),
                ],
                branch: 1,
                branches: Vec::new(),
            },
        );
        assert_eq!(chat.turns.len(), 2);
        assert_eq!(chat.turns[0].answer, "b");
    }

    fn kept_chat(messages: Vec<MessageReport>) -> ThreadReport {
        ThreadReport {
            thread: ThreadSummary {
                id: "1".into(),
                title: "Colours".into(),
                updated_at_ms: 0,
            },
            messages,
            branch: 1,
            branches: Vec::new(),
        }
    }

    fn asked_elsewhere(state: AskedStage, draft: &str) -> MessageReport {
        MessageReport {
            asked: Some(AskedReport {
                on: "desk".into(),
                state,
                draft: draft.into(),
                reason: None,
            }),
            ..kept_message("user", "What colour?")
        }
    }

    #[test]
    fn a_question_for_another_laptop_is_followed_in_the_chat() {
        let mut state = SessionState::default();
        let (job, _) = state.ask("What colour?").unwrap();
        let waiting = kept_chat(vec![asked_elsewhere(AskedStage::Waiting, "")]);
        let reply = Reply::Thread(waiting);
        state.apply(job, Event::Reply(Box::new(reply)));
        let chat = &mut state.chat;
        assert_eq!(chat.thread.as_deref(), Some("1"));
        assert!(chat.takes_questions(), "the window goes on meanwhile");
        assert!(matches!(&chat.turns[0].stage, TurnStage::Elsewhere(_)));

        for draft in ["It is", "It is blue"] {
            let draft = asked_elsewhere(AskedStage::Answering, draft);
            chat.refreshed(kept_chat(vec![draft]));
        }
        assert_eq!(
            (chat.turns[0].answer.as_str(), chat.turns[0].edition),
            ("It is blue", 0)
        );
        chat.refreshed(kept_chat(vec![asked_elsewhere(
            AskedStage::Answering,
            "The",
        )]));
        assert_eq!(chat.turns[0].edition, 1, "it was begun anew");

        let answer = MessageReport {
            on: Some("desk".into()),
            ..kept_message("assistant", "The sky is blue.")
        };
        let question = asked_elsewhere(AskedStage::Answered, "");
        chat.refreshed(kept_chat(vec![question, answer]));
        let turn = &chat.turns[0];
        assert_eq!(turn.answer, "The sky is blue.");
        assert_eq!(
            (&turn.stage, turn.on.as_deref()),
            (&TurnStage::Done, Some("desk"))
        );
    }
}
