//! Rules of `deny.toml` and licence expressions, checked without a further tool.
//!
//! Knows the part of cargo-deny's format that our file uses; cargo-deny itself reads the same file.
//! Start at [`Rules::read`] and [`is_allowed`].

use std::collections::{BTreeMap, BTreeSet};

use crate::repository;

/// What `deny.toml` says.
#[derive(Debug)]
pub struct Rules {
    /// Licences that every crate may have.
    pub licences: BTreeSet<String>,
    /// Further licences by crate.
    pub licences_of_crate: BTreeMap<String, BTreeSet<String>>,
    /// Crates that may not be in the graph at all.
    pub banned_crates: Vec<String>,
    /// Crates that may be in the graph in one version only.
    pub single_version: Vec<String>,
    /// Features that may not be enabled, by crate.
    pub banned_features: BTreeMap<String, Vec<String>>,
}

impl Rules {
    /// Reads `deny.toml` at the top of the repository.
    ///
    /// # Panics
    /// When the file is missing or has another shape than this reader knows.
    #[must_use]
    pub fn read() -> Self {
        let text = std::fs::read_to_string(repository::root().join("deny.toml"))
            .expect("deny.toml is at the top of the repository");
        let file: toml::Table = text.parse().expect("deny.toml is TOML");
        let licences = strings(&file["licenses"]["allow"]).into_iter().collect();
        let by_crate =
            |entry: &toml::Value, key: &str| (string(&entry["crate"]), strings(&entry[key]));
        let exceptions = array(&file["licenses"]["exceptions"])
            .iter()
            .map(|entry| by_crate(entry, "allow"));
        let is_single = |entry: &&toml::Value| entry.get("deny-multiple-versions").is_some();
        let denied = array(&file["bans"]["deny"]);
        Self {
            licences,
            licences_of_crate: exceptions
                .map(|(name, more)| (name, more.into_iter().collect()))
                .collect(),
            banned_crates: denied
                .iter()
                .filter(|entry| !is_single(entry))
                .map(|entry| string(&entry["crate"]))
                .collect(),
            single_version: denied
                .iter()
                .filter(is_single)
                .map(|entry| string(&entry["crate"]))
                .collect(),
            banned_features: array(&file["bans"]["features"])
                .iter()
                .map(|entry| by_crate(entry, "deny"))
                .collect(),
        }
    }

    /// Whether the crate `name` may have the licence `expression`.
    #[must_use]
    pub fn allows(&self, name: &str, expression: &str) -> bool {
        let more = self.licences_of_crate.get(name);
        is_allowed(expression, &|licence| {
            self.licences.contains(licence) || more.is_some_and(|more| more.contains(licence))
        })
    }
}

fn array(value: &toml::Value) -> &[toml::Value] {
    value.as_array().expect("a list in deny.toml")
}

fn string(value: &toml::Value) -> String {
    value.as_str().expect("a text in deny.toml").to_owned()
}

fn strings(value: &toml::Value) -> Vec<String> {
    array(value).iter().map(string).collect()
}

/// Whether an SPDX expression can be met with licences that `accepts` says yes to.
///
/// `OR` needs one side, `AND` both; `AND` binds closer. `MIT/Apache-2.0`, the form of old manifests,
/// means `OR`. A licence with an exception is one name: `Apache-2.0 WITH LLVM-exception`.
#[must_use]
pub fn is_allowed(expression: &str, accepts: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let allowed = any_of(&mut words, accepts);
    allowed && words.is_empty()
}

/// `words` is the rest of the expression, last word first.
fn any_of(words: &mut Vec<&str>, accepts: &dyn Fn(&str) -> bool) -> bool {
    let mut allowed = all_of(words, accepts);
    while words.pop_if(|word| *word == "OR").is_some() {
        allowed |= all_of(words, accepts);
    }
    allowed
}

fn all_of(words: &mut Vec<&str>, accepts: &dyn Fn(&str) -> bool) -> bool {
    let mut allowed = one(words, accepts);
    while words.pop_if(|word| *word == "AND").is_some() {
        allowed &= one(words, accepts);
    }
    allowed
}

fn one(words: &mut Vec<&str>, accepts: &dyn Fn(&str) -> bool) -> bool {
    match words.pop() {
        Some("(") => {
            let allowed = any_of(words, accepts);
            words.pop_if(|word| *word == ")").is_some() && allowed
        }
        Some(licence) if words.pop_if(|word| *word == "WITH").is_some() => words
            .pop()
            .is_some_and(|exception| accepts(&format!("{licence} WITH {exception}"))),
        Some(licence) => accepts(licence),
        None => false,
    }
}
