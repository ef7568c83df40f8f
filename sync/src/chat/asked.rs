//! A question that one laptop leaves in a chat for another one, and how far that is with it.
//!
//! It travels as the chat does, so it needs no protocol of its own, is read by no edge node, and waits where the other
//! laptop is away. What is noted lies in a map inside the question's own message, which is made in the same change: no
//! two devices can each make one and lose what the other put there. Every field has one side that writes it, the draft
//! and the failure the laptop that is asked, the withdrawal the laptops that ask, so that no merge has to choose; how
//! they add up is decided where they are read, in [`AskedState`]. Start at [`Asked`].

use automerge::transaction::{Transactable, Transaction};
use automerge::{AutomergeError, ObjId, ObjType, ReadDoc, Value};
use serde::{Deserialize, Serialize};

use super::ChatDocument;
use crate::document::LoadError;
use crate::id::{DeviceId, MessageId};

/// Which laptop a question was asked of, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which laptop.
    pub of: DeviceId,
    /// How far it is.
    pub state: AskedState,
}

/// How far the laptop that was asked is; of several things that are noted, the last one here holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedState {
    /// It has not begun.
    Waiting,
    /// It writes; this is what it has written so far. Where it ended meanwhile, it begins anew when it is back.
    Answering(String),
    /// It cannot answer, for this reason.
    Failed(String),
    /// Whoever asked does not want to know any more.
    Withdrawn,
    /// The answer follows the question.
    Answered,
}

impl Asked {
    /// Whether an answer is still to come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, AskedState::Waiting | AskedState::Answering(_))
    }
}

/// News of such a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedNote {
    /// By the laptop that is asked: what it has written so far, from the beginning.
    Draft(String),
    /// By the laptop that is asked: why it cannot answer.
    Failed(String),
    /// By a laptop that asks.
    Withdrawn,
}

/// What is noted, as Automerge holds it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AskedRecord {
    of: DeviceId,
    draft: Option<String>,
    failed: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    withdrawn: bool,
}

impl AskedRecord {
    pub(super) fn new(of: DeviceId) -> Self {
        Self {
            of,
            draft: None,
            failed: None,
            withdrawn: false,
        }
    }

    pub(super) fn read(self, is_answered: bool) -> Asked {
        let state = match (self.failed, self.draft) {
            _ if is_answered => AskedState::Answered,
            _ if self.withdrawn => AskedState::Withdrawn,
            (Some(reason), _) => AskedState::Failed(reason),
            (None, Some(draft)) => AskedState::Answering(draft),
            (None, None) => AskedState::Waiting,
        };
        Asked { of: self.of, state }
    }
}

impl ChatDocument {
    /// Notes something of a question in one change; `false` where it is none that another laptop was asked.
    pub(crate) fn note(
        &mut self,
        question: MessageId,
        note: &AskedNote,
    ) -> Result<bool, LoadError> {
        let Some(asked) = self.asked_object(question)? else {
            return Ok(false);
        };
        let draft = self.draft_of(&asked)?;
        let noted = self.doc.transact(|tx| match note {
            AskedNote::Draft(text) => put_draft(tx, &asked, draft, text),
            AskedNote::Failed(reason) => {
                drop_draft(tx, &asked)?;
                tx.put(&asked, "failed", reason.as_str())
            }
            AskedNote::Withdrawn => tx.put(&asked, "withdrawn", true),
        });
        noted.map_err(|failure| failure.error)?;
        Ok(true)
    }

    /// What is noted of a question; `None` where it was asked of no other laptop.
    pub(super) fn asked_object(
        &self,
        question: MessageId,
    ) -> Result<Option<ObjId>, AutomergeError> {
        let is_map = |found| match found {
            Some((Value::Object(ObjType::Map), object)) => Some(object),
            _ => None,
        };
        match is_map(self.doc.get(&self.messages, question.to_string())?) {
            Some(message) => Ok(is_map(self.doc.get(&message, "asked")?)),
            None => Ok(None),
        }
    }

    fn draft_of(&self, asked: &ObjId) -> Result<Option<(ObjId, String)>, AutomergeError> {
        match self.doc.get(asked, "draft")? {
            Some((Value::Object(ObjType::Text), draft)) => {
                let text = self.doc.text(&draft)?;
                Ok(Some((draft, text)))
            }
            _ => Ok(None),
        }
    }
}

/// What was written is gone on with; where something else is written, the draft begins anew.
fn put_draft(
    tx: &mut Transaction<'_>,
    asked: &ObjId,
    present: Option<(ObjId, String)>,
    text: &str,
) -> Result<(), AutomergeError> {
    let (draft, present) = match present {
        Some((draft, present)) if text.starts_with(&present) => (draft, present),
        _ => (tx.put_object(asked, "draft", ObjType::Text)?, String::new()),
    };
    if present.len() < text.len() {
        let end = tx.length(&draft);
        tx.splice_text(&draft, end, 0, &text[present.len()..])?;
    }
    Ok(())
}

/// The draft has served.
pub(super) fn drop_draft(tx: &mut Transaction<'_>, asked: &ObjId) -> Result<(), AutomergeError> {
    match tx.get(asked, "draft")? {
        Some(_) => tx.delete(asked, "draft"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use automerge::{Automerge, ROOT, hydrate};
    use serde_json::json;

    use super::*;
    use crate::chat::{Message, Role, Thread, ThreadEntry, ThreadId};
    use crate::values;

    const DESK: DeviceId = DeviceId([7; 16]);

    fn entry() -> ThreadEntry {
        ThreadEntry {
            id: ThreadId([1; 16]),
            title: "Apples".into(),
            created_at_ms: 1,
            updated_at_ms: 1,
        }
    }

    /// A chat with a question to the desk.
    fn asked() -> (ChatDocument, MessageId) {
        let mut chat = ChatDocument::new_in(Automerge::new(), &entry()).unwrap();
        let question = Message {
            asked_of: Some(DESK),
            ..Message::new(Role::User, "How many?", 0)
        };
        let id = chat.append(None, question).unwrap();
        (chat, id)
    }

    fn on_another_laptop(chat: &ChatDocument) -> ChatDocument {
        ChatDocument::from_automerge(chat.automerge().fork()).unwrap()
    }

    /// Both laptops get what the other one wrote.
    fn meet(here: &mut ChatDocument, there: &mut ChatDocument) {
        here.doc.merge(&mut there.doc).unwrap();
        there.doc.merge(&mut here.doc).unwrap();
        assert_eq!(here.messages().unwrap(), there.messages().unwrap());
    }

    fn state(chat: &ChatDocument, question: MessageId) -> AskedState {
        let messages = chat.messages().unwrap();
        let message = messages.into_iter().find(|message| message.id == question);
        message.unwrap().asked.unwrap().state
    }

    fn draft(text: &str) -> AskedNote {
        AskedNote::Draft(text.to_owned())
    }

    #[test]
    fn a_draft_grows_begins_anew_and_goes_with_the_answer() {
        let (mut chat, question) = asked();
        assert_eq!(state(&chat, question), AskedState::Waiting);
        for text in ["", "Fünf", "Fünf Äpfel", "Sechs"] {
            assert!(chat.note(question, &draft(text)).unwrap());
            assert_eq!(state(&chat, question), AskedState::Answering(text.into()));
        }
        let mut away = on_another_laptop(&chat);
        chat.note(question, &draft("Sechs Birnen")).unwrap();
        meet(&mut away, &mut chat);
        assert_eq!(
            state(&away, question),
            AskedState::Answering("Sechs Birnen".into())
        );
        chat.append(
            Some(question),
            Message::new(Role::Assistant, "Six pears.", 0),
        )
        .unwrap();
        assert_eq!(state(&chat, question), AskedState::Answered);
        let noted = chat.asked_object(question).unwrap().unwrap();
        assert_eq!(chat.draft_of(&noted).unwrap(), None);
    }

    #[test]
    fn withdrawn_holds_over_a_draft_and_a_failure_and_an_answer_over_all() {
        for note in [draft("Five"), AskedNote::Failed("no model".into())] {
            let (mut here, question) = asked();
            let mut desk = on_another_laptop(&here);
            here.note(question, &AskedNote::Withdrawn).unwrap();
            desk.note(question, &note).unwrap();
            meet(&mut here, &mut desk);
            assert_eq!(state(&here, question), AskedState::Withdrawn);
        }
        let (mut here, question) = asked();
        let mut desk = on_another_laptop(&here);
        here.note(question, &AskedNote::Withdrawn).unwrap();
        desk.append(Some(question), Message::new(Role::Assistant, "Five.", 0))
            .unwrap();
        meet(&mut here, &mut desk);
        assert_eq!(state(&here, question), AskedState::Answered);
    }

    #[test]
    fn a_draft_that_failed_is_a_failure() {
        let (mut chat, question) = asked();
        chat.note(question, &draft("Fi")).unwrap();
        chat.note(question, &AskedNote::Failed("no memory".into()))
            .unwrap();
        assert_eq!(
            state(&chat, question),
            AskedState::Failed("no memory".into())
        );
    }

    #[test]
    fn nothing_is_noted_of_what_no_other_laptop_was_asked() {
        let (mut chat, _) = asked();
        let own = chat
            .append(None, Message::new(Role::User, "Here?", 0))
            .unwrap();
        let heads = chat.automerge().get_heads();
        for id in [own, MessageId([9; 16])] {
            assert!(!chat.note(id, &AskedNote::Withdrawn).unwrap());
        }
        assert_eq!(chat.automerge().get_heads(), heads);
    }

    #[test]
    fn an_answer_that_comes_late_stands_with_its_question() {
        let (mut here, question) = asked();
        let mut desk = on_another_laptop(&here);
        let next = here
            .append(Some(question), Message::new(Role::User, "And pears?", 0))
            .unwrap();
        here.append(Some(next), Message::new(Role::Assistant, "Six.", 0))
            .unwrap();
        desk.append(Some(question), Message::new(Role::Assistant, "Five.", 0))
            .unwrap();
        meet(&mut here, &mut desk);
        let thread = Thread {
            entry: entry(),
            messages: here.messages().unwrap(),
        };
        let texts: Vec<&str> = thread
            .path_to_latest()
            .iter()
            .map(|said| said.text.as_str())
            .collect();
        assert_eq!(texts, ["How many?", "Five.", "And pears?", "Six."]);
        assert_eq!(thread.branches().len(), 1);
    }

    /// A message as the version before this one wrote and read it.
    #[derive(Debug, Serialize, Deserialize)]
    struct OldRecord {
        parent: Option<MessageId>,
        order: u64,
        role: Role,
        text: String,
        created_at_ms: i64,
    }

    #[test]
    fn versions_that_know_nothing_of_it_read_and_write_the_same_messages() {
        let (mut chat, question) = asked();
        chat.note(question, &draft("Five")).unwrap();
        let hydrate::Value::Map(messages) =
            ReadDoc::hydrate(&chat.doc, &chat.messages, None).unwrap()
        else {
            panic!("messages are a map")
        };
        let Some(hydrate::Value::Map(stored)) = messages.get(question.to_string().as_str()) else {
            panic!("a message is a map")
        };
        let old: OldRecord = values::from_map(stored).unwrap();
        assert_eq!(old.text, "How many?");

        // The schema: what is stored is read by laptops of every version from now on.
        let noted: serde_json::Value = values::from_map(stored).unwrap();
        let expected = json!({ "of": DESK.to_string(), "draft": "Five" });
        assert_eq!(noted["asked"], expected);

        let id = MessageId([4; 16]);
        let record = hydrate::Value::Map(values::to_map(&OldRecord { order: 2, ..old }));
        let messages = chat.messages.clone();
        chat.doc
            .transact(|tx| tx.batch_create_object(&messages, id.to_string(), &record, false))
            .unwrap();
        let read = chat.messages().unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].asked, None);
        assert!(chat.doc.get(ROOT, "asked").unwrap().is_none());
    }
}
