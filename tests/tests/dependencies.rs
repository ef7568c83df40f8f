//! What may be linked: licences, banned crates, features and sources, as `deny.toml` says.
//!
//! Checks the whole of `Cargo.lock`, for all systems; needs no tool beside cargo.

use std::collections::BTreeMap;

use cargo_metadata::Source;
use satchel_tests::dependencies::{Rules, is_allowed};
use satchel_tests::repository::metadata;

#[test]
fn every_crate_has_a_licence_that_deny_toml_allows() {
    let rules = Rules::read();
    let mut refused = Vec::new();
    for package in &metadata().packages {
        match &package.license {
            Some(licence) if rules.allows(&package.name, licence) => {}
            Some(licence) => {
                refused.push(format!("{} {}: {licence}", package.name, package.version));
            }
            None => refused.push(format!("{} {}: no licence", package.name, package.version)),
        }
    }
    assert!(
        refused.is_empty(),
        "crates under licences that deny.toml does not allow (choose another crate, or add a reasoned exception there):\n  {}",
        refused.join("\n  ")
    );
}

#[test]
fn exceptions_for_licences_are_still_needed() {
    let rules = Rules::read();
    for name in rules.licences_of_crate.keys() {
        assert!(
            metadata()
                .packages
                .iter()
                .any(|package| package.name == *name),
            "deny.toml: the exception for {name} can go, the crate is not used any more"
        );
    }
}

/// What the chat model knew of a chat is kept in llama.cpp's own layout, which another version may change.
#[test]
fn kept_conversations_belong_to_the_llama_cpp_that_is_linked() {
    let name = "llama-cpp-2";
    let found = metadata()
        .packages
        .iter()
        .find(|package| package.name == name);
    let linked = found.map(|package| format!("{name} {}", package.version));
    assert_eq!(linked.as_deref(), Some(satchel_inference::STATE_VERSION));
}

#[test]
fn banned_crates_are_not_in_the_graph() {
    for name in Rules::read().banned_crates {
        let found = metadata()
            .packages
            .iter()
            .find(|package| package.name == name);
        assert!(
            found.is_none(),
            "{name} is in Cargo.lock, and deny.toml bans it; `cargo tree --invert {name}` says who brings it"
        );
    }
}

#[test]
fn crates_whose_types_cross_rooms_have_one_version() {
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in &metadata().packages {
        versions
            .entry(package.name.as_str())
            .or_default()
            .push(package.version.to_string());
    }
    for name in Rules::read().single_version {
        let found = versions.get(name.as_str()).unwrap_or_else(|| {
            panic!(
                "deny.toml wants one version of {name}, which is not used any more: remove the line"
            )
        });
        assert_eq!(
            found.len(),
            1,
            "{name} is in Cargo.lock in versions {found:?}; `cargo tree --duplicates` says why"
        );
    }
}

#[test]
fn banned_features_are_off() {
    let graph = metadata()
        .resolve
        .as_ref()
        .expect("cargo metadata resolves the graph");
    let banned = Rules::read().banned_features;
    for node in &graph.nodes {
        let name = metadata()[&node.id].name.as_str();
        let Some(banned) = banned.get(name) else {
            continue;
        };
        let on: Vec<_> = node
            .features
            .iter()
            .map(ToString::to_string)
            .filter(|feature| banned.contains(feature))
            .collect();
        assert!(
            on.is_empty(),
            "{name} has the features {on:?} enabled, which deny.toml bans with a reason"
        );
    }
}

#[test]
fn every_crate_comes_from_the_registry_or_from_here() {
    for package in &metadata().packages {
        let from_registry = package.source.as_ref().is_none_or(Source::is_crates_io);
        assert!(
            from_registry,
            "{} comes from {:?}: use a published version",
            package.name, package.source
        );
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let accepts =
        |licence: &str| matches!(licence, "MIT" | "ISC" | "Apache-2.0 WITH LLVM-exception");
    let cases = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT OR GPL-3.0", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT AND ISC", true),
        ("GPL-3.0 AND ISC OR MIT", true),
        ("GPL-3.0 AND (ISC OR MIT)", false),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
        ("(MIT", false),
        ("MIT ISC", false),
        ("", false),
    ];
    for (expression, expected) in cases {
        assert_eq!(is_allowed(expression, &accepts), expected, "{expression:?}");
    }
}
