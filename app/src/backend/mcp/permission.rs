//! Asks the user whether a call may be made, and waits for the answer.
//!
//! The question goes to whoever asked the model; the answer comes as a command of its own. No answer is no. Start at
//! [`Permissions::ask`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::super::jobs::Emitter;
use crate::message::{Event, Failure, FailureKind, ToolRequest};

/// The calls that wait for an answer.
#[derive(Debug, Default)]
pub struct Permissions {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    calls: HashMap<String, oneshot::Sender<bool>>,
}

impl Permissions {
    /// Whether this call may be made. Waits until somebody says so, or the command that asks is stopped.
    pub async fn ask(&self, emitter: &Emitter, server: &str, tool: &str, arguments: &str) -> bool {
        let (answer, answered) = oneshot::channel();
        let request = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.last += 1;
            let request = waiting.last.to_string();
            waiting.calls.insert(request.clone(), answer);
            request
        };
        let event = Event::Tool(ToolRequest {
            request: request.clone(),
            server: server.to_owned(),
            tool: tool.to_owned(),
            arguments: arguments.to_owned(),
        });
        emitter.send(event).await;
        let allowed = tokio::select! {
            answer = answered => answer.unwrap_or(false),
            () = emitter.cancelled() => false,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.calls.remove(&request);
        allowed
    }

    /// Takes in an answer.
    ///
    /// # Errors
    /// When no call waits under this number.
    pub fn answer(&self, request: &str, allow: bool) -> Result<String, Failure> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = waiting.calls.remove(request).map(|call| call.send(allow));
        match sent {
            Some(Ok(())) if allow => Ok("Allowed, this once.".to_owned()),
            Some(Ok(())) => Ok("Declined.".to_owned()),
            _ => Err(Failure::new(
                FailureKind::NotFound,
                "nobody waits for this answer any more: the question has ended",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::jobs;
    use super::*;

    #[tokio::test]
    async fn a_call_is_allowed_once_and_by_an_answer_alone() {
        let permissions = Permissions::default();
        for allow in [true, false] {
            let (emitter, mut events) = jobs::channel();
            let asking = permissions.ask(&emitter, "notes", "search", "{}");
            let answering = async {
                let Some(Event::Tool(request)) = events.next().await else {
                    panic!("the user was not asked");
                };
                assert_eq!(
                    (request.server.as_str(), request.tool.as_str()),
                    ("notes", "search")
                );
                permissions.answer(&request.request, allow).unwrap();
                request.request
            };
            let (allowed, request) = tokio::join!(asking, answering);
            assert_eq!(allowed, allow);
            let again = permissions.answer(&request, true).unwrap_err();
            assert_eq!(again.kind, FailureKind::NotFound);
        }
    }

    #[tokio::test]
    async fn no_answer_is_no() {
        let permissions = Permissions::default();
        let (emitter, events) = jobs::channel();
        events.stopper().stop();
        assert!(!permissions.ask(&emitter, "notes", "search", "{}").await);
        let (emitter, events) = jobs::channel();
        drop(events);
        assert!(!permissions.ask(&emitter, "notes", "search", "{}").await);
        assert!(permissions.waiting.lock().unwrap().calls.is_empty());
    }
}
