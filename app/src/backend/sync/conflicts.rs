//! What was changed on two laptops at once, for the user: who, when, and what became of it.
//!
//! Start at [`report`].

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use satchel_sync::workspace::{Branches, Choice, Chosen, Conflicts, DocumentMeeting};

use crate::backend::Shared;
use crate::message::{
    Authors, BranchEnd, ChatBranches, ConflictReport, Failure, Meeting, MeetingSide, NameChoice,
    NameValue,
};

/// What is older is not told any more.
const TOLD_FOR: Duration = Duration::from_secs(30 * 86_400);

/// What met in the last 30 days. Nothing in a workspace that is not shared.
///
/// # Errors
/// When the list of documents cannot be read.
pub(super) async fn report(shared: &Arc<Shared>) -> Result<ConflictReport, Failure> {
    let authors = super::authors(shared);
    let since = SystemTime::now() - TOLD_FOR;
    let since_ms = since.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    });
    if authors.alone {
        return Ok(ConflictReport {
            since_ms,
            ..ConflictReport::default()
        });
    }
    let here = Arc::clone(shared);
    let (found, workspace) = shared
        .with_workspace(move |workspace| {
            let mut cache = here.meetings.lock().unwrap_or_else(PoisonError::into_inner);
            let found = workspace.conflicts(since_ms, &mut cache)?;
            Ok::<_, Failure>((found, workspace.id().to_string()))
        })
        .await?;
    let Conflicts {
        documents,
        names,
        chats,
        unreadable,
    } = found;
    Ok(ConflictReport {
        since_ms,
        documents: documents
            .into_iter()
            .map(|met| meeting(met, &authors))
            .collect(),
        names: names
            .into_iter()
            .map(|choice| name_choice(choice, &workspace, &authors))
            .collect(),
        chats: chats
            .into_iter()
            .map(|chat| branches(chat, &authors))
            .collect(),
        unreadable,
    })
}

fn meeting(met: DocumentMeeting, authors: &Authors) -> Meeting {
    let sides = met.meeting.sides.into_iter().zip(met.side_ids);
    Meeting {
        document: met.document.to_string(),
        title: met.title,
        joined: met.meeting.joined,
        joined_id: met.joined_id,
        base: match met.meeting.base.as_slice() {
            [one] => Some(*one),
            _ => None,
        },
        sides: sides
            .map(|(side, version_id)| MeetingSide {
                authors: side
                    .devices
                    .into_iter()
                    .map(|device| authors.of(Some(device)))
                    .collect(),
                since_ms: side.since_ms,
                at_ms: side.at_ms,
                version: side.version,
                version_id,
            })
            .collect(),
        same_lines: met.same_lines,
    }
}

fn name_choice(choice: Choice, workspace: &str, authors: &Authors) -> NameChoice {
    let (what, id) = match choice.what {
        Chosen::Workspace => ("workspace", workspace.to_owned()),
        Chosen::Document(id) => ("document", id.to_string()),
        Chosen::Chat(id) => ("chat", id.to_string()),
    };
    let values = choice.values.into_iter().enumerate();
    NameChoice {
        what: what.to_owned(),
        id,
        values: values
            .map(|(index, value)| NameValue {
                value: value.value,
                author: authors.of(value.author),
                at_ms: value.at_ms,
                in_force: index == 0,
            })
            .collect(),
    }
}

fn branches(chat: Branches, authors: &Authors) -> ChatBranches {
    ChatBranches {
        chat: chat.chat.to_string(),
        title: chat.title,
        branches: chat
            .ends
            .into_iter()
            .map(|(author, at_ms)| BranchEnd {
                author: authors.of(author),
                at_ms,
            })
            .collect(),
    }
}
