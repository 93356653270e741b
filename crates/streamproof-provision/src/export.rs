//! A live server as the files of `nats-config`, minimal or in full, such that a plan against the same server is empty.

use serde_json::{Map, Value, json};
use std::path::PathBuf;
use streamproof_model::bucket::{KV_PREFIX, OBJECT_PREFIX, is_valid_name, kv_stream, object_stream};
use streamproof_model::normalize::{ServerFacts, normalize_consumer, normalize_stream};
use streamproof_model::plan::{
    ConsumerSeen, Document, MARK_KEY, MARK_VALUE, Observed, StreamSeen, declared_start, without_server_marks,
};
use streamproof_model::version::Version;

/// What an export writes, and what it leaves out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// The files, by their path below `nats-config`.
    pub files: Vec<(PathBuf, Value)>,
    /// What was left out, and why: one sentence each.
    pub notes: Vec<String>,
}

/// The files that ask for what was seen. With `full`, every field is written; else only what is not the server's default.
#[must_use]
pub fn export(observed: &Observed, full: bool) -> Export {
    let version = observed.server.version.parse().unwrap_or(Version::new(2, 15, 1));
    let mut facts = ServerFacts::of(version);
    let limit = observed.account.limits.get("max_ack_pending").and_then(Value::as_i64).filter(|n| *n > 0);
    facts.max_ack_pending = limit.and_then(|n| u64::try_from(n).ok());
    let mut export = Export::default();
    for seen in &observed.streams {
        let config = unmarked(&without_server_marks(&seen.config));
        let origin = origin(observed, &config);
        let normal = |doc: &Document| normalize_stream(doc, &facts, origin);
        let file = bucket(&seen.name, &config, &normal, full).unwrap_or_else(|| {
            let path = PathBuf::from("streams").join(format!("{}.json", seen.name));
            let keep = ["name"];
            (path, if full { normal(&config) } else { minimal(&config, &keep, &normal) })
        });
        export.files.push((file.0, Value::Object(file.1)));
    }
    for seen in &observed.consumers {
        if seen.is_internal() {
            export.notes.push(format!("{}/{} is the server's own: left out", seen.stream, seen.name));
        } else if !seen.is_durable() {
            export.notes.push(format!("{}/{} is not durable: left out", seen.stream, seen.name));
        } else {
            export.files.push(consumer(observed, seen, &facts, full));
        }
    }
    export
}

fn consumer(observed: &Observed, seen: &ConsumerSeen, facts: &ServerFacts, full: bool) -> (PathBuf, Value) {
    let mut config = unmarked(&declared_start(&without_server_marks(&seen.config)));
    config.remove("name");
    config.insert("durable_name".into(), seen.name.clone().into());
    let none = Map::new();
    let stream = observed.stream(&seen.stream).map_or(&none, |s: &StreamSeen| &s.config);
    let normal = |doc: &Document| normalize_consumer(doc, stream, facts);
    let path = PathBuf::from("consumers").join(&seen.stream).join(format!("{}.json", seen.name));
    // Without an ack policy a consumer never needs acks: nobody should have to know that default.
    let keep = ["durable_name", "ack_policy"];
    let mut document = if full { normal(&config) } else { minimal(&config, &keep, &normal) };
    document.remove("name");
    (path, Value::Object(document))
}

fn origin<'a>(observed: &'a Observed, config: &Document) -> Option<&'a Document> {
    let name = config.get("mirror")?.get("name")?.as_str()?;
    observed.stream(name).map(|seen| &seen.config)
}

/// Our own mark is put there by `apply`; no file needs it.
fn unmarked(config: &Document) -> Document {
    let mut config = config.clone();
    if let Some(Value::Object(metadata)) = config.get_mut("metadata") {
        metadata.retain(|key, value| key != MARK_KEY || value != MARK_VALUE);
        if metadata.is_empty() {
            config.remove("metadata");
        }
    }
    config
}

/// The document without the fields whose absence means the same.
fn minimal(config: &Document, keep: &[&str], normal: &dyn Fn(&Document) -> Document) -> Document {
    let whole = normal(config);
    let mut small = config.clone();
    for key in config.keys().filter(|key| !keep.contains(&key.as_str())) {
        let Some(value) = small.shift_remove(key) else { continue };
        if normal(&small) != whole {
            small.insert(key.clone(), value);
        }
    }
    // Put back in the order of the server.
    config.iter().filter(|(key, _)| small.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The file of a bucket, where the stream is exactly what such a file makes.
fn bucket(
    name: &str,
    config: &Document,
    normal: &dyn Fn(&Document) -> Document,
    full: bool,
) -> Option<(PathBuf, Document)> {
    let whole = normal(config);
    let (folder, bucket, make): (_, _, fn(&Document) -> Document) =
        if let Some(bucket) = name.strip_prefix(KV_PREFIX) {
            ("kv", bucket, kv_stream)
        } else {
            ("objects", name.strip_prefix(OBJECT_PREFIX)?, object_stream)
        };
    if !is_valid_name(bucket) {
        return None;
    }
    let kv = folder == "kv";
    let mut file = Document::new();
    file.insert("bucket".into(), bucket.into());
    let mut put = |key: &str, value: Option<&Value>| {
        if let Some(value) = value.filter(|v| !v.is_null()) {
            file.insert(key.into(), value.clone());
        }
    };
    for key in ["description", "max_bytes", "storage", "num_replicas", "placement", "metadata"] {
        put(key, config.get(key));
    }
    put("ttl", config.get("max_age"));
    if kv {
        put("history", config.get("max_msgs_per_subject"));
        put("max_value_size", config.get("max_msg_size"));
        put("limit_marker_ttl", config.get("subject_delete_marker_ttl"));
        for key in ["republish", "mirror", "sources"] {
            put(key, config.get(key));
        }
    }
    put("compression", Some(&json!(config.get("compression").is_some_and(|c| c == "s2"))));
    if normal(&make(&file)) != whole {
        return None;
    }
    let file = if full { file } else { minimal(&file, &["bucket"], &|doc| normal(&make(doc))) };
    Some((PathBuf::from(folder).join(format!("{bucket}.json")), file))
}
