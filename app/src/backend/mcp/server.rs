//! One MCP server: started, asked for its tools, called.
//!
//! Everything that it sends is bounded in size and time, and cleaned before anybody sees it. It can ask nothing of
//! Satchel: no model, no folder, no question to the user. Start at [`Server::start`].

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ClientConfig,
    ContentBlock, Implementation, PaginatedRequestParams, Tool,
};
use rmcp::service::{RoleClient, RunningService, ServiceError};
use rmcp::transport::async_rw::AsyncRwTransport;

use super::process::Process;
use super::{cleaned, cleaned_line};
use crate::config::McpServer;

/// From its start to the list of its tools. Servers that fetch themselves at the first start take longer; the next try
/// finds them fetched.
const START: Duration = Duration::from_secs(10);
/// For one call.
const CALL: Duration = Duration::from_secs(60);
/// Largest message that is read.
const MOST_MESSAGE_BYTES: usize = 4 << 20;
/// Tools of one server: each is a choice that a model has to read.
const MOST_TOOLS: usize = 32;
/// Pages of its list that are asked for.
const MOST_PAGES: usize = 8;
/// Characters of what it says about a tool.
const MOST_ABOUT: usize = 200;
/// Bytes of a form for arguments, as JSON.
const MOST_FORM_BYTES: usize = 8 << 10;
/// Characters of a result: as much as all passages before a model take together.
const MOST_RESULT: usize = 4000;

/// A tool as it is offered to the model.
#[derive(Debug, Clone)]
pub(in crate::backend) struct Offered {
    /// As the server calls it.
    pub(in crate::backend) name: String,
    /// What it does, in the server's words: one line, which may be empty.
    pub(in crate::backend) about: String,
    /// The form of its arguments, a JSON schema.
    pub(in crate::backend) form: String,
}

/// A running server.
pub(super) struct Server {
    service: RunningService<RoleClient, ClientConfig>,
    process: Process,
    /// What it offers.
    pub(super) tools: Vec<Offered>,
    /// What it offers and cannot be used, with the reason.
    pub(super) left_out: Vec<String>,
}

impl Server {
    /// Starts a server and asks for its tools.
    ///
    /// # Errors
    /// Words about why that failed.
    pub(super) async fn start(settings: &McpServer) -> Result<Self, String> {
        let (process, output, input) = Process::start(settings)
            .map_err(|error| format!("{} cannot be started: {error}", settings.command))?;
        let about = Implementation::new("satchel", env!("CARGO_PKG_VERSION")).with_title("Satchel");
        let config = ClientConfig::new(ClientCapabilities::default(), about);
        let transport =
            AsyncRwTransport::new(output, input).with_max_line_length(MOST_MESSAGE_BYTES);
        let starting = async {
            let service = rmcp::serve_client(config, transport)
                .await
                .map_err(|error| format!("it does not speak MCP: {}", in_words(&error)))?;
            let offered = offered(&service).await;
            let (tools, left_out) =
                offered.map_err(|error| format!("it does not tell its tools: {error}"))?;
            Ok((service, tools, left_out))
        };
        match tokio::time::timeout(START, starting).await {
            Ok(Ok((service, tools, left_out))) => Ok(Self {
                service,
                process,
                tools,
                left_out,
            }),
            Ok(Err(reason)) => Err(with_last_words(reason, &process)),
            Err(_) => {
                let reason = format!("it does not answer within {} seconds", START.as_secs());
                Err(with_last_words(reason, &process))
            }
        }
    }

    /// Calls a tool.
    ///
    /// # Errors
    /// Words about why there is no result, the server's own among them.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: serde_json::Map<String, serde_json::Value>,
    ) -> Result<String, String> {
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = match tokio::time::timeout(CALL, self.service.call_tool_once(call)).await {
            Err(_) => return Err(format!("no result within {} seconds", CALL.as_secs())),
            Ok(Err(error)) => return Err(in_words(&error)),
            Ok(Ok(CallToolResponse::Complete(result))) => result,
            Ok(Ok(_)) => {
                return Err("it wants more than a call, which Satchel does not give".into());
            }
        };
        let text = cleaned(&text_of(&result), MOST_RESULT);
        match (result.is_error, text.is_empty()) {
            (Some(true), true) => Err("it failed, and does not say why".to_owned()),
            (Some(true), false) => Err(text),
            (_, true) => Err("the result holds no text".to_owned()),
            _ => Ok(text),
        }
    }

    /// Closes its input, lets it end, and ends it otherwise.
    pub(super) async fn end(self) {
        // An error means that the connection has ended already.
        drop(self.service.cancel().await);
        self.process.end().await;
    }
}

/// The tools that can be used, and why others cannot.
async fn offered(
    service: &RunningService<RoleClient, ClientConfig>,
) -> Result<(Vec<Offered>, Vec<String>), ServiceError> {
    let (mut tools, mut left_out) = (Vec::<Offered>::new(), Vec::new());
    let mut cursor = None;
    for _ in 0..MOST_PAGES {
        let mut page = PaginatedRequestParams::default();
        page.cursor = cursor.take();
        let page = service.list_tools(Some(page)).await?;
        for tool in page.tools {
            let name = cleaned_line(&tool.name, MOST_ABOUT);
            match usable(tool) {
                _ if tools.len() == MOST_TOOLS => {
                    left_out.push(format!("{name}: {MOST_TOOLS} tools are used at most"));
                    return Ok((tools, left_out));
                }
                Ok(tool) if tools.iter().any(|known| known.name == tool.name) => {
                    left_out.push(format!("{name}: there are two of this name"));
                }
                Ok(tool) => tools.push(tool),
                Err(reason) => left_out.push(format!("{name}: {reason}")),
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() || left_out.len() > MOST_TOOLS {
            break;
        }
    }
    if cursor.is_some() {
        left_out.push("the rest of a list that is too long".to_owned());
    }
    Ok((tools, left_out))
}

fn usable(tool: Tool) -> Result<Offered, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if !(1..=64).contains(&tool.name.len()) || !tool.name.chars().all(fits) {
        return Err("a name has 1 to 64 letters, digits and _ - . /");
    }
    let form = serde_json::Value::Object((*tool.input_schema).clone()).to_string();
    if form.len() > MOST_FORM_BYTES {
        return Err("the form of its arguments is too large");
    }
    Ok(Offered {
        about: cleaned_line(tool.description.as_deref().unwrap_or_default(), MOST_ABOUT),
        name: tool.name.into_owned(),
        form,
    })
}

/// All text of a result; what is no text is named.
fn text_of(result: &CallToolResult) -> String {
    let blocks = result.content.iter().map(|block| match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Resource(_) => "(a resource)".to_owned(),
        ContentBlock::ResourceLink(link) => format!("({})", link.uri),
        ContentBlock::Image(_) => "(an image)".to_owned(),
        ContentBlock::Audio(_) => "(a sound)".to_owned(),
        _ => "(something that is no text)".to_owned(),
    });
    let text = blocks.collect::<Vec<_>>().join("\n");
    match &result.structured_content {
        Some(value) if text.trim().is_empty() => value.to_string(),
        _ => text,
    }
}

/// An error that may quote the server.
fn in_words(error: &dyn std::error::Error) -> String {
    cleaned_line(&error.to_string(), MOST_ABOUT)
}

fn with_last_words(reason: String, process: &Process) -> String {
    match process.last_words() {
        words if words.is_empty() => reason,
        words => format!("{reason}. Its last words: {words}"),
    }
}
