//! Turns a conversation into the prompt that a model was trained on.
//!
//! A GGUF file brings a Jinja template, written for Python. It is rendered with contents that are marked, so that the
//! result falls into pieces: text of the template, in which control tokens count, and text of the messages, in which
//! nothing does. Whoever tokenises the pieces can then treat a document that contains `<|im_start|>` as plain text. The
//! template itself is data from a downloaded file: it runs with bounded steps and depth and sees nothing but the messages
//! and a few settings. What it writes is what Python would write (`make templates` compares). Pure: no model, no clock
//! (the time is passed in). Start at [`ChatTemplate::render`].

use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};

use crate::marked::{LAST_OWNER, Marked};
use crate::python_text::add_python;
use crate::request::{ChatMessage, ChatRole};
use crate::strftime::strftime;
use crate::template_source::adapted;

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
            .add_template_owned(NAME, adapted(source))
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
    /// front of the first question, and neighbours of one role become one message, which says the same. Some refuse
    /// settings that others need; then they get fewer. And gpt-oss refuses answers that speak of its own control tokens,
    /// which are only words here; then it does not get to see what is said.
    ///
    /// # Errors
    /// The template's own words when it refuses all of it, or would leave out a message.
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
        self.render_as_is(&merged, thinking, now)
            .or_else(|_| self.render_unseen(messages, thinking, now))
            .or_else(|_| self.render_unseen(&merged, thinking, now))
            .map_err(|_| refused)
    }

    fn render_as_is(
        &self,
        messages: &[ChatMessage],
        thinking: bool,
        now: SystemTime,
    ) -> Result<Vec<PromptPiece>, String> {
        let usual = self.usual_settings(thinking);
        self.render_with(messages, &usual, now)
            .or_else(|refused| {
                let fewer = self.fewer_settings(thinking);
                self.render_with(messages, &fewer, now).map_err(|_| refused)
            })
            .map(|prompt| pieces(&prompt))
    }

    /// Shows the template a word instead of each content.
    fn render_unseen(
        &self,
        messages: &[ChatMessage],
        thinking: bool,
        now: SystemTime,
    ) -> Result<Vec<PromptPiece>, String> {
        let unseen: Vec<ChatMessage> = messages
            .iter()
            .map(|message| {
                let content = match message.content.trim() {
                    "" => String::new(),
                    said => message.content.replace(said, WORD),
                };
                ChatMessage::new(message.role, content)
            })
            .collect();
        let prompt = self.render_with(&unseen, &self.usual_settings(thinking), now)?;
        let mut filled = Marked::default();
        for stretch in prompt.stretches() {
            let message = stretch.owner.and_then(|owner| messages.get(owner));
            match message {
                Some(message) if !stretch.text.trim().is_empty() => {
                    let (before, after) = stretch
                        .text
                        .split_once(WORD)
                        .ok_or("it takes messages apart")?;
                    let whole = format!("{before}{}{after}", message.content.trim());
                    filled.push(&whole, stretch.owner);
                }
                _ => filled.push(stretch.text, stretch.owner),
            }
        }
        Ok(pieces(&filled))
    }

    /// What templates get from Python's libraries, and whether to think.
    fn usual_settings(&self, thinking: bool) -> Value {
        context! {
            tools => Value::from(()),
            documents => Value::from(()),
            // gpt-oss cannot be told to leave it.
            reasoning_effort => if thinking { "medium" } else { "low" },
            ..self.fewer_settings(thinking)
        }
    }

    /// For templates that count tools without asking whether there are any, or know other efforts.
    fn fewer_settings(&self, thinking: bool) -> Value {
        context! {
            add_generation_prompt => true,
            // Qwen, SmolLM and others.
            enable_thinking => thinking,
            // Granite and DeepSeek.
            thinking => thinking,
            bos_token => &self.begin_of_text,
            eos_token => &self.end_of_text,
        }
    }

    /// The prompt, with nothing left out.
    fn render_with(
        &self,
        messages: &[ChatMessage],
        settings: &Value,
        now: SystemTime,
    ) -> Result<Marked, String> {
        let contents: Vec<&str> = messages
            .iter()
            .map(|message| message.content.as_str())
            .collect();
        let prompt = self.render_contents(messages, &contents, settings, now)?;
        let missing = missing(&prompt, &contents);
        if missing.contains(&true) {
            // What a template leaves out of an answer, such as a thought, may be all of it. A word shows whether it
            // would leave out everything.
            let with_words: Vec<&str> = contents
                .iter()
                .zip(&missing)
                .map(|(&content, &missing)| if missing { WORD } else { content })
                .collect();
            let asked = self.render_contents(messages, &with_words, settings, now)?;
            if self::missing(&asked, &with_words).contains(&true) {
                return Err("it leaves out a message".to_owned());
            }
        }
        Ok(prompt)
    }

    fn render_contents(
        &self,
        messages: &[ChatMessage],
        contents: &[&str],
        settings: &Value,
        now: SystemTime,
    ) -> Result<Marked, String> {
        let listed: Vec<Value> = messages
            .iter()
            .zip(contents)
            .enumerate()
            .map(|(index, (message, content))| {
                let content = Marked::content(content, index).encode();
                context! { role => message.role.as_str(), content => content }
            })
            .collect();
        let mut environment = self.environment.clone();
        environment.add_function("strftime_now", move |format: String| strftime(&format, now));
        environment.set_fuel(Some(fuel(contents)));
        let rendered = environment
            .get_template(NAME)
            .and_then(|template| {
                template.render(context! { messages => listed, ..settings.clone() })
            })
            .map_err(|error| in_words(&error))?;
        Marked::decode(&rendered).ok_or_else(|| "it takes messages apart".to_owned())
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
    add_python(&mut environment);
    environment.set_recursion_limit(RECURSION_LIMIT);
    environment.add_function(
        "raise_exception",
        |reason: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, reason))
        },
    );
    environment
}

/// Steps that a template may take for these messages.
fn fuel(contents: &[&str]) -> u64 {
    let bytes: usize = contents.iter().map(|content| content.len()).sum();
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let messages = u64::try_from(contents.len()).unwrap_or(u64::MAX);
    let pairs = messages.saturating_mul(messages);
    FUEL.saturating_add(bytes.saturating_mul(FUEL_PER_CONTENT_BYTE))
        .saturating_add(pairs.saturating_mul(FUEL_PER_PAIR).min(MOST_FUEL_FOR_PAIRS))
}

/// Which messages are not in a prompt. Blank ones need not be.
fn missing(prompt: &Marked, contents: &[&str]) -> Vec<bool> {
    let mut missing: Vec<bool> = contents
        .iter()
        .map(|content| !content.trim().is_empty())
        .collect();
    for owner in prompt.stretches().filter_map(|stretch| stretch.owner) {
        if owner == LAST_OWNER {
            missing.truncate(LAST_OWNER);
        } else if let Some(missing) = missing.get_mut(owner) {
            *missing = false;
        }
    }
    missing
}

/// Neighbours of one kind become one piece, so that they are tokenised together.
fn pieces(prompt: &Marked) -> Vec<PromptPiece> {
    let mut pieces: Vec<PromptPiece> = Vec::new();
    for stretch in prompt.stretches() {
        match (pieces.last_mut(), stretch.owner) {
            (Some(PromptPiece::Content(last)), Some(_))
            | (Some(PromptPiece::Template(last)), None) => last.push_str(stretch.text),
            (_, Some(_)) => pieces.push(PromptPiece::Content(stretch.text.to_owned())),
            (_, None) => pieces.push(PromptPiece::Template(stretch.text.to_owned())),
        }
    }
    pieces
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
/// Stands for any content.
const WORD: &str = "word";

/// Steps a template may take. The longest known templates (tool use, 400 lines) take some thousand for 100 messages.
const FUEL: u64 = 300_000;
/// So that long contents can be looked through and copied some dozen times: one step pays for 64 bytes.
const FUEL_PER_CONTENT_BYTE: u64 = 4;
/// Gemma 4 looks at every message from every other.
const FUEL_PER_PAIR: u64 = 10;
/// Some seconds at most: after that a template is taken for one that does not end.
const MOST_FUEL_FOR_PAIRS: u64 = 10_000_000;
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

#[cfg(test)]
#[path = "chat_template_golden.rs"]
mod golden;
