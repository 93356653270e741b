//! Random legal configurations: applied, the plan is empty; exported, the plan is empty.

use crate::ground::{Ground, LINES, from_export, pending, replacing, unlike_the_server};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Map, Value, json};
use streamproof_model::fields::{consumer_field, stream_field};
use streamproof_model::plan::{Options, plan};
use streamproof_model::version::Version;
use streamproof_provision::{export, observe};

const SECOND: u64 = 1_000_000_000;

fn one_of(field: &'static str, values: &[Value]) -> BoxedStrategy<Option<(&'static str, Value)>> {
    let values = values.to_vec();
    prop_oneof![2 => Just(None), 1 => proptest::sample::select(values).prop_map(move |v| Some((field, v)))]
        .boxed()
}

fn stream() -> impl Strategy<Value = Map<String, Value>> {
    vec![
        one_of("description", &[json!("d"), json!("")]),
        one_of("retention", &[json!("limits"), json!("interest"), json!("workqueue")]),
        one_of("max_consumers", &[json!(-1), json!(0), json!(7)]),
        one_of("max_msgs", &[json!(-1), json!(0), json!(1000)]),
        one_of("max_bytes", &[json!(-1), json!(1_000_000)]),
        one_of("max_age", &[json!(0), json!(60 * SECOND), json!("36h")]),
        one_of("max_msgs_per_subject", &[json!(-1), json!(5)]),
        one_of("max_msg_size", &[json!(-1), json!(1024)]),
        one_of("discard", &[json!("old"), json!("new")]),
        one_of("storage", &[json!("file"), json!("memory")]),
        one_of("no_ack", &[json!(true), json!(false)]),
        one_of("duplicate_window", &[json!(0), json!(SECOND)]),
        one_of("compression", &[json!("none"), json!("s2")]),
        one_of("allow_direct", &[json!(true), json!(false)]),
        one_of("deny_delete", &[json!(true), json!(false)]),
        one_of("allow_rollup_hdrs", &[json!(true), json!(false)]),
        one_of("consumer_limits", &[json!({}), json!({"max_ack_pending": 77})]),
        one_of("metadata", &[json!({}), json!({"k": "v"})]),
        one_of("republish", &[json!({"src": "S.x", "dest": "r.x"})]),
        one_of("subject_transform", &[json!({"src": "S.x", "dest": "S.y"})]),
        one_of("first_seq", &[json!(0), json!(100)]),
        one_of("allow_msg_ttl", &[json!(true), json!(false)]),
        one_of("allow_atomic", &[json!(true), json!(false)]),
        one_of("allow_batched", &[json!(true), json!(false)]),
    ]
    .prop_map(|fields| fields.into_iter().flatten().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn consumer() -> impl Strategy<Value = Map<String, Value>> {
    vec![
        one_of("description", &[json!("c")]),
        one_of("ack_wait", &[json!(SECOND), json!("2s")]),
        one_of("max_deliver", &[json!(-1), json!(10)]),
        one_of("backoff", &[json!([SECOND, 2 * SECOND])]),
        one_of("sample_freq", &[json!("50"), json!("100%")]),
        one_of("max_waiting", &[json!(100)]),
        one_of("max_ack_pending", &[json!(50), json!(0)]),
        one_of("headers_only", &[json!(true), json!(false)]),
        one_of("max_batch", &[json!(0), json!(10)]),
        one_of("max_expires", &[json!(5 * SECOND)]),
        one_of("inactive_threshold", &[json!(3600 * SECOND)]),
        one_of("filter_subject", &[json!("S.a")]),
        one_of("metadata", &[json!({"k": "v"})]),
        one_of("mem_storage", &[json!(true), json!(false)]),
    ]
    .prop_map(|fields| fields.into_iter().flatten().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn documents(runner: &mut TestRunner, version: &Version) -> [(&'static str, Value); 2] {
    let mut s = stream().new_tree(runner).unwrap().current();
    let mut c = consumer().new_tree(runner).unwrap().current();
    s.retain(|key, _| stream_field(key).is_none_or(|f| f.exists(version)));
    c.retain(|key, _| consumer_field(key).is_none_or(|f| f.exists(version)));
    s.insert("name".into(), "S".into());
    s.insert("subjects".into(), json!(["S.*"]));
    c.insert("durable_name".into(), "C".into());
    c.insert("ack_policy".into(), "explicit".into());
    if c.contains_key("backoff") {
        c.insert("max_deliver".into(), json!(10));
        c.remove("ack_wait");
    }
    [("streams/S.json", Value::Object(s)), ("consumers/S/C.json", Value::Object(c))]
}

/// So many pairs of configurations a line: enough that every pair of fields meets, few enough for a slow machine.
const ROUNDS: usize = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_configurations_settle_and_are_exported() {
    let config =
        Config { rng_seed: RngSeed::Fixed(20_260_821), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        for _ in 0..ROUNDS {
            let files = documents(&mut runner, &version);
            let valid = |files: &[(&'static str, Value)]| {
                let files = files.iter().map(|(p, v)| (std::path::PathBuf::from(*p), v.to_string()));
                let options =
                    streamproof_model::project::Options { root: "".into(), version: version.clone() };
                streamproof_model::project::Project::load(files, &options).is_ok()
            };
            if !valid(&files) {
                continue;
            }
            ground.settle(&files, &replacing(&["S", "S/C"])).await;
            let unlike = unlike_the_server(&ground, &ground.desired(&files)).await;
            assert!(unlike.is_empty(), "{version} {files:?}: {unlike:#?}");
            let observed = observe(&ground.js).await.unwrap();
            let desired = from_export(&version, &export(&observed, false));
            let again = plan(&desired, &observed, &Options::default());
            assert_eq!(again.pending, 0, "{version} {files:?}: {:?}", pending(&again));
        }
    }
}
