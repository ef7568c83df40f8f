//! The store of installed models: imports are whole or absent, and only unchanged files are given out.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::world::World;
use common::{Toy, ToyBert};
use satchel_models::EmbedderQuantisation;
use satchel_models::gguf::{MetadataValue, ModelKind};
use satchel_models::store::{ImportError, ModelStore, Stage, StoreError, VerifyError};

#[test]
fn an_imported_model_is_listed_verified_and_removed() {
    let world = World::new();
    let bytes = Toy::chat().bytes();
    let path = world.download("some download (1).gguf", &bytes);
    let mut copied = 0;
    let model = world
        .store
        .import_file(&path, &mut |progress| {
            assert_eq!(
                (progress.stage, progress.total_bytes),
                (Stage::Copying, bytes.len() as u64)
            );
            copied = progress.done_bytes;
        })
        .unwrap();
    assert_eq!(copied, bytes.len() as u64);
    assert_eq!(
        (model.id.as_str(), model.kind, model.size_bytes),
        ("toy-model-q8_0", ModelKind::Chat, bytes.len() as u64)
    );
    assert_eq!(
        (model.embedding_dim, model.license.as_deref()),
        (None, Some("mit"))
    );
    assert_eq!(fs::read(&model.path).unwrap(), bytes);
    assert_eq!(fs::read(&path).unwrap(), bytes, "the download stays");

    let reopened = ModelStore::open(world.store.dir()).unwrap();
    assert_eq!(reopened.list().unwrap(), std::slice::from_ref(&model));
    assert_eq!(
        reopened.find("toy-model-q8_0").unwrap().as_ref(),
        Some(&model)
    );
    assert_eq!(
        reopened.find_by_sha256(&model.sha256).unwrap().as_ref(),
        Some(&model)
    );
    assert_eq!(reopened.verify(&model).unwrap().model(), &model);

    reopened.remove(&model.id).unwrap();
    assert!(world.entries().is_empty());
    assert!(matches!(
        reopened.remove(&model.id),
        Err(StoreError::NotInstalled { .. })
    ));
    assert!(matches!(
        reopened.verify(&model),
        Err(VerifyError::Store(_))
    ));
}

#[test]
fn the_same_content_is_installed_once_under_whatever_name_it_comes() {
    let world = World::new();
    let model = world.import_toy();
    let other_name = world.download("other.gguf", &Toy::chat().bytes());
    let mut stages = Vec::new();
    let again = world
        .store
        .import_file(&other_name, &mut |progress| stages.push(progress.stage))
        .unwrap();
    assert_eq!(again, model);
    assert_eq!(stages, [Stage::Comparing], "nothing is copied again");
    assert_eq!(
        world.store.import_file(&model.path, &mut |_| {}).unwrap(),
        model,
        "the installed file itself"
    );
    assert_eq!(world.entries(), [model.id]);
}

#[test]
fn different_models_of_one_name_get_different_ids() {
    let world = World::new();
    let first = world.import_toy();
    let other = Toy::chat().set("general.license", MetadataValue::Text("apache-2.0".into()));
    let second = world
        .store
        .import_file(&world.download("b.gguf", &other.bytes()), &mut |_| {})
        .unwrap();
    assert_eq!(
        (first.id.as_str(), second.id.as_str()),
        ("toy-model-q8_0", "toy-model-q8_0-2")
    );
    assert_eq!(world.store.list().unwrap().len(), 2);
}

#[test]
fn a_model_without_a_name_is_called_after_its_file() {
    let world = World::new();
    let path = world.download(
        "Nice Model.gguf",
        &Toy::chat().without("general.name").bytes(),
    );
    assert_eq!(
        world.store.import_file(&path, &mut |_| {}).unwrap().id,
        "nice-model-q8_0"
    );
}

#[test]
fn bad_files_leave_nothing_behind() {
    let world = World::new();
    let good = Toy::chat().bytes();
    let bad = [&good[..good.len() / 2], b"", b"no model at all"];
    for (number, bytes) in bad.into_iter().enumerate() {
        let path = world.download(&format!("bad{number}.gguf"), bytes);
        assert!(matches!(
            world.store.import_file(&path, &mut |_| {}),
            Err(ImportError::Gguf(_))
        ));
    }
    assert!(
        world
            .store
            .import_file(Path::new("/no/such/file.gguf"), &mut |_| {})
            .is_err()
    );
    let dir = world.folder.path().join("bert");
    ToyBert::new().save(&dir);
    let mut poisoned = ToyBert::new();
    poisoned
        .tensors
        .get_mut("embeddings.LayerNorm.bias")
        .unwrap()
        .1[3] = f32::NAN;
    poisoned.save(&dir);
    assert!(matches!(
        world
            .store
            .import_dir(&dir, EmbedderQuantisation::F16, &mut |_| {}),
        Err(ImportError::Convert(_))
    ));
    assert!(world.entries().is_empty(), "{:?}", world.entries());
}

#[test]
fn a_file_that_grows_or_shrinks_while_it_is_copied_is_refused() {
    let world = World::new();
    let bytes = Toy::chat().bytes();
    for grow in [true, false] {
        // Larger than one piece of the copy, so that the change falls in between.
        let path = world.download("busy.gguf", &bytes);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(5 << 20)
            .unwrap();
        let result = world.store.import_file(&path, &mut |progress| {
            if progress.done_bytes == 1 << 20 {
                let len = if grow { 9 << 20 } else { 2 << 20 };
                fs::File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(len)
                    .unwrap();
            }
        });
        assert!(matches!(result, Err(ImportError::Changed)), "{result:?}");
    }
    assert!(world.entries().is_empty());
}

#[test]
fn a_converted_embedder_is_installed_with_its_facts() {
    let world = World::new();
    let dir = world.folder.path().join("small-bert");
    ToyBert::new().save(&dir);
    let model = world
        .store
        .import_dir(&dir, EmbedderQuantisation::Q8_0, &mut |_| {})
        .unwrap();
    assert_eq!(
        (model.id.as_str(), model.kind, model.embedding_dim),
        ("small-bert-q8_0", ModelKind::Embedder, Some(48))
    );
    assert_eq!(
        world
            .store
            .import_dir(&dir, EmbedderQuantisation::Q8_0, &mut |_| {})
            .unwrap(),
        model
    );
    let other = world
        .store
        .import_dir(&dir, EmbedderQuantisation::F16, &mut |_| {})
        .unwrap();
    assert_eq!(other.id, "small-bert-f16");
    assert_eq!(world.entries(), ["small-bert-f16", "small-bert-q8_0"]);
}

#[test]
fn a_changed_file_is_not_given_out() {
    let world = World::new();
    let model = world.import_toy();
    let mut bytes = fs::read(&model.path).unwrap();

    // Same size, one bit of a weight: only the hash can tell.
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model.path, &bytes).unwrap();
    touch(&model.path, 10);
    assert!(matches!(
        world.store.verify(&model),
        Err(VerifyError::ContentChanged { .. })
    ));

    bytes.pop();
    fs::write(&model.path, &bytes).unwrap();
    assert!(matches!(
        world.store.verify(&model),
        Err(VerifyError::SizeChanged { .. })
    ));

    fs::remove_file(&model.path).unwrap();
    assert!(matches!(
        world.store.verify(&model),
        Err(VerifyError::Io { .. })
    ));
    assert_eq!(world.store.broken().unwrap().len(), 1);
}

#[test]
fn a_full_check_sees_what_size_and_time_hide() {
    let world = World::new();
    let model = world.import_toy();
    let time = fs::metadata(&model.path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&model.path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model.path, &bytes).unwrap();
    fs::File::options()
        .write(true)
        .open(&model.path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    assert!(
        world.store.verify(&model).is_ok(),
        "the cheap check trusts size and time"
    );
    let mut hashed = 0;
    let result = world
        .store
        .verify_fully(&model, &mut |done_bytes| hashed = done_bytes);
    assert!(matches!(result, Err(VerifyError::ContentChanged { .. })));
    assert_eq!(hashed, model.size_bytes);
}

#[test]
fn a_new_time_with_the_old_content_is_checked_once_and_remembered() {
    let world = World::new();
    let model = world.import_toy();
    let record = model.path.with_file_name("model.toml");
    let before = fs::read_to_string(&record).unwrap();
    touch(&model.path, 1000);
    assert!(world.store.verify(&model).is_ok());
    let after = fs::read_to_string(&record).unwrap();
    assert_ne!(before, after, "the new time is recorded");
    assert!(world.store.verify(&model).is_ok());
    assert_eq!(fs::read_to_string(&record).unwrap(), after);
    assert_eq!(world.store.list().unwrap(), [model]);
}

#[test]
fn importing_again_repairs_a_damaged_model() {
    let world = World::new();
    let model = world.import_toy();
    fs::write(&model.path, b"GGUF, but not really").unwrap();
    let repaired = world.import_toy();
    assert_eq!((&repaired.id, &repaired.sha256), (&model.id, &model.sha256));
    assert!(world.store.verify(&repaired).is_ok());
    assert_eq!(world.entries(), [model.id]);
}

#[test]
fn records_that_cannot_be_used_are_reported_and_can_be_removed() {
    let world = World::new();
    let model = world.import_toy();
    let record = model.path.with_file_name("model.toml");
    let text = fs::read_to_string(&record).unwrap();
    for (bad, newer) in [
        (
            text.replace("format_version = 1", "format_version = 2"),
            true,
        ),
        ("not toml".to_owned(), false),
    ] {
        fs::write(&record, bad).unwrap();
        assert!(world.store.list().unwrap().is_empty());
        let broken = world.store.broken().unwrap();
        assert_eq!(broken.len(), 1);
        assert_eq!(
            matches!(broken[0].problem, StoreError::NewerRecord { version: 2 }),
            newer
        );
    }
    world.store.remove(&model.id).unwrap();
    assert!(world.entries().is_empty());
}

#[test]
fn removing_cannot_leave_the_store() {
    let world = World::new();
    let outside = world.folder.path().join("data/documents");
    fs::create_dir_all(&outside).unwrap();
    for id in ["../documents", "..", ".", "", "/", ".lock"] {
        assert!(
            matches!(world.store.remove(id), Err(StoreError::NotInstalled { .. })),
            "{id:?}"
        );
    }
    assert!(outside.is_dir());
}

#[test]
fn a_model_larger_than_the_disk_is_refused_before_anything_is_written() {
    let world = World::new();
    // A file of 8 TiB that takes no room: its one large tensor is a hole.
    let rows: u64 = 1 << 35;
    let width = u64::from(common::WIDTH);
    let mut toy = Toy::chat();
    toy.plan.truncate(1);
    let mut bytes = toy.bytes();
    let name = b"token_embd.weight";
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    // A second tensor cannot be planned without its data, so the first is renamed in the header and a large
    // one is described after it by hand.
    let data = toy.plan[0].data_bytes().unwrap();
    let infos_end = at + name.len() + 4 + 16 + 4 + 8;
    let mut info = Vec::new();
    info.extend(4_u64.to_le_bytes());
    info.extend(b"huge");
    info.extend(2_u32.to_le_bytes());
    info.extend(width.to_le_bytes());
    info.extend(rows.to_le_bytes());
    info.extend(1_u32.to_le_bytes());
    info.extend(data.next_multiple_of(32).to_le_bytes());
    bytes.truncate(infos_end);
    bytes.extend(info);
    bytes[8..16].copy_from_slice(&2_u64.to_le_bytes());
    let whole =
        (bytes.len() as u64).next_multiple_of(32) + data.next_multiple_of(32) + rows * width * 2;
    let path = world.download("huge.gguf", &bytes);
    if fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(whole)
        .is_err()
    {
        eprintln!("skipped: this disk has no files of {whole} bytes");
        return;
    }
    let result = world
        .store
        .import_file(&path, &mut |_| panic!("nothing may be copied"));
    assert!(
        matches!(result, Err(ImportError::NoSpace { needed_bytes, .. }) if needed_bytes > whole),
        "{result:?}"
    );
    assert!(world.entries().is_empty());
}

#[test]
fn an_import_that_is_killed_leaves_nothing_and_one_that_runs_is_left_alone() {
    let world = World::new();
    let path = world.download("toy.gguf", &Toy::chat().bytes());
    // The import runs in a child process, which ends itself in the middle of the copy.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_dies_while_importing", "--nocapture"])
        .env("SATCHEL_TEST_DYING_IMPORT", &path)
        .env("SATCHEL_TEST_DYING_STORE", world.store.dir())
        .output()
        .unwrap();
    assert!(!child.status.success());
    assert_eq!(
        world.entries().len(),
        1,
        "the child left its half copy: {}",
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(world.store.list().unwrap().is_empty());

    ModelStore::open(world.store.dir()).unwrap();
    assert!(world.entries().is_empty());

    let mut opened = false;
    let model = world.store.import_file(&path, &mut |_| {
        ModelStore::open(world.store.dir()).unwrap();
        opened = true;
    });
    assert!(opened);
    assert!(world.store.verify(&model.unwrap()).is_ok());
}

/// Does nothing unless it is started by the test above.
#[test]
fn child_that_dies_while_importing() {
    let Some(path) = std::env::var_os("SATCHEL_TEST_DYING_IMPORT") else {
        return;
    };
    let store = ModelStore::open(Path::new(
        &std::env::var_os("SATCHEL_TEST_DYING_STORE").unwrap(),
    ))
    .unwrap();
    store
        .import_file(Path::new(&path), &mut |_| std::process::abort())
        .unwrap();
}

#[test]
fn imports_at_the_same_time_do_not_disturb_each_other() {
    let world = World::new();
    let paths: Vec<PathBuf> = (0..8)
        .map(|number| {
            // Four different models, each twice, all of one name.
            let license = MetadataValue::Text(format!("license-{}", number % 4));
            world.download(
                &format!("{number}.gguf"),
                &Toy::chat().set("general.license", license).bytes(),
            )
        })
        .collect();
    std::thread::scope(|scope| {
        for path in &paths {
            scope.spawn(|| world.store.import_file(path, &mut |_| {}).unwrap());
        }
    });
    let models = world.store.list().unwrap();
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "toy-model-q8_0",
            "toy-model-q8_0-2",
            "toy-model-q8_0-3",
            "toy-model-q8_0-4"
        ]
    );
    assert_eq!(world.entries(), ids);
}

fn touch(path: &Path, seconds_later: u64) {
    let time = SystemTime::now() + Duration::from_secs(seconds_later);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}
