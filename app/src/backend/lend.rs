//! Answers the questions that other laptops leave for this one, where its user has allowed that.
//!
//! Works while somebody looks on, a window or `satchel sync run`: other processes end with their command. Where its
//! user has not allowed it, the questions are marked as failed, with what to do about it, and not left waiting: nobody
//! should wait for what never comes. Its own user comes first: nothing is begun while he asks, and what is being
//! written for somebody else is given up for him and begun anew. The same happens after a crash, for a question counts
//! as open until its answer is kept. Start at [`start`].

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use satchel_sync::DeviceId;
use satchel_sync::chat::{Asked, AskedNote, StoredMessage, Thread, ThreadId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::jobs::{self, Emitter};
use super::layout::Before;
use super::sync::host::Arrived;
use super::sync::{self, Follower};
use super::{Counted, Shared, answer, conversation};
use crate::message::{Changed, Command, Event, Failure};

/// How often what has been written is sent: often enough to be read along, and each time is an entry on the edge node.
const DRAFT_EVERY: Duration = Duration::from_millis(500);

/// Why a question is not answered where that is not allowed.
const NOT_ALLOWED: &str =
    "it does not answer for other laptops; `satchel settings lend_model true` there lets it";

/// Who wants the chat model of this laptop.
#[derive(Debug, Default)]
pub struct Lending {
    asking: watch::Sender<usize>,
    stirred: watch::Sender<()>,
}

/// The user asks for as long as it lives.
pub struct Asking<'a>(&'a watch::Sender<usize>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|asking| *asking -= 1);
    }
}

impl Lending {
    /// Has open questions looked at: somebody looks on now, the settings are others, or a question was withdrawn here.
    pub fn stir(&self) {
        self.stirred.send_replace(());
    }

    /// While a command is carried out that wants the chat model of this laptop.
    #[must_use]
    pub fn asking(&self, command: &Command) -> Option<Asking<'_>> {
        let wants_model = matches!(
            command,
            Command::Ask { on: None, .. } | Command::Consult { .. } | Command::Complete(_)
        );
        wants_model.then(|| {
            self.asking.send_modify(|asking| *asking += 1);
            Asking(&self.asking)
        })
    }

    /// Returns when the user asks.
    async fn is_asking(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        drop(self.asking.subscribe().wait_for(|asking| *asking > 0).await);
    }

    /// Returns when the user does not ask.
    async fn is_free(&self) {
        drop(
            self.asking
                .subscribe()
                .wait_for(|asking| *asking == 0)
                .await,
        );
    }
}

/// What happens to chats, from here and from elsewhere.
pub struct News {
    arrivals: broadcast::Receiver<Arrived>,
    stirred: watch::Receiver<()>,
}

impl News {
    /// Everything from now on.
    #[must_use]
    pub fn listen(shared: &Shared) -> Self {
        Self {
            arrivals: shared.sync.arrivals(),
            stirred: shared.lending.stirred.subscribe(),
        }
    }

    /// Returns when something may have happened to this chat.
    pub async fn of(&mut self, thread: ThreadId) {
        loop {
            match self.next().await {
                Some(Ok(threads)) if !threads.contains(&thread) => {}
                Some(_) => return,
                // Both ends live in `Shared`, which its listeners hold.
                None => std::future::pending().await,
            }
        }
    }

    /// The chats to which something happened; `Err` where it may have been any, `None` when the backend is gone.
    async fn next(&mut self) -> Option<Result<BTreeSet<ThreadId>, ()>> {
        tokio::select! {
            arrived = self.arrivals.recv() => match arrived {
                Ok(arrived) => Some(Ok(arrived.0.threads.iter().copied().collect())),
                Err(RecvError::Lagged(_)) => Some(Err(())),
                Err(RecvError::Closed) => None,
            },
            stirred = self.stirred.changed() => stirred.ok().map(|()| Err(())),
        }
    }
}

/// A question that waits for this laptop.
#[derive(Debug, Clone)]
struct Open {
    thread: ThreadId,
    question: StoredMessage,
}

/// Follows what is asked until the backend ends. Must be called within the runtime.
#[must_use]
pub fn start(shared: &Arc<Shared>, busy: &Arc<watch::Sender<usize>>) -> Follower {
    let (here, news) = (Arc::downgrade(shared), News::listen(shared));
    let busy = Arc::clone(busy);
    Follower::begin(|end| follow(here, news, busy, end))
}

async fn follow(
    shared: Weak<Shared>,
    mut news: News,
    busy: Arc<watch::Sender<usize>>,
    end: Emitter,
) {
    // Chats that may hold an open question; all of them before the first look.
    let mut chats: Option<BTreeSet<ThreadId>> = None;
    loop {
        let heard = tokio::select! {
            heard = news.next() => heard,
            () = end.cancelled() => return,
        };
        match heard {
            Some(Ok(threads)) => chats = chats.map(|chats| &chats | &threads),
            Some(Err(())) => chats = None,
            None => return,
        }
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if let Err(failure) = answer_open(&shared, &mut chats, &busy, &end).await {
            tracing::warn!(%failure, "the questions of other laptops are not answered");
        }
    }
}

/// Answers one open question after the other, while somebody looks on.
async fn answer_open(
    shared: &Arc<Shared>,
    chats: &mut Option<BTreeSet<ThreadId>>,
    busy: &Arc<watch::Sender<usize>>,
    end: &Emitter,
) -> Result<(), Failure> {
    while shared.sync.is_watched() && !end.is_cancelled() && !sync::is_reader(shared) {
        let Some(this) = shared.workspace.device() else {
            return Ok(());
        };
        let open = open_questions(shared, chats, this).await?;
        let Some(open) = first(open) else {
            return Ok(());
        };
        if !shared.settings.current().lend_model {
            note(shared, &open, AskedNote::Failed(NOT_ALLOWED.to_owned())).await?;
            continue;
        }
        tokio::select! {
            () = shared.lending.is_free() => {}
            () = end.cancelled() => return Ok(()),
        }
        let _counted = Counted::new(busy);
        let chats = Changed {
            chats: true,
            ..Changed::default()
        };
        let work = answer_one(shared, &open, end);
        shared.beside.during(chats, work).await?;
    }
    Ok(())
}

/// The questions that wait for this laptop; `chats` are then those that hold one.
async fn open_questions(
    shared: &Arc<Shared>,
    chats: &mut Option<BTreeSet<ThreadId>>,
    this: DeviceId,
) -> Result<Vec<Open>, Failure> {
    let known = chats.take();
    let looking = shared.with_workspace(move |workspace| {
        let all = || workspace.threads().iter().map(|entry| entry.id).collect();
        let mut open = Vec::new();
        for thread in known.unwrap_or_else(all) {
            match workspace.thread(thread) {
                Ok(chat) => open.extend(open_in(&chat, this)),
                Err(error) => {
                    tracing::debug!(%error, chat = %thread.short(), "a chat could not be looked at");
                }
            }
        }
        Ok::<_, Failure>(open)
    });
    let open = looking.await?;
    *chats = Some(open.iter().map(|open| open.thread).collect());
    Ok(open)
}

/// The questions of a chat that wait for this laptop. What it asks itself is no question of another one.
fn open_in(chat: &Thread, this: DeviceId) -> Vec<Open> {
    let is_for_this = |message: &&StoredMessage| {
        let asked = message.asked.as_ref();
        asked.is_some_and(|asked| asked.of == this && asked.is_open())
            && message.author != Some(this)
    };
    let open = chat.messages.iter().filter(is_for_this);
    open.map(|question| Open {
        thread: chat.entry.id,
        question: question.clone(),
    })
    .collect()
}

/// The one that has waited longest, by the clocks of those who asked; in one chat, the first.
fn first(open: Vec<Open>) -> Option<Open> {
    let waited = |open: &Open| {
        (
            open.question.created_at_ms,
            open.question.order,
            open.question.id,
        )
    };
    open.into_iter().min_by_key(waited)
}

/// Answers a question, unless its own user asks meanwhile, it is withdrawn, or the program ends.
async fn answer_one(shared: &Arc<Shared>, open: &Open, end: &Emitter) -> Result<(), Failure> {
    let mut news = News::listen(shared);
    if !is_open(shared, open).await {
        // Withdrawn while its own user was asking.
        return Ok(());
    }
    tracing::info!(chat = %open.thread.short(), "a question of another laptop is answered");
    let before = before(shared, open).await?;
    note(shared, open, AskedNote::Draft(String::new())).await?;
    let (emitter, mut events) = jobs::channel();
    let stopper = events.stopper();
    let mut work = std::pin::pin!(answer::answer_left(
        shared,
        &emitter,
        open.thread,
        &open.question,
        &before
    ));
    let mut written = String::new();
    let mut sent_bytes = 0;
    let mut ticks = interval(DRAFT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let answered = loop {
        tokio::select! {
            answered = &mut work => break answered,
            Some(event) = events.next() => {
                if let Event::Answer(piece) = event {
                    written += &piece;
                }
            }
            _ = ticks.tick(), if written.len() > sent_bytes && !emitter.is_cancelled() => {
                sent_bytes = written.len();
                note(shared, open, AskedNote::Draft(written.clone())).await?;
            }
            () = news.of(open.thread), if !emitter.is_cancelled() => {
                if !is_open(shared, open).await {
                    stopper.stop();
                }
            }
            () = shared.lending.is_asking(), if !emitter.is_cancelled() => stopper.stop(),
            () = end.cancelled(), if !emitter.is_cancelled() => stopper.stop(),
        }
    };
    match answered {
        Ok(()) => shared.sync.send_soon(),
        // Withdrawn, or begun anew when its own user has got his answer, or at the next start.
        Err(_) if emitter.is_cancelled() => {}
        Err(failure) => note(shared, open, AskedNote::Failed(words(&failure))).await?,
    }
    Ok(())
}

fn words(failure: &Failure) -> String {
    let hint = failure.hint.iter().map(|hint| format!(" ({hint})"));
    failure.message.clone() + &hint.collect::<String>()
}

/// What was said in the chat before a question.
async fn before(shared: &Arc<Shared>, open: &Open) -> Result<Before, Failure> {
    let (thread, question) = (open.thread, open.question.clone());
    let reading = shared.with_workspace(move |workspace| workspace.thread(thread));
    let chat = reading.await?;
    let mut branch = chat.path_to(&question);
    branch.pop();
    Ok(Before {
        place: question.parent.map(|head| (thread, head)),
        turns: conversation::turns(&branch),
        ..Before::default()
    })
}

/// Whether somebody still wants the answer.
async fn is_open(shared: &Arc<Shared>, open: &Open) -> bool {
    let (thread, question) = (open.thread, open.question.id);
    let reading = shared.with_workspace(move |workspace| workspace.thread(thread));
    let chat = reading.await.ok();
    let message = chat.as_ref().and_then(|chat| chat.message(question));
    let asked = message.and_then(|message| message.asked.as_ref());
    asked.is_some_and(Asked::is_open)
}

async fn note(shared: &Arc<Shared>, open: &Open, note: AskedNote) -> Result<(), Failure> {
    let (thread, question) = (open.thread, open.question.id);
    let noting =
        shared.with_workspace(move |workspace| workspace.note_asked(thread, question, &note));
    noting.await?;
    shared.sync.send_soon();
    Ok(())
}

#[cfg(test)]
mod tests {
    use satchel_sync::chat::{AskedState, Role, ThreadEntry};
    use satchel_sync::id::MessageId;

    use super::*;

    const DESK: DeviceId = DeviceId([7; 16]);
    const TRAVEL: DeviceId = DeviceId([8; 16]);

    fn question(number: u8, at_ms: i64, of: DeviceId, state: AskedState) -> StoredMessage {
        StoredMessage {
            id: MessageId([number; 16]),
            parent: None,
            role: Role::User,
            text: "How many?".to_owned(),
            citations: Vec::new(),
            unsupported: Vec::new(),
            model: None,
            created_at_ms: at_ms,
            order: u64::from(number),
            author: Some(TRAVEL),
            asked: Some(Asked { of, state }),
        }
    }

    fn chat(messages: Vec<StoredMessage>) -> Thread {
        Thread {
            entry: ThreadEntry {
                id: ThreadId([1; 16]),
                title: String::new(),
                created_at_ms: 0,
                updated_at_ms: 0,
            },
            messages,
        }
    }

    #[test]
    fn the_open_question_that_waits_longest_is_the_next_one() {
        let own = StoredMessage {
            author: Some(DESK),
            ..question(8, 0, DESK, AskedState::Waiting)
        };
        let chat = chat(vec![
            question(1, 10, DESK, AskedState::Answered),
            question(2, 20, TRAVEL, AskedState::Waiting),
            question(3, 30, DESK, AskedState::Withdrawn),
            question(4, 40, DESK, AskedState::Failed(String::new())),
            question(5, 60, DESK, AskedState::Waiting),
            question(6, 50, DESK, AskedState::Answering("half of it".to_owned())),
            question(7, 50, DESK, AskedState::Waiting),
            own,
        ]);
        let mut open = open_in(&chat, DESK);
        let mut taken = Vec::new();
        while let Some(next) = first(open.clone()) {
            taken.push(next.question.id.0[0]);
            open.retain(|open| open.question.id != next.question.id);
        }
        assert_eq!(taken, [6, 7, 5]);
    }

    #[tokio::test]
    async fn its_own_user_comes_first() {
        let lending = Lending::default();
        lending.is_free().await;
        let ask = |on: Option<&str>| Command::Ask {
            question: "How many?".to_owned(),
            thread: None,
            on: on.map(str::to_owned),
            no_wait: false,
            tools: false,
        };
        let elsewhere = lending.asking(&ask(Some("desk")));
        assert!(
            elsewhere.is_none(),
            "two that ask each other do not wait for ever"
        );
        let asking = lending.asking(&ask(None));
        lending.is_asking().await;
        let freed = lending.is_free();
        let mut freed = std::pin::pin!(freed);
        let early = tokio::time::timeout(Duration::from_millis(20), &mut freed);
        assert!(early.await.is_err());
        drop(asking);
        freed.await;
    }
}
