//! Downloads of split models: all parts come, each goes on where it stopped, and one file is installed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::host::{Fault, Host};
use common::split::{PartToy, part_name, toy_of_six_tensors};
use common::world::World;
use satchel_models::fetch::{
    FetchError, Fetched, Options, Progress, Source, fetch_all, parts_of, unfinished,
};
use satchel_models::gguf::SplitError;
use satchel_models::store::ImportError;

/// A store, and a host with the parts of a model.
struct Mirror {
    world: World,
    host: Host,
    files: Vec<Arc<Vec<u8>>>,
}

impl Mirror {
    async fn new(parts: &[PartToy]) -> Self {
        let mirror = Self {
            world: World::new(),
            host: Host::new(Vec::new()).await,
            files: parts.iter().map(|part| Arc::new(part.bytes())).collect(),
        };
        mirror.serve(|_, _| Fault::default());
        mirror
    }

    /// Serves the parts; `judge` gets which part is asked for, from 1, and whether only its first byte is.
    fn serve(&self, judge: impl Fn(usize, bool) -> Fault + Send + Sync + 'static) {
        let files = self.files.clone();
        self.host.judge(move |request, file| {
            let is_wanted = |number: &usize| {
                request
                    .target
                    .contains(&part_name("Toy", *number, files.len()))
            };
            let Some(number) = (1..=files.len()).find(is_wanted) else {
                return Fault {
                    status: Some(404),
                    ..Fault::default()
                };
            };
            file.body = Arc::clone(&files[number - 1]);
            file.etag = Some(format!("\"part {number}\""));
            judge(number, request.range == Some((0, 0)))
        });
    }

    fn source(&self, number: usize) -> Source {
        let name = part_name("Toy", number, self.files.len());
        Source {
            url: format!("http://{}/repo/{name}?download=true", self.host.address()),
            size_bytes: None,
            sha256: None,
        }
    }

    async fn fetch(
        &self,
        observer: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Vec<Fetched>, FetchError> {
        let options = Options {
            stall: Duration::from_millis(300),
            patience: Duration::from_secs(5),
            ..Options::default()
        };
        let files = parts_of(&self.source(2));
        let observer = |progress: Progress| observer(progress);
        fetch_all(self.world.store.dir(), &files, &options, &observer).await
    }

    fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len() as u64).sum()
    }

    fn unfinished(&self) -> usize {
        unfinished(self.world.store.dir()).unwrap().len()
    }
}

fn whole() -> PartToy {
    PartToy::whole(&toy_of_six_tensors(), 32)
}

#[tokio::test]
async fn the_address_of_any_part_brings_the_whole_model() {
    let mirror = Mirror::new(&whole().split(&[0, 4, 2])).await;
    let most = AtomicU64::new(0);
    let total_bytes = mirror.total_bytes();
    let observer = |progress: Progress| {
        assert_eq!(progress.total_bytes, total_bytes);
        let before = most.swap(progress.done_bytes, Ordering::Relaxed);
        assert!(before <= progress.done_bytes, "it never goes back");
    };
    let files = mirror.fetch(&observer).await.unwrap();
    assert_eq!(most.load(Ordering::Relaxed), total_bytes);
    let mut joined_bytes = 0;
    let store = &mirror.world.store;
    let model = store
        .adopt_all(files, &mut |progress| joined_bytes = progress.done_bytes)
        .unwrap();
    let bytes = std::fs::read(&model.path).unwrap();
    assert!(bytes == whole().bytes(), "it is the file that was split");
    assert_eq!(joined_bytes, bytes.len() as u64);
    assert_eq!(model.source_url, Some(mirror.source(1).url));
    store.verify(&model).unwrap();
    assert_eq!(mirror.unfinished(), 0, "nothing of the download is left");
}

#[tokio::test]
async fn parts_that_have_come_do_not_come_again() {
    let mirror = Mirror::new(&whole().split(&[1, 1, 4])).await;
    mirror.serve(|number, is_first_byte| Fault {
        status: (number == 3 && !is_first_byte).then_some(404),
        ..Fault::default()
    });
    mirror.fetch(&|_| {}).await.unwrap_err();
    let before = mirror.host.served_bytes();

    mirror.serve(|_, _| Fault::default());
    let files = mirror.fetch(&|_| {}).await.unwrap();
    let last = mirror.files[2].len() as u64;
    // Each part is asked for its length by its first byte, once before all and once before itself.
    assert_eq!(mirror.host.served_bytes() - before, last + 6);
    mirror.world.store.adopt_all(files, &mut |_| {}).unwrap();
}

#[tokio::test]
async fn a_missing_part_is_known_before_any_is_fetched() {
    let mirror = Mirror::new(&whole().split(&[2, 2, 2])).await;
    mirror.serve(|number, _| Fault {
        status: (number == 3).then_some(404),
        ..Fault::default()
    });
    let error = mirror.fetch(&|_| {}).await.unwrap_err();
    assert!(matches!(error, FetchError::NotThere { .. }), "{error}");
    assert_eq!(mirror.unfinished(), 0);
}

#[tokio::test]
async fn parts_that_make_no_model_are_thrown_away() {
    let mut parts = whole().split(&[2, 2, 2]);
    parts[2] = whole().split(&[1, 2, 3])[2].clone();
    let mirror = Mirror::new(&parts).await;
    let files = mirror.fetch(&|_| {}).await.unwrap();
    let error = mirror
        .world
        .store
        .adopt_all(files, &mut |_| {})
        .unwrap_err();
    assert!(
        matches!(error, ImportError::Split(SplitError::TensorTwice { .. })),
        "{error}"
    );
    assert_eq!(mirror.unfinished(), 0);
    assert!(mirror.world.store.list().unwrap().is_empty());
}
