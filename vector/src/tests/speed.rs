//! How long things take with 20,000 chunks. Prints; bounds hold only where `SATCHEL_BENCH=1` is set,
//! since other machines and other work beside it are slower.

use std::time::{Duration, Instant};

use super::{Random, World, id};
use crate::chunk::Chunk;
use crate::{EmbedderKey, Mode, Query, SourceChunks, VectorStore};

const N_SOURCES: usize = 1_000;
const CHUNKS_PER_SOURCE: usize = 20;
const DIM: usize = 384;

/// Words with the frequencies of a language: the n-th has a share of about 1 / n.
fn text(random: &mut Random, n_words: usize) -> String {
    let word = |random: &mut Random| {
        let rank = (30_000_f64.powf((random.next() >> 11) as f64 / (1_u64 << 53) as f64)) as u64;
        let mut word = String::new();
        let mut rest = rank.wrapping_mul(2_654_435_761) % 10_000_019;
        for _ in 0..2 + rank.ilog10() {
            word.push((b'a' + (rest % 26) as u8) as char);
            word.push(['a', 'e', 'i', 'o', 'u'][(rest / 26 % 5) as usize]);
            rest /= 7;
        }
        word
    };
    (0..n_words)
        .map(|_| word(random))
        .collect::<Vec<_>>()
        .join(" ")
}

fn big_source(random: &mut Random, n: usize) -> SourceChunks {
    let chunks = (0..CHUNKS_PER_SOURCE)
        .map(|index| {
            let text = text(random, 150);
            Chunk {
                index: index as u32,
                range: 0..text.len(),
                heading_path: vec!["Section".into()],
                page: Some(1),
                text,
                context: format!("Document {n}"),
            }
        })
        .collect();
    SourceChunks {
        source: id(n as u32),
        version: "1".into(),
        title: format!("Document {n}"),
        path: String::new(),
        chunks,
    }
}

struct Times(Vec<Duration>);

impl Times {
    fn at(&mut self, share: f64) -> Duration {
        self.0.sort();
        self.0[((self.0.len() - 1) as f64 * share) as usize]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_chunks() {
    let strict = std::env::var_os("SATCHEL_BENCH").is_some();
    // The build takes most of the time; without the wish for figures a tenth will do.
    let n_sources = if strict { N_SOURCES } else { N_SOURCES / 10 };
    let world = World::new();
    let store = world.open().await;
    let key = EmbedderKey {
        id: "wide".into(),
        dim: DIM,
    };
    store.use_embedder(Some(key.clone())).await.unwrap();
    let mut random = Random(1);
    let mut writes = Times(Vec::new());
    for batch in 0..n_sources.div_ceil(64) {
        let sources: Vec<_> = (batch * 64..n_sources.min(batch * 64 + 64))
            .map(|n| big_source(&mut random, n))
            .collect();
        let start = Instant::now();
        store.replace_sources(&sources).await.unwrap();
        writes.0.push(start.elapsed());
    }
    println!(
        "write of 64 sources (1,280 chunks): p50 {:?} max {:?}",
        writes.at(0.5),
        writes.at(1.0)
    );
    let mut inserts = Times(Vec::new());
    loop {
        let start = Instant::now();
        let pending = store.pending_embeddings(512).await.unwrap();
        if pending.is_empty() {
            break;
        }
        let embedded = pending
            .into_iter()
            .map(|p| (p.hash, random.vector(DIM)))
            .collect();
        store.insert_embeddings(embedded).await.unwrap();
        inserts.0.push(start.elapsed());
    }
    println!(
        "512 embeddings, with asking for them: p50 {:?} max {:?}",
        inserts.at(0.5),
        inserts.at(1.0)
    );

    measure(&store, &mut random, "right after the import").await;
    let start = Instant::now();
    store.optimize().await.unwrap();
    println!("optimize: {:?}", start.elapsed());
    let mut hybrid = measure(&store, &mut random, "optimized").await;
    let start = Instant::now();
    store
        .replace_sources(&[big_source(&mut random, 3)])
        .await
        .unwrap();
    println!("one source replaced: {:?}", start.elapsed());
    measure(&store, &mut random, "with a tail of 20 chunks").await;
    println!("{:?}", store.stats().await.unwrap());
    store.close().await.unwrap();

    let mut cold = Times(Vec::new());
    for _ in 0..5 {
        let start = Instant::now();
        let (store, _) = VectorStore::open(&world.dir()).await.unwrap();
        let opened = start.elapsed();
        store.use_embedder(Some(key.clone())).await.unwrap();
        let used = start.elapsed();
        let n = store
            .search(&question(&mut random, Mode::Hybrid))
            .await
            .unwrap()
            .len();
        println!(
            "cold: open {opened:?}, embedder {used:?}, {n} hits {:?}",
            start.elapsed()
        );
        cold.0.push(start.elapsed());
    }
    if strict {
        assert!(
            hybrid.at(0.95) < Duration::from_millis(30),
            "p95 {:?}",
            hybrid.at(0.95)
        );
        assert!(
            cold.at(0.5) < Duration::from_millis(150),
            "cold {:?}",
            cold.at(0.5)
        );
    }
}

fn question(random: &mut Random, mode: Mode) -> Query {
    Query {
        text: format!("what is the {} of {}", text(random, 2), text(random, 4)),
        embedding: Some(random.vector(DIM)),
        mode,
        limit: 10,
        sources: None,
    }
}

async fn measure(store: &VectorStore, random: &mut Random, when: &str) -> Times {
    let mut last = Times(Vec::new());
    for mode in [Mode::Lexical, Mode::Vector, Mode::Hybrid] {
        let mut times = Times(Vec::new());
        for i in 0..110 {
            let query = question(random, mode);
            let start = Instant::now();
            let hits = store.search(&query).await.unwrap();
            assert!(mode == Mode::Lexical || hits.len() == 10);
            if i >= 10 {
                times.0.push(start.elapsed());
            }
        }
        println!(
            "{when}: {mode:?} p50 {:?} p95 {:?} max {:?}",
            times.at(0.5),
            times.at(0.95),
            times.at(1.0)
        );
        last = times;
    }
    last
}
