//! Field by field, on every line of nats-server: made with it the plan is empty; changed, the plan says what kind of change
//! it is; applied, the plan is empty again.

use crate::ground::{Ground, LINES, pending, replacing};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use streamproof_model::fields::{consumer_field, stream_field};
use streamproof_model::plan::Action;
use streamproof_model::version::Version;

const HOUR: u64 = 3_600_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// A field of a stream, a value to begin with, another one, and what else both need.
fn stream_cases() -> Vec<(&'static str, Value, Value, Value)> {
    let plain = json!({});
    vec![
        ("description", json!("one"), json!("two"), plain.clone()),
        ("subjects", json!(["a.*", "b"]), json!(["b", "c"]), plain.clone()),
        ("retention", json!("limits"), json!("interest"), plain.clone()),
        ("retention", json!("limits"), json!("workqueue"), plain.clone()),
        ("max_consumers", json!(5), json!(6), plain.clone()),
        ("max_msgs", json!(100), json!(50), plain.clone()),
        ("max_bytes", json!(1_000_000), json!(500_000), plain.clone()),
        ("max_age", json!(HOUR), json!(60 * SECOND), plain.clone()),
        ("max_msgs_per_subject", json!(10), json!(5), plain.clone()),
        ("max_msg_size", json!(1000), json!(500), plain.clone()),
        ("discard", json!("old"), json!("new"), plain.clone()),
        ("storage", json!("file"), json!("memory"), plain.clone()),
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
        ("allow_atomic", json!(false), json!(true), plain.clone()),
        ("allow_msg_schedules", json!(false), json!(true), json!({"allow_rollup_hdrs": true})),
        ("persist_mode", json!("default"), json!("async"), plain.clone()),
        ("allow_batched", json!(false), json!(true), plain),
    ]
}

/// As above, of a consumer; the last says more about it.
fn consumer_cases() -> Vec<(&'static str, Value, Value, Value)> {
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
        ("deliver_group", json!("one"), json!("two"), push),
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

fn with(base: &Value, name: (&str, &str), field: &str, value: &Value) -> Value {
    let mut document: Map<String, Value> = base.as_object().cloned().unwrap();
    document.insert(name.0.into(), name.1.into());
    document.insert(field.into(), value.clone());
    Value::Object(document)
}

async fn row(ground: &Ground, before: &[(&str, Value)], after: &[(&str, Value)], name: &str) -> String {
    ground.settle(before, &replacing(&[])).await;
    let again = ground.plan(before).await;
    assert_eq!(again.pending, 0, "{} {name}: {:?}", ground.version, pending(&again));
    let plan = ground.plan(after).await;
    let step = plan.changing().next().unwrap_or_else(|| panic!("{} {name}: no change", ground.version));
    let kind = match step.action {
        Action::Replace => "replace".to_owned(),
        _ => format!("{:?}", step.effect).to_lowercase(),
    };
    let refused = !step.needs.is_empty();
    if refused {
        let none = streamproof_provision::Allow::default();
        assert!(
            ground.bring(after, &none).await.is_err(),
            "{} {name}: taken without consent",
            ground.version
        );
    }
    ground.settle(after, &replacing(&["S", "S/C"])).await;
    ground.js.request("STREAM.DELETE.S", &Value::Null).await.unwrap();
    kind
}

async fn table(version: Version) -> String {
    let ground = Ground::of(version.clone()).await;
    let mut out = String::new();
    for (field, from, to, base) in stream_cases() {
        if !stream_field(field).unwrap().exists(&version) {
            writeln!(out, "stream   {field}: not in this version").unwrap();
            continue;
        }
        let before = [("streams/S.json", with(&base, ("name", "S"), field, &from))];
        let after = [("streams/S.json", with(&base, ("name", "S"), field, &to))];
        let kind = row(&ground, &before, &after, field).await;
        writeln!(out, "stream   {field}: {from} -> {to}  {kind}").unwrap();
    }
    let stream = ("streams/S.json", json!({"name": "S", "subjects": ["a", "b", "c.*"]}));
    for (field, from, to, base) in consumer_cases() {
        if !consumer_field(field).unwrap().exists(&version) {
            writeln!(out, "consumer {field}: not in this version").unwrap();
            continue;
        }
        let file = |value| ("consumers/S/C.json", with(&base, ("durable_name", "C"), field, value));
        let before = [stream.clone(), file(&from)];
        let after = [stream.clone(), file(&to)];
        let kind = row(&ground, &before, &after, field).await;
        writeln!(out, "consumer {field}: {from} -> {to}  {kind}").unwrap();
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_on_every_line() {
    for version in LINES {
        let name = format!("fields_{}_{}", version.major, version.minor);
        insta::assert_snapshot!(name, table(version).await);
    }
}
