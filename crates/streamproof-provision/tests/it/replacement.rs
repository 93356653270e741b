//! Replacements, undisturbed and ended at every boundary: no message and no position is lost.

use crate::ground::{Ground, LINES, replacing, until};
use async_nats::HeaderMap;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::time::Duration;
use streamproof_model::plan::{Options, Restore};
use streamproof_model::version::Release;
use streamproof_provision::{Halt, Js, apply_halted, inspect, pending, plan_for, resume};

/// What of a message must stay.
type Kept = (u64, String, Option<Value>);

async fn messages(js: &Js, stream: &str) -> Vec<Kept> {
    let info = inspect::stream(js, stream).await.unwrap();
    let last = info.pointer("/state/last_seq").and_then(Value::as_u64).unwrap();
    let mut found = Vec::new();
    for seq in 1..=last {
        if let Ok(answer) = js.request(&format!("STREAM.MSG.GET.{stream}"), &json!({ "seq": seq })).await {
            let message = &answer["message"];
            found.push((seq, message["subject"].as_str().unwrap().to_owned(), message.get("data").cloned()));
        }
    }
    found
}

/// A stream with holes, headers and a consumer that has acked some of it.
async fn scene(ground: &Ground, config: &Value, count: u64) {
    let name = config["name"].as_str().unwrap();
    let files = [
        ("streams/S.json", config.clone()),
        ("consumers/S/C.json", json!({"durable_name": "C", "ack_policy": "explicit"})),
    ];
    ground.settle(&files, &replacing(&[])).await;
    let context = async_nats::jetstream::new(ground.js.client().clone());
    for i in 0..count {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("id-{i}"));
        let ack =
            context.publish_with_headers(format!("s.{}", i % 3), headers, format!("body {i}").into()).await;
        ack.unwrap().await.unwrap();
    }
    for hole in [count / 2, count] {
        ground.js.request(&format!("STREAM.MSG.DELETE.{name}"), &json!({ "seq": hole })).await.unwrap();
    }
    let stream = context.get_stream(name).await.unwrap();
    let consumer: async_nats::jetstream::consumer::PullConsumer = stream.get_consumer("C").await.unwrap();
    let mut batch = consumer.fetch().max_messages(4).messages().await.unwrap();
    while let Some(message) = batch.next().await {
        message.unwrap().double_ack().await.unwrap();
    }
}

async fn floor(js: &Js) -> u64 {
    let info = inspect::consumer(js, "S", "C").await.unwrap();
    streamproof_model::plan::ConsumerSeen::from_info(&info).unwrap().position()
}

fn stream(storage: &str, retention: &str) -> Value {
    json!({"name": "S", "subjects": ["s.*"], "storage": storage, "retention": retention})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_stream_keeps_messages_sequences_and_positions() {
    for version in LINES {
        for (from, to) in [
            (stream("file", "limits"), stream("memory", "limits")),
            (stream("memory", "limits"), stream("file", "limits")),
            (stream("file", "limits"), stream("file", "workqueue")),
            (stream("file", "interest"), stream("memory", "interest")),
        ] {
            let ground = Ground::of(version.clone()).await;
            scene(&ground, &from, 20).await;
            let before = messages(&ground.js, "S").await;
            let at = floor(&ground.js).await;
            let files = [
                ("streams/S.json", to.clone()),
                ("consumers/S/C.json", json!({"durable_name": "C", "ack_policy": "explicit"})),
            ];
            ground.settle(&files, &replacing(&["S"])).await;
            assert_eq!(messages(&ground.js, "S").await, before, "{version} {from} -> {to}");
            let info = inspect::stream(&ground.js, "S").await.unwrap();
            assert_eq!(info.pointer("/state/last_seq"), Some(&json!(20)), "{version} {from} -> {to}");
            if to["retention"] != "workqueue" {
                assert_eq!(floor(&ground.js).await, at, "{version} {from} -> {to}");
            }
            ground.publish("s.0", 1).await;
            assert!(pending(ground.journals.path()).unwrap().is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_consumer_goes_on_where_it_stood_also_on_interest() {
    for retention in ["limits", "interest"] {
        let ground = Ground::new().await;
        scene(&ground, &stream("file", retention), 20).await;
        let (before, at) = (messages(&ground.js, "S").await, floor(&ground.js).await);
        let files = [
            ("streams/S.json", stream("file", retention)),
            ("consumers/S/C.json", json!({"durable_name": "C", "ack_policy": "explicit", "max_waiting": 7})),
        ];
        ground.settle(&files, &replacing(&["S/C"])).await;
        assert_eq!(messages(&ground.js, "S").await, before, "{retention}");
        assert_eq!(floor(&ground.js).await, at, "{retention}");
        // A second change finds the consumer where it was moved to, and moves it no further.
        let files = [
            files[0].clone(),
            (
                "consumers/S/C.json",
                json!({"durable_name": "C", "ack_policy": "explicit", "max_waiting": 7, "max_deliver": 9}),
            ),
        ];
        let brought = ground.settle(&files, &replacing(&[])).await;
        assert_eq!(brought.applied.done.len(), 1);
        assert_eq!(floor(&ground.js).await, at, "{retention}");
    }
}

/// Ends a replacement at each of its boundaries, one after the other, and lets a second run finish it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_ended_at_any_boundary_is_finished_by_the_next() {
    for (from, to, target) in [
        (stream("file", "limits"), stream("memory", "limits"), "S"),
        (stream("file", "limits"), stream("file", "workqueue"), "S"),
        (stream("file", "interest"), stream("file", "interest"), "S/C"),
    ] {
        let mut ends = 0;
        for boundary in 0.. {
            // A server of its own: a stream deleted twice in short order and made again can come back with old messages.
            let ground = Ground::new().await;
            scene(&ground, &from, 12).await;
            let (before, at) = (messages(&ground.js, "S").await, floor(&ground.js).await);
            let waiting = if target == "S/C" { 9 } else { 512 };
            let files = [
                ("streams/S.json", to.clone()),
                (
                    "consumers/S/C.json",
                    json!({"durable_name": "C", "ack_policy": "explicit", "max_waiting": waiting}),
                ),
            ];
            let desired = ground.desired(&files);
            let (plan, _) = plan_for(&ground.js, &desired, &Options::default()).await.unwrap();
            let halt = Halt::at(boundary);
            let journals = ground.journals.path();
            let ended =
                apply_halted(&ground.js, &plan, &replacing(&[target]), journals, &halt).await.is_err();
            if ended {
                ends += 1;
                assert_eq!(pending(journals).unwrap().len(), 1, "boundary {boundary}: no journal");
            }
            ground.settle(&files, &replacing(&[target])).await;
            assert_eq!(messages(&ground.js, "S").await, before, "{target} boundary {boundary}");
            if to["retention"] != "workqueue" {
                assert_eq!(floor(&ground.js).await, at, "{target} boundary {boundary}");
            }
            assert!(pending(journals).unwrap().is_empty());
            if !ended {
                break;
            }
        }
        assert!(ends >= 4, "{target}: only {ends} boundaries");
    }
}

/// Drops the future at random moments: nothing of it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_dropped_at_any_moment_loses_nothing() {
    for try_number in 0..25u64 {
        let ground = Ground::new().await;
        scene(&ground, &stream("file", "limits"), 12).await;
        let (before, at) = (messages(&ground.js, "S").await, floor(&ground.js).await);
        let files = [
            (
                "streams/S.json",
                stream(
                    if try_number % 2 == 0 { "memory" } else { "file" },
                    if try_number % 2 == 0 { "limits" } else { "workqueue" },
                ),
            ),
            ("consumers/S/C.json", json!({"durable_name": "C", "ack_policy": "explicit"})),
        ];
        let wait = Duration::from_micros(try_number * 1_700);
        let allow = replacing(&["S"]);
        let _ = tokio::time::timeout(wait, ground.bring(&files, &allow)).await;
        if try_number % 3 == 0 {
            let _ = tokio::time::timeout(wait, resume(&ground.js, ground.journals.path())).await;
        }
        ground.settle(&files, &allow).await;
        assert_eq!(messages(&ground.js, "S").await, before, "try {try_number}");
        if try_number % 2 == 0 {
            assert_eq!(floor(&ground.js).await, at, "try {try_number}");
        }
    }
}

/// What a stream has of its sources comes back from the server's own snapshot everywhere, and by a copy before 2.15 only; either
/// way the sources go on where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_stream_keeps_what_it_has_of_its_sources_and_takes_the_rest() {
    for version in LINES {
        for (storage, retention, restore) in
            [("file", "workqueue", Restore::Snapshot), ("memory", "limits", Restore::Copy)]
        {
            let about = format!("{version} {restore:?}");
            let ground = Ground::of(version.clone()).await;
            let files = |storage: &str, retention: &str| {
                [
                    ("streams/O.json", json!({"name": "O", "subjects": ["o.*"]})),
                    (
                        "streams/S.json",
                        json!({"name": "S", "sources": [{"name": "O"}], "storage": storage,
                            "retention": retention}),
                    ),
                ]
            };
            ground.settle(&files("file", "limits"), &replacing(&[])).await;
            ground.publish("o.a", 5).await;
            until("S has what O has", async || messages(&ground.js, "S").await.len() == 5).await;
            let before = messages(&ground.js, "S").await;
            let after = files(storage, retention);
            let plan = ground.plan(&after).await;
            let step = plan.changing().next().unwrap();
            assert_eq!(step.restore, Some(restore), "{about}");
            if restore == Restore::Copy && version.has(Release(2, 15, 0)) {
                assert!(step.blocked.is_some(), "{about}: {step:#?}");
                assert!(ground.bring(&after, &replacing(&["S"])).await.is_err(), "{about}");
                assert_eq!(messages(&ground.js, "S").await, before, "{about}: refused, and yet touched");
                continue;
            }
            ground.settle(&after, &replacing(&["S"])).await;
            assert_eq!(messages(&ground.js, "S").await, before, "{about}");
            ground.publish("o.b", 2).await;
            until("S has the rest", async || messages(&ground.js, "S").await.len() >= 7).await;
            let whole = messages(&ground.js, "S").await;
            assert_eq!(whole[..5], before[..], "{about}");
            let rest: Vec<&str> = whole[5..].iter().map(|(_, subject, _)| subject.as_str()).collect();
            assert_eq!(rest, ["o.b", "o.b"], "{about}: something came again");
        }
    }
}
