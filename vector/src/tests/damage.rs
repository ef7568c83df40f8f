//! A broken index: noticed, set aside, built anew; never a panic, never a wrong answer for good.

use std::fs;
use std::path::Path;

use super::{World, embed, embed_pending, embedder, files, find, id, source, sources, three};
use crate::{Mode, Query, StoreError, VectorStore};

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// Uses an index in every way until it works; says whether damage was reported on the way.
async fn use_until_it_works(dir: &Path) -> bool {
    let (store, report) = VectorStore::open(dir).await.unwrap();
    let mut damaged = report.damage.is_some();
    for _ in 0..4 {
        match use_all(&store).await {
            Ok(()) => return damaged,
            Err(StoreError::Damaged { .. }) => damaged = true,
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
    panic!("the index stays damaged");
}

async fn use_all(store: &VectorStore) -> Result<(), StoreError> {
    store.use_embedder(Some(embedder("fake"))).await?;
    let known = store.source_versions().await?;
    // What a program does at its start: give what is missing or of another version.
    let all = [three().to_vec(), vec![source(4, "A fourth text on pumps.")]].concat();
    let stale: Vec<_> = all
        .into_iter()
        .filter(|s| known.get(&s.source) != Some(&s.version))
        .collect();
    store.replace_sources(&stale).await?;
    let pending = store.pending_embeddings(100).await?;
    store
        .insert_embeddings(pending.iter().map(|p| (p.hash, embed(&p.text))).collect())
        .await?;
    for mode in [Mode::Lexical, Mode::Vector, Mode::Hybrid] {
        let query = Query {
            text: "rent".into(),
            embedding: Some(embed("rent tenant pays")),
            mode,
            limit: 3,
            sources: None,
        };
        assert_eq!(store.search(&query).await?[0].source, id(2));
    }
    assert_eq!(store.chunks_of(id(4)).await?.len(), 1);
    assert_eq!(store.stats().await?.embedded, 4);
    Ok(())
}

/// An index with everything in it that an index can have: deletions, several segments, two versions.
async fn rich_index(world: &World) {
    let store = world.open().await;
    store.replace_sources(&three()).await.unwrap();
    store
        .replace_sources(&[source(4, "To be replaced."), source(5, "To be deleted.")])
        .await
        .unwrap();
    let many: Vec<_> = (100..200)
        .map(|n| source(n, &format!("Filler {n}.")))
        .collect();
    store.replace_sources(&many).await.unwrap();
    store
        .replace_sources(&[source(4, "A fourth text on pumps.")])
        .await
        .unwrap();
    store.delete_sources(&[id(5)]).await.unwrap();
    store
        .delete_sources(&(100..200).map(id).collect::<Vec<_>>())
        .await
        .unwrap();
    embed_pending(&store).await;
}

#[tokio::test]
async fn every_file_may_be_cut_short() {
    let world = World::new();
    rich_index(&world).await;
    assert!(
        !use_until_it_works(&world.dir()).await,
        "the index is fine before"
    );
    let mut reported = 0;
    for (i, file) in files(&world.dir()).iter().enumerate() {
        let relative = file.strip_prefix(world.dir()).unwrap();
        let length = fs::metadata(file).unwrap().len();
        for (j, cut) in [0, length / 2].into_iter().enumerate() {
            let dir = world.home.path().join(format!("copy-{i}-{j}"));
            copy(&world.dir(), &dir);
            fs::OpenOptions::new()
                .write(true)
                .open(dir.join(relative))
                .unwrap()
                .set_len(cut)
                .unwrap();
            let damaged = use_until_it_works(&dir).await;
            reported += usize::from(damaged);
            // A file of an old version may be missed by nobody; what the newest needs may not.
            if relative.ends_with("FORMAT") {
                assert!(damaged, "{}", relative.display());
            }
        }
    }
    assert!(reported >= 10, "only {reported} cuts were noticed");
}

#[tokio::test]
async fn every_file_may_hold_garbage() {
    let world = World::new();
    rich_index(&world).await;
    for (i, file) in files(&world.dir()).iter().enumerate() {
        let relative = file.strip_prefix(world.dir()).unwrap();
        let dir = world.home.path().join(format!("copy-{i}"));
        copy(&world.dir(), &dir);
        let mut bytes = fs::read(dir.join(relative)).unwrap();
        let (half, len) = (bytes.len() / 2, bytes.len());
        bytes[half..(half + 64).min(len)].fill(0xa5);
        bytes[len.saturating_sub(8)..].fill(0x5a);
        fs::write(dir.join(relative), bytes).unwrap();
        let (store, _) = VectorStore::open(&dir).await.unwrap();
        // Some garbage is only garbage in a text. Whatever is said: no panic, and an end of the damage.
        for _ in 0..4 {
            if use_quietly(&store).await {
                break;
            }
        }
        assert!(use_quietly(&store).await, "{}", relative.display());
    }
}

/// Like [`use_all`], without a look at the answers; whether no damage was reported.
async fn use_quietly(store: &VectorStore) -> bool {
    let calls = async {
        store.use_embedder(Some(embedder("fake"))).await?;
        store.source_versions().await?;
        store.replace_sources(&three()).await?;
        let pending = store.pending_embeddings(100).await?;
        store
            .insert_embeddings(pending.iter().map(|p| (p.hash, embed(&p.text))).collect())
            .await?;
        let query = Query {
            text: "rent".into(),
            embedding: Some(embed("rent")),
            limit: 3,
            ..Query::default()
        };
        store.search(&query).await
    };
    match calls.await {
        Ok(_) => true,
        Err(StoreError::Damaged { .. }) => false,
        Err(error) => panic!("{error}: {error:?}"),
    }
}

#[tokio::test]
async fn a_deleted_folder_is_made_again() {
    let world = World::new();
    rich_index(&world).await;
    fs::remove_dir_all(world.dir()).unwrap();
    let (store, report) = VectorStore::open(&world.dir()).await.unwrap();
    assert!(report.created && report.damage.is_none());
    assert!(store.source_versions().await.unwrap().is_empty());
    use_all(&store).await.unwrap();
    // Also under a running program.
    fs::remove_dir_all(world.dir()).unwrap();
    let error = store
        .replace_sources(&[source(7, "More.")])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(store.source_versions().await.unwrap().is_empty());
    use_all(&store).await.unwrap();
    assert!(world.set_aside().len() <= 1);
}

#[tokio::test]
async fn what_is_no_index_is_set_aside() {
    let world = World::new();
    fs::create_dir(world.dir()).unwrap();
    fs::write(world.dir().join("letter.txt"), "dear").unwrap();
    let (store, report) = VectorStore::open(&world.dir()).await.unwrap();
    assert!(report.created && report.damage.is_some());
    assert_eq!(
        fs::read(report.set_aside.unwrap().join("letter.txt")).unwrap(),
        b"dear"
    );
    store.replace_sources(&three()).await.unwrap();
    drop(store);
    // Another version of the format.
    fs::write(world.dir().join("FORMAT"), "satchel-vector 999\n").unwrap();
    let (store, report) = VectorStore::open(&world.dir()).await.unwrap();
    assert!(report.damage.unwrap().contains("another version"));
    assert!(store.source_versions().await.unwrap().is_empty());
    assert_eq!(world.set_aside(), ["index.damaged-2"]);
}

#[tokio::test]
async fn an_index_of_an_older_chunker_is_forgotten() {
    let world = World::new();
    rich_index(&world).await;
    let old = world.dir().join("chunks_c0.lance");
    copy(&world.dir().join("chunks_c1.lance"), &old);
    let store = world.open().await;
    assert!(!old.exists());
    assert_eq!(sources(&find(&store, Mode::Lexical, "rent").await), [id(2)]);
}
