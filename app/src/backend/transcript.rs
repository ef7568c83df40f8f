//! Conversations as the chat model was given them, so that a follow-up question goes on with the same bytes.
//!
//! A model that reads the same beginning need not read it again: earlier questions stay in the prompt with their sources,
//! and only what is new comes behind. A transcript is let go when it no longer fits what the documents say, when another
//! model reads, and when it outgrows the model's window; then the conversation is laid out anew.
//! Start at [`Transcripts::of`]; what outlives the program is in `warm`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use satchel_inference::ChatMessage;
use satchel_sync::chat::ThreadId;
use satchel_sync::id::MessageId;
use satchel_vector::StoredChunk;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::prompt::Passage;
use crate::message::Failure;

/// Chats whose transcripts are held: more than anybody goes back and forth between.
const MOST_CHATS: usize = 8;

/// What a model was given and answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    /// The model: see `model_host::Running::reader`.
    pub reader: String,
    /// What was said, the model's last answer at the end.
    pub messages: Vec<ChatMessage>,
    /// The sources in it, by their marks.
    pub passages: Vec<Passage>,
}

/// A conversation as a model was given it, up to one answer of a chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The answer that it ends with.
    pub head: MessageId,
    /// What was said.
    pub said: Said,
}

impl Transcript {
    /// Whether this model gave this answer at its end.
    #[must_use]
    pub fn leads_to(&self, reader: &str, head: MessageId) -> bool {
        self.said.reader == reader && self.head == head
    }
}

impl Said {
    /// Whether every source still says what it said.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn is_current(&self, shared: &Shared) -> Result<bool, Failure> {
        for (at, passage) in self.passages.iter().enumerate() {
            let source = passage.hit.source;
            let is_first = |earlier: &Passage| earlier.hit.source == source;
            if self.passages[..at].iter().any(is_first) {
                continue;
            }
            let chunks = shared
                .index
                .chunks_of(source)
                .await
                .map_err(Failure::from)?;
            let of_source = self.passages.iter().filter(|p| p.hit.source == source);
            if !of_source.into_iter().all(|passage| says(&chunks, passage)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether these chunks of its document say what a passage says.
fn says(chunks: &[StoredChunk], passage: &Passage) -> bool {
    let inside = chunks.iter().filter(|chunk| {
        passage.range.start <= chunk.range.start && chunk.range.end <= passage.range.end
    });
    let texts: Vec<&str> = inside.map(|chunk| chunk.text.as_str()).collect();
    let is_hit =
        |chunk: &StoredChunk| chunk.range == passage.hit.range && chunk.text == passage.hit.text;
    texts.join("\n") == passage.text && chunks.iter().any(is_hit)
}

/// The transcripts of the chats that were gone on with last, as long as the worker that read them runs.
#[derive(Default)]
pub struct Transcripts {
    /// The newest at the end. Nothing is done while the lock is held but to look and move.
    chats: Mutex<Vec<(ThreadId, Transcript)>>,
}

impl Transcripts {
    /// The transcript of a chat.
    #[must_use]
    pub fn of(&self, chat: ThreadId) -> Option<Transcript> {
        let chats = self.lock();
        let held = chats.iter().find(|(held, _)| *held == chat);
        held.map(|(_, transcript)| transcript.clone())
    }

    /// Holds the transcript of a chat in place of an earlier one.
    pub fn hold(&self, chat: ThreadId, transcript: Transcript) {
        let mut chats = self.lock();
        chats.retain(|(held, _)| *held != chat);
        if chats.len() == MOST_CHATS {
            chats.remove(0);
        }
        chats.push((chat, transcript));
    }

    /// Lets go of all and gives them, the newest first: the worker is going to end.
    #[must_use]
    pub fn take_all(&self) -> Vec<(ThreadId, Transcript)> {
        let mut all = std::mem::take(&mut *self.lock());
        all.reverse();
        all
    }

    /// Lets go of one chat's, or of all.
    pub fn forget(&self, chat: Option<ThreadId>) {
        self.lock()
            .retain(|(held, _)| chat.is_some_and(|chat| chat != *held));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(ThreadId, Transcript)>> {
        self.chats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use satchel_vector::{Hit, SourceId};

    fn transcript(head: u8) -> Transcript {
        Transcript {
            head: MessageId([head; 16]),
            said: Said {
                reader: "model".to_owned(),
                messages: Vec::new(),
                passages: Vec::new(),
            },
        }
    }

    #[test]
    fn the_newest_chats_are_held_until_they_are_taken() {
        let transcripts = Transcripts::default();
        for chat in 0..10 {
            transcripts.hold(ThreadId([chat; 16]), transcript(chat));
        }
        assert!(transcripts.of(ThreadId([1; 16])).is_none(), "it gave way");
        transcripts.hold(ThreadId([2; 16]), transcript(20));
        assert_eq!(transcripts.of(ThreadId([2; 16])), Some(transcript(20)));
        transcripts.forget(Some(ThreadId([3; 16])));
        let taken = transcripts.take_all();
        let taken: Vec<u8> = taken.iter().map(|(id, _)| id.0[0]).collect();
        assert_eq!(taken, [2, 9, 8, 7, 6, 5, 4]);
        assert!(transcripts.of(ThreadId([9; 16])).is_none());
        transcripts.hold(ThreadId([9; 16]), transcript(9));
        transcripts.forget(None);
        assert!(transcripts.take_all().is_empty());
    }

    #[test]
    fn a_transcript_leads_to_one_answer_of_one_model() {
        let head = MessageId([1; 16]);
        assert!(transcript(1).leads_to("model", head));
        assert!(!transcript(1).leads_to("other", head));
        assert!(!transcript(2).leads_to("model", head));
    }

    #[test]
    fn a_passage_says_what_its_document_says() {
        let chunk = |range: std::ops::Range<usize>, text: &str| StoredChunk {
            chunk_index: 0,
            range,
            heading_path: Vec::new(),
            page: None,
            text: text.to_owned(),
        };
        let chunks = vec![
            chunk(0..3, "one"),
            chunk(4..7, "two"),
            chunk(8..13, "three"),
        ];
        let passage = Passage {
            mark: "S1".to_owned(),
            hit: Hit {
                source: SourceId([1; 16]),
                chunk_index: 1,
                range: 4..7,
                heading_path: Vec::new(),
                page: None,
                text: "two".to_owned(),
                title: String::new(),
                path: String::new(),
                relevance_score: 0.0,
                cosine: None,
                bm25: None,
                lexical_rank: None,
                vector_rank: None,
            },
            range: 0..7,
            text: "one\ntwo".to_owned(),
        };
        assert!(says(&chunks, &passage));
        for changed in [
            vec![chunk(0..3, "won"), chunk(4..7, "two")],
            vec![chunk(0..3, "one"), chunk(4..7, "too")],
            vec![chunk(0..7, "one two")],
            vec![chunk(1..4, "one"), chunk(5..8, "two")],
            Vec::new(),
        ] {
            assert!(!says(&changed, &passage), "{changed:?}");
        }
    }
}
