//! `/v1/chat/completions`: answers from the documents, or of the chat model by itself, whole or piece by piece.
//!
//! A client that goes away drops the events of its command, which cancels it; nothing here outlives the connection.
//! Start at [`complete`].

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{End, Head};
use super::chat_request::{ChatRequest, WORKSPACE};
use super::error::ApiError;
use super::fields::{self, Fields};
use super::gate::Turn;
use super::models::{self, Purpose};
use crate::backend::jobs::{self, EventStream};
use crate::message::{Event, Reply};

/// How long a stream waits with its first line for what may still become an error with a status of its own.
const FIRST_NEWS: Duration = Duration::from_secs(2);

/// How often a stream shows that it lives while the model says nothing: reading a long prompt takes minutes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// `POST /v1/chat/completions`.
pub(super) async fn complete(
    State(shared): State<Shared>,
    request: Request,
) -> Result<Response, ApiError> {
    let place = shared.gate.enter()?;
    let chat = ChatRequest::read(&Fields::parse(&fields::body(request).await?)?)?;
    let turn = place.turn().await?;
    let (command, notices) = if chat.model == WORKSPACE {
        chat.consult()?
    } else {
        models::require(&shared, &chat.model, Purpose::Chat).await?;
        (chat.complete(), Vec::new())
    };
    let events = shared.backend.submit(command).await?;
    let head = Head::new(chat.model);
    if chat.stream {
        let pieces = Pieces::new(head, events, notices, chat.include_usage, turn);
        return pieces.into_response().await;
    }
    whole(&head, events, notices).await
}

/// Waits for the end, then answers.
async fn whole(
    head: &Head,
    mut events: EventStream,
    mut notices: Vec<String>,
) -> Result<Response, ApiError> {
    let mut thoughts = String::new();
    while let Some(event) = events.next().await {
        match event {
            Event::Thought(piece) => thoughts += &piece,
            Event::Notice(text) => notices.push(text),
            Event::Reply(reply) => {
                let end = End::of(*reply, notices)?;
                return Ok(Json(head.whole(end, &thoughts)).into_response());
            }
            Event::Failed(failure) => return Err(failure.into()),
            _ => {}
        }
    }
    Err(jobs::ended_early().into())
}

/// An answer on its way to a client.
struct Pieces {
    head: Head,
    /// `None` once the command has ended.
    events: Option<EventStream>,
    /// Lines that are ready.
    ready: VecDeque<String>,
    /// What was sent of the answer.
    sent: String,
    notices: Vec<String>,
    include_usage: bool,
    _turn: Turn,
}

impl Pieces {
    fn new(
        head: Head,
        events: EventStream,
        notices: Vec<String>,
        include_usage: bool,
        turn: Turn,
    ) -> Self {
        let mut pieces = Self {
            head,
            events: Some(events),
            ready: VecDeque::new(),
            sent: String::new(),
            notices,
            include_usage,
            _turn: turn,
        };
        pieces.delta(json!({ "role": "assistant", "content": "" }));
        pieces
    }

    /// A command that fails at once is answered by a status; one that is on its way, by a stream.
    async fn into_response(mut self) -> Result<Response, ApiError> {
        if let Some(events) = &mut self.events
            && let Ok(first) = tokio::time::timeout(FIRST_NEWS, events.next()).await
        {
            match first {
                Some(Event::Failed(failure)) => return Err(failure.into()),
                Some(event) => self.take(event),
                None => return Err(jobs::ended_early().into()),
            }
        }
        let lines = stream::unfold(self, |mut pieces| async move {
            let line = pieces.next().await?;
            Some((Ok::<_, Infallible>(SseEvent::default().data(line)), pieces))
        });
        let alive = KeepAlive::new().interval(SIGN_OF_LIFE);
        Ok(Sse::new(lines).keep_alive(alive).into_response())
    }

    /// The next line, or `None` after the last.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            match self.events.as_mut()?.next().await {
                Some(event) => self.take(event),
                None => self.fail(&jobs::ended_early().into()),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Answer(piece) => {
                self.sent += &piece;
                self.delta(json!({ "content": piece }));
            }
            Event::Thought(piece) => self.delta(json!({ "reasoning_content": piece })),
            Event::Notice(text) => self.notices.push(text),
            Event::Reply(reply) => self.end(*reply),
            Event::Failed(failure) => self.fail(&failure.into()),
            _ => {}
        }
    }

    fn end(&mut self, reply: Reply) {
        let notices = std::mem::take(&mut self.notices);
        let mut end = match End::of(reply, notices) {
            Ok(end) => end,
            Err(error) => return self.fail(&error),
        };
        self.events = None;
        // A refusal is nothing that a model writes, so it comes at the end, in one piece.
        match end.text.strip_prefix(self.sent.as_str()) {
            Some("") => {}
            Some(rest) => self.delta(json!({ "content": rest })),
            None if end.text.trim() == self.sent.trim() => {}
            // It was mended after it was written; what has been sent cannot be taken back.
            None => {
                if let Some(satchel) = &mut end.satchel {
                    satchel["answer"] = end.text.as_str().into();
                }
            }
        }
        let mut delta = json!({});
        if let Some(citations) = end.citations {
            delta["citations"] = citations;
        }
        let mut last = self.head.piece(delta, Some(end.finish_reason));
        if let Some(satchel) = end.satchel {
            last["satchel"] = satchel;
        }
        self.push(last);
        if self.include_usage {
            let mut chunk = self.head.chunk(json!([]));
            chunk["usage"] = end.usage;
            self.ready.push_back(chunk.to_string());
        }
        self.ready.push_back("[DONE]".to_owned());
    }

    fn fail(&mut self, error: &ApiError) {
        self.events = None;
        self.ready.push_back(error.to_json().to_string());
    }

    fn delta(&mut self, delta: Value) {
        let chunk = self.head.piece(delta, None);
        self.push(chunk);
    }

    /// Who wants the number of tokens at the end finds the field in every chunk.
    fn push(&mut self, mut chunk: Value) {
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        self.ready.push_back(chunk.to_string());
    }
}
