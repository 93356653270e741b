//! The info of a stream or a consumer as a document that stays the same from run to run, to be pinned in a test.
//!
//! What a server answers to `STREAM.INFO` and `CONSUMER.INFO` holds times, random ids and the server's own marks. Without them it
//! says what was asked for and what is stored, and an `assert_eq!` or a snapshot of it fails only when that changes.

use serde_json::{Map, Value};

use crate::fields::{CONSUMER, Field, OLDEST, STREAM};
use crate::normalize::{consumer_in_form, stream_in_form};

/// Something that is left out of an info.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redaction {
    /// The key, as a JSON pointer in which `*` is any item of a list.
    pub path: &'static str,
    /// Why it cannot be pinned.
    pub why: &'static str,
}

const fn redact(path: &'static str, why: &'static str) -> Redaction {
    Redaction { path, why }
}

const TIME: &str = "a time";
const RANDOM: &str = "random";
const FORM: &str = "the form of one request, not of the stream or consumer";

/// All that is left out, of both kinds of info (nats-server `StreamInfo` in `server/stream.go`, `StreamState` in
/// `server/store.go`, `ConsumerInfo` in `server/consumer.go`). Metadata of the configuration under `_nats.` goes, too.
pub const REDACTIONS: &[Redaction] = &[
    redact("/type", FORM),
    redact("/total", FORM),
    redact("/offset", FORM),
    redact("/limit", FORM),
    redact("/did_create", FORM),
    redact("/created", TIME),
    redact("/ts", TIME),
    redact("/state/first_ts", TIME),
    redact("/state/last_ts", TIME),
    redact("/delivered/last_active", TIME),
    redact("/ack_floor/last_active", TIME),
    redact("/pause_remaining", TIME),
    redact("/mirror/active", TIME),
    redact("/sources/*/active", TIME),
    redact("/priority_groups/*/pinned_ts", TIME),
    redact("/priority_groups/*/pinned_client_id", RANDOM),
    redact("/cluster", "which server leads, by a random id where the server has no name"),
    redact("/alternates", "depends on where the client is"),
];

/// The info of a stream, stable. Takes the answer of `STREAM.INFO`, an item of `STREAM.LIST`, or what
/// `nats stream info --json` prints.
///
/// A switch or number that is off and that nats-server 2.10 does not know is left out, so that an upgrade changes nothing.
///
/// ```
/// use serde_json::json;
/// use streamproof_model::info::stream_info;
///
/// let answer = json!({
///     "type": "io.nats.jetstream.api.v1.stream_info_response",
///     "config": {"name": "ORDERS", "subjects": ["orders.*"], "consumer_limits": {}, "allow_msg_ttl": false,
///         "metadata": {"_nats.ver": "2.15.1", "team": "shop"}},
///     "created": "2026-08-21T11:00:00Z",
///     "state": {"messages": 2, "bytes": 84, "first_seq": 1, "first_ts": "2026-08-21T11:00:01Z", "last_seq": 2,
///         "last_ts": "2026-08-21T11:00:02Z", "consumer_count": 1},
///     "cluster": {"leader": "NDLGPK35POIHEOAKRBRYHMVMMS5OA3VN3MZ6ID3WX3BO4GYZQEWUG43U"},
///     "ts": "2026-08-21T12:00:00Z",
/// });
/// assert_eq!(
///     stream_info(&answer),
///     json!({
///         "config": {"name": "ORDERS", "subjects": ["orders.*"], "metadata": {"team": "shop"}},
///         "state": {"messages": 2, "bytes": 84, "first_seq": 1, "last_seq": 2, "consumer_count": 1},
///     })
/// );
/// ```
#[must_use]
pub fn stream_info(info: &Value) -> Value {
    stable(info, STREAM, stream_in_form)
}

/// The info of a consumer, stable. Takes the answer of `CONSUMER.INFO`, an item of `CONSUMER.LIST`, or what
/// `nats consumer info --json` prints. As [`stream_info`]; the name of a consumer that nobody named is random and left out, and so
/// is the inbox that it delivers to.
///
/// ```
/// use serde_json::json;
/// use streamproof_model::info::consumer_info;
///
/// let answer = json!({
///     "stream_name": "ORDERS", "name": "SHIPPING", "created": "2026-08-21T11:00:00Z", "ts": "2026-08-21T12:00:00Z",
///     "config": {"durable_name": "SHIPPING", "name": "SHIPPING", "ack_policy": "explicit"},
///     "ack_floor": {"consumer_seq": 1, "stream_seq": 1, "last_active": "2026-08-21T11:30:00Z"},
/// });
/// assert_eq!(
///     consumer_info(&answer),
///     json!({
///         "stream_name": "ORDERS", "name": "SHIPPING",
///         "config": {"durable_name": "SHIPPING", "name": "SHIPPING", "ack_policy": "explicit"},
///         "ack_floor": {"consumer_seq": 1, "stream_seq": 1},
///     })
/// );
/// ```
#[must_use]
pub fn consumer_info(info: &Value) -> Value {
    let mut info = stable(info, CONSUMER, consumer_in_form);
    let config = info.get("config");
    let named = |key: &str| config.and_then(|config| config.get(key)).is_some();
    let anonymous = config.is_some() && !named("durable_name") && !named("name");
    let inbox = config
        .and_then(|config| config.get("deliver_subject"))
        .and_then(Value::as_str)
        .is_some_and(|subject| subject.starts_with("_INBOX."));
    if anonymous {
        remove(&mut info, "name");
    }
    if inbox {
        remove(&mut info, "config/deliver_subject");
    }
    info
}

fn stable(info: &Value, table: &[Field], in_form: fn(&mut Map<String, Value>)) -> Value {
    let mut info = info.clone();
    for redaction in REDACTIONS {
        remove(&mut info, redaction.path.trim_start_matches('/'));
    }
    if let Some(Value::Object(config)) = info.get_mut("config") {
        in_form(config);
        config.retain(|key, value| !(is_off(value) && newer(table, key)));
    }
    info
}

/// Takes out what stands at a path.
fn remove(at: &mut Value, path: &str) {
    match (path.split_once('/'), at) {
        (None, Value::Object(map)) => {
            map.shift_remove(path);
        }
        (Some(("*", rest)), Value::Array(items)) => items.iter_mut().for_each(|item| remove(item, rest)),
        (Some((key, rest)), Value::Object(map)) => {
            if let Some(inner) = map.get_mut(key) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

fn is_off(value: &Value) -> bool {
    *value == Value::Bool(false) || value.as_f64() == Some(0.0)
}

fn newer(table: &[Field], key: &str) -> bool {
    table.iter().find(|field| field.name == key).is_some_and(|field| field.since > OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_named_has_no_name() {
        let info =
            json!({"name": "3kvDn4GW", "config": {"deliver_subject": "_INBOX.x", "ack_policy": "none"}});
        assert_eq!(consumer_info(&info), json!({"config": {"ack_policy": "none"}}));
        let named = json!({"name": "W", "config": {"name": "W", "deliver_subject": "to.here"}});
        assert_eq!(consumer_info(&named), named);
    }

    #[test]
    fn every_redaction_is_carried_out_and_nothing_else_goes() {
        // A document with every path of the table, and a neighbour beside each.
        let mut info = json!({"name": "kept", "config": {"name": "kept"}});
        for redaction in REDACTIONS {
            let path = redaction.path.trim_start_matches('/').replace('*', "0");
            put(&mut info, &path, &json!(1));
            if let Some((before, _)) = path.rsplit_once('/') {
                put(&mut info, &format!("{before}/kept"), &json!(1));
            }
        }
        let kept = json!({"kept": 1});
        assert_eq!(
            stream_info(&info),
            json!({"name": "kept", "config": {"name": "kept"}, "state": kept, "delivered": kept, "ack_floor": kept,
                "mirror": kept, "sources": [kept], "priority_groups": [kept]})
        );
    }

    fn put(at: &mut Value, path: &str, value: &Value) {
        match path.split_once('/') {
            None => at[path] = value.clone(),
            Some((key, rest)) if rest.starts_with("0/") => {
                if at[key].is_null() {
                    at[key] = json!([{}]);
                }
                put(&mut at[key][0], &rest[2..], value);
            }
            Some((key, rest)) => {
                if at[key].is_null() {
                    at[key] = json!({});
                }
                put(&mut at[key], rest, value);
            }
        }
    }

    #[test]
    fn what_is_no_info_comes_back_as_it_is() {
        for value in [json!(null), json!([1]), json!({"error": {"code": 404}})] {
            assert_eq!(stream_info(&value), value);
        }
    }
}
