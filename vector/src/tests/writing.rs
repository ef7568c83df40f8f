//! Replacing, deleting, embedding, reopening.

use std::sync::Arc;

use super::{World, embed, embed_pending, embedder, files, find, id, source, sources, three};
use crate::{ChunkHash, EmbedderKey, Mode, StoreError, VectorStore};

/// Sections of a document, long enough to be chunks of their own.
fn sections(topics: &[&str]) -> String {
    topics
        .iter()
        .map(|topic| {
            format!(
                "# {topic}\n\n{}\n\n",
                format!("A sentence about {topic}. ").repeat(12)
            )
        })
        .collect()
}

#[tokio::test]
async fn sources_are_replaced_and_deleted() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    assert_eq!(store.source_versions().await.unwrap().len(), 3);
    store
        .replace_sources(&[source(2, "Nothing about money any more.")])
        .await
        .unwrap();
    assert!(find(&store, Mode::Lexical, "rent").await.is_empty());
    assert_eq!(
        sources(&find(&store, Mode::Lexical, "money").await),
        [id(2)]
    );
    assert_eq!(
        store.source_versions().await.unwrap()[&id(2)],
        source(2, "Nothing about money any more.").version
    );
    store.delete_sources(&[id(1), id(99)]).await.unwrap();
    assert!(find(&store, Mode::Lexical, "wing").await.is_empty());
    assert_eq!(store.source_versions().await.unwrap().len(), 2);
    store.delete_sources(&[id(2), id(3)]).await.unwrap();
    assert!(store.source_versions().await.unwrap().is_empty());
    assert!(find(&store, Mode::Lexical, "money").await.is_empty());
    // The text index of a table that was emptied must not stay empty.
    store.replace_sources(&three()).await.unwrap();
    assert_eq!(sources(&find(&store, Mode::Lexical, "rent").await), [id(2)]);
}

#[tokio::test]
async fn chunks_come_back_as_they_were_given() {
    let world = World::new();
    let store = world.open().await;
    let text = sections(&["wings", "soup", "rent", "law"]);
    let given = source(1, &text);
    store
        .replace_sources(&[given.clone(), source(2, "x")])
        .await
        .unwrap();
    let stored = store.chunks_of(id(1)).await.unwrap();
    assert_eq!(stored.len(), given.chunks.len());
    for (stored, chunk) in stored.iter().zip(&given.chunks) {
        assert_eq!(
            (stored.chunk_index, &stored.range, &stored.text),
            (chunk.index, &chunk.range, &chunk.text)
        );
        assert_eq!(
            (&stored.heading_path, stored.page),
            (&chunk.heading_path, chunk.page)
        );
        assert_eq!(stored.text, text[stored.range.clone()]);
    }
    assert!(store.chunks_of(id(3)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_replacement_is_one_commit() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    let commits = || {
        files(&world.dir())
            .iter()
            .filter(|f| f.extension().is_some_and(|e| e == "manifest"))
            .count()
    };
    let before = commits();
    store
        .replace_sources(&[source(1, "One new text."), source(2, "Another.")])
        .await
        .unwrap();
    assert_eq!(commits(), before + 1);
    store.delete_sources(&[id(1)]).await.unwrap();
    assert_eq!(commits(), before + 2);
}

#[tokio::test]
async fn equal_text_is_embedded_once() {
    let world = World::new();
    let store = world.open().await;
    // The same title, so that the embedded texts are equal too.
    let twin = |n: u32| crate::SourceChunks {
        source: id(n),
        ..source(1, &sections(&["wings", "soup"]))
    };
    store.replace_sources(&[twin(1), twin(2)]).await.unwrap();
    let texts = embed_pending(&store).await;
    assert_eq!(texts.len(), 2);
    let stats = store.stats().await.unwrap();
    assert_eq!(
        (
            stats.sources,
            stats.chunks,
            stats.distinct_chunks,
            stats.embedded
        ),
        (2, 4, 2, 2)
    );
    assert!(store.bytes_on_disk() > 1000);
    let hits = find(&store, Mode::Vector, "soup").await;
    assert_eq!(hits.len(), 4, "one embedding stands for both");
    assert_eq!(
        (hits[0].source, hits[1].source, hits[0].cosine),
        (id(1), id(2), hits[1].cosine)
    );
}

#[tokio::test]
async fn only_what_changed_is_embedded_again() {
    let world = World::new();
    let store = world.open().await;
    store
        .replace_sources(&[source(1, &sections(&["wings", "soup", "rent"]))])
        .await
        .unwrap();
    assert_eq!(embed_pending(&store).await.len(), 3);
    store
        .replace_sources(&[source(1, &sections(&["wings", "salad", "rent"]))])
        .await
        .unwrap();
    let texts = embed_pending(&store).await;
    assert_eq!(texts.len(), 1);
    assert!(
        texts[0].starts_with("Title 1\nsalad\n# salad"),
        "{}",
        texts[0]
    );
    assert!(
        find(&store, Mode::Vector, "soup")
            .await
            .iter()
            .all(|hit| !hit.text.contains("soup"))
    );
    // Back again: the old embedding is still there.
    store
        .replace_sources(&[source(1, &sections(&["wings", "soup", "rent"]))])
        .await
        .unwrap();
    assert!(embed_pending(&store).await.is_empty());
}

#[tokio::test]
async fn pending_texts_are_sorted_by_length() {
    let world = World::new();
    let store = world.open().await;
    store
        .replace_sources(&[
            source(1, "A longer text than the other."),
            source(2, "Short."),
        ])
        .await
        .unwrap();
    let pending = store.pending_embeddings(10).await.unwrap();
    assert_eq!(pending[0].text, "Title 2\nShort.");
    assert_eq!(pending[0].hash, ChunkHash::of(&pending[0].text));
    assert_eq!(store.pending_embeddings(1).await.unwrap().len(), 1);
    store.use_embedder(None).await.unwrap();
    assert!(store.pending_embeddings(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_embedder_builds_beside() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    embed_pending(&store).await;
    let other = EmbedderKey {
        id: "other".into(),
        dim: 3,
    };
    store.use_embedder(Some(other.clone())).await.unwrap();
    let pending = store.pending_embeddings(10).await.unwrap();
    assert_eq!(pending.len(), 3);
    store
        .insert_embeddings(
            pending
                .iter()
                .map(|p| (p.hash, vec![1.0, 2.0, 2.0]))
                .collect(),
        )
        .await
        .unwrap();
    assert_eq!(store.stats().await.unwrap().embedded, 3);
    store.use_embedder(Some(embedder("fake"))).await.unwrap();
    assert!(store.pending_embeddings(10).await.unwrap().is_empty());
    assert_eq!(
        find(&store, Mode::Vector, "soup onions").await[0].source,
        id(3)
    );
    store.use_embedder(None).await.unwrap();
    assert_eq!(sources(&find(&store, Mode::Hybrid, "soup").await), [id(3)]);
}

#[tokio::test]
async fn embeddings_are_checked() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    let hash = store.pending_embeddings(1).await.unwrap()[0].hash;
    let insert = |vector: Vec<f32>| store.insert_embeddings(vec![(hash, vector)]);
    assert!(matches!(
        insert(vec![1.0; 3]).await,
        Err(StoreError::WrongDimension {
            expected: 64,
            got: 3
        })
    ));
    assert!(matches!(
        insert(vec![0.0; 64]).await,
        Err(StoreError::BadEmbedding)
    ));
    assert!(matches!(
        insert(vec![f32::NAN; 64]).await,
        Err(StoreError::BadEmbedding)
    ));
    assert_eq!(store.stats().await.unwrap().embedded, 0);
    // Twice in one batch and once more: stored once, and of length 1.
    let same = || vec![(hash, vec![5.0; 64]), (hash, vec![7.0; 64])];
    store.insert_embeddings(same()).await.unwrap();
    store.insert_embeddings(same()).await.unwrap();
    assert_eq!(store.stats().await.unwrap().embedded, 1);
    let query = crate::Query {
        embedding: Some(vec![2.0; 64]),
        mode: Mode::Vector,
        limit: 9,
        ..Default::default()
    };
    let hits = store.search(&query).await.unwrap();
    assert_eq!(hits.len(), 1);
    assert!((hits[0].cosine.unwrap() - 1.0).abs() < 1e-5);
    let bad = EmbedderKey {
        id: "../x".into(),
        dim: 64,
    };
    assert!(matches!(
        store.use_embedder(Some(bad)).await,
        Err(StoreError::InvalidEmbedder { .. })
    ));
    store.use_embedder(None).await.unwrap();
    assert!(matches!(
        insert(vec![1.0; 64]).await,
        Err(StoreError::NoEmbedder)
    ));
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    store.replace_sources(&[source(5, "")]).await.unwrap();
    embed_pending(&store).await;
    let versions = store.source_versions().await.unwrap();
    assert_eq!(versions.len(), 4, "a source without text is known too");
    let hits = find(&store, Mode::Hybrid, "rent day").await;
    // Dropped without closing, then closed properly.
    drop(store);
    for _ in 0..2 {
        let (store, report) = VectorStore::open(&world.dir()).await.unwrap();
        assert_eq!(report, crate::OpenReport::default());
        store.use_embedder(Some(embedder("fake"))).await.unwrap();
        assert_eq!(store.source_versions().await.unwrap(), versions);
        assert_eq!(find(&store, Mode::Hybrid, "rent day").await, hits);
        assert!(store.pending_embeddings(10).await.unwrap().is_empty());
        store.close().await.unwrap();
    }
    assert!(world.set_aside().is_empty());
}

#[tokio::test]
async fn many_small_commits_stay_searchable() {
    let world = World::new();
    let store = world.open().await;
    let text =
        |n: u32, round: u32| format!("Word{n} and round{round} stand in document number {n}.");
    for round in 0..2 {
        for n in 0..60 {
            store
                .replace_sources(&[source(n, &text(n, round))])
                .await
                .unwrap();
            if n % 10 == 0 {
                embed_pending(&store).await;
            }
        }
    }
    embed_pending(&store).await;
    let check = async || {
        for n in [0, 7, 31, 59] {
            assert_eq!(
                sources(&find(&store, Mode::Lexical, &format!("word{n}")).await),
                [id(n)]
            );
            assert_eq!(
                find(&store, Mode::Vector, &text(n, 1)).await[0].source,
                id(n)
            );
            assert_eq!(store.chunks_of(id(n)).await.unwrap()[0].text, text(n, 1));
        }
        assert!(find(&store, Mode::Lexical, "round0").await.is_empty());
        assert_eq!(store.stats().await.unwrap().chunks, 60);
    };
    check().await;
    store.optimize().await.unwrap();
    check().await;
    store.close().await.unwrap();
    let left = files(&world.dir());
    assert!(
        left.len() < 60,
        "old versions are pruned: {} files",
        left.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_go_on_while_writing() {
    let world = World::new();
    let store = Arc::new(world.open().await);
    store.replace_sources(&three()).await.unwrap();
    embed_pending(&store).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for round in 0..40 {
                let many: Vec<_> = (10..20)
                    .map(|n| source(n, &format!("Filler {n} of round {round}.")))
                    .collect();
                store.replace_sources(&many).await.unwrap();
                embed_pending(&store).await;
                if round % 15 == 14 {
                    store.optimize().await.unwrap();
                }
            }
        }
    });
    let mut n_searches = 0;
    while !writer.is_finished() {
        assert_eq!(
            find(&store, Mode::Hybrid, "rent on the third working day").await[0].source,
            id(2)
        );
        // A replacement is seen whole or not at all.
        let rounds: std::collections::HashSet<String> = find(&store, Mode::Lexical, "filler")
            .await
            .iter()
            .map(|hit| hit.text.rsplit(' ').next().unwrap().to_owned())
            .collect();
        assert!(rounds.len() <= 1, "{rounds:?}");
        n_searches += 1;
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    assert!(n_searches > 10, "{n_searches}");
    assert_eq!(find(&store, Mode::Lexical, "filler").await.len(), 10);
}

#[tokio::test]
async fn an_index_has_one_owner() {
    let world = World::new();
    let store = world.open().await;
    assert!(matches!(
        VectorStore::open(&world.dir()).await,
        Err(StoreError::InUse { .. })
    ));
    drop(store);
    world.open().await;
}

#[tokio::test]
async fn a_source_given_twice_counts_once() {
    let world = World::new();
    let store = world.open().await;
    store
        .replace_sources(&[source(1, "first words"), source(1, "second words")])
        .await
        .unwrap();
    assert_eq!(store.stats().await.unwrap().chunks, 1);
    assert_eq!(
        find(&store, Mode::Lexical, "words").await[0].text,
        "second words"
    );
    store.replace_sources(&[]).await.unwrap();
    store.delete_sources(&[]).await.unwrap();
}

#[tokio::test]
async fn folders_with_odd_names_work() {
    let world = World::new();
    for name in ["my index", "ä ö 索引", "100% #1?", "db", "a:b"] {
        let dir = world.home.path().join(name).join("index");
        let (store, report) = VectorStore::open(&dir).await.unwrap();
        assert!(report.created && report.damage.is_none());
        store.replace_sources(&three()).await.unwrap();
        drop(store);
        let (store, report) = VectorStore::open(&dir).await.unwrap();
        assert_eq!(report, crate::OpenReport::default(), "{name}");
        assert_eq!(
            sources(&find(&store, Mode::Lexical, "rent").await),
            [id(2)],
            "{name}"
        );
    }
}

#[tokio::test]
async fn unused_embeddings_go_when_they_are_many() {
    let world = World::new();
    let store = world.open().await;
    let many = |from: u32| -> Vec<_> {
        (from..from + 2_500)
            .map(|n| source(n, &format!("Text {n}.")))
            .collect()
    };
    store.replace_sources(&many(0)).await.unwrap();
    let pending = store.pending_embeddings(usize::MAX).await.unwrap();
    store
        .insert_embeddings(pending.iter().map(|p| (p.hash, embed(&p.text))).collect())
        .await
        .unwrap();
    let gone: Vec<_> = (0..2_400).map(id).collect();
    store.delete_sources(&gone).await.unwrap();
    store.optimize().await.unwrap();
    store.replace_sources(&many(0)).await.unwrap();
    assert_eq!(store.stats().await.unwrap().embedded, 100);
    assert_eq!(
        find(&store, Mode::Vector, "Title 2450 Text 2450").await[0].source,
        id(2450)
    );
}
