//! The scan of rounded codes against exact vectors.

use super::{Random, World, id};
use crate::chunk::Chunk;
use crate::resident::dot;
use crate::{EmbedderKey, Mode, Query, SourceChunks};

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = dot(&vector, &vector).sqrt();
    vector.iter_mut().for_each(|v| *v /= length);
    vector
}

/// Vectors in clusters, as those of texts are: even ones would be too easy.
#[tokio::test]
async fn the_nearest_are_found_as_by_exact_search() {
    const N: usize = 5_000;
    const DIM: usize = 384;
    let seed = 7;
    let mut random = Random(seed);
    let centres: Vec<Vec<f32>> = (0..50).map(|_| random.vector(DIM)).collect();
    let near = |random: &mut Random| {
        let centre = &centres[random.below(centres.len())];
        unit(centre.iter().map(|c| c + 0.5 * random.normal()).collect())
    };
    let vectors: Vec<Vec<f32>> = (0..N).map(|_| near(&mut random)).collect();
    let world = World::new();
    let store = world.open().await;
    store
        .use_embedder(Some(EmbedderKey {
            id: "wide".into(),
            dim: DIM,
        }))
        .await
        .unwrap();
    let chunks = (0..N as u32)
        .map(|n| Chunk {
            index: n,
            range: 0..1,
            heading_path: Vec::new(),
            page: None,
            text: n.to_string(),
            context: String::new(),
        })
        .collect();
    let source = SourceChunks {
        source: id(1),
        version: "1".into(),
        title: "".into(),
        path: "".into(),
        chunks,
    };
    store.replace_sources(&[source]).await.unwrap();
    let pending = store.pending_embeddings(N).await.unwrap();
    let embedded = pending
        .iter()
        .map(|p| (p.hash, vectors[p.text.parse::<usize>().unwrap()].clone()))
        .collect();
    store.insert_embeddings(embedded).await.unwrap();

    let (mut found, mut wanted) = (0, 0);
    for _ in 0..200 {
        let question = near(&mut random);
        let mut exact: Vec<(f32, u32)> = (0..)
            .zip(&vectors)
            .map(|(n, v)| (dot(v, &question), n))
            .collect();
        exact.sort_by(|a, b| b.0.total_cmp(&a.0));
        let query = Query {
            embedding: Some(question),
            mode: Mode::Vector,
            limit: 10,
            ..Query::default()
        };
        let hits = store.search(&query).await.unwrap();
        for (hit, (cosine, _)) in hits.iter().zip(&exact) {
            assert!((hit.cosine.unwrap() - cosine).abs() < 1e-5, "seed {seed}");
        }
        let best: Vec<u32> = exact[..10].iter().map(|(_, n)| *n).collect();
        found += hits
            .iter()
            .filter(|hit| best.contains(&hit.chunk_index))
            .count();
        wanted += 10;
    }
    assert!(
        found as f64 >= 0.999 * f64::from(wanted),
        "recall {found} of {wanted}, seed {seed}"
    );
}
