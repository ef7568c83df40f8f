//! `satchel serve`: an HTTP server that speaks as OpenAI's does, for programs on this machine.
//!
//! | Route | Answered by |
//! | --- | --- |
//! | `GET /v1/models`, `GET /v1/models/{id}` | `workspace`, and the models in use |
//! | `POST /v1/chat/completions` | the documents (`workspace`), or the chat model by itself |
//! | `POST /v1/embeddings` | the embedder |
//!
//! Listens at 127.0.0.1 and nowhere else, keeps nothing of what is asked, logs no text of it, and changes no workspace.
//! Start at [`HttpServer::bind`].

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;

mod answer;
mod chat;
mod chat_request;
mod embeddings;
mod error;
mod fields;
mod gate;
mod guard;
mod models;
#[cfg(test)]
mod tests;

use super::Backend;
use super::token::Token;
use crate::message::{Failure, FailureKind};
use error::ApiError;
use gate::Gate;
use guard::Guard;

/// A server that is bound and does not answer yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    guard: Guard,
}

/// What every request needs.
type Shared = Arc<Inner>;

struct Inner {
    backend: Arc<dyn Backend>,
    guard: Guard,
    gate: Gate,
}

impl HttpServer {
    /// Takes a port of the loopback address; 0 takes any that is free. Web pages of `origins` may ask, others not.
    ///
    /// # Errors
    /// When the port is taken, or one of `origins` is none.
    pub async fn bind(port: u16, token: Token, origins: &[String]) -> Result<Self, Failure> {
        let taken = |error: std::io::Error| {
            Failure::new(
                FailureKind::Usage,
                format!("port {port} of this machine cannot be used: {error}"),
            )
            .with_hint("Name another with `--port`; `--port 0` takes any that is free.")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        Ok(Self {
            guard: Guard::new(token, origins, address.port())?,
            listener,
            address,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is done; then no connection is accepted any more, and running answers are brought to
    /// their end. Dropping this future ends it at once.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn run(
        self,
        backend: Arc<dyn Backend>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Failure> {
        let router = router(Arc::new(Inner {
            backend,
            guard: self.guard,
            gate: Gate::new(),
        }));
        axum::serve(self.listener, router)
            .with_graceful_shutdown(stop)
            .await
            .map_err(|error| Failure::general(format!("the server broke: {error}")))
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            guard::check,
        ))
        .with_state(shared)
}

async fn no_route(request: Request) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "unknown_url",
        format!(
            "There is nothing at {}. There is /v1/models, /v1/chat/completions and /v1/embeddings.",
            request.uri().path()
        ),
    )
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!(
            "{} is not for {}: /v1/models takes GET, the others take POST.",
            request.uri().path(),
            request.method()
        ),
    )
}
