//! How models do on this machine, in the words of the faces.
//!
//! Decides nothing itself: [`satchel_models::fit`] does. Start at [`of_entry`] and [`show`].

use std::path::Path;
use std::sync::Arc;

use satchel_inference::prompt_chunk_tokens;
use satchel_models::catalog::{self, CatalogEntry};
use satchel_models::fit::{self, Advice, Machine, Verdict};
use satchel_models::gguf::{self, GgufSummary, ModelShape};
use satchel_models::{InstalledModel, ModelKind};

use super::model_host::{self, ModelHost};
use super::{downloads, failure};
use crate::message::{Failure, FailureKind, Fit, FitReport, ModelDetails};

/// How a model of the catalogue would do.
#[must_use]
pub fn of_entry(entry: &CatalogEntry, machine: &Machine, context: Option<u32>) -> FitReport {
    match entry.shape() {
        Some(shape) => {
            let most = entry.context_len_tokens;
            report(&advice(&shape, entry.size_bytes, machine, context, most))
        }
        None => embedder(machine, entry.size_bytes),
    }
}

/// How a model of a known header would do.
#[must_use]
pub fn of_summary(summary: &GgufSummary, machine: &Machine, context: Option<u32>) -> FitReport {
    if summary.kind == ModelKind::Chat {
        let most = summary.context_len_tokens;
        report(&advice(
            &summary.shape,
            summary.file_bytes,
            machine,
            context,
            most,
        ))
    } else {
        embedder(machine, summary.shape.weights_bytes())
    }
}

/// The largest chat model of the catalogue that does well on a machine and can be downloaded.
#[must_use]
pub fn best(machine: &Machine, context: Option<u32>) -> Option<&'static CatalogEntry> {
    let fitting = catalog::catalog().iter().filter(|entry| {
        let is_offered = entry.kind == ModelKind::Chat && entry.hub.is_some();
        is_offered && of_entry(entry, machine, context).verdict == Fit::Fits
    });
    fitting.max_by_key(|entry| entry.parameters)
}

/// What suits an installed chat model on this machine. Reads the header of its file.
///
/// # Errors
/// When the file cannot be read or is not what it was.
pub fn of_chat_model(
    model: &InstalledModel,
    machine: &Machine,
    context: Option<u32>,
) -> Result<Advice, Failure> {
    let summary = checked(&model.path)?;
    let most = model.context_len_tokens;
    Ok(advice(
        &summary.shape,
        summary.file_bytes,
        machine,
        context,
        most,
    ))
}

/// Everything about an installed model, one of the catalogue, or a file.
///
/// # Errors
/// When there is no such model, or its file is not a model that can be used.
pub async fn show(host: &Arc<ModelHost>, model: String) -> Result<ModelDetails, Failure> {
    let machine = host.machine().await;
    let host = Arc::clone(host);
    tokio::task::spawn_blocking(move || details(&host, &machine, &model))
        .await
        .unwrap_or_else(|panic| Err(failure::of_panic(panic)))
}

fn details(host: &ModelHost, machine: &Machine, model: &str) -> Result<ModelDetails, Failure> {
    let settings = host.settings();
    let context = settings.context_len_tokens;
    let installed = host.store().list().map_err(failure::of_model_store)?;
    let installed = installed.into_iter().find(|known| known.id == model);
    let mut details = if let Some(known) = installed {
        let summary = checked(&known.path)?;
        ModelDetails {
            id: known.id.clone(),
            name: model_host::display_name(&known),
            license: known.license.clone(),
            sha256: Some(known.sha256.clone()),
            source: known.source_url.clone(),
            ..of_file(&summary, &known.path, machine, context)
        }
    } else if let Some(entry) = catalog::find(model) {
        let source = downloads::address(entry, &settings);
        of_catalogue(entry, source, machine, context)
    } else if Path::new(model).is_absolute() {
        let path = Path::new(model);
        let summary = checked(path)?;
        of_file(&summary, path, machine, context)
    } else {
        return Err(Failure::new(
            FailureKind::NotFound,
            format!("{model} is neither installed, nor in the catalogue, nor a file"),
        )
        .with_hint("`satchel models list` and `satchel models catalog` show the names."));
    };
    if details.kind == ModelKind::Chat.to_string() && details.fit.verdict != Fit::Fits {
        let better = best(machine, context).filter(|better| better.id != details.id);
        details.better = better.map(|entry| entry.name.clone());
    }
    Ok(details)
}

fn of_file(
    summary: &GgufSummary,
    path: &Path,
    machine: &Machine,
    context: Option<u32>,
) -> ModelDetails {
    let file_name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let fit = of_summary(summary, machine, context);
    ModelDetails {
        name: summary.name.clone().unwrap_or_else(|| file_name.clone()),
        id: file_name,
        kind: summary.kind.to_string(),
        architecture: summary.architecture.clone(),
        parameters: summary.parameters,
        quantisation: summary.quantisation.clone(),
        size_bytes: summary.file_bytes,
        context_len_tokens: summary.context_len_tokens,
        layers: summary.block_count,
        embedding_dim: summary.embedding_dim,
        vocabulary_len: summary.vocabulary_len,
        has_chat_template: Some(summary.has_chat_template),
        pooling: summary.pooling.map(|pooling| pooling.to_string()),
        license: summary.license.clone(),
        sha256: None,
        source: None,
        path: Some(path.to_path_buf()),
        fit,
        better: None,
    }
}

fn of_catalogue(
    entry: &CatalogEntry,
    source: Option<String>,
    machine: &Machine,
    context: Option<u32>,
) -> ModelDetails {
    let layout = entry.layout;
    ModelDetails {
        id: entry.id.clone(),
        name: entry.name.clone(),
        kind: entry.kind.to_string(),
        architecture: entry.architecture.clone(),
        parameters: entry.parameters,
        quantisation: entry.quantisation.clone(),
        size_bytes: entry.size_bytes,
        context_len_tokens: entry.context_len_tokens,
        layers: layout.map_or(0, |layout| layout.layers),
        embedding_dim: entry.embedding_dim.unwrap_or(0),
        vocabulary_len: layout.map_or(0, |layout| layout.vocabulary_len as usize),
        has_chat_template: None,
        pooling: None,
        license: Some(entry.license.clone()),
        sha256: Some(entry.sha256.clone()),
        source,
        path: None,
        fit: of_entry(entry, machine, context),
        better: None,
    }
}

fn checked(path: &Path) -> Result<GgufSummary, Failure> {
    gguf::check(path).map_err(|error| failure::of_model_file(path, &error))
}

fn advice(
    shape: &ModelShape,
    file_bytes: u64,
    machine: &Machine,
    context: Option<u32>,
    most: u32,
) -> Advice {
    let chunk = u32::try_from(prompt_chunk_tokens(file_bytes)).unwrap_or(u32::MAX);
    fit::judge(shape, machine, context, most, chunk)
}

fn report(advice: &Advice) -> FitReport {
    let (host, gpu) = (advice.need.host, advice.need.gpu);
    FitReport {
        verdict: words(advice.verdict),
        context_len_tokens: advice.context_len_tokens,
        weights_bytes: host.weights_bytes + gpu.weights_bytes,
        context_bytes: host.context_bytes + gpu.context_bytes,
        compute_bytes: host.compute_bytes + gpu.compute_bytes,
        gpu_bytes: gpu.total_bytes(),
        gpu_layers: advice.gpu_layers,
        of_layers: advice.of_layers,
        tokens_per_s: advice.tokens_per_s,
    }
}

/// Embedders stay on the processor and write nothing.
fn embedder(machine: &Machine, weights_bytes: u64) -> FitReport {
    let needed_bytes = fit::embedder_memory_bytes(weights_bytes);
    FitReport {
        verdict: words(fit::judge_memory(needed_bytes, machine)),
        context_len_tokens: 0,
        weights_bytes,
        context_bytes: 0,
        compute_bytes: needed_bytes - weights_bytes,
        gpu_bytes: 0,
        gpu_layers: 0,
        of_layers: 0,
        tokens_per_s: None,
    }
}

/// How a model of so many bytes would do, as far as its length tells.
#[must_use]
pub fn by_size(machine: &Machine, weights_bytes: u64) -> Fit {
    embedder(machine, weights_bytes).verdict
}

fn words(verdict: Verdict) -> Fit {
    match verdict {
        Verdict::Fits => Fit::Fits,
        Verdict::Slow => Fit::Slow,
        Verdict::Tight => Fit::Tight,
        Verdict::TooLarge => Fit::TooLarge,
    }
}
