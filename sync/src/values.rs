//! Turns plain data into Automerge values and back, by way of JSON.
//!
//! A record is an Automerge map with one entry per field, so that two devices that change different fields
//! of one record both win. Pure. Start at [`to_value`] and [`from_map`].

use std::collections::HashMap;

use automerge::hydrate::{List, Map, Value};
use automerge::transaction::{Transactable, Transaction};
use automerge::{AutomergeError, ObjId, ScalarValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map as Json, Number, Value as JsonValue};

/// A record as Automerge will hold it. Fields without a value are left out.
///
/// # Panics
/// When `record` is not a plain struct, which is a mistake in this crate.
pub(crate) fn to_json(record: &impl Serialize) -> Json<String, JsonValue> {
    match serde_json::to_value(record) {
        Ok(JsonValue::Object(mut fields)) => {
            fields.retain(|_, value| !value.is_null());
            fields
        }
        other => panic!("records are plain structs, this is {other:?}"),
    }
}

/// A record as an Automerge map.
pub(crate) fn to_map(record: &impl Serialize) -> Map {
    object(&to_json(record))
}

/// Fields as an Automerge map.
pub(crate) fn object(fields: &Json<String, JsonValue>) -> Map {
    let values: HashMap<&str, Value> = fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.as_str(), to_value(value)))
        .collect();
    Map::from(values)
}

fn to_value(json: &JsonValue) -> Value {
    match json {
        JsonValue::Array(items) => {
            Value::List(List::from(items.iter().map(to_value).collect::<Vec<_>>()))
        }
        JsonValue::Object(fields) => Value::Map(object(fields)),
        plain => Value::Scalar(to_scalar(plain)),
    }
}

fn to_scalar(json: &JsonValue) -> ScalarValue {
    match json {
        JsonValue::Bool(value) => ScalarValue::Boolean(*value),
        JsonValue::String(text) => ScalarValue::Str(text.as_str().into()),
        JsonValue::Number(number) => number.as_i64().map_or_else(
            || ScalarValue::F64(number.as_f64().unwrap_or(0.0)),
            ScalarValue::Int,
        ),
        _ => ScalarValue::Null,
    }
}

/// Reads a record from an Automerge map; fields that another version added are ignored.
///
/// # Errors
/// When a field is missing or of another kind: the record was written by something else.
pub(crate) fn from_map<T: DeserializeOwned>(map: &Map) -> Result<T, serde_json::Error> {
    serde_json::from_value(JsonValue::Object(json_object(map)))
}

fn json_object(map: &Map) -> Json<String, JsonValue> {
    map.iter()
        .map(|(name, entry)| (name.clone(), to_json_value(&entry.value)))
        .collect()
}

fn to_json_value(value: &Value) -> JsonValue {
    match value {
        Value::Map(map) => JsonValue::Object(json_object(map)),
        Value::List(list) => list.iter().map(|item| to_json_value(&item.value)).collect(),
        Value::Text(text) => JsonValue::String(String::from(text)),
        Value::Scalar(scalar) => scalar_to_json(scalar),
    }
}

fn scalar_to_json(scalar: &ScalarValue) -> JsonValue {
    match scalar {
        ScalarValue::Str(text) => JsonValue::String(text.to_string()),
        ScalarValue::Int(number) | ScalarValue::Timestamp(number) => JsonValue::from(*number),
        ScalarValue::Uint(number) => JsonValue::from(*number),
        ScalarValue::F64(number) => {
            Number::from_f64(*number).map_or(JsonValue::Null, JsonValue::Number)
        }
        ScalarValue::Boolean(value) => JsonValue::Bool(*value),
        ScalarValue::Counter(counter) => JsonValue::from(i64::from(counter)),
        ScalarValue::Bytes(_) | ScalarValue::Unknown { .. } | ScalarValue::Null => JsonValue::Null,
    }
}

/// Changes the fields of a record in place: only those that differ, so that other devices' changes to
/// other fields survive a merge.
pub(crate) fn update_record(
    transaction: &mut Transaction<'_>,
    record: &ObjId,
    old: &Json<String, JsonValue>,
    new: &Json<String, JsonValue>,
) -> Result<(), AutomergeError> {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        transaction.delete(record, name.as_str())?;
    }
    for (name, value) in new
        .iter()
        .filter(|(name, value)| old.get(*name) != Some(value))
    {
        match value {
            JsonValue::Array(_) | JsonValue::Object(_) => {
                transaction.batch_create_object(record, name.as_str(), &to_value(value), false)?;
            }
            plain => transaction.put(record, name.as_str(), to_scalar(plain))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::{Automerge, ROOT, ReadDoc};
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Record {
        name: String,
        count: u64,
        score: f32,
        yes: bool,
        nothing: Option<String>,
        parts: Vec<Record>,
    }

    fn record(name: &str, parts: Vec<Record>) -> Record {
        Record {
            name: name.to_owned(),
            count: 3,
            score: 0.25,
            yes: true,
            nothing: None,
            parts,
        }
    }

    #[test]
    fn a_record_survives_automerge() {
        let before = record("é", vec![record("inner", vec![])]);
        let mut doc = Automerge::new();
        doc.transact(|tx| {
            tx.batch_create_object(ROOT, "record", &Value::Map(to_map(&before)), false)
        })
        .unwrap();
        let bytes = doc.save();
        let doc = Automerge::load(&bytes).unwrap();
        let Value::Map(root) = doc.hydrate(None) else {
            panic!()
        };
        let Some(Value::Map(map)) = root.get("record") else {
            panic!()
        };
        assert_eq!(from_map::<Record>(map).unwrap(), before);
    }

    #[test]
    fn two_devices_that_change_different_fields_both_win() {
        let start = record("start", vec![]);
        let mut here = Automerge::new();
        here.transact(|tx| {
            tx.batch_create_object(ROOT, "record", &Value::Map(to_map(&start)), false)
        })
        .unwrap();
        let mut there = here.fork();
        let change = |doc: &mut Automerge, new: Record| {
            let object = doc.get(ROOT, "record").unwrap().unwrap().1;
            doc.transact(|tx| update_record(tx, &object, &to_json(&start), &to_json(&new)))
                .unwrap();
        };
        change(
            &mut here,
            Record {
                name: "renamed".into(),
                ..record("", vec![])
            },
        );
        change(
            &mut there,
            Record {
                count: 9,
                ..record("start", vec![])
            },
        );
        here.merge(&mut there).unwrap();
        let Value::Map(root) = here.hydrate(None) else {
            panic!()
        };
        let Some(Value::Map(map)) = root.get("record") else {
            panic!()
        };
        let merged: Record = from_map(map).unwrap();
        assert_eq!((merged.name.as_str(), merged.count), ("renamed", 9));
    }
}
