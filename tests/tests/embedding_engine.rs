//! The two engines that can compute the embedder: one that fails is said, and an index holds the embeddings of one.
//!
//! Needs the starter models, which `make test` installs, and onnxruntime, which it fetches.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::{Path, PathBuf};

use satchel_tests::{Laptop, satchel_bin};

/// A copy of the program with its libraries, in which onnxruntime can be taken away.
fn copy_of_program(to: &Path) -> PathBuf {
    let from = satchel_bin();
    let folder = from.parent().unwrap();
    fs::create_dir_all(to.join("backends/onnx")).unwrap();
    let libraries = |folder: &Path| -> Vec<PathBuf> {
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        files
            .filter(|path| path.is_file() && name(path).starts_with("lib"))
            .filter(|path| name(path).contains(".so") || name(path).contains(".dylib"))
            .collect()
    };
    let copy = |file: &Path, to: &Path| {
        let place = to.join(file.file_name().unwrap());
        fs::copy(file, place).unwrap();
    };
    copy(&from, to);
    for library in libraries(folder) {
        copy(&library, to);
    }
    for library in libraries(&folder.join("backends")) {
        copy(&library, &to.join("backends"));
    }
    to.join(from.file_name().unwrap())
}

fn embedded(laptop: &Laptop) -> serde_json::Value {
    let status = laptop.run(["status", "--json"]).expect_success().json();
    status["coverage"]["embedded"].clone()
}

#[test]
fn an_engine_that_fails_is_said_and_another_one_embeds_anew() {
    let onnx = satchel_bin().with_file_name("backends").join("onnx");
    if !satchel_inference::has_onnxruntime(&satchel_bin()) {
        eprintln!("skipped: built without onnxruntime, which `make test` fetches");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let program = copy_of_program(place.path());
    let laptop = Laptop::with_starter_models().with_program(program);
    let libraries = place.path().join("backends/onnx");
    let library = fs::read_dir(onnx).unwrap().next().unwrap().unwrap().path();
    let library_copy = libraries.join(library.file_name().unwrap());
    laptop.write("papers/lease.md", "# Lease\n\nThe rent is 412 crowns.\n");

    // Damaged: the document is saved and its words are found.
    fs::write(&library_copy, "no library").unwrap();
    let said = laptop.run(["import", "papers"]);
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    assert!(
        said.stderr.contains("remove the folder `backends/onnx`"),
        "{}",
        said.stderr
    );
    let hit = laptop.first_hit("lexical", "rent");
    assert!(hit.to_string().contains("412 crowns"), "{hit}");
    assert_eq!(embedded(&laptop), 0);

    // Removed, as the message says: llama.cpp embeds.
    fs::remove_file(&library_copy).unwrap();
    laptop.run(["index"]).expect_success();
    assert_eq!(embedded(&laptop), 1);
    let first = laptop.first_hit("vector", "monthly payment")["scores"]["cosine"].clone();

    // There again: what llama.cpp made is not compared with what onnxruntime makes.
    fs::copy(&library, &library_copy).unwrap();
    let said = laptop.run(["index"]).expect_success();
    assert!(
        said.stderr.contains("1 passages embedded"),
        "{}",
        said.stderr
    );
    let second = laptop.first_hit("vector", "monthly payment")["scores"]["cosine"].clone();
    assert_ne!(first, second, "both come from one engine");
    let difference = first.as_f64().unwrap() - second.as_f64().unwrap();
    assert!(difference.abs() < 0.05, "{first} and {second}");
}
