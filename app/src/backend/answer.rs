//! Answers a question from the documents: retrieve, judge, prompt, stream, cite, keep.
//!
//! The passages are always found in code, never by the model's choice; where they cannot hold an answer, nothing
//! is generated. Text of documents can start no action here: the model's output is only shown and searched for
//! marks. Start at [`ask`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use satchel_inference::{AnswerForm, GenerateRequest, ModelInfo, Thinking};
use satchel_models::ModelKind;
use satchel_sync::chat::{CitationRecord, Message, Role, ThreadId};
use satchel_vector::{Hit, SourceId, StoredChunk};

use super::conversation::{self, Turn};
use super::jobs::Emitter;
use super::model_host::{self, Running};
use super::prompt::{self, Passage, Style};
use super::{Shared, cite, failure, indexing, reference, rerank, retrieve, writing};
use crate::message::{AnswerReport, Citation, Event, Failure, FailureKind, Progress, Stage, Usage};

/// Hits looked at for an answer; the prompt takes as many as its budget holds.
pub const HITS: usize = 16;
/// Bytes of a question that fits into any window.
const SHORT: usize = 512;
/// Tokens kept free beside question, passages and answer: template, rounding.
const MARGIN_TOKENS: usize = 64;
/// Earlier turns given to the model. Older ones rarely matter and cost reading time.
const HISTORY_TURNS: usize = 2;

/// Answers a question; both are kept as messages of the chat.
///
/// # Errors
/// When the question is empty or longer than the model's window, no chat model is installed, or a worker
/// fails. A question that the documents cannot answer is a report with `refused`.
pub async fn ask(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    question: String,
    thread: Option<String>,
) -> Result<AnswerReport, Failure> {
    let question = retrieve::checked(&question)?;
    let (thread, turns) = conversation::open(shared, thread).await?;
    let mut report = answer(shared, emitter, question, &turns).await?;
    report.thread = keep(shared, thread, &report).await?.to_string();
    Ok(report)
}

/// Answers a question as [`ask`] does, after these questions with their answers, and keeps nothing.
///
/// # Errors
/// As for [`ask`].
pub async fn consult(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    question: String,
    history: Vec<(String, String)>,
) -> Result<AnswerReport, Failure> {
    let turns = history
        .into_iter()
        .map(|(question, answer)| Turn { question, answer });
    let turns: Vec<Turn> = turns.collect();
    answer(shared, emitter, retrieve::checked(&question)?, &turns).await
}

async fn answer(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    question: &str,
    turns: &[Turn],
) -> Result<AnswerReport, Failure> {
    require_room(shared, question).await?;
    indexing::ensure_current(shared, emitter).await?;
    let started = Instant::now();
    let searched_for = conversation::stand_alone(question, turns);
    let found = rerank::passages(shared, emitter, &searched_for, HITS).await?;
    if let Some(limitation) = found.limitation {
        emitter.notice(limitation).await;
    }
    let retrieve_ms = started.elapsed().as_secs_f64() * 1000.0;
    let coverage = indexing::coverage(shared).await?;
    let mut report = AnswerReport {
        thread: String::new(),
        question: question.to_owned(),
        searched_for: searched_for.clone(),
        answer: String::new(),
        refused: false,
        citations: Vec::new(),
        unsupported: Vec::new(),
        model: None,
        ended: "none".to_owned(),
        coverage,
        usage: None,
    };
    if retrieve::can_answer(&searched_for, &found.hits) {
        generate(shared, emitter, turns, &found.hits, &mut report).await?;
        if let Some(usage) = &mut report.usage {
            usage.retrieve_ms = retrieve_ms;
        }
    } else {
        refuse(&found.hits, &mut report);
    }
    Ok(report)
}

/// Says that the documents do not hold it, with what comes nearest.
fn refuse(hits: &[Hit], report: &mut AnswerReport) {
    report.refused = true;
    report.citations = cite::nearest(hits, &report.question);
    report.answer = match (report.coverage.documents, report.citations.is_empty()) {
        (0, _) => {
            "There are no documents yet. Import some with `satchel import FOLDER`.".to_owned()
        }
        (_, true) => "Your documents do not say.".to_owned(),
        (_, false) => "Your documents do not say. These passages come nearest:".to_owned(),
    };
}

async fn generate(
    shared: &Arc<Shared>,
    emitter: &Emitter,
    turns: &[Turn],
    hits: &[Hit],
    report: &mut AnswerReport,
) -> Result<(), Failure> {
    let running = shared.models.chat().await?;
    emitter.progress(Progress {
        stage: Stage::Loading,
        done: 0,
        total: 1,
        eta_ms: None,
    });
    let info = running.engine.info().await.map_err(failure::of_engine)?;
    for news in shared.models.news(&running, &info) {
        emitter.notice(news).await;
    }
    let style = Style::for_model(running.model.parameters);
    let max_output = most_output(shared, style, &info);
    let room = room(shared, style, &info);
    let budget = shared
        .settings
        .current()
        .passage_budget_tokens
        .min(style.most_passage_tokens())
        .min(room);
    let sections = sections(shared, hits).await?;
    let passages = prompt::choose(
        hits,
        &|hit| sections.get(&hit.source).cloned().unwrap_or_default(),
        budget,
    );
    let history = conversation::history(turns, HISTORY_TURNS);
    let (messages, passages) =
        fit(&running, style, &history, passages, &report.question, room).await?;
    let shown = passages.iter().map(|p| {
        cite::citation(
            p,
            crate::message::Origin::Retrieved,
            &super::words::content_words(&report.question),
        )
    });
    emitter.send(Event::Passages(shown.collect())).await;
    let request = GenerateRequest {
        messages,
        sampling: writing::sampling(&shared.settings.current(), style.repeat_penalty()),
        max_output_tokens: max_output,
        thinking: writing::thinking(shared.settings.current().thinking, &info),
        stop: shared.settings.current().stop.clone(),
        form: AnswerForm::Free,
    };
    let written = writing::write(&running.engine, emitter, request).await?;
    let cited = cite::cite(&written.text, &report.question, &passages);
    report.answer = cited.text;
    report.citations = cited.citations;
    report.unsupported = cited.unsupported;
    report.model = Some(model_host::display_name(&running.model));
    report.ended = written.ended.to_owned();
    report.usage = written.usage.map(|usage| Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        output_tokens: usage.output_tokens,
        retrieve_ms: 0.0,
        prompt_ms: usage.prompt_ms,
        output_ms: usage.output_ms,
    });
    Ok(())
}

/// The chunks of every document among the hits, so that hits can grow to their sections.
async fn sections(
    shared: &Arc<Shared>,
    hits: &[Hit],
) -> Result<HashMap<SourceId, Vec<StoredChunk>>, Failure> {
    let mut sections = HashMap::new();
    for hit in hits {
        if let Entry::Vacant(place) = sections.entry(hit.source) {
            let chunks = shared
                .index
                .chunks_of(hit.source)
                .await
                .map_err(Failure::from)?;
            place.insert(chunks);
        }
    }
    Ok(sections)
}

/// Refuses a question that is too long for the chat model before anything is searched.
///
/// A token is at least one byte, so a short question costs nothing here; without a chat model there is no bound.
async fn require_room(shared: &Arc<Shared>, question: &str) -> Result<(), Failure> {
    let window = shared.settings.current().context_len_tokens;
    let may_be_too_long = question.len() > window.map_or(SHORT, |tokens| tokens as usize / 2);
    if may_be_too_long && shared.models.chosen(ModelKind::Chat)?.is_some() {
        let running = shared.models.chat().await?;
        let info = running.engine.info().await.map_err(failure::of_engine)?;
        let style = Style::for_model(running.model.parameters);
        fit(
            &running,
            style,
            &[],
            Vec::new(),
            question,
            room(shared, style, &info),
        )
        .await?;
    }
    Ok(())
}

/// Tokens that an answer may take.
fn most_output(shared: &Shared, style: Style, info: &ModelInfo) -> u32 {
    shared
        .settings
        .current()
        .max_output_tokens
        .min(style.most_output_tokens())
        .min(info.context_len_tokens / 3)
}

/// Tokens that the prompt may take.
fn room(shared: &Shared, style: Style, info: &ModelInfo) -> usize {
    let thought = match writing::thinking(shared.settings.current().thinking, info) {
        Thinking::Off => 0,
        Thinking::UpTo(tokens) => tokens,
    };
    let said = most_output(shared, style, info) + thought;
    (info.context_len_tokens - said) as usize - MARGIN_TOKENS
}

/// Drops earlier turns, then the last passages, until the prompt really fits. The question is never cut.
async fn fit(
    running: &Running,
    style: Style,
    history: &[(String, String)],
    mut passages: Vec<Passage>,
    question: &str,
    room: usize,
) -> Result<(Vec<satchel_inference::ChatMessage>, Vec<Passage>), Failure> {
    let mut history = history.to_vec();
    loop {
        let messages = prompt::messages(style, &history, &passages, question);
        let tokens = running
            .engine
            .count_prompt_tokens(messages.clone())
            .await
            .map_err(failure::of_engine)?;
        if tokens <= room {
            return Ok((messages, passages));
        }
        if !history.is_empty() {
            history.remove(0);
        } else if passages.pop().is_none() {
            return Err(Failure::new(
                FailureKind::Usage,
                format!("the question takes {tokens} tokens, and the model {} has room for {room}", model_host::display_name(&running.model)),
            )
            .with_hint("Ask a shorter question, raise `context_len_tokens` in config.toml, or import the long text as a document."));
        }
    }
}

/// Keeps question and answer durably, each citation bound to the document as it is now.
async fn keep(
    shared: &Arc<Shared>,
    thread: Option<ThreadId>,
    report: &AnswerReport,
) -> Result<ThreadId, Failure> {
    let now = now_ms();
    let asked = Message::new(Role::User, report.question.clone(), now);
    let answer = report.answer.clone();
    let (citations, model, title) = (
        report.citations.clone(),
        report.model.clone(),
        title_of(&report.question),
    );
    shared
        .with_workspace(move |workspace| {
            let thread = match thread {
                Some(thread) => thread,
                None => workspace.create_thread(&title)?,
            };
            let parent = workspace
                .thread(thread)?
                .path_to_latest()
                .last()
                .map(|message| message.id);
            let question = workspace.append_message(thread, parent, asked)?;
            let mut message = Message::new(Role::Assistant, answer, now_ms());
            message.model = model;
            message.citations = citations
                .iter()
                .filter_map(|citation| record(workspace, citation))
                .collect();
            workspace.append_message(thread, Some(question), message)?;
            Ok::<_, Failure>(thread)
        })
        .await
}

/// A citation that survives edits of its document; `None` where the document went away meanwhile.
fn record(
    workspace: &satchel_sync::workspace::Workspace,
    citation: &Citation,
) -> Option<CitationRecord> {
    let document = reference::document_id(&citation.document)?;
    let anchor = workspace.anchor(document, citation.range.clone()).ok()?;
    Some(CitationRecord {
        mark: citation.mark.clone(),
        anchor,
    })
}

fn title_of(question: &str) -> String {
    let title: String = question.chars().take(60).collect();
    if title.len() < question.len() {
        title + "…"
    } else {
        title
    }
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
