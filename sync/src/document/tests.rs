//! Texts that are edited, and citations that survive it.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const ID: DocumentId = DocumentId([7; 16]);

fn document(text: &str) -> TextDocument {
    TextDocument::new(text, &json!({"title": "T"})).unwrap()
}

/// Automerge counts code points unless told otherwise, whatever its documentation says. Every stored
/// position would point elsewhere if a feature flag went missing.
#[test]
fn positions_are_utf8_bytes() {
    let text = "aé𝄞z";
    let document = document(text);
    assert_eq!(document.doc.length(&document.text), text.len());
    assert_eq!(
        document.doc.text_encoding(),
        automerge::TextEncoding::Utf8CodeUnit
    );
    let anchor = document.anchor(ID, 3..7).unwrap();
    assert_eq!(anchor.quote, "𝄞");
    assert_eq!(document.resolve(&anchor).unwrap().range, 3..7);
}

#[test]
fn an_update_is_one_change_and_no_update_is_none() {
    let mut document = document("one two three");
    let changes = |document: &TextDocument| document.doc.get_changes(&[]).len();
    assert_eq!(changes(&document), 1);
    assert!(document.set_text("one 2 three, four").unwrap());
    assert_eq!(changes(&document), 2);
    assert!(!document.set_text("one 2 three, four").unwrap());
    assert_eq!(changes(&document), 2);
    assert_eq!(document.text().unwrap(), "one 2 three, four");
}

#[test]
fn the_record_is_updated_field_by_field() {
    let mut document = document("text");
    document
        .set_about(&json!({"title": "New", "note": "x"}))
        .unwrap();
    assert_eq!(
        document.about::<Json>().unwrap(),
        json!({"title": "New", "note": "x"})
    );
    let heads = document.heads();
    document
        .set_about(&json!({"title": "New", "note": "x"}))
        .unwrap();
    assert_eq!(document.heads(), heads);
}

#[test]
fn edits_of_two_devices_merge() {
    let mut here = document("The cat sat on the mat.\n");
    let mut there = TextDocument::from_automerge(here.doc.fork()).unwrap();
    here.set_text("The black cat sat on the mat.\n").unwrap();
    there.set_text("The cat sat on the red mat.\n").unwrap();
    here.doc.merge(&mut there.doc).unwrap();
    assert_eq!(here.text().unwrap(), "The black cat sat on the red mat.\n");
}

fn cite(text: &str, quote: &str) -> (TextDocument, Anchor) {
    let document = document(text);
    let start = text.find(quote).unwrap();
    let anchor = document.anchor(ID, start..start + quote.len()).unwrap();
    (document, anchor)
}

fn check(before: &str, quote: &str, after: &str, now: &str, changed: bool) {
    let (mut document, anchor) = cite(before, quote);
    document.set_text(after).unwrap();
    let resolved = document.resolve(&anchor).unwrap();
    assert_eq!(
        (resolved.text.as_str(), resolved.changed),
        (now, changed),
        "{after:?}"
    );
    assert_eq!(&after[resolved.range], now);
}

#[test]
fn a_citation_survives_editing() {
    let text = "First line.\nThe answer is forty-two.\nLast line.\n";
    let quote = "The answer is forty-two.";
    check(text, quote, text, quote, false);
    check(
        text,
        quote,
        &format!("New beginning é.\n{text}"),
        quote,
        false,
    );
    check(
        text,
        quote,
        "First line.\nLast line.\nThe answer is forty-two.\n",
        quote,
        false,
    );
    check(
        text,
        quote,
        &text.replace("forty-two", "forty-three"),
        "The answer is forty-three.",
        true,
    );
    check(
        text,
        quote,
        &text.replace(" forty-two.", ""),
        "The answer is",
        true,
    );
    check(
        text,
        quote,
        &text.replace("The answer ", ""),
        "is forty-two.",
        true,
    );
    check(text, quote, "First line.\nLast line.\n", "", true);
    check(text, quote, "", "", true);
    check("quote rest", "quote", " rest", "", true);
    check("rest quote", "quote", "rest ", "", true);
}

#[test]
fn the_nearest_of_equal_passages_is_cited() {
    let text = "same\nother\nsame\n";
    let document = document(text);
    let anchor = document.anchor(ID, 11..15).unwrap();
    assert_eq!(document.resolve(&anchor).unwrap().range, 11..15);
}

#[test]
fn a_range_that_is_no_passage_is_refused() {
    let document = document("aé");
    for range in [0..0, 2..3, 0..9, 5..6] {
        assert!(matches!(
            document.anchor(ID, range),
            Err(AnchorError::NotAPassage { .. })
        ));
    }
}

#[test]
fn an_anchor_of_another_history_is_found_by_its_words_or_not_at_all() {
    let (_, anchor) = cite("Here the words are.", "the words");
    let other = document("Elsewhere the words stand too.");
    assert_eq!(other.resolve(&anchor).unwrap().range, 10..19);
    assert!(matches!(
        document("nothing").resolve(&anchor),
        Err(AnchorError::NotFound)
    ));
    for strange in ["", "é", "-", "x@", "1@zz", "99999999999999999999@00"] {
        let anchor = Anchor {
            start: strange.into(),
            end: strange.into(),
            ..anchor.clone()
        };
        assert!(document("nothing").resolve(&anchor).is_err(), "{strange}");
    }
}

#[test]
fn a_document_of_a_newer_version_is_refused() {
    let mut document = document("text");
    document
        .doc
        .transact(|tx| tx.put(ROOT, "format", 2))
        .unwrap();
    let refused = TextDocument::from_automerge(document.doc);
    assert!(matches!(refused, Err(LoadError::NewerSchema(2))));
    assert!(matches!(
        TextDocument::from_automerge(Automerge::new()),
        Err(LoadError::MissingPart(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_series_of_updates_ends_in_the_last_text(texts in proptest::collection::vec("[aé \n𝄞x]{0,40}", 1..6)) {
        let mut document = document("");
        let mut frames = vec![pack_snapshot(&document.doc, None)];
        for text in &texts {
            let heads = document.heads();
            document.set_text(text).unwrap();
            prop_assert_eq!(&document.text().unwrap(), text);
            frames.extend(pack_changes(&document.doc, &heads, None));
        }
        let loaded = TextDocument::from_automerge(load(&frames).unwrap()).unwrap();
        prop_assert_eq!(loaded.text().unwrap(), texts.last().unwrap().clone());
        prop_assert_eq!(loaded.heads(), document.heads());
    }

    #[test]
    fn an_anchor_always_resolves_inside_the_text(before in "[aé \n]{1,30}", after in "[aé \n]{0,30}") {
        let mut document = document(&before);
        let anchor = document.anchor(ID, 0..before.len()).unwrap();
        document.set_text(&after).unwrap();
        let resolved = document.resolve(&anchor).unwrap();
        prop_assert_eq!(&after[resolved.range.clone()], resolved.text.as_str());
        prop_assert_eq!(resolved.changed, resolved.text != before);
    }
}
