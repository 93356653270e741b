//! The document to send: what is declared, what pedantic mode wants to see, marks, and what a newer server holds besides.

use super::diff::same;
use super::observed::Document;
use super::step::{Change, without_server_marks};
use super::{MARK_KEY, MARK_VALUE, RESUMED_KEY};
use serde_json::{Value, json};

/// Fields that pedantic mode wants to see as the server would set them (nats-server `NewJSPedanticError`).
pub(super) const FORCED_STREAM: [&str; 6] =
    ["mirror_direct", "duplicate_window", "allow_msg_ttl", "allow_rollup_hdrs", "deny_purge", "republish"];
pub(super) const FORCED_CONSUMER: [&str; 5] =
    ["ack_wait", "max_ack_pending", "inactive_threshold", "flow_control", "idle_heartbeat"];

/// What is declared, and what pedantic mode would otherwise refuse to fill in.
pub(super) fn to_send(config: &Document, full: &Document, forced: &[&str]) -> Document {
    let mut document = config.clone();
    for key in forced {
        match full.get(*key) {
            Some(value) if !same(key, value, &Value::Null) => {
                document.insert((*key).into(), value.clone());
            }
            Some(value) if config.contains_key(*key) => {
                document.insert((*key).into(), value.clone());
            }
            _ => {}
        }
    }
    document
}

pub(super) fn with_mark(document: &Document, marks: &[(&str, &str)]) -> Document {
    let mut document = document.clone();
    if marks.is_empty() {
        return document;
    }
    let metadata = document.entry("metadata").or_insert_with(|| json!({}));
    if !metadata.is_object() {
        *metadata = json!({});
    }
    if let Some(metadata) = metadata.as_object_mut() {
        for (key, value) in marks {
            metadata.entry((*key).to_owned()).or_insert_with(|| (*value).into());
        }
    }
    document
}

/// The marks that something carries, to be carried on.
pub(super) fn kept_metadata(config: &Document, adopt: bool) -> Vec<(String, String)> {
    let metadata = config.get("metadata").and_then(Value::as_object);
    let mut kept: Vec<(String, String)> = metadata
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key == RESUMED_KEY || *key == MARK_KEY)
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .filter(|(key, value)| key != MARK_KEY || value == MARK_VALUE)
        .collect();
    if adopt && !kept.iter().any(|(key, _)| key == MARK_KEY) {
        kept.push((MARK_KEY.into(), MARK_VALUE.into()));
    }
    kept
}

pub(super) fn is_ours(config: &Document) -> bool {
    config.get("metadata").and_then(|m| m.get(MARK_KEY)).is_some_and(|v| v == MARK_VALUE)
}

/// An update replaces the whole document: fields of a newer server that we do not know are sent back as they are.
pub(super) fn merged(live: &Document, mut document: Document, known: &dyn Fn(&str) -> bool) -> Document {
    for (key, value) in live.iter().filter(|(key, _)| !known(key)) {
        document.entry(key.clone()).or_insert_with(|| value.clone());
    }
    document
}

/// A move and a change of replicas go in two updates (nats-server error 10123).
pub(super) fn placement_first(changes: &[Change], live: &Document, document: &Document) -> Option<Document> {
    let changed = |path: &str| changes.iter().any(|c| c.path.split('.').next() == Some(path));
    if !(changed("placement") && changed("num_replicas")) {
        return None;
    }
    let mut first = without_server_marks(live);
    match document.get("placement") {
        Some(placement) => first.insert("placement".into(), placement.clone()),
        None => first.remove("placement"),
    };
    Some(first)
}

/// The configuration that a moved consumer would have had, had it not been moved (see [`resumed`]).
#[must_use]
pub fn declared_start(config: &Document) -> Document {
    let mut config = config.clone();
    let mark = config.get("metadata").and_then(|m| m.get(RESUMED_KEY)).and_then(Value::as_str);
    let Some(Value::Object(start)) = mark.and_then(|text| serde_json::from_str(text).ok()) else {
        return config;
    };
    for key in START {
        match start.get(key) {
            Some(value) => config.insert(key.into(), value.clone()),
            None => config.remove(key),
        };
    }
    if let Some(Value::Object(metadata)) = config.get_mut("metadata") {
        metadata.remove(RESUMED_KEY);
        if metadata.is_empty() {
            config.remove("metadata");
        }
    }
    config
}

const START: [&str; 3] = ["deliver_policy", "opt_start_seq", "opt_start_time"];

/// A consumer's document, made to start right after its old ack floor, with a note of where it would have started.
#[must_use]
pub fn resumed(document: &Document, ack_floor: u64) -> Document {
    let mut moved = declared_start(document);
    let start: Document =
        START.iter().filter_map(|key| Some(((*key).to_owned(), moved.get(*key)?.clone()))).collect();
    moved.insert("deliver_policy".into(), "by_start_sequence".into());
    moved.insert("opt_start_seq".into(), (ack_floor + 1).into());
    moved.remove("opt_start_time");
    with_mark(&moved, &[(RESUMED_KEY, &Value::Object(start).to_string())])
}
