//! How many requests are carried out at once, and how many may wait.
//!
//! A model answers one after the other, so waiting costs little; but a queue without an end would hold bodies without
//! an end. Never drops a request that it let in. Start at [`Gate::enter`].

use std::sync::Arc;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// Requests that are carried out at once.
pub(super) const RUNNING: usize = 8;

/// Requests that wait for that. Each may hold a body of 8 MiB.
pub(super) const WAITING: usize = 24;

/// The door.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// A request that was let in: its body may be read.
#[derive(Debug)]
pub(super) struct Place {
    place: OwnedSemaphorePermit,
    turns: Arc<Semaphore>,
}

/// A request that is carried out, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(RUNNING + WAITING)),
            turns: Arc::new(Semaphore::new(RUNNING)),
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// When as many as can wait are waiting.
    pub(super) fn enter(&self) -> Result<Place, ApiError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                format!(
                    "{RUNNING} requests are being answered and {WAITING} wait. Try again when some of them are done."
                ),
            )
        })?;
        Ok(Place {
            place,
            turns: Arc::clone(&self.turns),
        })
    }
}

impl Place {
    /// Waits for its turn, first come first served.
    ///
    /// # Errors
    /// Never while the server lives.
    pub(super) async fn turn(self) -> Result<Turn, ApiError> {
        match self.turns.acquire_owned().await {
            Ok(turn) => Ok(Turn {
                _turn: turn,
                _place: self.place,
            }),
            Err(_) => Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "The server is stopping.",
            )),
        }
    }
}
