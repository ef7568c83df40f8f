//! Walls between the rooms: who may depend on whom, and where egui and tokio may be used.
//!
//! Reads manifests, the crate graph and source text; compiles nothing.
//! The picture is in the README; a wall that is in the way is discussed there first, then changed in both places.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};
use satchel_tests::repository::{self, File, metadata};
use satchel_tests::source;

/// Every arrow between crates of the workspace. `satchel-tests` may point at all of them.
const ARROWS: [(&str, &[&str]); 7] = [
    (
        "satchel-app",
        &[
            "satchel-inference",
            "satchel-models",
            "satchel-sync",
            "satchel-vector",
        ],
    ),
    ("satchel-inference", &[]),
    ("satchel-vector", &[]),
    ("satchel-models", &[]),
    ("satchel-sync", &["satchel-protocol"]),
    ("satchel-protocol", &[]),
    ("satchel-edge-node", &["satchel-protocol"]),
];

/// Arrows of tests alone. The one reason so far: a driver is proven against the real other end.
const ARROWS_OF_TESTS: [(&str, &str); 1] = [("satchel-sync", "satchel-edge-node")];

/// Third-party crates by the beginning of their name, and who alone may name them in a manifest.
const OWNERS: [(&str, &[&str]); 16] = [
    ("llama-cpp-", &["satchel-inference"]),
    ("lance", &["satchel-vector"]),
    ("arrow", &["satchel-vector"]),
    ("datafusion", &["satchel-vector"]),
    ("automerge", &["satchel-sync", "satchel-tests"]),
    ("keyring", &["satchel-sync"]),
    ("safetensors", &["satchel-models"]),
    (
        "quinn",
        &["satchel-sync", "satchel-edge-node", "satchel-tests"],
    ),
    ("redb", &["satchel-edge-node", "satchel-sync"]),
    ("eframe", &["satchel-app", "satchel-tests"]),
    ("egui", &["satchel-app", "satchel-tests"]),
    ("reqwest", &["satchel-models"]),
    ("pdf_oxide", &["satchel-app"]),
    ("undoc", &["satchel-app"]),
    ("axum", &["satchel-app"]),
    ("rmcp", &["satchel-app"]),
];

/// What the edge node must not even link: keys, documents, the index, models.
const NEVER_IN_EDGE_NODE: [&str; 8] = [
    "satchel-sync",
    "satchel-vector",
    "satchel-inference",
    "satchel-models",
    "automerge",
    "lance",
    "llama-cpp-",
    "keyring",
];

/// What the protocol must not link: it is layouts, numbers and signatures, no input or output. It links aws-lc-rs,
/// because both ends verify the same Ed25519 signatures.
const NEVER_IN_PROTOCOL: [&str; 4] = ["tokio", "quinn", "rustls", "automerge"];

#[test]
fn crates_of_the_workspace_depend_on_each_other_as_in_the_picture() {
    let expected: BTreeMap<&str, BTreeSet<&str>> = ARROWS
        .iter()
        .map(|(from, to)| (*from, to.iter().copied().collect()))
        .collect();
    let found: BTreeMap<&str, BTreeSet<&str>> = members()
        .filter(|package| package.name != "satchel-tests")
        .map(|package| {
            (
                package.name.as_str(),
                ours(package, |kind| kind != DependencyKind::Development),
            )
        })
        .collect();
    assert_eq!(
        found, expected,
        "arrows between crates: left is in the manifests, right is the picture in the README and ARROWS here"
    );
}

#[test]
fn tests_inside_a_crate_see_no_other_room_than_the_crate_itself() {
    for (name, arrows) in ARROWS {
        let package = members()
            .find(|package| package.name == name)
            .expect("every crate of the picture is a member");
        for other in ours(package, |kind| kind == DependencyKind::Development) {
            assert!(
                other == name
                    || arrows.contains(&other)
                    || ARROWS_OF_TESTS.contains(&(name, other)),
                "{name} has the dev-dependency {other}: a test that needs both belongs in `tests/tests/`"
            );
        }
    }
}

#[test]
fn a_heavy_crate_is_named_by_its_own_room_alone() {
    for package in members() {
        for dependency in &package.dependencies {
            let owners = OWNERS
                .iter()
                .find(|(prefix, _)| dependency.name.starts_with(prefix))
                .map(|(_, owners)| *owners);
            assert!(
                owners.is_none_or(|owners| owners.contains(&package.name.as_str())),
                "{} depends on {}: only {owners:?} may, others ask it through its door",
                package.name,
                dependency.name
            );
        }
    }
}

#[test]
fn the_edge_node_cannot_link_keys_documents_index_or_models() {
    assert_closure_is_free_of("satchel-edge-node", &NEVER_IN_EDGE_NODE);
}

#[test]
fn the_protocol_links_no_input_or_output() {
    assert_closure_is_free_of("satchel-protocol", &NEVER_IN_PROTOCOL);
    let files = product_files(|path| path.starts_with("sync/protocol/src/"));
    assert_no_word(
        &files,
        &["std::fs", "std::net", "std::io", "std::thread"],
        "the protocol does no input or output: the caller does",
    );
}

#[test]
fn egui_is_used_inside_app_ui_alone() {
    let files = product_files(|path| !path.starts_with("app/src/ui/") && path != "app/src/ui.rs");
    let words = [
        "egui",
        "eframe",
        "egui_extras",
        "egui_commonmark",
        "egui_tiles",
        "egui_notify",
    ];
    assert_no_word(
        &files,
        &words,
        "only `app/src/ui` draws; the backend gets a `wake` function instead",
    );
}

#[test]
fn other_programs_are_answered_inside_app_serve_alone() {
    let serves = |path: &str| path.starts_with("app/src/serve/");
    assert_no_word(
        &product_files(|path| !serves(path)),
        &["axum"],
        "only `app/src/serve` speaks HTTP; the rest knows commands and events",
    );
    assert_no_word(
        &product_files(|path| !serves(path) && !path.starts_with("app/src/backend/mcp/")),
        &["rmcp"],
        "only `app/src/serve` answers MCP and `app/src/backend/mcp` asks by it; the rest knows commands and tools",
    );
}

#[test]
fn async_runtimes_are_built_in_two_places_alone() {
    let places = ["app/src/backend/runtime.rs", "edge-node/src/main.rs"];
    let files = product_files(|path| !places.contains(&path));
    let words = [
        "Runtime::new",
        "new_multi_thread",
        "new_current_thread",
        "tokio::main",
        "runtime::Builder",
    ];
    assert_no_word(
        &files,
        &words,
        "a runtime is built in app/src/backend/runtime.rs and edge-node/src/main.rs; libraries offer `async fn` or a blocking call",
    );
}

#[test]
fn sync_uses_the_network_inside_net_alone() {
    let files =
        product_files(|path| path.starts_with("sync/src/") && !path.starts_with("sync/src/net/"));
    assert_no_word(
        &files,
        &["tokio", "quinn"],
        "in sync only `sync/src/net` knows tokio and quinn; the rest is blocking or pure",
    );
}

#[test]
fn models_use_the_network_inside_fetch_alone() {
    let files = product_files(|path| {
        path.starts_with("models/src/") && !path.starts_with("models/src/fetch")
    });
    assert_no_word(
        &files,
        &["tokio", "reqwest"],
        "in models only `models/src/fetch` knows tokio and reqwest; the rest is blocking or pure",
    );
}

fn members() -> impl Iterator<Item = &'static Package> {
    metadata().workspace_packages().into_iter()
}

/// Crates of the workspace that `package` names in its manifest.
fn ours(
    package: &'static Package,
    wanted: impl Fn(DependencyKind) -> bool,
) -> BTreeSet<&'static str> {
    let dependencies = package
        .dependencies
        .iter()
        .filter(|dependency| wanted(dependency.kind));
    dependencies
        .map(|dependency| dependency.name.as_str())
        .filter(|name| name.starts_with("satchel-"))
        .collect()
}

fn assert_closure_is_free_of(name: &str, forbidden: &[&str]) {
    let start = members()
        .find(|package| package.name == name)
        .unwrap_or_else(|| panic!("{name} is a member of the workspace"));
    let came_from = closure(metadata(), &start.id);
    for id in came_from.keys() {
        let name_of_crate = metadata()[*id].name.as_str();
        let is_forbidden = forbidden
            .iter()
            .any(|prefix| name_of_crate.starts_with(prefix));
        assert!(
            !is_forbidden,
            "{name} must not link {name_of_crate}, but does: {}",
            chain(&came_from, id)
        );
    }
}

/// Everything that `start` links on any system, build scripts included, each with who brought it in.
fn closure<'a>(
    metadata: &'a Metadata,
    start: &'a PackageId,
) -> BTreeMap<&'a PackageId, Option<&'a PackageId>> {
    let graph = metadata
        .resolve
        .as_ref()
        .expect("cargo metadata resolves the graph");
    let nodes: BTreeMap<_, _> = graph.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut came_from = BTreeMap::from([(start, None)]);
    let mut waiting = VecDeque::from([start]);
    while let Some(id) = waiting.pop_front() {
        let linked = nodes[id].deps.iter().filter(|dep| {
            dep.dep_kinds
                .iter()
                .any(|kind| kind.kind != DependencyKind::Development)
        });
        for dep in linked {
            came_from.entry(&dep.pkg).or_insert_with(|| {
                waiting.push_back(&dep.pkg);
                Some(id)
            });
        }
    }
    came_from
}

/// `a ← b ← c`: how a crate came into the closure.
fn chain(came_from: &BTreeMap<&PackageId, Option<&PackageId>>, id: &PackageId) -> String {
    let mut names = vec![metadata()[id].name.to_string()];
    let mut at = came_from[id];
    while let Some(id) = at {
        names.push(metadata()[id].name.to_string());
        at = came_from[id];
    }
    names.join(" ← ")
}

/// Files that end up in a program, chosen by path, with their code.
fn product_files(wanted: impl Fn(&str) -> bool) -> Vec<(&'static File, String)> {
    let tests = source::test_modules();
    let is_product =
        |file: &File| !file.is_test() && !tests.contains(&file.path) && wanted(&file.path);
    let found: Vec<_> = repository::rust_files()
        .filter(|(file, _)| is_product(file))
        .map(|(file, text)| (file, source::product_code(text)))
        .collect();
    assert!(
        !found.is_empty(),
        "no file is checked here any more: was a folder renamed?"
    );
    found
}

fn assert_no_word(files: &[(&File, String)], words: &[&str], why: &str) {
    let mut found = Vec::new();
    for (file, code) in files {
        for word in words {
            found.extend(
                source::lines_with_word(code, word)
                    .into_iter()
                    .map(|line| format!("{}:{line}: {word}", file.path)),
            );
        }
    }
    assert!(found.is_empty(), "{why}:\n  {}", found.join("\n  "));
}
