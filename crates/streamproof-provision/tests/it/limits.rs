//! A stream's limits for its consumers (`consumer_limits`), on every line: who has to change first, and where nobody can, that is
//! said before anything is sent.

use std::fmt::Write as _;

use crate::ground::{Ground, LINES, everything, replacing};
use serde_json::{Value, json};
use streamproof_model::failure::{Code, Failure as _};
use streamproof_model::plan::{Action, Step};
use streamproof_model::version::Release;
use streamproof_provision::{Allow, inspect};

const HOUR: u64 = 3_600_000_000_000;

/// The stream's limits, and what its consumer `C` has of its own.
type Both = (Value, Value);

fn files(both: &Both) -> [(&'static str, Value); 2] {
    let mut consumer = json!({"durable_name": "C", "ack_policy": "explicit"});
    consumer.as_object_mut().unwrap().extend(both.1.as_object().cloned().unwrap());
    [
        ("streams/S.json", json!({"name": "S", "subjects": ["s"], "consumer_limits": both.0})),
        ("consumers/S/C.json", consumer),
    ]
}

fn rows() -> Vec<(&'static str, Both, Both)> {
    let ack = |n: u64| json!({"max_ack_pending": n});
    let idle = |hours: u64| json!({"inactive_threshold": hours * HOUR});
    let two = |n: u64, hours: u64| json!({"max_ack_pending": n, "inactive_threshold": hours * HOUR});
    vec![
        ("lower, and the consumer with it", (ack(100), ack(100)), (ack(50), ack(50))),
        ("higher, and the consumer with it", (ack(50), ack(50)), (ack(100), ack(80))),
        ("one of two left out, by the consumer too", (two(500, 2), two(100, 1)), (ack(77), ack(77))),
        ("one of two left out, not by the consumer", (two(500, 2), two(100, 1)), (ack(100), two(100, 1))),
        ("both left out", (two(500, 2), two(100, 1)), (json!({}), json!({}))),
        ("a first one, and the consumer no longer idles", (json!({}), two(60, 1)), (ack(77), ack(60))),
        ("a first one, and the consumer idles on", (json!({}), two(60, 1)), (ack(77), two(60, 1))),
        (
            "one lower, the other higher, neither fits both",
            (two(100, 1), two(100, 1)),
            (two(50, 2), two(50, 2)),
        ),
        (
            "one lower, the other higher, the consumer fits both",
            (two(100, 1), two(40, 1)),
            (two(50, 2), two(50, 2)),
        ),
        ("lower, and a first of the other", (idle(2), idle(2)), (two(500, 1), two(500, 1))),
        ("another one instead", (idle(2), idle(2)), (ack(50), ack(50))),
    ]
}

/// Whether the server takes it in place in either order, asked for the letter of the files.
async fn could_be_in_place(ground: &Ground, stream: &Step, after: &Both) -> bool {
    let update = Value::Object(stream.document.clone().unwrap());
    if ground.js.request("STREAM.UPDATE.S", &update).await.is_ok() {
        return true;
    }
    let mut consumer = files(after)[1].1.clone();
    consumer["name"] = json!("C");
    let mut body = json!({"stream_name": "S", "config": consumer, "action": "update"});
    // Else the server fills in what is left out.
    if ground.version.has(Release(2, 11, 0)) {
        body["pedantic"] = json!(true);
    }
    let taken = ground.js.request("CONSUMER.CREATE.S.C", &body).await.is_ok();
    taken && ground.js.request("STREAM.UPDATE.S", &update).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_consumers_change_in_the_order_that_the_server_takes_or_it_is_said_that_they_cannot() {
    let (mut table, mut wrong) = (String::new(), Vec::new());
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        for (what, before, after) in rows() {
            let about = format!("{version} {what}");
            ground.settle(&files(&before), &replacing(&["S", "S/C"])).await;
            ground.publish("s", 2).await;
            let plan = ground.plan(&files(&after)).await;
            let steps: Vec<String> =
                plan.changing().map(|step| format!("{:?} {}", step.action, step.name)).collect();
            writeln!(table, "{about}: {}", steps.join(", ")).unwrap();
            let stream = plan.changing().find(|step| step.name == "S").unwrap();
            if stream.action == Action::Replace {
                let held = inspect::stream(&ground.js, "S").await.unwrap()["config"].take();
                let error = ground.bring(&files(&after), &everything()).await.unwrap_err();
                assert_eq!(error.code(), Code::ImmutableField, "{about}: {error}");
                let now = inspect::stream(&ground.js, "S").await.unwrap()["config"].take();
                assert_eq!(now, held, "{about}: refused, and yet sent");
                if could_be_in_place(&ground, stream, &after).await {
                    wrong.push(format!("{about}: the server takes it in place"));
                }
                ground.settle(&files(&before), &replacing(&["S", "S/C"])).await;
                ground.settle(&files(&after), &replacing(&["S"])).await;
            } else if let Err(error) = ground.bring(&files(&after), &Allow::default()).await {
                wrong.push(format!("{about}: {error}"));
            } else {
                assert_eq!(ground.plan(&files(&after)).await.pending, 0, "{about}");
            }
            ground.js.request("STREAM.DELETE.S", &Value::Null).await.unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    insta::assert_snapshot!("limits", table);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_below_a_consumer_that_is_in_no_file_is_said_to_be_impossible_and_nothing_is_sent() {
    for version in LINES {
        let ground = Ground::of(version.clone()).await;
        let files = |limit: u64| {
            let limits = json!({"max_ack_pending": limit});
            [("streams/S.json", json!({"name": "S", "subjects": ["s"], "consumer_limits": limits}))]
        };
        ground.settle(&files(100), &everything()).await;
        let theirs = json!({"name": "THEIRS", "durable_name": "THEIRS", "ack_policy": "explicit", "max_ack_pending": 80});
        let body = json!({"stream_name": "S", "config": theirs, "action": "create"});
        ground.js.request("CONSUMER.CREATE.S.THEIRS", &body).await.unwrap();
        // At its own value it does not stand in the way.
        ground.settle(&files(80), &Allow::default()).await;
        let held = inspect::stream(&ground.js, "S").await.unwrap()["config"].take();
        let plan = ground.plan(&files(50)).await;
        let why = plan.changing().next().unwrap().blocked.clone().unwrap_or_default();
        assert!(why.contains("THEIRS") && why.contains("80") && why.contains("50"), "{version}: {why:?}");
        let error = ground.bring(&files(50), &replacing(&["S"])).await.unwrap_err();
        assert_eq!(error.code(), Code::ServerRefused, "{version}: {error}");
        assert_eq!(inspect::stream(&ground.js, "S").await.unwrap()["config"].take(), held, "{version}");
        // The server says so too, in place and when it is made on a stream that has the limit.
        let update = json!({"name": "S", "subjects": ["s"], "consumer_limits": {"max_ack_pending": 50}});
        ground.js.request("STREAM.UPDATE.S", &update).await.unwrap_err();
        ground.js.request("CONSUMER.DELETE.S.THEIRS", &Value::Null).await.unwrap();
        ground.settle(&files(50), &Allow::default()).await;
        ground.js.request("CONSUMER.CREATE.S.THEIRS", &body).await.unwrap_err();
    }
}
