//! Which of llama.cpp's builds for this kind of processor is the fastest one here: measured once.
//!
//! llama.cpp takes the build with the newest instructions that the processor has, which is nearly always right and
//! sometimes not: wide vectors slow some processors down, and matrix units help some models and hurt others. So when a
//! chat model has been used and then rests for a minute, the builds are tried with it, and what came out is kept in
//! `processor.json` in the folder for state, for this processor and version of the program. It stops as soon as
//! somebody wants a model, and begins anew at the next rest. `satchel models calibrate` does it at once. Start at
//! [`Calibration`], [`measure`] and [`when_resting`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use satchel_inference::{
    AnswerForm, ChatMessage, ChatRole, EngineError, EngineHandle, GenerateRequest, Sampling,
    StreamEvent, Thinking, TokenUsage, processor_builds,
};
use serde::{Deserialize, Serialize};

use super::jobs::{Emitter, Meter};
use super::model_host::ModelHost;
use super::{Shared, failure, warm};
use crate::message::{Failure, FailureKind, Stage};

/// What was measured, shared by all who start models. Reading and writing block on the disk.
#[derive(Debug)]
pub struct Calibration {
    path: PathBuf,
    known: RwLock<Option<Record>>,
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    /// The processor, as the system names it.
    processor: String,
    /// The version of the program, whose builds these are.
    version: String,
    /// The fastest; `None` where llama.cpp's own choice is.
    build: Option<String>,
    /// All that were tried, llama.cpp's own choice first.
    speeds: Vec<Speed>,
}

/// How fast one build was, in its better run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Its name.
    pub build: String,
    /// Tokens of a prompt per second.
    pub reads_per_s: f64,
    /// Tokens of an answer per second.
    pub writes_per_s: f64,
}

impl Speed {
    /// Seconds from a question to the end of its answer, as usual ones are.
    fn seconds(&self) -> f64 {
        PROMPT_TOKENS / self.reads_per_s + ANSWER_TOKENS / self.writes_per_s
    }
}

impl Calibration {
    /// What was measured earlier, of a file in the folder for state.
    #[must_use]
    pub fn open(state: &Path) -> Self {
        let path = state.join(FILE);
        let record = std::fs::read(&path).ok();
        let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        Self {
            known: RwLock::new(record.filter(Record::is_of_here)),
            path,
        }
    }

    /// The build to compute with; `None` leaves the choice to llama.cpp.
    #[must_use]
    pub fn build(&self) -> Option<String> {
        self.record()?.build
    }

    /// What was measured on this machine, llama.cpp's own choice first; nothing where that is still to come.
    #[must_use]
    pub fn speeds(&self) -> Vec<Speed> {
        self.record().map_or_else(Vec::new, |record| record.speeds)
    }

    fn record(&self) -> Option<Record> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// Keeps what was measured. A file that cannot be written only means that it is measured again.
    fn keep(&self, speeds: Vec<Speed>) -> Option<String> {
        let record = Record {
            processor: processor(),
            version: VERSION.to_owned(),
            build: fastest(&speeds),
            speeds,
        };
        let written = serde_json::to_vec_pretty(&record)
            .map_err(std::io::Error::other)
            .and_then(|text| {
                if let Some(folder) = self.path.parent() {
                    std::fs::create_dir_all(folder)?;
                }
                satchel_sync::durable::write(&self.path, &text)
            });
        if let Err(error) = written {
            tracing::warn!(%error, "what was measured of the processor could not be kept");
        }
        let build = record.build.clone();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(record);
        build
    }
}

impl Record {
    fn is_of_here(&self) -> bool {
        self.processor == processor() && self.version == VERSION
    }
}

/// Measures once, where a model rests and nothing is known yet. Whoever wants a model meanwhile gets it at once.
pub(super) async fn when_resting(shared: &Arc<Shared>) {
    let models = &shared.models;
    let rests = models.idle_for().await.is_some_and(|idle| idle >= REST);
    if !rests || !models.calibration().speeds().is_empty() {
        return;
    }
    let before = models.last_used();
    let somebody_asks = async {
        while models.last_used() == before {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    // Two models at once may be more than memory holds, and the one that rests comes back warm.
    warm::put_away(shared).await;
    models.unload_unused().await;
    let measured = tokio::select! {
        measured = speeds(models, |_, _| ()) => measured,
        () = somebody_asks => return,
    };
    match measured {
        Ok(speeds) => match keep(models, speeds).await {
            Ok(build) => tracing::debug!(?build, "the processor was measured"),
            Err(failure) => tracing::warn!(%failure, "what was measured is lost"),
        },
        Err(failure) => tracing::debug!(%failure, "the processor could not be measured"),
    }
}

/// Measures now, and keeps it. Gives what came out in words.
///
/// # Errors
/// When there is no chat model, or it cannot be run.
pub async fn measure(models: &Arc<ModelHost>, emitter: &Emitter) -> Result<String, Failure> {
    let mut meter = Meter::new(emitter, Stage::Measuring, 0);
    models.unload_unused().await;
    let speeds = tokio::select! {
        speeds = speeds(models, |done, total| meter.at(done, total)) => speeds?,
        () = emitter.cancelled() => return Err(Failure::new(FailureKind::Cancelled, "Stopped.")),
    };
    let build = keep(models, speeds.clone()).await?;
    // What runs was started with another build.
    models.unload_unused().await;
    Ok(words(&speeds, build.as_deref()))
}

async fn keep(models: &Arc<ModelHost>, speeds: Vec<Speed>) -> Result<Option<String>, Failure> {
    let models = Arc::clone(models);
    tokio::task::spawn_blocking(move || models.calibration().keep(speeds))
        .await
        .map_err(failure::of_panic)
}

/// What came out, for people.
#[must_use]
pub fn words(speeds: &[Speed], build: Option<&str>) -> String {
    let mut text = String::new();
    for speed in speeds {
        text += &format!(
            "{}: reads {:.0} and writes {:.0} tokens per second.\n",
            speed.build, speed.reads_per_s, speed.writes_per_s
        );
    }
    match (build, speeds.first()) {
        (Some(build), _) => text + &format!("Models compute with {build} from now on."),
        (None, Some(first)) => {
            text + &format!("Models compute with {}, as llama.cpp chooses.", first.build)
        }
        (None, None) => text,
    }
}

/// Tries every build that may be the fastest, in turn and twice, since other programs work as well.
async fn speeds(
    models: &ModelHost,
    mut progress: impl FnMut(u64, u64),
) -> Result<Vec<Speed>, Failure> {
    let own = models.engine_to_measure(None).await?;
    let info = own.info().await.map_err(failure::of_engine)?;
    let there = processor_builds(models.program());
    let others = CANDIDATES
        .iter()
        .filter(|build| **build != info.variant && there.iter().any(|name| name == *build));
    let others: Vec<String> = others.map(|build| (*build).to_owned()).collect();
    let builds: Vec<String> = std::iter::once(info.variant).chain(others).collect();
    own.unload().await;

    let mut best: Vec<Option<Speed>> = vec![None; builds.len()];
    let total = (builds.len() * ROUNDS) as u64;
    for round in 0..ROUNDS {
        for (index, build) in builds.iter().enumerate() {
            progress((round * builds.len() + index) as u64, total);
            let known = best[index].take();
            // One that did not run in the first round does not run in the second.
            if round > 0 && known.is_none() {
                continue;
            }
            let engine = models.engine_to_measure(Some(build)).await?;
            let speed = speed_of(&engine, build).await;
            engine.unload().await;
            best[index] = match speed {
                Ok(Some(speed)) => Some(faster(known, speed)),
                Ok(None) => None,
                Err(error) if index == 0 => return Err(failure::of_engine(error)),
                // This processor cannot run it after all.
                Err(_) => None,
            };
        }
    }
    progress(total, total);
    Ok(best.into_iter().flatten().collect())
}

fn faster(known: Option<Speed>, speed: Speed) -> Speed {
    match known {
        Some(known) if known.seconds() <= speed.seconds() => known,
        _ => speed,
    }
}

/// How fast a model is in this worker; `None` where it computes with another build than was asked for.
async fn speed_of(engine: &EngineHandle, build: &str) -> Result<Option<Speed>, EngineError> {
    if engine.info().await?.variant != build {
        return Ok(None);
    }
    // Too few cannot be divided by: the model had nothing to say.
    let enough = |usage: &TokenUsage| usage.output_tokens >= 4 && usage.output_ms > 0.0;
    let Some(usage) = run(engine).await?.filter(enough) else {
        return Ok(None);
    };
    Ok(Some(Speed {
        build: build.to_owned(),
        reads_per_s: usage.prompt_tokens as f64 * 1000.0 / usage.prompt_ms,
        writes_per_s: usage.output_tokens as f64 * 1000.0 / usage.output_ms,
    }))
}

async fn run(engine: &EngineHandle) -> Result<Option<TokenUsage>, EngineError> {
    let content = format!("{}\nTell how it goes on, in many words.", STORY.repeat(8));
    let mut stream = engine
        .generate(GenerateRequest {
            messages: vec![ChatMessage::new(ChatRole::User, content)],
            sampling: Sampling::greedy(),
            max_output_tokens: 24,
            thinking: Thinking::Off,
            stop: Vec::new(),
            form: AnswerForm::Free,
        })
        .await?;
    let mut usage = None;
    while let Some(event) = stream.next().await {
        if let StreamEvent::Finished { usage: of_all, .. } = event? {
            usage = Some(of_all);
        }
    }
    Ok(usage)
}

/// The build to prefer to llama.cpp's own choice, which is the first: it must be clearly faster, for two runs differ by
/// some hundredths on a machine that does other things, too.
fn fastest(speeds: &[Speed]) -> Option<String> {
    let own = speeds.first()?;
    let best = speeds
        .iter()
        .min_by(|one, other| one.seconds().total_cmp(&other.seconds()))?;
    (best.seconds() * CLEARLY < own.seconds()).then(|| best.build.clone())
}

/// The processor, as the system names it.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

const FILE: &str = "processor.json";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Builds that differ in what makes one faster than another: matrix units, wide vectors with instructions for
/// small numbers, the same of half the width. Those between them compute as one of these.
const CANDIDATES: [&str; 5] = ["sapphirerapids", "zen4", "icelake", "alderlake", "haswell"];
const ROUNDS: usize = 2;
const CLEARLY: f64 = 1.05;
/// A question with its passages, and an answer.
const PROMPT_TOKENS: f64 = 1100.0;
const ANSWER_TOKENS: f64 = 100.0;
/// Nobody asks in the middle of a conversation after so long, and a window is often open for longer.
const REST: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Some 30 tokens.
const STORY: &str = "The old bridge over the river was closed for repairs in spring, and the boats that used to pass \
    below it waited at the quay until the water fell. ";

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(build: &str, reads_per_s: f64, writes_per_s: f64) -> Speed {
        Speed {
            build: build.to_owned(),
            reads_per_s,
            writes_per_s,
        }
    }

    #[test]
    fn another_build_must_be_clearly_faster() {
        let own = speed("zen4", 300.0, 100.0);
        assert_eq!(fastest(&[]), None);
        assert_eq!(fastest(std::slice::from_ref(&own)), None);
        let a_little = speed("icelake", 306.0, 102.0);
        assert_eq!(fastest(&[own.clone(), a_little]), None);
        let clearly = speed("haswell", 350.0, 110.0);
        let slower = speed("icelake", 310.0, 80.0);
        assert_eq!(fastest(&[own, slower, clearly]), Some("haswell".to_owned()));
    }

    #[test]
    fn what_was_measured_is_kept_for_this_processor_and_version() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let calibration = Calibration::open(&state);
        assert_eq!((calibration.build(), calibration.speeds().len()), (None, 0));
        let speeds = vec![speed("zen4", 300.0, 50.0), speed("icelake", 300.0, 90.0)];
        let build = calibration.keep(speeds.clone());
        assert_eq!(build.as_deref(), Some("icelake"));
        let again = Calibration::open(&state);
        assert_eq!((again.build(), again.speeds()), (build, speeds));

        let file = state.join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        for (from, to) in [
            (processor().as_str(), "another"),
            (VERSION, "0.0.0"),
            ("{", ""),
        ] {
            std::fs::write(&file, text.replace(from, to)).unwrap();
            assert_eq!(Calibration::open(&state).build(), None, "{from}");
        }
    }

    #[test]
    fn it_is_told_in_words() {
        let speeds = [speed("zen4", 300.4, 50.0), speed("icelake", 301.0, 90.0)];
        let told = words(&speeds, Some("icelake"));
        assert!(told.starts_with("zen4: reads 300 and writes 50 tokens per second.\nicelake:"));
        assert!(told.ends_with("Models compute with icelake from now on."));
        assert!(words(&speeds, None).ends_with("Models compute with zen4, as llama.cpp chooses."));
    }
}
