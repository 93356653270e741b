//! Random projects: streams, mirrors, streams with sources, buckets and consumers of every kind, from a seed alone.

use serde_json::{Map, Value, json};
use streamproof_model::fields::{CONSUMER, Field, KV, OBJECT, STREAM, find};
use streamproof_model::version::Version;

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;

/// SplitMix64 (Steele, Lea, Flood), of which every state is a good one.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap_or_default()
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// The files of a project.
pub(crate) type Files = Vec<(String, Value)>;

/// Makes one up. Not all of them are legal.
pub(crate) fn world(dice: &mut Dice, version: &Version) -> Files {
    let mut maker = Maker { dice, version, files: Vec::new() };
    let plain: Vec<&str> = ["A", "B", "C"].into_iter().filter(|_| !maker.dice.one_in(3)).collect();
    for name in &plain {
        maker.stream(name, |_| Some(json!({"subjects": [format!("{name}.*"), format!("{name}.x.>")]})));
    }
    if let Some(origin) = plain.first().copied() {
        if maker.dice.one_in(2) {
            maker.stream("M", |maker| Some(json!({"mirror": maker.source(origin)})));
        }
        if maker.dice.one_in(2) {
            let last = plain.last().copied().unwrap_or(origin);
            maker.stream("S", |maker| {
                let mut sources = vec![maker.source(origin)];
                if last != origin {
                    sources.push(maker.source(last));
                }
                let mut own = json!({"sources": sources});
                if maker.dice.one_in(2) {
                    own["subjects"] = json!(["own.*"]);
                }
                Some(own)
            });
        }
    }
    maker.buckets();
    maker.files
}

/// A field and the values that it is given.
type Row = (&'static str, Vec<Value>);

struct Maker<'a> {
    dice: &'a mut Dice,
    version: &'a Version,
    files: Files,
}

impl Maker<'_> {
    fn stream(&mut self, name: &str, own: impl Fn(&mut Self) -> Option<Value>) {
        let mut document = self.some(STREAM, stream_rows(name), 5);
        document.insert("name".into(), name.into());
        let own = own(self).unwrap_or_default();
        for (key, value) in own.as_object().cloned().unwrap_or_default() {
            document.insert(key, value);
        }
        self.contradictions(&mut document);
        let queue = document.get("retention") == Some(&json!("workqueue"));
        self.files.push((format!("streams/{name}.json"), Value::Object(document)));
        for index in 0..self.dice.below(3) {
            self.consumer(name, index, queue);
        }
    }

    /// What goes together with what; the rest is left to the rules to refuse.
    fn contradictions(&mut self, document: &mut Map<String, Value>) {
        let is = |document: &Map<String, Value>, key: &str, value: Value| document.get(key) == Some(&value);
        if is(document, "deny_purge", json!(true)) {
            document.remove("allow_rollup_hdrs");
            document.remove("subject_delete_marker_ttl");
        }
        if document.contains_key("subject_delete_marker_ttl") {
            document.insert("allow_rollup_hdrs".into(), json!(true));
            document.insert("allow_msg_ttl".into(), json!(true));
        }
        if is(document, "allow_msg_counter", json!(true)) {
            for key in
                ["allow_msg_ttl", "discard", "retention", "subject_delete_marker_ttl", "allow_msg_schedules"]
            {
                document.remove(key);
            }
        }
        if is(document, "discard_new_per_subject", json!(true)) {
            document.insert("discard".into(), json!("new"));
            document.insert("max_msgs_per_subject".into(), json!(5));
        }
        if is(document, "allow_msg_schedules", json!(true)) {
            document.insert("allow_rollup_hdrs".into(), json!(true));
            for key in ["discard", "discard_new_per_subject", "deny_purge"] {
                document.remove(key);
            }
        }
        if document.contains_key("mirror") {
            for key in [
                "first_seq",
                "allow_msg_counter",
                "allow_atomic",
                "allow_batched",
                "allow_msg_schedules",
                "subject_delete_marker_ttl",
                "subject_transform",
                "retention",
            ] {
                document.remove(key);
            }
        }
        if document.contains_key("sources") {
            document.remove("allow_msg_schedules");
        }
        if is(document, "persist_mode", json!("async")) {
            document.remove("allow_atomic");
            document.remove("storage");
        }
    }

    fn source(&mut self, origin: &str) -> Value {
        let mut source = json!({ "name": origin });
        match self.dice.below(5) {
            0 => source["filter_subject"] = json!(format!("{origin}.x.>")),
            1 => {
                source["subject_transforms"] = json!([{"src": format!("{origin}.*"), "dest": format!("moved.{origin}.{{{{wildcard(1)}}}}")}]);
            }
            2 => source["opt_start_seq"] = json!(3),
            3 => source["opt_start_time"] = json!("2024-01-01T00:00:00Z"),
            _ => {}
        }
        source
    }

    fn consumer(&mut self, stream: &str, index: usize, queue: bool) {
        let name = ["C", "D", "E"][index % 3];
        let mut document = self.some(CONSUMER, consumer_rows(), 6);
        document.insert("durable_name".into(), name.into());
        let mut ack = self.dice.pick(&["explicit", "explicit", "explicit", "all", "none"]);
        if queue {
            ack = "explicit";
        }
        document.insert("ack_policy".into(), ack.into());
        if self.dice.one_in(3) {
            // A push consumer.
            document.insert("deliver_subject".into(), format!("to.{stream}.{name}").into());
            for key in ["max_waiting", "max_batch", "max_expires", "max_bytes"] {
                document.remove(key);
            }
            if self.dice.one_in(2) {
                document.insert("idle_heartbeat".into(), json!(2 * SECOND));
                document.insert("flow_control".into(), self.dice.one_in(2).into());
            }
            if self.dice.one_in(3) {
                document.insert("deliver_group".into(), self.dice.pick(&["g", "h"]).into());
            }
            if self.dice.one_in(3) {
                document.insert("rate_limit_bps".into(), json!(1_000_000));
            }
        } else if self.version.major == 2 && self.version.minor >= 11 && self.dice.one_in(4) {
            let policy = self.dice.pick(&["overflow", "pinned_client", "prioritized"]);
            if policy != "prioritized" || self.version.minor >= 12 {
                document.insert("priority_policy".into(), policy.into());
                document.insert("priority_groups".into(), json!([self.dice.pick(&["g", "jobs"])]));
                if policy == "pinned_client" {
                    document.insert("priority_timeout".into(), json!(90 * SECOND));
                }
            }
        }
        if !queue {
            match self.dice.below(8) {
                0 => drop(document.insert("deliver_policy".into(), "new".into())),
                1 => drop(document.insert("deliver_policy".into(), "last".into())),
                2 => {
                    document.insert("deliver_policy".into(), "by_start_sequence".into());
                    document.insert("opt_start_seq".into(), self.dice.pick(&[1, 2, 1000]).into());
                }
                3 => {
                    document.insert("deliver_policy".into(), "by_start_time".into());
                    document.insert("opt_start_time".into(), "2024-01-01T00:00:00Z".into());
                }
                4 => {
                    document.insert("deliver_policy".into(), "last_per_subject".into());
                    document.insert("filter_subject".into(), format!("{stream}.a").into());
                }
                _ => {}
            }
        }
        match self.dice.below(4) {
            _ if queue => drop(document.insert("filter_subject".into(), format!("{stream}.{index}").into())),
            0 => drop(document.insert("filter_subject".into(), format!("{stream}.a").into())),
            1 => {
                document.remove("filter_subject");
                let filters = json!([format!("{stream}.b"), format!("{stream}.x.>")]);
                document.insert("filter_subjects".into(), filters);
            }
            _ => {}
        }
        if document.contains_key("backoff") {
            document.insert("max_deliver".into(), json!(10));
            document.remove("ack_wait");
            if ack == "none" {
                document.remove("backoff");
            }
        }
        if ack == "none" {
            document.remove("max_ack_pending");
        }
        self.files.push((format!("consumers/{stream}/{name}.json"), Value::Object(document)));
    }

    fn buckets(&mut self) {
        let there = self.dice.one_in(2);
        if there {
            let mut bucket = self.some(KV, kv_rows(), 3);
            bucket.insert("bucket".into(), "K".into());
            self.files.push(("kv/K.json".into(), Value::Object(bucket)));
        }
        if there && self.dice.one_in(2) {
            let mut bucket = self.some(KV, kv_rows(), 4);
            bucket.insert("bucket".into(), "L".into());
            match self.dice.below(3) {
                0 => {
                    bucket.remove("limit_marker_ttl");
                    bucket.insert("mirror".into(), json!({"name": "K"}));
                }
                1 => drop(bucket.insert("sources".into(), json!([{"name": "K"}]))),
                _ => {}
            }
            self.files.push(("kv/L.json".into(), Value::Object(bucket)));
        }
        if self.dice.one_in(2) {
            let mut store = self.some(OBJECT, object_rows(), 3);
            store.insert("bucket".into(), "O".into());
            self.files.push(("objects/O.json".into(), Value::Object(store)));
        }
    }

    /// One in so many of the fields that this version has.
    fn some(&mut self, table: &[Field], rows: Vec<Row>, of: usize) -> Map<String, Value> {
        rows.into_iter()
            .filter(|(name, _)| find(table, name).is_some_and(|field| field.exists(self.version)))
            .filter_map(|(name, values)| {
                self.dice.one_in(of).then(|| (name.to_owned(), self.dice.pick(&values)))
            })
            .collect()
    }
}

fn stream_rows(name: &str) -> Vec<Row> {
    let flag = || vec![json!(true), json!(false)];
    vec![
        ("description", vec![json!("d"), json!(""), json!("ä \" \\ \u{1f980}")]),
        ("retention", vec![json!("limits"), json!("interest"), json!("workqueue")]),
        ("max_consumers", vec![json!(-1), json!(0), json!(7)]),
        ("max_msgs", vec![json!(-1), json!(0), json!(1000), json!(4)]),
        ("max_bytes", vec![json!(-1), json!(1_000_000)]),
        ("max_age", vec![json!(0), json!(60 * SECOND), json!("36h"), json!("1d12h")]),
        ("max_msgs_per_subject", vec![json!(-1), json!(5), json!(1)]),
        ("max_msg_size", vec![json!(-1), json!(1024), json!(4096)]),
        ("discard", vec![json!("old"), json!("new")]),
        ("discard_new_per_subject", flag()),
        ("storage", vec![json!("file"), json!("memory")]),
        ("num_replicas", vec![json!(0), json!(1), json!(3)]),
        ("placement", vec![json!({}), json!({}), json!({"tags": ["ssd"]}), json!({"cluster": "x"})]),
        ("no_ack", flag()),
        ("duplicate_window", vec![json!(0), json!(SECOND), json!("30s")]),
        ("compression", vec![json!("none"), json!("s2")]),
        ("allow_direct", flag()),
        ("mirror_direct", vec![json!(false)]),
        ("deny_delete", flag()),
        ("deny_purge", flag()),
        ("allow_rollup_hdrs", flag()),
        (
            "consumer_limits",
            vec![
                json!({}),
                json!({"max_ack_pending": 77}),
                json!({"inactive_threshold": 2 * HOUR, "max_ack_pending": 500}),
            ],
        ),
        ("metadata", vec![json!({}), json!({"k": "v"}), json!({"k": "w", "l": ""})]),
        (
            "republish",
            vec![
                json!({"src": format!("{name}.x.>"), "dest": "r.>"}),
                json!({"src": format!("{name}.*"), "dest": "r.{{wildcard(1)}}", "headers_only": true}),
            ],
        ),
        (
            "subject_transform",
            vec![
                json!({"src": format!("{name}.x"), "dest": format!("{name}.y")}),
                json!({"src": format!("{name}.*"), "dest": format!("{name}.{{{{partition(3,1)}}}}")}),
            ],
        ),
        ("first_seq", vec![json!(0), json!(100)]),
        ("allow_msg_ttl", flag()),
        ("subject_delete_marker_ttl", vec![json!(60 * SECOND), json!("2m")]),
        ("allow_msg_counter", flag()),
        ("allow_atomic", flag()),
        ("allow_msg_schedules", flag()),
        ("allow_batched", flag()),
        ("persist_mode", vec![json!("default"), json!("async")]),
    ]
}

fn consumer_rows() -> Vec<Row> {
    let flag = || vec![json!(true), json!(false)];
    vec![
        ("description", vec![json!("c"), json!("")]),
        ("ack_wait", vec![json!(SECOND), json!("2s"), json!(0)]),
        ("max_deliver", vec![json!(-1), json!(0), json!(10)]),
        ("backoff", vec![json!([SECOND, 2 * SECOND]), json!(["1s", "1m"])]),
        ("replay_policy", vec![json!("instant"), json!("original")]),
        ("sample_freq", vec![json!("50"), json!("100%")]),
        ("max_waiting", vec![json!(100), json!(0)]),
        ("max_ack_pending", vec![json!(50), json!(0), json!(-1)]),
        ("headers_only", flag()),
        ("max_batch", vec![json!(0), json!(10)]),
        ("max_expires", vec![json!(5 * SECOND), json!("1m")]),
        ("max_bytes", vec![json!(0), json!(100_000)]),
        ("inactive_threshold", vec![json!(HOUR), json!(0)]),
        ("num_replicas", vec![json!(0), json!(1)]),
        ("mem_storage", flag()),
        ("metadata", vec![json!({"k": "v"}), json!({})]),
        ("pause_until", vec![json!("2099-01-01T00:00:00Z"), json!("2099-01-01T01:00:00.5+01:00")]),
    ]
}

fn kv_rows() -> Vec<Row> {
    vec![
        ("description", vec![json!("d"), json!("")]),
        ("history", vec![json!(1), json!(5), json!(64)]),
        ("ttl", vec![json!("1h"), json!(0), json!(30 * SECOND)]),
        ("max_value_size", vec![json!(-1), json!(1024)]),
        ("max_bytes", vec![json!(-1), json!(1_000_000)]),
        ("storage", vec![json!("file"), json!("memory")]),
        ("num_replicas", vec![json!(1)]),
        ("placement", vec![json!({"tags": ["ssd"]})]),
        ("republish", vec![json!({"src": ">", "dest": "rep.>"})]),
        ("compression", vec![json!(true), json!(false)]),
        ("limit_marker_ttl", vec![json!("5s"), json!(20 * SECOND)]),
        ("metadata", vec![json!({"k": "v"}), json!({})]),
    ]
}

fn object_rows() -> Vec<Row> {
    vec![
        ("description", vec![json!("d")]),
        ("ttl", vec![json!("1h"), json!(0)]),
        ("max_bytes", vec![json!(-1), json!(1_000_000)]),
        ("storage", vec![json!("file"), json!("memory")]),
        ("num_replicas", vec![json!(1)]),
        ("placement", vec![json!({"tags": ["ssd"]})]),
        ("compression", vec![json!(true), json!(false)]),
        ("metadata", vec![json!({"k": "v"})]),
    ]
}
