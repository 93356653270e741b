//! The defaults of a consumer.

use serde_json::{Map, Value};

use super::{
    ServerFacts, default, drop_empty, in_order, integer, list_is_empty, settle_moment, sort, strip_metadata,
    text,
};
use crate::fields::CONSUMER;
use crate::version::Release;

/// `JsAckWaitDefault`, server/consumer.go.
const ACK_WAIT_NS: i64 = 30_000_000_000;
/// `JSWaitQueueDefaultMax`, server/consumer.go.
const MAX_WAITING: i64 = 512;
/// `JsDefaultMaxAckPending`, server/consumer.go.
const MAX_ACK_PENDING: i64 = 1000;
/// `JsDefaultPinnedTTL`, server/consumer.go.
const PINNED_TTL_NS: i64 = 120_000_000_000;
/// `sourceHealthHB`, server/stream.go.
pub(crate) const FLOW_CONTROL_HEARTBEAT_NS: i64 = 1_000_000_000;

/// The fields that the server's JSON leaves out when they are zero or false.
const OMITTED_ZEROS: &[&str] = &[
    "opt_start_seq",
    "ack_wait",
    "max_deliver",
    "rate_limit_bps",
    "max_waiting",
    "max_ack_pending",
    "flow_control",
    "headers_only",
    "max_batch",
    "max_expires",
    "max_bytes",
    "idle_heartbeat",
    "inactive_threshold",
    "mem_storage",
    "direct",
    "sourcing",
    "priority_timeout",
];

/// The full configuration that the server would show for a consumer, in the one comparable form.
///
/// `stream` is the configuration of its stream, whose `consumer_limits` are defaults for its consumers.
#[must_use]
pub fn normalize_consumer(
    config: &Map<String, Value>,
    stream: &Map<String, Value>,
    facts: &ServerFacts,
) -> Map<String, Value> {
    let version = &facts.version;
    let mut full = config.clone();
    in_form(&mut full);
    if let Some(durable) = full.get("durable_name").cloned() {
        full.insert("name".to_owned(), durable);
    }
    for (key, value) in [("deliver_policy", "all"), ("ack_policy", "none"), ("replay_policy", "instant")] {
        default(&mut full, key, value);
    }
    default(&mut full, "num_replicas", 0);
    let set =
        |full: &mut Map<String, Value>, key: &str, value: i64| full.insert(key.to_owned(), value.into());

    // From 2.12 negative values are read as none.
    let lenient = version.has(Release(2, 12, 0));
    let deliver = integer(&full, "max_deliver");
    if deliver == 0 || (lenient && deliver < -1) {
        set(&mut full, "max_deliver", -1);
    }
    if lenient {
        for key in [
            "max_waiting",
            "max_batch",
            "max_expires",
            "max_bytes",
            "idle_heartbeat",
            "inactive_threshold",
            "priority_timeout",
        ] {
            if integer(&full, key) < 0 {
                set(&mut full, key, 0);
            }
        }
        if integer(&full, "max_ack_pending") < -1 {
            set(&mut full, "max_ack_pending", -1);
        }
    }
    let pull = text(&full, "deliver_subject").is_empty();
    let ack = text(&full, "ack_policy").to_owned();
    if pull && integer(&full, "max_waiting") == 0 {
        set(&mut full, "max_waiting", MAX_WAITING);
    }
    if integer(&full, "ack_wait") == 0 && matches!(ack.as_str(), "explicit" | "all") {
        set(&mut full, "ack_wait", ACK_WAIT_NS);
    }
    if let Some(first) = full.get("backoff").and_then(|backoff| backoff.get(0)).cloned() {
        full.insert("ack_wait".to_owned(), first);
    }
    if let Some(Value::Object(limits)) = stream.get("consumer_limits") {
        for key in ["max_ack_pending", "inactive_threshold"] {
            if integer(&full, key) == 0 {
                set(&mut full, key, integer(limits, key));
            }
        }
    }
    let bounded = |limit: Option<u64>, value: i64| match limit.and_then(|limit| i64::try_from(limit).ok()) {
        Some(limit) if limit > 0 => value.min(limit),
        _ => value,
    };
    if integer(&full, "max_ack_pending") == 0 && ack != "none" {
        set(&mut full, "max_ack_pending", bounded(facts.max_ack_pending, MAX_ACK_PENDING));
    }
    if pull && integer(&full, "max_batch") == 0 {
        set(&mut full, "max_batch", bounded(facts.max_request_batch, i64::MAX) % i64::MAX);
    }
    if text(&full, "priority_policy") == "pinned_client" && integer(&full, "priority_timeout") == 0 {
        set(&mut full, "priority_timeout", PINNED_TTL_NS);
    }
    if ack == "flow_control" {
        full.insert("flow_control".to_owned(), true.into());
        set(&mut full, "idle_heartbeat", FLOW_CONTROL_HEARTBEAT_NS);
    }
    if text(&full, "priority_policy") == "none" {
        full.remove("priority_policy");
    }
    if list_is_empty(&full, "filter_subjects") {
        full.remove("filter_subjects");
    }
    drop_empty(&mut full, OMITTED_ZEROS);
    in_order(&mut full, CONSUMER);
    full
}

/// The comparable form of a consumer's configuration, without any of the defaults.
pub(crate) fn in_form(full: &mut Map<String, Value>) {
    strip_metadata(full);
    settle_moment(full, "opt_start_time");
    settle_moment(full, "pause_until");
    sort(full, "filter_subjects");
    drop_empty(full, &[]);
    in_order(full, CONSUMER);
}
