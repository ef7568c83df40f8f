//! Warm chats: what the chat model knew of a conversation, kept on the disk, so that after a restart it goes on without
//! reading everything again.
//!
//! One sealed file per chat beside the index, under the workspace's key. It belongs to the exact model, its settings and
//! the version of llama.cpp; anything else is passed over. Deleted with the chat, with any document (its words are in
//! there), and the oldest first when all of them take more than [`MOST_BYTES`]. May be deleted at any time.
//! Start at [`put_away`] and [`take_up`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use satchel_inference::KnownConversation;
use satchel_sync::chat::ThreadId;
use satchel_sync::id::MessageId;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::model_host::Running;
use super::transcript::Transcript;

/// What all files of a workspace take at most: eight conversations of 900 tokens with a model of four billion weights
/// (144 KiB each token).
const MOST_BYTES: u64 = 1 << 30;
/// The longest state that is kept: 1,800 tokens of such a model. Reading it takes about half a second.
const MOST_STATE_BYTES: usize = 256 << 20;
/// How long the end of the program waits for what is only there to save time.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is kept beside the state.
#[derive(Serialize, Deserialize)]
struct Head {
    transcript: Transcript,
    tokens: Vec<i32>,
}

/// Keeps what the chat model knows of the chats that were gone on with, before its worker ends. Failures cost time later,
/// nothing else.
pub async fn put_away(shared: &Arc<Shared>) {
    let keeping = async {
        let Some(running) = shared.models.running_chat().await else {
            return;
        };
        for (chat, transcript) in shared.transcripts.take_all() {
            // A document may have been removed while an answer from it was being written.
            if transcript.said.is_current(shared).await.unwrap_or(false) {
                keep(shared, &running, chat, transcript).await;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, keeping).await.is_err() {
        tracing::debug!("the chats were not all kept warm in time");
    }
}

async fn keep(shared: &Arc<Shared>, running: &Running, chat: ThreadId, transcript: Transcript) {
    let known = match running
        .engine
        .put_away(transcript.said.messages.clone())
        .await
    {
        Ok(Some(known)) if known.state.len() <= MOST_STATE_BYTES => known,
        Ok(_) => return,
        Err(error) => {
            tracing::debug!(%error, "a chat is not kept warm");
            return;
        }
    };
    let shared = Arc::clone(shared);
    let writing = tokio::task::spawn_blocking(move || {
        let KnownConversation { tokens, state } = known;
        let head =
            serde_json::to_vec(&Head { transcript, tokens }).map_err(|error| error.to_string())?;
        let path = file_of(&shared, chat);
        shared
            .workspace
            .write_cache(&path, chat.0, &head, &state)
            .map_err(|error| error.to_string())?;
        remove_oldest(&folder_of(&shared), MOST_BYTES);
        Ok::<_, String>(())
    });
    match writing.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error, "a chat is not kept warm"),
        Err(error) => tracing::warn!(%error, "a chat is not kept warm"),
    }
}

/// Gives the model what it knew of a chat, where that was kept. Returns what was said.
pub async fn take_up(
    shared: &Arc<Shared>,
    running: &Running,
    reader: &str,
    chat: ThreadId,
    head: MessageId,
) -> Option<Transcript> {
    let reading = {
        let shared = Arc::clone(shared);
        tokio::task::spawn_blocking(move || {
            let path = file_of(&shared, chat);
            let (head, state) = shared.workspace.read_cache(&path, chat.0)?;
            Some((serde_json::from_slice::<Head>(&head).ok()?, state))
        })
    };
    let (Head { transcript, tokens }, state) = reading.await.ok()??;
    if !transcript.leads_to(reader, head) {
        return None;
    }
    match running
        .engine
        .take_up(KnownConversation { tokens, state })
        .await
    {
        Ok(true) => Some(transcript),
        Ok(false) => None,
        Err(error) => {
            tracing::debug!(%error, "a warm chat could not be used");
            None
        }
    }
}

/// Lets go of what is known of a chat that is removed.
pub async fn forget(shared: &Arc<Shared>, chat: ThreadId) {
    shared.transcripts.forget(Some(chat));
    let path = file_of(shared, chat);
    remove(move || fs::remove_file(path)).await;
}

/// Lets go of what is known of all chats: documents were removed, whose words are in them.
pub async fn forget_all(shared: &Arc<Shared>) {
    shared.transcripts.forget(None);
    let folder = folder_of(shared);
    remove(move || fs::remove_dir_all(folder)).await;
}

async fn remove(remove: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    match tokio::task::spawn_blocking(remove).await {
        Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "what was known of chats could not be deleted");
        }
        _ => {}
    }
}

fn folder_of(shared: &Shared) -> PathBuf {
    shared.dirs.known_chats_of(shared.workspace.id())
}

fn file_of(shared: &Shared, chat: ThreadId) -> PathBuf {
    folder_of(shared).join(chat.to_string())
}

/// Removes the files that were written first, until all together take no more than `most_bytes`.
fn remove_oldest(folder: &Path, most_bytes: u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), entry.path()))
        })
        .collect();
    files.sort();
    let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, length, path) in files {
        if bytes <= most_bytes {
            return;
        }
        if fs::remove_file(path).is_ok() {
            bytes -= length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn the_oldest_files_give_way() {
        let folder = tempfile::tempdir().unwrap();
        for (age_s, name) in [(30, "b"), (40, "a"), (10, "d"), (20, "c")] {
            let path = folder.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s))
                .unwrap();
        }
        remove_oldest(folder.path(), 250);
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["c", "d"]);
        remove_oldest(folder.path(), 250);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
