//! The configuration that a server makes of the one it is sent: its defaults, by version, in one comparable form.
//!
//! Ported from nats-server: `checkStreamCfg` (`server/stream.go`) and `setConsumerConfigDefaults` (`server/consumer.go`), read at
//! every release tag from 2.10.0. Both functions are idempotent, so that what a server shows goes through them unchanged but for
//! its form: lists whose order means nothing are sorted, and what stands for nothing (`"consumer_limits": {}`, `"placement": {}`,
//! `null`, an empty list, metadata that the server adds under `_nats.`) is left out.

mod consumer;
mod stream;

use serde_json::{Map, Value};

use crate::fields::Field;
use crate::moment;
use crate::version::Version;

pub use consumer::normalize_consumer;
pub(crate) use consumer::{FLOW_CONTROL_HEARTBEAT_NS, in_form as consumer_in_form};
pub use stream::normalize_stream;
pub(crate) use stream::{implicit_republish, in_form as stream_in_form};

/// What of a server its defaults depend on.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// Its version.
    pub version: Version,
    /// `jetstream { limits { duplicate_window } }`, in nanoseconds.
    pub duplicate_window_ns: Option<u64>,
    /// `jetstream { limits { max_request_batch } }`.
    pub max_request_batch: Option<u64>,
    /// The smaller of `jetstream { limits { max_ack_pending } }` and the account's own.
    pub max_ack_pending: Option<u64>,
}

impl ServerFacts {
    /// A server without limits of its own.
    #[must_use]
    pub const fn of(version: Version) -> ServerFacts {
        ServerFacts { version, duplicate_window_ns: None, max_request_batch: None, max_ack_pending: None }
    }
}

/// Metadata under this prefix is the server's own (ADR-44).
pub const SERVER_METADATA: &str = "_nats.";

/// Keys of metadata that belong to the server are taken out; metadata without any key is none.
fn strip_metadata(config: &mut Map<String, Value>) {
    if let Some(Value::Object(metadata)) = config.get_mut("metadata") {
        metadata.retain(|key, _| !key.starts_with(SERVER_METADATA));
    }
}

/// What the server's JSON leaves out (`omitempty`): null, and empty strings, lists and objects; zero and false only of the fields
/// named.
fn drop_empty(config: &mut Map<String, Value>, zeros: &[&str]) {
    config.retain(|key, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(flag) => *flag || !zeros.contains(&key.as_str()),
        Value::Number(number) => number.as_f64() != Some(0.0) || !zeros.contains(&key.as_str()),
    });
}

fn integer(config: &Map<String, Value>, key: &str) -> i64 {
    config.get(key).and_then(Value::as_i64).unwrap_or(0)
}

fn flag(config: &Map<String, Value>, key: &str) -> bool {
    config.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn text<'a>(config: &'a Map<String, Value>, key: &str) -> &'a str {
    config.get(key).and_then(Value::as_str).unwrap_or("")
}

fn list_is_empty(config: &Map<String, Value>, key: &str) -> bool {
    config.get(key).and_then(Value::as_array).is_none_or(Vec::is_empty)
}

/// Absent or null becomes `value`.
fn default(config: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if config.get(key).is_none_or(Value::is_null) {
        config.insert(key.to_owned(), value.into());
    }
}

/// The order of these means nothing to the server.
fn sort(config: &mut Map<String, Value>, key: &str) {
    if let Some(Value::Array(items)) = config.get_mut(key) {
        items.sort_by_cached_key(Value::to_string);
    }
}

/// Two spellings of one moment become one.
fn settle_moment(config: &mut Map<String, Value>, key: &str) {
    let settled = config.get(key).and_then(Value::as_str).and_then(moment::nanoseconds).map(moment::write);
    if let Some(settled) = settled {
        config.insert(key.to_owned(), settled.into());
    }
}

/// Fields in the order of a table, so that two documents print alike; unknown ones last.
fn in_order(full: &mut Map<String, Value>, table: &[Field]) {
    let mut ordered = Map::new();
    for field in table {
        if let Some(value) = full.remove(field.name) {
            ordered.insert(field.name.to_owned(), value);
        }
    }
    ordered.append(full);
    *full = ordered;
}
