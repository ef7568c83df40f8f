//! Models from the network: what there is, fetching one, and throwing a begun download away.
//!
//! Nothing is fetched unless somebody asked for exactly that file. Start at [`catalog`] and [`download`].

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use satchel_models::catalog::{self, CatalogEntry};
use satchel_models::fetch::{self, FetchError, Observer, Options, Progress, Source, Unfinished};
use satchel_models::gguf::{self, GgufError, GgufSummary};

use super::contacts::Contacts;
use super::jobs::{Emitter, Meter};
use super::model_host::ModelHost;
use super::{failure, fitting};
use crate::config::Settings;
use crate::message::{
    CatalogReport, CatalogSummary, Failure, FailureKind, Fit, FitReport, Stage, UnfinishedDownload,
};
use crate::units::size;

/// Where the files of the catalogue lie, unless the settings name a mirror.
pub(super) const HUB: &str = "https://huggingface.co";

/// Bytes in which the header of a model is looked for: most take 2 to 8 MiB, Gemma's large vocabulary 16.
const HEADER_BYTES: u64 = 32 << 20;

/// What somebody wants to have.
struct Wanted {
    name: String,
    source: Source,
    entry: Option<&'static CatalogEntry>,
}

/// The catalogue as it stands on this machine.
///
/// # Errors
/// When the store cannot be read.
pub async fn catalog(host: &Arc<ModelHost>) -> Result<CatalogReport, Failure> {
    let (store, settings) = (host.store().clone(), host.settings());
    let machine = host.machine().await;
    off_thread(move || {
        let installed = store.list().map_err(failure::of_model_store)?;
        // Names in files differ from those of the catalogue, and few hashes are known beforehand.
        let is_installed = |entry: &CatalogEntry, source: Option<&String>| {
            installed.iter().any(|model| {
                let is_known = entry.sha256 == model.sha256;
                let is_from_there = source.is_some() && model.source_url.as_ref() == source;
                is_known || is_from_there || model.id == entry.id
            })
        };
        let mut unfinished = unfinished(store.dir())?;
        let context = settings.context_len_tokens;
        let models = catalog::catalog().iter().map(|entry| {
            let source = address(entry, &settings);
            let begun = unfinished
                .iter()
                .position(|download| source.as_ref() == Some(&download.url));
            let begun = begun.map(|at| unfinished.remove(at));
            let installed = is_installed(entry, source.as_ref());
            summary(
                entry,
                source,
                begun,
                installed,
                fitting::of_entry(entry, &machine, context),
            )
        });
        Ok(CatalogReport {
            models: models.collect(),
            others: unfinished.into_iter().map(other).collect(),
            memory_bytes: machine.memory_bytes,
            recommended: fitting::best(&machine, context).map(|entry| entry.id.clone()),
        })
    })
    .await
}

/// Fetches and installs a model: an id of the catalogue, `owner/repository/file.gguf` on Hugging Face, or an address.
///
/// # Errors
/// When nothing is to be fetched, its licence was not accepted, or the network, the host or the disk refuses. What has
/// come stays, and the same command goes on.
pub async fn download(
    host: &Arc<ModelHost>,
    model: &str,
    accepts_licence: bool,
    emitter: &Emitter,
) -> Result<String, Failure> {
    let settings = host.settings();
    let options = options(&settings)?;
    let wanted = wanted(model, &settings)?;
    check_licence(&wanted, accepts_licence)?;
    let store = host.store().clone();
    let teller = Teller::new(emitter, host.contacts().clone());
    let files = fetch::parts_of(&wanted.source);
    let judging = judge(host, &wanted, &files, &options, &teller);
    tokio::select! {
        judged = judging => judged?,
        () = emitter.cancelled() => return Err(paused()),
    }
    let fetching = fetch::fetch_all(store.dir(), &files, &options, &teller);
    let fetched = tokio::select! {
        fetched = fetching => fetched.map_err(of_fetch)?,
        () = emitter.cancelled() => {
            return Err(paused());
        }
    };
    let hosts: BTreeSet<String> = fetched.iter().flat_map(|file| file.hosts.clone()).collect();
    let hosts = Vec::from_iter(hosts).join(", ");
    let joining = emitter.clone();
    let model = off_thread(move || {
        let mut meter: Option<Meter> = None;
        let mut progress = |progress: satchel_models::store::Progress| {
            meter
                .get_or_insert_with(|| Meter::new(&joining, Stage::Model, progress.total_bytes))
                .at(progress.done_bytes, progress.total_bytes);
        };
        store.adopt_all(fetched, &mut progress).map_err(|error| {
            Failure::general(format!(
                "what was downloaded cannot be used: {}",
                failure::words(&error)
            ))
        })
    })
    .await?;
    Ok(format!(
        "Installed {} ({}, {}) from {hosts}.",
        model.id,
        model.quantisation,
        size(model.size_bytes)
    ))
}

/// How the settings want hosts to be asked.
///
/// # Errors
/// When they forbid connections.
pub(super) fn options(settings: &Settings) -> Result<Options, Failure> {
    if settings.offline {
        return Err(Failure::new(
            FailureKind::Offline,
            "connections are forbidden by the settings or by --offline",
        )
        .with_hint("`satchel settings offline false` allows them."));
    }
    Ok(Options {
        limit_bytes_per_s: settings.download_kib_per_s.map(|kib| kib << 10),
        proxy: settings.proxy.clone(),
        ..Options::default()
    })
}

fn paused() -> Failure {
    Failure::new(
        FailureKind::Cancelled,
        "Paused. What has come is kept; the same download goes on from there.",
    )
}

/// Looks at the header of a file before the rest of it is fetched: refuses what could not be used, and says beforehand
/// that a model will not do well here, and which would.
async fn judge(
    host: &Arc<ModelHost>,
    wanted: &Wanted,
    files: &[Source],
    options: &Options,
    teller: &Teller<'_>,
) -> Result<(), Failure> {
    let machine = host.machine().await;
    let context = host.settings().context_len_tokens;
    let (kind, fit) = if let Some(entry) = wanted.entry {
        // Its hash is known, and so is what it is.
        (entry.kind, fitting::of_entry(entry, &machine, context))
    } else {
        let Some(summary) = header(host, wanted, files, options, teller).await? else {
            return Ok(());
        };
        let kind = summary.kind;
        (kind, fitting::of_summary(&summary, &machine, context))
    };
    if fit.verdict == Fit::Fits {
        return Ok(());
    }
    let better = fitting::best(&machine, context)
        .filter(|better| better.kind == kind)
        .map_or_else(String::new, |better| {
            format!(" {} would do well.", better.name)
        });
    let words = format!(
        "{}: {}. It needs {}; this machine has {}.{better}",
        wanted.name,
        fit.verdict.words(),
        size(fit.memory_bytes()),
        size(machine.memory_bytes)
    );
    teller.emitter.notice(words).await;
    Ok(())
}

/// What the header of a file says that nothing has come of yet; `None` where it cannot be had beforehand, as the whole of
/// a split model cannot: the header of its first part only tells whether it could be used.
async fn header(
    host: &Arc<ModelHost>,
    wanted: &Wanted,
    files: &[Source],
    options: &Options,
    teller: &Teller<'_>,
) -> Result<Option<GgufSummary>, Failure> {
    let store = host.store().clone();
    let judge = |bytes: &[u8], size_bytes: u64| match gguf::check_reader(bytes, size_bytes) {
        // It goes on behind what has come.
        Err(GgufError::Io(_)) => None,
        Err(GgufError::CutOff { file_bytes, .. }) if file_bytes < size_bytes => None,
        judged => Some(judged),
    };
    let judged = fetch::begin(
        store.dir(),
        files.first().unwrap_or(&wanted.source),
        options,
        teller,
        HEADER_BYTES,
        judge,
    )
    .await
    .map_err(of_fetch)?;
    if files.len() > 1 && matches!(judged, Some(Err(GgufError::SplitPart { .. }))) {
        return Ok(None);
    }
    judged.transpose().map_err(|error| {
        Failure::general(format!(
            "{} was not downloaded, since it could not be used: {}",
            wanted.name,
            failure::words(&error)
        ))
    })
}

/// Throws away what has come of a model.
///
/// # Errors
/// When nothing has, it is being fetched, or the disk refuses.
pub async fn discard(host: &Arc<ModelHost>, model: &str) -> Result<String, Failure> {
    let wanted = wanted(model, &host.settings())?;
    let store = host.store().clone();
    let (files, name) = (fetch::parts_of(&wanted.source), wanted.name);
    let discard_all = move || -> std::io::Result<bool> {
        let mut was_there = false;
        for file in files {
            was_there |= fetch::discard(store.dir(), &file.url)?;
        }
        Ok(was_there)
    };
    off_thread(move || match discard_all() {
        Ok(true) => Ok(format!("Threw away what had come of {name}.")),
        Ok(false) => Err(Failure::new(
            FailureKind::NotFound,
            format!("nothing of {name} has been downloaded"),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Err(Failure::new(
            FailureKind::Locked,
            format!("{name} is being downloaded"),
        )
        .with_hint("Stop that first.")),
        Err(error) => Err(Failure::general(format!("cannot throw it away: {error}"))),
    })
    .await
}

fn wanted(model: &str, settings: &Settings) -> Result<Wanted, Failure> {
    let model = model.trim();
    if let Some(entry) = catalog::find(model) {
        let url = address(entry, settings).ok_or_else(|| {
            Failure::new(
                FailureKind::Usage,
                format!("{} comes with Satchel and is not downloaded", entry.name),
            )
            .with_hint("`make run` installs the starter models.")
        })?;
        return Ok(Wanted {
            name: entry.name.clone(),
            source: Source {
                url,
                size_bytes: Some(entry.size_bytes),
                sha256: Some(entry.sha256.clone()),
            },
            entry: Some(entry),
        });
    }
    let url = if model.starts_with("https://") || model.starts_with("http://") {
        // The address of the page about a file, as a browser shows it.
        model.replacen("/blob/", "/resolve/", 1)
    } else {
        let path = model.strip_prefix("hf:").unwrap_or(model);
        let mut parts = path.splitn(3, '/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next(), parts.next()) {
            (Some(owner), Some(repository), Some(file)) if file.ends_with(".gguf") => {
                hub_address(settings, &format!("{owner}/{repository}"), "main", file)
            }
            _ => {
                return Err(Failure::new(
                    FailureKind::NotFound,
                    format!("{model} is neither in the catalogue nor the address of a GGUF file"),
                )
                .with_hint("`satchel models catalog` lists ids; OWNER/REPOSITORY/FILE.gguf names a file on Hugging Face."));
            }
        }
    };
    Ok(Wanted {
        name: url.clone(),
        source: Source {
            url,
            size_bytes: None,
            sha256: None,
        },
        entry: None,
    })
}

/// Where a model of the catalogue is fetched from.
pub(super) fn address(entry: &CatalogEntry, settings: &Settings) -> Option<String> {
    let hub = entry.hub.as_ref()?;
    Some(hub_address(
        settings,
        &hub.repository,
        &hub.revision,
        &hub.file,
    ))
}

fn hub_address(settings: &Settings, repository: &str, revision: &str, file: &str) -> String {
    let base = settings.model_mirror.as_deref().unwrap_or(HUB);
    let base = base.trim_end_matches('/');
    format!("{base}/{repository}/resolve/{revision}/{file}")
}

/// A licence that asks something of the user is accepted by the user.
fn check_licence(wanted: &Wanted, accepts: bool) -> Result<(), Failure> {
    let Some(entry) = wanted.entry else {
        return Ok(());
    };
    let is_free = ["Apache-2.0", "MIT"].contains(&entry.license.as_str());
    if is_free || accepts {
        return Ok(());
    }
    let page = page(entry).map_or_else(String::new, |page| format!(" Its text: {page}"));
    Err(Failure::new(
        FailureKind::Usage,
        format!(
            "{} is under the licence “{}”, which asks something of its users.{page}",
            entry.name, entry.license
        ),
    )
    .with_hint("Read it, and add --accept-licence if you agree."))
}

/// Where people read about a model, whatever mirror it is fetched from.
fn page(entry: &CatalogEntry) -> Option<String> {
    let hub = entry.hub.as_ref()?;
    Some(format!("{HUB}/{}", hub.repository))
}

fn summary(
    entry: &CatalogEntry,
    source: Option<String>,
    begun: Option<Unfinished>,
    installed: bool,
    fit: FitReport,
) -> CatalogSummary {
    CatalogSummary {
        id: entry.id.clone(),
        name: entry.name.clone(),
        publisher: entry.publisher.clone(),
        kind: entry.kind.to_string(),
        quantisation: entry.quantisation.clone(),
        size_bytes: entry.size_bytes,
        context_len_tokens: entry.context_len_tokens,
        license: entry.license.clone(),
        sha256: entry.sha256.clone(),
        note: entry.note.clone(),
        installed,
        source,
        page: page(entry),
        fetched_bytes: begun.map(|begun| begun.done_bytes),
        fit,
    }
}

fn other(download: Unfinished) -> UnfinishedDownload {
    UnfinishedDownload {
        url: download.url,
        done_bytes: download.done_bytes,
        total_bytes: download.total_bytes,
    }
}

fn unfinished(store: &Path) -> Result<Vec<Unfinished>, Failure> {
    fetch::unfinished(store)
        .map_err(|error| Failure::general(format!("cannot read the models folder: {error}")))
}

pub(super) fn of_fetch(error: FetchError) -> Failure {
    let kind = match &error {
        FetchError::NoSpace { .. } => FailureKind::NoSpace,
        FetchError::Unreachable { .. } | FetchError::NoAnswer { .. } => FailureKind::Offline,
        FetchError::NotThere { .. } => FailureKind::NotFound,
        FetchError::Busy => FailureKind::Locked,
        FetchError::Address { .. } | FetchError::Proxy { .. } => FailureKind::Usage,
        _ => FailureKind::General,
    };
    Failure::new(kind, failure::words(&error))
}

/// Tells how far a download is, and once why nothing comes; notes which hosts are asked.
pub(super) struct Teller<'a> {
    emitter: &'a Emitter,
    contacts: Contacts,
    inside: Mutex<Told>,
}

/// What was told so far.
#[derive(Default)]
struct Told {
    meter: Option<Meter>,
    waits_because: Option<String>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(emitter: &'a Emitter, contacts: Contacts) -> Self {
        Self {
            emitter,
            contacts,
            inside: Mutex::default(),
        }
    }
}

impl Observer for Teller<'_> {
    fn progress(&self, progress: Progress) {
        let Progress {
            done_bytes,
            total_bytes,
            waits_because,
        } = progress;
        let mut told = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &waits_because
            && told.waits_because != waits_because
        {
            let words = format!("Nothing comes at the moment ({reason}); trying again.");
            self.emitter.hint(words);
        }
        told.waits_because = waits_because;
        told.meter
            .get_or_insert_with(|| {
                Meter::resumed(self.emitter, Stage::Download, done_bytes, total_bytes)
            })
            .at(done_bytes, total_bytes);
    }

    fn contacted(&self, host: &str) {
        let (contacts, host) = (self.contacts.clone(), host.to_owned());
        // Nobody waits for it: the download goes on.
        tokio::task::spawn_blocking(move || contacts.note(&host));
    }
}

/// Does work that waits for the disk.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(failure::of_panic(panic)))
}
