//! Split models: whichever part is given, one ordinary file is installed, or nothing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod common;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use common::split::{PartToy, part_name, toy_of_six_tensors, write_parts};
use common::world::World;
use common::{Random, Toy, ToyBert};
use satchel_models::EmbedderQuantisation;
use satchel_models::gguf::{self, GgufError, SplitError};
use satchel_models::store::{ImportError, InstalledModel, Stage};

const NAME: &str = "Toy-Q8_0";

/// A world with the parts of a split model in a folder of its own.
struct SplitWorld {
    world: World,
    dir: PathBuf,
}

impl SplitWorld {
    fn new(parts: &[PartToy]) -> Self {
        let world = World::new();
        let dir = world.folder.path().join("parts");
        write_parts(&dir, NAME, parts);
        Self { world, dir }
    }

    fn part(&self, number: usize) -> PathBuf {
        self.dir.join(part_name(NAME, number, 3))
    }

    fn import(&self, path: &Path) -> Result<InstalledModel, ImportError> {
        if path.is_dir() {
            let store = &self.world.store;
            store.import_dir(path, EmbedderQuantisation::F16, &mut |_| {})
        } else {
            self.world.store.import_file(path, &mut |_| {})
        }
    }

    /// The words with which the folder is refused; nothing may be left of it.
    fn refusal(&self) -> String {
        let error = self.import(&self.dir).expect_err("this must be refused");
        assert!(self.world.entries().is_empty(), "{error}");
        error.to_string()
    }
}

fn whole() -> PartToy {
    PartToy::whole(&toy_of_six_tensors(), 32)
}

fn three_parts() -> Vec<PartToy> {
    whole().split(&[3, 1, 2])
}

#[test]
fn every_part_and_the_folder_bring_the_file_that_was_split() {
    let split = SplitWorld::new(&three_parts());
    let before = read_all(&split.dir);
    for path in [
        split.part(1),
        split.part(2),
        split.part(3),
        split.dir.clone(),
    ] {
        let model = split.import(&path).unwrap();
        assert_eq!(fs::read(&model.path).unwrap(), whole().bytes(), "{path:?}");
        assert_eq!(model.id, "toy-model-q8_0");
        assert_eq!(
            split.world.store.verify(&model).unwrap().path(),
            model.path.as_path()
        );
        split.world.store.remove(&model.id).unwrap();
        assert!(split.world.entries().is_empty());
    }
    assert_eq!(read_all(&split.dir), before, "the parts stay as they are");
}

#[test]
fn a_relative_path_finds_the_other_parts_too() {
    let split = SplitWorld::new(&three_parts());
    // From the current folder of the test to the root, and down again.
    let up = "../".repeat(std::env::current_dir().unwrap().components().count());
    let path = PathBuf::from(format!("{up}{}", split.part(2).display()));
    assert!(path.is_relative());
    assert!(split.import(&path).is_ok());
}

#[test]
fn the_whole_and_its_parts_are_one_model() {
    let split = SplitWorld::new(&three_parts());
    let path = split.world.download("whole.gguf", &whole().bytes());
    let model = split.import(&path).unwrap();
    let mut stages = Vec::new();
    let again = split
        .world
        .store
        .import_file(&split.part(1), &mut |progress| stages.push(progress.stage));
    assert_eq!(again.unwrap(), model);
    assert_eq!(stages, [Stage::Comparing], "nothing is copied again");
}

#[test]
fn every_way_to_cut_a_model_is_joined() {
    let whole = PartToy::whole(&toy_of_six_tensors(), 128);
    for tensors in [&[6, 0][..], &[0, 6], &[0, 5, 0, 1], &[1, 1, 1, 1, 1, 1]] {
        let split = SplitWorld::new(&whole.split(tensors));
        let model = split.import(&split.dir).unwrap();
        assert_eq!(
            fs::read(&model.path).unwrap(),
            whole.bytes(),
            "cut as {tensors:?}, with another alignment in the first part"
        );
    }
}

#[test]
fn a_split_model_without_a_name_is_called_after_its_parts() {
    let toy = toy_of_six_tensors().without("general.name");
    let split = SplitWorld::new(&PartToy::whole(&toy, 32).split(&[2, 2, 2]));
    assert_eq!(split.import(&split.part(3)).unwrap().id, "toy-q8_0");
}

#[test]
fn parts_behind_symbolic_links_are_found() {
    // As the cache of Hugging Face has them.
    let split = SplitWorld::new(&three_parts());
    let links = split.world.folder.path().join("links");
    fs::create_dir(&links).unwrap();
    for number in 1..=3 {
        let blob = split.dir.join(format!("blob{number}"));
        fs::rename(split.part(number), &blob).unwrap();
        std::os::unix::fs::symlink(&blob, links.join(part_name(NAME, number, 3))).unwrap();
    }
    assert!(split.import(&links.join(part_name(NAME, 2, 3))).is_ok());
}

#[test]
fn a_part_by_itself_says_which_it_is() {
    let split = SplitWorld::new(&three_parts());
    for number in 1..=3 {
        let judged = gguf::check(&split.part(number));
        assert!(
            matches!(judged, Err(GgufError::SplitPart { number: n, count: 3 }) if n == number as u32),
            "{judged:?}"
        );
    }
}

#[test]
fn a_folder_with_one_file_is_that_file() {
    let world = World::new();
    let dir = world.folder.path().join("one");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("README.md"), "read me").unwrap();
    fs::write(dir.join("._toy.gguf"), "left by another system").unwrap();
    fs::create_dir(dir.join("folder.gguf")).unwrap();
    Toy::chat().write(&dir.join("toy.GGUF"));
    let import = || {
        let store = &world.store;
        store.import_dir(&dir, EmbedderQuantisation::F16, &mut |_| {})
    };
    let model = import().unwrap();
    assert_eq!(fs::read(&model.path).unwrap(), Toy::chat().bytes());

    // Safetensors beside it are what is converted.
    ToyBert::new().save(&dir);
    assert_eq!(import().unwrap().id, "one-f16");
}

#[test]
fn a_folder_must_hold_one_model() {
    let world = World::new();
    let dir = world.folder.path().join("some");
    fs::create_dir(&dir).unwrap();
    let import = || {
        let store = &world.store;
        store.import_dir(&dir, EmbedderQuantisation::F16, &mut |_| {})
    };
    assert!(matches!(import(), Err(ImportError::NoModelInFolder)));

    write_parts(&dir, NAME, &three_parts());
    write_parts(&dir, NAME, &whole().split(&[3, 3]));
    Toy::chat().write(&dir.join("toy.gguf"));
    let error = import().unwrap_err();
    let names = [
        part_name(NAME, 1, 2),
        part_name(NAME, 1, 3),
        "toy.gguf".to_owned(),
    ];
    assert!(
        matches!(&error, ImportError::SeveralModelsInFolder { names: told } if *told == names),
        "{error:?}"
    );
    assert!(error.to_string().contains("give the file of one of them"));
    for number in 0..10 {
        Toy::chat().write(&dir.join(format!("{number}.gguf")));
    }
    assert!(import().unwrap_err().to_string().ends_with("and 8 more"));
    assert!(matches!(
        world
            .store
            .import_dir(&dir.join("nowhere"), EmbedderQuantisation::F16, &mut |_| {}),
        Err(ImportError::Read { .. })
    ));
    assert!(world.entries().is_empty());
}

#[test]
fn missing_parts_are_named() {
    let split = SplitWorld::new(&three_parts());
    fs::remove_file(split.part(2)).unwrap();
    fs::remove_file(split.part(3)).unwrap();
    let words = split.refusal();
    assert!(words.starts_with("2 of the 3 parts"), "{words}");
    assert!(words.ends_with("Toy-Q8_0-00002-of-00003.gguf"), "{words}");
}

#[test]
fn a_part_under_another_name_is_told() {
    let split = SplitWorld::new(&three_parts());
    let renamed = split.dir.join("big.gguf");
    fs::rename(split.part(2), &renamed).unwrap();
    let error = split.import(&renamed).unwrap_err();
    assert!(
        matches!(error, ImportError::Split(SplitError::Name { .. })),
        "{error}"
    );

    // A part twice, once under a wrong name.
    fs::copy(split.part(3), split.part(2)).unwrap();
    fs::remove_file(&renamed).unwrap();
    let words = split.refusal();
    assert!(words.contains("Inside it is part 3 of 3: "), "{words}");
    assert!(words.ends_with("-00002-of-00003.gguf"), "{words}");

    // A whole model in place of a part.
    fs::write(split.part(2), whole().bytes()).unwrap();
    assert!(split.refusal().contains("no part of a split model"));

    // A part of a model that was cut otherwise.
    fs::write(split.part(2), whole().split(&[3, 1, 1, 1])[1].bytes()).unwrap();
    assert!(split.refusal().contains("part 2 of 4"));
}

#[test]
fn parts_of_different_models_are_not_mixed() {
    // Cut at another place: a tensor comes twice.
    let split = SplitWorld::new(&three_parts());
    fs::write(split.part(2), whole().split(&[2, 2, 2])[1].bytes()).unwrap();
    let words = split.refusal();
    assert!(
        words.contains("rope_freqs.weight") || words.contains("attn_q"),
        "{words}"
    );
    assert!(words.ends_with("-00002-of-00003.gguf"), "{words}");

    // Another number of tensors in all.
    let mut parts = three_parts();
    parts[1]
        .metadata
        .overwrite("split.tensors.count", &5_i32.to_le_bytes());
    let words = SplitWorld::new(&parts).refusal();
    assert!(words.ends_with("-00002-of-00003.gguf"), "{words}");

    // All parts agree, and their tensors do not.
    for (promised, told) in [
        (7_i32, "have 6 tensors and should have 7"),
        (5, "should have 5"),
    ] {
        let mut parts = three_parts();
        for part in &mut parts {
            part.metadata
                .overwrite("split.tensors.count", &promised.to_le_bytes());
        }
        let words = SplitWorld::new(&parts).refusal();
        assert!(words.contains(told), "{words}");
    }
}

#[test]
fn damaged_parts_are_named() {
    type Damage = dyn Fn(&mut Vec<u8>);
    let damage: [(&str, &Damage); 4] = [
        ("cut off", &|bytes| bytes.truncate(bytes.len() - 100)),
        ("empty", &|bytes| bytes.clear()),
        ("web page", &|bytes| *bytes = b"<!DOCTYPE html>".to_vec()),
        // The first tensor would lie behind its place, over the second.
        ("does not start where", &|bytes| {
            let data_bytes = 64 * 64 * 2 + 32;
            let info_end = bytes.len() - data_bytes;
            let at = (0..info_end).rev().find(|at| bytes[*at] != 0).unwrap();
            bytes[at] ^= 1;
        }),
    ];
    for (told, damage) in damage {
        let split = SplitWorld::new(&three_parts());
        let mut bytes = fs::read(split.part(3)).unwrap();
        damage(&mut bytes);
        fs::write(split.part(3), bytes).unwrap();
        let words = split.refusal();
        assert!(words.contains(told), "{words}");
        assert!(words.ends_with("-00003-of-00003.gguf"), "{words}");
    }
}

#[test]
fn lying_counts_are_refused() {
    for (key, value, told) in [
        (
            "split.count",
            60_000_u16.to_le_bytes().to_vec(),
            "number of parts",
        ),
        ("split.no", 3_u16.to_le_bytes().to_vec(), "split.no"),
        (
            "split.tensors.count",
            i32::MAX.to_le_bytes().to_vec(),
            "number of tensors",
        ),
        (
            "split.tensors.count",
            (-1_i32).to_le_bytes().to_vec(),
            "negative",
        ),
    ] {
        let mut parts = three_parts();
        parts[0].metadata.overwrite(key, &value);
        let words = SplitWorld::new(&parts).refusal();
        assert!(words.contains(told), "{words}");
    }
}

#[test]
fn what_the_parts_make_is_judged_like_any_model() {
    let toy = toy_of_six_tensors().set(
        "general.architecture",
        gguf::MetadataValue::Text("no-such-architecture".into()),
    );
    let split = SplitWorld::new(&PartToy::whole(&toy, 32).split(&[2, 2, 2]));
    assert!(split.refusal().contains("no-such-architecture"));
}

#[test]
fn an_import_that_ends_in_the_middle_leaves_nothing() {
    let split = SplitWorld::new(&three_parts());
    let stopped = catch_unwind(AssertUnwindSafe(|| {
        let store = &split.world.store;
        store.import_file(&split.part(1), &mut |progress| {
            assert_eq!(progress.stage, Stage::Copying);
            panic!("the caller stops");
        })
    }));
    assert!(stopped.is_err());
    assert!(split.world.entries().is_empty());
}

#[test]
fn a_part_that_shrinks_meanwhile_is_noticed() {
    let mut toy = toy_of_six_tensors();
    // Larger than one piece of the copy, so that the change falls in between.
    toy.plan[4].dimensions = vec![1024, 2048];
    let split = SplitWorld::new(&PartToy::whole(&toy, 32).split(&[3, 1, 2]));
    let part = split.part(3);
    let result = split.world.store.import_file(&split.part(1), &mut |_| {
        let file = fs::File::options().write(true).open(&part).unwrap();
        file.set_len(4096).unwrap();
    });
    assert!(matches!(result, Err(ImportError::Changed)), "{result:?}");
    assert!(split.world.entries().is_empty());
}

#[test]
fn mutants_of_parts_neither_panic_nor_leave_anything() {
    let mut random = Random::from_environment();
    let split = SplitWorld::new(&three_parts());
    let good: Vec<Vec<u8>> = three_parts().iter().map(PartToy::bytes).collect();
    let mut accepted = 0;
    for round in 0..200 {
        let part = random.below(3);
        let mut bytes = good[part].clone();
        for _ in 0..=random.below(3) {
            mutate(&mut bytes, &mut random);
        }
        fs::write(split.part(part + 1), bytes).unwrap();
        let given = split.part(1 + random.below(3));
        let result = catch_unwind(AssertUnwindSafe(|| split.import(&given)))
            .unwrap_or_else(|_| panic!("round {round} panicked"));
        if let Ok(model) = result {
            accepted += 1;
            assert!(gguf::check(&model.path).is_ok(), "round {round}");
            split.world.store.remove(&model.id).unwrap();
        }
        assert!(split.world.entries().is_empty(), "round {round}");
        fs::write(split.part(part + 1), &good[part]).unwrap();
    }
    // Damage to names of words or to weights alone is not noticed; most other damage is.
    assert!(accepted < 190, "{accepted} of 200 were accepted");
}

/// One kind of damage, mostly near the beginning, where the numbers are.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.len() < 16 {
        return;
    }
    let near = [24, 300, bytes.len()][random.below(3)].min(bytes.len());
    let at = random.below(near - 8);
    match random.below(5) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at..at + 8].copy_from_slice(&random.next().to_le_bytes()),
        2 => bytes[at..at + 8].copy_from_slice(&(u64::MAX >> random.below(64)).to_le_bytes()),
        3 => bytes.truncate(at),
        _ => {
            let from = random.below(bytes.len() - 8);
            let copied = bytes[from..from + 8].to_vec();
            bytes[at..at + 8].copy_from_slice(&copied);
        }
    }
}

/// Names and contents of the files in a folder.
fn read_all(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = paths
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    all.sort();
    all
}
