//! A collection imported into a backend of its own, and the rankings that its searches give.
//!
//! Ranks documents by their best passage; never asks the chat model. Start at [`Indexed::import`].

use std::collections::HashSet;
use std::path::PathBuf;

use satchel_app::backend::Backend;
use satchel_app::backend::answer::HITS;
use satchel_app::backend::{jobs, retrieve};
use satchel_app::message::{Command, DocumentSummary, Event, Progress, Reply, SearchMode};
use tempfile::TempDir;

use super::collection::Collection;
use super::metrics::{DEPTH, Scores};
use crate::in_process;

/// Passages asked for per search: enough to hold [`DEPTH`] documents, whose passages are two on average in the
/// collections (an abstract of 200 words is one or two) and at most a dozen.
const PASSAGES: usize = 4 * DEPTH;

/// A collection in a backend that holds nothing else.
pub struct Indexed {
    /// What was imported.
    pub collection: Collection,
    /// The backend.
    pub backend: Backend,
    folder: PathBuf,
    _data: TempDir,
}

impl Indexed {
    /// Writes the documents to a temporary folder and imports them, embeddings included. Says on stderr how far
    /// it is; takes minutes for a thousand documents.
    ///
    /// # Panics
    /// When the temporary folder is not writable or the import fails.
    pub async fn import(collection: Collection) -> Self {
        let data = tempfile::tempdir().expect("a temporary folder");
        // The backend names files by their real path.
        let root = data.path().canonicalize().expect("a temporary folder");
        let folder = root.join("papers");
        for document in &collection.documents {
            let path = folder.join(&document.path);
            std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder");
            std::fs::write(path, &document.bytes).expect("a file");
        }
        let backend = in_process::open(&root.join("satchel")).await;
        in_process::run(&backend, in_process::import_of(&folder, false), |event| {
            show_progress(collection.name, &event);
        })
        .await;
        eprintln!();
        Self {
            collection,
            backend,
            folder,
            _data: data,
        }
    }

    /// The documents found for a question, best first, each once.
    ///
    /// # Panics
    /// When the search fails.
    pub async fn rank(&self, question: &str, mode: SearchMode) -> Vec<String> {
        let search = Command::Search {
            query: question.to_owned(),
            limit: PASSAGES,
            mode,
            thorough: false,
        };
        let Reply::Hits(report) = in_process::run(&self.backend, search, |_| ()).await else {
            panic!("a search gave no hits")
        };
        assert_eq!(report.mode, mode, "the search fell back to another mode");
        let hits = report.hits.iter();
        first_of_each(hits.filter_map(|hit| self.name_of(hit.path.as_deref())))
    }

    /// The mean scores over the collection's questions.
    ///
    /// # Panics
    /// When a search fails.
    pub async fn scores(&self, mode: SearchMode) -> Scores {
        let mut all = Vec::new();
        for question in &self.collection.questions {
            let ranking = self.rank(&question.text, mode).await;
            all.push(Scores::of(&ranking, &question.relevant));
        }
        Scores::mean(&all)
    }

    /// How many of the questions would be refused before anything is generated.
    ///
    /// # Panics
    /// When a search fails.
    pub async fn refused(&self, questions: &[String]) -> usize {
        let mut refused = 0;
        for question in questions {
            let (emitter, _events) = jobs::channel();
            let found = retrieve::passages(
                self.backend.shared(),
                &emitter,
                question,
                HITS,
                SearchMode::Hybrid,
            )
            .await
            .expect("the search succeeds");
            refused += usize::from(!retrieve::can_answer(question, &found.hits));
        }
        refused
    }

    /// The documents as the backend lists them.
    ///
    /// # Panics
    /// When they cannot be listed.
    pub async fn summaries(&self) -> Vec<DocumentSummary> {
        let Reply::Documents(list) =
            in_process::run(&self.backend, Command::Documents, |_| ()).await
        else {
            panic!("no list of documents")
        };
        list
    }

    /// Path of a document within its collection, from the path that the backend gives.
    #[must_use]
    pub fn name_of(&self, path: Option<&str>) -> Option<String> {
        let below = std::path::Path::new(path?)
            .strip_prefix(&self.folder)
            .ok()?;
        Some(below.to_string_lossy().replace('\\', "/"))
    }
}

/// A ranking of passages as one of documents.
#[must_use]
pub fn first_of_each(passages: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    passages
        .filter(|document| seen.insert(document.clone()))
        .collect()
}

fn show_progress(collection: &str, event: &Event) {
    if let Event::Progress(Progress {
        stage, done, total, ..
    }) = event
    {
        eprint!(
            "\r{collection}: {} {done} of {total}        ",
            stage.label()
        );
    }
}
