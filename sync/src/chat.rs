//! One chat in Automerge: messages that form a tree, so that two devices that go on offline make two branches.
//!
//! Messages are added, never changed, but for what is noted of a question that another laptop is to answer.
//! Pure: no disk, no clock. The schema is in `sync/SCHEMA.md`. Start at [`Thread`].

use std::collections::{BTreeMap, HashSet};

use automerge::hydrate::Value;
use automerge::transaction::Transactable;
use automerge::{Automerge, AutomergeError, ObjId, ObjType, ROOT, ReadDoc};
use serde::{Deserialize, Serialize};

use crate::author::device_of;
use crate::document::{Anchor, DOCUMENT_SCHEMA, LoadError, check_schema};
use crate::id::DeviceId;
pub use crate::id::{MessageId, ThreadId};
use crate::values;

mod asked;

use asked::AskedRecord;
pub use asked::{Asked, AskedNote, AskedState};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// A passage that an answer rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CitationRecord {
    /// The mark in the answer's text, such as `1`.
    pub mark: String,
    /// The passage; survives edits of its document.
    pub anchor: Anchor,
}

/// What is said in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The words, as Markdown.
    pub text: String,
    /// The passages that the words rest on.
    pub citations: Vec<CitationRecord>,
    /// Sentences whose words or numbers are in none of the passages.
    pub unsupported: Vec<String>,
    /// The model that answered, by name.
    pub model: Option<String>,
    /// The laptop that is to answer; `None` for what is answered where it is asked.
    pub asked_of: Option<DeviceId>,
    /// When, in milliseconds since 1970 by the device's clock. For showing only: order follows the tree.
    pub created_at_ms: i64,
}

impl Message {
    /// A message without citations or model.
    #[must_use]
    pub fn new(role: Role, text: impl Into<String>, created_at_ms: i64) -> Self {
        Self {
            role,
            text: text.into(),
            citations: Vec::new(),
            unsupported: Vec::new(),
            model: None,
            asked_of: None,
            created_at_ms,
        }
    }
}

/// A message with its place in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Which message.
    pub id: MessageId,
    /// The message that it answers or follows; `None` at the beginning.
    pub parent: Option<MessageId>,
    /// Who speaks.
    pub role: Role,
    /// The words, as Markdown.
    pub text: String,
    /// The passages that the words rest on.
    pub citations: Vec<CitationRecord>,
    /// Sentences whose words or numbers are in none of the passages.
    pub unsupported: Vec<String>,
    /// The model that answered, by name.
    pub model: Option<String>,
    /// When, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// One more than the highest number known when the message was added: tells which branch is newest
    /// without trusting clocks.
    pub order: u64,
    /// The device that added it; `None` for what was written before the workspace was shared.
    pub author: Option<DeviceId>,
    /// Of a question that another laptop is to answer: which one, and how far it is.
    pub asked: Option<Asked>,
}

/// A chat as the list of chats shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadEntry {
    /// Which chat.
    pub id: ThreadId,
    /// Its title.
    pub title: String,
    /// When it was begun, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// When the last message was added, in milliseconds since 1970.
    pub updated_at_ms: i64,
}

/// A chat with all its branches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its title and times.
    pub entry: ThreadEntry,
    /// Every message, in the order in which they were added.
    pub messages: Vec<StoredMessage>,
}

impl Thread {
    /// The newest branch, from its first message to the newest one of all.
    #[must_use]
    pub fn path_to_latest(&self) -> Vec<&StoredMessage> {
        // Of a circle, which only a faulty device makes, every message is followed.
        let end = self.ends().next().or(self.messages.last());
        end.map_or_else(Vec::new, |end| self.path_to(end))
    }

    /// Every branch from its first message to its last one, the newest first: as many as there are messages that
    /// nothing follows.
    #[must_use]
    pub fn branches(&self) -> Vec<Vec<&StoredMessage>> {
        self.ends().map(|end| self.path_to(end)).collect()
    }

    /// The messages that nothing follows, newest first. An answer of another laptop that came when the chat had gone on
    /// is none: it is shown with its question.
    fn ends(&self) -> impl Iterator<Item = &StoredMessage> {
        let followed: HashSet<MessageId> = self
            .messages
            .iter()
            .filter_map(|message| message.parent)
            .collect();
        let gone_on: HashSet<MessageId> = self
            .messages
            .iter()
            .filter(|message| message.role == Role::User)
            .filter_map(|message| message.parent)
            .collect();
        let is_late = move |message: &StoredMessage| {
            let question = message.parent.filter(|parent| gone_on.contains(parent));
            message.role == Role::Assistant && question.is_some_and(|id| self.is_asked(id))
        };
        let newest_first = self.messages.iter().rev();
        newest_first.filter(move |message| !followed.contains(&message.id) && !is_late(message))
    }

    fn is_asked(&self, id: MessageId) -> bool {
        self.message(id)
            .is_some_and(|message| message.asked.is_some())
    }

    /// One message.
    #[must_use]
    pub fn message(&self, id: MessageId) -> Option<&StoredMessage> {
        self.messages.iter().find(|message| message.id == id)
    }

    /// What another laptop answered to a question.
    #[must_use]
    pub fn answer_to(&self, question: MessageId) -> Option<&StoredMessage> {
        let is_answer = |message: &&StoredMessage| {
            message.role == Role::Assistant && message.parent == Some(question)
        };
        self.messages.iter().find(is_answer)
    }

    /// From the first message of a branch to this one, each late answer behind its question.
    #[must_use]
    pub fn path_to<'a>(&'a self, end: &'a StoredMessage) -> Vec<&'a StoredMessage> {
        let mut path = Vec::new();
        let mut line = self.line_to(end).into_iter().peekable();
        while let Some(message) = line.next() {
            path.push(message);
            if message.asked.is_some() && line.peek().is_some_and(|next| next.role == Role::User) {
                path.extend(self.answer_to(message.id));
            }
        }
        path
    }

    fn line_to<'a>(&'a self, end: &'a StoredMessage) -> Vec<&'a StoredMessage> {
        let by_id: BTreeMap<MessageId, &StoredMessage> = self
            .messages
            .iter()
            .map(|message| (message.id, message))
            .collect();
        let mut path = Vec::new();
        let mut seen = HashSet::new();
        let mut next = Some(end);
        while let Some(message) = next {
            // Merged data of a faulty device could be a circle.
            if !seen.insert(message.id) {
                break;
            }
            path.push(message);
            next = message
                .parent
                .and_then(|parent| by_id.get(&parent).copied());
        }
        path.reverse();
        path
    }

    /// The messages that follow `parent`, oldest first; more than one where branches part.
    #[must_use]
    pub fn children(&self, parent: Option<MessageId>) -> Vec<&StoredMessage> {
        self.messages
            .iter()
            .filter(|message| message.parent == parent)
            .collect()
    }
}

/// A message as Automerge holds it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    parent: Option<MessageId>,
    order: u64,
    role: Role,
    text: String,
    #[serde(default)]
    citations: Vec<CitationRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unsupported: Vec<String>,
    model: Option<String>,
    asked: Option<AskedRecord>,
    created_at_ms: i64,
}

/// The Automerge document of a chat.
#[derive(Debug)]
pub(crate) struct ChatDocument {
    doc: Automerge,
    messages: ObjId,
}

impl ChatDocument {
    /// A new chat in an empty document of some author.
    pub(crate) fn new_in(mut doc: Automerge, entry: &ThreadEntry) -> Result<Self, AutomergeError> {
        let about = Value::Map(values::to_map(entry));
        let made = doc.transact::<_, _, AutomergeError>(|tx| {
            tx.put(ROOT, "format", DOCUMENT_SCHEMA)?;
            tx.batch_create_object(ROOT, "about", &about, false)?;
            tx.put_object(ROOT, "messages", ObjType::Map)
        });
        let messages = made.map_err(|failure| failure.error)?.result;
        Ok(Self { doc, messages })
    }

    pub(crate) fn from_automerge(doc: Automerge) -> Result<Self, LoadError> {
        let messages = Self::check(&doc)?;
        Ok(Self { doc, messages })
    }

    /// Whether an Automerge document is a chat of this version; gives the messages in it.
    pub(crate) fn check(doc: &Automerge) -> Result<ObjId, LoadError> {
        check_schema(doc)?;
        match doc.get(ROOT, "messages")? {
            Some((automerge::Value::Object(ObjType::Map), messages)) => Ok(messages),
            _ => Err(LoadError::MissingPart("messages")),
        }
    }

    pub(crate) fn automerge(&self) -> &Automerge {
        &self.doc
    }

    /// The entry as it was when the chat was begun, for when the index is lost.
    pub(crate) fn first_entry(&self) -> Result<ThreadEntry, LoadError> {
        let wrong = || LoadError::MissingPart("record about it");
        let (_, object) = self.doc.get(ROOT, "about")?.ok_or_else(wrong)?;
        match ReadDoc::hydrate(&self.doc, &object, None)? {
            Value::Map(map) => values::from_map(&map).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    /// Adds a message in one change. The caller has checked that the parent exists.
    pub(crate) fn append(
        &mut self,
        parent: Option<MessageId>,
        message: Message,
    ) -> Result<MessageId, LoadError> {
        let last = self.messages()?.last().map_or(0, |message| message.order);
        let id = MessageId::random();
        let record = Record {
            parent,
            order: last + 1,
            role: message.role,
            text: message.text,
            citations: message.citations,
            unsupported: message.unsupported,
            model: message.model,
            asked: message.asked_of.map(AskedRecord::new),
            created_at_ms: message.created_at_ms,
        };
        let answered = match (message.role, parent) {
            (Role::Assistant, Some(question)) => self.asked_object(question)?,
            _ => None,
        };
        let value = Value::Map(values::to_map(&record));
        let messages = self.messages.clone();
        self.doc
            .transact(|tx| {
                if let Some(asked) = &answered {
                    asked::drop_draft(tx, asked)?;
                }
                tx.batch_create_object(&messages, id.to_string(), &value, false)
            })
            .map_err(|failure| failure.error)?;
        Ok(id)
    }

    fn author_of(&self, message: &str) -> Option<DeviceId> {
        match self.doc.get(&self.messages, message) {
            Ok(Some((_, ObjId::Id(_, actor, _)))) => device_of(&actor),
            _ => None,
        }
    }

    /// All messages, oldest first. One that another version wrote in another form is left out.
    pub(crate) fn messages(&self) -> Result<Vec<StoredMessage>, LoadError> {
        let Value::Map(map) = ReadDoc::hydrate(&self.doc, &self.messages, None)? else {
            return Err(LoadError::MissingPart("messages"));
        };
        let records: Vec<(MessageId, Record, Option<DeviceId>)> = map
            .iter()
            .filter_map(|(id, entry)| {
                let Value::Map(record) = &entry.value else {
                    return None;
                };
                let author = self.author_of(id);
                Some((id.parse().ok()?, values::from_map(record).ok()?, author))
            })
            .collect();
        let answered: HashSet<MessageId> = records
            .iter()
            .filter(|(_, record, _)| record.role == Role::Assistant)
            .filter_map(|(_, record, _)| record.parent)
            .collect();
        let mut messages: Vec<StoredMessage> = records
            .into_iter()
            .map(|(id, record, author)| stored(id, record, author, answered.contains(&id)))
            .collect();
        messages.sort_by_key(|message| (message.order, message.id));
        Ok(messages)
    }
}

fn stored(
    id: MessageId,
    record: Record,
    author: Option<DeviceId>,
    is_answered: bool,
) -> StoredMessage {
    StoredMessage {
        id,
        parent: record.parent,
        role: record.role,
        text: record.text,
        citations: record.citations,
        unsupported: record.unsupported,
        model: record.model,
        created_at_ms: record.created_at_ms,
        order: record.order,
        author,
        asked: record.asked.map(|asked| asked.read(is_answered)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> ThreadEntry {
        ThreadEntry {
            id: ThreadId([1; 16]),
            title: "Apples".into(),
            created_at_ms: 1,
            updated_at_ms: 1,
        }
    }

    fn said(text: &str) -> Message {
        Message::new(Role::User, text, 0)
    }

    fn texts(messages: &[&StoredMessage]) -> Vec<String> {
        messages
            .iter()
            .map(|message| message.text.clone())
            .collect()
    }

    #[test]
    fn a_chat_that_two_devices_continue_has_two_branches() {
        let mut here = ChatDocument::new_in(Automerge::new(), &entry()).unwrap();
        let first = here.append(None, said("question")).unwrap();
        let mut there = ChatDocument::from_automerge(here.doc.fork()).unwrap();
        here.append(Some(first), said("here")).unwrap();
        let away = there.append(Some(first), said("there")).unwrap();
        there.append(Some(away), said("there again")).unwrap();
        here.doc.merge(&mut there.doc).unwrap();
        let thread = Thread {
            entry: entry(),
            messages: here.messages().unwrap(),
        };
        assert_eq!(thread.messages.len(), 4);
        assert_eq!(thread.children(Some(first)).len(), 2);
        assert_eq!(
            texts(&thread.path_to_latest()),
            ["question", "there", "there again"]
        );
        let branches = thread.branches();
        assert_eq!(branches.len(), 2);
        assert_eq!(branches[0], thread.path_to_latest());
        assert_eq!(texts(&branches[1]), ["question", "here"]);
    }

    #[test]
    fn citations_and_model_are_kept() {
        let anchor = Anchor {
            document: crate::id::DocumentId([2; 16]),
            heads: vec!["00".into()],
            start: "1@aa".into(),
            end: "-3@aa".into(),
            quote: "words".into(),
            quote_hash: "ff".into(),
        };
        let message = Message {
            citations: vec![CitationRecord {
                mark: "1".into(),
                anchor,
            }],
            model: Some("small".into()),
            ..said("answer")
        };
        let mut chat = ChatDocument::new_in(Automerge::new(), &entry()).unwrap();
        chat.append(None, message.clone()).unwrap();
        let loaded =
            ChatDocument::from_automerge(Automerge::load(&chat.doc.save()).unwrap()).unwrap();
        let stored = loaded.messages().unwrap().remove(0);
        assert_eq!(
            (stored.citations, stored.model),
            (message.citations, message.model)
        );
        assert_eq!(loaded.first_entry().unwrap(), entry());
    }

    #[test]
    fn a_circle_of_messages_ends() {
        let message = |id: u8, parent: u8, order| StoredMessage {
            parent: Some(MessageId([parent; 16])),
            order,
            ..stored(
                MessageId([id; 16]),
                Record {
                    parent: None,
                    order: 0,
                    role: Role::User,
                    text: String::new(),
                    citations: vec![],
                    unsupported: vec![],
                    model: None,
                    asked: None,
                    created_at_ms: 0,
                },
                None,
                false,
            )
        };
        let thread = Thread {
            entry: entry(),
            messages: vec![message(1, 2, 1), message(2, 1, 2)],
        };
        assert_eq!(thread.path_to_latest().len(), 2);
    }
}
