//! What two devices changed without knowing of each other, and what became of it: texts, names, chats.
//!
//! Changes nothing. Read from the history that Automerge keeps; a document that was never edited is not even opened.
//! Start at [`Workspace::conflicts`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::ops::Range;
use std::time::UNIX_EPOCH;

use automerge::{Automerge, ObjId, ROOT, ReadDoc, Value};

use super::contents::Contents;
use super::error::SaveError;
use super::history::{self, Meeting, Version};
use super::{Workspace, document_place};
use crate::author::device_of;
use crate::chat::Thread;
use crate::diff;
use crate::document::TextDocument;
use crate::id::{DeviceId, DocumentId, ThreadId};

/// Meetings reported of one document: newer ones first, so the rest is old news.
const MEETINGS_SHOWN: usize = 20;

/// What was changed on two devices at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// Documents in which changes of two devices met, newest first.
    pub documents: Vec<DocumentMeeting>,
    /// Names to which two devices gave different values.
    pub names: Vec<Choice>,
    /// Chats that two devices continued.
    pub chats: Vec<Branches>,
    /// Documents and chats that could not be looked at.
    pub unreadable: usize,
}

/// A point in the history of a document where changes of two devices met. Both are in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentMeeting {
    /// Which document.
    pub document: DocumentId,
    /// Its title.
    pub title: String,
    /// Which versions.
    pub meeting: Meeting,
    /// Lasting names of the versions in `meeting`: of the join, and of each side.
    pub joined_id: String,
    /// As `joined_id`, for each side.
    pub side_ids: Vec<String>,
    /// Whether two sides changed the same lines.
    pub same_lines: bool,
}

/// A name to which devices gave different values without knowing of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What has the name.
    pub what: Chosen,
    /// All values, the one in force first.
    pub values: Vec<ChoiceValue>,
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// The workspace.
    Workspace,
    /// A document.
    Document(DocumentId),
    /// A chat.
    Chat(ThreadId),
}

/// One of several values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceValue {
    /// The value.
    pub value: String,
    /// Whose; `None` for what was written before the workspace was shared.
    pub author: Option<DeviceId>,
    /// When, in milliseconds since 1970 by the author's clock.
    pub at_ms: Option<i64>,
}

/// A chat that two devices continued from the same message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branches {
    /// Which chat.
    pub chat: ThreadId,
    /// Its title.
    pub title: String,
    /// Whose the last message of each branch is, and when it was said, newest branch first.
    pub ends: Vec<(Option<DeviceId>, i64)>,
}

/// What was found in documents that have not changed since.
#[derive(Debug, Default)]
pub struct MeetingCache(HashMap<DocumentId, (String, Vec<DocumentMeeting>)>);

impl Workspace {
    /// What two devices changed without knowing of each other since some time, in milliseconds since 1970.
    ///
    /// Opens the documents that were edited since then, and the chats; those that `cache` knows are not opened again.
    ///
    /// # Errors
    /// When the index cannot be read. A document that cannot be is counted.
    pub fn conflicts(
        &self,
        since_ms: i64,
        cache: &mut MeetingCache,
    ) -> Result<Conflicts, SaveError> {
        let mut found = Conflicts::default();
        let edited = {
            let mut index = self.index();
            let (documents, chats) = {
                let contents = index.contents();
                (document_heads(contents), chat_titles(contents))
            };
            let doc = index.automerge(&self.keys)?;
            let recent = |choice: &Choice| {
                let times = choice.values.iter().filter_map(|value| value.at_ms);
                times.max().is_none_or(|at| at >= since_ms)
            };
            found.names = names(doc, &documents, &chats)
                .into_iter()
                .filter(recent)
                .collect();
            self.edited_since(doc, documents, since_ms)
        };
        cache.0.retain(|id, _| edited.contains_key(id));
        for (id, heads) in edited {
            let known = cache.0.get(&id).filter(|(known, _)| *known == heads);
            let met = match known {
                Some((_, met)) => met.clone(),
                None => match self.meetings_of(id) {
                    Ok(met) => {
                        cache.0.insert(id, (heads, met.clone()));
                        met
                    }
                    Err(error) => {
                        tracing::debug!(%error, document = %id, "a document could not be looked at");
                        found.unreadable += 1;
                        continue;
                    }
                },
            };
            let recent = |met: &DocumentMeeting| last_ms(met).is_none_or(|at| at >= since_ms);
            found.documents.extend(met.into_iter().filter(recent));
        }
        found
            .documents
            .sort_by_key(|met| std::cmp::Reverse(last_ms(met)));
        for entry in self.threads() {
            if entry.updated_at_ms < since_ms {
                continue;
            }
            match self.thread(entry.id) {
                Ok(thread) => found.chats.extend(branches(&thread)),
                Err(error) => {
                    tracing::debug!(%error, chat = %entry.id, "a chat could not be looked at");
                    found.unreadable += 1;
                }
            }
        }
        Ok(found)
    }

    fn meetings_of(&self, id: DocumentId) -> Result<Vec<DocumentMeeting>, SaveError> {
        let title = self.entry(id).map_or_else(String::new, |entry| entry.title);
        self.with_document(id, |stored| {
            let versions = history::versions_of(stored);
            let met = history::meetings(&versions);
            let described = met.into_iter().take(MEETINGS_SHOWN).map(|meeting| {
                let id_of = |number: usize| versions[number - 1].id.clone();
                Ok(DocumentMeeting {
                    document: id,
                    title: title.clone(),
                    joined_id: id_of(meeting.joined),
                    side_ids: meeting
                        .sides
                        .iter()
                        .map(|side| id_of(side.version))
                        .collect(),
                    same_lines: same_lines(stored, &versions, &meeting)?,
                    meeting,
                })
            });
            described.collect()
        })
    }
}

/// When the last side of a meeting was finished.
fn last_ms(met: &DocumentMeeting) -> Option<i64> {
    met.meeting.sides.iter().filter_map(|side| side.at_ms).max()
}

fn document_heads(contents: &Contents) -> BTreeMap<DocumentId, String> {
    let documents = contents.documents.iter();
    documents
        .map(|(id, document)| (*id, document.heads.clone()))
        .collect()
}

fn chat_titles(contents: &Contents) -> Vec<ThreadId> {
    contents.threads.keys().copied().collect()
}

impl Workspace {
    /// The documents that were edited after they were made, and since some time.
    fn edited_since(
        &self,
        doc: &Automerge,
        documents: BTreeMap<DocumentId, String>,
        since_ms: i64,
    ) -> BTreeMap<DocumentId, String> {
        let mut edited = documents;
        let Ok(Some((_, map))) = doc.get(ROOT, "documents") else {
            return BTreeMap::new();
        };
        edited.retain(|id, heads| {
            let Ok(Some((_, record))) = doc.get(&map, id.to_string()) else {
                return false;
            };
            let Ok(listed) = doc.get_all(&record, "heads") else {
                return true;
            };
            // What was never edited has the heads with which its record was made.
            let made = doc.hash_for_opid(&record);
            let never = match listed.as_slice() {
                [(value, at)] => value.as_str() == Some(heads) && doc.hash_for_opid(at) == made,
                _ => false,
            };
            !never && self.was_written_since(*id, since_ms)
        });
        edited
    }

    /// Whether the file of a document was written since some time; an edit is not older than its writing here.
    fn was_written_since(&self, id: DocumentId, since_ms: i64) -> bool {
        let written =
            fs::metadata(document_place(&self.dir, id).path).and_then(|file| file.modified());
        let Ok(Ok(written)) = written.map(|at| at.duration_since(UNIX_EPOCH)) else {
            return true;
        };
        i64::try_from(written.as_millis()).is_ok_and(|at_ms| at_ms >= since_ms)
    }
}

fn names(
    doc: &Automerge,
    documents: &BTreeMap<DocumentId, String>,
    chats: &[ThreadId],
) -> Vec<Choice> {
    let mut found = Vec::new();
    found.extend(choice(doc, &ROOT, "name", Chosen::Workspace));
    if let Ok(Some((_, map))) = doc.get(ROOT, "documents") {
        for id in documents.keys() {
            if let Ok(Some((_, record))) = doc.get(&map, id.to_string()) {
                found.extend(choice(doc, &record, "title", Chosen::Document(*id)));
            }
        }
    }
    if let Ok(Some((_, map))) = doc.get(ROOT, "threads") {
        for id in chats {
            if let Ok(Some((_, record))) = doc.get(&map, id.to_string()) {
                found.extend(choice(doc, &record, "title", Chosen::Chat(*id)));
            }
        }
    }
    found
}

/// The values of a field, if there are several different ones.
fn choice(doc: &Automerge, record: &ObjId, field: &str, what: Chosen) -> Option<Choice> {
    let all = doc.get_all(record, field).ok()?;
    if all.len() < 2 {
        return None;
    }
    let (_, in_force) = doc.get(record, field).ok()??;
    let mut values: Vec<(bool, ChoiceValue)> = all
        .iter()
        .filter_map(|(value, op)| {
            let Value::Scalar(value) = value else {
                return None;
            };
            let value = ChoiceValue {
                value: value.as_str()?.to_owned(),
                author: author_of(op),
                at_ms: time_of(doc, op),
            };
            Some((*op != in_force, value))
        })
        .collect();
    values.sort_by_key(|(is_other, value)| (*is_other, value.at_ms));
    let different: BTreeSet<&String> = values.iter().map(|(_, value)| &value.value).collect();
    (different.len() > 1).then(|| Choice {
        what,
        values: values.into_iter().map(|(_, value)| value).collect(),
    })
}

fn author_of(op: &ObjId) -> Option<DeviceId> {
    match op {
        ObjId::Id(_, actor, _) => device_of(actor),
        ObjId::Root => None,
    }
}

/// When something was written, in milliseconds since 1970.
fn time_of(doc: &Automerge, op: &ObjId) -> Option<i64> {
    let change = doc.get_change_meta_by_hash(&doc.hash_for_opid(op)?)?;
    (change.timestamp > 0).then_some(change.timestamp * 1000)
}

/// Whether two sides changed the same lines of the text that both knew, or put something in the same place.
fn same_lines(
    document: &TextDocument,
    versions: &[Version],
    meeting: &Meeting,
) -> Result<bool, automerge::AutomergeError> {
    let base: BTreeSet<_> = meeting
        .base
        .iter()
        .flat_map(|number| versions[number - 1].heads.iter().copied())
        .collect();
    let base: Vec<_> = base.into_iter().collect();
    let base = history::text_at(document, &base)?;
    let old: Vec<&str> = base.lines().collect();
    let mut touched: Vec<Vec<Range<usize>>> = Vec::new();
    for side in &meeting.sides {
        let text = history::text_at(document, &versions[side.version - 1].heads)?;
        let new: Vec<&str> = text.lines().collect();
        let edits = diff::line_edits(&old, &new);
        touched.push(edits.into_iter().map(|edit| edit.old).collect());
    }
    let pairs = touched
        .iter()
        .enumerate()
        .flat_map(|(at, one)| touched[at + 1..].iter().map(move |other| (one, other)));
    Ok(pairs.into_iter().any(|(one, other)| {
        one.iter()
            .any(|range| other.iter().any(|with| meets(range, with)))
    }))
}

/// Ranges of lines; an empty one is a place between two lines, where something was put.
fn meets(one: &Range<usize>, other: &Range<usize>) -> bool {
    if one.is_empty() || other.is_empty() {
        return one.start <= other.end && other.start <= one.end;
    }
    one.start < other.end && other.start < one.end
}

/// A chat of which two devices wrote a branch each.
fn branches(thread: &Thread) -> Option<Branches> {
    let all = thread.branches();
    if all.len() < 2 {
        return None;
    }
    let mut parents: BTreeMap<_, BTreeSet<DeviceId>> = BTreeMap::new();
    for message in &thread.messages {
        let authors = parents.entry(message.parent).or_default();
        authors.extend(message.author);
    }
    // A first message of each device: both began before they knew of each other, or branched later.
    parents.values().any(|authors| authors.len() > 1).then(|| {
        let ends = all.iter().filter_map(|branch| branch.last());
        Branches {
            chat: thread.entry.id,
            title: thread.entry.title.clone(),
            ends: ends
                .map(|message| (message.author, message.created_at_ms))
                .collect(),
        }
    })
}

#[cfg(test)]
mod tests;
