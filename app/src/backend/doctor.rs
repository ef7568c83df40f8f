//! Checks everything Satchel depends on and says what to do about what is wrong.
//!
//! Changes nothing. Start at [`examine`].

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use satchel_models::ModelKind;
use satchel_sync::keys::{KeyStatus, KeyStore};

use super::model_host::ModelHost;
use super::{Shared, calibrate, indexing, model_host, rest};
use crate::config::Settings;
use crate::message::{Finding, Level};
use crate::units::{self, time};

/// Below this much free space an import is likely to fill the disk.
const LOW_DISK_BYTES: u64 = 1 << 30;

/// Looks at folders, key, disk, memory, processor, models and index.
pub async fn examine(shared: &Arc<Shared>) -> Vec<Finding> {
    let mut findings = vec![
        workspace(shared),
        folder(shared),
        key(shared),
        disk(&shared.dirs.data),
        memory(&shared.settings.current()),
    ];
    findings.extend(devices(&shared.dirs.program).await);
    findings.extend(processor(&shared.models));
    for kind in [ModelKind::Chat, ModelKind::Embedder] {
        findings.push(model(shared, kind).await);
    }
    // Few have one, and nobody needs one.
    if !matches!(shared.models.chosen(ModelKind::Reranker), Ok(None)) {
        findings.push(model(shared, ModelKind::Reranker).await);
    }
    findings.push(index(shared).await);
    findings.push(good(
        "At rest",
        "Documents, originals and chats are encrypted (AES-256-GCM-SIV).",
    ));
    findings.push(warning(
        "At rest",
        "The index is not encrypted yet: it holds the words of your documents in plain text.",
        Some(format!("Keep {} on an encrypted disk, or delete it when you hand the laptop on; it is rebuilt.", shared.dirs.index.display())),
    ));
    findings.push(network(shared));
    findings
}

fn network(shared: &Shared) -> Finding {
    let sync = if shared.settings.current().offline {
        "No connection is opened: `offline` is set."
    } else if shared.workspace.device().is_some() {
        "This workspace is shared: connections go to its edge nodes and nowhere else; `satchel sync ledger` lists them."
    } else {
        "This workspace is not shared: nothing is connected to."
    };
    let hosts = shared.models.contacts().list().into_iter();
    let hosts: Vec<String> = hosts
        .map(|(host, at_ms)| format!("{host} ({})", time(at_ms)))
        .collect();
    let models = if hosts.is_empty() {
        " No model was downloaded.".to_owned()
    } else {
        format!(" Models were asked for at {}.", hosts.join(", "))
    };
    let settings = shared.settings.current();
    let servers: Vec<&str> = settings.mcp_servers.keys().map(String::as_str).collect();
    let others = if servers.is_empty() {
        String::new()
    } else {
        let names = servers.join(", ");
        format!(" MCP servers are programs of their own and may use the network: {names}.")
    };
    good("Network", &(sync.to_owned() + &models + &others))
}

fn workspace(shared: &Shared) -> Finding {
    let open = &shared.workspace;
    let id = open.id();
    let mut text = format!("“{}” ({}) is open", open.name(), &id.to_string()[..12]);
    match (shared.workspaces.current(), shared.workspaces.listings()) {
        (Ok(current), Ok(all)) => {
            if all.len() > 1 {
                text += &format!(", one of {}", all.len());
            }
            if current.is_some_and(|current| current.id != id) {
                text += "; another one is the current one";
            }
            good("Workspace", &format!("{text}."))
        }
        (Err(failure), _) | (_, Err(failure)) => {
            problem("Workspace", &failure.message, failure.hint)
        }
    }
}

fn folder(shared: &Shared) -> Finding {
    let path = &shared.dirs.data;
    match std::fs::metadata(path) {
        Ok(facts) if facts.permissions().mode() & 0o077 != 0 => warning(
            "Data folder",
            &format!(
                "{} can be entered by other users of this machine.",
                path.display()
            ),
            Some(format!("chmod 700 {}", path.display())),
        ),
        Ok(_) => good(
            "Data folder",
            &format!("{} is yours alone.", path.display()),
        ),
        Err(error) => problem("Data folder", &format!("{}: {error}", path.display()), None),
    }
}

fn key(shared: &Shared) -> Finding {
    let status = KeyStore::open(&shared.dirs.data.join("keys")).and_then(|store| store.status());
    match status {
        Ok(KeyStatus::Keyring) => good("Key", "It is in the keyring of your desktop session."),
        Ok(KeyStatus::Passphrase) => good("Key", "It is in a file locked by your passphrase."),
        Ok(KeyStatus::PlainFile) => warning(
            "Key",
            "It lies in a plain file: whoever reads that file can read your documents.",
            Some("Protect it with `satchel key passphrase`.".to_owned()),
        ),
        Ok(KeyStatus::Missing) => problem("Key", "It is missing.", None),
        Err(error) => problem("Key", &super::failure::words(&error), None),
    }
}

fn disk(path: &Path) -> Finding {
    match rustix::fs::statvfs(path) {
        Ok(facts) => {
            let free = facts.f_bavail * facts.f_frsize;
            let text = format!("{} GiB are free where your data lies.", free >> 30);
            if free < LOW_DISK_BYTES {
                warning(
                    "Disk",
                    &text,
                    Some("Free some space before importing more.".to_owned()),
                )
            } else {
                good("Disk", &text)
            }
        }
        Err(error) => problem(
            "Disk",
            &format!("cannot ask {}: {error}", path.display()),
            None,
        ),
    }
}

fn memory(settings: &Settings) -> Finding {
    let mut system = match sysinfo::System::new() {
        Ok(system) => system,
        Err(error) => return problem("Memory", &format!("the system does not say: {error}"), None),
    };
    system.refresh_memory();
    let (free, total) = (system.available_memory(), system.total_memory());
    let mut words = format!("{} of {} MiB are free.", free >> 20, total >> 20);
    if let Some(patience) = rest::patience(settings, rest::is_small_machine()) {
        let minutes = patience.as_secs().div_ceil(60);
        words += &format!(
            " Models give theirs back {} after the last question.",
            units::count(minutes as usize, "minute")
        );
    }
    good("Memory", &words)
}

async fn devices(program: &Path) -> Vec<Finding> {
    match satchel_inference::devices(&model_host::worker_command(program, "inference")).await {
        Ok(devices) => devices
            .iter()
            .map(|device| {
                good(
                    "Device",
                    &format!(
                        "{} ({}): {}",
                        device.name, device.backend, device.description
                    ),
                )
            })
            .collect(),
        Err(error) => vec![problem(
            "Device",
            &format!(
                "llama.cpp does not start: {}",
                super::failure::words(&error)
            ),
            Some(
                "Build again with `make run`; the libraries must lie beside the program."
                    .to_owned(),
            ),
        )],
    }
}

/// What was measured of it; nothing where that is still to come.
fn processor(models: &ModelHost) -> Option<Finding> {
    let measured = models.calibration();
    let speeds = measured.speeds();
    let words = calibrate::words(&speeds, measured.build().as_deref());
    (!speeds.is_empty()).then(|| good("Processor", &words.replace('\n', " ")))
}

async fn model(shared: &Arc<Shared>, kind: ModelKind) -> Finding {
    let (subject, without) = match kind {
        ModelKind::Chat => ("Chat model", "Questions cannot be answered, search works."),
        ModelKind::Embedder => ("Embedder", "Search works by words only."),
        ModelKind::Reranker => ("Reranker", "What is found keeps the order of the search."),
    };
    let hint = Some(
        "`satchel models catalog` lists some that can be downloaded; `satchel models import` takes your own."
            .to_owned(),
    );
    match shared.models.chosen(kind) {
        Ok(Some(model)) => match load(shared, kind).await {
            Ok(words) => good(subject, &format!("{}: {words}", model.id)),
            Err(words) => problem(subject, &format!("{}: {words}", model.id), None),
        },
        Ok(None) => warning(subject, &format!("None is installed. {without}"), hint),
        Err(failure) => problem(subject, &failure.message, failure.hint),
    }
}

/// Really loads the model.
async fn load(shared: &Arc<Shared>, kind: ModelKind) -> Result<String, String> {
    let engine = match kind {
        ModelKind::Chat => shared
            .models
            .chat()
            .await
            .map(|running| Some(running.engine)),
        ModelKind::Embedder => shared
            .models
            .embedder(&shared.index)
            .await
            .map(|running| running.map(|running| running.engine)),
        ModelKind::Reranker => shared
            .models
            .reranker()
            .await
            .map(|running| running.map(|running| running.engine)),
    };
    let Some(engine) = engine.map_err(|failure| failure.message)? else {
        return Err("not installed".to_owned());
    };
    let info = engine
        .info()
        .await
        .map_err(|error| super::failure::words(&error))?;
    let place = match (&info.gpu, &info.gpu_refused) {
        (Some(gpu), _) => format!(
            "{} of {} layers on {}",
            gpu.layers, gpu.of_layers, gpu.device
        ),
        (None, Some(why)) => format!("on the processor, not on the GPU: {why}"),
        (None, None) => "on the processor".to_owned(),
    };
    Ok(format!(
        "loads; {place}; window of {} tokens, CPU code {}",
        info.context_len_tokens, info.variant
    ))
}

async fn index(shared: &Arc<Shared>) -> Finding {
    match indexing::coverage(shared).await {
        Ok(coverage) => {
            let text = format!(
                "{} of {} documents, {} passages, {} of them with embeddings.",
                coverage.indexed, coverage.documents, coverage.passages, coverage.embedded
            );
            if coverage.indexed < coverage.documents || coverage.embedded < coverage.passages {
                warning(
                    "Index",
                    &text,
                    Some("`satchel index` brings it up to date.".to_owned()),
                )
            } else {
                good("Index", &text)
            }
        }
        Err(failure) => problem("Index", &failure.message, failure.hint),
    }
}

fn good(subject: &str, text: &str) -> Finding {
    finding(subject, Level::Good, text, None)
}

fn warning(subject: &str, text: &str, hint: Option<String>) -> Finding {
    finding(subject, Level::Warning, text, hint)
}

fn problem(subject: &str, text: &str, hint: Option<String>) -> Finding {
    finding(subject, Level::Problem, text, hint)
}

fn finding(subject: &str, level: Level, text: &str, hint: Option<String>) -> Finding {
    Finding {
        subject: subject.to_owned(),
        level,
        text: text.to_owned(),
        hint,
    }
}
