//! Chats of a workspace: beginning, continuing, reading, removing.
//!
//! A message is durable when [`Workspace::append_message`] returns. Start there.

use std::path::Path;
use std::sync::PoisonError;

use super::contents::Change;
use super::documents::now_ms;
use super::error::SaveError;
use super::journal::{self, Journal, Place};
use super::{Workspace, chat_place, remove_files};
use crate::chat::{AskedNote, ChatDocument, Message, Thread, ThreadEntry};
use crate::durable;
use crate::entry::DocKey;
use crate::id::{MessageId, ThreadId};

impl Workspace {
    /// The chats, in the order in which they were last used, newest first.
    #[must_use]
    pub fn threads(&self) -> Vec<ThreadEntry> {
        let mut threads: Vec<ThreadEntry> =
            self.index().contents().threads.values().cloned().collect();
        threads.sort_by_key(|thread| (std::cmp::Reverse(thread.updated_at_ms), thread.id));
        threads
    }

    /// Begins a chat.
    ///
    /// # Errors
    /// See [`SaveError`]; there is no new chat then.
    pub fn create_thread(&self, title: &str) -> Result<ThreadId, SaveError> {
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let now = now_ms();
        let entry = ThreadEntry {
            id: ThreadId::random(),
            title: title.to_owned(),
            created_at_ms: now,
            updated_at_ms: now,
        };
        let place = chat_place(&self.dir, entry.id);
        let chat = ChatDocument::new_in(self.author.new_document(), &entry)
            .map_err(|error| SaveError::load(&place.path, error))?;
        let bytes = journal::encode_new(&self.keys, place.name, chat.automerge(), None)?;
        durable::write(&place.path, &bytes)
            .map_err(|error| SaveError::io(&place.path, bytes.len() as u64, error))?;
        let id = entry.id;
        self.index()
            .change(&self.keys, vec![Change::Thread(entry)])
            .inspect_err(|_| {
                self.author.renew();
                remove_files([place.path]);
            })?;
        self.dirty.mark(DocKey::chat(id));
        Ok(id)
    }

    /// Adds a message and returns when it is durable.
    ///
    /// `parent` is the message that it follows; another message after the same parent begins a branch.
    ///
    /// # Errors
    /// [`SaveError::UnknownThread`], [`SaveError::UnknownMessage`] for a parent that is not there; otherwise see
    /// [`SaveError`]. The chat is then as before.
    pub fn append_message(
        &self,
        thread: ThreadId,
        parent: Option<MessageId>,
        message: Message,
    ) -> Result<MessageId, SaveError> {
        let mut entry = self.thread_entry(thread)?;
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let place = chat_place(&self.dir, thread);
        let understood = |error| SaveError::load(&place.path, error);
        let (mut chat, mut journal) = self.open_chat(&place)?;
        if let Some(parent) = parent {
            let known = chat
                .messages()
                .map_err(understood)?
                .iter()
                .any(|message| message.id == parent);
            if !known {
                return Err(SaveError::UnknownMessage { message: parent });
            }
        }
        entry.updated_at_ms = entry.updated_at_ms.max(message.created_at_ms);
        let id = chat.append(parent, message).map_err(understood)?;
        self.make_durable(&chat, &mut journal)?;
        self.dirty.mark(DocKey::chat(thread));
        self.after_append(&place.path, &mut journal, &chat, entry);
        Ok(id)
    }

    /// Notes how far the answer to a question is that another laptop was asked, and returns when that is durable.
    /// The chat counts as unused by it.
    ///
    /// # Errors
    /// [`SaveError::UnknownThread`]; [`SaveError::UnknownMessage`] where no other laptop was asked it; otherwise see
    /// [`SaveError`]. The chat is then as before.
    pub fn note_asked(
        &self,
        thread: ThreadId,
        question: MessageId,
        note: &AskedNote,
    ) -> Result<(), SaveError> {
        self.thread_entry(thread)?;
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let place = chat_place(&self.dir, thread);
        let (mut chat, mut journal) = self.open_chat(&place)?;
        let is_known = chat
            .note(question, note)
            .map_err(|error| SaveError::load(&place.path, error))?;
        if !is_known {
            return Err(SaveError::UnknownMessage { message: question });
        }
        self.make_durable(&chat, &mut journal)?;
        self.dirty.mark(DocKey::chat(thread));
        if let Err(error) = journal.compact_if_grown(&self.keys, chat.automerge(), || None) {
            tracing::warn!(%error, "the log of a chat stays long");
        }
        Ok(())
    }

    fn make_durable(&self, chat: &ChatDocument, journal: &mut Journal) -> Result<(), SaveError> {
        let Some(frame) = journal.pending(chat.automerge(), None)? else {
            return Ok(());
        };
        let heads = chat.automerge().get_heads();
        journal
            .append(&self.keys, &frame, heads)
            .inspect_err(|_| self.author.renew())
    }

    /// What follows a durable message and may fail without harm: the time in the list, and compaction.
    fn after_append(
        &self,
        path: &Path,
        journal: &mut Journal,
        chat: &ChatDocument,
        entry: ThreadEntry,
    ) {
        let listed = self.index().change(&self.keys, vec![Change::Thread(entry)]);
        let compacted = journal.compact_if_grown(&self.keys, chat.automerge(), || None);
        if let Err(error) = listed.and(compacted) {
            tracing::warn!(%error, file = ?path.file_name(), "the list of chats is behind by one message");
        }
    }

    /// A chat with all its messages.
    ///
    /// # Errors
    /// [`SaveError::UnknownThread`]; [`SaveError::Damaged`] when nothing is left of it.
    pub fn thread(&self, thread: ThreadId) -> Result<Thread, SaveError> {
        let entry = self.thread_entry(thread)?;
        let place = chat_place(&self.dir, thread);
        let understood = |error| SaveError::load(&place.path, error);
        let loaded = {
            let _files = self.files.read().unwrap_or_else(PoisonError::into_inner);
            journal::read(&self.keys, &place)?
        };
        let chat = match loaded {
            Ok(loaded) if loaded.scan.damage.is_none() => {
                ChatDocument::from_automerge(loaded.doc).map_err(understood)?
            }
            _ => {
                let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
                self.open_chat(&place)?.0
            }
        };
        Ok(Thread {
            entry,
            messages: chat.messages().map_err(understood)?,
        })
    }

    /// Gives a chat another title.
    ///
    /// # Errors
    /// [`SaveError::UnknownThread`]; otherwise see [`SaveError`].
    pub fn rename_thread(&self, thread: ThreadId, title: &str) -> Result<(), SaveError> {
        let mut entry = self.thread_entry(thread)?;
        title.clone_into(&mut entry.title);
        self.index().change(&self.keys, vec![Change::Thread(entry)])
    }

    /// Removes a chat with its messages.
    ///
    /// # Errors
    /// [`SaveError::UnknownThread`]; otherwise see [`SaveError`].
    pub fn remove_thread(&self, thread: ThreadId) -> Result<(), SaveError> {
        self.thread_entry(thread)?;
        let _files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        self.index()
            .change(&self.keys, vec![Change::RemoveThread(thread)])?;
        remove_files([chat_place(&self.dir, thread).path]);
        Ok(())
    }

    fn thread_entry(&self, thread: ThreadId) -> Result<ThreadEntry, SaveError> {
        let entry = self.index().contents().threads.get(&thread).cloned();
        entry.ok_or(SaveError::UnknownThread { thread })
    }

    /// Opens a chat for appending, repairing it where needed.
    fn open_chat(&self, place: &Place) -> Result<(ChatDocument, Journal), SaveError> {
        let loaded = journal::read_and_repair(&self.keys, place)?.map_err(|damage| {
            self.report(damage);
            SaveError::Damaged {
                path: place.path.clone(),
            }
        })?;
        if let Some(damage) = &loaded.scan.damage {
            self.report(damage.clone());
        }
        let journal = Journal::open(place.clone(), &loaded.scan)?;
        let mut doc = loaded.doc;
        self.author.take_over(&mut doc);
        let chat = ChatDocument::from_automerge(doc)
            .map_err(|error| SaveError::load(&place.path, error))?;
        Ok((chat, journal))
    }
}
