//! Quality of search on the Cranfield collection: lexical, vector, hybrid, and vector search beside an
//! independent implementation of the same model on the same chunks.
//!
//! `make bench BENCH=cranfield`. Needs the collection (see `satchel_tests::data`); the independent ranking needs
//! `SATCHEL_BENCH_EMBEDDER_DIR`, the folder with the embedder's `model.safetensors` and `vocab.txt`, and Python with
//! numpy and safetensors.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use satchel_app::backend::Backend;
use satchel_app::backend::unlock::{NewKey, Unlock};
use satchel_app::backend::workspaces::WorkspaceChoice;
use satchel_app::config::{DataDirs, Settings};
use satchel_app::message::{Command, Reply, SearchMode};
use satchel_tests::bench::{Row, print};
use satchel_tests::{models_dir, repository, satchel_bin};
use satchel_vector::chunk::{ChunkInput, TextKind, chunks};

/// Chunks asked for per query: several may belong to one abstract, and ten abstracts are judged.
const LIMIT: usize = 60;

struct Collection {
    /// Number, title and text of each abstract.
    abstracts: Vec<(u32, String)>,
    queries: Vec<String>,
    /// Relevant abstracts of each query, by its place in `queries`.
    relevant: Vec<HashSet<u32>>,
}

fn main() {
    let Some(folder) = satchel_tests::data("cranfield") else {
        return;
    };
    let collection = read(&folder);
    let data = tempfile::tempdir().expect("a temporary folder");
    let papers = data.path().join("papers");
    std::fs::create_dir_all(&papers).expect("a folder");
    for (number, text) in &collection.abstracts {
        std::fs::write(papers.join(format!("{number}.txt")), text).expect("a file");
    }
    let runtime = satchel_app::backend::runtime::build().expect("threads");
    let mut rows = Vec::new();
    let mut scores = HashMap::new();
    let mut titles = HashMap::new();
    runtime.block_on(async {
        let backend = open(data.path()).await;
        let import = Command::Import {
            paths: vec![papers],
            prune: false,
            skip_embeddings: false,
        };
        backend
            .submit(import)
            .finish(|_| ())
            .await
            .expect("imported");
        for (name, mode) in [
            ("lexical", SearchMode::Lexical),
            ("vector", SearchMode::Vector),
            ("hybrid", SearchMode::Hybrid),
        ] {
            let mut rankings = Vec::new();
            for query in &collection.queries {
                rankings.push(search(&backend, query, mode).await);
            }
            let score = mean_ndcg(&collection, &rankings);
            scores.insert(name, score);
            rows.push(Row::new(format!("{name}, nDCG@10"), vec![score]));
        }
        titles = document_titles(&backend).await;
        backend.close().await;
    });
    let better = scores["lexical"].max(scores["vector"]);
    rows.push(
        Row::new(
            "hybrid − better of its parts",
            vec![scores["hybrid"] - better],
        )
        .at_least(0.0),
    );
    if let Some(independent) = independent_ranking(&collection, &titles) {
        let theirs = mean_ndcg(&collection, &independent);
        rows.push(Row::new(
            "vector by the independent implementation, nDCG@10",
            vec![theirs],
        ));
        rows.push(
            Row::new(
                "distance between the two",
                vec![(scores["vector"] - theirs).abs()],
            )
            .at_most(0.01),
        );
    } else {
        println!(
            "no independent ranking: set SATCHEL_BENCH_EMBEDDER_DIR (see tests/benches/cranfield.rs)"
        );
    }
    print(
        "Cranfield, 1,400 abstracts, 225 queries, every judged abstract relevant",
        &rows,
    );
}

async fn open(data: &Path) -> Backend {
    let mut dirs = DataDirs::find(Some(data));
    dirs.program = satchel_bin();
    dirs.models = models_dir();
    let unlock = Unlock::new(std::sync::Arc::new(|_| None), NewKey::PlainFile);
    let which = WorkspaceChoice::Current;
    Backend::open(dirs, Settings::default(), unlock, &which)
        .await
        .expect("a backend")
}

/// The titles under which the abstracts are indexed: they are part of what is embedded.
async fn document_titles(backend: &Backend) -> HashMap<u32, String> {
    let Ok(Reply::Documents(documents)) = backend.submit(Command::Documents).finish(|_| ()).await
    else {
        panic!("no list")
    };
    documents
        .into_iter()
        .filter_map(|document| Some((number_of(document.path.as_deref()?)?, document.title)))
        .collect()
}

fn number_of(path: &str) -> Option<u32> {
    Path::new(path).file_stem()?.to_str()?.parse().ok()
}

/// Numbers of abstracts, best first.
async fn search(backend: &Backend, query: &str, mode: SearchMode) -> Vec<u32> {
    let command = Command::Search {
        query: query.to_owned(),
        limit: LIMIT,
        mode,
    };
    let Ok(Reply::Hits(report)) = backend.submit(command).finish(|_| ()).await else {
        panic!("the search failed")
    };
    first_of_each(
        report
            .hits
            .iter()
            .filter_map(|hit| number_of(hit.path.as_deref()?)),
    )
}

fn first_of_each(ranking: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut seen = HashSet::new();
    ranking.filter(|number| seen.insert(*number)).collect()
}

fn independent_ranking(
    collection: &Collection,
    titles: &HashMap<u32, String>,
) -> Option<Vec<Vec<u32>>> {
    let folder = std::env::var_os("SATCHEL_BENCH_EMBEDDER_DIR")?;
    let mut texts = Vec::new();
    let mut owners = Vec::new();
    for (number, text) in &collection.abstracts {
        // Two abstracts are empty and one stands twice: they are not in the index either.
        let Some(title) = titles.get(number) else {
            continue;
        };
        for chunk in chunks(&ChunkInput {
            title,
            kind: TextKind::Plain,
            text,
            paged: false,
        }) {
            texts.push(if chunk.context.is_empty() {
                chunk.text
            } else {
                format!("{}\n{}", chunk.context, chunk.text)
            });
            owners.push(*number);
        }
    }
    let task =
        serde_json::json!({ "chunks": texts, "queries": collection.queries, "limit": LIMIT });
    let mut python = Process::new("python3")
        .arg(repository::root().join("tests/peers/rank_with_minilm.py"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    python
        .stdin
        .take()?
        .write_all(task.to_string().as_bytes())
        .ok()?;
    let output = python.wait_with_output().ok()?;
    let rankings: Vec<Vec<usize>> = serde_json::from_slice(&output.stdout).ok()?;
    Some(
        rankings
            .into_iter()
            .map(|ranking| first_of_each(ranking.into_iter().map(|chunk| owners[chunk])))
            .collect(),
    )
}

fn mean_ndcg(collection: &Collection, rankings: &[Vec<u32>]) -> f64 {
    let judged: Vec<f64> = rankings
        .iter()
        .zip(&collection.relevant)
        .filter(|(_, relevant)| !relevant.is_empty())
        .map(|(ranking, relevant)| ndcg(ranking, relevant))
        .collect();
    judged.iter().sum::<f64>() / judged.len() as f64
}

/// nDCG@10 with gains of 0 and 1 (Järvelin and Kekäläinen, 2002).
fn ndcg(ranking: &[u32], relevant: &HashSet<u32>) -> f64 {
    let discount = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
    let gained: f64 = ranking
        .iter()
        .take(10)
        .enumerate()
        .filter(|(_, number)| relevant.contains(number))
        .map(|(rank, _)| discount(rank))
        .sum();
    let ideal: f64 = (0..relevant.len().min(10)).map(discount).sum();
    gained / ideal
}

fn read(folder: &Path) -> Collection {
    let text = |name: &str| {
        std::fs::read_to_string(folder.join(name)).expect("the collection is complete")
    };
    let abstracts = records(&text("cran.all.1400"))
        .into_iter()
        .map(|(number, fields)| {
            (
                number,
                format!(
                    "{}\n\n{}",
                    fields.get("T").map_or("", String::as_str),
                    fields["W"]
                ),
            )
        })
        .collect();
    let queries: Vec<String> = records(&text("cran.qry"))
        .into_iter()
        .map(|(_, fields)| fields["W"].clone())
        .collect();
    let mut relevant = vec![HashSet::new(); queries.len()];
    for line in text("cranqrel").lines() {
        let mut numbers = line
            .split_whitespace()
            .filter_map(|word| word.parse::<u32>().ok());
        if let (Some(query), Some(found)) = (numbers.next(), numbers.next()) {
            // Judgements count the queries in file order, from 1.
            relevant[query as usize - 1].insert(found);
        }
    }
    Collection {
        abstracts,
        queries,
        relevant,
    }
}

/// Records of the SMART format: `.I 7` starts one, `.W` and its like start a field.
fn records(text: &str) -> Vec<(u32, HashMap<String, String>)> {
    let mut records: Vec<(u32, HashMap<String, String>)> = Vec::new();
    let mut field = String::new();
    for line in text.lines() {
        if let Some(number) = line.strip_prefix(".I ") {
            records.push((
                number.trim().parse().expect("a number"),
                HashMap::from([("W".to_owned(), String::new())]),
            ));
        } else if let Some(name) = line.strip_prefix('.').filter(|name| name.len() == 1) {
            field = name.to_owned();
        } else if let Some((_, fields)) = records.last_mut() {
            let value = fields.entry(field.clone()).or_default();
            value.push_str(line);
            value.push('\n');
        }
    }
    records
}
