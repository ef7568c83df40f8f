//! What a search finds, in each mode.

use super::{World, embed, embed_pending, find, id, source, sources, three};
use crate::{Mode, Query, StoreError};

#[tokio::test]
async fn words_are_found_before_any_embedding() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    for mode in [Mode::Lexical, Mode::Hybrid] {
        let hits = find(&store, mode, "when is the rent due?").await;
        assert_eq!(sources(&hits), [id(2)]);
        let hit = &hits[0];
        assert_eq!(
            (hit.lexical_rank, hit.vector_rank, hit.cosine),
            (Some(1), None, None)
        );
        assert!(hit.bm25.unwrap() > 0.0 && hit.relevance_score > 0.0);
        assert_eq!(hit.heading_path, ["Rent"]);
        assert_eq!(
            (hit.title.as_str(), hit.path.as_str()),
            ("Title 2", "/documents/2.md")
        );
        assert!(hit.text.starts_with("# Rent\n\nThe tenant"));
        assert_eq!(hit.range, 0..hit.text.len());
    }
    assert!(find(&store, Mode::Vector, "rent").await.is_empty());
}

#[tokio::test]
async fn both_kinds_of_search_are_fused() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    embed_pending(&store).await;
    let hits = find(&store, Mode::Hybrid, "turbulent boundary layer").await;
    assert_eq!(hits.len(), 3, "vectors rank everything");
    assert_eq!(hits[0].source, id(1));
    assert_eq!(
        (hits[0].lexical_rank, hits[0].vector_rank),
        (Some(1), Some(1))
    );
    assert!((hits[0].relevance_score - 2.0 / 61.0).abs() < 1e-6);
    assert!(hits[0].cosine > hits[1].cosine);
    assert_eq!(hits[1].lexical_rank, None);
    let hits = find(&store, Mode::Vector, "turbulent boundary layer").await;
    assert_eq!((hits[0].source, hits[0].bm25), (id(1), None));
}

#[tokio::test]
async fn a_chunk_without_embedding_still_comes_through_its_words() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    embed_pending(&store).await;
    store
        .replace_sources(&[source(4, "A new text about onions in vinegar.")])
        .await
        .unwrap();
    let hits = find(&store, Mode::Hybrid, "onions vinegar").await;
    assert_eq!(hits[0].source, id(3), "found by both");
    assert!(
        hits.iter()
            .any(|hit| hit.source == id(4) && hit.cosine.is_none())
    );
    assert_eq!(
        find(&store, Mode::Lexical, "onions vinegar").await[0].source,
        id(4)
    );
}

#[tokio::test]
async fn only_the_sources_asked_for() {
    let world = World::new();
    let store = world.open().await;
    let many: Vec<_> = (0..200)
        .map(|n| source(n, &format!("The same words in document number {n}.")))
        .collect();
    store.replace_sources(&many).await.unwrap();
    embed_pending(&store).await;
    for mode in [Mode::Hybrid, Mode::Lexical, Mode::Vector] {
        let query = |only: &[u32]| Query {
            text: "the same words \"document number\"".to_owned(),
            embedding: Some(embed("the same words")),
            mode,
            limit: 10,
            sources: Some(only.iter().map(|n| id(*n)).collect()),
        };
        let mut found = sources(&store.search(&query(&[199, 7])).await.unwrap());
        found.sort();
        assert_eq!(found, [id(7), id(199)], "{mode:?}");
        assert!(store.search(&query(&[])).await.unwrap().is_empty());
        assert!(store.search(&query(&[5000])).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn any_question_is_a_query() {
    let world = World::new();
    let store = world.open().await;
    assert!(
        find(&store, Mode::Hybrid, "an empty index")
            .await
            .is_empty()
    );
    store.replace_sources(&three()).await.unwrap();
    embed_pending(&store).await;
    let long = "rent \"and the\" ".repeat(50_000);
    let questions = [
        "",
        " ",
        "?",
        "\"",
        "\"\"",
        "\"rent",
        "rent\"",
        "AND",
        "NOT rent",
        "rent AND (",
        "a:b",
        "rent~2",
        "^rent",
        "*",
        "re*",
        "[a TO b]",
        "\\",
        "\0",
        "{\"match\":1}",
        "'; drop table chunks; --",
        "\u{202e}rent",
        "😀",
        &long,
        "\"\" \"\" \"\"",
        "rent -wing",
        "+rent +wing",
        "\"。\"",
        "\"the of\"",
    ];
    for question in questions {
        find(&store, Mode::Hybrid, question).await;
    }
    assert_eq!(find(&store, Mode::Lexical, "rent AND (").await.len(), 1);
    let none = Query {
        text: "rent".to_owned(),
        ..Query::default()
    };
    assert!(store.search(&none).await.unwrap().is_empty(), "limit 0");
}

#[tokio::test]
async fn phrases_have_to_occur() {
    let world = World::new();
    let store = world.open().await;
    let texts = [
        "The state of the art in flow.",
        "The art of the state in flow.",
        "Flow, flow, flow and flow.",
    ];
    let all: Vec<_> = (1..).zip(texts).map(|(n, text)| source(n, text)).collect();
    store.replace_sources(&all).await.unwrap();
    let found = sources(&find(&store, Mode::Lexical, "\"state of the art\" flow").await);
    assert_eq!(found, [id(1)]);
    // A phrase that nowhere occurs is a question like any other.
    assert_eq!(
        find(&store, Mode::Lexical, "\"state of flow\"").await.len(),
        3
    );
    // Also in what the text index does not hold yet.
    store
        .replace_sources(&[source(4, "Another state of the art.")])
        .await
        .unwrap();
    let mut found = sources(&find(&store, Mode::Lexical, "\"state of the art\"").await);
    found.sort();
    assert_eq!(found, [id(1), id(4)]);
}

#[tokio::test]
async fn words_of_many_languages_are_found() {
    let world = World::new();
    let store = world.open().await;
    let texts = [
        "Die Größe der Fläche und die Höhe über dem Meer.",
        "東京は日本の首都です。人口は千四百万人です。",
        "Résumé de l’étude sur les écoulements.",
        "Скорость потока у стенки равна нулю.",
        "Measured flows were compared with calculated velocities; commit 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567.",
        "war and peace",
    ];
    let all: Vec<_> = (1..).zip(texts).map(|(n, text)| source(n, text)).collect();
    store.replace_sources(&all).await.unwrap();
    let cases = [
        ("grosse flache", 1),
        ("Größe", 1),
        ("首都", 2),
        ("人口", 2),
        ("resume etude", 3),
        ("потока", 4),
        ("velocity of a flow", 5),
        ("0a1b2c3d4e5f60718293a4b5c6d7e8f901234567", 5),
        ("war", 6),
    ];
    for (question, n) in cases {
        let found = sources(&find(&store, Mode::Lexical, question).await);
        if question == "grosse flache" {
            // ß folds to ss: both spellings find it.
            assert_eq!(found.first(), Some(&id(n)), "{question}");
            continue;
        }
        assert_eq!(found, [id(n)], "{question}");
    }
}

#[tokio::test]
async fn an_embedding_of_another_model_is_refused() {
    let world = World::new();
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    let query = Query {
        text: "rent".into(),
        embedding: Some(vec![1.0; 3]),
        limit: 5,
        ..Query::default()
    };
    assert!(matches!(
        store.search(&query).await,
        Err(StoreError::WrongDimension {
            expected: 64,
            got: 3
        })
    ));
    // A zero vector has no direction: words alone.
    let query = Query {
        embedding: Some(vec![0.0; 64]),
        ..query
    };
    assert_eq!(store.search(&query).await.unwrap().len(), 1);
}
