//! Rigs for the tests of the whole product: the repository, its source text, a laptop that runs Satchel; and the
//! evaluation of its answers.
//!
//! Holds no test and nothing that a program links; the promises themselves are in `tests/tests/`.
//! Start at [`Laptop`] for a test that runs the program, at [`repository`] for one that reads the source.

// Nothing here outlives a test: durable writes and named threads are for the product.
#![allow(clippy::disallowed_methods)]

pub mod bench;
pub mod dependencies;
pub mod disk;
pub mod edge;
pub mod eval;
pub mod file_host;
pub mod in_process;
pub mod laptop;
pub mod pairing;
pub mod peers;
pub mod repository;
pub mod source;
pub mod toy_models;
pub mod window;

pub use laptop::{Laptop, Outcome};

use std::path::{Path, PathBuf};

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");

/// The folder or file `path` of the evaluation data, or `None` where this machine has none of it.
///
/// The data is not part of the repository: it lies in `shared/data` beside it, or where the
/// environment variable `SATCHEL_DATA` says. A test without it prints that it was skipped.
#[must_use]
pub fn data(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SATCHEL_DATA")
        .map_or_else(|| repository::root().join("../shared/data"), PathBuf::from);
    let found = folder.join(path);
    if !found.exists() {
        eprintln!(
            "skipped: no evaluation data at {} (set SATCHEL_DATA to its folder)",
            found.display()
        );
        return None;
    }
    Some(found)
}

/// The folder with the models of the real user, where `make test` installs the starter models.
///
/// # Panics
/// When the program cannot say where it is.
#[must_use]
pub fn models_dir() -> PathBuf {
    let said = std::process::Command::new(satchel_bin())
        .args(["paths", "--json"])
        .output()
        .expect("the program starts");
    let paths: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_else(|error| {
        panic!(
            "`satchel paths --json` printed no JSON ({error}): {}",
            String::from_utf8_lossy(&said.stderr)
        )
    });
    PathBuf::from(
        paths["models"]
            .as_str()
            .expect("`satchel paths --json` names the folder of models"),
    )
}

/// The file of the starter chat model, some 94 MiB.
///
/// # Panics
/// When `make test` has not installed it.
#[must_use]
pub fn starter_chat_model() -> PathBuf {
    let entry = satchel_models::catalog::find("smollm2-135m-instruct-q4_1").expect("a starter");
    let entries = std::fs::read_dir(models_dir()).expect("`make test` installs models");
    let mut files = entries
        .flatten()
        .map(|folder| folder.path().join("model.gguf"));
    let is_it = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|file| file.len() == entry.size_bytes)
    };
    files
        .find(is_it)
        .expect("the starter chat model is installed")
}

/// The built program, in the build folder that this test runs from.
///
/// # Panics
/// When it was not built: `cargo test` alone does not build it for this package, `make test` does.
#[must_use]
pub fn satchel_bin() -> PathBuf {
    program("satchel")
}

/// The built edge node, in the build folder that this test runs from.
///
/// # Panics
/// When it was not built; see [`satchel_bin`].
#[must_use]
pub fn satchel_edge_bin() -> PathBuf {
    program("satchel-edge")
}

fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program knows its own path");
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    // <target>/debug/deps/<test>: the program is one folder up; two for a doctest or an example.
    let found = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join(&name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: run `make build` first",
            folder_of(&test).display()
        )
    })
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(file)
}
