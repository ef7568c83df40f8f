//! `/v1/models`: what a program can name as the model of a request.
//!
//! Models that are installed and not in use are not listed: a request loads no model that the user did not choose.
//! Start at [`list`] and [`require`].

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Shared;
use super::chat_request::WORKSPACE;
use super::error::ApiError;
use crate::message::{Command, ModelSummary, Reply};
use crate::serve;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It answers.
    Chat,
    /// It embeds.
    Embed,
}

impl Purpose {
    /// As [`ModelSummary::kind`] has it.
    fn kind(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embedder",
        }
    }
}

/// `GET /v1/models`.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Value>, ApiError> {
    let models = installed(&shared).await?;
    let mut data = vec![entry(WORKSPACE)];
    data.extend(in_use(&models).map(|model| entry(&model.id)));
    Ok(Json(json!({ "object": "list", "data": data })))
}

/// `GET /v1/models/{id}`.
pub(super) async fn one(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if id == WORKSPACE {
        return Ok(Json(entry(WORKSPACE)));
    }
    let models = installed(&shared).await?;
    match in_use(&models).find(|model| model.id == id) {
        Some(model) => Ok(Json(entry(&model.id))),
        None => Err(unknown(&id, &models, None)),
    }
}

/// Makes sure that a request names the model that will answer it.
///
/// # Errors
/// When it names another one.
pub(super) async fn require(shared: &Shared, id: &str, purpose: Purpose) -> Result<(), ApiError> {
    let models = installed(shared).await?;
    let found = in_use(&models).any(|model| model.id == id && model.kind == purpose.kind());
    if found {
        return Ok(());
    }
    Err(unknown(id, &models, Some(purpose)))
}

async fn installed(shared: &Shared) -> Result<Vec<ModelSummary>, ApiError> {
    match serve::reply_to(shared.backend.as_ref(), Command::Models).await? {
        (Reply::Models(models), _) => Ok(models),
        _ => Err(serve::mismatch().into()),
    }
}

fn in_use(models: &[ModelSummary]) -> impl Iterator<Item = &ModelSummary> {
    models.iter().filter(|model| {
        model.in_use
            && [Purpose::Chat, Purpose::Embed]
                .map(Purpose::kind)
                .contains(&model.kind.as_str())
    })
}

fn entry(id: &str) -> Value {
    // When a model was made is not known, and clients want a number.
    json!({ "id": id, "object": "model", "created": 0, "owned_by": "satchel" })
}

fn unknown(id: &str, models: &[ModelSummary], purpose: Option<Purpose>) -> ApiError {
    let named = models.iter().find(|model| model.id == id);
    let mut usable: Vec<&str> = in_use(models)
        .filter(|model| purpose.is_none_or(|purpose| model.kind == purpose.kind()))
        .map(|model| model.id.as_str())
        .collect();
    if purpose != Some(Purpose::Embed) {
        usable.insert(0, WORKSPACE);
    }
    let mut message = match named {
        Some(model) if !model.in_use => format!(
            "The model {id:?} is installed and not in use. `satchel settings {} '\"{id}\"'` makes it the one in use.",
            model.setting()
        ),
        Some(model) => format!(
            "The model {id:?} is of the kind {:?} and cannot do this.",
            model.kind
        ),
        None => format!("There is no model {id:?} here."),
    };
    if usable.is_empty() {
        message += " `satchel models catalog` lists models that can be installed for this.";
    } else {
        message += &format!(" What can be named: {}.", usable.join(", "));
    }
    ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message)
}
