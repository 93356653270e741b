//! The rows of the table: each field of streams, consumers and buckets, with a value to begin with and another.

use serde_json::{Value, json};

const HOUR: u64 = 3_600_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A field, a value to begin with, another one (`null`: not in the file), and what else both need.
pub(crate) type Case = (&'static str, Value, Value, Value);

/// Streams that others are made from.
pub(crate) const ORIGINS: [&str; 2] = ["O", "P"];

pub(crate) fn stream_cases() -> Vec<Case> {
    let plain = json!({});
    vec![
        ("description", json!("one"), json!("two"), plain.clone()),
        ("subjects", json!(["a.*", "b"]), json!(["b", "c"]), plain.clone()),
        ("retention", json!("limits"), json!("interest"), plain.clone()),
        ("retention", json!("limits"), json!("workqueue"), plain.clone()),
        ("retention", json!("interest"), json!("limits"), plain.clone()),
        ("retention", json!("interest"), json!("workqueue"), plain.clone()),
        ("retention", json!("workqueue"), json!("limits"), plain.clone()),
        ("retention", json!("workqueue"), json!("interest"), plain.clone()),
        ("max_consumers", json!(5), json!(6), plain.clone()),
        ("max_msgs", json!(100), json!(50), plain.clone()),
        ("max_bytes", json!(1_000_000), json!(500_000), plain.clone()),
        ("max_age", json!(HOUR), json!(60 * SECOND), plain.clone()),
        ("max_msgs_per_subject", json!(10), json!(5), plain.clone()),
        ("max_msg_size", json!(1000), json!(500), plain.clone()),
        ("discard", json!("old"), json!("new"), plain.clone()),
        ("storage", json!("file"), json!("memory"), plain.clone()),
        ("storage", json!("memory"), json!("file"), plain.clone()),
        ("no_ack", json!(false), json!(true), plain.clone()),
        ("duplicate_window", json!(60 * SECOND), json!(30 * SECOND), plain.clone()),
        ("compression", json!("none"), json!("s2"), plain.clone()),
        ("first_seq", json!(10), json!(20), plain.clone()),
        (
            "subject_transform",
            json!({"src": "x", "dest": "y"}),
            json!({"src": "x", "dest": "z"}),
            plain.clone(),
        ),
        (
            "republish",
            json!({"src": "x", "dest": "rep.x"}),
            json!({"src": "x", "dest": "rep.y"}),
            plain.clone(),
        ),
        ("allow_direct", json!(false), json!(true), plain.clone()),
        (
            "discard_new_per_subject",
            json!(false),
            json!(true),
            json!({"discard": "new", "max_msgs_per_subject": 3}),
        ),
        ("sealed", json!(false), json!(true), plain.clone()),
        ("deny_delete", json!(false), json!(true), plain.clone()),
        ("deny_delete", json!(true), json!(false), plain.clone()),
        ("deny_purge", json!(false), json!(true), plain.clone()),
        ("allow_rollup_hdrs", json!(false), json!(true), plain.clone()),
        (
            "consumer_limits",
            json!({"max_ack_pending": 50}),
            json!({"max_ack_pending": 40, "inactive_threshold": HOUR}),
            plain.clone(),
        ),
        ("metadata", json!({"team": "a"}), json!({"owner": "b"}), plain.clone()),
        ("allow_msg_ttl", json!(false), json!(true), plain.clone()),
        ("allow_msg_ttl", json!(true), json!(false), plain.clone()),
        (
            "subject_delete_marker_ttl",
            json!(60 * SECOND),
            json!(120 * SECOND),
            json!({"max_age": HOUR, "allow_msg_ttl": true, "allow_rollup_hdrs": true}),
        ),
        ("allow_msg_counter", json!(false), json!(true), plain.clone()),
        ("allow_msg_counter", json!(true), json!(false), plain.clone()),
        ("allow_atomic", json!(false), json!(true), plain.clone()),
        ("allow_atomic", json!(true), json!(false), plain.clone()),
        ("allow_msg_schedules", json!(false), json!(true), json!({"allow_rollup_hdrs": true})),
        ("persist_mode", json!("default"), json!("async"), plain.clone()),
        ("persist_mode", json!("async"), json!("default"), plain.clone()),
        ("allow_batched", json!(false), json!(true), plain.clone()),
        ("allow_msg_schedules", json!(true), json!(false), json!({"allow_rollup_hdrs": true})),
        ("deny_purge", json!(true), json!(false), plain.clone()),
        ("mirror", json!({"name": "O"}), json!({"name": "P"}), plain.clone()),
        ("mirror", json!({"name": "O"}), Value::Null, plain.clone()),
        ("mirror", Value::Null, json!({"name": "O"}), plain.clone()),
        ("mirror", json!({"name": "O"}), json!({"name": "O", "filter_subject": "o"}), plain.clone()),
        ("mirror_direct", json!(false), json!(true), json!({"mirror": {"name": "O"}})),
        (
            "sources",
            json!([{"name": "O"}]),
            json!([{"name": "O", "filter_subject": "o"}, {"name": "P"}]),
            plain.clone(),
        ),
        ("num_replicas", json!(1), json!(3), plain.clone()),
        ("placement", json!({}), json!({"tags": ["ssd"]}), plain),
    ]
}

/// As above, of a consumer; the last says more about it.
pub(crate) fn consumer_cases() -> Vec<Case> {
    let pull = json!({"ack_policy": "explicit"});
    let push = json!({"ack_policy": "explicit", "deliver_subject": "to.here"});
    vec![
        ("description", json!("one"), json!("two"), pull.clone()),
        ("deliver_policy", json!("all"), json!("new"), pull.clone()),
        ("ack_policy", json!("explicit"), json!("all"), json!({})),
        ("ack_policy", json!("none"), json!("explicit"), json!({})),
        ("ack_wait", json!(10 * SECOND), json!(20 * SECOND), pull.clone()),
        ("max_deliver", json!(3), json!(4), pull.clone()),
        (
            "backoff",
            json!([SECOND, 2 * SECOND]),
            json!([2 * SECOND]),
            json!({"ack_policy": "explicit", "max_deliver": 5}),
        ),
        ("filter_subject", json!("a"), json!("b"), pull.clone()),
        ("filter_subjects", json!(["a", "b"]), json!(["b", "c.*"]), pull.clone()),
        ("replay_policy", json!("instant"), json!("original"), pull.clone()),
        ("ack_policy", json!("all"), json!("none"), json!({})),
        ("replay_policy", json!("original"), json!("instant"), pull.clone()),
        ("mem_storage", json!(true), json!(false), pull.clone()),
        ("rate_limit_bps", json!(1_000_000), json!(2_000_000), push.clone()),
        ("sample_freq", json!("50"), json!("100"), pull.clone()),
        ("max_waiting", json!(100), json!(200), pull.clone()),
        ("max_ack_pending", json!(100), json!(200), pull.clone()),
        (
            "flow_control",
            json!(false),
            json!(true),
            json!({"deliver_subject": "to.here", "idle_heartbeat": SECOND}),
        ),
        ("idle_heartbeat", json!(SECOND), json!(2 * SECOND), push.clone()),
        ("headers_only", json!(false), json!(true), pull.clone()),
        ("max_batch", json!(10), json!(20), pull.clone()),
        ("max_expires", json!(SECOND), json!(2 * SECOND), pull.clone()),
        ("max_bytes", json!(1000), json!(2000), pull.clone()),
        ("deliver_subject", json!("to.here"), json!("to.there"), json!({"ack_policy": "explicit"})),
        ("deliver_subject", Value::Null, json!("to.here"), json!({"ack_policy": "explicit"})),
        ("deliver_subject", json!("to.here"), Value::Null, json!({"ack_policy": "explicit"})),
        ("deliver_group", json!("one"), json!("two"), push.clone()),
        ("deliver_group", Value::Null, json!("one"), push),
        (
            "opt_start_seq",
            json!(5),
            json!(6),
            json!({"ack_policy": "explicit", "deliver_policy": "by_start_sequence"}),
        ),
        (
            "opt_start_time",
            json!("2024-01-01T00:00:00Z"),
            json!("2024-02-01T00:00:00Z"),
            json!({"ack_policy": "explicit", "deliver_policy": "by_start_time"}),
        ),
        ("num_replicas", json!(0), json!(1), pull.clone()),
        (
            "priority_groups",
            json!(["g"]),
            json!(["h"]),
            json!({"ack_policy": "explicit", "priority_policy": "overflow"}),
        ),
        ("pause_until", json!("2099-01-01T00:00:00Z"), Value::Null, pull.clone()),
        ("inactive_threshold", json!(HOUR), json!(2 * HOUR), pull.clone()),
        ("mem_storage", json!(false), json!(true), pull.clone()),
        ("metadata", json!({"team": "a"}), json!({"owner": "b"}), pull.clone()),
        ("pause_until", json!("2099-01-01T00:00:00Z"), json!("2099-02-01T00:00:00Z"), pull.clone()),
        (
            "priority_policy",
            json!("overflow"),
            json!("pinned_client"),
            json!({"ack_policy": "explicit", "priority_groups": ["g"]}),
        ),
        (
            "priority_timeout",
            json!(60 * SECOND),
            json!(90 * SECOND),
            json!({"ack_policy": "explicit", "priority_groups": ["g"], "priority_policy": "pinned_client"}),
        ),
    ]
}

/// As above, of a bucket.
pub(crate) fn kv_cases() -> Vec<Case> {
    let plain = json!({});
    vec![
        ("description", json!("one"), json!("two"), plain.clone()),
        ("history", json!(2), json!(7), plain.clone()),
        ("history", json!(7), json!(2), plain.clone()),
        ("ttl", json!(2 * HOUR), json!(HOUR), plain.clone()),
        ("max_value_size", json!(1000), json!(500), plain.clone()),
        ("max_bytes", json!(1_000_000), json!(500_000), plain.clone()),
        ("storage", json!("file"), json!("memory"), plain.clone()),
        ("num_replicas", json!(1), json!(3), plain.clone()),
        ("placement", json!({}), json!({"tags": ["ssd"]}), plain.clone()),
        (
            "republish",
            json!({"src": ">", "dest": "rep.>"}),
            json!({"src": ">", "dest": "out.>"}),
            plain.clone(),
        ),
        ("mirror", Value::Null, json!({"name": "O"}), plain.clone()),
        ("mirror", json!({"name": "O"}), Value::Null, plain.clone()),
        ("sources", Value::Null, json!([{"name": "O"}]), plain.clone()),
        ("compression", json!(false), json!(true), plain.clone()),
        ("limit_marker_ttl", json!(60 * SECOND), json!(120 * SECOND), json!({"ttl": HOUR})),
        ("limit_marker_ttl", Value::Null, json!(120 * SECOND), json!({"ttl": HOUR})),
        ("metadata", json!({"team": "a"}), json!({"owner": "b"}), plain),
    ]
}

/// As above, of an object store.
pub(crate) fn object_cases() -> Vec<Case> {
    let plain = json!({});
    vec![
        ("description", json!("one"), json!("two"), plain.clone()),
        ("ttl", json!(2 * HOUR), json!(HOUR), plain.clone()),
        ("max_bytes", json!(1_000_000), json!(500_000), plain.clone()),
        ("storage", json!("file"), json!("memory"), plain.clone()),
        ("num_replicas", json!(1), json!(3), plain.clone()),
        ("placement", json!({}), json!({"tags": ["ssd"]}), plain.clone()),
        ("compression", json!(false), json!(true), plain.clone()),
        ("storage", json!("memory"), json!("file"), plain.clone()),
        ("metadata", json!({"team": "a"}), json!({"owner": "b"}), plain),
    ]
}
