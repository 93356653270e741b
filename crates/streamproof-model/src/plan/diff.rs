//! Two configurations, field by field: what differs, and where the wanted value comes from.

use super::observed::Document;
use super::step::{Change, Class, Effect};
use super::{MARK_KEY, MARK_VALUE, RESUMED_KEY};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Fields that are objects and are compared part by part.
const PARTS: [&str; 3] = ["metadata", "consumer_limits", "placement"];

/// Lists in which the order means nothing to the server.
const SETS: [&str; 6] =
    ["subjects", "filter_subjects", "sources", "priority_groups", "tags", "subject_transforms"];

/// What differs between a live configuration and a wanted one, both normalised.
///
/// `declared` are the top-level fields that the file sets. A field that only the server has, and that is in none of the
/// `known` ones, is of a newer server than we know: it is left as it is.
pub(super) fn changes(
    live: &Document,
    wanted: &Document,
    declared: &BTreeSet<String>,
    known: &dyn Fn(&str) -> bool,
) -> Vec<Change> {
    let mut keys: Vec<&String> = wanted.keys().collect();
    keys.extend(live.keys().filter(|key| !wanted.contains_key(*key)));
    let mut found = Vec::new();
    for key in keys {
        if key == "name" || key == "durable_name" || (!known(key) && !declared.contains(key)) {
            continue;
        }
        let class = if declared.contains(key) { Class::Declared } else { Class::Drift };
        let (from, to) = (live.get(key).unwrap_or(&Value::Null), wanted.get(key).unwrap_or(&Value::Null));
        if PARTS.contains(&key.as_str()) {
            parts(key, from, to, class, &mut found);
        } else if !same(key, from, to) {
            found.push(change(key.clone(), from, to, class));
        }
    }
    found
}

fn parts(key: &str, from: &Value, to: &Value, class: Class, found: &mut Vec<Change>) {
    let none = Map::new();
    let (from, to) = (from.as_object().unwrap_or(&none), to.as_object().unwrap_or(&none));
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    for name in names {
        if key == "metadata" && is_mark(name, from.get(name), to.get(name)) {
            continue;
        }
        let (a, b) = (from.get(name).unwrap_or(&Value::Null), to.get(name).unwrap_or(&Value::Null));
        if !same(name, a, b) {
            let class = if to.contains_key(name) { class } else { Class::Drift };
            found.push(change(format!("{key}.{name}"), a, b, class));
        }
    }
}

/// Metadata that nobody wrote into a file: the server's own, our mark of ownership, the note on a moved position.
fn is_mark(name: &str, from: Option<&Value>, to: Option<&Value>) -> bool {
    name.starts_with("_nats.")
        || (to.is_none()
            && (name == RESUMED_KEY || (name == MARK_KEY && from.is_some_and(|v| v == MARK_VALUE))))
}

fn change(path: String, from: &Value, to: &Value, class: Class) -> Change {
    Change { path, from: from.clone(), to: to.clone(), class, effect: Effect::InPlace, rule: None }
}

/// Whether two values mean the same to the server: Go's zero values are the same as nothing.
pub(super) fn same(key: &str, a: &Value, b: &Value) -> bool {
    if SETS.contains(&key) {
        return set(a) == set(b);
    }
    bare(a) == bare(b)
}

fn set(value: &Value) -> Vec<String> {
    let mut items: Vec<String> =
        value.as_array().map(|items| items.iter().map(|i| bare(i).to_string()).collect()).unwrap_or_default();
    items.sort();
    items
}

/// A value without what means nothing: nulls, zeros, empty texts, lists and objects. Keys in order.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> =
                map.iter().map(|(k, v)| (k.clone(), bare(v))).filter(|(_, v)| !v.is_null()).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            if entries.is_empty() { Value::Null } else { Value::Object(entries.into_iter().collect()) }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => Value::Array(items.iter().map(bare).collect()),
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Bool(false) => Value::Null,
        Value::Number(n) if n.as_f64() == Some(0.0) => Value::Null,
        other => other.clone(),
    }
}
