//! Field by field, on every line of nats-server: made with it the plan is empty; changed, the plan says what kind of change
//! it is, and the server says the same; applied, the plan is empty again.

use crate::cases::{Case, ORIGINS, consumer_cases, kv_cases, object_cases, stream_cases};
use crate::ground::{Ground, LINES, pending, replacing};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use streamproof_model::fields::{self, Field, find};
use streamproof_model::plan::{Action, Effect, Step};
use streamproof_model::version::Version;
use streamproof_provision::ProvisionError;

/// Fields without a row, and why.
const NO_ROW: [&str; 6] = [
    // With another name it is another thing.
    "name",
    "durable_name",
    "bucket",
    // The server's own.
    "direct",
    "sourcing",
    "template_owner",
];

#[test]
fn every_field_that_there_is_has_a_row() {
    let rows = |cases: Vec<Case>| -> BTreeSet<&str> { cases.into_iter().map(|case| case.0).collect() };
    for (table, rows) in [
        (fields::STREAM, rows(stream_cases())),
        (fields::CONSUMER, rows(consumer_cases())),
        (fields::KV, rows(kv_cases())),
        (fields::OBJECT, rows(object_cases())),
    ] {
        for field in table {
            assert!(
                rows.contains(field.name) != NO_ROW.contains(&field.name),
                "{} has no row, or one too many",
                field.name
            );
        }
    }
}

fn with(base: &Value, name: (&str, &str), field: &str, value: &Value) -> Value {
    let mut document: Map<String, Value> = base.as_object().cloned().unwrap();
    document.insert(name.0.into(), name.1.into());
    if !value.is_null() {
        document.insert(field.into(), value.clone());
    }
    Value::Object(document)
}

/// What the server itself says to a change that we make by a replacement.
async fn theirs(ground: &Ground, step: &Step) -> String {
    let document = step.document.clone().unwrap();
    let answer = match &step.consumer {
        None => ground.js.request(&format!("STREAM.UPDATE.{}", step.stream), &Value::Object(document)).await,
        Some(name) => {
            let body = json!({"stream_name": step.stream, "config": document, "action": "update"});
            ground.js.request(&format!("CONSUMER.CREATE.{}.{name}", step.stream), &body).await
        }
    };
    match answer {
        Err(ProvisionError::Refused { err_code, description, .. }) => format!("{err_code} {description}"),
        Err(error) => panic!("{error}"),
        Ok(_) => "taken".into(),
    }
}

/// The flag without which such a change is never made.
fn consent_to(step: &Step) -> Option<String> {
    match (step.action, step.effect) {
        (Action::Replace, _) => Some(format!("--replace {}", step.name)),
        (_, Effect::OneWay) => Some("--allow-one-way".into()),
        _ => None,
    }
}

/// What kind of change it is.
async fn row(ground: &Ground, before: &[(&str, Value)], after: &[(&str, Value)], name: &str) -> String {
    let about = format!("{} {name}", ground.version);
    let consent = replacing(&["S", "S/C"]);
    ground.settle(before, &consent).await;
    let again = ground.plan(before).await;
    assert_eq!(again.pending, 0, "{about}: {:?}", pending(&again));
    let plan = ground.plan(after).await;
    let Some(step) = plan.changing().next() else { return "nothing to do".into() };
    assert_eq!(plan.pending, 1, "{about}: {:?}", pending(&plan));
    let mut kind = match step.action {
        Action::Replace => "replace".to_owned(),
        _ => format!("{:?}", step.effect).to_lowercase(),
    };
    if let Some(flag) = consent_to(step) {
        assert!(step.needs.contains(&flag), "{about}: {flag} is not asked for, but {:?}", step.needs);
    }
    if !step.needs.is_empty() {
        let none = streamproof_provision::Allow::default();
        assert!(ground.bring(after, &none).await.is_err(), "{about}: taken without consent");
        assert_eq!(ground.plan(before).await.pending, 0, "{about}: refused, and yet sent");
    }
    if step.action == Action::Replace {
        let theirs = theirs(ground, step).await;
        if step.consumer.is_some() {
            // What they take without doing it has another reason than what they refuse.
            let rule = step.changes.iter().find_map(|change| change.rule.clone()).unwrap_or_default();
            let idle = rule.contains("until the consumer is made anew");
            assert_eq!(theirs == "taken", idle, "{about}: {rule}, and they: {theirs}");
        }
        // What they take has to be put back, or there is nothing left to replace.
        if theirs == "taken" {
            ground.settle(before, &consent).await;
        }
        kind = format!("{kind}; in place: {theirs}");
    }
    ground.settle(after, &consent).await;
    kind
}

/// Rows of a kind: its fields, the files beside it, and where its own name stands.
struct Group<'a> {
    what: &'static str,
    cases: Vec<Case>,
    fields: &'static [Field],
    besides: &'a [(&'a str, Value)],
    path: &'static str,
    name: &'static str,
}

async fn table(version: Version) -> String {
    let ground = Ground::of(version.clone()).await;
    let origins = ORIGINS.map(|name| (format!("streams/{name}.json"), json!({"name": name})));
    let origins: Vec<(&str, Value)> =
        origins.iter().map(|(path, file)| (path.as_str(), file.clone())).collect();
    let buckets = [("kv/O.json", json!({"bucket": "O"}))];
    let stream = [("streams/S.json", json!({"name": "S", "subjects": ["a", "b", "c.*"]}))];
    let mut out = String::new();
    let groups = [
        Group {
            what: "stream",
            cases: stream_cases(),
            fields: fields::STREAM,
            besides: &origins,
            path: "streams/S.json",
            name: "name",
        },
        Group {
            what: "consumer",
            cases: consumer_cases(),
            fields: fields::CONSUMER,
            besides: &stream,
            path: "consumers/S/C.json",
            name: "durable_name",
        },
        Group {
            what: "kv",
            cases: kv_cases(),
            fields: fields::KV,
            besides: &buckets,
            path: "kv/S.json",
            name: "bucket",
        },
        Group {
            what: "object",
            cases: object_cases(),
            fields: fields::OBJECT,
            besides: &[],
            path: "objects/S.json",
            name: "bucket",
        },
    ];
    for Group { what, cases, fields, besides, path, name } in groups {
        let name = (name, if what == "consumer" { "C" } else { "S" });
        for (field, from, to, base) in cases {
            if !find(fields, field).unwrap().exists(&version) {
                writeln!(out, "{what:8} {field}: not in this version").unwrap();
                continue;
            }
            let files = |value: &Value| [besides, &[(path, with(&base, name, field, value))]].concat();
            let (before, after) = (files(&from), files(&to));
            let kind = row(&ground, &before, &after, field).await;
            writeln!(out, "{what:8} {field}: {from} -> {to}  {kind}").unwrap();
            let prefix = match what {
                "kv" => "KV_",
                "object" => "OBJ_",
                _ => "",
            };
            ground.js.request(&format!("STREAM.DELETE.{prefix}S"), &Value::Null).await.unwrap();
        }
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

/// Rules that changed within a line of versions, and a word that came with a later line: on a version on the other side of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_whose_rules_changed_within_a_line() {
    let stream = |more: Value| ("streams/S.json", with(&more, ("name", "S"), "subjects", &json!(["s"])));
    let consumer = |more: Value, ack: &str| {
        ("consumers/S/C.json", with(&more, ("durable_name", "C"), "ack_policy", &json!(ack)))
    };
    let pushed = json!({"deliver_subject": "to.here", "flow_control": true, "idle_heartbeat": 1_000_000_000,
        "max_ack_pending": 100});
    let plain = stream(json!({}));
    let mut out = String::new();
    for (version, what, before, after) in [
        (
            Version::new(2, 11, 1),
            "allow_msg_ttl on",
            vec![plain.clone()],
            vec![stream(json!({"allow_msg_ttl": true}))],
        ),
        (
            Version::new(2, 12, 8),
            "max_consumers",
            vec![stream(json!({"max_consumers": 5}))],
            vec![stream(json!({"max_consumers": 6}))],
        ),
        (
            Version::new(2, 14, 2),
            "mem_storage on",
            vec![plain.clone(), consumer(json!({}), "explicit")],
            vec![plain.clone(), consumer(json!({"mem_storage": true}), "explicit")],
        ),
        (
            Version::new(2, 14, 6),
            "ack_policy to flow_control",
            vec![plain.clone(), consumer(pushed.clone(), "explicit")],
            vec![plain.clone(), consumer(pushed.clone(), "flow_control")],
        ),
        (
            Version::new(2, 15, 1),
            "ack_policy to flow_control",
            vec![plain.clone(), consumer(pushed.clone(), "explicit")],
            vec![plain.clone(), consumer(pushed.clone(), "flow_control")],
        ),
    ] {
        let ground = Ground::of(version.clone()).await;
        let kind = row(&ground, &before, &after, what).await;
        writeln!(out, "{version} {what}: {kind}").unwrap();
    }
    insta::assert_snapshot!("within_a_line", out);
}
