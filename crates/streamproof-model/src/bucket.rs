//! Key-value buckets and object stores as the streams that they are on a server.
//!
//! As ADR-8, ADR-20 and ADR-48 say and as nats.go (`jetstream/kv.go`, `jetstream/object.go`) and the `nats` CLI make them.

use serde_json::{Map, Value, json};

use crate::desired::Places;

/// What the stream of a bucket is named before the bucket's name.
pub const KV_PREFIX: &str = "KV_";
/// What the stream of an object store is named before the store's name.
pub const OBJECT_PREFIX: &str = "OBJ_";

/// The name of a bucket as the clients allow it: letters, digits, `-` and `_` (ADR-8).
#[must_use]
pub fn is_valid_name(bucket: &str) -> bool {
    !bucket.is_empty() && bucket.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The stream of a key-value bucket, as it is sent. Only what the file declares or the kind fixes is in it.
#[must_use]
pub fn kv_stream(file: &Map<String, Value>) -> Map<String, Value> {
    let bucket = file.get("bucket").and_then(Value::as_str).unwrap_or_default();
    let subject = format!("$KV.{bucket}.>");
    let mut stream = Map::new();
    let mut put = |key: &str, value: Value| stream.insert(key.to_owned(), value);
    put("name", format!("{KV_PREFIX}{bucket}").into());
    let mirror = file.get("mirror").and_then(Value::as_object);
    match mirror {
        Some(mirror) => {
            put("mirror", Value::Object(prefixed(mirror)));
            put("mirror_direct", true.into());
        }
        None => {
            put("subjects", json!([subject]));
        }
    }
    if let Some(Value::Array(sources)) = file.get("sources") {
        let sources = sources
            .iter()
            .filter_map(Value::as_object)
            .map(|source| Value::Object(kv_source(source, bucket)));
        put("sources", sources.collect());
    }
    put(
        "max_msgs_per_subject",
        file.get("history").filter(|history| **history != 0).cloned().unwrap_or(json!(1)),
    );
    put("discard", "new".into());
    put("allow_rollup_hdrs", true.into());
    put("deny_delete", true.into());
    put("allow_direct", true.into());
    for (key, field) in [("ttl", "max_age"), ("max_value_size", "max_msg_size")] {
        if let Some(value) = file.get(key) {
            put(field, value.clone());
        }
    }
    if let Some(ttl) = file.get("limit_marker_ttl").filter(|ttl| **ttl != 0) {
        put("allow_msg_ttl", true.into());
        put("subject_delete_marker_ttl", ttl.clone());
    }
    for key in ["description", "max_bytes", "storage", "num_replicas", "placement", "republish", "metadata"] {
        if let Some(value) = file.get(key) {
            put(key, value.clone());
        }
    }
    if let Some(value) = file.get("compression") {
        put("compression", compression(value));
    }
    stream
}

/// The stream of an object store, as it is sent. Only what the file declares or the kind fixes is in it.
#[must_use]
pub fn object_stream(file: &Map<String, Value>) -> Map<String, Value> {
    let bucket = file.get("bucket").and_then(Value::as_str).unwrap_or_default();
    let mut stream = Map::new();
    let mut put = |key: &str, value: Value| stream.insert(key.to_owned(), value);
    put("name", format!("{OBJECT_PREFIX}{bucket}").into());
    put("subjects", json!([format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")]));
    put("discard", "new".into());
    put("allow_rollup_hdrs", true.into());
    put("allow_direct", true.into());
    if let Some(ttl) = file.get("ttl") {
        put("max_age", ttl.clone());
    }
    for key in ["description", "max_bytes", "storage", "num_replicas", "placement", "metadata"] {
        if let Some(value) = file.get(key) {
            put(key, value.clone());
        }
    }
    if let Some(value) = file.get("compression") {
        put("compression", compression(value));
    }
    stream
}

/// Why a stream of this name is none that the clients can use as a bucket, in words that follow "it"; `None` where it is one, and
/// where the name is none of a bucket. The configuration is normalised.
#[must_use]
pub fn broken(name: &str, config: &Map<String, Value>) -> Option<String> {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let has = |subjects: Value| config.get("subjects") == Some(&subjects);
    let (kv, bucket) = match (name.strip_prefix(KV_PREFIX), name.strip_prefix(OBJECT_PREFIX)) {
        (Some(bucket), _) => (true, bucket),
        (_, Some(bucket)) => (false, bucket),
        _ => return None,
    };
    if !is_valid_name(bucket) {
        return Some("has a name that no bucket can have".into());
    }
    let mirror = config.get("mirror").is_some_and(|mirror| !mirror.is_null());
    let history = config.get("max_msgs_per_subject").and_then(Value::as_i64).unwrap_or(-1);
    let because = |why: &str| Some(why.to_owned());
    if kv && !mirror && !has(json!([format!("$KV.{bucket}.>")])) {
        return Some(format!(
            "would not have the subject $KV.{bucket}.>, under which the clients keep the keys"
        ));
    }
    if !kv && !mirror && !has(json!([format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")])) {
        return Some(format!(
            "would not have the subjects $O.{bucket}.C.> and $O.{bucket}.M.>, for chunks and their index"
        ));
    }
    if kv && !(1..=64).contains(&history) {
        return because("would not keep from 1 to 64 values of a key (max_msgs_per_subject)");
    }
    if text("retention") != "limits" {
        return because("would drop what consumers have seen (retention)");
    }
    if text("discard") != "new" && !mirror {
        return because("would drop the oldest where it has to refuse the newest (discard)");
    }
    if !on("allow_rollup_hdrs") && !mirror {
        return because("would refuse the roll-ups by which the clients purge (allow_rollup_hdrs)");
    }
    if on("deny_purge") {
        return because("would refuse to be purged (deny_purge)");
    }
    if config.get("subject_transform").is_some_and(|transform| !transform.is_null()) {
        return because("would store under other subjects than the clients look at (subject_transform)");
    }
    None
}

/// Lets the places of the stream's fields point to the keys of the bucket's file.
pub(crate) fn alias(places: &mut Places) {
    for (field, key) in [
        ("/name", "/bucket"),
        ("/subjects", "/bucket"),
        ("/max_msgs_per_subject", "/history"),
        ("/max_age", "/ttl"),
        ("/max_msg_size", "/max_value_size"),
        ("/subject_delete_marker_ttl", "/limit_marker_ttl"),
        ("/allow_msg_ttl", "/limit_marker_ttl"),
    ] {
        places.alias(field, key);
    }
}

fn compression(value: &Value) -> Value {
    if value == &Value::Bool(true) { "s2".into() } else { "none".into() }
}

/// A mirror's or source's name is that of a bucket, or already of its stream.
fn prefixed(source: &Map<String, Value>) -> Map<String, Value> {
    let mut source = source.clone();
    if let Some(Value::String(name)) = source.get_mut("name")
        && !name.starts_with(KV_PREFIX)
    {
        name.insert_str(0, KV_PREFIX);
    }
    source
}

/// The keys of a source are brought under the bucket's own subject, as nats.go does; not where it is this bucket elsewhere.
fn kv_source(source: &Map<String, Value>, bucket: &str) -> Map<String, Value> {
    let mut source = prefixed(source);
    let name = source.get("name").and_then(Value::as_str).unwrap_or_default();
    let origin = name.strip_prefix(KV_PREFIX).unwrap_or(name).to_owned();
    if !source.contains_key("subject_transforms") && (!source.contains_key("external") || origin != bucket) {
        let transform = json!([{"src": format!("$KV.{origin}.>"), "dest": format!("$KV.{bucket}.>")}]);
        source.insert("subject_transforms".to_owned(), transform);
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_bucket_is_the_stream_that_the_clients_make() {
        let stream = kv_stream(&map(
            json!({"bucket": "cfg", "history": 5, "ttl": 3_600_000_000_000u64, "compression": true, "limit_marker_ttl": 1_000_000_000}),
        ));
        assert_eq!(
            Value::Object(stream),
            json!({"name": "KV_cfg", "subjects": ["$KV.cfg.>"], "max_msgs_per_subject": 5, "discard": "new", "allow_rollup_hdrs": true,
                "deny_delete": true, "allow_direct": true, "max_age": 3_600_000_000_000u64, "allow_msg_ttl": true,
                "subject_delete_marker_ttl": 1_000_000_000, "compression": "s2"})
        );
    }

    #[test]
    fn mirrors_and_sources_of_buckets_are_named_by_bucket() {
        let mirror = kv_stream(&map(json!({"bucket": "copy", "mirror": {"name": "cfg"}})));
        assert_eq!(mirror["mirror"], json!({"name": "KV_cfg"}));
        assert!(!mirror.contains_key("subjects") && mirror["mirror_direct"] == true);
        let all = kv_stream(&map(
            json!({"bucket": "all", "sources": [{"name": "a"}, {"name": "KV_b", "subject_transforms": []}]}),
        ));
        assert_eq!(
            all["sources"][0],
            json!({"name": "KV_a", "subject_transforms": [{"src": "$KV.a.>", "dest": "$KV.all.>"}]})
        );
        assert_eq!(all["sources"][1], json!({"name": "KV_b", "subject_transforms": []}));
    }
}
