//! Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code"}}`.
//!
//! Each message says what to do. Never quotes a token or a document. Start at [`ApiError`].

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::message::{Failure, FailureKind};
use crate::serve;

/// Seconds after which a client that found everything occupied may try again.
const RETRY_AFTER_S: u16 = 5;

/// A request that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    param: Option<String>,
    code: &'static str,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            code,
        }
    }

    /// A field of the request that is missing, or cannot have its value.
    pub(super) fn field(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(name.into()),
            ..Self::new(StatusCode::BAD_REQUEST, "invalid_value", message)
        }
    }

    /// A field whose meaning this server cannot give.
    pub(super) fn unsupported(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: "unsupported_parameter",
            ..Self::field(name, message)
        }
    }

    /// The error in JSON, as it also stands in a stream that fails midway.
    #[must_use]
    pub(super) fn to_json(&self) -> Value {
        let kind = match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        json!({ "error": {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.code,
        }})
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let (status, code) = match failure.kind {
            FailureKind::General => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
            FailureKind::Usage => (StatusCode::BAD_REQUEST, "invalid_value"),
            FailureKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            FailureKind::Offline => (StatusCode::SERVICE_UNAVAILABLE, "offline"),
            FailureKind::Locked => (StatusCode::SERVICE_UNAVAILABLE, "locked"),
            FailureKind::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
            FailureKind::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "cancelled"),
        };
        Self::new(status, code, serve::in_words(&failure))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.to_json())).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}
