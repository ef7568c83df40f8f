//! `/v1/embeddings`: texts into vectors, by the embedder in use.
//!
//! Start at [`embed`].

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use super::Shared;
use super::error::ApiError;
use super::fields::{self, Fields, expected, missing};
use super::models::{self, Purpose};
use crate::message::{Command, Reply};
use crate::serve;

/// Texts of one request.
const MAX_TEXTS: usize = 2048;

#[derive(Serialize)]
struct List {
    object: &'static str,
    data: Vec<Entry>,
    model: String,
    usage: Tokens,
}

#[derive(Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Embedding,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Embedding {
    Numbers(Vec<f32>),
    /// Little-endian bytes of the numbers, in base64.
    Text(String),
}

#[derive(Serialize)]
struct Tokens {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// `POST /v1/embeddings`.
pub(super) async fn embed(
    State(shared): State<Shared>,
    request: Request,
) -> Result<Response, ApiError> {
    let place = shared.gate.enter()?;
    let fields = Fields::parse(&fields::body(request).await?)?;
    let model = fields.required_text("model")?;
    let is_text = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(expected("encoding_format", "`float` or `base64`")),
    };
    let dimensions = fields.whole("dimensions", 1..=u32::MAX)?;
    let texts = texts(&fields)?;
    let turn = place.turn().await?;
    models::require(&shared, model, Purpose::Embed).await?;
    let count = texts.len();
    let reply = serve::reply_to(shared.backend.as_ref(), Command::Embed { texts }).await?;
    drop(turn);
    let (Reply::Embedded(report), _) = reply else {
        return Err(serve::mismatch().into());
    };
    if report.vectors.len() != count {
        return Err(serve::mismatch().into());
    }
    let length = report.vectors.first().map_or(0, Vec::len);
    if dimensions.is_some_and(|wanted| wanted as usize != length) {
        return Err(ApiError::unsupported(
            "dimensions",
            format!(
                "This embedder gives vectors of {length} numbers and cannot shorten them. Leave `dimensions` out."
            ),
        ));
    }
    let entry = |(index, vector): (usize, Vec<f32>)| Entry {
        object: "embedding",
        index,
        embedding: if is_text {
            Embedding::Text(encoded(&vector))
        } else {
            Embedding::Numbers(vector)
        },
    };
    let list = List {
        object: "list",
        data: report.vectors.into_iter().enumerate().map(entry).collect(),
        model: model.to_owned(),
        usage: Tokens {
            prompt_tokens: report.tokens,
            total_tokens: report.tokens,
        },
    };
    Ok(Json(list).into_response())
}

fn texts(fields: &Fields) -> Result<Vec<String>, ApiError> {
    let input = fields.get("input").ok_or_else(|| missing("input"))?;
    let is_tokens = |value: &Value| value.is_number() || value.is_array();
    if input
        .as_array()
        .is_some_and(|list| list.iter().any(is_tokens))
    {
        return Err(ApiError::unsupported(
            "input",
            "Numbers of tokens mean something else to each model. Send the texts themselves.",
        ));
    }
    fields.texts("input", MAX_TEXTS)
}

fn encoded(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    STANDARD.encode(bytes)
}
