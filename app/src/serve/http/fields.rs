//! The body of a request and its fields, each read with a message that names the field.
//!
//! Knows nothing of what a field means. `null` is the same as a field that is not there, as in OpenAI's own clients.
//! Start at [`body`] and [`Fields::parse`].

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use futures::StreamExt;
use serde_json::{Map, Value};

use super::error::ApiError;

/// Longest body.
pub(super) const MAX_BODY_BYTES: usize = 8 << 20;

/// A body comes from the same machine; one that takes longer than this does not come at all.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Reads the body of a request.
///
/// # Errors
/// When it is too long, breaks off, or does not come.
pub(super) async fn body(request: Request) -> Result<Vec<u8>, ApiError> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let announced = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > MAX_BODY_BYTES as u64) {
        return Err(too_long());
    }
    let mut pieces = request.into_body().into_data_stream();
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| broken_off())?;
            if bytes.len() + piece.len() > MAX_BODY_BYTES {
                return Err(too_long());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    tokio::time::timeout(BODY_TIME, reading)
        .await
        .unwrap_or_else(|_| Err(broken_off()))
}

fn too_long() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "request_too_large",
        "The request is longer than 8 MiB. Send less at once: fewer texts, or a shorter conversation.",
    )
}

fn broken_off() -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "request_incomplete",
        "The request did not arrive in full. Send it again.",
    )
}

/// The fields of a JSON object.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// # Errors
    /// When the body is not a JSON object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(body).map(Self).map_err(|error| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_json",
                format!("The body is not a JSON object: {error}. Send one, as UTF-8."),
            )
        })
    }

    /// A field that is there and not `null`.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// # Errors
    /// When the field is not text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(expected(name, "text")),
        }
    }

    /// # Errors
    /// When the field is missing or not text.
    pub(super) fn required_text(&self, name: &str) -> Result<&str, ApiError> {
        self.text(name)?.ok_or_else(|| missing(name))
    }

    /// # Errors
    /// When the field is not a number in the range.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number as f32)),
            None => Err(expected(
                name,
                &format!("a number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// # Errors
    /// When the field is not a whole number in the range.
    pub(super) fn whole(
        &self,
        name: &str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let whole = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match whole.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(expected(
                name,
                &format!("a whole number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// A switch; off where it is not there.
    ///
    /// # Errors
    /// When the field is neither `true` nor `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| expected(name, "true or false")),
        }
    }

    /// A field that may be one text or a list of them, none of them empty.
    ///
    /// # Errors
    /// When it is neither, or holds none, or more than `most`.
    pub(super) fn texts(&self, name: &str, most: usize) -> Result<Vec<String>, ApiError> {
        let texts: Option<Vec<String>> = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => Some(vec![text.clone()]),
            Some(Value::Array(list)) => list
                .iter()
                .map(|text| text.as_str().map(str::to_owned))
                .collect(),
            Some(_) => None,
        };
        texts
            .filter(|texts| {
                (1..=most).contains(&texts.len()) && !texts.iter().any(String::is_empty)
            })
            .ok_or_else(|| {
                expected(
                    name,
                    &format!("a text, or a list of 1 to {most} texts, none of them empty"),
                )
            })
    }
}

/// Of a field that has to be there.
#[must_use]
pub(super) fn missing(name: &str) -> ApiError {
    ApiError::field(name, format!("`{name}` is missing."))
}

/// Of a field with a value that it cannot have.
#[must_use]
pub(super) fn expected(name: &str, what: &str) -> ApiError {
    ApiError::field(name, format!("`{name}` has to be {what}."))
}
