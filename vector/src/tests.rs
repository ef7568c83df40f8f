//! Tests of the whole index: a real LanceDB in a temporary folder, vectors from a fake embedder.

mod damage;
mod quality;
mod search;
mod speed;
mod writing;

use std::path::{Path, PathBuf};

use crate::chunk::{ChunkInput, TextKind, chunks};
use crate::{ChunkHash, EmbedderKey, Hit, Mode, Query, SourceChunks, SourceId, VectorStore};

const DIM: usize = 64;

/// A folder for an index, and a fake embedder.
struct World {
    home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("index")
    }

    /// Opens the index with the usual embedder.
    async fn open(&self) -> VectorStore {
        let (store, report) = VectorStore::open(&self.dir()).await.unwrap();
        assert_eq!(report.damage, None);
        store.use_embedder(Some(embedder("fake"))).await.unwrap();
        store
    }

    /// Names of everything set aside beside the index.
    fn set_aside(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.home.path()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("damaged")).collect()
    }
}

fn embedder(id: &str) -> EmbedderKey {
    EmbedderKey {
        id: id.to_owned(),
        dim: DIM,
    }
}

fn id(n: u32) -> SourceId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    SourceId(id)
}

/// A source of plain text, one chunk per paragraph that is long enough.
fn source(n: u32, text: &str) -> SourceChunks {
    let title = format!("Title {n}");
    let input = ChunkInput {
        title: &title,
        kind: TextKind::Markdown,
        text,
        paged: false,
    };
    SourceChunks {
        source: id(n),
        version: ChunkHash::of(text).to_string(),
        chunks: chunks(&input),
        path: format!("/documents/{n}.md"),
        title,
    }
}

/// Pseudo-random numbers, the same on every machine (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Roughly normal: the sum of four even ones.
    fn normal(&mut self) -> f32 {
        (0..4)
            .map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32 - 0.5)
            .sum()
    }

    fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.normal()).collect()
    }
}

/// An embedding in which texts with common words are near each other.
fn embed(text: &str) -> Vec<f32> {
    let mut sum = vec![0.01; DIM];
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let hash = ChunkHash::of(&word.to_lowercase());
        let seed = u64::from_be_bytes(hash.0[..8].try_into().unwrap());
        for (total, v) in sum.iter_mut().zip(Random(seed).vector(DIM)) {
            *total += v;
        }
    }
    sum
}

/// Embeds all that waits; returns the texts.
async fn embed_pending(store: &VectorStore) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let pending = store.pending_embeddings(100).await.unwrap();
        if pending.is_empty() {
            return texts;
        }
        let embedded = pending.iter().map(|p| (p.hash, embed(&p.text))).collect();
        store.insert_embeddings(embedded).await.unwrap();
        texts.extend(pending.into_iter().map(|p| p.text));
    }
}

async fn find(store: &VectorStore, mode: Mode, text: &str) -> Vec<Hit> {
    let embedding = (mode != Mode::Lexical).then(|| embed(text));
    let query = Query {
        text: text.to_owned(),
        embedding,
        mode,
        limit: 10,
        sources: None,
    };
    store.search(&query).await.unwrap()
}

/// The sources of hits, in order, each once.
fn sources(hits: &[Hit]) -> Vec<SourceId> {
    let mut all: Vec<SourceId> = hits.iter().map(|hit| hit.source).collect();
    all.dedup();
    all
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Three small documents about different things.
fn three() -> [SourceChunks; 3] {
    [
        source(
            1,
            "# Wings\n\nThe boundary layer on a swept wing becomes turbulent near the leading edge.",
        ),
        source(
            2,
            "# Rent\n\nThe tenant pays the rent on the third working day of each month.",
        ),
        source(
            3,
            "# Soup\n\nSimmer the onions slowly in butter before the stock is added.",
        ),
    ]
}
