//! Turns a conversation into the prompt that a model was trained on.
//!
//! A GGUF file brings a Jinja template. It is rendered with placeholders instead of the messages, so that the result
//! falls into pieces: text of the template, in which control tokens count, and text of the messages, in which nothing
//! does. Whoever tokenises the pieces can then treat a document that contains `<|im_start|>` as plain text. The template
//! itself is data from a downloaded file: it runs with bounded steps and depth and sees nothing but roles and
//! placeholders. Pure: no model, no clock (the time is passed in). Start at [`ChatTemplate::render`].

use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};

use crate::request::{ChatMessage, ChatRole};
use crate::strftime::strftime;

/// A chat template, ready to use.
pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    begin_of_text: String,
    end_of_text: String,
    implied_stop: Vec<String>,
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PromptPiece {
    /// Written by the template: control tokens count.
    Template(String),
    /// Written by a person, a document or a model: nothing in it is a control token.
    Content(String),
}

/// The names of the tokens at the beginning and the end of a text, as the model's vocabulary spells them.
#[derive(Debug, Default, Clone)]
pub(crate) struct SpecialTokens {
    pub(crate) begin_of_text: String,
    pub(crate) end_of_text: String,
    /// Whether `<|im_start|>` is one token: then a model without a template most likely speaks ChatML.
    pub(crate) knows_chatml: bool,
}

impl ChatTemplate {
    /// Reads the template of a model, or takes a stand-in where it has none.
    ///
    /// # Errors
    /// What the template engine says about a template that is not Jinja.
    pub(crate) fn new(source: Option<&str>, special: SpecialTokens) -> Result<Self, String> {
        let mut implied_stop = Vec::new();
        let source = source.unwrap_or_else(|| {
            if special.knows_chatml {
                return CHATML;
            }
            implied_stop.extend(PLAIN_STOP.map(str::to_owned));
            PLAIN
        });
        let mut environment = sandboxed_environment();
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| in_words(&error))?;
        Ok(Self {
            environment,
            begin_of_text: special.begin_of_text,
            end_of_text: special.end_of_text,
            implied_stop,
        })
    }

    /// Stop texts that belong to the template itself: the stand-in without control tokens has no other way to end.
    pub(crate) fn implied_stop(&self) -> &[String] {
        &self.implied_stop
    }

    /// Lays out a conversation as a prompt that ends where the model is to speak.
    ///
    /// `thinking` says whether the model is to think before, where its template knows the choice.
    ///
    /// Many templates refuse a system message or two messages of one role in a row. Then the system message is put in
    /// front of the first question, and neighbours of one role become one message, which says the same.
    ///
    /// # Errors
    /// The template's own words when it refuses both forms, or would leave out a message.
    pub(crate) fn render(
        &self,
        messages: &[ChatMessage],
        thinking: bool,
        now: SystemTime,
    ) -> Result<Vec<PromptPiece>, String> {
        let refused = match self.render_as_is(messages, thinking, now) {
            Ok(pieces) => return Ok(pieces),
            Err(reason) => reason,
        };
        let merged = without_system_and_repeats(messages);
        if merged == messages {
            return Err(refused);
        }
        self.render_as_is(&merged, thinking, now)
            .map_err(|_| refused)
    }

    fn render_as_is(
        &self,
        messages: &[ChatMessage],
        thinking: bool,
        now: SystemTime,
    ) -> Result<Vec<PromptPiece>, String> {
        let listed: Vec<Value> = messages
            .iter()
            .enumerate()
            .map(|(index, message)| context! { role => message.role.as_str(), content => placeholder(index) })
            .collect();
        let mut environment = self.environment.clone();
        environment.add_function("strftime_now", move |format: String| strftime(&format, now));
        let rendered = environment
            .get_template(NAME)
            .and_then(|template| {
                template.render(context! {
                    messages => listed,
                    add_generation_prompt => true,
                    // Qwen, SmolLM and others; gpt-oss cannot be told to leave it.
                    enable_thinking => thinking,
                    reasoning_effort => if thinking { "medium" } else { "low" },
                    bos_token => &self.begin_of_text,
                    eos_token => &self.end_of_text,
                })
            })
            .map_err(|error| in_words(&error))?;
        split_at_placeholders(&rendered, messages)
    }
}

/// An engine that behaves like the one templates are written for, and that no template can keep busy for long.
fn sandboxed_environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_LIMIT);
    environment.add_function(
        "raise_exception",
        |reason: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        },
    );
    environment
}

/// The content that stands for message `index` while the template runs.
///
/// The tabs around it show afterwards whether the template strips contents: no template writes a tab of its own next to
/// one. The brackets are from the private use area, which no template contains.
fn placeholder(index: usize) -> String {
    format!("\t{OPEN}{index}{CLOSE}\t")
}

/// Puts the contents in place of their placeholders, stripped where the template stripped the placeholder.
fn split_at_placeholders(
    rendered: &str,
    messages: &[ChatMessage],
) -> Result<Vec<PromptPiece>, String> {
    let mut pieces = Vec::new();
    let mut used = vec![false; messages.len()];
    let mut rest = rendered;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (index, after) = after.split_once(CLOSE).ok_or("it takes messages apart")?;
        let index: usize = index.parse().map_err(|_| "it changes messages")?;
        let message = messages.get(index).ok_or("it changes messages")?;
        used[index] = true;
        let mut content = message.content.as_str();
        let before = before.strip_suffix('\t').unwrap_or_else(|| {
            content = content.trim_start();
            before
        });
        rest = after.strip_prefix('\t').unwrap_or_else(|| {
            content = content.trim_end();
            after
        });
        push_unless_empty(&mut pieces, PromptPiece::Template(before.to_owned()));
        push_unless_empty(&mut pieces, PromptPiece::Content(content.to_owned()));
    }
    push_unless_empty(&mut pieces, PromptPiece::Template(rest.to_owned()));
    if used.contains(&false) {
        return Err("it leaves out a message".to_owned());
    }
    Ok(pieces)
}

fn push_unless_empty(pieces: &mut Vec<PromptPiece>, piece: PromptPiece) {
    let (PromptPiece::Template(text) | PromptPiece::Content(text)) = &piece;
    if !text.is_empty() {
        pieces.push(piece);
    }
}

/// The same conversation for templates that know only questions and answers in turn.
fn without_system_and_repeats(messages: &[ChatMessage]) -> Vec<ChatMessage> {
    let mut merged: Vec<ChatMessage> = Vec::new();
    for message in messages {
        let role = match message.role {
            ChatRole::System => ChatRole::User,
            role => role,
        };
        match merged.last_mut() {
            Some(last) if last.role == role => {
                last.content.push_str("\n\n");
                last.content.push_str(&message.content);
            }
            _ => merged.push(ChatMessage::new(role, message.content.clone())),
        }
    }
    merged
}

fn in_words(error: &Error) -> String {
    match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    }
}

const NAME: &str = "chat";
const OPEN: char = '\u{E0F0}';
const CLOSE: char = '\u{E0F1}';

/// Steps a template may take. The longest known templates (tool use, 400 lines) take some thousand for 100 messages.
const FUEL: u64 = 300_000;
const RECURSION_LIMIT: usize = 100;

/// What a model without a template gets when its vocabulary has the tokens of ChatML.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] \
                      + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}";

/// What any other model without a template gets: a dialogue as it is written in books.
const PLAIN: &str = "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}\
                     {% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\n' }}\
                     {% else %}{{ 'Assistant: ' + message['content'] + '\n' }}{% endif %}{% endfor %}{{ 'Assistant:' }}";
const PLAIN_STOP: [&str; 2] = ["\nUser:", "\nAssistant:"];

#[cfg(test)]
#[path = "chat_template_tests.rs"]
mod tests;
