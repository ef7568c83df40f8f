//! A request for a chat completion, checked.
//!
//! What this server cannot do is refused by the name of the field, so that nobody takes an answer for something that
//! it is not. Fields that do not change what an answer means (`user`, `metadata`, `service_tier`) are left alone.
//! Start at [`ChatRequest::read`].

use serde_json::Value;

use super::error::ApiError;
use super::fields::{Fields, expected, missing};
use crate::message::{Command, CompletionMessage, CompletionRequest, CompletionRole};

/// The model that answers from the documents.
pub(super) const WORKSPACE: &str = "workspace";

/// Words at which an answer can be made to end.
const MAX_STOP_WORDS: usize = 16;

/// Fields that `workspace` has no use for: how it writes is decided by the settings.
const ONLY_PLAIN: [&str; 11] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "seed",
    "stop",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "chat_template_kwargs",
];

/// What a program asks for.
#[derive(Debug)]
pub(super) struct ChatRequest {
    /// Which model, as the program called it.
    pub(super) model: String,
    /// Piece by piece.
    pub(super) stream: bool,
    /// The stream tells the number of tokens at its end.
    pub(super) include_usage: bool,
    completion: CompletionRequest,
    /// Fields that `workspace` has no use for.
    idle: Vec<&'static str>,
}

impl ChatRequest {
    /// # Errors
    /// When a field is missing, wrong, or asks for what this server cannot do.
    pub(super) fn read(fields: &Fields) -> Result<Self, ApiError> {
        refuse_unsupported(fields)?;
        let stream = fields.flag("stream")?;
        let include_usage = match fields.get("stream_options") {
            None => false,
            Some(Value::Object(options)) => options
                .get("include_usage")
                .is_some_and(|wanted| wanted == &Value::Bool(true)),
            Some(_) => return Err(expected("stream_options", "an object")),
        };
        let newer = fields.whole("max_completion_tokens", 1..=u32::MAX)?;
        let older = fields.whole("max_tokens", 1..=u32::MAX)?;
        let completion = CompletionRequest {
            messages: messages(fields)?,
            temperature: fields.number("temperature", 0.0..=2.0)?,
            top_p: fields.number("top_p", 0.0..=1.0)?,
            top_k: fields.whole("top_k", 0..=1_000_000)?,
            min_p: fields.number("min_p", 0.0..=1.0)?,
            repeat_penalty: fields.number("repeat_penalty", 0.5..=2.0)?,
            seed: seed(fields)?,
            max_output_tokens: newer.or(older),
            stop: fields.texts("stop", MAX_STOP_WORDS)?,
            json_schema: json_schema(fields)?,
            thinking: thinking(fields)?,
        };
        let idle = ONLY_PLAIN.into_iter();
        Ok(Self {
            model: fields.required_text("model")?.to_owned(),
            stream,
            include_usage,
            completion,
            idle: idle.filter(|name| fields.get(name).is_some()).collect(),
        })
    }

    /// The conversation for the chat model by itself.
    #[must_use]
    pub(super) fn complete(&self) -> Command {
        Command::Complete(self.completion.clone())
    }

    /// The last message as a question to the documents, with what was said before; and what of the request was left
    /// out.
    ///
    /// # Errors
    /// When there is no question, or an answer of a certain form is wanted.
    pub(super) fn consult(&self) -> Result<(Command, Vec<String>), ApiError> {
        if self.completion.json_schema.is_some() {
            return Err(ApiError::unsupported(
                "response_format",
                "`workspace` answers in sentences with citations. Leave `response_format` out, or ask the chat model itself.",
            ));
        }
        let mut notices = Vec::new();
        let mut history = Vec::new();
        let mut asked: Option<&str> = None;
        let mut left_out = 0usize;
        for message in &self.completion.messages {
            match message.role {
                CompletionRole::System => {
                    let told = "System messages are left out: `workspace` answers from the documents by rules of its own.";
                    if !notices.iter().any(|notice| notice == told) {
                        notices.push(told.to_owned());
                    }
                }
                CompletionRole::User => {
                    left_out += usize::from(asked.replace(&message.content).is_some());
                }
                CompletionRole::Assistant => match asked.take() {
                    Some(question) => {
                        history.push((question.to_owned(), message.content.clone()));
                    }
                    None => left_out += 1,
                },
            }
        }
        let question = asked
            .filter(|question| !question.trim().is_empty())
            .ok_or_else(|| {
                expected(
                    "messages",
                    "a conversation that ends with a question of the user",
                )
            })?
            .to_owned();
        if left_out > 0 {
            notices.push(format!(
                "{left_out} earlier messages are left out: a question counts with its answer."
            ));
        }
        if !self.idle.is_empty() {
            notices.push(format!(
                "Without effect on `workspace`: {}.",
                self.idle.join(", ")
            ));
        }
        Ok((Command::Consult { question, history }, notices))
    }
}

/// What no model here can do.
fn refuse_unsupported(fields: &Fields) -> Result<(), ApiError> {
    let no = |name: &str, what: &str| Err(ApiError::unsupported(name, what));
    let is_set = |name: &str| {
        fields.get(name).is_some_and(|value| match value {
            Value::Bool(is_on) => *is_on,
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Number(number) => number.as_f64() != Some(0.0),
            _ => true,
        })
    };
    if fields.get("n").is_some_and(|n| n.as_u64() != Some(1)) {
        return no(
            "n",
            "One answer is given to a request. Set `n` to 1 or leave it out, and ask again for another one.",
        );
    }
    for name in ["logprobs", "top_logprobs", "logit_bias"] {
        if is_set(name) {
            return no(
                name,
                &format!(
                    "Probabilities of tokens can be neither read nor changed. Leave `{name}` out."
                ),
            );
        }
    }
    for name in ["tools", "functions"] {
        if is_set(name) {
            return no(
                name,
                &format!("The model can call no tools. Leave `{name}` out."),
            );
        }
    }
    for name in ["tool_choice", "function_call"] {
        let choice = fields.get(name);
        if choice.is_some_and(|choice| !["none", "auto"].contains(&choice.as_str().unwrap_or(""))) {
            return no(
                name,
                &format!("The model can call no tools. Leave `{name}` out."),
            );
        }
    }
    for name in ["presence_penalty", "frequency_penalty"] {
        if is_set(name) {
            return no(
                name,
                &format!("Set `{name}` to 0 or leave it out; `repeat_penalty` is what works here."),
            );
        }
    }
    if fields
        .get("modalities")
        .is_some_and(|kinds| kinds != &serde_json::json!(["text"]))
    {
        return no(
            "modalities",
            "Only text can be answered. Leave `modalities` out.",
        );
    }
    for name in ["audio", "web_search_options"] {
        if is_set(name) {
            return no(
                name,
                &format!("Only text can be answered, from this machine alone. Leave `{name}` out."),
            );
        }
    }
    Ok(())
}

fn messages(fields: &Fields) -> Result<Vec<CompletionMessage>, ApiError> {
    let list = match fields.get("messages") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => return Err(expected("messages", "a list of at least one message")),
        None => return Err(missing("messages")),
    };
    list.iter()
        .enumerate()
        .map(|(index, message)| {
            let name = format!("messages[{index}]");
            let role_name = format!("{name}.role");
            let role = match message.get("role").and_then(Value::as_str) {
                Some("system" | "developer") => CompletionRole::System,
                Some("user") => CompletionRole::User,
                Some("assistant") => CompletionRole::Assistant,
                Some("tool" | "function") => {
                    return Err(ApiError::unsupported(
                        role_name,
                        "The model can call no tools, so there can be no result of one.",
                    ));
                }
                _ => {
                    return Err(expected(&role_name, "`system`, `user` or `assistant`"));
                }
            };
            let calls = message.get("tool_calls").and_then(Value::as_array);
            if calls.is_some_and(|calls| !calls.is_empty()) {
                return Err(ApiError::unsupported(
                    format!("{name}.tool_calls"),
                    "The model can call no tools.",
                ));
            }
            let content = content(&format!("{name}.content"), message.get("content"))?;
            Ok(CompletionMessage { role, content })
        })
        .collect()
}

/// Text, or a list of parts that are text.
fn content(name: &str, content: Option<&Value>) -> Result<String, ApiError> {
    let parts = match content {
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        _ => return Err(expected(name, "text, or a list of parts with text")),
    };
    let mut all = String::new();
    for (index, part) in parts.iter().enumerate() {
        let name = format!("{name}[{index}]");
        let kind = part.get("type").and_then(Value::as_str).unwrap_or("");
        let text = part.get("text").and_then(Value::as_str);
        match (kind, text) {
            ("text", Some(text)) => {
                if !all.is_empty() {
                    all.push('\n');
                }
                all += text;
            }
            ("text", None) => return Err(expected(&format!("{name}.text"), "text")),
            ("", _) => return Err(expected(&format!("{name}.type"), "`text`")),
            _ => {
                return Err(ApiError::unsupported(
                    name,
                    format!(
                        "Only text can be read, and this part is {kind:?}. Send its text instead."
                    ),
                ));
            }
        }
    }
    Ok(all)
}

/// Any whole number; what is beyond 32 bits is folded into them, so that equal seeds stay equal.
fn seed(fields: &Fields) -> Result<Option<u32>, ApiError> {
    let Some(value) = fields.get("seed") else {
        return Ok(None);
    };
    let bits = value
        .as_u64()
        .or_else(|| value.as_i64().map(i64::cast_unsigned));
    match bits {
        Some(bits) => Ok(Some((bits ^ (bits >> 32)) as u32)),
        None => Err(expected("seed", "a whole number")),
    }
}

fn json_schema(fields: &Fields) -> Result<Option<String>, ApiError> {
    let Some(format) = fields.get("response_format") else {
        return Ok(None);
    };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some("{}".to_owned())),
        Some("json_schema") => match format.pointer("/json_schema/schema") {
            Some(schema @ Value::Object(_)) => Ok(Some(schema.to_string())),
            _ => Err(expected(
                "response_format.json_schema.schema",
                "a JSON schema, which is an object",
            )),
        },
        _ => Err(expected(
            "response_format.type",
            "`text`, `json_object` or `json_schema`",
        )),
    }
}

/// Whether the model may think first: by OpenAI's field, or by the one that servers of open models have.
fn thinking(fields: &Fields) -> Result<bool, ApiError> {
    let switch = fields
        .get("chat_template_kwargs")
        .and_then(|options| options.get("enable_thinking"))
        .and_then(Value::as_bool);
    match fields.text("reasoning_effort")? {
        None => Ok(switch.unwrap_or(false)),
        Some("none" | "minimal") => Ok(false),
        Some("low" | "medium" | "high" | "xhigh") => Ok(true),
        Some(_) => Err(expected(
            "reasoning_effort",
            "`none`, `minimal`, `low`, `medium` or `high`",
        )),
    }
}
