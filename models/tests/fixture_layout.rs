//! The independent vectors that other tests compare with are complete and well-formed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use serde_json::Value;

fn rows(fixture: &Value, key: &str) -> Vec<Vec<f64>> {
    serde_json::from_value(fixture[key].clone()).unwrap()
}

#[test]
fn the_fixture_has_50_different_texts_with_unit_vectors() {
    let fixture: Value =
        serde_json::from_str(include_str!("fixtures/minilm_vectors.json")).unwrap();
    let texts: std::collections::HashSet<String> =
        serde_json::from_value(fixture["texts"].clone()).unwrap();
    let tokens: Vec<usize> = serde_json::from_value(fixture["tokens"].clone()).unwrap();
    assert_eq!((texts.len(), tokens.len()), (50, 50));
    assert!(tokens.iter().all(|count| (3..=512).contains(count)));
    assert!(
        tokens.iter().filter(|count| **count > 256).count() >= 3,
        "long texts are among them"
    );
    for (key, count) in [("vectors", 50), ("cls_vectors", 8), ("last_vectors", 8)] {
        let rows = rows(&fixture, key);
        assert_eq!(rows.len(), count, "{key}");
        for row in rows {
            assert_eq!(row.len(), 384);
            let length = row.iter().map(|number| number * number).sum::<f64>().sqrt();
            assert!(
                (length - 1.0).abs() < 1e-4,
                "a vector of length {length} in {key}"
            );
        }
    }
}

#[test]
fn the_poolings_give_different_vectors() {
    let fixture: Value =
        serde_json::from_str(include_str!("fixtures/minilm_vectors.json")).unwrap();
    let (mean, cls, last) = (
        rows(&fixture, "vectors"),
        rows(&fixture, "cls_vectors"),
        rows(&fixture, "last_vectors"),
    );
    let cosine = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for index in 0..cls.len() {
        for (a, b) in [(&mean, &cls), (&mean, &last), (&cls, &last)] {
            assert!(
                cosine(&a[index], &b[index]) < 0.999,
                "text {index}: a wrong pooling would not be noticed"
            );
        }
    }
}
